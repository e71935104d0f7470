//! Named contexts: directories of the user's, read through their ignore patterns.

use std::io::Read;
use std::num::NonZero;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiln_dockerfile::ignore::{PatternError, PatternMatcher};
use kiln_oci::{Algorithm, Digest, Hasher};
use kiln_store::index::{LayerIndex, Mtime};
use kiln_store::{Cursor, FileStamp, StatCache, Store};
use rustix::fs::{Mode, OFlags};

mod walk;

/// Bytes that are read at once: most files of a context fit. A call for each few kilobytes takes as long as hashing them.
pub(crate) const READ_AT_ONCE: usize = 64 << 10;

/// Files that are to be read before a further thread is worth its start.
const FILES_WORTH_A_THREAD: usize = 8;

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
    /// Of each entry of the index that is a regular file: what tells whether it was touched since.
    stamps: Vec<Option<FileStamp>>,
    cursor: Cursor,
    digests: Mutex<Digests>,
}

/// What is known of the contents of files.
#[derive(Debug)]
struct Digests {
    /// Of each entry of the index.
    known: Vec<Option<Digest>>,
    /// Of earlier builds.
    cache: StatCache,
}

impl Context {
    /// Reads the entries of a directory. File contents are not read.
    pub fn scan(path: &Path, ignore: &[String], store: &Store) -> Result<Context, ContextError> {
        let matcher = PatternMatcher::new(ignore).map_err(ContextError::Ignore)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| io("open", path, error))?;
        let directory = Arc::new(directory);
        // Before the first file is looked at: what is written from now on has later times than this cache trusts.
        let cache = store.stat_cache(path).map_err(ContextError::Store)?;
        let walked = walk::walk(path, &directory, &matcher, threads())?;
        let (entries, stamps): (Vec<_>, Vec<_>) = walked.into_iter().map(|walked| (walked.entry, walked.stamp)).unzip();
        let known = vec![None; entries.len()];
        Ok(Context {
            path: path.to_owned(),
            directory,
            index: Arc::new(LayerIndex { entries }),
            matcher,
            stamps,
            cursor: Cursor::default(),
            digests: Mutex::new(Digests { known, cache }),
        })
    }

    /// Where a regular file is in the index, and what it looked like when the context was read.
    fn file(&self, path: &[u8]) -> Option<(usize, &FileStamp)> {
        let position = self.cursor.find(&self.index.entries, path, |entry| &entry.path)?;
        Some((position, self.stamps[position].as_ref()?))
    }

    /// What a regular file looked like when the context was read.
    pub fn stamp(&self, path: &[u8]) -> Option<&FileStamp> {
        Some(self.file(path)?.1)
    }

    /// Reads those of some files whose digests are not known, several at once, so that [`Context::digest`] finds them.
    pub fn learn_digests(&self, paths: &[&[u8]]) -> Result<(), ContextError> {
        let unknown: Vec<(usize, &FileStamp)> = {
            let mut digests = self.digests();
            let files = paths.iter().filter_map(|path| self.file(path));
            files
                .filter(|(position, stamp)| digests.find(*position, &self.index, stamp).is_none())
                .collect()
        };
        let next = AtomicUsize::new(0);
        let work = || -> Result<Vec<(usize, Digest)>, ContextError> {
            let (mut read, mut buffer) = (Vec::new(), vec![0; READ_AT_ONCE]);
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some((position, _)) = unknown.get(at) else {
                    return Ok(read);
                };
                match self.read_digest(&self.index.entries[*position].path, &mut buffer) {
                    Ok(digest) => read.push((at, digest)),
                    Err(error) => {
                        // The others need not go on.
                        next.store(unknown.len(), Ordering::Relaxed);
                        return Err(error);
                    }
                }
            }
        };
        let threads = threads().min(unknown.len() / FILES_WORTH_A_THREAD + 1);
        let all = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut all = vec![work()];
            all.extend(
                others
                    .into_iter()
                    .map(|other| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))),
            );
            all
        });
        let mut digests = self.digests();
        for part in all {
            for (at, digest) in part? {
                let (position, stamp) = unknown[at];
                digests.learn(position, &self.index, stamp, digest);
            }
        }
        Ok(())
    }

    fn read_digest(&self, path: &[u8], buffer: &mut [u8]) -> Result<Digest, ContextError> {
        hash_file(&self.directory, path, buffer).map_err(|source| ContextError::Io {
            operation: "read",
            path: self.path.join(std::ffi::OsStr::from_bytes(path)),
            source,
        })
    }

    /// The digest of a file: remembered if the file was not touched since, else read.
    pub fn digest(&self, path: &[u8]) -> Result<Digest, ContextError> {
        let file = self.file(path);
        if let Some((position, stamp)) = file
            && let Some(digest) = self.digests().find(position, &self.index, stamp)
        {
            return Ok(digest);
        }
        let digest = self.read_digest(path, &mut vec![0; READ_AT_ONCE])?;
        if let Some((position, stamp)) = file {
            self.digests().learn(position, &self.index, stamp, digest.clone());
        }
        Ok(digest)
    }

    /// When a file was last changed, as its file system has it.
    pub fn modified(&self, path: &[u8]) -> Option<Mtime> {
        const NANOSECONDS: i64 = 1_000_000_000;
        let nanos = self.stamp(path)?.mtime_ns;
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
        self.digests().cache.save().map_err(ContextError::Store)
    }

    fn digests(&self) -> MutexGuard<'_, Digests> {
        // Digests are put in whole, whatever a thread that held them died of.
        self.digests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Digests {
    /// The digest of the file at a position of the index.
    fn find(&mut self, position: usize, index: &LayerIndex, stamp: &FileStamp) -> Option<Digest> {
        let known = &mut self.known[position];
        if known.is_none() {
            *known = self.cache.lookup(&index.entries[position].path, stamp);
        }
        known.clone()
    }

    fn learn(&mut self, position: usize, index: &LayerIndex, stamp: &FileStamp, digest: Digest) {
        self.cache
            .insert(&index.entries[position].path, stamp.clone(), digest.clone());
        self.known[position] = Some(digest);
    }
}

/// Hashes a file below a directory, reading as much at once as the buffer holds. The path is never followed out of it.
pub fn hash_file(directory: &OwnedFd, path: &[u8], buffer: &mut [u8]) -> std::io::Result<Digest> {
    let mut file = open_below(directory, path)?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(length) => hasher.update(&buffer[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Opens a regular file below a directory.
pub fn open_below(directory: &OwnedFd, path: &[u8]) -> std::io::Result<std::fs::File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = rustix::fs::ResolveFlags::IN_ROOT | rustix::fs::ResolveFlags::NO_MAGICLINKS;
    let path = std::ffi::OsStr::from_bytes(path);
    Ok(rustix::fs::openat2(directory.as_fd(), path, flags, Mode::empty(), resolve)?.into())
}

/// Threads that read at once. More than the cores, as a thread that waits for a disk leaves its core to another.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, NonZero::get).min(8) * 2
}

fn io(operation: &'static str, path: &Path, error: rustix::io::Errno) -> ContextError {
    ContextError::Io {
        operation,
        path: path.to_owned(),
        source: error.into(),
    }
}
