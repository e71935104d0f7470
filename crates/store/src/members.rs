//! Members of packed blobs: what lies beside a blob so that a later one need not compress the same bytes again.
//!
//! A packed layer is a row of gzip members or zstd frames, each compressed by itself. The list of them is a file of its own
//! in `members/`, named by the blob's digest. It goes with the blob. A list that is missing or damaged costs time and
//! nothing else: what it would have saved is compressed again.

use std::fmt;
use std::path::Path;

use kiln_oci::Digest;

use crate::StoreError;
use crate::session::make_private_directory;
use crate::store::Store;
use crate::wire::{WireError, WireReader, WireWriter};

/// The last byte is the version of the format. Files of other versions are of no use to this one.
const MAGIC: &[u8; 5] = b"KLBM\x01";

/// Two hashes and a length.
const SMALLEST_MEMBER: usize = 2 * 32 + 1;

/// The members of one blob, in order. Together they are the whole blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobMembers {
    /// The compressor with its version and level: equal bytes become equal members only by the same one.
    pub made_by: String,
    /// The members.
    pub members: Vec<BlobMember>,
}

/// One member of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobMember {
    /// Hash of the bytes that it gives back.
    pub content: MemberHash,
    /// Hash of the bytes that it is.
    pub compressed: MemberHash,
    /// How many bytes it is.
    pub length: u64,
}

/// What tells the bytes of members apart. It is BLAKE3, which no specification knows and which takes a quarter of the time
/// that SHA-256 takes: every byte of every layer goes through it, and it never leaves the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MemberHash([u8; 32]);

