//! Making a damaged store sound again. What can be made again is removed; what may be somebody's is moved aside.

use std::fmt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, params};

use crate::StoreError;
use crate::database::{Database, unix_now};
use crate::layer::LayerId;
use crate::session::make_private_directory;
use crate::store::Store;
use crate::verify::{Problem, VerifyReport};

/// What was done about a problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// It was removed; it is fetched or made again when it is needed.
    Removed,
    /// It was moved there.
    SetAside(PathBuf),
    /// A new database was begun, with as many documents of the old one as could be read. The old one was moved aside.
    DatabaseBegun {
        /// How many documents were saved.
        documents: u64,
    },
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remedy::Removed => f.write_str("removed"),
            Remedy::SetAside(path) => write!(f, "moved to `{}`", path.display()),
            Remedy::DatabaseBegun { documents } => {
                write!(
                    f,
                    "begun anew; {documents} documents could be saved, cached steps run again"
                )
            }
        }
    }
}

/// A problem and what was done about it.
#[derive(Debug)]
pub struct Repaired {
    /// The problem.
    pub problem: String,
    /// What was done.
    pub remedy: Remedy,
}

/// Repairs what a check of the store at `root` found. All handles of this process must be closed; while another
/// process has the store open, nothing is done and [`StoreError::Locked`] says so. A check after it may find what
/// the first one could not see behind the damage.
pub fn repair(root: &Path, report: VerifyReport) -> Result<Vec<Repaired>, StoreError> {
    let store = Store::open(root)?.unheld();
    let Some(alone) = store.collect_lock()? else {
        return Err(StoreError::Locked {
            path: store.layout().lock(),
        });
    };
    let mut repaired = Vec::new();
    let mut rebuilt = None;
    let mut problems = report.problems;
    // The database first, while this handle has not opened the damaged one.
    problems.sort_by_key(|problem| !matches!(problem, Problem::Database { .. }));
    for problem in problems {
        let text = problem.to_string();
        let remedy = match problem {
            Problem::Database { .. } => match &rebuilt {
                Some(remedy) => Remedy::clone(remedy),
                None => rebuilt.insert(store.begin_database()?).clone(),
            },
            other => store.remedy(other)?,
        };
        repaired.push(Repaired { problem: text, remedy });
    }
    drop(alone);
    Ok(repaired)
}

impl Store {
    fn remedy(&self, problem: Problem) -> Result<Remedy, StoreError> {
        match problem {
            Problem::BlobDamaged { digest, .. } => {
                self.delete_blob(&digest)?;
                Ok(Remedy::Removed)
            }
            Problem::Members { digest } => {
                self.delete_blob_members(&digest)?;
                Ok(Remedy::Removed)
            }
            Problem::Unreadable { path, .. } | Problem::Stray { path } => self.set_aside(&path).map(Remedy::SetAside),
            Problem::Index { layer, .. } | Problem::Tree { layer, .. } => {
                self.remove_forms(&layer)?;
                Ok(Remedy::Removed)
            }
            Problem::LayerLost { layer } | Problem::BlobSize { layer, .. } | Problem::LayerUnreadable { layer, .. } => {
                self.delete_layer(&layer)?;
                Ok(Remedy::Removed)
            }
            Problem::NameLost { name, .. } => {
                self.delete_document("image", &name)?;
                Ok(Remedy::Removed)
            }
            Problem::Database { .. } => self.begin_database(),
        }
    }

    /// Removes tree and index together, so that both are made from the layer's blob. Without one, the layer is lost.
    pub(crate) fn remove_forms(&self, layer: &LayerId) -> Result<(), StoreError> {
        self.remove_layer_index(layer)?;
        self.remove_tree(layer)?;
        match self.layer_is_usable(layer) {
            Ok(true) => Ok(()),
            // The database has a problem of its own, which is told of as well.
            Err(StoreError::DatabaseDamaged { .. }) => Ok(()),
            Ok(false) => self.delete_layer(layer),
            Err(error) => Err(error),
        }
    }

