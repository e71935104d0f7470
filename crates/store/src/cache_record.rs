//! Cache records: what a step gave when it last ran with the same inputs.

use std::time::Duration;

use kiln_oci::digest_newtype;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::StoreError;
use crate::database::{Database, unix_now};
use crate::layer::{LayerId, LayerRecord, LayerRows};
use crate::stack::{self, StackId};
use crate::store::{Store, Used};
use crate::wire::{WireError, WireReader, WireWriter};

digest_newtype! {
    /// What identifies the result of a step.
    CacheKey
}

/// Times of last use are written only when the one that is kept is older than this, in seconds.
pub(crate) const USE_GRANULARITY: i64 = 60;

/// The kept result of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheRecord {
    /// The key under which it was kept.
    pub key: CacheKey,
    /// The whole root that the step ended with, lowest layer first.
    pub layers: Vec<LayerId>,
    /// What the step's place in its build is called, so that its earlier results can be found.
    pub slot: String,
    /// What the key was made of, to explain a miss.
    pub parts: Vec<KeyPart>,
    /// When the step ended, in seconds since the Unix epoch.
    pub created_unix: i64,
    /// How long it ran, in milliseconds.
    pub duration_ms: u64,
    /// The platform that it ran for.
    pub platform: Option<String>,
    /// The step as people know it.
    pub name: String,
}

/// A named part of a cache key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPart {
    /// What it is: `instruction`, `base`, `arg VERSION`, `env PATH`, `source src`, `file src/a.rs`…
    pub name: String,
    /// What it was: the text, a digest, a value.
    pub value: String,
}

/// How long a step took once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepTime {
    /// Where it stood.
    pub slot: String,
    /// The instruction.
    pub name: String,
    /// The platform that it ran for.
    pub platform: Option<String>,
    /// How long it took.
    pub took: Duration,
}

impl Store {
    /// The record of a key or of an alias. One that was evicted, or has a layer that is gone, counts as missing. The
    /// record and its layers are held from now on.
    pub fn record(&self, key: &CacheKey) -> Result<Option<CacheRecord>, StoreError> {
        let database = self.database()?;
        let Some(Kept { record, used, evicted }) = read_record(database, key)? else {
            return Ok(None);
        };
        if evicted {
            return Ok(None);
        }
        // What is usable after this stays so.
        self.hold_record(&record.key, &record.layers)?;
        for layer in &record.layers {
            if !self.layer_is_usable(layer)? {
                tracing::debug!(%key, %layer, "a cache record has lost a layer");
                return Ok(None);
            }
        }
        if unix_now().saturating_sub(used) > USE_GRANULARITY {
            self.used().records.insert(record.key.clone());
        }
        Ok(Some(record))
    }

    /// Keeps a record under its key and under `aliases`, in the place of what was there.
    pub fn put_record(&self, record: &CacheRecord, aliases: &[CacheKey]) -> Result<(), StoreError> {
        self.put_record_with_layers(record, aliases, &[])
    }

    /// As [`Store::put_record`], and adds to what is known of layers as [`Store::put_layer`] does, all or nothing.
    pub fn put_record_with_layers(
        &self,
        record: &CacheRecord,
        aliases: &[CacheKey],
        layers: &[LayerRecord],
    ) -> Result<(), StoreError> {
        let database = self.database()?;
        self.hold_record(&record.key, &record.layers)?;
        if layers.is_empty() && is_kept(database, record, aliases)? {
            return Ok(());
        }
        let layers = layers
            .iter()
            .map(|layer| LayerRows::new(database, layer))
            .collect::<Result<Vec<_>, _>>()?;
        database.write("keep a cache record", |connection| {
            for layer in &layers {
                layer.write(connection)?;
            }
            write_record(connection, record)?;
            let mut statement =
                connection.prepare_cached("INSERT OR REPLACE INTO aliases (key, record) VALUES (?1, ?2)")?;
            for alias in aliases.iter().filter(|alias| **alias != record.key) {
                statement.execute([alias.to_string(), record.key.to_string()])?;
            }
            Ok(())
        })
    }

