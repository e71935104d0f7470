//! A stack of layer indexes seen as one root.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use kiln_store::index::{Entry, EntryKind, LayerIndex, Mtime};

/// More hops than this are a loop, as for the kernel.
const MAX_LINKS: usize = 255;

/// Whether the last component of a path is followed if it is a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FollowLast {
    /// Yes.
    Yes,
    /// No: the link itself is meant.
    No,
}

/// Why a path cannot be looked up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// Symbolic links that lead around.
    #[error("too many levels of symbolic links in `{0}`")]
    Loop(String),
}

/// A root: layers from the lowest to the top one.
#[derive(Debug, Clone, Default)]
pub struct RootView {
    layers: Vec<Arc<LayerIndex>>,
}

/// What a path leads to.
#[derive(Debug, Clone)]
pub struct Found<'a> {
    /// The path without links.
    pub path: Vec<u8>,
    /// What is there. Its own path is empty if the directory is only implied by what is below it.
    pub entry: &'a Entry,
    /// The layer that it is in, from 0.
    pub layer: usize,
}

/// One entry of a directory.
#[derive(Debug, Clone, Copy)]
pub struct Child<'a> {
    /// The path without links.
    pub path: &'a [u8],
    /// As [`Found::entry`].
    pub entry: &'a Entry,
    /// The layer that it is in, from 0.
    pub layer: usize,
}

/// A directory that no layer has an entry for.
static IMPLIED: LazyLock<Entry> = LazyLock::new(|| Entry {
    path: Vec::new(),
    kind: EntryKind::Directory { opaque: false },
    mode: 0o755,
    uid: 0,
    gid: 0,
    mtime: Mtime::default(),
    xattrs: Vec::new(),
});

/// Where a resolved path is, and from which layer on its contents count.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    entry: &'a Entry,
    layer: usize,
    /// Of a directory: the lowest layer whose entries below it are visible.
    bottom: usize,
}

impl RootView {
    /// A view of layers, the lowest first.
    pub fn new(layers: Vec<Arc<LayerIndex>>) -> RootView {
        RootView { layers }
    }

