//! Layers: their identities, and what is known of each.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use kiln_oci::{Descriptor, DiffId, Digest};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::cache_record::USE_GRANULARITY;
use crate::database::{Database, unix_now};
use crate::index::LayerIndex;
use crate::session::random_token;
use crate::store::Store;

/// Identity of a layer in one store. Image layers take theirs from their diff id, so that equal layers are one
/// (`sha256-<hex>`); layers that a step made have random ones (`built-<hex>`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LayerId(Arc<str>);

/// Why a text is no layer id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid layer id `{0}`")]
pub struct LayerIdError(String);

impl LayerId {
    /// The identity of the layer with a diff id.
    pub fn of_diff(diff_id: &DiffId) -> LayerId {
        LayerId(format!("{}-{}", diff_id.digest().algorithm().name(), diff_id.digest().hex()).into())
    }

    /// Whether this is the identity of a layer with a known diff id: an image brought it, and can bring it again.
    pub(crate) fn is_of_diff(&self) -> bool {
        self.0.starts_with("sha")
    }

    /// An identity that no other layer has.
    pub fn random() -> LayerId {
        LayerId(format!("built-{}", random_token()).into())
    }

    /// The identity of a layer that a recipe decides: whoever follows it gets the same layer.
    pub fn of_recipe(recipe: &Digest) -> LayerId {
        LayerId(format!("recipe-{}", recipe.hex()).into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LayerId {
    type Err = LayerIdError;

    fn from_str(text: &str) -> Result<LayerId, LayerIdError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || text.len() > 200 || !text.bytes().all(plain) {
            return Err(LayerIdError(text.to_owned()));
        }
        Ok(LayerId(text.into()))
    }
}

impl TryFrom<String> for LayerId {
    type Error = LayerIdError;

    fn try_from(text: String) -> Result<LayerId, LayerIdError> {
        text.parse()
    }
}

impl From<LayerId> for String {
    fn from(id: LayerId) -> String {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is known of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRecord {
    /// Its identity.
    pub id: LayerId,
    /// Digest of its uncompressed tar stream. None: it was not packed yet.
    pub diff_id: Option<DiffId>,
    /// Its blobs, oldest first: the same tar stream compressed in different ways. They need not be in the store.
    pub blobs: Vec<LayerBlob>,
    /// Whether its tree is in the store. Read from the file system; not kept by [`Store::put_layer`].
    pub has_tree: bool,
    /// Whether its index is in the store. Read from the file system; not kept by [`Store::put_layer`].
    pub has_index: bool,
    /// Sum of the sizes of its files in bytes; 0 while it is unknown.
    pub unpacked_size: u64,
    /// Whether a registry has it, so that it is not lost when none of its forms is in the store.
    pub remote: bool,
}

/// One blob of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerBlob {
    /// Media type, digest and size.
    pub descriptor: Descriptor,
}

impl LayerRecord {
    /// A layer of which nothing is known yet.
    pub fn new(id: LayerId) -> LayerRecord {
        LayerRecord {
            id,
            diff_id: None,
            blobs: Vec::new(),
            has_tree: false,
            has_index: false,
            unpacked_size: 0,
            remote: false,
        }
    }
}

/// What is to be written of a layer.
pub(crate) struct LayerRows<'a> {
    record: &'a LayerRecord,
    /// The descriptors of its blobs.
    blobs: Vec<String>,
}

impl<'a> LayerRows<'a> {
    pub(crate) fn new(database: &Database, record: &'a LayerRecord) -> Result<LayerRows<'a>, StoreError> {
        let texts = record
            .blobs
            .iter()
            .map(|blob| descriptor_text(database, &blob.descriptor));
        let blobs = texts.collect::<Result<Vec<_>, _>>()?;
        Ok(LayerRows { record, blobs })
    }

    pub(crate) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let record = self.record;
        connection
            .prepare_cached(
                "INSERT INTO layers (id, diff_id, unpacked_size, remote, created_unix, used_unix)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?5)
                 ON CONFLICT (id) DO UPDATE SET
                     diff_id = coalesce(excluded.diff_id, diff_id),
                     unpacked_size = CASE excluded.unpacked_size WHEN 0 THEN unpacked_size ELSE excluded.unpacked_size END,
                     remote = max(remote, excluded.remote)",
            )?
            .execute(params![
                record.id.as_str(),
                record.diff_id.as_ref().map(ToString::to_string),
                i64::try_from(record.unpacked_size).unwrap_or(i64::MAX),
                record.remote,
                unix_now(),
            ])?;
        for (blob, text) in record.blobs.iter().zip(&self.blobs) {
            let digest = &blob.descriptor.digest;
            put_blob_row(connection, &record.id, record.diff_id.as_ref(), digest, text)?;
        }
        Ok(())
    }
}

/// Entries of an index that is kept in memory when it is written. Copying larger ones costs more than it saves where
/// nothing asks.
const READ_AT_ONCE: usize = 1000;

impl Store {
    /// What is known of a layer. It is held from now on.
    pub fn layer(&self, id: &LayerId) -> Result<Option<LayerRecord>, StoreError> {
        self.hold_layer(id)?;
        let Some(Known { mut record, used }) = read_layer(self.database()?, id)? else {
            return Ok(None);
        };
        self.note_layer_use(id, used);
        record.has_tree = self.tree(id)?.is_some();
        record.has_index = self.layout().index(id).exists();
        Ok(Some(record))
    }

    /// Adds to what is known of a layer: what `record` leaves open stays as it was, blobs are added, and a layer
    /// that was remote stays so. A diff id in `record` replaces another one, and the blobs of that one with it.
    pub fn put_layer(&self, record: &LayerRecord) -> Result<(), StoreError> {
        self.hold_layer(&record.id)?;
        let database = self.database()?;
        // Most builds meet layers that are known; reading is cheaper than writing, and never waits.
        if let Some(Known { record: known, used }) = read_layer(database, &record.id)? {
            self.note_layer_use(&record.id, used);
            let same = (record.diff_id.is_none() || record.diff_id == known.diff_id)
                && (record.unpacked_size == 0 || record.unpacked_size == known.unpacked_size)
                && (!record.remote || known.remote)
                && record.blobs.iter().all(|blob| known.blobs.contains(blob));
            if same {
                return Ok(());
            }
        }
        let rows = LayerRows::new(database, record)?;
        database.write("keep a layer", |connection| rows.write(connection))
    }

    /// Notes that the layer has `diff_id` and that `descriptor` is one of its blobs. Makes the layer known.
    pub fn add_layer_blob(&self, id: &LayerId, diff_id: &DiffId, descriptor: Descriptor) -> Result<(), StoreError> {
        let blobs = vec![LayerBlob { descriptor }];
        self.put_layer(&LayerRecord {
            diff_id: Some(diff_id.clone()),
            blobs,
            ..LayerRecord::new(id.clone())
        })
    }

    /// A layer with a diff id, if one is known: before others the one that is named after it.
    pub fn layer_by_diff_id(&self, diff_id: &DiffId) -> Result<Option<LayerId>, StoreError> {
        let database = self.database()?;
        let found: Option<String> = database.read("look up a layer", |connection| {
            let sql = "SELECT id FROM layers WHERE diff_id = ?1 ORDER BY id = ?2 DESC, created_unix DESC, id LIMIT 1";
            let named = LayerId::of_diff(diff_id);
            connection
                .prepare_cached(sql)?
                .query_row([&diff_id.to_string(), named.as_str()], |row| row.get(0))
                .optional()
        })?;
        found
            .map(|text| text.parse().map_err(|_| database.invalid("layer id")))
            .transpose()
    }

    /// The diff id of a layer blob, if it is known.
    pub fn diff_id_of_blob(&self, digest: &Digest) -> Result<Option<DiffId>, StoreError> {
        let database = self.database()?;
        let found: Option<String> = database.read("look up a blob", |connection| {
            let sql = "SELECT diff_id FROM layer_blobs WHERE digest = ?1 AND diff_id IS NOT NULL LIMIT 1";
            connection
                .prepare_cached(sql)?
                .query_row([digest.to_string()], |row| row.get(0))
                .optional()
        })?;
        found
            .map(|text| text.parse().map_err(|_| database.invalid("diff id")))
            .transpose()
    }

    /// All layers that are known, sorted.
    pub fn layers(&self) -> Result<Vec<LayerId>, StoreError> {
        let database = self.database()?;
        let texts: Vec<String> = database.read("list layers", |connection| {
            connection
                .prepare_cached("SELECT id FROM layers ORDER BY id")?
                .query_map([], |row| row.get(0))?
                .collect()
        })?;
        texts
            .iter()
            .map(|text| text.parse().map_err(|_| database.invalid("layer id")))
            .collect()
    }

    /// Forgets a layer and removes its tree and index. Its blobs stay: other layers may share them.
    pub fn delete_layer(&self, id: &LayerId) -> Result<(), StoreError> {
        self.database()?.write("remove a layer", |connection| {
            connection
                .prepare_cached("DELETE FROM layer_blobs WHERE layer = ?1")?
                .execute([id.as_str()])?;
            connection
                .prepare_cached("DELETE FROM layers WHERE id = ?1")?
                .execute([id.as_str()])?;
            Ok(())
        })?;
        self.remove_layer_index(id)?;
        self.remove_tree(id)?;
        Ok(())
    }

    /// Keeps a layer's index.
    pub fn put_layer_index(&self, id: &LayerId, index: &LayerIndex) -> Result<(), StoreError> {
        self.hold_layer(id)?;
        let bytes = index.encode().map_err(|source| StoreError::Index {
            layer: id.clone(),
            source,
        })?;
        self.indexes().forget(id);
        // An index can be made again and has a checksum, so it need not survive a power failure.
        self.write_atomically(&self.layout().index(id), &bytes, false)?;
        if index.entries.len() <= READ_AT_ONCE {
            // The next step asks what this one changed.
            self.indexes().keep(id, Arc::new(index.clone()));
        }
        Ok(())
    }

    /// A layer's index, if it is here. A damaged one is removed and counts as missing: it can be made again from
    /// the layer's blob or tree.
    pub fn layer_index(&self, id: &LayerId) -> Result<Option<Arc<LayerIndex>>, StoreError> {
        if let Some(index) = self.indexes().find(id) {
            return Ok(Some(index));
        }
        self.hold_layer(id)?;
        let path = self.layout().index(id);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("read", path, error)),
        };
        match LayerIndex::decode(&bytes) {
            Ok(index) => {
                let index = Arc::new(index);
                self.indexes().keep(id, index.clone());
                Ok(Some(index))
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a layer index was removed");
                self.remove_layer_index(id)?;
                Ok(None)
            }
        }
    }

