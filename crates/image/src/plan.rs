//! The plan of a layer: its entries and where the contents are. A plan becomes a blob ([`crate::pack`]) or a
//! tree ([`write_tree`]).

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_store::FileStamp;
use kiln_store::index::{Entry, EntryKind, LayerIndex};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use crate::attributes;
use crate::scan::{ScanError, scan_tree};
use crate::unpack::Ownership;

/// The entries of a layer to be, sorted by path, no path twice.
#[derive(Debug, Clone, Default)]
pub struct LayerPlan {
    /// The entries.
    pub entries: Vec<PlannedEntry>,
}

/// An entry and where its content is.
#[derive(Debug, Clone)]
pub struct PlannedEntry {
    /// The entry as it will be.
    pub entry: Entry,
    /// The bytes of a regular file; `None` for everything else.
    pub content: Content,
}

/// Where the bytes of a file are.
#[derive(Debug, Clone)]
pub enum Content {
    /// There are none.
    None,
    /// Here.
    Bytes(Arc<[u8]>),
    /// In a file below a directory; links on the way are resolved inside it.
    In {
        /// The directory.
        dir: Arc<OwnedFd>,
        /// The path below it.
        path: Vec<u8>,
        /// What the file looked like when the digest of its entry was found. None: the file never changes.
        stamp: Option<FileStamp>,
    },
}

/// Why a plan cannot be made or carried out.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The tree cannot be read.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A file cannot be made.
    #[error("failed to {operation} `{path}`")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The plan that gives a tree back.
pub fn plan_from_tree(tree: &Path) -> Result<LayerPlan, PlanError> {
    plan_of_tree(tree, &scan_tree(tree)?)
}

/// The plan that gives a tree back, with what is known of its entries.
pub fn plan_of_tree(tree: &Path, index: &LayerIndex) -> Result<LayerPlan, PlanError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(tree, flags, Mode::empty());
    let dir = dir.map_err(|source| PlanError::Io {
        operation: "open",
        path: tree.to_owned(),
        source: source.into(),
    })?;
    Ok(plan_from_index(index, &Arc::new(dir)))
}

/// The plan of a tree whose index is known.
pub fn plan_from_index(index: &LayerIndex, dir: &Arc<OwnedFd>) -> LayerPlan {
    let planned = |entry: &Entry| PlannedEntry {
        content: match entry.kind {
            EntryKind::File { .. } => Content::In {
                dir: dir.clone(),
                path: entry.path.clone(),
                stamp: None,
            },
            _ => Content::None,
        },
        entry: entry.clone(),
    };
    LayerPlan {
        entries: index.entries.iter().map(planned).collect(),
    }
}

/// Opens a file below a directory for reading. Links never lead out of it.
pub fn open_below(dir: &OwnedFd, path: &[u8]) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = rustix::fs::openat2(dir.as_fd(), OsStr::from_bytes(path), flags, Mode::empty(), resolve)?;
    Ok(file.into())
}

/// Carries a plan out in an empty directory and gives the index of what is there then.
pub fn write_tree(plan: &LayerPlan, tree: &Path, ownership: Ownership) -> Result<LayerIndex, PlanError> {
    write_tree_sharing(plan, tree, ownership, &|_| false)
}

/// As [`write_tree`]. Files below directories that `is_stable` says never change, such as the trees of other layers, are
/// shared by a hard link where owner, mode and time are the same already and there are no attributes. No file is shared twice in one tree,
/// where two names of one file would be a hard link of the layer.
pub fn write_tree_sharing(
    plan: &LayerPlan,
    tree: &Path,
    ownership: Ownership,
    is_stable: &dyn Fn(&Arc<OwnedFd>) -> bool,
) -> Result<LayerIndex, PlanError> {
    let mut shared = HashSet::new();
    let mut directories = Vec::new();
    let mut entries: Vec<Entry> = plan.entries.iter().map(|planned| planned.entry.clone()).collect();
    for (planned, made) in plan.entries.iter().zip(&mut entries) {
        let entry = &planned.entry;
        if entry.path.is_empty() {
            continue;
        }
        let path = tree.join(OsStr::from_bytes(&entry.path));
        let failed = |operation| {
            let path = path.clone();
            move |source| PlanError::Io {
                operation,
                path,
                source,
            }
        };
        if let Content::In { dir, path: from, .. } = &planned.content
            && is_stable(dir)
            && share(entry, dir, from, &path, ownership, &mut shared).map_err(failed("link"))?
        {
            continue;
        }
        let as_hashed = make(planned, tree, &path).map_err(failed("write"))?;
        if let EntryKind::File { digest, .. } = &mut made.kind
            && !as_hashed
        {
            *digest = None;
        }
        if matches!(entry.kind, EntryKind::Whiteout | EntryKind::Hardlink { .. }) {
            continue;
        }
        finish(entry, &path, ownership).map_err(failed("set the attributes of"))?;
        if entry.is_directory() {
            directories.push((path, entry));
        }
    }
    // Whatever is made in a directory moves its time, so directories come last, the deepest first.
    for (path, entry) in directories.into_iter().rev() {
        set_time(&path, entry).map_err(|source| PlanError::Io {
            operation: "set the time of",
            path,
            source,
        })?;
    }
    Ok(LayerIndex::new(entries))
}

