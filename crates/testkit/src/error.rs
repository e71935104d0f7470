//! What can go wrong in the fixtures themselves.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// A fixture could not be made. A test that meets one fails: it is never a reason to pass.
#[derive(Debug, Error)]
pub enum TestkitError {
    /// A file or directory operation failed.
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
    /// A program could not be started.
    #[error("failed to start `{program}`")]
    Start {
        /// The program.
        program: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A program ended with an error, or did not end in time.
    #[error("`{program}` failed ({status}): {stderr}")]
    Program {
        /// The command line.
        program: String,
        /// Exit status in words.
        status: String,
        /// Tail of what it said.
        stderr: String,
    },
    /// A conversation with a server on loopback failed.
    #[error("failed to {action} at {address}")]
    Network {
        /// What was tried.
        action: &'static str,
        /// Host and port.
        address: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A server answered with something else than expected.
    #[error("{address} answered {status} to {request}: {body}")]
    Answer {
        /// Host and port.
        address: String,
        /// Method and path.
        request: String,
        /// HTTP status.
        status: u16,
        /// Start of the body.
        body: String,
    },
    /// Something that the fixture needs is not there.
    #[error("{what} is missing: {remedy}")]
    Missing {
        /// What is missing.
        what: String,
        /// What to do about it.
        remedy: String,
    },
}

impl TestkitError {
    /// Wraps an I/O error with what was tried on which path.
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
