//! The root that files are copied to, as it becomes: what the layers below answer, and what was added above.
//!
//! Questions about it (is this a directory, where does that link lead) are answered from layer indexes, so
//! nothing is unpacked or mounted to copy files.

use std::collections::BTreeMap;

use kiln_image::plan::{Content, LayerPlan, PlannedEntry};
use kiln_image::view::{FollowLast, RootView};
use kiln_store::index::{Entry, EntryKind, Mtime};

use crate::owner::OwnerIds;

/// More hops than this are a loop, as for the kernel.
const MAX_LINKS: usize = 255;

/// Why something cannot be put where it should go. Paths are of the root that is copied to.
#[derive(Debug, thiserror::Error)]
pub enum DestinationError {
    /// A directory is needed where something else is.
    #[error("cannot copy to non-directory: {0}")]
    NotADirectory(String),
    /// A file cannot take the place of a directory.
    #[error("cannot replace to directory {0} with file")]
    IsADirectory(String),
    /// Symbolic links that lead around.
    #[error("too many levels of symbolic links in `{0}`")]
    Loop(String),
    /// The layers below cannot be read.
    #[error("failed to look up `{path}` in the image")]
    View {
        /// What was looked up.
        path: String,
        /// Why.
        #[source]
        source: kiln_image::view::ViewError,
    },
}

/// A path for messages: absolute, lossily as text.
pub fn shown(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Directory { mode: u32, owner: OwnerIds },
    Link(Vec<u8>),
    Other,
}

/// A root with additions.
#[derive(Debug)]
pub struct Destination<'a> {
    base: &'a RootView,
    added: BTreeMap<Vec<u8>, PlannedEntry>,
    /// The last directory that is known to be among them with all that leads to it.
    led_to: Option<Vec<u8>>,
    time: Mtime,
}

