//! `--cache-from` and `--cache-to`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kiln_oci::{Digest, Reference};
use kiln_worker::remote_cache::ExportMode;

use crate::build::request::{CacheExport, CacheImport, CachePlace};
use crate::command_error::CommandError;
use crate::fields;
use crate::settings::reference;

/// What a cache is called in a layout if nobody names it.
const TAG: &str = "latest";

/// Kinds of caches.
const KINDS: &str = "there are type=registry, type=local and type=inline";

/// Attributes that are left when those of the place are taken.
struct Attributes<'a> {
    flag: &'static str,
    text: &'a str,
    values: BTreeMap<String, String>,
}

impl<'a> Attributes<'a> {
    fn parse(flag: &'static str, text: &'a str) -> Result<(String, Attributes<'a>), CommandError> {
        let mut values = BTreeMap::new();
        // A value that is no attribute is a reference.
        if !text.contains('=') {
            values.insert("ref".to_owned(), text.to_owned());
            values.insert("type".to_owned(), "registry".to_owned());
        } else {
            let invalid = |why: String| CommandError::user(format!("invalid {flag} `{text}`: {why}"));
            for (key, value) in fields::parse(text).map_err(invalid)? {
                let value = value.ok_or_else(|| invalid(format!("`{key}` has no value")))?;
                values.insert(key, value);
            }
        }
        let mut attributes = Attributes { flag, text, values };
        let kind = attributes
            .take("type")
            .ok_or_else(|| attributes.invalid("it has no type").hint(KINDS))?;
        Ok((kind, attributes))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.values.remove(name).filter(|value| !value.is_empty())
    }

    fn invalid(&self, why: &str) -> CommandError {
        CommandError::user(format!("invalid {} `{}`: {why}", self.flag, self.text))
    }

    fn registry(&mut self) -> Result<Reference, CommandError> {
        let text = self.take("ref").ok_or_else(|| {
            self.invalid("it has no ref")
                .hint("write type=registry,ref=registry.example.com/app:cache")
        })?;
        reference(&text)
    }

    fn digest(&mut self) -> Result<Option<Digest>, CommandError> {
        let Some(text) = self.take("digest") else {
            return Ok(None);
        };
        let digest = text
            .parse()
            .map_err(|_| self.invalid(&format!("`{text}` is no digest")))?;
        Ok(Some(digest))
    }

    fn truth(&mut self, name: &str) -> Result<bool, CommandError> {
        match self.take(name).as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(other) => Err(self.invalid(&format!("`{other}` for {name} is neither true nor false"))),
        }
    }

    /// Whatever is left is not known here.
    fn finish(self) -> Result<(), CommandError> {
        match self.values.keys().next() {
            None => Ok(()),
            Some(name) => Err(self.invalid(&format!("unknown attribute `{name}`"))),
        }
    }
}

/// Where caches are read from.
pub fn imports(written: &[String]) -> Result<Vec<CacheImport>, CommandError> {
    written.iter().map(|text| import(text)).collect()
}

fn import(text: &str) -> Result<CacheImport, CommandError> {
    let (kind, mut attributes) = Attributes::parse("--cache-from", text)?;
    let place = match kind.as_str() {
        // An image that carries its own cache is read like a cache.
        "registry" | "inline" => CachePlace::Registry(attributes.registry()?),
        "local" => {
            let source = attributes.take("src").ok_or_else(|| {
                attributes
                    .invalid("it has no src")
                    .hint("write type=local,src=DIRECTORY")
            })?;
            CachePlace::Layout {
                directory: PathBuf::from(source),
                tag: attributes.take("tag").unwrap_or_else(|| TAG.to_owned()),
                digest: attributes.digest()?,
            }
        }
        other => return Err(unknown("--cache-from", other)),
    };
    // What says how a cache is written is often passed here as well, and has no meaning for reading.
    for written in ["mode", "ignore-error"] {
        attributes.take(written);
    }
    attributes.finish()?;
    Ok(CacheImport { place })
}

