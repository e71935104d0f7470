//! The first process of a sandbox: it leaves the host's namespaces and waits for the init that it forks.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use serde::{Deserialize, Serialize};

use crate::emulator::Emulator;
use crate::mounts::{During, Stage};
use crate::namespace;
use crate::step::{Exit, Network, Step};
use crate::stubs::Made;
use crate::sys;

/// How the program is called when it is to be a sandbox.
pub(crate) const ARGV0: &str = "kiln-sandbox";

/// Descriptors that the parent hands over: the step, the control pipe, the report pipe, and a terminal.
pub(crate) const STEP_FD: i32 = 3;
pub(crate) const CONTROL_FD: i32 = 4;
pub(crate) const REPORT_FD: i32 = 5;

/// What the sandbox tells its parent: one JSON value a line.
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

/// Tells the parent something.
pub(crate) struct Reporter(OwnedFd);

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

/// Becomes a sandbox if the program was started as one, and never returns then. Must be the first thing that
/// `main` does: no thread may run yet.
pub fn init_if_requested() {
    if std::env::args_os().next().is_some_and(|name| name == ARGV0) {
        sys::exit_now(supervise());
    }
}

fn supervise() -> i32 {
    let control = sys::inherited(CONTROL_FD);
    let reporter = Reporter(sys::inherited(REPORT_FD));
    for fd in [control.as_fd(), reporter.0.as_fd()] {
        if sys::set_close_on_exec(fd, true).is_err() {
            return 1;
        }
    }
    match read_step().and_then(|step| leave_host(&step).map(|()| step)) {
        Ok(step) => fork_init(&step, control, reporter),
        Err(stage) => {
            reporter.fail(&stage);
            1
        }
    }
}

fn read_step() -> Result<Step, Stage> {
    let mut bytes = Vec::new();
    let file = std::fs::File::from(sys::inherited(STEP_FD));
    io::BufReader::new(file)
        .read_to_end(&mut bytes)
        .during("read the step")?;
    serde_json::from_slice(&bytes)
        .map_err(io::Error::other)
        .during("read the step")
}

/// A terminal's interrupt reaches the whole foreground group: the sandbox leaves it, and its parent decides.
fn leave_host(step: &Step) -> Result<(), Stage> {
    rustix::process::setsid().during("leave the session")?;
    let mut flags = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    if step.network == Network::None {
        flags |= libc::CLONE_NEWNET;
    }
    if matches!(step.emulator, Some(Emulator::Private { .. })) {
        namespace::unshare_with_same_ids(flags).during("make a user namespace")
    } else {
        sys::unshare(flags).during("make namespaces")
    }
}

fn fork_init(step: &Step, control: OwnedFd, reporter: Reporter) -> i32 {
    match sys::fork() {
        Ok(0) => sys::exit_now(crate::init::run(step, &control, &reporter)),
        Ok(init) => {
            drop((control, reporter));
            match sys::wait(init, 0) {
                Ok((_, 0)) => 0,
                _ => 1,
            }
        }
        Err(error) => {
            reporter.fail(&Stage {
                what: "start the init".into(),
                error,
            });
            1
        }
    }
}
