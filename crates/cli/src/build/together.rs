//! Several Dockerfiles at once: one graph, so that what they share runs once, and one solution.
//!
//! A context of one target may be the result of another (`target:`): then the steps of that one are part of its graph.
//! The same directory is the same context in every target, whatever each calls it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use kiln_dockerfile::lower::Lowered;
use kiln_dockerfile::plan::{BuiltContext, BuiltImage, NamedContext};
use kiln_graph::{Graph, Op, VertexId};
use kiln_image::pack::CompressionSetting;
use kiln_oci::Platform;
use kiln_solver::SolveError;
use kiln_worker::Wants;

use super::frontend::Planned;
use super::request::CacheImport;
use super::solve_graph;
use super::{
    BuildError, BuildRequest, BuildResult, Finishing, Machine, Output, Solving, Unsolved, caches, layers, plan,
};

/// One of several targets.
#[derive(Debug)]
pub struct NamedRequest {
    /// Its name.
    pub name: String,
    /// What is asked for.
    pub request: BuildRequest,
    /// Targets whose results are contexts, by the names of the contexts.
    pub links: BTreeMap<String, String>,
    /// Whether it is only there because another target uses it.
    pub linked_only: bool,
    /// Whether it says which platforms it is for. Else it is built for those of whoever uses it.
    pub has_platforms: bool,
}

/// Why one of several builds failed.
#[derive(Debug)]
pub struct Failed {
    /// Why.
    pub error: BuildError,
    /// Which target: its position.
    pub target: usize,
}

/// A target whose graph is known.
#[derive(Debug)]
pub struct PlannedTarget {
    /// Its position among those that were asked for.
    pub target: usize,
    /// Its graph.
    planned: Planned,
}

/// All targets in one graph.
#[derive(Debug)]
pub struct Plan {
    /// Those that are built, in the order of the request.
    pub targets: Vec<PlannedTarget>,
    /// Every step of all of them.
    pub graph: Graph,
}

impl Plan {
    /// The steps that a target needs.
    pub fn steps_of(&self, target: &PlannedTarget) -> HashSet<VertexId> {
        let lowered = &target.planned.lowered;
        let mut needed = HashSet::new();
        let mut pending: Vec<VertexId> = lowered.targets.iter().map(|target| target.vertex.clone()).collect();
        while let Some(id) = pending.pop() {
            let Some(vertex) = self.graph.vertex(&id) else { continue };
            if needed.insert(id) {
                pending.extend(vertex.inputs.iter().cloned());
            }
        }
        needed
    }

    /// The platforms of a target.
    pub fn platforms_of(&self, target: &PlannedTarget) -> Vec<Platform> {
        let targets = target.planned.lowered.targets.iter();
        targets.map(|target| target.platform.clone()).collect()
    }
}

/// Plans all targets, and unites their graphs.
pub async fn plan_all(requests: &[NamedRequest], machine: &Machine) -> Result<Plan, Failed> {
    let mut planner = Planner {
        requests,
        machine,
        known: HashMap::new(),
    };
    let mut targets = Vec::new();
    let mut graph = Graph::new();
    for (target, request) in requests.iter().enumerate() {
        if request.linked_only {
            continue;
        }
        let planned = planner.plan(target, None).await?;
        let planned = Arc::unwrap_or_clone(planned);
        graph.absorb(&planned.lowered.graph, |_, _| {});
        targets.push(PlannedTarget { target, planned });
    }
    Ok(Plan { targets, graph })
}

