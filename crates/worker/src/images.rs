//! Base images: references and platforms become layers and a configuration.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kiln_graph::{ImageLayer, ImageOrigin, ImageSource};
use kiln_oci::platform::PlatformMatcher;
use kiln_oci::{Descriptor, Digest, Document, ImageConfig, ImageIndex, Manifest, MediaType, Platform, Reference};
use kiln_registry::{Client, RegistryError};
use kiln_store::Store;
use serde::{Deserialize, Serialize};

use crate::WorkerError;

/// How long what a tag points at is believed without asking again. `--pull` asks always.
const FRESH: Duration = Duration::from_secs(15 * 60);

/// Documents larger than this are no manifests or configurations.
const MAX_DOCUMENT: u64 = 8 << 20;

/// Why an image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The registry does not have it or does not answer.
    #[error("failed to resolve image `{reference}`")]
    Resolve {
        /// The image.
        reference: Reference,
        /// Why.
        #[source]
        source: RegistryError,
    },
    /// It has no image for the platform.
    #[error("no match for platform in manifest: image `{reference}` has no image for {platform}")]
    NoPlatform {
        /// The image.
        reference: Reference,
        /// What was asked for.
        platform: Platform,
        /// What it has.
        available: Vec<Platform>,
    },
    /// A document of it is broken.
    #[error("the {what} of image `{reference}` is broken")]
    Broken {
        /// Which document.
        what: &'static str,
        /// The image.
        reference: Reference,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Its configuration and manifest name different numbers of layers.
    #[error("the configuration of image `{reference}` names {diff_ids} layers, its manifest {layers}")]
    LayerCount {
        /// The image.
        reference: Reference,
        /// In the configuration.
        diff_ids: usize,
        /// In the manifest.
        layers: usize,
    },
    /// Neither manifest nor index.
    #[error("image `{reference}` is of type `{media_type}`, which is no image")]
    NotAnImage {
        /// The image.
        reference: Reference,
        /// What it is.
        media_type: MediaType,
    },
    /// An OCI layout that cannot be read.
    #[error("failed to read the OCI layout `{path}`")]
    Layout {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An OCI layout that does not hold what is asked for.
    #[error("the OCI layout `{path}` has no image `{wanted}`")]
    NotInLayout {
        /// Where.
        path: PathBuf,
        /// What was asked for.
        wanted: String,
    },
}

/// An image for one platform.
#[derive(Debug, Clone)]
pub struct FoundImage {
    /// Its layers.
    pub source: ImageSource,
    /// Its configuration.
    pub config: ImageConfig,
    /// What the reference points at: of an index, the index's own digest.
    pub digest: Digest,
}

/// Finds images, in the store or in registries.
#[derive(Debug, Clone)]
pub struct Images {
    store: Store,
    client: Client,
    /// Whether tags are asked for again.
    pull: bool,
}

/// What a tag pointed at when it was last asked for.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    descriptor: Descriptor,
    asked_unix: u64,
}

impl Images {
    /// `pull`: ask for tags even if they were asked for a moment ago.
    pub fn new(store: Store, client: Client, pull: bool) -> Images {
        Images { store, client, pull }
    }

    /// The image of `reference` for `platform`.
    pub async fn find(&self, reference: &Reference, platform: &Platform) -> Result<FoundImage, WorkerError> {
        let top = self.resolve(reference).await?;
        let bytes = self.document(reference, &top).await?;
        let (digest, source) = (
            top.digest.clone(),
            Source {
                images: self,
                reference,
            },
        );
        source.image(top, bytes, platform, ImageOrigin::Registry, digest).await
    }

    /// What a reference points at. A digest needs no question; a tag is asked for unless it is fresh enough.
    async fn resolve(&self, reference: &Reference) -> Result<Descriptor, WorkerError> {
        let name = reference.to_string();
        let remembered = self.store.get_document("resolved", &name)?;
        if !self.pull
            && let Some(local) = self.built_here(&name)?
        {
            return Ok(local);
        }
        let remembered: Option<Remembered> = remembered.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if let Some(remembered) = remembered {
            let fresh = reference.digest().is_some() || (!self.pull && remembered.age() < FRESH);
            if fresh && self.store.blob_exists(&remembered.descriptor.digest)? {
                return Ok(remembered.descriptor);
            }
        }
        let resolved = self.client.resolve(reference).await;
        let resolved = resolved.map_err(|source| ImageError::Resolve {
            reference: reference.clone(),
            source,
        })?;
        let digest = self.store.put_blob(&resolved.bytes)?;
        let descriptor = Descriptor::new(resolved.media_type, digest, resolved.bytes.len() as u64);
        let remembered = Remembered {
            descriptor: descriptor.clone(),
            asked_unix: unix_now(),
        };
        let bytes = serde_json::to_vec(&remembered).map_err(|source| ImageError::Broken {
            what: "descriptor",
            reference: reference.clone(),
            source,
        })?;
        self.store.put_document("resolved", &name, &bytes)?;
        Ok(descriptor)
    }

