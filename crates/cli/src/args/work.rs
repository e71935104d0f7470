//! Flags of every command that builds.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::AuditMode;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// A live tree on a terminal, lines elsewhere
    Auto,
    /// Lines
    Plain,
    /// A live tree
    Tty,
    /// A JSON object for each event
    Rawjson,
    /// Only the digest at the end
    #[value(alias = "none")]
    Quiet,
}

/// How a build is shown, what of the machine it may use, and what is looked at before its result is published.
#[derive(Debug, Clone, Default, Args)]
pub struct WorkArgs {
    /// How progress is shown
    #[arg(long, value_enum)]
    pub progress: Option<ProgressMode>,
    /// Directory with emulators, before all others (repeatable)
    #[arg(long, value_name = "DIR")]
    pub emulator_dir: Vec<PathBuf>,
    /// Steps that run at the same time [default: by processors and available memory]
    #[arg(long, value_name = "N")]
    pub max_parallelism: Option<std::num::NonZero<usize>>,
    /// Stop a step after so long, such as 90s, 10m or 1h30m
    #[arg(long, value_name = "DURATION")]
    pub timeout_step: Option<String>,
    /// Say at the end for each step why it ran, or how its result was found
    #[arg(long)]
    pub explain: bool,
    /// Audit images before they are published: warn, error or off [default: warn for several platforms, off for one]
    #[arg(long, value_enum, value_name = "MODE", hide_possible_values = true)]
    pub audit: Option<AuditMode>,
}
