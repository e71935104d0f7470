//! The inputs of `kiln meta` and of `--meta`, and the event that they are applied to.

mod for_build;
mod working_tree;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use kiln_meta::provider::{self, Provider};
use kiln_meta::{Document, DocumentError, Event, GitRef, Input, Level, MetaError, Options, Setting, ShortLength};
use serde_json::Value;

use crate::args::{EventSource, MetaArgs};
use crate::command_error::{CommandError, ErrorKind};
use crate::environment::Environment;

pub use for_build::{for_bake, for_build};
pub use working_tree::WorkingTreeError;

/// What the event is, beyond what is found.
#[derive(Debug, Default)]
pub struct Chosen<'args> {
    /// The kind of event.
    pub event: Option<&'args str>,
    /// The reference.
    pub git_ref: Option<&'args str>,
    /// The commit.
    pub sha: Option<&'args str>,
    /// The default branch.
    pub default_branch: Option<&'args str>,
}

impl<'args> Chosen<'args> {
    /// What the flags of `kiln meta` choose.
    pub fn of(args: &'args MetaArgs) -> Chosen<'args> {
        Chosen {
            event: args.event.as_deref(),
            git_ref: args.git_ref.as_deref(),
            sha: args.sha.as_deref(),
            default_branch: args.default_branch.as_deref(),
        }
    }
}

/// The target that the action's bake files define, for others to inherit.
pub const BAKE_TARGET: &str = "docker-metadata-action";

/// The inputs of `kiln meta`: those of the file, and behind them those of the flags. A flag wins where there is one text.
pub fn inputs(args: &MetaArgs) -> Result<Document, CommandError> {
    let mut document = match &args.file {
        Some(file) => document_of(file, &file_text(file)?)?,
        None => Document::default(),
    };
    let settings = [
        (Setting::BakeTarget, &args.bake_target),
        (Setting::SepTags, &args.sep_tags),
        (Setting::SepLabels, &args.sep_labels),
        (Setting::SepAnnotations, &args.sep_annotations),
    ];
    for (setting, text) in settings {
        if let Some(text) = text {
            document.settings.insert(setting, text.clone());
        }
    }
    let flags = [
        (Input::Images, &args.images),
        (Input::Tags, &args.tags),
        (Input::Flavor, &args.flavor),
        (Input::Labels, &args.labels),
        (Input::Annotations, &args.annotations),
    ];
    for (input, texts) in flags {
        // All flags of one name are one text, so that the number of a line finds it.
        let mut first = 1;
        for text in texts {
            let extended = document.inputs.extend(input, first, text);
            extended.map_err(|error| refused(&error))?;
            first += text.lines().count().max(1);
        }
    }
    Ok(document)
}

/// Where the event is looked for: as the flag says, else as the file does.
pub fn source(flag: Option<EventSource>, document: &Document) -> Result<EventSource, CommandError> {
    match (flag, document.settings.get(&Setting::Context)) {
        (Some(source), _) => Ok(source),
        (None, Some(name)) => event_source(name),
        (None, None) => Ok(EventSource::Auto),
    }
}

fn event_source(name: &str) -> Result<EventSource, CommandError> {
    <EventSource as clap::ValueEnum>::from_str(name, false).map_err(|_| {
        CommandError::user(format!("there is no context `{name}`"))
            .hint("there are auto, workflow, git, github, forgejo, gitea, gitlab, buildkite and jenkins")
    })
}

/// The text of a file, or of standard input.
fn file_text(file: &str) -> Result<String, CommandError> {
    let mut text = String::new();
    let read = if file == "-" {
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    read.map_err(|error| {
        let mut command = CommandError::from_error(ErrorKind::User, &error);
        command.messages.insert(0, format!("failed to read `{file}`"));
        command
    })
}

/// The inputs in the text of a file.
fn document_of(file: &str, text: &str) -> Result<Document, CommandError> {
    Document::parse(file, text).map_err(|error| {
        if let DocumentError::Entry(error) = &error {
            return refused(error);
        }
        let mut command = CommandError::from_error(ErrorKind::User, &error);
        command
            .messages
            .insert(0, format!("`{file}` is no file of inputs of `kiln meta`"));
        command.hints.extend(error.hint());
        command
    })
}

/// An entry that cannot be used, as the user sees it.
pub fn refused(error: &MetaError) -> CommandError {
    let mut command = CommandError::from_error(ErrorKind::User, error);
    command.hints.extend(error.problem.hint());
    command
}

/// What is asked of the computation beside the inputs: the time, and the variables that the action knows.
pub fn options(environment: &Environment) -> Result<Options, CommandError> {
    let now = match &environment.source_date_epoch {
        Some(text) => text
            .parse()
            .ok()
            .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
            .ok_or_else(|| CommandError::user(format!("SOURCE_DATE_EPOCH is no number of seconds: `{text}`")))?,
        None => jiff::Timestamp::now(),
    };
    let short_commit = match variable(environment, "DOCKER_METADATA_SHORT_SHA_LENGTH") {
        Some(text) => ShortLength(
            text.parse()
                .map_err(|_| CommandError::user(format!("DOCKER_METADATA_SHORT_SHA_LENGTH is no number: `{text}`")))?,
        ),
        None => ShortLength::default(),
    };
    Ok(Options { now, short_commit })
}

/// Where annotations go: `DOCKER_METADATA_ANNOTATIONS_LEVELS`, else manifests.
pub fn levels(environment: &Environment) -> Result<Vec<Level>, CommandError> {
    match variable(environment, "DOCKER_METADATA_ANNOTATIONS_LEVELS") {
        Some(text) => Level::parse_list(text).map_err(|error| {
            CommandError::from_error(ErrorKind::User, &error).hint(
                "DOCKER_METADATA_ANNOTATIONS_LEVELS lists manifest, index, manifest-descriptor and index-descriptor",
            )
        }),
        None => Ok(vec![Level::default()]),
    }
}

/// A variable that is set to something.
pub fn variable<'environment>(environment: &'environment Environment, name: &str) -> Option<&'environment str> {
    environment
        .variables
        .get(name)
        .map(String::as_str)
        .filter(|value| !value.is_empty())
}

