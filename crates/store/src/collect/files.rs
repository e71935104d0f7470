//! What the file system tells of a store: names, sizes, times. Read without any lock.

use std::collections::{HashMap, HashSet};
use std::fs::{DirEntry, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kiln_oci::{Algorithm, Digest};

use crate::StoreError;
use crate::blob::blob_of_name;
use crate::cache_mount::{LOCK, NAME};
use crate::layer::LayerId;
use crate::layout::ROOT;
use crate::lock::try_lock;
use crate::store::Store;

/// A blob's file, and the list of its members.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlobFile {
    /// On disk.
    pub(crate) bytes: u64,
    pub(crate) used_unix: i64,
    /// Whether it has names outside the store.
    pub(crate) linked: bool,
}

/// Anything else that stands for itself.
#[derive(Debug, Clone)]
pub(crate) struct Plain {
    pub(crate) path: PathBuf,
    /// What people know it by.
    pub(crate) title: String,
    pub(crate) bytes: u64,
    pub(crate) used_unix: i64,
    pub(crate) in_use: bool,
}

/// Everything on disk.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub(crate) blobs: HashMap<Digest, BlobFile>,
    /// Lists of members whose blobs are gone.
    pub(crate) members: Vec<PathBuf>,
    pub(crate) indexes: HashMap<LayerId, u64>,
    pub(crate) trees: HashMap<LayerId, u64>,
    pub(crate) contexts: Vec<Plain>,
    pub(crate) mounts: Vec<Plain>,
    /// Fetched git repositories.
    pub(crate) repositories: Vec<Plain>,
    pub(crate) sessions: Vec<Plain>,
    /// Lock files of keys.
    pub(crate) keys: Vec<PathBuf>,
    /// What repairs moved out of the way.
    pub(crate) aside: Vec<Plain>,
    pub(crate) database: u64,
}

/// The look was given up because nobody waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GivenUp;

impl Store {
    /// Looks at everything. Trees that were measured before are not walked again, others are, and their sizes kept.
    pub(crate) fn files(&self, give_up: &dyn Fn() -> bool) -> Result<Result<Files, GivenUp>, StoreError> {
        let layout = self.layout();
        let mut files = Files::default();
        // Before the blobs: a list is written after its blob, so that whatever is listed here had one.
        let mut members: HashMap<Digest, u64> = HashMap::new();
        each(&layout.members(), |entry, metadata| {
            if let Some(digest) = blob_of_name(Algorithm::Sha256, &entry.file_name()) {
                members.insert(digest, on_disk(metadata));
            }
        })?;
        for algorithm in [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512] {
            each(&layout.blobs(algorithm), |entry, metadata| {
                if let Some(digest) = blob_of_name(algorithm, &entry.file_name()) {
                    let file = BlobFile {
                        bytes: on_disk(metadata) + members.remove(&digest).unwrap_or(0),
                        used_unix: metadata.mtime(),
                        linked: metadata.nlink() > 1,
                    };
                    files.blobs.insert(digest, file);
                }
            })?;
        }
        files.members = members.keys().map(|digest| layout.members_of(digest)).collect();
        each(&layout.indexes(), |entry, metadata| {
            if let Some(layer) = layer_of(entry) {
                files.indexes.insert(layer, on_disk(metadata));
            }
        })?;
        if give_up() {
            return Ok(Err(GivenUp));
        }
        if self.trees_on_disk(&mut files, give_up)? == Err(GivenUp) {
            return Ok(Err(GivenUp));
        }
        each(&layout.contexts(), |entry, metadata| {
            files.contexts.push(plain(entry, metadata))
        })?;
        each(&layout.keys(), |entry, _| files.keys.push(entry.path()))?;
        each(&layout.mounts(), |entry, metadata| {
            if metadata.is_dir() && entry.path() != layout.empty() {
                files.mounts.push(mount(entry, metadata));
            }
        })?;
        each(&layout.repositories(), |entry, metadata| {
            // What is no repository (the hosts that were trusted) does not age.
            if entry.path().join("HEAD").exists() {
                let mut repository = plain(entry, metadata);
                repository.bytes = size_of_tree(&repository.path, &|| false).unwrap_or(0);
                files.repositories.push(repository);
            }
        })?;
        for list in [
            (layout.sessions(), &mut files.sessions),
            (layout.aside(), &mut files.aside),
        ] {
            each(&list.0, |entry, metadata| {
                let mut session = plain(entry, metadata);
                session.bytes = size_of_tree(&session.path, &|| false).unwrap_or(0);
                list.1.push(session);
            })?;
        }
        // Its log comes and goes with the processes that write to it.
        files.database = std::fs::symlink_metadata(layout.database()).map_or(0, |metadata| on_disk(&metadata));
        Ok(Ok(files))
    }