    /// The newest records of a slot, newest first, whether their layers are here or not.
    pub fn nearest_records(&self, slot: &str, limit: usize) -> Result<Vec<CacheRecord>, StoreError> {
        let database = self.database()?;
        let sql = "SELECT key FROM records WHERE slot = ?1 ORDER BY created_unix DESC, rowid DESC LIMIT ?2";
        read_records(database, sql, slot, limit)
    }

    /// The newest records of steps of a name, newest first, whether their layers are here or not.
    pub fn records_of_name(&self, name: &str, limit: usize) -> Result<Vec<CacheRecord>, StoreError> {
        let database = self.database()?;
        let sql = "SELECT key FROM records WHERE name = ?1 ORDER BY created_unix DESC, rowid DESC LIMIT ?2";
        read_records(database, sql, name, limit)
    }

    /// The topmost layers of the newest records of a slot or, where it has none, of steps of a name, newest first: what a
    /// step gave when its inputs were other ones. They need not be here any more.
    pub fn earlier_results(&self, slot: &str, name: &str, limit: usize) -> Result<Vec<LayerId>, StoreError> {
        let database = self.database()?;
        // An older record has its layers in a table of their own.
        let top = "SELECT coalesce((SELECT layer FROM stacks WHERE id = stack),
                   (SELECT layer FROM record_layers WHERE record = key ORDER BY position DESC LIMIT 1)) FROM records";
        let by_slot = format!("{top} WHERE slot = ?1 ORDER BY created_unix DESC, rowid DESC LIMIT ?2");
        let by_name = format!("{top} WHERE name = ?1 ORDER BY created_unix DESC, rowid DESC LIMIT ?2");
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let found: Vec<Option<String>> = database.read("list earlier results", |connection| {
            let read = |sql: &str, of: &str| -> rusqlite::Result<Vec<Option<String>>> {
                let mut statement = connection.prepare_cached(sql)?;
                statement.query_map(params![of, limit], |row| row.get(0))?.collect()
            };
            let of_slot = read(&by_slot, slot)?;
            if of_slot.is_empty() {
                read(&by_name, name)
            } else {
                Ok(of_slot)
            }
        })?;
        found
            .into_iter()
            .flatten()
            .map(|text| text.parse().map_err(|_| database.invalid("layer id")))
            .collect()
    }

    /// What the newest records of a step say of the time that it took: those of its slot, and those of the same
    /// instruction anywhere, newest first.
    pub fn step_times(&self, slot: &str, name: &str, limit: usize) -> Result<Vec<StepTime>, StoreError> {
        let database = self.database()?;
        database.read("read the times of a step", |connection| {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let mut all = Vec::new();
            for (sql, of) in [
                (
                    "SELECT slot, name, platform, duration_ms FROM records WHERE slot = ?1
                     ORDER BY created_unix DESC, rowid DESC LIMIT ?2",
                    slot,
                ),
                (
                    "SELECT slot, name, platform, duration_ms FROM records WHERE name = ?1
                     ORDER BY created_unix DESC, rowid DESC LIMIT ?2",
                    name,
                ),
            ] {
                let read = |row: &Row<'_>| {
                    let milliseconds: i64 = row.get(3)?;
                    Ok(StepTime {
                        slot: row.get(0)?,
                        name: row.get(1)?,
                        platform: row.get(2)?,
                        took: Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0)),
                    })
                };
                for time in connection.prepare_cached(sql)?.query_map(params![of, limit], read)? {
                    all.push(time?);
                }
            }
            Ok(all)
        })
    }

    /// The further keys that find a record.
    pub fn record_aliases(&self, key: &CacheKey) -> Result<Vec<CacheKey>, StoreError> {
        let database = self.database()?;
        let keys: Vec<String> = database.read("list the keys of a cache record", |connection| {
            connection
                .prepare_cached("SELECT key FROM aliases WHERE record = ?1 ORDER BY key")?
                .query_map([key.to_string()], |row| row.get(0))?
                .collect()
        })?;
        keys.into_iter()
            .map(|key| key.parse().map_err(|_| database.invalid("cache key")))
            .collect()
    }

    /// Whether something is known of a record under a key or alias, even if its layers are gone: then it was there once.
    pub fn was_kept(&self, key: &CacheKey) -> Result<bool, StoreError> {
        self.database()?.read("look up a cache record", |connection| {
            let sql = "SELECT EXISTS (SELECT 1 FROM records WHERE key = ?1)
                           OR EXISTS (SELECT 1 FROM aliases WHERE key = ?1)";
            connection
                .prepare_cached(sql)?
                .query_row([key.to_string()], |row| row.get(0))
        })
    }

    /// Whether there was a record of this key or alias that garbage collection took.
    pub fn was_evicted(&self, key: &CacheKey) -> Result<bool, StoreError> {
        Ok(read_record(self.database()?, key)?.is_some_and(|kept| kept.evicted))
    }

    /// Removes a record and its aliases. False if there is none under this very key.
    pub fn delete_record(&self, key: &CacheKey) -> Result<bool, StoreError> {
        self.database()?.write("remove a cache record", |connection| {
            let key = key.to_string();
            connection
                .prepare_cached("DELETE FROM aliases WHERE record = ?1")?
                .execute([&key])?;
            connection
                .prepare_cached("DELETE FROM record_layers WHERE record = ?1")?
                .execute([&key])?;
            Ok(connection
                .prepare_cached("DELETE FROM records WHERE key = ?1")?
                .execute([&key])?
                > 0)
        })
    }

    /// The keys of all records with the times of their last use (seconds since the Unix epoch), least recently
    /// used first. The times are exact to a minute; evicted records are left out.
    pub fn records(&self) -> Result<Vec<(CacheKey, i64)>, StoreError> {
        let database = self.database()?;
        let rows: Vec<(String, i64)> = database.read("list cache records", |connection| {
            let sql = "SELECT key, used_unix FROM records WHERE evicted_unix IS NULL ORDER BY used_unix, rowid";
            connection
                .prepare_cached(sql)?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })?;
        let parse = |(key, used): (String, i64)| Ok((key.parse().map_err(|_| database.invalid("cache key"))?, used));
        rows.into_iter().map(parse).collect()
    }
}

