//! The input `images`: what the tags are tags of.

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
                });
                return images
                    .map(|image| image.named().map_err(|problem| only.error(problem)))
                    .collect();
            }
        }
        let read = |entry: &Entry| Image::read(&entry.text).map_err(|problem| entry.error(problem));
        entries.iter().map(read).collect()
    }

    fn read(text: &str) -> Result<Image, EntryError> {
        let mut image = Image {
            name: String::new(),
            enable: true,
        };
        for field in fields(text)? {
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
