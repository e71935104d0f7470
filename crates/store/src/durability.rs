//! Trees that a power failure may have cut.
//!
//! Making a tree last would mean to wait for the disk at every step, so nobody waits: the kernel writes files when it
//! finds the time. Until the machine stops, what a process wrote is there for every other process. What was not on the
//! disk when it stopped comes back as a file that is too short, or not at all. So every tree says in which boot of the
//! machine it was made, and whoever meets one of an earlier boot compares it with its index before it is believed. A
//! tree that is whole loses its mark; another one goes, and is unpacked or made again.
//!
//! The mark is a symbolic link `boot` beside the tree's root: its text is part of its inode, so that it is on the disk
//! whenever the directory is that it stands in.

use std::io;
use std::path::Path;
use std::sync::OnceLock;

use kiln_oci::Digest;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::StoreError;
use crate::cache_record::CacheKey;
use crate::index::LayerIndex;
use crate::layer::LayerId;
use crate::layout::ROOT;
use crate::store::Store;
use crate::tree_check::{Depth, compare_tree};

/// The mark's name in a tree's directory.
const MARK: &str = "boot";

/// What the kernel calls the time since it was started. None: it does not say.
fn this_boot() -> Option<&'static str> {
    static BOOT: OnceLock<Option<String>> = OnceLock::new();
    BOOT.get_or_init(|| {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let id = id.trim();
        // Longer texts would not fit in an inode.
        (!id.is_empty() && id.len() < 60).then(|| id.to_owned())
    })
    .as_deref()
}

/// Marks a tree's directory before it gets its name. Where the kernel has no name for this boot, the tree is written
/// to the disk instead.
pub(crate) fn mark(directory: &Path) -> Result<(), StoreError> {
    let marked = match this_boot() {
        Some(boot) => rustix::fs::symlink(boot, directory.join(MARK)),
        None => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(directory, flags, Mode::empty()).and_then(rustix::fs::syncfs)
        }
    };
    marked.map_err(|error| StoreError::io("write", directory, error))
}

/// The boot in which a tree was made, if it is not known to be on the disk.
fn made_in(mark: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match rustix::fs::readlinkat(CWD, mark, Vec::new()) {
        Ok(boot) => Ok(Some(boot.into_bytes())),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(StoreError::io("read the link", mark, error)),
    }
}

fn is_of_this_boot(boot: &[u8]) -> bool {
    this_boot().is_some_and(|this| this.as_bytes() == boot)
}

impl Store {
    /// Whether a tree that is here can be believed. One that a power failure has cut is removed.
    pub(crate) fn tree_is_whole(&self, layer: &LayerId) -> Result<bool, StoreError> {
        let mark = self.layout().tree(layer).join(MARK);
        match made_in(&mark)? {
            None => Ok(true),
            Some(boot) if is_of_this_boot(&boot) => Ok(true),
            Some(_) => self.check_tree(layer, &mark),
        }
    }

    fn check_tree(&self, layer: &LayerId, mark: &Path) -> Result<bool, StoreError> {
        // Between a look and a removal, another process must not put a new tree there.
        let _lock = match self.is_read_only() {
            true => None,
            false => Some(self.lock_key(&CacheKey(Digest::sha256(format!("tree {layer}"))))?),
        };
        let root = self.layout().tree(layer).join(ROOT);
        match made_in(mark)? {
            // Another process was first.
            None => return Ok(root.exists()),
            Some(boot) if is_of_this_boot(&boot) => return Ok(true),
            Some(_) => {}
        }
        // Indexes are no more durable than trees, but they have a checksum.
        let index = match std::fs::read(self.layout().index(layer)) {
            Ok(bytes) => LayerIndex::decode(&bytes).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(StoreError::io("read", self.layout().index(layer), error)),
        };
        let finding = index.map(|index| compare_tree(&root, &index, Depth::Lengths));
        if self.is_read_only() {
            return Ok(matches!(finding, Some(None)));
        }
        let why = match finding {
            Some(None) => {
                return match rustix::fs::unlink(mark) {
                    Ok(()) | Err(Errno::NOENT) => Ok(true),
                    Err(error) => Err(StoreError::io("remove", mark, error)),
                };
            }
            Some(Some((path, finding))) => format!("`{path}`: {finding}"),
            None => "it has no index".to_owned(),
        };
        tracing::info!(%layer, why, "a tree was not whole after a restart of the machine, and is removed");
        self.remove_forms(layer)?;
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{Entry, EntryKind, Mtime};
    use crate::testing::temporary_store;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    fn index(size: u64) -> LayerIndex {
        LayerIndex::new(vec![Entry {
            path: b"file".to_vec(),
            kind: EntryKind::File { size, digest: None },
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Mtime { seconds: 0, nanos: 0 },
            xattrs: Vec::new(),
        }])
    }

    fn layer_with_tree(store: &Store) -> LayerId {
        let id = LayerId::random();
        let staged = store.stage_tree().expect("stage");
        std::fs::write(staged.path().join("file"), "whole").expect("write");
        store.put_layer_index(&id, &index(5)).expect("put");
        staged.commit(&id).expect("commit");
        id
    }

    /// As if the machine had been started again.
    fn restart(store: &Store, id: &LayerId) -> PathBuf {
        let mark = store.layout().tree(id).join(MARK);
        std::fs::remove_file(&mark).expect("a new tree has a mark");
        symlink("6ba7b810-9dad-11d1-80b4-00c04fd430c8", &mark).expect("link");
        mark
    }

    #[test]
    fn a_whole_tree_of_an_earlier_boot_stays_and_is_looked_at_once() {
        let (directory, store) = temporary_store();
        let id = layer_with_tree(&store);
        let mark = restart(&store, &id);
        let later = Store::open(directory.path()).expect("open");
        assert!(later.tree(&id).expect("look").is_some());
        assert!(mark.symlink_metadata().is_err(), "it is known to be on the disk");
    }

    #[test]
    fn a_tree_that_was_cut_is_gone_after_the_restart_and_not_before() {
        let (directory, store) = temporary_store();
        for cut in ["short", "missing", "index"] {
            let id = layer_with_tree(&store);
            let file = store.layout().tree(&id).join(ROOT).join("file");
            match cut {
                "short" => std::fs::write(&file, "wh").expect("write"),
                "missing" => std::fs::remove_file(&file).expect("remove"),
                _ => std::fs::write(store.layout().index(&id), "no index").expect("write"),
            }
            let later = Store::open(directory.path()).expect("open");
            assert!(
                later.tree(&id).expect("look").is_some(),
                "{cut}: nothing is read in the same boot"
            );
            restart(&store, &id);
            let later = Store::open(directory.path()).expect("open");
            assert_eq!(later.tree(&id).expect("look"), None, "{cut}");
            assert!(!store.layout().tree(&id).exists(), "{cut}: it can be made again");
        }
    }

    #[test]
    fn who_only_looks_changes_nothing() {
        let (directory, store) = temporary_store();
        let id = layer_with_tree(&store);
        std::fs::write(store.layout().tree(&id).join(ROOT).join("file"), "").expect("write");
        restart(&store, &id);
        let watcher = Store::open(directory.path()).expect("open").unheld();
        assert!(watcher.tree(&id).expect("look").is_some());
        assert!(store.layout().tree(&id).exists());
    }
}