    pub(crate) fn remove_layer_index(&self, id: &LayerId) -> Result<(), StoreError> {
        self.indexes().forget(id);
        let path = self.layout().index(id);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io("remove", path, error)),
            _ => Ok(()),
        }
    }

    /// Whether a layer can still be used: it is known, and it has a tree or a blob here or can be fetched again.
    pub fn layer_is_usable(&self, id: &LayerId) -> Result<bool, StoreError> {
        self.hold_layer(id)?;
        let Some(Known { record, .. }) = read_layer(self.database()?, id)? else {
            return Ok(false);
        };
        if record.remote || self.tree(id)?.is_some() {
            return Ok(true);
        }
        for blob in &record.blobs {
            if self.blob_exists(&blob.descriptor.digest)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Layers that records use are as young as these; this is for those that are used without one.
    fn note_layer_use(&self, id: &LayerId, used: i64) {
        if unix_now().saturating_sub(used) > USE_GRANULARITY {
            self.used().layers.insert(id.clone());
        }
    }
}

/// A row of the table of layers.
struct Known {
    record: LayerRecord,
    /// Time of its last use.
    used: i64,
}

fn put_blob_row(
    connection: &Connection,
    id: &LayerId,
    diff_id: Option<&DiffId>,
    digest: &Digest,
    text: &str,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO layer_blobs (layer, digest, diff_id, descriptor) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (layer, digest) DO UPDATE SET
                 diff_id = coalesce(excluded.diff_id, diff_id), descriptor = excluded.descriptor",
        )?
        .execute(params![
            id.as_str(),
            digest.to_string(),
            diff_id.map(ToString::to_string),
            text
        ])?;
    Ok(())
}

