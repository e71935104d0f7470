//! Reading one layer: the uncompressed tar stream goes by once, and the facts stay.

use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use crate::binary::{elf_machine, foreign};
use crate::content::{Content, read_up_to};
use crate::facts::{Entry, EntryKind, FileFacts, LayerFacts};
use crate::tar_stream::{self, Sparse, TarStream};
use crate::{elf, jar, node_package, script, wheel};

/// Files up to this size are kept whole while they are looked at.
const SMALL: u64 = 8 << 20;
/// Larger ones too, one at a time, up to this size.
const LARGE: u64 = 48 << 20;
/// Of what is larger still, so much of the beginning.
const HEAD: u64 = 24 << 20;
/// Of large Java archives, so much of the end: their directory.
const TAIL: u64 = 4 << 20;
/// Bytes that tell what a file is.
const SNIFF: u64 = 4096;
/// Text files that are read: `WHEEL`, `package.json`, scripts, configurations of the loader.
const DOCUMENT: u64 = 256 << 10;

/// Entries of one layer. Real ones have tens of thousands.
const MAX_ENTRIES: usize = 1_000_000;
/// Bytes of the paths and facts of one layer. Real ones have a few megabytes.
const MAX_BYTES: usize = 256 << 20;

/// Why a layer cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The stream breaks off, does not decompress, or is no tar archive.
    #[error("failed to read the layer's archive")]
    Archive(#[source] io::Error),
    /// More files than any real layer has.
    #[error("the layer has more than {MAX_ENTRIES} entries, or paths and names of more than {MAX_BYTES} bytes")]
    TooMany,
}

/// Reads layers, from many threads at once. Memory is bounded: a few megabytes for each thread, and one large file for
/// all of them together.
#[derive(Debug, Default)]
pub struct LayerReader {
    /// Held while a large file is in memory.
    large: Mutex<()>,
}

impl LayerReader {
    /// A reader.
    pub fn new() -> LayerReader {
        LayerReader::default()
    }

    /// Reads the uncompressed tar stream of a layer. Bytes behind the archive's end mark are left in `stream`.
    pub fn read(&self, stream: &mut impl Read) -> Result<LayerFacts, LayerError> {
        let mut tar = TarStream::new(stream);
        let mut facts = LayerFacts::default();
        let mut bytes = 0;
        while let Some(entry) = tar.next().map_err(LayerError::Archive)? {
            let made = self.entry(&mut tar, entry).map_err(LayerError::Archive)?;
            bytes += made.path.len();
            bytes += match &made.kind {
                EntryKind::File(file) => file.weight(),
                EntryKind::Symlink(target) | EntryKind::Hardlink(target) => target.len(),
                _ => 0,
            };
            if facts.entries.len() >= MAX_ENTRIES || bytes > MAX_BYTES {
                return Err(LayerError::TooMany);
            }
            facts.entries.push(made);
        }
        facts.size = tar.position();
        Ok(facts)
    }

    fn entry<R: Read>(&self, tar: &mut TarStream<R>, entry: tar_stream::Entry) -> io::Result<Entry> {
        let (directory, name) = entry.path.rsplit_once('/').unwrap_or(("", &entry.path));
        if name == ".wh..wh..opq" {
            return Ok(Entry {
                path: directory.to_owned(),
                mode: 0,
                kind: EntryKind::Opaque,
            });
        }
        if let Some(hidden) = name.strip_prefix(".wh.") {
            let path = if directory.is_empty() {
                hidden.to_owned()
            } else {
                format!("{directory}/{hidden}")
            };
            return Ok(Entry {
                path,
                mode: 0,
                kind: EntryKind::Whiteout,
            });
        }
        let kind = match &entry.kind {
            tar_stream::EntryKind::File => EntryKind::File(self.file(tar, &entry)?),
            tar_stream::EntryKind::Hardlink(target) => EntryKind::Hardlink(target.clone()),
            tar_stream::EntryKind::Symlink(target) => EntryKind::Symlink(target.clone()),
            tar_stream::EntryKind::Directory => EntryKind::Directory,
            tar_stream::EntryKind::Special => EntryKind::Special,
        };
        Ok(Entry {
            path: entry.path,
            mode: entry.mode,
            kind,
        })
    }

