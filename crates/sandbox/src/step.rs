//! What is run: a process, its root and its surroundings.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::emulator::Emulator;

/// One process in one root.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    /// The root directory.
    pub root: RootSource,
    /// What is mounted into it, in order.
    pub mounts: Vec<StepMount>,
    /// The program and its arguments. A program without a slash is searched on the step's `PATH`.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Directory in the root in which the process starts.
    pub cwd: PathBuf,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Name of the machine as the process sees it.
    pub hostname: String,
    /// Text of `/etc/hosts`; None leaves the root's own.
    pub hosts: Option<String>,
    /// Text of `/etc/resolv.conf`; None leaves the root's own.
    pub resolv_conf: Option<String>,
    /// What the process sees of the network.
    pub network: Network,
    /// What the process may do.
    pub privileges: Privileges,
    /// Runs the root's programs if they are for another processor.
    pub emulator: Option<Emulator>,
    /// Bytes of `/dev/shm`.
    pub shm_size: u64,
    /// Resource limits: name as in Docker's `--ulimit`, soft and hard value.
    pub ulimits: Vec<(String, u64, u64)>,
    /// What the process and all that it starts may take of the machine together.
    pub resources: kiln_oci::Resources,
    /// Standard input, output and error.
    pub stdio: Stdio,
}

/// The root directory of a step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum RootSource {
    /// Trees stacked by overlayfs, which is always mounted with `userxattr`.
    Overlay {
        /// Read-only trees, the top one first. At least one.
        lowers: Vec<PathBuf>,
        /// Where changes go: an empty directory on a file system that overlayfs can write to.
        upper: PathBuf,
        /// Overlay's work directory, on the same file system.
        work: PathBuf,
    },
    /// A directory as it is.
    Directory(PathBuf),
}

/// One mount into the root. Targets are resolved inside the root; what is missing is made and removed afterwards.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum StepMount {
    /// A file or directory of the machine.
    Bind {
        /// On the machine.
        source: PathBuf,
        /// What of it is mounted, resolved with `source` as the root; empty is `source` itself.
        inside: PathBuf,
        /// In the root.
        target: PathBuf,
        /// Whether the process may not write.
        read_only: bool,
    },
    /// A file or directory of trees that are stacked for it, as those of a root are.
    Stack {
        /// Read-only trees, the top one first. At least one.
        lowers: Vec<PathBuf>,
        /// Where changes go; None: the process may not write.
        changes: Option<Changes>,
        /// What of the stack is mounted, resolved with the stack as the root; empty is all of it.
        inside: PathBuf,
        /// In the root.
        target: PathBuf,
    },
    /// Memory.
    Tmpfs {
        /// In the root.
        target: PathBuf,
        /// Bytes at most; None is the kernel's default.
        size: Option<u64>,
        /// Permission bits of the mounted directory.
        mode: u32,
    },
    /// A file that exists in memory alone and cannot be written to.
    File {
        /// Its bytes.
        content: Secret,
        /// In the root.
        target: PathBuf,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

/// Where overlayfs puts what a process changes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Changes {
    /// An empty directory on a file system that overlayfs can write to.
    pub upper: PathBuf,
    /// Overlay's work directory, on the same file system.
    pub work: PathBuf,
}

/// Bytes that never show in a log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// What the process sees of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// The host's network.
    Host,
    /// Loopback only.
    None,
}

/// What the process may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Privileges {
    /// Docker's default capabilities and a system-call filter. Set-user-id programs work, as in Docker.
    Default,
    /// All capabilities of the sandbox's namespaces and no filter.
    Insecure,
}

/// Standard input, output and error of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdio {
    /// No input; output and error through two pipes.
    Pipes,
    /// Those of this process.
    Inherit,
    /// No input; output and error of this process.
    InheritOutput,
    /// A new pseudo-terminal for all three.
    Terminal,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// It exited.
    Code(i32),
    /// A signal killed it.
    Signal(i32),
    /// It ran under an emulator that died of a signal.
    EmulatorDied {
        /// The program that was emulated, as far as it is known.
        binary: String,
        /// The signal.
        signal: i32,
    },
}

impl Exit {
    /// The exit code that a shell would show.
    pub fn code(&self) -> i32 {
        match self {
            Exit::Code(code) => *code,
            Exit::Signal(signal) | Exit::EmulatorDied { signal, .. } => 128 + signal,
        }
    }
}
