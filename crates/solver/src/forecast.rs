//! What a solve would run, said beforehand: the same keys and the same lookups, and nothing is run.
//!
//! A step that takes files from a step that will run is found by its content key if the files come out as they were,
//! which nobody can know before: such a step, and what hangs on it alone, *may* run.

use std::collections::HashMap;
use std::time::Duration;

use kiln_graph::{Graph, Hit, MissReason, Op, Vertex, VertexId};
use kiln_store::{CacheKey, CacheRecord};

use crate::driver::select_all;
use crate::key::{InputKey, NamedInput, cache_key, concealed, key_parts};
use crate::reason::{Parent, explain, nearest};
use crate::{Found, Input, Root, Selection, SolveError, StepContext, Worker};

/// What is known of one vertex beforehand.
#[derive(Debug, Clone)]
pub struct Forecast {
    /// Which.
    pub vertex: VertexId,
    /// What will become of it.
    pub verdict: Verdict,
    /// Whether it runs under an emulator here, if it runs.
    pub emulated: bool,
    /// How long the step took when it ran last.
    pub last: Option<Duration>,
}

/// What will become of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A source: it is looked at, not run.
    Source,
    /// Its result is there.
    Cached {
        /// How it is found.
        hit: Hit,
        /// The cache that has the record; None is the local store.
        cache: Option<String>,
    },
    /// It runs.
    Runs(MissReason),
    /// It runs unless the files that it takes from a step that runs come out as they were.
    MayRun(MissReason),
}

/// The forecast of every vertex that `targets` need but the contexts, inputs first.
pub async fn forecast<W: Worker>(
    graph: &Graph,
    targets: &[VertexId],
    worker: &W,
    context: &StepContext,
) -> Result<Vec<Forecast>, SolveError<W::Error>> {
    let vertices = graph
        .needed(targets)
        .map_err(|stranger| SolveError::NoRoot(stranger.clone()))?;
    let mut known: HashMap<&VertexId, Known<'_>> = HashMap::new();
    for vertex in &vertices {
        let failed = |source| SolveError::Step {
            vertex: Box::new((*vertex).clone()),
            source,
        };
        let found = look_at(vertex, &known, worker, context).await.map_err(failed)?;
        known.insert(&vertex.id, found);
    }
    let mut wanted: Vec<&VertexId> = targets.iter().collect();
    while let Some(id) = wanted.pop() {
        let Some(node) = known.get_mut(id) else { continue };
        if std::mem::replace(&mut node.wanted, true) {
            continue;
        }
        if let Some(key) = node.key.clone().filter(|_| !node.vertex.op.is_source()) {
            let vertex = node.vertex;
            let found = worker.lookup(&key).await.map_err(|source| SolveError::Step {
                vertex: Box::new(vertex.clone()),
                source,
            })?;
            if let Some(found) = found {
                node.found(Hit::Definition, found);
            }
        }
        if node.record.is_none() {
            wanted.extend(&node.vertex.inputs);
        }
    }
    let mut all = Vec::new();
    for vertex in vertices {
        let failed = |source| SolveError::Step {
            vertex: Box::new(vertex.clone()),
            source,
        };
        let verdict = judge(vertex, &mut known, worker).await.map_err(failed)?;
        let last = last(vertex, &known[&vertex.id], worker).await.map_err(failed)?;
        if let Some(node) = known.get_mut(&vertex.id) {
            node.verdict = Some(verdict.clone());
        }
        if !matches!(vertex.op, Op::Local(_)) {
            all.push(Forecast {
                vertex: vertex.id.clone(),
                emulated: worker.is_emulated(vertex),
                verdict,
                last,
            });
        }
    }
    Ok(all)
}

/// What is known of a vertex so far.
struct Known<'g> {
    vertex: &'g Vertex,
    /// None: the cache is ignored here or above, or it is a context.
    key: Option<CacheKey>,
    description: String,
    root: Option<Root>,
    /// What it takes, by input position, as far as that is known.
    selections: Vec<Option<Selection>>,
    wanted: bool,
    record: Option<(Hit, Found)>,
    verdict: Option<Verdict>,
}

async fn look_at<'g, W: Worker>(
    vertex: &'g Vertex,
    known: &HashMap<&'g VertexId, Known<'g>>,
    worker: &W,
    context: &StepContext,
) -> Result<Known<'g>, W::Error> {
    let mut node = Known {
        vertex,
        key: None,
        description: vertex.meta.name.clone(),
        root: None,
        selections: vec![None; vertex.inputs.len()],
        wanted: false,
        record: None,
        verdict: None,
    };
    match &vertex.op {
        Op::Local(_) => {}
        op if op.is_source() => {
            let source = worker.source(vertex, context).await?;
            node.key = Some(source.key);
            node.description = source.description;
            node.root = Some(source.root);
        }
        _ => {
            let contexts = vertex.inputs.iter().enumerate().filter_map(|(at, id)| {
                let Op::Local(local) = &known.get(id)?.vertex.op else {
                    return None;
                };
                Some((at, Input::Local(local.clone())))
            });
            node.selections = select_all(worker, vertex, vertex.inputs.len(), contexts.collect()).await?;
            if !vertex.meta.ignore_cache {
                node.key = key(&node, known);
            }
        }
    }
    Ok(node)
}

