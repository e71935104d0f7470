//! Named contexts: directories of the user's, read through their ignore patterns.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use kiln_dockerfile::ignore::{PatternError, PatternMatcher};
use kiln_oci::{Algorithm, Digest, Hasher};
use kiln_store::index::{Entry, EntryKind, LayerIndex, Mtime};
use kiln_store::{FileStamp, StatCache, Store};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

use crate::destination::push_component;

/// Why a context cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// An ignore pattern.
    #[error("invalid pattern in the ignore file")]
    Ignore(#[source] PatternError),
    /// The file system.
    #[error("failed to {operation} `{path}`")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The store.
    #[error("failed to keep what is known of the context's files")]
    Store(#[source] kiln_store::StoreError),
}

/// A context as it was when it was first read in this build.
#[derive(Debug)]
pub struct Context {
    /// Its directory.
    pub path: PathBuf,
    /// The directory, opened.
    pub directory: Arc<OwnedFd>,
    /// What it holds: paths, modes, sizes; owners are all zero, digests are computed when asked for.
    pub index: Arc<LayerIndex>,
    /// What decides which files are hidden, to explain what is missing.
    matcher: PatternMatcher,
    stamps: HashMap<Vec<u8>, FileStamp>,
    cache: Mutex<StatCache>,
}

impl Context {
    /// Reads the entries of a directory. File contents are not read.
    pub fn scan(path: &Path, ignore: &[String], store: &Store) -> Result<Context, ContextError> {
        let matcher = PatternMatcher::new(ignore).map_err(ContextError::Ignore)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| io("open", path, error))?;
        let mut scan = Scan {
            root: path,
            matcher,
            entries: Vec::new(),
            stamps: HashMap::new(),
        };
        scan.directory(&directory, &mut Vec::new())?;
        let Scan {
            mut entries,
            matcher,
            stamps,
            ..
        } = scan;
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let cache = store.stat_cache(path).map_err(ContextError::Store)?;
        Ok(Context {
            path: path.to_owned(),
            directory: Arc::new(directory),
            index: Arc::new(LayerIndex { entries }),
            matcher,
            stamps,
            cache: Mutex::new(cache),
        })
    }

    /// The digest of a file: remembered if the file was not touched since, else read.
    pub fn digest(&self, path: &[u8]) -> Result<Digest, ContextError> {
        let stamp = self.stamps.get(path);
        if let Some(stamp) = stamp
            && let Some(digest) = self
                .cache
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .lookup(path, stamp)
        {
            return Ok(digest);
        }
        let digest = hash_file(&self.directory, path).map_err(|source| {
            let path = self.path.join(std::ffi::OsStr::from_bytes(path));
            ContextError::Io {
                operation: "read",
                path,
                source,
            }
        })?;
        if let Some(stamp) = stamp {
            let mut cache = self.cache.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            cache.insert(path, stamp.clone(), digest.clone());
        }
        Ok(digest)
    }

    /// When a file was last changed, as its file system has it.
    pub fn modified(&self, path: &[u8]) -> Option<Mtime> {
        const NANOSECONDS: i64 = 1_000_000_000;
        let nanos = self.stamps.get(path)?.mtime_ns;
        Some(Mtime {
            seconds: nanos.div_euclid(NANOSECONDS),
            nanos: u32::try_from(nanos.rem_euclid(NANOSECONDS)).unwrap_or(0),
        })
    }

    /// The pattern that hides a path which is there.
    pub fn ignored_by(&self, path: &str) -> Option<String> {
        let there = self.path.join(path).symlink_metadata().is_ok();
        self.matcher.ignoring_pattern(path).filter(|_| there).map(str::to_owned)
    }

    /// Keeps the digests for the next build.
    pub fn save(&self) -> Result<(), ContextError> {
        let mut cache = self.cache.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        cache.save().map_err(ContextError::Store)
    }
}

