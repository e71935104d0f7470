//! Running `git` so that nothing but its arguments decides what it does.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kiln_dockerfile::git::url::known_hosts_name;
use kiln_dockerfile::git::{GitUrl, Scheme, redacted};
use kiln_store::{ScratchDir, Store};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::GitError;
use crate::remotes::{RemoteAuth, RemoteSettings};
use crate::ssh::{AgentSource, Forwarding};

/// Protocols of remotes and of the submodules that repositories name: none of them runs a command of its own.
const PROTOCOLS: &str = "http:https:ssh:git";

/// Bytes that are kept of what the program writes.
const OUTPUT_LIMIT: u64 = 16 << 20;

/// Lines of an error that are shown.
const SHOWN_LINES: usize = 6;

/// Configuration that wins over what a repository brings.
const CONFIGURATION: [(&str, &str); 19] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("core.autocrlf", "false"),
    ("core.symlinks", "true"),
    ("core.fileMode", "true"),
    ("core.logAllRefUpdates", "false"),
    ("core.untrackedCache", "false"),
    ("credential.helper", ""),
    ("protocol.allow", "never"),
    ("init.defaultBranch", "master"),
    ("advice.detachedHead", "false"),
    ("fetch.unpackLimit", "1"),
    // Packs of the same objects are the same bytes only if one thread makes them.
    ("pack.threads", "1"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    // A server that sends nothing for a minute is given up.
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "60"),
];

/// `git` for one remote.
#[derive(Debug)]
pub(super) struct Git {
    environment: Vec<(OsString, OsString)>,
    configuration: Vec<(String, String)>,
    /// Shown in messages.
    remote: String,
    /// What must not be shown.
    hidden: Vec<String>,
    _agent: Option<Arc<Agent>>,
}

/// The agent that remotes are asked with.
const AGENT: &str = "default";

/// An agent that answers with keys, as long as it is needed.
#[derive(Debug)]
struct Agent {
    forwarding: Forwarding,
    _directory: ScratchDir,
}

impl Agent {
    fn start(store: &Store, source: &AgentSource) -> Result<Agent, GitError> {
        let directory = store.scratch_dir()?;
        let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
        let forwarding = Forwarding::start(directory.path(), source.clone(), 0o600, user.as_raw(), group.as_raw());
        Ok(Agent {
            forwarding: forwarding.map_err(GitError::Agent)?,
            _directory: directory,
        })
    }
}

fn is_ssh(remote: &str) -> bool {
    GitUrl::parse(remote).is_ok_and(|url| url.scheme == Scheme::Ssh)
}

/// Arguments.
pub(super) fn words(arguments: &[&str]) -> Vec<OsString> {
    arguments.iter().map(OsString::from).collect()
}

impl Git {
    pub(super) fn new(settings: &RemoteSettings, store: &Store, remote: &str) -> Result<Git, GitError> {
        let fixed = [
            ("HOME", "/dev/null"),
            ("LC_ALL", "C"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TEMPLATE_DIR", ""),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_ADVICE", "0"),
        ];
        let mut environment: Vec<(OsString, OsString)> =
            fixed.iter().map(|(name, value)| (name.into(), value.into())).collect();
        environment.extend(settings.path.iter().map(|path| ("PATH".into(), path.clone())));
        let more = settings.environment.iter();
        environment.extend(more.map(|(name, value)| (name.into(), value.into())));
        // A repository on this machine is only ever named by whoever builds, never by another repository.
        let protocols = if remote.starts_with("file://") {
            "file"
        } else {
            PROTOCOLS
        };
        environment.push(("GIT_ALLOW_PROTOCOL".into(), protocols.into()));
        let known_hosts = store.git_repository("known hosts")?.join("known_hosts");
        environment.push(("GIT_SSH_COMMAND".into(), ssh_command(settings, &known_hosts).into()));
        let mut agent = None;
        match settings.auth.agents.0.get(AGENT).filter(|_| is_ssh(remote)) {
            Some(AgentSource::Socket(socket)) => environment.push(("SSH_AUTH_SOCK".into(), socket.into())),
            Some(keys) => {
                let started = agent.insert(Agent::start(store, keys)?);
                environment.push(("SSH_AUTH_SOCK".into(), started.forwarding.path().into()));
            }
            None => {}
        }
        let mut configuration: Vec<(String, String)> = CONFIGURATION
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut hidden = Vec::new();
        if let Some(header) = authorization(&settings.auth, remote) {
            configuration.push((
                format!("http.{}.extraheader", token_scope(remote)),
                format!("Authorization: {header}"),
            ));
            hidden.push(header);
        }
        Ok(Git {
            environment,
            configuration,
            remote: redacted(remote),
            hidden,
            _agent: agent.map(Arc::new),
        })
    }

