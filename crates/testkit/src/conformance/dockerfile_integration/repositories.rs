//! Repositories that stand for those of cases whose servers were not recorded.
//!
//! What a case asks of its repository is known from its builds and assertions: branches, tags, files. A repository of the
//! same shape is made, and its address and the names of its commits take the place of the recorded ones.

use std::path::Path;

use regex::Regex;
use tempfile::TempDir;

use crate::error::TestkitError;
use crate::git_server::{GitRepository, GitServer, GitServing};

/// Servers and what they stand for.
#[derive(Debug)]
pub(super) struct Repositories {
    _directory: TempDir,
    server: GitServer,
    stand_ins: Vec<StandIn>,
}

#[derive(Debug)]
struct StandIn {
    /// The beginning of the names of its cases.
    cases: &'static str,
    repository: &'static str,
    /// Commits in the order in which a case names them first.
    commits: Vec<String>,
}

impl Repositories {
    pub(super) fn start() -> Result<Self, TestkitError> {
        let directory = tempfile::tempdir().map_err(TestkitError::file("create", "a temporary directory"))?;
        // Like the recorded servers, this one knows nothing of git.
        let server = GitServer::start(directory.path(), GitServing::Files, None)?;
        let query = query(directory.path(), &server)?;
        let dockerfile = dockerfile(directory.path())?;
        Ok(Self {
            _directory: directory,
            server,
            stand_ins: vec![query, dockerfile],
        })
    }

    /// The text of a case with this one's addresses and commits; `None`: the case is about no repository that is known here.
    pub(super) fn fill_in(&self, case: &str, text: &str) -> Option<String> {
        let found = self
            .stand_ins
            .iter()
            .find(|stand_in| case.starts_with(stand_in.cases))?;
        let address = Regex::new(r"http://127\.0\.0\.1:\d+/\.git").ok()?;
        let mut text = address
            .replace_all(text, self.server.url(found.repository))
            .into_owned();
        let whole = Regex::new(r"\b[0-9a-f]{40}\b").ok()?;
        let mut recorded: Vec<String> = Vec::new();
        for name in whole.find_iter(&text).map(|name| name.as_str().to_owned()) {
            if !recorded.contains(&name) {
                recorded.push(name);
            }
        }
        for (from, to) in recorded.iter().zip(&found.commits) {
            text = text.replace(from, to).replace(&from[..8], &to[..8]);
        }
        Some(text)
    }
}

/// Branches, tags, a directory and a submodule.
fn query(root: &Path, server: &GitServer) -> Result<StandIn, TestkitError> {
    const DOCKERFILE: &str = "FROM scratch AS withgit\nCOPY .git/HEAD out\n\nFROM scratch AS withsubmod\n\
                              COPY submod/file out\n\nFROM scratch\nCOPY foo out\n";
    GitRepository::init(root.join("module"))?.commit(&[("file", "123\n")])?;
    let repository = GitRepository::init(root.join("query"))?;
    repository.git(["submodule", "--quiet", "add", &server.url("module"), "submod"])?;
    repository.commit(&[("Dockerfile", DOCKERFILE), ("foo", "base\n")])?;
    repository.git(["branch", "base"])?;
    repository.git(["checkout", "--quiet", "-b", "feature"])?;
    repository.commit(&[
        ("foo", "feature\n"),
        ("sub/foo", "subfeature\n"),
        ("sub/Dockerfile", DOCKERFILE),
    ])?;
    repository.git(["checkout", "--quiet", "-B", "master", "base"])?;
    let second = repository.commit(&[("foo", "v0.0.2\n")])?;
    repository.git(["tag", "v0.0.2"])?;
    let latest = repository.commit(&[("foo", "latest\n")])?;
    repository.git(["tag", "latest"])?;
    repository.git(["update-server-info"])?;
    Ok(StandIn {
        cases: "TestGitQueryString",
        repository: "query",
        commits: vec![latest, second],
    })
}

/// A Dockerfile that grows by a line after the branch `first`.
fn dockerfile(root: &Path) -> Result<StandIn, TestkitError> {
    let first = "FROM busybox AS build\nRUN echo -n fromgit > foo\nFROM scratch\nCOPY --from=build foo bar\n";
    let repository = GitRepository::init(root.join("dockerfile"))?;
    repository.commit(&[("Dockerfile", first)])?;
    repository.git(["branch", "first"])?;
    repository.commit(&[("Dockerfile", &format!("{first}COPY --from=build foo bar2\n"))])?;
    Ok(StandIn {
        cases: "TestDockerfileFromGit",
        repository: "dockerfile",
        commits: Vec::new(),
    })
}
