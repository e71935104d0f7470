//! Git repositories: references become commits, commits become layers.
//!
//! What is fetched of a remote is kept in one bare repository of the store, used under a lock of its own. A
//! reference is resolved by asking the remote; the key is the commit with the options, so a branch that moved is
//! another source and one that did not is the same. A commit whose checkout is in the store is not fetched again.
//!
//! The `git` program does the work, and nothing of it may depend on this machine or on the repository: neither
//! the user's nor the system's configuration is read, hooks and filters have nowhere to come from, and only the
//! protocols of remotes are allowed ([`program`]). Checkouts are made in directories of their own ([`checkout`]).

mod checkout;
mod error;
mod program;

use std::path::{Path, PathBuf};

use kiln_dockerfile::git::{is_commit, object, redacted};
use kiln_graph::GitSource;
use kiln_oci::Digest;
use kiln_solver::Source;
use kiln_store::{CacheKey, KeyLock, LayerId, LayerRecord, Store};
use serde::{Deserialize, Serialize};

pub use error::GitError;
use program::{Git, words};

use crate::remotes::{Fetched, Remotes};

/// What a reference points at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Resolved {
    /// The object that the reference names: a commit, or an annotated tag.
    object: String,
    /// The commit, where it is known before anything is fetched.
    commit: Option<String>,
    /// The full name of the reference; None if a commit was named.
    name: Option<String>,
}

/// What is remembered of a checkout.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Known {
    commit: String,
    time: Option<i64>,
}

/// Where documents about checkouts are kept.
const DOCUMENTS: &str = "git";

/// Resolves a source and checks it out, unless the store has the checkout.
pub(crate) async fn fetch(remotes: &Remotes, source: &GitSource) -> Result<Fetched, GitError> {
    let git = Git::new(remotes.settings(), remotes.store(), &source.remote)?;
    let resolved = resolve(&git, source).await?;
    let key = Digest::sha256(key_text(source, &resolved));
    let id = LayerId::of_recipe(&key);
    let store = remotes.store();
    if let Some(known) = known(store, &key, &id)? {
        return Ok(fetched(source, key, id, known));
    }
    let repository = Repository::open(store, source, &resolved).await?;
    // Another process may have been here while this one waited for the lock.
    if let Some(known) = known(store, &key, &id)? {
        return Ok(fetched(source, key, id, known));
    }
    repository.fetch(&git, source, &resolved).await?;
    let commit = repository.commit(&git, &resolved).await?;
    let time = object::commit_time(&repository.run(&git, &["cat-file", "commit", &commit]).await?);
    let known = Known { commit, time };
    let staged = checkout::check_out(store, &git, &repository, source, &resolved, &known).await?;
    let (store, key_text) = (store.clone(), key.to_string());
    let (kept, layer) = (known.clone(), id.clone());
    blocking(move || {
        let index = kiln_image::scan::scan_tree(staged.path())?;
        store.put_layer_index(&layer, &index)?;
        staged.commit(&layer)?;
        store.put_layer(&LayerRecord::new(layer.clone()))?;
        let document = serde_json::to_vec(&kept).expect("texts and numbers are always representable as JSON");
        Ok(store.put_document(DOCUMENTS, &key_text, &document)?)
    })
    .await?;
    Ok(fetched(source, key, id, known))
}

fn fetched(source: &GitSource, key: Digest, id: LayerId, known: Known) -> Fetched {
    Fetched {
        source: Source {
            key: CacheKey(key),
            root: vec![id].into(),
            description: format!("{}#{}", redacted(&source.remote), known.commit),
        },
        time: known.time,
        commit: Some(known.commit),
    }
}

