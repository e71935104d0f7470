//! `kiln bake`: files, arguments and environment → a definition, and what is asked of it.

mod entitlements;
pub mod remote;
mod request;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use kiln_bake::config::{DEFAULT_FILES, Definition, File, Inputs};
use kiln_bake::diagnostic::Diagnostic;
use kiln_bake::functions::{Host, clean_path};
use kiln_bake::model::{Target, canonical_attest};
use kiln_bake::resolve::{Resolved, Selection, resolve};
use kiln_bake::source::Sources;
use kiln_bake::{BakeError, config};
use kiln_dockerfile::git::{is_http, is_remote};
use kiln_flags::fields::boolean;
use kiln_oci::Platform;

use crate::args::BakeArgs;
use crate::command_error::{CommandError, ErrorKind};
use crate::diagnostic;
use crate::environment::Environment;

pub use entitlements::check as check_entitlements;
pub use request::{Requests, requests};

/// Diagnostics that are drawn at most: behind many, the first ones are out of sight.
const MOST_DRAWN: usize = 5;

/// What the words of the command line name: targets, and perhaps where the definition comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// A git repository or a URL with the definition; None: it is in the working directory.
    pub definition: Option<String>,
    /// `BAKE_CMD_CONTEXT`: what a definition from elsewhere may take as the caller's context.
    pub command_context: String,
    /// Targets and groups.
    pub targets: Vec<String>,
}

impl Subject {
    /// The first word may be remote, and the second one then too; all others are targets.
    pub fn of(words: &[String]) -> Subject {
        let mut rest = words;
        let mut remote = || match rest {
            [first, behind @ ..] if is_remote(first) => {
                rest = behind;
                Some(first.clone())
            }
            _ => None,
        };
        let definition = remote();
        let context = definition.as_ref().and_then(|_| remote());
        Subject {
            definition,
            command_context: context.unwrap_or_else(|| HERE.to_owned()),
            targets: rest.to_vec(),
        }
    }
}

/// Before the path of something in the working directory of the caller, wherever the definition comes from.
pub const HERE: &str = "cwd://";

/// Files of a definition by where they are.
#[derive(Debug, Default)]
pub struct Names {
    /// In the place that the definition comes from; none: those with the names that definitions have by default.
    pub there: Vec<String>,
    /// In the working directory, as `cwd://NAME`.
    pub here: Vec<String>,
}

/// The names of files that were given, of a definition from elsewhere.
pub fn names(args: &BakeArgs, environment: &Environment) -> Names {
    let (here, there) = given_names(args, environment)
        .into_iter()
        .partition(|name| name.starts_with(HERE));
    Names { there, here }
}

/// Reads the files in the working directory.
pub fn definition(args: &BakeArgs, subject: &Subject, environment: &Environment) -> Result<Definition, CommandError> {
    let mut names = given_names(args, environment);
    if names.is_empty() {
        names = DEFAULT_FILES
            .iter()
            .filter(|name| Path::new(name).exists())
            .map(|name| (*name).to_owned())
            .collect();
    }
    let files: Vec<File> = names
        .iter()
        .map(|name| read_file(name.strip_prefix(HERE).unwrap_or(name)))
        .collect::<Result<_, _>>()?;
    evaluated(&files, args, subject, environment, &|path| {
        read_here(path.strip_prefix(HERE).unwrap_or(path))
    })
}

/// A file in the working directory; None if it is not there.
pub fn read_here(path: &str) -> Result<Option<String>, String> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("failed to read `{path}`: {error}")),
    }
}

