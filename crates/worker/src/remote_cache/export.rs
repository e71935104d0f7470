//! Writing what a build came to into a cache.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kiln_graph::{Graph, Op, Vertex, VertexId};
use kiln_store::{CacheKey, CacheMountUse, CacheRecord, LayerId};

use super::chunks;
use super::document::{CacheContents, CacheDocument, CachedLayer, CachedMount, CachedRecord};
use super::storage::{CacheError, CacheStorage, Written};
use crate::WorkerError;
use crate::layers::{CacheCompression, Layers, blocking};
use crate::mounts::portable_id;

/// Which steps are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExportMode {
    /// Those whose layers are in an image of the build.
    #[default]
    Min,
    /// All.
    Max,
}

/// What is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExportChoice {
    /// Which steps.
    pub mode: ExportMode,
    /// Cache mounts of up to so many bytes each; None: none.
    pub mounts: Option<u64>,
    /// How layers are compressed.
    pub compression: CacheCompression,
}

/// A graph that was solved, with the key of each vertex as far as it is known.
#[derive(Debug, Clone, Copy)]
pub struct KeyedGraph<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// The vertices that the build was for.
    pub targets: &'a [VertexId],
    /// What vertices are known by.
    pub keys: &'a HashMap<VertexId, CacheKey>,
}

/// Times that a writer begins anew because others wrote at the same moment.
const ATTEMPTS: u32 = 12;

/// The records of a build with their layers, by platform, and the cache mounts of its steps. Layers that were not packed
/// yet are packed for it.
pub async fn collect(
    solved: KeyedGraph<'_>,
    choice: ExportChoice,
    layers: &Layers,
) -> Result<CacheContents, WorkerError> {
    let now = unix_now();
    let mut contents = CacheContents::new();
    let records = records(solved, choice.mode, layers)?;
    let of_images = ExportMode::Min.steps(solved.graph, solved.targets);
    let in_images: HashSet<LayerId> = records
        .iter()
        .filter(|(vertex, _)| of_images.contains(&vertex.id))
        .flat_map(|(_, record)| record.layers.iter().cloned())
        .collect();
    for (vertex, record) in records {
        let Some(described) = describe(&record, layers, &in_images, choice.compression).await? else {
            continue;
        };
        let aliases: BTreeSet<CacheKey> = layers.store().record_aliases(&record.key)?.into_iter().collect();
        let platform = vertex.meta.platform.as_ref().map(ToString::to_string);
        let cached = CachedRecord {
            key: record.key,
            aliases: aliases.into_iter().collect(),
            layers: Vec::new(),
            name: record.name,
            platform: record.platform,
            created: record.created_unix,
            used: now,
            duration_ms: record.duration_ms,
        };
        contents
            .entry(platform.unwrap_or_default())
            .or_default()
            .add(cached, described);
    }
    if let Some(limit) = choice.mounts {
        mounts(solved.graph, limit, layers, &mut contents).await?;
    }
    // Sorted, and each record once.
    Ok(contents
        .into_iter()
        .map(|(platform, document)| (platform, CacheDocument::default().merge(&document, now)))
        .collect())
}

/// The steps that are written, with what is kept of them.
fn records<'a>(
    solved: KeyedGraph<'a>,
    mode: ExportMode,
    layers: &Layers,
) -> Result<Vec<(&'a Vertex, CacheRecord)>, WorkerError> {
    let chosen = mode.steps(solved.graph, solved.targets);
    let mut records = Vec::new();
    for vertex in solved.graph.vertices() {
        if chosen.contains(&vertex.id)
            && let Some(key) = solved.keys.get(&vertex.id)
            && let Some(record) = layers.store().record(key)?
        {
            records.push((vertex, record));
        }
    }
    Ok(records)
}

/// The mounts that steps of the graph use. One that another build uses right now, or that is too large, stays at home.
async fn mounts(graph: &Graph, limit: u64, layers: &Layers, contents: &mut CacheContents) -> Result<(), WorkerError> {
    let mut seen = BTreeSet::new();
    for vertex in graph.vertices() {
        let Op::Exec(exec) = &vertex.op else { continue };
        let platform = vertex
            .meta
            .platform
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        for id in exec.mounts.iter().filter_map(|mount| portable_id(&mount.kind)) {
            if !seen.insert((platform.clone(), id.clone())) || !layers.store().has_cache_mount(&id) {
                continue;
            }
            let (store, named) = (layers.store().clone(), id.clone());
            let kept = blocking(move || {
                let mount = store.try_cache_mount::<WorkerError>(&named, CacheMountUse::Locked, |_| Ok(()))?;
                match mount {
                    Some(mount) => chunks::keep(mount.path(), limit, &store),
                    None => Ok(None),
                }
            });
            if let Some(chunks) = kept.await? {
                let document = contents.entry(platform.clone()).or_default();
                document.mounts.push(CachedMount {
                    id,
                    chunks,
                    used: unix_now(),
                });
            }
        }
    }
    Ok(())
}