    fn file<R: Read>(&self, tar: &mut TarStream<R>, entry: &tar_stream::Entry) -> io::Result<FileFacts> {
        let size = entry.sparse.as_ref().map_or(entry.stored, |sparse| sparse.size);
        if size == 0 {
            return Ok(FileFacts::Empty);
        }
        let mut body = tar.body();
        if let Some(sparse) = &entry.sparse {
            return sparse_file(&mut body, sparse);
        }
        let head = read_up_to(&mut body, SNIFF.min(size))?;
        if elf_machine(&head).is_some() {
            let content = self.whole_or_parts(&mut body, head, size, elf_parts, |content| {
                elf::read(content).map(|elf| FileFacts::Elf(Box::new(elf)))
            })?;
            return Ok(content.unwrap_or(FileFacts::Plain));
        }
        if let Some(found) = foreign(&head) {
            return Ok(FileFacts::Foreign(found));
        }
        let name = entry.path.rsplit('/').next().unwrap_or(&entry.path);
        let is_archive = [".jar", ".war", ".ear"].iter().any(|ending| name.ends_with(ending));
        if is_archive && head.starts_with(b"PK") {
            let found = self.whole_or_parts(&mut body, head, size, tail_part, |content| {
                Some(FileFacts::Jar(jar::read(content)))
            })?;
            return Ok(found.unwrap_or(FileFacts::Plain));
        }
        let kind = document_kind(&entry.path, name, entry.mode, &head);
        let Some(kind) = kind else {
            return Ok(FileFacts::Plain);
        };
        let mut text = head;
        let rest = read_up_to(&mut body, DOCUMENT.min(size) - (text.len() as u64).min(DOCUMENT))?;
        text.extend(rest);
        Ok(document(kind, &text).unwrap_or(FileFacts::Plain))
    }

    /// Looks at a file that is kept whole where its size allows it, and otherwise in the parts that `parts` reads.
    fn whole_or_parts<R: Read, T>(
        &self,
        body: &mut R,
        head: Vec<u8>,
        size: u64,
        parts: impl FnOnce(&mut R, Vec<u8>, u64) -> io::Result<Content>,
        look: impl FnOnce(&Content) -> Option<T>,
    ) -> io::Result<Option<T>> {
        let _guard = (size > SMALL).then(|| self.large.lock().unwrap_or_else(PoisonError::into_inner));
        let content = if size <= LARGE {
            let mut bytes = head;
            bytes.reserve_exact(usize::try_from(size).unwrap_or(0).saturating_sub(bytes.len()));
            body.read_to_end(&mut bytes)?;
            Content::whole(bytes)
        } else {
            parts(body, head, size)?
        };
        Ok(look(&content))
    }
}

/// Beginning, and the windows that the headers name.
fn elf_parts<R: Read>(body: &mut R, mut bytes: Vec<u8>, size: u64) -> io::Result<Content> {
    let more = read_up_to(body, HEAD - bytes.len() as u64)?;
    bytes.extend(more);
    let mut at = bytes.len() as u64;
    let mut content = Content::empty(size);
    content.keep(0, bytes);
    let mut windows = elf::windows(&content);
    windows.sort_unstable();
    for (offset, length) in windows {
        let end = offset.saturating_add(length).min(size);
        // A window that begins in one that was read is read from where that one ended.
        let start = offset.max(at);
        if start >= end {
            continue;
        }
        let skipped = crate::content::skip(body, start - at)?;
        let piece = read_up_to(body, end - start)?;
        at += skipped + piece.len() as u64;
        content.keep(start, piece);
    }
    Ok(content)
}

/// Only the end.
fn tail_part<R: Read>(body: &mut R, head: Vec<u8>, size: u64) -> io::Result<Content> {
    let start = size - TAIL;
    crate::content::skip(body, start - head.len() as u64)?;
    let mut content = Content::empty(size);
    content.keep(start, read_up_to(body, TAIL)?);
    Ok(content)
}

/// The parts of a sparse file that come first, as far as they are small.
fn sparse_file(body: &mut impl Read, sparse: &Sparse) -> io::Result<FileFacts> {
    let mut content = Content::empty(sparse.size);
    let mut left = SMALL;
    for &(offset, length) in &sparse.parts {
        let piece = read_up_to(body, length.min(left))?;
        left -= piece.len() as u64;
        content.keep(offset, piece);
        if left == 0 {
            break;
        }
    }
    let head = content.from(0).unwrap_or_default();
    if let Some(found) = foreign(head) {
        return Ok(FileFacts::Foreign(found));
    }
    let elf = elf::read(&content).map(|elf| FileFacts::Elf(Box::new(elf)));
    Ok(elf.unwrap_or(FileFacts::Plain))
}

#[derive(Clone, Copy)]
enum Document {
    Script,
    Wheel,
    NodePackage,
    Loader,
}

fn document_kind(path: &str, name: &str, mode: u32, head: &[u8]) -> Option<Document> {
    if mode & 0o111 != 0 && head.starts_with(b"#!") {
        return Some(Document::Script);
    }
    match name {
        "WHEEL" if path.ends_with(".dist-info/WHEEL") => Some(Document::Wheel),
        "package.json" if path.contains("node_modules/") => Some(Document::NodePackage),
        _ if path == "etc/ld.so.conf" || path.starts_with("etc/ld.so.conf.d/") => Some(Document::Loader),
        _ if path.starts_with("etc/ld-musl-") && name.ends_with(".path") => Some(Document::Loader),
        _ => None,
    }
}

fn document(kind: Document, text: &[u8]) -> Option<FileFacts> {
    Some(match kind {
        Document::Script => FileFacts::Script(script::read(text)?),
        Document::Wheel => FileFacts::Wheel(wheel::platform_tags(text)),
        Document::NodePackage => FileFacts::NodePackage(node_package::read(text)?),
        Document::Loader => FileFacts::Text(String::from_utf8_lossy(text).into_owned()),
    })
}
