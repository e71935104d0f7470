//! `kiln build`: the order of a build stands in [`run`].

mod assemble;
mod caches;
mod error;
pub mod frontend;
mod publish;
pub mod remote;
pub mod request;

use std::collections::HashMap;
use std::sync::Arc;

use kiln_dockerfile::lower::Lowered;
use kiln_graph::{EventSink, VertexId};
use kiln_registry::Client;
use kiln_sandbox::IdentityMap;
use kiln_solver::{Solution, SolveOptions, Solved, StepContext, solve};
use kiln_store::Store;
use kiln_worker::exec::ExecSettings;
use kiln_worker::{Layers, LayersSettings, LocalWorker, LocalWorkerSettings, Remotes, Wants};
use tokio_util::sync::CancellationToken;

use assemble::BuiltImage;
pub use error::BuildError;
use frontend::Planned;
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
    /// Git repositories and URLs.
    pub remotes: Remotes,
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

/// Builds: what the Dockerfile stands in is fetched, the Dockerfile becomes a graph, the graph roots, the roots images, and the images go where they are
/// wanted. Tags move last, when every platform is there.
pub async fn run(request: &BuildRequest, machine: &Machine) -> Result<BuildResult, BuildError> {
    let request = &remote::load(request, machine).await?;
    let mut linter = frontend::linter(request)?;
    let planned = frontend::plan(request, machine, &mut linter).await;
    frontend::tell(machine, &linter);
    let Planned { request, lowered } = &planned?;
    let layers = layers(request, machine);
    let solution = solve_graph(request, machine, lowered, &layers).await?;
    let solved = caches::Solved {
        lowered,
        keys: &solution.keys,
    };
    let inline = solved.inline(request, &layers).await?;
    let roots = roots(&solution);
    let images = assemble::images(request, machine, &layers, lowered, &roots, inline.as_ref()).await?;
    let result = publish::publish(request, machine, &layers, &images).await?;
    caches::write(request, machine, &layers, &solved).await;
    Ok(result)
}

fn roots(solution: &Solution) -> HashMap<VertexId, Solved> {
    let targets = solution.targets.iter();
    targets.map(|solved| (solved.vertex.clone(), solved.clone())).collect()
}

fn layers(request: &BuildRequest, machine: &Machine) -> Layers {
    Layers::new(LayersSettings {
        store: machine.store.clone(),
        client: machine.client.clone(),
        events: machine.events.clone(),
        ownership: machine.ownership(),
        epoch: request.written_epoch(),
        compression: request.compression,
    })
}

async fn solve_graph(
    request: &BuildRequest,
    machine: &Machine,
    lowered: &Lowered,
    layers: &Layers,
) -> Result<Solution, BuildError> {
    let targets: Vec<VertexId> = lowered.targets.iter().map(|target| target.vertex.clone()).collect();
    let worker = Arc::new(LocalWorker::new(LocalWorkerSettings {
        layers: layers.clone(),
        contexts: request.directories.clone(),
        wants: Wants::of(&lowered.graph, &targets, request.outputs.iter().any(Output::is_image)),
        time: request.plan.time,
        exec: machine.exec.clone(),
        ownership: machine.ownership(),
        imports: caches::imports(request, machine),
        remotes: machine.remotes.clone(),
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
    solved.map_err(|error| BuildError::solve(request, error))
}

impl Machine {
    fn ownership(&self) -> kiln_image::unpack::Ownership {
        match self.identities {
            IdentityMap::Many => kiln_image::unpack::Ownership::Keep,
            IdentityMap::Single => kiln_image::unpack::Ownership::SingleId,
        }
    }
}
