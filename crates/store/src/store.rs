//! Opening a store.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::StoreError;
use crate::cache_record::CacheKey;
use crate::database::Database;
use crate::gate::Gate;
use crate::index_cache::IndexCache;
use crate::layer::LayerId;
use crate::layout::{FORMAT, Layout};
use crate::lease::Holds;
use crate::lock::{flock, open_lock_file};
use crate::session::{self, Session, make_private_directory, random_token};

/// An open store. Cheap to clone; all clones are one handle. All methods block, and all may be called from many
/// threads and many processes at once.
///
/// What a handle was told is there stays there until its last clone is dropped, whatever is collected meanwhile.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
    /// None: this handle holds nothing.
    holds: Option<Arc<Holds>>,
}

/// Things whose kept time of last use is too old.
#[derive(Debug, Default)]
pub(crate) struct Used {
    pub(crate) records: HashSet<CacheKey>,
    pub(crate) layers: HashSet<LayerId>,
}

#[derive(Debug)]
struct Shared {
    layout: Layout,
    /// Begun when the first temporary file or lease is needed.
    session: Mutex<Option<Arc<Session>>>,
    /// Opened at the first question to it.
    database: OnceLock<Database>,
    /// Keeps two threads from opening the database at once.
    opening: Mutex<()>,
    indexes: IndexCache,
    gate: Arc<Gate>,
    /// What was used, to be written when the store is closed.
    used: Mutex<Used>,
    /// On a file system that cannot be written to: nothing is made, reaped or held.
    read_only: bool,
    /// Locked shared for as long as the store is open. Fields are dropped in their order, so this goes last.
    lock: File,
}

impl Store {
    /// Opens the store in a directory, and makes it if the directory is empty or missing.
    ///
    /// Takes the shared lock, checks the format, and removes what processes that died left behind. Waits while
    /// another process has the exclusive lock ([`Store::collect_lock`]).
    pub fn open(root: &Path) -> Result<Store, StoreError> {
        let layout = Layout::new(root.to_owned());
        let mut read_only = false;
        let lock = match shared_lock(&layout, &mut read_only)? {
            Some(lock) => lock,
            None => {
                create(&layout)?;
                open_lock_file(&layout.lock())?
            }
        };
        flock(&lock, FlockOperation::LockShared).map_err(|error| StoreError::io("lock", layout.lock(), error))?;
        if !has_format(&layout)? {
            create(&layout)?;
        }
        if !read_only {
            session::reap(&layout.sessions())?;
        }
        let gate = Arc::new(Gate::new(layout.gate()));
        let shared = Arc::new(Shared {
            gate,
            read_only,
            layout,
            session: Mutex::new(None),
            database: OnceLock::new(),
            opening: Mutex::new(()),
            indexes: IndexCache::default(),
            used: Mutex::default(),
            lock,
        });
        Ok(Store {
            shared,
            holds: Some(Arc::default()),
        })
    }

    /// A handle of its own on the same open store: what it was told is there is held until it is dropped, and no
    /// longer. For tasks of a process that goes on.
    pub fn scoped(&self) -> Store {
        Store {
            shared: self.shared.clone(),
            holds: Some(Arc::default()),
        }
    }

    /// A handle that holds nothing: what it was told is there may be gone the next moment.
    pub fn unheld(&self) -> Store {
        Store {
            shared: self.shared.clone(),
            holds: None,
        }
    }

    /// Whether the file system refuses every write. Such a store can be looked at and no more.
    pub fn is_read_only(&self) -> bool {
        self.shared.read_only
    }

    /// The state directory.
    pub fn root(&self) -> &Path {
        self.shared.layout.root()
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.shared.layout
    }

    pub(crate) fn lock_file(&self) -> &File {
        &self.shared.lock
    }

    pub(crate) fn indexes(&self) -> &IndexCache {
        &self.shared.indexes
    }

    pub(crate) fn gate(&self) -> Arc<Gate> {
        self.shared.gate.clone()
    }

    pub(crate) fn holds(&self) -> Option<&Arc<Holds>> {
        self.holds.as_ref()
    }

    pub(crate) fn used(&self) -> MutexGuard<'_, Used> {
        held(&self.shared.used)
    }

    pub(crate) fn session(&self) -> Result<Arc<Session>, StoreError> {
        let mut session = held(&self.shared.session);
        if let Some(session) = &*session {
            return Ok(session.clone());
        }
        let begun = Arc::new(Session::begin(&self.shared.layout.sessions())?);
        *session = Some(begun.clone());
        Ok(begun)
    }

    pub(crate) fn database(&self) -> Result<&Database, StoreError> {
        if let Some(database) = self.shared.database.get() {
            return Ok(database);
        }
        let _opening = held(&self.shared.opening);
        if let Some(database) = self.shared.database.get() {
            return Ok(database);
        }
        let path = self.shared.layout.database();
        if self.shared.read_only {
            let database = Database::open_read_only(&path)?;
            return Ok(self.shared.database.get_or_init(|| database));
        }
        if !path.exists() {
            Database::create(&path, &self.session()?.fresh_path("database"))?;
        }
        let database = Database::open(&path)?;
        Ok(self.shared.database.get_or_init(|| database))
    }

    /// Writes a small file under its final name at once: no reader ever sees half of it. `durable`: survives a
    /// power failure as well.
    pub(crate) fn write_atomically(&self, path: &Path, bytes: &[u8], durable: bool) -> Result<(), StoreError> {
        let session = self.session()?;
        let temporary = session.fresh_path("file");
        write_new(&temporary, bytes, durable)?;
        std::fs::rename(&temporary, path).map_err(|error| StoreError::io("write", path, error))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let used = std::mem::take(&mut *held(&self.used));
        if let Some(database) = self.database.get() {
            // Only what garbage collection knows of ages is lost if this fails.
            if let Err(error) = database.touch(&used) {
                tracing::debug!(%error, "failed to note what was used");
            }
        }
    }
}

