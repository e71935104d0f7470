//! Layers and images: the three forms of a layer and what converts them, roots seen through layer indexes,
//! manifests and image indexes, and what an image is written to.
//!
//! * [`unpack`] — blob → tree and index; hostile archives stay inside the tree.
//! * [`scan`] — tree → index; [`plan`] — tree or copied files → plan, and plan → tree.
//! * [`merge`] — many trees → one tree that shows the same.
//! * [`pack`] — plan → blob: one pass of tar, SHA-256, compression, SHA-256.
//! * [`view`] — a stack of indexes as one root: links resolved, whiteouts honoured, nothing unpacked.
//! * [`assemble`] — configuration and layers → manifest → image index.
//! * [`export`] — OCI layouts, Docker archives, directories, tar streams.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod assemble;
mod attributes;
pub mod export;
pub mod links;
pub mod merge;
pub mod pack;
pub mod plan;
pub mod scan;
mod tar_stream;
pub mod unpack;
pub mod view;