/// Builds all targets. Nothing is published before every step of all has run, and the audit has looked at every image.
pub async fn run(requests: &[NamedRequest], machine: &Machine) -> Result<Vec<(String, BuildResult)>, Failed> {
    let plan = plan_all(requests, machine).await?;
    let mut solutions = Vec::new();
    for batch in batches(&plan.targets) {
        let first = &batch[0].planned;
        let layers = layers(&first.request, machine);
        let solution = solve_batch(&plan, &batch, &layers, machine).await?;
        solutions.push((batch, layers, solution));
    }
    let finishing: Vec<(usize, Finishing<'_>)> = solutions
        .iter()
        .flat_map(|(batch, layers, solution)| {
            batch.iter().map(move |target| {
                let finishing = Finishing {
                    planned: &target.planned,
                    machine,
                    layers,
                    solution,
                };
                (target.target, finishing)
            })
        })
        .collect();
    let failed = |target: usize| move |error| Failed { error, target };
    // What the audit refuses of one target keeps all of them back.
    let images = finishing
        .iter()
        .map(async |(target, finishing)| finishing.images().await.map_err(failed(*target)));
    let images = futures::future::try_join_all(images).await?;
    let published = finishing.iter().zip(images).map(async |((target, finishing), images)| {
        let result = finishing.publish(images).await.map_err(failed(*target))?;
        Ok((requests[*target].name.clone(), result))
    });
    futures::future::try_join_all(published).await
}

/// What holds for every layer of a graph, and so for all targets that are solved at once.
type Common = (i64, Option<i64>, CompressionSetting);

fn batches(targets: &[PlannedTarget]) -> Vec<Vec<&PlannedTarget>> {
    let mut batches: Vec<(Common, Vec<&PlannedTarget>)> = Vec::new();
    for target in targets {
        let request = &target.planned.request;
        let common = (request.plan.time, request.written_epoch(), request.compression);
        match batches.iter_mut().find(|(known, _)| *known == common) {
            Some((_, batch)) => batch.push(target),
            None => batches.push((common, vec![target])),
        }
    }
    batches.into_iter().map(|(_, batch)| batch).collect()
}

async fn solve_batch(
    plan: &Plan,
    batch: &[&PlannedTarget],
    layers: &kiln_worker::Layers,
    machine: &Machine,
) -> Result<kiln_solver::Solution, Failed> {
    let mut targets: Vec<VertexId> = Vec::new();
    let mut directories: HashMap<String, PathBuf> = HashMap::new();
    let mut imports: Vec<CacheImport> = Vec::new();
    let mut images = false;
    for target in batch {
        let Planned { request, lowered, .. } = &target.planned;
        for image in &lowered.targets {
            if !targets.contains(&image.vertex) {
                targets.push(image.vertex.clone());
            }
        }
        directories.extend(request.directories.clone());
        for import in &request.cache_from {
            if !imports.contains(import) {
                imports.push(import.clone());
            }
        }
        images |= request.outputs.iter().any(Output::is_image);
    }
    // Each of several images has names of its own, and a blob may belong to some of them only: none is sent early.
    let wants = Wants::of(&plan.graph, &targets, images);
    let solving = Solving {
        graph: &plan.graph,
        wants: batch
            .iter()
            .fold(wants, |wants, target| caches::wanted(wants, &target.planned)),
        targets,
        directories,
        time: batch[0].planned.request.plan.time,
        imports: caches::imports(&imports, machine),
    };
    solve_graph(solving, machine, layers).await.map_err(|error| {
        let owner = owner_of(&error, batch);
        Failed {
            error: error.explained(&owner.planned.request),
            target: owner.target,
        }
    })
}

/// The target in whose Dockerfile a failed step stands.
fn owner_of<'a>(error: &Unsolved, batch: &[&'a PlannedTarget]) -> &'a PlannedTarget {
    let vertex = match error {
        Unsolved::Solver(error) => match &**error {
            SolveError::Step { vertex, .. } => vertex,
            _ => return batch[0],
        },
        Unsolved::Worker(_) => return batch[0],
    };
    let has = |target: &&&PlannedTarget| target.planned.lowered.graph.vertex(&vertex.id).is_some();
    let file = vertex.meta.lines.as_ref().map(|lines| &lines.file);
    let own = |target: &&&PlannedTarget| has(target) && file == Some(&target.planned.request.plan.file);
    let found = batch.iter().find(own).or_else(|| batch.iter().find(has));
    found.copied().unwrap_or(batch[0])
}

