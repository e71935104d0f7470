//! Archives of ADD: recognised by their bytes, unpacked into a scratch tree, planned from there.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use kiln_image::plan::{Content, PlannedEntry};
use kiln_image::unpack::{UnpackOptions, unpack_layer};
use kiln_store::{ScratchDir, Store};

use crate::context::open_below;

/// Why an archive cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Its bytes cannot be read.
    #[error("failed to read the archive")]
    Read(#[source] std::io::Error),
    /// It is broken or hostile.
    #[error("the archive is broken")]
    Unpack(#[source] kiln_image::unpack::UnpackError),
    /// No room or permission in the store.
    #[error("failed to make room in the store")]
    Store(#[source] kiln_store::StoreError),
}

/// What an archive holds. The scratch directory lives as long as its files are needed.
#[derive(Debug)]
pub struct Unpacked {
    /// The files, relative to the archive's root.
    pub entries: Vec<PlannedEntry>,
}

/// Unpacks archives: a seam, so that planning copies needs no store.
pub trait Archives: std::fmt::Debug {
    /// None: the bytes are no archive.
    fn unpack(&self, content: &Content) -> Result<Option<Unpacked>, ArchiveError>;
}

/// Unpacks into scratch directories of a store, which it keeps until it is dropped.
#[derive(Debug)]
pub struct StoreArchives {
    store: Store,
    options: UnpackOptions,
    scratch: std::cell::RefCell<Vec<ScratchDir>>,
}

impl StoreArchives {
    /// Nothing unpacked yet.
    pub fn new(store: Store, options: UnpackOptions) -> StoreArchives {
        StoreArchives {
            store,
            options,
            scratch: std::cell::RefCell::default(),
        }
    }
}

impl Archives for StoreArchives {
    fn unpack(&self, content: &Content) -> Result<Option<Unpacked>, ArchiveError> {
        let Content::In { dir, path, .. } = content else {
            return Ok(None);
        };
        let Some(reader) = decompressed(dir, path).map_err(ArchiveError::Read)? else {
            return Ok(None);
        };
        let scratch = self.store.scratch_dir().map_err(ArchiveError::Store)?;
        let unpacked = unpack_layer(
            reader,
            kiln_oci::Compression::Uncompressed,
            scratch.path(),
            &self.options,
        )
        .map_err(ArchiveError::Unpack)?;
        let directory = crate::source_tree::open_directory(scratch.path()).map_err(ArchiveError::Read)?;
        // The index has what the archive has: not the directories that it only implies, and owners as they stand there.
        let plan = kiln_image::plan::plan_from_index(&unpacked.index, &directory);
        self.scratch.borrow_mut().push(scratch);
        let mut entries = plan.entries;
        entries.retain(|planned| !planned.entry.path.is_empty());
        Ok(Some(Unpacked { entries }))
    }
}

/// The tar stream inside a file of the user's. None: it is no archive.
pub fn tar_stream(file: &Path) -> std::io::Result<Option<Box<dyn Read + Send>>> {
    let directory = crate::source_tree::open_directory(file.parent().unwrap_or(Path::new("/")))?;
    let name = file.file_name().unwrap_or_default();
    decompressed(&directory, std::os::unix::ffi::OsStrExt::as_bytes(name))
}

/// The tar stream inside a file, if it is a tar archive, plain or compressed with a method that is known.
pub(crate) fn decompressed(dir: &Arc<OwnedFd>, path: &[u8]) -> std::io::Result<Option<Box<dyn Read + Send>>> {
    let open = || open_below(dir, path).map(BufReader::new);
    let mut file = open()?;
    let start = file.fill_buf()?;
    let reader = |file: BufReader<std::fs::File>, method: Method| -> std::io::Result<Box<dyn Read + Send>> {
        Ok(match method {
            Method::Plain => Box::new(file),
            Method::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
            Method::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(file)),
            Method::Xz => Box::new(xz2::bufread::XzDecoder::new_multi_decoder(file)),
            Method::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(file)?),
        })
    };
    let method = Method::of(start);
    let mut header = Vec::with_capacity(512);
    // What does not decompress is no archive; it is copied as it is.
    if reader(file, method)?.take(512).read_to_end(&mut header).is_err() || !is_tar(&header) {
        return Ok(None);
    }
    reader(open()?, method).map(Some)
}

/// The time of the newest entry of an archive, in seconds since 1970. None: the file is no archive, or empty.
pub(crate) fn newest_entry(dir: &Arc<OwnedFd>, path: &[u8]) -> std::io::Result<Option<i64>> {
    let Some(reader) = decompressed(dir, path)? else {
        return Ok(None);
    };
    let mut newest = None;
    for entry in tar::Archive::new(reader).entries()? {
        // An entry that says no time is not the newest.
        if let Ok(time) = entry?.header().mtime() {
            newest = newest.max(Some(i64::try_from(time).unwrap_or(i64::MAX)));
        }
    }
    Ok(newest)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Plain,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

impl Method {
    fn of(start: &[u8]) -> Method {
        const MAGICS: [(&[u8], Method); 4] = [
            (&[0x1f, 0x8b, 0x08], Method::Gzip),
            (b"BZh", Method::Bzip2),
            (&[0xfd, b'7', b'z', b'X', b'Z', 0x00], Method::Xz),
            (&[0x28, 0xb5, 0x2f, 0xfd], Method::Zstd),
        ];
        MAGICS
            .iter()
            .find(|(magic, _)| start.starts_with(magic))
            .map_or(Method::Plain, |(_, method)| *method)
    }
}

/// Whether a block is a tar header: its checksum is right. An empty archive is a block of zeros.
fn is_tar(header: &[u8]) -> bool {
    let Ok(block) = <&[u8; 512]>::try_from(header) else {
        return false;
    };
    let field = std::str::from_utf8(&block[148..156]).unwrap_or_default();
    let Ok(expected) = u32::from_str_radix(field.trim_matches(['\0', ' ']), 8) else {
        return false;
    };
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, &byte)| {
            if (148..156).contains(&at) {
                u32::from(b' ')
            } else {
                u32::from(byte)
            }
        })
        .sum();
    sum == expected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tar_header_is_known_by_its_checksum() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, "a", &b"x"[..])
            .expect("writing to memory works");
        let mut bytes = builder.into_inner().expect("writing to memory works");
        assert!(is_tar(&bytes[..512]));
        bytes[0] = b'b';
        assert!(!is_tar(&bytes[..512]));
        assert!(!is_tar(&bytes[..100]));
        assert!(!is_tar(&[0; 512]));
    }

    #[test]
    fn methods_are_known_by_their_magic() {
        assert_eq!(Method::of(b"BZh9"), Method::Bzip2);
        assert_eq!(Method::of(&[0x1f, 0x8b, 0x08, 0]), Method::Gzip);
        assert_eq!(Method::of(b"plain"), Method::Plain);
        assert_eq!(Method::of(b""), Method::Plain);
    }
}
