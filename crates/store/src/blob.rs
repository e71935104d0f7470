//! Blobs: content-addressed files.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_oci::{Algorithm, Digest, Hasher};

use crate::StoreError;
use crate::cache_record::USE_GRANULARITY;
use crate::early_sync::EarlySync;
use crate::session::{Session, random_token};
use crate::store::Store;

/// How much is gathered before it is hashed and written.
const BUFFER: usize = 256 * 1024;

/// Read-only for its owner, so that nothing writes to a blob by mistake, least of all through a hard link.
const BLOB_MODE: u32 = 0o444;

/// Writes a new blob, hashing on the way. Dropped without commit, or its process dead: removed.
#[derive(Debug)]
pub struct BlobWriter {
    store: Store,
    /// Keeps the file from being reaped.
    _session: Arc<Session>,
    file: File,
    path: PathBuf,
    algorithm: Algorithm,
    hasher: Hasher,
    buffer: Vec<u8>,
    size: u64,
    early: EarlySync,
    committed: bool,
}

impl BlobWriter {
    /// The handle that the blob is held by once it is there.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// How many bytes were written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Forgets everything written, to begin anew (after a download that cannot be resumed).
    pub fn restart(&mut self) -> Result<(), StoreError> {
        self.buffer.clear();
        self.hasher = Hasher::new(self.algorithm);
        self.size = 0;
        let restart = self.file.set_len(0).and_then(|()| self.file.rewind());
        restart.map_err(|error| StoreError::io("write", &self.path, error))
    }

    /// Puts the blob into the store under its digest and gives digest and size. With `expected`, content of
    /// another digest is refused with [`StoreError::DigestMismatch`], and nothing enters the store.
    pub fn commit(mut self, expected: Option<&Digest>) -> Result<(Digest, u64), StoreError> {
        self.write_buffer()?;
        self.check_length()?;
        let mut digest = std::mem::replace(&mut self.hasher, Hasher::new(self.algorithm)).finish();
        if let Some(expected) = expected {
            if expected.algorithm() != digest.algorithm() {
                digest = self.hash_again(expected.algorithm())?;
            }
            if *expected != digest {
                return Err(StoreError::DigestMismatch {
                    expected: expected.clone(),
                    actual: digest,
                });
            }
        }
        let target = self.store.layout().blob(&digest);
        // Before it is there: no collector may meet it without its holder.
        self.store.hold_blob(&digest)?;
        let exists = self.store.blob_size(&digest)? == Some(self.size);
        if !exists {
            let mut make = || -> io::Result<()> {
                self.file.set_permissions(std::fs::Permissions::from_mode(BLOB_MODE))?;
                self.early.finish()?;
                self.file.sync_all()?;
                std::fs::rename(&self.path, &target)
            };
            make().map_err(|error| StoreError::io("write", &target, error))?;
            self.committed = true;
        }
        Ok((digest, self.size))
    }

    fn write_buffer(&mut self) -> Result<(), StoreError> {
        self.hasher.update(&self.buffer);
        let written = self.file.write_all(&self.buffer);
        self.early.wrote(&self.file, self.buffer.len());
        self.buffer.clear();
        written.map_err(|error| StoreError::io("write", &self.path, error))
    }

    /// Refuses a file that an earlier failed write left other than it was hashed.
    fn check_length(&self) -> Result<(), StoreError> {
        let error = |error: io::Error| StoreError::io("write", &self.path, error);
        if self.file.metadata().map_err(error)?.len() == self.size {
            Ok(())
        } else {
            Err(error(io::ErrorKind::WriteZero.into()))
        }
    }

    /// The digest by another algorithm than the one that ran along.
    fn hash_again(&mut self, algorithm: Algorithm) -> Result<Digest, StoreError> {
        let mut hash = || -> io::Result<Digest> {
            self.file.rewind()?;
            hash_file(&mut self.file, algorithm)
        };
        hash().map_err(|error| StoreError::io("read", &self.path, error))
    }
}

impl io::Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.write_buffer()?;
        }
        if bytes.len() >= BUFFER {
            self.hasher.update(bytes);
            self.file
                .write_all(bytes)
                .map_err(|error| StoreError::io("write", &self.path, error))?;
            self.early.wrote(&self.file, bytes.len());
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(self.write_buffer()?)
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if !self.committed
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::debug!(path = %self.path.display(), %error, "failed to remove an unfinished blob");
        }
    }
}

impl Store {
    /// Whether a blob is here. Its content is not looked at.
    pub fn blob_exists(&self, digest: &Digest) -> Result<bool, StoreError> {
        Ok(self.blob_size(digest)?.is_some())
    }

