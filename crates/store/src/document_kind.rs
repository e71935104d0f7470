//! How each kind of document ages, and what it keeps from being collected.
//!
//! A new kind gets a row in [`KINDS`]. A kind without one is treated with care: its documents stay for good, and so
//! does every blob whose digest they spell.

use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What garbage collection must know of a kind of document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DocumentKind {
    /// The kind, as it is given to [`crate::Store::put_document`].
    pub name: &'static str,
    /// When its documents go.
    pub ageing: Ageing,
    /// Which blobs its documents keep for as long as they are here.
    pub keeps: Keeps,
}

/// When the documents of a kind go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ageing {
    /// Never by themselves: they are removed by whoever put them.
    Never,
    /// A person gave the name. Goes only when everything is asked for, or, if the image was pushed, as if it were
    /// cached: then it can be fetched again.
    Name,
    /// Least recently used first, when room is needed, and in any case when unused for this long. Used means: put, or
    /// one of its blobs was.
    Unused(Duration),
    /// As the document of the same name in another kind: it goes with that one.
    With(&'static str),
}

/// Which blobs a document keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// None.
    Nothing,
    /// Those whose digests its name or its body spells.
    Spelled,
    /// Those, and what they name in turn: an image with its manifests, configurations and layers.
    Image,
}

/// The kinds that are known. See the documentation of the module.
pub const KINDS: &[DocumentKind] = &[
    // What an image of this store is called: a descriptor.
    kind("image", Ageing::Name, Keeps::Image),
    // The digest under which an image of that name was last pushed.
    kind(PUSHED, Ageing::With("image"), Keeps::Nothing),
    // What a reference pointed at when a registry was last asked.
    kind("resolved", Ageing::Unused(DAY.saturating_mul(30)), Keeps::Image),
    // What is known of a URL.
    kind("http", Ageing::Unused(DAY.saturating_mul(30)), Keeps::Nothing),
    // What is known of a checkout of a git repository.
    kind("git", Ageing::Unused(DAY.saturating_mul(30)), Keeps::Nothing),
    // What the audit learnt of a layer.
    kind("audit-facts", Ageing::Unused(DAY.saturating_mul(30)), Keeps::Nothing),
    // The embedded registry's. Its own clients delete.
    kind("registry-blob", Ageing::Never, Keeps::Spelled),
    kind("registry-manifest", Ageing::Never, Keeps::Spelled),
    kind("registry-tag", Ageing::Never, Keeps::Spelled),
    kind("registry-referrer", Ageing::Never, Keeps::Spelled),
];

/// The kind that says that an image is in a registry too.
pub(crate) const PUSHED: &str = "pushed";

const fn kind(name: &'static str, ageing: Ageing, keeps: Keeps) -> DocumentKind {
    DocumentKind { name, ageing, keeps }
}

/// What is known of a kind; the careful answer for one that is not known.
pub(crate) fn kind_of(name: &str) -> DocumentKind {
    let known = KINDS.iter().find(|kind| kind.name == name).copied();
    known.unwrap_or(kind("", Ageing::Never, Keeps::Image))
}

/// Every digest that a text spells, in order.
pub(crate) fn digests_in(bytes: &[u8]) -> Vec<kiln_oci::Digest> {
    use kiln_oci::Algorithm::{Sha256, Sha384, Sha512};
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some(position) = rest.windows(3).position(|window| window == b"sha") {
        rest = &rest[position..];
        let digest = [(Sha256, 64), (Sha384, 96), (Sha512, 128)]
            .into_iter()
            .find_map(|(algorithm, length)| {
                let name = algorithm.name().len() + 1;
                std::str::from_utf8(rest.get(..name + length)?).ok()?.parse().ok()
            });
        rest = &rest[3..];
        found.extend(digest);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_oci::Digest;

    #[test]
    fn digests_are_found_wherever_they_stand() {
        let (a, b) = (Digest::sha256("a"), Digest::sha256("b"));
        let text = format!("app@{a}/sha256:zz {{\"digest\":\"{b}\",\"x\":\"sha\"}}sha256:");
        assert_eq!(digests_in(text.as_bytes()), [a, b]);
        assert_eq!(digests_in(b"sha"), []);
    }

    #[test]
    fn a_kind_that_nobody_knows_is_kept_with_all_it_names() {
        let unknown = kind_of("from-the-future");
        assert_eq!((unknown.ageing, unknown.keeps), (Ageing::Never, Keeps::Image));
    }
}
