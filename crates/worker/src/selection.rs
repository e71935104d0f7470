//! The digest over what a step takes from one input: paths, types, modes, owners as they will be written, and
//! contents. Times are part of it only where they are kept.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use kiln_graph::{CopyAction, FileAction, Op, Vertex};
use kiln_oci::{Algorithm, Digest, Hasher};
use kiln_solver::Selection;
use kiln_store::KeyPart;
use kiln_store::index::{Entry, EntryKind};

use crate::WorkerError;
use crate::copy::CopyError;
use crate::destination::push_component;
use crate::source_tree::{SourceError, SourceTree};
use crate::taken::{Filter, selected};

/// Records name at most so many files; with more, a miss is explained by the digest alone.
const MAX_NAMED_FILES: usize = 5_000;

/// Gives the digests of files' contents.
pub trait FileDigests {
    /// Of one file.
    fn of(&mut self, path: &[u8], entry: &Entry) -> Result<Digest, WorkerError>;

    /// Says which will be asked for next, so that they can be read at once.
    fn expect(&mut self, paths: &[&[u8]]) -> Result<(), WorkerError>;
}

/// The selection of a file operation or of a step's bind mounts from `source`, its input at `position`.
pub fn select(
    vertex: &Vertex,
    position: usize,
    source: &SourceTree,
    digests: &mut dyn FileDigests,
) -> Result<Selection, WorkerError> {
    let mut collector = Collector {
        source,
        hasher: Hasher::new(Algorithm::Sha256),
        files: Vec::new(),
        digests,
    };
    match &vertex.op {
        Op::File(file) => {
            for action in &file.actions {
                if let FileAction::Copy(copy) = action
                    && copy.input == position
                {
                    collector.copy(copy)?;
                }
            }
        }
        Op::Exec(exec) => {
            for path in exec.mounts.iter().filter_map(|mount| mount.source_in(position)) {
                collector.subtree(path)?;
            }
        }
        _ => {}
    }
    let Collector { hasher, mut files, .. } = collector;
    if files.len() > MAX_NAMED_FILES {
        files.clear();
    }
    Ok(Selection {
        digest: hasher.finish(),
        files,
    })
}

struct Collector<'a> {
    source: &'a SourceTree,
    hasher: Hasher,
    files: Vec<KeyPart>,
    digests: &'a mut dyn FileDigests,
}

