//! Whether a tree holds what its index says.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::blob::hash_file;
use crate::index::{Entry, EntryKind, LayerIndex};

/// What is wrong with an entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeFinding {
    /// It is not there.
    Missing,
    /// It is of another type, or a link to elsewhere.
    OtherType,
    /// A file has another length than it should.
    Length {
        /// What the index says, in bytes.
        expected: u64,
        /// What is there.
        actual: u64,
    },
    /// A file has other content than it should.
    Content,
    /// It cannot be read.
    Unreadable(String),
}

impl fmt::Display for TreeFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TreeFinding::Missing => f.write_str("it is missing"),
            TreeFinding::OtherType => f.write_str("it is something else"),
            TreeFinding::Length { expected, actual } => write!(f, "it has {actual} bytes instead of {expected}"),
            TreeFinding::Content => f.write_str("its content is another"),
            TreeFinding::Unreadable(why) => write!(f, "it cannot be read: {why}"),
        }
    }
}

/// How closely a tree is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Types and lengths alone.
    Lengths,
    /// The contents of files too, where the index has their digests.
    Contents,
}

/// The first entry that differs, if one does. Devices, pipes and whiteouts are not looked for: not everyone can make
/// them. Nothing outside `root` is looked at.
pub(crate) fn compare_tree(root: &Path, index: &LayerIndex, depth: Depth) -> Option<(String, TreeFinding)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let directory = match rustix::fs::open(root, flags, Mode::empty()) {
        Ok(directory) => directory,
        Err(error) => return Some((".".into(), finding(error))),
    };
    index.entries.iter().find_map(|entry| {
        let finding = compare(&directory, entry, depth)?;
        Some((String::from_utf8_lossy(&entry.path).into_owned(), finding))
    })
}

fn finding(error: Errno) -> TreeFinding {
    match error {
        Errno::NOENT => TreeFinding::Missing,
        Errno::NOTDIR | Errno::LOOP => TreeFinding::OtherType,
        error => TreeFinding::Unreadable(error.to_string()),
    }
}

fn compare(root: &OwnedFd, entry: &Entry, depth: Depth) -> Option<TreeFinding> {
    let expected = match &entry.kind {
        EntryKind::Directory { .. } => FileType::Directory,
        EntryKind::File { .. } | EntryKind::Hardlink { .. } => FileType::RegularFile,
        EntryKind::Symlink { .. } => FileType::Symlink,
        EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. } | EntryKind::Fifo | EntryKind::Whiteout => {
            return None;
        }
    };
    let path = if entry.path.is_empty() {
        b".".as_slice()
    } else {
        &entry.path
    };
    let path = std::ffi::OsStr::from_bytes(path);
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let open = |flags| rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve);
    let found = match open(OFlags::PATH | OFlags::NOFOLLOW) {
        Ok(found) => found,
        // A link as the last component is what is looked for, and not followed.
        Err(Errno::LOOP) if expected == FileType::Symlink => return None,
        Err(error) => return Some(finding(error)),
    };
    let stat = match rustix::fs::fstat(&found) {
        Ok(stat) => stat,
        Err(error) => return Some(finding(error)),
    };
    let actual_type = FileType::from_raw_mode(stat.st_mode);
    if let EntryKind::Hardlink { .. } = entry.kind {
        // Links to anything but directories may be made.
        return (actual_type == FileType::Directory).then_some(TreeFinding::OtherType);
    }
    if actual_type != expected {
        return Some(TreeFinding::OtherType);
    }
    match &entry.kind {
        EntryKind::File { size, digest } => {
            let actual = u64::try_from(stat.st_size).unwrap_or(0);
            if actual != *size {
                let expected = *size;
                return Some(TreeFinding::Length { expected, actual });
            }
            let digest = digest.as_ref().filter(|_| depth == Depth::Contents)?;
            let read = open(OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK)
                .map_err(std::io::Error::from)
                .and_then(|file| hash_file(&mut file.into(), digest.algorithm()));
            match read {
                Ok(actual) => (actual != *digest).then_some(TreeFinding::Content),
                Err(error) => Some(TreeFinding::Unreadable(error.to_string())),
            }
        }
        EntryKind::Symlink { target } => {
            let actual = rustix::fs::readlinkat(found.as_fd(), "", Vec::new());
            (actual.ok()?.as_bytes() != target.as_slice()).then_some(TreeFinding::OtherType)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Mtime;
    use kiln_oci::Digest;
    use std::os::unix::fs::symlink;

    fn entry(path: &str, kind: EntryKind) -> Entry {
        Entry {
            path: path.into(),
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Mtime::default(),
            xattrs: Vec::new(),
        }
    }

    #[test]
    fn every_kind_of_damage_is_found() {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let root = scratch.path();
        std::fs::create_dir(root.join("dir")).expect("mkdir");
        std::fs::write(root.join("dir/file"), "abc").expect("write");
        symlink("/etc/passwd", root.join("link")).expect("symlink");
        let directory = || entry("dir", EntryKind::Directory { opaque: false });
        let link = || {
            let target = b"/etc/passwd".to_vec();
            entry("link", EntryKind::Symlink { target })
        };
        let file = |size, content: &str| {
            let digest = Some(Digest::sha256(content));
            entry("dir/file", EntryKind::File { size, digest })
        };
        let compare =
            |entries| compare_tree(root, &LayerIndex::new(entries), Depth::Contents).map(|(_, finding)| finding);
        let root_entry = entry("", EntryKind::Directory { opaque: false });
        assert_eq!(compare(vec![root_entry, directory(), link(), file(3, "abc")]), None);
        let (expected, actual) = (4, 3);
        assert_eq!(
            compare(vec![file(4, "abcd")]),
            Some(TreeFinding::Length { expected, actual })
        );
        assert_eq!(compare(vec![file(3, "xyz")]), Some(TreeFinding::Content));
        let missing = entry("gone", EntryKind::File { size: 0, digest: None });
        assert_eq!(compare(vec![missing]), Some(TreeFinding::Missing));
        let other = entry("dir", EntryKind::File { size: 0, digest: None });
        assert_eq!(compare(vec![other]), Some(TreeFinding::OtherType));
        let elsewhere = entry("link/x", EntryKind::File { size: 0, digest: None });
        assert_eq!(compare(vec![elsewhere]), Some(TreeFinding::OtherType));
        let target = b"/etc/shadow".to_vec();
        let moved = entry("link", EntryKind::Symlink { target });
        assert_eq!(compare(vec![moved]), Some(TreeFinding::OtherType));
    }
}
