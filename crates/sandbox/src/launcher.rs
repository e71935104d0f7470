//! The launcher: this program again, as a process with one thread, from which the inits of sandboxes are forked.
//!
//! Starting the program anew for each step would cost more than all mounts of a step together, and forking the process
//! that builds would copy its threads' locks. So a launcher is started for the first step, told of each step over a
//! socket, and ends with the process that started it. Steps of a foreign platform have a launcher for each emulator: it
//! lives in a user namespace of its own whose `binfmt_misc` has that emulator, and so do the sandboxes forked from it.
//!
//! The launcher keeps the writing end of each step's report open until the step's init is reaped, and with it everything
//! that ran in its process namespace: the end of the report is the end of the sandbox.

use std::ffi::{CString, OsStr};
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};
use serde::{Deserialize, Serialize};

use crate::emulator::Emulator;
use crate::mounts::{During, Stage};
use crate::report::Reporter;
use crate::spawn::spawn_self;
use crate::step::{Network, Privileges, Step};
use crate::sys::{self, RawPid};
use crate::{binfmt, control_group, filter, namespace};

/// How the program is called when it is to be a launcher. The word after it is its [`Purpose`] in JSON.
const ARGV0: &str = "kiln-sandbox";

/// The descriptor of the launcher's socket.
const SOCKET_FD: i32 = 3;

/// Bytes of a request at most: a few numbers and names.
const REQUEST_SIZE: usize = 256;

#[derive(Debug, Serialize, Deserialize)]
enum Request {
    /// Comes with the descriptors of [`StepFiles`].
    Start { number: u64, network: Network },
    /// Ends a step that was started, if it has not ended yet.
    Kill { number: u64 },
}

/// Descriptors that belong to one step.
pub(crate) struct StepFiles<'a> {
    /// The step and its control groups in JSON.
    pub(crate) step: BorrowedFd<'a>,
    /// Signals to forward; its end means that nobody waits for the step any more.
    pub(crate) control: BorrowedFd<'a>,
    /// Where the sandbox reports.
    pub(crate) report: BorrowedFd<'a>,
    /// Standard input, output and error.
    pub(crate) streams: [BorrowedFd<'a>; 3],
}

/// The number of descriptors in [`StepFiles`].
const STEP_FILES: usize = 6;

/// A running launcher, as the process sees it that started it.
#[derive(Debug)]
pub(crate) struct Launcher {
    /// None once it is dropped.
    socket: Option<OwnedFd>,
    process: RawPid,
    next: AtomicU64,
}

/// What a launcher is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Purpose {
    emulator: Option<Emulator>,
    privileges: Privileges,
}

/// The launchers of this process.
static LAUNCHERS: Mutex<Vec<(Purpose, Arc<Launcher>)>> = Mutex::new(Vec::new());

impl Launcher {
    /// Starts a step. Gives the launcher that did, and the number by which it knows the step.
    pub(crate) fn launch(step: &Step, files: &StepFiles<'_>) -> io::Result<(Arc<Launcher>, u64)> {
        let private = |emulator: &Emulator| matches!(emulator, Emulator::Private { .. });
        let purpose = Purpose {
            emulator: step.emulator.clone().filter(private),
            privileges: step.privileges,
        };
        if purpose.emulator.is_some() && purpose.privileges == Privileges::Insecure {
            // It could change the table of emulators, which is nobody else's business.
            let launcher = Arc::new(Launcher::start(&purpose)?);
            let number = launcher.send_step(step.network, files)?;
            return Ok((launcher, number));
        }
        let mut launchers = LAUNCHERS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = launchers.iter().position(|(known, _)| *known == purpose) {
            let launcher = launchers[at].1.clone();
            match launcher.send_step(step.network, files) {
                Ok(number) => return Ok((launcher, number)),
                // It was killed, as when memory ran out. Another one may fare better.
                Err(_) => drop(launchers.swap_remove(at)),
            }
        }
        let launcher = Arc::new(Launcher::start(&purpose)?);
        launchers.push((purpose, launcher.clone()));
        let number = launcher.send_step(step.network, files)?;
        Ok((launcher, number))
    }

