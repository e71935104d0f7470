//! What names mean inside a template.

use std::cell::RefCell;

use jiff::Timestamp;

use crate::error::EntryError;
use crate::event::{Event, GitRef};
use crate::expression::Template;
use crate::version::{PythonVersion, SemanticVersion};

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// Text.
    Text(String),
    /// A number as it is written.
    Number(String),
    /// Texts, written with commas between them.
    List(Vec<String>),
    /// A time that wants a format.
    Date(Timestamp),
    /// Nothing.
    Nothing,
}

impl Value {
    /// The value as it is written.
    pub(crate) fn to_text(&self) -> String {
        match self {
            Value::Text(text) | Value::Number(text) => text.clone(),
            Value::List(items) => items.join(","),
            Value::Date(_) | Value::Nothing => String::new(),
        }
    }

    /// What a condition makes of it: an empty text, zero and an empty list are nothing.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Value::Text(text) => !text.is_empty(),
            Value::Number(number) => number.parse::<f64>().is_ok_and(|number| number != 0.0),
            Value::List(items) => !items.is_empty(),
            Value::Date(_) => true,
            Value::Nothing => false,
        }
    }

    /// What stands below it; only lists have something there.
    pub(crate) fn below(self, path: &[String]) -> Value {
        match (self, path) {
            (value, []) => value,
            (Value::List(items), [index]) => index
                .parse::<usize>()
                .ok()
                .and_then(|index| items.into_iter().nth(index))
                .map_or(Value::Nothing, Value::Text),
            _ => Value::Nothing,
        }
    }
}

/// A filled template, and the names in it that do not exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Evaluation {
    /// The text.
    pub(crate) text: String,
    /// Names that nothing is called by.
    pub(crate) unknown: Vec<String>,
}

/// Names and their values.
pub(crate) trait Scope {
    /// What a name stands for.
    fn value(&self, name: &str) -> Option<Value>;
}

/// What is known everywhere but in the patterns of versions.
#[derive(Debug)]
pub(crate) struct Global<'event> {
    /// What started the build.
    pub(crate) event: &'event Event,
    /// The time of the run.
    pub(crate) now: Timestamp,
    /// How much of a commit's digest is shown.
    pub(crate) short: usize,
    /// Names that nothing is called by, of all templates so far.
    pub(crate) unknown: RefCell<Vec<String>>,
}

impl Global<'_> {
    /// Fills a template in.
    pub(crate) fn fill(&self, template: &Template) -> Result<String, EntryError> {
        self.fill_with(template, self)
    }

    /// As [`Global::fill`], with other names.
    pub(crate) fn fill_with(&self, template: &Template, scope: &dyn Scope) -> Result<String, EntryError> {
        let evaluation = template.fill(scope)?;
        self.unknown.borrow_mut().extend(evaluation.unknown);
        Ok(evaluation.text)
    }

    /// The first letters of the commit's digest.
    pub(crate) fn short_commit(&self) -> &str {
        let commit = &self.event.commit;
        commit
            .char_indices()
            .nth(self.short)
            .map_or(commit, |(end, _)| &commit[..end])
    }

    fn commit_time(&self) -> Timestamp {
        self.event.commit_time.unwrap_or(self.now)
    }
}

impl Scope for Global<'_> {
    fn value(&self, name: &str) -> Option<Value> {
        let event = self.event;
        Some(match name {
            "branch" => Value::Text(match &event.git_ref {
                GitRef::Branch(branch) => branch.clone(),
                _ => String::new(),
            }),
            "tag" => Value::Text(match &event.git_ref {
                GitRef::Tag(tag) => tag.clone(),
                _ => String::new(),
            }),
            "sha" => Value::Text(self.short_commit().to_owned()),
            "base_ref" => Value::Text(event.base().unwrap_or_default().to_owned()),
            "is_default_branch" => Value::Text(event.is_default_branch().to_string()),
            "is_not_default_branch" => Value::Text((!event.is_default_branch()).to_string()),
            "date" => Value::Date(self.now),
            "commit_date" => Value::Date(self.commit_time()),
            _ => return None,
        })
    }
}

/// What is known in the pattern of a schedule: the dates.
pub(crate) struct Dates<'global>(pub(crate) &'global Global<'global>);

impl Scope for Dates<'_> {
    fn value(&self, name: &str) -> Option<Value> {
        self.0.value(name).filter(|value| matches!(value, Value::Date(_)))
    }
}

impl Scope for SemanticVersion {
    fn value(&self, name: &str) -> Option<Value> {
        Some(match name {
            "raw" => Value::Text(self.raw.clone()),
            "version" => Value::Text(self.to_string()),
            "major" => Value::Number(self.major.to_string()),
            "minor" => Value::Number(self.minor.to_string()),
            "patch" => Value::Number(self.patch.to_string()),
            "prerelease" => Value::List(self.prerelease.clone()),
            "build" => Value::List(self.build.clone()),
            _ => return None,
        })
    }
}

impl Scope for PythonVersion {
    fn value(&self, name: &str) -> Option<Value> {
        let part = |index: usize| Value::Number(self.release.get(index).map_or("0".to_owned(), Clone::clone));
        Some(match name {
            "raw" => Value::Text(self.raw.clone()),
            "version" => Value::Text(self.to_string()),
            "major" => part(0),
            "minor" => part(1),
            "patch" => part(2),
            _ => return None,
        })
    }
}