fn known(store: &Store, key: &Digest, id: &LayerId) -> Result<Option<Known>, GitError> {
    if store.tree(id)?.is_none() {
        return Ok(None);
    }
    let document = store.get_document(DOCUMENTS, &key.to_string())?;
    Ok(document.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// Everything that decides the files of a checkout. The remote does only where `.git` names it.
fn key_text(source: &GitSource, resolved: &Resolved) -> String {
    let object = match (&resolved.commit, source.keep_git_directory) {
        (Some(commit), false) => commit,
        _ => &resolved.object,
    };
    let subdirectory = checkout::subdirectory(source);
    let mut text = format!(
        "git\n{object}\n{subdirectory}\n{} {}",
        source.submodules, source.commit_times
    );
    if source.keep_git_directory {
        let name = resolved.name.as_deref().unwrap_or_default();
        text.push_str(&format!("\n{}\n{name}", redacted(&source.remote)));
    }
    text
}

async fn resolve(git: &Git, source: &GitSource) -> Result<Resolved, GitError> {
    let checksum = source.checksum.as_deref();
    if let Some(checksum) = checksum
        && (checksum.is_empty() || !checksum.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        return Err(GitError::InvalidChecksum(checksum.to_owned()));
    }
    let plain = |object: &str| Resolved {
        object: object.to_owned(),
        commit: None,
        name: None,
    };
    if let Some(commit) = source.reference.as_deref().filter(|reference| is_commit(reference)) {
        check(checksum, commit, None)?;
        return Ok(plain(commit));
    }
    if let Some(commit) = checksum.filter(|checksum| source.fetch_by_commit && is_commit(checksum)) {
        return Ok(plain(commit));
    }
    let found = match &source.reference {
        Some(reference) => named(git, source, reference).await?,
        None => head(git, source).await?,
    };
    check(checksum, &found.object, found.commit.as_deref())?;
    Ok(found)
}

/// The checksum must be the beginning of the object's name, or of the commit's that a tag points at.
fn check(checksum: Option<&str>, object: &str, commit: Option<&str>) -> Result<(), GitError> {
    let Some(checksum) = checksum else {
        return Ok(());
    };
    let lower = checksum.to_ascii_lowercase();
    if object.starts_with(&lower) || commit.is_some_and(|commit| commit.starts_with(&lower)) {
        return Ok(());
    }
    Err(GitError::Checksum {
        expected: checksum.to_owned(),
        found: match commit.filter(|commit| *commit != object) {
            Some(commit) => format!("{object} or {commit}"),
            None => object.to_owned(),
        },
    })
}

/// What the remote's HEAD points at: a branch as a rule.
async fn head(git: &Git, source: &GitSource) -> Result<Resolved, GitError> {
    let listed = git
        .run(None, &words(&["ls-remote", "--symref", "--", &source.remote, "HEAD"]))
        .await?;
    let listed = String::from_utf8_lossy(&listed).into_owned();
    let rows = || listed.lines().filter_map(|line| line.split_once('\t'));
    let name = rows()
        .filter(|(_, name)| *name == "HEAD")
        .find_map(|(target, _)| target.strip_prefix("ref: "))
        .map(str::to_owned);
    let object = rows().find(|(object, name)| *name == "HEAD" && is_commit(object));
    match object {
        Some((object, _)) => Ok(Resolved {
            object: object.to_owned(),
            commit: Some(object.to_owned()),
            name,
        }),
        None => Err(GitError::NoDefaultBranch(redacted(&source.remote))),
    }
}

/// What a name points at. Branches win over tags, a full name over both.
async fn named(git: &Git, source: &GitSource, reference: &str) -> Result<Resolved, GitError> {
    let peeled = format!("{reference}^{{}}");
    let listed = git
        .run(None, &words(&["ls-remote", "--", &source.remote, reference, &peeled]))
        .await?;
    let listed = String::from_utf8_lossy(&listed).into_owned();
    let object_of = |wanted: &str| {
        let row = listed.lines().filter_map(|line| line.split_once('\t'));
        row.into_iter()
            .find(|(object, name)| *name == wanted && is_commit(object))
            .map(|(object, _)| object.to_owned())
    };
    let without = |prefix: &str| reference.strip_prefix(prefix).unwrap_or(reference).to_owned();
    let candidates = [
        format!("refs/{}", without("refs/")),
        format!("refs/heads/{}", without("refs/heads/")),
        format!("refs/tags/{}", without("refs/tags/")),
    ];
    for name in candidates {
        if let Some(object) = object_of(&name) {
            let commit = object_of(&format!("{name}^{{}}"));
            return Ok(Resolved {
                commit: commit.or_else(|| name.starts_with("refs/heads/").then(|| object.clone())),
                object,
                name: Some(name),
            });
        }
    }
    Err(GitError::NoReference {
        reference: reference.to_owned(),
        remote: redacted(&source.remote),
    })
}

/// What is kept of a remote: a bare repository, locked as long as this lives.
#[derive(Debug)]
struct Repository {
    directory: PathBuf,
    /// Whether names of objects are SHA-256.
    sha256: bool,
    _lock: KeyLock,
}

impl Repository {
    async fn open(store: &Store, source: &GitSource, resolved: &Resolved) -> Result<Repository, GitError> {
        let sha256 = resolved.object.len() == 64;
        let name = format!("{} {}", if sha256 { "sha256" } else { "sha1" }, source.remote);
        let store = store.clone();
        blocking(move || {
            let lock = store.lock_key(&CacheKey(Digest::sha256(&name)))?;
            let directory = store.git_repository(&name)?;
            Ok(Repository {
                directory,
                sha256,
                _lock: lock,
            })
        })
        .await
    }

    async fn run(&self, git: &Git, arguments: &[&str]) -> Result<Vec<u8>, GitError> {
        git.run(Some(&self.directory), &words(arguments)).await
    }

    /// The name under which an object is kept from being forgotten.
    fn kept_name(object: &str) -> String {
        format!("refs/kiln/{object}")
    }

    /// Brings what was resolved here, with as little of its history as the server allows.
    async fn fetch(&self, git: &Git, source: &GitSource, resolved: &Resolved) -> Result<(), GitError> {
        if !self.directory.join("HEAD").exists() {
            let format = if self.sha256 { "sha256" } else { "sha1" };
            self.run(
                git,
                &["init", "--quiet", "--bare", &format!("--object-format={format}")],
            )
            .await?;
        }
        // A process that was killed leaves its lock; nobody else is here while ours is held.
        for leftover in ["shallow.lock", "packed-refs.lock", "config.lock"] {
            let _ = std::fs::remove_file(self.directory.join(leftover));
        }
        let kept = Self::kept_name(&resolved.object);
        if !self.has(git, &resolved.object).await {
            let by_name = match &resolved.name {
                Some(name) => Some(self.fetch_one(git, &source.remote, &format!("+{name}:{kept}")).await),
                None => None,
            };
            // The reference may have moved in between: then the object itself is asked for.
            if !self.has(git, &resolved.object).await {
                let by_object = self
                    .fetch_one(git, &source.remote, &format!("+{}:{kept}", resolved.object))
                    .await;
                if by_object.is_err() && !self.has(git, &resolved.object).await {
                    self.fetch_all(git, &source.remote).await?;
                }
            }
            if !self.has(git, &resolved.object).await {
                if let Some(result) = by_name {
                    result?;
                }
                return Err(GitError::NoReference {
                    reference: resolved.object.clone(),
                    remote: redacted(&source.remote),
                });
            }
        }
        self.run(git, &["update-ref", "--no-deref", &kept, &resolved.object])
            .await?;
        Ok(())
    }

    /// Whether an object is here with all that it needs.
    async fn has(&self, git: &Git, object: &str) -> bool {
        let commit = format!("{object}^{{commit}}");
        self.run(git, &["cat-file", "-e", object]).await.is_ok()
            && self.run(git, &["cat-file", "-e", &commit]).await.is_ok()
    }

    async fn fetch_one(&self, git: &Git, remote: &str, refspec: &str) -> Result<(), GitError> {
        let common = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head"];
        let shallow: Vec<&str> = common
            .iter()
            .copied()
            .chain(["--depth=1", "--", remote, refspec])
            .collect();
        match self.run(git, &shallow).await {
            // Plain file servers know no shallow fetches.
            Err(error) if error.is_about_depth() => {
                let whole: Vec<&str> = common.iter().copied().chain(["--", remote, refspec]).collect();
                self.run(git, &whole).await.map(drop)
            }
            other => other.map(drop),
        }
    }

    /// Everything that the remote has: the way to a commit that a server does not give by its name.
    async fn fetch_all(&self, git: &Git, remote: &str) -> Result<(), GitError> {
        let mut arguments = vec!["fetch", "--quiet", "--no-write-fetch-head"];
        if self.directory.join("shallow").exists() {
            arguments.push("--unshallow");
        }
        arguments.extend([
            "--",
            remote,
            "+refs/heads/*:refs/kiln/heads/*",
            "+refs/tags/*:refs/kiln/tags/*",
        ]);
        self.run(git, &arguments).await.map(drop)
    }

    async fn commit(&self, git: &Git, resolved: &Resolved) -> Result<String, GitError> {
        let name = format!("{}^{{commit}}", resolved.object);
        let commit = self.run(git, &["rev-parse", "--verify", &name]).await?;
        Ok(String::from_utf8_lossy(&commit).trim().to_owned())
    }

    fn directory(&self) -> &Path {
        &self.directory
    }
}

/// Blocking work off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, GitError> + Send + 'static,
) -> Result<T, GitError> {
    tokio::task::spawn_blocking(work).await.map_err(GitError::Panicked)?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> GitSource {
        GitSource {
            remote: "https://me:secret@h/x.git".into(),
            reference: None,
            subdirectory: None,
            keep_git_directory: false,
            checksum: None,
            submodules: true,
            commit_times: false,
            fetch_by_commit: false,
        }
    }

    fn resolved(object: &str, commit: &str) -> Resolved {
        Resolved {
            object: object.into(),
            commit: Some(commit.into()),
            name: Some("refs/tags/v1".into()),
        }
    }

    #[test]
    fn the_key_is_the_commit_unless_the_repository_is_kept() {
        let (tag, other) = (resolved("aa", "cc"), resolved("bb", "cc"));
        assert_eq!(key_text(&source(), &tag), key_text(&source(), &other));
        let kept = GitSource {
            keep_git_directory: true,
            ..source()
        };
        assert_ne!(key_text(&kept, &tag), key_text(&kept, &other));
        assert!(!key_text(&kept, &tag).contains("secret"));
        let below = GitSource {
            subdirectory: Some("/a/../b/".into()),
            ..source()
        };
        assert_ne!(key_text(&below, &tag), key_text(&source(), &tag));
    }

    #[test]
    fn a_checksum_is_the_beginning_of_tag_or_commit() {
        assert!(check(Some("AB"), "abc", None).is_ok());
        assert!(check(Some("cd"), "abc", Some("cde")).is_ok());
        let error = check(Some("ff"), "abc", Some("cde")).expect_err("neither");
        assert_eq!(error.to_string(), "expected checksum to match ff, got abc or cde");
    }
}
