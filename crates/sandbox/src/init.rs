//! Process 1 of a sandbox, forked from the launcher: builds the root, starts the step's process, forwards signals, reaps, and tells how
//! the process ended. When it ends, the kernel ends everything else in the sandbox.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Mode;

use crate::mounts::{During, Stage};
use crate::report::{Report, Reporter};
use crate::step::{Exit, Network, Privileges, Stdio, Step};
use crate::sys::{self, RawPid};
use crate::{capabilities, mounts, refusal};

/// Runs the step. The value is the init's own exit code, which only says whether everything was reported.
pub(crate) fn run(step: &Step, control: &OwnedFd, reporter: &Reporter) -> i32 {
    match start(step, reporter) {
        Ok(started) => match supervise(step, &started, control) {
            Ok(exit) => {
                reporter.send(&Report::Ended(exit));
                0
            }
            Err(error) => {
                reporter.fail(&Stage {
                    what: "wait for the process".into(),
                    error,
                });
                1
            }
        },
        Err(stage) => {
            reporter.fail(&stage);
            1
        }
    }
}

/// The step's process, and where its end is told.
struct Started {
    process: RawPid,
    signals: OwnedFd,
}

fn start(step: &Step, reporter: &Reporter) -> Result<Started, Stage> {
    // If the launcher is killed, so is everything here.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .during("tie to the parent")?;
    // What is made here has the permissions that are said here.
    rustix::process::umask(Mode::empty());
    let mut root = mounts::build(step)?;
    let made = std::mem::take(&mut root.made);
    if !made.is_empty() {
        reporter.send(&Report::Made(made));
    }
    root.enter()?;
    rustix::system::sethostname(step.hostname.as_bytes()).during("set the host name")?;
    if step.network == Network::None {
        sys::loopback_up().during("bring the loopback interface up")?;
    }
    let signals = sys::signal_descriptor().during("watch for signals")?;
    match sys::fork().during("start the process")? {
        0 => {
            let (program, error) = match become_process(step) {
                Ok(never) => match never {},
                Err(failure) => failure,
            };
            match program {
                Some(program) => {
                    let errno = error.error.raw_os_error().unwrap_or(libc::EIO);
                    let search = step.env.iter().find(|(name, _)| name == "PATH");
                    let search = search.map(|(_, value)| value.clone()).unwrap_or_default();
                    let reason = match errno {
                        libc::ENOENT | libc::ENOEXEC => refusal::reason(OsStr::new(&program), &search),
                        _ => None,
                    };
                    reporter.send(&Report::NotStarted { program, errno, reason });
                    sys::exit_now(if errno == libc::ENOENT { 127 } else { 126 });
                }
                None => {
                    reporter.fail(&error);
                    sys::exit_now(1);
                }
            }
        }
        process => Ok(Started { process, signals }),
    }
}

/// Waits for the process and reaps whatever else ends, forwarding what arrives on the control pipe.
fn supervise(step: &Step, started: &Started, control: &OwnedFd) -> io::Result<Exit> {
    loop {
        let mut watched = [
            PollFd::new(&started.signals, PollFlags::IN),
            PollFd::new(control, PollFlags::IN),
        ];
        match poll(&mut watched, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let told = watched[1].revents();
        while sys::read_signal(started.signals.as_fd())?.is_some() {}
        loop {
            match sys::wait(-1, libc::WNOHANG) {
                Ok((0, _)) => break,
                Ok((pid, status)) if pid == started.process => return Ok(exit_of(step, status)),
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::ECHILD) => break,
                Err(error) => return Err(error),
            }
        }
        if !told.is_empty() && !forward(control.as_fd(), started.process) {
            // Whoever asked for this step is gone.
            sys::exit_now(1);
        }
    }
}

/// Forwards signals, one byte each. False: the other end is closed.
fn forward(control: BorrowedFd<'_>, process: RawPid) -> bool {
    let mut bytes = [0; 16];
    match rustix::io::read(control, &mut bytes) {
        Ok(0) => false,
        Ok(count) => {
            for &signal in &bytes[..count] {
                // The process leads a group of its own; a signal is for all that it started.
                let _ = sys::kill(-process, i32::from(signal)).or_else(|_| sys::kill(process, i32::from(signal)));
            }
            true
        }
        Err(_) => true,
    }
}

