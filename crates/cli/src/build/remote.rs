//! Remote contexts: what must be fetched before the Dockerfile can be read.

use std::path::PathBuf;
use std::sync::Arc;

use kiln_dockerfile::epoch;
use kiln_dockerfile::git::redacted;
use kiln_dockerfile::ignore::read_ignore_file;
use kiln_dockerfile::lower::{CONTEXT_FILE, context_graph, file_at};
use kiln_dockerfile::plan::BuildContext;
use kiln_graph::{GitSource, HttpSource};
use kiln_image::view::RootView;
use kiln_solver::{Root, StepContext, solve};
use kiln_worker::remote_cache::CacheImports;
use kiln_worker::{LocalWorker, LocalWorkerSettings, Wants, WorkerError};

use crate::build::request::{DockerfileAt, Remote};
use crate::build::{BuildError, BuildRequest, Machine};

/// The request with the text of its Dockerfile and what its context turned out to be.
pub async fn load(request: &BuildRequest, machine: &Machine) -> Result<BuildRequest, BuildError> {
    let mut request = request.clone();
    let Some(Remote { context, dockerfile }) = request.remote.take() else {
        return Ok(request);
    };
    let files = match context {
        None => None,
        Some(context) => {
            request.plan.context = found_out(&request, machine, context).await?;
            ContextRoot::fetch(&request, machine).await?
        }
    };
    match (dockerfile, &files) {
        (DockerfileAt::Url(url), _) => {
            request.dockerfile = text_of_url(machine, &url).await?;
        }
        (DockerfileAt::Context(path), Some(files)) => {
            // A file alone is the Dockerfile, whatever it is called.
            let alone = matches!(request.plan.context, BuildContext::Http { archive: false, .. });
            let path = if alone { CONTEXT_FILE.to_owned() } else { path };
            let text = files.read(&path).await?.ok_or_else(|| BuildError::NoDockerfile {
                path: path.clone(),
                context: files.name.clone(),
            })?;
            if let Some(patterns) = files.read(&format!("{path}.dockerignore")).await? {
                request.plan.ignore = read_ignore_file(&patterns);
            }
            request.plan.file = PathBuf::from(path);
            request.dockerfile = text;
        }
        (DockerfileAt::Context(_), None) | (DockerfileAt::Request, _) => {}
    }
    if request.plan.ignore.is_empty()
        && let Some(files) = &files
        && let Some(patterns) = files.read(".dockerignore").await?
    {
        request.plan.ignore = read_ignore_file(&patterns);
    }
    Ok(request)
}

/// What an address outside of this machine gives.
#[derive(Debug)]
pub enum Found {
    /// Files of a repository.
    Repository(ContextRoot),
    /// Files of an archive.
    Archive(ContextRoot),
    /// One file.
    File(String),
}

/// Fetches what the context of a request names.
pub async fn open(request: &BuildRequest, machine: &Machine) -> Result<Found, BuildError> {
    let mut request = request.clone();
    if let Some(context) = request.remote.take().and_then(|remote| remote.context) {
        request.plan.context = found_out(&request, machine, context).await?;
    }
    let kind = match request.plan.context {
        BuildContext::Http { archive: false, .. } => None,
        BuildContext::Http { .. } => Some(Found::Archive as fn(ContextRoot) -> Found),
        BuildContext::Git(_) | BuildContext::Local => Some(Found::Repository as fn(ContextRoot) -> Found),
    };
    let missing = || BuildError::NoDockerfile {
        path: CONTEXT_FILE.to_owned(),
        context: request.plan.file.display().to_string(),
    };
    let root = ContextRoot::fetch(&request, machine).await?.ok_or_else(missing)?;
    match kind {
        Some(kind) => Ok(kind(root)),
        None => Ok(Found::File(root.read(CONTEXT_FILE).await?.ok_or_else(missing)?)),
    }
}

