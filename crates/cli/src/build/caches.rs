//! Caches on registries and in directories: read while steps are looked up, written when everything is published.

use std::collections::HashMap;

use kiln_dockerfile::lower::Lowered;
use kiln_graph::{Event, VertexId};
use kiln_store::CacheKey;
use kiln_worker::remote_cache::{
    ActionsCache, CacheContents, CacheDocument, CacheImports, CacheStorage, ExportChoice, KeyedGraph, ObjectCache,
    S3Cache, collect, export,
};
use kiln_worker::{Layers, Wants};

use crate::build::frontend::Planned;
use crate::build::publish::task;
use crate::build::request::{CacheExport, CacheImport, CachePlace};
use crate::build::{BuildError, BuildRequest, Machine};
use crate::command_error::chain;

/// What steps are looked up in besides the store.
pub(super) fn imports(imports: &[CacheImport], machine: &Machine) -> CacheImports {
    let places = imports.iter().map(|import| storage(machine, &import.place));
    CacheImports::new(places.collect(), machine.events.clone())
}

fn storage(machine: &Machine, place: &CachePlace) -> CacheStorage {
    match place {
        CachePlace::Registry(reference) => CacheStorage::Registry {
            client: machine.client.clone(),
            reference: reference.clone(),
        },
        CachePlace::Layout { directory, tag, digest } => CacheStorage::Layout {
            directory: directory.clone(),
            tag: tag.clone(),
            digest: digest.clone(),
        },
        CachePlace::S3(settings) => CacheStorage::Objects(ObjectCache::S3(S3Cache::new((**settings).clone())).into()),
        CachePlace::Actions(settings) => {
            CacheStorage::Objects(ObjectCache::Actions(ActionsCache::new(settings.clone())).into())
        }
    }
}

/// What is wanted of the steps, with what the caches will want that a build writes.
pub(super) fn wanted(wants: Wants, planned: &Planned) -> Wants {
    let targets = vertices(&planned.lowered);
    let caches = planned.request.cache_to.iter().filter_map(|export| match export {
        // Images carry the records of their own layers.
        CacheExport::Inline => None,
        CacheExport::To { choice, .. } => Some(*choice),
    });
    caches.fold(wants, |wants, choice| {
        wants.kept_by(choice, &planned.lowered.graph, &targets)
    })
}

/// The vertices that a build is for.
pub(super) fn vertices(lowered: &Lowered) -> Vec<VertexId> {
    lowered.targets.iter().map(|target| target.vertex.clone()).collect()
}

/// What was solved, for whoever writes caches.
pub(super) struct Solved<'a> {
    pub(super) lowered: &'a Lowered,
    pub(super) keys: &'a HashMap<VertexId, CacheKey>,
}

impl Solved<'_> {
    async fn records(&self, choice: ExportChoice, layers: &Layers) -> Result<CacheContents, BuildError> {
        let targets = vertices(self.lowered);
        let graph = KeyedGraph {
            graph: &self.lowered.graph,
            targets: &targets,
            keys: self.keys,
        };
        let collected = collect(graph, choice, layers).await;
        collected.map_err(|source| BuildError::Worker(Box::new(source)))
    }

    /// The records that images carry themselves; None if nobody asked for it.
    pub(super) async fn inline(
        &self,
        request: &BuildRequest,
        layers: &Layers,
    ) -> Result<Option<CacheDocument>, BuildError> {
        if !request.cache_to.contains(&CacheExport::Inline) {
            return Ok(None);
        }
        let records = self.records(ExportChoice::default(), layers).await?;
        let mut all = CacheDocument::default();
        for document in records.into_values() {
            all.extend(document);
        }
        Ok(Some(all))
    }
}

/// Writes all caches at the same time. A failure is a warning: the images are published already.
pub(super) async fn write(request: &BuildRequest, machine: &Machine, layers: &Layers, solved: &Solved<'_>) {
    let writes = request.cache_to.iter().filter_map(|export| match export {
        CacheExport::Inline => None,
        CacheExport::To {
            place,
            choice,
            ignore_error,
        } => Some(write_one(machine, layers, solved, place, *choice, *ignore_error)),
    });
    futures::future::join_all(writes).await;
}

async fn write_one(
    machine: &Machine,
    layers: &Layers,
    solved: &Solved<'_>,
    place: &CachePlace,
    choice: ExportChoice,
    ignore_error: bool,
) {
    let storage = storage(machine, place);
    let work = async {
        let records = solved.records(choice, layers).await?;
        export(&storage, &records, layers)
            .await
            .map_err(|source| BuildError::Cache {
                name: storage.name(),
                source,
            })
    };
    let written = task(machine, format!("write cache {}", storage.name()), work).await;
    if let Err(error) = written
        && !ignore_error
        && !matches!(error, BuildError::Cancelled)
    {
        machine.events.send(Event::Warning {
            message: chain(&error).join(": "),
            hints: vec!["the image is built and published all the same".into()],
        });
    }
}