struct Planner<'a> {
    requests: &'a [NamedRequest],
    machine: &'a Machine,
    known: HashMap<(usize, Option<Vec<Platform>>), Arc<Planned>>,
}

impl Planner<'_> {
    /// Plans a target after those that it uses; for other platforms than its own if some are given.
    fn plan(&mut self, target: usize, platforms: Option<Vec<Platform>>) -> BoxFuture<'_, Result<Arc<Planned>, Failed>> {
        Box::pin(async move {
            let key = (target, platforms.clone());
            if let Some(known) = self.known.get(&key) {
                return Ok(known.clone());
            }
            let named = &self.requests[target];
            let mut request = named.request.clone();
            if let Some(platforms) = platforms {
                request.plan.platforms = platforms;
            }
            let mut directories = HashMap::new();
            for (context, other) in &named.links {
                // The definition was checked: whatever is linked to is there, and nothing goes round in circles.
                let Some(position) = self.requests.iter().position(|request| request.name == *other) else {
                    continue;
                };
                let wanted = (!self.requests[position].has_platforms).then(|| request.plan.platforms.clone());
                let linked = self.plan(position, wanted).await?;
                directories.extend(linked.request.directories.clone());
                request.plan.contexts.insert(context.clone(), as_context(&linked));
            }
            let planned = plan(&request, self.machine)
                .await
                .map_err(|error| Failed { error, target })?;
            let planned = Arc::new(with_own_names(
                planned,
                &named.name,
                self.requests.len() > 1,
                directories,
            ));
            self.known.insert(key, planned.clone());
            Ok(planned)
        })
    }
}

fn as_context(planned: &Planned) -> NamedContext {
    let lowered = &planned.lowered;
    NamedContext::Built(BuiltContext {
        graph: lowered.graph.clone(),
        images: planned
            .request
            .plan
            .platforms
            .iter()
            .zip(&lowered.targets)
            .map(|(made_for, target)| BuiltImage {
                made_for: made_for.clone(),
                platform: target.platform.clone(),
                vertex: target.vertex.clone(),
                config: target.config.clone(),
            })
            .collect(),
    })
}

/// Contexts are named by their directories, which are the same in every target, and stages by the target too.
fn with_own_names(planned: Planned, target: &str, several: bool, mut directories: HashMap<String, PathBuf>) -> Planned {
    let Planned {
        mut request,
        lowered,
        pinned,
    } = planned;
    let mut names: HashMap<String, String> = HashMap::new();
    for (name, directory) in &request.directories {
        let real = std::fs::canonicalize(directory).unwrap_or_else(|_| directory.clone());
        let own = real.to_string_lossy().into_owned();
        directories.insert(own.clone(), directory.clone());
        names.insert(name.clone(), own);
    }
    let mut graph = Graph::new();
    let here = graph.absorb(&lowered.graph, |op, meta| {
        if let Op::Local(local) = op
            && let Some(own) = names.get(&local.name)
        {
            local.name.clone_from(own);
            if several {
                let shown = directories.get(own).map(|directory| directory.display().to_string());
                meta.name = format!("context {}", shown.unwrap_or_default());
            }
        }
        if let Some(stage) = meta.stage.as_mut().filter(|stage| several && !stage.contains(": ")) {
            *stage = format!("{target}: {stage}");
        }
    });
    let mut targets = lowered.targets;
    for image in &mut targets {
        if let Some(id) = here.get(&image.vertex) {
            image.vertex = id.clone();
        }
    }
    request.directories = directories;
    Planned {
        pinned,
        request,
        lowered: Lowered {
            graph,
            targets,
            outline: lowered.outline,
        },
    }
}
