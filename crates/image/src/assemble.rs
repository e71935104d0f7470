//! Configuration and layers become a manifest, manifests become an image index.

use kiln_oci::{Annotations, Descriptor, Document, ImageConfig, ImageIndex, Manifest, MediaType, Platform};

/// Which media types an image is written with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Family {
    /// `application/vnd.oci.…`.
    #[default]
    Oci,
    /// `application/vnd.docker.…`.
    Docker,
}

/// The image of one platform, ready to be written anywhere.
#[derive(Debug, Clone)]
pub struct PlatformImage {
    /// What it runs on.
    pub platform: Platform,
    /// Its configuration.
    pub config: Document<ImageConfig>,
    /// Its manifest.
    pub manifest: Document<Manifest>,
    /// The manifest as an index names it.
    pub descriptor: Descriptor,
}

/// Annotations by where they go.
#[derive(Debug, Clone, Default)]
pub struct PlacedAnnotations {
    /// In the manifest.
    pub manifest: Annotations,
    /// In the index' entry for the manifest.
    pub manifest_descriptor: Annotations,
}

/// Assembles the image of one platform.
pub fn assemble_image(
    platform: Platform,
    config: ImageConfig,
    layers: Vec<Descriptor>,
    family: Family,
    annotations: PlacedAnnotations,
) -> Result<PlatformImage, serde_json::Error> {
    let (manifest_type, config_type) = match family {
        Family::Oci => (MediaType::OCI_MANIFEST, MediaType::OCI_CONFIG),
        Family::Docker => (MediaType::DOCKER_MANIFEST, MediaType::DOCKER_CONFIG),
    };
    let config = Document::new(config)?;
    let layers = layers
        .into_iter()
        .map(|layer| Descriptor {
            media_type: layer_type(&layer.media_type, family),
            ..layer
        })
        .collect();
    let manifest = Document::new(Manifest {
        schema_version: 2,
        media_type: Some(manifest_type.clone()),
        artifact_type: None,
        config: config.descriptor(config_type),
        layers,
        subject: None,
        annotations: annotations.manifest,
    })?;
    let mut descriptor = manifest.descriptor(manifest_type).with_platform(platform.clone());
    descriptor.annotations = annotations.manifest_descriptor;
    Ok(PlatformImage {
        platform,
        config,
        manifest,
        descriptor,
    })
}

/// The index of several platforms' images.
pub fn assemble_index(
    images: &[PlatformImage],
    family: Family,
    annotations: Annotations,
) -> Result<Document<ImageIndex>, serde_json::Error> {
    Document::new(ImageIndex {
        schema_version: 2,
        media_type: Some(index_type(family)),
        artifact_type: None,
        manifests: images.iter().map(|image| image.descriptor.clone()).collect(),
        subject: None,
        annotations,
    })
}

/// The media type of an image index.
pub fn index_type(family: Family) -> MediaType {
    match family {
        Family::Oci => MediaType::OCI_INDEX,
        Family::Docker => MediaType::DOCKER_MANIFEST_LIST,
    }
}

/// The same layer in the words of a family. The blob stays as it is.
fn layer_type(media_type: &MediaType, family: Family) -> MediaType {
    use kiln_oci::Compression::{Gzip, Uncompressed, Zstd};
    match (media_type.layer_compression(), family) {
        (Some(Uncompressed), Family::Oci) => MediaType::OCI_LAYER,
        (Some(Gzip), Family::Oci) => MediaType::OCI_LAYER_GZIP,
        (Some(Zstd), Family::Oci) => MediaType::OCI_LAYER_ZSTD,
        (Some(Uncompressed), Family::Docker) => MediaType::DOCKER_LAYER,
        (Some(Gzip), Family::Docker) => MediaType::DOCKER_LAYER_GZIP,
        (Some(Zstd), Family::Docker) => MediaType::DOCKER_LAYER_ZSTD,
        (None, _) => media_type.clone(),
    }
}
