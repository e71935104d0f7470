//! What is typed. The comments on fields are the help texts.

mod audit;
mod bake;
mod build;
mod history;
mod lint;
mod meta;
mod run;
mod store;
mod work;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use audit::{AuditArgs, AuditMode, FailingSeverity, ReportFormat};
pub use bake::BakeArgs;
pub use build::{BuildArgs, OnError};
pub use history::{DocumentFormat, HistoryArgs, HistoryCommand, PlanArgs, ReportArgs, ShowArgs, WhyArgs};
pub use lint::{FailOn, FindingFormat, LintArgs};
pub use meta::{EventSource, MetaArgs, MetaFormat};
pub use run::RunArgs;
pub use store::{DuArgs, FsckArgs, PruneArgs, UsageFormat};
pub use work::{ProgressMode, WorkArgs};

/// Builds container images for many architectures at once: no daemon, no privileges, nothing to set up.
#[derive(Debug, Parser)]
#[command(
    name = "kiln",
    version,
    propagate_version = true,
    disable_help_subcommand = true,
    args_override_self = true
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build images from a Dockerfile
    Build(Box<BuildArgs>),
    /// Build the targets of a definition in HCL, JSON or Compose
    #[command(alias = "f")]
    Bake(Box<BakeArgs>),
    /// Say what a build would run, without running anything
    Plan(Box<PlanArgs>),
    /// Say why the steps of a build ran, or how their results were found
    Why(WhyArgs),
    /// Look at what earlier builds did
    History(HistoryArgs),
    /// Write a page about a build
    Report(ReportArgs),
    /// Check that each platform's image holds what can run there
    Audit(AuditArgs),
    /// Check Dockerfiles
    Lint(LintArgs),
    /// Compute tags, labels and annotations from git or the job that runs
    Meta(Box<MetaArgs>),
    /// Run a command in an image, for any platform
    Run(Box<RunArgs>),
    /// Show what an image in a registry consists of
    Inspect(InspectArgs),
    /// Serve a registry from the local store
    Registry(RegistryArgs),
    /// Show what the store takes up on disk
    Du(DuArgs),
    /// Remove what is not used from the store, least recently used first
    Prune(PruneArgs),
    /// Check the store, and repair it
    Fsck(FsckArgs),
    /// Show what this machine can do, and how to mend what it cannot
    Doctor(DoctorArgs),
    /// Show the version
    Version,
}

/// `kiln inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The image
    pub reference: String,
    /// Print the exact bytes of the manifest or index
    #[arg(long)]
    pub raw: bool,
}

/// `kiln registry`.
#[derive(Debug, Args)]
pub struct RegistryArgs {
    /// What to do
    #[command(subcommand)]
    pub command: RegistryCommand,
}

/// The commands of `kiln registry`.
#[derive(Debug, Subcommand)]
pub enum RegistryCommand {
    /// Serve the distribution API until interrupted; the first line of output is the address
    Serve {
        /// Address and port to listen on; port 0 takes a free one
        #[arg(long, default_value = "127.0.0.1:5000")]
        addr: std::net::SocketAddr,
    },
}

/// `kiln doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Directory with emulators, before all others (repeatable)
    #[arg(long, value_name = "DIR")]
    pub emulator_dir: Vec<PathBuf>,
}
