//! What is worth saying and is no error.

use std::fmt;

/// Something that a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// A git tag or value is no version, so that the rule gives no tag.
    NotAVersion {
        /// The text.
        value: String,
        /// What it should be.
        kind: &'static str,
    },
    /// A regular expression does not match.
    NoMatch {
        /// The expression.
        pattern: String,
        /// The text.
        value: String,
    },
    /// A regular expression has no such group.
    NoGroup {
        /// The expression.
        pattern: String,
        /// The number of the group.
        group: String,
    },
    /// A name in a template does not exist, and is empty.
    UnknownName(String),
    /// An attribute means nothing to its rule.
    UnusedAttribute {
        /// The attribute.
        name: String,
        /// The rule.
        rule: String,
    },
    /// A label or annotation has no equals sign, and is left out.
    NoValue(String),
    /// A tag that no registry takes: it is too long, or begins with a full stop or hyphen.
    NotATag(String),
    /// There is no version, and so no tag.
    NoTags,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::NotAVersion { value, kind } => write!(f, "`{value}` is no {kind}: the rule gives no tag"),
            Warning::NoMatch { pattern, value } => write!(f, "`{pattern}` does not match `{value}`"),
            Warning::NoGroup { pattern, group } => {
                write!(f, "`{pattern}` has no group {group}: the rule gives no tag")
            }
            Warning::UnknownName(name) => write!(f, "nothing is called `{name}` here: it is left empty"),
            Warning::UnusedAttribute { name, rule } => {
                write!(f, "the attribute `{name}` means nothing in `{rule}`")
            }
            Warning::NoValue(text) => write!(f, "`{text}` has no equals sign: it is left out"),
            Warning::NotATag(name) => write!(
                f,
                "registries refuse the tag `{name}`: it has at most 128 letters, and begins with a letter, digit or underscore"
            ),
            Warning::NoTags => f.write_str("no rule gives a tag for this event"),
        }
    }
}
