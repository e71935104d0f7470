//! Git repositories as people name them: contexts, named contexts and the sources of ADD.
//!
//! * [`url`] — addresses, standard (`https://…`) and of scp's form (`git@host:path`).
//! * [`reference`] — an address with what is wanted of the repository: `URL#ref:directory` and `URL?ref=…`.
//! * [`object`] — what a commit says about its author and time.
//! * [`remote`] — which of a checkout's remotes it came from.

pub mod object;
pub mod reference;
pub mod remote;
pub mod url;

pub use reference::{CheckoutTimes, GitReference, GitReferenceError};
pub use url::{GitUrl, Scheme, UrlError, is_http, redacted};

/// Whether a text is a whole object name: 40 hexadecimal digits in lower case (SHA-1), or 64 (SHA-256).
pub fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A path in a repository or an archive, from its root: nothing lies above that. Empty is the root itself.
pub fn clean_directory(path: &str) -> String {
    crate::path_pattern::clean(&format!("/{path}"))
        .trim_start_matches('/')
        .to_owned()
}

/// The same source, of which only a directory is meant: one below that which the text names itself, if it does.
///
/// `URL#ref` and `dir` are `URL#ref:dir`; where a query names a directory, it does so afterwards too.
pub fn below(text: &str, directory: &str) -> String {
    let directory = clean_directory(directory);
    if directory.is_empty() {
        return text.to_owned();
    }
    let joined = |known: &str| match clean_directory(known) {
        known if known.is_empty() => directory.clone(),
        known => format!("{known}/{directory}"),
    };
    let (address, fragment) = text.split_once('#').unwrap_or((text, ""));
    if let Some((reference, known)) = fragment.split_once(':').filter(|(_, known)| !known.is_empty()) {
        return format!("{address}#{reference}:{}", joined(known));
    }
    if let Some((address, query)) = address.split_once('?')
        && let Some(known) = query.split('&').find_map(|pair| pair.strip_prefix("subdir="))
    {
        let plain = url::decoded(&known.replace('+', " ")).unwrap_or_else(|_| known.to_owned());
        let whole = url::encoded(&joined(&plain));
        let pairs: Vec<String> = query
            .split('&')
            .map(|pair| match pair.starts_with("subdir=") {
                true => format!("subdir={whole}"),
                false => pair.to_owned(),
            })
            .collect();
        let fragment = if fragment.is_empty() {
            String::new()
        } else {
            format!("#{fragment}")
        };
        return format!("{address}?{}{fragment}", pairs.join("&"));
    }
    format!("{address}#{}:{directory}", fragment.trim_end_matches(':'))
}

/// Whether two texts name things on the same host, so that what proves who asks may be sent to both.
pub fn same_host(one: &str, two: &str) -> bool {
    match (host(one), host(two)) {
        (Some(one), Some(two)) => one.eq_ignore_ascii_case(&two),
        _ => false,
    }
}

/// The host of something remote, with its port if one is given.
pub fn host(text: &str) -> Option<String> {
    if !is_remote(text) {
        return None;
    }
    let shorthand = text.starts_with("github.com/");
    let url = if shorthand {
        GitUrl::standard(Scheme::Https, text)
    } else {
        GitUrl::parse(text)
    };
    url.ok().map(|url| url.host).filter(|host| !host.is_empty())
}

/// Whether a text names something that must be fetched: a URL of a file, or a git repository.
pub fn is_remote(text: &str) -> bool {
    is_http(text) || matches!(GitReference::parse(text), Ok(Some(_)) | Err(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_object_names_are_commits() {
        assert!(is_commit(&"0f".repeat(20)));
        assert!(is_commit(&"0f".repeat(32)));
        assert!(!is_commit(&"0F".repeat(20)));
        assert!(!is_commit("0f0f"));
    }

    #[test]
    fn directories_below_a_source() {
        for (text, directory, expected) in [
            ("https://h/x.git#main", "a/b", "https://h/x.git#main:a/b"),
            ("https://h/x.git", "a", "https://h/x.git#:a"),
            ("https://h/x.git", ".", "https://h/x.git"),
            ("https://h/x.git#main:a", "../b", "https://h/x.git#main:a/b"),
            ("https://h/x.git#main:/a/", "b/../c", "https://h/x.git#main:a/c"),
            ("https://h/x.git?branch=main", "a", "https://h/x.git?branch=main#:a"),
            (
                "https://h/x.git?subdir=a%20b&tag=v1",
                "c",
                "https://h/x.git?subdir=a%20b%2Fc&tag=v1",
            ),
            ("git@h:x.git#main", "a", "git@h:x.git#main:a"),
            ("https://h/x.tar.gz", "a", "https://h/x.tar.gz#:a"),
        ] {
            assert_eq!(below(text, directory), expected, "{text} {directory}");
        }
    }

    #[test]
    fn hosts_are_compared_with_their_ports() {
        assert!(same_host("https://h:1/x.git", "https://H:1/y.tar"));
        assert!(same_host("git@h:x.git", "https://h/x.git"));
        assert!(same_host("github.com/a/b", "https://github.com/c/d.git#x"));
        assert!(!same_host("https://h/x.git", "https://h:1/x.git"));
        assert!(!same_host("https://h/x.git", "cwd://src"));
        assert!(!same_host("src", "src"));
    }

    #[test]
    fn remote_things_are_told_from_paths() {
        for remote in [
            "https://h/x.tar",
            "git@h:x.git",
            "github.com/a/b",
            "ssh://h/x",
            "https://h/x.git?bad=1",
        ] {
            assert!(is_remote(remote), "{remote}");
        }
        for local in [".", "a/b", "./x.git", "docker-image://alpine", "C:/x"] {
            assert!(!is_remote(local), "{local}");
        }
    }
}
