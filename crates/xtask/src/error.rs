//! What can go wrong in a developer command.

use std::io;
use std::path::PathBuf;

use kiln_testkit::TestkitError;
use thiserror::Error;

/// A command could not do its work.
#[derive(Debug, Error)]
pub(crate) enum XtaskError {
    /// The command line makes no sense.
    #[error("{text}")]
    Usage {
        /// What is wrong, and what would be right.
        text: String,
    },
    /// A program could not be started.
    #[error("failed to start `{program}`")]
    Start {
        /// The program.
        program: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("`{program}` failed ({status})")]
    Failed {
        /// The command line.
        program: String,
        /// Exit status in words.
        status: String,
    },
    /// A file operation failed.
    #[error("failed to {action} `{path}`")]
    File {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Something that the machine must have cannot be had.
    #[error("{what} is missing: {remedy}")]
    Missing {
        /// What is missing.
        what: String,
        /// What to do about it.
        remedy: String,
    },
    /// A result is not what it must be.
    #[error("{what}: expected `{expected}`, got `{got}`")]
    Unexpected {
        /// What was looked at.
        what: String,
        /// What it must be.
        expected: String,
        /// What it is.
        got: String,
    },
    /// A fixture could not be made.
    #[error("failed to prepare {what}")]
    Fixture {
        /// Which one.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: TestkitError,
    },
}
