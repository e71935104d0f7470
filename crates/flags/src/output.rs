//! `--output`: where a result goes.

use std::collections::BTreeMap;

use crate::FlagError;
use crate::fields::split;

/// One output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// `registry`, `image`, `oci`, `docker`, `local`, `tar` or `cacheonly`; other words are refused by whoever writes.
    pub kind: String,
    /// `dest`: a path, or `-` for standard output.
    pub destination: Option<String>,
    /// Everything else, keys in lower case.
    pub attributes: BTreeMap<String, String>,
}

impl Output {
    /// Reads one value. A lone path is a directory, a lone `-` a tar stream on standard output.
    pub fn parse(text: &str) -> Result<Output, FlagError> {
        let fields = split(text)?;
        if let [only] = fields.as_slice()
            && only.text == text
            && !text.starts_with("type=")
        {
            let kind = if text == "-" { "tar" } else { "local" };
            return Ok(Output {
                kind: kind.to_owned(),
                destination: Some(text.to_owned()),
                ..Output::default()
            });
        }
        let mut output = Output::default();
        for field in &fields {
            let (key, value) = field.pair().ok_or_else(|| FlagError::Field(field.text.clone()))?;
            match key.as_str() {
                "type" => value.clone_into(&mut output.kind),
                "dest" => output.destination = Some(value.to_owned()),
                _ => {
                    output.attributes.insert(key, value.to_owned());
                }
            }
        }
        if output.kind.is_empty() {
            return Err(FlagError::OutputType);
        }
        Ok(output)
    }

    /// `registry` is an image that is sent to its registries unless it says otherwise.
    #[must_use]
    pub fn as_image(mut self) -> Output {
        if self.kind == "registry" {
            "image".clone_into(&mut self.kind);
            self.attributes
                .entry("push".to_owned())
                .or_insert_with(|| "true".to_owned());
        }
        self
    }
}

/// Reads every value; empty ones are left out.
pub fn outputs(written: &[String]) -> Result<Vec<Output>, FlagError> {
    let given = written.iter().filter(|text| !text.is_empty());
    given.map(|text| Output::parse(text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_directory_and_fields_are_an_output() {
        let local = Output::parse("a=b").expect("a path");
        assert_eq!(
            (local.kind.as_str(), local.destination.as_deref()),
            ("local", Some("a=b"))
        );
        let stream = Output::parse("-").expect("standard output");
        assert_eq!(
            (stream.kind.as_str(), stream.destination.as_deref()),
            ("tar", Some("-"))
        );
        let image = Output::parse("type=registry,\"name=a,b\"").expect("fields").as_image();
        assert_eq!(image.kind, "image");
        assert_eq!(image.attributes["name"], "a,b");
        assert_eq!(image.attributes["push"], "true");
        assert_eq!(Output::parse("dest=a,push=true"), Err(FlagError::OutputType));
        assert_eq!(Output::parse("type=oci,a"), Err(FlagError::Field("a".into())));
    }
}
