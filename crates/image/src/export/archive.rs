//! OCI layouts, as a directory or an archive, and Docker archives.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::Path;

use kiln_oci::{Annotations, Descriptor, Digest, ImageIndex, MediaType};
use kiln_store::Store;
use kiln_store::index::{Entry, EntryKind, Mtime};

use crate::assemble::{Family, index_type};
use crate::export::{ExportError, ImageSet};
use crate::tar_stream::{BLOCK, header};

const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// Writes an OCI image layout (OCI image specification, "Image Layout") as a directory. Blobs are hard links to
/// the store's where the file system allows it.
pub fn oci_directory(set: &ImageSet<'_>, store: &Store, directory: &Path) -> Result<(), ExportError> {
    let write = |path: &Path, bytes: &[u8]| {
        std::fs::write(path, bytes).map_err(|source| ExportError::Write {
            path: path.to_owned(),
            source,
        })
    };
    let blobs = directory.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).map_err(|source| ExportError::Write {
        path: blobs.clone(),
        source,
    })?;
    for (digest, bytes) in documents(set) {
        write(&blobs.join(digest.hex()), bytes)?;
    }
    for layer in layers(set) {
        let path = directory.join("blobs").join(layer.algorithm().name()).join(layer.hex());
        if !path.exists() {
            store.link_blob(&layer, &path)?;
        }
    }
    write(&directory.join("oci-layout"), LAYOUT)?;
    write(&directory.join("index.json"), &serde_json::to_vec(&layout_index(set)?)?)
}

/// Writes an OCI image layout as a tar archive.
pub fn oci_archive(set: &ImageSet<'_>, store: &Store, out: &mut dyn Write) -> Result<(), ExportError> {
    let mut archive = Archive { out, store };
    archive.directory("blobs")?;
    archive.directory("blobs/sha256")?;
    for (digest, bytes) in documents(set) {
        archive.file(&blob_path(&digest), bytes)?;
    }
    for layer in layers(set) {
        archive.blob(&blob_path(&layer), &layer)?;
    }
    archive.file("index.json", &serde_json::to_vec(&layout_index(set)?)?)?;
    archive.file("oci-layout", LAYOUT)?;
    archive.finish()
}

/// Writes what `docker load` reads: `manifest.json`, the configuration, the layers, and an OCI layout's files
/// beside them, as Docker itself does since version 25.
pub fn docker_archive(set: &ImageSet<'_>, store: &Store, out: &mut dyn Write) -> Result<(), ExportError> {
    let [image] = set.images else {
        return Err(ExportError::SeveralPlatforms(set.images.len()));
    };
    #[derive(serde::Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Loaded {
        config: String,
        repo_tags: Vec<String>,
        layers: Vec<String>,
    }
    let loaded = [Loaded {
        config: blob_path(image.config.digest()),
        repo_tags: set.names.iter().map(|name| familiar(name)).collect(),
        layers: image
            .manifest
            .value()
            .layers
            .iter()
            .map(|layer| blob_path(&layer.digest))
            .collect(),
    }];
    let mut archive = Archive { out, store };
    archive.directory("blobs")?;
    archive.directory("blobs/sha256")?;
    for (digest, bytes) in documents(set) {
        archive.file(&blob_path(&digest), bytes)?;
    }
    for layer in layers(set) {
        archive.blob(&blob_path(&layer), &layer)?;
    }
    archive.file("index.json", &serde_json::to_vec(&layout_index(set)?)?)?;
    archive.file("manifest.json", &serde_json::to_vec(&loaded)?)?;
    archive.file("oci-layout", LAYOUT)?;
    archive.finish()
}

/// Docker's own spelling of a canonical reference.
fn familiar(name: &str) -> String {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name).to_owned()
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// Manifests, configurations and the index: what is not in the store.
fn documents<'a>(set: &ImageSet<'a>) -> Vec<(Digest, &'a [u8])> {
    let mut all: Vec<(Digest, &[u8])> = Vec::new();
    for image in set.images {
        all.push((image.config.digest().clone(), image.config.bytes()));
        all.push((image.manifest.digest().clone(), image.manifest.bytes()));
    }
    all.extend(set.index.map(|index| (index.digest().clone(), index.bytes())));
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all.dedup_by(|a, b| a.0 == b.0);
    all
}

