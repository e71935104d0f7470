//! The bytes of one file as far as they are kept: the whole file if it is small, else the parts that matter.

use std::io::{self, Read};

/// Bytes of a file by offset. What was not kept reads as absent, never as zeros.
#[derive(Debug, Clone, Default)]
pub struct Content {
    size: u64,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone)]
struct Piece {
    offset: u64,
    bytes: Vec<u8>,
}

impl Content {
    /// A file that is kept whole.
    pub fn whole(bytes: Vec<u8>) -> Content {
        Content {
            size: bytes.len() as u64,
            pieces: vec![Piece { offset: 0, bytes }],
        }
    }

    /// A file of `size` bytes of which nothing is kept yet.
    pub(crate) fn empty(size: u64) -> Content {
        Content {
            size,
            pieces: Vec::new(),
        }
    }

    /// Adds what stands at an offset.
    pub(crate) fn keep(&mut self, offset: u64, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.pieces.push(Piece { offset, bytes });
        }
    }

    /// Length of the file in bytes, kept or not.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// `length` bytes from `offset`, if all of them were kept.
    pub fn at(&self, offset: u64, length: u64) -> Option<&[u8]> {
        let found = self.from(offset)?;
        found.get(..usize::try_from(length).ok()?)
    }

    /// What was kept from `offset` on, to the end of its piece.
    pub fn from(&self, offset: u64) -> Option<&[u8]> {
        self.pieces.iter().find_map(|piece| {
            let start = usize::try_from(offset.checked_sub(piece.offset)?).ok()?;
            piece.bytes.get(start..).filter(|rest| !rest.is_empty())
        })
    }
}

/// Reads up to `length` bytes; fewer only at the end of the stream.
pub(crate) fn read_up_to(reader: &mut impl Read, length: u64) -> io::Result<Vec<u8>> {
    // The length is the archive's own claim, so the buffer grows with what really comes.
    let mut bytes = Vec::with_capacity(usize::try_from(length.min(64 << 10)).unwrap_or(0));
    reader.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads past `length` bytes.
pub(crate) fn skip(reader: &mut impl Read, length: u64) -> io::Result<u64> {
    io::copy(&mut reader.take(length), &mut io::sink())
}
