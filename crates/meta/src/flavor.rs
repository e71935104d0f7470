//! The input `flavor`: what holds for all tags.

use crate::csv::fields;
use crate::error::{EntryError, MetaError};
use crate::expression::Template;
use crate::image::switch;
use crate::inputs::Entry;

/// The attributes of the flavor.
const KNOWN: &str = "latest, prefix, suffix and onlatest";

/// When there is a tag `latest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latest {
    /// The rule that gives the version decides.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Latest {
    /// Whether there is one, where the rule would answer `usual`.
    pub fn decide(self, usual: bool) -> bool {
        match self {
            Latest::Auto => usual,
            Latest::Always => true,
            Latest::Never => false,
        }
    }
}

/// What holds for all tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flavor {
    /// When there is a tag `latest`.
    pub latest: Latest,
    /// What stands before tags whose rule has no prefix of its own.
    pub prefix: Template,
    /// Whether `latest` has the prefix too.
    pub prefix_latest: bool,
    /// What stands behind tags whose rule has no suffix of its own.
    pub suffix: Template,
    /// Whether `latest` has the suffix too.
    pub suffix_latest: bool,
}

impl Default for Flavor {
    fn default() -> Self {
        Flavor {
            latest: Latest::Auto,
            prefix: Template::default(),
            prefix_latest: false,
            suffix: Template::default(),
            suffix_latest: false,
        }
    }
}

/// What `onlatest` is about.
#[derive(Clone, Copy)]
enum Part {
    Prefix,
    Suffix,
}

impl Flavor {
    /// The flavor of the input.
    pub fn read_all(entries: &[Entry]) -> Result<Flavor, MetaError> {
        let mut flavor = Flavor::default();
        for entry in entries {
            flavor.read(&entry.text).map_err(|problem| entry.error(problem))?;
        }
        Ok(flavor)
    }

    fn read(&mut self, text: &str) -> Result<(), EntryError> {
        let mut part = None;
        for field in fields(text)? {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| EntryError::NoAttribute(field.clone()))?;
            let value = value.trim();
            match key.trim().to_lowercase().as_str() {
                "latest" => self.latest = latest(value)?,
                "prefix" => {
                    self.prefix = Template::read(value)?;
                    part = Some(Part::Prefix);
                }
                "suffix" => {
                    self.suffix = Template::read(value)?;
                    part = Some(Part::Suffix);
                }
                "onlatest" => {
                    let on = switch("onlatest", value)?;
                    match part {
                        Some(Part::Prefix) => self.prefix_latest = on,
                        Some(Part::Suffix) => self.suffix_latest = on,
                        // It is about the prefix or suffix before it in the same line; without one it is about nothing.
                        None => return Err(EntryError::OnLatestAlone),
                    }
                }
                other => {
                    return Err(EntryError::UnknownAttribute {
                        name: other.to_owned(),
                        known: KNOWN,
                    });
                }
            }
        }
        Ok(())
    }
}

fn latest(value: &str) -> Result<Latest, EntryError> {
    match value {
        "auto" => Ok(Latest::Auto),
        "true" => Ok(Latest::Always),
        "false" => Ok(Latest::Never),
        other => Err(EntryError::InvalidValue {
            attribute: "latest",
            value: other.to_owned(),
            expected: "auto, true or false",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::{Input, Inputs};

    fn read(text: &str) -> Result<Flavor, MetaError> {
        let mut inputs = Inputs::default();
        inputs.add(Input::Flavor, text)?;
        Flavor::read_all(&inputs.flavor)
    }

    #[test]
    fn onlatest_is_about_what_stands_before_it() {
        let flavor = read("latest=true\nprefix=a-,onlatest=true\nsuffix=-b").expect("valid");
        assert_eq!(flavor.latest, Latest::Always);
        assert_eq!((flavor.prefix.text(), flavor.prefix_latest), ("a-", true));
        assert_eq!((flavor.suffix.text(), flavor.suffix_latest), ("-b", false));
        let flavor = read("prefix=a,onlatest=true,suffix=b,onlatest=false").expect("valid");
        assert_eq!((flavor.prefix_latest, flavor.suffix_latest), (true, false));
    }

    #[test]
    fn mistakes_name_their_line() {
        for bad in [
            "latest",
            "latest=maybe",
            "colour=red",
            "onlatest=true",
            "suffix=a,onlatest=x",
        ] {
            let error = read(&format!("latest=auto\n{bad}")).expect_err(bad);
            assert_eq!(error.line, 2, "{bad}");
        }
    }
}
