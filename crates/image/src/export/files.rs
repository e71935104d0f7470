//! The files of a root: into a directory, or as a tar stream.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_store::index::{Entry, EntryKind};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps};

use crate::export::ExportError;
use crate::plan::open_below;
use crate::tar_stream::{BLOCK, header};
use crate::view::{Found, RootView};

/// A root with its bytes.
#[derive(Debug)]
pub struct FileSource {
    /// What there is.
    pub view: RootView,
    /// The trees of the layers, the lowest first.
    pub trees: Vec<Arc<OwnedFd>>,
}

impl FileSource {
    fn open(&self, found: &Found<'_>) -> Result<File, ExportError> {
        let read = |source| ExportError::Read {
            path: format!("/{}", String::from_utf8_lossy(&found.path)),
            source,
        };
        let tree = self
            .trees
            .get(found.layer)
            .ok_or_else(|| read(io::ErrorKind::NotFound.into()))?;
        open_below(tree, &found.path).map_err(read)
    }

    /// Everything in the root. Names of one file in different layers are files of their own; a link to a file
    /// that a higher layer replaced is the file.
    fn entries(&self) -> Result<Vec<(Found<'_>, EntryKind)>, ExportError> {
        let all = self.view.walk()?;
        let layers: HashMap<Vec<u8>, usize> = all.iter().map(|found| (found.path.clone(), found.layer)).collect();
        let mut firsts: HashMap<(usize, Vec<u8>), Vec<u8>> = HashMap::new();
        let mut entries = Vec::with_capacity(all.len());
        for found in all {
            let kind = match &found.entry.kind {
                EntryKind::Hardlink { target } if layers.get(target) == Some(&found.layer) && *target < found.path => {
                    EntryKind::Hardlink { target: target.clone() }
                }
                EntryKind::Hardlink { target } => {
                    let first = firsts
                        .entry((found.layer, target.clone()))
                        .or_insert_with(|| found.path.clone());
                    if *first == found.path {
                        self.linked_file(&found)?
                    } else {
                        EntryKind::Hardlink { target: first.clone() }
                    }
                }
                kind => kind.clone(),
            };
            entries.push((found, kind));
        }
        Ok(entries)
    }

    /// The file behind a link whose first name is hidden or comes later.
    fn linked_file(&self, found: &Found<'_>) -> Result<EntryKind, ExportError> {
        let size = self.open(found)?.metadata();
        let size = size.map_err(|source| ExportError::Read {
            path: String::from_utf8_lossy(&found.path).into_owned(),
            source,
        })?;
        Ok(EntryKind::File {
            size: size.len(),
            digest: None,
        })
    }
}

/// Writes a root as a tar stream, below `prefix` if it is not empty.
pub fn root_tar(source: &FileSource, prefix: &str, out: &mut dyn Write) -> Result<(), ExportError> {
    let placed = |path: &[u8]| {
        if prefix.is_empty() {
            path.to_vec()
        } else {
            [prefix.as_bytes(), b"/", path].concat()
        }
    };
    for (found, kind) in source.entries()? {
        let kind = match kind {
            EntryKind::Hardlink { target } => EntryKind::Hardlink {
                target: placed(&target),
            },
            kind => kind,
        };
        let entry = Entry {
            path: placed(&found.path),
            kind,
            ..found.entry.clone()
        };
        out.write_all(&header(&entry, entry.mtime.seconds))
            .map_err(ExportError::Stream)?;
        if let EntryKind::File { size, .. } = entry.kind {
            let mut file = io::Read::take(source.open(&found)?, size);
            let copied = io::copy(&mut file, out).map_err(ExportError::Stream)?;
            if copied != size {
                return Err(ExportError::Read {
                    path: String::from_utf8_lossy(&found.path).into_owned(),
                    source: io::ErrorKind::UnexpectedEof.into(),
                });
            }
            let padding = usize::try_from(size.next_multiple_of(BLOCK as u64) - size).unwrap_or(0);
            out.write_all(&[0; BLOCK][..padding]).map_err(ExportError::Stream)?;
        }
    }
    Ok(())
}

/// The end of a tar stream.
pub fn end_tar(out: &mut dyn Write) -> Result<(), ExportError> {
    out.write_all(&[0; 2 * BLOCK])
        .and_then(|()| out.flush())
        .map_err(ExportError::Stream)
}