    /// With a variable set.
    pub(super) fn with(&self, name: &str, value: impl Into<OsString>) -> Git {
        let mut environment = self.environment.clone();
        environment.retain(|(known, _)| *known != *name);
        environment.push((name.into(), value.into()));
        Git {
            environment,
            configuration: self.configuration.clone(),
            remote: self.remote.clone(),
            hidden: self.hidden.clone(),
            _agent: self._agent.clone(),
        }
    }

    /// Runs the program; `directory` is the repository's own directory, else there is none. Gives what it wrote.
    pub(super) async fn run(&self, directory: Option<&Path>, arguments: &[OsString]) -> Result<Vec<u8>, GitError> {
        self.run_in(directory, None, arguments).await
    }

    /// As [`Git::run`], with the files of a checkout in `work`.
    pub(super) async fn run_in(
        &self,
        directory: Option<&Path>,
        work: Option<&Path>,
        arguments: &[OsString],
    ) -> Result<Vec<u8>, GitError> {
        let mut command = tokio::process::Command::new("git");
        command.env_clear().envs(self.environment.iter().cloned());
        // Values in the environment are seen by nobody else, unlike arguments.
        command.env("GIT_CONFIG_COUNT", self.configuration.len().to_string());
        for (number, (name, value)) in self.configuration.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{number}"), name);
            command.env(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        // Never a repository above the current directory.
        command.env(
            "GIT_DIR",
            directory.map_or_else(|| PathBuf::from("/dev/null"), Path::to_owned),
        );
        command.env("GIT_CEILING_DIRECTORIES", "/");
        if let Some(work) = work {
            command.env("GIT_WORK_TREE", work);
        }
        command.current_dir(work.or(directory).unwrap_or(Path::new("/")));
        command.args(arguments);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => GitError::NotInstalled,
            _ => GitError::Start(error),
        })?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (stdout, stderr, status) = tokio::join!(bounded(stdout), bounded(stderr), child.wait());
        if status.map_err(GitError::Start)?.success() {
            return Ok(stdout);
        }
        let command = arguments.first().map(|word| word.to_string_lossy().into_owned());
        Err(GitError::Failed {
            command: command.unwrap_or_default(),
            remote: self.remote.clone(),
            message: self.shown(&String::from_utf8_lossy(&stderr)),
        })
    }

    /// The last lines of an error in one, without what proves who asks.
    fn shown(&self, text: &str) -> String {
        let lines: Vec<String> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(|line| line.split(' ').map(redacted_word).collect::<Vec<_>>().join(" "))
            .collect();
        let text = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("; ");
        self.hidden
            .iter()
            .fold(text, |text, secret| text.replace(secret, "xxxxx"))
    }
}

/// A word of a message; an address in quotes is still one.
fn redacted_word(word: &str) -> String {
    let quotes = ['\'', '"', '`'];
    let inner = word.trim_start_matches(quotes);
    let quote = &word[..word.len() - inner.len()];
    format!("{quote}{}", redacted(inner))
}

async fn bounded(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    if let Some(mut stream) = stream {
        // What cannot be read is as good as nothing: the exit code decides.
        let _ = (&mut stream).take(OUTPUT_LIMIT).read_to_end(&mut kept).await;
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    }
    kept
}