/// What files define. `read` gives the files that they name: in the working directory if the path begins with `cwd://`.
pub fn evaluated(
    files: &[File],
    args: &BakeArgs,
    subject: &Subject,
    environment: &Environment,
    read: &(dyn Fn(&str) -> Result<Option<String>, String> + Sync),
) -> Result<Definition, CommandError> {
    if files.is_empty() {
        return Err(CommandError::user("couldn't find a bake definition")
            .hint("name a file with `-f FILE`, or write a docker-bake.hcl"));
    }
    let metadata = super::meta::for_bake(&args.meta, environment)?.map(|text| File {
        name: "meta.json".to_owned(),
        text,
    });
    let files: Vec<File> = files.iter().cloned().chain(metadata).collect();
    let flag = |name: &str| {
        let text = environment.variables.get(name);
        text.and_then(|text| boolean(text)).unwrap_or(false)
    };
    let mut variables = environment.variables.clone();
    if flag("BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP") {
        variables.clear();
    }
    let inputs = Inputs {
        variables: super::pairs(&args.var, "--var", environment)?,
        environment: variables,
        built_in: BTreeMap::from([
            ("BAKE_CMD_CONTEXT".to_owned(), subject.command_context.clone()),
            ("BAKE_LOCAL_PLATFORM".to_owned(), Platform::host().to_string()),
        ]),
        host: host(environment),
        file_relative_paths: flag("BUILDX_BAKE_FILE_RELATIVE_PATHS"),
        read_file: read,
    };
    config::read(&files, &inputs).map_err(|error| explain(&error))
}

fn host(environment: &Environment) -> Host {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Host {
        now: now.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX)),
        home: environment
            .home
            .as_ref()
            .map(|home| home.to_string_lossy().into_owned()),
        random: |bytes| {
            // The kernel gives as many as are asked for here; what it would not give stays zero.
            _ = rustix::rand::getrandom(bytes, rustix::rand::GetRandomFlags::empty());
        },
    }
}

