//! Many trees as one: what a stack of layers shows, whiteouts kept, made of hard links.
//!
//! The kernel stacks a bounded number of directories, and each one makes every look into the stack dearer. So the lowest
//! layers of a deep stack are merged to one tree. What it hides in layers further below stays hidden: whiteouts stay, and
//! a directory that hid something is opaque.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use kiln_store::index::{Entry, EntryKind, Mtime};
use rustix::fs::{CWD, FileType, Mode};

use crate::attributes;
use crate::plan::{finish, set_time};
use crate::scan::ScanError;
use crate::unpack::Ownership;

/// Merges trees, the lowest first, in an empty directory on their own file system. Files are shared with the trees that
/// they come from, so nothing in the result may ever be changed in place.
pub fn merge_trees(trees: &[PathBuf], into: &Path) -> Result<(), ScanError> {
    let from_top: Vec<PathBuf> = trees.iter().rev().cloned().collect();
    let Some(top) = from_top.first() else { return Ok(()) };
    let metadata = attempt("read the attributes of", top, top.symlink_metadata())?;
    merge(&from_top, into)?;
    attempt("set the attributes of", into, dress(top, &metadata, into))
}

/// Merges what several directories of one path hold, the top one first.
fn merge(from_top: &[PathBuf], into: &Path) -> Result<(), ScanError> {
    let mut names: BTreeMap<OsString, Vec<PathBuf>> = BTreeMap::new();
    for directory in from_top {
        for entry in attempt("list", directory, std::fs::read_dir(directory))? {
            let name = attempt("list", directory, entry)?.file_name();
            let path = directory.join(&name);
            names.entry(name).or_default().push(path);
        }
    }
    for (name, candidates) in names {
        let Some(top) = candidates.first() else { continue };
        let target = into.join(&name);
        let metadata = attempt("read the attributes of", top, top.symlink_metadata())?;
        if !metadata.is_dir() {
            attempt("link", top, link(top, &metadata, &target))?;
            continue;
        }
        let (visible, opaque) = visible(&candidates)?;
        attempt("make", &target, std::fs::create_dir(&target))?;
        if opaque {
            attempt("set the attributes of", &target, attributes::make_opaque(&target))?;
        }
        merge(visible, &target)?;
        attempt("set the attributes of", &target, dress(top, &metadata, &target))?;
    }
    Ok(())
}

/// The directories of one path that can be seen, the top one first, and whether what is below all of them is hidden.
fn visible(candidates: &[PathBuf]) -> Result<(&[PathBuf], bool), ScanError> {
    for (at, candidate) in candidates.iter().enumerate() {
        let metadata = attempt("read the attributes of", candidate, candidate.symlink_metadata())?;
        if !metadata.is_dir() {
            return Ok((&candidates[..at], true));
        }
        if attributes::is_opaque(candidate) {
            return Ok((&candidates[..=at], true));
        }
    }
    Ok((candidates, false))
}

/// Another name for a file, else a copy: file systems bound the number of names.
fn link(source: &Path, metadata: &Metadata, target: &Path) -> io::Result<()> {
    match std::fs::hard_link(source, target) {
        Err(error) if error.kind() == io::ErrorKind::TooManyLinks => copy(source, metadata, target),
        result => result,
    }
}

fn copy(source: &Path, metadata: &Metadata, target: &Path) -> io::Result<()> {
    let kind = metadata.file_type();
    let node = |kind| {
        rustix::fs::mknodat(CWD, target, kind, Mode::from_raw_mode(0o600), metadata.rdev()).map_err(io::Error::from)
    };
    if kind.is_symlink() {
        std::os::unix::fs::symlink(std::fs::read_link(source)?, target)?;
    } else if kind.is_file() {
        std::fs::copy(source, target)?;
    } else if kind.is_char_device() {
        node(FileType::CharacterDevice)?;
        if metadata.rdev() == 0 {
            return Ok(());
        }
    } else if kind.is_block_device() {
        node(FileType::BlockDevice)?;
    } else if kind.is_fifo() {
        node(FileType::Fifo)?;
    } else {
        // A socket is nothing without the process that listens on it.
        return Ok(());
    }
    dress(source, metadata, target)
}

/// Gives a file the owner, mode, attributes and time of another.
fn dress(source: &Path, metadata: &Metadata, target: &Path) -> io::Result<()> {
    let entry = Entry {
        path: Vec::new(),
        kind: if metadata.is_symlink() {
            EntryKind::Symlink { target: Vec::new() }
        } else if metadata.is_dir() {
            EntryKind::Directory { opaque: false }
        } else {
            EntryKind::Fifo
        },
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        mtime: Mtime {
            seconds: metadata.mtime(),
            nanos: u32::try_from(metadata.mtime_nsec()).unwrap_or(0),
        },
        xattrs: attributes::read(source)?,
    };
    // The owners on disk are ones that this process can see, so it can set them too.
    finish(&entry, target, Ownership::Keep)?;
    set_time(target, &entry)
}

