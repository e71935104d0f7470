//! What images stand on, as far as their annotations name it (OCI image specification, "Pre-Defined Annotation Keys").

use kiln_audit::Base;
use kiln_oci::{Digest, ImageConfig, Manifest, Reference};
use kiln_registry::Client;
use kiln_store::Store;

use crate::audit::source::Candidate;

/// Asks the registries of bases whether their digests are those of single manifests. A base that cannot be asked for is
/// left out: it is not part of the image.
pub fn learn(images: &mut [Candidate], client: &Client, store: &Store, runtime: &tokio::runtime::Runtime) {
    if images.len() < 2 {
        return;
    }
    for image in images {
        if let Some(base) = runtime.block_on(base(image, client, store)) {
            image.bases.push(base);
        }
    }
}

async fn base(image: &Candidate, client: &Client, store: &Store) -> Option<Base> {
    let annotation = |name: &str| image.annotations.get(&format!("org.opencontainers.image.base.{name}"));
    let reference: Reference = annotation("name")?.parse().ok()?;
    let digest: Digest = annotation("digest")?.parse().ok()?;
    let pinned = reference.without_tag_and_digest().with_digest(digest.clone());
    let found = client.fetch_manifest(&reference, &digest).await.ok()?;
    if !found.media_type.is_manifest() {
        return None;
    }
    let manifest: Manifest = serde_json::from_slice(&found.bytes).ok()?;
    client
        .fetch_blob(&pinned, &manifest.config, store, &|_| {})
        .await
        .ok()?;
    let config = store.read_blob(&manifest.config.digest, 8 << 20).ok()??;
    let config: ImageConfig = serde_json::from_slice(&config).ok()?;
    Some(Base {
        reference: pinned.to_string(),
        instruction: None,
        is_single: true,
        platform: config.platform(),
    })
}
