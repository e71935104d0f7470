//! Unpacking: a layer blob becomes a tree and its index, in one pass.
//!
//! A layer comes from anywhere, so nothing in it is trusted: every parent directory is opened with
//! `openat2(RESOLVE_IN_ROOT)`, names with `..` are taken as if the tree were the root, and overlay's own
//! attributes are left out. Whiteouts become overlay's (a character device 0:0, `user.overlay.opaque`).

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use kiln_oci::{Algorithm, Compression, DiffId, Hasher};
use kiln_store::index::{Entry, EntryKind, LayerIndex, Mtime};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use tar::EntryType;

use crate::attributes;
use crate::plan::{finish, finish_file, finish_link, set_time};

/// Whether files can have other owners than the user itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ownership {
    /// Owners are set as the layer says.
    #[default]
    Keep,
    /// Everything belongs to the one id that is mapped; the index still has the owners.
    SingleId,
}

/// How a layer is unpacked.
#[derive(Debug, Clone, Copy, Default)]
pub struct UnpackOptions {
    /// Whether owners can be set.
    pub ownership: Ownership,
    /// Bytes of files at most; None is no bound but the disk.
    pub max_size: Option<u64>,
}

/// What came of it.
#[derive(Debug)]
pub struct Unpacked {
    /// The entries.
    pub index: LayerIndex,
    /// Digest of the uncompressed stream.
    pub diff_id: DiffId,
    /// Bytes of the files.
    pub size: u64,
}

/// Why a layer cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The stream breaks off, does not decompress, or is no tar.
    #[error("the archive cannot be read")]
    Archive(#[source] io::Error),
    /// An entry that cannot be made.
    #[error("failed to unpack `{path}`")]
    Entry {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// More than the bound.
    #[error("the archive unpacks to more than {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: u64,
    },
}

impl UnpackError {
    /// Whether the disk is full.
    pub fn is_disk_full(&self) -> bool {
        match self {
            UnpackError::Archive(source) | UnpackError::Entry { source, .. } => {
                source.kind() == io::ErrorKind::StorageFull
            }
            UnpackError::TooLarge { .. } => false,
        }
    }
}

/// Unpacks a layer into an empty directory.
pub fn unpack_layer(
    reader: impl Read + Send,
    compression: Compression,
    tree: &Path,
    options: &UnpackOptions,
) -> Result<Unpacked, UnpackError> {
    let mut stream = HashingReader {
        inner: decompress(reader, compression).map_err(UnpackError::Archive)?,
        hasher: Hasher::new(Algorithm::Sha256),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(tree, flags, Mode::empty());
    let root = root.map_err(|source| UnpackError::Entry {
        path: "/".into(),
        source: source.into(),
    })?;
    let root_path = tree.canonicalize().map_err(|source| UnpackError::Entry {
        path: "/".into(),
        source,
    })?;
    let mut unpacking = Unpacking {
        root,
        root_path,
        options: *options,
        entries: HashMap::new(),
        parents: HashMap::new(),
        whiteouts: HashSet::new(),
        size: 0,
        buffer: vec![0; 128 << 10],
        own: (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
    };
    let mut archive = tar::Archive::new(&mut stream);
    for entry in archive.entries().map_err(UnpackError::Archive)? {
        unpacking.entry(entry.map_err(UnpackError::Archive)?)?;
    }
    unpacking.finish_directories()?;
    // What follows the end mark belongs to the stream that was hashed when the layer was made.
    io::copy(&mut stream, &mut io::sink()).map_err(UnpackError::Archive)?;
    let size = unpacking.size;
    let index = LayerIndex::new(unpacking.entries.into_values().collect());
    Ok(Unpacked {
        index,
        diff_id: DiffId(stream.hasher.finish()),
        size,
    })
}

/// The plain stream of a layer blob. The bytes decide, not the media type: some registries hold layers with the wrong one.
pub fn decompress<'a>(reader: impl Read + Send + 'a, declared: Compression) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut reader = BufReader::with_capacity(128 << 10, reader);
    let head = reader.fill_buf()?;
    let compression = if head.starts_with(&[0x1f, 0x8b]) {
        Compression::Gzip
    } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Compression::Zstd
    } else if declared == Compression::Gzip && head.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    } else {
        Compression::Uncompressed
    };
    Ok(match compression {
        Compression::Uncompressed => Box::new(reader),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(reader)?),
    })
}

