//! Definitions from git repositories and URLs: what proves who asks, and contexts in the place that they come from.

use kiln_bake::config::is_local_path;
use kiln_bake::model::{Secret, Ssh, Target};
use kiln_bake::resolve::Resolved;
use kiln_dockerfile::git::{GitUrl, Scheme, below, clean_directory, host, is_http, is_remote, same_host};

use super::{HERE, local};
use crate::args::{BakeArgs, BuildArgs};
use crate::build::BuildRequest;
use crate::command_error::CommandError;
use crate::environment::Environment;
use crate::settings;

/// Where a definition comes from, if its contexts are there too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its address.
    pub url: String,
    /// Whether the address gives an archive.
    pub is_archive: bool,
}

/// The request that fetches a definition: with the display, and with what proves who asks.
pub fn fetching(
    url: &str,
    args: &BakeArgs,
    environment: &Environment,
) -> Result<(BuildArgs, BuildRequest), CommandError> {
    let secrets = secrets(url, environment);
    let mut words: Vec<String> = secrets
        .iter()
        .map(|secret| format!("--secret={}", super::request::secret_text(secret)))
        .collect();
    let keys = environment.variables.get("BUILDX_BAKE_GIT_SSH");
    match keys.filter(|keys| !keys.is_empty()) {
        Some(keys) => words.push(format!("--ssh=default={keys}")),
        None if is_ssh(url) && has_agent(environment) => words.push("--ssh=default".to_owned()),
        None => {}
    }
    let mut build = super::request::parsed(&words, url)?;
    build.work.progress = args.work.progress;
    let (request, _) = settings::build_request(&build, environment)?;
    Ok((build, request))
}

impl Origin {
    /// Where the context of each target is: by default, and by a path, in the place that the definition comes from.
    pub fn place_contexts(&self, resolved: &mut Resolved) {
        for target in resolved.targets.values_mut() {
            let context = target.context.as_deref().unwrap_or(".");
            if !context.starts_with(HERE) && !is_remote(context) {
                target.context = Some(below(&self.url, context));
            }
        }
    }

    /// What else a build from elsewhere needs: its named contexts, and what proves who asks.
    ///
    /// # Errors
    /// A Dockerfile that would have to come from elsewhere into a context of this machine.
    pub fn prepare(&self, resolved: &mut Resolved, environment: &Environment) -> Result<(), CommandError> {
        for (name, target) in &mut resolved.targets {
            for context in target.contexts.values_mut() {
                if is_local_path(context) && !is_remote(context) {
                    *context = self.named(context);
                }
            }
            let context = target.context.as_deref().unwrap_or(".");
            let dockerfile = target.dockerfile.as_deref().unwrap_or_default();
            let is_there = !dockerfile.starts_with(HERE) && !dockerfile.starts_with('/') && !is_http(dockerfile);
            if local(context).is_some() && target.inline_dockerfile().is_none() && is_there {
                let message = format!(
                    "target `{name}` has a context in the working directory, and its Dockerfile is with the definition: reading a dockerfile for a remote build invocation is currently not supported"
                );
                return Err(CommandError::user(message).hint(format!(
                    "for the file of the working directory write `dockerfile = \"{HERE}{dockerfile}\"`, or write the text in `dockerfile-inline`"
                )));
            }
            let contexts = std::iter::once(context).chain(target.contexts.values().map(String::as_str));
            if !self.is_archive && contexts.into_iter().any(|context| same_host(&self.url, context)) {
                let all = target.secrets.get_or_insert_default();
                for secret in secrets(&self.url, environment) {
                    if all.iter().all(|known| known.id != secret.id) {
                        all.push(secret);
                    }
                }
            }
        }
        Ok(())
    }

    fn named(&self, path: &str) -> String {
        if self.is_archive && clean_directory(path).is_empty() && !self.url.contains("#:") {
            // Without a directory it would be the archive itself, as one file.
            return format!("{}#:", self.url);
        }
        below(&self.url, path)
    }
}

/// Targets whose context is fetched by SSH ask the agent, as do those of a definition that was.
pub fn ask_agents(resolved: &mut Resolved, definition: Option<&str>, environment: &Environment) {
    if !has_agent(environment) {
        return;
    }
    let asks = |target: &Target| {
        let context = target.context.as_deref().unwrap_or(".");
        target.ssh.as_ref().is_none_or(Vec::is_empty) && (is_ssh(context) || definition.is_some_and(is_ssh))
    };
    for target in resolved.targets.values_mut().filter(|target| asks(target)) {
        target.ssh = Some(vec![Ssh {
            id: "default".to_owned(),
            paths: Vec::new(),
        }]);
    }
}

fn has_agent(environment: &Environment) -> bool {
    environment
        .variables
        .get("SSH_AUTH_SOCK")
        .is_some_and(|socket| !socket.is_empty())
}

fn is_ssh(url: &str) -> bool {
    is_remote(url) && GitUrl::parse(url).is_ok_and(|url| url.scheme == Scheme::Ssh)
}

/// `BUILDX_BAKE_GIT_AUTH_TOKEN` and `BUILDX_BAKE_GIT_AUTH_HEADER` as secrets for the host of a definition alone.
fn secrets(url: &str, environment: &Environment) -> Vec<Secret> {
    let Some(host) = host(url) else {
        return Vec::new();
    };
    ["TOKEN", "HEADER"]
        .into_iter()
        .filter_map(|kind| {
            let name = format!("BUILDX_BAKE_GIT_AUTH_{kind}");
            let variable = environment
                .variables
                .keys()
                .find(|known| known.eq_ignore_ascii_case(&name))?;
            Some(Secret {
                id: format!("GIT_AUTH_{kind}.{host}"),
                env: variable.clone(),
                ..Secret::default()
            })
        })
        .collect()
}