/// Writes a root into a directory, over what is there. Everything belongs to the user: as the peer's exporter
/// does, owners are set only if `owners` says so.
pub fn root_directory(source: &FileSource, directory: &Path, owners: bool) -> Result<(), ExportError> {
    let write = |path: PathBuf| move |source| ExportError::Write { path, source };
    std::fs::create_dir_all(directory).map_err(write(directory.to_owned()))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root =
        rustix::fs::open(directory, flags, Mode::empty()).map_err(|error| write(directory.to_owned())(error.into()))?;
    let mut directories = Vec::new();
    for (found, kind) in source.entries()? {
        let failed = write(directory.join(OsStr::from_bytes(&found.path)));
        let place = Place::open(&root, &found.path).map_err(write(directory.join(OsStr::from_bytes(&found.path))))?;
        make(source, &root, &place, &found, &kind, owners).map_err(failed)?;
        if found.entry.is_directory() {
            directories.push((place, found.entry));
        }
    }
    for (place, entry) in directories.into_iter().rev() {
        // The mode last: a directory without write permission could not be filled.
        place.finish(entry).map_err(write(directory.to_owned()))?;
    }
    Ok(())
}

/// A name in an opened directory: nothing that stands in the destination can lead a write out of it.
struct Place {
    parent: OwnedFd,
    name: Vec<u8>,
}

impl Place {
    fn open(root: &OwnedFd, path: &[u8]) -> io::Result<Place> {
        let (parent, name) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (b".".as_slice(), path),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let parent = rustix::fs::openat2(root.as_fd(), OsStr::from_bytes(parent), flags, Mode::empty(), resolve)?;
        Ok(Place {
            parent,
            name: name.to_vec(),
        })
    }

    fn name(&self) -> &OsStr {
        OsStr::from_bytes(&self.name)
    }

    fn finish(&self, entry: &Entry) -> io::Result<()> {
        if !matches!(entry.kind, EntryKind::Symlink { .. }) {
            rustix::fs::chmodat(
                self.parent.as_fd(),
                self.name(),
                Mode::from_raw_mode(entry.mode),
                AtFlags::empty(),
            )?;
        }
        let time = Timespec {
            tv_sec: entry.mtime.seconds,
            tv_nsec: entry.mtime.nanos.into(),
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        Ok(rustix::fs::utimensat(
            self.parent.as_fd(),
            self.name(),
            &times,
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }
}

fn make(
    source: &FileSource,
    root: &OwnedFd,
    place: &Place,
    found: &Found<'_>,
    kind: &EntryKind,
    owners: bool,
) -> io::Result<()> {
    let parent = place.parent.as_fd();
    if let EntryKind::Directory { .. } = kind {
        match rustix::fs::mkdirat(parent, place.name(), Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    } else {
        match rustix::fs::unlinkat(parent, place.name(), AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    match kind {
        EntryKind::Directory { .. } | EntryKind::Whiteout => {}
        EntryKind::File { .. } => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut out = File::from(rustix::fs::openat(
                parent,
                place.name(),
                flags,
                Mode::from_raw_mode(0o600),
            )?);
            let mut content = source.open(found).map_err(io::Error::other)?;
            io::copy(&mut content, &mut out)?;
        }
        EntryKind::Symlink { target } => rustix::fs::symlinkat(OsStr::from_bytes(target), parent, place.name())?,
        EntryKind::Hardlink { target } => {
            let from = Place::open(root, target)?;
            return Ok(rustix::fs::linkat(
                from.parent.as_fd(),
                from.name(),
                parent,
                place.name(),
                AtFlags::empty(),
            )?);
        }
        EntryKind::Fifo => rustix::fs::mknodat(parent, place.name(), FileType::Fifo, Mode::from_raw_mode(0o600), 0)?,
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
            let file_type = if matches!(kind, EntryKind::CharDevice { .. }) {
                FileType::CharacterDevice
            } else {
                FileType::BlockDevice
            };
            match rustix::fs::mknodat(
                parent,
                place.name(),
                file_type,
                Mode::from_raw_mode(0o600),
                rustix::fs::makedev(*major, *minor),
            ) {
                Ok(()) => {}
                // Only root makes devices; a directory of files is of use without them.
                Err(rustix::io::Errno::PERM) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
    if owners {
        let (uid, gid) = (
            rustix::fs::Uid::from_raw(found.entry.uid),
            rustix::fs::Gid::from_raw(found.entry.gid),
        );
        rustix::fs::chownat(parent, place.name(), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    if matches!(kind, EntryKind::Directory { .. }) {
        Ok(())
    } else {
        place.finish(found.entry)
    }
}
