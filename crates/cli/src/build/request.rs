//! What is asked of a build: one typed value, made from arguments, environment and files.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use kiln_dockerfile::plan::{BuildContext, PlanRequest};
use kiln_flags::annotation::{Annotation, Target};
use kiln_image::assemble::Family;
use kiln_image::pack::CompressionSetting;
use kiln_oci::{Digest, Reference};
use kiln_worker::remote_cache::{ActionsSettings, ExportChoice, S3Settings};

/// A build.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The Dockerfile's text; empty as long as it is still to be fetched.
    pub dockerfile: String,
    /// What must be fetched before the Dockerfile can be read; None: everything is here.
    pub remote: Option<Remote>,
    /// Everything that decides the graph.
    pub plan: PlanRequest,
    /// Directories of the named contexts; the build context is `context`.
    pub directories: HashMap<String, PathBuf>,
    /// Names of the image.
    pub tags: Vec<Reference>,
    /// Where the result goes. At least one.
    pub outputs: Vec<Output>,
    /// Whether tags of base images are asked for again.
    pub pull: bool,
    /// `SOURCE_DATE_EPOCH`, if it is given: later times in layers are clamped to it.
    pub epoch: Option<i64>,
    /// `source-date-epoch` of an exporter: in the place of `epoch` for what is written; no time is a time too.
    pub exporter_epoch: Option<Option<i64>>,
    /// How layers are compressed.
    pub compression: CompressionSetting,
    /// Media types of the image.
    pub family: Family,
    /// Annotations by where they go.
    pub annotations: Annotations,
    /// Caches to read, the first one first.
    pub cache_from: Vec<CacheImport>,
    /// Caches to write.
    pub cache_to: Vec<CacheExport>,
    /// Whether what was built is audited before it is published; None: not at all.
    pub audit: Option<AuditRequest>,
}

/// The audit of a build.
#[derive(Debug, Clone)]
pub struct AuditRequest {
    /// Whether somebody asked for it. By default no layer is fetched from a cache for it.
    pub asked: bool,
    /// Whether errors keep the image from being published.
    pub refuses: bool,
    /// What is allowed.
    pub allow: kiln_audit::AllowList,
}

/// A cache to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheImport {
    /// Where it is.
    pub place: CachePlace,
}

/// A cache to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheExport {
    /// Into the images' own configurations.
    Inline,
    /// Somewhere else.
    To {
        /// Where.
        place: CachePlace,
        /// What of the build.
        choice: ExportChoice,
        /// Whether a failure is not even told.
        ignore_error: bool,
    },
}

/// Where a cache is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CachePlace {
    /// A reference on a registry.
    Registry(Reference),
    /// An OCI layout on this machine.
    Layout {
        /// Its directory.
        directory: PathBuf,
        /// The name of the cache in it.
        tag: String,
        /// A state of the cache, in place of the name's.
        digest: Option<Digest>,
    },
    /// A bucket.
    S3(Box<S3Settings>),
    /// The cache service of GitHub Actions.
    Actions(ActionsSettings),
}

/// What must be fetched before the Dockerfile can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// The build context; None: it is a directory of the user's, or there is none.
    pub context: Option<BuildContext>,
    /// Where the Dockerfile is.
    pub dockerfile: DockerfileAt,
}

/// Where a Dockerfile is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerfileAt {
    /// In the request.
    Request,
    /// In the context, at this path.
    Context(String),
    /// At this URL.
    Url(String),
}

/// Annotations by where they go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotations {
    /// In each manifest.
    pub manifest: BTreeMap<String, String>,
    /// In the index' entries.
    pub manifest_descriptor: BTreeMap<String, String>,
    /// In the index.
    pub index: BTreeMap<String, String>,
}

impl Annotations {
    /// Puts one where it belongs; the error says which place is not served.
    pub fn add(&mut self, annotation: Annotation) -> Result<(), String> {
        if let Some(platform) = &annotation.platform {
            return Err(format!("one platform alone ({platform})"));
        }
        let place = match annotation.target {
            None | Some(Target::Manifest) => &mut self.manifest,
            Some(Target::ManifestDescriptor) => &mut self.manifest_descriptor,
            Some(Target::Index) => &mut self.index,
            Some(Target::IndexDescriptor) => return Err("an index' descriptor".to_owned()),
        };
        place.insert(annotation.name, annotation.value);
        Ok(())
    }
}

/// Where a file or directory goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A path.
    Path(PathBuf),
    /// Standard output.
    Stdout,
}

/// Where a result goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// The local store, and a registry if `push` says so.
    Image {
        /// Its names.
        names: Vec<Reference>,
        /// Whether it is sent to the registries of its names.
        push: bool,
    },
    /// An OCI layout, as an archive or a directory.
    Oci {
        /// Where.
        destination: Destination,
        /// An archive, else a directory.
        archive: bool,
        /// Its names.
        names: Vec<Reference>,
    },
    /// A Docker archive.
    Docker {
        /// Where.
        destination: Destination,
        /// Its names.
        names: Vec<Reference>,
    },
    /// The files, in a directory.
    Local {
        /// Where.
        directory: PathBuf,
        /// Each platform in a directory of its own; None: only if there are several.
        split: Option<bool>,
    },
    /// The files, as a tar stream.
    Tar {
        /// Where.
        destination: Destination,
        /// Each platform below a directory of its own; None: only if there are several.
        split: Option<bool>,
    },
    /// Nothing but the cache.
    CacheOnly,
}

impl BuildRequest {
    /// Whether the result has the form of one for several platforms: it has several, or the built-in argument
    /// `BUILDKIT_MULTI_PLATFORM` asks for that form.
    pub fn is_for_several(&self) -> bool {
        let asked = self.plan.build_args.get("BUILDKIT_MULTI_PLATFORM");
        self.plan.platforms.len() > 1 || asked.is_some_and(|value| kiln_flags::fields::boolean(value) == Some(true))
    }

    /// The time to which later ones are clamped in what is written.
    pub fn written_epoch(&self) -> Option<i64> {
        self.exporter_epoch.unwrap_or(self.epoch)
    }
}

impl Output {
    /// The images that are sent to registries.
    pub fn pushed_names(&self) -> &[Reference] {
        match self {
            Output::Image { names, push: true } => names,
            _ => &[],
        }
    }

    /// Whether it needs layers as blobs.
    pub fn is_image(&self) -> bool {
        matches!(self, Output::Image { .. } | Output::Oci { .. } | Output::Docker { .. })
    }
}