fn descriptor_text(database: &Database, descriptor: &Descriptor) -> Result<String, StoreError> {
    serde_json::to_string(descriptor).map_err(|_| database.invalid("descriptor"))
}

/// What the database knows of a layer.
fn read_layer(database: &Database, id: &LayerId) -> Result<Option<Known>, StoreError> {
    type Row = (Option<String>, u64, bool, i64);
    let read: Option<(Row, Vec<String>)> = database.read("look up a layer", |connection| {
        let row: Option<Row> = connection
            .prepare_cached("SELECT diff_id, unpacked_size, remote, used_unix FROM layers WHERE id = ?1")?
            .query_row([id.as_str()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })
            .optional()?;
        let Some(row) = row else { return Ok(None) };
        let sql =
            "SELECT descriptor FROM layer_blobs WHERE layer = ?1 AND (diff_id IS NULL OR diff_id = ?2) ORDER BY rowid";
        let mut statement = connection.prepare_cached(sql)?;
        let texts = statement
            .query_map(params![id.as_str(), row.0], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        Ok(Some((row, texts)))
    })?;
    let Some(((diff_id, unpacked_size, remote, used), texts)) = read else {
        return Ok(None);
    };
    let diff_id = diff_id
        .map(|text| text.parse::<DiffId>().map_err(|_| database.invalid("diff id")))
        .transpose()?;
    let blob = |text: &String| {
        let descriptor = serde_json::from_str(text).map_err(|_| database.invalid("descriptor"))?;
        Ok(LayerBlob { descriptor })
    };
    let blobs = texts.iter().map(blob).collect::<Result<_, StoreError>>()?;
    let record = LayerRecord {
        diff_id,
        blobs,
        unpacked_size,
        remote,
        ..LayerRecord::new(id.clone())
    };
    Ok(Some(Known { record, used }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{Entry, EntryKind, Mtime};
    use crate::testing::temporary_store;
    use kiln_oci::MediaType;

    fn diff(text: &str) -> DiffId {
        DiffId(Digest::sha256(text))
    }

    fn blob(text: &str) -> Descriptor {
        Descriptor::of(MediaType::OCI_LAYER_GZIP, text.as_bytes())
    }

    fn index() -> LayerIndex {
        let kind = EntryKind::File { size: 3, digest: None };
        LayerIndex::new(vec![Entry {
            path: b"a".to_vec(),
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Mtime::default(),
            xattrs: Vec::new(),
        }])
    }

    #[test]
    fn layer_ids_never_name_another_directory() {
        let id = LayerId::of_diff(&diff("x"));
        assert_eq!(id.to_string().parse(), Ok(id.clone()));
        assert_eq!(
            serde_json::from_str::<LayerId>(&serde_json::to_string(&id).expect("json")).expect("json"),
            id
        );
        for text in ["", ".", "..", "a/b", "A", "a\0", &"a".repeat(300)] {
            assert!(text.parse::<LayerId>().is_err(), "{text:?}");
        }
        assert_ne!(LayerId::random(), LayerId::random());
    }

    #[test]
    fn what_is_known_of_a_layer_adds_up() {
        let (_directory, store) = temporary_store();
        let id = LayerId::of_diff(&diff("x"));
        assert_eq!(store.layer(&id).expect("read"), None);
        store
            .put_layer(&LayerRecord {
                remote: true,
                ..LayerRecord::new(id.clone())
            })
            .expect("put");
        store.add_layer_blob(&id, &diff("x"), blob("gzip")).expect("add");
        store.add_layer_blob(&id, &diff("x"), blob("zstd")).expect("add");
        store.add_layer_blob(&id, &diff("x"), blob("gzip")).expect("add again");
        store
            .put_layer(&LayerRecord {
                unpacked_size: 7,
                ..LayerRecord::new(id.clone())
            })
            .expect("put");
        store.stage_tree().expect("stage").commit(&id).expect("commit");
        let expected = LayerRecord {
            id: id.clone(),
            diff_id: Some(diff("x")),
            blobs: vec![
                LayerBlob {
                    descriptor: blob("gzip"),
                },
                LayerBlob {
                    descriptor: blob("zstd"),
                },
            ],
            has_tree: true,
            has_index: false,
            unpacked_size: 7,
            remote: true,
        };
        assert_eq!(store.layer(&id).expect("read"), Some(expected));
        assert_eq!(
            store.diff_id_of_blob(&blob("zstd").digest).expect("read"),
            Some(diff("x"))
        );
        assert_eq!(store.diff_id_of_blob(&blob("other").digest).expect("read"), None);
        assert_eq!(store.layers().expect("list"), std::slice::from_ref(&id));
        store.put_layer_index(&id, &index()).expect("put");
        store.delete_layer(&id).expect("delete");
        assert_eq!(store.layer(&id).expect("read"), None);
        assert_eq!(store.tree(&id).expect("look"), None);
        assert_eq!(store.layer_index(&id).expect("look"), None);
    }

    #[test]
    fn a_layer_packed_anew_has_the_new_blobs_only() {
        let (_directory, store) = temporary_store();
        let id = LayerId::random();
        store.add_layer_blob(&id, &diff("one"), blob("one")).expect("add");
        store.add_layer_blob(&id, &diff("two"), blob("two")).expect("add");
        let record = store.layer(&id).expect("read").expect("known");
        assert_eq!(record.diff_id, Some(diff("two")));
        assert_eq!(
            record.blobs,
            [LayerBlob {
                descriptor: blob("two")
            }]
        );
        assert_eq!(
            store.diff_id_of_blob(&blob("one").digest).expect("read"),
            Some(diff("one"))
        );
    }

    #[test]
    fn layers_are_found_by_diff_id() {
        let (_directory, store) = temporary_store();
        assert_eq!(store.layer_by_diff_id(&diff("x")).expect("read"), None);
        let built = LayerId::random();
        store.add_layer_blob(&built, &diff("x"), blob("a")).expect("add");
        assert_eq!(store.layer_by_diff_id(&diff("x")).expect("read"), Some(built));
        let named = LayerId::of_diff(&diff("x"));
        store.add_layer_blob(&named, &diff("x"), blob("a")).expect("add");
        assert_eq!(store.layer_by_diff_id(&diff("x")).expect("read"), Some(named));
    }

    #[test]
    fn indexes_are_kept_and_damaged_ones_removed() {
        let (directory, store) = temporary_store();
        let id = LayerId::random();
        assert_eq!(store.layer_index(&id).expect("read"), None);
        store.put_layer_index(&id, &index()).expect("put");
        assert_eq!(store.layer_index(&id).expect("read").as_deref(), Some(&index()));
        // Another handle has nothing in memory.
        let other = Store::open(directory.path()).expect("open");
        assert_eq!(other.layer_index(&id).expect("read").as_deref(), Some(&index()));
        let path = store.layout().index(&id);
        let bytes = std::fs::read(&path).expect("read");
        std::fs::write(&path, &bytes[..bytes.len() - 1]).expect("write");
        let third = Store::open(directory.path()).expect("open");
        assert_eq!(third.layer_index(&id).expect("read"), None);
        assert!(!path.exists());
    }

    #[test]
    fn an_index_that_leaves_the_root_is_refused() {
        let (_directory, store) = temporary_store();
        let id = LayerId::random();
        let mut bad = index();
        bad.entries[0].path = b"../etc".to_vec();
        let error = store.put_layer_index(&id, &bad).expect_err("refused");
        assert!(matches!(error, StoreError::Index { .. }), "{error}");
        assert_eq!(store.layer_index(&id).expect("read"), None);
    }
}
