//! The layer index: the sorted entries of one layer, without the contents of its files.
//!
//! An index answers what a layer holds (types, modes, owners, sizes, digests) without its blob or its tree.
//! It is kept in one small file for each layer; [`LayerIndex::encode`] describes the format.

mod codec;

use kiln_oci::Digest;

pub use codec::IndexError;

/// The entries of one layer, sorted by the bytes of their paths, no path twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerIndex {
    /// The entries. What is below a directory `a` is one contiguous run: the paths that begin with `a/`.
    pub entries: Vec<Entry>,
}

/// One entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path relative to the root, without leading or trailing slash, `.` or `..`. Empty: the root directory itself.
    pub path: Vec<u8>,
    /// Type and what belongs to it.
    pub kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky (`0o7777`).
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Time of last modification.
    pub mtime: Mtime,
    /// Extended attributes: full name (`user.x`) and value, in the order in which the layer holds them.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The type of an entry and what belongs to that type alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory. `opaque`: it hides everything that lower layers have at its path.
    Directory {
        /// Whether what lower layers have here is hidden.
        opaque: bool,
    },
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
        /// Digest of the content, where it is known.
        digest: Option<Digest>,
    },
    /// A symbolic link.
    Symlink {
        /// Its text, as written.
        target: Vec<u8>,
    },
    /// A further name of a file of the same layer.
    Hardlink {
        /// Path of that file, in the form of [`Entry::path`].
        target: Vec<u8>,
    },
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// The path is removed from what lower layers hold.
    Whiteout,
}

/// A time of modification, relative to the Unix epoch. Times before it have negative seconds; the nanoseconds
/// always count forward.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mtime {
    /// Whole seconds.
    pub seconds: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub nanos: u32,
}

impl Entry {
    /// The last component of the path; empty for the root directory.
    pub fn name(&self) -> &[u8] {
        self.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }

    /// Path of the directory that holds this entry; None for the root directory.
    pub fn parent(&self) -> Option<&[u8]> {
        if self.path.is_empty() {
            return None;
        }
        let end = self.path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        Some(&self.path[..end])
    }

    /// Whether this is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, EntryKind::Directory { .. })
    }
}

impl LayerIndex {
    /// Sorts the entries. Of several with one path, the last stays, as the last one of an archive wins.
    pub fn new(mut entries: Vec<Entry>) -> LayerIndex {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        // `dedup_by` drops its first argument, the later entry, so the kept one takes that one's place first.
        entries.dedup_by(|later, kept| {
            let same = later.path == kept.path;
            if same {
                std::mem::swap(later, kept);
            }
            same
        });
        LayerIndex { entries }
    }

    /// The entry at exactly `path`; no link is followed.
    pub fn entry(&self, path: &[u8]) -> Option<&Entry> {
        let position = self
            .entries
            .binary_search_by(|entry| entry.path.as_slice().cmp(path))
            .ok()?;
        self.entries.get(position)
    }

    /// Everything below `directory` (not itself), sorted. The empty path means the whole layer.
    pub fn below(&self, directory: &[u8]) -> &[Entry] {
        if directory.is_empty() {
            let start = usize::from(self.entries.first().is_some_and(|entry| entry.path.is_empty()));
            return &self.entries[start..];
        }
        let start = self
            .entries
            .partition_point(|entry| compare_to_inside(&entry.path, directory).is_lt());
        let length = self.entries[start..].partition_point(|entry| compare_to_inside(&entry.path, directory).is_eq());
        &self.entries[start..start + length]
    }

    /// The direct children of `directory` that have entries of their own, sorted by path. Costs little even
    /// above large subtrees: what lies deeper is skipped over.
    pub fn children<'a>(&'a self, directory: &[u8]) -> Children<'a> {
        let prefix = if directory.is_empty() { 0 } else { directory.len() + 1 };
        Children {
            rest: self.below(directory),
            prefix,
        }
    }

    /// The paths directly below `directory` that other paths lead through, sorted; most of them have entries of their own
    /// too. Costs as little as [`LayerIndex::children`].
    pub fn implied<'a>(&'a self, directory: &[u8]) -> impl Iterator<Item = &'a [u8]> {
        let prefix = if directory.is_empty() { 0 } else { directory.len() + 1 };
        let mut rest = self.below(directory);
        std::iter::from_fn(move || {
            loop {
                let (first, after) = rest.split_first()?;
                let Some(slash) = first.path[prefix..].iter().position(|byte| *byte == b'/') else {
                    rest = after;
                    continue;
                };
                let inner = &first.path[..prefix + slash];
                rest = after_inside(rest, inner);
                return Some(inner);
            }
        })
    }

    /// Sum of the sizes of the regular files, in bytes.
    pub fn total_size(&self) -> u64 {
        let size = |entry: &Entry| match entry.kind {
            EntryKind::File { size, .. } => size,
            _ => 0,
        };
        self.entries.iter().map(size).fold(0, u64::saturating_add)
    }
}

