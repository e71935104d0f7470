//! Roots become images: layers packed, configurations completed, manifests assembled.

use std::collections::HashMap;

use kiln_dockerfile::lower::{Lowered, Target};
use kiln_graph::{Event, LayerContent, VertexId};
use kiln_image::assemble::{PlacedAnnotations, PlatformImage, assemble_image};
use kiln_oci::{ImageConfig, Manifest, Platform};
use kiln_solver::{Root, Solved};
use kiln_worker::Layers;
use kiln_worker::remote_cache::{CacheDocument, INLINE_FIELD, inline_document};

use crate::build::{BuildError, BuildRequest, Machine};

/// What was built for one platform.
#[derive(Debug, Clone)]
pub struct BuiltImage {
    /// The platform.
    pub platform: Platform,
    /// Its layers in the store.
    pub root: Root,
    /// The image; None if nobody wants one.
    pub image: Option<PlatformImage>,
}

/// All platforms at the same time.
pub(super) async fn images(
    request: &BuildRequest,
    machine: &Machine,
    layers: &Layers,
    lowered: &Lowered,
    roots: &HashMap<VertexId, Solved>,
    inline: Option<&CacheDocument>,
) -> Result<Vec<BuiltImage>, BuildError> {
    let wanted = request.outputs.iter().any(crate::build::Output::is_image);
    let built = lowered.targets.iter().map(|target| async move {
        let root = roots
            .get(&target.vertex)
            .map(|solved| solved.root.clone())
            .unwrap_or_else(|| Vec::new().into());
        let image = if wanted {
            Some(image(request, machine, layers, target, &root, inline).await?)
        } else {
            None
        };
        Ok(BuiltImage {
            platform: target.platform.clone(),
            root,
            image,
        })
    });
    futures::future::try_join_all(built).await
}

async fn image(
    request: &BuildRequest,
    machine: &Machine,
    layers: &Layers,
    target: &Target,
    root: &Root,
    inline: Option<&CacheDocument>,
) -> Result<PlatformImage, BuildError> {
    let base = &target.config.rootfs.diff_ids;
    let packed = root
        .iter()
        .enumerate()
        .map(|(number, layer)| layers.described(layer, base.get(number)));
    let packed = futures::future::try_join_all(packed)
        .await
        .map_err(|source| BuildError::Worker(Box::new(source)))?;
    let mut config = target.config.clone();
    if let Some(Some(time)) = request.exporter_epoch {
        config.created = Some(kiln_dockerfile::lower::timestamp(time));
    }
    config.rootfs.diff_ids = packed.iter().map(|layer| layer.diff_id.clone()).collect();
    let made = config.history.iter().filter(|line| !line.empty_layer).count();
    // Some tools write no history at all; then there is nothing to compare.
    if !config.history.is_empty() && made > packed.len() {
        return Err(BuildError::History {
            platform: target.platform.clone(),
            layers: packed.len(),
            history: made,
        });
    }
    if let Some(document) = inline {
        let document = serde_json::to_value(inline_document(document, &config))?;
        config.other.insert(INLINE_FIELD.to_owned(), document);
    }
    let descriptors: Vec<_> = packed.into_iter().map(|layer| layer.descriptor).collect();
    let annotations = PlacedAnnotations {
        manifest: request.annotations.manifest.clone(),
        manifest_descriptor: request.annotations.manifest_descriptor.clone(),
    };
    let image = assemble_image(
        target.platform.clone(),
        config,
        descriptors,
        request.family,
        annotations,
    )?;
    let manifest = image.manifest.value();
    machine.events.send(Event::PlatformFinished {
        platform: target.platform.clone(),
        digest: image.manifest.digest().clone(),
        layers: manifest.layers.len(),
        size: manifest.layers.iter().map(|layer| layer.size).sum(),
        contents: contents(manifest, image.config.value(), base.len()),
    });
    Ok(image)
}

/// What each layer is for: history and layers go side by side, but for lines that made no layer.
fn contents(manifest: &Manifest, config: &ImageConfig, base: usize) -> Vec<LayerContent> {
    let mut instructions = config
        .history
        .iter()
        .filter(|line| !line.empty_layer)
        .map(|line| line.created_by.clone().unwrap_or_default());
    let layers = manifest.layers.iter().enumerate();
    layers
        .map(|(number, layer)| LayerContent {
            digest: layer.digest.clone(),
            size: layer.size,
            instruction: instructions.next().unwrap_or_default(),
            base: number < base,
        })
        .collect()
}
