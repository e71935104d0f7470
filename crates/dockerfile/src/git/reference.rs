//! What is wanted of a repository: `URL#reference:directory`, or the same as a query.

use kiln_flags::fields::boolean;
use kiln_graph::GitSource;

use super::url::{GitUrl, Query, Scheme, UrlError};

/// A repository and what is wanted of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GitReference {
    /// The address as git takes it; without a scheme where [`GitReference::like_local_path`] says so.
    pub remote: String,
    /// The last part of the path without `.git`.
    pub short_name: String,
    /// Branch, tag or commit; None is the remote's HEAD.
    pub reference: Option<String>,
    /// What the commit's name must begin with.
    pub checksum: Option<String>,
    /// The directory in the repository.
    pub subdirectory: Option<String>,
    /// Whether a path could look the same (`github.com/owner/name`): only contexts are given like this.
    pub like_local_path: bool,
    /// Whether it is fetched without encryption.
    pub unencrypted: bool,
    /// Whether `.git` stays; None: nobody says.
    pub keep_git_directory: Option<bool>,
    /// Whether submodules are checked out; None: nobody says.
    pub submodules: Option<bool>,
    /// The times of the files; None: nobody says.
    pub times: Option<CheckoutTimes>,
    /// Whether the commit that the checksum names is fetched even if the reference has moved on.
    pub fetch_by_commit: bool,
}

/// Which times the files of a checkout carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckoutTimes {
    /// Those of the checkout.
    Checkout,
    /// That of the commit.
    Commit,
}

impl CheckoutTimes {
    /// As it stands in a query.
    pub fn name(self) -> &'static str {
        match self {
            CheckoutTimes::Checkout => "checkout",
            CheckoutTimes::Commit => "commit",
        }
    }
}

/// Why a text that names a repository cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GitReferenceError {
    /// A query that is not known.
    #[error("unexpected query {0:?}")]
    UnknownQuery(String),
    /// A query without the value that it needs.
    #[error("query {0:?} has no value")]
    NoValue(String),
    /// A query that stands twice.
    #[error("query {0:?} has multiple values")]
    SeveralValues(String),
    /// A value that cannot be read.
    #[error("invalid {name} value: {value:?}")]
    InvalidValue {
        /// The query.
        name: String,
        /// Its value.
        value: String,
    },
    /// Two of query and fragment say different things.
    #[error("{what} conflicts: {first:?} vs {second:?}")]
    Conflict {
        /// Of what: `ref` or `subdir`.
        what: &'static str,
        /// What one says.
        first: String,
        /// What the other says.
        second: String,
    },
    /// A branch and a tag.
    #[error("branch conflicts with tag")]
    BranchAndTag,
}

impl GitReference {
    /// Parses a text. None: it names no git repository. A URL of HTTP names one if its path ends in `.git`.
    pub fn parse(text: &str) -> Result<Option<GitReference>, GitReferenceError> {
        if text.starts_with("./") || text.starts_with("../") {
            return Ok(None);
        }
        let like_local_path = text.starts_with("github.com/");
        let url = if like_local_path {
            GitUrl::standard(Scheme::Https, text)
        } else {
            GitUrl::parse(text)
        };
        let url = match url {
            Ok(url) => url,
            Err(UrlError::UnknownProtocol | UrlError::InvalidProtocol(_) | UrlError::Malformed(_)) => return Ok(None),
        };
        let by_http = matches!(url.scheme, Scheme::Http | Scheme::Https);
        if by_http && !like_local_path && !url.path.ends_with(".git") {
            return Ok(None);
        }
        let remote = match url.remote.split_once("://") {
            Some((_, rest)) if like_local_path => rest.to_owned(),
            _ => url.remote.clone(),
        };
        let last = remote.rsplit('/').next().unwrap_or_default();
        let non_empty = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let fragment = url.fragment.as_ref();
        let mut reference = GitReference {
            short_name: last.strip_suffix(".git").unwrap_or(last).to_owned(),
            reference: fragment.and_then(|fragment| non_empty(&fragment.reference)),
            subdirectory: fragment.and_then(|fragment| non_empty(&fragment.subdirectory)),
            like_local_path,
            unencrypted: !like_local_path && matches!(url.scheme, Scheme::Http | Scheme::Git),
            remote,
            ..GitReference::default()
        };
        reference.read_query(&url.query.unwrap_or_default())?;
        Ok(Some(reference))
    }

    /// The address with its scheme.
    pub fn full_remote(&self) -> String {
        if self.like_local_path {
            format!("https://{}", self.remote)
        } else {
            self.remote.clone()
        }
    }

    /// What is fetched. Submodules are, unless it says otherwise; `.git` is not kept, unless it says so.
    pub fn source(&self) -> GitSource {
        GitSource {
            remote: self.full_remote(),
            reference: self.reference.clone(),
            subdirectory: self.subdirectory.clone(),
            keep_git_directory: self.keep_git_directory.unwrap_or(false),
            checksum: self.checksum.clone(),
            submodules: self.submodules.unwrap_or(true),
            commit_times: self.times == Some(CheckoutTimes::Commit),
            fetch_by_commit: self.fetch_by_commit,
        }
    }