    fn trees_on_disk(&self, files: &mut Files, give_up: &dyn Fn() -> bool) -> Result<Result<(), GivenUp>, StoreError> {
        let database = self.database()?;
        let measured: HashMap<String, u64> = database.read("read the sizes of layers", |connection| {
            connection
                .prepare_cached("SELECT id, tree_bytes FROM layers WHERE tree_bytes IS NOT NULL")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })?;
        let mut new = Vec::new();
        let mut found = Vec::new();
        each(&self.layout().trees(), |entry, _| found.extend(layer_of(entry)))?;
        for layer in found {
            let bytes = match measured.get(layer.as_str()) {
                Some(bytes) => *bytes,
                None => {
                    let Some(bytes) = size_of_tree(&self.layout().tree(&layer), give_up) else {
                        self.keep_sizes(&new)?;
                        return Ok(Err(GivenUp));
                    };
                    new.push((layer.clone(), bytes));
                    bytes
                }
            };
            files.trees.insert(layer, bytes);
        }
        self.keep_sizes(&new)?;
        Ok(Ok(()))
    }

    fn keep_sizes(&self, sizes: &[(LayerId, u64)]) -> Result<(), StoreError> {
        if sizes.is_empty() || self.is_read_only() {
            return Ok(());
        }
        self.database()?.note("keep the sizes of layers", |connection| {
            let mut statement = connection.prepare_cached("UPDATE layers SET tree_bytes = ?2 WHERE id = ?1")?;
            for (layer, bytes) in sizes {
                statement.execute(rusqlite::params![
                    layer.as_str(),
                    i64::try_from(*bytes).unwrap_or(i64::MAX)
                ])?;
            }
            Ok(())
        })
    }
}

/// What a file takes up on disk, in bytes.
pub(crate) fn on_disk(metadata: &Metadata) -> u64 {
    metadata.blocks().saturating_mul(512)
}

/// Calls `see` for every entry of a directory that is still there when it is looked at.
fn each(directory: &Path, mut see: impl FnMut(&DirEntry, &Metadata)) -> Result<(), StoreError> {
    let error = |error: io::Error| StoreError::io("list", directory, error);
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(error(source)),
    };
    for entry in entries {
        let entry = entry.map_err(error)?;
        match entry.metadata() {
            Ok(metadata) => see(&entry, &metadata),
            Err(source) if source.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(error(source)),
        }
    }
    Ok(())
}

fn layer_of(entry: &DirEntry) -> Option<LayerId> {
    entry.file_name().to_str()?.parse().ok()
}

fn plain(entry: &DirEntry, metadata: &Metadata) -> Plain {
    Plain {
        path: entry.path(),
        title: entry.file_name().to_string_lossy().into_owned(),
        bytes: on_disk(metadata),
        used_unix: metadata.mtime(),
        in_use: false,
    }
}

/// Longest id of a cache mount that is shown, in bytes.
const LONGEST_NAME: u64 = 1024;

fn mount(entry: &DirEntry, metadata: &Metadata) -> Plain {
    let mut mount = plain(entry, metadata);
    let lock = mount.path.join(LOCK);
    if let Ok(lock_metadata) = std::fs::symlink_metadata(&lock) {
        mount.used_unix = lock_metadata.mtime();
    }
    let name = || -> io::Result<String> {
        let mut name = String::new();
        let file = std::fs::File::open(mount.path.join(NAME))?;
        io::Read::read_to_string(&mut io::Read::take(file, LONGEST_NAME), &mut name)?;
        Ok(name)
    };
    if let Ok(name) = name() {
        mount.title = name;
    }
    mount.in_use = std::fs::File::open(&lock).is_ok_and(|file| try_lock(&file) == Ok(false));
    mount.bytes = size_of_tree(&mount.path.join(ROOT), &|| false).unwrap_or(0);
    mount
}

/// What a directory and everything below it take up on disk, in bytes; files with several names in it count once.
/// What cannot be read counts nothing. None: given up.
fn size_of_tree(root: &Path, give_up: &dyn Fn() -> bool) -> Option<u64> {
    let mut bytes = std::fs::symlink_metadata(root).map_or(0, |metadata| on_disk(&metadata));
    let mut links = HashSet::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        if give_up() {
            return None;
        }
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                directories.push(entry.path());
            } else if metadata.nlink() > 1 && !links.insert((metadata.dev(), metadata.ino())) {
                continue;
            }
            bytes = bytes.saturating_add(on_disk(&metadata));
        }
    }
    Some(bytes)
}
