//! The stat cache: digests of a context's files by their attributes, so that a file that was not touched is not
//! read again.
//!
//! A file written twice within one tick of the file system's clock can keep all its attributes. So an entry is
//! trusted in later builds only if the file's times are older than the moment at which the cache was loaded: the
//! file was hashed after that moment, and a write after the hashing would have left a later time. (Git's index
//! does the same for its "racily clean" entries.)

use std::collections::HashMap;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use kiln_oci::Digest;
use rustix::fs::Stat;
use rustix::time::ClockId;

use crate::StoreError;
use crate::blob::note_use;
use crate::cursor::Cursor;
use crate::store::Store;
use crate::wire::{WireError, WireReader, WireWriter};

/// First bytes of a stat cache, with the version of the format in the last one.
const MAGIC: &[u8; 5] = b"KLSC\x01";

/// An entry takes at least one byte for each of: path, size, both times, inode, device, mode, digest, age.
const SMALLEST_ENTRY: usize = 9;

/// After so many saves without use, an entry goes.
const LONGEST_UNUSED: u64 = 16;

const NANOSECONDS: i64 = 1_000_000_000;

/// The attributes of a file that change when its content does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileStamp {
    /// Length in bytes.
    pub size: u64,
    /// Time of last modification, nanoseconds since the Unix epoch.
    pub mtime_ns: i64,
    /// Time of last change of the attributes, nanoseconds since the Unix epoch. Programs cannot set it.
    pub ctime_ns: i64,
    /// Inode number.
    pub inode: u64,
    /// Device number.
    pub device: u64,
    /// Type and permission bits.
    pub mode: u32,
}

/// What is remembered of one context.
#[derive(Debug)]
pub struct StatCache {
    store: Store,
    file: PathBuf,
    context: Vec<u8>,
    /// When the cache was loaded, by the clock of file times.
    loaded_ns: i64,
    /// Counts the saves.
    generation: u64,
    loaded: Loaded,
    cursor: Cursor,
    /// What was added or found anew in this build.
    added: HashMap<Vec<u8>, Remembered>,
    changed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Remembered {
    stamp: FileStamp,
    digest: Digest,
    /// The generation that used it last.
    used: u64,
}

impl FileStamp {
    /// The stamp of what `stat` tells of a file.
    pub fn from_stat(stat: &Stat) -> FileStamp {
        // The types of the fields differ between architectures.
        let time = |seconds: i64, nanos: i64| seconds.saturating_mul(NANOSECONDS).saturating_add(nanos);
        #[expect(
            clippy::unnecessary_cast,
            clippy::useless_conversion,
            reason = "the types differ between architectures"
        )]
        FileStamp {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime_ns: time(i64::from(stat.st_mtime), stat.st_mtime_nsec as i64),
            ctime_ns: time(i64::from(stat.st_ctime), stat.st_ctime_nsec as i64),
            inode: stat.st_ino as u64,
            device: stat.st_dev as u64,
            mode: stat.st_mode as u32,
        }
    }

    /// Whether a file with this stamp cannot have been written at `moment` or later without getting another stamp.
    fn is_older_than(&self, moment: i64) -> bool {
        let latest = |time: i64| {
            // File systems that count whole seconds, or two, round down.
            if time % NANOSECONDS == 0 {
                time.saturating_add(2 * NANOSECONDS)
            } else {
                time
            }
        };
        latest(self.mtime_ns) < moment && latest(self.ctime_ns) < moment
    }
}

