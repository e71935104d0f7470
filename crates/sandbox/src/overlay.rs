//! Stacking trees: overlayfs, always with `userxattr`, so that trees of root and of an ordinary user are the same.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags};

use crate::sys;

/// A detached overlay. `changes` are the upper and the work directory; without them nothing can be written, and
/// there must be two lower directories.
pub(crate) fn mount(lowers: &[PathBuf], changes: Option<(&Path, &Path)>) -> io::Result<OwnedFd> {
    let Some((upper, work)) = changes else {
        return try_mount(lowers, None, Unmount::Waits);
    };
    forget_earlier_use(work);
    match try_mount(lowers, Some((upper, work)), Unmount::AtOnce) {
        // Linux before 5.10 knows only the slow way.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            try_mount(lowers, Some((upper, work)), Unmount::Waits)
        }
        mounted => mounted,
    }
}

/// What unmounting does about changes that are not on the disk yet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unmount {
    /// Nothing: whether they survive a power failure is the business of their owner.
    AtOnce,
    /// It waits until everything on the disk below is written, whoever wrote it.
    Waits,
}

fn try_mount(lowers: &[PathBuf], changes: Option<(&Path, &Path)>, unmount: Unmount) -> io::Result<OwnedFd> {
    let filesystem = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let fd = filesystem.as_fd();
    rustix::mount::fsconfig_set_string(fd, "source", "kiln")?;
    for lower in lowers {
        // Each lower directory is told alone, so their number is not bounded by a page.
        if rustix::mount::fsconfig_set_string(fd, "lowerdir+", lower.as_path()).is_err() {
            // Linux before 6.8 knows only the joined form.
            return mount_joined(lowers, changes, unmount);
        }
    }
    finish(&filesystem, changes, unmount)
}

fn mount_joined(lowers: &[PathBuf], changes: Option<(&Path, &Path)>, unmount: Unmount) -> io::Result<OwnedFd> {
    let filesystem = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let fd = filesystem.as_fd();
    rustix::mount::fsconfig_set_string(fd, "source", "kiln")?;
    rustix::mount::fsconfig_set_string(fd, "lowerdir", joined(lowers).as_str())?;
    finish(&filesystem, changes, unmount)
}

fn finish(filesystem: &OwnedFd, changes: Option<(&Path, &Path)>, unmount: Unmount) -> io::Result<OwnedFd> {
    let fd = filesystem.as_fd();
    if let Some((upper, work)) = changes {
        rustix::mount::fsconfig_set_string(fd, "upperdir", upper)?;
        rustix::mount::fsconfig_set_string(fd, "workdir", work)?;
    }
    if unmount == Unmount::AtOnce {
        rustix::mount::fsconfig_set_flag(fd, "volatile")?;
    }
    rustix::mount::fsconfig_set_flag(fd, "userxattr")?;
    rustix::mount::fsconfig_create(fd)?;
    Ok(rustix::mount::fsmount(
        fd,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )?)
}

/// An overlay whose unmounting does not wait leaves a mark in its work directory and refuses one that has it. The
/// directories of a step that is looked at again after it failed have it, and are as this very process left them.
fn forget_earlier_use(work: &Path) {
    let mark = work.join("work/incompat/volatile");
    // Mostly there is none; if it cannot go, the mount says so.
    if rustix::fs::unlink(mark.join("dirty")).is_ok() {
        let _ = rustix::fs::rmdir(&mark);
    }
}

/// The old mount call, for kernels without the new ones: right over the upper directory.
pub(crate) fn mount_classic(lowers: &[PathBuf], upper: &Path, work: &Path) -> io::Result<()> {
    let options = format!(
        "lowerdir={},upperdir={},workdir={},userxattr",
        joined(lowers),
        upper.display(),
        work.display()
    );
    Ok(rustix::mount::mount(
        "kiln",
        upper,
        "overlay",
        MountFlags::empty(),
        Some(sys::c_string(options)?.as_c_str()),
    )?)
}

fn joined(lowers: &[PathBuf]) -> String {
    let escaped = |path: &PathBuf| path.display().to_string().replace('\\', "\\\\").replace(':', "\\:");
    lowers.iter().map(escaped).collect::<Vec<_>>().join(":")
}
