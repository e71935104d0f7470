//! The pieces of the compact binary formats in which the store keeps its small files: variable-length numbers
//! (LEB128), byte strings with their length in front, and a checksum at the end.
//!
//! Reading never panics and never allocates more than the bytes at hand can justify.

use kiln_oci::{Algorithm, Digest};

/// Why bytes could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WireError {
    /// The bytes end too early.
    Truncated,
    /// A number, a tag or a length that cannot be.
    Invalid,
}

/// Appends to a buffer.
#[derive(Debug, Default)]
pub(crate) struct WireWriter {
    bytes: Vec<u8>,
}

impl WireWriter {
    /// A writer that begins with `magic`.
    pub(crate) fn new(magic: &[u8]) -> WireWriter {
        WireWriter { bytes: magic.to_vec() }
    }

    pub(crate) fn byte(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(crate) fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push((value as u8) | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// A number of either sign: the sign goes into the lowest bit, so that small ones stay short.
    pub(crate) fn signed(&mut self, value: i64) {
        self.number(((value << 1) ^ (value >> 63)) as u64);
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.number(value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    /// Bytes whose length the reader knows.
    pub(crate) fn raw(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
    }

    pub(crate) fn digest(&mut self, digest: Option<&Digest>) {
        let Some(digest) = digest else { return self.byte(0) };
        self.byte(match digest.algorithm() {
            Algorithm::Sha256 => 1,
            Algorithm::Sha384 => 2,
            Algorithm::Sha512 => 3,
        });
        self.bytes.extend_from_slice(digest.raw());
    }

    /// The bytes alone.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// The bytes with the CRC-32 of them all at the end.
    pub(crate) fn finish_with_checksum(mut self) -> Vec<u8> {
        let checksum = crc32fast::hash(&self.bytes);
        self.bytes.extend_from_slice(&checksum.to_le_bytes());
        self.bytes
    }
}

/// Reads from a buffer.
#[derive(Debug)]
pub(crate) struct WireReader<'a> {
    rest: &'a [u8],
}

impl<'a> WireReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> WireReader<'a> {
        WireReader { rest: bytes }
    }

    /// The part of `bytes` before the checksum, if the checksum is right.
    pub(crate) fn checked(bytes: &'a [u8]) -> Result<&'a [u8], WireError> {
        let (body, checksum) = bytes.split_last_chunk::<4>().ok_or(WireError::Truncated)?;
        if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
            return Err(WireError::Invalid);
        }
        Ok(body)
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, WireError> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn number(&mut self) -> Result<u64, WireError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                return Err(WireError::Invalid);
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::Invalid)
    }

    pub(crate) fn number32(&mut self) -> Result<u32, WireError> {
        u32::try_from(self.number()?).map_err(|_| WireError::Invalid)
    }

    pub(crate) fn signed(&mut self) -> Result<i64, WireError> {
        let value = self.number()?;
        Ok(((value >> 1) as i64) ^ -((value & 1) as i64))
    }

    /// How many things of at least `smallest` bytes follow. Fails if the bytes at hand cannot hold as many, so
    /// the answer may be given to `Vec::with_capacity`.
    pub(crate) fn count(&mut self, smallest: usize) -> Result<usize, WireError> {
        let count = usize::try_from(self.number()?).map_err(|_| WireError::Invalid)?;
        if count > self.rest.len() / smallest.max(1) {
            return Err(WireError::Truncated);
        }
        Ok(count)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        let length = usize::try_from(self.number()?).map_err(|_| WireError::Invalid)?;
        self.take(length)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| WireError::Invalid)
    }

    pub(crate) fn digest(&mut self) -> Result<Option<Digest>, WireError> {
        let algorithm = match self.byte()? {
            0 => return Ok(None),
            1 => Algorithm::Sha256,
            2 => Algorithm::Sha384,
            3 => Algorithm::Sha512,
            _ => return Err(WireError::Invalid),
        };
        let raw = self.take(algorithm.hex_length() / 2)?;
        Digest::from_raw(algorithm, raw).map(Some).ok_or(WireError::Invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(value: u64, signed: i64) {
            let mut writer = WireWriter::default();
            writer.number(value);
            writer.signed(signed);
            let bytes = writer.finish();
            let mut reader = WireReader::new(&bytes);
            prop_assert_eq!(reader.number(), Ok(value));
            prop_assert_eq!(reader.signed(), Ok(signed));
            prop_assert_eq!(reader.remaining(), 0);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let mut reader = WireReader::new(&bytes);
            while reader.remaining() > 0 && reader.bytes().is_ok() && reader.digest().is_ok() {}
        }
    }

    #[test]
    fn a_number_that_does_not_fit_is_refused() {
        let too_long = [0xff; 11];
        assert_eq!(WireReader::new(&too_long).number(), Err(WireError::Invalid));
        let too_large = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert_eq!(WireReader::new(&too_large).number(), Err(WireError::Invalid));
    }

    #[test]
    fn digests_of_every_algorithm_come_back() {
        for (algorithm, length) in [("sha256", 64), ("sha384", 96), ("sha512", 128)] {
            let digest: Digest = format!("{algorithm}:{}", "ab".repeat(length / 2))
                .parse()
                .expect("a valid digest");
            let mut writer = WireWriter::default();
            writer.digest(Some(&digest));
            assert_eq!(WireReader::new(&writer.finish()).digest(), Ok(Some(digest)));
        }
    }

    #[test]
    fn a_flipped_bit_fails_the_checksum() {
        let mut writer = WireWriter::new(b"m");
        writer.number(7);
        let mut bytes = writer.finish_with_checksum();
        assert_eq!(WireReader::checked(&bytes), Ok([b'm', 7].as_slice()));
        bytes[1] ^= 1;
        assert_eq!(WireReader::checked(&bytes), Err(WireError::Invalid));
    }
}