/// The direct children of a directory. See [`LayerIndex::children`].
#[derive(Debug, Clone)]
pub struct Children<'a> {
    rest: &'a [Entry],
    prefix: usize,
}

impl<'a> Iterator for Children<'a> {
    type Item = &'a Entry;

    fn next(&mut self) -> Option<&'a Entry> {
        loop {
            let (first, rest) = self.rest.split_first()?;
            let name = &first.path[self.prefix..];
            let Some(slash) = name.iter().position(|byte| *byte == b'/') else {
                self.rest = rest;
                return Some(first);
            };
            self.rest = after_inside(self.rest, &first.path[..self.prefix + slash]);
        }
    }
}

/// What stands behind the run of paths inside `directory`.
fn after_inside<'a>(entries: &'a [Entry], directory: &[u8]) -> &'a [Entry] {
    let skip = entries.partition_point(|entry| compare_to_inside(&entry.path, directory).is_le());
    &entries[skip..]
}

/// Where `path` stands relative to the run of paths inside `directory`: before, in it, or after.
fn compare_to_inside(path: &[u8], directory: &[u8]) -> std::cmp::Ordering {
    let head = &path[..path.len().min(directory.len())];
    head.cmp(directory).then_with(|| match path.get(directory.len()) {
        None => std::cmp::Ordering::Less,
        Some(byte) => byte.cmp(&b'/'),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> Entry {
        Entry {
            path: path.as_bytes().to_vec(),
            kind: EntryKind::File { size: 1, digest: None },
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Mtime::default(),
            xattrs: Vec::new(),
        }
    }

    fn paths<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<String> {
        entries
            .into_iter()
            .map(|entry| String::from_utf8_lossy(&entry.path).into_owned())
            .collect()
    }

    #[test]
    fn entries_are_sorted_and_the_last_of_equal_paths_wins() {
        let mut second = file("a");
        second.mode = 0o600;
        let mut third = file("a");
        third.mode = 0o400;
        let index = LayerIndex::new(vec![file("b"), file("a"), second, file("a-b"), file("a/b"), third]);
        assert_eq!(paths(&index.entries), ["a", "a-b", "a/b", "b"]);
        assert_eq!(index.entry(b"a").map(|entry| entry.mode), Some(0o400));
        assert_eq!(index.entry(b"a/"), None);
    }

    #[test]
    fn what_is_below_a_directory_is_one_run() {
        let names = ["", "a", "a!", "a-b", "a-b/x", "a/b", "a/b/c", "a/b0", "a0", "b"];
        let index = LayerIndex::new(names.iter().map(|name| file(name)).collect());
        assert_eq!(paths(index.below(b"a")), ["a/b", "a/b/c", "a/b0"]);
        assert_eq!(paths(index.below(b"a-b")), ["a-b/x"]);
        assert_eq!(paths(index.below(b"zz")), [""; 0]);
        assert_eq!(paths(index.below(b"")).len(), names.len() - 1);
    }

    #[test]
    fn children_skip_what_lies_deeper() {
        let names = ["", "a", "a/b", "a/b/c", "a/b/d/e", "a/c", "implicit/x/y", "z"];
        let index = LayerIndex::new(names.iter().map(|name| file(name)).collect());
        assert_eq!(paths(index.children(b"")), ["a", "z"]);
        assert_eq!(paths(index.children(b"a")), ["a/b", "a/c"]);
        assert_eq!(paths(index.children(b"implicit")), [""; 0]);
        let implied = |directory: &[u8]| -> Vec<&[u8]> { index.implied(directory).collect() };
        assert_eq!(implied(b""), [b"a".as_slice(), b"implicit"]);
        assert_eq!(implied(b"a"), [b"a/b".as_slice()]);
        assert_eq!(implied(b"a/b"), [b"a/b/d".as_slice()]);
        assert_eq!(implied(b"z"), [b""; 0]);
    }

    #[test]
    fn names_and_parents() {
        assert_eq!(file("a/b").parent(), Some(b"a".as_slice()));
        assert_eq!(file("a").parent(), Some(b"".as_slice()));
        assert_eq!(file("").parent(), None);
        assert_eq!(file("a/b").name(), b"b");
    }

    #[test]
    fn total_size_counts_files() {
        let index = LayerIndex::new(vec![
            file("a"),
            file("b"),
            Entry {
                kind: EntryKind::Fifo,
                ..file("c")
            },
        ]);
        assert_eq!(index.total_size(), 2);
    }
}
