//! A Dockerfile becomes a graph and an image configuration for each platform.
//!
//! Stages are lowered on demand, from the target down, so what is not needed is not looked at. The graph of all
//! platforms is one: a stage that is pinned to the build platform and declares no `TARGET…` argument gives the
//! same vertices for every target platform.

mod architecture;
mod args;
mod configure;
mod context;
mod copy;
mod history;
mod mount;
pub(crate) mod noarch;
mod outline;
pub(crate) mod remote_source;
mod run;
mod stage;
mod workdir;

use std::collections::{BTreeMap, HashMap};

use kiln_graph::{Graph, VertexId};
use kiln_oci::{ImageConfig, Platform};

use crate::diagnostic::SyntaxError;
use crate::lint::Linter;
use crate::outline::Outline;
use crate::plan::{Need, PlanRequest, Resolved};
use crate::stage::Dockerfile;

pub use context::{CONTEXT_FILE, context_graph, file_at};
pub use history::timestamp;
pub use workdir::{is_absolute, workdir};

/// A graph with the images that come of it.
#[derive(Debug, Clone)]
pub struct Lowered {
    /// Everything that may have to run, for all platforms.
    pub graph: Graph,
    /// The images, in the order of the platforms.
    pub targets: Vec<Target>,
    /// What the build takes.
    pub outline: Outline,
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

/// Lowers a Dockerfile, as far as what is resolved allows. The linter hears of everything on the way.
pub fn lower(
    dockerfile: &Dockerfile,
    request: &PlanRequest,
    resolved: &Resolved,
    linter: &mut Linter,
) -> Result<Lowering, SyntaxError> {
    let target = dockerfile.target(request.target.as_deref())?;
    crate::epoch::epoch(dockerfile, request)?;
    let mut lowerer = Lowerer {
        dockerfile,
        request,
        resolved,
        graph: Graph::new(),
        needs: Vec::new(),
        stages: HashMap::new(),
        in_progress: Vec::new(),
        noarch: HashMap::new(),
        outlines: HashMap::new(),
        linter,
        target,
    };
    lowerer.check_defaults();
    lowerer.check_bases()?;
    let mut targets = Vec::new();
    for platform in &request.platforms {
        let stage = lowerer.stage(target, platform)?;
        if let Some(stage) = stage {
            let mut config = stage.config.clone();
            config.config.labels.extend(request.labels.clone());
            let platform = if request.implicit_platform {
                stage.platform.clone()
            } else {
                // What was asked for is what the image is for, whatever its base says.
                describe(&mut config, platform);
                image_platform(platform, &config.platform())
            };
            normalize(&mut config);
            targets.push(Target {
                platform,
                vertex: stage.vertex.clone(),
                config,
            });
        }
    }
    if request.every_stage {
        let platform = &request.platforms[0];
        for number in 0..dockerfile.stages.len() {
            lowerer.stage(number, platform)?;
        }
    }
    if !lowerer.needs.is_empty() {
        return Ok(Lowering::Needs(lowerer.needs));
    }
    let outline = lowerer.outline(target);
    Ok(Lowering::Done(Box::new(Lowered {
        graph: lowerer.graph,
        targets,
        outline,
    })))
}

/// The platform of an image that was asked for: in its normal form, for Windows with the version of its base.
pub fn image_platform(requested: &Platform, image: &Platform) -> Platform {
    let mut platform = requested.clone().normalized();
    if platform.os == "windows" {
        if platform.os_version.is_empty() {
            platform.os_version.clone_from(&image.os_version);
        }
        if platform.os_features.is_empty() {
            platform.os_features.clone_from(&image.os_features);
        }
    }
    platform
}

/// Lets a configuration say the platform that was asked for.
fn describe(config: &mut ImageConfig, platform: &Platform) {
    let same = config.os == platform.os && config.architecture == platform.architecture;
    config.os.clone_from(&platform.os);
    config.architecture.clone_from(&platform.architecture);
    let given = |value: &String| Some(value.clone()).filter(|value| !value.is_empty());
    if !same || !platform.variant.is_empty() {
        config.variant = given(&platform.variant);
    }
    if !same || !platform.os_version.is_empty() {
        config.os_version = given(&platform.os_version);
    }
    if !platform.os_features.is_empty() {
        config.os_features.clone_from(&platform.os_features);
    }
}

/// Variants that say nothing are left out: `v8` of arm64, `v1` of amd64.
fn normalize(config: &mut ImageConfig) {
    let platform = config.platform().normalized();
    config.architecture = platform.architecture;
    config.os = platform.os;
    config.variant = Some(platform.variant).filter(|variant| !variant.is_empty());
}

struct Lowerer<'a> {
    dockerfile: &'a Dockerfile,
    request: &'a PlanRequest,
    resolved: &'a Resolved,
    graph: Graph,
    needs: Vec<Need>,
    /// By stage and target platform. None: an image that it needs is not resolved yet.
    stages: HashMap<(usize, Platform), Option<stage::Lowered>>,
    in_progress: Vec<(usize, Platform)>,
    /// What marked instructions came to for the build platform, by stage and position.
    noarch: HashMap<(usize, usize), noarch::Made>,
    /// By stage, for the first platform that it is lowered for.
    outlines: HashMap<usize, outline::StageOutline>,
    linter: &'a mut Linter,
    target: usize,
}

/// A path of a root against the working directory.
fn absolute(directory: &str, path: &str) -> String {
    if path.starts_with('/') {
        crate::path_pattern::clean(path)
    } else {
        crate::path_pattern::clean(&format!("/{directory}/{path}"))
    }
}

/// Variables by name, in the order in which they were set.
type Env = Vec<(String, String)>;

fn set(env: &mut Env, name: &str, value: &str) {
    match env.iter_mut().find(|(known, _)| known == name) {
        Some((_, known)) => value.clone_into(known),
        None => env.push((name.to_owned(), value.to_owned())),
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
        let names = architecture::names(platform);
        all.extend(names.map(|(scheme, name)| (format!("{prefix}ARCH_{scheme}"), name.to_owned())));
    }
    all.insert("TARGETSTAGE".into(), target_stage.to_owned());
    all
}
