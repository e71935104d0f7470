//! Trees: layers as directories, and other directories on the store's file system.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, RenameFlags};
use rustix::io::Errno;

use crate::StoreError;
use crate::layer::LayerId;
use crate::layout::ROOT;
use crate::removal::remove_directory_tree;
use crate::session::{Session, make_private_directory};
use crate::store::Store;

/// A tree in the making: a private directory on the store's file system. Dropped without commit, or its process
/// dead: removed.
#[derive(Debug)]
pub struct StagedTree {
    store: Store,
    /// Keeps the directory from being reaped.
    session: Arc<Session>,
    directory: PathBuf,
    root: PathBuf,
    /// None once it is given back.
    work: Option<PathBuf>,
}

impl StagedTree {
    /// The tree's root directory. Empty at first, mode 0755.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// A directory beside the root on the same file system, for overlay to work in. Not part of the tree.
    pub fn work_path(&self) -> &Path {
        // It is given back by the commit alone, which nothing outlives.
        self.work.as_deref().unwrap_or(&self.directory)
    }

    /// Makes this the tree of `layer`. If the layer has a tree already, that one stays and this one is removed. No
    /// overlay may be mounted over it any more.
    pub fn commit(mut self, layer: &LayerId) -> Result<(), StoreError> {
        if let Some(work) = self.work.take() {
            self.session.take_back(work);
        }
        self.store.hold_layer(layer)?;
        crate::durability::mark(&self.directory)?;
        let target = self.store.layout().tree(layer);
        let cwd = rustix::fs::CWD;
        match rustix::fs::renameat_with(cwd, &self.directory, cwd, &target, RenameFlags::NOREPLACE) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(StoreError::io("create", target, error)),
        }
    }
}

impl Drop for StagedTree {
    fn drop(&mut self) {
        for directory in std::iter::once(&self.directory).chain(&self.work) {
            if let Err(error) = remove_directory_tree(directory) {
                tracing::warn!(%error, "failed to remove an unfinished tree");
            }
        }
    }
}

/// An empty directory on the store's file system. Dropped, or its process dead: removed.
#[derive(Debug)]
pub struct ScratchDir {
    _session: Arc<Session>,
    path: PathBuf,
}

impl ScratchDir {
    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        if let Err(error) = remove_directory_tree(&self.path) {
            tracing::warn!(%error, "failed to remove a temporary directory");
        }
    }
}

impl Store {
    /// Begins a tree.
    pub fn stage_tree(&self) -> Result<StagedTree, StoreError> {
        let session = self.session()?;
        let work = Some(session.work_directory()?);
        let directory = session.fresh_path("tree");
        make_private_directory(&directory)?;
        let root = directory.join(ROOT);
        make_private_directory(&root)?;
        // Not by mkdir's mode, which the process' umask cuts.
        let mode = Mode::from_raw_mode(0o755);
        rustix::fs::chmod(&root, mode).map_err(|error| StoreError::io("set the mode of", &root, error))?;
        Ok(StagedTree {
            store: self.clone(),
            work,
            session,
            directory,
            root,
        })
    }

    /// The root directory of a layer's tree, if the layer has one. Not to be changed. The layer is held from now on.
    pub fn tree(&self, layer: &LayerId) -> Result<Option<PathBuf>, StoreError> {
        self.hold_layer(layer)?;
        let path = self.layout().tree(layer).join(ROOT);
        // What this handle holds stays, so it is looked for once.
        if self.holds().is_some_and(|holds| holds.has_seen_tree(layer)) {
            return Ok(Some(path));
        }
        match rustix::fs::lstat(&path) {
            Ok(_) => {}
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(StoreError::io("read the attributes of", path, error)),
        }
        if let Some(holds) = self.holds() {
            if !self.tree_is_whole(layer)? {
                return Ok(None);
            }
            holds.see_tree(layer);
        }
        Ok(Some(path))
    }