/// Hashes a file below a directory. The path is never followed out of it.
pub fn hash_file(directory: &OwnedFd, path: &[u8]) -> std::io::Result<Digest> {
    let mut file = open_below(directory, path)?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    std::io::copy(&mut file, &mut hasher)?;
    Ok(hasher.finish())
}

/// Opens a regular file below a directory.
pub fn open_below(directory: &OwnedFd, path: &[u8]) -> std::io::Result<std::fs::File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = rustix::fs::ResolveFlags::IN_ROOT | rustix::fs::ResolveFlags::NO_MAGICLINKS;
    let path = std::ffi::OsStr::from_bytes(path);
    Ok(rustix::fs::openat2(directory.as_fd(), path, flags, Mode::empty(), resolve)?.into())
}

struct Scan<'a> {
    root: &'a Path,
    matcher: PatternMatcher,
    entries: Vec<Entry>,
    stamps: HashMap<Vec<u8>, FileStamp>,
}

impl Scan<'_> {
    /// Reads one directory.
    fn directory(&mut self, directory: &OwnedFd, relative: &mut Vec<u8>) -> Result<(), ContextError> {
        let entries = Dir::read_from(directory).map_err(|error| self.error("list", relative, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| self.error("list", relative, error))?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let length = relative.len();
            push_component(relative, name);
            self.entry(directory, entry.file_name(), relative)?;
            relative.truncate(length);
        }
        Ok(())
    }

    fn entry(&mut self, parent: &OwnedFd, name: &std::ffi::CStr, relative: &mut Vec<u8>) -> Result<(), ContextError> {
        let text = String::from_utf8_lossy(relative).into_owned();
        let ignored = self.matcher.matches_or_parent_matches(&text);
        let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // A file that went away between the listing and now was never part of the context.
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            Err(error) => return Err(self.error("read the attributes of", relative, error)),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let descend = kind == FileType::Directory && (!ignored || self.matcher.may_have_exceptions_below(&text));
        if ignored && !descend {
            return Ok(());
        }
        let before = self.entries.len();
        self.keep(parent, name, relative, &stat, kind)?;
        if descend {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let child = rustix::fs::openat(parent, name, flags, Mode::empty());
            let child = child.map_err(|error| self.error("open", relative, error))?;
            self.directory(&child, relative)?;
            // An ignored directory is part of the context only if something below it is.
            if ignored && self.entries.len() == before + 1 {
                self.entries.pop();
            }
        }
        Ok(())
    }

    fn keep(
        &mut self,
        parent: &OwnedFd,
        name: &std::ffi::CStr,
        relative: &[u8],
        stat: &rustix::fs::Stat,
        kind: FileType,
    ) -> Result<(), ContextError> {
        let kind = match kind {
            FileType::Directory => EntryKind::Directory { opaque: false },
            FileType::RegularFile => {
                self.stamps.insert(relative.to_vec(), FileStamp::from_stat(stat));
                EntryKind::File {
                    size: u64::try_from(stat.st_size).unwrap_or(0),
                    digest: None,
                }
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(parent, name, Vec::new());
                let target = target.map_err(|error| self.error("read the link", relative, error))?;
                EntryKind::Symlink {
                    target: target.into_bytes(),
                }
            }
            // Sockets, pipes and devices of the user's machine are no part of an image.
            _ => return Ok(()),
        };
        self.entries.push(Entry {
            path: relative.to_vec(),
            kind,
            mode: stat.st_mode & 0o7777,
            uid: 0,
            gid: 0,
            mtime: Mtime::default(),
            xattrs: Vec::new(),
        });
        Ok(())
    }

    fn error(&self, operation: &'static str, relative: &[u8], error: rustix::io::Errno) -> ContextError {
        io(operation, &self.root.join(std::ffi::OsStr::from_bytes(relative)), error)
    }
}

fn io(operation: &'static str, path: &Path, error: rustix::io::Errno) -> ContextError {
    ContextError::Io {
        operation,
        path: path.to_owned(),
        source: error.into(),
    }
}
