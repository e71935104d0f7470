//! The client.

use std::sync::Arc;

use kiln_oci::{Digest, MediaType, Reference};

use crate::auth::Credentials;
use crate::hosts::HostsConfig;
use crate::transport::Transport;

/// How registries are reached.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// Who we are.
    pub credentials: Arc<dyn Credentials>,
    /// Mirrors, plain HTTP, certificates.
    pub hosts: HostsConfig,
    /// How the client calls itself.
    pub user_agent: String,
}

/// Pulls from and pushes to registries. Cheap to clone, and free until the first request.
#[derive(Clone)]
pub struct Client {
    pub(crate) transport: Arc<Transport>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// A manifest or index as the registry gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedManifest {
    /// Its type.
    pub media_type: MediaType,
    /// Its digest.
    pub digest: Digest,
    /// Its exact bytes.
    pub bytes: Vec<u8>,
}

/// Larger documents are no manifests (distribution specification, "Pushing Manifests").
pub(crate) const MAX_MANIFEST: usize = 4 << 20;

/// The types that are asked for.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

impl Client {
    /// A client. Nothing is connected or read.
    pub fn new(settings: ClientSettings) -> Client {
        Client {
            transport: Arc::new(Transport::new(settings)),
        }
    }
}

/// What a tag or digest is called in a URL.
pub(crate) fn reference_part(reference: &Reference) -> String {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(tag)) => tag.to_owned(),
        (None, None) => "latest".to_owned(),
    }
}
