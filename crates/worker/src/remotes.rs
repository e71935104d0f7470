//! What is fetched from outside: git repositories and files from URLs, each once in a build.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use kiln_graph::{GitSource, HttpSource};
use kiln_solver::Source;
use kiln_store::Store;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::git::GitError;
use crate::{Secrets, SshAgents, WorkerError};

/// What proves who asks. Never part of a key.
#[derive(Debug, Clone, Default)]
pub struct RemoteAuth {
    /// Used are `GIT_AUTH_TOKEN` and `GIT_AUTH_HEADER`, also with `.HOST` behind them, and `HTTP_AUTH_TOKEN_HOST`
    /// and `HTTP_AUTH_HEADER_HOST`.
    pub secrets: Secrets,
    /// SSH remotes ask the agent `default`.
    pub agents: SshAgents,
}

impl RemoteAuth {
    /// A secret as text, without the line break that files end with.
    pub(crate) fn secret(&self, id: &str) -> Option<String> {
        let value = String::from_utf8_lossy(&self.secrets.0.get(id)?.0).into_owned();
        Some(value.trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// How things are fetched.
#[derive(Debug, Clone, Default)]
pub struct RemoteSettings {
    /// `PATH`, on which `git` and `ssh` are looked for.
    pub path: Option<OsString>,
    /// Variables that `git` is given besides its own: proxies and certificates.
    pub environment: Vec<(String, String)>,
    /// Files with SSH host keys that are trusted, besides the machine's own.
    pub known_hosts: Vec<PathBuf>,
    /// What proves who asks.
    pub auth: RemoteAuth,
    /// How HTTP servers see this program.
    pub user_agent: String,
}

/// Something that was fetched.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Its files.
    pub source: Source,
    /// Its time in seconds since 1970: a commit's, or what an HTTP server says of the file.
    pub time: Option<i64>,
    /// The commit of a git repository.
    pub commit: Option<String>,
}

/// Fetches what builds name. Clones share what they know.
#[derive(Debug, Clone)]
pub struct Remotes {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    settings: RemoteSettings,
    client: OnceCell<reqwest::Client>,
    /// By source, serialised.
    fetched: Mutex<HashMap<String, Arc<OnceCell<Fetched>>>>,
}

impl Remotes {
    /// Nothing fetched yet.
    pub fn new(store: Store, settings: RemoteSettings) -> Remotes {
        let inner = Inner {
            store,
            settings,
            client: OnceCell::new(),
            fetched: Mutex::default(),
        };
        Remotes { inner: Arc::new(inner) }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }

    pub(crate) fn settings(&self) -> &RemoteSettings {
        &self.inner.settings
    }

    /// A checkout of a git repository. The reference is resolved once in a build.
    pub async fn git(&self, source: &GitSource, cancel: &CancellationToken) -> Result<Fetched, WorkerError> {
        let cell = self.cell(&("git", source));
        let fetch = || async {
            tokio::select! {
                fetched = crate::git::fetch(self, source) => Ok(fetched?),
                () = cancel.cancelled() => Err(WorkerError::Cancelled),
            }
        };
        cell.get_or_try_init(fetch).await.cloned()
    }

    /// A file from a URL. The server is asked once in a build.
    pub async fn http(&self, source: &HttpSource, cancel: &CancellationToken) -> Result<Fetched, WorkerError> {
        let cell = self.cell(&("http", source));
        let fetch = || async {
            tokio::select! {
                fetched = crate::http::fetch(self, source) => fetched,
                () = cancel.cancelled() => Err(WorkerError::Cancelled),
            }
        };
        cell.get_or_try_init(fetch).await.cloned()
    }

    /// The text that a URL gives, in UTF-8 as far as it is some.
    pub async fn text(&self, source: &HttpSource, cancel: &CancellationToken) -> Result<String, WorkerError> {
        const LIMIT: u64 = 16 << 20;
        let fetched = self.http(source, cancel).await?;
        let failed = |error| WorkerError::Io {
            operation: "read",
            path: source.filename.clone().into(),
            source: error,
        };
        let mut bytes = Vec::new();
        if let Some(directory) = self.directory(&fetched)? {
            let file = crate::context::open_below(&directory, source.filename.as_bytes()).map_err(failed)?;
            std::io::Read::read_to_end(&mut std::io::Read::take(file, LIMIT), &mut bytes).map_err(failed)?;
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Whether what a URL gave is an archive, plain or compressed.
    pub fn is_archive(&self, fetched: &Fetched, source: &HttpSource) -> Result<bool, WorkerError> {
        let Some(directory) = self.directory(fetched)? else {
            return Ok(false);
        };
        let archive = crate::archive::decompressed(&directory, source.filename.as_bytes());
        archive
            .map(|archive| archive.is_some())
            .map_err(|source_error| WorkerError::Io {
                operation: "read",
                path: source.filename.clone().into(),
                source: source_error,
            })
    }

    /// The time of what a URL gave: the server's word, else that of the newest entry if it is an archive.
    pub fn time_of_file(&self, fetched: &Fetched, source: &HttpSource) -> Result<Option<i64>, WorkerError> {
        if fetched.time.is_some() {
            return Ok(fetched.time);
        }
        let Some(directory) = self.directory(fetched)? else {
            return Ok(None);
        };
        let newest = crate::archive::newest_entry(&directory, source.filename.as_bytes());
        newest.map_err(|source_error| WorkerError::Io {
            operation: "read",
            path: source.filename.clone().into(),
            source: source_error,
        })
    }

    fn directory(&self, fetched: &Fetched) -> Result<Option<Arc<std::os::fd::OwnedFd>>, WorkerError> {
        let Some(layer) = fetched.source.root.first() else {
            return Ok(None);
        };
        let Some(tree) = self.store().tree(layer)? else {
            return Ok(None);
        };
        let opened = crate::source_tree::open_directory(&tree);
        opened.map(Some).map_err(|source| WorkerError::Io {
            operation: "open",
            path: tree,
            source,
        })
    }

    pub(crate) async fn client(&self) -> Result<&reqwest::Client, reqwest::Error> {
        let build = || async { crate::http::client(&self.inner.settings.user_agent) };
        self.inner.client.get_or_try_init(build).await
    }

    fn cell<T: serde::Serialize>(&self, source: &T) -> Arc<OnceCell<Fetched>> {
        let key = serde_json::to_string(source).expect("sources hold only what JSON can carry");
        let mut fetched = self.inner.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        fetched.entry(key).or_default().clone()
    }
}

impl From<GitError> for WorkerError {
    fn from(error: GitError) -> WorkerError {
        match error {
            GitError::Store(source) => WorkerError::Store(source),
            GitError::Scan(source) => WorkerError::Scan(source),
            GitError::Panicked(source) => WorkerError::Panicked(source),
            other => WorkerError::Git(other),
        }
    }
}
