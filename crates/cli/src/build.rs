//! `kiln build`: the order of a build stands in [`run`].

mod assemble;
mod error;
mod publish;
pub mod request;

use std::collections::HashMap;
use std::sync::Arc;

use kiln_dockerfile::lower::{Lowered, Lowering, lower};
use kiln_dockerfile::plan::{Need, Resolved, ResolvedImage};
use kiln_dockerfile::{Diagnostic, Dockerfile};
use kiln_graph::{Event, EventSink, ImageOrigin, Outcome, VertexId};
use kiln_registry::Client;
use kiln_sandbox::IdentityMap;
use kiln_solver::{SolveOptions, Solved, StepContext, solve};
use kiln_store::Store;
use kiln_worker::exec::ExecSettings;
use kiln_worker::{Images, Layers, LayersSettings, LocalWorker, LocalWorkerSettings, Wants};
use tokio_util::sync::CancellationToken;

use assemble::BuiltImage;
pub use error::BuildError;
pub use publish::BuildResult;
pub use request::{BuildRequest, Output};

/// What a build uses of this machine.
pub struct Machine {
    /// Everything on disk.
    pub store: Store,
    /// Registries.
    pub client: Client,
    /// Whoever shows what happens.
    pub events: Arc<dyn EventSink>,
    /// Set when the user stops the build.
    pub cancel: CancellationToken,
    /// How steps run.
    pub exec: ExecSettings,
    /// Which owners files can have.
    pub identities: IdentityMap,
    /// Steps at the same time.
    pub parallelism: usize,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").finish_non_exhaustive()
    }
}

/// Builds: the Dockerfile becomes a graph, the graph roots, the roots images, and the images go where they are
/// wanted. Tags move last, when every platform is there.
pub async fn run(request: &BuildRequest, machine: &Machine) -> Result<BuildResult, BuildError> {
    let (dockerfile, diagnostics) = parse(request)?;
    tell(machine, &diagnostics);
    let lowered = plan(request, machine, &dockerfile).await?;
    tell(machine, &lowered.diagnostics);
    let layers = layers(request, machine);
    let roots = solve_graph(request, machine, &lowered, &layers).await?;
    let images = assemble::images(request, machine, &layers, &lowered, &roots).await?;
    publish::publish(request, machine, &layers, &images).await
}

fn parse(request: &BuildRequest) -> Result<(Dockerfile, Vec<Diagnostic>), BuildError> {
    Dockerfile::parse(&request.dockerfile).map_err(|error| BuildError::syntax(request, error))
}

fn tell(machine: &Machine, diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        let place = diagnostic
            .lines
            .map(|lines| format!(" (line {})", lines.start))
            .unwrap_or_default();
        machine.events.send(Event::Warning {
            message: format!("{}{place}", diagnostic.message),
            hints: diagnostic.hints.clone(),
        });
    }
}

/// Lowers the Dockerfile, resolving images as they turn out to be needed: all that are known at the same time.
async fn plan(request: &BuildRequest, machine: &Machine, dockerfile: &Dockerfile) -> Result<Lowered, BuildError> {
    let images = Images::new(machine.store.clone(), machine.client.clone(), request.pull);
    let mut resolved = Resolved::default();
    loop {
        match lower(dockerfile, &request.plan, &resolved).map_err(|error| BuildError::syntax(request, error))? {
            Lowering::Done(lowered) => return Ok(*lowered),
            Lowering::Needs(needs) => {
                let found = needs
                    .iter()
                    .enumerate()
                    .map(|(number, need)| resolve(machine, &images, number as u64, need));
                let found = tokio::select! {
                    found = futures::future::try_join_all(found) => found?,
                    () = machine.cancel.cancelled() => return Err(BuildError::Cancelled),
                };
                for (need, image) in needs.iter().zip(found) {
                    resolved.insert(need, image);
                }
            }
        }
    }
}

async fn resolve(machine: &Machine, images: &Images, id: u64, need: &Need) -> Result<ResolvedImage, BuildError> {
    let name = format!("resolve {}", need.reference);
    machine.events.send(Event::TaskStarted {
        id,
        name,
        platform: Some(need.platform.clone()),
    });
    let started = std::time::Instant::now();
    let found = match &need.origin {
        ImageOrigin::Registry => images.find(&need.reference, &need.platform).await,
        ImageOrigin::Layout(path) => images.find_in_layout(path, &need.reference, &need.platform).await,
    };
    let outcome = match &found {
        Ok(_) => Outcome::Done,
        Err(error) => Outcome::Failed(error.to_string()),
    };
    machine.events.send(Event::TaskFinished {
        id,
        outcome,
        duration: started.elapsed(),
    });
    let found = found.map_err(|source| BuildError::Base {
        need: Box::new(need.clone()),
        source: Box::new(source),
    })?;
    Ok(ResolvedImage {
        source: found.source,
        config: found.config,
    })
}

fn layers(request: &BuildRequest, machine: &Machine) -> Layers {
    Layers::new(LayersSettings {
        store: machine.store.clone(),
        client: machine.client.clone(),
        events: machine.events.clone(),
        ownership: machine.ownership(),
        epoch: request.epoch,
        compression: request.compression,
    })
}

async fn solve_graph(
    request: &BuildRequest,
    machine: &Machine,
    lowered: &Lowered,
    layers: &Layers,
) -> Result<HashMap<VertexId, Solved>, BuildError> {
    let targets: Vec<VertexId> = lowered.targets.iter().map(|target| target.vertex.clone()).collect();
    let worker = Arc::new(LocalWorker::new(LocalWorkerSettings {
        layers: layers.clone(),
        contexts: request.directories.clone(),
        wants: Wants::of(&lowered.graph, &targets, request.outputs.iter().any(Output::is_image)),
        time: request.plan.time,
        exec: machine.exec.clone(),
        ownership: machine.ownership(),
    }));
    let context = StepContext {
        events: machine.events.clone(),
        cancel: machine.cancel.clone(),
    };
    let options = SolveOptions {
        parallelism: machine.parallelism,
    };
    let solved = solve(&lowered.graph, &targets, worker.clone(), options, context).await;
    // What was learnt of the context is worth keeping whatever became of the build.
    worker
        .save_contexts()
        .map_err(|source| BuildError::Worker(Box::new(source)))?;
    let solved = solved.map_err(|error| BuildError::solve(request, error))?;
    Ok(solved
        .into_iter()
        .map(|solved| (solved.vertex.clone(), solved))
        .collect())
}

impl Machine {
    fn ownership(&self) -> kiln_image::unpack::Ownership {
        match self.identities {
            IdentityMap::Many => kiln_image::unpack::Ownership::Keep,
            IdentityMap::Single => kiln_image::unpack::Ownership::SingleId,
        }
    }
}