    /// What `path` leads to. Links are resolved inside the root.
    pub fn lookup(&self, path: &[u8], follow: FollowLast) -> Result<Option<Found<'_>>, ViewError> {
        let mut pending: Vec<Vec<u8>> = components(path).rev().map(<[u8]>::to_vec).collect();
        // The places on the way, to come back from `..`.
        let mut trail = vec![self.root()];
        let mut resolved: Vec<u8> = Vec::new();
        let mut links = 0;
        while let Some(component) = pending.pop() {
            if component == b".." {
                if trail.len() > 1 {
                    trail.pop();
                    truncate_last(&mut resolved);
                }
                continue;
            }
            let above = trail[trail.len() - 1];
            if !above.entry.is_directory() {
                return Ok(None);
            }
            let length = resolved.len();
            push(&mut resolved, &component);
            let Some(place) = self.child(&resolved, above.bottom) else {
                return Ok(None);
            };
            if let EntryKind::Symlink { target } = &place.entry.kind
                && (follow == FollowLast::Yes || !pending.is_empty())
            {
                links += 1;
                if links > MAX_LINKS {
                    return Err(ViewError::Loop(String::from_utf8_lossy(path).into_owned()));
                }
                resolved.truncate(length);
                if target.starts_with(b"/") {
                    resolved.clear();
                    trail.truncate(1);
                }
                pending.extend(components(target).rev().map(<[u8]>::to_vec));
                continue;
            }
            trail.push(place);
        }
        let place = trail[trail.len() - 1];
        Ok(Some(Found {
            path: resolved,
            entry: place.entry,
            layer: place.layer,
        }))
    }

    /// The entries of a directory, by name. Nothing, if there is no such directory.
    pub fn children(&self, directory: &[u8]) -> Result<Vec<Child<'_>>, ViewError> {
        let Some((resolved, place)) = self.directory(directory)? else {
            return Ok(Vec::new());
        };
        let prefix = if resolved.is_empty() { 0 } else { resolved.len() + 1 };
        // The top layer that names something decides; None hides it.
        let mut names: BTreeMap<&[u8], Option<Child<'_>>> = BTreeMap::new();
        for number in (place.bottom..self.layers.len()).rev() {
            let layer = &self.layers[number];
            for entry in layer.children(&resolved) {
                names.entry(entry.name()).or_insert_with(|| match entry.kind {
                    EntryKind::Whiteout => None,
                    _ => Some(Child {
                        path: &entry.path,
                        entry,
                        layer: number,
                    }),
                });
            }
            for path in layer.implied(&resolved) {
                names.entry(&path[prefix..]).or_insert_with(|| {
                    Some(Child {
                        path,
                        entry: &IMPLIED,
                        layer: number,
                    })
                });
            }
        }
        Ok(names.into_values().flatten().collect())
    }

    /// Everything in the root, parents first, in the order of paths.
    pub fn walk(&self) -> Result<Vec<Found<'_>>, ViewError> {
        let mut all = Vec::new();
        let mut pending = vec![Vec::new()];
        while let Some(directory) = pending.pop() {
            for child in self.children(&directory)? {
                if child.entry.is_directory() {
                    pending.push(child.path.to_vec());
                }
                all.push(Found {
                    path: child.path.to_vec(),
                    entry: child.entry,
                    layer: child.layer,
                });
            }
        }
        all.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(all)
    }

    fn directory(&self, path: &[u8]) -> Result<Option<(Vec<u8>, Place<'_>)>, ViewError> {
        let Some(found) = self.lookup(path, FollowLast::Yes)? else {
            return Ok(None);
        };
        let mut place = self.root();
        let mut prefix = Vec::new();
        for component in components(&found.path) {
            push(&mut prefix, component);
            match self.child(&prefix, place.bottom) {
                Some(next) => place = next,
                None => return Ok(None),
            }
        }
        Ok(place.entry.is_directory().then_some((found.path, place)))
    }

    fn root(&self) -> Place<'_> {
        Place {
            entry: &IMPLIED,
            layer: 0,
            bottom: 0,
        }
    }

    /// What stands at a path whose parent is a directory of which the layers from `bottom` on are visible.
    fn child(&self, path: &[u8], bottom: usize) -> Option<Place<'_>> {
        let mut found: Option<Place<'_>> = None;
        for number in (bottom..self.layers.len()).rev() {
            let layer = &self.layers[number];
            let entry = match layer.entry(path) {
                Some(entry) => entry,
                None if layer.below(path).is_empty() => continue,
                None => &*IMPLIED,
            };
            match (&entry.kind, &mut found) {
                (EntryKind::Whiteout, _) => {
                    return found.map(|place| Place {
                        bottom: number + 1,
                        ..place
                    });
                }
                (EntryKind::Directory { opaque }, None) => {
                    found = Some(Place {
                        entry,
                        layer: number,
                        bottom,
                    });
                    if *opaque {
                        return Some(Place {
                            entry,
                            layer: number,
                            bottom: number,
                        });
                    }
                }
                (EntryKind::Directory { opaque }, Some(place)) => {
                    // What is only implied above has its attributes from below.
                    if place.entry.path.is_empty() && !entry.path.is_empty() {
                        place.entry = entry;
                        place.layer = number;
                    }
                    if *opaque {
                        place.bottom = number;
                        return found;
                    }
                }
                (_, None) => {
                    return Some(Place {
                        entry,
                        layer: number,
                        bottom: number,
                    });
                }
                // A directory above a file hides it, and whatever is below the file.
                (_, Some(place)) => {
                    place.bottom = number + 1;
                    return found;
                }
            }
        }
        found
    }
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
}

fn push(path: &mut Vec<u8>, component: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(component);
}

