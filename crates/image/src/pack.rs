//! The export pipe: a plan becomes a compressed blob in one pass over the data.
//!
//! ```text
//! entries → tar → SHA-256 (diff ID) → members of about 1 MiB, compressed on all cores → SHA-256 (digest) → blob file
//! ```
//!
//! Each member is a gzip member or zstd frame of its own, so the bytes do not depend on the number of threads. Where one
//! begins depends on the entries around it alone ([`boundaries`]), so a layer in which few files are other ones than in an
//! earlier layer has mostly the members of that one: these are copied ([`Earlier`]) instead of being compressed again, which
//! gives the same bytes.

mod boundaries;
mod compressor;
mod earlier;
mod pipe;

use std::io::{self, Read, Write};
use std::num::NonZero;

use kiln_oci::{Algorithm, Compression, DiffId, Digest, Hasher, MediaType};
use kiln_store::index::{EntryKind, LayerIndex, Mtime};
use kiln_store::{BlobMember, BlobMembers, BlobWriter};

use crate::plan::{Content, LayerPlan, PlannedEntry, is_as_hashed, open_below};
use crate::tar_stream::{BLOCK, header, opaque_mark};
pub use earlier::Earlier;
use pipe::Pipe;

/// How layers are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CompressionSetting {
    /// The method.
    pub compression: Compression,
    /// Its level; None is the method's default.
    pub level: Option<i32>,
    /// Threads; None is one for each core. The bytes are the same.
    pub threads: Option<usize>,
}

impl Default for CompressionSetting {
    /// Gzip, which everything reads.
    fn default() -> CompressionSetting {
        CompressionSetting {
            compression: Compression::Gzip,
            level: None,
            threads: None,
        }
    }
}

impl CompressionSetting {
    /// The same by another method, at its usual level.
    #[must_use]
    pub fn by(self, compression: Compression) -> CompressionSetting {
        CompressionSetting {
            compression,
            level: None,
            ..self
        }
    }

    fn media_type(self) -> MediaType {
        match self.compression {
            Compression::Uncompressed => MediaType::OCI_LAYER,
            Compression::Gzip => MediaType::OCI_LAYER_GZIP,
            Compression::Zstd => MediaType::OCI_LAYER_ZSTD,
        }
    }
}

/// A packed layer.
#[derive(Debug)]
pub struct Packed {
    /// Digest of the uncompressed stream.
    pub diff_id: DiffId,
    /// Digest of the blob.
    pub digest: Digest,
    /// Bytes of the blob.
    pub size: u64,
    /// Its type, of the OCI family.
    pub media_type: MediaType,
    /// The entries with the digests of the files.
    pub index: LayerIndex,
    /// Bytes of the blob that were copied from earlier ones.
    pub copied: u64,
}

