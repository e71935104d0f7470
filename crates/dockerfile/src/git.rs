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
