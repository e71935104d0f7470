//! Sending layers to registries.

use std::sync::Arc;

use kiln_graph::TransferKind;
use kiln_oci::{Descriptor, Reference};
use kiln_registry::{BlobSource, Client};

use crate::WorkerError;
use crate::layers::Layers;

/// Sends a layer's blob to a repository, unless it is there. What is only elsewhere is fetched for it; a layer from
/// the same registry is mounted and not sent. A blob that is being sent to the same place is waited for.
pub async fn push_layer(
    layers: &Layers,
    client: &Client,
    name: &Reference,
    blob: &Descriptor,
) -> Result<(), WorkerError> {
    let sent = layers.sent(name, &blob.digest);
    sent.get_or_try_init(|| send(layers, client, name, blob)).await.copied()
}

async fn send(layers: &Layers, client: &Client, name: &Reference, blob: &Descriptor) -> Result<(), WorkerError> {
    let origin = layers.origin_of(&blob.digest);
    let here = layers.store().blob_exists(&blob.digest)?;
    let same_registry = origin.filter(|origin| origin.domain() == name.domain());
    let mount = same_registry.filter(|origin| origin.path() != name.path());
    if !here {
        if client.blob_exists(name, &blob.digest).await? {
            return Ok(());
        }
        if let Some(from) = &mount
            && client.mount_blob(name, &blob.digest, from.path()).await?
        {
            return Ok(());
        }
        layers.fetch_blob(&blob.digest).await?;
    }
    let progress = Arc::new(layers.progress(blob, TransferKind::Push));
    let source = BlobSource::Store(layers.store().clone());
    let from = mount.as_ref().map(Reference::path);
    Ok(client.push_blob(name, blob, source, from, progress).await?)
}
