//! The sources of ADD that are fetched: git repositories and URLs.

use kiln_graph::{GitSource, HttpSource};

use crate::diagnostic::SyntaxError;
use crate::git::{GitReference, is_http};
use crate::instruction::Copy;

/// Something that ADD fetches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RemoteSource {
    Git(GitSource),
    Http(HttpSource),
}

/// What a source of ADD fetches, with the flags of its instruction. None: it is a path.
pub(crate) fn remote_source(
    source: &str,
    add: &Copy,
    checksum: Option<&str>,
) -> Result<Option<RemoteSource>, SyntaxError> {
    let reference = GitReference::parse(source).map_err(|error| SyntaxError::new(error.to_string()))?;
    // `github.com/owner/name` could be a path.
    if let Some(reference) = reference.filter(|reference| !reference.like_local_path) {
        return git(&reference, add, checksum).map(|git| Some(RemoteSource::Git(git)));
    }
    if !is_http(source) {
        return Ok(None);
    }
    let checksum = checksum.map(str::parse).transpose();
    let checksum = checksum.map_err(|error| SyntaxError::new(format!("failed to parse checksum: {error}")))?;
    Ok(Some(RemoteSource::Http(HttpSource {
        url: source.to_owned(),
        checksum,
        filename: file_name(source),
    })))
}

/// The flags and the address must not say different things.
fn git(reference: &GitReference, add: &Copy, checksum: Option<&str>) -> Result<GitSource, SyntaxError> {
    let mut source = reference.source();
    match (add.keep_git_directory, reference.keep_git_directory) {
        (Some(flag), Some(query)) if flag != query => {
            return Err(SyntaxError::new("inconsistent keep-git-dir configuration")
                .hint("the flag `--keep-git-dir` and `keep-git-dir` of the address differ: write one of them"));
        }
        (Some(flag), _) => source.keep_git_directory = flag,
        (None, _) => {}
    }
    match (checksum, &reference.checksum) {
        (Some(flag), Some(query)) if flag != query => {
            return Err(SyntaxError::new(format!("checksum mismatch {query:?} != {flag:?}"))
                .hint("the flag `--checksum` and `checksum` of the address differ: write one of them"));
        }
        (Some(flag), _) => source.checksum = Some(flag.to_owned()),
        (None, _) => {}
    }
    Ok(source)
}

/// The name that a URL's file has: the last part of its path.
fn file_name(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    let path = path.split_once('/').map_or("", |(_, path)| path);
    let path = crate::git::url::decoded(path).unwrap_or_else(|_| path.to_owned());
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    match name {
        "" | "." | ".." => "__unnamed__".to_owned(),
        name => name.replace('\0', ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_the_last_part_of_the_path() {
        for (url, name) in [
            ("https://h/a/b.tar?x=/y#z", "b.tar"),
            ("https://h/a%20b", "a b"),
            ("https://h/a/", "a"),
            ("https://h", "__unnamed__"),
            ("https://h/?q", "__unnamed__"),
            ("https://h/a/..", "__unnamed__"),
        ] {
            assert_eq!(file_name(url), name, "{url}");
        }
    }

    #[test]
    fn flags_and_address_must_agree() {
        let add = Copy {
            add: true,
            keep_git_directory: Some(true),
            ..Copy::default()
        };
        let parsed = remote_source("https://h/x.git?keep-git-dir=false", &add, None);
        assert!(parsed.expect_err("they differ").message.contains("inconsistent"));
        let parsed = remote_source("https://h/x.git?commit=aa", &add, Some("bb"));
        assert!(parsed.expect_err("they differ").message.contains("mismatch"));
        let Ok(Some(RemoteSource::Git(git))) = remote_source("git@h:x#v1:d", &add, Some("ab")) else {
            panic!("a repository");
        };
        assert!(git.keep_git_directory && git.submodules);
        assert_eq!(git.subdirectory.as_deref(), Some("d"));
    }

    #[test]
    fn paths_are_no_sources_to_fetch() {
        let add = Copy::default();
        for path in ["a/b", "github.com/a/b", "./x.git", "x.git", "*"] {
            assert_eq!(remote_source(path, &add, None), Ok(None), "{path}");
        }
    }
}
