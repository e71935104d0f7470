//! A cache in an OCI layout (OCI image specification, "Image Layout") on this machine.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use kiln_oci::{Descriptor, Digest, Document, ImageIndex, Manifest, MediaType};
use kiln_store::Store;
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::de::DeserializeOwned;

use super::document::{CacheContents, CacheDocument};
use super::registry::{PLATFORM, entry, index_of, manifest_of};
use super::storage::{CacheError, Found, Written};

/// Annotation that names an entry of a layout.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

fn io(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> CacheError {
    move |source| CacheError::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}

pub(super) fn blob_path(directory: &Path, digest: &Digest) -> PathBuf {
    directory
        .join("blobs")
        .join(digest.algorithm().name())
        .join(digest.hex())
}

/// A file of the layout that must have its digest.
fn verified<T: DeserializeOwned>(directory: &Path, digest: &Digest) -> Result<Document<T>, CacheError> {
    let path = blob_path(directory, digest);
    let bytes = std::fs::read(&path).map_err(io("read", &path))?;
    let document = Document::parse(bytes)?;
    if document.digest() != digest {
        return Err(CacheError::NotACache(path.display().to_string()));
    }
    Ok(document)
}

pub(super) fn read(directory: &Path, tag: &str, digest: Option<&Digest>) -> Result<Found, CacheError> {
    let version = match digest {
        Some(digest) => Some(digest.clone()),
        None => top(directory)?
            .manifests
            .iter()
            .find(|entry| entry.annotations.get(REF_NAME).is_some_and(|name| name == tag))
            .map(|entry| entry.digest.clone()),
    };
    let Some(version) = version else {
        return Ok(Found::default());
    };
    let index: Document<ImageIndex> = verified(directory, &version)?;
    let mut contents = CacheContents::new();
    for entry in &index.value().manifests {
        let Some(platform) = entry.annotations.get(PLATFORM) else {
            continue;
        };
        let manifest: Document<Manifest> = verified(directory, &entry.digest)?;
        let config = &manifest.value().config.digest;
        let path = blob_path(directory, config);
        let bytes = std::fs::read(&path).map_err(io("read", &path))?;
        contents.insert(platform.clone(), CacheDocument::parse(&bytes)?);
    }
    Ok(Found {
        contents,
        version: Some(version.to_string()),
    })
}

/// The layout's own index; an empty one where there is none.
fn top(directory: &Path) -> Result<ImageIndex, CacheError> {
    let path = directory.join("index.json");
    match std::fs::read(&path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(ImageIndex {
            schema_version: 2,
            media_type: Some(MediaType::OCI_INDEX),
            artifact_type: None,
            manifests: Vec::new(),
            subject: None,
            annotations: kiln_oci::Annotations::new(),
        }),
        Err(error) => Err(io("read", &path)(error)),
    }
}

/// Writes under a lock of the directory, which every writer takes.
pub(super) fn write(
    directory: &Path,
    tag: &str,
    contents: &CacheContents,
    expected: Option<&str>,
) -> Result<Written, CacheError> {
    let blobs = directory.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).map_err(io("create", &blobs))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let lock =
        rustix::fs::open(directory, flags, Mode::empty()).map_err(|error| io("open", directory)(error.into()))?;
    rustix::io::retry_on_intr(|| rustix::fs::flock(lock.as_fd(), FlockOperation::LockExclusive))
        .map_err(|error| io("lock", directory)(error.into()))?;
    if read(directory, tag, None)?.version.as_deref() != expected {
        return Ok(Written::Conflict);
    }
    let mut manifests = Vec::new();
    for (platform, document) in contents {
        let (config, manifest) = manifest_of(document)?;
        put(&blob_path(directory, config.digest()), config.bytes())?;
        put(&blob_path(directory, manifest.digest()), manifest.bytes())?;
        manifests.push(entry(&manifest, platform));
    }
    let index = index_of(manifests)?;
    put(&blob_path(directory, index.digest()), index.bytes())?;
    let mut layout = top(directory)?;
    let named = |entry: &Descriptor| entry.annotations.get(REF_NAME).is_some_and(|name| name == tag);
    layout.manifests.retain(|entry| !named(entry));
    let mut entry = index.descriptor(MediaType::OCI_INDEX);
    entry.annotations.insert(REF_NAME.to_owned(), tag.to_owned());
    layout.manifests.push(entry);
    put(&directory.join("oci-layout"), LAYOUT)?;
    put(&directory.join("index.json"), &serde_json::to_vec(&layout)?)?;
    Ok(Written::Done)
}

/// A file appears whole or not at all.
fn put(path: &Path, bytes: &[u8]) -> Result<(), CacheError> {
    let partial = path.with_extension(format!("{}.partial", std::process::id()));
    std::fs::write(&partial, bytes).map_err(io("write", &partial))?;
    std::fs::rename(&partial, path).map_err(io("write", path))
}

/// A blob of the store becomes one of the layout: a hard link where the file system allows it.
pub(super) fn link(store: &Store, blob: &Descriptor, path: &Path) -> Result<(), CacheError> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(io("create", parent))?;
    }
    match store.link_blob(&blob.digest, path) {
        // Another writer of the same layout was faster.
        Err(_) if path.exists() => Ok(()),
        linked => Ok(linked.map(drop)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(platform: &str) -> CacheContents {
        [(platform.to_owned(), CacheDocument::default())].into()
    }

    #[test]
    fn a_state_is_written_only_over_the_one_that_was_read() {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let directory = scratch.path().join("cache");
        let nothing = read(&directory, "latest", None).expect("no cache yet");
        assert!(nothing.version.is_none() && nothing.contents.is_empty());
        let first = contents("linux/amd64");
        assert_eq!(
            write(&directory, "latest", &first, None).expect("written"),
            Written::Done
        );
        assert_eq!(
            write(&directory, "latest", &first, None).expect("read"),
            Written::Conflict
        );
        let found = read(&directory, "latest", None).expect("readable");
        assert_eq!(found.contents, first);
        assert_eq!(
            write(&directory, "other", &contents("linux/arm64"), None).expect("another name"),
            Written::Done
        );
        let second = contents("linux/riscv64");
        let version = found.version.as_deref();
        assert_eq!(
            write(&directory, "latest", &second, version).expect("written"),
            Written::Done
        );
        assert_eq!(read(&directory, "latest", None).expect("readable").contents, second);
        let earlier: Option<Digest> = version.and_then(|version| version.parse().ok());
        let before = read(&directory, "latest", earlier.as_ref()).expect("an earlier state");
        assert_eq!(before.contents, first);
        let other = read(&directory, "other", None).expect("readable");
        assert_eq!(other.contents, contents("linux/arm64"));
    }

    #[test]
    fn what_is_broken_is_an_error() {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let directory = scratch.path();
        std::fs::write(directory.join("index.json"), "{").expect("writable");
        assert!(read(directory, "latest", None).is_err());
        let missing = Digest::sha256("gone");
        assert!(read(directory, "latest", Some(&missing)).is_err());
        let blob = blob_path(directory, &missing);
        std::fs::create_dir_all(blob.parent().expect("below blobs")).expect("writable");
        std::fs::write(&blob, "{\"schemaVersion\":2,\"manifests\":[]}").expect("writable");
        assert!(matches!(
            read(directory, "latest", Some(&missing)),
            Err(CacheError::NotACache(_))
        ));
    }
}
