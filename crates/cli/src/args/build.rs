//! `kiln build`.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

use super::WorkArgs;

/// What is done when a step fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum OnError {
    /// The build ends
    #[default]
    Fail,
    /// The build ends, and a shell starts where the step failed
    Shell,
}

/// The flags of `docker buildx build`, and a few more.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// Directory with the files to copy, git repository, URL of an archive or Dockerfile, or `-` for either on standard input
    #[arg(default_value = ".")]
    pub context: String,
    /// Platforms to build for, such as linux/amd64,linux/arm64; `local` is this machine's (repeatable)
    #[arg(long, value_delimiter = ',', value_name = "PLATFORM")]
    pub platform: Vec<String>,
    /// Name of the image, such as registry.example.com/app:1.0 (repeatable)
    #[arg(short, long, value_name = "NAME")]
    pub tag: Vec<String>,
    /// The Dockerfile, or its URL; `-` for standard input [default: Dockerfile in the context]
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<String>,
    /// Value of a build argument, NAME=VALUE, or NAME for the environment's value (repeatable)
    #[arg(long, value_name = "ARG")]
    pub build_arg: Vec<String>,
    /// Stage to build instead of the last one
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// Send the image to the registries of its names
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true)]
    pub push: bool,
    /// Where the result goes: type=registry|image|oci|docker|local|tar|cacheonly with attributes, or a path (repeatable)
    #[arg(short, long, value_name = "OUTPUT")]
    pub output: Vec<String>,
    /// Run every step, whatever is in the cache
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true)]
    pub no_cache: bool,
    /// Run every step of a stage, whatever is in the cache (repeatable)
    #[arg(long, value_delimiter = ',', value_name = "STAGE")]
    pub no_cache_filter: Vec<String>,
    /// Ask the registries again what the tags of base images point at
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true)]
    pub pull: bool,
    /// Print only the digest
    #[arg(short, long)]
    pub quiet: bool,
    /// Write the image's identifier to a file
    #[arg(long, value_name = "FILE")]
    pub iidfile: Option<PathBuf>,
    /// Write what was built to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub metadata_file: Option<PathBuf>,
    /// Label of the image, NAME=VALUE (repeatable)
    #[arg(long, value_name = "LABEL")]
    pub label: Vec<String>,
    /// Annotation, [manifest|index|manifest-descriptor:]NAME=VALUE (repeatable)
    #[arg(long, value_name = "ANNOTATION")]
    pub annotation: Vec<String>,
    /// Take tags, labels and annotations from `kiln meta`: a file of its inputs or its JSON, or INPUT=VALUE such as images=app (repeatable)
    #[arg(long, value_name = "FILE|INPUT=VALUE")]
    pub meta: Vec<String>,
    /// Network of steps that do not say: default, none or host
    #[arg(long, default_value = "default")]
    pub network: String,
    /// Line of /etc/hosts of steps, HOST:ADDRESS (repeatable)
    #[arg(long, value_name = "HOST:IP")]
    pub add_host: Vec<String>,
    /// Cache to read, type=registry,ref=NAME or type=local,src=DIR (repeatable)
    #[arg(long, value_name = "CACHE")]
    pub cache_from: Vec<String>,
    /// Cache to write, type=registry,ref=NAME, type=local,dest=DIR or type=inline, with mode=min|max (repeatable)
    #[arg(long, value_name = "CACHE")]
    pub cache_to: Vec<String>,
    /// Secret for steps, id=NAME[,src=FILE|env=VARIABLE] (repeatable)
    #[arg(long)]
    pub secret: Vec<String>,
    /// SSH agent or keys for steps, default|ID[=SOCKET|KEY] (repeatable)
    #[arg(long)]
    pub ssh: Vec<String>,
    /// Further named context, NAME=PATH, docker-image://REF, oci-layout://PATH or a URL (repeatable)
    #[arg(long, value_name = "NAME=VALUE")]
    pub build_context: Vec<String>,
    /// Allow what is forbidden by default: network.host, security.insecure (repeatable)
    #[arg(long, value_delimiter = ',')]
    pub allow: Vec<String>,
    /// Size of /dev/shm of steps, such as 128m
    #[arg(long)]
    pub shm_size: Option<String>,
    /// Limit of steps, NAME=SOFT[:HARD] (repeatable)
    #[arg(long)]
    pub ulimit: Vec<String>,
    /// What steps may take of the machine: memory, memory-swap, cpu-shares, cpu-period, cpu-quota, cpuset-cpus or cpuset-mems =VALUE (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub resource: Vec<String>,
    /// What to do when a step fails: `shell` starts one in the step's root, with its mounts and variables
    #[arg(long, value_enum, default_value = "fail", hide_default_value = true)]
    pub on_error: OnError,
    /// Only check the Dockerfile: short for --call=check
    #[arg(long)]
    pub check: bool,
    /// What to do with the Dockerfile: build, check, outline or targets, and `,format=json`
    #[arg(long, value_name = "METHOD", default_value = "build")]
    pub call: String,
    #[command(flatten)]
    pub work: WorkArgs,
    #[command(flatten)]
    pub later: LaterArgs,
}

/// Flags of the peer that are not served yet. Naming one is an error that says so.
#[derive(Debug, Args)]
#[command(next_help_heading = "Not supported yet")]
pub struct LaterArgs {
    /// Load the image into a container store of this machine
    #[arg(long)]
    pub load: bool,
    /// Attestations
    #[arg(long)]
    pub attest: Vec<String>,
    /// Software bill of materials; `false` is accepted
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub sbom: Option<String>,
    /// Provenance; `false` is accepted
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub provenance: Option<String>,
    /// Named builder; `default` is accepted
    #[arg(long)]
    pub builder: Option<String>,
    /// Rules about the sources of the build; `disabled=true` is accepted
    #[arg(long)]
    pub policy: Vec<String>,
    /// Parent control group of steps
    #[arg(long)]
    pub cgroup_parent: Option<String>,
    /// Debug the build
    #[arg(short = 'D', long, action = ArgAction::SetTrue)]
    pub debug: bool,
}
