//! Directories that a layer only implies: it has files below them, but no entry for them.
//!
//! Their attributes are those that the layers below give them ([`RootView`] answers so). A layer's tree is unpacked without
//! knowing what will lie below it, and its directory hides the attributes of the one beneath in an overlay. Where these
//! differ, a small tree with the right ones is put on top of the stack: directories of all layers are one there, and the
//! attributes are the top one's.

use std::collections::{BTreeMap, BTreeSet};

use kiln_image::plan::{Content, LayerPlan, PlannedEntry};
use kiln_image::view::{FollowLast, RootView, ViewError};
use kiln_store::index::{Entry, EntryKind, LayerIndex};

use crate::destination::parent;

/// The paths of all directories that a layer only implies, in order.
pub(crate) fn implied_directories(index: &LayerIndex) -> Vec<Vec<u8>> {
    let mut implied = BTreeSet::new();
    let mut known: &[u8] = &[];
    for entry in &index.entries {
        let mut directory = parent(&entry.path);
        // What stands in one directory stands together.
        if directory == known {
            continue;
        }
        known = directory;
        while !directory.is_empty() && index.entry(directory).is_none() && implied.insert(directory.to_vec()) {
            directory = parent(directory);
        }
    }
    implied.into_iter().collect()
}

/// The directories, with those that lead to them, that the stacked trees would show with other attributes than the view
/// has. `implied`: those of each layer, the lowest first.
pub(crate) fn corrections<'a>(
    view: &RootView,
    implied: impl IntoIterator<Item = &'a [Vec<u8>]>,
) -> Result<LayerPlan, ViewError> {
    let mut corrected: BTreeMap<Vec<u8>, Entry> = BTreeMap::new();
    for (layer, directories) in implied.into_iter().enumerate() {
        for path in directories {
            let Some((from, entry)) = directory_at(view, path)? else {
                continue;
            };
            // An entry in this layer or above it is the top one of the stack by itself.
            if from >= layer || is_plain(&entry) {
                continue;
            }
            corrected.insert(path.clone(), entry);
            let mut above = parent(path);
            while !above.is_empty() {
                if let Some((_, entry)) = directory_at(view, above)? {
                    corrected.insert(above.to_vec(), entry);
                }
                above = parent(above);
            }
        }
    }
    Ok(LayerPlan {
        entries: corrected
            .into_values()
            .map(|entry| PlannedEntry {
                entry,
                content: Content::None,
            })
            .collect(),
    })
}

/// The directory of the whole root at a path, and the layer that its attributes come from.
fn directory_at(view: &RootView, path: &[u8]) -> Result<Option<(usize, Entry)>, ViewError> {
    let found = view.lookup(path, FollowLast::No)?;
    let found = found.filter(|found| found.entry.is_directory() && found.path == path);
    Ok(found.map(|found| {
        let entry = Entry {
            path: path.to_vec(),
            kind: EntryKind::Directory { opaque: false },
            ..found.entry.clone()
        };
        (found.layer, entry)
    }))
}

/// Whether a directory is as one that is made on the way.
fn is_plain(entry: &Entry) -> bool {
    entry.mode == 0o755 && (entry.uid, entry.gid) == (0, 0) && entry.xattrs.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_store::index::Mtime;
    use std::sync::Arc;

    fn entry(path: &str, kind: EntryKind, mode: u32) -> Entry {
        Entry {
            path: path.as_bytes().to_vec(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: Mtime::default(),
            xattrs: Vec::new(),
        }
    }

    fn layer(entries: &[(&str, EntryKind, u32)]) -> Arc<LayerIndex> {
        let entries = entries
            .iter()
            .map(|(path, kind, mode)| entry(path, kind.clone(), *mode));
        Arc::new(LayerIndex::new(entries.collect()))
    }

    const DIRECTORY: EntryKind = EntryKind::Directory { opaque: false };
    const FILE: EntryKind = EntryKind::Fifo;

    fn corrected(layers: &[Arc<LayerIndex>]) -> Vec<(String, u32)> {
        let implied: Vec<Vec<Vec<u8>>> = layers.iter().map(|layer| implied_directories(layer)).collect();
        let plan = corrections(&RootView::new(layers.to_vec()), implied.iter().map(Vec::as_slice));
        let entries = plan.expect("no loops").entries;
        entries
            .iter()
            .map(|planned| {
                let path = String::from_utf8_lossy(&planned.entry.path).into_owned();
                (path, planned.entry.mode)
            })
            .collect()
    }

    #[test]
    fn an_implied_directory_has_the_mode_below() {
        let below = layer(&[
            ("a", DIRECTORY, 0o755),
            ("a/b", DIRECTORY, 0o700),
            ("c", DIRECTORY, 0o1777),
        ]);
        let above = layer(&[
            ("a/b/x", FILE, 0o644),
            ("c", DIRECTORY, 0o755),
            ("c/y", FILE, 0o644),
            ("d/e/z", FILE, 0o644),
        ]);
        assert_eq!(
            implied_directories(&above),
            [b"a".to_vec(), b"a/b".to_vec(), b"d".to_vec(), b"d/e".to_vec()]
        );
        assert_eq!(
            corrected(&[below, above]),
            [("a".to_owned(), 0o755), ("a/b".to_owned(), 0o700)]
        );
    }

    #[test]
    fn what_is_gone_or_said_again_needs_no_correction() {
        let below = layer(&[("a", DIRECTORY, 0o700)]);
        let implies = layer(&[("a/x", FILE, 0o644)]);
        let says = layer(&[("a", DIRECTORY, 0o750)]);
        let removes = layer(&[("a", EntryKind::Whiteout, 0)]);
        assert_eq!(corrected(&[below.clone(), implies.clone(), says]), []);
        assert_eq!(corrected(&[below.clone(), implies.clone(), removes]), []);
        assert_eq!(corrected(&[implies, below]), []);
    }
}
