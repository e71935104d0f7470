//! What builds left behind to be looked at later: a journal for as long as a build runs, and a record when it has
//! ended. Both are lines, and what is in a line is their writer's own; the record is the last line of its file.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::StoreError;
use crate::lock::flock;
use crate::session::{make_private_directory, random_token};
use crate::store::Store;

const JOURNAL: &str = "journal";
const RECORD: &str = "record";

/// A journal or record is read up to this size: more is damage.
const LARGEST: u64 = 256 << 20;

/// What a build in the history is called: the milliseconds of its beginning and four random digits, in hexadecimal,
/// so that names sort by time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BuildId(String);

/// A text that names no build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no build's id")]
pub struct BuildIdError(pub String);

impl FromStr for BuildId {
    type Err = BuildIdError;

    fn from_str(text: &str) -> Result<BuildId, BuildIdError> {
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if digits && (8..=32).contains(&text.len()) {
            Ok(BuildId(text.to_owned()))
        } else {
            Err(BuildIdError(text.to_owned()))
        }
    }
}

impl std::fmt::Display for BuildId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl BuildId {
    fn fresh() -> BuildId {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        BuildId(format!("{:011x}{}", since.as_millis(), &random_token()[..4]))
    }
}

/// How far a build of the history is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildState {
    /// Its process lives.
    Running,
    /// Its process ended, however it ended, without a record.
    Interrupted,
    /// It has a record.
    Ended,
}

/// How much of the history is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryLimit {
    /// Builds.
    pub builds: usize,
    /// Bytes of all journals and records.
    pub bytes: u64,
}

/// The journal of a running build. Dropped without [`BuildJournal::finish`]: the build counts as interrupted.
#[derive(Debug)]
pub struct BuildJournal {
    store: Store,
    id: BuildId,
    path: PathBuf,
    /// Locked for as long as the process lives.
    file: File,
}

impl BuildJournal {
    /// What the build is called.
    pub fn id(&self) -> &BuildId {
        &self.id
    }

    /// Adds to the journal. What was added is there even if this process is killed at once; after a power failure it
    /// may be missing.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let written = self.file.write_all(bytes);
        written.map_err(|error| StoreError::io("write", &self.path, error))
    }

    /// Keeps the record of a build that has ended: one line. Without its journal, that costs no more than a line at the
    /// journal's end and a new name for the file.
    pub fn finish(mut self, record: &[u8], keep_journal: bool) -> Result<(), StoreError> {
        let path = self.store.layout().history(&self.id, RECORD);
        if keep_journal {
            return self.store.write_atomically(&path, record, false);
        }
        self.append(record)?;
        std::fs::rename(&self.path, &path).map_err(|error| StoreError::io("write", &path, error))
    }
}

