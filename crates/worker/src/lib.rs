//! Runs what the solver decides: sources, copies, processes. Implements [`kiln_solver::Worker`].
//!
//! * [`local`] — [`LocalWorker`], one machine's worker: the seam's methods, each a few lines that call the rest.
//! * [`context`] — the user's directories; [`images`] — base images.
//! * [`remotes`] — what is fetched otherwise: [`git`] — repositories; [`http`] — files from URLs.
//! * [`copy`] — COPY and ADD as the plan of one layer, with [`destination`], [`source_tree`], [`taken`],
//!   [`glob`], [`chmod`], [`owner`] and [`archive`].
//! * [`selection`] — the digests over what a step takes from its inputs.
//! * [`exec`] — RUN in a sandbox, with its [`mounts`], [`ssh`] agents, and the [`mask`] over its output.
//! * [`remote_cache`] — caches on registries and in directories.
//! * [`layers`] — blobs, trees and indexes of layers, made on demand; [`wants`] — which will be asked for.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod archive;
pub mod chmod;
pub mod context;
pub mod copy;
pub mod destination;
mod error;
pub mod exec;
mod expected;
pub mod git;
pub mod glob;
mod ground;
pub mod http;
pub mod images;
mod implied;
pub mod layers;
pub mod local;
pub mod mask;
pub mod mounts;
mod noarch;
pub mod owner;
mod place;
mod planned_layer;
pub mod remote_cache;
pub mod remotes;
pub mod selection;
pub mod source_tree;
pub mod ssh;
pub mod taken;
pub mod transfer;
pub mod wants;

pub use error::{StepExit, WorkerError};
pub use images::{FoundImage, ImageError, Images};
pub use layers::{CacheCompression, Layers, LayersSettings, PackedLayer};
pub use local::{LocalWorker, LocalWorkerSettings};
pub use mounts::{MountError, Secrets};
pub use remotes::{RemoteAuth, RemoteSettings, Remotes};
pub use ssh::SshAgents;
pub use wants::Wants;
