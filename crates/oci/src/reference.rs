//! Image references: `domain/path[:tag][@digest]`, read and normalised as the distribution project's reference
//! library does.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::Digest;

/// The registry that a name without a domain belongs to.
pub const DEFAULT_DOMAIN: &str = "docker.io";

/// Longest path in characters; the domain does not count.
const MAX_NAME: usize = 255;

/// A normalised reference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is no reference. The messages are the library's, so that users recognise them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Not of the form.
    #[error("invalid reference format")]
    Format,
    /// Upper-case letters in the path.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// 64 hexadecimal characters: the identifier of an image, not its name.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    Identifier(String),
    /// Longer than 255 characters.
    #[error("repository name must not be more than 255 characters")]
    TooLong,
    /// Nothing.
    #[error("repository name must have at least one component")]
    Empty,
    /// What follows `@` is no digest.
    #[error("invalid reference format: `{text}` after @ is no digest")]
    NotADigest {
        /// The part before `@`.
        name: String,
        /// The part after it.
        text: String,
    },
    /// A digest of an unknown algorithm or a wrong length.
    #[error(transparent)]
    Digest(crate::DigestError),
}

static PATH: LazyLock<Regex> = LazyLock::new(|| {
    let component = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
    Regex::new(&format!("^{component}(?:/{component})*$")).expect("a constant that compiles")
});
static DOMAIN: LazyLock<Regex> = LazyLock::new(|| {
    let label = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
    Regex::new(&format!(
        "^(?:{label}(?:\\.{label})*|\\[(?:[a-fA-F0-9:]+)\\])(?::[0-9]+)?$"
    ))
    .expect("a constant that compiles")
});
static TAG: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$").expect("a constant that compiles"));
static DIGEST: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("^[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}$")
        .expect("a constant that compiles")
});

/// Whether a text is a registry's domain with an optional port.
pub fn is_domain(text: &str) -> bool {
    DOMAIN.is_match(text)
}

/// Whether a text is a tag.
pub fn is_tag(text: &str) -> bool {
    TAG.is_match(text)
}

impl Reference {
    /// Reads what people write: `alpine` is `docker.io/library/alpine`.
    pub fn parse_normalized(text: &str) -> Result<Reference, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        let is_identifier = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_identifier {
            return Err(ReferenceError::Identifier(text.to_owned()));
        }
        let (domain, remainder) = split_domain(text);
        let name_end = remainder.find([':', '@']).unwrap_or(remainder.len());
        if remainder[..name_end].chars().any(char::is_uppercase) {
            return Err(ReferenceError::Uppercase(remainder[..name_end].to_owned()));
        }
        Reference::from_parts(&domain, &remainder)
    }

    /// From a domain and what follows it.
    fn from_parts(domain: &str, remainder: &str) -> Result<Reference, ReferenceError> {
        let (rest, digest) = match remainder.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (remainder, None),
        };
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        if !DOMAIN.is_match(domain) || !PATH.is_match(path) || tag.is_some_and(|tag| !TAG.is_match(tag)) {
            return Err(ReferenceError::Format);
        }
        let digest = match digest {
            None => None,
            Some(text) if !DIGEST.is_match(text) => {
                return Err(ReferenceError::NotADigest {
                    name: rest.to_owned(),
                    text: text.to_owned(),
                });
            }
            Some(text) => Some(text.parse().map_err(ReferenceError::Digest)?),
        };
        if path.len() > MAX_NAME {
            return Err(ReferenceError::TooLong);
        }
        Ok(Reference {
            domain: domain.to_owned(),
            path: path.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// The registry, with its port.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within the registry.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Domain and path.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same name with another tag.
    pub fn with_tag(&self, tag: &str) -> Result<Reference, ReferenceError> {
        if !TAG.is_match(tag) {
            return Err(ReferenceError::Format);
        }
        Ok(Reference {
            tag: Some(tag.to_owned()),
            ..self.clone()
        })
    }

    /// The same name and tag with a digest.
    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference {
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// The name alone.
    pub fn without_tag_and_digest(&self) -> Reference {
        Reference {
            tag: None,
            digest: None,
            ..self.clone()
        }
    }

    /// With the tag `latest` if there is neither tag nor digest.
    pub fn tagged_latest(&self) -> Reference {
        match (&self.tag, &self.digest) {
            (None, None) => Reference {
                tag: Some("latest".to_owned()),
                ..self.clone()
            },
            _ => self.clone(),
        }
    }

    /// The short spelling: `docker.io/library/alpine:3` → `alpine:3`.
    pub fn familiar(&self) -> String {
        let text = self.to_string();
        match text.strip_prefix("docker.io/") {
            Some(rest) => match rest.strip_prefix("library/") {
                // A deeper path keeps its first part: without it, it would be another user's.
                Some(official) if !official.contains('/') => official.to_owned(),
                _ => rest.to_owned(),
            },
            None => text,
        }
    }

    /// The short spelling of the name alone.
    pub fn familiar_name(&self) -> String {
        self.without_tag_and_digest().familiar()
    }
}

/// Splits what is before the first slash off if it can only be a registry.
fn split_domain(text: &str) -> (String, String) {
    let (domain, remainder) = match text.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" || first.to_lowercase() != first => {
            let domain = if first == "index.docker.io" {
                DEFAULT_DOMAIN
            } else {
                first
            };
            (domain.to_owned(), rest.to_owned())
        }
        _ => (DEFAULT_DOMAIN.to_owned(), text.to_owned()),
    };
    if domain == DEFAULT_DOMAIN && !remainder.contains('/') {
        return (domain, format!("library/{remainder}"));
    }
    (domain, remainder)
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Reference, ReferenceError> {
        Reference::parse_normalized(text)
    }
}

impl TryFrom<String> for Reference {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Reference, ReferenceError> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> String {
        reference.to_string()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_normalised() {
        let table = [
            ("alpine", "docker.io/library/alpine"),
            ("alpine:3.20", "docker.io/library/alpine:3.20"),
            ("user/app", "docker.io/user/app"),
            ("index.docker.io/alpine", "docker.io/library/alpine"),
            ("localhost/app", "localhost/app"),
            ("localhost:5000/a/b:c", "localhost:5000/a/b:c"),
            ("[::1]:5000/a", "[::1]:5000/a"),
        ];
        for (text, expected) in table {
            let reference: Reference = text.parse().expect(text);
            assert_eq!(reference.to_string(), expected);
        }
    }

    #[test]
    fn what_is_no_reference_says_why() {
        let error = |text: &str| Reference::parse_normalized(text).expect_err(text);
        assert_eq!(error(""), ReferenceError::Empty);
        assert_eq!(error("Alpine"), ReferenceError::Uppercase("library/Alpine".into()));
        assert_eq!(error("a b"), ReferenceError::Format);
        assert_eq!(error(&"a".repeat(64)), ReferenceError::Identifier("a".repeat(64)));
        assert_eq!(
            error("app@20250324-101500"),
            ReferenceError::NotADigest {
                name: "library/app".into(),
                text: "20250324-101500".into()
            }
        );
        assert!(matches!(
            error(&format!("app@sha256:{}", "a".repeat(40))),
            ReferenceError::Digest(_)
        ));
    }

    #[test]
    fn short_spellings() {
        let reference: Reference = "docker.io/library/alpine:3".parse().expect("valid");
        assert_eq!(reference.familiar(), "alpine:3");
        assert_eq!(reference.familiar_name(), "alpine");
        assert_eq!(reference.without_tag_and_digest().tagged_latest().tag(), Some("latest"));
    }
}
