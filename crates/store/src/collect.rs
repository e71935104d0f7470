//! Garbage collection: least recently used first, never what a lease, a name or a running process holds.
//!
//! # How it goes beside running builds
//!
//! Collection goes in small batches. For each, the gate is closed (see [`crate::gate`]), so that nobody can
//! begin to hold anything; then, inside one transaction, the tables and all leases are read, what goes is decided, and
//! its rows are deleted; then files and directories are renamed into the collector's session, out of sight; then the
//! gate opens, and only then is anything really removed. So:
//!
//! - what a handle was told is there before the gate closed is on its lease, and stays;
//! - what a handle looks for after the gate opened is either there, with all its parts, or gone;
//! - a name or record that was written before is seen, since the transaction reads it, and one that is written after
//!   can only name what its writer holds;
//! - killed at any moment, a collector leaves layers and blobs that no row mentions, which the next one takes, and
//!   renamed files in the session of a dead process, which the next [`Store::open`] removes. Rows go first, so no row
//!   ever promises what is gone.
//!
//! Cache mounts, stat caches and lock files of keys have locks or renames of their own and need no gate.

pub(crate) mod files;
mod item;
mod picture;
mod plan;
mod policy;
mod room;
mod rows;
mod size;
#[cfg(test)]
mod tests;
mod usage;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, params};

use crate::StoreError;
use crate::cache_mount::take_idle;
use crate::database::unix_now;
use crate::gate::Gate;
use crate::lock::{is_same_file, try_lock};
use crate::removal::remove_directory_tree;
use crate::store::Store;
use files::Files;
pub use item::{Class, Classes, CollectFilter, ItemKind, StoreItem, UnknownClass};
use picture::{Named, Picture, PlainKind, picture};
use plan::{Candidate, Goal, Planner};
pub use policy::{BackgroundCollection, CollectPolicy};
use rows::read_rows;
pub use size::{Size, SizeError, human_size};
pub use usage::{KindUsage, Usage};

/// How many things go while the gate is closed once.
const BATCH: usize = 256;

/// Times that are further ahead than this are wrong: the clock was.
const CLOCK_SLACK: i64 = 3600;

/// How many evicted records are kept to explain misses, and how many bytes they may take.
const MOST_EVICTED: usize = 2000;
const MOST_EVICTED_BYTES: u64 = 16 << 20;

/// What may go.
#[derive(Debug, Clone, Default)]
pub struct CollectOptions {
    /// Also names of images that are nowhere else, explanations of evicted steps, and what repairs moved aside.
    pub all: bool,
    /// Only some things.
    pub filter: CollectFilter,
    /// What was used within this time stays.
    pub keep_duration: Duration,
    /// What was not used for this long goes even if there is room.
    pub expire: Option<Duration>,
    /// How much may stay; everything that may go goes if none is given.
    pub limits: Limits,
    /// Only say what would go.
    pub dry_run: bool,
}

/// How much a store may take up, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Never go below this to reach the others.
    pub reserved: Option<u64>,
    /// Most that the store may take up.
    pub max_used: Option<u64>,
    /// How much of the disk must be free.
    pub min_free: Option<u64>,
}

impl Limits {
    /// How much may stay of a store of `total` bytes on a disk with `free` bytes.
    pub fn keep_bytes(&self, total: u64, free: u64) -> u64 {
        if *self == Limits::default() {
            return 0;
        }
        let reserved = self.reserved.unwrap_or(0);
        let excess = self.min_free.unwrap_or(0).saturating_sub(free);
        let for_free = match (excess, self.max_used) {
            // Only what is reserved was said: everything above it goes.
            (0, None) if self.min_free.is_none() => 0,
            (0, _) => u64::MAX,
            (excess, _) => total.saturating_sub(excess),
        };
        for_free.min(self.max_used.unwrap_or(u64::MAX)).max(reserved)
    }
}