    /// What a build of this machine gave the name to.
    fn built_here(&self, name: &str) -> Result<Option<Descriptor>, WorkerError> {
        let document = self.store.get_document("image", name)?;
        let descriptor: Option<Descriptor> = document.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        match descriptor {
            Some(descriptor) if self.store.blob_exists(&descriptor.digest)? => Ok(Some(descriptor)),
            _ => Ok(None),
        }
    }

    /// A manifest, index or configuration, from the store or the registry.
    async fn document(&self, reference: &Reference, descriptor: &Descriptor) -> Result<Vec<u8>, WorkerError> {
        if let Some(bytes) = self.store.read_blob(&descriptor.digest, MAX_DOCUMENT)? {
            return Ok(bytes);
        }
        let failed = |source| ImageError::Resolve {
            reference: reference.clone(),
            source,
        };
        if descriptor.media_type.is_manifest() || descriptor.media_type.is_index() {
            let resolved = self
                .client
                .fetch_manifest(reference, &descriptor.digest)
                .await
                .map_err(failed)?;
            self.store.put_blob(&resolved.bytes)?;
            return Ok(resolved.bytes);
        }
        self.client
            .fetch_blob(reference, descriptor, &self.store, &|_| {})
            .await
            .map_err(failed)?;
        let bytes = self.store.read_blob(&descriptor.digest, MAX_DOCUMENT)?;
        bytes.ok_or_else(|| WorkerError::Io {
            operation: "read",
            path: PathBuf::from(descriptor.digest.to_string()),
            source: std::io::ErrorKind::NotFound.into(),
        })
    }

    /// The image of an OCI layout directory for `platform`: by tag, by digest, or the only one that it has.
    pub async fn find_in_layout(
        &self,
        path: &Path,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<FoundImage, WorkerError> {
        let index = read_layout_file(path, Path::new("index.json"))?;
        let index: Document<ImageIndex> = Document::parse(index).map_err(|source| ImageError::Broken {
            what: "index.json",
            reference: reference.clone(),
            source,
        })?;
        let wanted = layout_entry(index.value(), reference)
            .cloned()
            .ok_or_else(|| ImageError::NotInLayout {
                path: path.to_owned(),
                wanted: reference.to_string(),
            })?;
        let bytes = self.layout_document(path, &wanted)?;
        let (digest, source) = (
            wanted.digest.clone(),
            Source {
                images: self,
                reference,
            },
        );
        source
            .image(wanted, bytes, platform, ImageOrigin::Layout(path.to_owned()), digest)
            .await
    }

    fn layout_document(&self, path: &Path, descriptor: &Descriptor) -> Result<Vec<u8>, WorkerError> {
        copy_layout_blob(&self.store, path, descriptor)?;
        let bytes = self.store.read_blob(&descriptor.digest, MAX_DOCUMENT)?;
        bytes.ok_or_else(|| {
            ImageError::NotInLayout {
                path: path.to_owned(),
                wanted: descriptor.digest.to_string(),
            }
            .into()
        })
    }
}

/// One image that is being taken apart.
struct Source<'a> {
    images: &'a Images,
    reference: &'a Reference,
}

