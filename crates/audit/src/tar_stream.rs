//! Reading a layer's tar stream entry by entry: USTAR, PAX and GNU headers, with every length bounded.
//!
//! The stream comes from anywhere. A name, a PAX record or a sparse map that is longer than any real one ends the
//! reading with an error instead of filling the memory.

use std::io::{self, Read};

use crate::content::{read_up_to, skip};

const BLOCK: u64 = 512;

/// PAX records and long names of one entry. Linux allows paths of 4096 bytes; attributes may be larger.
const MAX_EXTENSION: u64 = 1 << 20;

/// Linux allows no longer path (`PATH_MAX`).
const MAX_PATH: usize = 4096;

/// Parts of one sparse file.
const MAX_SPARSE_PARTS: usize = 64 << 10;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    Hardlink(String),
    Symlink(String),
    Directory,
    /// A device or a pipe.
    Special,
}

/// The header of an entry.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Relative to the root, without `.` and `..`, without slashes at the ends; empty is the root.
    pub(crate) path: String,
    pub(crate) mode: u32,
    pub(crate) kind: EntryKind,
    /// Bytes that stand in the stream.
    pub(crate) stored: u64,
    /// Of a sparse file: its parts by offset and length, and its length.
    pub(crate) sparse: Option<Sparse>,
}

/// The map of a sparse file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sparse {
    pub(crate) parts: Vec<(u64, u64)>,
    pub(crate) size: u64,
}

/// A tar stream. After [`TarStream::next`] the bytes of the entry are read from [`TarStream::body`].
pub(crate) struct TarStream<R> {
    inner: R,
    /// Bytes of the current entry that were not read yet, and what fills its last block.
    left: u64,
    padding: u64,
    at: u64,
}

/// What PAX records and GNU entries say about the entry that follows.
#[derive(Debug, Default)]
struct Extension {
    path: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

impl<R: Read> TarStream<R> {
    pub(crate) fn new(inner: R) -> TarStream<R> {
        TarStream {
            inner,
            left: 0,
            padding: 0,
            at: 0,
        }
    }

    /// The bytes of the current entry.
    pub(crate) fn body(&mut self) -> Body<'_, R> {
        Body { stream: self }
    }

    /// Bytes of the stream that were read so far.
    pub(crate) fn position(&self) -> u64 {
        self.at
    }

    /// The next entry; None at the end mark, or where the stream ends between two entries.
    pub(crate) fn next(&mut self) -> io::Result<Option<Entry>> {
        let mut extension = Extension::default();
        loop {
            self.finish_entry()?;
            let Some(header) = self.block(true)? else {
                return Ok(None);
            };
            if header.iter().all(|&byte| byte == 0) {
                return Ok(None);
            }
            check_sum(&header)?;
            let size = number(&header[124..136]);
            let type_flag = header[156];
            self.left = size;
            self.padding = padding_of(size);
            match type_flag {
                b'x' | b'X' => self.pax(&mut extension)?,
                b'L' => extension.path = Some(self.long_name()?),
                b'K' => extension.link = Some(self.long_name()?),
                // Global records hold comments; volume labels and directory dumps hold no file.
                b'g' | b'V' | b'M' | b'N' => {}
                _ => return self.entry(&header, type_flag, extension).map(Some),
            }
        }
    }

    fn entry(&mut self, header: &[u8], type_flag: u8, extension: Extension) -> io::Result<Entry> {
        let size = extension.size.unwrap_or(self.left);
        self.left = size;
        self.padding = padding_of(size);
        let name = extension.path.unwrap_or_else(|| header_name(header));
        let link = || {
            let own = || text(&header[157..257]);
            extension.link.clone().unwrap_or_else(own)
        };
        let kind = match type_flag {
            b'0' | 0 | b'7' | b'S' if name.ends_with('/') => EntryKind::Directory,
            b'0' | 0 | b'7' | b'S' => EntryKind::File,
            b'1' => EntryKind::Hardlink(cleaned(&link())),
            b'2' => EntryKind::Symlink(link()),
            b'5' => EntryKind::Directory,
            _ => EntryKind::Special,
        };
        let target = match &kind {
            EntryKind::Hardlink(target) | EntryKind::Symlink(target) => target.len(),
            _ => 0,
        };
        if name.len().max(target) > MAX_PATH {
            return Err(invalid("a path of more than 4096 bytes"));
        }
        // Links carry a size in some archives, and no bytes.
        if matches!(type_flag, b'1' | b'2' | b'3' | b'4' | b'5' | b'6') {
            self.left = 0;
            self.padding = 0;
        }
        let sparse = if type_flag == b'S' {
            Some(self.sparse_map(header)?)
        } else {
            None
        };
        Ok(Entry {
            path: cleaned(&name),
            mode: u32::try_from(number(&header[100..108])).unwrap_or(0) & 0o7777,
            kind,
            stored: self.left,
            sparse,
        })
    }