impl Database {
    /// Notes that records and layers were used now.
    pub(crate) fn touch(&self, used: &Used) -> Result<(), StoreError> {
        if used.records.is_empty() && used.layers.is_empty() {
            return Ok(());
        }
        self.note("note what was used", |connection| {
            let mut statement = connection.prepare_cached("UPDATE records SET used_unix = ?2 WHERE key = ?1")?;
            for key in &used.records {
                statement.execute(params![key.to_string(), unix_now()])?;
            }
            let mut statement = connection.prepare_cached("UPDATE layers SET used_unix = ?2 WHERE id = ?1")?;
            for layer in &used.layers {
                statement.execute(params![layer.as_str(), unix_now()])?;
            }
            Ok(())
        })
    }
}

/// The records whose keys a query gives.
fn read_records(database: &Database, sql: &str, of: &str, limit: usize) -> Result<Vec<CacheRecord>, StoreError> {
    let keys: Vec<String> = database.read("list cache records", |connection| {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        connection
            .prepare_cached(sql)?
            .query_map(params![of, limit], |row| row.get(0))?
            .collect()
    })?;
    let mut records = Vec::with_capacity(keys.len());
    for key in keys {
        let key = key.parse().map_err(|_| database.invalid("cache key"))?;
        // Gone if another process removed it in between.
        if let Some(kept) = read_record(database, &key)? {
            records.push(kept.record);
        }
    }
    Ok(records)
}

