//! The nouns of the OCI specifications: digests, descriptors, media types, platforms, references, manifests,
//! image indexes and image configurations (with the fields that Docker adds: health check, ONBUILD, shell), and the limits
//! of a process.
//!
//! Nothing here does I/O. Every type is parsed once at the edge; inside, only valid values exist. A document
//! that came from elsewhere keeps its own bytes beside its parsed form ([`Document`]), because its digest is
//! the digest of those bytes and of no others.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod config;
pub mod descriptor;
pub mod digest;
pub mod document;
pub mod manifest;
pub mod media_type;
pub mod platform;
pub mod reference;
pub mod resources;

pub use config::{ContainerConfig, HealthCheck, History, ImageConfig, RootFs};
pub use descriptor::{Annotations, Descriptor};
pub use digest::{Algorithm, ChainId, DiffId, Digest, DigestError, Hasher};
pub use document::Document;
pub use manifest::{ImageIndex, Manifest};
pub use media_type::{Compression, MediaType};
pub use platform::{Platform, PlatformError, PlatformMatcher};
pub use reference::{Reference, ReferenceError, is_tag};
pub use resources::Resources;
