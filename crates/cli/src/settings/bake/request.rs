//! A resolved target → the flags of `kiln build` that say the same, and from there the request. So every attribute means
//! what the flag means, and what the flag cannot do yet ends in the same error.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Parser;
use kiln_bake::model::{Attest, CacheEntry, Export, Policy, Secret, Ssh, Target};
use kiln_bake::resolve::Resolved;
use kiln_dockerfile::git::is_http;

use super::{HERE, dockerfile_of, local};
use crate::args::{Arguments, AuditMode, BakeArgs, BuildArgs, Command};
use crate::build::Output;
use crate::build::request::DockerfileAt;
use crate::build::together::NamedRequest;
use crate::command_error::{CommandError, ErrorKind};
use crate::environment::Environment;
use crate::settings::{self, ContextFiles, call};

/// What is built, and what that needs.
pub struct Requests {
    /// The targets.
    pub targets: Vec<NamedRequest>,
    /// What is done with each target instead of building it, by name.
    pub calls: BTreeMap<String, BuildArgs>,
    /// Flags that hold for all: the display, the machine, secrets.
    pub common: BuildArgs,
    /// Unpacked contexts and written Dockerfiles, which live as long as the build.
    _files: Vec<ContextFiles>,
    _inline: Option<tempfile::TempDir>,
}

/// Requests for all targets.
pub fn requests(args: &BakeArgs, resolved: &Resolved, environment: &Environment) -> Result<Requests, CommandError> {
    let mut targets = Vec::new();
    let mut calls = BTreeMap::new();
    let mut files = Vec::new();
    let mut inline = None;
    let mut audited = args.work.audit.is_none_or(|mode| mode == AuditMode::Off);
    for (name, target) in &resolved.targets {
        let in_target = |mut error: CommandError| {
            error.messages.insert(0, format!("failed to read target `{name}`"));
            error
        };
        refuse_standard_input(target).map_err(in_target)?;
        let mut words = words(target);
        let is_local = target.context.as_deref().is_none_or(|context| local(context).is_some());
        if let (Some(text), true) = (target.inline_dockerfile(), is_local) {
            let path = written_inline(&mut inline, name, text)?;
            words.push(format!("--file={}", path.display()));
        }
        let build = parsed(&words, target.context.as_deref().unwrap_or(".")).map_err(in_target)?;
        let (mut request, context) = settings::build_request(&build, environment).map_err(in_target)?;
        if args.work.audit.is_some() && request.outputs.iter().any(Output::is_image) {
            let directory = context.directory.as_deref().unwrap_or(Path::new("."));
            let platforms = request.plan.platforms.len();
            request.audit =
                settings::audit(args.work.audit, platforms, &request.outputs, directory).map_err(in_target)?;
            audited = true;
        }
        if let Some(text) = target.inline_dockerfile() {
            request.plan.file = PathBuf::from(format!("{name}.dockerfile-inline"));
            // The context is elsewhere; the Dockerfile is here.
            if let Some(remote) = &mut request.remote {
                remote.dockerfile = DockerfileAt::Request;
                text.clone_into(&mut request.dockerfile);
            }
        }
        files.push(context);
        if call::call(&build).map_err(in_target)?.method != call::Method::Build {
            calls.insert(name.clone(), build);
        }
        targets.push(NamedRequest {
            name: name.clone(),
            request,
            links: links(target),
            linked_only: target.linked,
            has_platforms: target.platforms.as_ref().is_some_and(|platforms| !platforms.is_empty()),
        });
    }
    if !audited {
        return Err(CommandError::user("--audit needs an image, and no output is one")
            .hint("add `--set=*.output=type=image`, or leave --audit out"));
    }
    Ok(Requests {
        targets,
        calls,
        common: common(args, resolved)?,
        _files: files,
        _inline: inline,
    })
}

pub(super) fn parsed(words: &[String], context: &str) -> Result<BuildArgs, CommandError> {
    let line = ["kiln".to_owned(), "build".to_owned()];
    let line = line
        .into_iter()
        .chain(words.iter().cloned())
        .chain(["--".to_owned(), context.to_owned()]);
    match Arguments::try_parse_from(line) {
        Ok(Arguments {
            command: Command::Build(args),
        }) => Ok(*args),
        Ok(_) => Err(CommandError::user("the target is no build")),
        Err(error) => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            Err(CommandError::user(first.trim_start_matches("error: ")))
        }
    }
}

