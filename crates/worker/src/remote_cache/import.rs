//! Answering lookups from caches elsewhere. Nothing is read before the first step that is not known here.

use std::collections::HashMap;
use std::sync::Arc;

use kiln_graph::{Event, EventSink};
use kiln_oci::Descriptor;
use kiln_store::{CacheKey, CacheRecord, LayerId, Store};
use tokio::sync::OnceCell;

use super::document::{CacheDocument, CachedRecord};
use super::storage::CacheStorage;
use crate::WorkerError;
use crate::layers::Layers;

/// The caches of a build.
pub struct CacheImports {
    storages: Vec<CacheStorage>,
    events: Arc<dyn EventSink>,
    loaded: OnceCell<Loaded>,
}

impl std::fmt::Debug for CacheImports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CacheImports")
            .field("storages", &self.storages)
            .finish_non_exhaustive()
    }
}

/// A record from a cache.
#[derive(Debug, Clone)]
pub struct ImportedRecord {
    /// The record.
    pub record: CacheRecord,
    /// Its further keys.
    pub aliases: Vec<CacheKey>,
    /// What the cache is called.
    pub cache: String,
}

#[derive(Default)]
struct Loaded {
    documents: Vec<(CacheStorage, CacheDocument)>,
    /// By key or alias: the document and the record in it.
    records: HashMap<CacheKey, (usize, usize)>,
}

impl CacheImports {
    /// Caches that are asked in this order. Their failures are told as warnings.
    pub fn new(storages: Vec<CacheStorage>, events: Arc<dyn EventSink>) -> CacheImports {
        CacheImports {
            storages,
            events,
            loaded: OnceCell::new(),
        }
    }

    /// The record of a key. Its layers are made known, and fetched when something needs their files.
    pub async fn lookup(&self, key: &CacheKey, layers: &Layers) -> Result<Option<ImportedRecord>, WorkerError> {
        if self.storages.is_empty() {
            return Ok(None);
        }
        let loaded = self.loaded.get_or_init(|| self.load(layers.store())).await;
        let Some(&(document, record)) = loaded.records.get(key) else {
            return Ok(None);
        };
        let (storage, document) = &loaded.documents[document];
        let record = &document.records[record];
        let mut ids = Vec::with_capacity(record.layers.len());
        for layer in record.layers.iter().filter_map(|&at| document.layers.get(at)) {
            let id = LayerId::of_diff(&layer.diff_id);
            if let Some(blob) = &layer.blob {
                layers.learn_cached(&layer.diff_id, blob, storage.place())?;
            }
            ids.push(id);
        }
        Ok(Some(ImportedRecord {
            record: record_of(record, ids),
            aliases: record.aliases.clone(),
            cache: storage.name(),
        }))
    }

    /// The files of a cache mount, brought into the store in pieces. None: no cache has them.
    pub async fn mount(&self, id: &str, layers: &Layers) -> Result<Option<Vec<Descriptor>>, WorkerError> {
        if self.storages.is_empty() {
            return Ok(None);
        }
        let loaded = self.loaded.get_or_init(|| self.load(layers.store())).await;
        for (storage, document) in &loaded.documents {
            let Some(mount) = document.mounts.iter().find(|mount| mount.id == id) else {
                continue;
            };
            let place = storage.place();
            let all = mount.chunks.iter().map(|chunk| layers.fetch_from(&place, chunk));
            match futures::future::try_join_all(all).await {
                Ok(_) => return Ok(Some(mount.chunks.clone())),
                Err(error) => self.events.send(Event::Warning {
                    message: format!(
                        "failed to restore a cache mount from `{}`: {}",
                        storage.name(),
                        chain(&error)
                    ),
                    hints: vec!["the step begins with an empty one".into()],
                }),
            }
        }
        Ok(None)
    }

    /// Reads all caches at the same time.
    async fn load(&self, store: &Store) -> Loaded {
        let read = futures::future::join_all(self.storages.iter().map(|storage| storage.read(store))).await;
        let mut loaded = Loaded::default();
        for (storage, found) in self.storages.iter().zip(read) {
            let found = match found {
                Ok(found) => found,
                Err(error) => {
                    self.events.send(Event::Warning {
                        message: format!("failed to read the cache `{}`: {}", storage.name(), chain(&error)),
                        hints: vec!["the build goes on without it".into()],
                    });
                    continue;
                }
            };
            for document in found.contents.into_values() {
                let number = loaded.documents.len();
                for (position, record) in document.records.iter().enumerate() {
                    for key in std::iter::once(&record.key).chain(&record.aliases) {
                        loaded.records.entry(key.clone()).or_insert((number, position));
                    }
                }
                loaded.documents.push((storage.clone(), document));
            }
        }
        loaded
    }
}

fn record_of(record: &CachedRecord, layers: Vec<LayerId>) -> CacheRecord {
    CacheRecord {
        key: record.key.clone(),
        layers,
        slot: String::new(),
        parts: Vec::new(),
        created_unix: record.created,
        duration_ms: record.duration_ms,
        platform: record.platform.clone(),
        name: record.name.clone(),
    }
}

/// An error with its causes, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