/// What a collection did.
#[derive(Debug, Clone, Default)]
pub struct Collected {
    /// What went, or would go.
    pub removed: Vec<StoreItem>,
    /// What that took up on disk, in bytes.
    pub bytes: u64,
    /// What the store took up before, in bytes.
    pub before: u64,
    /// What it takes up now, in bytes.
    pub after: u64,
    /// Whether it was given up before its end.
    pub given_up: bool,
}

impl Store {
    /// Collects garbage. Other processes and threads may use the store meanwhile.
    pub fn collect(&self, options: &CollectOptions) -> Result<Collected, StoreError> {
        self.collect_until(options, &|| false)
    }

    /// As [`Store::collect`]; ends early, with everything whole, as soon as `give_up` says so.
    pub fn collect_until(&self, options: &CollectOptions, give_up: &dyn Fn() -> bool) -> Result<Collected, StoreError> {
        match self.collect_once(options, give_up) {
            // To delete rows takes room as well. What needs no rows goes first then.
            Err(error) if !options.dry_run && (error.is_disk_full() || self.disk()?.0 == 0) => {
                if room::make_room(self)? == 0 {
                    return Err(error);
                }
                self.collect_once(options, give_up)
            }
            other => other,
        }
    }

    fn collect_once(&self, options: &CollectOptions, give_up: &dyn Fn() -> bool) -> Result<Collected, StoreError> {
        // A connection of its own, since its transactions are open for longer than one call; and what a collector
        // looks at must not count as used.
        let store = Store::open(self.root())?.unheld();
        let mut collector = Collector {
            gate: store.gate(),
            store,
            named: Named::default(),
        };
        if !options.dry_run {
            collector.set_times_right()?;
        }
        let Ok(mut files) = collector.store.files(give_up)? else {
            return Ok(Collected {
                given_up: true,
                ..Collected::default()
            });
        };
        if options.dry_run {
            return collector.rehearse(options, &files);
        }
        let mut collected = Collected::default();
        loop {
            if give_up() {
                collected.given_up = true;
                break;
            }
            let batch = collector.batch(options, &mut files, &mut collected)?;
            if batch < BATCH {
                break;
            }
        }
        collector.tidy(&files)?;
        Ok(collected)
    }

    /// How many bytes an ordinary user can still write to the store's file system, and how many it has in all.
    pub fn disk(&self) -> Result<(u64, u64), StoreError> {
        let stat = rustix::fs::statvfs(self.root());
        let stat = stat.map_err(|error| StoreError::io("read the size of the file system of", self.root(), error))?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok((bytes(stat.f_bavail), bytes(stat.f_blocks)))
    }
}

struct Collector {
    store: Store,
    gate: Arc<Gate>,
    named: Named,
}

/// What a batch decided on.
struct Decision {
    removed: Vec<StoreItem>,
    moved: Vec<PathBuf>,
    plain: Vec<(PlainKind, PathBuf)>,
    before: u64,
    after: u64,
    count: usize,
}

impl Collector {
    fn goal(&self, options: &CollectOptions, total: u64) -> Result<Goal, StoreError> {
        let now = unix_now();
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        let (free, _) = self.store.disk()?;
        Ok(Goal {
            all: options.all,
            filter: options.filter.clone(),
            youngest_unix: now.saturating_sub(seconds(options.keep_duration)),
            expired_unix: options.expire.map(|expire| now.saturating_sub(seconds(expire))),
            keep_bytes: options.limits.keep_bytes(total, free),
        })
    }

    fn rehearse(&mut self, options: &CollectOptions, files: &Files) -> Result<Collected, StoreError> {
        let rows = self.store.database()?.read("read the tables", read_rows)?;
        let held = self.store.held()?;
        let mut picture = picture(&self.store, files, rows, &held, &mut self.named, unix_now())?;
        let before = picture.total();
        let goal = self.goal(options, before)?;
        let mut planner = Planner::new(&mut picture, &goal);
        let mut removed = Vec::new();
        while let Some(candidate) = planner.next() {
            removed.extend(planner.items(candidate));
        }
        Ok(Collected {
            bytes: removed.iter().map(|item| item.bytes).sum(),
            removed,
            before,
            after: planner.total(),
            given_up: false,
        })
    }

