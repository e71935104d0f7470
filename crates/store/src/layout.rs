//! Where things are under the state directory. Drawn in the crate's documentation.

use std::path::{Path, PathBuf};

use kiln_oci::{Algorithm, Digest};

use crate::cache_record::CacheKey;
use crate::history::BuildId;
use crate::layer::LayerId;

/// Version of the directory tree. Raised when an older program could not work in it.
pub(crate) const FORMAT: u64 = 1;

/// Names that may stand in the state directory.
const NAMES: [&str; 18] = [
    "version",
    "lock",
    "gate",
    "collected",
    "aside",
    "store.db",
    "store.db-wal",
    "store.db-shm",
    "blobs",
    "members",
    "indexes",
    "trees",
    "contexts",
    "keys",
    "mounts",
    "git",
    "sessions",
    "history",
];

#[derive(Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: PathBuf) -> Layout {
        Layout { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn version(&self) -> PathBuf {
        self.root.join("version")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Passed by whoever holds something, closed by collectors.
    pub(crate) fn gate(&self) -> PathBuf {
        self.root.join("gate")
    }

    /// What the last look at the store's size found.
    pub(crate) fn collected(&self) -> PathBuf {
        self.root.join("collected")
    }

    /// What a repair moved out of the way.
    pub(crate) fn aside(&self) -> PathBuf {
        self.root.join("aside")
    }

    pub(crate) fn contexts(&self) -> PathBuf {
        self.root.join("contexts")
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    pub(crate) fn mounts(&self) -> PathBuf {
        self.root.join("mounts")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("store.db")
    }

    pub(crate) fn sessions(&self) -> PathBuf {
        self.root.join("sessions")
    }

    pub(crate) fn blobs(&self, algorithm: Algorithm) -> PathBuf {
        self.root.join("blobs").join(algorithm.name())
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs(digest.algorithm()).join(digest.hex())
    }

    /// Made with the first packed blob.
    pub(crate) fn members(&self) -> PathBuf {
        self.root.join("members")
    }

    /// The list of a blob's members.
    pub(crate) fn members_of(&self, blob: &Digest) -> PathBuf {
        self.members().join(blob.hex())
    }

    pub(crate) fn indexes(&self) -> PathBuf {
        self.root.join("indexes")
    }

    pub(crate) fn index(&self, layer: &LayerId) -> PathBuf {
        self.indexes().join(layer.as_str())
    }

    pub(crate) fn trees(&self) -> PathBuf {
        self.root.join("trees")
    }

    /// The directory of a layer's tree. The tree itself is [`ROOT`] in it.
    pub(crate) fn tree(&self, layer: &LayerId) -> PathBuf {
        self.trees().join(layer.as_str())
    }

    pub(crate) fn context(&self, path: &[u8]) -> PathBuf {
        self.contexts().join(Digest::sha256(path).hex())
    }

    pub(crate) fn key(&self, key: &CacheKey) -> PathBuf {
        self.keys().join(key.digest().hex())
    }

    /// The directory of a cache mount, with its lock. What is mounted is [`ROOT`] in it.
    pub(crate) fn mount(&self, id: &str, number: usize) -> PathBuf {
        self.mounts().join(format!("{}-{number}", Digest::sha256(id).hex()))
    }

    pub(crate) fn empty(&self) -> PathBuf {
        self.mounts().join("empty")
    }

    pub(crate) fn repositories(&self) -> PathBuf {
        self.root.join("git")
    }

    /// A git repository. The lock of the key with the same digest is its lock.
    pub(crate) fn repository(&self, name: &str) -> PathBuf {
        self.repositories().join(Digest::sha256(name).hex())
    }

    pub(crate) fn histories(&self) -> PathBuf {
        self.root.join("history")
    }

    /// A file about a build: its journal or its record.
    pub(crate) fn history(&self, id: &BuildId, kind: &str) -> PathBuf {
        self.histories().join(format!("{id}.{kind}"))
    }

    /// Every directory that a store has from the start.
    pub(crate) fn directories(&self) -> impl Iterator<Item = PathBuf> + '_ {
        let algorithms = [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512];
        let plain = ["indexes", "trees", "contexts", "keys", "mounts", "git", "sessions"];
        algorithms
            .into_iter()
            .map(|algorithm| self.blobs(algorithm))
            .chain(plain.into_iter().map(|name| self.root.join(name)))
    }

    /// Whether a name in the state directory is the store's own.
    pub(crate) fn is_own_name(name: &std::ffi::OsStr) -> bool {
        // A version file on its way carries the process' token after a dot.
        NAMES.iter().any(|own| name == *own) || name.as_encoded_bytes().starts_with(b"version.")
    }
}

/// Name of the tree's root directory inside its own directory.
pub(crate) const ROOT: &str = "root";
