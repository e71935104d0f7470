//! Why an operation on the store failed.

use std::io;
use std::path::{Path, PathBuf};

use kiln_oci::Digest;
use rustix::io::Errno;

use crate::index::IndexError;
use crate::layer::LayerId;

/// Why an operation on the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system.
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
    /// The file system or the user's quota is full.
    #[error("no space left for `{path}`")]
    DiskFull {
        /// What was being written.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The directory holds something, but not a store.
    #[error("`{path}` is not empty and is not a kiln store")]
    NotAStore {
        /// The directory.
        path: PathBuf,
    },
    /// The store was made by a newer version of this program.
    #[error("the store `{path}` has format {found}, this program knows formats up to {known}")]
    Newer {
        /// The directory or the database.
        path: PathBuf,
        /// Format found there.
        found: u64,
        /// Highest format that is known here.
        known: u64,
    },
    /// Another process collects garbage or has the store to itself.
    #[error("the store `{path}` is locked by another process")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The database failed.
    #[error("failed to {operation} in the database `{path}`")]
    Database {
        /// What was tried.
        operation: &'static str,
        /// The database's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The database's file is not a database or is damaged. The cache records in it are lost; blobs are not.
    #[error("the database `{path}` is damaged")]
    DatabaseDamaged {
        /// The database's file.
        path: PathBuf,
        /// What was found.
        #[source]
        source: rusqlite::Error,
    },
    /// A row of the database holds what cannot be.
    #[error("invalid {what} in the database `{path}`")]
    Row {
        /// What could not be read.
        what: &'static str,
        /// The database's file.
        path: PathBuf,
    },
    /// Content is not what its digest says. Nothing was added.
    #[error("content has digest `{actual}`, expected `{expected}`")]
    DigestMismatch {
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of the bytes.
        actual: Digest,
    },
    /// A blob is larger than the caller is ready to read.
    #[error("blob `{digest}` has {size} bytes, more than the {limit} allowed here")]
    BlobTooLarge {
        /// The blob.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// The caller's limit in bytes.
        limit: u64,
    },
    /// A blob in the store no longer has its digest.
    #[error("blob `{path}` is damaged")]
    BlobDamaged {
        /// The blob's file.
        path: PathBuf,
        /// Why its content was refused: always a [`StoreError::DigestMismatch`].
        #[source]
        source: Box<StoreError>,
    },
    /// A blob that was to be used is not there.
    #[error("blob `{digest}` is not in the store")]
    BlobMissing {
        /// The blob.
        digest: Digest,
    },
    /// A layer index that was to be kept breaks the rules of its form.
    #[error("failed to keep the index of layer `{layer}`")]
    Index {
        /// The layer.
        layer: LayerId,
        /// Which rule.
        #[source]
        source: IndexError,
    },
}

impl StoreError {
    /// Whether the cause is a full disk or an exhausted quota, so that freeing space helps.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, StoreError::DiskFull { .. })
    }

    /// Puts a file system error into the right variant.
    pub(crate) fn io(operation: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> StoreError {
        let source = source.into();
        let path = path.as_ref().to_owned();
        if is_disk_full(&source) {
            return StoreError::DiskFull { path, source };
        }
        StoreError::Io {
            operation,
            path,
            source,
        }
    }

    /// Puts a database error into the right variant.
    pub(crate) fn database(operation: &'static str, path: &Path, source: rusqlite::Error) -> StoreError {
        use rusqlite::ErrorCode;
        let path = path.to_owned();
        let extended = source.sqlite_error().map(|error| error.extended_code);
        match source.sqlite_error_code() {
            // Room for the index of the log is asked for before anything is written.
            _ if extended == Some(rusqlite::ffi::SQLITE_IOERR_SHMSIZE) => StoreError::DiskFull {
                path,
                source: io::Error::new(io::ErrorKind::StorageFull, source),
            },
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => StoreError::DatabaseDamaged { path, source },
            Some(ErrorCode::DiskFull) => StoreError::DiskFull {
                path,
                source: io::Error::new(io::ErrorKind::StorageFull, source),
            },
            _ => StoreError::Database {
                operation,
                path,
                source,
            },
        }
    }
}

/// Lets a store's error pass through code that speaks [`io::Error`], such as [`io::Write`]; a full disk keeps
/// its kind.
impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> io::Error {
        let kind = match &error {
            StoreError::DiskFull { .. } => io::ErrorKind::StorageFull,
            StoreError::Io { source, .. } => source.kind(),
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

fn is_disk_full(error: &io::Error) -> bool {
    let full = [Errno::NOSPC, Errno::DQUOT].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| full.contains(&code))
        || matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disks_and_quotas_are_told_apart_from_other_errors() {
        for errno in [Errno::NOSPC, Errno::DQUOT] {
            let error = StoreError::io("write", "/x", errno);
            assert!(error.is_disk_full(), "{errno}");
            assert_eq!(error.to_string(), "no space left for `/x`");
            let passed = io::Error::from(error);
            assert_eq!(passed.kind(), io::ErrorKind::StorageFull);
        }
        let error = StoreError::io("write", "/x", Errno::ACCESS);
        assert!(!error.is_disk_full());
        assert_eq!(error.to_string(), "failed to write `/x`");
        let full = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None);
        assert!(StoreError::database("read", Path::new("/db"), full).is_disk_full());
    }
}