/// Why a layer cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file cannot be read.
    #[error("failed to read `{path}`")]
    Read {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file was changed while it was read.
    #[error("`{path}` changed while it was read: it had {expected} bytes, now it has {found}")]
    Changed {
        /// Which.
        path: String,
        /// Its size before.
        expected: u64,
        /// What was read.
        found: u64,
    },
    /// The blob cannot be written.
    #[error("failed to write the layer")]
    Write(#[source] io::Error),
    /// The blob cannot be kept.
    #[error("failed to keep the layer")]
    Store(#[source] kiln_store::StoreError),
}

impl PackError {
    /// Whether the disk is full.
    pub fn is_disk_full(&self) -> bool {
        match self {
            PackError::Read { source, .. } | PackError::Write(source) => source.kind() == io::ErrorKind::StorageFull,
            PackError::Store(source) => source.is_disk_full(),
            PackError::Changed { .. } => false,
        }
    }
}

/// What is packed, and how.
#[derive(Debug, Clone, Copy)]
pub struct Packing<'a> {
    /// The entries.
    pub plan: &'a LayerPlan,
    /// How they are compressed.
    pub setting: CompressionSetting,
    /// Times later than this become this.
    pub epoch: Option<i64>,
    /// Whether files are hashed whose digests the plan does not have, for the index.
    pub file_digests: bool,
    /// What need not be compressed again.
    pub earlier: &'a Earlier,
}

/// A layer that was written.
#[derive(Debug)]
pub struct Written {
    /// Digest of the uncompressed stream.
    pub diff_id: DiffId,
    /// The entries.
    pub index: LayerIndex,
    /// The members that its bytes are made of; none where nothing is compressed.
    pub members: Vec<BlobMember>,
    /// Bytes that were copied from earlier blobs.
    pub copied: u64,
}

/// Packs a plan to a blob, beside which its members are kept.
pub fn pack_layer(packing: Packing<'_>, mut out: BlobWriter) -> Result<Packed, PackError> {
    let written = packing.write(&mut out)?;
    let store = out.store().clone();
    let (digest, size) = out.commit(None).map_err(PackError::Store)?;
    if !written.members.is_empty() {
        let members = BlobMembers {
            made_by: packing.setting.identity(),
            members: written.members,
        };
        store.put_blob_members(&digest, &members).map_err(PackError::Store)?;
    }
    Ok(Packed {
        diff_id: written.diff_id,
        digest,
        size,
        media_type: packing.setting.media_type(),
        index: written.index,
        copied: written.copied,
    })
}

/// Writes the compressed layer to anything. Times later than `epoch` become `epoch`.
pub fn write_layer(
    plan: &LayerPlan,
    setting: CompressionSetting,
    epoch: Option<i64>,
    out: &mut (impl Write + Send),
) -> Result<(DiffId, LayerIndex), PackError> {
    let packing = Packing {
        plan,
        setting,
        epoch,
        file_digests: true,
        earlier: &Earlier::default(),
    };
    let written = packing.write(out)?;
    Ok((written.diff_id, written.index))
}

impl Packing<'_> {
    /// Writes the compressed layer to anything.
    pub fn write(&self, out: &mut (impl Write + Send)) -> Result<Written, PackError> {
        let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
        let threads = self.setting.threads.unwrap_or_else(cores).max(1);
        std::thread::scope(|scope| {
            let mut pipe = Pipe::new(out, self.setting, threads, self.earlier, scope).map_err(PackError::Write)?;
            let index = self.write_entries(&mut pipe)?;
            let piped = pipe.finish().map_err(PackError::Write)?;
            Ok(Written {
                diff_id: piped.diff_id,
                index,
                members: piped.members,
                copied: piped.copied,
            })
        })
    }

    fn write_entries(&self, pipe: &mut Pipe<'_>) -> Result<LayerIndex, PackError> {
        let mut entries = Vec::with_capacity(self.plan.entries.len());
        for planned in self
            .plan
            .entries
            .iter()
            .filter(|planned| !planned.entry.path.is_empty())
        {
            let mut entry = planned.entry.clone();
            if let Some(epoch) = self.epoch.filter(|epoch| entry.mtime.seconds >= *epoch) {
                entry.mtime = Mtime {
                    seconds: epoch,
                    nanos: 0,
                };
            }
            let size = match entry.kind {
                EntryKind::File { size, .. } => size,
                _ => 0,
            };
            pipe.begin_entry(&entry.path, &header(&entry, entry.mtime.seconds), size)
                .map_err(PackError::Write)?;
            match &mut entry.kind {
                EntryKind::File { digest, .. } => *digest = self.write_file(planned, size, digest.take(), pipe)?,
                EntryKind::Directory { opaque: true } => pipe.write(&opaque_mark(&entry, entry.mtime.seconds)),
                _ => {}
            }
            entries.push(entry);
        }
        pipe.write(&[0; 2 * BLOCK]);
        Ok(LayerIndex::new(entries))
    }

    /// Writes a file, and gives its digest if that is known or asked for.
    fn write_file(
        &self,
        planned: &PlannedEntry,
        size: u64,
        known: Option<Digest>,
        pipe: &mut Pipe<'_>,
    ) -> Result<Option<Digest>, PackError> {
        let file = FileToWrite { planned, size };
        let hasher =
            |known: &Option<Digest>| (self.file_digests && known.is_none()).then(|| Hasher::new(Algorithm::Sha256));
        match &planned.content {
            Content::None => file.write(&mut io::empty(), known, hasher, pipe),
            Content::Bytes(bytes) => file.write(&mut &bytes[..], known, hasher, pipe),
            Content::In { dir, path, stamp } => {
                let mut open = open_below(dir, path).map_err(file.unreadable())?;
                let as_hashed = is_as_hashed(&open, stamp.as_ref()).map_err(file.unreadable())?;
                file.write(&mut open, known.filter(|_| as_hashed), hasher, pipe)
            }
        }
    }
}

/// A file on its way into the tar stream.
#[derive(Clone, Copy)]
struct FileToWrite<'a> {
    planned: &'a PlannedEntry,
    size: u64,
}

