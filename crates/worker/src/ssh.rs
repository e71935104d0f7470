//! `RUN --mount=type=ssh`: a socket in the step that speaks for an agent outside, or for keys.
//!
//! * [`SshAgents`] — what `--ssh` gave, by identity.
//! * [`Key`] — a private key that signs; `agent` — the agent's protocol; [`Forwarding`] — a socket of one step.
//!
//! Only the two questions that authentication needs are passed on: which keys there are, and a signature. A step can
//! neither add, remove nor lock keys.

mod agent;
mod forward;
mod key;
mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

pub use forward::Forwarding;
pub use key::{Key, KeyError};

/// Agents by the identity that mounts name them by.
#[derive(Debug, Clone, Default)]
pub struct SshAgents(pub BTreeMap<String, AgentSource>);

/// Who answers for an identity.
#[derive(Debug, Clone)]
pub enum AgentSource {
    /// The agent that listens on a socket.
    Socket(PathBuf),
    /// These keys.
    Keys(Arc<[Key]>),
}
