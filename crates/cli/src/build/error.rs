//! Why a build failed.

use std::path::PathBuf;

use kiln_dockerfile::diagnostic::SyntaxError;
use kiln_dockerfile::plan::Need;
use kiln_graph::Vertex;
use kiln_oci::Reference;
use kiln_registry::RegistryError;
use kiln_solver::SolveError;
use kiln_worker::WorkerError;
use kiln_worker::exec::FailedStep;
use kiln_worker::remote_cache::CacheError;

use crate::build::BuildRequest;

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile.
    #[error("{source}")]
    Syntax {
        /// Its path.
        file: PathBuf,
        /// Its text.
        text: String,
        /// What is wrong. Its text stands for this error's own.
        source: SyntaxError,
    },
    /// A base image or `--from` image.
    #[error("failed to resolve `{}` for {}", .need.reference, .need.platform)]
    Base {
        /// The Dockerfile's path.
        file: PathBuf,
        /// Its text.
        text: String,
        /// What needs it.
        need: Box<Need>,
        /// Why.
        #[source]
        source: Box<WorkerError>,
    },
    /// A step.
    #[error("failed to build {}", step_name(.vertex))]
    Step {
        /// Which.
        vertex: Box<Vertex>,
        /// The Dockerfile's text, to show the lines.
        text: String,
        /// Why.
        #[source]
        source: Box<WorkerError>,
    },
    /// A remote context, or a Dockerfile at a URL.
    #[error("failed to fetch `{what}`")]
    Remote {
        /// Its address, without credentials.
        what: String,
        /// Why.
        #[source]
        source: Box<WorkerError>,
    },
    /// A remote context without the Dockerfile.
    #[error("failed to read dockerfile: open {path}: no such file or directory in `{context}`")]
    NoDockerfile {
        /// Where it should be.
        path: String,
        /// The context's address.
        context: String,
    },
    /// Something of the worker outside a step.
    #[error(transparent)]
    Worker(Box<WorkerError>),
    /// The solver.
    #[error("failed to solve the build's graph")]
    Solve(#[source] Box<SolveError<WorkerError>>),
    /// The history of an image and its layers do not fit.
    #[error("the image for {platform} has {layers} layers, its history tells of {history}")]
    History {
        /// Which image.
        platform: kiln_oci::Platform,
        /// Layers of the root.
        layers: usize,
        /// Layers in the history.
        history: usize,
    },
    /// A document cannot be serialised.
    #[error("failed to serialise a document")]
    Document(#[from] serde_json::Error),
    /// The registry that it is pushed to.
    #[error("failed to push `{name}`")]
    Push {
        /// The name.
        name: Reference,
        /// Why.
        #[source]
        source: RegistryError,
    },
    /// An exporter.
    #[error("failed to export the result")]
    Export(#[from] kiln_image::export::ExportError),
    /// A cache.
    #[error("failed to write the cache `{name}`")]
    Cache {
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: CacheError,
    },
    /// A file that the build writes.
    #[error("failed to write `{path}`")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] kiln_store::StoreError),
    /// The audit found errors.
    #[error("the audit found {errors} errors, and nothing was published")]
    Refused {
        /// How many.
        errors: usize,
        /// Them, ready to print.
        findings: String,
    },
    /// The audit could not look at a layer.
    #[error("failed to audit the image")]
    AuditFailed(#[source] Box<crate::audit::blobs::BlobError>),
    /// A push without a name.
    #[error("a pushed image needs a name")]
    Nameless,
    /// The user stopped it.
    #[error("interrupted")]
    Cancelled,
}

fn step_name(vertex: &Vertex) -> String {
    match (&vertex.meta.stage, &vertex.meta.platform) {
        (Some(stage), Some(platform)) => format!("step `{}` of stage `{stage}` for {platform}", vertex.meta.name),
        _ => format!("step `{}`", vertex.meta.name),
    }
}

impl BuildError {
    pub(super) fn syntax(request: &BuildRequest, source: SyntaxError) -> BuildError {
        BuildError::Syntax {
            file: request.plan.file.clone(),
            text: request.dockerfile.clone(),
            source,
        }
    }

    pub(super) fn solve(request: &BuildRequest, error: SolveError<WorkerError>) -> BuildError {
        match error {
            SolveError::Cancelled => BuildError::Cancelled,
            SolveError::Step { vertex, source } => BuildError::Step {
                vertex,
                text: request.dockerfile.clone(),
                source: Box::new(source),
            },
            other => BuildError::Solve(Box::new(other)),
        }
    }

    /// What the step that failed ran in, if it was kept.
    pub fn take_failed_step(&mut self) -> Option<Box<FailedStep>> {
        match self {
            BuildError::Step { source, .. } => match &mut **source {
                WorkerError::Exit { kept, .. } => kept.take(),
                _ => None,
            },
            _ => None,
        }
    }

    /// The failure of the store that is behind this, if one is.
    pub fn store_error(&self) -> Option<&kiln_store::StoreError> {
        match self {
            BuildError::Store(error) => Some(error),
            BuildError::Base { source, .. } | BuildError::Step { source, .. } | BuildError::Worker(source) => {
                match &**source {
                    WorkerError::Store(error) => Some(error),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Whether the disk is full.
    pub fn is_disk_full(&self) -> bool {
        match self {
            BuildError::Base { source, .. }
            | BuildError::Remote { source, .. }
            | BuildError::Step { source, .. }
            | BuildError::Worker(source) => source.is_disk_full(),
            BuildError::Push { source, .. } => source.is_disk_full(),
            BuildError::Export(source) => source.is_disk_full(),
            BuildError::Store(source) => source.is_disk_full(),
            BuildError::Write { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
            _ => false,
        }
    }
}
