//! What commands use of this machine, opened from environment and configuration.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use kiln_registry::{Client, ClientSettings, Credentials, DockerConfig, HostsConfig, NoCredentials};
use kiln_sandbox::{EmulatorSearch, IdentityMap};
use kiln_store::{Store, StoreError};
use kiln_worker::{RemoteAuth, RemoteSettings, Remotes};

use crate::command_error::{CommandError, ErrorKind};
use crate::environment::Environment;

/// Continues in a user namespace if the user is not root: trees hold files of other owners. Before any thread; whoever
/// comes later is in it already.
pub fn enter_namespace() -> Result<IdentityMap, CommandError> {
    static ENTERED: OnceLock<IdentityMap> = OnceLock::new();
    if let Some(identities) = ENTERED.get() {
        return Ok(*identities);
    }
    let identities = kiln_sandbox::enter_user_namespace().map_err(|error| {
        CommandError::from_error(ErrorKind::Environment, &error)
            .hint("`kiln doctor` shows what this machine allows; without user namespaces, run as root")
    })?;
    Ok(*ENTERED.get_or_init(|| identities))
}

/// Opens the store.
pub fn store(environment: &Environment) -> Result<Store, CommandError> {
    let directory = environment.state_directory();
    Store::open(&directory).map_err(|error| {
        let mut command = store_error(&error);
        if command.hints.is_empty() {
            command
                .hints
                .push("another directory can be named with KILN_ROOT".into());
        }
        command
    })
}

/// What failed in the store, and what to do about it.
pub fn store_error(error: &StoreError) -> CommandError {
    let mut command = CommandError::from_error(ErrorKind::Environment, error);
    command.hints.extend(store_hint(error).map(str::to_owned));
    command
}

/// What to do about a failure of the store, where something can be done.
pub fn store_hint(error: &StoreError) -> Option<&'static str> {
    match error {
        error if error.is_disk_full() => Some(DISK_FULL),
        StoreError::DatabaseDamaged { .. } | StoreError::BlobDamaged { .. } | StoreError::Row { .. } => Some(FSCK),
        StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::ReadOnlyFilesystem => {
            Some("the store is on a read-only file system: name another directory with KILN_ROOT")
        }
        _ => None,
    }
}

/// What to do about a full disk.
pub const DISK_FULL: &str =
    "the disk is full: make room (`kiln prune` removes cached steps), or name another directory with KILN_ROOT";

/// What to do about a damaged store.
pub const FSCK: &str = "`kiln fsck` finds what is damaged in the store, `kiln fsck --repair` mends it";

/// The time now, in seconds since the Unix epoch.
pub fn unix_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// A client with the user's credentials and hosts.
pub fn client(environment: &Environment) -> Result<Client, CommandError> {
    let broken = |path: &PathBuf, error: &dyn std::error::Error| {
        let mut command = CommandError::from_error(ErrorKind::User, error);
        command
            .messages
            .insert(0, format!("failed to read `{}`", path.display()));
        command
    };
    let credentials: Arc<dyn Credentials> = match environment.docker_config_file() {
        Some(path) => match std::fs::read(&path) {
            Ok(bytes) => {
                Arc::new(DockerConfig::parse(&bytes, environment.path.clone()).map_err(|error| broken(&path, &error))?)
            }
            Err(_) => Arc::new(NoCredentials),
        },
        None => Arc::new(NoCredentials),
    };
    let hosts = match environment
        .config_directory()
        .map(|directory| directory.join("registries.toml"))
    {
        Some(path) => match std::fs::read_to_string(&path) {
            Ok(text) => HostsConfig::parse(&text).map_err(|error| broken(&path, &error))?,
            Err(_) => HostsConfig::default(),
        },
        None => HostsConfig::default(),
    };
    Ok(Client::new(ClientSettings {
        credentials,
        hosts,
        user_agent: format!("kiln/{}", env!("CARGO_PKG_VERSION")),
    }))
}

/// Variables that `git` may know: how the network is reached, and whom it trusts.
const GIT_VARIABLES: [&str; 11] = [
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
];

/// Fetches git repositories and URLs.
pub fn remotes(environment: &Environment, store: &Store, auth: RemoteAuth) -> Remotes {
    let variable = |name: &&str| {
        let value = environment.variables.get(*name)?;
        Some(((*name).to_owned(), value.clone()))
    };
    let settings = RemoteSettings {
        path: environment.path.clone(),
        environment: GIT_VARIABLES.iter().filter_map(variable).collect(),
        known_hosts: environment
            .home
            .iter()
            .map(|home| home.join(".ssh/known_hosts"))
            .collect(),
        auth,
        user_agent: format!("kiln/{}", env!("CARGO_PKG_VERSION")),
    };
    Remotes::new(store.clone(), settings)
}

/// Where emulators are searched. Whether a private table is possible is only tried if something foreign is wanted.
pub fn emulators(environment: &Environment, directories: &[PathBuf], foreign: bool) -> EmulatorSearch {
    let named = environment
        .emulators
        .as_ref()
        .map(|paths| std::env::split_paths(paths).collect::<Vec<_>>())
        .unwrap_or_default();
    EmulatorSearch {
        directories: directories.iter().cloned().chain(named).collect(),
        path: environment.path.clone(),
        private_table: foreign && kiln_sandbox::doctor::has_private_table(),
        host_table: None,
    }
}

/// The machine's `/etc/resolv.conf`.
pub fn resolv_conf() -> Option<String> {
    std::fs::read_to_string("/etc/resolv.conf").ok()
}

/// A runtime for everything that waits for the network.
pub fn runtime() -> Result<tokio::runtime::Runtime, CommandError> {
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    built.map_err(|error| CommandError::from_error(ErrorKind::Environment, &error))
}

/// A token that is set by the first interrupt; the second ends the process at once.
pub fn cancel_on_interrupt() -> tokio_util::sync::CancellationToken {
    let token = tokio_util::sync::CancellationToken::new();
    let inner = token.clone();
    tokio::spawn(async move {
        let mut terminate = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(signal) => signal,
            Err(_) => return,
        };
        let mut first = true;
        loop {
            tokio::select! {
                interrupted = tokio::signal::ctrl_c() => if interrupted.is_err() { return },
                _ = terminate.recv() => {}
            }
            if !first {
                end_at_once();
            }
            first = false;
            inner.cancel();
        }
    });
    token
}

#[expect(clippy::exit, reason = "the user asked twice")]
fn end_at_once() -> ! {
    std::process::exit(130)
}