    /// One batch: how many things went.
    fn batch(
        &mut self,
        options: &CollectOptions,
        files: &mut Files,
        collected: &mut Collected,
    ) -> Result<usize, StoreError> {
        let mut doomed = Vec::new();
        let decision = {
            let gate = self.gate.clone();
            let _closed = gate.close()?;
            let decision = self.decide(options, files)?;
            for path in &decision.moved {
                doomed.extend(self.hide(path)?);
            }
            decision
        };
        for (kind, path) in &decision.plain {
            doomed.extend(self.hide_plain(*kind, path)?);
        }
        for path in doomed {
            remove_directory_tree(&path)?;
        }
        if collected.before == 0 {
            collected.before = decision.before;
        }
        collected.after = decision.after;
        collected.bytes += decision.removed.iter().map(|item| item.bytes).sum::<u64>();
        collected.removed.extend(decision.removed);
        Ok(decision.count)
    }

    /// Reads, decides and deletes rows, all in one transaction.
    fn decide(&mut self, options: &CollectOptions, files: &mut Files) -> Result<Decision, StoreError> {
        let store = self.store.clone();
        let database = store.database()?;
        database.begin("begin to collect")?;
        let decided = self.decide_inside(options, files);
        match decided {
            Ok(decision) => {
                database.end("remove what is not used", true)?;
                Ok(decision)
            }
            Err(error) => {
                // The first error tells more than one of giving up would.
                drop(database.end("give up collecting", false));
                Err(error)
            }
        }
    }

    fn decide_inside(&mut self, options: &CollectOptions, files: &mut Files) -> Result<Decision, StoreError> {
        let store = self.store.clone();
        let database = store.database()?;
        let rows = database.read("read the tables", read_rows)?;
        let held = store.held()?;
        let mut picture = picture(&store, files, rows, &held, &mut self.named, unix_now())?;
        let before = picture.total();
        let goal = self.goal(options, before)?;
        let mut planner = Planner::new(&mut picture, &goal);
        let mut chosen = Vec::new();
        let mut removed = Vec::new();
        while chosen.len() < BATCH
            && let Some(candidate) = planner.next()
        {
            removed.extend(planner.items(candidate));
            chosen.push(candidate);
        }
        let after = planner.total();
        let mut decision = Decision {
            removed,
            moved: Vec::new(),
            plain: Vec::new(),
            before,
            after,
            count: chosen.len(),
        };
        let picture = planner.picture();
        if !chosen.is_empty() {
            database.read("remove what is not used", |connection| {
                delete_rows(connection, picture, &chosen)
            })?;
        }
        database.read("forget old explanations", forget_evicted)?;
        for candidate in chosen {
            self.paths(picture, candidate, files, &mut decision);
        }
        Ok(decision)
    }

    /// Which files a candidate has; they are gone for the rest of this collection.
    fn paths(&self, picture: &Picture, candidate: Candidate, files: &mut Files, decision: &mut Decision) {
        let layout = self.store.layout();
        match candidate {
            Candidate::Layer(at) => {
                let id = &picture.layers[at].id;
                decision.moved.push(layout.index(id));
                decision.moved.push(layout.tree(id));
                files.indexes.remove(id);
                files.trees.remove(id);
                self.store.indexes().forget(id);
            }
            Candidate::Blob(at) => {
                let digest = &picture.blobs[at].digest;
                decision.moved.push(layout.blob(digest));
                decision.moved.push(layout.members_of(digest));
                files.blobs.remove(digest);
            }
            Candidate::Plain(at) => {
                let (kind, plain) = &picture.plain[at];
                decision.plain.push((*kind, plain.path.clone()));
                let list = match kind {
                    PlainKind::Mount => &mut files.mounts,
                    PlainKind::Repository => &mut files.repositories,
                    PlainKind::Context => &mut files.contexts,
                    PlainKind::Aside => &mut files.aside,
                };
                list.retain(|other| other.path != plain.path);
            }
            Candidate::Record(_) | Candidate::Evicted(_) | Candidate::Document(_) => {}
        }
    }