    /// The size of a blob in bytes, if it is here.
    pub fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        self.hold_blob(digest)?;
        let path = self.layout().blob(digest);
        match std::fs::symlink_metadata(&path) {
            Ok(metadata) => {
                if self.holds().is_some() {
                    note_use(&path, &metadata);
                }
                Ok(Some(metadata.len()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("read the attributes of", path, error)),
        }
    }

    /// Opens a blob for reading, if it is here. Its content is not verified.
    pub fn open_blob(&self, digest: &Digest) -> Result<Option<File>, StoreError> {
        self.hold_blob(digest)?;
        let path = self.layout().blob(digest);
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("open", path, error)),
        }
    }

    /// Reads a blob of at most `limit` bytes, if it is here, and verifies its digest: for documents.
    pub fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(file) = self.open_blob(digest)? else {
            return Ok(None);
        };
        let path = self.layout().blob(digest);
        let read_error = |error| StoreError::io("read", &path, error);
        let size = file.metadata().map_err(read_error)?.len();
        if size > limit {
            return Err(StoreError::BlobTooLarge {
                digest: digest.clone(),
                size,
                limit,
            });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        file.take(limit).read_to_end(&mut bytes).map_err(read_error)?;
        let mut hasher = Hasher::new(digest.algorithm());
        hasher.update(&bytes);
        let actual = hasher.finish();
        if actual != *digest {
            let source = Box::new(StoreError::DigestMismatch {
                expected: digest.clone(),
                actual,
            });
            return Err(StoreError::BlobDamaged { path, source });
        }
        Ok(Some(bytes))
    }

    /// Puts a small blob into the store, if it is not there, and gives its SHA-256 digest.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::sha256(bytes);
        if self.blob_size(&digest)? != Some(bytes.len() as u64) {
            let mut writer = self.new_blob()?;
            writer
                .write_all(bytes)
                .map_err(|error| StoreError::io("write", &writer.path, error))?;
            writer.commit(Some(&digest))?;
        }
        Ok(digest)
    }

    /// Begins a blob whose digest is by SHA-256. A digest of another algorithm may still be expected at the end,
    /// at the cost of one more pass.
    pub fn new_blob(&self) -> Result<BlobWriter, StoreError> {
        self.new_blob_by(Algorithm::Sha256)
    }

    /// Begins a blob whose digest is by `algorithm`.
    pub fn new_blob_by(&self, algorithm: Algorithm) -> Result<BlobWriter, StoreError> {
        let session = self.session()?;
        let path = session.fresh_path("blob");
        let file = File::options().read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(|error| StoreError::io("create", &path, error))?;
        Ok(BlobWriter {
            store: self.clone(),
            _session: session,
            file,
            path,
            algorithm,
            hasher: Hasher::new(algorithm),
            buffer: Vec::new(),
            size: 0,
            early: EarlySync::default(),
            committed: false,
        })
    }

    /// Removes a blob and the list of its members, whoever refers to it. False if it is not here.
    pub fn delete_blob(&self, digest: &Digest) -> Result<bool, StoreError> {
        self.delete_blob_members(digest)?;
        let path = self.layout().blob(digest);
        match std::fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("remove", path, error)),
        }
    }

    /// All blobs, sorted, with their sizes in bytes.
    pub fn blobs(&self) -> Result<Vec<(Digest, u64)>, StoreError> {
        let mut blobs = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512] {
            let directory = self.layout().blobs(algorithm);
            let error = |error: io::Error| StoreError::io("list", &directory, error);
            for entry in std::fs::read_dir(&directory).map_err(error)? {
                let entry = entry.map_err(error)?;
                let Some(digest) = blob_of_name(algorithm, &entry.file_name()) else {
                    continue;
                };
                match entry.metadata() {
                    Ok(metadata) => blobs.push((digest, metadata.len())),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(StoreError::io("read the attributes of", entry.path(), error)),
                }
            }
        }
        blobs.sort();
        Ok(blobs)
    }

    /// Puts a blob at `target`, replacing a file there: as a hard link where the file systems allow it, else as a
    /// copy. The file is read-only, because it may be the store's own.
    pub fn link_blob(&self, digest: &Digest, target: &Path) -> Result<(), StoreError> {
        self.hold_blob(digest)?;
        let source = self.layout().blob(digest);
        // Beside the target, so that the target is never half there.
        let name = format!(".kiln-{}", random_token());
        let temporary = target
            .parent()
            .map_or_else(|| PathBuf::from(&name), |parent| parent.join(&name));
        let placed = match std::fs::hard_link(&source, &temporary) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !source.exists() => {
                return Err(StoreError::BlobMissing { digest: digest.clone() });
            }
            // No link across file systems, to files that have too many, where the system forbids it.
            Err(_) => std::fs::copy(&source, &temporary).map(drop),
            Ok(()) => Ok(()),
        };
        let placed = placed.and_then(|()| std::fs::rename(&temporary, target));
        // If the target already was this very file, the rename did nothing and the temporary name is still there.
        let removed = std::fs::remove_file(&temporary);
        placed.map_err(|error| StoreError::io("write", target, error))?;
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", temporary, error)),
            _ => Ok(()),
        }
    }
}

