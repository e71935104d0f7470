//! `kiln build`: the order of a build stands in [`run`].

mod assemble;
mod audit;
mod caches;
mod error;
pub mod frontend;
mod limits;
mod publish;
pub mod remote;
pub mod request;
pub mod together;

use std::collections::HashMap;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;

use kiln_graph::{EventSink, Graph, VertexId};
use kiln_registry::Client;
use kiln_sandbox::IdentityMap;
use kiln_solver::{AvailableMemory, Forecast, Solution, SolveError, SolveOptions, Solved, StepContext, solve};
use kiln_store::Store;
use kiln_worker::exec::ExecSettings;
use kiln_worker::remote_cache::CacheImports;
use kiln_worker::{Layers, LayersSettings, LocalWorker, LocalWorkerSettings, Remotes, Wants, WorkerError};
use tokio_util::sync::CancellationToken;

use assemble::BuiltImage;
pub use error::BuildError;
use frontend::Planned;
pub use publish::{BuildResult, Published};
pub use request::{AuditRequest, BuildRequest, Output};

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
    /// Steps at the same time: so many as the user says, else by processors and memory.
    pub parallelism: Option<NonZero<usize>>,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").finish_non_exhaustive()
    }
}

/// Builds: what the Dockerfile stands in is fetched, the Dockerfile becomes a graph, the graph roots, the roots images,
/// and the images go where they are wanted. Before that, the audit looks at every platform. Tags move last, when all of
/// them are there.
pub async fn run(request: &BuildRequest, machine: &Machine) -> Result<BuildResult, BuildError> {
    let planned = plan(request, machine).await?;
    let layers = layers(&planned.request, machine);
    let solving = Solving::of(&planned, machine);
    let solution = solve_graph(solving, machine, &layers)
        .await
        .map_err(|error| error.explained(&planned.request))?;
    let finishing = Finishing {
        planned: &planned,
        machine,
        layers: &layers,
        solution: &solution,
    };
    let images = finishing.images().await?;
    finishing.publish(images).await
}

/// The graph of a Dockerfile, fetched if it is elsewhere. What the linter finds is told.
async fn plan(request: &BuildRequest, machine: &Machine) -> Result<Planned, BuildError> {
    let mut request = remote::load(request, machine).await?;
    limits::keep_possible(&mut request, machine);
    let request = &request;
    let mut linter = frontend::linter(request)?;
    let planned = frontend::plan(request, machine, &mut linter).await;
    frontend::tell(machine, &linter);
    planned
}

/// A build whose steps have all run.
struct Finishing<'a> {
    planned: &'a Planned,
    machine: &'a Machine,
    layers: &'a Layers,
    solution: &'a Solution,
}

impl Finishing<'_> {
    fn solved(&self) -> caches::Solved<'_> {
        caches::Solved {
            lowered: &self.planned.lowered,
            keys: &self.solution.keys,
        }
    }

    /// Roots become images, and the audit looks at them.
    async fn images(&self) -> Result<Vec<BuiltImage>, BuildError> {
        let Planned {
            request,
            lowered,
            pinned,
        } = self.planned;
        let (machine, layers) = (self.machine, self.layers);
        let inline = self.solved().inline(request, layers).await?;
        let roots = roots(self.solution);
        let images = assemble::images(request, machine, layers, lowered, &roots, inline.as_ref()).await?;
        audit::gate(request, machine, layers, pinned, &images).await?;
        Ok(images)
    }

    /// Images go where they are wanted.
    async fn publish(&self, images: Vec<BuiltImage>) -> Result<BuildResult, BuildError> {
        let request = &self.planned.request;
        let result = publish::publish(request, self.machine, self.layers, &images).await?;
        caches::write(request, self.machine, self.layers, &self.solved()).await;
        Ok(result)
    }
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

/// What is solved: the graph of one Dockerfile, or of several.
struct Solving<'a> {
    graph: &'a Graph,
    targets: Vec<VertexId>,
    directories: HashMap<String, PathBuf>,
    wants: Wants,
    time: i64,
    imports: CacheImports,
}

