//! The database: connection, schema, migrations.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use rustix::fs::RenameFlags;
use rustix::io::Errno;

use crate::StoreError;
use crate::store::held;

/// How long one process waits for another one's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// A log of this size in bytes is copied into the database by whoever closes it last.
const LARGE_LOG: u64 = 1 << 20;

/// The steps from each version of the schema to the next one, from the empty database on. A step never changes
/// once it was released.
const MIGRATIONS: [&str; 3] = [
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
];

#[derive(Debug)]
pub(crate) struct Database {
    path: PathBuf,
    connection: Mutex<Connection>,
    /// Whether anything but times of use was written.
    wrote: AtomicBool,
}

impl Database {
    /// Makes the database, whole, under a temporary name and then puts it in its place. So nobody ever meets one
    /// without tables or in another journal mode than WAL, which cannot be changed while others look on.
    pub(crate) fn create(path: &Path, temporary: &Path) -> Result<(), StoreError> {
        let error = |error| StoreError::database("create the tables", path, error);
        let mut connection = Connection::open(temporary).map_err(error)?;
        // Room that rows leave is given back piece by piece, which must be decided before the first table.
        connection
            .pragma_update(None, "auto_vacuum", "INCREMENTAL")
            .map_err(error)?;
        // Nobody sees it before it has its name, so it is synced once, as a whole.
        connection.pragma_update(None, "synchronous", "OFF").map_err(error)?;
        connection
            .pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))
            .map_err(error)?;
        migrate(&mut connection, path, 0)?;
        connection.close().map_err(|(_, source)| error(source))?;
        let synced = std::fs::File::open(temporary).and_then(|file| file.sync_all());
        synced.map_err(|error| StoreError::io("write", temporary, error))?;
        let cwd = rustix::fs::CWD;
        match rustix::fs::renameat_with(cwd, temporary, cwd, path, RenameFlags::NOREPLACE) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(StoreError::io("create", path, errno)),
        }
    }

    /// Opens the database and brings an old schema up to date.
    pub(crate) fn open(path: &Path) -> Result<Database, StoreError> {
        let error = |error| StoreError::database("open the tables", path, error);
        // Our own mutex is around the connection, so SQLite's would come on top.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags).map_err(error)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(error)?;
        connection.set_prepared_statement_cache_capacity(64);
        // After a power failure the last transactions may be missing; what is there is consistent.
        connection.pragma_update(None, "synchronous", "NORMAL").map_err(error)?;
        let version = schema_version(&connection).map_err(error)?;
        let known = MIGRATIONS.len() as u64;
        if version > known {
            return Err(StoreError::Newer {
                path: path.to_owned(),
                found: version,
                known,
            });
        }
        if version < known {
            migrate(&mut connection, path, version)?;
        }
        Ok(Database {
            path: path.to_owned(),
            connection: Mutex::new(connection),
            wrote: AtomicBool::new(false),
        })
    }

    /// Opens the database on a file system that cannot be written to. What only its log has is not seen.
    pub(crate) fn open_read_only(path: &Path) -> Result<Database, StoreError> {
        let error = |error| StoreError::database("open the tables", path, error);
        let mut uri = String::from("file:");
        for byte in path.as_os_str().as_encoded_bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' => uri.push(char::from(*byte)),
                other => uri.push_str(&format!("%{other:02X}")),
            }
        }
        uri.push_str("?immutable=1");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let connection = Connection::open_with_flags(uri, flags).map_err(error)?;
        let (found, known) = (schema_version(&connection).map_err(error)?, MIGRATIONS.len() as u64);
        if found > known {
            let path = path.to_owned();
            return Err(StoreError::Newer { path, found, known });
        }
        Ok(Database {
            path: path.to_owned(),
            connection: Mutex::new(connection),
            wrote: AtomicBool::new(false),
        })
    }

    /// Reads.
    pub(crate) fn read<T>(
        &self,
        operation: &'static str,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        run(&held(&self.connection)).map_err(|error| StoreError::database(operation, &self.path, error))
    }

    /// Writes, all or nothing.
    pub(crate) fn write<T>(
        &self,
        operation: &'static str,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.wrote.store(true, Ordering::Relaxed);
        self.note(operation, run)
    }

    /// As [`Database::write`], for what is not worth two syncs when the database is closed.
    pub(crate) fn note<T>(
        &self,
        operation: &'static str,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut connection = held(&self.connection);
        let run = || {
            // Immediate: a transaction that begins as a reader cannot always become a writer.
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = run(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        run().map_err(|error| StoreError::database(operation, &self.path, error))
    }

    /// Begins a transaction that keeps other processes from writing. Reads and writes of this handle are part of it
    /// until [`Database::end`]: for a handle that one thread has to itself.
    pub(crate) fn begin(&self, operation: &'static str) -> Result<(), StoreError> {
        self.wrote.store(true, Ordering::Relaxed);
        self.read(operation, |connection| connection.execute_batch("BEGIN IMMEDIATE"))
    }

    /// Ends it, with everything written or nothing.
    pub(crate) fn end(&self, operation: &'static str, keep: bool) -> Result<(), StoreError> {
        self.read(operation, |connection| {
            let ended = connection.execute_batch(if keep { "COMMIT" } else { "ROLLBACK" });
            if ended.is_err() && keep {
                // Nothing may stay open, whatever the failure was.
                drop(connection.execute_batch("ROLLBACK"));
            }
            ended
        })
    }

    /// Gives room that rows left back to the disk, if it is worth it.
    pub(crate) fn give_back_room(&self) -> Result<(), StoreError> {
        self.read("give room back", |connection| {
            let free: u64 = connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
            let all: u64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
            if free > 256 && free * 4 > all {
                connection.execute_batch("PRAGMA incremental_vacuum")?;
            }
            Ok(())
        })
    }

    /// What SQLite's own check finds wrong; nothing in a sound database.
    pub(crate) fn integrity(&self) -> Result<Vec<String>, StoreError> {
        let findings: Vec<String> = self.read("check the tables", |connection| {
            connection
                .prepare("PRAGMA integrity_check(100)")?
                .query_map([], |row| row.get(0))?
                .collect()
        })?;
        Ok(if findings == ["ok"] { Vec::new() } else { findings })
    }

    /// A row that holds what cannot be.
    pub(crate) fn invalid(&self, what: &'static str) -> StoreError {
        StoreError::Row {
            what,
            path: self.path.clone(),
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The last one to close a database copies the log into it, with two syncs. A process that wrote nothing but
        // times of use leaves that to the next one that writes more, unless the log has grown.
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        let small = std::fs::metadata(&log).is_ok_and(|metadata| metadata.len() < LARGE_LOG);
        if small
            && !self.wrote.load(Ordering::Relaxed)
            && let Err(error) = held(&self.connection).set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        {
            tracing::debug!(%error, "failed to configure the database");
        }
    }
}

/// The time now, in seconds since the Unix epoch, for ages alone.
pub(crate) fn unix_now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

fn schema_version(connection: &Connection) -> rusqlite::Result<u64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Runs the steps that follow `version`.
fn migrate(connection: &mut Connection, path: &Path, version: u64) -> Result<(), StoreError> {
    let mut steps = || {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Another process may have been first.
        let version = schema_version(&transaction)?.max(version);
        for step in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(usize::MAX)) {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "user_version", MIGRATIONS.len())?;
        transaction.commit()
    };
    steps().map_err(|error| StoreError::database("migrate the tables", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::temporary_store;
    use crate::{CacheKey, Store};
    use kiln_oci::Digest;

    fn lookup(store: &Store) -> Result<(), StoreError> {
        store.record(&CacheKey(Digest::sha256("x"))).map(drop)
    }

    #[test]
    fn a_damaged_database_is_reported_as_such() {
        let (_directory, store) = temporary_store();
        std::fs::write(
            store.layout().database(),
            "no database, but more than a hundred bytes of text".repeat(10),
        )
        .expect("write");
        let error = lookup(&store).expect_err("damaged");
        assert!(matches!(error, StoreError::DatabaseDamaged { .. }), "{error}");
        assert!(error.to_string().ends_with("store.db` is damaged"), "{error}");
        // Blobs do not need it.
        store.put_blob(b"x").expect("put");
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let (_directory, store) = temporary_store();
        lookup(&store).expect("create");
        let path = store.layout().database();
        Connection::open(&path)
            .expect("open")
            .pragma_update(None, "user_version", 99)
            .expect("update");
        let error = Database::open(&path).expect_err("newer");
        assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");
    }

    #[test]
    fn an_empty_database_is_migrated() {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let path = scratch.path().join("store.db");
        std::fs::write(&path, "").expect("write");
        let database = Database::open(&path).expect("open");
        let tables: i64 = database
            .read("count", |connection| {
                connection.query_row("SELECT count(*) FROM sqlite_master WHERE type = 'table'", [], |row| {
                    row.get(0)
                })
            })
            .expect("read");
        assert!(tables >= 6, "{tables} tables");
    }

    #[test]
    fn a_failed_write_changes_nothing() {
        let (_directory, store) = temporary_store();
        let database = store.database().expect("open");
        let result = database.write("test", |connection| {
            connection.execute("INSERT INTO documents VALUES ('k', 'n', x'00', 0)", [])?;
            connection.execute("INSERT INTO missing VALUES (1)", [])
        });
        assert!(result.is_err());
        assert_eq!(store.get_document("k", "n").expect("read"), None);
    }

    #[test]
    fn readers_leave_no_log_to_replay() {
        let (directory, store) = temporary_store();
        store.put_document("k", "n", b"x").expect("put");
        drop(store);
        let log = directory.path().join("store.db-wal");
        assert!(!log.exists(), "the last writer empties the log");
        let store = Store::open(directory.path()).expect("open");
        assert_eq!(
            store.get_document("k", "n").expect("read").as_deref(),
            Some(b"x".as_slice())
        );
        drop(store);
        assert_eq!(std::fs::metadata(&log).map_or(0, |metadata| metadata.len()), 0);
    }
}
