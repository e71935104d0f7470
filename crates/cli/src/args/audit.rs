//! `kiln audit`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For people, grouped by platform
    Text,
    /// One JSON document
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// JUnit's XML, for test views
    Junit,
    /// Annotations of GitHub Actions
    Github,
}

/// Which findings make the exit code 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FailingSeverity {
    /// What is reached from the entrypoint, PATH, packages or library paths
    Error,
    /// Also what nothing is known to use
    Warning,
    /// Anything
    Note,
    /// Nothing
    Never,
}

/// Checks that each platform's image holds what can run there, without running or unpacking it.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// An image in a registry or of a build here, an archive (OCI or docker), or the directory of an OCI layout
    pub image: String,
    /// Only these platforms (repeatable)
    #[arg(long, value_delimiter = ',', value_name = "PLATFORM")]
    pub platform: Vec<String>,
    /// How the report is written
    #[arg(long, value_enum, default_value = "text")]
    pub format: ReportFormat,
    /// Which findings make the exit code 1
    #[arg(long, value_enum, default_value = "error")]
    pub fail_on: FailingSeverity,
    /// List of allowed findings [default: kiln-audit.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Ask the registry again, even if a build here gave the name to an image
    #[arg(long)]
    pub pull: bool,
}

/// What the audit of a build does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AuditMode {
    /// Tell what is found
    Warn,
    /// Refuse to publish if errors are found
    Error,
    /// Do not look
    Off,
}
