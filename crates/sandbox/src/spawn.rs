//! Starting a sandbox and waiting for it.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use rustix::fs::MemfdFlags;

use crate::control_group::{ControlGroup, ControlGroupError};
use crate::launcher::{Launcher, StepFiles};
use crate::report::Report;
use crate::step::{Exit, RootSource, Stdio, Step};
use crate::sys::{self, RawPid};
use crate::{pty, stubs};

/// Why a step could not be run. That its process ended badly is no error of the sandbox: see [`Exit`].
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The sandbox's first process could not be started.
    #[error("failed to start the sandbox")]
    Spawn(#[source] io::Error),
    /// Something about the root or the namespaces.
    #[error("failed to {stage}")]
    Setup {
        /// What was tried.
        stage: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program is missing or cannot be executed.
    #[error("failed to run `{program}`")]
    Program {
        /// Which.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its processes cannot be limited as they should be.
    #[error("failed to make a control group")]
    ControlGroup(#[source] ControlGroupError),
    /// The sandbox ended without a word: it was killed.
    #[error("the sandbox was killed")]
    Killed,
    /// What was made for the sandbox could not be removed.
    #[error("failed to remove the mount points of the sandbox")]
    CleanUp(#[source] io::Error),
}

/// A step that runs. Dropping it kills the step.
#[derive(Debug)]
pub struct RunningStep {
    /// What the process writes to its standard output; None unless [`Stdio::Pipes`].
    pub stdout: Option<File>,
    /// What it writes to its standard error; None unless [`Stdio::Pipes`].
    pub stderr: Option<File>,
    /// The other side of its terminal; None unless [`Stdio::Terminal`].
    pub terminal: Option<File>,
    report: Option<File>,
    handle: StepHandle,
    root: RootSource,
    _group: ControlGroup,
}

/// Signals a running step from another thread.
#[derive(Debug, Clone)]
pub struct StepHandle {
    launcher: Arc<Launcher>,
    number: u64,
    control: Arc<Mutex<File>>,
}

impl StepHandle {
    /// Sends a signal to the step's process group.
    pub fn signal(&self, signal: i32) {
        let byte = [u8::try_from(signal).unwrap_or(0)];
        let mut control = self.control.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // A step that has ended needs no signal.
        let _ = control.write_all(&byte);
    }

    /// Ends the step and everything that it started, at once.
    pub fn kill(&self) {
        self.launcher.kill(self.number);
    }
}

impl Step {
    /// Starts the step. The calling thread may end; the step lives until it is dropped or this process ends.
    pub fn spawn(&self) -> Result<RunningStep, SandboxError> {
        let spawn = SandboxError::Spawn;
        let group = ControlGroup::make(&self.resources).map_err(SandboxError::ControlGroup)?;
        let handed = serde_json::to_vec(&(self, group.directories()));
        let step = memory_file(&handed.map_err(|error| spawn(io::Error::other(error)))?).map_err(spawn)?;
        let (control_read, control_write) = pipe().map_err(spawn)?;
        let (report_read, report_write) = pipe().map_err(spawn)?;
        let streams = Streams::new(self.stdio).map_err(spawn)?;
        let own = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
        let stream = |number: usize| -> BorrowedFd<'_> {
            streams.inner[number]
                .as_ref()
                .map_or(own[number], |stream| stream.as_fd())
        };
        let files = StepFiles {
            step: step.as_fd(),
            control: control_read.as_fd(),
            report: report_write.as_fd(),
            streams: [stream(0), stream(1), stream(2)],
        };
        let (launcher, number) = Launcher::launch(self, &files).map_err(spawn)?;
        Ok(RunningStep {
            stdout: streams.stdout,
            stderr: streams.stderr,
            terminal: streams.terminal,
            report: Some(File::from(report_read)),
            handle: StepHandle {
                launcher,
                number,
                control: Arc::new(Mutex::new(File::from(control_write))),
            },
            root: self.root.clone(),
            _group: group,
        })
    }
}

impl RunningStep {
    /// Signals the step from elsewhere.
    pub fn handle(&self) -> StepHandle {
        self.handle.clone()
    }

    /// Waits until the step's process has ended, everything that it started is gone, and nothing of the sandbox
    /// is left in its upper directory.
    pub fn wait(mut self) -> Result<Exit, SandboxError> {
        let mut made = Vec::new();
        let mut outcome = Err(SandboxError::Killed);
        if let Some(report) = self.report.take() {
            for line in BufReader::new(report).lines().map_while(Result::ok) {
                match serde_json::from_str(&line) {
                    Ok(Report::Made(stubs)) => made = stubs,
                    Ok(Report::Failed { stage, errno }) => {
                        outcome = Err(SandboxError::Setup {
                            stage,
                            source: io::Error::from_raw_os_error(errno),
                        });
                    }
                    Ok(Report::NotStarted { program, errno, reason }) => {
                        let source = io::Error::from_raw_os_error(errno);
                        outcome = Err(SandboxError::Program {
                            program,
                            source: match reason {
                                Some(reason) => io::Error::new(source.kind(), reason),
                                None => source,
                            },
                        });
                    }
                    // What was reported before says more than the exit code that it caused.
                    Ok(Report::Ended(exit)) if matches!(outcome, Err(SandboxError::Killed)) => outcome = Ok(exit),
                    Ok(Report::Ended(_)) => {}
                    Err(error) => outcome = Err(SandboxError::Spawn(error.into())),
                }
            }
        }
        if matches!(outcome, Err(SandboxError::Killed)) {
            // Its launcher may be what was killed, and takes requests until it is gone altogether.
            self.handle.launcher.retire();
        }
        stubs::remove(&self.root, &made).map_err(SandboxError::CleanUp)?;
        outcome
    }
}

impl Drop for RunningStep {
    fn drop(&mut self) {
        if let Some(mut report) = self.report.take() {
            self.handle.kill();
            // Its end is the end of everything in the sandbox.
            let _ = io::copy(&mut report, &mut io::sink());
        }
    }
}

/// The step's ends of its streams, and ours.
#[derive(Default)]
struct Streams {
    inner: [Option<OwnedFd>; 3],
    stdout: Option<File>,
    stderr: Option<File>,
    terminal: Option<File>,
}

impl Streams {
    fn new(stdio: Stdio) -> io::Result<Streams> {
        match stdio {
            Stdio::Inherit => Ok(Streams::default()),
            Stdio::InheritOutput => Ok(Streams {
                inner: [Some(no_input()?), None, None],
                ..Streams::default()
            }),
            Stdio::Pipes => {
                let (stdout, stdout_inner) = pipe()?;
                let (stderr, stderr_inner) = pipe()?;
                Ok(Streams {
                    inner: [Some(no_input()?), Some(stdout_inner), Some(stderr_inner)],
                    stdout: Some(stdout.into()),
                    stderr: Some(stderr.into()),
                    terminal: None,
                })
            }
            Stdio::Terminal => {
                let (ours, theirs) = pty::open()?;
                let inner = [Some(theirs.try_clone()?), Some(theirs.try_clone()?), Some(theirs)];
                Ok(Streams {
                    inner,
                    terminal: Some(ours.into()),
                    ..Streams::default()
                })
            }
        }
    }
}

fn no_input() -> io::Result<OwnedFd> {
    Ok(File::open("/dev/null")?.into())
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

fn memory_file(bytes: &[u8]) -> io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create("kiln-step", MemfdFlags::CLOEXEC)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    rustix::fs::seek(file.as_fd(), rustix::fs::SeekFrom::Start(0))?;
    Ok(file.into())
}

/// Runs this program again, with descriptors at agreed numbers. Unlike fork, `posix_spawn` copies nothing of a
/// process that has many threads and much memory.
pub(crate) fn spawn_self(argv: &[CString], descriptors: &[(i32, i32)]) -> io::Result<RawPid> {
    let program = c"/proc/self/exe";
    let argv: Vec<*mut libc::c_char> = argv
        .iter()
        .map(|word| word.as_ptr().cast_mut())
        .chain([std::ptr::null_mut()])
        .collect();
    let env = [std::ptr::null_mut()];
    // An agreed number may be one of the descriptors to hand over: all are moved out of the way first.
    let moved: Vec<(OwnedFd, i32)> = descriptors
        .iter()
        .map(|&(from, to)| Ok((move_up(from)?, to)))
        .collect::<io::Result<_>>()?;
    let mut process = 0;
    // SAFETY: the structures are initialised before use and destroyed after; all pointers outlive the call;
    // the argument and environment lists end with null.
    unsafe {
        let mut actions: libc::posix_spawn_file_actions_t = std::mem::zeroed();
        errno(libc::posix_spawn_file_actions_init(&raw mut actions))?;
        let mut result = Ok(());
        for (from, to) in &moved {
            result = result.and_then(|()| {
                errno(libc::posix_spawn_file_actions_adddup2(
                    &raw mut actions,
                    from.as_raw_fd(),
                    *to,
                ))
            });
        }
        let result = result.and_then(|()| {
            errno(libc::posix_spawn(
                &raw mut process,
                program.as_ptr(),
                &raw const actions,
                std::ptr::null(),
                argv.as_ptr(),
                env.as_ptr(),
            ))
        });
        libc::posix_spawn_file_actions_destroy(&raw mut actions);
        result?;
    }
    Ok(process)
}

/// A copy above the agreed numbers.
fn move_up(fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: duplicates a descriptor that the caller holds open; the new one is owned by nobody else.
    unsafe {
        let copy = sys::check(libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 16))?;
        Ok(std::os::fd::FromRawFd::from_raw_fd(copy))
    }
}

fn errno(value: libc::c_int) -> io::Result<()> {
    if value == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(value))
    }
}
