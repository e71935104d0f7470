//! Why a repository cannot be used.

use std::path::PathBuf;

/// Why a git repository cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no `git` program.
    #[error("git repositories are fetched with the program `git`, which is not installed")]
    NotInstalled,
    /// The program cannot be started.
    #[error("failed to start `git`")]
    Start(#[source] std::io::Error),
    /// The SSH agent cannot be forwarded.
    #[error("failed to forward the SSH agent")]
    Agent(#[source] std::io::Error),
    /// The program ended badly.
    #[error("`git {command}` failed for {remote}: {message}")]
    Failed {
        /// Its first argument.
        command: String,
        /// The repository, without credentials.
        remote: String,
        /// The end of what it said.
        message: String,
    },
    /// Nothing of this name is there.
    #[error("repository does not contain ref {reference} ({remote})")]
    NoReference {
        /// The name.
        reference: String,
        /// The repository, without credentials.
        remote: String,
    },
    /// The remote has no HEAD.
    #[error("could not find default branch for repository: {0}")]
    NoDefaultBranch(String),
    /// A checksum that is no part of an object's name.
    #[error("invalid checksum {0} for Git URL, expected hex commit hash")]
    InvalidChecksum(String),
    /// What is there is not what is wanted.
    #[error("expected checksum to match {expected}, got {found}")]
    Checksum {
        /// What the name must begin with.
        expected: String,
        /// The names that it may be the beginning of.
        found: String,
    },
    /// The directory that is wanted of the repository.
    #[error("subdirectory `{path}` of {remote} {problem}")]
    Subdirectory {
        /// The directory.
        path: String,
        /// The repository, without credentials.
        remote: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A file of a checkout.
    #[error("failed to {operation} `{path}`")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The files of a checkout cannot be listed.
    #[error("failed to read the files of the checkout")]
    Scan(#[from] kiln_image::scan::ScanError),
    /// The store.
    #[error(transparent)]
    Store(#[from] kiln_store::StoreError),
    /// A bug: work off the async threads died.
    #[error("a task panicked")]
    Panicked(#[source] tokio::task::JoinError),
}

impl GitError {
    /// Whether the server refused a fetch without history.
    pub(super) fn is_about_depth(&self) -> bool {
        matches!(self, GitError::Failed { message, .. } if message.contains("shallow") || message.contains("--depth"))
    }

    /// What the person can do about it.
    pub fn hints(&self) -> Vec<String> {
        let hint = match self {
            GitError::NotInstalled => "install it, such as with `apt-get install git`",
            GitError::Failed { message, remote, .. } => {
                if ["Host key verification failed", "HOST IDENTIFICATION HAS CHANGED"]
                    .iter()
                    .any(|text| message.contains(text))
                {
                    let host = super::program::host_in_known_hosts(remote).unwrap_or_else(|| remote.clone());
                    return vec![format!("check the key of `{host}` and put it into ~/.ssh/known_hosts")];
                }
                const CAUSES: [(&[&str], &str); 3] = [
                    (
                        &[
                            "could not read Username",
                            "Authentication failed",
                            "HTTP Basic",
                            "returned error: 403",
                        ],
                        "give a token with `--secret id=GIT_AUTH_TOKEN,env=VARIABLE`",
                    ),
                    (
                        &["Permission denied (publickey", "Could not read from remote repository"],
                        "forward an SSH agent with `--ssh default`, or name a key with `--ssh default=FILE`",
                    ),
                    (
                        &["cannot run ssh"],
                        "install an SSH client, such as with `apt-get install openssh-client`",
                    ),
                ];
                let cause = CAUSES
                    .iter()
                    .find(|(texts, _)| texts.iter().any(|text| message.contains(text)));
                match cause {
                    Some((_, hint)) => hint,
                    None => return Vec::new(),
                }
            }
            GitError::NoReference { .. } => {
                "name a branch, a tag or a whole commit: abbreviated commits are no references, but `checksum` takes them"
            }
            GitError::Checksum { .. } => "the reference points at another commit than the checksum says: has it moved?",
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}