/// Where caches are written to.
pub fn exports(written: &[String], build_args: &BTreeMap<String, String>) -> Result<Vec<CacheExport>, CommandError> {
    let mut exports: Vec<CacheExport> = written.iter().map(|text| export(text)).collect::<Result<_, _>>()?;
    let inline = build_args
        .get("BUILDKIT_INLINE_CACHE")
        .is_some_and(|value| matches!(value.as_str(), "1" | "true"));
    if inline && !exports.contains(&CacheExport::Inline) {
        exports.push(CacheExport::Inline);
    }
    Ok(exports)
}

fn export(text: &str) -> Result<CacheExport, CommandError> {
    let (kind, mut attributes) = Attributes::parse("--cache-to", text)?;
    if kind == "inline" {
        attributes.finish()?;
        return Ok(CacheExport::Inline);
    }
    let place = match kind.as_str() {
        "registry" => CachePlace::Registry(attributes.registry()?),
        "local" => {
            let destination = attributes.take("dest").ok_or_else(|| {
                attributes
                    .invalid("it has no dest")
                    .hint("write type=local,dest=DIRECTORY")
            })?;
            CachePlace::Layout {
                directory: PathBuf::from(destination),
                tag: attributes.take("tag").unwrap_or_else(|| TAG.to_owned()),
                digest: None,
            }
        }
        other => return Err(unknown("--cache-to", other)),
    };
    let mode = match attributes.take("mode").as_deref() {
        None | Some("min") => ExportMode::Min,
        Some("max") => ExportMode::Max,
        Some(other) => {
            return Err(attributes
                .invalid(&format!("unknown mode `{other}`"))
                .hint("there are min and max"));
        }
    };
    let ignore_error = attributes.truth("ignore-error")?;
    // A cache is an image manifest of its own type either way, and its blobs are those of the build.
    for accepted in ["image-manifest", "oci-mediatypes", "force-compression"] {
        attributes.truth(accepted)?;
    }
    for accepted in ["compression", "compression-level"] {
        attributes.take(accepted);
    }
    attributes.finish()?;
    Ok(CacheExport::To {
        place,
        mode,
        ignore_error,
    })
}

fn unknown(flag: &str, kind: &str) -> CommandError {
    CommandError::user(format!("{flag} type=`{kind}` is not supported yet")).hint(KINDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_are_named_by_reference_or_directory() {
        let registry = |name: &str| CacheImport {
            place: CachePlace::Registry(reference(name).expect("a reference")),
        };
        let import = |text: &str| import(text).map_err(|error| error.messages[0].clone());
        assert_eq!(import("user/app:cache"), Ok(registry("user/app:cache")));
        assert_eq!(
            import("type=registry,ref=user/app:cache"),
            Ok(registry("user/app:cache"))
        );
        let local = import("type=local,src=/tmp/cache,tag=main").expect("valid");
        let expected = CachePlace::Layout {
            directory: "/tmp/cache".into(),
            tag: "main".into(),
            digest: None,
        };
        assert_eq!(local.place, expected);
        for bad in [
            "type=registry",
            "type=local,dest=x",
            "type=local,src=x,foo=y",
            "type=tape",
            "ref=x",
            "type=local,src=x,digest=y",
        ] {
            assert!(import(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn exports_have_a_mode() {
        let none = BTreeMap::new();
        let exports = |text: &str| exports(&[text.to_owned()], &none);
        let found =
            exports("type=registry,ref=user/app:cache,mode=max,ignore-error=true,compression=zstd").expect("valid");
        assert!(matches!(
            &found[..],
            [CacheExport::To {
                mode: ExportMode::Max,
                ignore_error: true,
                ..
            }]
        ));
        assert_eq!(exports("type=inline").expect("valid"), [CacheExport::Inline]);
        for bad in [
            "type=local",
            "type=registry,ref=x,mode=most",
            "type=inline,mode=max",
            "type=registry,ref=x,ignore-error=perhaps",
        ] {
            assert!(exports(bad).is_err(), "{bad}");
        }
        let inline = BTreeMap::from([("BUILDKIT_INLINE_CACHE".to_owned(), "1".to_owned())]);
        assert_eq!(super::exports(&[], &inline).expect("valid"), [CacheExport::Inline]);
    }
}