    fn start(purpose: &Purpose) -> io::Result<Launcher> {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let nothing = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        let purpose = serde_json::to_vec(purpose).map_err(io::Error::other)?;
        let argv = [
            CString::new(ARGV0).map_err(io::Error::other)?,
            sys::c_string(OsStr::from_bytes(&purpose))?,
        ];
        let nothing = nothing.as_raw_fd();
        let process = spawn_self(
            &argv,
            &[
                (nothing, 0),
                (nothing, 1),
                (nothing, 2),
                (theirs.as_raw_fd(), SOCKET_FD),
            ],
        )?;
        Ok(Launcher {
            socket: Some(ours),
            process,
            next: AtomicU64::new(0),
        })
    }

    fn send_step(&self, network: Network, files: &StepFiles<'_>) -> io::Result<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let [stdin, stdout, stderr] = files.streams;
        let descriptors: [BorrowedFd<'_>; STEP_FILES] =
            [files.step, files.control, files.report, stdin, stdout, stderr];
        self.send(&Request::Start { number, network }, &descriptors)?;
        Ok(number)
    }

    /// Ends a step and everything that it started, at once.
    pub(crate) fn kill(&self, number: u64) {
        // A launcher that is gone has taken its steps along.
        let _ = self.send(&Request::Kill { number }, &[]);
    }

    /// Gives it no further steps. Those that it has go on.
    pub(crate) fn retire(self: &Arc<Self>) {
        let mut launchers = LAUNCHERS.lock().unwrap_or_else(PoisonError::into_inner);
        launchers.retain(|(_, known)| !Arc::ptr_eq(known, self));
    }

    fn send(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let Some(socket) = &self.socket else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let bytes = serde_json::to_vec(request).map_err(io::Error::other)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(STEP_FILES))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        let data = [IoSlice::new(&bytes)];
        rustix::io::retry_on_intr(|| rustix::net::sendmsg(socket, &data, &mut ancillary, SendFlags::NOSIGNAL))?;
        Ok(())
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // Without its socket it ends.
        self.socket = None;
        let _ = sys::wait(self.process, 0);
    }
}

/// Becomes a launcher if the program was started as one, and never returns then. Must be the first thing that `main`
/// does: no thread may run yet.
pub fn init_if_requested() {
    let mut words = std::env::args_os();
    if words.next().is_some_and(|name| name == ARGV0) {
        let purpose = words.next().unwrap_or_default();
        sys::exit_now(serve(&purpose));
    }
}

/// A step that was started and not reaped yet.
struct Started {
    number: u64,
    init: RawPid,
    /// Held until it is reaped.
    _report: OwnedFd,
}

/// What came over the socket.
struct Received {
    request: Request,
    descriptors: Vec<OwnedFd>,
}

fn serve(purpose: &OsStr) -> i32 {
    let socket = sys::inherited(SOCKET_FD);
    // A terminal's interrupt reaches the whole foreground group: the launcher leaves it, and its parent decides.
    let prepared = rustix::process::setsid()
        .during("leave the session")
        .and_then(|_| surroundings(purpose));
    if sys::set_close_on_exec(socket.as_fd(), true).is_err() {
        return 1;
    }
    let Ok(signals) = sys::signal_descriptor() else {
        return 1;
    };
    // Once for all steps: they inherit it.
    sys::reset_signals();
    let mut running: Vec<Started> = Vec::new();
    loop {
        let mut watched = [
            PollFd::new(&signals, PollFlags::IN),
            PollFd::new(&socket, PollFlags::IN),
        ];
        match poll(&mut watched, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return 1,
        }
        let told = watched[1].revents();
        while matches!(sys::read_signal(signals.as_fd()), Ok(Some(_))) {}
        while let Ok((init @ 1.., _)) = sys::wait(-1, libc::WNOHANG) {
            running.retain(|started| started.init != init);
        }
        if told.is_empty() {
            continue;
        }
        match receive(&socket) {
            Ok(Some(received)) => match received.request {
                Request::Start { number, network } => {
                    if let Some(step) = StepDescriptors::new(received.descriptors) {
                        start(number, network, step, &prepared, &mut running);
                    }
                }
                Request::Kill { number } => {
                    if let Some(started) = running.iter().find(|started| started.number == number) {
                        // It is not reaped yet, so the number is still its own.
                        let _ = sys::kill(started.init, libc::SIGKILL);
                    }
                }
            },
            // Whoever started this launcher is gone. The kernel ends the inits with it.
            Ok(None) => return 0,
            Err(_) => return 1,
        }
    }
}