impl Source<'_> {
    async fn image(
        &self,
        top: Descriptor,
        bytes: Vec<u8>,
        platform: &Platform,
        origin: ImageOrigin,
        digest: Digest,
    ) -> Result<FoundImage, WorkerError> {
        let (manifest_digest, bytes) = if top.media_type.is_index() {
            let index: ImageIndex = self.parse("index", &bytes)?;
            let chosen = self.choose(&index, platform)?.clone();
            let bytes = self.document(&origin, &chosen).await?;
            (chosen.digest, bytes)
        } else if top.media_type.is_manifest() {
            (top.digest, bytes)
        } else {
            let media_type = top.media_type;
            return Err(ImageError::NotAnImage {
                reference: self.reference.clone(),
                media_type,
            }
            .into());
        };
        let manifest: Manifest = self.parse("manifest", &bytes)?;
        let config: ImageConfig = self.parse("configuration", &self.document(&origin, &manifest.config).await?)?;
        if config.rootfs.diff_ids.len() != manifest.layers.len() {
            let (diff_ids, layers) = (config.rootfs.diff_ids.len(), manifest.layers.len());
            return Err(ImageError::LayerCount {
                reference: self.reference.clone(),
                diff_ids,
                layers,
            }
            .into());
        }
        let layers = config.rootfs.diff_ids.iter().zip(manifest.layers);
        let layers = layers
            .map(|(diff_id, descriptor)| ImageLayer {
                diff_id: diff_id.clone(),
                descriptor,
            })
            .collect();
        let source = ImageSource {
            reference: self.reference.to_string(),
            origin,
            platform: platform.clone(),
            manifest: Some(manifest_digest),
            layers,
        };
        Ok(FoundImage { source, config, digest })
    }

    async fn document(&self, origin: &ImageOrigin, descriptor: &Descriptor) -> Result<Vec<u8>, WorkerError> {
        match origin {
            ImageOrigin::Registry => self.images.document(self.reference, descriptor).await,
            ImageOrigin::Layout(path) => self.images.layout_document(path, descriptor),
        }
    }

    fn choose<'i>(&self, index: &'i ImageIndex, platform: &Platform) -> Result<&'i Descriptor, ImageError> {
        let images = || {
            index
                .manifests
                .iter()
                .filter_map(|entry| Some((entry, entry.platform.as_ref()?)))
        };
        let matcher = PlatformMatcher::only(platform);
        matcher
            .best(images().map(|(entry, platform)| (platform, entry)))
            .ok_or_else(|| ImageError::NoPlatform {
                reference: self.reference.clone(),
                platform: platform.clone(),
                // Attestations stand in the index as images for an unknown platform.
                available: images()
                    .map(|(_, platform)| platform.clone())
                    .filter(|platform| platform.os != "unknown")
                    .collect(),
            })
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, what: &'static str, bytes: &[u8]) -> Result<T, ImageError> {
        serde_json::from_slice(bytes).map_err(|source| ImageError::Broken {
            what,
            reference: self.reference.clone(),
            source,
        })
    }
}

impl Remembered {
    fn age(&self) -> Duration {
        // A clock that went back makes the answer old, not eternally fresh.
        unix_now()
            .checked_sub(self.asked_unix)
            .map_or(Duration::MAX, Duration::from_secs)
    }
}

fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

fn layout_entry<'a>(index: &'a ImageIndex, reference: &Reference) -> Option<&'a Descriptor> {
    if let Some(digest) = reference.digest() {
        return index.manifests.iter().find(|entry| entry.digest == *digest);
    }
    let name = |entry: &Descriptor| entry.annotations.get("org.opencontainers.image.ref.name").cloned();
    let tagged = |entry: &&Descriptor| {
        name(entry).is_some_and(|found| Some(found.as_str()) == reference.tag() || found == reference.to_string())
    };
    match index.manifests.as_slice() {
        [only] => Some(only),
        several => several.iter().find(tagged),
    }
}

fn read_layout_file(path: &Path, name: &Path) -> Result<Vec<u8>, ImageError> {
    use std::io::Read;
    let full = path.join(name);
    let read = || -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        std::fs::File::open(&full)?.take(MAX_DOCUMENT).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|source| ImageError::Layout {
        path: full.clone(),
        source,
    })
}

/// Takes a blob of an OCI layout into the store, verified.
pub fn copy_layout_blob(store: &Store, path: &Path, descriptor: &Descriptor) -> Result<(), WorkerError> {
    if store.blob_exists(&descriptor.digest)? {
        return Ok(());
    }
    let file = path
        .join("blobs")
        .join(descriptor.digest.algorithm().name())
        .join(descriptor.digest.hex());
    let failed = |source| ImageError::Layout {
        path: file.clone(),
        source,
    };
    let mut from = std::fs::File::open(&file).map_err(failed)?;
    let mut writer = store.new_blob()?;
    std::io::copy(&mut from, &mut writer).map_err(failed)?;
    writer.commit(Some(&descriptor.digest))?;
    Ok(())
}