/// The key as far as selections are known; None if the key of an input is not.
fn key(node: &Known<'_>, known: &HashMap<&VertexId, Known<'_>>) -> Option<CacheKey> {
    let inputs = node.vertex.inputs.iter().zip(&node.selections);
    let inputs = inputs.map(|(id, selection)| match selection {
        Some(selection) => Some(InputKey::Content(selection.digest.clone())),
        None => known.get(id)?.key.clone().map(InputKey::Key),
    });
    Some(cache_key(node.vertex, &inputs.collect::<Option<Vec<_>>>()?))
}

async fn judge<'g, W: Worker>(
    vertex: &'g Vertex,
    known: &mut HashMap<&'g VertexId, Known<'g>>,
    worker: &W,
) -> Result<Verdict, W::Error> {
    let node = &known[&vertex.id];
    if vertex.op.is_source() {
        return Ok(Verdict::Source);
    }
    if let Some((hit, found)) = &node.record {
        return Ok(Verdict::Cached {
            hit: *hit,
            cache: found.cache.clone(),
        });
    }
    if !node.wanted {
        return Ok(Verdict::Cached {
            hit: Hit::NotNeeded,
            cache: None,
        });
    }
    let definition = node.key.clone();
    if let Some(found) = by_content(vertex, known, worker).await? {
        let cache = found.cache.clone();
        if let Some(node) = known.get_mut(&vertex.id) {
            node.found(Hit::Content, found);
        }
        return Ok(Verdict::Cached {
            hit: Hit::Content,
            cache,
        });
    }
    let node = &known[&vertex.id];
    let inputs = vertex.inputs.iter().enumerate().map(|(at, id)| {
        let from = &known[id];
        let key = from.key.as_ref().map_or("unknown".to_owned(), ToString::to_string);
        NamedInput::new(
            vertex,
            at,
            from.vertex,
            &from.description,
            node.selections[at].as_ref(),
            key,
        )
    });
    let parts = concealed(worker, key_parts(vertex, &inputs.collect::<Vec<_>>()));
    let parents: Vec<Parent> = vertex.inputs.iter().map(|id| parent(&known[id])).collect();
    let keys: Vec<&CacheKey> = definition.iter().collect();
    let reason = explain(worker, vertex, &parts, &keys, &parents).await?;
    let only_parents = reason
        .each()
        .iter()
        .all(|reason| matches!(reason, MissReason::ParentChanged { .. }));
    let certain = vertex.inputs.iter().enumerate().any(|(at, id)| {
        let runs = matches!(known[id].verdict, Some(Verdict::Runs(_)));
        // Of what it only takes files from, it need not notice that it ran.
        runs && (at == 0 || vertex.op.source_of_input(at).is_none())
    });
    let unsure = vertex.inputs.iter().any(|id| known[id].runs());
    if only_parents && unsure && !certain {
        return Ok(Verdict::MayRun(reason));
    }
    Ok(Verdict::Runs(reason))
}

/// The record by content, if everything that the step takes from roots is there to be looked at.
async fn by_content<W: Worker>(
    vertex: &Vertex,
    known: &mut HashMap<&VertexId, Known<'_>>,
    worker: &W,
) -> Result<Option<Found>, W::Error> {
    if vertex.meta.ignore_cache || vertex.inputs.iter().any(|id| known[id].runs()) {
        return Ok(None);
    }
    let mut selections = known[&vertex.id].selections.clone();
    for (at, id) in vertex.inputs.iter().enumerate() {
        // The files of an image that nothing was made from yet may be far away.
        let Some((_, found)) = known[id].record.as_ref().filter(|_| selections[at].is_none()) else {
            continue;
        };
        let root = Input::Root(found.record.layers.clone().into());
        selections[at] = worker.select(vertex, at, &root).await?;
    }
    let Some(node) = known.get_mut(&vertex.id) else {
        return Ok(None);
    };
    node.selections = selections;
    let found = key(&known[&vertex.id], known);
    match found {
        Some(key) => worker.lookup(&key).await,
        None => Ok(None),
    }
}

impl Known<'_> {
    /// From here on, what comes after is looked up by the key that the record has.
    fn found(&mut self, hit: Hit, found: Found) {
        self.key = Some(found.record.key.clone());
        self.record = Some((hit, found));
    }

    fn runs(&self) -> bool {
        matches!(self.verdict, Some(Verdict::Runs(_) | Verdict::MayRun(_)))
    }
}

fn parent(node: &Known<'_>) -> Parent {
    Parent {
        vertex: node.vertex.id.clone(),
        name: node.vertex.meta.name.clone(),
        reason: match &node.verdict {
            Some(Verdict::Runs(reason) | Verdict::MayRun(reason)) => Some(reason.clone()),
            _ => None,
        },
    }
}

/// How long a step took last: by its record, else by the newest one that is like it.
async fn last<W: Worker>(vertex: &Vertex, node: &Known<'_>, worker: &W) -> Result<Option<Duration>, W::Error> {
    if vertex.op.is_source() {
        return Ok(None);
    }
    let took = |record: &CacheRecord| Duration::from_millis(record.duration_ms);
    if let Some((_, found)) = &node.record {
        return Ok(Some(took(&found.record)));
    }
    let records = worker.nearest(vertex).await?;
    let parts = key_parts(vertex, &[]);
    Ok(nearest(&parts, &vertex.meta.slot, &records).map(took))
}
