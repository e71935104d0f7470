//! The input `images`: what the tags are tags of.

use kiln_oci::Reference;

use crate::csv::fields;
use crate::error::{EntryError, MetaError};
use crate::inputs::Entry;

/// The attributes of an image.
const KNOWN: &str = "name and enable";

/// The name of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The name as it was written.
    pub name: String,
    /// Whether it counts.
    pub enable: bool,
    entry: Entry,
}

impl Image {
    /// The images of the input. A single line may name several, separated by commas.
    pub fn read_all(entries: &[Entry]) -> Result<Vec<Image>, MetaError> {
        if let [only] = entries {
            let names = fields(&only.text).map_err(|error| only.error(error.into()))?;
            if names.iter().all(|name| !name.contains('=')) {
                let images = names.iter().map(|name| Image {
                    name: name.trim().to_owned(),
                    enable: true,
                    entry: only.clone(),
                });
                return images
                    .map(|image| image.named().map_err(|problem| only.error(problem)))
                    .collect();
            }
        }
        let read = |entry: &Entry| Image::read(entry).map_err(|problem| entry.error(problem));
        entries.iter().map(read).collect()
    }

    /// The name as tags have it: in lower case, and one that a registry takes.
    pub(crate) fn repository(&self) -> Result<String, MetaError> {
        let name = self.name.to_lowercase();
        let problem = match Reference::parse_normalized(&name) {
            Ok(reference) if reference.tag().is_none() && reference.digest().is_none() => return Ok(name),
            Ok(_) => EntryError::TaggedImage(self.name.clone()),
            Err(source) => EntryError::ImageName {
                name: self.name.clone(),
                source,
            },
        };
        Err(self.entry.error(problem))
    }

    fn read(entry: &Entry) -> Result<Image, EntryError> {
        let mut image = Image {
            name: String::new(),
            enable: true,
            entry: entry.clone(),
        };
        for field in fields(&entry.text)? {
            let Some((key, value)) = field.split_once('=') else {
                image.name = field.trim().to_owned();
                continue;
            };
            let value = value.trim();
            match key.trim().to_lowercase().as_str() {
                "name" => image.name = value.to_owned(),
                "enable" => image.enable = switch("enable", value)?,
                other => {
                    return Err(EntryError::UnknownAttribute {
                        name: other.to_owned(),
                        known: KNOWN,
                    });
                }
            }
        }
        image.named()
    }

    fn named(self) -> Result<Image, EntryError> {
        if self.name.is_empty() {
            return Err(EntryError::NoImageName);
        }
        Ok(self)
    }
}

/// `true` or `false`.
pub(crate) fn switch(attribute: &'static str, value: &str) -> Result<bool, EntryError> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(EntryError::InvalidValue {
            attribute,
            value: other.to_owned(),
            expected: "true or false",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::{Input, Inputs};

    fn read(text: &str) -> Result<Vec<(String, bool)>, MetaError> {
        let mut inputs = Inputs::default();
        inputs.add(Input::Images, text)?;
        let images = Image::read_all(&inputs.images)?;
        Ok(images.into_iter().map(|image| (image.name, image.enable)).collect())
    }

    #[test]
    fn names_stand_in_lines_or_in_one() {
        let both = Ok(vec![("a/b".to_owned(), true), ("c.io/D".to_owned(), true)]);
        assert_eq!(read("a/b\nc.io/D"), both);
        assert_eq!(read("a/b, c.io/D"), both);
        assert_eq!(read("name=a/b\nname=c.io/D,enable=true"), both);
        assert_eq!(read("name=a,enable=false"), Ok(vec![("a".to_owned(), false)]));
    }

    #[test]
    fn names_are_names_of_repositories() {
        let repository = |text: &str| {
            let mut inputs = Inputs::default();
            inputs.add(Input::Images, text)?;
            Image::read_all(&inputs.images)?[0].repository()
        };
        assert_eq!(repository("GHCR.io/Octo/App"), Ok("ghcr.io/octo/app".to_owned()));
        assert_eq!(repository("localhost:5000/app"), Ok("localhost:5000/app".to_owned()));
        for bad in ["octo/app:1", "octo app", "name=octo//app", "https://ghcr.io/octo/app"] {
            assert!(repository(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for bad in [
            "name=,enable=true",
            "value=a",
            "name=a,enable=maybe",
            "a,,b",
            "a\nenable=true",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(read("a\nvalue=b").expect_err("unknown").line, 2);
    }
}
