//! Pseudo-terminals.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

/// A pseudo-terminal: our side, and the side of the process.
pub(crate) fn open() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = rustix::pty::openpt(flags)?;
    rustix::pty::grantpt(&ours)?;
    rustix::pty::unlockpt(&ours)?;
    let name = rustix::pty::ptsname(&ours, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let theirs = rustix::fs::open(name.as_c_str(), flags, Mode::empty())?;
    Ok((ours, theirs))
}

/// Gives the terminal behind `ours` the size of the terminal `like`.
pub fn copy_size(like: BorrowedFd<'_>, ours: BorrowedFd<'_>) -> io::Result<()> {
    let size: Winsize = rustix::termios::tcgetwinsize(like)?;
    Ok(rustix::termios::tcsetwinsize(ours.as_fd(), size)?)
}
