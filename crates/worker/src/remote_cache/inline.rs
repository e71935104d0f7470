//! A cache inside an image: the records of the image's own steps stand in its configuration.

use kiln_oci::{Descriptor, ImageConfig};

use super::document::{CacheDocument, CachedLayer, CachedRecord};

/// The field of the configuration.
pub const INLINE_FIELD: &str = "dev.kiln.cache.v1";

/// The document of an image's configuration, if it carries one. Its layers are those of the image: what it says of
/// others is not believed.
pub(super) fn read(config: &ImageConfig, layers: &[Descriptor]) -> Result<Option<CacheDocument>, serde_json::Error> {
    let Some(value) = config.other.get(INLINE_FIELD) else {
        return Ok(None);
    };
    let of_image: Vec<CachedLayer> = config
        .rootfs
        .diff_ids
        .iter()
        .zip(layers)
        .map(|(diff_id, blob)| CachedLayer {
            diff_id: diff_id.clone(),
            blob: Some(blob.clone()),
        })
        .collect();
    CacheDocument::parse_over(&serde_json::to_vec(value)?, of_image).map(Some)
}

/// What an image carries: the records whose layers are the lowest of the image's own. Layers are named by position
/// alone, since the image says what they are.
pub fn inline_document(document: &CacheDocument, config: &ImageConfig) -> CacheDocument {
    let mut inline = CacheDocument::default();
    for record in &document.records {
        let diff_ids = record.layers.iter().filter_map(|&at| document.layers.get(at));
        let is_prefix = record.layers.len() <= config.rootfs.diff_ids.len()
            && diff_ids
                .zip(&config.rootfs.diff_ids)
                .all(|(layer, diff_id)| layer.diff_id == *diff_id);
        if is_prefix {
            // Times would give every build of the same image another digest.
            inline.records.push(CachedRecord {
                layers: (0..record.layers.len()).collect(),
                created: 0,
                used: 0,
                duration_ms: 0,
                ..record.clone()
            });
        }
    }
    inline
}
