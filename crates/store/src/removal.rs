//! Removal of whole directories, however hostile their contents.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

use crate::StoreError;

/// Removes a directory and everything below it. Nothing at `path`: nothing to do.
///
/// Every step is relative to an open directory, no symbolic link is followed and no mount point entered, so
/// nothing outside `path` can go. Directories without permission for their owner are given it on the way (needs
/// to be their owner or to have power over the owner's user namespace).
pub fn remove_directory_tree(path: &Path) -> Result<(), StoreError> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let name = path
        .file_name()
        .ok_or_else(|| StoreError::io("remove", path, Errno::INVAL))?;
    let error = |error: Errno| StoreError::io("remove", path, error);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = match rustix::fs::open(parent, flags, Mode::empty()) {
        Ok(parent) => parent,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(error(errno)),
    };
    let name = CString::new(name.as_encoded_bytes()).map_err(|_| error(Errno::INVAL))?;
    remove_at(parent.as_fd(), &name).map_err(error)
}

/// How many directories are open at once. What lies deeper is moved up first.
const DEEPEST: usize = 200;

/// How often a directory is listed anew because something was left in it: what was moved up, or what another
/// process still puts there.
const MOST_REPEATS: usize = 10_000;

/// A directory whose children are being removed.
struct Frame {
    entries: Dir,
    name: CString,
}

impl Frame {
    fn directory(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.entries.fd()
    }
}

/// Removes one name in `parent`. Walks with a stack of its own: the depth of a foreign tree bounds neither our
/// stack nor the number of our open files.
fn remove_at(parent: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    match unlink(parent, name, FileType::Unknown)? {
        Unlinked::Gone => return Ok(()),
        Unlinked::Directory => {}
    }
    let mut stack = vec![enter(parent, name)?];
    let mut moved = 0usize;
    let mut repeats = 0usize;
    while let Some(frame) = stack.last_mut() {
        let Some(entry) = frame.entries.read() else {
            let done = stack.pop().expect("the loop's condition has seen it");
            let above = match stack.last() {
                Some(frame) => frame.directory()?,
                None => parent,
            };
            match rustix::fs::unlinkat(above, &done.name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::NOTEMPTY) if repeats < MOST_REPEATS => {
                    repeats += 1;
                    let again = enter(above, &done.name)?;
                    stack.push(again);
                }
                Err(error) => return Err(error),
            }
            continue;
        };
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let directory = frame.directory()?;
        match unlink(directory, name, entry.file_type())? {
            Unlinked::Gone => {}
            Unlinked::Directory => {
                let child = enter(directory, name)?;
                if stack.len() < DEEPEST {
                    stack.push(child);
                } else {
                    move_up(&stack, name, &mut moved)?;
                }
            }
        }
    }
    Ok(())
}

/// Moves a directory from the deepest open directory into the first one, to be removed from there.
fn move_up(stack: &[Frame], name: &CStr, moved: &mut usize) -> Result<(), Errno> {
    let (Some(first), Some(last)) = (stack.first(), stack.last()) else {
        return Ok(());
    };
    loop {
        *moved += 1;
        let target = CString::new(format!(".moved-up-{moved}")).map_err(|_| Errno::INVAL)?;
        match rustix::fs::renameat_with(
            last.directory()?,
            name,
            first.directory()?,
            &target,
            RenameFlags::NOREPLACE,
        ) {
            Err(Errno::EXIST) => {}
            other => return other,
        }
    }
}

enum Unlinked {
    Gone,
    Directory,
}

/// Unlinks anything but a directory.
fn unlink(directory: BorrowedFd<'_>, name: &CStr, kind: FileType) -> Result<Unlinked, Errno> {
    if kind == FileType::Directory {
        return Ok(Unlinked::Directory);
    }
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(Unlinked::Gone),
        Err(Errno::ISDIR) => Ok(Unlinked::Directory),
        // Other systems than Linux may answer this for a directory.
        Err(Errno::PERM) => match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => Ok(Unlinked::Directory),
            _ => Err(Errno::PERM),
        },
        Err(error) => Err(error),
    }
}

