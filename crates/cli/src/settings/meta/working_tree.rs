//! What git knows about a working tree.

use std::path::Path;
use std::process::Command;

use jiff::Timestamp;
use kiln_meta::{Event, GitRef, Repository};
use thiserror::Error;

use super::repository_of;

/// A working tree that says nothing.
#[derive(Debug, Error)]
pub enum WorkingTreeError {
    /// `git` cannot be started.
    #[error("failed to run `git`")]
    NoGit {
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is no repository, or no commit in it.
    #[error("git knows no commit here: {said}")]
    NoCommit {
        /// What git said.
        said: String,
    },
}

/// A working tree.
#[derive(Debug)]
pub struct WorkingTree {
    git_ref: GitRef,
    commit: String,
    commit_time: Option<Timestamp>,
    repository: Repository,
}

/// Asks git about the working tree around a directory.
pub fn look(directory: &Path) -> Result<WorkingTree, WorkingTreeError> {
    let commit = run(directory, &["rev-parse", "--verify", "HEAD^{commit}"])?.map_err(|said| {
        let empty = said.contains("single revision");
        let said = if empty { "nothing is committed".to_owned() } else { said };
        WorkingTreeError::NoCommit { said }
    })?;
    let ask = |arguments: &[&str]| run(directory, arguments).ok().and_then(Result::ok);
    let git_ref = match ask(&["symbolic-ref", "--quiet", "HEAD"]) {
        Some(branch) => GitRef::parse(&branch),
        None => detached(&ask),
    };
    let remote = ["remote.origin.url", "remote.upstream.url"]
        .iter()
        .find_map(|name| ask(&["config", "--get", name]))
        .unwrap_or_default();
    let mut repository = repository_of(&remote);
    repository.default_branch = default_branch(&ask);
    if repository.name.is_empty()
        && let Some(top) = ask(&["rev-parse", "--show-toplevel"])
    {
        repository.name = top.rsplit('/').next().unwrap_or_default().to_owned();
    }
    Ok(WorkingTree {
        git_ref,
        commit_time: commit_time(directory, &commit),
        commit,
        repository,
    })
}

/// When a commit was made; `None` when the repository does not have it.
pub fn commit_time(directory: &Path, commit: &str) -> Option<Timestamp> {
    // What begins like a flag is none of git's.
    if !commit.bytes().all(|letter| letter.is_ascii_hexdigit()) || commit.is_empty() {
        return None;
    }
    let shown = run(
        directory,
        &["log", "-1", "--no-show-signature", "--format=%cI", commit, "--"],
    );
    shown.ok()?.ok()?.parse().ok()
}

impl WorkingTree {
    /// Makes the event one of this tree: its commit, its reference if that is wanted, and what is missing.
    pub fn describe(&self, event: &mut Event, with_reference: bool) {
        if with_reference {
            event.git_ref = self.git_ref.clone();
        }
        event.commit.clone_from(&self.commit);
        event.commit_time = self.commit_time;
        self.complete(event);
    }

    /// Adds what is missing in an event that a service told.
    pub fn complete(&self, event: &mut Event) {
        if event.commit.is_empty() {
            event.commit.clone_from(&self.commit);
        }
        if event.commit_time.is_none() {
            event.commit_time = if event.commit == self.commit {
                self.commit_time
            } else {
                commit_time(Path::new("."), &event.commit)
            };
        }
        let known = &mut event.repository;
        if known.name.is_empty() {
            known.name.clone_from(&self.repository.name);
        }
        if known.url.is_empty() {
            known.url.clone_from(&self.repository.url);
        }
        if known.default_branch.is_none() {
            known.default_branch.clone_from(&self.repository.default_branch);
        }
    }
}

/// The reference of a commit that is checked out by itself, as jobs do it: a tag on it, a pull request that was fetched,
/// else a branch that it is on or in.
fn detached(ask: &impl Fn(&[&str]) -> Option<String>) -> GitRef {
    let references = |selection: &str, order: &str, place: &str| {
        let order = format!("--sort={order}");
        let listed = ask(&["for-each-ref", "--format=%(refname)", selection, "HEAD", &order, place]);
        listed
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    for (selection, order, place) in [
        ("--points-at", "-version:refname", "refs/tags"),
        ("--points-at", "refname", "refs/pull"),
        ("--points-at", "refname", "refs/remotes"),
        ("--points-at", "refname", "refs/heads"),
        ("--contains", "-committerdate", "refs/heads"),
        ("--contains", "-committerdate", "refs/remotes"),
        ("--contains", "version:refname", "refs/tags"),
    ] {
        let found = references(selection, order, place)
            .iter()
            .find_map(|name| local_name(name));
        if let Some(name) = found {
            return GitRef::parse(&name);
        }
    }
    GitRef::default()
}

/// The name that a reference of a remote has there; `None` for the remote's `HEAD`.
fn local_name(name: &str) -> Option<String> {
    let Some(remote) = name.strip_prefix("refs/remotes/") else {
        return Some(name.to_owned());
    };
    if remote.starts_with("pull/") {
        return Some(format!("refs/{remote}"));
    }
    let (_, branch) = remote.split_once('/')?;
    (branch != "HEAD").then(|| format!("refs/heads/{branch}"))
}

/// The branch that the remote calls its own, else `main` or `master` where only one of them is there.
fn default_branch(ask: &impl Fn(&[&str]) -> Option<String>) -> Option<String> {
    if let Some(head) = ask(&["symbolic-ref", "--quiet", "refs/remotes/origin/HEAD"]) {
        return head.strip_prefix("refs/remotes/origin/").map(str::to_owned);
    }
    let listed = ask(&[
        "for-each-ref",
        "--format=%(refname)",
        "refs/heads/main",
        "refs/heads/master",
    ])?;
    let mut usual = listed.lines().filter_map(|name| name.strip_prefix("refs/heads/"));
    match (usual.next(), usual.next()) {
        (Some(only), None) => Some(only.to_owned()),
        _ => None,
    }
}

/// Runs git. The inner error is what it said when it failed, in one line.
fn run(directory: &Path, arguments: &[&str]) -> Result<Result<String, String>, WorkingTreeError> {
    let output = Command::new("git")
        .current_dir(directory)
        .args(["--no-pager", "-c", "core.fsmonitor=false"])
        .args(arguments)
        // Messages are read by people, and once by this program.
        .env("LC_ALL", "C")
        .output()
        .map_err(|source| WorkingTreeError::NoGit { source })?;
    if output.status.success() {
        return Ok(Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().next().unwrap_or("it failed without a word");
    Ok(Err(first.trim_start_matches("fatal: ").to_owned()))
}