/// Several targets cannot read it, and one alone would hide that.
fn refuse_standard_input(target: &Target) -> Result<(), CommandError> {
    let all = [("context", &target.context), ("dockerfile", &target.dockerfile)];
    match all.into_iter().find(|(_, value)| value.as_deref() == Some("-")) {
        Some((what, _)) => Err(CommandError::user(format!("{what} from stdin not allowed in bake"))
            .hint("name a file or directory, or use `kiln build`")),
        None => Ok(()),
    }
}

fn links(target: &Target) -> BTreeMap<String, String> {
    let linked = target.contexts.iter().filter_map(|(name, context)| {
        let other = context.strip_prefix("target:")?;
        Some((name.to_lowercase(), other.to_owned()))
    });
    linked.collect()
}

/// The flags of a target. All of them carry their value, so that none is taken for another flag.
fn words(target: &Target) -> Vec<String> {
    let mut words = Vec::new();
    let mut add = |flag: &str, value: &str| words.push(format!("--{flag}={value}"));
    for (flag, pairs) in [
        ("build-arg", &target.args),
        ("label", &target.labels),
        ("add-host", &target.extra_hosts),
    ] {
        for (name, value) in pairs {
            add(flag, &format!("{name}={value}"));
        }
    }
    for (flag, list) in [
        ("tag", &target.tags),
        ("platform", &target.platforms),
        ("annotation", &target.annotations),
        ("no-cache-filter", &target.no_cache_filter),
        ("ulimit", &target.ulimits),
        ("allow", &target.entitlements),
    ] {
        for value in list.iter().flatten() {
            add(flag, value);
        }
    }
    for (flag, value) in [
        ("target", &target.target),
        ("network", &target.network),
        ("shm-size", &target.shm_size),
        ("call", &target.call),
    ] {
        if let Some(value) = value {
            add(flag, value);
        }
    }
    for (flag, value) in [("no-cache", target.no_cache), ("pull", target.pull)] {
        if let Some(value) = value {
            add(flag, &value.to_string());
        }
    }
    for (name, context) in &target.contexts {
        if !context.starts_with("target:") {
            add(
                "build-context",
                &format!("{name}={}", local(context).unwrap_or(context)),
            );
        }
    }
    for cache in target.cache_from.iter().flatten() {
        add("cache-from", &cache_text(cache));
    }
    for cache in target.cache_to.iter().flatten() {
        add("cache-to", &cache_text(cache));
    }
    for attest in target.attest.iter().flatten().filter(|attest| !attest.disabled) {
        add("attest", &attest_text(attest));
    }
    for policy in target.policy.iter().flatten() {
        add("policy", &policy_text(policy));
    }
    for secret in target.secrets.iter().flatten() {
        add("secret", &secret_text(secret));
    }
    for ssh in target.ssh.iter().flatten() {
        add("ssh", &ssh_text(ssh));
    }
    for (key, value) in resources(target) {
        add("resource", &format!("{key}={value}"));
    }
    for output in target.outputs.iter().flatten() {
        if output.kind == "docker" && output.destination.is_empty() {
            words.push("--load".to_owned());
        } else {
            words.push(format!("--output={}", output_text(output)));
        }
    }
    if target.inline_dockerfile().is_none() {
        let is_local = target.context.as_deref().is_none_or(|context| local(context).is_some());
        let named = target.dockerfile.as_deref().unwrap_or("Dockerfile");
        let dockerfile = match named.strip_prefix(HERE) {
            _ if is_http(named) => named.to_owned(),
            _ if is_local => dockerfile_of(target),
            // In a context from elsewhere only a path from the root is one of this machine.
            Some(path) => std::path::absolute(path).map_or_else(|_| path.to_owned(), |path| path.display().to_string()),
            None => named.to_owned(),
        };
        // A directory without a Dockerfile may have a `dockerfile`; only a name that was given is insisted on.
        if target.dockerfile.as_deref() != Some("Dockerfile") {
            words.push(format!("--file={dockerfile}"));
        }
    }
    words
}

