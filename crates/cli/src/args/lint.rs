//! `kiln lint`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// How findings are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FindingFormat {
    /// The lines with what is wrong in them, for people
    Text,
    /// One JSON document
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// Annotations of GitHub Actions
    Github,
}

/// When findings make the exit code 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// If anything is found
    Warning,
    /// Only if a Dockerfile cannot be used
    Error,
}

/// Checks Dockerfiles without a registry and without running anything.
#[derive(Debug, Args)]
pub struct LintArgs {
    /// Dockerfiles, directories that hold one called Dockerfile, or `-` for standard input
    #[arg(default_value = ".")]
    pub paths: Vec<PathBuf>,
    /// How findings are written
    #[arg(long, value_enum, default_value = "text")]
    pub format: FindingFormat,
    /// When the exit code is 1
    #[arg(long, value_enum, default_value = "warning")]
    pub fail_on: FailOn,
    /// Platforms that the images are for (repeatable)
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "PLATFORM",
        default_value = "linux/amd64,linux/arm64"
    )]
    pub platform: Vec<String>,
    /// Value of a build argument, NAME=VALUE (repeatable)
    #[arg(long, value_name = "ARG")]
    pub build_arg: Vec<String>,
}