struct HashingReader<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

/// An opened parent directory and where it really is, relative to the tree.
struct Parent {
    fd: OwnedFd,
    path: Vec<u8>,
}

struct Unpacking {
    root: OwnedFd,
    root_path: PathBuf,
    options: UnpackOptions,
    entries: HashMap<Vec<u8>, Entry>,
    /// By the path as it stands in the archive.
    parents: HashMap<Vec<u8>, std::rc::Rc<Parent>>,
    whiteouts: HashSet<Vec<u8>>,
    size: u64,
    /// For the bytes of files on their way.
    buffer: Vec<u8>,
    /// User and group of what this process makes.
    own: (u32, u32),
}

/// Parents kept open; beyond, the map starts anew.
const MAX_OPEN_PARENTS: usize = 256;

impl Unpacking {
    fn entry(&mut self, mut entry: tar::Entry<'_, impl Read>) -> Result<(), UnpackError> {
        let name = entry.path_bytes().into_owned();
        let path = cleaned(&name);
        let shown = || String::from_utf8_lossy(&name).into_owned();
        let result = self.apply(&mut entry, &path);
        result.map_err(|error| match error {
            Failure::Io(source) => UnpackError::Entry { path: shown(), source },
            Failure::TooLarge(limit) => UnpackError::TooLarge { limit },
        })
    }

    fn apply(&mut self, entry: &mut tar::Entry<'_, impl Read>, path: &[u8]) -> Result<(), Failure> {
        let kind = entry.header().entry_type();
        if matches!(
            kind,
            EntryType::XGlobalHeader | EntryType::XHeader | EntryType::GNULongName | EntryType::GNULongLink
        ) {
            return Ok(());
        }
        let (directory, name) = split(path);
        if let Some(hidden) = name.strip_prefix(b".wh.") {
            return self.whiteout(directory, hidden);
        }
        let attributes = attributes_of(entry)?;
        let header = entry.header();
        let mut made = Entry {
            path: Vec::new(),
            kind: EntryKind::Fifo,
            mode: unless_blank(header.as_old().mode, || header.mode())? & 0o7777,
            uid: u32::try_from(unless_blank(header.as_old().uid, || header.uid())?).unwrap_or(u32::MAX),
            gid: u32::try_from(unless_blank(header.as_old().gid, || header.gid())?).unwrap_or(u32::MAX),
            mtime: Mtime {
                seconds: i64::try_from(unless_blank(header.as_old().mtime, || header.mtime())?).unwrap_or(0),
                nanos: 0,
            },
            xattrs: attributes.xattrs,
        };
        made.uid = attributes.uid.unwrap_or(made.uid);
        made.gid = attributes.gid.unwrap_or(made.gid);
        made.mtime = attributes.mtime.unwrap_or(made.mtime);
        if name.is_empty() {
            // The root's own entry: kept in the index, applied to the tree.
            made.kind = EntryKind::Directory { opaque: false };
            return Ok(self.keep(made, &self.root_path.clone())?);
        }
        let parent = self.parent(directory)?;
        made.path = joined(&parent.path, name);
        let name = OsStr::from_bytes(name);
        self.make(entry, kind, &parent, name, &mut made)?;
        // A link has the attributes of its file, and a file was finished while it was open.
        if matches!(made.kind, EntryKind::Hardlink { .. } | EntryKind::File { .. }) {
            self.entries.insert(made.path.clone(), made);
            return Ok(());
        }
        if matches!(made.kind, EntryKind::Symlink { .. }) && made.xattrs.is_empty() {
            let ownership = self.ownership_below(&parent, &made);
            finish_link(&made, parent.fd.as_fd(), name, ownership)?;
            self.entries.insert(made.path.clone(), made);
            return Ok(());
        }
        let place = PathBuf::from(format!("/proc/self/fd/{}", parent.fd.as_raw_fd())).join(name);
        Ok(self.keep(made, &place)?)
    }