impl MemberHash {
    /// The hash of some bytes.
    pub fn of(bytes: &[u8]) -> MemberHash {
        MemberHash(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for MemberHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl Store {
    /// Keeps the members of a blob that is in the store.
    pub fn put_blob_members(&self, blob: &Digest, members: &BlobMembers) -> Result<(), StoreError> {
        let directory = self.layout().members();
        match make_private_directory(&directory) {
            Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
        // It has a checksum and can be missing, so it need not survive a power failure.
        self.write_atomically(&self.layout().members_of(blob), &encode(members), false)
    }

    /// The members of a blob, if they are known.
    pub fn blob_members(&self, blob: &Digest) -> Result<Option<BlobMembers>, StoreError> {
        let path = self.layout().members_of(blob);
        match read(&path)? {
            Some(Ok(members)) => Ok(Some(members)),
            Some(Err(error)) => {
                tracing::warn!(path = %path.display(), ?error, "a list of members is damaged");
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// Removes the list of a blob's members.
    pub(crate) fn delete_blob_members(&self, blob: &Digest) -> Result<(), StoreError> {
        let path = self.layout().members_of(blob);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io("remove", path, error)),
            _ => Ok(()),
        }
    }

    /// Whether the list of a blob's members can be read and adds up to the blob's size. None: there is no list.
    pub(crate) fn members_are_sound(&self, blob: &Digest) -> Result<Option<bool>, StoreError> {
        let Some(read) = read(&self.layout().members_of(blob))? else {
            return Ok(None);
        };
        let size = std::fs::symlink_metadata(self.layout().blob(blob)).map(|metadata| metadata.len());
        Ok(Some(match (read, size) {
            (Ok(members), Ok(size)) => members.length() == Some(size),
            // A list without a blob is what a collector leaves that was killed; the next one takes it.
            (Ok(_), Err(_)) => true,
            (Err(_), _) => false,
        }))
    }
}

impl BlobMembers {
    /// How many bytes all members are together; None: more than there can be.
    pub fn length(&self) -> Option<u64> {
        self.members
            .iter()
            .try_fold(0_u64, |sum, member| sum.checked_add(member.length))
    }
}

fn read(path: &Path) -> Result<Option<Result<BlobMembers, WireError>>, StoreError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(decode(&bytes))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("read", path, error)),
    }
}

fn encode(members: &BlobMembers) -> Vec<u8> {
    let mut writer = WireWriter::new(MAGIC);
    writer.bytes(members.made_by.as_bytes());
    writer.number(members.members.len() as u64);
    for member in &members.members {
        writer.raw(&member.content.0);
        writer.raw(&member.compressed.0);
        writer.number(member.length);
    }
    writer.finish_with_checksum()
}

fn decode(bytes: &[u8]) -> Result<BlobMembers, WireError> {
    let body = WireReader::checked(bytes)?;
    let mut reader = WireReader::new(body.strip_prefix(MAGIC).ok_or(WireError::Invalid)?);
    let made_by = reader.text()?.to_owned();
    let count = reader.count(SMALLEST_MEMBER)?;
    let mut members = Vec::with_capacity(count);
    for _ in 0..count {
        members.push(BlobMember {
            content: hash(&mut reader)?,
            compressed: hash(&mut reader)?,
            length: reader.number()?,
        });
    }
    if reader.remaining() > 0 {
        return Err(WireError::Invalid);
    }
    Ok(BlobMembers { made_by, members })
}

fn hash(reader: &mut WireReader<'_>) -> Result<MemberHash, WireError> {
    let raw = <[u8; 32]>::try_from(reader.take(32)?);
    Ok(MemberHash(raw.map_err(|_| WireError::Truncated)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CollectOptions;
    use crate::testing::temporary_store;
    use proptest::prelude::*;

    fn of_content(length: u64) -> BlobMembers {
        BlobMembers {
            made_by: "gzip 6".into(),
            members: vec![BlobMember {
                content: MemberHash::of(b"inside"),
                compressed: MemberHash::of(b"content"),
                length,
            }],
        }
    }

    #[test]
    fn members_come_back_and_go_with_their_blob() {
        let (_directory, store) = temporary_store();
        let blob = store.put_blob(b"content").expect("put");
        assert_eq!(store.blob_members(&blob).expect("read"), None);
        store.put_blob_members(&blob, &of_content(7)).expect("put");
        assert_eq!(store.blob_members(&blob).expect("read"), Some(of_content(7)));
        assert!(store.verify().expect("verify").is_sound());
        store.delete_blob(&blob).expect("delete");
        assert_eq!(store.blob_members(&blob).expect("read"), None);
    }

    #[test]
    fn garbage_collection_takes_both_and_what_was_left_behind() {
        let (directory, store) = temporary_store();
        let (blob, lost) = (store.put_blob(b"content").expect("put"), Digest::sha256("lost"));
        for digest in [&blob, &lost] {
            store.put_blob_members(digest, &of_content(7)).expect("put");
        }
        drop(store);
        let store = Store::open(directory.path()).expect("open");
        assert!(store.verify().expect("verify").is_sound());
        let collected = store.collect(&CollectOptions::default()).expect("collect");
        assert_eq!(collected.removed.len(), 1, "{:?}", collected.removed);
        let left = directory.path().join("members").read_dir().expect("list").count();
        assert_eq!((store.blobs().expect("list").len(), left), (0, 0));
    }

    #[test]
    fn a_damaged_list_is_no_list_and_is_removed_by_repair() {
        let (directory, store) = temporary_store();
        let blob = store.put_blob(b"content").expect("put");
        store.put_blob_members(&blob, &of_content(8)).expect("put");
        let problem = format!("the list of members of blob `{blob}` is damaged");
        let found = store.verify().expect("verify");
        assert_eq!(found.problems.len(), 1);
        assert_eq!(found.problems[0].to_string(), problem);
        let path = store.layout().members_of(&blob);
        let bytes = std::fs::read(&path).expect("read");
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).expect("write");
            assert_eq!(store.blob_members(&blob).expect("read"), None, "{length} bytes");
        }
        let report = store.verify().expect("verify");
        drop(store);
        crate::repair(directory.path(), report).expect("repair");
        assert!(!path.exists());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(tail: Vec<u8>) {
            let mut bytes = MAGIC.to_vec();
            bytes.extend_from_slice(&tail);
            bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
            // The checksum is right, so the parser itself is under test.
            drop(decode(&bytes));
        }
    }
}