    /// The map of GNU's old sparse format: four parts in the header, then blocks of 21 each.
    fn sparse_map(&mut self, header: &[u8]) -> io::Result<Sparse> {
        let mut sparse = Sparse {
            parts: Vec::new(),
            size: number(&header[483..495]),
        };
        let push = |fields: &[u8], sparse: &mut Sparse| {
            for field in fields.chunks_exact(24) {
                let (offset, length) = (number(&field[..12]), number(&field[12..]));
                if length > 0 {
                    sparse.parts.push((offset, length));
                }
            }
        };
        push(&header[386..482], &mut sparse);
        let mut more = header[482] != 0;
        while more {
            let Some(block) = self.block(false)? else { break };
            push(&block[..504], &mut sparse);
            more = block[504] != 0;
            if sparse.parts.len() > MAX_SPARSE_PARTS {
                return Err(invalid("a sparse file of too many parts"));
            }
        }
        Ok(sparse)
    }

    fn pax(&mut self, extension: &mut Extension) -> io::Result<()> {
        let bytes = self.extension_body()?;
        let mut rest = bytes.as_slice();
        while let Some(space) = rest.iter().position(|&byte| byte == b' ') {
            let length: usize = std::str::from_utf8(&rest[..space])
                .ok()
                .and_then(|digits| digits.parse().ok())
                .filter(|&length| length > space + 1 && length <= rest.len())
                .ok_or_else(|| invalid("a broken PAX record"))?;
            let record = &rest[space + 1..length];
            let record = record.strip_suffix(b"\n").unwrap_or(record);
            if let Some(equals) = record.iter().position(|&byte| byte == b'=') {
                let value = &record[equals + 1..];
                match &record[..equals] {
                    b"path" | b"GNU.sparse.name" => extension.path = Some(lossy(value)),
                    b"linkpath" => extension.link = Some(lossy(value)),
                    b"size" => extension.size = lossy(value).parse().ok(),
                    _ => {}
                }
            }
            rest = &rest[length..];
        }
        Ok(())
    }

    fn long_name(&mut self) -> io::Result<String> {
        Ok(text(&self.extension_body()?))
    }

    fn extension_body(&mut self) -> io::Result<Vec<u8>> {
        if self.left > MAX_EXTENSION {
            return Err(invalid("a header of more than a megabyte"));
        }
        let length = self.left;
        let bytes = read_up_to(&mut self.body(), length)?;
        if bytes.len() as u64 == length {
            Ok(bytes)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    fn finish_entry(&mut self) -> io::Result<()> {
        let rest = self.left.saturating_add(self.padding);
        let skipped = skip(&mut self.inner, rest)?;
        self.at += skipped;
        (self.left, self.padding) = (0, 0);
        if skipped < rest {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// One block. None: the stream has ended, which `may_end` says is allowed here.
    fn block(&mut self, may_end: bool) -> io::Result<Option<[u8; BLOCK as usize]>> {
        let bytes = read_up_to(&mut self.inner, BLOCK)?;
        self.at += bytes.len() as u64;
        match <[u8; BLOCK as usize]>::try_from(bytes.as_slice()) {
            Ok(block) => Ok(Some(block)),
            Err(_) if bytes.is_empty() && may_end => Ok(None),
            Err(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// The bytes of one entry.
pub(crate) struct Body<'a, R> {
    stream: &'a mut TarStream<R>,
}

impl<R: Read> Read for Body<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.stream.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let count = self.stream.inner.read(&mut buffer[..length])?;
        self.stream.left -= count as u64;
        self.stream.at += count as u64;
        Ok(count)
    }
}

/// Bytes that fill the last block of a body.
fn padding_of(size: u64) -> u64 {
    (BLOCK - size % BLOCK) % BLOCK
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Text up to the first zero byte.
fn text(field: &[u8]) -> String {
    lossy(field.split(|&byte| byte == 0).next().unwrap_or_default())
}

/// An octal field, or GNU's binary form with the highest bit set.
fn number(field: &[u8]) -> u64 {
    if field.first().is_some_and(|&byte| byte & 0x80 != 0) {
        let tail = &field[field.len().saturating_sub(8)..];
        return tail.iter().fold(0, |value, &byte| (value << 8) | u64::from(byte));
    }
    field
        .iter()
        .filter(|byte| (b'0'..=b'7').contains(byte))
        .take(21)
        .fold(0, |value, &byte| (value << 3) | u64::from(byte - b'0'))
}

fn check_sum(header: &[u8]) -> io::Result<()> {
    let sum = |signed: bool| -> i64 {
        let value = |byte: u8| if signed { i64::from(byte as i8) } else { i64::from(byte) };
        let fields = header.iter().enumerate().map(|(at, &byte)| match at {
            148..156 => 32,
            _ => value(byte),
        });
        fields.sum()
    };
    let stored = i64::try_from(number(&header[148..156])).unwrap_or(-1);
    // Old writers summed signed bytes.
    if stored == sum(false) || stored == sum(true) {
        Ok(())
    } else {
        Err(invalid("no tar archive: a header's checksum is wrong"))
    }
}

fn header_name(header: &[u8]) -> String {
    let (name, prefix) = (text(&header[..100]), text(&header[345..500]));
    // GNU keeps other things where USTAR keeps the prefix.
    if prefix.is_empty() || &header[257..263] != b"ustar\0" {
        name
    } else {
        format!("{prefix}/{name}")
    }
}

/// A path as if its archive's root were the file system's.
fn cleaned(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
