//! What is said about a Dockerfile, with its place.

use serde::{Deserialize, Serialize};

/// Lines of the file, from 1, both ends included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lines {
    /// First line.
    pub start: usize,
    /// Last line.
    pub end: usize,
}

/// How much a diagnostic matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// It can, and something is odd.
    Warning,
}

/// One message about a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// How much it matters.
    pub severity: Severity,
    /// What is said.
    pub message: String,
    /// Where.
    pub lines: Option<Lines>,
    /// What to do about it.
    pub hints: Vec<String>,
}

/// An error with its place: what stops a Dockerfile from being used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// What is wrong, in the words of the peers.
    pub message: String,
    /// Where.
    pub lines: Option<Lines>,
    /// What to do about it.
    pub hints: Vec<String>,
}

impl SyntaxError {
    /// An error without a place yet.
    pub fn new(message: impl Into<String>) -> SyntaxError {
        SyntaxError {
            message: message.into(),
            lines: None,
            hints: Vec::new(),
        }
    }

    /// With something to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> SyntaxError {
        self.hints.push(hint.into());
        self
    }

    /// With a place, unless it has one.
    pub fn at(mut self, lines: Lines) -> SyntaxError {
        self.lines.get_or_insert(lines);
        self
    }

    /// As a diagnostic.
    pub fn diagnostic(&self) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            message: self.message.clone(),
            lines: self.lines,
            hints: self.hints.clone(),
        }
    }
}
