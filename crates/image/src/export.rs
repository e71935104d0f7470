//! What an image is written to besides a registry: an OCI layout, a Docker archive, a directory, a tar stream.

mod archive;
mod files;

pub use archive::{docker_archive, oci_archive, oci_directory};
pub use files::{FileSource, end_tar, root_directory, root_tar};

use std::io;
use std::path::PathBuf;

use kiln_oci::{Digest, Document, ImageIndex};

use crate::assemble::PlatformImage;

/// Everything that an exporter of images needs besides the blobs.
#[derive(Debug)]
pub struct ImageSet<'a> {
    /// The platforms' images.
    pub images: &'a [PlatformImage],
    /// Their index; None if the one image stands for itself.
    pub index: Option<&'a Document<ImageIndex>>,
    /// The references that it is known by, in canonical form.
    pub names: &'a [String],
}

/// Why something cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The destination.
    #[error("failed to write `{path}`")]
    Write {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The destination is a stream.
    #[error("failed to write the archive")]
    Stream(#[source] io::Error),
    /// A blob is not in the store.
    #[error("blob {0} is not in the store")]
    MissingBlob(Digest),
    /// The store.
    #[error(transparent)]
    Store(#[from] kiln_store::StoreError),
    /// A document cannot be serialised.
    #[error("failed to serialise a document")]
    Document(#[from] serde_json::Error),
    /// A format that holds one platform.
    #[error("a Docker archive holds one platform, and this build has {0}")]
    SeveralPlatforms(usize),
    /// A root cannot be looked through.
    #[error("failed to look through the root")]
    View(#[from] crate::view::ViewError),
    /// A file of the root cannot be read.
    #[error("failed to read `{path}` of the image")]
    Read {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ExportError {
    /// Whether the disk is full.
    pub fn is_disk_full(&self) -> bool {
        match self {
            ExportError::Write { source, .. } | ExportError::Stream(source) | ExportError::Read { source, .. } => {
                source.kind() == io::ErrorKind::StorageFull
            }
            ExportError::Store(source) => source.is_disk_full(),
            _ => false,
        }
    }
}