fn resources(target: &Target) -> Vec<(&'static str, String)> {
    let Some(limits) = &target.resources else {
        return Vec::new();
    };
    let number = |number: Option<i64>| number.map(|number| number.to_string());
    let all = [
        ("memory", limits.memory.clone()),
        ("memory-swap", limits.memory_swap.clone()),
        ("cpu-shares", number(limits.cpu_shares)),
        ("cpu-period", number(limits.cpu_period)),
        ("cpu-quota", number(limits.cpu_quota)),
        ("cpuset-cpus", limits.cpuset_cpus.clone()),
        ("cpuset-mems", limits.cpuset_mems.clone()),
    ];
    all.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

/// `key=value` fields as CSV.
fn fields<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let quoted = |(key, value): (&str, &str)| {
        let field = format!("{key}={value}");
        if field.contains([',', '"', '\n']) {
            format!("\"{}\"", field.replace('"', "\"\""))
        } else {
            field
        }
    };
    fields.into_iter().map(quoted).collect::<Vec<_>>().join(",")
}

fn attributes(map: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    map.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

fn cache_text(cache: &CacheEntry) -> String {
    fields(
        [("type", cache.kind.as_str())]
            .into_iter()
            .chain(attributes(&cache.attributes)),
    )
}

fn attest_text(attest: &Attest) -> String {
    fields(
        [("type", attest.kind.as_str())]
            .into_iter()
            .chain(attributes(&attest.attributes)),
    )
}

fn policy_text(policy: &Policy) -> String {
    let files = policy.files.iter().map(|file| ("filename", file.as_str()));
    let flag = |on: bool| if on { "true" } else { "false" };
    let flags = [("reset", policy.reset), ("disabled", policy.disabled)];
    let flags = flags.into_iter().filter(|(_, on)| *on).map(|(key, on)| (key, flag(on)));
    let strict = policy.strict.map(|on| ("strict", flag(on)));
    let level = policy.log_level.as_deref().map(|level| ("log-level", level));
    fields(files.chain(flags).chain(strict).chain(level))
}

fn output_text(output: &Export) -> String {
    let destination = (!output.destination.is_empty()).then_some(("dest", output.destination.as_str()));
    let kind = [("type", output.kind.as_str())];
    fields(
        kind.into_iter()
            .chain(destination)
            .chain(attributes(&output.attributes)),
    )
}

pub(super) fn secret_text(secret: &Secret) -> String {
    let all = [("id", &secret.id), ("src", &secret.path), ("env", &secret.env)];
    fields(
        all.into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (key, value.as_str())),
    )
}

fn ssh_text(ssh: &Ssh) -> String {
    if ssh.paths.is_empty() {
        ssh.id.clone()
    } else {
        format!("{}={}", ssh.id, ssh.paths.join(","))
    }
}

fn written_inline(directory: &mut Option<tempfile::TempDir>, name: &str, text: &str) -> Result<PathBuf, CommandError> {
    let failed = |error: std::io::Error| {
        let mut command = CommandError::from_error(ErrorKind::Environment, &error);
        command
            .messages
            .insert(0, format!("failed to write the Dockerfile of target `{name}`"));
        command
    };
    let directory = match directory {
        Some(directory) => directory,
        None => directory.insert(tempfile::tempdir().map_err(failed)?),
    };
    let path = directory.path().join(format!("{name}.Dockerfile"));
    std::fs::write(&path, text).map_err(failed)?;
    Ok(path)
}

/// Flags that hold for all targets. Steps of all run in one build, so a secret has one value in it.
fn common(args: &BakeArgs, resolved: &Resolved) -> Result<BuildArgs, CommandError> {
    let mut words = Vec::new();
    let mut secrets: BTreeMap<String, (String, &str)> = BTreeMap::new();
    for (name, target) in &resolved.targets {
        let given = target.secrets.iter().flatten();
        let given = given.map(|secret| {
            (
                format!("secret {}", secret.id),
                format!("--secret={}", secret_text(secret)),
            )
        });
        let agents = target.ssh.iter().flatten();
        let agents = agents.map(|ssh| (format!("SSH agent {}", ssh.id), format!("--ssh={}", ssh_text(ssh))));
        for (id, word) in given.chain(agents) {
            match secrets.get(&id) {
                Some((known, _)) if *known == word => {}
                Some((_, other)) => {
                    let error =
                        CommandError::user(format!("the {id} is another one in target `{name}` than in `{other}`"));
                    return Err(error.hint("give them different ids, or build the targets one after the other"));
                }
                None => {
                    words.push(word.clone());
                    secrets.insert(id, (word, name));
                }
            }
        }
    }
    let mut build = parsed(&words, ".")?;
    build.work = args.work.clone();
    Ok(build)
}