impl Collector<'_> {
    fn copy(&mut self, copy: &CopyAction) -> Result<(), WorkerError> {
        let filter = Filter::new(copy).map_err(copy_error)?;
        for selected in selected(copy, self.source).map_err(|error| copy_error(error.into()))? {
            // With a single file the name at the destination may be the instruction's, but never the path above.
            self.hasher.update(b"\nselected ");
            if !copy.parents {
                self.hasher.update(crate::destination::base_name(&selected.matched));
            }
            let mut found = vec![(Vec::new(), &selected.entry)];
            if selected.entry.is_directory() {
                let taken = filter.contents(self.source, &selected.path);
                let taken = taken.map_err(|error| copy_error(error.into()))?;
                found.extend(taken.into_iter().map(|taken| (taken.relative, taken.entry)));
            }
            self.entries(&selected.path, found, copy.keep_times)?;
        }
        Ok(())
    }

    fn subtree(&mut self, path: &str) -> Result<(), WorkerError> {
        let selected = self
            .source
            .select(path, false)
            .map_err(|error| copy_error(error.into()))?;
        for selected in selected {
            let mut found = vec![(Vec::new(), &selected.entry)];
            if selected.entry.is_directory() {
                let walk = self.source.walk(&selected.path, |relative, entry| {
                    found.push((relative.to_vec(), entry));
                    true
                });
                walk.map_err(|error| copy_error(error.into()))?;
            }
            self.entries(&selected.path, found, false)?;
        }
        Ok(())
    }

    fn entries(&mut self, root: &[u8], found: Vec<(Vec<u8>, &Entry)>, times: bool) -> Result<(), WorkerError> {
        let placed: Vec<(Vec<u8>, usize, &Entry)> = found
            .into_iter()
            .map(|(relative, entry)| {
                if relative.is_empty() {
                    return (root.to_vec(), root.len(), entry);
                }
                let mut path = root.to_vec();
                push_component(&mut path, &relative);
                let below = path.len() - relative.len();
                (path, below, entry)
            })
            .collect();
        let is_file = |entry: &Entry| matches!(entry.kind, EntryKind::File { .. });
        let files = placed.iter().filter(|(_, _, entry)| is_file(entry));
        let files: Vec<&[u8]> = files.map(|(path, _, _)| path.as_slice()).collect();
        self.digests.expect(&files)?;
        for (path, below, entry) in placed {
            let mut value = self.value(&path, entry)?;
            if times {
                value.push_str(&format!(" at {}.{}", entry.mtime.seconds, entry.mtime.nanos));
            }
            self.hasher.update(b"\n");
            self.hasher.update(&path[below..]);
            self.hasher.update(b"\0");
            self.hasher.update(value.as_bytes());
            if self.files.len() <= MAX_NAMED_FILES {
                self.files.push(KeyPart {
                    name: format!("file {}", String::from_utf8_lossy(&path)),
                    value,
                });
            }
        }
        Ok(())
    }

    /// Everything that is copied of one entry, as text: the mode first, so that a change of it alone can be told. Names that
    /// are no text are written with escapes, so that two entries which differ never read the same.
    fn value(&mut self, path: &[u8], entry: &Entry) -> Result<String, WorkerError> {
        let kind = match &entry.kind {
            EntryKind::Directory { .. } => "directory".to_owned(),
            EntryKind::File { .. } => format!("file {}", self.digests.of(path, entry)?),
            EntryKind::Hardlink { target } => {
                let found = self.source.view.lookup(target, kiln_image::view::FollowLast::No);
                let found = found.map_err(|source| SourceError::View {
                    path: crate::destination::shown(target),
                    source,
                });
                match found.map_err(|error| copy_error(error.into()))? {
                    Some(found) => format!(
                        "link of {:?} to file {}",
                        OsStr::from_bytes(target),
                        self.digests.of(target, found.entry)?
                    ),
                    None => "nothing".to_owned(),
                }
            }
            EntryKind::Symlink { target } => match std::str::from_utf8(target) {
                Ok(text) => format!("link {text}"),
                Err(_) => format!("symbolic link {:?}", OsStr::from_bytes(target)),
            },
            EntryKind::CharDevice { major, minor } => format!("character device {major} {minor}"),
            EntryKind::BlockDevice { major, minor } => format!("block device {major} {minor}"),
            EntryKind::Fifo => "fifo".to_owned(),
            EntryKind::Whiteout => "whiteout".to_owned(),
        };
        let mut text = format!("{:o} {kind}", entry.mode);
        if self.source.keeps_owners() {
            text.push_str(&format!(" {}:{}", entry.uid, entry.gid));
        }
        for (name, value) in &entry.xattrs {
            text.push_str(&format!(" {}={}", name.escape_ascii(), Digest::sha256(value)));
        }
        Ok(text)
    }
}

fn copy_error(source: CopyError) -> WorkerError {
    WorkerError::Copy {
        source,
        ignored_by: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source_tree::{Place, open_directory};
    use kiln_image::view::RootView;
    use kiln_store::index::{LayerIndex, Mtime};

    struct NoFiles;

    impl FileDigests for NoFiles {
        fn of(&mut self, _path: &[u8], _entry: &Entry) -> Result<Digest, WorkerError> {
            Ok(Digest::sha256(""))
        }

        fn expect(&mut self, _paths: &[&[u8]]) -> Result<(), WorkerError> {
            Ok(())
        }
    }

    fn digest_with_link(target: &[u8]) -> Digest {
        let entry = Entry {
            path: b"link".to_vec(),
            kind: EntryKind::Symlink {
                target: target.to_vec(),
            },
            mode: 0o777,
            uid: 0,
            gid: 0,
            mtime: Mtime::default(),
            xattrs: Vec::new(),
        };
        let source = SourceTree {
            view: RootView::new(vec![std::sync::Arc::new(LayerIndex::new(vec![entry]))]),
            place: Place::Context(open_directory(std::path::Path::new("/")).expect("the root is there")),
        };
        let mut collector = Collector {
            source: &source,
            hasher: Hasher::new(Algorithm::Sha256),
            files: Vec::new(),
            digests: &mut NoFiles,
        };
        collector.copy(&CopyAction::contents(1, "")).expect("it can be read");
        collector.hasher.finish()
    }

    #[test]
    fn links_to_names_that_are_no_text_are_told_apart() {
        let targets: [&[u8]; 4] = [b"a\xff", b"a\xfe", "a\u{fffd}".as_bytes(), b"a\\xFF"];
        let digests: std::collections::HashSet<Digest> = targets.into_iter().map(digest_with_link).collect();
        assert_eq!(digests.len(), targets.len());
    }
}
