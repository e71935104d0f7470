//! What can go wrong while a step is carried out.

use std::path::PathBuf;

use kiln_graph::SourceLines;
use kiln_oci::{DiffId, Digest, Platform};
use kiln_store::LayerId;

/// Why a step, or what it needs, failed.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// A root whose directories cannot be looked up.
    #[error("failed to look up the directories of a root")]
    View(#[source] kiln_image::view::ViewError),
    /// The command of a RUN ended badly.
    #[error("process \"{command}\" did not complete successfully: {exit}")]
    Exit {
        /// The command as it stands in the Dockerfile.
        command: String,
        /// How it ended.
        exit: StepExit,
        /// The last lines that it wrote, oldest first.
        log: Vec<String>,
        /// The platform that it ran for.
        platform: Platform,
        /// Where it stands.
        lines: Option<SourceLines>,
        /// What it ran in, if that was to be kept.
        kept: Option<Box<crate::exec::FailedStep>>,
    },
    /// A COPY, ADD or WORKDIR.
    #[error("{source}")]
    Copy {
        /// Why. Its text stands for this error's own.
        source: crate::copy::CopyError,
        /// The pattern of the ignore file that hides the source, if that is why it was not found.
        ignored_by: Option<String>,
    },
    /// A base image or `--from` image.
    #[error(transparent)]
    Image(#[from] crate::images::ImageError),
    /// A context.
    #[error(transparent)]
    Context(#[from] crate::context::ContextError),
    /// A context that the request does not have.
    #[error("there is no context named `{0}`")]
    NoContext(String),
    /// A URL of ADD.
    #[error(transparent)]
    Http(#[from] crate::http::HttpError),
    /// A mount of RUN.
    #[error(transparent)]
    Mount(#[from] crate::mounts::MountError),
    /// A git repository.
    #[error(transparent)]
    Git(crate::git::GitError),
    /// Something that parses and is not carried out.
    #[error("{what} is not supported yet")]
    Unsupported {
        /// What.
        what: String,
    },
    /// The user or working directory of a RUN.
    #[error("failed to prepare the step")]
    User(#[source] kiln_sandbox::user::UserError),
    /// No emulator for a foreign platform, or nowhere to register it.
    #[error(transparent)]
    Emulator(#[from] kiln_sandbox::emulator::EmulatorError),
    /// The sandbox.
    #[error("failed to start the step")]
    Sandbox(#[source] kiln_sandbox::SandboxError),
    /// A layer of a remote cache.
    #[error("failed to fetch a layer from a cache")]
    Cache(#[source] Box<crate::remote_cache::CacheError>),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] kiln_registry::RegistryError),
    /// The store.
    #[error(transparent)]
    Store(#[from] kiln_store::StoreError),
    /// A layer cannot be packed.
    #[error("failed to pack a layer")]
    Pack(#[from] kiln_image::pack::PackError),
    /// A layer cannot be unpacked.
    #[error("failed to unpack a layer")]
    Unpack(#[from] kiln_image::unpack::UnpackError),
    /// A tree cannot be read.
    #[error("failed to read the files of a layer")]
    Plan(#[from] kiln_image::plan::PlanError),
    /// A tree cannot be read.
    #[error("failed to read the files of a layer")]
    Scan(#[from] kiln_image::scan::ScanError),
    /// A reference in a graph.
    #[error("failed to parse an image reference")]
    Reference(#[from] kiln_oci::reference::ReferenceError),
    /// A layer that a record names is nowhere any more.
    #[error("layer {0} is no longer in the store")]
    LayerGone(LayerId),
    /// A blob whose content is not the layer that the image's configuration names.
    #[error("layer blob {blob} unpacks to {found}, which is not what the image's configuration says")]
    WrongDiffId {
        /// The blob.
        blob: Digest,
        /// What it unpacks to.
        found: DiffId,
    },
    /// A file of the machine.
    #[error("failed to {operation} `{path}`")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A layer that was promised to be the same for all platforms, and is not.
    #[error("the step is marked `noarch`, but makes `{path}`, a program for {machine} alone")]
    NotForAll {
        /// The file.
        path: String,
        /// The processor that the file is for.
        machine: String,
    },
    /// The build was stopped.
    #[error("cancelled")]
    Cancelled,
    /// A bug: work off the async threads died.
    #[error("a task panicked")]
    Panicked(#[source] tokio::task::JoinError),
}

impl WorkerError {
    /// Whether the disk is full.
    pub fn is_disk_full(&self) -> bool {
        match self {
            WorkerError::Store(source) => source.is_disk_full(),
            WorkerError::Registry(source) => source.is_disk_full(),
            WorkerError::Pack(source) => source.is_disk_full(),
            WorkerError::Unpack(source) => source.is_disk_full(),
            WorkerError::Io { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
            WorkerError::Plan(kiln_image::plan::PlanError::Io { source, .. }) => {
                source.kind() == std::io::ErrorKind::StorageFull
            }
            _ => false,
        }
    }
}

/// How a process ended badly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepExit {
    /// With an exit code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// Its emulator was killed by a signal.
    EmulatorDied {
        /// What was emulated.
        binary: String,
        /// The signal.
        signal: i32,
    },
    /// It took too long.
    TimedOut,
}

impl std::fmt::Display for StepExit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StepExit::Code(code) => write!(f, "exit code: {code}"),
            StepExit::Signal(signal) => write!(f, "killed by signal {signal}"),
            StepExit::EmulatorDied { binary, signal } => {
                write!(
                    f,
                    "the emulator died of signal {signal} ({}) while it ran `{binary}`",
                    signal_name(*signal)
                )
            }
            StepExit::TimedOut => f.write_str("it took longer than allowed"),
        }
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        _ => "a fault",
    }
}
