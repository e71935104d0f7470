//! What a sandbox tells the process that asked for it.

use std::io::Write;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::mounts::Stage;
use crate::step::Exit;
use crate::stubs::Made;

/// One JSON value a line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// Mount points that were made in the root.
    Made(Vec<Made>),
    /// The sandbox could not be set up.
    Failed { stage: String, errno: i32 },
    /// The program could not be started: what a shell calls 126 and 127.
    NotStarted {
        program: String,
        errno: i32,
        /// What is wrong with a file that is there.
        reason: Option<String>,
    },
    /// The process ended.
    Ended(Exit),
}

/// The writing end of a step's report.
pub(crate) struct Reporter(pub(crate) OwnedFd);

impl Reporter {
    pub(crate) fn send(&self, report: &Report) {
        let mut line = serde_json::to_vec(report).unwrap_or_default();
        line.push(b'\n');
        // A parent that is gone needs no report.
        if let Ok(copy) = self.0.try_clone() {
            let _ = std::fs::File::from(copy).write_all(&line);
        }
    }

    pub(crate) fn fail(&self, stage: &Stage) {
        let errno = stage.error.raw_os_error().unwrap_or(libc::EIO);
        self.send(&Report::Failed {
            stage: stage.what.clone(),
            errno,
        });
    }
}
