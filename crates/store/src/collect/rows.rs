//! What the database tells of a store, as one picture. A row that cannot be read is left to the check of the store.

use std::collections::HashMap;

use kiln_oci::Digest;
use rusqlite::Connection;

use crate::cache_record::CacheKey;
use crate::document_kind::{DocumentKind, Keeps, digests_in, kind_of};
use crate::layer::LayerId;
use crate::stack::{StackId, Stacks};

#[derive(Debug)]
pub(crate) struct RecordRow {
    pub(crate) key: CacheKey,
    pub(crate) name: String,
    pub(crate) platform: Option<String>,
    pub(crate) created_unix: i64,
    pub(crate) used_unix: i64,
    pub(crate) evicted_unix: Option<i64>,
    /// In the database.
    pub(crate) bytes: u64,
    pub(crate) layers: Vec<LayerId>,
}

#[derive(Debug, Default)]
pub(crate) struct LayerRow {
    pub(crate) created_unix: i64,
    pub(crate) used_unix: i64,
    pub(crate) blobs: Vec<Digest>,
}

#[derive(Debug)]
pub(crate) struct DocumentRow {
    pub(crate) kind: DocumentKind,
    /// As it stands in the row; the kind that is not known has no name.
    pub(crate) kind_name: String,
    pub(crate) name: String,
    pub(crate) updated_unix: i64,
    pub(crate) bytes: u64,
    /// The digests that it spells, if its kind keeps any.
    pub(crate) digests: Vec<Digest>,
    /// The body of a document that says under which digest an image was pushed.
    pub(crate) body: Option<Vec<u8>>,
}

#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) records: Vec<RecordRow>,
    pub(crate) layers: HashMap<LayerId, LayerRow>,
    pub(crate) documents: Vec<DocumentRow>,
}

/// Reads the tables. Best inside a transaction.
pub(crate) fn read_rows(connection: &Connection) -> rusqlite::Result<Rows> {
    let mut rows = Rows::default();
    let mut positions: HashMap<String, usize> = HashMap::new();
    let sql =
        "SELECT key, name, platform, created_unix, used_unix, evicted_unix, length(parts) + length(name) + length(slot),
                      stack
               FROM records ORDER BY rowid";
    let stacks = Stacks::read(connection)?;
    let mut statement = connection.prepare_cached(sql)?;
    let mut query = statement.query([])?;
    while let Some(row) = query.next()? {
        let stack: Option<StackId> = row.get(7)?;
        let key: String = row.get(0)?;
        let Ok(parsed) = key.parse() else { continue };
        positions.insert(key, rows.records.len());
        rows.records.push(RecordRow {
            key: parsed,
            name: row.get(1)?,
            platform: row.get(2)?,
            created_unix: row.get(3)?,
            used_unix: row.get(4)?,
            evicted_unix: row.get(5)?,
            bytes: row.get(6)?,
            layers: stack.map(|stack| stacks.layers(&stack)).unwrap_or_default(),
        });
    }
    let mut statement =
        connection.prepare_cached("SELECT record, layer FROM record_layers ORDER BY record, position")?;
    let mut query = statement.query([])?;
    while let Some(row) = query.next()? {
        let (record, layer): (String, String) = (row.get(0)?, row.get(1)?);
        if let (Some(position), Ok(layer)) = (positions.get(&record), layer.parse()) {
            rows.records[*position].layers.push(layer);
        }
    }
    let mut statement = connection.prepare_cached("SELECT id, created_unix, used_unix FROM layers")?;
    let mut query = statement.query([])?;
    while let Some(row) = query.next()? {
        let id: String = row.get(0)?;
        let Ok(id) = id.parse() else { continue };
        let layer = LayerRow {
            created_unix: row.get(1)?,
            used_unix: row.get(2)?,
            blobs: Vec::new(),
        };
        rows.layers.insert(id, layer);
    }
    let mut statement = connection.prepare_cached("SELECT layer, digest FROM layer_blobs")?;
    let mut query = statement.query([])?;
    while let Some(row) = query.next()? {
        let (layer, digest): (String, String) = (row.get(0)?, row.get(1)?);
        if let (Ok(layer), Ok(digest)) = (layer.parse::<LayerId>(), digest.parse())
            && let Some(layer) = rows.layers.get_mut(&layer)
        {
            layer.blobs.push(digest);
        }
    }
    read_documents(connection, &mut rows)?;
    Ok(rows)
}

fn read_documents(connection: &Connection, rows: &mut Rows) -> rusqlite::Result<()> {
    let sql = "SELECT kind, name, updated_unix, length(body), body FROM documents";
    let mut statement = connection.prepare_cached(sql)?;
    let mut query = statement.query([])?;
    while let Some(row) = query.next()? {
        let (kind_name, name): (String, String) = (row.get(0)?, row.get(1)?);
        let kind = kind_of(&kind_name);
        let pushed = kind_name == crate::document_kind::PUSHED;
        let body: Option<Vec<u8>> = match kind.keeps {
            Keeps::Nothing if !pushed => None,
            _ => Some(row.get(4)?),
        };
        let digests = match (kind.keeps, &body) {
            (Keeps::Spelled | Keeps::Image, Some(body)) => {
                let mut digests = digests_in(name.as_bytes());
                digests.extend(digests_in(body));
                digests
            }
            _ => Vec::new(),
        };
        let length: u64 = row.get(3)?;
        rows.documents.push(DocumentRow {
            kind,
            bytes: length + name.len() as u64,
            kind_name,
            name,
            updated_unix: row.get(2)?,
            digests,
            body: body.filter(|_| pushed),
        });
    }
    Ok(())
}
