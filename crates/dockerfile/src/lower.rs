//! A Dockerfile becomes a graph and an image configuration for each platform.
//!
//! Stages are lowered on demand, from the target down, so what is not needed is not looked at. The graph of all
//! platforms is one: a stage that is pinned to the build platform and declares no `TARGET…` argument gives the
//! same vertices for every target platform.

mod args;
mod configure;
mod copy;
mod history;
mod run;
mod stage;

use std::collections::{BTreeMap, HashMap};

use kiln_graph::{Graph, VertexId};
use kiln_oci::{ImageConfig, Platform};

use crate::diagnostic::{Diagnostic, SyntaxError};
use crate::plan::{Need, PlanRequest, Resolved};
use crate::stage::Dockerfile;

pub use configure::workdir;

/// A graph with the images that come of it.
#[derive(Debug, Clone)]
pub struct Lowered {
    /// Everything that may have to run, for all platforms.
    pub graph: Graph,
    /// The images, in the order of the platforms.
    pub targets: Vec<Target>,
    /// What was odd.
    pub diagnostics: Vec<Diagnostic>,
}

/// The image of one platform.
#[derive(Debug, Clone)]
pub struct Target {
    /// What it runs on.
    pub platform: Platform,
    /// The vertex whose root it is.
    pub vertex: VertexId,
    /// Its configuration. Its diff IDs are still those of the base alone; each history entry after the base's
    /// that is not empty is one layer of the root above them.
    pub config: ImageConfig,
}

/// What lowering gives.
#[derive(Debug, Clone)]
pub enum Lowering {
    /// Images must be resolved first.
    Needs(Vec<Need>),
    /// Everything is there.
    Done(Box<Lowered>),
}

/// Lowers a Dockerfile, as far as what is resolved allows.
pub fn lower(dockerfile: &Dockerfile, request: &PlanRequest, resolved: &Resolved) -> Result<Lowering, SyntaxError> {
    let target = dockerfile.target(request.target.as_deref())?;
    let mut lowerer = Lowerer {
        dockerfile,
        request,
        resolved,
        graph: Graph::new(),
        needs: Vec::new(),
        stages: HashMap::new(),
        in_progress: Vec::new(),
        diagnostics: Vec::new(),
        target,
    };
    lowerer.check_epoch()?;
    let mut targets = Vec::new();
    for platform in &request.platforms {
        let stage = lowerer.stage(target, platform)?;
        if let Some(stage) = stage {
            let mut config = stage.config.clone();
            config.config.labels.extend(request.labels.clone());
            targets.push(Target {
                platform: stage.platform.clone(),
                vertex: stage.vertex.clone(),
                config,
            });
        }
    }
    if !lowerer.needs.is_empty() {
        return Ok(Lowering::Needs(lowerer.needs));
    }
    let Lowerer { graph, diagnostics, .. } = lowerer;
    Ok(Lowering::Done(Box::new(Lowered {
        graph,
        targets,
        diagnostics,
    })))
}

struct Lowerer<'a> {
    dockerfile: &'a Dockerfile,
    request: &'a PlanRequest,
    resolved: &'a Resolved,
    graph: Graph,
    needs: Vec<Need>,
    /// By stage and target platform. None: an image that it needs is not resolved yet.
    stages: HashMap<(usize, Platform), Option<stage::Lowered>>,
    in_progress: Vec<usize>,
    diagnostics: Vec<Diagnostic>,
    target: usize,
}

/// Variables by name, in the order in which they were set.
type Env = Vec<(String, String)>;

fn set(env: &mut Env, name: &str, value: &str) {
    match env.iter_mut().find(|(known, _)| known == name) {
        Some((_, known)) => value.clone_into(known),
        None => env.push((name.to_owned(), value.to_owned())),
    }
}

impl Lowerer<'_> {
    /// An argument that names a stage takes the time of what the stage fetches; only stages that do nothing but
    /// fetch can be meant.
    fn check_epoch(&self) -> Result<(), SyntaxError> {
        for (name, value, lines) in &self.dockerfile.global_args {
            if name != "SOURCE_DATE_EPOCH" || self.request.build_args.contains_key(name) {
                continue;
            }
            let Some(value) = value else { continue };
            if let Some(stage) = self.dockerfile.stage(value, self.dockerfile.stages.len())
                && value.parse::<i64>().is_err()
            {
                let stage = &self.dockerfile.stages[stage];
                let source_only = stage.from.base == "scratch"
                    && stage.instructions.iter().all(
                        |instruction| matches!(&instruction.kind, crate::instruction::Kind::Copy(copy) if copy.add),
                    );
                let message = if source_only {
                    "SOURCE_DATE_EPOCH from a stage is not supported yet"
                } else {
                    "SOURCE_DATE_EPOCH stage does not meet source-only requirements"
                };
                return Err(SyntaxError::new(message)
                    .hint("give a number of seconds since 1970 instead")
                    .at(*lines));
            }
        }
        Ok(())
    }
}

/// The variables that every stage can ask for with ARG.
fn automatic_args(request: &PlanRequest, platform: &Platform, target_stage: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (prefix, platform) in [("BUILD", &request.build_platform), ("TARGET", platform)] {
        all.insert(format!("{prefix}PLATFORM"), platform.to_string());
        all.insert(format!("{prefix}OS"), platform.os.clone());
        all.insert(format!("{prefix}OSVERSION"), platform.os_version.clone());
        all.insert(format!("{prefix}ARCH"), platform.architecture.clone());
        all.insert(format!("{prefix}VARIANT"), platform.variant.clone());
    }
    all.insert("TARGETSTAGE".into(), target_stage.to_owned());
    all
}