/// The value of the Authorization header for a remote, if there is a secret for it.
fn authorization(auth: &RemoteAuth, remote: &str) -> Option<String> {
    let url = GitUrl::parse(remote).ok()?;
    if !matches!(url.scheme, Scheme::Http | Scheme::Https) {
        return None;
    }
    let basic = |token: String| format!("basic {}", STANDARD.encode(format!("x-access-token:{token}")));
    auth.secret(&format!("GIT_AUTH_HEADER.{}", url.host))
        .or_else(|| auth.secret(&format!("GIT_AUTH_TOKEN.{}", url.host)).map(basic))
        .or_else(|| auth.secret("GIT_AUTH_HEADER"))
        .or_else(|| auth.secret("GIT_AUTH_TOKEN").map(basic))
}

/// The addresses that a token is sent to: the repository's own, and on GitHub those of its submodules too.
fn token_scope(remote: &str) -> &str {
    ["https://github.com/", "https://www.github.com/"]
        .into_iter()
        .find(|prefix| remote.starts_with(prefix))
        .unwrap_or(remote)
}

/// SSH without the user's configuration. A host whose key is not known is trusted the first time, and its key is
/// kept in the store; a key that changed is refused.
fn ssh_command(settings: &RemoteSettings, known: &Path) -> String {
    let quoted = |path: &Path| format!("\"{}\"", path.display());
    let machines: Vec<String> = settings
        .known_hosts
        .iter()
        .map(|path| quoted(path))
        .chain(["/etc/ssh/ssh_known_hosts".to_owned()])
        .collect();
    let options = [
        "BatchMode=yes".to_owned(),
        "StrictHostKeyChecking=accept-new".to_owned(),
        format!("UserKnownHostsFile={}", quoted(known)),
        format!("GlobalKnownHostsFile={}", machines.join(" ")),
    ];
    let options: Vec<String> = options
        .iter()
        .map(|option| format!("-o '{}'", option.replace('\'', r"'\''")))
        .collect();
    format!("ssh -F /dev/null {}", options.join(" "))
}

/// How the host of a remote is called in a `known_hosts` file.
pub(super) fn host_in_known_hosts(remote: &str) -> Option<String> {
    let url = GitUrl::parse(remote).ok().filter(|url| url.scheme == Scheme::Ssh)?;
    let (host, port) = url.host_and_port();
    Some(known_hosts_name(host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(secrets: &[(&str, &str)]) -> RemoteAuth {
        let secret = |(id, value): &(&str, &str)| ((*id).to_owned(), kiln_sandbox::Secret(value.as_bytes().to_vec()));
        RemoteAuth {
            secrets: crate::Secrets(secrets.iter().map(secret).collect()),
            ..RemoteAuth::default()
        }
    }

    #[test]
    fn the_secret_of_the_host_wins() {
        let auth = auth(&[
            ("GIT_AUTH_TOKEN", "everywhere"),
            ("GIT_AUTH_TOKEN.h:8443", "here\n"),
            ("GIT_AUTH_HEADER.other", "bearer x"),
        ]);
        let basic = |token: &str| Some(format!("basic {}", STANDARD.encode(format!("x-access-token:{token}"))));
        assert_eq!(authorization(&auth, "https://h:8443/x.git"), basic("here"));
        assert_eq!(authorization(&auth, "https://h/x.git"), basic("everywhere"));
        assert_eq!(authorization(&auth, "http://other/x.git").as_deref(), Some("bearer x"));
        assert_eq!(authorization(&auth, "git@h:x.git"), None);
    }

    #[test]
    fn a_token_goes_to_its_repository_alone() {
        assert_eq!(token_scope("https://h/x.git"), "https://h/x.git");
        assert_eq!(token_scope("https://github.com/a/b.git"), "https://github.com/");
        assert_eq!(token_scope("https://github.com.evil/a"), "https://github.com.evil/a");
    }
}