impl Store {
    /// Loads what is remembered of the context at `path` (best absolute: it is the cache's name). A missing or
    /// damaged file gives an empty cache. Load it before the first file is read, not after.
    pub fn stat_cache(&self, path: &Path) -> Result<StatCache, StoreError> {
        let context = path.as_os_str().as_bytes().to_vec();
        let file = self.layout().context(&context);
        let loaded_ns = file_clock_now();
        let (generation, loaded) = match std::fs::read(&file) {
            Ok(bytes) => {
                if let Ok(metadata) = std::fs::symlink_metadata(&file) {
                    note_use(&file, &metadata);
                }
                decode(bytes, &context).unwrap_or_else(|error| {
                    tracing::warn!(path = %file.display(), ?error, "a stat cache is damaged and begins anew");
                    Default::default()
                })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Default::default(),
            Err(error) => return Err(StoreError::io("read", file, error)),
        };
        Ok(StatCache {
            store: self.clone(),
            file,
            context,
            loaded_ns,
            generation: generation + 1,
            loaded,
            cursor: Cursor::default(),
            added: HashMap::new(),
            changed: false,
        })
    }
}

impl StatCache {
    /// The digest of the file at `path` (relative to the context), if it is remembered with this very stamp. Costs
    /// least for paths in their order.
    pub fn lookup(&mut self, path: &[u8], stamp: &FileStamp) -> Option<Digest> {
        let generation = self.generation;
        let found = match self.added.get_mut(path) {
            Some(added) => Some(added),
            None => self.loaded.find(path, &self.cursor),
        };
        let found = found.filter(|found| found.stamp == *stamp)?;
        found.used = generation;
        Some(found.digest.clone())
    }

    /// Remembers the digest of a file. `stamp` must have been taken before the file was read.
    pub fn insert(&mut self, path: &[u8], stamp: FileStamp, digest: Digest) {
        let remembered = Remembered {
            stamp,
            digest,
            used: self.generation,
        };
        self.added.insert(path.to_vec(), remembered);
        self.changed = true;
    }

    /// How many files are remembered.
    pub fn len(&self) -> usize {
        self.all().count()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }

    /// Keeps the cache for later builds, if something was added. Two processes that save the same context's cache:
    /// the last one's stays.
    pub fn save(&mut self) -> Result<(), StoreError> {
        if !self.changed {
            return Ok(());
        }
        self.store.write_atomically(&self.file, &self.encode(), false)?;
        self.changed = false;
        Ok(())
    }

    /// Everything with its path: what was loaded, in order, less what was found anew, and then that.
    fn all(&self) -> impl Iterator<Item = (&[u8], &Remembered)> {
        let loaded = self.loaded.entries.iter().map(|(path, remembered)| {
            let path = &self.loaded.bytes[path.clone()];
            (path, remembered)
        });
        loaded
            .filter(|(path, _)| self.added.is_empty() || !self.added.contains_key(*path))
            .chain(
                self.added
                    .iter()
                    .map(|(path, remembered)| (path.as_slice(), remembered)),
            )
    }

    /// The cache as bytes: the magic `KLSC` and a version byte, the context's path, the generation, the entries
    /// (sorted by path), a CRC-32. Only what a later build may trust is written.
    fn encode(&self) -> Vec<u8> {
        let keep = |remembered: &Remembered| {
            remembered.stamp.is_older_than(self.loaded_ns) && remembered.used + LONGEST_UNUSED >= self.generation
        };
        let mut entries: Vec<_> = self.all().filter(|(_, remembered)| keep(remembered)).collect();
        entries.sort_by(|a, b| a.0.cmp(b.0));
        let mut writer = WireWriter::new(MAGIC);
        writer.bytes(&self.context);
        writer.number(self.generation);
        writer.number(entries.len() as u64);
        for (path, Remembered { stamp, digest, used }) in entries {
            writer.bytes(path);
            writer.number(stamp.size);
            writer.signed(stamp.mtime_ns);
            writer.signed(stamp.ctime_ns);
            writer.number(stamp.inode);
            writer.number(stamp.device);
            writer.number(stamp.mode.into());
            writer.digest(Some(digest));
            writer.number(*used);
        }
        writer.finish_with_checksum()
    }
}

/// What a file held: its bytes, and the entries in the order of their paths, which stay where they are in the bytes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Loaded {
    bytes: Vec<u8>,
    entries: Vec<(Range<usize>, Remembered)>,
}

impl Loaded {
    fn find(&mut self, path: &[u8], cursor: &Cursor) -> Option<&mut Remembered> {
        let found = cursor.find(&self.entries, path, |(path, _)| &self.bytes[path.clone()])?;
        Some(&mut self.entries[found].1)
    }
}

