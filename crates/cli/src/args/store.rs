//! `kiln du`, `kiln prune`, `kiln fsck`.

use clap::{Args, ValueEnum};
use kiln_store::Size;

/// How reports on the store are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum UsageFormat {
    /// A table, for people
    Table,
    /// One JSON document
    Json,
}

/// Shows what the store takes up on disk.
#[derive(Debug, Args)]
pub struct DuArgs {
    /// List every single thing
    #[arg(long, short)]
    pub verbose: bool,
    /// How it is written
    #[arg(long, value_enum, default_value = "table")]
    pub format: UsageFormat,
    /// Count only some things, as for `kiln prune` (repeatable)
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Accepted for scripts that name a builder; there is one store
    #[arg(long, hide = true)]
    pub builder: Option<String>,
}

/// Removes what is not used, least recently used first.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Also images that are known by name and are nowhere else, and what explains evicted steps
    #[arg(long, short)]
    pub all: bool,
    /// Remove only some things: until=24h, type=…, id=…, description=…, shared, private, mutable, immutable (repeatable)
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Remove until the store takes up no more than this: 10GB, 500MiB, 20%
    #[arg(long, value_name = "SIZE")]
    pub max_used_space: Option<Size>,
    /// Never remove what is below this size
    #[arg(long, value_name = "SIZE", alias = "keep-storage")]
    pub reserved_space: Option<Size>,
    /// Remove until this much of the disk is free
    #[arg(long, value_name = "SIZE")]
    pub min_free_space: Option<Size>,
    /// Only say what would go
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    pub force: bool,
    /// List every single thing
    #[arg(long, short)]
    pub verbose: bool,
    /// How it is written
    #[arg(long, value_enum, default_value = "table")]
    pub format: UsageFormat,
    /// Accepted for scripts that name a builder; there is one store
    #[arg(long, hide = true)]
    pub builder: Option<String>,
}

/// Checks the store, and repairs it.
#[derive(Debug, Args)]
pub struct FsckArgs {
    /// Remove what is damaged and can be made again; move aside what does not belong here
    #[arg(long)]
    pub repair: bool,
    /// How it is written
    #[arg(long, value_enum, default_value = "table")]
    pub format: UsageFormat,
}
