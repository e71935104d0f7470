//! Reading a tree: the directory that an overlay wrote to, or any other.

use std::collections::HashMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use kiln_store::index::{Entry, EntryKind, LayerIndex, Mtime};

use crate::attributes;

/// Why a tree cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("failed to {operation} `{path}`")]
pub struct ScanError {
    /// What was tried.
    pub operation: &'static str,
    /// On what.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// The index of a tree. Sockets are left out; of several names of one file the first in order is the file.
pub fn scan_tree(tree: &Path) -> Result<LayerIndex, ScanError> {
    let mut scan = Scan {
        entries: Vec::new(),
        links: HashMap::new(),
    };
    scan.directory(tree, &mut Vec::new())?;
    let mut index = LayerIndex::new(scan.entries);
    crate::links::settle(&mut index.entries, |entry| entry, |_, _| {});
    Ok(index)
}

struct Scan {
    entries: Vec<Entry>,
    /// Device and inode of files with several names → first path.
    links: HashMap<(u64, u64), Vec<u8>>,
}

impl Scan {
    fn directory(&mut self, path: &Path, relative: &mut Vec<u8>) -> Result<(), ScanError> {
        let failed = |operation| {
            move |source| ScanError {
                operation,
                path: path.to_owned(),
                source,
            }
        };
        let names = std::fs::read_dir(path).map_err(failed("list"))?;
        let mut names: Vec<_> = names
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<_>>()
            .map_err(failed("list"))?;
        names.sort();
        for name in names {
            let length = relative.len();
            if length > 0 {
                relative.push(b'/');
            }
            relative.extend_from_slice(name.as_bytes());
            self.entry(&path.join(&name), relative)?;
            relative.truncate(length);
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, relative: &mut Vec<u8>) -> Result<(), ScanError> {
        let failed = |operation| {
            move |source| ScanError {
                operation,
                path: path.to_owned(),
                source,
            }
        };
        let metadata = path.symlink_metadata().map_err(failed("read the attributes of"))?;
        let file_type = metadata.file_type();
        let device = || (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
        let kind = if file_type.is_dir() {
            EntryKind::Directory {
                opaque: attributes::is_opaque(path),
            }
        } else if file_type.is_symlink() {
            let target = std::fs::read_link(path).map_err(failed("read the link"))?;
            EntryKind::Symlink {
                target: target.as_os_str().as_bytes().to_vec(),
            }
        } else if file_type.is_file() {
            self.file(&metadata, relative)
        } else if file_type.is_char_device() {
            match device() {
                (0, 0) => EntryKind::Whiteout,
                (major, minor) => EntryKind::CharDevice { major, minor },
            }
        } else if file_type.is_block_device() {
            let (major, minor) = device();
            EntryKind::BlockDevice { major, minor }
        } else if file_type.is_fifo() {
            EntryKind::Fifo
        } else {
            return Ok(());
        };
        let plain = matches!(kind, EntryKind::Whiteout);
        let xattrs = if plain {
            Vec::new()
        } else {
            attributes::read(path).map_err(failed("read the attributes of"))?
        };
        self.entries.push(Entry {
            path: relative.clone(),
            kind,
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: Mtime {
                seconds: metadata.mtime(),
                nanos: u32::try_from(metadata.mtime_nsec()).unwrap_or(0),
            },
            xattrs,
        });
        if file_type.is_dir() {
            self.directory(path, relative)?;
        }
        Ok(())
    }

    fn file(&mut self, metadata: &std::fs::Metadata, relative: &[u8]) -> EntryKind {
        if metadata.nlink() > 1 {
            let inode = (metadata.dev(), metadata.ino());
            if let Some(first) = self.links.get(&inode) {
                return EntryKind::Hardlink { target: first.clone() };
            }
            self.links.insert(inode, relative.to_vec());
        }
        EntryKind::File {
            size: metadata.len(),
            digest: None,
        }
    }
}