/// Opens a directory for reading and removing, with permissions repaired where they forbid it.
fn enter(parent: BorrowedFd<'_>, name: &CStr) -> Result<Frame, Errno> {
    let resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = || rustix::fs::openat2(parent, name, flags, Mode::empty(), resolve);
    let directory = match open() {
        Err(Errno::ACCESS) => {
            // The name is known not to be a link as long as the process has the tree to itself; if somebody swaps
            // it now, the worst is a changed mode of something that the same user owns.
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            open()?
        }
        other => other?,
    };
    let stat = rustix::fs::fstat(&directory)?;
    if stat.st_mode & 0o700 != 0o700 {
        // Root needs no permission; what cannot be changed may still turn out not to matter.
        match rustix::fs::fchmod(&directory, Mode::RWXU) {
            Ok(()) | Err(Errno::PERM) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Frame {
        entries: Dir::new(directory)?,
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary directory")
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let scratch = directory();
        let outside = scratch.path().join("outside");
        std::fs::create_dir(&outside).expect("mkdir");
        std::fs::write(outside.join("kept"), "x").expect("write");
        let tree = scratch.path().join("tree");
        std::fs::create_dir_all(tree.join("a/b")).expect("mkdir");
        symlink(&outside, tree.join("a/link")).expect("symlink");
        symlink("/nowhere", tree.join("dangling")).expect("symlink");
        rustix::fs::mknodat(rustix::fs::CWD, tree.join("pipe"), FileType::Fifo, Mode::RUSR, 0).expect("mknod");
        std::fs::write(tree.join("a/b/file"), "x").expect("write");
        remove_directory_tree(&tree).expect("remove");
        assert!(!tree.exists());
        assert!(outside.join("kept").exists());
        // A link in the place of the tree itself goes alone as well.
        symlink(&outside, &tree).expect("symlink");
        remove_directory_tree(&tree).expect("remove");
        assert!(std::fs::symlink_metadata(&tree).is_err());
        assert!(outside.join("kept").exists());
        remove_directory_tree(&tree).expect("nothing there is no error");
    }

    #[test]
    fn very_deep_trees_are_removed_with_few_open_files() {
        let scratch = directory();
        let tree = scratch.path().join("tree");
        std::fs::create_dir(&tree).expect("mkdir");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut here = rustix::fs::open(&tree, flags, Mode::empty()).expect("open");
        for level in 0..3000 {
            rustix::fs::mkdirat(&here, "d", Mode::RWXU).expect("mkdir");
            if level % 100 == 0 {
                rustix::fs::mkdirat(&here, "sibling", Mode::RWXU).expect("mkdir");
            }
            here = rustix::fs::openat(&here, "d", flags, Mode::empty()).expect("open");
        }
        remove_directory_tree(&tree).expect("remove");
        assert!(!tree.exists());
    }

    /// Permissions mean nothing to root, so this runs the removal as another user where it can.
    #[test]
    fn directories_without_permissions_are_removed() {
        let scratch = directory();
        let tree = scratch.path().join("tree");
        std::fs::create_dir_all(tree.join("locked/inner")).expect("mkdir");
        std::fs::write(tree.join("locked/inner/file"), "x").expect("write");
        for (path, mode) in [("locked/inner", 0o000), ("locked", 0o500), ("", 0o555)] {
            std::fs::set_permissions(tree.join(path), std::fs::Permissions::from_mode(mode)).expect("chmod");
        }
        if !rustix::process::geteuid().is_root() {
            remove_directory_tree(&tree).expect("remove");
            assert!(!tree.exists());
            return;
        }
        let nobody = 65534;
        for path in ["locked/inner/file", "locked/inner", "locked", ""] {
            std::os::unix::fs::chown(tree.join(path), Some(nobody), Some(nobody)).expect("chown");
        }
        std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o777)).expect("chmod");
        let output = crate::testing::run_as(nobody, "removal::tests::removes_the_directory_it_is_told", &tree);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(!tree.exists());
    }

    /// The other half of the test above, in a process of its own. Alone it has nothing to do.
    #[test]
    fn removes_the_directory_it_is_told() {
        if let Some(tree) = crate::testing::told() {
            remove_directory_tree(&tree).expect("remove");
        }
    }
}
