//! The files of a cache mount as pieces that are named by their content: what did not change since it was written last is
//! not written again.
//!
//! A directory becomes a tar stream, cut where its content says so (a rolling hash over the last bytes), so that a file that
//! grew moves no boundary behind it. Each piece is compressed and kept as a blob.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::path::Path;

use kiln_image::pack::{CompressionSetting, PackError, write_layer};
use kiln_image::plan::PlannedEntry;
use kiln_image::unpack::{UnpackOptions, unpack_layer};
use kiln_oci::{Compression, Descriptor, MediaType};
use kiln_store::Store;
use kiln_store::index::EntryKind;

use crate::WorkerError;

/// Type of a piece.
const CHUNK: &str = "application/vnd.kiln.cache.chunk.v1+zstd";

/// Bytes of a piece at least and at most. In the mean it has one MiB more than the least.
const LEAST: usize = 256 << 10;
const MOST: usize = 4 << 20;
/// A boundary is where so many of the hash's highest bits are zero.
const BOUNDARY_BITS: u32 = 20;

/// Compression: caches are mostly binaries, and written more often than read.
const LEVEL: i32 = 3;

/// One pseudo-random number for each value of a byte: the terms of the rolling hash.
const GEAR: [u64; 256] = {
    let mut table = [0; 256];
    let mut state: u64 = 0x6b69_6c6e;
    let mut at = 0;
    while at < table.len() {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = state;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        table[at] = value ^ (value >> 31);
        at += 1;
    }
    table
};

/// Keeps a directory as pieces in the store. None: it has more than `limit` bytes.
pub(super) fn keep(directory: &Path, limit: u64, store: &Store) -> Result<Option<Vec<Descriptor>>, WorkerError> {
    let plan = kiln_image::plan::plan_from_tree(directory)?;
    let file = |planned: &PlannedEntry| match planned.entry.kind {
        EntryKind::File { size, .. } => size,
        _ => 0,
    };
    let size = plan.entries.iter().map(file).fold(0, u64::saturating_add);
    if size > limit {
        return Ok(None);
    }
    let mut chunker = Chunker {
        store: store.clone(),
        piece: Vec::with_capacity(MOST),
        hash: 0,
        chunks: Vec::new(),
    };
    let setting = CompressionSetting {
        compression: Compression::Uncompressed,
        ..CompressionSetting::default()
    };
    write_layer(&plan, setting, None, &mut chunker)?;
    chunker.cut().map_err(PackError::Write)?;
    Ok(Some(chunker.chunks))
}

/// Makes a directory of pieces that are in the store.
pub(crate) fn restore(
    chunks: &[Descriptor],
    directory: &Path,
    store: &Store,
    options: UnpackOptions,
) -> Result<(), WorkerError> {
    let reader = Pieces {
        store: store.clone(),
        left: chunks.iter().cloned().collect(),
        piece: io::Cursor::new(Vec::new()),
    };
    unpack_layer(reader, Compression::Uncompressed, directory, &options)?;
    Ok(())
}

struct Chunker {
    store: Store,
    piece: Vec<u8>,
    hash: u64,
    chunks: Vec<Descriptor>,
}

impl Chunker {
    fn cut(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let bytes = zstd::bulk::compress(&self.piece, LEVEL)?;
        self.store.put_blob(&bytes).map_err(io::Error::other)?;
        self.chunks.push(Descriptor::of(MediaType::new(CHUNK), &bytes));
        self.piece.clear();
        self.hash = 0;
        Ok(())
    }
}

impl Write for Chunker {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for &byte in bytes {
            self.piece.push(byte);
            self.hash = (self.hash << 1).wrapping_add(GEAR[usize::from(byte)]);
            let boundary = self.piece.len() >= LEAST && self.hash >> (u64::BITS - BOUNDARY_BITS) == 0;
            if boundary || self.piece.len() == MOST {
                self.cut()?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The pieces one after the other.
struct Pieces {
    store: Store,
    left: VecDeque<Descriptor>,
    piece: io::Cursor<Vec<u8>>,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.piece.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let Some(next) = self.left.pop_front() else {
                return Ok(0);
            };
            let bytes = self
                .store
                .read_blob(&next.digest, 2 * MOST as u64)
                .map_err(io::Error::other)?;
            let bytes = bytes.ok_or_else(|| io::Error::other(format!("{} is gone", next.digest)))?;
            // A piece never has more than this, whatever it says of itself.
            self.piece = io::Cursor::new(zstd::bulk::decompress(&bytes, MOST)?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    fn store() -> (tempfile::TempDir, Store) {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(&scratch.path().join("state")).expect("a store");
        (scratch, store)
    }

    #[test]
    fn a_directory_comes_back_from_its_pieces() {
        let (scratch, store) = store();
        let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
        std::fs::create_dir_all(from.join("deep/er")).expect("writable");
        std::fs::create_dir(&to).expect("writable");
        std::fs::write(from.join("deep/large"), noise(1, 6 << 20)).expect("writable");
        std::fs::write(from.join("small"), "x").expect("writable");
        std::os::unix::fs::symlink("small", from.join("link")).expect("writable");
        let chunks = keep(&from, 1 << 30, &store).expect("kept").expect("small enough");
        assert!(chunks.len() > 2, "{}", chunks.len());
        let options = UnpackOptions {
            ownership: kiln_image::unpack::Ownership::SingleId,
            ..UnpackOptions::default()
        };
        restore(&chunks, &to, &store, options).expect("restored");
        assert!(std::fs::read(to.join("deep/large")).expect("there") == noise(1, 6 << 20));
        assert_eq!(std::fs::read_to_string(to.join("link")).expect("a link"), "x");
        assert!(to.join("deep/er").is_dir());
        assert!(keep(&from, 1 << 20, &store).expect("read").is_none(), "too large");
    }

    #[test]
    fn a_change_in_front_moves_few_pieces() {
        let (scratch, store) = store();
        let from = scratch.path().join("from");
        std::fs::create_dir(&from).expect("writable");
        std::fs::write(from.join("b"), noise(2, 12 << 20)).expect("writable");
        let keep = || keep(&from, 1 << 30, &store).expect("kept").expect("small enough");
        let before = keep();
        std::fs::write(from.join("a"), noise(3, 5_000)).expect("writable");
        let after = keep();
        let kept = after.iter().filter(|chunk| before.contains(chunk)).count();
        assert!(kept + 3 >= after.len(), "{kept} of {} stay", after.len());
    }

    #[test]
    fn what_is_missing_or_broken_is_an_error() {
        let (scratch, store) = store();
        let to = scratch.path().join("to");
        std::fs::create_dir(&to).expect("writable");
        let gone = Descriptor::of(MediaType::new(CHUNK), b"gone");
        assert!(restore(&[gone], &to, &store, UnpackOptions::default()).is_err());
        store.put_blob(b"no zstd").expect("kept");
        let broken = Descriptor::of(MediaType::new(CHUNK), b"no zstd");
        assert!(restore(&[broken], &to, &store, UnpackOptions::default()).is_err());
    }
}