/// Whether this very record is kept under all these keys. Steps that were found in the cache are saved again
/// when they have further keys, and mostly all is there already.
fn is_kept(database: &Database, record: &CacheRecord, aliases: &[CacheKey]) -> Result<bool, StoreError> {
    let resolve = "SELECT coalesce((SELECT record FROM aliases WHERE key = ?1), ?1)";
    let key = record.key.to_string();
    let named = database.read("look up a cache record", |connection| {
        let mut statement = connection.prepare_cached(resolve)?;
        for alias in std::iter::once(&record.key).chain(aliases) {
            let found: String = statement.query_row([alias.to_string()], |row| row.get(0))?;
            if found != key {
                return Ok(false);
            }
        }
        Ok(true)
    })?;
    Ok(named && read_record(database, &record.key)?.is_some_and(|kept| !kept.evicted && kept.record == *record))
}

fn write_record(connection: &Connection, record: &CacheRecord) -> rusqlite::Result<()> {
    let key = record.key.to_string();
    connection
        .prepare_cached("DELETE FROM aliases WHERE key = ?1")?
        .execute([&key])?;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO records (key, slot, name, platform, created_unix, duration_ms, used_unix, parts, stack)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            key,
            record.slot,
            record.name,
            record.platform,
            record.created_unix,
            i64::try_from(record.duration_ms).unwrap_or(i64::MAX),
            unix_now(),
            encode_parts(&record.parts),
            stack::keep(connection, &record.layers)?,
        ])?;
    connection
        .prepare_cached("DELETE FROM record_layers WHERE record = ?1")?
        .execute([&key])?;
    Ok(())
}

struct RecordRow {
    key: String,
    slot: String,
    name: String,
    platform: Option<String>,
    created_unix: i64,
    duration_ms: u64,
    used_unix: i64,
    parts: Vec<u8>,
    evicted: bool,
    stack: Option<StackId>,
    layers: Vec<String>,
}

impl RecordRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<RecordRow> {
        Ok(RecordRow {
            key: row.get(0)?,
            slot: row.get(1)?,
            name: row.get(2)?,
            platform: row.get(3)?,
            created_unix: row.get(4)?,
            duration_ms: row.get(5)?,
            used_unix: row.get(6)?,
            parts: row.get(7)?,
            evicted: row.get::<_, Option<i64>>(8)?.is_some(),
            stack: row.get(9)?,
            layers: Vec::new(),
        })
    }
}

/// A row of the table of records.
struct Kept {
    record: CacheRecord,
    /// Time of its last use.
    used: i64,
    evicted: bool,
}

/// A record by key or alias.
fn read_record(database: &Database, key: &CacheKey) -> Result<Option<Kept>, StoreError> {
    let row = database.read("look up a cache record", |connection| {
        let sql =
            "SELECT key, slot, name, platform, created_unix, duration_ms, used_unix, parts, evicted_unix, stack FROM records
                   WHERE key = coalesce((SELECT record FROM aliases WHERE key = ?1), ?1)";
        // One snapshot for both statements: another process may replace the record in between.
        let snapshot = connection.unchecked_transaction()?;
        let row = snapshot
            .prepare_cached(sql)?
            .query_row([key.to_string()], RecordRow::read)
            .optional()?;
        let Some(mut row) = row else { return Ok(None) };
        row.layers = match &row.stack {
            Some(stack) => match stack::layers(&snapshot, stack)? {
                Some(layers) => layers,
                None => return Ok(None),
            },
            None => {
                let sql = "SELECT layer FROM record_layers WHERE record = ?1 ORDER BY position";
                let mut statement = snapshot.prepare_cached(sql)?;
                let layers = statement.query_map([&row.key], |row| row.get(0))?;
                layers.collect::<Result<_, _>>()?
            }
        };
        Ok(Some(row))
    })?;
    let Some(row) = row else { return Ok(None) };
    let layers = row
        .layers
        .iter()
        .map(|text| text.parse().map_err(|_| database.invalid("layer id")));
    let record = CacheRecord {
        key: row.key.parse().map_err(|_| database.invalid("cache key"))?,
        layers: layers.collect::<Result<_, _>>()?,
        slot: row.slot,
        parts: decode_parts(&row.parts).map_err(|_| database.invalid("key parts"))?,
        created_unix: row.created_unix,
        duration_ms: row.duration_ms,
        platform: row.platform,
        name: row.name,
    };
    Ok(Some(Kept {
        record,
        used: row.used_unix,
        evicted: row.evicted,
    }))
}