/// Makes one entry. False: the file is no longer the one whose digest the plan has.
fn make(planned: &PlannedEntry, tree: &Path, path: &Path) -> io::Result<bool> {
    let device = |kind, major, minor| {
        rustix::fs::mknodat(
            CWD,
            path,
            kind,
            Mode::from_raw_mode(0o600),
            rustix::fs::makedev(major, minor),
        )
    };
    let mut as_hashed = true;
    match &planned.entry.kind {
        EntryKind::Directory { opaque } => {
            std::fs::create_dir(path)?;
            if *opaque {
                attributes::make_opaque(path)?;
            }
        }
        EntryKind::File { .. } => {
            let mut out = File::options().write(true).create_new(true).mode(0o600).open(path)?;
            match &planned.content {
                Content::None => {}
                Content::Bytes(bytes) => out.write_all(bytes)?,
                Content::In { dir, path, stamp } => {
                    let mut file = open_below(dir, path)?;
                    as_hashed = is_as_hashed(&file, stamp.as_ref())?;
                    // The standard library copies inside the kernel where the file systems allow it.
                    io::copy(&mut file, &mut out)?;
                }
            }
        }
        EntryKind::Symlink { target } => std::os::unix::fs::symlink(OsStr::from_bytes(target), path)?,
        EntryKind::Hardlink { target } => std::fs::hard_link(tree.join(OsStr::from_bytes(target)), path)?,
        EntryKind::Whiteout => device(FileType::CharacterDevice, 0, 0)?,
        // A user namespace may not make devices; the index still has them, and a layer is packed from that.
        EntryKind::CharDevice { major, minor } => ignore_refusal(device(FileType::CharacterDevice, *major, *minor))?,
        EntryKind::BlockDevice { major, minor } => ignore_refusal(device(FileType::BlockDevice, *major, *minor))?,
        EntryKind::Fifo => rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?,
    }
    Ok(as_hashed)
}

/// Whether a file is still the one that was hashed, as far as the stamp tells that was taken before.
pub(crate) fn is_as_hashed(file: &File, stamp: Option<&FileStamp>) -> io::Result<bool> {
    match stamp {
        Some(stamp) => Ok(*stamp == FileStamp::from_stat(&rustix::fs::fstat(file)?)),
        None => Ok(true),
    }
}