    /// Moves something out of sight, at once, however large it is.
    fn hide(&self, path: &std::path::Path) -> Result<Option<PathBuf>, StoreError> {
        let doomed = self.store.session()?.fresh_path("doomed");
        match std::fs::rename(path, &doomed) {
            Ok(()) => Ok(Some(doomed)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("remove", path, error)),
        }
    }

    fn hide_plain(&self, kind: PlainKind, path: &std::path::Path) -> Result<Option<PathBuf>, StoreError> {
        // Held until the directory is out of sight; whoever waits for it then finds that it is another one.
        let _lock = match kind {
            PlainKind::Mount => match take_idle(path)? {
                Some(lock) => Some(lock),
                None => return Ok(None),
            },
            PlainKind::Repository | PlainKind::Context | PlainKind::Aside => None,
        };
        let _key = match kind {
            PlainKind::Repository => {
                let hex = path.file_name().unwrap_or_default().to_string_lossy();
                // A name that is no digest is nobody's, and so is its lock.
                match format!("sha256:{hex}").parse::<kiln_oci::Digest>() {
                    Ok(digest) => match self.store.try_lock_key(&crate::CacheKey(digest))? {
                        Some(lock) => Some(lock),
                        None => return Ok(None),
                    },
                    Err(_) => None,
                }
            }
            _ => None,
        };
        self.hide(path)
    }

