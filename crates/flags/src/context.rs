//! `--build-context`: further sources of files and base images by name.

use std::collections::BTreeMap;

use kiln_oci::{Digest, Reference};

use crate::FlagError;

/// What begins the value of an image layout.
const LAYOUT: &str = "oci-layout://";

/// Reads every value. Names are those of images in their short form, without the tag `latest`. Empty ones are left out.
pub fn contexts(written: &[String]) -> Result<BTreeMap<String, String>, FlagError> {
    let mut contexts = BTreeMap::new();
    for text in written.iter().filter(|text| !text.is_empty()) {
        let (name, value) = text.split_once('=').ok_or_else(|| FlagError::Context(text.clone()))?;
        let reference = Reference::parse_normalized(name).map_err(|_| FlagError::ContextName(name.to_owned()))?;
        let familiar = reference.familiar();
        let name = familiar.strip_suffix(":latest").unwrap_or(&familiar).to_owned();
        contexts.insert(name, value.to_owned());
    }
    Ok(contexts)
}

/// An image in a layout on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutReference {
    /// The directory.
    pub path: String,
    /// The image's tag; `latest` if neither tag nor digest is given.
    pub tag: Option<String>,
    /// Its digest.
    pub digest: Option<Digest>,
}

impl LayoutReference {
    /// Reads `oci-layout://PATH[:TAG][@DIGEST]`. None: it is something else.
    pub fn parse(text: &str) -> Result<Option<LayoutReference>, FlagError> {
        let Some(mut path) = text.strip_prefix(LAYOUT) else {
            return Ok(None);
        };
        let mut digest = None;
        if let Some((before, after)) = path.rsplit_once('@')
            && looks_like_digest(after)
        {
            digest = Some(after.parse().map_err(|_| FlagError::Digest(after.to_owned()))?);
            path = before;
        }
        let mut tag = None;
        if let Some((before, after)) = path.rsplit_once(':')
            && kiln_oci::is_tag(after)
            && !is_drive(path, before.len())
        {
            tag = Some(after.to_owned());
            path = before;
        }
        if tag.is_none() && digest.is_none() {
            tag = Some("latest".to_owned());
        }
        Ok(Some(LayoutReference {
            path: path.to_owned(),
            tag,
            digest,
        }))
    }
}

/// `algorithm:hex`, at least 32 digits.
fn looks_like_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, hex)| {
        algorithm.starts_with(|first: char| first.is_ascii_alphabetic())
            && algorithm
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || "+._-".contains(letter))
            && hex.len() >= 32
            && hex.chars().all(|digit| digit.is_ascii_hexdigit())
    })
}

/// Whether a colon is that of a drive's letter.
fn is_drive(path: &str, colon: usize) -> bool {
    colon == 1 && path.starts_with(|letter: char| letter.is_ascii_alphabetic()) && path[2..].starts_with(['/', '\\'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_images() {
        let found = contexts(&["docker.io/library/a:latest=x=y".into(), "b=./c".into()]).expect("valid");
        assert_eq!(found["a"], "x=y");
        assert_eq!(found["b"], "./c");
        assert!(contexts(&["a".into()]).is_err());
        assert!(contexts(&["A B=c".into()]).is_err());
    }

    #[test]
    fn a_layout_has_a_tag_or_a_digest() {
        let read = |text: &str| LayoutReference::parse(text).expect("valid").expect("a layout");
        assert_eq!(read("oci-layout:///a").tag.as_deref(), Some("latest"));
        assert_eq!(read("oci-layout:///a:1.3").path, "/a");
        assert_eq!(read("oci-layout:///a/@/b").path, "/a/@/b");
        assert_eq!(read("oci-layout://C:\\a").path, "C:\\a");
        let digest = format!("sha256:{}", "0".repeat(64));
        let both = read(&format!("oci-layout:///a:1@{digest}"));
        assert_eq!(
            (both.tag.as_deref(), both.digest.map(|digest| digest.to_string())),
            (Some("1"), Some(digest))
        );
        assert!(LayoutReference::parse("oci-layout:///a@sha256:0123456789abcdef0123456789abcdef").is_err());
        assert_eq!(LayoutReference::parse("./a"), Ok(None));
    }
}