/// Makes a file another name of one that is the same in everything. False: it is not, or cannot have more names.
fn share(
    entry: &Entry,
    dir: &OwnedFd,
    from: &[u8],
    target: &Path,
    ownership: Ownership,
    shared: &mut HashSet<(u64, u64)>,
) -> io::Result<bool> {
    if !matches!(entry.kind, EntryKind::File { .. }) {
        return Ok(false);
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let source = rustix::fs::openat2(dir, OsStr::from_bytes(from), flags, Mode::empty(), resolve)?;
    let metadata = File::from(source.try_clone()?).metadata()?;
    let same = metadata.is_file()
        && metadata.mode() & 0o7777 == entry.mode
        && (metadata.mtime(), metadata.mtime_nsec()) == (entry.mtime.seconds, entry.mtime.nanos.into())
        && (ownership == Ownership::SingleId || (metadata.uid(), metadata.gid()) == (entry.uid, entry.gid));
    let through = format!("/proc/self/fd/{}", source.as_raw_fd());
    if !same || !attributes::both_none(Path::new(&through), &entry.xattrs)? {
        return Ok(false);
    }
    if !shared.insert((metadata.dev(), metadata.ino())) {
        return Ok(false);
    }
    match rustix::fs::linkat(CWD, through.as_str(), CWD, target, AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => Ok(true),
        // Too many names, another file system, or a kernel that asks for more rights than there are: a copy does it.
        Err(Errno::MLINK | Errno::XDEV | Errno::PERM | Errno::NOENT | Errno::NOTSUP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn ignore_refusal(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) | Err(Errno::PERM) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Owner, then mode (a change of owner clears the set-id bits), then attributes, then time.
pub(crate) fn finish(entry: &Entry, path: &Path, ownership: Ownership) -> io::Result<()> {
    let device = matches!(entry.kind, EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. });
    if device && path.symlink_metadata().is_err() {
        return Ok(());
    }
    if ownership == Ownership::Keep {
        std::os::unix::fs::lchown(path, Some(entry.uid), Some(entry.gid))?;
    }
    if !matches!(entry.kind, EntryKind::Symlink { .. }) {
        rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
    }
    attributes::write(path, &entry.xattrs)?;
    if entry.is_directory() {
        Ok(())
    } else {
        set_time(path, entry)
    }
}

/// As [`finish`], for a file that is still open.
pub(crate) fn finish_file(entry: &Entry, file: &File, ownership: Ownership) -> io::Result<()> {
    if ownership == Ownership::Keep {
        std::os::unix::fs::fchown(file, Some(entry.uid), Some(entry.gid))?;
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode))?;
    attributes::write_open(file, &entry.xattrs)?;
    Ok(rustix::fs::futimens(file, &times_of(entry))?)
}

/// As [`finish`], for a symbolic link without attributes in an open directory.
pub(crate) fn finish_link(entry: &Entry, dir: BorrowedFd<'_>, name: &OsStr, ownership: Ownership) -> io::Result<()> {
    let not_followed = AtFlags::SYMLINK_NOFOLLOW;
    if ownership == Ownership::Keep {
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        rustix::fs::chownat(dir, name, Some(uid), Some(gid), not_followed)?;
    }
    Ok(rustix::fs::utimensat(dir, name, &times_of(entry), not_followed)?)
}

/// Gives a file the time of its entry.
pub fn set_time(path: &Path, entry: &Entry) -> io::Result<()> {
    Ok(rustix::fs::utimensat(
        CWD,
        path,
        &times_of(entry),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

fn times_of(entry: &Entry) -> Timestamps {
    let time = Timespec {
        tv_sec: entry.mtime.seconds,
        tv_nsec: entry.mtime.nanos.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_store::index::Mtime;

    #[test]
    fn files_that_are_the_same_in_everything_are_shared_once() {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let (source, target) = (scratch.path().join("source"), scratch.path().join("target"));
        std::fs::create_dir_all(&source).expect("mkdir");
        std::fs::create_dir_all(&target).expect("mkdir");
        std::fs::write(source.join("file"), "content").expect("write");
        let own = source.join("file").metadata().expect("stat");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = Arc::new(rustix::fs::open(&source, flags, Mode::empty()).expect("open"));
        let planned = |path: &str, seconds: i64| PlannedEntry {
            entry: Entry {
                path: path.into(),
                kind: EntryKind::File { size: 7, digest: None },
                mode: own.mode() & 0o7777,
                uid: own.uid(),
                gid: own.gid(),
                mtime: Mtime {
                    seconds,
                    nanos: u32::try_from(own.mtime_nsec()).expect("below a second"),
                },
                xattrs: Vec::new(),
            },
            content: Content::In {
                dir: dir.clone(),
                path: b"file".to_vec(),
                stamp: None,
            },
        };
        let plan = LayerPlan {
            entries: vec![planned("a", own.mtime()), planned("b", own.mtime()), planned("c", 5)],
        };
        write_tree_sharing(&plan, &target, Ownership::Keep, &|_| true).expect("writable");
        let inode = |name: &str| target.join(name).metadata().expect("stat").ino();
        assert_eq!(inode("a"), own.ino(), "shared");
        assert_ne!(
            inode("b"),
            own.ino(),
            "two names in one layer would be a hard link of it"
        );
        assert_ne!(inode("c"), own.ino(), "another time is another file");
        assert_eq!(std::fs::read(target.join("b")).expect("read"), b"content");
        let scanned = scan_tree(&target).expect("readable");
        assert!(
            scanned
                .entries
                .iter()
                .all(|entry| matches!(entry.kind, EntryKind::File { .. }))
        );
    }
}
