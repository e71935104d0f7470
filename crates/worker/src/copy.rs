//! COPY and ADD: a file operation becomes the plan of one layer.
//!
//! The rules are those of the peers' file backend: a copied directory gives its contents; a file goes into an
//! existing directory or one that is written with a slash at the end; missing parents are made with mode 0755
//! and the copy's owner; a source that is a symbolic link is followed, links inside a copied directory are not.

use std::collections::{HashMap, HashSet};

use kiln_graph::{CopyAction, FileAction, FileOp};
use kiln_image::plan::{Content, LayerPlan, PlannedEntry};
use kiln_image::unpack::UnpackOptions;
use kiln_image::view::RootView;
use kiln_store::LayerId;
use kiln_store::index::{Entry, EntryKind, Mtime};

use crate::WorkerError;
use crate::archive::StoreArchives;
use crate::chmod::{ChmodError, ModeChange};
use crate::destination::{Destination, DestinationError, base_name, parent, push_component, shown};
use crate::layers::Layers;
use crate::owner::{OwnerError, OwnerIds};
use crate::source_tree::{Selected, SourceError, SourceTree, clean};
use crate::taken::{Filter, Taken, selected};

/// Mode of directories that are made on the way.
const MADE_DIRECTORY: u32 = 0o755;

/// Why files cannot be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Where it should go.
    #[error(transparent)]
    Destination(#[from] DestinationError),
    /// `--chown`.
    #[error(transparent)]
    Owner(#[from] OwnerError),
    /// `--chmod`.
    #[error(transparent)]
    Chmod(#[from] ChmodError),
    /// An archive of ADD.
    #[error("failed to unpack `{path}`")]
    Archive {
        /// The archive.
        path: String,
        /// Why.
        #[source]
        source: crate::archive::ArchiveError,
    },
    /// `ADD --unpack` of something else.
    #[error("`{0}` is not an archive that can be unpacked")]
    NotAnArchive(String),
    /// An exclude pattern.
    #[error("invalid exclude pattern")]
    Exclude(#[source] kiln_dockerfile::ignore::PatternError),
    /// A source of `--parents` that is no pattern.
    #[error("invalid source pattern")]
    Include(#[source] kiln_dockerfile::ignore::PatternError),
}

/// What a file operation is given besides its sources.
#[derive(Debug)]
pub struct CopyInputs<'a> {
    /// By input position; the base at 0 has none.
    pub sources: HashMap<usize, SourceTree>,
    /// `/etc/passwd` and `/etc/group` of the root, if an owner is given by name.
    pub passwd: Option<&'a [u8]>,
    /// See `passwd`.
    pub group: Option<&'a [u8]>,
    /// Unpacks archives for ADD.
    pub archives: &'a dyn crate::archive::Archives,
}

/// Carries out a file operation on `destination`.
pub fn plan_layer(
    op: &FileOp,
    inputs: &CopyInputs<'_>,
    mut destination: Destination<'_>,
) -> Result<LayerPlan, CopyError> {
    for action in &op.actions {
        match action {
            FileAction::MakeDirectory { path, mode, owner } => {
                let owner = inputs.owner(owner.as_ref())?.unwrap_or_default();
                destination.make_directories(path.as_bytes(), *mode, owner)?;
            }
            FileAction::MakeFile {
                destination: path,
                name,
                content,
                chmod,
                owner,
            } => {
                let owner = inputs.owner(owner.as_ref())?.unwrap_or_default();
                let mode = match chmod {
                    Some(text) => ModeChange::parse(text)?.apply(0o644, false),
                    None => 0o644,
                };
                make_file(&mut destination, path, name, content, mode, owner)?;
            }
            FileAction::Copy(copy) => {
                if let Some(source) = inputs.sources.get(&copy.input) {
                    Copying::new(copy, source, inputs)?.run(&mut destination)?;
                }
            }
        }
    }
    Ok(destination.into_plan())
}

/// The plan that gives what a directory of a root holds, as it is.
pub async fn contents_of(layers: &Layers, root: &[LayerId], source: &str) -> Result<LayerPlan, WorkerError> {
    const INPUT: usize = 1;
    let tree = SourceTree::of_root(layers, root, true).await?;
    let op = FileOp {
        actions: vec![FileAction::Copy(CopyAction::contents(INPUT, &clean(source)))],
        epoch: None,
    };
    let archives = StoreArchives::new(layers.store().clone(), UnpackOptions::default());
    let inputs = CopyInputs {
        sources: HashMap::from([(INPUT, tree)]),
        passwd: None,
        group: None,
        archives: &archives,
    };
    let nothing = RootView::new(Vec::new());
    let plan = plan_layer(&op, &inputs, Destination::new(&nothing, Mtime::default()));
    plan.map_err(|source| WorkerError::Copy {
        source,
        ignored_by: None,
    })
}

impl CopyInputs<'_> {
    fn owner(&self, owner: Option<&kiln_graph::Owner>) -> Result<Option<OwnerIds>, OwnerError> {
        owner
            .map(|owner| crate::owner::resolve(owner, self.passwd, self.group))
            .transpose()
    }
}

fn make_file(
    destination: &mut Destination<'_>,
    path: &str,
    name: &str,
    content: &str,
    mode: u32,
    owner: OwnerIds,
) -> Result<(), CopyError> {
    let target = target_of_file(destination, path.as_bytes(), name.as_bytes(), owner)?;
    let entry = Entry {
        path: target,
        kind: EntryKind::File {
            size: content.len() as u64,
            digest: Some(kiln_oci::Digest::sha256(content)),
        },
        mode,
        uid: owner.uid,
        gid: owner.gid,
        mtime: destination.time(),
        xattrs: Vec::new(),
    };
    destination.put(PlannedEntry {
        entry,
        content: Content::Bytes(content.as_bytes().into()),
    })?;
    Ok(())
}

/// Makes what leads to the destination of one file, and says where the file goes.
fn target_of_file(
    destination: &mut Destination<'_>,
    path: &[u8],
    name: &[u8],
    owner: OwnerIds,
) -> Result<Vec<u8>, CopyError> {
    ensure_destination(destination, path, owner)?;
    let mut target = destination.resolve(path)?;
    if target.is_empty() || destination.is_directory(&target)? == Some(true) {
        push_component(&mut target, name);
    }
    destination.make_directories(parent(&target), MADE_DIRECTORY, owner)?;
    Ok(target)
}

/// A destination with a slash at the end is made itself, any other has its parent made.
fn ensure_destination(destination: &mut Destination<'_>, path: &[u8], owner: OwnerIds) -> Result<(), CopyError> {
    let last = base_name(path);
    let ensured = if last.is_empty() || last == b"." {
        path
    } else {
        parent(path)
    };
    destination.make_directories(ensured, MADE_DIRECTORY, owner)?;
    Ok(())
}

/// One source of one instruction.
struct Copying<'a> {
    action: &'a CopyAction,
    source: &'a SourceTree,
    owner: Option<OwnerIds>,
    mode: Option<ModeChange>,
    filter: Filter,
    inputs: &'a CopyInputs<'a>,
}

impl<'a> Copying<'a> {
    fn new(
        action: &'a CopyAction,
        source: &'a SourceTree,
        inputs: &'a CopyInputs<'a>,
    ) -> Result<Copying<'a>, CopyError> {
        Ok(Copying {
            action,
            source,
            owner: inputs.owner(action.owner.as_ref())?,
            mode: action.chmod.as_deref().map(ModeChange::parse).transpose()?,
            filter: Filter::new(action)?,
            inputs,
        })
    }

    fn run(&self, destination: &mut Destination<'_>) -> Result<(), CopyError> {
        for selected in selected(self.action, self.source)? {
            if !self.unpack(&selected, destination)? {
                self.copy(&selected, destination)?;
            }
        }
        Ok(())
    }

    fn copy(&self, selected: &Selected, destination: &mut Destination<'_>) -> Result<(), CopyError> {
        let path = self.action.destination.as_bytes();
        let made_by = self.owner.unwrap_or_default();
        if !matches!(selected.entry.kind, EntryKind::Directory { .. }) {
            let target = target_of_file(destination, path, base_name(&selected.matched), made_by)?;
            return self.put(&selected.path, &selected.entry, target, true, destination);
        }
        ensure_destination(destination, path, made_by)?;
        let target = destination.resolve(path)?;
        match destination.is_directory(&target)? {
            Some(true) => {}
            Some(false) => return Err(DestinationError::NotADirectory(shown(&target)).into()),
            None => {
                destination.make_directories(&target, MADE_DIRECTORY, made_by)?;
            }
        }
        self.copy_contents(&selected.path, &target, destination)
    }

    fn copy_contents(
        &self,
        directory: &[u8],
        target: &[u8],
        destination: &mut Destination<'_>,
    ) -> Result<(), CopyError> {
        let taken = self.filter.contents(self.source, directory)?;
        let links = shared_files(directory, &taken);
        let below = |directory: &[u8], relative: &[u8]| {
            let mut path = directory.to_vec();
            push_component(&mut path, relative);
            path
        };
        for entry in &taken {
            let (from, to) = (below(directory, &entry.relative), below(target, &entry.relative));
            match links.get(&file_at(&from, entry.entry)) {
                Some(first) if *first != entry.relative => {
                    self.put_link(entry.entry, &below(target, first), to, destination)?
                }
                _ => self.put(&from, entry.entry, to, !entry.on_the_way, destination)?,
            }
        }
        Ok(())
    }

    /// A further name of a file that this copy puts at `first`.
    fn put_link(
        &self,
        entry: &Entry,
        first: &[u8],
        target: Vec<u8>,
        destination: &mut Destination<'_>,
    ) -> Result<(), CopyError> {
        let mut linked = self.attributed(entry, target, destination);
        linked.kind = EntryKind::Hardlink { target: first.to_vec() };
        destination.put(PlannedEntry {
            entry: linked,
            content: Content::None,
        })?;
        Ok(())
    }

    /// An entry at its new place, with the owner, mode and time that it has there.
    fn attributed(&self, entry: &Entry, target: Vec<u8>, destination: &Destination<'_>) -> Entry {
        let kept = if self.source.keeps_owners() {
            OwnerIds {
                uid: entry.uid,
                gid: entry.gid,
            }
        } else {
            OwnerIds::default()
        };
        let owner = self.owner.unwrap_or(kept);
        let mode = match (&self.mode, &entry.kind) {
            (_, EntryKind::Symlink { .. }) => 0o777,
            (Some(change), kind) => change.apply(entry.mode, matches!(kind, EntryKind::Directory { .. })),
            (None, _) => entry.mode,
        };
        Entry {
            path: target,
            mode,
            uid: owner.uid,
            gid: owner.gid,
            mtime: if self.action.keep_times {
                entry.mtime
            } else {
                destination.time()
            },
            ..entry.clone()
        }
    }

    /// Puts one entry of the source at a target whose parent exists. `overwrite`: a directory that is there gets the
    /// source's attributes.
    fn put(
        &self,
        from: &[u8],
        entry: &Entry,
        target: Vec<u8>,
        overwrite: bool,
        destination: &mut Destination<'_>,
    ) -> Result<(), CopyError> {
        let mut copied = self.attributed(entry, target, destination);
        match &entry.kind {
            EntryKind::Directory { .. } => {
                copied.kind = EntryKind::Directory { opaque: false };
                destination.put_directory(copied, overwrite)?;
            }
            EntryKind::File { .. } | EntryKind::Hardlink { .. } => {
                let (kind, content_path) = self.file_of(from, entry)?;
                copied.kind = kind;
                let content = self.source.content(&content_path)?;
                destination.put(PlannedEntry { entry: copied, content })?;
            }
            EntryKind::Whiteout => {}
            EntryKind::Symlink { .. }
            | EntryKind::CharDevice { .. }
            | EntryKind::BlockDevice { .. }
            | EntryKind::Fifo => {
                destination.put(PlannedEntry {
                    entry: copied,
                    content: Content::None,
                })?;
            }
        }
        Ok(())
    }

    /// A hard link is copied as the file that it leads to.
    fn file_of(&self, from: &[u8], entry: &Entry) -> Result<(EntryKind, Vec<u8>), CopyError> {
        let EntryKind::Hardlink { target } = &entry.kind else {
            return Ok((entry.kind.clone(), from.to_vec()));
        };
        let found = self.source.view.lookup(target, kiln_image::view::FollowLast::No);
        let found = found.map_err(|source| SourceError::View {
            path: shown(target),
            source,
        })?;
        match found {
            Some(found) => Ok((found.entry.kind.clone(), target.clone())),
            None => Err(SourceError::NotFound {
                path: String::from_utf8_lossy(target).into_owned(),
                origin: self.source.origin(),
            }
            .into()),
        }
    }

    /// ADD of a local archive: its contents go to the destination. False: it is no archive.
    fn unpack(&self, selected: &Selected, destination: &mut Destination<'_>) -> Result<bool, CopyError> {
        if !self.action.unpack || !matches!(selected.entry.kind, EntryKind::File { .. }) {
            return Ok(false);
        }
        let path = String::from_utf8_lossy(&selected.path).into_owned();
        let content = self.source.content(&selected.path)?;
        let unpacked = self.inputs.archives.unpack(&content);
        let unpacked = unpacked.map_err(|source| CopyError::Archive {
            path: path.clone(),
            source,
        })?;
        let Some(unpacked) = unpacked else {
            return if self.action.unpack_required {
                Err(CopyError::NotAnArchive(path))
            } else {
                Ok(false)
            };
        };
        let made_by = self.owner.unwrap_or_default();
        let target = destination.make_directories(self.action.destination.as_bytes(), MADE_DIRECTORY, made_by)?;
        for planned in unpacked.entries {
            self.put_unpacked(planned, &target, destination)?;
        }
        Ok(true)
    }

    /// One entry of an archive below `target`. Links that are there are followed, those of directories too; whatever
    /// else is in the way is replaced. Directories that the archive only implies are root's.
    fn put_unpacked(
        &self,
        planned: PlannedEntry,
        target: &[u8],
        destination: &mut Destination<'_>,
    ) -> Result<(), CopyError> {
        let below = |path: &[u8]| {
            let mut full = target.to_vec();
            push_component(&mut full, path);
            full
        };
        let is_directory = planned.entry.is_directory();
        let written = below(&planned.entry.path);
        let mut path = destination.make_directories(parent(&written), MADE_DIRECTORY, OwnerIds::default())?;
        push_component(&mut path, base_name(&written));
        if is_directory {
            path = destination.resolve(&path)?;
            destination.make_directories(parent(&path), MADE_DIRECTORY, OwnerIds::default())?;
        }
        let owner = self.owner.unwrap_or(OwnerIds {
            uid: planned.entry.uid,
            gid: planned.entry.gid,
        });
        let kind = match planned.entry.kind {
            EntryKind::Hardlink { target: link } => EntryKind::Hardlink {
                target: destination.resolve_parent(&below(&link))?,
            },
            kind => kind,
        };
        // An archive's own times are content: they are the same wherever it is unpacked.
        let entry = Entry {
            path,
            kind,
            uid: owner.uid,
            gid: owner.gid,
            ..planned.entry
        };
        destination.replace(PlannedEntry {
            entry,
            content: planned.content,
        })?;
        Ok(())
    }
}

/// Where the bytes of an entry are: a hard link's are at the path that it leads to.
fn file_at(path: &[u8], entry: &Entry) -> Vec<u8> {
    match &entry.kind {
        EntryKind::Hardlink { target } => target.clone(),
        _ => path.to_vec(),
    }
}

/// Files that are copied under several names: where their bytes are, and the first of the names in the order of layers.
fn shared_files(directory: &[u8], taken: &[Taken<'_>]) -> HashMap<Vec<u8>, Vec<u8>> {
    let linked: HashSet<&[u8]> = taken
        .iter()
        .filter_map(|taken| match &taken.entry.kind {
            EntryKind::Hardlink { target } => Some(target.as_slice()),
            _ => None,
        })
        .collect();
    let mut first: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    for taken in taken.iter().filter(|_| !linked.is_empty()) {
        let mut path = directory.to_vec();
        push_component(&mut path, &taken.relative);
        let file = file_at(&path, taken.entry);
        if !linked.contains(file.as_slice()) {
            continue;
        }
        let known = first.entry(file).or_insert_with(|| taken.relative.clone());
        if taken.relative < *known {
            known.clone_from(&taken.relative);
        }
    }
    first
}

#[cfg(test)]
mod tests;