/// Everything that is the same for all steps of a launcher. Gives the emulator's table, which is there for as long as the
/// descriptor is open.
fn surroundings(purpose: &OsStr) -> Result<Option<OwnedFd>, Stage> {
    let purpose: Purpose = serde_json::from_slice(purpose.as_bytes())
        .map_err(io::Error::other)
        .during("read what the launcher is for")?;
    let table = match purpose.emulator {
        Some(Emulator::Private { path, machine }) => {
            namespace::unshare_with_same_ids(libc::CLONE_NEWNS).during("make a user namespace")?;
            let what = format!("register the emulator {}", path.display());
            let program = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).during(&what)?;
            Some(binfmt::register_private(machine, &program).during(&what)?)
        }
        Some(Emulator::Host { .. }) | None => None,
    };
    if purpose.privileges == Privileges::Default {
        // Here, because the kernel compiles a filter each time that it is installed. Inits do nothing that it refuses.
        filter::install().during("install the system-call filter")?;
    }
    Ok(table)
}

/// The launcher's side of [`StepFiles`].
struct StepDescriptors {
    step: OwnedFd,
    control: OwnedFd,
    report: OwnedFd,
    streams: [OwnedFd; 3],
}

impl StepDescriptors {
    fn new(descriptors: Vec<OwnedFd>) -> Option<StepDescriptors> {
        let [step, control, report, stdin, stdout, stderr]: [OwnedFd; STEP_FILES] = descriptors.try_into().ok()?;
        Some(StepDescriptors {
            step,
            control,
            report,
            streams: [stdin, stdout, stderr],
        })
    }
}

fn receive(socket: &OwnedFd) -> io::Result<Option<Received>> {
    let mut bytes = [0; REQUEST_SIZE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(STEP_FILES))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let length = {
        let mut data = [IoSliceMut::new(&mut bytes)];
        rustix::net::recvmsg(socket, &mut data, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?.bytes
    };
    if length == 0 {
        return Ok(None);
    }
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    let request = serde_json::from_slice(&bytes[..length]).map_err(io::Error::other)?;
    Ok(Some(Received { request, descriptors }))
}

fn start(
    number: u64,
    network: Network,
    step: StepDescriptors,
    prepared: &Result<Option<OwnedFd>, Stage>,
    running: &mut Vec<Started>,
) {
    let reporter = Reporter(step.report);
    if let Err(stage) = prepared {
        return reporter.fail(stage);
    }
    let mut namespaces = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    if network == Network::None {
        namespaces |= libc::CLONE_NEWNET;
    }
    match sys::fork_into(namespaces) {
        Ok(0) => {
            // Another step must not seem to run for as long as this one.
            running.clear();
            sys::exit_now(become_init(step.step, &step.control, &step.streams, &reporter));
        }
        Ok(init) => running.push(Started {
            number,
            init,
            _report: reporter.0,
        }),
        Err(error) => reporter.fail(&Stage {
            what: "make namespaces".into(),
            error,
        }),
    }
}

fn become_init(step: OwnedFd, control: &OwnedFd, streams: &[OwnedFd; 3], reporter: &Reporter) -> i32 {
    let ready = rustix::process::setsid()
        .during("leave the session")
        .and_then(|_| sys::set_standard_streams(streams).during("set the standard streams"))
        .and_then(|()| read_step(step))
        .and_then(|(step, groups)| {
            control_group::enter(&groups).during("enter the control group")?;
            Ok(step)
        });
    match ready {
        Ok(step) => crate::init::run(&step, control, reporter),
        Err(stage) => {
            reporter.fail(&stage);
            1
        }
    }
}

/// The step, and the control groups that are made for it.
fn read_step(step: OwnedFd) -> Result<(Step, Vec<PathBuf>), Stage> {
    let mut bytes = Vec::new();
    std::fs::File::from(step)
        .read_to_end(&mut bytes)
        .during("read the step")?;
    serde_json::from_slice(&bytes)
        .map_err(io::Error::other)
        .during("read the step")
}
