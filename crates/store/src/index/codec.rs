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

impl Entry {
    /// Everything about the entry, as it stands first in an encoded index: entries that differ give different bytes, and
    /// so do rows of entries.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = WireWriter::default();
        write_entry(&mut writer, self, b"");
        writer.finish()
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
            return Err(if MAGIC.starts_with(bytes) {
                IndexError::Truncated
            } else {
                IndexError::Format
            });
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
    let shared = previous
        .iter()
        .zip(&entry.path)
        .take(LONGEST_PREFIX)
        .take_while(|(a, b)| a == b)
        .count();
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
    let mtime = Mtime {
        seconds: reader.signed()?,
        nanos: reader.number32()?,
    };
    let mut xattrs = Vec::new();
    for _ in 0..reader.count(2)? {
        xattrs.push((reader.bytes()?.to_vec(), reader.bytes()?.to_vec()));
    }
    let kind = match kind {
        0 => EntryKind::Directory { opaque: false },
        1 => EntryKind::Directory { opaque: true },
        2 => EntryKind::File {
            size: reader.number()?,
            digest: reader.digest()?,
        },
        3 => EntryKind::Symlink {
            target: reader.bytes()?.to_vec(),
        },
        4 => EntryKind::Hardlink {
            target: reader.bytes()?.to_vec(),
        },
        5 => EntryKind::CharDevice {
            major: reader.number32()?,
            minor: reader.number32()?,
        },
        6 => EntryKind::BlockDevice {
            major: reader.number32()?,
            minor: reader.number32()?,
        },
        7 => EntryKind::Fifo,
        8 => EntryKind::Whiteout,
        _ => return Err(IndexError::Damaged),
    };
    Ok(Entry {
        path,
        kind,
        mode,
        uid,
        gid,
        mtime,
        xattrs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_oci::Digest;
    use proptest::prelude::*;

    fn path() -> impl Strategy<Value = Vec<u8>> {
        let component = prop_oneof![
            4 => "[a-c]{1,3}".prop_map(String::into_bytes),
            1 => proptest::collection::vec(any::<u8>().prop_filter("a byte of a name", |byte| !b"\0/.".contains(byte)), 1..300),
        ];
        proptest::collection::vec(component, 1..5).prop_map(|components| components.join(&b'/'))
    }

    fn kind() -> impl Strategy<Value = EntryKind> {
        let target = proptest::collection::vec(1u8.., 0..40);
        let digest = proptest::option::of("[a-z]{0,9}".prop_map(Digest::sha256));
        prop_oneof![
            any::<bool>().prop_map(|opaque| EntryKind::Directory { opaque }),
            (any::<u64>(), digest).prop_map(|(size, digest)| EntryKind::File { size, digest }),
            target.prop_map(|target| EntryKind::Symlink { target }),
            path().prop_map(|target| EntryKind::Hardlink { target }),
            any::<(u32, u32)>().prop_map(|(major, minor)| EntryKind::CharDevice { major, minor }),
            any::<(u32, u32)>().prop_map(|(major, minor)| EntryKind::BlockDevice { major, minor }),
            Just(EntryKind::Fifo),
            Just(EntryKind::Whiteout),
        ]
    }

    fn entry() -> impl Strategy<Value = Entry> {
        let xattrs = proptest::collection::vec(any::<(Vec<u8>, Vec<u8>)>(), 0..3);
        let times = (any::<i64>(), 0u32..1_000_000_000).prop_map(|(seconds, nanos)| Mtime { seconds, nanos });
        (path(), kind(), 0u32..=0o7777, any::<u32>(), any::<u32>(), times, xattrs).prop_map(
            |(path, kind, mode, uid, gid, mtime, xattrs)| Entry {
                path,
                kind,
                mode,
                uid,
                gid,
                mtime,
                xattrs,
            },
        )
    }

    fn file(path: &[u8]) -> Entry {
        let kind = EntryKind::File { size: 0, digest: None };
        Entry {
            path: path.to_vec(),
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: Mtime::default(),
            xattrs: Vec::new(),
        }
    }

    fn encoded(entries: Vec<Entry>) -> Vec<u8> {
        LayerIndex::new(entries).encode().expect("a valid index")
    }

    /// The bytes with the checksum that belongs to them, so that the parser behind it is reached.
    fn sealed(mut body: Vec<u8>) -> Vec<u8> {
        let checksum = crc32fast::hash(&body);
        body.extend_from_slice(&checksum.to_le_bytes());
        body
    }

    proptest! {
        #[test]
        fn entries_that_differ_give_different_bytes(one in entry(), other in entry()) {
            prop_assert_eq!(one == other, one.to_bytes() == other.to_bytes());
        }

        #[test]
        fn an_index_comes_back(entries in proptest::collection::vec(entry(), 0..20)) {
            let index = LayerIndex::new(entries);
            let bytes = index.encode().expect("a valid index");
            prop_assert_eq!(LayerIndex::decode(&bytes), Ok(index));
        }

        #[test]
        fn a_cut_index_is_refused(entries in proptest::collection::vec(entry(), 0..6), cut in any::<prop::sample::Index>()) {
            let bytes = encoded(entries);
            let length = cut.index(bytes.len());
            prop_assert!(LayerIndex::decode(&bytes[..length]).is_err());
            // The same with a checksum that is right.
            let body = bytes.len() - 4;
            prop_assert!(LayerIndex::decode(&sealed(bytes[..length.min(body.saturating_sub(1))].to_vec())).is_err());
        }

        #[test]
        fn any_bytes_are_read_or_refused(tail in proptest::collection::vec(any::<u8>(), 0..400)) {
            let bytes = sealed([MAGIC.as_slice(), &tail].concat());
            if let Ok(index) = LayerIndex::decode(&bytes) {
                prop_assert_eq!(index.validate(), Ok(()));
            }
        }

        #[test]
        fn a_changed_byte_is_read_or_refused(
            entries in proptest::collection::vec(entry(), 1..6),
            position in any::<prop::sample::Index>(),
            byte: u8,
        ) {
            let mut bytes = encoded(entries);
            bytes.truncate(bytes.len() - 4);
            let position = position.index(bytes.len());
            bytes[position] = byte;
            if let Ok(index) = LayerIndex::decode(&sealed(bytes)) {
                prop_assert_eq!(index.validate(), Ok(()));
            }
        }
    }

    #[test]
    fn a_count_that_cannot_be_allocates_nothing() {
        for count in [1u64, 1 << 20, u64::MAX] {
            let mut writer = WireWriter::new(MAGIC);
            writer.number(count);
            assert_eq!(
                LayerIndex::decode(&writer.finish_with_checksum()),
                Err(IndexError::Truncated),
                "{count}"
            );
        }
    }

    #[test]
    fn paths_that_leave_the_root_are_refused() {
        let paths: [&[u8]; 9] = [b"/a", b"a/", b"a//b", b".", b"..", b"a/../b", b"a/.", b"a\0", b"../a"];
        for path in paths {
            let index = LayerIndex {
                entries: vec![file(path)],
            };
            assert_eq!(index.encode(), Err(IndexError::Path(path.to_vec())));
            let link = Entry {
                kind: EntryKind::Hardlink { target: path.to_vec() },
                ..file(b"link")
            };
            assert_eq!(
                LayerIndex { entries: vec![link] }.encode(),
                Err(IndexError::Path(path.to_vec()))
            );
            // And the same when the bytes come from elsewhere.
            let mut writer = WireWriter::new(MAGIC);
            writer.number(1);
            write_entry(&mut writer, &file(path), b"");
            assert_eq!(
                LayerIndex::decode(&writer.finish_with_checksum()),
                Err(IndexError::Path(path.to_vec()))
            );
        }
        let root = LayerIndex {
            entries: vec![file(b"")],
        };
        assert_eq!(
            root.encode(),
            Err(IndexError::Path(Vec::new())),
            "a file cannot be the root"
        );
    }

    #[test]
    fn disorder_and_impossible_attributes_are_refused() {
        let twice = LayerIndex {
            entries: vec![file(b"b"), file(b"b")],
        };
        assert_eq!(twice.encode(), Err(IndexError::Order(b"b".to_vec())));
        let back = LayerIndex {
            entries: vec![file(b"b"), file(b"a")],
        };
        assert_eq!(back.encode(), Err(IndexError::Order(b"a".to_vec())));
        let mode = Entry {
            mode: 0o10000,
            ..file(b"a")
        };
        assert_eq!(
            LayerIndex { entries: vec![mode] }.encode(),
            Err(IndexError::Attribute(b"a".to_vec()))
        );
        let time = Entry {
            mtime: Mtime {
                seconds: 0,
                nanos: 1_000_000_000,
            },
            ..file(b"a")
        };
        assert_eq!(
            LayerIndex { entries: vec![time] }.encode(),
            Err(IndexError::Attribute(b"a".to_vec()))
        );
    }

    #[test]
    fn other_formats_are_told_apart_from_damage() {
        assert_eq!(LayerIndex::decode(b"KLIX\x02rest"), Err(IndexError::Format));
        assert_eq!(LayerIndex::decode(b"{}"), Err(IndexError::Format));
        assert_eq!(LayerIndex::decode(b"KL"), Err(IndexError::Truncated));
        assert_eq!(LayerIndex::decode(b""), Err(IndexError::Truncated));
        let mut bytes = encoded(vec![file(b"a")]);
        bytes[8] ^= 1;
        assert_eq!(LayerIndex::decode(&bytes), Err(IndexError::Damaged));
    }

    #[test]
    fn a_large_index_is_small_on_disk() {
        let entries: Vec<Entry> = (0..100_000)
            .map(|number| file(format!("usr/lib/some/package/{:03}/file-{number:06}", number / 200).as_bytes()))
            .collect();
        let bytes = encoded(entries);
        assert!(bytes.len() < 2_000_000, "{} bytes", bytes.len());
        assert_eq!(LayerIndex::decode(&bytes).expect("decode").entries.len(), 100_000);
    }
}