    /// Removes a layer's tree; the layer's other forms stay. False if it has none. The tree is out of sight at
    /// once, and gone when this returns.
    pub fn remove_tree(&self, layer: &LayerId) -> Result<bool, StoreError> {
        if let Some(holds) = self.holds() {
            holds.forget_tree(layer);
        }
        let path = self.layout().tree(layer);
        let doomed = self.session()?.fresh_path("doomed");
        match std::fs::rename(&path, &doomed) {
            Ok(()) => remove_directory_tree(&doomed).map(|()| true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("remove", path, error)),
        }
    }

    /// A new empty directory, mode 0700.
    pub fn scratch_dir(&self) -> Result<ScratchDir, StoreError> {
        let session = self.session()?;
        let path = session.fresh_path("scratch");
        make_private_directory(&path)?;
        Ok(ScratchDir {
            _session: session,
            path,
        })
    }

    /// The directory in which what was fetched of the git repository `name` is kept between builds. It is made at
    /// first use, empty; whoever works in it holds the lock of the key that is the digest of its name.
    pub fn git_repository(&self, name: &str) -> Result<PathBuf, StoreError> {
        let path = self.layout().repository(name);
        // A store that an older program made has no directory for repositories.
        for directory in path.parent().into_iter().chain([path.as_path()]) {
            match rustix::fs::mkdir(directory, Mode::from_raw_mode(0o700)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(StoreError::io("create", directory, error)),
            }
        }
        if let Ok(metadata) = std::fs::symlink_metadata(&path) {
            crate::blob::note_use(&path, &metadata);
        }
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::temporary_store;
    use std::os::unix::fs::PermissionsExt;

    fn layer() -> LayerId {
        LayerId::random()
    }

    #[test]
    fn a_tree_appears_when_it_is_committed() {
        let (_directory, store) = temporary_store();
        let id = layer();
        let staged = store.stage_tree().expect("stage");
        let mode = std::fs::metadata(staged.path()).expect("stat").permissions().mode();
        assert_eq!(mode & 0o7777, 0o755);
        std::fs::write(staged.path().join("file"), "x").expect("write");
        std::fs::create_dir(staged.work_path().join("work")).expect("mkdir");
        // A root directory that its owner may not write must not hinder the commit.
        std::fs::set_permissions(staged.path(), std::fs::Permissions::from_mode(0o555)).expect("chmod");
        assert_eq!(store.tree(&id).expect("look"), None);
        staged.commit(&id).expect("commit");
        let tree = store.tree(&id).expect("look").expect("committed");
        assert_eq!(std::fs::read(tree.join("file")).expect("read"), b"x");
        assert!(store.remove_tree(&id).expect("remove"));
        assert!(!tree.exists());
        assert!(!store.remove_tree(&id).expect("remove"));
    }

    #[test]
    fn the_first_tree_of_a_layer_stays() {
        let (directory, store) = temporary_store();
        let id = layer();
        for content in ["first", "second"] {
            let staged = store.stage_tree().expect("stage");
            std::fs::write(staged.path().join("file"), content).expect("write");
            staged.commit(&id).expect("commit");
        }
        let tree = store.tree(&id).expect("look").expect("committed");
        assert_eq!(std::fs::read(tree.join("file")).expect("read"), b"first");
        drop(store);
        assert_eq!(
            std::fs::read_dir(directory.path().join("sessions"))
                .expect("list")
                .count(),
            0
        );
    }

    #[test]
    fn what_is_not_committed_goes() {
        let (_directory, store) = temporary_store();
        let staged = store.stage_tree().expect("stage");
        let path = staged.path().to_owned();
        std::fs::write(path.join("file"), "x").expect("write");
        drop(staged);
        assert!(!path.exists());
        let scratch = store.scratch_dir().expect("scratch");
        let path = scratch.path().to_owned();
        std::fs::write(path.join("file"), "x").expect("write");
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn repositories_are_kept_by_their_names() {
        let (_directory, store) = temporary_store();
        let path = store.git_repository("https://h/x.git").expect("repository");
        std::fs::write(path.join("HEAD"), "x").expect("write");
        assert_eq!(store.git_repository("https://h/x.git").expect("repository"), path);
        assert_ne!(store.git_repository("../../etc").expect("repository"), path);
        assert!(
            store
                .git_repository("../../etc")
                .expect("repository")
                .starts_with(store.root())
        );
    }
}
