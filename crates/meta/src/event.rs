//! What started the build.

use std::fmt;

use jiff::Timestamp;

/// What started the build, in the words of GitHub's events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// The kind of event: `push`, `pull_request`, `schedule`, `workflow_dispatch`…
    pub name: String,
    /// What the build is of.
    pub git_ref: GitRef,
    /// The commit's digest in full; empty when it is not known.
    pub commit: String,
    /// When the commit was made; the time of the run stands in when it is not known.
    pub commit_time: Option<Timestamp>,
    /// The branch that a pull request goes to, or that a tag was pushed from.
    pub base: Option<String>,
    /// The repository.
    pub repository: Repository,
    /// Whether events of every kind may be of any branch. On GitHub, those of the clock and some others are of the default
    /// branch alone, whatever the reference says.
    pub on_any_branch: bool,
}

/// What is known about a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repository {
    /// Its name without its owner.
    pub name: String,
    /// What it is about.
    pub description: String,
    /// Its page.
    pub url: String,
    /// The SPDX identifier of its licence.
    pub license: String,
    /// Its default branch.
    pub default_branch: Option<String>,
}

/// A git reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GitRef {
    /// `refs/heads/…`.
    Branch(String),
    /// `refs/tags/…`.
    Tag(String),
    /// `refs/pull/…`: the number, and what follows it unless that is `merge`.
    PullRequest(String),
    /// Another reference, or none.
    Other(String),
}

impl GitRef {
    /// Reads a full reference.
    pub fn parse(text: &str) -> GitRef {
        if let Some(branch) = text.strip_prefix("refs/heads/") {
            GitRef::Branch(branch.to_owned())
        } else if let Some(tag) = text.strip_prefix("refs/tags/") {
            GitRef::Tag(tag.to_owned())
        } else if let Some(request) = text.strip_prefix("refs/pull/") {
            GitRef::PullRequest(request.strip_suffix("/merge").unwrap_or(request).to_owned())
        } else {
            GitRef::Other(text.to_owned())
        }
    }
}

impl Default for GitRef {
    fn default() -> Self {
        GitRef::Other(String::new())
    }
}

impl fmt::Display for GitRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GitRef::Branch(branch) => write!(f, "refs/heads/{branch}"),
            GitRef::Tag(tag) => write!(f, "refs/tags/{tag}"),
            GitRef::PullRequest(request) => write!(f, "refs/pull/{request}/merge"),
            GitRef::Other(other) => f.write_str(other),
        }
    }
}

impl Event {
    /// Whether the clock started the build.
    pub fn is_scheduled(&self) -> bool {
        self.name.contains("schedule")
    }

    /// The branch that this is meant for, where it is known.
    pub fn base(&self) -> Option<&str> {
        match self.git_ref {
            GitRef::Tag(_) | GitRef::PullRequest(_) => self.base.as_deref(),
            _ => None,
        }
    }

    /// Whether the build is of the default branch. Events that are about no commit always are, where they cannot be of another.
    pub fn is_default_branch(&self) -> bool {
        let written = self.git_ref.to_string();
        let branch = match &self.git_ref {
            GitRef::Branch(branch) => branch,
            _ => &written,
        };
        if branch.is_empty() {
            return false;
        }
        let always = ["create", "discussion", "issues", "schedule"];
        self.repository.default_branch.as_deref() == Some(branch.as_str())
            || !self.on_any_branch && always.iter().any(|name| self.name.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_have_kinds() {
        for (text, expected) in [
            ("refs/heads/a/b", GitRef::Branch("a/b".into())),
            ("refs/tags/v1", GitRef::Tag("v1".into())),
            ("refs/pull/15/merge", GitRef::PullRequest("15".into())),
            ("refs/pull/15/head", GitRef::PullRequest("15/head".into())),
            ("main", GitRef::Other("main".into())),
        ] {
            assert_eq!(GitRef::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn the_default_branch_is_the_repositorys_or_the_events() {
        let mut event = Event {
            name: "push".into(),
            git_ref: GitRef::parse("refs/heads/main"),
            ..Event::default()
        };
        assert!(!event.is_default_branch());
        event.repository.default_branch = Some("main".into());
        assert!(event.is_default_branch());
        event.git_ref = GitRef::parse("refs/heads/dev");
        assert!(!event.is_default_branch());
        event.name = "schedule".into();
        assert!(event.is_default_branch());
        event.on_any_branch = true;
        assert!(!event.is_default_branch());
        event.on_any_branch = false;
        event.git_ref = GitRef::default();
        assert!(!event.is_default_branch());
    }
}
