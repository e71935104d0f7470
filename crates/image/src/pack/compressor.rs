//! One thread's compressor. Equal bytes become equal members, on every machine and after whatever came before.

use std::io;
use std::ops::RangeInclusive;

use kiln_oci::Compression;

use super::CompressionSetting;

/// Gzip's level unless another one is asked for. ARCHITECTURE.md has the measurement, for both methods.
const GZIP_LEVEL: i32 = 5;

/// The level of zstd unless another one is asked for.
const ZSTD_LEVEL: i32 = 3;

/// The version of libdeflate, which it does not tell itself. A test compares it with what is linked.
const LIBDEFLATE: &str = "1.26";

/// Compresses one member after another.
pub(super) enum Compressor {
    Uncompressed,
    Gzip(libdeflater::Compressor),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl CompressionSetting {
    /// The level that is used, in the method's own counting.
    pub(super) fn effective_level(self) -> i32 {
        self.level.unwrap_or(match self.compression {
            Compression::Uncompressed => 0,
            Compression::Gzip => GZIP_LEVEL,
            Compression::Zstd => ZSTD_LEVEL,
        })
    }

    /// The levels that the method has, if it has any.
    pub fn levels(self) -> Option<RangeInclusive<i32>> {
        match self.compression {
            Compression::Uncompressed => None,
            Compression::Gzip => Some(0..=12),
            Compression::Zstd => Some(zstd::compression_level_range()),
        }
    }

    /// Everything that decides what bytes become, besides the bytes.
    pub(super) fn identity(self) -> String {
        let version = match self.compression {
            Compression::Uncompressed => String::new(),
            Compression::Gzip => format!("gzip libdeflate {LIBDEFLATE}"),
            Compression::Zstd => format!("zstd {}", zstd::zstd_safe::version_string()),
        };
        format!("{version} level {}", self.effective_level())
    }
}

impl Compressor {
    /// Fails for a level that the method does not have.
    pub(super) fn new(setting: CompressionSetting) -> io::Result<Compressor> {
        let level = setting.effective_level();
        let unknown = || {
            let method = setting.compression;
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{method:?} has no compression level {level}"),
            )
        };
        match setting.compression {
            Compression::Uncompressed => Ok(Compressor::Uncompressed),
            Compression::Gzip => {
                let level = libdeflater::CompressionLvl::new(level).map_err(|_| unknown())?;
                Ok(Compressor::Gzip(libdeflater::Compressor::new(level)))
            }
            Compression::Zstd if setting.levels().is_some_and(|levels| levels.contains(&level)) => {
                Ok(Compressor::Zstd(zstd::bulk::Compressor::new(level)?))
            }
            Compression::Zstd => Err(unknown()),
        }
    }

    /// Makes `out` the member of `content`. What was in `out` is lost, its room is used again.
    pub(super) fn compress(&mut self, content: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Compressor::Uncompressed => {
                out.clear();
                out.extend_from_slice(content);
                Ok(())
            }
            Compressor::Gzip(compressor) => {
                out.resize(compressor.gzip_compress_bound(content.len()), 0);
                let length = compressor.gzip_compress(content, out).map_err(io::Error::other)?;
                out.truncate(length);
                Ok(())
            }
            Compressor::Zstd(compressor) => {
                out.clear();
                out.reserve(zstd::zstd_safe::compress_bound(content.len()));
                compressor.compress_to_buffer(content, out).map(drop)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(compression: Compression, level: i32) -> CompressionSetting {
        CompressionSetting {
            compression,
            level: Some(level),
            threads: None,
        }
    }

    /// Bytes that repeat themselves here and there.
    fn content(seed: u32, length: usize) -> Vec<u8> {
        let mut state = seed;
        let mut content = Vec::with_capacity(length + 16);
        while content.len() < length {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let number = state >> 20;
            content.extend_from_slice(format!("{:x} {}", number, number % 7).as_bytes());
        }
        content.truncate(length);
        content
    }

    #[test]
    fn a_member_does_not_depend_on_those_before_it() {
        let pieces: Vec<Vec<u8>> = [(1, 70_000), (2, 10), (3, 0), (4, 300_000), (5, 20_000)]
            .map(|(seed, length)| content(seed, length))
            .into();
        let settings = (1..=12)
            .map(|level| setting(Compression::Gzip, level))
            .chain((1..=12).map(|level| setting(Compression::Zstd, level)));
        for setting in settings {
            let mut used = Compressor::new(setting).expect("a level that there is");
            let (mut again, mut fresh) = (Vec::new(), Vec::new());
            for piece in pieces.iter().chain(pieces.iter().rev()) {
                used.compress(piece, &mut again).expect("memory");
                let mut new = Compressor::new(setting).expect("a level that there is");
                new.compress(piece, &mut fresh).expect("memory");
                assert!(again == fresh, "{setting:?}, {} bytes", piece.len());
            }
        }
    }

    #[test]
    fn a_level_that_there_is_not_is_refused() {
        for (compression, level) in [
            (Compression::Gzip, 13),
            (Compression::Gzip, -1),
            (Compression::Zstd, 23),
        ] {
            assert!(
                Compressor::new(setting(compression, level)).is_err(),
                "{compression:?} {level}"
            );
        }
    }

    #[test]
    fn the_version_of_libdeflate_is_the_one_that_is_linked() {
        let lock = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock"));
        let after = lock
            .split("name = \"libdeflate-sys\"\nversion = \"")
            .nth(1)
            .expect("it is locked");
        assert!(
            after.starts_with(&format!("{LIBDEFLATE}.")),
            "members of other versions would be taken for this one's: set LIBDEFLATE"
        );
    }
}
