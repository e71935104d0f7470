//! What a build asks for, and what must be resolved before it can be lowered.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use kiln_graph::{GitSource, Graph, HttpSource, ImageOrigin, ImageSource, NetworkMode, VertexId};
use kiln_oci::{ImageConfig, Platform, Reference, Resources};
use serde::{Deserialize, Serialize};

use crate::Lines;

/// What is asked of a Dockerfile.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PlanRequest {
    /// The platforms to build for. At least one.
    pub platforms: Vec<Platform>,
    /// Whether nobody named a platform: then an image is for what its base is for.
    pub implicit_platform: bool,
    /// The platform of the machine that builds.
    pub build_platform: Platform,
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// `--target`.
    pub target: Option<String>,
    /// Named contexts by name, perhaps with `::platform`.
    pub contexts: BTreeMap<String, NamedContext>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--no-cache` and `--no-cache-filter`.
    pub no_cache: NoCache,
    /// `--network`: of steps that do not say.
    pub network: NetworkMode,
    /// `--add-host`: name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// Host name of steps; empty is the default.
    pub hostname: String,
    /// `--shm-size`.
    pub shm_size: Option<u64>,
    /// `--ulimit`.
    pub ulimits: BTreeMap<String, (u64, u64)>,
    /// `--cgroup-parent`.
    pub cgroup_parent: Option<String>,
    /// What steps may take of the machine.
    #[serde(default)]
    pub resources: Resources,
    /// The request's time in seconds since the epoch.
    pub time: i64,
    /// What the build context is.
    pub context: BuildContext,
    /// Ignore patterns of the build context.
    pub ignore: Vec<String>,
    /// The Dockerfile's path, for messages.
    pub file: PathBuf,
    /// `--allow network.host`.
    pub allow_host_network: bool,
    /// `--allow security.insecure`.
    pub allow_insecure: bool,
    /// Whether stages that the target does not need are looked at too: to check a file, not to build it.
    pub every_stage: bool,
}

impl PlanRequest {
    /// `SOURCE_DATE_EPOCH` in seconds, once it stands for a number.
    pub fn epoch(&self) -> Option<i64> {
        self.build_args.get(crate::epoch::NAME)?.parse().ok()
    }
}

/// What the build context is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BuildContext {
    /// A directory of the user's; the worker knows where.
    #[default]
    Local,
    /// A git repository.
    Git(GitSource),
    /// What a URL gives.
    Http {
        /// The URL.
        source: HttpSource,
        /// Whether it is an archive whose files are the context; else the context is the file itself.
        archive: bool,
        /// The directory of the archive that is the context; None: all of it.
        directory: Option<String>,
    },
}

impl BuildContext {
    /// The name of the build context among all contexts.
    pub const NAME: &str = "context";
}

/// What a named context is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NamedContext {
    /// A directory; the worker knows where.
    Local {
        /// Its ignore patterns.
        ignore: Vec<String>,
    },
    /// An image in a registry.
    Image(Reference),
    /// No file at all: `docker-image://scratch`.
    Scratch,
    /// An image in an OCI layout.
    Layout {
        /// The directory.
        path: PathBuf,
        /// Which image.
        reference: Reference,
    },
    /// A file from a URL.
    Http(String),
    /// A directory of an archive from a URL.
    Archive {
        /// The URL.
        url: String,
        /// The directory; empty: all of it.
        directory: String,
    },
    /// A git repository.
    Git(GitSource),
    /// The result of another Dockerfile in the same build.
    Built(BuiltContext),
}

/// What another Dockerfile comes to, for each platform: its steps become part of this build's graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuiltContext {
    /// Everything that may have to run for it.
    pub graph: Graph,
    /// The images.
    pub images: Vec<BuiltImage>,
}

// Configurations hold JSON, whose numbers come from documents: none is other than itself.
impl Eq for BuiltContext {}

impl BuiltContext {
    /// The image that was made for a platform. Where there is only one, it stands for all.
    pub fn image(&self, platform: &Platform) -> Option<&BuiltImage> {
        let exact = self.images.iter().find(|image| image.made_for == *platform);
        match (exact, self.images.as_slice()) {
            (Some(image), _) => Some(image),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }
}

/// The image of one platform in a [`BuiltContext`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuiltImage {
    /// The platform that it was asked for.
    pub made_for: Platform,
    /// What it runs on: another platform, where its stage is pinned to one.
    pub platform: Platform,
    /// The vertex whose root it is.
    pub vertex: VertexId,
    /// Its configuration.
    pub config: ImageConfig,
}

/// Which steps run whatever is in the cache.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoCache {
    /// None.
    #[default]
    No,
    /// All.
    All,
    /// Those of the named stages.
    Stages(BTreeSet<String>),
}

/// An image that must be resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The image.
    pub reference: Reference,
    /// For which platform.
    pub platform: Platform,
    /// Where it is.
    pub origin: ImageOrigin,
    /// The instruction that asks for it.
    pub lines: Lines,
    /// That instruction as it was written.
    pub text: String,
    /// The stage or image that was probably meant, if there is no such image.
    pub meant: Option<String>,
}

/// What an image resolved to.
#[derive(Debug, Clone)]
pub struct ResolvedImage {
    /// Its layers.
    pub source: ImageSource,
    /// Its configuration.
    pub config: ImageConfig,
}

/// The images that are resolved so far.
#[derive(Debug, Clone, Default)]
pub struct Resolved {
    images: HashMap<(String, Platform), ResolvedImage>,
}

impl Resolved {
    /// Adds what a need resolved to.
    pub fn insert(&mut self, need: &Need, image: ResolvedImage) {
        self.images
            .insert((key(&need.reference, &need.origin), need.platform.clone()), image);
    }

    /// What an image resolved to.
    pub fn find(&self, reference: &Reference, origin: &ImageOrigin, platform: &Platform) -> Option<&ResolvedImage> {
        self.images.get(&(key(reference, origin), platform.clone()))
    }
}

fn key(reference: &Reference, origin: &ImageOrigin) -> String {
    match origin {
        ImageOrigin::Registry => reference.to_string(),
        ImageOrigin::Layout(path) => format!("{}#{reference}", path.display()),
    }
}