/// Reads what [`StatCache::encode`] wrote for `context`, with the generation. Any bytes are safe to give.
fn decode(bytes: Vec<u8>, context: &[u8]) -> Result<(u64, Loaded), WireError> {
    let body = WireReader::checked(&bytes)?;
    let mut reader = WireReader::new(body.strip_prefix(MAGIC).ok_or(WireError::Invalid)?);
    if reader.bytes()? != context {
        return Err(WireError::Invalid);
    }
    let generation = reader.number()?;
    // Room for counting on, whatever the bytes say.
    if generation > u64::from(u32::MAX) {
        return Err(WireError::Invalid);
    }
    let count = reader.count(SMALLEST_ENTRY)?;
    let mut entries: Vec<(Range<usize>, Remembered)> = Vec::with_capacity(count.min(64 * 1024));
    let mut previous: Option<&[u8]> = None;
    for _ in 0..count {
        let path = reader.bytes()?;
        if previous.is_some_and(|previous| previous >= path) {
            return Err(WireError::Invalid);
        }
        previous = Some(path);
        let end = body.len() - reader.remaining();
        let stamp = FileStamp {
            size: reader.number()?,
            mtime_ns: reader.signed()?,
            ctime_ns: reader.signed()?,
            inode: reader.number()?,
            device: reader.number()?,
            mode: reader.number32()?,
        };
        let digest = reader.digest()?.ok_or(WireError::Invalid)?;
        let used = reader.number()?;
        if used > generation {
            return Err(WireError::Invalid);
        }
        entries.push((end - path.len()..end, Remembered { stamp, digest, used }));
    }
    if reader.remaining() > 0 {
        return Err(WireError::Invalid);
    }
    Ok((generation, Loaded { bytes, entries }))
}