impl FileToWrite<'_> {
    fn shown(self) -> String {
        format!("/{}", String::from_utf8_lossy(&self.planned.entry.path))
    }

    fn unreadable(self) -> impl Fn(io::Error) -> PackError {
        move |source| PackError::Read {
            path: self.shown(),
            source,
        }
    }

    /// Writes the content, in as many members as it has pieces, and what fills the last block.
    fn write(
        self,
        source: &mut impl Read,
        known: Option<Digest>,
        hasher: impl Fn(&Option<Digest>) -> Option<Hasher>,
        pipe: &mut Pipe<'_>,
    ) -> Result<Option<Digest>, PackError> {
        let mut hasher = hasher(&known);
        let mut found = 0;
        while found < self.size {
            let piece = boundaries::piece(self.size - found);
            let length = usize::try_from(piece).unwrap_or(usize::MAX);
            let read = pipe.fill(source, length, &mut hasher).map_err(self.unreadable())?;
            found += read as u64;
            if read < length {
                return Err(self.changed(found));
            }
            if found < self.size {
                pipe.end_member().map_err(PackError::Write)?;
            }
        }
        let more = source.read(&mut [0; BLOCK]).map_err(self.unreadable())?;
        if more > 0 {
            return Err(self.changed(found + more as u64));
        }
        let padding = usize::try_from(self.size.next_multiple_of(BLOCK as u64) - self.size).unwrap_or(0);
        pipe.write(&[0; BLOCK][..padding]);
        Ok(hasher.map(Hasher::finish).or(known))
    }

    fn changed(self, found: u64) -> PackError {
        PackError::Changed {
            path: self.shown(),
            expected: self.size,
            found,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_store::FileStamp;
    use kiln_store::index::Entry;

    fn plan() -> LayerPlan {
        let noise: Vec<u8> = (0..3_000_000_u32)
            .map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        let entry = |path: &str, kind| Entry {
            path: path.into(),
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Mtime { seconds: 100, nanos: 5 },
            xattrs: Vec::new(),
        };
        let planned = |path: &str, bytes: Vec<u8>| PlannedEntry {
            entry: entry(
                path,
                EntryKind::File {
                    size: bytes.len() as u64,
                    digest: None,
                },
            ),
            content: Content::Bytes(bytes.into()),
        };
        let directory = PlannedEntry {
            entry: entry("d", EntryKind::Directory { opaque: true }),
            content: Content::None,
        };
        LayerPlan {
            entries: vec![planned("a", b"hello".to_vec()), directory, planned("d/noise", noise)],
        }
    }

    fn packed(setting: CompressionSetting) -> (Vec<u8>, DiffId) {
        let mut out = Vec::new();
        let (diff_id, _) = write_layer(&plan(), setting, None, &mut out).expect("memory can be written");
        (out, diff_id)
    }

    #[test]
    fn the_bytes_do_not_depend_on_the_number_of_threads() {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let with = |threads| {
                packed(CompressionSetting {
                    compression,
                    level: None,
                    threads: Some(threads),
                })
            };
            assert_eq!(with(1), with(4));
        }
    }

    #[test]
    fn every_method_gives_the_same_tar_back() {
        let (plain, diff_id) = packed(CompressionSetting {
            compression: Compression::Uncompressed,
            level: None,
            threads: None,
        });
        assert_eq!(DiffId(Digest::sha256(&plain)), diff_id);
        let (gzip, _) = packed(CompressionSetting::default());
        let mut unpacked = Vec::new();
        flate2::read::MultiGzDecoder::new(&gzip[..])
            .read_to_end(&mut unpacked)
            .expect("valid gzip");
        assert_eq!(unpacked, plain);
        let (zstd, _) = packed(CompressionSetting {
            compression: Compression::Zstd,
            level: None,
            threads: None,
        });
        assert_eq!(zstd::decode_all(&zstd[..]).expect("valid zstd"), plain);
    }

    #[test]
    fn a_file_that_changed_is_an_error() {
        let mut plan = plan();
        plan.entries[0].entry.kind = EntryKind::File { size: 4, digest: None };
        let error =
            write_layer(&plan, CompressionSetting::default(), None, &mut Vec::new()).expect_err("the size differs");
        assert_eq!(
            error.to_string(),
            "`/a` changed while it was read: it had 4 bytes, now it has 5"
        );
    }

    #[test]
    fn a_digest_is_believed_only_of_the_file_that_was_hashed() {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let path = scratch.path().join("file");
        std::fs::write(&path, "content").expect("writable");
        let stamp = FileStamp::from_stat(&rustix::fs::lstat(&path).expect("it is there"));
        let mut plan = crate::plan::plan_from_tree(scratch.path()).expect("readable");
        let digest_in = |plan: &LayerPlan| {
            let (_, index) = write_layer(plan, CompressionSetting::default(), None, &mut Vec::new()).expect("readable");
            let tree = tempfile::tempdir().expect("a temporary directory");
            let written = crate::plan::write_tree(plan, tree.path(), crate::unpack::Ownership::SingleId);
            let of = |index: LayerIndex| match &index.entries.last().expect("one file").kind {
                EntryKind::File { digest, .. } => digest.clone(),
                other => panic!("not a file: {other:?}"),
            };
            (of(index), of(written.expect("writable")))
        };
        let earlier = Some(Digest::sha256("what it was"));
        let file = plan.entries.last_mut().expect("one file");
        file.entry.kind = EntryKind::File {
            size: 7,
            digest: earlier.clone(),
        };
        let Content::In { stamp: place, .. } = &mut file.content else {
            panic!("not below a directory")
        };
        *place = Some(stamp.clone());
        assert_eq!(digest_in(&plan), (earlier.clone(), earlier), "nothing is hashed");
        let file = plan.entries.last_mut().expect("one file");
        if let Content::In { stamp: place, .. } = &mut file.content {
            *place = Some(FileStamp { ctime_ns: 1, ..stamp });
        }
        assert_eq!(digest_in(&plan), (Some(Digest::sha256("content")), None));
    }
}
