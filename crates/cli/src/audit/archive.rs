//! Images in archives: OCI layouts in a tar file, and what `docker save` writes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_oci::{Compression, Descriptor, Digest, ImageConfig, MediaType};
use kiln_store::Store;
use serde::Deserialize;

/// Manifests, indexes and configurations are not larger.
const MAX_DOCUMENT: u64 = 8 << 20;

/// Why an archive cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It cannot be read.
    #[error("failed to read the archive `{path}`")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that it should have.
    #[error("the archive `{path}` has no `{name}`")]
    Missing {
        /// Which archive.
        path: PathBuf,
        /// What it lacks.
        name: String,
    },
    /// A document in it is broken.
    #[error("`{name}` in the archive `{path}` is broken")]
    Broken {
        /// Which archive.
        path: PathBuf,
        /// Which document.
        name: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The store, which holds the plain form of a compressed archive.
    #[error(transparent)]
    Store(#[from] kiln_store::StoreError),
}

/// A tar file whose members can be read in any order.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    file: Arc<File>,
    members: HashMap<String, (u64, u64)>,
    /// Of Docker's archives: members by the digests of their plain streams.
    layers: HashMap<Digest, String>,
    /// Holds the plain form of a compressed archive.
    _plain: Option<kiln_store::ScratchDir>,
}

/// An image of a Docker archive.
#[derive(Debug)]
pub struct DockerImage {
    /// Digest of its configuration, which is all that such an archive has.
    pub id: Digest,
    /// Its configuration.
    pub config: ImageConfig,
    /// Its layers by the digests of their plain streams.
    pub layers: Vec<Descriptor>,
    /// Its names.
    pub names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

impl Archive {
    /// Opens an archive. A compressed one is decompressed into the store's scratch space first.
    pub fn open(path: &Path, store: &Store) -> Result<Archive, ArchiveError> {
        let read = |source| ArchiveError::Read {
            path: path.to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(read)?;
        let mut head = [0; 4];
        let count = file.read_at(&mut head, 0).map_err(read)?;
        let compressed = head[..count].starts_with(&[0x1f, 0x8b]) || head[..count] == [0x28, 0xb5, 0x2f, 0xfd];
        let mut scratch = None;
        if compressed {
            let directory = store.scratch_dir()?;
            let plain_path = directory.path().join("plain");
            let mut plain = kiln_image::unpack::decompress(file, Compression::Uncompressed).map_err(read)?;
            let mut out = File::create_new(&plain_path).map_err(read)?;
            io::copy(&mut plain, &mut out).map_err(read)?;
            file = File::open(&plain_path).map_err(read)?;
            scratch = Some(directory);
        }
        file.seek(SeekFrom::Start(0)).map_err(read)?;
        let mut members: HashMap<String, (u64, u64)> = HashMap::new();
        let mut links = Vec::new();
        let mut archive = tar::Archive::new(&file);
        for entry in archive.entries_with_seek().map_err(read)? {
            let entry = entry.map_err(read)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let name = name.trim_start_matches("./").to_owned();
            let kind = entry.header().entry_type();
            if kind.is_file() {
                members.insert(name, (entry.raw_file_position(), entry.size()));
            } else if kind.is_symlink() || kind.is_hard_link() {
                // Older versions of Docker write a layer once and link to it.
                let target = entry.link_name_bytes().unwrap_or_default();
                let target = String::from_utf8_lossy(&target).into_owned();
                links.push((name, target.trim_start_matches("../").to_owned()));
            }
        }
        for (name, target) in links {
            if let Some(place) = members.get(&target).copied() {
                members.entry(name).or_insert(place);
            }
        }
        Ok(Archive {
            path: path.to_owned(),
            file: Arc::new(file),
            members,
            layers: HashMap::new(),
            _plain: scratch,
        })
    }

    /// Whether it is an OCI layout.
    pub fn is_layout(&self) -> bool {
        self.members.contains_key("index.json") && self.members.contains_key("oci-layout")
    }

    /// A small member.
    pub fn document(&self, name: &str) -> Result<Vec<u8>, ArchiveError> {
        let mut bytes = Vec::new();
        let read = |source| ArchiveError::Read {
            path: self.path.clone(),
            source,
        };
        self.member(name)?
            .take(MAX_DOCUMENT)
            .read_to_end(&mut bytes)
            .map_err(read)?;
        Ok(bytes)
    }

    /// A layer, and whether its digest is that of its plain stream.
    pub fn layer(&self, digest: &Digest) -> Result<(Section, bool), ArchiveError> {
        match self.layers.get(digest) {
            Some(name) => Ok((self.member(name)?, true)),
            None => {
                let name = format!("blobs/{}/{}", digest.algorithm().name(), digest.hex());
                Ok((self.member(&name)?, false))
            }
        }
    }

    fn member(&self, name: &str) -> Result<Section, ArchiveError> {
        let (offset, size) = self.members.get(name).ok_or_else(|| ArchiveError::Missing {
            path: self.path.clone(),
            name: name.to_owned(),
        })?;
        Ok(Section {
            file: self.file.clone(),
            at: *offset,
            left: *size,
        })
    }

    /// The images of a Docker archive. Its layers can be opened by their digests from then on.
    pub fn docker_images(&mut self) -> Result<Vec<DockerImage>, ArchiveError> {
        let broken = |name: &str| {
            let (path, name) = (self.path.clone(), name.to_owned());
            move |source| ArchiveError::Broken { path, name, source }
        };
        let entries: Vec<DockerEntry> =
            serde_json::from_slice(&self.document("manifest.json")?).map_err(broken("manifest.json"))?;
        let mut images = Vec::new();
        let mut names = HashMap::new();
        for entry in entries {
            let bytes = self.document(&entry.config)?;
            let config: ImageConfig = serde_json::from_slice(&bytes).map_err(broken(&entry.config))?;
            let mut layers = Vec::new();
            for (diff_id, member) in config.rootfs.diff_ids.iter().zip(&entry.layers) {
                let size = self.members.get(member).map_or(0, |(_, size)| *size);
                layers.push(Descriptor::new(MediaType::DOCKER_LAYER, diff_id.digest().clone(), size));
                names.insert(diff_id.digest().clone(), member.clone());
            }
            images.push(DockerImage {
                id: Digest::sha256(&bytes),
                config,
                layers,
                names: entry.repo_tags.unwrap_or_default(),
            });
        }
        self.layers = names;
        Ok(images)
    }
}

/// A member of an archive. Several can be read at the same time.
#[derive(Debug)]
pub struct Section {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(&mut buffer[..length], self.at)?;
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}