/// The time of last use of a file of the store is its time of modification.
pub(crate) fn note_use(path: &Path, metadata: &std::fs::Metadata) {
    let granularity = std::time::Duration::from_secs(USE_GRANULARITY.unsigned_abs());
    let recent = metadata
        .modified()
        .is_ok_and(|time| time.elapsed().is_ok_and(|age| age < granularity));
    if recent {
        return;
    }
    let now = rustix::fs::Timespec {
        tv_sec: 0,
        tv_nsec: rustix::fs::UTIME_NOW,
    };
    let times = rustix::fs::Timestamps {
        last_access: rustix::fs::Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_OMIT,
        },
        last_modification: now,
    };
    if let Err(error) = rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
        tracing::debug!(path = %path.display(), %error, "failed to note the use of a file");
    }
}

/// Reads a blob's file name.
pub(crate) fn blob_of_name(algorithm: Algorithm, name: &std::ffi::OsStr) -> Option<Digest> {
    format!("{}:{}", algorithm.name(), name.to_str()?).parse().ok()
}

/// The digest of a file from where it stands to its end.
pub(crate) fn hash_file(file: &mut File, algorithm: Algorithm) -> io::Result<Digest> {
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(length) => hasher.update(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::temporary_store;

    fn write(store: &Store, bytes: &[u8]) -> BlobWriter {
        let mut writer = store.new_blob().expect("new");
        writer.write_all(bytes).expect("write");
        writer
    }

    #[test]
    fn a_blob_comes_back() {
        let (_directory, store) = temporary_store();
        let bytes = vec![7u8; BUFFER * 2 + 13];
        let mut writer = store.new_blob().expect("new");
        for chunk in bytes.chunks(1000) {
            writer.write_all(chunk).expect("write");
        }
        let (digest, size) = writer.commit(None).expect("commit");
        assert_eq!((&digest, size), (&Digest::sha256(&bytes), bytes.len() as u64));
        assert_eq!(store.blob_size(&digest).expect("size"), Some(size));
        assert_eq!(
            store.read_blob(&digest, size).expect("read").as_deref(),
            Some(bytes.as_slice())
        );
        let mut read = Vec::new();
        store
            .open_blob(&digest)
            .expect("open")
            .expect("there")
            .read_to_end(&mut read)
            .expect("read");
        assert_eq!(read, bytes);
        let error = store.read_blob(&digest, size - 1).expect_err("over the limit");
        assert!(matches!(error, StoreError::BlobTooLarge { .. }), "{error}");
        assert_eq!(store.blobs().expect("list"), [(digest.clone(), size)]);
        assert!(store.delete_blob(&digest).expect("delete"));
        assert!(!store.delete_blob(&digest).expect("delete"));
        assert!(store.read_blob(&digest, size).expect("read").is_none());
        assert!(store.open_blob(&digest).expect("open").is_none());
    }

    #[test]
    fn large_writes_keep_their_order() {
        let (_directory, store) = temporary_store();
        let large: Vec<u8> = (0..BUFFER as u32 * 2).map(|number| (number % 251) as u8).collect();
        let mut writer = write(&store, b"small");
        writer.write_all(&large).expect("write");
        writer.write_all(b"end").expect("write");
        let all = [b"small", large.as_slice(), b"end"].concat();
        let (digest, size) = writer.commit(None).expect("commit");
        assert_eq!(store.read_blob(&digest, size).expect("read"), Some(all));
    }

    #[test]
    fn a_wrong_digest_is_refused() {
        let (directory, store) = temporary_store();
        let expected = Digest::sha256("other");
        let error = write(&store, b"content")
            .commit(Some(&expected))
            .expect_err("wrong digest");
        assert!(matches!(error, StoreError::DigestMismatch { .. }), "{error}");
        assert!(store.blobs().expect("list").is_empty());
        drop(store);
        assert_eq!(
            std::fs::read_dir(directory.path().join("sessions"))
                .expect("list")
                .count(),
            0
        );
    }

    #[test]
    fn other_algorithms_are_verified() {
        let (_directory, store) = temporary_store();
        let mut hasher = Hasher::new(Algorithm::Sha512);
        hasher.update(b"content");
        let digest = hasher.finish();
        write(&store, b"content").commit(Some(&digest)).expect("commit");
        assert_eq!(
            store.read_blob(&digest, 100).expect("read").as_deref(),
            Some(b"content".as_slice())
        );
        let error = write(&store, b"other").commit(Some(&digest)).expect_err("wrong digest");
        assert!(matches!(error, StoreError::DigestMismatch { .. }), "{error}");
        let mut writer = store.new_blob_by(Algorithm::Sha512).expect("new");
        writer.write_all(b"content").expect("write");
        assert_eq!(writer.commit(None).expect("commit").0, digest);
    }

    #[test]
    fn a_writer_can_begin_anew() {
        let (_directory, store) = temporary_store();
        let mut writer = write(&store, &[1; BUFFER + 1]);
        writer.restart().expect("restart");
        writer.write_all(b"second").expect("write");
        assert_eq!(writer.size(), 6);
        assert_eq!(writer.commit(None).expect("commit"), (Digest::sha256("second"), 6));
    }

    #[test]
    fn a_dropped_writer_leaves_nothing() {
        let (_directory, store) = temporary_store();
        let writer = write(&store, b"content");
        let path = writer.path.clone();
        assert!(path.exists());
        drop(writer);
        assert!(!path.exists());
        assert!(store.blobs().expect("list").is_empty());
    }

    #[test]
    fn a_full_disk_has_its_own_error_and_nothing_enters() {
        let (_directory, store) = temporary_store();
        let mut writer = store.new_blob().expect("new");
        writer.file = File::options().write(true).open("/dev/full").expect("open");
        let error = writer.write_all(&[1; BUFFER + 1]).expect_err("the device is full");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        let inner = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<StoreError>())
            .expect("a store's error");
        assert!(
            inner.is_disk_full() && inner.to_string().starts_with("no space left for `/"),
            "{inner}"
        );
        let mut writer = write(&store, b"gathered, not written yet");
        writer.file = File::options().write(true).open("/dev/full").expect("open");
        assert!(writer.commit(None).expect_err("the device is full").is_disk_full());
        // A writer that failed once cannot be committed, even if the disk has room again.
        let mut writer = write(&store, b"lost");
        let good = std::mem::replace(
            &mut writer.file,
            File::options().write(true).open("/dev/full").expect("open"),
        );
        writer.flush().expect_err("the device is full");
        writer.file = good;
        writer.write_all(b"more").expect("write");
        writer.commit(None).expect_err("bytes are missing");
        assert!(store.blobs().expect("list").is_empty());
    }

    #[test]
    fn equal_blobs_written_at_once_are_one() {
        let (_directory, store) = temporary_store();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| write(&store, b"same").commit(None).expect("commit"));
            }
        });
        assert_eq!(store.blobs().expect("list"), [(Digest::sha256("same"), 4)]);
    }

    #[test]
    fn damage_is_noticed_and_a_truncated_blob_replaced() {
        let (_directory, store) = temporary_store();
        let digest = store.put_blob(b"content").expect("put");
        let path = store.layout().blob(&digest);
        std::fs::remove_file(&path).expect("remove");
        std::fs::write(&path, b"CONTENT").expect("write");
        let error = store.read_blob(&digest, 100).expect_err("damaged");
        assert!(matches!(error, StoreError::BlobDamaged { .. }), "{error}");
        std::fs::write(&path, b"cont").expect("write");
        store.put_blob(b"content").expect("put");
        assert_eq!(
            store.read_blob(&digest, 100).expect("read").as_deref(),
            Some(b"content".as_slice())
        );
    }

    #[test]
    fn blobs_are_linked_out() {
        let (directory, store) = temporary_store();
        let digest = store.put_blob(b"content").expect("put");
        let outside =
            tempfile::tempdir_in(directory.path().parent().expect("a parent")).expect("a temporary directory");
        let target = outside.path().join("blob");
        for _ in 0..2 {
            store.link_blob(&digest, &target).expect("link");
            assert_eq!(std::fs::read(&target).expect("read"), b"content");
            assert_eq!(
                std::fs::read_dir(outside.path()).expect("list").count(),
                1,
                "no temporary name is left"
            );
        }
        let missing = store
            .link_blob(&Digest::sha256("missing"), &target)
            .expect_err("missing");
        assert!(matches!(missing, StoreError::BlobMissing { .. }), "{missing}");
        assert_eq!(std::fs::read(&target).expect("read"), b"content");
    }
}
