//! Running a process in a root.

use std::collections::BTreeMap;

use kiln_oci::{Platform, Resources};
use serde::{Deserialize, Serialize};

/// A process in a root. Input 0 is the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecOp {
    /// The words of the command.
    pub argv: Vec<String>,
    /// The environment, in order, without duplicates.
    pub env: Vec<(String, String)>,
    /// Directory in which the process starts; made if it is missing.
    pub workdir: String,
    /// `user[:group]`, resolved in the root; empty is root.
    pub user: String,
    /// What the process sees of the network.
    pub network: NetworkMode,
    /// What the process may do.
    pub security: SecurityMode,
    /// The host name in the sandbox; empty is the default.
    pub hostname: String,
    /// Additional lines of `/etc/hosts`: name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// What is mounted into the root.
    pub mounts: Vec<Mount>,
    /// The platform that the process is for.
    pub platform: Platform,
    /// Bytes of `/dev/shm`; None is the default.
    pub shm_size: Option<u64>,
    /// Limits by name (`nofile` → soft, hard).
    pub ulimits: BTreeMap<String, (u64, u64)>,
    /// Parent control group; None is the default.
    pub cgroup_parent: Option<String>,
    /// What the process may take of the machine: no part of the identity, since the result is the same.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub resources: Box<Resources>,
    /// Proxy variables: given to the process, no part of the identity.
    #[serde(default)]
    pub proxy: Vec<(String, String)>,
}

/// What a process sees of the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// The sandbox's usual network.
    #[default]
    Default,
    /// Loopback only.
    None,
    /// The host's.
    Host,
}

/// What a process may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecurityMode {
    /// Docker's default capabilities and system-call filter.
    #[default]
    Sandbox,
    /// Everything. Behind `--allow security.insecure`.
    Insecure,
}

/// Something mounted into the root of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where, absolute.
    pub target: String,
    /// What.
    pub kind: MountKind,
}

/// The closed set of mounts (`RUN --mount=type=…`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum MountKind {
    /// Files of another vertex or context.
    Bind {
        /// Which input.
        input: usize,
        /// Path in it.
        source: String,
        /// Whether the process may write; what it writes is thrown away.
        writable: bool,
    },
    /// A directory that outlives the build.
    Cache {
        /// Its identity.
        id: String,
        /// Who may use it at the same time.
        sharing: Sharing,
        /// What it is filled with at first.
        input: Option<usize>,
        /// Path in that input.
        source: String,
        /// Mode of the directory when it is made.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
        /// Whether the process may not write.
        read_only: bool,
    },
    /// Memory.
    Tmpfs {
        /// Bytes at most; None is no limit.
        size: Option<u64>,
    },
    /// A secret as a file.
    Secret {
        /// Which secret.
        id: String,
        /// Whether the step fails without it.
        required: bool,
        /// Mode of the file.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
        /// Environment variable that carries the value as well; with an empty `target` it alone does.
        env: Option<String>,
    },
    /// A socket of the user's SSH agent.
    Ssh {
        /// Which agent.
        id: String,
        /// Whether the step fails without it.
        required: bool,
        /// Mode of the socket.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
}

/// Who may use a cache mount at the same time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    /// Everyone.
    #[default]
    Shared,
    /// One each: a second user gets a directory of its own.
    Private,
    /// One after the other.
    Locked,
}

impl Mount {
    /// The path that is mounted, if it is taken from input `position`.
    pub fn source_in(&self, position: usize) -> Option<&str> {
        match &self.kind {
            MountKind::Bind { input, source, .. } if *input == position => Some(source),
            MountKind::Cache {
                input: Some(input),
                source,
                ..
            } if *input == position => Some(source),
            _ => None,
        }
    }
}
