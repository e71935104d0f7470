//! The store as a graph: records stand on layers, layers on blobs, documents on blobs; and what is held.

use std::collections::{HashMap, HashSet};
use std::io::Read as _;

use kiln_oci::Digest;

use crate::StoreError;
use crate::collect::files::{Files, Plain};
use crate::collect::rows::{DocumentRow, RecordRow, Rows};
use crate::document_kind::{Ageing, Keeps, PUSHED, digests_in};
use crate::layer::LayerId;
use crate::lease::Held;
use crate::store::Store;

/// Blobs up to this size may be documents that name others.
const LARGEST_DOCUMENT: u64 = 8 << 20;

#[derive(Debug)]
pub(crate) struct RecordNode {
    pub(crate) row: RecordRow,
    pub(crate) layers: Vec<usize>,
    /// When it or a record above its layers was last used.
    pub(crate) used_unix: i64,
    pub(crate) held: bool,
}

#[derive(Debug)]
pub(crate) struct LayerNode {
    pub(crate) id: LayerId,
    pub(crate) tree: Option<u64>,
    pub(crate) index: Option<u64>,
    pub(crate) blobs: Vec<usize>,
    pub(crate) created_unix: i64,
    pub(crate) used_unix: i64,
    /// How many records that were not evicted stand on it.
    pub(crate) uses: usize,
    pub(crate) held: bool,
}

#[derive(Debug)]
pub(crate) struct BlobNode {
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
    pub(crate) used_unix: i64,
    /// How many layers and documents that may go stand on it.
    pub(crate) uses: usize,
    pub(crate) held: bool,
    /// Whether a document that stays keeps it.
    pub(crate) named: bool,
    /// Whether it has names outside the store, so that its removal frees nothing.
    pub(crate) linked: bool,
}