impl<'a> Solving<'a> {
    fn of(planned: &'a Planned, machine: &Machine) -> Solving<'a> {
        let Planned { request, lowered, .. } = planned;
        let (graph, targets) = (&lowered.graph, caches::vertices(lowered));
        let images = request.outputs.iter().any(Output::is_image);
        let names = request.outputs.iter().flat_map(Output::pushed_names);
        let wants = Wants::of(graph, &targets, images).sent_to(names.cloned().collect());
        Solving {
            graph,
            wants: caches::wanted(wants, planned),
            targets,
            directories: request.directories.clone(),
            time: request.plan.time,
            imports: caches::imports(&request.cache_from, machine),
        }
    }
}

/// Why a graph could not be solved, before it is known whose Dockerfile a failed step stands in.
enum Unsolved {
    Worker(Box<WorkerError>),
    Solver(Box<SolveError<WorkerError>>),
}

impl Unsolved {
    fn explained(self, request: &BuildRequest) -> BuildError {
        match self {
            Unsolved::Worker(error) => BuildError::Worker(error),
            Unsolved::Solver(error) => BuildError::solve(request, *error),
        }
    }
}

/// What a build would run, without running it. What the Dockerfile stands in is fetched already.
pub async fn forecast(request: &BuildRequest, machine: &Machine) -> Result<Forecasts, BuildError> {
    let mut linter = frontend::linter(request)?;
    let planned = frontend::plan(request, machine, &mut linter).await?;
    let solving = Solving::of(&planned, machine);
    let targets = solving.targets.clone();
    let worker = worker(solving, machine, &layers(&planned.request, machine));
    let forecasts = kiln_solver::forecast(&planned.lowered.graph, &targets, &worker, &step_context(machine)).await;
    worker
        .save_contexts()
        .map_err(|source| BuildError::Worker(Box::new(source)))?;
    Ok(Forecasts {
        forecasts: forecasts.map_err(|error| BuildError::solve(&planned.request, error))?,
        graph: planned.lowered.graph,
    })
}

/// A graph, and what would become of it.
#[derive(Debug)]
pub struct Forecasts {
    /// The graph.
    pub graph: Graph,
    /// Inputs first.
    pub forecasts: Vec<Forecast>,
}

fn worker(solving: Solving<'_>, machine: &Machine, layers: &Layers) -> LocalWorker {
    LocalWorker::new(LocalWorkerSettings {
        layers: layers.clone(),
        contexts: solving.directories,
        wants: solving.wants,
        time: solving.time,
        exec: machine.exec.clone(),
        ownership: machine.ownership(),
        imports: solving.imports,
        remotes: machine.remotes.clone(),
    })
}

fn step_context(machine: &Machine) -> StepContext {
    StepContext {
        events: machine.events.clone(),
        cancel: machine.cancel.clone(),
    }
}

async fn solve_graph(solving: Solving<'_>, machine: &Machine, layers: &Layers) -> Result<Solution, Unsolved> {
    let (graph, targets) = (solving.graph, solving.targets.clone());
    let worker = Arc::new(worker(solving, machine, layers));
    let context = step_context(machine);
    let options = machine.solve_options();
    let solved = solve(graph, &targets, worker.clone(), options, context).await;
    // What was learnt of the context is worth keeping whatever became of the build.
    worker
        .save_contexts()
        .map_err(|source| Unsolved::Worker(Box::new(source)))?;
    solved.map_err(|error| Unsolved::Solver(Box::new(error)))
}

impl Machine {
    /// A number that the user gave is that number, whatever the memory.
    fn solve_options(&self) -> SolveOptions {
        match self.parallelism {
            Some(steps) => SolveOptions {
                parallelism: steps.get(),
                memory: None,
            },
            None => SolveOptions {
                parallelism: std::thread::available_parallelism().map_or(2, |count| count.get().max(2)),
                memory: Some(AvailableMemory::new(crate::memory::available)),
            },
        }
    }

    fn ownership(&self) -> kiln_image::unpack::Ownership {
        match self.identities {
            IdentityMap::Many => kiln_image::unpack::Ownership::Keep,
            IdentityMap::Single => kiln_image::unpack::Ownership::SingleId,
        }
    }
}
