//! The process' environment: read once, here and nowhere else.

#![expect(clippy::disallowed_methods, reason = "this is the one home of environment variables")]

use std::ffi::OsString;
use std::path::PathBuf;

/// What the environment says.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `KILN_ROOT`.
    pub root: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `XDG_DATA_HOME`.
    pub data_home: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`.
    pub config_home: Option<PathBuf>,
    /// `DOCKER_CONFIG`.
    pub docker_config: Option<PathBuf>,
    /// `PATH`.
    pub path: Option<OsString>,
    /// `KILN_EMULATORS`: directories.
    pub emulators: Option<OsString>,
    /// `SOURCE_DATE_EPOCH`.
    pub source_date_epoch: Option<String>,
    /// `BUILDKIT_PROGRESS`.
    pub progress: Option<String>,
    /// Whether `NO_COLOR` is set.
    pub no_color: bool,
    /// `TERM`.
    pub term: Option<String>,
    /// Every variable, for arguments that take their value from the environment.
    pub variables: std::collections::BTreeMap<String, String>,
}

impl Environment {
    /// Reads the environment.
    pub fn read() -> Environment {
        let path = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Environment {
            root: path("KILN_ROOT"),
            home: path("HOME"),
            data_home: path("XDG_DATA_HOME"),
            config_home: path("XDG_CONFIG_HOME"),
            docker_config: path("DOCKER_CONFIG"),
            path: std::env::var_os("PATH"),
            emulators: std::env::var_os("KILN_EMULATORS"),
            source_date_epoch: text("SOURCE_DATE_EPOCH"),
            progress: text("BUILDKIT_PROGRESS"),
            no_color: text("NO_COLOR").is_some(),
            term: text("TERM"),
            variables: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
        }
    }

    /// Where everything is kept.
    pub fn state_directory(&self) -> PathBuf {
        if let Some(root) = &self.root {
            return root.clone();
        }
        // Inside the user namespace of a rootless build the user is root too; its map tells the difference.
        if rustix::process::geteuid().is_root() && !is_rootless() {
            return PathBuf::from("/var/lib/kiln");
        }
        let data = self
            .data_home
            .clone()
            .or_else(|| self.home.as_ref().map(|home| home.join(".local/share")));
        data.unwrap_or_else(|| PathBuf::from("/var/tmp")).join("kiln")
    }

    /// Docker's configuration file.
    pub fn docker_config_file(&self) -> Option<PathBuf> {
        let directory = self
            .docker_config
            .clone()
            .or_else(|| self.home.as_ref().map(|home| home.join(".docker")))?;
        Some(directory.join("config.json"))
    }

    /// Kiln's own configuration directory.
    pub fn config_directory(&self) -> Option<PathBuf> {
        let config = self
            .config_home
            .clone()
            .or_else(|| self.home.as_ref().map(|home| home.join(".config")))?;
        Some(config.join("kiln"))
    }
}

/// Whether this process is root only in a user namespace of its own.
fn is_rootless() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().nth(1).is_some_and(|outside| outside != "0")
}