#[derive(Debug)]
pub(crate) struct DocumentNode {
    pub(crate) row: DocumentRow,
    pub(crate) blobs: Vec<usize>,
    pub(crate) used_unix: i64,
    /// None: it stays.
    pub(crate) unused_for: Option<i64>,
    /// Whether it is a name of an image that is nowhere else.
    pub(crate) only_copy: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlainKind {
    Mount,
    Repository,
    Context,
    Aside,
}

#[derive(Debug)]
pub(crate) struct Picture {
    pub(crate) records: Vec<RecordNode>,
    pub(crate) layers: Vec<LayerNode>,
    pub(crate) blobs: Vec<BlobNode>,
    pub(crate) documents: Vec<DocumentNode>,
    pub(crate) plain: Vec<(PlainKind, Plain)>,
    pub(crate) sessions: Vec<Plain>,
    /// What the database takes up besides documents, in bytes.
    pub(crate) database: u64,
    pub(crate) now: i64,
}

/// What the documents among the blobs name. Content never changes, so it is read once.
#[derive(Debug, Default)]
pub(crate) struct Named(HashMap<Digest, Vec<Digest>>);

impl Named {
    fn by(&mut self, store: &Store, digest: &Digest, bytes: u64) -> Result<Vec<Digest>, StoreError> {
        if bytes > LARGEST_DOCUMENT {
            return Ok(Vec::new());
        }
        if let Some(found) = self.0.get(digest) {
            return Ok(found.clone());
        }
        let found = match document(store, digest) {
            Ok(bytes) => bytes.as_deref().map(digests_in).unwrap_or_default(),
            // A damaged blob names nothing that could be trusted; it is for the check of the store to tell.
            Err(StoreError::BlobDamaged { .. } | StoreError::BlobTooLarge { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        self.0.insert(digest.clone(), found.clone());
        Ok(found)
    }
}

/// A blob, if it may be a document. Layers show by their first byte that they are none, and are not read.
fn document(store: &Store, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(mut file) = store.open_blob(digest)? else {
        return Ok(None);
    };
    let mut first = [0];
    let read = file.read(&mut first);
    let read = read.map_err(|error| StoreError::io("read", store.layout().blob(digest), error))?;
    if read == 0 || first != *b"{" {
        return Ok(None);
    }
    store.read_blob(digest, LARGEST_DOCUMENT)
}

/// Puts the pieces together. `store` must hold nothing. With `names`, names of images may go as well.
pub(crate) fn picture(
    store: &Store,
    files: &Files,
    rows: Rows,
    held: &Held,
    named: &mut Named,
    now: i64,
) -> Result<Picture, StoreError> {
    let mut blobs: Vec<BlobNode> = Vec::with_capacity(files.blobs.len());
    let mut blob_at: HashMap<&Digest, usize> = HashMap::with_capacity(files.blobs.len());
    for (digest, file) in &files.blobs {
        blob_at.insert(digest, blobs.len());
        blobs.push(BlobNode {
            digest: digest.clone(),
            bytes: file.bytes,
            used_unix: file.used_unix.min(now),
            uses: 0,
            held: held.blobs.contains(digest),
            named: false,
            linked: file.linked,
        });
    }
    let (layers, layer_at) = layer_nodes(files, &rows, held, &blob_at, &mut blobs, now);
    let mut picture = Picture {
        records: Vec::new(),
        layers,
        blobs,
        documents: Vec::new(),
        plain: plain_nodes(files, now),
        sessions: files.sessions.clone(),
        database: files
            .database
            .saturating_sub(rows.documents.iter().map(|document| document.bytes).sum()),
        now,
    };
    picture.add_records(rows.records, held, &layer_at);
    let mut closure = Closure {
        store,
        named,
        blob_at: &blob_at,
    };
    let roots: Vec<usize> = (0..picture.blobs.len()).filter(|at| picture.blobs[*at].held).collect();
    for at in closure.of(&picture.blobs, roots)? {
        picture.blobs[at].held = true;
    }
    picture.add_documents(rows.documents, &mut closure)?;
    Ok(picture)
}

fn layer_nodes(
    files: &Files,
    rows: &Rows,
    held: &Held,
    blob_at: &HashMap<&Digest, usize>,
    blobs: &mut [BlobNode],
    now: i64,
) -> (Vec<LayerNode>, HashMap<LayerId, usize>) {
    let ids: HashSet<&LayerId> = rows
        .layers
        .keys()
        .chain(files.trees.keys())
        .chain(files.indexes.keys())
        .collect();
    let mut layers = Vec::with_capacity(ids.len());
    let mut layer_at = HashMap::with_capacity(ids.len());
    for id in ids {
        let row = rows.layers.get(id);
        let held = held.layers.contains(id);
        let mut on: Vec<usize> = row
            .iter()
            .flat_map(|row| row.blobs.iter().filter_map(|digest| blob_at.get(digest).copied()))
            .collect();
        on.sort_unstable();
        on.dedup();
        for &blob in &on {
            blobs[blob].uses += 1;
            blobs[blob].held |= held;
        }
        layer_at.insert(id.clone(), layers.len());
        layers.push(LayerNode {
            id: id.clone(),
            tree: files.trees.get(id).copied(),
            index: files.indexes.get(id).copied(),
            blobs: on,
            created_unix: row.map_or(0, |row| row.created_unix),
            used_unix: row.map_or(0, |row| row.used_unix.max(row.created_unix).min(now)),
            uses: 0,
            held,
        });
    }
    (layers, layer_at)
}

fn plain_nodes(files: &Files, now: i64) -> Vec<(PlainKind, Plain)> {
    let lists = [
        (PlainKind::Mount, &files.mounts),
        (PlainKind::Repository, &files.repositories),
        (PlainKind::Context, &files.contexts),
        (PlainKind::Aside, &files.aside),
    ];
    lists
        .into_iter()
        .flat_map(|(kind, list)| {
            list.iter().map(move |plain| {
                let mut plain = plain.clone();
                plain.used_unix = plain.used_unix.min(now);
                (kind, plain)
            })
        })
        .collect()
}

/// Follows what blobs name.
struct Closure<'a> {
    store: &'a Store,
    named: &'a mut Named,
    blob_at: &'a HashMap<&'a Digest, usize>,
}

impl Closure<'_> {
    /// These blobs and whatever they name, directly or not, that is here.
    fn of(&mut self, blobs: &[BlobNode], roots: Vec<usize>) -> Result<Vec<usize>, StoreError> {
        let mut seen: HashSet<usize> = roots.iter().copied().collect();
        let mut waiting = roots;
        while let Some(at) = waiting.pop() {
            for digest in self.named.by(self.store, &blobs[at].digest, blobs[at].bytes)? {
                if let Some(&next) = self.blob_at.get(&digest)
                    && seen.insert(next)
                {
                    waiting.push(next);
                }
            }
        }
        Ok(seen.into_iter().collect())
    }
}

impl Picture {
    /// A record is as young as the youngest record that stands on its layers, and as young as can be while somebody
    /// holds them: to lose what a later step needs would cost more than it frees.
    fn add_records(&mut self, rows: Vec<RecordRow>, held: &Held, layer_at: &HashMap<LayerId, usize>) {
        let mut youngest: HashMap<usize, i64> = HashMap::new();
        for row in rows {
            let layers: Vec<usize> = row
                .layers
                .iter()
                .filter_map(|layer| layer_at.get(layer).copied())
                .collect();
            let used_unix = row.used_unix.min(self.now);
            if row.evicted_unix.is_none() {
                for &layer in layers.iter().collect::<HashSet<_>>() {
                    self.layers[layer].uses += 1;
                    let time = youngest.entry(layer).or_insert(used_unix);
                    *time = used_unix.max(*time);
                }
            }
            let held = held.records.contains(&row.key);
            self.records.push(RecordNode {
                row,
                layers,
                used_unix,
                held,
            });
        }
        for record in &mut self.records {
            if let Some(top) = record.layers.last() {
                let above = youngest.get(top).copied().unwrap_or(record.used_unix);
                record.used_unix = if self.layers[*top].held { self.now } else { above };
            }
        }
    }

