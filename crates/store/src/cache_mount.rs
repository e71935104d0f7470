//! Directories that outlive builds: `RUN --mount=type=cache`.
//!
//! One identity may have several directories: who wants one for itself gets another if the first is in use. Each has
//! a lock file, held shared or exclusively for as long as a step uses the directory, whichever process runs it.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, RenameFlags};
use rustix::io::Errno;

use crate::StoreError;
use crate::blob::note_use;
use crate::layout::ROOT;
use crate::lock::{flock, is_same_file, open_lock_file, try_lock};
use crate::session::make_private_directory;
use crate::store::Store;

/// Who may use a directory at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheMountUse {
    /// Everyone who shares it too.
    Shared,
    /// Nobody else: who finds it in use gets another directory.
    Private,
    /// Nobody else: who finds it in use waits.
    Locked,
}

/// A directory in use. Others learn of its end when this is dropped.
#[derive(Debug)]
pub struct CacheMount {
    root: PathBuf,
    /// Held for its lock alone.
    _lock: File,
}

impl CacheMount {
    /// The directory.
    pub fn path(&self) -> &Path {
        &self.root
    }
}

impl Store {
    /// Takes the directory of `id` into use; None if it is in use by others and is to be waited for. Where there is
    /// none yet, `fill` is given an empty directory to make it from.
    pub fn try_cache_mount<E: From<StoreError>>(
        &self,
        id: &str,
        usage: CacheMountUse,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<Option<CacheMount>, E> {
        for number in 0.. {
            let directory = self.layout().mount(id, number);
            if let Some(lock) = take(&directory, usage)? {
                let root = directory.join(ROOT);
                self.name_mount(&directory, id)?;
                if !root.exists() {
                    self.make(&root, fill)?;
                }
                return Ok(Some(CacheMount { root, _lock: lock }));
            }
            if usage != CacheMountUse::Private {
                break;
            }
        }
        Ok(None)
    }

    /// Whether `id` has a directory that was made before.
    pub fn has_cache_mount(&self, id: &str) -> bool {
        self.layout().mount(id, 0).join(ROOT).exists()
    }

    /// Writes down what the directory is called, for people who look at the store.
    fn name_mount(&self, directory: &Path, id: &str) -> Result<(), StoreError> {
        let path = directory.join(NAME);
        if path.exists() {
            return Ok(());
        }
        self.write_atomically(&path, id.as_bytes(), false)
    }

    /// The directory appears whole or not at all. If two make it at once, the first one stays.
    fn make<E: From<StoreError>>(&self, root: &Path, fill: impl FnOnce(&Path) -> Result<(), E>) -> Result<(), E> {
        let staged = self.scratch_dir()?;
        let filled = staged.path().join(ROOT);
        make_private_directory(&filled)?;
        rustix::fs::chmod(&filled, Mode::from_raw_mode(0o755))
            .map_err(|error| StoreError::io("set the mode of", &filled, error))?;
        fill(&filled)?;
        let cwd = rustix::fs::CWD;
        match rustix::fs::renameat_with(cwd, &filled, cwd, root, RenameFlags::NOREPLACE) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(StoreError::io("create", root, error).into()),
        }
    }

    /// A directory that stays empty: what a stack of no trees stands on.
    pub fn empty_directory(&self) -> Result<PathBuf, StoreError> {
        let path = self.layout().empty();
        match rustix::fs::mkdir(&path, Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                let mode = Mode::from_raw_mode(0o755);
                rustix::fs::chmod(&path, mode).map_err(|error| StoreError::io("set the mode of", &path, error))?;
                Ok(path)
            }
            Err(Errno::EXIST) => Ok(path),
            Err(error) => Err(StoreError::io("create", path, error)),
        }
    }
}