fn truncate_last(path: &mut Vec<u8>) {
    let length = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
    path.truncate(length);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: EntryKind) -> Entry {
        Entry {
            path: path.into(),
            kind,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: Mtime::default(),
            xattrs: Vec::new(),
        }
    }

    fn layer(entries: &[(&str, &str)]) -> Arc<LayerIndex> {
        let entries = entries.iter().map(|(path, kind)| {
            let kind = match *kind {
                "dir" => EntryKind::Directory { opaque: false },
                "opaque" => EntryKind::Directory { opaque: true },
                "gone" => EntryKind::Whiteout,
                "file" => EntryKind::File { size: 0, digest: None },
                target => EntryKind::Symlink {
                    target: target.trim_start_matches("-> ").into(),
                },
            };
            entry(path, kind)
        });
        Arc::new(LayerIndex::new(entries.collect()))
    }

    fn at(view: &RootView, path: &str) -> Option<(String, usize)> {
        let found = view.lookup(path.as_bytes(), FollowLast::Yes).expect("no loop")?;
        Some((String::from_utf8(found.path).expect("text"), found.layer))
    }

    fn names(view: &RootView, path: &str) -> Vec<String> {
        let children = view.children(path.as_bytes()).expect("no loop");
        children
            .iter()
            .map(|found| {
                String::from_utf8_lossy(found.path.rsplit(|&b| b == b'/').next().unwrap_or_default()).into_owned()
            })
            .collect()
    }

    #[test]
    fn the_top_layer_decides() {
        let view = RootView::new(vec![
            layer(&[("a", "dir"), ("a/x", "file"), ("b", "file")]),
            layer(&[("a", "dir"), ("a/x", "gone"), ("a/y", "file")]),
        ]);
        assert_eq!(at(&view, "a/x"), None);
        assert_eq!(at(&view, "a/y"), Some(("a/y".into(), 1)));
        assert_eq!(at(&view, "b"), Some(("b".into(), 0)));
        assert_eq!(names(&view, "a"), ["y"]);
        assert_eq!(names(&view, ""), ["a", "b"]);
    }

    #[test]
    fn opaque_directories_and_whiteouts_hide_what_is_below() {
        let bottom = layer(&[
            ("d", "dir"),
            ("d/old", "file"),
            ("e", "dir"),
            ("e/old", "file"),
            ("f", "dir"),
            ("f/old", "file"),
        ]);
        let middle = layer(&[("d", "opaque"), ("d/new", "file"), ("e", "gone"), ("f", "file")]);
        let top = layer(&[("e", "dir"), ("e/new", "file"), ("f", "dir"), ("f/new", "file")]);
        let view = RootView::new(vec![bottom, middle, top]);
        for directory in ["d", "e", "f"] {
            assert_eq!(names(&view, directory), ["new"], "{directory}");
            assert_eq!(at(&view, &format!("{directory}/old")), None);
        }
    }

    #[test]
    fn links_are_resolved_inside_the_root() {
        let view = RootView::new(vec![layer(&[
            ("usr", "dir"),
            ("usr/lib", "dir"),
            ("usr/lib/x", "file"),
            ("lib", "-> usr/lib"),
            ("up", "-> ../../../usr"),
            ("abs", "-> /lib/x"),
            ("loop", "-> loop"),
        ])]);
        assert_eq!(at(&view, "lib/x"), Some(("usr/lib/x".into(), 0)));
        assert_eq!(at(&view, "up/lib/x"), Some(("usr/lib/x".into(), 0)));
        assert_eq!(at(&view, "/abs"), Some(("usr/lib/x".into(), 0)));
        assert_eq!(at(&view, "lib/../lib/x"), Some(("usr/lib/x".into(), 0)));
        assert_eq!(
            view.lookup(b"loop", FollowLast::Yes).expect_err("a loop"),
            ViewError::Loop("loop".into())
        );
        let link = view
            .lookup(b"lib", FollowLast::No)
            .expect("no loop")
            .expect("it is there");
        assert!(matches!(link.entry.kind, EntryKind::Symlink { .. }));
    }

    #[test]
    fn directories_without_entries_are_implied() {
        let view = RootView::new(vec![layer(&[("a/b/c", "file")])]);
        assert_eq!(at(&view, "a/b"), Some(("a/b".into(), 0)));
        assert_eq!(names(&view, "a"), ["b"]);
        assert_eq!(view.walk().expect("no loop").len(), 3);
    }
}
