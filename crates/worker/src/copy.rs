//! COPY and ADD: a file operation becomes the plan of one layer.
//!
//! The rules are those of the peers' file backend: a copied directory gives its contents; a file goes into an
//! existing directory or one that is written with a slash at the end; missing parents are made with mode 0755
//! and the copy's owner; a source that is a symbolic link is followed, links inside a copied directory are not.

use std::collections::HashMap;

use kiln_dockerfile::ignore::PatternMatcher;
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
            .map(|owner| crate::owner::resolve_owner(&owner.text, self.passwd, self.group))
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
    exclude: Option<PatternMatcher>,
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
            exclude: exclude_matcher(action)?,
            inputs,
        })
    }

    fn run(&self, destination: &mut Destination<'_>) -> Result<(), CopyError> {
        for selected in selected(self.action, self.source)? {
            if self.unpack(&selected, destination)? {
                continue;
            }
            if self.action.parents {
                self.copy_with_parents(&selected, destination)?;
            } else {
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
            return self.put(&selected.path, &selected.entry, target, destination);
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
        let mut entries = Vec::new();
        self.source.walk(directory, |relative, entry| {
            let excluded = self.is_excluded(relative);
            if !excluded {
                entries.push((relative.to_vec(), entry.clone()));
            }
            !excluded || self.exclude.as_ref().is_some_and(PatternMatcher::has_exceptions)
        })?;
        for (relative, entry) in entries {
            let (mut from, mut to) = (directory.to_vec(), target.to_vec());
            push_component(&mut from, &relative);
            push_component(&mut to, &relative);
            self.put(&from, &entry, to, destination)?;
        }
        Ok(())
    }

    /// `--parents`: the directories that lead to the source are kept, with their own modes.
    fn copy_with_parents(&self, selected: &Selected, destination: &mut Destination<'_>) -> Result<(), CopyError> {
        let made_by = self.owner.unwrap_or_default();
        let mut target = destination.make_directories(self.action.destination.as_bytes(), MADE_DIRECTORY, made_by)?;
        // What stands before `/./` is where the kept directories begin.
        let pivot = self.action.source.split_once("/./").map_or(0, |(before, _)| {
            crate::destination::components(before.as_bytes()).count()
        });
        let mut from = Vec::new();
        for (depth, component) in crate::destination::components(parent(&selected.matched)).enumerate() {
            push_component(&mut from, component);
            if depth < pivot {
                continue;
            }
            push_component(&mut target, component);
            let found = self.source.view.lookup(&from, kiln_image::view::FollowLast::Yes);
            let found = found.map_err(|source| SourceError::View {
                path: shown(&from),
                source,
            })?;
            if let Some(found) = found {
                let (path, entry) = (found.path.clone(), found.entry.clone());
                self.put(&path, &entry, target.clone(), destination)?;
            }
        }
        push_component(&mut target, base_name(&selected.matched));
        self.put(&selected.path, &selected.entry, target.clone(), destination)?;
        if matches!(selected.entry.kind, EntryKind::Directory { .. }) {
            self.copy_contents(&selected.path, &target, destination)?;
        }
        Ok(())
    }

    /// Puts one entry of the source at a target whose parent exists.
    fn put(
        &self,
        from: &[u8],
        entry: &Entry,
        target: Vec<u8>,
        destination: &mut Destination<'_>,
    ) -> Result<(), CopyError> {
        let directory = matches!(entry.kind, EntryKind::Directory { .. });
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
            (Some(change), _) => change.apply(entry.mode, directory),
            (None, _) => entry.mode,
        };
        let mut copied = Entry {
            path: target,
            mode,
            uid: owner.uid,
            gid: owner.gid,
            mtime: destination.time(),
            ..entry.clone()
        };
        match &entry.kind {
            EntryKind::Directory { .. } => {
                copied.kind = EntryKind::Directory { opaque: false };
                destination.put_directory(copied, true)?;
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

    fn is_excluded(&self, relative: &[u8]) -> bool {
        let path = String::from_utf8_lossy(relative);
        self.exclude
            .as_ref()
            .is_some_and(|matcher| matcher.matches_or_parent_matches(&path))
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
            let mut to = target.clone();
            push_component(&mut to, &planned.entry.path);
            destination.make_directories(parent(&to), MADE_DIRECTORY, made_by)?;
            let owner = self.owner.unwrap_or(OwnerIds {
                uid: planned.entry.uid,
                gid: planned.entry.gid,
            });
            let kind = match planned.entry.kind {
                EntryKind::Hardlink { target: link } => {
                    let mut full = target.clone();
                    push_component(&mut full, &link);
                    EntryKind::Hardlink { target: full }
                }
                kind => kind,
            };
            // An archive's own times are content: they are the same wherever it is unpacked.
            let entry = Entry {
                path: to,
                kind,
                uid: owner.uid,
                gid: owner.gid,
                ..planned.entry
            };
            match entry.kind {
                EntryKind::Directory { .. } => destination.put_directory(entry, true)?,
                _ => destination.put(PlannedEntry {
                    entry,
                    content: planned.content,
                })?,
            }
        }
        Ok(true)
    }
}

/// What an action takes from its source.
pub fn selected(action: &CopyAction, source: &SourceTree) -> Result<Vec<Selected>, SourceError> {
    source.select(&action.source, action.wildcard)
}

/// The matcher of `--exclude`, if there is any.
pub fn exclude_matcher(action: &CopyAction) -> Result<Option<PatternMatcher>, CopyError> {
    if action.exclude.is_empty() {
        return Ok(None);
    }
    PatternMatcher::new(&action.exclude)
        .map(Some)
        .map_err(CopyError::Exclude)
}