    fn keep(&mut self, entry: Entry, place: &Path) -> io::Result<()> {
        finish(&entry, place, self.options.ownership)?;
        self.entries.insert(entry.path.clone(), entry);
        Ok(())
    }

    fn make(
        &mut self,
        entry: &mut tar::Entry<'_, impl Read>,
        kind: EntryType,
        parent: &Parent,
        name: &OsStr,
        made: &mut Entry,
    ) -> Result<(), Failure> {
        let fd = parent.fd.as_fd();
        let is_file = matches!(kind, EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse);
        if kind != EntryType::Directory && !is_file {
            self.clear(parent, name)?;
        }
        let device = |header: &tar::Header| -> io::Result<(u32, u32)> {
            Ok((header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0)))
        };
        match kind {
            EntryType::Directory => {
                made.kind = EntryKind::Directory { opaque: false };
                match rustix::fs::mkdirat(fd, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) => {}
                    Err(rustix::io::Errno::EXIST) if is_directory(parent, name) => {
                        let opaque = self
                            .entries
                            .get(&made.path)
                            .is_some_and(|known| matches!(known.kind, EntryKind::Directory { opaque: true }));
                        made.kind = EntryKind::Directory { opaque };
                    }
                    Err(rustix::io::Errno::EXIST) => {
                        self.clear(parent, name)?;
                        rustix::fs::mkdirat(fd, name, Mode::from_raw_mode(0o755)).map_err(io::Error::from)?;
                    }
                    Err(error) => return Err(io::Error::from(error).into()),
                }
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let open = || rustix::fs::openat(fd, name, flags, Mode::from_raw_mode(0o600));
                let mut file = File::from(self.in_place(parent, name, open)?);
                let size = self.copy(entry, &mut file)?;
                made.kind = EntryKind::File { size, digest: None };
                finish_file(made, &file, self.ownership_below(parent, made))?;
            }
            EntryType::Symlink => {
                let target = link_name(entry)?;
                self.in_place(parent, name, || {
                    rustix::fs::symlinkat(OsStr::from_bytes(&target), fd, name)
                })?;
                made.kind = EntryKind::Symlink { target };
            }
            EntryType::Link => {
                let (directory, target) = {
                    let path = cleaned(&link_name(entry)?);
                    let (d, n) = split(&path);
                    (d.to_vec(), n.to_vec())
                };
                let from = self.parent(&directory)?;
                let link =
                    || rustix::fs::linkat(from.fd.as_fd(), OsStr::from_bytes(&target), fd, name, AtFlags::empty());
                self.in_place(parent, name, link)?;
                let target = joined(&from.path, &target);
                // A link to a link is one more name of the same file.
                made.kind = match self.entries.get(&target).map(|entry| &entry.kind) {
                    Some(EntryKind::Hardlink { target }) => EntryKind::Hardlink { target: target.clone() },
                    _ => EntryKind::Hardlink { target },
                };
            }
            EntryType::Char | EntryType::Block => {
                let (major, minor) = device(entry.header())?;
                let (kind, file_type) = if kind == EntryType::Char {
                    (EntryKind::CharDevice { major, minor }, FileType::CharacterDevice)
                } else {
                    (EntryKind::BlockDevice { major, minor }, FileType::BlockDevice)
                };
                made.kind = kind;
                match rustix::fs::mknodat(
                    fd,
                    name,
                    file_type,
                    Mode::from_raw_mode(0o600),
                    rustix::fs::makedev(major, minor),
                ) {
                    // A user namespace may not make devices; the index has them all the same.
                    Ok(()) | Err(rustix::io::Errno::PERM) => {}
                    Err(error) => return Err(io::Error::from(error).into()),
                }
            }
            EntryType::Fifo => {
                rustix::fs::mknodat(fd, name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
                    .map_err(io::Error::from)?;
                made.kind = EntryKind::Fifo;
            }
            other => {
                let text = format!("an entry of unknown type {:?}", char::from(other.as_byte()));
                return Err(io::Error::new(io::ErrorKind::InvalidData, text).into());
            }
        }
        Ok(())
    }

    /// Makes something where mostly nothing is yet; else what an earlier entry put there goes first.
    fn in_place<T>(
        &mut self,
        parent: &Parent,
        name: &OsStr,
        make: impl Fn() -> rustix::io::Result<T>,
    ) -> io::Result<T> {
        match make() {
            Err(rustix::io::Errno::EXIST) => {
                self.clear(parent, name)?;
                Ok(make()?)
            }
            made => Ok(made?),
        }
    }

    /// Whether the owner of a new entry must be set: what this process makes belongs to it already, but for the group
    /// where a directory of another one may hand that down.
    fn ownership_below(&self, parent: &Parent, made: &Entry) -> Ownership {
        let is_anothers = |entry: &Entry| entry.gid != self.own.1;
        if (made.uid, made.gid) == self.own && !self.entries.get(&parent.path).is_some_and(is_anothers) {
            Ownership::SingleId
        } else {
            self.options.ownership
        }
    }

    fn copy(&mut self, entry: &mut impl Read, out: &mut File) -> Result<u64, Failure> {
        let mut copied = 0;
        loop {
            let count = match entry.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            copied += count as u64;
            if let Some(limit) = self.options.max_size
                && self.size.saturating_add(copied) > limit
            {
                return Err(Failure::TooLarge(limit));
            }
            out.write_all(&self.buffer[..count])?;
        }
        self.size += copied;
        Ok(copied)
    }

    fn whiteout(&mut self, directory: &[u8], hidden: &[u8]) -> Result<(), Failure> {
        let parent = self.parent(directory)?;
        let place = PathBuf::from(format!("/proc/self/fd/{}", parent.fd.as_raw_fd()));
        if hidden == b".wh..opq" {
            attributes::make_opaque(&place.join("."))?;
            self.whiteouts.insert(parent.path.clone());
            if let Some(Entry { kind, .. }) = self.entries.get_mut(&parent.path) {
                *kind = EntryKind::Directory { opaque: true };
            }
            return Ok(());
        }
        // Other names of this form belong to a union file system of old.
        if hidden.starts_with(b".wh.") || hidden.is_empty() || hidden == b"." || hidden == b".." {
            return Ok(());
        }
        let path = joined(&parent.path, hidden);
        // A whiteout hides what is below this layer, not what the layer itself holds.
        if self.entries.contains_key(&path) {
            return Ok(());
        }
        let name = OsStr::from_bytes(hidden);
        match rustix::fs::mknodat(parent.fd.as_fd(), name, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        let entry = Entry {
            path: path.clone(),
            kind: EntryKind::Whiteout,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: Mtime::default(),
            xattrs: Vec::new(),
        };
        self.entries.insert(path, entry);
        Ok(())
    }

    /// Removes what an earlier entry put in the place of this one.
    fn clear(&mut self, parent: &Parent, name: &OsStr) -> io::Result<()> {
        match rustix::fs::unlinkat(parent.fd.as_fd(), name, AtFlags::empty()) {
            Ok(()) => {}
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            Err(rustix::io::Errno::ISDIR | rustix::io::Errno::PERM) => {
                kiln_store::remove_directory_tree(
                    &PathBuf::from(format!("/proc/self/fd/{}", parent.fd.as_raw_fd())).join(name),
                )?;
            }
            Err(error) => return Err(error.into()),
        }
        let path = joined(&parent.path, name.as_bytes());
        let below = [&path[..], b"/"].concat();
        self.entries
            .retain(|known, _| *known != path && !known.starts_with(&below));
        self.parents.clear();
        Ok(())
    }

    /// Opens a parent directory, following links inside the tree, and makes what is missing.
    fn parent(&mut self, directory: &[u8]) -> io::Result<std::rc::Rc<Parent>> {
        if let Some(parent) = self.parents.get(directory) {
            return Ok(parent.clone());
        }
        let fd = match self.open(directory) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::NOENT) => {
                let (above, name) = split(directory);
                let above = self.parent(above)?;
                match rustix::fs::mkdirat(above.fd.as_fd(), OsStr::from_bytes(name), Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                self.open(directory)?
            }
            Err(error) => return Err(error.into()),
        };
        let real = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
        let path = real
            .strip_prefix(&self.root_path)
            .map(|path| path.as_os_str().as_bytes().to_vec());
        let path = path.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a directory outside the tree"))?;
        if self.parents.len() >= MAX_OPEN_PARENTS {
            self.parents.clear();
        }
        let parent = std::rc::Rc::new(Parent { fd, path });
        self.parents.insert(directory.to_vec(), parent.clone());
        Ok(parent)
    }

    fn open(&self, directory: &[u8]) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let path = if directory.is_empty() {
            b".".as_slice()
        } else {
            directory
        };
        rustix::fs::openat2(
            self.root.as_fd(),
            OsStr::from_bytes(path),
            flags,
            Mode::empty(),
            resolve,
        )
    }

    /// Whatever is made in a directory moves its time, so times of directories are set last.
    fn finish_directories(&self) -> Result<(), UnpackError> {
        for entry in self.entries.values().filter(|entry| entry.is_directory()) {
            let path = self.root_path.join(OsStr::from_bytes(&entry.path));
            set_time(&path, entry).map_err(|source| UnpackError::Entry {
                path: path.display().to_string(),
                source,
            })?;
        }
        Ok(())
    }
}

