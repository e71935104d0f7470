//! Targets and groups.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Attest, CacheEntry, Export, Policy, Resources, Secret, Ssh};

/// A target. What is None was not said, and leaves what a target inherits as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Target {
    /// Its name.
    #[serde(skip)]
    pub name: String,
    /// What it is for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Targets that it begins with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inherits: Vec<String>,
    /// Annotations, each with its places.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub annotations: Option<Vec<String>>,
    /// Attestations.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub attest: Option<Vec<Attest>>,
    /// The build context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Further named contexts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub contexts: BTreeMap<String, String>,
    /// Path of the Dockerfile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dockerfile: Option<String>,
    /// Text of the Dockerfile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dockerfile_inline: Option<String>,
    /// Build arguments.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, String>,
    /// Labels of the image.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Names of the image.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub tags: Option<Vec<String>>,
    /// Caches to read.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub cache_from: Option<Vec<CacheEntry>>,
    /// Caches to write.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub cache_to: Option<Vec<CacheEntry>>,
    /// Stage to build.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Secrets for steps.
    #[serde(rename = "secret", skip_serializing_if = "none_or_empty")]
    pub secrets: Option<Vec<Secret>>,
    /// SSH agents and keys for steps.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub ssh: Option<Vec<Ssh>>,
    /// Platforms to build for.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub platforms: Option<Vec<String>>,
    /// Where the result goes.
    #[serde(rename = "output", skip_serializing_if = "none_or_empty")]
    pub outputs: Option<Vec<Export>>,
    /// Whether tags of base images are asked for again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull: Option<bool>,
    /// Whether every step runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_cache: Option<bool>,
    /// Network of steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Stages whose steps all run.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub no_cache_filter: Option<Vec<String>>,
    /// Size of /dev/shm of steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shm_size: Option<String>,
    /// Limits of steps.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub ulimits: Option<Vec<String>>,
    /// Limits of the control group of steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// What to do instead of building.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// What is allowed that is forbidden by default.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub entitlements: Option<Vec<String>>,
    /// Lines of /etc/hosts of steps.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra_hosts: BTreeMap<String, String>,
    /// Source policies.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub policy: Option<Vec<Policy>>,
    /// Whether it is built only because another target uses it.
    #[serde(skip)]
    pub linked: bool,
    /// Where a context that nobody names is, if not the working directory.
    #[serde(skip)]
    pub context_base: Option<String>,
}

impl Target {
    /// The text of the Dockerfile, if the target gives one. An empty one is none.
    pub fn inline_dockerfile(&self) -> Option<&str> {
        self.dockerfile_inline.as_deref().filter(|text| !text.is_empty())
    }
}

fn none_or_empty<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_none_or(Vec::is_empty)
}

/// A group of targets and groups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Its name.
    #[serde(skip)]
    pub name: String,
    /// What it is for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What is in it.
    pub targets: Vec<String>,
}

/// Everything that the files define.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// Groups, in the order of the files.
    pub groups: Vec<Group>,
    /// Targets, in the order of the files; as they are written, before anything is inherited.
    pub targets: Vec<Target>,
}