impl Store {
    /// Begins the journal of a build.
    pub fn begin_build(&self) -> Result<BuildJournal, StoreError> {
        let directory = self.layout().histories();
        loop {
            let id = BuildId::fresh();
            let path = self.layout().history(&id, JOURNAL);
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::APPEND | OFlags::CLOEXEC;
            let file: File = match rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => file.into(),
                Err(Errno::EXIST) => continue,
                // Stores were made before there was a history.
                Err(Errno::NOENT) => match make_private_directory(&directory) {
                    Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {
                        continue;
                    }
                    Ok(()) => continue,
                    Err(error) => return Err(error),
                },
                Err(error) => return Err(StoreError::io("create", path, error)),
            };
            flock(&file, FlockOperation::LockExclusive).map_err(|error| StoreError::io("lock", &path, error))?;
            return Ok(BuildJournal {
                store: self.clone(),
                id,
                path,
                file,
            });
        }
    }

    /// All builds of the history, the oldest first.
    pub fn builds(&self) -> Result<Vec<BuildId>, StoreError> {
        let directory = self.layout().histories();
        let failed = |error: std::io::Error| StoreError::io("list", &directory, error);
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut all = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let id = name.to_str().and_then(|name| name.split_once('.')?.0.parse().ok());
            all.extend(id);
        }
        all.sort();
        all.dedup();
        Ok(all)
    }

    /// How far a build is; None if it is not in the history.
    pub fn build_state(&self, id: &BuildId) -> Result<Option<BuildState>, StoreError> {
        if self.layout().history(id, RECORD).exists() {
            return Ok(Some(BuildState::Ended));
        }
        let path = self.layout().history(id, JOURNAL);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("open", path, error)),
        };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            // It may have ended between the two looks.
            Ok(()) if self.layout().history(id, RECORD).exists() => Ok(Some(BuildState::Ended)),
            Ok(()) => Ok(Some(BuildState::Interrupted)),
            Err(Errno::WOULDBLOCK) => Ok(Some(BuildState::Running)),
            Err(error) => Err(StoreError::io("lock", path, error)),
        }
    }

    /// The record of a build that has ended.
    pub fn build_record(&self, id: &BuildId) -> Result<Option<Vec<u8>>, StoreError> {
        let lines = self.read_history(id, RECORD)?;
        Ok(lines.map(|mut lines| {
            lines.truncate(lines.trim_ascii_end().len());
            let start = lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            lines.split_off(start)
        }))
    }

    /// The journal of a build, as far as it is written and kept.
    pub fn build_journal(&self, id: &BuildId) -> Result<Option<Vec<u8>>, StoreError> {
        self.read_history(id, JOURNAL)
    }

    fn read_history(&self, id: &BuildId, kind: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.layout().history(id, kind);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("open", path, error)),
        };
        let mut bytes = Vec::new();
        let read = file.take(LARGEST).read_to_end(&mut bytes);
        read.map_err(|error| StoreError::io("read", path, error))?;
        Ok(Some(bytes))
    }

    /// Removes a build from the history. False if it is not there, or if it still runs.
    pub fn remove_build(&self, id: &BuildId) -> Result<bool, StoreError> {
        if matches!(self.build_state(id)?, None | Some(BuildState::Running)) {
            return Ok(false);
        }
        let mut found = false;
        // The record last: without it, what is left would look like a build that was interrupted.
        for kind in [JOURNAL, RECORD] {
            let path = self.layout().history(id, kind);
            match std::fs::remove_file(&path) {
                Ok(()) => found = true,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(StoreError::io("remove", path, error)),
            }
        }
        Ok(found)
    }

    /// Removes the oldest builds until what is left is within the limit. Gives how many were removed.
    pub fn trim_history(&self, limit: HistoryLimit) -> Result<usize, StoreError> {
        let (mut kept, mut bytes, mut removed) = (0, 0, 0);
        for id in self.builds()?.iter().rev() {
            let size = |kind| std::fs::metadata(self.layout().history(id, kind)).map_or(0, |metadata| metadata.len());
            bytes += size(JOURNAL) + size(RECORD);
            kept += 1;
            // The newest stays, whatever its size: someone will want to know what became of it.
            let over = kept > limit.builds.max(1) || bytes > limit.bytes;
            if over && kept > 1 && self.remove_build(id)? {
                removed += 1;
            }
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::temporary_store;

    fn ended(store: &Store, size: usize) -> BuildId {
        let journal = store.begin_build().expect("begin");
        let id = journal.id().clone();
        journal.finish(&vec![b'x'; size], false).expect("finish");
        // Ids are exact to a millisecond.
        std::thread::sleep(std::time::Duration::from_millis(2));
        id
    }

    #[test]
    fn a_build_runs_and_then_has_a_record() {
        let (directory, store) = temporary_store();
        let other = Store::open(directory.path()).expect("open");
        assert_eq!(other.builds().expect("list"), []);
        let mut journal = store.begin_build().expect("begin");
        let id = journal.id().clone();
        assert_eq!(other.build_state(&id).expect("state"), Some(BuildState::Running));
        assert!(!other.remove_build(&id).expect("remove"), "a running build stays");
        journal.append(b"one\n").expect("append");
        assert_eq!(
            other.build_journal(&id).expect("read").as_deref(),
            Some(b"one\n".as_slice())
        );
        journal.finish(b"record\n", true).expect("finish");
        assert_eq!(other.build_state(&id).expect("state"), Some(BuildState::Ended));
        assert_eq!(
            other.build_record(&id).expect("read").as_deref(),
            Some(b"record".as_slice())
        );
        assert!(other.build_journal(&id).expect("read").is_some());
        assert_eq!(other.builds().expect("list"), std::slice::from_ref(&id));
        let mut short = store.begin_build().expect("begin");
        short.append(b"one\n").expect("append");
        let second = short.id().clone();
        short.finish(b"record\n", false).expect("finish");
        assert_eq!(
            other.build_record(&second).expect("read").as_deref(),
            Some(b"record".as_slice())
        );
        assert_eq!(other.build_journal(&second).expect("read"), None);
        assert!(other.remove_build(&second).expect("remove"));
        assert!(other.remove_build(&id).expect("remove"));
        assert_eq!(other.build_state(&id).expect("state"), None);
        assert!(!other.remove_build(&id).expect("remove"));
    }

    #[test]
    fn a_build_without_an_end_was_interrupted() {
        let (_directory, store) = temporary_store();
        let mut journal = store.begin_build().expect("begin");
        journal.append(b"half").expect("append");
        let id = journal.id().clone();
        drop(journal);
        assert_eq!(store.build_state(&id).expect("state"), Some(BuildState::Interrupted));
        assert_eq!(
            store.build_journal(&id).expect("read").as_deref(),
            Some(b"half".as_slice())
        );
        assert!(store.remove_build(&id).expect("remove"));
    }

    #[test]
    fn the_oldest_builds_go_first() {
        let (_directory, store) = temporary_store();
        let ids: Vec<BuildId> = (0..5).map(|_| ended(&store, 100)).collect();
        let many = HistoryLimit {
            builds: 4,
            bytes: 1 << 20,
        };
        assert_eq!(store.trim_history(many).expect("trim"), 1);
        assert_eq!(store.builds().expect("list"), ids[1..]);
        let small = HistoryLimit { builds: 10, bytes: 250 };
        assert_eq!(store.trim_history(small).expect("trim"), 2);
        assert_eq!(store.builds().expect("list"), ids[3..]);
        let running = store.begin_build().expect("begin");
        let none = HistoryLimit { builds: 0, bytes: 0 };
        assert_eq!(store.trim_history(none).expect("trim"), 2);
        assert_eq!(store.builds().expect("list"), std::slice::from_ref(running.id()));
        assert_eq!(store.trim_history(none).expect("trim"), 0);
    }

    #[test]
    fn ids_are_hexadecimal() {
        assert!("../../etc".parse::<BuildId>().is_err());
        assert!("".parse::<BuildId>().is_err());
        let id = BuildId::fresh();
        assert_eq!(id.to_string().parse::<BuildId>().as_ref(), Ok(&id));
    }
}
