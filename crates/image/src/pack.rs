//! The export pipe: a plan becomes a compressed blob in one pass over the data.
//!
//! ```text
//! entries → tar → SHA-256 (diff ID) → blocks of 1 MiB, compressed on all cores → SHA-256 (digest) → blob file
//! ```
//!
//! Each block is a gzip member or zstd frame of its own, so the bytes do not depend on the number of threads.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use kiln_oci::{Algorithm, Compression, DiffId, Digest, Hasher, MediaType};
use kiln_store::BlobWriter;
use kiln_store::index::{EntryKind, LayerIndex};

use crate::plan::{LayerPlan, PlannedEntry};
use crate::tar_stream::{BLOCK, header, opaque_mark};

/// How layers are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompressionSetting {
    /// The method.
    pub compression: Compression,
    /// Its level; None is the method's default.
    pub level: Option<i32>,
    /// Threads; None is one for each core. The bytes are the same.
    pub threads: Option<usize>,
}

impl Default for CompressionSetting {
    /// Gzip, which everything reads, at the level that most tools use.
    fn default() -> CompressionSetting {
        CompressionSetting {
            compression: Compression::Gzip,
            level: None,
            threads: None,
        }
    }
}

impl CompressionSetting {
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

/// Packs a plan. Times later than `epoch` become `epoch`.
pub fn pack_layer(
    plan: &LayerPlan,
    setting: CompressionSetting,
    epoch: Option<i64>,
    mut out: BlobWriter,
) -> Result<Packed, PackError> {
    let (diff_id, index) = write_layer(plan, setting, epoch, &mut out)?;
    let (digest, size) = out.commit(None).map_err(PackError::Store)?;
    Ok(Packed {
        diff_id,
        digest,
        size,
        media_type: setting.media_type(),
        index,
    })
}

/// Writes the compressed layer to anything.
pub fn write_layer(
    plan: &LayerPlan,
    setting: CompressionSetting,
    epoch: Option<i64>,
    out: &mut (impl Write + Send),
) -> Result<(DiffId, LayerIndex), PackError> {
    let threads = setting
        .threads
        .or_else(|| std::thread::available_parallelism().ok().map(NonZero::get))
        .unwrap_or(1);
    std::thread::scope(|scope| {
        let mut pipe = match setting.compression {
            Compression::Uncompressed => Pipe::plain(out),
            method => Pipe::compressed(
                out,
                Compressor {
                    method,
                    level: setting.level,
                },
                threads,
                scope,
            ),
        };
        let index = write_entries(plan, epoch, &mut pipe)?;
        let diff_id = pipe.finish().map_err(PackError::Write)?;
        Ok((diff_id, index))
    })
}

fn write_entries(plan: &LayerPlan, epoch: Option<i64>, pipe: &mut Pipe<'_>) -> Result<LayerIndex, PackError> {
    let mut entries = Vec::with_capacity(plan.entries.len());
    let mut buffer = vec![0; 128 << 10];
    for planned in &plan.entries {
        let mut entry = planned.entry.clone();
        if let Some(epoch) = epoch
            && entry.mtime.seconds >= epoch
        {
            entry.mtime = kiln_store::index::Mtime {
                seconds: epoch,
                nanos: 0,
            };
        }
        if entry.path.is_empty() {
            continue;
        }
        pipe.write(&header(&entry, entry.mtime.seconds))
            .map_err(PackError::Write)?;
        if let EntryKind::File { size, digest } = &mut entry.kind {
            *digest = Some(write_file(planned, *size, pipe, &mut buffer)?);
        }
        if let EntryKind::Directory { opaque: true } = entry.kind {
            pipe.write(&opaque_mark(&entry, entry.mtime.seconds))
                .map_err(PackError::Write)?;
        }
        entries.push(entry);
    }
    pipe.write(&[0; 2 * BLOCK]).map_err(PackError::Write)?;
    Ok(LayerIndex::new(entries))
}

fn write_file(planned: &PlannedEntry, size: u64, pipe: &mut Pipe<'_>, buffer: &mut [u8]) -> Result<Digest, PackError> {
    let shown = || format!("/{}", String::from_utf8_lossy(&planned.entry.path));
    let read = |source| PackError::Read { path: shown(), source };
    let mut content = planned.content.open().map_err(read)?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut found = 0;
    loop {
        let count = content.read(buffer).map_err(read)?;
        found += count as u64;
        if count == 0 || found > size {
            break;
        }
        hasher.update(&buffer[..count]);
        pipe.write(&buffer[..count]).map_err(PackError::Write)?;
    }
    if found != size {
        return Err(PackError::Changed {
            path: shown(),
            expected: size,
            found,
        });
    }
    let padding = size.next_multiple_of(BLOCK as u64) - size;
    let zeros = [0; BLOCK];
    pipe.write(&zeros[..usize::try_from(padding).unwrap_or(0)])
        .map_err(PackError::Write)?;
    Ok(hasher.finish())
}

/// Bytes that are compressed as one unit.
const CHUNK: usize = 1 << 20;

type Job = (Vec<u8>, SyncSender<io::Result<Vec<u8>>>);

/// Takes the tar stream and gives the blob's bytes to `out`, in order.
struct Pipe<'a> {
    out: &'a mut (dyn Write + Send),
    hasher: Hasher,
    pending: Vec<u8>,
    workers: Option<Workers>,
}