/// A record over a large context has a part for each file, so they are kept in a form that is quick to read.
fn encode_parts(parts: &[KeyPart]) -> Vec<u8> {
    let mut writer = WireWriter::default();
    writer.number(parts.len() as u64);
    for part in parts {
        writer.bytes(part.name.as_bytes());
        writer.bytes(part.value.as_bytes());
    }
    writer.finish()
}

fn decode_parts(bytes: &[u8]) -> Result<Vec<KeyPart>, WireError> {
    let mut reader = WireReader::new(bytes);
    let count = reader.count(2)?;
    let mut parts = Vec::with_capacity(count.min(64 * 1024));
    for _ in 0..count {
        parts.push(KeyPart {
            name: reader.text()?.to_owned(),
            value: reader.text()?.to_owned(),
        });
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::temporary_store;
    use kiln_oci::{Descriptor, DiffId, Digest, MediaType};

    fn key(text: &str) -> CacheKey {
        CacheKey(Digest::sha256(text))
    }

    fn remote_layer(store: &Store, text: &str) -> LayerId {
        let id = LayerId::of_diff(&DiffId(Digest::sha256(text)));
        store
            .put_layer(&LayerRecord {
                remote: true,
                ..LayerRecord::new(id.clone())
            })
            .expect("put");
        id
    }

    fn record(name: &str, layers: Vec<LayerId>, created_unix: i64) -> CacheRecord {
        let part = |name: &str, value: &str| KeyPart {
            name: name.into(),
            value: value.into(),
        };
        CacheRecord {
            key: key(name),
            layers,
            slot: "stage 1".into(),
            parts: vec![part("instruction", "RUN make"), part("env PATH", "/bin:ü")],
            created_unix,
            duration_ms: 1234,
            platform: Some("linux/arm64".into()),
            name: name.into(),
        }
    }

    #[test]
    fn records_come_back_under_every_key() {
        let (_directory, store) = temporary_store();
        let layers = vec![
            remote_layer(&store, "b"),
            remote_layer(&store, "a"),
            remote_layer(&store, "b"),
        ];
        let kept = record("one", layers, 5);
        assert_eq!(store.record(&kept.key).expect("read"), None);
        store.put_record(&kept, &[key("alias"), kept.key.clone()]).expect("put");
        for name in ["one", "alias"] {
            assert_eq!(store.record(&key(name)).expect("read").as_ref(), Some(&kept), "{name}");
        }
        // The alias moves to another record; then that record's key gets a record of its own.
        let second = record("two", Vec::new(), 6);
        store.put_record(&second, &[key("alias")]).expect("put");
        assert_eq!(store.record(&key("alias")).expect("read"), Some(second));
        let own = record("alias", Vec::new(), 7);
        store.put_record(&own, &[]).expect("put");
        assert_eq!(store.record(&key("alias")).expect("read"), Some(own));
        assert!(store.delete_record(&key("one")).expect("delete"));
        assert!(!store.delete_record(&key("one")).expect("delete"));
        assert_eq!(store.record(&key("one")).expect("read"), None);
        assert_eq!(store.records().expect("list").len(), 2);
    }

    #[test]
    fn a_record_that_lost_its_layers_is_told_from_one_that_never_was() {
        let (_directory, store) = temporary_store();
        let lost = record("one", vec![LayerId::random()], 5);
        store.put_record(&lost, &[key("alias")]).expect("put");
        assert_eq!(store.record(&key("one")).expect("read"), None);
        let kept = |name: &str| store.was_kept(&key(name)).expect("read");
        assert!(kept("one") && kept("alias") && !kept("two"));
        assert_eq!(store.records_of_name("one", 5).expect("list"), [lost]);
    }

    #[test]
    fn a_replaced_record_has_its_own_layers() {
        let (_directory, store) = temporary_store();
        let (a, b) = (remote_layer(&store, "a"), remote_layer(&store, "b"));
        store
            .put_record(&record("one", vec![a.clone(), b.clone()], 1), &[])
            .expect("put");
        store.put_record(&record("one", vec![b.clone()], 2), &[]).expect("put");
        assert_eq!(
            store.record(&key("one")).expect("read").map(|record| record.layers),
            Some(vec![b])
        );
    }

    #[test]
    fn a_record_without_its_layers_counts_as_missing() {
        let (_directory, store) = temporary_store();
        let lost = LayerId::random();
        let kept = record("one", vec![remote_layer(&store, "a"), lost.clone()], 1);
        store.put_record(&kept, &[]).expect("put");
        assert_eq!(store.record(&kept.key).expect("read"), None, "the layer is unknown");
        // Known by a blob that is not here.
        let descriptor = Descriptor::of(MediaType::OCI_LAYER_GZIP, b"blob");
        store
            .add_layer_blob(&lost, &DiffId(Digest::sha256("d")), descriptor.clone())
            .expect("add");
        assert_eq!(store.record(&kept.key).expect("read"), None);
        store.put_blob(b"blob").expect("put");
        assert!(store.record(&kept.key).expect("read").is_some());
        store.delete_blob(&descriptor.digest).expect("delete");
        assert_eq!(store.record(&kept.key).expect("read"), None);
        store.stage_tree().expect("stage").commit(&lost).expect("commit");
        assert!(store.record(&kept.key).expect("read").is_some());
        store.remove_tree(&lost).expect("remove");
        assert_eq!(store.record(&kept.key).expect("read"), None);
        assert_eq!(
            store.nearest_records("stage 1", 5).expect("list"),
            [kept],
            "it still explains a miss"
        );
    }

    #[test]
    fn a_record_of_an_older_schema_is_read() {
        let (_directory, store) = temporary_store();
        let layers = vec![remote_layer(&store, "a"), remote_layer(&store, "b")];
        let kept = record("one", layers.clone(), 1);
        store.put_record(&kept, &[]).expect("put");
        let make_old = |connection: &Connection| {
            connection.execute("UPDATE records SET stack = NULL", [])?;
            for (position, layer) in layers.iter().enumerate() {
                let sql = "INSERT INTO record_layers (record, position, layer) VALUES (?1, ?2, ?3)";
                connection.execute(sql, params![kept.key.to_string(), position, layer.as_str()])?;
            }
            Ok(())
        };
        store
            .database()
            .expect("open")
            .write("make it old", make_old)
            .expect("write");
        assert_eq!(store.record(&kept.key).expect("read"), Some(kept.clone()));
        let top = store.earlier_results("stage 1", "RUN one", 1).expect("read");
        assert_eq!(top, layers[1..]);
    }

    #[test]
    fn times_of_a_step_are_found_by_its_place_and_by_its_name() {
        let (_directory, store) = temporary_store();
        let took = |name: &str, slot: &str, created, duration_ms| CacheRecord {
            slot: slot.to_owned(),
            key: key(&format!("{name} {slot}")),
            duration_ms,
            ..record(name, Vec::new(), created)
        };
        for record in [
            took("RUN a", "x", 1, 100),
            took("RUN b", "x", 2, 200),
            took("RUN a", "y", 3, 300),
        ] {
            store.put_record(&record, &[]).expect("put");
        }
        let times = store.step_times("x", "RUN a", 4).expect("read");
        let found: Vec<(&str, u128)> = times
            .iter()
            .map(|time| (time.slot.as_str(), time.took.as_millis()))
            .collect();
        assert_eq!(found, [("x", 200), ("x", 100), ("y", 300), ("x", 100)]);
        assert!(store.step_times("z", "RUN c", 4).expect("read").is_empty());
    }

    #[test]
    fn the_newest_records_of_a_slot_come_first() {
        let (_directory, store) = temporary_store();
        for (name, created) in [("old", 1), ("new", 9), ("middle", 5)] {
            store
                .put_record(&record(name, Vec::new(), created), &[key("alias")])
                .expect("put");
        }
        let other = CacheRecord {
            slot: "stage 2".into(),
            ..record("other", Vec::new(), 10)
        };
        store.put_record(&other, &[]).expect("put");
        let names = |limit| -> Vec<String> {
            store
                .nearest_records("stage 1", limit)
                .expect("list")
                .into_iter()
                .map(|record| record.name)
                .collect()
        };
        assert_eq!(names(10), ["new", "middle", "old"]);
        assert_eq!(names(1), ["new"]);
    }

    #[test]
    fn earlier_results_are_those_of_the_slot_or_else_of_the_name() {
        let (_directory, store) = temporary_store();
        let (a, b) = (remote_layer(&store, "a"), remote_layer(&store, "b"));
        for (name, layers, created) in [("old", vec![a.clone()], 1), ("new", vec![a.clone(), b.clone()], 2)] {
            store.put_record(&record(name, layers, created), &[]).expect("put");
        }
        let results = |slot: &str, name: &str, limit| store.earlier_results(slot, name, limit).expect("list");
        assert_eq!(results("stage 1", "?", 5), [b.clone(), a.clone()]);
        assert_eq!(results("stage 1", "?", 1), [b]);
        assert_eq!(results("stage 7", "old", 5), [a], "it moved");
        assert_eq!(results("stage 7", "?", 5), []);
    }

    #[test]
    fn the_use_of_an_old_record_is_noted_when_the_store_closes() {
        let (directory, store) = temporary_store();
        store.put_record(&record("one", Vec::new(), 1), &[]).expect("put");
        let age = |store: &Store| {
            let database = store.database().expect("open");
            database
                .write("age", |connection| {
                    connection.execute("UPDATE records SET used_unix = 7", [])
                })
                .expect("write");
        };
        age(&store);
        store.record(&key("one")).expect("read");
        assert_eq!(store.records().expect("list"), [(key("one"), 7)], "not yet");
        drop(store);
        let store = Store::open(directory.path()).expect("open");
        let used = store.records().expect("list")[0].1;
        assert!((0..60).contains(&(unix_now() - used)), "{used}");
    }

    #[test]
    fn parts_of_any_bytes_are_read_or_refused() {
        assert_eq!(decode_parts(&[0xff; 10]), Err(WireError::Invalid));
        assert_eq!(decode_parts(&[0x7f, 1, b'a']), Err(WireError::Truncated));
        assert_eq!(decode_parts(&[1, 1, 0xff, 0]), Err(WireError::Invalid));
    }

    #[test]
    fn what_is_kept_already_is_not_written_again() {
        let (directory, store) = temporary_store();
        let kept = record("one", vec![remote_layer(&store, "a")], 1);
        store.put_record(&kept, &[key("alias")]).expect("put");
        drop(store);
        let store = Store::open(directory.path()).expect("open");
        store.put_record(&kept, &[key("alias")]).expect("put");
        remote_layer(&store, "a");
        let log = std::fs::metadata(directory.path().join("store.db-wal")).map_or(0, |metadata| metadata.len());
        assert_eq!(log, 0, "nothing was written");
        store.put_record(&kept, &[key("alias"), key("more")]).expect("put");
        assert!(
            std::fs::metadata(directory.path().join("store.db-wal"))
                .expect("stat")
                .len()
                > 0
        );
    }
}
