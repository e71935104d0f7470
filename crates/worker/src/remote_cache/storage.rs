//! Where caches are: the closed set of places.

use std::path::PathBuf;
use std::sync::Arc;

use kiln_oci::{Descriptor, Digest, Reference};
use kiln_registry::{Client, RegistryError};
use kiln_store::Store;

use super::document::{CacheContents, CacheDocument};
use super::object::ObjectCache;
use super::{layout, registry};
use crate::WorkerError;
use crate::layers::{LayerPlace, Layers};

/// Why a cache cannot be read or written. It never fails a build.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A file of the layout.
    #[error("failed to {operation} `{path}`")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It holds something else.
    #[error("`{0}` holds no cache")]
    NotACache(String),
    /// A document of it.
    #[error("failed to read a document of the cache")]
    Document(#[from] serde_json::Error),
    /// Others wrote again and again.
    #[error("others kept writing to the cache at the same time")]
    Contended,
    /// A layer of the build.
    #[error("failed to bring a layer into the cache")]
    Layer(#[source] Box<WorkerError>),
    /// No connection, or it broke.
    #[error("failed to reach the cache `{name}`")]
    Http {
        /// The cache.
        name: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The server said no.
    #[error("the cache `{name}` answered {status}: {message}")]
    Refused {
        /// The cache.
        name: String,
        /// HTTP status.
        status: u16,
        /// Its own words.
        message: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] kiln_store::StoreError),
}

/// A place that a cache is read from or written to.
#[derive(Debug, Clone)]
pub enum CacheStorage {
    /// A reference on a registry.
    Registry {
        /// Talks to it.
        client: Client,
        /// Which.
        reference: Reference,
    },
    /// An OCI layout on this machine.
    Layout {
        /// Its directory.
        directory: PathBuf,
        /// The name of the cache in it.
        tag: String,
        /// A state of the cache, in place of the name's.
        digest: Option<Digest>,
    },
    /// An object store.
    Objects(Arc<ObjectCache>),
}

/// What a cache is, and which state of it that was.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    pub(super) contents: CacheContents,
    /// None: there was none.
    pub(super) version: Option<String>,
}

/// What came of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Done,
    /// Somebody else wrote since it was read.
    Conflict,
}

impl CacheStorage {
    /// What messages call it.
    pub fn name(&self) -> String {
        match self {
            CacheStorage::Registry { reference, .. } => reference.familiar(),
            CacheStorage::Layout { directory, .. } => directory.display().to_string(),
            CacheStorage::Objects(cache) => cache.name(),
        }
    }

    pub(super) async fn read(&self, store: &Store) -> Result<Found, CacheError> {
        match self {
            CacheStorage::Registry { client, reference } => registry::read(client, reference, store).await,
            CacheStorage::Layout { directory, tag, digest } => layout::read(directory, tag, digest.as_ref()),
            CacheStorage::Objects(cache) => cache.read().await,
        }
    }

    /// Writes the whole contents, if the cache is still at `expected`. Its blobs are there already.
    pub(super) async fn write(&self, contents: &CacheContents, expected: Option<&str>) -> Result<Written, CacheError> {
        match self {
            CacheStorage::Registry { client, reference } => {
                registry::write(client, reference, contents, expected).await
            }
            CacheStorage::Layout { directory, tag, .. } => layout::write(directory, tag, contents, expected),
            CacheStorage::Objects(cache) => cache.write(contents, expected).await,
        }
    }

    /// Brings the blobs of a document to the cache: only those that are not there.
    pub(super) async fn bring(&self, document: &CacheDocument, layers: &Layers) -> Result<(), CacheError> {
        let all = document.blobs().into_iter().map(|blob| self.bring_blob(blob, layers));
        futures::future::try_join_all(all).await.map(drop)
    }

    async fn bring_blob(&self, blob: &Descriptor, layers: &Layers) -> Result<(), CacheError> {
        let failed = |error| CacheError::Layer(Box::new(error));
        match self {
            CacheStorage::Registry { client, reference } => {
                crate::transfer::push_layer(layers, client, reference, blob)
                    .await
                    .map_err(failed)
            }
            CacheStorage::Layout { directory, .. } => {
                let path = layout::blob_path(directory, &blob.digest);
                if path.exists() {
                    return Ok(());
                }
                layers.fetch_blob(&blob.digest).await.map_err(failed)?;
                layout::link(layers.store(), blob, &path)
            }
            CacheStorage::Objects(cache) => {
                if cache.has(blob).await? {
                    return Ok(());
                }
                layers.fetch_blob(&blob.digest).await.map_err(failed)?;
                cache.put(blob, layers.store()).await
            }
        }
    }

    /// Where a step's layer is fetched from.
    pub(super) fn place(&self) -> LayerPlace {
        match self {
            CacheStorage::Registry { reference, .. } => {
                LayerPlace::Registry(reference.without_tag_and_digest().to_string())
            }
            CacheStorage::Layout { directory, .. } => LayerPlace::Layout(directory.clone()),
            CacheStorage::Objects(cache) => LayerPlace::Objects(cache.clone()),
        }
    }
}
