//! Caches that outlive a machine: what steps gave, kept where other machines find it.
//!
//! A cache is one [`CacheDocument`] for each platform. It names records (the keys of steps) and the layers that they
//! ended with, by diff id and blob, so a hit needs no layer until something must run on it. Where the documents and
//! blobs are is a [`CacheStorage`]:
//!
//! ```text
//! image index (the reference, or `index.json` of an OCI layout)
//! └── manifest, one for each platform; annotation `dev.kiln.cache.platform`
//!     ├── config   the document, application/vnd.kiln.cache.v1+json
//!     └── layers   every blob that the document names, so that a registry keeps them
//! ```
//!
//! Writers read, merge and write again; if somebody else wrote in between, they begin anew, so builders of different
//! platforms share one reference. [`CacheImports`] answers lookups, [`export`] writes what a build came to.

mod actions;
mod chunks;
mod document;
mod export;
mod import;
mod inline;
mod layout;
mod object;
mod registry;
mod s3;
mod signature;
mod storage;

pub use actions::{ActionsCache, ActionsSettings};
pub(crate) use chunks::restore as restore_mount;
pub use document::{CacheContents, CacheDocument, CachedLayer, CachedMount, CachedRecord};
pub use export::{ExportChoice, ExportMode, KeyedGraph, collect, export};
pub use import::{CacheImports, ImportedRecord};
pub use inline::{INLINE_FIELD, inline_document};
pub use object::ObjectCache;
pub use s3::{S3Cache, S3Settings};
pub use signature::S3Credentials;
pub use storage::{CacheError, CacheStorage};