/// A context as the build arguments want it; whether a URL gives an archive is seen from its bytes.
async fn found_out(
    request: &BuildRequest,
    machine: &Machine,
    mut context: BuildContext,
) -> Result<BuildContext, BuildError> {
    let argument = |name: &str| request.plan.build_args.get(name).map(String::as_str);
    match &mut context {
        BuildContext::Local => {}
        BuildContext::Git(git) => {
            let keep = argument("BUILDKIT_CONTEXT_KEEP_GIT_DIR");
            if keep.is_some_and(|keep| kiln_flags::fields::boolean(keep) == Some(true)) {
                git.keep_git_directory = true;
            }
            // Who wants reproducible times wants those of the commit.
            if argument(epoch::NAME).is_some_and(|time| !time.is_empty()) {
                git.commit_times = true;
            }
        }
        BuildContext::Http { source, archive, .. } => {
            let fetched = machine.remotes.http(source, &machine.cancel).await;
            let is_archive = fetched.and_then(|fetched| machine.remotes.is_archive(&fetched, source));
            *archive = is_archive.map_err(|error| failed(&source.url, error))?;
        }
    }
    Ok(context)
}

/// The time of a commit.
pub(super) async fn time_of_commit(machine: &Machine, source: &GitSource) -> Result<Option<i64>, BuildError> {
    let fetched = machine.remotes.git(source, &machine.cancel).await;
    Ok(fetched.map_err(|error| failed(&source.remote, error))?.time)
}

/// The time of what a URL gives.
pub(super) async fn time_of_file(machine: &Machine, source: &HttpSource) -> Result<Option<i64>, BuildError> {
    let fetched = machine.remotes.http(source, &machine.cancel).await;
    let time = fetched.and_then(|fetched| machine.remotes.time_of_file(&fetched, source));
    time.map_err(|error| failed(&source.url, error))
}

async fn text_of_url(machine: &Machine, url: &str) -> Result<String, BuildError> {
    let text = machine.remotes.text(&file_at(url), &machine.cancel).await;
    text.map_err(|error| failed(url, error))
}

fn failed(what: &str, error: WorkerError) -> BuildError {
    match error {
        WorkerError::Cancelled => BuildError::Cancelled,
        source => BuildError::Remote {
            what: redacted(what),
            source: Box::new(source),
        },
    }
}

/// The files of a remote context, with nothing left out.
#[derive(Debug)]
pub struct ContextRoot {
    worker: Arc<LocalWorker>,
    root: Root,
    view: RootView,
    /// What messages call it.
    name: String,
}

impl ContextRoot {
    async fn fetch(request: &BuildRequest, machine: &Machine) -> Result<Option<ContextRoot>, BuildError> {
        let context = &request.plan.context;
        let Some((graph, vertex)) = context_graph(context) else {
            return Ok(None);
        };
        let name = match context {
            BuildContext::Local => BuildContext::NAME.to_owned(),
            BuildContext::Git(git) => redacted(&git.remote),
            BuildContext::Http { source, .. } => redacted(&source.url),
        };
        let layers = super::layers(request, machine);
        let worker = Arc::new(LocalWorker::new(LocalWorkerSettings {
            layers: layers.clone(),
            contexts: request.directories.clone(),
            wants: Wants::of(&graph, std::slice::from_ref(&vertex), false),
            time: 0,
            exec: machine.exec.clone(),
            ownership: machine.ownership(),
            imports: CacheImports::new(Vec::new(), machine.events.clone()),
            remotes: machine.remotes.clone(),
        }));
        let step = StepContext {
            events: machine.events.clone(),
            cancel: machine.cancel.clone(),
        };
        let options = machine.solve_options();
        let solved = solve(&graph, &[vertex], worker.clone(), options, step).await;
        let solved = solved.map_err(|error| BuildError::solve(request, error))?;
        let root: Root = match solved.targets.into_iter().next() {
            Some(solved) => solved.root,
            None => Vec::new().into(),
        };
        let view = layers.view(&root).await;
        let view = view.map_err(|source| BuildError::Worker(Box::new(source)))?;
        Ok(Some(ContextRoot {
            worker,
            root,
            view,
            name,
        }))
    }

    /// A file of the context; None if it is not there.
    pub async fn read(&self, path: &str) -> Result<Option<String>, BuildError> {
        let path = kiln_dockerfile::path_pattern::clean(&format!("/{path}"));
        let path = path.trim_start_matches('/').as_bytes();
        let bytes = self.worker.read_file(&self.root, &self.view, path).await;
        let bytes = bytes.map_err(|source| BuildError::Worker(Box::new(source)))?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }
}
