//! The plan of a layer: its entries and where the contents are. A plan becomes a blob ([`crate::pack`]) or a
//! tree ([`write_tree`]).

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_store::index::{Entry, EntryKind, LayerIndex};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps};

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
            },
            _ => Content::None,
        },
        entry: entry.clone(),
    };
    LayerPlan {
        entries: index.entries.iter().map(planned).collect(),
    }
}

impl Content {
    /// Opens the bytes.
    pub fn open(&self) -> io::Result<Box<dyn io::Read + Send>> {
        match self {
            Content::None => Ok(Box::new(io::empty())),
            Content::Bytes(bytes) => Ok(Box::new(io::Cursor::new(bytes.clone()))),
            Content::In { dir, path } => Ok(Box::new(open_below(dir, path)?)),
        }
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
    let mut directories = Vec::new();
    for planned in &plan.entries {
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
        make(planned, tree, &path).map_err(failed("write"))?;
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
    Ok(LayerIndex::new(
        plan.entries.iter().map(|planned| planned.entry.clone()).collect(),
    ))
}

fn make(planned: &PlannedEntry, tree: &Path, path: &Path) -> io::Result<()> {
    let device = |kind, major, minor| {
        rustix::fs::mknodat(
            CWD,
            path,
            kind,
            Mode::from_raw_mode(0o600),
            rustix::fs::makedev(major, minor),
        )
    };
    match &planned.entry.kind {
        EntryKind::Directory { opaque } => {
            std::fs::create_dir(path)?;
            if *opaque {
                attributes::make_opaque(path)?;
            }
            Ok(())
        }
        EntryKind::File { .. } => {
            let mut out = File::options().write(true).create_new(true).mode(0o600).open(path)?;
            match &planned.content {
                Content::None => Ok(()),
                Content::Bytes(bytes) => out.write_all(bytes),
                // The standard library copies inside the kernel where the file systems allow it.
                Content::In { dir, path } => io::copy(&mut open_below(dir, path)?, &mut out).map(drop),
            }
        }
        EntryKind::Symlink { target } => std::os::unix::fs::symlink(OsStr::from_bytes(target), path),
        EntryKind::Hardlink { target } => std::fs::hard_link(tree.join(OsStr::from_bytes(target)), path),
        EntryKind::Whiteout => Ok(device(FileType::CharacterDevice, 0, 0)?),
        // A user namespace may not make devices; the index still has them, and a layer is packed from that.
        EntryKind::CharDevice { major, minor } => ignore_refusal(device(FileType::CharacterDevice, *major, *minor)),
        EntryKind::BlockDevice { major, minor } => ignore_refusal(device(FileType::BlockDevice, *major, *minor)),
        EntryKind::Fifo => Ok(rustix::fs::mknodat(
            CWD,
            path,
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )?),
    }
}

fn ignore_refusal(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) | Err(rustix::io::Errno::PERM) => Ok(()),
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

/// Gives a file the time of its entry.
pub fn set_time(path: &Path, entry: &Entry) -> io::Result<()> {
    let time = Timespec {
        tv_sec: entry.mtime.seconds,
        tv_nsec: entry.mtime.nanos.into(),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}
