//! Advisory locks on files: `flock`, which the kernel releases when the process ends, however it ends.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::StoreError;
use crate::cache_record::CacheKey;
use crate::store::Store;

/// Keeps every other process and thread from working on one cache key, until it is dropped.
#[derive(Debug)]
pub struct KeyLock {
    /// Held for its lock alone.
    _file: File,
    path: PathBuf,
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        // The file goes while it is still locked. Whoever waits for the lock then finds that the file under this
        // name is another one, and begins anew.
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "failed to remove a key's lock file");
        }
    }
}

/// The store belongs to this handle alone: no other process and no other handle has it open. On drop, the lock
/// becomes a shared one again.
#[derive(Debug)]
pub struct CollectLock {
    store: Store,
}

impl Drop for CollectLock {
    fn drop(&mut self) {
        if let Err(error) = flock(self.store.lock_file(), FlockOperation::LockShared) {
            tracing::warn!(%error, "failed to give back the store's exclusive lock");
        }
    }
}

impl Store {
    /// Waits until no other process or thread holds the lock of `key`, and takes it.
    pub fn lock_key(&self, key: &CacheKey) -> Result<KeyLock, StoreError> {
        let path = self.layout().key(key);
        loop {
            let file = open_lock_file(&path)?;
            flock(&file, FlockOperation::LockExclusive).map_err(|error| StoreError::io("lock", &path, error))?;
            if is_same_file(&file, &path)? {
                return Ok(KeyLock { _file: file, path });
            }
        }
    }

    /// As [`Store::lock_key`], but None instead of waiting.
    pub fn try_lock_key(&self, key: &CacheKey) -> Result<Option<KeyLock>, StoreError> {
        let path = self.layout().key(key);
        loop {
            let file = open_lock_file(&path)?;
            if !try_lock(&file).map_err(|error| StoreError::io("lock", &path, error))? {
                return Ok(None);
            }
            if is_same_file(&file, &path)? {
                return Ok(Some(KeyLock { _file: file, path }));
            }
        }
    }

    /// Takes the store for this handle alone, to repair it. None if others have it open. Garbage collection does not
    /// need it. While the lock is held, [`Store::open`] waits everywhere else. At most one such lock may be taken from
    /// a store at a time.
    pub fn collect_lock(&self) -> Result<Option<CollectLock>, StoreError> {
        let path = self.layout().lock();
        match flock(self.lock_file(), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(CollectLock { store: self.clone() })),
            Err(Errno::WOULDBLOCK) => {
                // A failed conversion may have lost the shared lock already.
                flock(self.lock_file(), FlockOperation::LockShared)
                    .map_err(|error| StoreError::io("lock", &path, error))?;
                Ok(None)
            }
            Err(error) => Err(StoreError::io("lock", &path, error)),
        }
    }
}

/// Opens a lock file, making it if needed.
pub(crate) fn open_lock_file(path: &Path) -> Result<File, StoreError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR);
    Ok(file.map_err(|error| StoreError::io("open", path, error))?.into())
}

/// Takes or converts a lock, waiting for it if the operation says so.
pub(crate) fn flock(file: &File, operation: FlockOperation) -> Result<(), Errno> {
    rustix::io::retry_on_intr(|| rustix::fs::flock(file, operation))
}

/// Takes an exclusive lock if nobody else has one.
pub(crate) fn try_lock(file: &File) -> Result<bool, Errno> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the file at `path` is still the one that was opened.
pub(crate) fn is_same_file(file: &File, path: &Path) -> Result<bool, StoreError> {
    let opened = rustix::fs::fstat(file).map_err(|error| StoreError::io("read the attributes of", path, error))?;
    match rustix::fs::lstat(path) {
        Ok(named) => Ok(named.st_ino == opened.st_ino && named.st_dev == opened.st_dev),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(StoreError::io("read the attributes of", path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::temporary_store;
    use kiln_oci::Digest;

    fn key(text: &str) -> CacheKey {
        CacheKey(Digest::sha256(text))
    }

    #[test]
    fn a_key_is_locked_by_one_at_a_time() {
        let (_directory, store) = temporary_store();
        let lock = store.lock_key(&key("a")).expect("lock");
        assert!(store.try_lock_key(&key("a")).expect("try").is_none());
        assert!(store.try_lock_key(&key("b")).expect("try").is_some());
        drop(lock);
        assert!(store.try_lock_key(&key("a")).expect("try").is_some());
        let left = std::fs::read_dir(store.layout().root().join("keys"))
            .expect("list")
            .count();
        assert_eq!(left, 0, "lock files are removed with their locks");
    }

    #[test]
    fn threads_take_turns() {
        let (_directory, store) = temporary_store();
        let inside = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let lock = store.lock_key(&key("shared")).expect("lock");
                        assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
    }

    #[test]
    fn collecting_needs_the_store_alone() {
        let (directory, store) = temporary_store();
        let other = Store::open(directory.path()).expect("open again");
        assert!(store.collect_lock().expect("try").is_none());
        drop(other);
        let lock = store.collect_lock().expect("try").expect("nobody else has the store");
        let path = directory.path().to_owned();
        let (sender, receiver) = std::sync::mpsc::channel();
        let opener = std::thread::spawn(move || {
            let opened = Store::open(&path).is_ok();
            sender.send(opened).expect("the test waits for it");
        });
        let early = receiver.recv_timeout(std::time::Duration::from_millis(50));
        assert!(early.is_err(), "opening waits for the collector");
        drop(lock);
        assert!(receiver.recv().expect("the opener answers"));
        opener.join().expect("the opener ends");
    }
}
