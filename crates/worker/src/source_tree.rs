//! Where files are copied from: a context or the root of another step, seen the same way.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use kiln_image::plan::Content;
use kiln_image::view::{FollowLast, RootView, ViewError};
use kiln_oci::Digest;
use kiln_store::LayerId;
use kiln_store::index::{Entry, EntryKind};

use crate::destination::{base_name, components, push_component};
use crate::layers::Layers;
use crate::{WorkerError, glob};

/// Files with their entries. The view answers what there is, the place where the bytes are.
#[derive(Debug)]
pub struct SourceTree {
    /// What there is.
    pub view: RootView,
    /// Where the bytes are.
    pub place: Place,
}

/// Where the bytes of a source are.
#[derive(Debug)]
pub enum Place {
    /// Below a directory of the user's.
    Context(Arc<OwnedFd>),
    /// In the trees of layers, lowest first; None where no byte of a layer is asked for.
    Layers(Vec<(LayerId, Option<Arc<OwnedFd>>)>),
}

/// Why a source cannot be copied.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Nothing is there.
    #[error("failed to compute cache key: failed to calculate checksum of ref {origin}: \"/{path}\": not found")]
    NotFound {
        /// What was looked for.
        path: String,
        /// Where, as [`SourceTree::origin`] calls it.
        origin: &'static str,
    },
    /// The source cannot be read.
    #[error("failed to look up `{path}`")]
    View {
        /// What was looked up.
        path: String,
        /// Why.
        #[source]
        source: ViewError,
    },
}

/// One thing that a source pattern names.
#[derive(Debug, Clone)]
pub struct Selected {
    /// The path as it was matched: its last component names the copy.
    pub matched: Vec<u8>,
    /// The path with all links followed.
    pub path: Vec<u8>,
    /// What is there.
    pub entry: Entry,
}

impl SourceTree {
    /// The root of another step; `bytes`: its files will be read too.
    pub async fn of_root(layers: &Layers, root: &[LayerId], bytes: bool) -> Result<SourceTree, WorkerError> {
        let view = layers.view(root).await?;
        let mut place = Vec::with_capacity(root.len());
        for layer in root {
            let directory = if bytes {
                Some(layers.open_tree(layer).await?)
            } else {
                None
            };
            place.push((layer.clone(), directory));
        }
        Ok(SourceTree {
            view,
            place: Place::Layers(place),
        })
    }

    /// What `source` names, in order. A plain path must exist; a pattern may match nothing.
    pub fn select(&self, source: &str, wildcard: bool) -> Result<Vec<Selected>, SourceError> {
        let source = clean(source);
        let paths = match wildcard.then(|| glob::split(&source)).flatten() {
            None => vec![source.into_bytes()],
            Some((directory, pattern)) => self.matches(directory, pattern)?,
        };
        paths.into_iter().map(|matched| self.follow(matched)).collect()
    }

    /// Everything below a directory with its path relative to it, parents first, in order.
    pub fn walk<'a>(
        &'a self,
        directory: &[u8],
        mut visit: impl FnMut(&[u8], &'a Entry) -> bool,
    ) -> Result<(), SourceError> {
        self.walk_into(directory, &mut Vec::new(), &mut visit)
    }

    fn walk_into<'a>(
        &'a self,
        directory: &[u8],
        relative: &mut Vec<u8>,
        visit: &mut impl FnMut(&[u8], &'a Entry) -> bool,
    ) -> Result<(), SourceError> {
        let children = self.view.children(directory);
        for child in children.map_err(|source| view_error(directory, source))? {
            let length = relative.len();
            push_component(relative, base_name(child.path));
            if visit(relative, child.entry) && child.entry.is_directory() {
                self.walk_into(child.path, relative, visit)?;
            }
            relative.truncate(length);
        }
        Ok(())
    }

    fn matches(&self, directory: &str, pattern: &str) -> Result<Vec<Vec<u8>>, SourceError> {
        let found = self
            .view
            .lookup(directory.as_bytes(), FollowLast::Yes)
            .map_err(|source| view_error(directory.as_bytes(), source))?;
        let Some(found) = found else {
            return Ok(Vec::new());
        };
        let root = found.path.clone();
        let mut matched = Vec::new();
        self.walk(&root, |relative, _| {
            let hit = glob::matches(pattern, relative);
            if hit {
                let mut path = root.clone();
                push_component(&mut path, relative);
                matched.push(path);
            }
            !hit && glob::may_match_below(pattern, relative)
        })?;
        Ok(matched)
    }

    fn follow(&self, matched: Vec<u8>) -> Result<Selected, SourceError> {
        let found = self
            .view
            .lookup(&matched, FollowLast::Yes)
            .map_err(|source| view_error(&matched, source))?;
        match found {
            Some(found) => Ok(Selected {
                path: found.path.clone(),
                entry: found.entry.clone(),
                matched,
            }),
            None => Err(SourceError::NotFound {
                path: String::from_utf8_lossy(&matched).into_owned(),
                origin: self.origin(),
            }),
        }
    }

    /// Where the bytes of a file are.
    pub fn content(&self, path: &[u8]) -> Result<Content, SourceError> {
        let (dir, path) = match &self.place {
            Place::Context(dir) => (Some(dir.clone()), path.to_vec()),
            Place::Layers(layers) => {
                let found = self
                    .view
                    .lookup(path, FollowLast::No)
                    .map_err(|source| view_error(path, source))?;
                let found = found.ok_or_else(|| SourceError::NotFound {
                    path: String::from_utf8_lossy(path).into_owned(),
                    origin: self.origin(),
                })?;
                (
                    layers.get(found.layer).and_then(|(_, dir)| dir.clone()),
                    found.path.clone(),
                )
            }
        };
        match dir {
            Some(dir) => Ok(Content::In { dir, path, stamp: None }),
            None => Err(SourceError::NotFound {
                path: String::from_utf8_lossy(&path).into_owned(),
                origin: self.origin(),
            }),
        }
    }

    /// What messages call it.
    pub fn origin(&self) -> &'static str {
        match self.place {
            Place::Context(_) => "context",
            Place::Layers(_) => "another step's root",
        }
    }

    /// Whether owners of this source count: a context's are the user's own and never do.
    pub fn keeps_owners(&self) -> bool {
        matches!(self.place, Place::Layers(_))
    }
}

/// The digest of a file's content, if its entry knows it.
pub fn known_digest(entry: &Entry) -> Option<&Digest> {
    match &entry.kind {
        EntryKind::File { digest, .. } => digest.as_ref(),
        _ => None,
    }
}

/// Lexically cleaned, relative to the root; a path never leads above it.
pub fn clean(path: &str) -> String {
    let mut cleaned: Vec<u8> = Vec::new();
    for component in components(path.as_bytes()) {
        if component == b".." {
            let length = crate::destination::parent(&cleaned).len();
            cleaned.truncate(length);
        } else {
            push_component(&mut cleaned, component);
        }
    }
    String::from_utf8_lossy(&cleaned).into_owned()
}

fn view_error(path: &[u8], source: ViewError) -> SourceError {
    SourceError::View {
        path: String::from_utf8_lossy(path).into_owned(),
        source,
    }
}

/// Opens a directory to read files below it.
pub fn open_directory(path: &Path) -> std::io::Result<Arc<OwnedFd>> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(Arc::new(rustix::fs::open(path, flags, Mode::empty())?))
}