    fn set_aside(&self, path: &Path) -> Result<PathBuf, StoreError> {
        let aside = self.layout().aside();
        match make_private_directory(&aside) {
            Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut target = aside.join(format!("{}-{name}", unix_now()));
        let mut number = 1;
        while target.symlink_metadata().is_ok() {
            target = aside.join(format!("{}-{number}-{name}", unix_now()));
            number += 1;
        }
        match std::fs::rename(path, &target) {
            Ok(()) => Ok(target),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(target),
            Err(error) => Err(StoreError::io("move aside", path, error)),
        }
    }

    /// Begins a new database. This handle must not have opened the old one: SQLite would remove the new one's log
    /// when it closes the old one.
    fn begin_database(&self) -> Result<Remedy, StoreError> {
        let path = self.layout().database();
        let old = self.set_aside(&path)?;
        // The log belongs to the old database by its name.
        for suffix in ["-wal", "-shm"] {
            let (mut from, mut to) = (path.clone().into_os_string(), old.clone().into_os_string());
            from.push(suffix);
            to.push(suffix);
            match std::fs::rename(&from, &to) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::io("move aside", PathBuf::from(from), error));
                }
                _ => {}
            }
        }
        let documents = salvage(&old);
        let database = {
            Database::create(&path, &self.session()?.fresh_path("database"))?;
            Database::open(&path)?
        };
        let count = documents.len() as u64;
        database.write("save documents", |connection| {
            let sql = "INSERT OR REPLACE INTO documents (kind, name, body, updated_unix) VALUES (?1, ?2, ?3, ?4)";
            for document in &documents {
                connection.execute(sql, params![document.0, document.1, document.2, document.3])?;
            }
            Ok(())
        })?;
        Ok(Remedy::DatabaseBegun { documents: count })
    }
}

type Document = (String, String, Vec<u8>, i64);

/// The documents of a damaged database, as far as they can be read.
fn salvage(path: &Path) -> Vec<Document> {
    let mut documents = Vec::new();
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut read = || -> rusqlite::Result<()> {
        let connection = Connection::open_with_flags(path, flags)?;
        // By their numbers, so that one damaged page costs no more than what is on it.
        let last: i64 = connection.query_row("SELECT coalesce(max(rowid), 0) FROM documents", [], |row| row.get(0))?;
        let mut statement =
            connection.prepare("SELECT kind, name, body, updated_unix FROM documents NOT INDEXED WHERE rowid = ?1")?;
        for row in 1..=last.min(MOST_SALVAGED) {
            let document = statement.query_row([row], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)));
            documents.extend(document.ok());
        }
        Ok(())
    };
    if let Err(error) = read() {
        tracing::debug!(%error, "the old database cannot be read further");
    }
    documents
}

/// Row numbers above this are damage themselves.
const MOST_SALVAGED: i64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::LayerIndex;
    use crate::testing::temporary_store;

    fn mend(root: &Path) -> Vec<Remedy> {
        let report = Store::open(root).expect("open").unheld().verify().expect("verify");
        assert!(!report.is_sound(), "there is something to repair");
        let repaired = repair(root, report).expect("repair");
        let report = Store::open(root).expect("open").unheld().verify().expect("verify");
        assert!(report.is_sound(), "{:?}", report.problems);
        repaired.into_iter().map(|repaired| repaired.remedy).collect()
    }

    #[test]
    fn damage_is_removed_and_strangers_are_moved_aside() {
        let (directory, store) = temporary_store();
        let root = directory.path();
        let digest = store.put_blob(b"content").expect("put");
        let blob = store.layout().blob(&digest);
        std::fs::remove_file(&blob).expect("remove");
        std::fs::write(&blob, "CONTENT").expect("write");
        let layer = LayerId::random();
        store.put_layer_index(&layer, &LayerIndex::default()).expect("put");
        std::fs::write(store.layout().index(&layer), "KLIX").expect("write");
        drop(store);
        assert_eq!(mend(root), [Remedy::Removed, Remedy::Removed]);
        assert!(!blob.exists());

        std::fs::write(root.join("notes.txt"), "mine").expect("write");
        let remedies = mend(root);
        let [Remedy::SetAside(path)] = remedies.as_slice() else {
            panic!("{remedies:?}")
        };
        assert_eq!(std::fs::read_to_string(path).expect("read"), "mine");
    }

    #[test]
    fn a_truncated_database_begins_anew_with_the_documents_that_can_be_read() {
        let (directory, store) = temporary_store();
        let root = directory.path();
        for number in 0..2000 {
            store
                .put_document("kind", &format!("{number:05}"), &[7; 200])
                .expect("put");
        }
        let path = store.layout().database();
        drop(store);
        let length = std::fs::metadata(&path).expect("stat").len();
        let file = std::fs::File::options().write(true).open(&path).expect("open");
        file.set_len(length / 2).expect("truncate");
        let remedies = mend(root);
        assert!(matches!(remedies[0], Remedy::DatabaseBegun { .. }), "{remedies:?}");
        let store = Store::open(root).expect("open");
        store.put_document("kind", "new", b"x").expect("put");
        assert!(root.join("aside").read_dir().expect("list").count() >= 1);
    }

    #[test]
    fn nothing_is_repaired_while_others_use_the_store() {
        let (directory, store) = temporary_store();
        std::fs::write(directory.path().join("notes.txt"), "mine").expect("write");
        let report = store.verify().expect("verify");
        let error = repair(directory.path(), report).expect_err("in use");
        assert!(matches!(error, StoreError::Locked { .. }), "{error}");
        assert!(directory.path().join("notes.txt").exists());
    }
}
