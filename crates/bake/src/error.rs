//! Why a definition cannot be used.

use std::io;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::source::Sources;

/// Why a definition cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BakeError {
    /// Something is wrong in HCL or JSON.
    #[error("{}", .0.diagnostics.describe(&.0.sources))]
    Diagnosed(Box<Diagnosed>),
    /// Something is wrong in a Compose file.
    #[error("{message}")]
    Compose {
        /// Which; empty if it is the files together.
        file: String,
        /// Where, from 1; None if it has no place.
        line: Option<usize>,
        /// What is wrong.
        message: String,
        /// The text of the file, to show the line.
        text: String,
    },
    /// A file is too large.
    #[error("`{file}` is larger than 16 MiB")]
    TooLarge {
        /// Which.
        file: String,
    },
    /// There is no such target.
    #[error("failed to find target {name}")]
    UnknownTarget {
        /// How it was called.
        name: String,
        /// Whether a group has that name.
        is_group: bool,
        /// What may have been meant.
        meant: Option<String>,
    },
    /// A pattern fits no target.
    #[error("could not find any target matching {quoted}")]
    NoMatch {
        /// The pattern, in the quotes of its place.
        quoted: String,
        /// What may have been meant.
        meant: Option<String>,
    },
    /// An override is not understood, or cannot be made.
    #[error("{message}")]
    Override {
        /// What is wrong.
        message: String,
        /// What may have been meant.
        meant: Option<String>,
    },
    /// Targets use each other's results in a way that cannot be.
    #[error("{0}")]
    Link(String),
    /// The thread for evaluation cannot be started.
    #[error("failed to start a thread")]
    Thread(#[source] io::Error),
}

/// Diagnostics with the files that they speak of.
#[derive(Debug)]
pub struct Diagnosed {
    /// The files.
    pub sources: Sources,
    /// What is wrong.
    pub diagnostics: Diagnostics,
}

impl BakeError {
    pub(crate) fn diagnosed(sources: Sources, diagnostics: Diagnostics) -> BakeError {
        BakeError::Diagnosed(Box::new(Diagnosed { sources, diagnostics }))
    }

    /// What to do about it.
    pub fn hints(&self) -> Vec<String> {
        match self {
            BakeError::Diagnosed(diagnosed) => diagnosed
                .diagnostics
                .all()
                .iter()
                .flat_map(|diagnostic: &Diagnostic| diagnostic.hints.clone())
                .collect(),
            BakeError::UnknownTarget {
                name, is_group: true, ..
            } => vec![format!("`{name}` is a group, which cannot stand for a target here")],
            BakeError::UnknownTarget { meant, .. }
            | BakeError::NoMatch { meant, .. }
            | BakeError::Override { meant, .. } => {
                meant.iter().map(|meant| format!("did you mean `{meant}`?")).collect()
            }
            BakeError::Compose { .. } | BakeError::TooLarge { .. } | BakeError::Link(_) | BakeError::Thread(_) => {
                Vec::new()
            }
        }
    }
}