fn given_names(args: &BakeArgs, environment: &Environment) -> Vec<String> {
    let listed = environment.variables.get("BUILDX_BAKE_FILE");
    let (true, Some(list)) = (args.file.is_empty(), listed) else {
        return args.file.clone();
    };
    let separator = environment.variables.get("BUILDX_BAKE_PATH_SEPARATOR");
    let names = list.split(separator.map_or(":", String::as_str)).map(str::trim);
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// A file that was named; `-` is standard input.
pub fn read_file(name: &str) -> Result<File, CommandError> {
    let failed = |error: std::io::Error| {
        let mut command = CommandError::from_error(ErrorKind::User, &error);
        command
            .messages
            .insert(0, format!("failed to read the definition `{name}`"));
        command.hint("name it with `-f FILE`, or `-f -` for standard input")
    };
    let mut bytes = Vec::new();
    if name == "-" {
        std::io::stdin().lock().read_to_end(&mut bytes).map_err(failed)?;
    } else {
        bytes = std::fs::read(name).map_err(failed)?;
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| CommandError::user(format!("the definition `{name}` is not UTF-8 text")))?;
    Ok(File {
        name: name.to_owned(),
        text,
    })
}

/// Chooses and completes targets.
pub fn resolved(
    args: &BakeArgs,
    subject: &Subject,
    definition: &Definition,
    environment: &Environment,
) -> Result<Resolved, CommandError> {
    if args.builder.as_deref().is_some_and(|builder| builder != "default") {
        return Err(CommandError::user("--builder is not supported yet").hint("no builder is needed: leave it out"));
    }
    let mut overrides = args.set.clone();
    if args.push {
        overrides.push("*.push=true".to_owned());
    }
    if args.load {
        overrides.push("*.load=true".to_owned());
    }
    overrides.extend(args.no_cache.map(|on| format!("*.no-cache={on}")));
    overrides.extend(args.pull.map(|on| format!("*.pull={on}")));
    for (kind, value) in [("sbom", &args.sbom), ("provenance", &args.provenance)] {
        overrides.extend(
            value
                .iter()
                .map(|value| format!("*.attest={}", canonical_attest(kind, value))),
        );
    }
    let call = if args.check {
        Some("check")
    } else {
        args.call.as_deref()
    };
    overrides.extend(call.map(|call| format!("*.call={call}")));
    let targets = if subject.targets.is_empty() {
        vec!["default".to_owned()]
    } else {
        subject.targets.clone()
    };
    let selection = Selection {
        targets,
        overrides,
        environment: environment.variables.clone(),
    };
    resolve(&definition.config, &selection).map_err(|error| explain(&error))
}

/// Paths as they are printed and built from.
pub fn with_clean_paths(mut resolved: Resolved) -> Resolved {
    for context in resolved
        .targets
        .values_mut()
        .filter_map(|target| target.context.as_mut())
    {
        *context = local(context).map_or_else(|| context.clone(), clean_path);
    }
    resolved
}

/// A context as a path of this machine, if it is one.
fn local(context: &str) -> Option<&str> {
    let path = context.strip_prefix(HERE).unwrap_or(context);
    (!is_remote(path)).then_some(path)
}

/// What is wrong in a definition, drawn with its lines.
pub fn explain(error: &BakeError) -> CommandError {
    let mut command = match error {
        BakeError::Thread(_) => CommandError::from_error(ErrorKind::Environment, error),
        _ => CommandError::user(error.to_string()),
    };
    command.hints = error.hints();
    command.hints.dedup();
    match error {
        BakeError::Diagnosed(diagnosed) => {
            let own = diagnosed
                .diagnostics
                .all()
                .iter()
                .filter(|diagnostic| !diagnostic.consequence);
            let drawings: Vec<String> = own
                .take(MOST_DRAWN)
                .filter_map(|diagnostic| drawn(diagnostic, &diagnosed.sources))
                .collect();
            command.drawing = (!drawings.is_empty()).then(|| drawings.concat());
        }
        BakeError::Compose {
            file,
            line: Some(line),
            text,
            ..
        } => command.drawing = Some(diagnostic::draw(Path::new(file), text, *line, *line, "")),
        _ => {}
    }
    command
}

/// A diagnostic with the lines around it.
pub fn drawn(diagnostic: &Diagnostic, sources: &Sources) -> Option<String> {
    let span = diagnostic.span?;
    let source = sources.file(span.file)?;
    let (start, end) = (
        sources.position(span.file, span.start),
        sources.position(span.file, span.end),
    );
    let file = Path::new(&source.name);
    let label = &diagnostic.detail;
    Some(if start.line == end.line {
        diagnostic::draw_columns(file, &source.text, start.line, (start.column, end.column), label)
    } else {
        diagnostic::draw(file, &source.text, start.line, end.line, label)
    })
}

/// Local paths that a target reads: its contexts and its Dockerfile.
fn local_paths(target: &Target) -> Vec<String> {
    let mut paths = Vec::new();
    let context = target.context.as_deref().unwrap_or(".");
    if let Some(path) = local(context) {
        paths.push(path.to_owned());
    }
    let dockerfile = target.dockerfile.as_deref().unwrap_or_default();
    let is_here = dockerfile.starts_with(HERE) || dockerfile.starts_with('/');
    if target.inline_dockerfile().is_none() && (local(context).is_some() || is_here) && !is_http(dockerfile) {
        paths.push(dockerfile_of(target));
    }
    for context in target.contexts.values() {
        let path = context.strip_prefix(HERE).unwrap_or(context);
        if config::is_local_path(path) {
            paths.push(path.to_owned());
        }
    }
    paths
}

/// Where a target's Dockerfile is: in its context, unless it says otherwise.
fn dockerfile_of(target: &Target) -> String {
    let dockerfile = target.dockerfile.as_deref().unwrap_or("Dockerfile");
    let context = target.context.as_deref().and_then(local).unwrap_or(".");
    match dockerfile.strip_prefix(HERE) {
        Some(path) => clean_path(path),
        None if dockerfile.starts_with('/') => clean_path(dockerfile),
        None => clean_path(&format!("{context}/{dockerfile}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_definitions_come_before_targets() {
        let subject = |words: &[&str]| Subject::of(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        let here = subject(&["app", "https://h/x.git"]);
        assert_eq!((here.definition, here.targets.len()), (None, 2));
        let there = subject(&["https://h/x.git#main", "app"]);
        assert_eq!(there.definition.as_deref(), Some("https://h/x.git#main"));
        assert_eq!((there.command_context.as_str(), there.targets.len()), ("cwd://", 1));
        let both = subject(&["git@h:x.git", "https://h/context.tar.gz", "app"]);
        assert_eq!(both.command_context, "https://h/context.tar.gz");
        assert_eq!(both.targets, ["app"]);
    }
}
