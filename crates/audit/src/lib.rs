//! The audit: does each platform's image hold what can run there?
//!
//! A layer goes by once as an uncompressed tar stream, and what decides about running stays: [`LayerReader`] gives
//! [`LayerFacts`], which depend on the layer's bytes alone and can be kept ([`LayerFacts::encode`]). [`audit`] stacks the
//! facts of each [`Image`] to a root, finds out what of it is used, and compares: machine code with the platform,
//! programs with loaders and libraries, packages with the C library, the configuration with the files, and the images of
//! one index with each other. What it finds is a [`Finding`] with one of the [`Code`]s; [`AllowList`] holds what is known and
//! accepted; [`render`] writes a [`Report`] down.
//!
//! * [`elf`], [`jar`], [`script`], [`wheel`], [`node_package`] read one kind of file each, from foreign bytes: bounded, and
//!   without panics.
//! * [`root`] is a stack of layers with links resolved; [`target`] and [`platform_words`] are what is known of platforms.
//!
//! Nothing is unpacked and nothing is run, so any host can audit any architecture.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod allow;
pub mod binary;
mod check;
mod content;
pub mod elf;
mod facts;
mod finding;
mod image;
pub mod jar;
mod layer;
mod libraries;
pub mod node_package;
mod places;
pub mod platform_words;
mod reach;
pub mod render;
mod report;
pub mod root;
pub mod script;
mod tar_stream;
pub mod target;
mod view;
pub mod wheel;

pub use allow::{AllowError, AllowList};
pub use content::Content;
pub use facts::{Entry, EntryKind, FileFacts, LayerFacts, VERSION};
pub use finding::{Code, Finding, LayerPlace, Severity};
pub use image::{Base, Image, Layer};
pub use layer::{LayerError, LayerReader};
pub use report::{Allowed, PlatformReport, Report, audit};
