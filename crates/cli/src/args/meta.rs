//! `kiln meta`.

use clap::{Args, ValueEnum};

/// Where the event is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EventSource {
    /// The service that runs this job, else git
    Auto,
    /// The service that runs this job
    Workflow,
    /// The working tree: its reference and commit
    Git,
    /// GitHub Actions
    Github,
    /// Forgejo Actions
    Forgejo,
    /// Gitea Actions
    Gitea,
    /// GitLab CI
    Gitlab,
    /// Buildkite
    Buildkite,
    /// Jenkins
    Jenkins,
}

/// What is written to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MetaFormat {
    /// Everything, for people
    Text,
    /// One JSON object
    Json,
    /// Lines of DOCKER_METADATA_OUTPUT_NAME='VALUE' that a shell can read
    Env,
    /// A bake file with tags and labels
    Bake,
    /// The version
    Version,
    /// The tags
    Tags,
    /// The tags without names of images
    TagNames,
    /// The labels
    Labels,
    /// The annotations
    Annotations,
}

/// Computes tags, labels and annotations as docker/metadata-action does: its inputs are the flags, or a file with the block
/// that stands below `with:` in a workflow.
#[derive(Debug, Args)]
pub struct MetaArgs {
    /// File with the inputs; `-` for standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<String>,
    /// Names of images, one in a line (repeatable)
    #[arg(long, value_name = "LINES", alias = "image")]
    pub images: Vec<String>,
    /// Rules that make tags, one in a line, such as type=semver,pattern={{version}} (repeatable)
    #[arg(long, value_name = "LINES", alias = "tag")]
    pub tags: Vec<String>,
    /// What holds for all tags: latest=auto|true|false, prefix=TEXT, suffix=TEXT (repeatable)
    #[arg(long, value_name = "LINES")]
    pub flavor: Vec<String>,
    /// Further labels, NAME=VALUE, one in a line (repeatable)
    #[arg(long, value_name = "LINES", alias = "label")]
    pub labels: Vec<String>,
    /// Further annotations, NAME=VALUE, one in a line (repeatable)
    #[arg(long, value_name = "LINES", alias = "annotation")]
    pub annotations: Vec<String>,
    /// Where the event is looked for; `auto` unless given
    #[arg(long, value_enum)]
    pub context: Option<EventSource>,
    /// Kind of event instead of the one that was found, such as push, pull_request or schedule
    #[arg(long, value_name = "NAME")]
    pub event: Option<String>,
    /// Reference instead of the one that was found, such as refs/tags/v1.2.3
    #[arg(long = "ref", value_name = "REF")]
    pub git_ref: Option<String>,
    /// Commit instead of the one that was found
    #[arg(long, value_name = "SHA")]
    pub sha: Option<String>,
    /// Default branch instead of the one that was found
    #[arg(long, value_name = "BRANCH")]
    pub default_branch: Option<String>,
    /// What is written to standard output
    #[arg(long, value_enum, default_value = "text")]
    pub format: MetaFormat,
    /// Write a bake file, [tags=|labels=|annotations=]FILE; without a part it holds tags and labels (repeatable)
    #[arg(long, value_name = "FILE")]
    pub bake_file: Vec<String>,
    /// Target of bake files; `docker-metadata-action` unless given
    #[arg(long, value_name = "NAME")]
    pub bake_target: Option<String>,
    /// Give every output to the following steps, by the files that GITHUB_OUTPUT and GITHUB_ENV name
    #[arg(long)]
    pub github_output: bool,
    /// What stands between tags; the end of a line unless given
    #[arg(long, value_name = "TEXT")]
    pub sep_tags: Option<String>,
    /// What stands between labels; the end of a line unless given
    #[arg(long, value_name = "TEXT")]
    pub sep_labels: Option<String>,
    /// What stands between annotations; the end of a line unless given
    #[arg(long, value_name = "TEXT")]
    pub sep_annotations: Option<String>,
}
