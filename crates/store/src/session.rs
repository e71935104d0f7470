//! Sessions: what a running process has in the store that must not outlive it.
//!
//! A session is a directory `sessions/<token>` with a lock file `sessions/<token>.lock` beside it. The process
//! holds the lock until it ends, however it ends; a lock file that can be locked therefore belongs to a dead
//! process, and its session is removed by whoever opens the store next. Process ids would not do: they are
//! reused, and differ between pid namespaces.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::StoreError;
use crate::lock::{is_same_file, try_lock};
use crate::removal::remove_directory_tree;
use crate::store::held;

const LOCK_SUFFIX: &str = ".lock";

/// This process' session. Dropped: removed with everything in it.
#[derive(Debug)]
pub(crate) struct Session {
    directory: PathBuf,
    lock_path: PathBuf,
    /// Held for its lock alone.
    _lock: File,
    next: AtomicU64,
    /// Overlay's work directories that nothing uses at the moment.
    works: Mutex<Vec<PathBuf>>,
}

impl Session {
    /// Begins a session in the directory of sessions.
    pub(crate) fn begin(sessions: &Path) -> Result<Session, StoreError> {
        loop {
            let token = random_token();
            let lock_path = sessions.join(format!("{token}{LOCK_SUFFIX}"));
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let lock: File = match rustix::fs::open(&lock_path, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => file.into(),
                Err(Errno::EXIST) => continue,
                Err(error) => return Err(StoreError::io("create", &lock_path, error)),
            };
            // A reaper may have come between the two calls. Then the lock or the file is gone, and we begin anew.
            let locked = try_lock(&lock).map_err(|error| StoreError::io("lock", &lock_path, error))?;
            if !locked || !is_same_file(&lock, &lock_path)? {
                continue;
            }
            let directory = sessions.join(token);
            make_private_directory(&directory)?;
            return Ok(Session {
                directory,
                lock_path,
                _lock: lock,
                next: AtomicU64::new(0),
                works: Mutex::default(),
            });
        }
    }

    /// A path in this session that nothing has used yet.
    pub(crate) fn fresh_path(&self, what: &str) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.directory.join(format!("{what}-{number}"))
    }

    /// A directory for an overlay to work in. It may have been one before: overlay empties it itself.
    pub(crate) fn work_directory(&self) -> Result<PathBuf, StoreError> {
        if let Some(path) = held(&self.works).pop() {
            return Ok(path);
        }
        let path = self.fresh_path("work");
        make_private_directory(&path)?;
        Ok(path)
    }

    /// Takes back a work directory whose overlay is no longer mounted.
    pub(crate) fn take_back(&self, work: PathBuf) {
        held(&self.works).push(work);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Err(error) = end(&self.directory, &self.lock_path) {
            tracing::warn!(%error, "failed to remove the temporary files of this process");
        }
    }
}

/// Removes a session. The lock file goes last, so that what is left of a session can always be found by it.
fn end(directory: &Path, lock: &Path) -> Result<(), StoreError> {
    remove_directory_tree(directory)?;
    match std::fs::remove_file(lock) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io("remove", lock, error)),
        _ => Ok(()),
    }
}

/// Removes the sessions of dead processes. What cannot be removed stays, with a warning: it takes up room but
/// hurts nobody.
pub(crate) fn reap(sessions: &Path) -> Result<(), StoreError> {
    for (token, alive) in list(sessions)? {
        let lock_path = sessions.join(format!("{token}{LOCK_SUFFIX}"));
        let removed = match alive {
            Alive::Yes => Ok(()),
            Alive::No(_lock) => end(&sessions.join(&token), &lock_path),
        };
        if let Err(error) = removed {
            tracing::warn!(%error, "failed to remove what a dead process left in the store");
        }
    }
    Ok(())
}