/// The layers of all platforms, each once.
fn layers(set: &ImageSet<'_>) -> BTreeSet<Digest> {
    set.images
        .iter()
        .flat_map(|image| image.manifest.value().layers.iter().map(|layer| layer.digest.clone()))
        .collect()
}

/// `index.json`: one entry for each name, or one without a name.
fn layout_index(set: &ImageSet<'_>) -> Result<ImageIndex, ExportError> {
    let top = match (set.index, set.images) {
        (Some(index), _) => {
            let media_type = index
                .value()
                .media_type
                .clone()
                .unwrap_or_else(|| index_type(Family::Oci));
            index.descriptor(media_type)
        }
        (None, [image, ..]) => image.descriptor.clone(),
        (None, []) => Descriptor::of(MediaType::OCI_EMPTY, b"{}"),
    };
    let named = |name: &String| {
        let mut descriptor = top.clone();
        descriptor.annotations.extend(name_annotations(name));
        descriptor
    };
    let manifests = if set.names.is_empty() {
        vec![top.clone()]
    } else {
        set.names.iter().map(named).collect()
    };
    Ok(ImageIndex {
        schema_version: 2,
        media_type: Some(MediaType::OCI_INDEX),
        artifact_type: None,
        manifests,
        subject: None,
        annotations: Annotations::new(),
    })
}

fn name_annotations(name: &str) -> Annotations {
    let tag = name
        .rsplit_once('/')
        .map_or(name, |(_, last)| last)
        .split_once(':')
        .map(|(_, tag)| tag);
    let mut annotations = Annotations::new();
    annotations.insert("io.containerd.image.name".into(), name.to_owned());
    annotations.insert(
        "org.opencontainers.image.ref.name".into(),
        tag.unwrap_or("latest").to_owned(),
    );
    annotations
}

/// Bytes of a blob that are copied at once: a call for each few kilobytes takes longer than the copying.
const COPIED_AT_ONCE: usize = 256 << 10;

/// A tar archive of files that have neither owner nor time.
struct Archive<'a> {
    out: &'a mut dyn Write,
    store: &'a Store,
}

impl Archive<'_> {
    fn entry(&mut self, path: &str, kind: EntryKind, mode: u32) -> Result<(), ExportError> {
        let entry = Entry {
            path: path.into(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: Mtime::default(),
            xattrs: Vec::new(),
        };
        self.out.write_all(&header(&entry, 0)).map_err(ExportError::Stream)
    }

    fn directory(&mut self, path: &str) -> Result<(), ExportError> {
        self.entry(path, EntryKind::Directory { opaque: false }, 0o755)
    }

    fn file(&mut self, path: &str, bytes: &[u8]) -> Result<(), ExportError> {
        self.entry(
            path,
            EntryKind::File {
                size: bytes.len() as u64,
                digest: None,
            },
            0o644,
        )?;
        self.out.write_all(bytes).map_err(ExportError::Stream)?;
        self.pad(bytes.len() as u64)
    }

    fn blob(&mut self, path: &str, digest: &Digest) -> Result<(), ExportError> {
        let missing = || ExportError::MissingBlob(digest.clone());
        let size = self.store.blob_size(digest)?.ok_or_else(missing)?;
        let mut blob = self.store.open_blob(digest)?.ok_or_else(missing)?;
        self.entry(path, EntryKind::File { size, digest: None }, 0o644)?;
        let mut buffer = vec![0; COPIED_AT_ONCE];
        loop {
            match blob.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => self.out.write_all(&buffer[..length]).map_err(ExportError::Stream)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ExportError::Stream(error)),
            }
        }
        self.pad(size)
    }

    fn pad(&mut self, size: u64) -> Result<(), ExportError> {
        let padding = usize::try_from(size.next_multiple_of(BLOCK as u64) - size).unwrap_or(0);
        self.out.write_all(&[0; BLOCK][..padding]).map_err(ExportError::Stream)
    }

    fn finish(self) -> Result<(), ExportError> {
        self.out.write_all(&[0; 2 * BLOCK]).map_err(ExportError::Stream)?;
        self.out.flush().map_err(ExportError::Stream)
    }
}