    /// `URL#reference`, and `:directory` behind it if it is asked for: the short form that is shown.
    pub fn short_form(&self, with_subdirectory: bool) -> String {
        let mut text = self.remote.clone();
        let subdirectory = self.subdirectory.as_deref().filter(|_| with_subdirectory);
        if self.reference.is_some() || subdirectory.is_some() {
            text.push('#');
            text.push_str(self.reference.as_deref().unwrap_or_default());
        }
        if let Some(subdirectory) = subdirectory {
            text.push(':');
            text.push_str(subdirectory.trim_start_matches('/'));
        }
        text
    }

    fn read_query(&mut self, query: &Query) -> Result<(), GitReferenceError> {
        let (mut tag, mut branch) = (None, None);
        for (name, values) in query {
            let value = match values.as_slice() {
                [] => None,
                [one] => Some(one.clone()).filter(|value| !value.is_empty()),
                _ => return Err(GitReferenceError::SeveralValues(name.clone())),
            };
            let required = || value.clone().ok_or_else(|| GitReferenceError::NoValue(name.clone()));
            match name.as_str() {
                "ref" => agree("ref", &mut self.reference, required()?)?,
                "tag" => tag = Some(required()?),
                "branch" => branch = Some(required()?),
                "subdir" => agree("subdir", &mut self.subdirectory, required()?)?,
                "checksum" | "commit" => self.checksum = Some(required()?),
                "keep-git-dir" => self.keep_git_directory = Some(switch(name, value.as_deref())?),
                "submodules" => self.submodules = Some(switch(name, value.as_deref())?),
                "fetch-by-commit" => self.fetch_by_commit = switch(name, value.as_deref())?,
                "mtime" => {
                    self.times = Some(match required()?.as_str() {
                        "checkout" => CheckoutTimes::Checkout,
                        "commit" => CheckoutTimes::Commit,
                        other => return Err(invalid(name, other)),
                    });
                }
                _ => return Err(GitReferenceError::UnknownQuery(name.clone())),
            }
        }
        if tag.is_some() && branch.is_some() {
            return Err(GitReferenceError::BranchAndTag);
        }
        for (prefix, name) in [("refs/tags/", tag), ("refs/heads/", branch)] {
            if let Some(name) = name {
                let full = if name.starts_with(prefix) {
                    name
                } else {
                    format!("{prefix}{name}")
                };
                agree("ref", &mut self.reference, full)?;
            }
        }
        Ok(())
    }
}

/// Sets what is not set yet, and refuses another value.
fn agree(what: &'static str, known: &mut Option<String>, value: String) -> Result<(), GitReferenceError> {
    match known {
        Some(first) if *first != value => Err(GitReferenceError::Conflict {
            what,
            first: first.clone(),
            second: value,
        }),
        _ => {
            *known = Some(value);
            Ok(())
        }
    }
}

/// A truth value; the name alone says yes.
fn switch(name: &str, value: Option<&str>) -> Result<bool, GitReferenceError> {
    match value {
        None => Ok(true),
        Some(text) => boolean(text).ok_or_else(|| invalid(name, text)),
    }
}

fn invalid(name: &str, value: &str) -> GitReferenceError {
    GitReferenceError::InvalidValue {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_read(text in "\\PC{0,40}", scheme in "(https://|git@|ssh://|github.com/|)", tail in "[?#:=&%a-z.]{0,20}") {
            let text = format!("{scheme}{text}{tail}");
            let _ = GitReference::parse(&text);
            let shown = crate::git::redacted(&text);
            prop_assert_eq!(crate::git::redacted(&shown), shown.clone());
        }
    }

    fn parsed(text: &str) -> GitReference {
        GitReference::parse(text).expect("valid").expect("a repository")
    }

    #[test]
    fn fragment_and_query_say_the_same() {
        let by_fragment = parsed("https://h/x.git#v1:dir");
        let by_query = parsed("https://h/x.git?ref=v1&subdir=dir");
        assert_eq!(by_fragment, by_query);
        assert_eq!(by_fragment.short_form(true), "https://h/x.git#v1:dir");
        assert_eq!(by_fragment.short_form(false), "https://h/x.git#v1");
    }

    #[test]
    fn contradictions_are_refused() {
        for (text, message) in [
            ("https://h/x.git?ref=a#b", "ref conflicts"),
            ("https://h/x.git?subdir=a#:b", "subdir conflicts"),
            ("https://h/x.git?tag=a&branch=b", "branch conflicts with tag"),
            ("https://h/x.git?tag=a&tag=b", "multiple values"),
            ("https://h/x.git?mtime=never", "invalid mtime value"),
            ("https://h/x.git?ref", "has no value"),
            ("https://h/x.git?depth=1", "unexpected query"),
        ] {
            let error = GitReference::parse(text).expect_err(text).to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn switches_need_no_value() {
        let reference = parsed("https://h/x.git?keep-git-dir&submodules=false&fetch-by-commit=1");
        assert_eq!(reference.keep_git_directory, Some(true));
        assert_eq!(reference.submodules, Some(false));
        assert!(reference.fetch_by_commit);
    }

    #[test]
    fn the_shorthand_gets_its_scheme() {
        let reference = parsed("github.com/a/b?tag=v1");
        assert!(reference.like_local_path);
        assert_eq!(reference.full_remote(), "https://github.com/a/b");
        assert_eq!(reference.reference.as_deref(), Some("refs/tags/v1"));
    }
}