fn attempt<T>(operation: &'static str, path: &Path, result: io::Result<T>) -> Result<T, ScanError> {
    result.map_err(|source| ScanError {
        operation,
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kiln_store::index::LayerIndex;
    use proptest::prelude::*;

    use super::*;
    use crate::plan::{Content, LayerPlan, PlannedEntry, write_tree};
    use crate::scan::scan_tree;
    use crate::view::RootView;

    fn kind() -> impl Strategy<Value = EntryKind> {
        prop_oneof![
            3 => Just(EntryKind::File { size: 1, digest: None }),
            3 => Just(EntryKind::Directory { opaque: false }),
            1 => Just(EntryKind::Directory { opaque: true }),
            1 => Just(EntryKind::Whiteout),
            1 => Just(EntryKind::Symlink { target: b"a".to_vec() }),
        ]
    }

    /// A layer with whatever leads to its entries.
    fn layer() -> impl Strategy<Value = LayerPlan> {
        let entries = proptest::collection::btree_map("[ab](/[ab]){0,2}", (kind(), 0u32..2, any::<u8>()), 0..6);
        entries.prop_map(|entries| {
            let mut whole: BTreeMap<Vec<u8>, PlannedEntry> = BTreeMap::new();
            for (path, (kind, uid, byte)) in entries {
                let entry = |path: &str, kind| PlannedEntry {
                    content: match kind {
                        EntryKind::File { .. } => Content::Bytes([byte].into()),
                        _ => Content::None,
                    },
                    entry: Entry {
                        path: path.into(),
                        mode: if matches!(kind, EntryKind::Symlink { .. }) {
                            0o777
                        } else {
                            0o640 | u32::from(byte & 1)
                        },
                        kind,
                        uid,
                        gid: 0,
                        mtime: Mtime {
                            seconds: i64::from(byte),
                            nanos: 0,
                        },
                        xattrs: Vec::new(),
                    },
                };
                for (at, _) in path.match_indices('/') {
                    let above = whole.entry(path[..at].into());
                    let above = above.or_insert_with(|| entry(&path[..at], EntryKind::Directory { opaque: false }));
                    if !above.entry.is_directory() {
                        *above = entry(&path[..at], EntryKind::Directory { opaque: false });
                    }
                }
                // A directory that is already led through stays one.
                whole.entry(path.clone().into()).or_insert_with(|| entry(&path, kind));
            }
            LayerPlan {
                entries: whole.into_values().collect(),
            }
        })
    }

    /// What a stack shows: path, kind, owner, mode, time, bytes.
    fn shown(trees: &[PathBuf]) -> Vec<String> {
        let indexes: Vec<Arc<LayerIndex>> = trees
            .iter()
            .map(|tree| {
                let mut index = scan_tree(tree).expect("readable");
                // Names that the merged tree shares with others are files like any.
                for entry in &mut index.entries {
                    if matches!(entry.kind, EntryKind::Hardlink { .. }) {
                        entry.kind = EntryKind::File { size: 1, digest: None };
                    }
                }
                Arc::new(index)
            })
            .collect();
        let view = RootView::new(indexes);
        let all = view.walk().expect("no loop");
        all.iter()
            .map(|found| {
                let bytes = match found.entry.kind {
                    EntryKind::File { .. } => {
                        let path = String::from_utf8_lossy(&found.path).into_owned();
                        std::fs::read(trees[found.layer].join(path)).expect("readable")
                    }
                    _ => Vec::new(),
                };
                let EntryKind::Directory { .. } = found.entry.kind else {
                    return format!("{:?} {bytes:?}", found.entry);
                };
                // Whether a directory hides something is seen by what is below it.
                let entry = Entry {
                    kind: EntryKind::Directory { opaque: false },
                    ..found.entry.clone()
                };
                format!("{entry:?}")
            })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_merged_stack_shows_what_the_stack_showed(layers in proptest::collection::vec(layer(), 2..6), at in 0usize..5, count in 1usize..5) {
            if !rustix::process::geteuid().is_root() {
                let reason = "skipped: a_merged_stack_shows_what_the_stack_showed: needs root for whiteouts\n";
                let _ = io::Write::write_all(&mut io::stderr(), reason.as_bytes());
                return Ok(());
            }
            let scratch = tempfile::tempdir().expect("a temporary directory");
            let trees: Vec<PathBuf> = layers
                .iter()
                .enumerate()
                .map(|(number, plan)| {
                    let tree = scratch.path().join(number.to_string());
                    std::fs::create_dir(&tree).expect("mkdir");
                    write_tree(plan, &tree, Ownership::Keep).expect("writable");
                    tree
                })
                .collect();
            let (start, end) = (at.min(trees.len() - 1), (at + count).min(trees.len()));
            prop_assume!(start < end);
            let merged = scratch.path().join("merged");
            std::fs::create_dir(&merged).expect("mkdir");
            merge_trees(&trees[start..end], &merged).expect("mergeable");
            let mut stack = trees.clone();
            stack.splice(start..end, [merged]);
            prop_assert_eq!(shown(&stack), shown(&trees));
        }
    }
}
