//! What a person sees of a store, and what can be asked for.

use std::fmt;
use std::str::FromStr;

/// A kind of thing that takes up room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemKind {
    /// A compressed layer, a manifest, a configuration.
    #[default]
    Blob,
    /// An unpacked layer.
    Tree,
    /// The list of what is in a layer.
    Index,
    /// The result of a step, in the database.
    Record,
    /// A small named document: a name of an image, what a tag pointed at.
    Document,
    /// A directory of `RUN --mount=type=cache`.
    CacheMount,
    /// A fetched git repository.
    Repository,
    /// The digests of a context's files.
    Context,
    /// What a running process works on.
    Session,
    /// What a repair moved out of the way.
    Aside,
}

impl ItemKind {
    /// All of them, in the order in which they are shown.
    pub const ALL: [ItemKind; 10] = [
        ItemKind::Blob,
        ItemKind::Tree,
        ItemKind::Index,
        ItemKind::Record,
        ItemKind::Document,
        ItemKind::CacheMount,
        ItemKind::Repository,
        ItemKind::Context,
        ItemKind::Session,
        ItemKind::Aside,
    ];

    /// The plural by which it is known.
    pub fn name(self) -> &'static str {
        match self {
            ItemKind::Blob => "blobs",
            ItemKind::Tree => "trees",
            ItemKind::Index => "indexes",
            ItemKind::Record => "records",
            ItemKind::Document => "documents",
            ItemKind::CacheMount => "cache mounts",
            ItemKind::Repository => "repositories",
            ItemKind::Context => "contexts",
            ItemKind::Session => "sessions",
            ItemKind::Aside => "aside",
        }
    }
}

impl fmt::Display for ItemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One thing that takes up room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreItem {
    /// What it is.
    pub kind: ItemKind,
    /// Digest, layer id, cache key or name.
    pub id: String,
    /// What people know it by; may be empty.
    pub description: String,
    /// The platform of a step.
    pub platform: Option<String>,
    /// What it takes up on disk, in bytes.
    pub bytes: u64,
    /// When it was made, in seconds since the Unix epoch, where that is known.
    pub created_unix: Option<i64>,
    /// When it was last used, in seconds since the Unix epoch.
    pub used_unix: i64,
    /// Whether more than one thing stands on it.
    pub shared: bool,
    /// Whether a running process holds it.
    pub in_use: bool,
    /// Whether a name that stays keeps it.
    pub named: bool,
}

/// What may be asked for with `type=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Results of steps, and the layers that only they need.
    Record,
    /// Layers that no record needs.
    Layer,
    /// Blobs that nothing needs.
    Blob,
    /// Names of images.
    Image,
    /// What tags pointed at, what is known of URLs.
    Document,
    /// Directories of `RUN --mount=type=cache`.
    CacheMount,
    /// Fetched git repositories.
    Repository,
    /// Digests of contexts' files.
    Context,
    /// What explains why an evicted step runs again.
    Evicted,
    /// What a repair moved out of the way.
    Aside,
}

/// A word after `type=` that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown type `{0}`")]
pub struct UnknownClass(pub String);

/// Some of the classes, by Kiln's own words or by those of `docker buildx prune`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classes(Vec<Class>);

impl FromStr for Classes {
    type Err = UnknownClass;

    fn from_str(word: &str) -> Result<Classes, UnknownClass> {
        use Class::{Aside, Blob, CacheMount, Context, Document, Evicted, Image, Layer, Record, Repository};
        let classes = match word {
            "record" => vec![Record],
            "layer" => vec![Layer],
            "blob" => vec![Blob],
            "image" => vec![Image],
            "document" => vec![Document],
            "mount" | "exec.cachemount" => vec![CacheMount],
            "context" | "source.local" => vec![Context],
            "repository" | "source.git.checkout" => vec![Repository],
            "aside" => vec![Aside],
            "regular" => vec![Record, Layer, Blob, Document],
            "internal" => vec![Evicted, Aside],
            // A kind of the peer's that has no counterpart here.
            "frontend" => Vec::new(),
            _ => return Err(UnknownClass(word.to_owned())),
        };
        Ok(Classes(classes))
    }
}

/// Which things may go. What stands only under them goes with them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CollectFilter {
    /// Only these classes; all if none is given.
    pub classes: Vec<Classes>,
    /// Only what begins with one of these.
    pub ids: Vec<String>,
    /// Only what has this in its description.
    pub description: Option<String>,
    /// Only what more than one thing stands on, or only the rest.
    pub shared: Option<bool>,
    /// Only what steps change (cache mounts), or only the rest.
    pub mutable: Option<bool>,
    /// Only what a running process holds (none of which can go), or only the rest.
    pub in_use: Option<bool>,
}

impl CollectFilter {
    pub(crate) fn matches(&self, class: Class, item: &StoreItem) -> bool {
        let is = |wanted: Option<bool>, value: bool| wanted.is_none_or(|wanted| wanted == value);
        let bare = |id: &str| id.split_once(':').map_or_else(String::new, |(_, hex)| hex.to_owned());
        (self.classes.is_empty() || self.classes.iter().any(|classes| classes.0.contains(&class)))
            && (self.ids.is_empty()
                || self
                    .ids
                    .iter()
                    .any(|id| item.id.starts_with(id) || bare(&item.id).starts_with(id)))
            && self
                .description
                .as_ref()
                .is_none_or(|text| item.description.contains(text.as_str()))
            && is(self.shared, item.shared)
            && is(self.mutable, class == Class::CacheMount)
            && is(self.in_use, item.in_use)
    }
}
