//! The distribution protocol (OCI distribution specification 1.1): a client, and a server over the same store.
//!
//! * [`client`] — pulls and pushes, with mirrors, retries, resumed downloads, cross-repository mounts.
//! * [`auth`] — challenges, tokens, credentials of Docker's configuration.
//! * [`hosts`] — `registries.toml`: mirrors, plain HTTP, certificates.
//! * [`server`] — the embedded registry.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod auth;
pub mod client;
pub mod error;
pub mod hosts;
mod pull;
mod push;
pub mod server;
mod tap;
mod transport;

pub use auth::{Credential, Credentials, DockerConfig, NoCredentials};
pub use client::{Client, ClientSettings, ResolvedManifest};
pub use error::RegistryError;
pub use hosts::HostsConfig;
pub use push::BlobSource;
pub use tap::{BlobTap, TapReader};
