//! What can go wrong with a registry.

use kiln_oci::Digest;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No connection, or it broke.
    #[error("failed to reach registry `{host}`")]
    Unreachable {
        /// The registry.
        host: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The registry said no.
    #[error("registry `{host}` refused to {operation}: {status}{}", .message.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
    Refused {
        /// The registry.
        host: String,
        /// What was asked.
        operation: String,
        /// HTTP status.
        status: u16,
        /// The registry's own words.
        message: Option<String>,
    },
    /// The registry does not have it.
    #[error("`{what}` was not found on registry `{host}`")]
    NotFound {
        /// The registry.
        host: String,
        /// What was asked for.
        what: String,
    },
    /// No or wrong credentials.
    #[error("registry `{host}` denied access to {operation}{}", .message.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
    Denied {
        /// The registry.
        host: String,
        /// What was asked.
        operation: String,
        /// The registry's own words.
        message: Option<String>,
    },
    /// The bytes are not what their digest says.
    #[error("registry `{host}` sent wrong bytes for {expected}")]
    WrongBytes {
        /// The registry.
        host: String,
        /// What was asked for.
        expected: Digest,
        /// What the store says of what came.
        #[source]
        source: kiln_store::StoreError,
    },
    /// A manifest's bytes are not what their digest says.
    #[error("registry `{host}` sent a manifest that is {found}, not {expected}")]
    WrongManifest {
        /// The registry.
        host: String,
        /// What was asked for.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// An answer that no registry gives.
    #[error("registry `{host}` gave an answer that makes no sense: {what}")]
    Answer {
        /// The registry.
        host: String,
        /// What is odd.
        what: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] kiln_store::StoreError),
    /// A credential helper.
    #[error("credential helper `{helper}` failed: {message}")]
    Helper {
        /// Which.
        helper: String,
        /// What it said.
        message: String,
    },
    /// The HTTP client cannot be made.
    #[error("failed to set up the HTTP client")]
    Setup(#[source] reqwest::Error),
    /// A certificate of the configuration.
    #[error("failed to read the certificate `{path}`")]
    Certificate {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl RegistryError {
    /// Whether the same request may succeed a moment later.
    pub fn is_temporary(&self) -> bool {
        match self {
            RegistryError::Unreachable { source, .. } => !source.is_builder(),
            RegistryError::Refused { status, .. } => *status == 429 || *status >= 500,
            RegistryError::WrongBytes { .. } => true,
            _ => false,
        }
    }

    /// Whether the disk is full.
    pub fn is_disk_full(&self) -> bool {
        match self {
            RegistryError::Store(source) | RegistryError::WrongBytes { source, .. } => source.is_disk_full(),
            _ => false,
        }
    }
}
