//! What is wrong in a definition, and where.

use std::fmt;

use crate::source::{Sources, Span};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The kind of mistake, in two or three words.
    pub summary: String,
    /// The mistake.
    pub detail: String,
    /// Where it is.
    pub span: Option<Span>,
    /// What to do.
    pub hints: Vec<String>,
    /// Whether it only follows from another one: it is counted, but need not be shown.
    pub consequence: bool,
}

impl Diagnostic {
    /// Something wrong at a place.
    pub fn new(summary: &str, detail: impl Into<String>, span: Span) -> Diagnostic {
        Diagnostic {
            summary: summary.to_owned(),
            detail: detail.into(),
            span: Some(span),
            hints: Vec::new(),
            consequence: false,
        }
    }

    /// With something to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Diagnostic {
        self.hints.push(hint.into());
        self
    }

    /// The diagnostic as one line with its place.
    pub fn describe(&self, sources: &Sources) -> String {
        match self.span {
            Some(span) => format!("{}: {}; {}", sources.describe(span), self.summary, self.detail),
            None => format!("{}; {}", self.summary, self.detail),
        }
    }
}

/// At least one diagnostic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// Those of a list; None if it is empty.
    pub fn some(list: Vec<Diagnostic>) -> Option<Diagnostics> {
        if list.is_empty() { None } else { Some(Diagnostics(list)) }
    }

    /// The first.
    pub fn first(&self) -> &Diagnostic {
        &self.0[0]
    }

    /// All of them.
    pub fn all(&self) -> &[Diagnostic] {
        &self.0
    }

    /// As a list.
    pub fn into_vec(self) -> Vec<Diagnostic> {
        self.0
    }

    /// The first with its place, and how many more there are.
    pub fn describe(&self, sources: &Sources) -> String {
        let first = self.first().describe(sources);
        match self.0.len() {
            1 => first,
            count => format!("{first}, and {} other diagnostic(s)", count - 1),
        }
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Diagnostics {
        Diagnostics(vec![diagnostic])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.first().summary, self.first().detail)
    }
}

/// The most similar of some names, if one is similar enough to have been meant.
pub fn suggestion<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let close = |candidate: &&str| strsim::damerau_levenshtein(name, candidate);
    let limit = (name.chars().count() / 3).clamp(1, 3);
    let best = known.into_iter().min_by_key(close)?;
    (close(&best) <= limit).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_similar_names_are_suggested() {
        let names = ["dockerfile", "context", "tags"];
        assert_eq!(suggestion("dockerfle", names), Some("dockerfile"));
        assert_eq!(suggestion("tag", names), Some("tags"));
        assert_eq!(suggestion("platforms", names), None);
    }
}