struct Workers {
    jobs: SyncSender<Job>,
    results: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    /// Chunks under way at most: memory is bounded by this.
    limit: usize,
    sent: bool,
}

#[derive(Debug, Clone, Copy)]
struct Compressor {
    method: Compression,
    level: Option<i32>,
}

impl Compressor {
    fn compress(self, chunk: &[u8]) -> io::Result<Vec<u8>> {
        match self.method {
            Compression::Uncompressed => Ok(chunk.to_vec()),
            Compression::Gzip => {
                let level = libdeflater::CompressionLvl::new(self.level.unwrap_or(6)).unwrap_or_default();
                let mut compressor = libdeflater::Compressor::new(level);
                let mut out = vec![0; compressor.gzip_compress_bound(chunk.len())];
                let length = compressor.gzip_compress(chunk, &mut out).map_err(io::Error::other)?;
                out.truncate(length);
                Ok(out)
            }
            Compression::Zstd => zstd::bulk::compress(chunk, self.level.unwrap_or(3)),
        }
    }
}

impl<'a> Pipe<'a> {
    fn plain(out: &'a mut (dyn Write + Send)) -> Pipe<'a> {
        Pipe {
            out,
            hasher: Hasher::new(Algorithm::Sha256),
            pending: Vec::new(),
            workers: None,
        }
    }

    fn compressed<'scope>(
        out: &'a mut (dyn Write + Send),
        compressor: Compressor,
        threads: usize,
        scope: &'scope std::thread::Scope<'scope, '_>,
    ) -> Pipe<'a> {
        let (jobs, queue) = sync_channel::<Job>(threads);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let queue = queue.clone();
            scope.spawn(move || {
                loop {
                    let job = queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv();
                    let Ok((chunk, result)) = job else { return };
                    // Nobody waits any more once writing failed.
                    let _ = result.send(compressor.compress(&chunk));
                }
            });
        }
        let workers = Workers {
            jobs,
            results: VecDeque::new(),
            limit: threads * 2,
            sent: false,
        };
        Pipe {
            out,
            hasher: Hasher::new(Algorithm::Sha256),
            pending: Vec::with_capacity(CHUNK),
            workers: Some(workers),
        }
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        if self.workers.is_none() {
            return self.out.write_all(bytes);
        }
        while !bytes.is_empty() {
            let room = (CHUNK - self.pending.len()).min(bytes.len());
            self.pending.extend_from_slice(&bytes[..room]);
            bytes = &bytes[room..];
            if self.pending.len() == CHUNK {
                self.send_chunk()?;
            }
        }
        Ok(())
    }

    fn send_chunk(&mut self) -> io::Result<()> {
        let chunk = std::mem::replace(&mut self.pending, Vec::with_capacity(CHUNK));
        let Some(workers) = &mut self.workers else {
            return Ok(());
        };
        if workers.results.len() >= workers.limit {
            receive(workers, self.out)?;
        }
        let (sender, receiver) = sync_channel(1);
        workers
            .jobs
            .send((chunk, sender))
            .map_err(|_| io::Error::other("the compressor threads ended"))?;
        workers.results.push_back(receiver);
        workers.sent = true;
        Ok(())
    }

    fn finish(mut self) -> io::Result<DiffId> {
        if self
            .workers
            .as_ref()
            .is_some_and(|workers| !self.pending.is_empty() || !workers.sent)
        {
            self.send_chunk()?;
        }
        if let Some(workers) = &mut self.workers {
            while !workers.results.is_empty() {
                receive(workers, self.out)?;
            }
        }
        Ok(DiffId(self.hasher.finish()))
    }
}

fn receive(workers: &mut Workers, out: &mut (dyn Write + Send)) -> io::Result<()> {
    let Some(result) = workers.results.pop_front() else {
        return Ok(());
    };
    let compressed = result
        .recv()
        .map_err(|_| io::Error::other("a compressor thread ended"))??;
    out.write_all(&compressed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Content;
    use kiln_store::index::{Entry, Mtime};

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
}