    fn add_documents(&mut self, rows: Vec<DocumentRow>, closure: &mut Closure<'_>) -> Result<(), StoreError> {
        let pushed: HashMap<String, Vec<u8>> = rows
            .iter()
            .filter(|row| row.kind_name == PUSHED)
            .filter_map(|row| Some((row.name.clone(), row.body.clone()?)))
            .collect();
        for row in rows {
            let direct: Vec<usize> = row
                .digests
                .iter()
                .filter_map(|digest| closure.blob_at.get(digest).copied())
                .collect();
            let used = direct.iter().map(|&at| self.blobs[at].used_unix);
            let used_unix = used.fold(row.updated_unix.min(self.now), i64::max);
            let in_registry = row.digests.first().is_some_and(|digest| {
                pushed
                    .get(&row.name)
                    .is_some_and(|body| *body == digest.to_string().as_bytes())
            });
            let only_copy = row.kind.ageing == Ageing::Name && !in_registry;
            let unused_for = match row.kind.ageing {
                Ageing::Unused(duration) => Some(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)),
                Ageing::Name if in_registry => Some(i64::MAX),
                Ageing::Name | Ageing::Never | Ageing::With(_) => None,
            };
            let blobs = match row.kind.keeps {
                Keeps::Nothing => Vec::new(),
                Keeps::Spelled => direct,
                Keeps::Image => closure.of(&self.blobs, direct)?,
            };
            for &at in &blobs {
                if unused_for.is_some() || only_copy {
                    self.blobs[at].uses += 1;
                } else {
                    self.blobs[at].named = true;
                }
            }
            self.documents.push(DocumentNode {
                row,
                blobs,
                used_unix,
                unused_for,
                only_copy,
            });
        }
        Ok(())
    }

    /// What the whole store takes up, in bytes.
    pub(crate) fn total(&self) -> u64 {
        let layers = self
            .layers
            .iter()
            .map(|layer| layer.tree.unwrap_or(0) + layer.index.unwrap_or(0));
        self.blobs
            .iter()
            .map(|blob| blob.bytes)
            .chain(layers)
            .chain(self.documents.iter().map(|document| document.row.bytes))
            .chain(self.plain.iter().map(|(_, plain)| plain.bytes))
            .chain(self.sessions.iter().map(|session| session.bytes))
            .fold(self.database, u64::saturating_add)
    }
}