/// The lock of one directory, if it can be had at once. The time of the lock file tells when that was last.
fn take(directory: &Path, usage: CacheMountUse) -> Result<Option<File>, StoreError> {
    let path = directory.join(LOCK);
    loop {
        match make_private_directory(directory) {
            Ok(()) => {}
            Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        let file = match open_lock_file(&path) {
            Ok(file) => file,
            // A collector moved the directory away in between.
            Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let locked = match usage {
            CacheMountUse::Shared => match flock(&file, FlockOperation::NonBlockingLockShared) {
                Ok(()) => Ok(true),
                Err(Errno::WOULDBLOCK) => Ok(false),
                Err(error) => Err(error),
            },
            CacheMountUse::Private | CacheMountUse::Locked => try_lock(&file),
        };
        if !locked.map_err(|error| StoreError::io("lock", &path, error))? {
            return Ok(None);
        }
        if is_same_file(&file, &path)? {
            let metadata = file
                .metadata()
                .map_err(|error| StoreError::io("read the attributes of", &path, error))?;
            note_use(&path, &metadata);
            return Ok(Some(file));
        }
    }
}

/// Name of the file with the id of a cache mount.
pub(crate) const NAME: &str = "name";

/// Name of the lock file in the directory of a cache mount.
pub(crate) const LOCK: &str = "lock";

/// The lock of a cache mount that nobody uses, to remove it. None: it is in use, or gone.
pub(crate) fn take_idle(directory: &Path) -> Result<Option<File>, StoreError> {
    let path = directory.join(LOCK);
    let file = match open_lock_file(&path) {
        Ok(file) => file,
        Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let locked = try_lock(&file).map_err(|error| StoreError::io("lock", &path, error))?;
    Ok((locked && is_same_file(&file, &path)?).then_some(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::temporary_store;

    fn take(store: &Store, id: &str, usage: CacheMountUse) -> Option<CacheMount> {
        store
            .try_cache_mount::<StoreError>(id, usage, |_| Ok(()))
            .expect("a directory")
    }

    #[test]
    fn directories_are_kept_by_their_ids() {
        let (_directory, store) = temporary_store();
        let filled = store.try_cache_mount::<StoreError>("/root/.cache", CacheMountUse::Shared, |path| {
            std::fs::write(path.join("file"), "x").expect("writable");
            Ok(())
        });
        let path = filled.expect("made").expect("free").path().to_owned();
        let again = take(&store, "/root/.cache", CacheMountUse::Shared).expect("free");
        assert_eq!(again.path(), path);
        assert!(path.join("file").exists(), "filled once");
        let other = take(&store, "../../etc", CacheMountUse::Shared).expect("free");
        assert_ne!(other.path(), path);
        assert!(other.path().starts_with(store.root()));
    }

    #[test]
    fn who_may_use_a_directory_at_the_same_time() {
        use CacheMountUse::{Locked, Private, Shared};
        let (_directory, store) = temporary_store();
        let first = take(&store, "id", Shared).expect("free");
        let second = take(&store, "id", Shared).expect("shared");
        assert_eq!(first.path(), second.path());
        assert!(take(&store, "id", Locked).is_none(), "to be waited for");
        let own = take(&store, "id", Private).expect("another directory");
        assert_ne!(own.path(), first.path());
        drop((first, second));
        let locked = take(&store, "id", Locked).expect("free again");
        assert!(take(&store, "id", Shared).is_none());
        drop(locked);
        let again = take(&store, "id", Private).expect("free");
        assert_ne!(again.path(), own.path(), "the other one is still in use");
    }

    #[test]
    fn a_directory_that_cannot_be_filled_is_not_there() {
        let (_directory, store) = temporary_store();
        let failed = store.try_cache_mount("id", CacheMountUse::Shared, |_| {
            Err(StoreError::io("write", "x", std::io::Error::other("full")))
        });
        assert!(failed.is_err());
        let made = take(&store, "id", CacheMountUse::Shared).expect("free");
        assert!(made.path().is_dir());
    }
}