enum Failure {
    Io(io::Error),
    TooLarge(u64),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Io(error)
    }
}

/// What extended headers say beyond the plain ones.
#[derive(Default)]
struct Extended {
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<Mtime>,
}

fn attributes_of(entry: &mut tar::Entry<'_, impl Read>) -> io::Result<Extended> {
    let mut found = Extended::default();
    let Some(extensions) = entry.pax_extensions()? else {
        return Ok(found);
    };
    for extension in extensions {
        let extension = extension?;
        let text = || std::str::from_utf8(extension.value_bytes()).ok();
        match extension.key_bytes() {
            b"uid" => found.uid = text().and_then(|text| text.parse().ok()),
            b"gid" => found.gid = text().and_then(|text| text.parse().ok()),
            b"mtime" => found.mtime = text().and_then(pax_time),
            key => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.".as_slice())
                    && !attributes::OVERLAY_PREFIXES
                        .iter()
                        .any(|prefix| name.starts_with(prefix))
                {
                    found.xattrs.push((name.to_vec(), extension.value_bytes().to_vec()));
                }
            }
        }
    }
    found.xattrs.sort();
    Ok(found)
}

/// A number of a header; zero if its field is blank, as some archivers leave those that mean nothing to them.
fn unless_blank<T: Default, const N: usize>(field: [u8; N], read: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) {
        Ok(T::default())
    } else {
        read()
    }
}

/// Seconds with an optional fraction.
fn pax_time(text: &str) -> Option<Mtime> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let (mut seconds, mut nanos): (i64, u32) = (seconds.parse().ok()?, digits.parse().ok()?);
    if text.starts_with('-') && nanos > 0 {
        seconds = seconds.checked_sub(1)?;
        nanos = 1_000_000_000 - nanos;
    }
    Some(Mtime { seconds, nanos })
}

fn link_name(entry: &tar::Entry<'_, impl Read>) -> io::Result<Vec<u8>> {
    let name = entry
        .link_name_bytes()
        .map(|name| name.into_owned())
        .filter(|name| !name.is_empty());
    name.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a link without a target"))
}

/// As if the tree were the root of the file system: `..` never leads above it.
fn cleaned(name: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

fn joined(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() {
        name.to_vec()
    } else {
        [directory, b"/", name].concat()
    }
}

fn is_directory(parent: &Parent, name: &OsStr) -> bool {
    rustix::fs::statat(parent.fd.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}
