//! The socket of one step.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid};

use super::AgentSource;
use super::agent::{Answerer, serve};

/// A socket on which an agent answers until this is dropped.
#[derive(Debug)]
pub struct Forwarding {
    path: PathBuf,
    /// The socket by a short name: what a socket's address holds is bounded by 108 bytes.
    address: PathBuf,
    _directory: std::os::fd::OwnedFd,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Forwarding {
    /// Listens in a directory that nobody else uses.
    pub fn start(directory: &Path, source: AgentSource, mode: u32, uid: u32, gid: u32) -> io::Result<Forwarding> {
        const NAME: &str = "agent";
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(directory, flags, Mode::empty())?;
        let address = PathBuf::from(format!("/proc/self/fd/{}/{NAME}", opened.as_raw_fd()));
        let listener = UnixListener::bind(&address)?;
        rustix::fs::chownat(
            &opened,
            NAME,
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
            rustix::fs::AtFlags::empty(),
        )?;
        let path = directory.join(NAME);
        rustix::fs::chmodat(CWD, &path, Mode::from_raw_mode(mode), rustix::fs::AtFlags::empty())?;
        let over = Arc::new(AtomicBool::new(false));
        let told = over.clone();
        let thread = std::thread::spawn(move || listen(&listener, &source, &told));
        Ok(Forwarding {
            path,
            address,
            _directory: opened,
            over,
            thread: Some(thread),
        })
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        // The listener waits for a client: this one tells it that it is over.
        let woken = UnixStream::connect(&self.address).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            let _ = thread.join();
        }
    }
}

fn listen(listener: &UnixListener, source: &AgentSource, over: &AtomicBool) {
    for client in listener.incoming() {
        if over.load(Ordering::Acquire) {
            return;
        }
        let Ok(client) = client else { return };
        let source = source.clone();
        std::thread::spawn(move || {
            // A client that hears nothing tells its user; nothing here depends on it.
            if let Err(error) = answer(client, &source) {
                tracing::debug!(%error, "an SSH agent's client was not answered");
            }
        });
    }
}

fn answer(client: UnixStream, source: &AgentSource) -> io::Result<()> {
    match source {
        AgentSource::Socket(path) => serve(client, Answerer::Agent(UnixStream::connect(path)?)),
        AgentSource::Keys(keys) => serve(client, Answerer::Keys(keys)),
    }
}
