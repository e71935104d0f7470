//! The layer index as bytes.

use super::{Entry, EntryKind, LayerIndex, Mtime};
use crate::wire::{WireError, WireReader, WireWriter};

/// First bytes of a layer index, with the version of the format in the last one.
const MAGIC: &[u8; 5] = b"KLIX\x01";

/// An entry takes at least one byte for each of: shared prefix, suffix length, kind, mode, uid, gid, seconds,
/// nanoseconds, number of extended attributes.
const SMALLEST_ENTRY: usize = 9;

/// How much of the previous path an entry may take over. Bounds what hostile bytes can make of themselves.
const LONGEST_PREFIX: usize = 255;

/// Why bytes are not a layer index, or an index cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// The bytes do not begin like a layer index, or a format that this program does not know.
    #[error("not a layer index of a known version")]
    Format,
    /// The bytes end too early.
    #[error("the layer index is truncated")]
    Truncated,
    /// The checksum is wrong, or a value cannot be.
    #[error("the layer index is damaged")]
    Damaged,
    /// Entries are not sorted or a path stands twice.
    #[error("the layer index is not sorted at `{}`", String::from_utf8_lossy(.0))]
    Order(Vec<u8>),
    /// A path that could leave the root or is written in another than the one form.
    #[error("invalid path `{}` in a layer index", String::from_utf8_lossy(.0))]
    Path(Vec<u8>),
    /// Mode bits beyond `0o7777` or a second's worth of nanoseconds or more.
    #[error("invalid mode or time of `{}` in a layer index", String::from_utf8_lossy(.0))]
    Attribute(Vec<u8>),
}

impl From<WireError> for IndexError {
    fn from(error: WireError) -> IndexError {
        match error {
            WireError::Truncated => IndexError::Truncated,
            WireError::Invalid => IndexError::Damaged,
        }
    }
}

impl LayerIndex {
    /// Checks what [`LayerIndex::decode`] would insist on: sorted, unique, paths that stay inside the root.
    pub fn validate(&self) -> Result<(), IndexError> {
        let mut previous = None;
        for entry in &self.entries {
            check_entry(entry, previous)?;
            previous = Some(entry.path.as_slice());
        }
        Ok(())
    }

    /// The index as bytes: the magic `KLIX` and a version byte, the number of entries, the entries, a CRC-32.
    ///
    /// Numbers are LEB128. Each entry is: how many bytes (at most 255) its path shares with the one before, the
    /// rest of the path, a kind byte, mode, uid, gid, seconds (sign in the lowest bit), nanoseconds, the
    /// extended attributes, and what belongs to its kind. Digests are an algorithm byte and raw bytes.
    pub fn encode(&self) -> Result<Vec<u8>, IndexError> {
        self.validate()?;
        let mut writer = WireWriter::new(MAGIC);
        writer.number(self.entries.len() as u64);
        let mut previous: &[u8] = b"";
        for entry in &self.entries {
            write_entry(&mut writer, entry, previous);
            previous = &entry.path;
        }
        Ok(writer.finish_with_checksum())
    }

    /// Reads what [`LayerIndex::encode`] wrote. Any bytes are safe to give: memory stays within a fixed multiple
    /// of their length.
    pub fn decode(bytes: &[u8]) -> Result<LayerIndex, IndexError> {
        if !bytes.starts_with(MAGIC) {
            return Err(if MAGIC.starts_with(bytes) { IndexError::Truncated } else { IndexError::Format });
        }
        let body = WireReader::checked(bytes)?;
        let mut reader = WireReader::new(body.get(MAGIC.len()..).ok_or(IndexError::Truncated)?);
        let count = reader.count(SMALLEST_ENTRY)?;
        // An entry in memory is many times as large as its shortest bytes, so room is made step by step.
        let mut entries: Vec<Entry> = Vec::with_capacity(count.min(64 * 1024));
        for _ in 0..count {
            let previous = entries.last().map(|entry| entry.path.as_slice());
            let entry = read_entry(&mut reader, previous)?;
            check_entry(&entry, previous)?;
            entries.push(entry);
        }
        if reader.remaining() > 0 {
            return Err(IndexError::Damaged);
        }
        Ok(LayerIndex { entries })
    }
}

