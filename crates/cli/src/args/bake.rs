//! `kiln bake`.

use std::path::PathBuf;

use clap::Args;

use super::WorkArgs;

/// The flags of `docker buildx bake`, and a few more.
#[derive(Debug, Args)]
pub struct BakeArgs {
    /// Targets and groups to build, or patterns such as `app-*` [default: the group or target `default`]; before them, a git repository or a URL that the definition comes from
    pub targets: Vec<String>,
    /// Definition to read; `-` for standard input (repeatable) [default: compose.yaml, docker-bake.json, docker-bake.hcl and their like, as far as they are there]
    #[arg(short, long, value_name = "FILE")]
    pub file: Vec<String>,
    /// Override, TARGET.KEY=VALUE or TARGET.KEY+=VALUE, such as `*.platform=linux/arm64` (repeatable)
    #[arg(long, value_name = "OVERRIDE")]
    pub set: Vec<String>,
    /// Value of a variable, NAME=VALUE, or NAME for the environment's value (repeatable)
    #[arg(long, value_name = "VARIABLE")]
    pub var: Vec<String>,
    /// Send images to the registries of their names: short for `--set=*.push=true`
    #[arg(long)]
    pub push: bool,
    /// Load images into a container store of this machine: short for `--set=*.load=true`
    #[arg(long)]
    pub load: bool,
    /// Run every step, whatever is in the cache
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub no_cache: Option<bool>,
    /// Ask the registries again what the tags of base images point at
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub pull: Option<bool>,
    /// Define the target `docker-metadata-action`, to be inherited, with what `kiln meta` computes: a file of its inputs or its JSON, or INPUT=VALUE such as images=app (repeatable)
    #[arg(long, value_name = "FILE|INPUT=VALUE")]
    pub meta: Vec<String>,
    /// Write what was built to a file, as JSON, by target
    #[arg(long, value_name = "FILE")]
    pub metadata_file: Option<PathBuf>,
    /// Print the resolved definition as JSON, and build nothing
    #[arg(long)]
    pub print: bool,
    /// List what the definition has: targets or variables, and `,format=json`
    #[arg(long, value_name = "WHAT")]
    pub list: Option<String>,
    /// Only check the Dockerfiles: short for --call=check
    #[arg(long)]
    pub check: bool,
    /// What to do with each Dockerfile: build, check, outline or targets, and `,format=json`
    #[arg(long, value_name = "METHOD")]
    pub call: Option<String>,
    /// Allow what a definition may not do unasked: fs=PATH, fs.read=PATH, fs.write=PATH, ssh, network.host, security.insecure, local-output-delete (repeatable)
    #[arg(long, value_delimiter = ',', value_name = "ENTITLEMENT")]
    pub allow: Vec<String>,
    /// Show which steps would run for which target, and build nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Software bill of materials: short for `--set=*.attest=type=sbom`
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    pub sbom: Option<String>,
    /// Provenance: short for `--set=*.attest=type=provenance`
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    pub provenance: Option<String>,
    /// Named builder; `default` is accepted
    #[arg(long)]
    pub builder: Option<String>,
    #[command(flatten)]
    pub work: WorkArgs,
}
