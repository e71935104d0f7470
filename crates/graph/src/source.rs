//! Where roots and files come from.

use kiln_oci::{Descriptor, DiffId, Platform};
use serde::{Deserialize, Serialize};

/// An image, resolved to its layers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImageSource {
    /// What the user wrote, in canonical form, for messages and for fetching. No part of the identity.
    pub reference: String,
    /// Where the layers are: no part of the identity.
    pub origin: ImageOrigin,
    /// The platform that was chosen. No part of the identity.
    pub platform: Platform,
    /// Digest of the platform's manifest. No part of the identity.
    pub manifest: Option<kiln_oci::Digest>,
    /// The layers, lowest first.
    pub layers: Vec<ImageLayer>,
}

/// Images are the same when their uncompressed layers are, whatever they are called and however compressed.
impl PartialEq for ImageSource {
    fn eq(&self, other: &ImageSource) -> bool {
        self.diff_ids().eq(other.diff_ids())
    }
}

impl Eq for ImageSource {}

impl ImageSource {
    /// The uncompressed digests of the layers, lowest first.
    pub fn diff_ids(&self) -> impl Iterator<Item = &DiffId> {
        self.layers.iter().map(|layer| &layer.diff_id)
    }
}

/// Where the blobs of an image can be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageOrigin {
    /// A registry, by the reference.
    Registry,
    /// An OCI image layout directory on this machine.
    Layout(std::path::PathBuf),
}

/// One layer of an image source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageLayer {
    /// Digest of the uncompressed layer.
    pub diff_id: DiffId,
    /// The compressed blob.
    pub descriptor: Descriptor,
}

/// A named context: a directory of the user's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalSource {
    /// Its name; the build context is `context`.
    pub name: String,
    /// Ignore patterns, in order, as they stand in the ignore file.
    pub ignore: Vec<String>,
}

/// A file from a URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpSource {
    /// The URL.
    pub url: String,
    /// The digest that the content must have.
    pub checksum: Option<kiln_oci::Digest>,
    /// Name of the file in the result.
    pub filename: String,
}

/// A git checkout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitSource {
    /// The repository.
    pub remote: String,
    /// Branch, tag or commit; None is the remote's HEAD.
    pub reference: Option<String>,
    /// Directory inside the checkout that becomes the root.
    pub subdirectory: Option<String>,
    /// Whether `.git` stays.
    pub keep_git_directory: bool,
    /// The commit that the reference must resolve to (a prefix is enough).
    pub checksum: Option<String>,
    /// Whether submodules are checked out too.
    pub submodules: bool,
    /// Whether files carry the commit's time; else that of the build.
    pub commit_times: bool,
    /// Whether the commit that the checksum names is fetched even if the reference has moved on.
    pub fetch_by_commit: bool,
}