fn check_entry(entry: &Entry, previous: Option<&[u8]>) -> Result<(), IndexError> {
    if previous.is_some_and(|previous| previous >= entry.path.as_slice()) {
        return Err(IndexError::Order(entry.path.clone()));
    }
    if !entry.path.is_empty() && !is_inside(&entry.path) {
        return Err(IndexError::Path(entry.path.clone()));
    }
    match &entry.kind {
        EntryKind::Hardlink { target } if !is_inside(target) => return Err(IndexError::Path(target.clone())),
        EntryKind::Symlink { target } if target.contains(&0) => return Err(IndexError::Path(target.clone())),
        // Only a directory can be the root.
        kind if entry.path.is_empty() && !matches!(kind, EntryKind::Directory { .. }) => {
            return Err(IndexError::Path(Vec::new()));
        }
        _ => {}
    }
    if entry.mode > 0o7777 || entry.mtime.nanos >= 1_000_000_000 {
        return Err(IndexError::Attribute(entry.path.clone()));
    }
    Ok(())
}

/// Whether a path is relative, not empty, and made of plain components.
fn is_inside(path: &[u8]) -> bool {
    let plain = |component: &[u8]| !component.is_empty() && component != b"." && component != b"..";
    !path.contains(&0) && path.split(|byte| *byte == b'/').all(plain)
}

fn write_entry(writer: &mut WireWriter, entry: &Entry, previous: &[u8]) {
    let shared = previous.iter().zip(&entry.path).take(LONGEST_PREFIX).take_while(|(a, b)| a == b).count();
    writer.byte(u8::try_from(shared).unwrap_or(0));
    writer.bytes(&entry.path[shared..]);
    writer.byte(match &entry.kind {
        EntryKind::Directory { opaque: false } => 0,
        EntryKind::Directory { opaque: true } => 1,
        EntryKind::File { .. } => 2,
        EntryKind::Symlink { .. } => 3,
        EntryKind::Hardlink { .. } => 4,
        EntryKind::CharDevice { .. } => 5,
        EntryKind::BlockDevice { .. } => 6,
        EntryKind::Fifo => 7,
        EntryKind::Whiteout => 8,
    });
    writer.number(entry.mode.into());
    writer.number(entry.uid.into());
    writer.number(entry.gid.into());
    writer.signed(entry.mtime.seconds);
    writer.number(entry.mtime.nanos.into());
    writer.number(entry.xattrs.len() as u64);
    for (name, value) in &entry.xattrs {
        writer.bytes(name);
        writer.bytes(value);
    }
    match &entry.kind {
        EntryKind::File { size, digest } => {
            writer.number(*size);
            writer.digest(digest.as_ref());
        }
        EntryKind::Symlink { target } | EntryKind::Hardlink { target } => writer.bytes(target),
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
            writer.number((*major).into());
            writer.number((*minor).into());
        }
        EntryKind::Directory { .. } | EntryKind::Fifo | EntryKind::Whiteout => {}
    }
}

fn read_entry(reader: &mut WireReader<'_>, previous: Option<&[u8]>) -> Result<Entry, IndexError> {
    let shared = usize::from(reader.byte()?);
    let head = previous.unwrap_or_default().get(..shared).ok_or(IndexError::Damaged)?;
    let path = [head, reader.bytes()?].concat();
    let kind = reader.byte()?;
    let mode = reader.number32()?;
    let uid = reader.number32()?;
    let gid = reader.number32()?;
    let mtime = Mtime { seconds: reader.signed()?, nanos: reader.number32()? };
    let mut xattrs = Vec::new();
    for _ in 0..reader.count(2)? {
        xattrs.push((reader.bytes()?.to_vec(), reader.bytes()?.to_vec()));
    }
    let kind = match kind {
        0 => EntryKind::Directory { opaque: false },
        1 => EntryKind::Directory { opaque: true },
        2 => EntryKind::File { size: reader.number()?, digest: reader.digest()? },
        3 => EntryKind::Symlink { target: reader.bytes()?.to_vec() },
        4 => EntryKind::Hardlink { target: reader.bytes()?.to_vec() },
        5 => EntryKind::CharDevice { major: reader.number32()?, minor: reader.number32()? },
        6 => EntryKind::BlockDevice { major: reader.number32()?, minor: reader.number32()? },
        7 => EntryKind::Fifo,
        8 => EntryKind::Whiteout,
        _ => return Err(IndexError::Damaged),
    };
    Ok(Entry { path, kind, mode, uid, gid, mtime, xattrs })
}
