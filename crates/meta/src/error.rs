//! Inputs that cannot be used.

use std::sync::Arc;

use kiln_oci::ReferenceError;
use thiserror::Error;

use crate::csv::CsvError;
use crate::expression::ExpressionError;
use crate::inputs::Input;
use crate::pattern::PatternError;

/// An entry of an input that cannot be used; the source says why.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line} of `{}` cannot be used: `{text}`", file.as_deref().unwrap_or(input.name()))]
pub struct MetaError {
    /// The input.
    pub input: Input,
    /// The file that it stands in, if it stands in one.
    pub file: Option<Arc<str>>,
    /// The line of the file, else of the input, counted from 1.
    pub line: usize,
    /// The entry as it was written.
    pub text: String,
    /// What is wrong with it.
    #[source]
    pub problem: EntryError,
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EntryError {
    /// It is no list of comma-separated attributes.
    #[error(transparent)]
    Csv(#[from] CsvError),
    /// It is longer than anything that is meant.
    #[error("an entry has at most {limit} bytes, this one has {length}")]
    TooLong {
        /// Its length.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
    /// It has an expression that only a service of workflows fills in, before anything else reads it.
    #[error("`${{{{ }}}}` is an expression of a workflow, and nothing fills it in here")]
    WorkflowExpression,
    /// The type of a tag does not exist.
    #[error("there is no type `{0}` of tags")]
    UnknownType(String),
    /// An attribute that must be there is not.
    #[error("the attribute `{0}` is missing")]
    Missing(&'static str),
    /// An attribute has a value that means nothing.
    #[error("`{value}` is no value of the attribute `{attribute}`")]
    InvalidValue {
        /// The attribute.
        attribute: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// An attribute does not exist.
    #[error("there is no attribute `{name}`")]
    UnknownAttribute {
        /// What was written.
        name: String,
        /// What there is.
        known: &'static str,
    },
    /// A field has no equals sign.
    #[error("`{0}` is no attribute: it has no equals sign")]
    NoAttribute(String),
    /// `onlatest` is about the prefix or suffix before it.
    #[error("`onlatest` stands behind no prefix and no suffix")]
    OnLatestAlone,
    /// An image has no name.
    #[error("the image has no name")]
    NoImageName,
    /// The name of an image is none.
    #[error("`{name}` is no name of an image")]
    ImageName {
        /// What was written.
        name: String,
        /// Why.
        #[source]
        source: ReferenceError,
    },
    /// An image brings a tag or a digest, and the tags are what is computed.
    #[error("`{0}` has a tag or a digest of its own")]
    TaggedImage(String),
    /// A template cannot be read or filled in.
    #[error("the template `{template}` cannot be used")]
    Expression {
        /// The template.
        template: String,
        /// What is wrong with it.
        #[source]
        source: ExpressionError,
    },
    /// A regular expression cannot be read.
    #[error("the regular expression `{pattern}` cannot be used")]
    Pattern {
        /// The regular expression.
        pattern: String,
        /// What is wrong with it.
        #[source]
        source: PatternError,
    },
    /// A regular expression must have a group that holds the version.
    #[error("the regular expression `{0}` matches, and has no group that holds the version")]
    NoGroup(String),
    /// The template of `enable` came to something else than `true` or `false`.
    #[error("`enable` comes to `{0}`")]
    NotSwitch(String),
}

impl EntryError {
    /// What to do about it, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        match self {
            EntryError::Csv(error) => Some(error.hint().to_owned()),
            EntryError::WorkflowExpression => Some(
                "use the expressions of `kiln meta`, such as {{is_default_branch}}, or pass the text on the command line"
                    .to_owned(),
            ),
            EntryError::UnknownType(_) => {
                Some("there are schedule, semver, pep440, match, edge, ref, raw and sha".to_owned())
            }
            EntryError::Missing("pattern") => Some("write pattern={{version}} or another one".to_owned()),
            EntryError::Missing("event") => Some("write event=branch, event=tag or event=pr".to_owned()),
            EntryError::Missing("value") => Some("write value=TEXT".to_owned()),
            EntryError::InvalidValue { expected, .. } => Some(format!("write {expected}")),
            EntryError::UnknownAttribute { known, .. } => Some(format!("there are {known}")),
            EntryError::NoAttribute(_) => Some("write NAME=VALUE, separated by commas".to_owned()),
            EntryError::OnLatestAlone => Some("write prefix=TEXT,onlatest=true".to_owned()),
            EntryError::NoGroup(_) => Some("put round brackets around the version: v(\\d+\\.\\d+\\.\\d+)".to_owned()),
            EntryError::ImageName { .. } => Some("names look like registry.example.com/team/app".to_owned()),
            EntryError::TaggedImage(_) => Some("leave it out: tags come from the input `tags`".to_owned()),
            EntryError::NotSwitch(_) => Some("`enable` must come to `true` or `false`".to_owned()),
            EntryError::Expression { source, .. } => source.hint(),
            _ => None,
        }
    }
}