/// Directories of the sessions whose processes live.
pub(crate) fn live(sessions: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let listed = list(sessions)?.into_iter();
    Ok(listed
        .filter(|(_, alive)| matches!(alive, Alive::Yes))
        .map(|(token, _)| sessions.join(token))
        .collect())
}

enum Alive {
    Yes,
    /// Dead, and locked by us so that nobody else removes it at the same time.
    No(Option<File>),
}

/// All sessions by their tokens.
fn list(sessions: &Path) -> Result<Vec<(String, Alive)>, StoreError> {
    let error = |error: std::io::Error| StoreError::io("list", sessions, error);
    let mut tokens = Vec::new();
    for entry in std::fs::read_dir(sessions).map_err(error)? {
        let name = entry.map_err(error)?.file_name();
        let Some(name) = name.to_str() else { continue };
        tokens.push(name.strip_suffix(LOCK_SUFFIX).unwrap_or(name).to_owned());
    }
    tokens.sort();
    tokens.dedup();
    tokens
        .into_iter()
        .map(|token| {
            let alive = state(&sessions.join(format!("{token}{LOCK_SUFFIX}")))?;
            Ok((token, alive))
        })
        .collect()
}

fn state(lock_path: &Path) -> Result<Alive, StoreError> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let read_only = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let opened = match rustix::fs::open(lock_path, flags, Mode::empty()) {
        // Whose session it is can still be asked; that it cannot be removed is told by whoever tries.
        Err(Errno::ROFS) => rustix::fs::open(lock_path, read_only, Mode::empty()),
        opened => opened,
    };
    let lock: File = match opened {
        Ok(file) => file.into(),
        // The lock file is made first and removed last, so a directory without one is nobody's.
        Err(Errno::NOENT) => return Ok(Alive::No(None)),
        Err(error) => return Err(StoreError::io("open", lock_path, error)),
    };
    match try_lock(&lock).map_err(|error| StoreError::io("lock", lock_path, error))? {
        true => Ok(Alive::No(Some(lock))),
        false => Ok(Alive::Yes),
    }
}

/// Makes a directory that only its owner may enter: trees hold programs with the setuid bit.
pub(crate) fn make_private_directory(path: &Path) -> Result<(), StoreError> {
    rustix::fs::mkdir(path, Mode::RWXU).map_err(|error| StoreError::io("create", path, error))
}

/// 128 random bits in hexadecimal.
pub(crate) fn random_token() -> String {
    let mut bytes = [0u8; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        let read = rustix::io::retry_on_intr(|| rustix::rand::getrandom(&mut bytes[filled..], flags));
        filled += read.expect("the system call has no other failure than an interruption");
    }
    hex::encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_goes_with_its_process_and_a_living_one_stays() {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let living = Session::begin(scratch.path()).expect("begin");
        std::fs::write(living.fresh_path("file"), "x").expect("write");
        // What a killed process leaves: the lock file, unlocked, and the directory.
        std::fs::write(scratch.path().join("dead.lock"), "").expect("write");
        std::fs::create_dir_all(scratch.path().join("dead/tree/a")).expect("mkdir");
        std::fs::create_dir(scratch.path().join("lockless")).expect("mkdir");
        assert_eq!(
            live(scratch.path()).expect("list"),
            std::slice::from_ref(&living.directory)
        );
        reap(scratch.path()).expect("reap");
        let left = std::fs::read_dir(scratch.path()).expect("list").count();
        assert_eq!(left, 2, "the living session's directory and lock");
        drop(living);
        assert_eq!(std::fs::read_dir(scratch.path()).expect("list").count(), 0);
    }

    #[test]
    fn sessions_begin_while_others_reap() {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let session = Session::begin(scratch.path()).expect("begin");
                        let file = session.fresh_path("file");
                        std::fs::write(&file, "x").expect("the session's directory is there");
                        reap(scratch.path()).expect("reap");
                        assert!(file.exists(), "nobody reaps a living session");
                    }
                });
            }
        });
    }
}