/// What a lock guards here is whole at any moment, so a panic of another thread does not matter.
pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens the lock file of a store that exists.
fn shared_lock(layout: &Layout, read_only: &mut bool) -> Result<Option<File>, StoreError> {
    let path = layout.lock();
    let open = |access| rustix::fs::open(&path, access | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty());
    match open(OFlags::RDWR) {
        Ok(file) => Ok(Some(file.into())),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::ROFS) => {
            *read_only = true;
            let file = open(OFlags::RDONLY).map_err(|error| StoreError::io("open", &path, error))?;
            Ok(Some(file.into()))
        }
        Err(error) => Err(StoreError::io("open", path, error)),
    }
}

/// Whether the store is complete. An error if it was made by a newer program.
fn has_format(layout: &Layout) -> Result<bool, StoreError> {
    let path = layout.version();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(StoreError::io("read", path, error)),
    };
    match text.trim().parse::<u64>() {
        Ok(FORMAT) => Ok(true),
        Ok(found) if found > FORMAT => Err(StoreError::Newer {
            path: layout.root().to_owned(),
            found,
            known: FORMAT,
        }),
        _ => Err(StoreError::NotAStore {
            path: layout.root().to_owned(),
        }),
    }
}

/// Makes what is missing of a store. Several processes may do so at once; the version file comes last.
fn create(layout: &Layout) -> Result<(), StoreError> {
    let root = layout.root();
    if let Some(parent) = root.parent() {
        std::fs::create_dir_all(parent).map_err(|error| StoreError::io("create", parent, error))?;
    }
    existing_is_fine(make_private_directory(root))?;
    let list = |error: std::io::Error| StoreError::io("list", root, error);
    for entry in std::fs::read_dir(root).map_err(list)? {
        if !Layout::is_own_name(&entry.map_err(list)?.file_name()) {
            return Err(StoreError::NotAStore { path: root.to_owned() });
        }
    }
    existing_is_fine(make_private_directory(&root.join("blobs")))?;
    for directory in layout.directories() {
        existing_is_fine(make_private_directory(&directory))?;
    }
    open_lock_file(&layout.lock())?;
    let temporary: PathBuf = root.join(format!("version.{}", random_token()));
    write_new(&temporary, format!("{FORMAT}\n").as_bytes(), true)?;
    std::fs::rename(&temporary, layout.version()).map_err(|error| StoreError::io("write", layout.version(), error))
}

fn existing_is_fine(made: Result<(), StoreError>) -> Result<(), StoreError> {
    match made {
        Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn write_new(path: &Path, bytes: &[u8], durable: bool) -> Result<(), StoreError> {
    let write = || -> std::io::Result<()> {
        let mut file = File::create_new(path)?;
        file.write_all(bytes)?;
        if durable { file.sync_all() } else { Ok(()) }
    };
    write().map_err(|error| {
        // Half a file helps nobody, least of all on a full disk. If it cannot go, the next reaper takes it.
        drop(std::fs::remove_file(path));
        StoreError::io("write", path, error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::temporary_store;

    #[test]
    fn a_store_is_made_once_and_opened_again() {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let root = scratch.path().join("deep/state");
        let digest = Store::open(&root).expect("create").put_blob(b"x").expect("put");
        let store = Store::open(&root).expect("open");
        assert!(store.blob_exists(&digest).expect("look"));
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&root).expect("stat").permissions());
        assert_eq!(mode & 0o777, 0o700, "setuid programs in trees are not for other users");
    }

    #[test]
    fn foreign_directories_and_newer_formats_are_refused() {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(scratch.path().join("notes.txt"), "mine").expect("write");
        let error = Store::open(scratch.path()).expect_err("not a store");
        assert!(matches!(error, StoreError::NotAStore { .. }), "{error}");
        assert_eq!(
            std::fs::read_dir(scratch.path()).expect("list").count(),
            1,
            "nothing was made"
        );

        let (directory, store) = temporary_store();
        drop(store);
        std::fs::write(directory.path().join("version"), "99\n").expect("write");
        let error = Store::open(directory.path()).expect_err("newer");
        assert!(
            error
                .to_string()
                .contains("has format 99, this program knows formats up to 1"),
            "{error}"
        );
    }

    #[test]
    fn many_threads_create_one_store() {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let root = scratch.path().join("state");
        std::thread::scope(|scope| {
            for number in 0..8 {
                let root = &root;
                scope.spawn(move || {
                    let store = Store::open(root).expect("open");
                    store.put_document("kind", &number.to_string(), b"x").expect("put");
                });
            }
        });
        let store = Store::open(&root).expect("open");
        assert_eq!(store.list_documents("kind", "").expect("list").len(), 8);
    }

    #[test]
    fn an_interrupted_creation_is_finished() {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir(scratch.path().join("blobs")).expect("mkdir");
        std::fs::write(scratch.path().join("lock"), "").expect("write");
        let store = Store::open(scratch.path()).expect("open");
        store.put_blob(b"x").expect("put");
    }

    #[test]
    fn nothing_temporary_is_left_behind() {
        let (directory, store) = temporary_store();
        store.put_blob(b"x").expect("put");
        drop(store.new_blob().expect("new"));
        drop(store.stage_tree().expect("stage"));
        drop(store.scratch_dir().expect("scratch"));
        drop(store);
        assert_eq!(
            std::fs::read_dir(directory.path().join("sessions"))
                .expect("list")
                .count(),
            0
        );
    }
}