impl<'a> Destination<'a> {
    /// Nothing added yet. Everything that is made here gets `time`.
    pub fn new(base: &'a RootView, time: Mtime) -> Destination<'a> {
        Destination {
            base,
            added: BTreeMap::new(),
            led_to: None,
            time,
        }
    }

    /// The time of everything that is made.
    pub fn time(&self) -> Mtime {
        self.time
    }

    /// What was added, as one layer.
    pub fn into_plan(self) -> LayerPlan {
        let mut entries: Vec<PlannedEntry> = self.added.into_values().collect();
        kiln_image::links::settle(
            &mut entries,
            |planned| &mut planned.entry,
            |file, link| std::mem::swap(&mut file.content, &mut link.content),
        );
        LayerPlan { entries }
    }

    /// The path with every symbolic link followed, the last one too. What does not exist stays as it is written.
    pub fn resolve(&self, path: &[u8]) -> Result<Vec<u8>, DestinationError> {
        let mut pending: Vec<Vec<u8>> = components(path).rev().map(<[u8]>::to_vec).collect();
        let mut resolved: Vec<u8> = Vec::new();
        let mut links = 0;
        while let Some(component) = pending.pop() {
            if component == b".." {
                truncate_last(&mut resolved);
                continue;
            }
            let parent = resolved.len();
            push_component(&mut resolved, &component);
            if let Some(Node::Link(target)) = self.node(&resolved)? {
                links += 1;
                if links > MAX_LINKS {
                    return Err(DestinationError::Loop(shown(path)));
                }
                resolved.truncate(if target.starts_with(b"/") { 0 } else { parent });
                pending.extend(components(&target).rev().map(<[u8]>::to_vec));
            }
        }
        Ok(resolved)
    }

    /// Whether a resolved path is a directory. None: nothing is there.
    pub fn is_directory(&self, resolved: &[u8]) -> Result<Option<bool>, DestinationError> {
        Ok(self.node(resolved)?.map(|node| matches!(node, Node::Directory { .. })))
    }

    /// Makes a directory and its parents, all of `mode` and `owner`; what exists stays as it is. Gives the
    /// resolved path.
    pub fn make_directories(&mut self, path: &[u8], mode: u32, owner: OwnerIds) -> Result<Vec<u8>, DestinationError> {
        let resolved = self.resolve(path)?;
        let mut prefix = Vec::new();
        for component in components(&resolved) {
            push_component(&mut prefix, component);
            match self.node(&prefix)? {
                Some(Node::Directory { .. }) => {}
                Some(_) => return Err(DestinationError::NotADirectory(shown(&prefix))),
                None => self.add(directory(prefix.clone(), mode, owner, self.time))?,
            }
        }
        Ok(resolved)
    }

    /// Puts a copied directory at a path whose parent exists: made if nothing is there, else kept, with the new
    /// mode, owner and attributes if `overwrite` says so.
    pub fn put_directory(&mut self, entry: Entry, overwrite: bool) -> Result<(), DestinationError> {
        match self.node(&entry.path)? {
            None => self.add(PlannedEntry {
                entry,
                content: Content::None,
            }),
            Some(Node::Directory { .. }) if overwrite => self.add(PlannedEntry {
                entry,
                content: Content::None,
            }),
            Some(Node::Directory { .. }) => Ok(()),
            Some(_) => Err(DestinationError::NotADirectory(shown(&entry.path))),
        }
    }

    /// Puts anything but a directory at a path whose parent exists.
    pub fn put(&mut self, planned: PlannedEntry) -> Result<(), DestinationError> {
        if let Some(Node::Directory { .. }) = self.node(&planned.entry.path)? {
            return Err(DestinationError::IsADirectory(shown(&planned.entry.path)));
        }
        self.add(planned)
    }

    /// The path with the links that lead to it followed, but not the last one.
    pub fn resolve_parent(&self, path: &[u8]) -> Result<Vec<u8>, DestinationError> {
        let mut resolved = self.resolve(parent(path))?;
        push_component(&mut resolved, base_name(path));
        Ok(resolved)
    }

    /// Puts anything at a path whose parent exists, in the place of whatever is there: only a directory on a directory
    /// leaves the contents.
    pub fn replace(&mut self, planned: PlannedEntry) -> Result<(), DestinationError> {
        let path = &planned.entry.path;
        if self.is_directory(path)? == Some(true) && !planned.entry.is_directory() {
            let below = [path.as_slice(), b"/"].concat();
            self.added.retain(|added, _| !added.starts_with(&below));
            self.led_to = None;
        }
        self.add(planned)
    }

    /// A layer carries the directories that lead to what it changes, as they are below: their own entries would
    /// otherwise be made anew, with other modes, by whoever unpacks the layer alone.
    fn add(&mut self, planned: PlannedEntry) -> Result<(), DestinationError> {
        let directory = parent(&planned.entry.path);
        // Files of one directory mostly come one after the other.
        if self.led_to.as_deref() != Some(directory) {
            self.lead_to(directory)?;
            self.led_to = Some(directory.to_vec());
        }
        self.added.insert(planned.entry.path.clone(), planned);
        Ok(())
    }

    fn lead_to(&mut self, path: &[u8]) -> Result<(), DestinationError> {
        let mut prefix = Vec::new();
        for component in components(path) {
            push_component(&mut prefix, component);
            if self.added.contains_key(&prefix) {
                continue;
            }
            if let Some(Node::Directory { mode, owner }) = self.node(&prefix)? {
                self.added
                    .insert(prefix.clone(), directory(prefix.clone(), mode, owner, self.time));
            }
        }
        Ok(())
    }

    /// What stands at a path whose parents are no links.
    fn node(&self, path: &[u8]) -> Result<Option<Node>, DestinationError> {
        if path.is_empty() {
            return Ok(Some(Node::Directory {
                mode: 0o755,
                owner: OwnerIds::default(),
            }));
        }
        if let Some(planned) = self.added.get(path) {
            return Ok(Some(node_of(&planned.entry)));
        }
        let found = self.base.lookup(path, FollowLast::No);
        let found = found.map_err(|source| DestinationError::View {
            path: shown(path),
            source,
        })?;
        Ok(found.map(|found| node_of(found.entry)))
    }
}

fn node_of(entry: &Entry) -> Node {
    match &entry.kind {
        EntryKind::Directory { .. } => Node::Directory {
            mode: entry.mode,
            owner: OwnerIds {
                uid: entry.uid,
                gid: entry.gid,
            },
        },
        EntryKind::Symlink { target } => Node::Link(target.clone()),
        _ => Node::Other,
    }
}

fn directory(path: Vec<u8>, mode: u32, owner: OwnerIds, time: Mtime) -> PlannedEntry {
    PlannedEntry {
        entry: Entry {
            path,
            kind: EntryKind::Directory { opaque: false },
            mode,
            uid: owner.uid,
            gid: owner.gid,
            mtime: time,
            xattrs: Vec::new(),
        },
        content: Content::None,
    }
}

/// The components of a path, without empty ones and single dots.
pub fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/')
        .filter(|component| !component.is_empty() && *component != b".")
}

/// Appends a component.
pub fn push_component(path: &mut Vec<u8>, component: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(component);
}

/// The path without its last component.
pub fn parent(path: &[u8]) -> &[u8] {
    path.iter()
        .rposition(|&byte| byte == b'/')
        .map_or(&[], |slash| &path[..slash])
}

/// The last component.
pub fn base_name(path: &[u8]) -> &[u8] {
    path.iter()
        .rposition(|&byte| byte == b'/')
        .map_or(path, |slash| &path[slash + 1..])
}

/// Removes the last component.
fn truncate_last(path: &mut Vec<u8>) {
    let length = parent(path).len();
    path.truncate(length);
}
