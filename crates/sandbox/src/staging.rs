//! A file system in memory where files and stacks are made before they are mounted where the process sees them.
//!
//! Kernels before 6.15 copy a mount only if it is attached somewhere, so this one is: out of the process' sight,
//! below another mount.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::mount::OpenTreeFlags;

use crate::mounts::{attach_at, new_filesystem};
use crate::overlay;
use crate::step::Changes;
use crate::sys;

/// The file system, and how many things are in it.
pub(crate) struct Staging {
    root: OwnedFd,
    made: usize,
    has_empty: bool,
}

/// The name of the directory that stays empty.
const EMPTY: &str = "empty";

impl Staging {
    pub(crate) fn new() -> io::Result<Staging> {
        let root = new_filesystem("tmpfs", &[("mode", "700"), ("size", "64m")])?;
        Ok(Staging {
            root,
            made: 0,
            has_empty: false,
        })
    }

    /// To be attached before anything is made.
    pub(crate) fn directory(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    fn name(&mut self) -> io::Result<CString> {
        self.made += 1;
        sys::c_string(self.made.to_string())
    }

    /// A detached mount of a file with these bytes.
    pub(crate) fn file(&mut self, content: &[u8], mode: u32, owner: Option<(u32, u32)>) -> io::Result<OwnedFd> {
        let name = self.name()?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.root, &name, flags, Mode::RUSR | Mode::WUSR)?;
        let mut rest = content;
        while !rest.is_empty() {
            let written = rustix::io::retry_on_intr(|| rustix::io::write(&file, rest))?;
            rest = &rest[written..];
        }
        if let Some((uid, gid)) = owner {
            rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        Ok(rustix::mount::open_tree(&self.root, &name, flags)?)
    }

    /// A detached mount of a directory that is empty and cannot be written to.
    pub(crate) fn empty_directory(&mut self) -> io::Result<OwnedFd> {
        if !self.has_empty {
            rustix::fs::mkdirat(&self.root, EMPTY, Mode::from_raw_mode(0o755))?;
            self.has_empty = true;
        }
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let mount = rustix::mount::open_tree(&self.root, EMPTY, flags)?;
        sys::make_read_only(mount.as_fd(), c"", false)?;
        Ok(mount)
    }

    /// Trees stacked in a directory of this file system: a descriptor of the stack's root.
    pub(crate) fn stack(&mut self, lowers: &[PathBuf], changes: Option<&Changes>) -> io::Result<OwnedFd> {
        let changes = changes.map(|changes| (Path::new(&changes.upper), Path::new(&changes.work)));
        let mount = overlay::mount(lowers, changes)?;
        let name = self.name()?;
        rustix::fs::mkdirat(&self.root, &name, Mode::RWXU)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(&self.root, &name, flags, Mode::empty())?;
        attach_at(mount.as_fd(), directory.as_fd())?;
        Ok(mount)
    }
}
