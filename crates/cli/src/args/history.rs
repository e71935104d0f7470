//! `kiln plan`, `kiln why`, `kiln history` and `kiln report`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::args::BuildArgs;

/// How an answer is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum DocumentFormat {
    /// Lines for people
    #[default]
    Text,
    /// One JSON document
    Json,
}

/// Says what `kiln build` with the same flags would run here, on which platform, emulated or not, and how long each
/// step took last. Nothing is run; base images are resolved.
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub build: BuildArgs,
    /// How the answer is written
    #[arg(long, value_enum, default_value = "text")]
    pub format: DocumentFormat,
}

/// Says for each step of a build how its result was found, or why it ran.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// Only these steps: a number as progress shows it, STAGE, STAGE/NUMBER, or a part of the instruction
    pub step: Option<String>,
    /// The build: an id, its beginning or end, or ^1 for the one before the last [default: the last]
    #[arg(long, value_name = "ID")]
    pub build: Option<String>,
    /// How the answer is written
    #[arg(long, value_enum, default_value = "text")]
    pub format: DocumentFormat,
}

/// Looks at what earlier builds did.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// What to do
    #[command(subcommand)]
    pub command: HistoryCommand,
}

/// The commands of `kiln history`.
#[derive(Debug, Subcommand)]
pub enum HistoryCommand {
    /// List the builds, the newest first
    Ls {
        /// List at most so many
        #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
        limit: usize,
        /// Print only the ids
        #[arg(short, long)]
        quiet: bool,
        /// How the answer is written
        #[arg(long, value_enum, default_value = "text")]
        format: DocumentFormat,
    },
    /// Show what a build did
    #[command(alias = "inspect")]
    Show(ShowArgs),
    /// Print what the steps of a build wrote
    Logs {
        /// The build [default: the last]
        build: Option<String>,
        /// Only these steps: a number, STAGE, STAGE/NUMBER, or a part of the instruction
        step: Option<String>,
    },
    /// Write a page about a build
    Report(ReportArgs),
    /// Remove builds from the history
    Rm {
        /// The builds
        #[arg(required_unless_present = "all")]
        builds: Vec<String>,
        /// Remove all but those that still run
        #[arg(long, conflicts_with = "builds")]
        all: bool,
    },
}

/// `kiln history show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The build: an id, its beginning or end, or ^1 for the one before the last [default: the last]
    pub build: Option<String>,
    /// How the answer is written
    #[arg(long, value_enum, default_value = "text")]
    pub format: DocumentFormat,
}

/// Writes one page that needs nothing else: the timeline, the critical path, sizes, findings.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The build: an id, its beginning or end, or ^1 for the one before the last [default: the last]
    pub build: Option<String>,
    /// The file; `-` is standard output
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    pub output: PathBuf,
}
