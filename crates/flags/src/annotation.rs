//! `--annotation`: notes on an image's documents.

use kiln_oci::Platform;

use crate::FlagError;

/// Which document has the note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The manifest of each platform.
    Manifest,
    /// The entry of each manifest in the index.
    ManifestDescriptor,
    /// The index.
    Index,
    /// The entry of the index, where something points at it.
    IndexDescriptor,
}

impl Target {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Target::Manifest => "manifest",
            Target::ManifestDescriptor => "manifest-descriptor",
            Target::Index => "index",
            Target::IndexDescriptor => "index-descriptor",
        }
    }

    fn parse(text: &str) -> Option<Target> {
        let all = [
            Target::Manifest,
            Target::ManifestDescriptor,
            Target::Index,
            Target::IndexDescriptor,
        ];
        all.into_iter().find(|target| target.name() == text)
    }
}

/// One note on one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// The document; None is the manifest, as nothing else was said.
    pub target: Option<Target>,
    /// The only platform that it is for.
    pub platform: Option<Platform>,
    /// Its name.
    pub name: String,
    /// Its text.
    pub value: String,
}

impl Annotation {
    /// The exporter's attribute of the same meaning: `annotation-manifest[linux/amd64].name`.
    pub fn attribute(&self) -> String {
        let target = self
            .target
            .map(|target| format!("-{}", target.name()))
            .unwrap_or_default();
        let platform = self
            .platform
            .as_ref()
            .map(|platform| format!("[{platform}]"))
            .unwrap_or_default();
        format!("annotation{target}{platform}.{}", self.name)
    }

    /// Reads such an attribute. None: it is another one.
    pub fn of_attribute(key: &str, value: &str) -> Result<Option<Annotation>, FlagError> {
        let Some(rest) = key.strip_prefix("annotation") else {
            return Ok(None);
        };
        let Some((place, name)) = split_name(rest) else {
            return Ok(None);
        };
        let (target, platform) = match place.strip_prefix('-') {
            Some(place) => {
                let (target, platform) = target_of(place)?;
                (Some(target), platform)
            }
            None if place.is_empty() => (None, None),
            None => (None, target_of(&format!("manifest{place}"))?.1),
        };
        Ok(Some(Annotation {
            target,
            platform,
            name: name.to_owned(),
            value: value.to_owned(),
        }))
    }
}

/// What stands before the dot that begins the name: a platform may hold dots of its own.
fn split_name(text: &str) -> Option<(&str, &str)> {
    let from = text.find(']').unwrap_or(0);
    let dot = text[from..].find('.')? + from;
    Some((&text[..dot], &text[dot + 1..]))
}

/// Reads every value: `[TARGET[PLATFORM],…:]NAME=VALUE`. Empty ones are left out.
pub fn annotations(written: &[String]) -> Result<Vec<Annotation>, FlagError> {
    let mut all = Vec::new();
    for text in written.iter().filter(|text| !text.is_empty()) {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| FlagError::Annotation(text.clone()))?;
        let annotation = |target, platform, name: &str| Annotation {
            target,
            platform,
            name: name.to_owned(),
            value: value.to_owned(),
        };
        match key.split_once(':') {
            None => all.push(annotation(None, None, key)),
            Some((targets, name)) => {
                for place in targets.split(',') {
                    let (target, platform) = target_of(place)?;
                    all.push(annotation(Some(target), platform, name));
                }
            }
        }
    }
    Ok(all)
}

/// `manifest` or `manifest[linux/amd64]`.
fn target_of(text: &str) -> Result<(Target, Option<Platform>), FlagError> {
    let form = || FlagError::AnnotationForm(text.to_owned());
    let (name, platform) = match text.strip_suffix(']') {
        Some(bracketed) => {
            let (name, platform) = bracketed.split_once('[').ok_or_else(form)?;
            (name, Some(platform))
        }
        None => (text, None),
    };
    let is_name = !name.is_empty() && name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-');
    let is_platform = |text: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || "_/-".contains(letter))
    };
    if !is_name || platform.is_some_and(|platform| !is_platform(platform)) {
        return Err(form());
    }
    let target = Target::parse(name).ok_or_else(|| FlagError::AnnotationType(name.to_owned()))?;
    let platform = platform
        .map(|text| text.parse().map_err(|_| FlagError::Platform(text.to_owned())))
        .transpose()?;
    Ok((target, platform))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_stand_before_the_name() {
        let attributes = |text: &str| -> Result<Vec<String>, FlagError> {
            Ok(annotations(&[text.to_owned()])?
                .iter()
                .map(Annotation::attribute)
                .collect())
        };
        assert_eq!(attributes("a.b=c").expect("valid"), ["annotation.a.b"]);
        assert_eq!(
            attributes("index,manifest[linux/amd64]:a=b:c").expect("valid"),
            ["annotation-index.a", "annotation-manifest[linux/amd64].a"]
        );
        assert_eq!(attributes("a"), Err(FlagError::Annotation("a".into())));
        assert_eq!(attributes("x:a=b"), Err(FlagError::AnnotationType("x".into())));
        assert_eq!(
            attributes("manifest[]:a=b"),
            Err(FlagError::AnnotationForm("manifest[]".into()))
        );
    }

    #[test]
    fn attributes_are_read_as_they_are_written() {
        for key in [
            "annotation.a.b",
            "annotation-index.c",
            "annotation-manifest[linux/arm64].d.e",
        ] {
            let read = Annotation::of_attribute(key, "v")
                .expect("valid")
                .expect("an annotation");
            assert_eq!(read.attribute(), key);
        }
        assert_eq!(Annotation::of_attribute("push", "true"), Ok(None));
    }
}