/// What started the build: what the service tells, completed by what git knows, and what was chosen instead.
pub fn event(source: EventSource, chosen: &Chosen<'_>, environment: &Environment) -> Result<Event, CommandError> {
    let provider = provider_of(source, &environment.variables)?;
    let mut event = match provider {
        Some(provider) => told(provider, environment)?,
        None => Event {
            name: "push".to_owned(),
            on_any_branch: true,
            ..Event::default()
        },
    };
    if let Some(name) = chosen.event {
        name.clone_into(&mut event.name);
    }
    if let Some(text) = chosen.git_ref {
        event.git_ref = GitRef::parse(text);
        if matches!(event.git_ref, GitRef::Other(_)) {
            return Err(CommandError::user(format!("`{text}` is no full reference"))
                .hint("write refs/heads/BRANCH, refs/tags/TAG or refs/pull/NUMBER/merge"));
        }
    }
    let known = chosen.git_ref.is_some() && chosen.sha.is_some();
    if source == EventSource::Git || provider.is_none() {
        // What is chosen in full needs no working tree.
        match working_tree::look(Path::new(".")) {
            Ok(tree) => tree.describe(&mut event, chosen.git_ref.is_none()),
            Err(_) if known => {}
            Err(error) => return Err(no_tree(&error)),
        }
    } else if let Ok(tree) = working_tree::look(Path::new(".")) {
        tree.complete(&mut event);
    }
    if let Some(sha) = chosen.sha {
        sha.clone_into(&mut event.commit);
        event.commit_time = working_tree::commit_time(Path::new("."), sha);
    }
    if let Some(branch) = chosen.default_branch {
        event.repository.default_branch = Some(branch.to_owned());
    }
    Ok(event)
}

fn no_tree(error: &WorkingTreeError) -> CommandError {
    let command = CommandError::from_error(ErrorKind::User, error);
    command.hint(match error {
        WorkingTreeError::NoGit { .. } => "install git, or name the commit with --ref and --sha",
        WorkingTreeError::NoCommit { .. } => {
            "run it in a checkout with a commit, or name the commit with --ref and --sha"
        }
    })
}

/// The service that is asked; `None` for git alone.
fn provider_of(source: EventSource, variables: &BTreeMap<String, String>) -> Result<Option<Provider>, CommandError> {
    let detected = Provider::detect(variables);
    Ok(match source {
        EventSource::Auto | EventSource::Git => detected,
        EventSource::Workflow if detected.is_none() => {
            return Err(
                CommandError::user("no service that runs jobs is found: none of their variables is set")
                    .hint("use --context git, or name the service: --context github"),
            );
        }
        EventSource::Workflow => detected,
        EventSource::Github => Some(Provider::GitHub),
        EventSource::Forgejo => Some(Provider::Forgejo),
        EventSource::Gitea => Some(Provider::Gitea),
        EventSource::Gitlab => Some(Provider::GitLab),
        EventSource::Buildkite => Some(Provider::Buildkite),
        EventSource::Jenkins => Some(Provider::Jenkins),
    })
}

fn told(provider: Provider, environment: &Environment) -> Result<Event, CommandError> {
    let payload = match provider.payload_file(&environment.variables) {
        Some(file) => payload(file)?,
        None => Value::Null,
    };
    let head = variable(environment, "DOCKER_METADATA_PR_HEAD_SHA").unwrap_or_default();
    let head = head.to_lowercase().contains("true");
    Ok(provider.event(&environment.variables, &payload, head))
}

fn payload(file: &str) -> Result<Value, CommandError> {
    let about = |error: &dyn std::error::Error| {
        let mut command = CommandError::from_error(ErrorKind::Environment, error);
        command
            .messages
            .insert(0, format!("failed to read the event in `{file}`"));
        command.hint("GITHUB_EVENT_PATH names the file; the job must see it")
    };
    let bytes = std::fs::read(file).map_err(|error| about(&error))?;
    serde_json::from_slice(&bytes).map_err(|error| about(&error))
}

/// What is known about the repository behind a remote.
fn repository_of(remote: &str) -> kiln_meta::Repository {
    provider::repository_of_remote(remote)
}