/// The layers of a record as a cache names them. None: one of them is gone.
async fn describe(
    record: &CacheRecord,
    layers: &Layers,
    in_images: &HashSet<LayerId>,
    compression: CacheCompression,
) -> Result<Option<Vec<CachedLayer>>, WorkerError> {
    let mut described = Vec::with_capacity(record.layers.len());
    for id in &record.layers {
        described.push(
            match describe_layer(id, layers, in_images.contains(id), compression).await {
                Ok(layer) => layer,
                Err(WorkerError::LayerGone(_)) => return Ok(None),
                Err(error) => return Err(error),
            },
        );
    }
    Ok(Some(described))
}

async fn describe_layer(
    id: &LayerId,
    layers: &Layers,
    in_image: bool,
    compression: CacheCompression,
) -> Result<CachedLayer, WorkerError> {
    if let Some(diff_id) = layers.diff_id_of_base(id) {
        return Ok(CachedLayer { diff_id, blob: None });
    }
    let packed = layers.cached(id, in_image, compression).await?;
    Ok(CachedLayer {
        diff_id: packed.diff_id,
        blob: Some(packed.descriptor),
    })
}

impl ExportMode {
    /// The steps of a graph that are written, of a build for `targets`.
    pub fn steps(self, graph: &Graph, targets: &[VertexId]) -> HashSet<VertexId> {
        let is_step = |vertex: &&Vertex| matches!(vertex.op, Op::Exec(_) | Op::File(_) | Op::Merge | Op::Graft);
        if self == ExportMode::Max {
            let steps = graph.vertices().iter().filter(is_step);
            return steps.map(|vertex| vertex.id.clone()).collect();
        }
        let mut chosen = HashSet::new();
        let mut pending: Vec<VertexId> = targets.to_vec();
        while let Some(id) = pending.pop() {
            let Some(vertex) = graph.vertex(&id).filter(|_| chosen.insert(id)) else {
                continue;
            };
            match vertex.op {
                Op::Exec(_) | Op::File(_) => pending.extend(vertex.inputs.first().cloned()),
                Op::Merge | Op::Graft => pending.extend(vertex.inputs.iter().cloned()),
                _ => {}
            }
        }
        chosen
    }
}

/// Writes records into a cache beside what others wrote. Blobs first, then documents, then the name.
pub async fn export(storage: &CacheStorage, ours: &CacheContents, layers: &Layers) -> Result<(), CacheError> {
    for document in ours.values() {
        storage.bring(document, layers).await?;
    }
    for attempt in 0..ATTEMPTS {
        let found = storage.read(layers.store()).await?;
        // Right after a write, what is found is our own, or that of somebody who saw it.
        if holds(&found.contents, ours) {
            return Ok(());
        }
        let merged = merge(&found.contents, ours);
        let started = Instant::now();
        match storage.write(&merged, found.version.as_deref()).await? {
            // Who looked before this was written has written too by the time that a write takes.
            Written::Done => tokio::time::sleep(started.elapsed()).await,
            Written::Conflict => tokio::time::sleep(pause(attempt)).await,
        }
    }
    Err(CacheError::Contended)
}

fn holds(contents: &CacheContents, ours: &CacheContents) -> bool {
    ours.iter()
        .all(|(platform, document)| contents.get(platform).is_some_and(|theirs| theirs.contains(document)))
}

fn merge(theirs: &CacheContents, ours: &CacheContents) -> CacheContents {
    let now = unix_now();
    let mut merged = theirs.clone();
    for (platform, document) in ours {
        let known = merged.entry(platform.clone()).or_default();
        *known = known.merge(document, now);
    }
    merged
}

/// Longer each time, and different for each process, so that two writers do not stay in step.
fn pause(attempt: u32) -> Duration {
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .subsec_nanos();
    let jitter = u64::from(nanos ^ std::process::id().rotate_left(16)) % 50;
    Duration::from_millis((10 << attempt.min(6)) + jitter)
}

fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
