//! A cache behind a reference of a registry.

use std::sync::Arc;

use kiln_oci::{Annotations, Descriptor, Document, ImageConfig, ImageIndex, Manifest, MediaType, Reference};
use kiln_registry::{BlobSource, Client, RegistryError};
use kiln_store::Store;

use super::document::{CacheContents, CacheDocument};
use super::inline;
use super::storage::{CacheError, Found, Written};

/// Type of a cache's manifests.
pub(super) const ARTIFACT: &str = "application/vnd.kiln.cache.v1";
/// Type of a cache's documents.
pub(super) const DOCUMENT: &str = "application/vnd.kiln.cache.v1+json";
/// Names the platform of a manifest.
pub(super) const PLATFORM: &str = "dev.kiln.cache.platform";

/// Bytes of a document at most.
const LARGEST: u64 = 64 << 20;

/// The cache of a reference, or what images behind it carry in their configurations.
pub(super) async fn read(client: &Client, reference: &Reference, store: &Store) -> Result<Found, CacheError> {
    let top = match client.resolve(reference).await {
        Ok(top) => top,
        Err(RegistryError::NotFound { .. }) => return Ok(Found::default()),
        Err(error) => return Err(error.into()),
    };
    let mut contents = CacheContents::new();
    if top.media_type.is_manifest() {
        let manifest: Manifest = serde_json::from_slice(&top.bytes)?;
        let place = Place {
            client,
            reference,
            store,
        };
        add(place, &manifest, None, &mut contents).await?;
    } else {
        let index: ImageIndex = serde_json::from_slice(&top.bytes)?;
        for entry in &index.manifests {
            let is_cache = entry.annotations.contains_key(PLATFORM);
            let is_image = entry.platform.as_ref().is_some_and(|platform| platform.os != "unknown");
            if !is_cache && !is_image {
                continue;
            }
            let found = client.fetch_manifest(reference, &entry.digest).await?;
            let manifest: Manifest = serde_json::from_slice(&found.bytes)?;
            let place = Place {
                client,
                reference,
                store,
            };
            add(place, &manifest, entry.annotations.get(PLATFORM), &mut contents).await?;
        }
    }
    Ok(Found {
        contents,
        version: Some(top.digest.to_string()),
    })
}

/// Where documents are read from, and where they are kept.
#[derive(Clone, Copy)]
struct Place<'a> {
    client: &'a Client,
    reference: &'a Reference,
    store: &'a Store,
}

async fn add(
    place: Place<'_>,
    manifest: &Manifest,
    platform: Option<&String>,
    contents: &mut CacheContents,
) -> Result<(), CacheError> {
    let config = &manifest.config;
    let not_a_cache = || CacheError::NotACache(place.reference.familiar());
    if config.size > LARGEST {
        return Err(not_a_cache());
    }
    let Place {
        client,
        reference,
        store,
    } = place;
    client.fetch_blob(reference, config, store, &|_| {}).await?;
    let bytes = store.read_blob(&config.digest, LARGEST)?.ok_or_else(not_a_cache)?;
    if config.media_type.as_str() == DOCUMENT {
        let platform = platform.cloned().unwrap_or_default();
        contents.insert(platform, CacheDocument::parse(&bytes)?);
        return Ok(());
    }
    let config: ImageConfig = serde_json::from_slice(&bytes)?;
    if let Some(document) = inline::read(&config, &manifest.layers)? {
        contents.insert(format!("{}/{}", config.os, config.architecture), document);
    }
    Ok(())
}

/// Puts documents, manifests, and at last the index under the tag.
pub(super) async fn write(
    client: &Client,
    reference: &Reference,
    contents: &CacheContents,
    expected: Option<&str>,
) -> Result<Written, CacheError> {
    let mut manifests = Vec::new();
    for (platform, document) in contents {
        let (config, manifest) = manifest_of(document)?;
        let descriptor = &manifest.value().config;
        let source = BlobSource::Bytes(config.bytes().to_vec());
        client
            .push_blob(reference, descriptor, source, None, Arc::new(|_| {}))
            .await?;
        let part = manifest.digest().to_string();
        client
            .push_manifest(reference, &part, manifest.bytes().to_vec(), &MediaType::OCI_MANIFEST)
            .await?;
        manifests.push(entry(&manifest, platform));
    }
    let index = index_of(manifests)?;
    // Registries know no exchange: looking right before writing, and again after, comes close to one.
    let now = client.head_manifest(reference).await?.map(|digest| digest.to_string());
    if now.as_deref() != expected {
        return Ok(Written::Conflict);
    }
    let tag = reference.tag().unwrap_or("latest");
    client
        .push_manifest(reference, tag, index.bytes().to_vec(), &MediaType::OCI_INDEX)
        .await?;
    Ok(Written::Done)
}

/// A document, and the manifest that keeps its blobs.
pub(super) fn manifest_of(
    document: &CacheDocument,
) -> Result<(Document<CacheDocument>, Document<Manifest>), serde_json::Error> {
    let config = Document::new(document.clone())?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(MediaType::OCI_MANIFEST),
        artifact_type: Some(MediaType::new(ARTIFACT)),
        config: config.descriptor(MediaType::new(DOCUMENT)),
        layers: document.blobs().into_iter().cloned().collect(),
        subject: None,
        annotations: Annotations::new(),
    };
    Ok((config, Document::new(manifest)?))
}

/// The entry of a manifest in the cache's index.
pub(super) fn entry(manifest: &Document<Manifest>, platform: &str) -> Descriptor {
    Descriptor {
        artifact_type: Some(MediaType::new(ARTIFACT)),
        annotations: [(PLATFORM.to_owned(), platform.to_owned())].into(),
        ..manifest.descriptor(MediaType::OCI_MANIFEST)
    }
}

pub(super) fn index_of(manifests: Vec<Descriptor>) -> Result<Document<ImageIndex>, serde_json::Error> {
    Document::new(ImageIndex {
        schema_version: 2,
        media_type: Some(MediaType::OCI_INDEX),
        artifact_type: Some(MediaType::new(ARTIFACT)),
        manifests,
        subject: None,
        annotations: Annotations::new(),
    })
}
