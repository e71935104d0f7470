//! A blob's bytes on their way into the store, for whoever can use them before all are there.

use std::io::{self, Read};

use tokio::sync::mpsc;

/// Bytes that are gathered before they are handed over.
const PIECE: usize = 256 << 10;

/// Pieces that may wait: a reader that is slower than the network slows the download down.
const WAITING: usize = 8;

/// The end of a tap that a download fills.
#[derive(Debug)]
pub struct BlobTap {
    sender: mpsc::Sender<Vec<u8>>,
    piece: Vec<u8>,
    /// Where in the blob the next byte belongs.
    position: u64,
    /// Whether somebody still reads.
    is_read: bool,
}

/// The end of a tap that is read: the bytes of the blob from the first one on, each once, however often the download
/// had to begin anew. They are **not verified**: only if the download succeeds, and what was made of them has the digest
/// that it should have, is it what it seems. Where the download fails, they end early.
#[derive(Debug)]
pub struct TapReader {
    receiver: mpsc::Receiver<Vec<u8>>,
    piece: Vec<u8>,
    read: usize,
}

impl BlobTap {
    /// A tap and its reader, which blocks its thread.
    pub fn new() -> (BlobTap, TapReader) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let tap = BlobTap {
            sender,
            piece: Vec::new(),
            position: 0,
            is_read: true,
        };
        let reader = TapReader {
            receiver,
            piece: Vec::new(),
            read: 0,
        };
        (tap, reader)
    }

    /// Takes bytes that stand at `offset` in the blob. What was taken before is left out.
    pub(crate) async fn take(&mut self, offset: u64, bytes: &[u8]) {
        let known = usize::try_from(self.position.saturating_sub(offset)).unwrap_or(usize::MAX);
        let Some(new) = bytes.get(known..).filter(|new| !new.is_empty() && self.is_read) else {
            return;
        };
        self.position = offset.saturating_add(bytes.len() as u64);
        self.piece.extend_from_slice(new);
        if self.piece.len() >= PIECE {
            self.hand_over().await;
        }
    }

    /// Hands over what is left.
    pub(crate) async fn finish(&mut self) {
        if !self.piece.is_empty() && self.is_read {
            self.hand_over().await;
        }
    }

    async fn hand_over(&mut self) {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE + PIECE / 4));
        self.is_read = self.sender.send(piece).await.is_ok();
    }
}

impl Read for TapReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read == self.piece.len() {
            match self.receiver.blocking_recv() {
                Some(piece) => (self.piece, self.read) = (piece, 0),
                None => return Ok(0),
            }
        }
        let rest = &self.piece[self.read..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.read += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(reader: TapReader) -> std::thread::JoinHandle<Vec<u8>> {
        std::thread::spawn(move || {
            let mut all = Vec::new();
            let mut reader = reader;
            reader.read_to_end(&mut all).expect("a tap does not fail");
            all
        })
    }

    #[tokio::test]
    async fn a_download_that_begins_anew_is_read_once() {
        let (mut tap, reader) = BlobTap::new();
        let all = read(reader);
        tap.take(0, b"one ").await;
        tap.take(4, b"two ").await;
        // From the beginning, in other pieces.
        tap.take(0, b"one tw").await;
        tap.take(6, b"o three").await;
        tap.take(9, b"hree").await;
        tap.finish().await;
        drop(tap);
        assert_eq!(all.join().expect("the reader ends"), b"one two three");
    }

    #[tokio::test]
    async fn large_blobs_come_in_pieces_and_nobody_has_to_read_them() {
        let (mut tap, reader) = BlobTap::new();
        let all = read(reader);
        let bytes: Vec<u8> = (0..5_000_000u32).map(|number| number.to_le_bytes()[0]).collect();
        let mut offset = 0;
        for chunk in bytes.chunks(16_384) {
            tap.take(offset, chunk).await;
            offset += chunk.len() as u64;
        }
        tap.finish().await;
        drop(tap);
        assert!(all.join().expect("the reader ends") == bytes);

        let (mut tap, reader) = BlobTap::new();
        drop(reader);
        tap.take(0, &bytes).await;
        tap.finish().await;
    }
}
