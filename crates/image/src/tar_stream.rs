//! Writing tar headers: USTAR, with PAX records where USTAR cannot say it. Nothing in them depends on the
//! machine: no names of users, no access times, whole seconds.

use kiln_store::index::{Entry, EntryKind};

/// Bytes of a block.
pub(crate) const BLOCK: usize = 512;

/// The largest number that an octal field of twelve bytes holds.
const MAX_OCTAL_12: u64 = 0o77_777_777_777;
/// The largest number that an octal field of eight bytes holds.
const MAX_OCTAL_8: u64 = 0o7_777_777;

/// The header blocks of an entry as a layer holds it. Whiteouts become `.wh.` files; an opaque directory is
/// followed by its mark, which the caller writes with [`opaque_mark`].
pub(crate) fn header(entry: &Entry, mtime: i64) -> Vec<u8> {
    let (name, type_flag, link, size) = shape(entry);
    let (mode, device) = match entry.kind {
        EntryKind::Whiteout => (0, (0, 0)),
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
            (entry.mode, (major, minor))
        }
        _ => (entry.mode, (0, 0)),
    };
    let mut records = Vec::new();
    let (prefix, short) = match split_name(&name) {
        Some(split) if name.is_ascii() => split,
        _ => {
            records.push((b"path".to_vec(), name.clone()));
            (Vec::new(), truncated(&name))
        }
    };
    let link_field = if link.len() <= 100 && link.is_ascii() {
        link.clone()
    } else {
        records.push((b"linkpath".to_vec(), link.clone()));
        truncated(&link)
    };
    let mut numeric = |name: &str, value: i64, max: u64| match u64::try_from(value) {
        Ok(value) if value <= max => value,
        _ => {
            records.push((name.as_bytes().to_vec(), value.to_string().into_bytes()));
            0
        }
    };
    let uid = numeric("uid", i64::from(entry.uid), MAX_OCTAL_8);
    let gid = numeric("gid", i64::from(entry.gid), MAX_OCTAL_8);
    let size_field = numeric("size", i64::try_from(size).unwrap_or(i64::MAX), MAX_OCTAL_12);
    let time = numeric("mtime", mtime, MAX_OCTAL_12);
    for (name, value) in &entry.xattrs {
        records.push(([b"SCHILY.xattr.", name.as_slice()].concat(), value.clone()));
    }
    let mut blocks = Vec::with_capacity(BLOCK);
    if !records.is_empty() {
        records.sort();
        let body = pax_body(&records);
        let pax_name = [b"PaxHeaders.0/".as_slice(), &truncated(last_component(&name))].concat();
        let pax = Fields {
            name: &truncated(&pax_name),
            prefix: &[],
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: body.len() as u64,
            mtime: 0,
            type_flag: b'x',
            link: &[],
            device: (0, 0),
        };
        blocks.extend_from_slice(&pax.block());
        blocks.extend_from_slice(&body);
        blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
    }
    let fields = Fields {
        name: &short,
        prefix: &prefix,
        mode,
        uid,
        gid,
        size: size_field,
        mtime: time,
        type_flag,
        link: &link_field,
        device,
    };
    blocks.extend_from_slice(&fields.block());
    blocks
}

/// The file that says that a directory hides what is below it.
pub(crate) fn opaque_mark(directory: &Entry, mtime: i64) -> Vec<u8> {
    let path = if directory.path.is_empty() {
        b".wh..wh..opq".to_vec()
    } else {
        [&directory.path[..], b"/.wh..wh..opq"].concat()
    };
    let mark = Entry {
        path,
        kind: EntryKind::File { size: 0, digest: None },
        mode: 0,
        uid: 0,
        gid: 0,
        mtime: directory.mtime,
        xattrs: Vec::new(),
    };
    header(&mark, mtime)
}

/// Name in the archive, type flag, link target, size.
fn shape(entry: &Entry) -> (Vec<u8>, u8, Vec<u8>, u64) {
    let path = entry.path.clone();
    match &entry.kind {
        EntryKind::Directory { .. } if path.is_empty() => (b"./".to_vec(), b'5', Vec::new(), 0),
        EntryKind::Directory { .. } => ([&path[..], b"/"].concat(), b'5', Vec::new(), 0),
        EntryKind::File { size, .. } => (path, b'0', Vec::new(), *size),
        EntryKind::Symlink { target } => (path, b'2', target.clone(), 0),
        EntryKind::Hardlink { target } => (path, b'1', target.clone(), 0),
        EntryKind::CharDevice { .. } => (path, b'3', Vec::new(), 0),
        EntryKind::BlockDevice { .. } => (path, b'4', Vec::new(), 0),
        EntryKind::Fifo => (path, b'6', Vec::new(), 0),
        EntryKind::Whiteout => (whiteout_name(&path), b'0', Vec::new(), 0),
    }
}

fn whiteout_name(path: &[u8]) -> Vec<u8> {
    let name = last_component(path);
    [&path[..path.len() - name.len()], b".wh.", name].concat()
}

fn last_component(path: &[u8]) -> &[u8] {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    path.iter()
        .rposition(|&byte| byte == b'/')
        .map_or(path, |slash| &path[slash + 1..])
}

fn truncated(text: &[u8]) -> Vec<u8> {
    text[..text.len().min(100)].to_vec()
}

/// Splits a long name at a slash so that prefix and name fit their fields.
fn split_name(name: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    if name.len() <= 100 {
        return Some((Vec::new(), name.to_vec()));
    }
    let searched = name.get(..156.min(name.len() - 1))?;
    let slash = searched.iter().rposition(|&byte| byte == b'/')?;
    let (prefix, rest) = (&name[..slash], &name[slash + 1..]);
    (slash > 0 && !rest.is_empty() && rest.len() <= 100).then(|| (prefix.to_vec(), rest.to_vec()))
}

/// Lines `length key=value`, where the length counts itself.
fn pax_body(records: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + rest.to_string().len();
        if length.to_string().len() + rest != length {
            length = rest + length.to_string().len();
        }
        body.extend_from_slice(length.to_string().as_bytes());
        body.push(b' ');
        body.extend_from_slice(key);
        body.push(b'=');
        body.extend_from_slice(value);
        body.push(b'\n');
    }
    body
}

struct Fields<'a> {
    name: &'a [u8],
    prefix: &'a [u8],
    mode: u32,
    uid: u64,
    gid: u64,
    size: u64,
    mtime: u64,
    type_flag: u8,
    link: &'a [u8],
    device: (u32, u32),
}

impl Fields<'_> {
    fn block(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, self.name);
        put(100, format!("{:07o}\0", self.mode).as_bytes());
        put(108, format!("{:07o}\0", self.uid).as_bytes());
        put(116, format!("{:07o}\0", self.gid).as_bytes());
        put(124, format!("{:011o}\0", self.size).as_bytes());
        put(136, format!("{:011o}\0", self.mtime).as_bytes());
        put(148, b"        ");
        put(156, &[self.type_flag]);
        put(157, self.link);
        put(257, b"ustar\x0000");
        if matches!(self.type_flag, b'3' | b'4') {
            put(329, format!("{:07o}\0", self.device.0).as_bytes());
            put(337, format!("{:07o}\0", self.device.1).as_bytes());
        } else {
            put(329, b"0000000\x000000000\0");
        }
        put(345, self.prefix);
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }
}