    /// A clock that was wrong once must not keep things for ever: what was used in the future was used now.
    fn set_times_right(&self) -> Result<(), StoreError> {
        let (now, limit) = (unix_now(), unix_now().saturating_add(CLOCK_SLACK));
        let database = self.store.database()?;
        let wrong: bool = database.read("look for times in the future", |connection| {
            let sql = "SELECT EXISTS (SELECT 1 FROM records WHERE used_unix > ?1 OR evicted_unix > ?1)
                           OR EXISTS (SELECT 1 FROM layers WHERE used_unix > ?1 OR created_unix > ?1)
                           OR EXISTS (SELECT 1 FROM documents WHERE updated_unix > ?1)";
            connection.prepare_cached(sql)?.query_row([limit], |row| row.get(0))
        })?;
        if wrong {
            database.note("set times right", |connection| {
                for sql in [
                    "UPDATE records SET used_unix = ?1 WHERE used_unix > ?2",
                    "UPDATE records SET created_unix = ?1 WHERE created_unix > ?2",
                    "UPDATE records SET evicted_unix = ?1 WHERE evicted_unix > ?2",
                    "UPDATE layers SET used_unix = ?1 WHERE used_unix > ?2",
                    "UPDATE layers SET created_unix = ?1 WHERE created_unix > ?2",
                    "UPDATE documents SET updated_unix = ?1 WHERE updated_unix > ?2",
                ] {
                    connection.execute(sql, [now, limit])?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// What has no place among the things that age: lock files and lists of members that dead processes left, files'
    /// times in the future, room in the database.
    fn tidy(&self, files: &Files) -> Result<(), StoreError> {
        for path in &files.keys {
            let Ok(file) = std::fs::File::open(path) else { continue };
            // As the holder of the lock does: the file goes while it is locked.
            if try_lock(&file) == Ok(true) && is_same_file(&file, path)? {
                drop(std::fs::remove_file(path));
            }
        }
        for path in &files.members {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::io("remove", path, error));
                }
                _ => {}
            }
        }
        let limit = unix_now().saturating_add(CLOCK_SLACK);
        let plain = files
            .contexts
            .iter()
            .map(|context| (context.path.clone(), context.used_unix));
        let mounts = files
            .mounts
            .iter()
            .map(|mount| (mount.path.join(crate::cache_mount::LOCK), mount.used_unix));
        let blobs = files
            .blobs
            .iter()
            .map(|(digest, file)| (self.store.layout().blob(digest), file.used_unix));
        for (path, _) in plain.chain(mounts).chain(blobs).filter(|(_, used)| *used > limit) {
            if let Ok(metadata) = std::fs::symlink_metadata(&path) {
                crate::blob::note_use(&path, &metadata);
            }
        }
        self.store.database()?.give_back_room()
    }
}

fn delete_rows(connection: &Connection, picture: &Picture, chosen: &[Candidate]) -> rusqlite::Result<()> {
    let now = unix_now();
    for candidate in chosen {
        match *candidate {
            Candidate::Record(at) => {
                let sql = "UPDATE records SET evicted_unix = ?2 WHERE key = ?1";
                let key = picture.records[at].row.key.to_string();
                connection.prepare_cached(sql)?.execute(params![key, now])?;
            }
            Candidate::Evicted(at) => forget_record(connection, &picture.records[at].row.key.to_string())?,
            Candidate::Layer(at) => {
                let id = picture.layers[at].id.as_str();
                for sql in [
                    "DELETE FROM layer_blobs WHERE layer = ?1",
                    "DELETE FROM layers WHERE id = ?1",
                ] {
                    connection.prepare_cached(sql)?.execute([id])?;
                }
            }
            Candidate::Document(at) => {
                let row = &picture.documents[at].row;
                let sql = "DELETE FROM documents WHERE kind = ?1 AND name = ?2";
                connection.prepare_cached(sql)?.execute([&row.kind_name, &row.name])?;
                let followers = crate::document_kind::KINDS
                    .iter()
                    .filter(|kind| kind.ageing == crate::document_kind::Ageing::With(row.kind.name));
                for kind in followers {
                    connection.prepare_cached(sql)?.execute([kind.name, &row.name])?;
                }
            }
            Candidate::Blob(_) | Candidate::Plain(_) => {}
        }
    }
    Ok(())
}

fn forget_record(connection: &Connection, key: &str) -> rusqlite::Result<()> {
    for sql in [
        "DELETE FROM aliases WHERE record = ?1",
        "DELETE FROM record_layers WHERE record = ?1",
        "DELETE FROM records WHERE key = ?1",
    ] {
        connection.prepare_cached(sql)?.execute([key])?;
    }
    Ok(())
}

/// Keeps the explanations of evicted steps within bounds, the newest first.
fn forget_evicted(connection: &Connection) -> rusqlite::Result<()> {
    let sql =
        "SELECT key, length(parts) FROM records WHERE evicted_unix IS NOT NULL ORDER BY evicted_unix DESC, rowid DESC";
    let evicted: Vec<(String, u64)> = connection
        .prepare_cached(sql)?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut bytes = 0;
    for (position, (key, length)) in evicted.into_iter().enumerate() {
        bytes += length;
        if position >= MOST_EVICTED || bytes > MOST_EVICTED_BYTES {
            forget_record(connection, &key)?;
        }
    }
    crate::stack::forget_unused(connection)
}

/// The candidates of a picture that may go at all, for those who only look.
fn reclaimable(picture: &mut Picture) -> HashSet<Candidate> {
    let goal = Goal {
        all: false,
        filter: CollectFilter::default(),
        youngest_unix: i64::MAX,
        expired_unix: None,
        keep_bytes: 0,
    };
    let mut planner = Planner::new(picture, &goal);
    std::iter::from_fn(|| planner.next()).collect()
}