fn exit_of(step: &Step, status: libc::c_int) -> Exit {
    let exit = if libc::WIFSIGNALED(status) {
        Exit::Signal(libc::WTERMSIG(status))
    } else {
        Exit::Code(libc::WEXITSTATUS(status))
    };
    if step.emulator.is_none() {
        return exit;
    }
    // A shell shows the death of its child as 128 and the signal's number.
    let fatal = match exit {
        Exit::Signal(signal) => signal,
        Exit::Code(code) => code - 128,
        Exit::EmulatorDied { .. } => 0,
    };
    if [libc::SIGILL, libc::SIGSEGV, libc::SIGABRT, libc::SIGBUS, libc::SIGTRAP].contains(&fatal) {
        let binary = step
            .argv
            .first()
            .map(|program| program.to_string_lossy().into_owned())
            .unwrap_or_default();
        return Exit::EmulatorDied { binary, signal: fatal };
    }
    exit
}

enum Never {}

type StartFailure = (Option<String>, Stage);

/// Becomes the step's process: session, limits, user, capabilities, working directory, program. The system-call filter is
/// there from the launcher on.
fn become_process(step: &Step) -> Result<Never, StartFailure> {
    prepare(step).map_err(|stage| (None, stage))?;
    let program = step.argv.first().cloned().unwrap_or_default();
    let named = Some(program.to_string_lossy().into_owned());
    let failed = |error: io::Error| {
        (
            named.clone(),
            Stage {
                what: "start the program".into(),
                error,
            },
        )
    };
    let texts = |list: Vec<Vec<u8>>| -> io::Result<Vec<CString>> {
        list.into_iter()
            .map(|text| sys::c_string(OsStr::from_bytes(&text)))
            .collect()
    };
    let argv = texts(step.argv.iter().map(|word| word.as_bytes().to_vec()).collect()).map_err(failed)?;
    let env = step
        .env
        .iter()
        .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat())
        .collect();
    let env = texts(env).map_err(failed)?;
    Err(failed(execute(step, &program, &argv, &env)))
}

fn execute(step: &Step, program: &OsStr, argv: &[CString], env: &[CString]) -> io::Error {
    let path = |text: &OsStr| sys::c_string(text);
    if program.as_bytes().contains(&b'/') {
        return path(program).map_or_else(|error| error, |path| sys::exec(&path, argv, env));
    }
    let search = step
        .env
        .iter()
        .find(|(name, _)| name == "PATH")
        .map(|(_, value)| value.clone())
        .unwrap_or_default();
    let mut denied = None;
    for directory in std::env::split_paths(&search) {
        let error = match path(directory.join(program).as_os_str()) {
            Ok(path) => sys::exec(&path, argv, env),
            Err(error) => error,
        };
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => {}
            Some(libc::EACCES) => denied = Some(error),
            _ => return error,
        }
    }
    denied.unwrap_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
}

fn prepare(step: &Step) -> Result<(), Stage> {
    rustix::process::setsid().during("start a session")?;
    match step.stdio {
        Stdio::Terminal => rustix::process::ioctl_tiocsctty(rustix::stdio::stdin()).during("take the terminal")?,
        Stdio::Pipes | Stdio::InheritOutput | Stdio::Inherit => {}
    }
    for (name, soft, hard) in &step.ulimits {
        let what = format!("set the limit `{name}`");
        let resource = resource(name)
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
            .during(&what)?;
        sys::set_limit(resource, *soft, *hard).during(&what)?;
    }
    sys::unblock_signals();
    if step.privileges == Privileges::Default {
        capabilities::drop_bounding_set().during("drop capabilities")?;
    }
    match sys::set_groups(&step.groups) {
        // A single-id user namespace forbids it; there are no other groups to have then.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {}
        result => result.during("set the groups")?,
    }
    sys::set_group(step.gid).during(&format!("become group {}", step.gid))?;
    sys::set_user(step.uid).during(&format!("become user {}", step.uid))?;
    rustix::process::chdir(Path::new(&step.cwd)).during(&format!("change to {}", step.cwd.display()))?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    Ok(())
}

/// The numbers of Docker's limit names.
pub(crate) fn resource(name: &str) -> Option<u32> {
    let resource = match name {
        "core" => libc::RLIMIT_CORE,
        "cpu" => libc::RLIMIT_CPU,
        "data" => libc::RLIMIT_DATA,
        "fsize" => libc::RLIMIT_FSIZE,
        "locks" => libc::RLIMIT_LOCKS,
        "memlock" => libc::RLIMIT_MEMLOCK,
        "msgqueue" => libc::RLIMIT_MSGQUEUE,
        "nice" => libc::RLIMIT_NICE,
        "nofile" => libc::RLIMIT_NOFILE,
        "nproc" => libc::RLIMIT_NPROC,
        "rss" => libc::RLIMIT_RSS,
        "rtprio" => libc::RLIMIT_RTPRIO,
        "rttime" => libc::RLIMIT_RTTIME,
        "sigpending" => libc::RLIMIT_SIGPENDING,
        "stack" => libc::RLIMIT_STACK,
        _ => return None,
    };
    Some(resource)
}