/// The time by the clock that the kernel stamps files with: the coarse one, which stands still within a tick.
fn file_clock_now() -> i64 {
    let now = rustix::time::clock_gettime(ClockId::RealtimeCoarse);
    #[expect(clippy::useless_conversion, reason = "the types differ between architectures")]
    i64::from(now.tv_sec)
        .saturating_mul(NANOSECONDS)
        .saturating_add(i64::from(now.tv_nsec))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::temporary_store;
    use proptest::prelude::*;
    use std::time::Duration;

    fn old_stamp(size: u64) -> FileStamp {
        FileStamp {
            size,
            mtime_ns: 1_000_000_001,
            ctime_ns: 2_000_000_002,
            inode: 3,
            device: 4,
            mode: 0o100644,
        }
    }

    fn stamp_of(path: &Path) -> FileStamp {
        FileStamp::from_stat(&rustix::fs::lstat(path).expect("stat"))
    }

    #[test]
    fn digests_are_remembered_by_the_whole_stamp() {
        let (directory, store) = temporary_store();
        let context = Path::new("/some/context");
        let mut cache = store.stat_cache(context).expect("load");
        assert_eq!(cache.lookup(b"a", &old_stamp(1)), None);
        cache.insert(b"a", old_stamp(1), Digest::sha256("a"));
        cache.save().expect("save");
        let other = Store::open(directory.path()).expect("open");
        let mut cache = other.stat_cache(context).expect("load");
        assert_eq!((cache.len(), cache.is_empty()), (1, false));
        assert_eq!(cache.lookup(b"a", &old_stamp(1)), Some(Digest::sha256("a")));
        let stamp = old_stamp(1);
        let others = [
            FileStamp {
                size: 2,
                ..stamp.clone()
            },
            FileStamp {
                mtime_ns: 0,
                ..stamp.clone()
            },
            FileStamp {
                ctime_ns: 0,
                ..stamp.clone()
            },
            FileStamp {
                inode: 0,
                ..stamp.clone()
            },
            FileStamp {
                device: 0,
                ..stamp.clone()
            },
            FileStamp {
                mode: 0,
                ..stamp.clone()
            },
        ];
        for other in others {
            assert_eq!(cache.lookup(b"a", &other), None, "{other:?}");
        }
        assert_eq!(cache.lookup(b"b", &stamp), None);
        assert!(other.stat_cache(Path::new("/other/context")).expect("load").is_empty());
    }

    #[test]
    fn a_file_written_while_it_was_hashed_is_not_trusted_later() {
        let (directory, store) = temporary_store();
        let context =
            tempfile::tempdir_in(directory.path().parent().expect("a parent")).expect("a temporary directory");
        let file = context.path().join("file");
        let mut cache = store.stat_cache(context.path()).expect("load");
        std::fs::write(&file, "one").expect("write");
        cache.insert(b"file", stamp_of(&file), Digest::sha256("one"));
        assert!(
            cache.lookup(b"file", &stamp_of(&file)).is_some(),
            "within this build it is known"
        );
        cache.save().expect("save");
        assert!(store.stat_cache(context.path()).expect("load").is_empty());
        // Some ticks later the same file is old enough.
        std::thread::sleep(Duration::from_millis(50));
        let mut cache = store.stat_cache(context.path()).expect("load");
        cache.insert(b"file", stamp_of(&file), Digest::sha256("one"));
        cache.save().expect("save");
        let mut cache = store.stat_cache(context.path()).expect("load");
        assert_eq!(cache.lookup(b"file", &stamp_of(&file)), Some(Digest::sha256("one")));
        std::fs::write(&file, "two").expect("write");
        assert_eq!(cache.lookup(b"file", &stamp_of(&file)), None);
    }

    #[test]
    fn coarse_file_times_are_given_their_whole_span() {
        let stamp = FileStamp {
            mtime_ns: 10 * NANOSECONDS,
            ctime_ns: 10 * NANOSECONDS,
            ..old_stamp(1)
        };
        assert!(!stamp.is_older_than(11 * NANOSECONDS));
        assert!(stamp.is_older_than(13 * NANOSECONDS));
        let exact = FileStamp {
            mtime_ns: 5,
            ctime_ns: 9,
            ..stamp
        };
        assert!(!exact.is_older_than(9));
        assert!(exact.is_older_than(10));
    }

    #[test]
    fn entries_that_nobody_uses_go_in_the_end() {
        let (_directory, store) = temporary_store();
        let context = Path::new("/context");
        let mut cache = store.stat_cache(context).expect("load");
        cache.insert(b"unused", old_stamp(1), Digest::sha256("a"));
        cache.insert(b"used", old_stamp(1), Digest::sha256("a"));
        cache.save().expect("save");
        for round in 0..=LONGEST_UNUSED {
            let mut cache = store.stat_cache(context).expect("load");
            assert_eq!(cache.len(), if round == 0 { 2 } else { 3 }, "round {round}");
            assert!(cache.lookup(b"used", &old_stamp(1)).is_some());
            cache.insert(b"new", old_stamp(round), Digest::sha256("a"));
            cache.save().expect("save");
        }
        assert_eq!(store.stat_cache(context).expect("load").len(), 2);
    }

    #[test]
    fn a_damaged_cache_begins_anew() {
        let (_directory, store) = temporary_store();
        let context = Path::new("/context");
        let mut cache = store.stat_cache(context).expect("load");
        cache.insert(b"a", old_stamp(1), Digest::sha256("a"));
        cache.save().expect("save");
        let file = store.layout().context(b"/context");
        let bytes = std::fs::read(&file).expect("read");
        for length in 0..bytes.len() {
            std::fs::write(&file, &bytes[..length]).expect("write");
            assert!(store.stat_cache(context).expect("load").is_empty(), "{length} bytes");
        }
        assert_eq!(decode(bytes, b"/other"), Err(WireError::Invalid), "another context's");
    }

    #[test]
    fn entries_out_of_order_are_damage() {
        let file = |paths: [&[u8]; 2]| {
            let mut writer = WireWriter::new(MAGIC);
            writer.bytes(b"c");
            writer.number(1);
            writer.number(2);
            for path in paths {
                writer.bytes(path);
                (0..6).for_each(|_| writer.number(0));
                writer.digest(Some(&Digest::sha256(path)));
                writer.number(1);
            }
            decode(writer.finish_with_checksum(), b"c").map(|(_, loaded)| loaded.entries.len())
        };
        assert_eq!(file([b"a", b"b"]), Ok(2));
        assert_eq!(file([b"b", b"a"]), Err(WireError::Invalid));
        assert_eq!(
            file([b"a", b"a"]),
            Err(WireError::Invalid),
            "a search would find either"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(tail: Vec<u8>) {
            let mut writer = WireWriter::new(MAGIC);
            writer.bytes(b"c");
            let mut bytes = writer.finish();
            bytes.extend_from_slice(&tail);
            bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
            // The checksum is right, so the parser itself is under test.
            drop(decode(bytes, b"c"));
        }
    }
}
