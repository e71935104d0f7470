//! One machine's worker.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use kiln_graph::{CopyAction, ExecOp, FileAction, FileOp, LocalSource, Op, Vertex};
use kiln_image::unpack::{Ownership, UnpackOptions};
use kiln_image::view::RootView;
use kiln_oci::Digest;
use kiln_solver::key::cache_key;
use kiln_solver::{Found, Input, Root, Selection, Source, StepContext, Worker};
use kiln_store::index::{Entry, Mtime};
use kiln_store::{CacheKey, CacheRecord, KeyLock, LayerId, Store};
use tokio::sync::OnceCell;

use crate::archive::StoreArchives;
use crate::context::Context;
use crate::copy::{CopyError, CopyInputs, plan_layer};
use crate::destination::Destination;
use crate::exec::ExecSettings;
use crate::layers::{Layers, blocking};
use crate::place::Place as StepPlace;
use crate::planned_layer::{clamp_times, content_digest, know_digests, make_layer, recipe};
use crate::remote_cache::CacheImports;
use crate::selection::FileDigests;
use crate::source_tree::{Place, SourceError, SourceTree, clean, known_digest};
use crate::{Remotes, Wants, WorkerError};

/// What a worker is given for one build.
#[derive(Debug)]
pub struct LocalWorkerSettings {
    /// Layers and the store below them.
    pub layers: Layers,
    /// Directories of the named contexts.
    pub contexts: HashMap<String, PathBuf>,
    /// Which forms of layers will be asked for.
    pub wants: Wants,
    /// Time of a context's files where they are mounted, in seconds since the epoch.
    pub time: i64,
    /// How steps run.
    pub exec: ExecSettings,
    /// Whether owners can be set here.
    pub ownership: Ownership,
    /// Caches elsewhere.
    pub imports: CacheImports,
    /// What is fetched from outside, with what proves who asks.
    pub remotes: Remotes,
}

/// Runs the steps of one build on this machine.
#[derive(Debug)]
pub struct LocalWorker {
    settings: LocalWorkerSettings,
    contexts: Mutex<HashMap<VertexKey, Arc<OnceCell<Arc<Context>>>>>,
}

/// The only input of a layer that is made for a mount.
const INPUT: usize = 1;

/// A context with its ignore patterns: the same directory may be read through different ones.
type VertexKey = (String, Vec<String>);

impl LocalWorker {
    /// A worker for one build.
    pub fn new(settings: LocalWorkerSettings) -> LocalWorker {
        LocalWorker {
            settings,
            contexts: Mutex::default(),
        }
    }

    fn store(&self) -> &Store {
        self.settings.layers.store()
    }

    /// Keeps what was learnt about the contexts' files.
    pub fn save_contexts(&self) -> Result<(), WorkerError> {
        let contexts: Vec<_> = lock(&self.contexts)
            .values()
            .filter_map(|cell| cell.get().cloned())
            .collect();
        contexts.iter().try_for_each(|context| Ok(context.save()?))
    }

    async fn context(&self, local: &LocalSource) -> Result<Arc<Context>, WorkerError> {
        let cell = lock(&self.contexts)
            .entry((local.name.clone(), local.ignore.clone()))
            .or_default()
            .clone();
        let scan = || async {
            let path = self.settings.contexts.get(&local.name).cloned();
            let path = path.ok_or_else(|| WorkerError::NoContext(local.name.clone()))?;
            let (ignore, store) = (local.ignore.clone(), self.store().clone());
            blocking(move || Ok(Arc::new(Context::scan(&path, &ignore, &store)?))).await
        };
        cell.get_or_try_init(scan).await.cloned()
    }

    /// An input with everything that answers questions about it; `bytes`: its files will be read too.
    async fn source_tree(&self, input: &Input, bytes: bool) -> Result<(SourceTree, Option<Arc<Context>>), WorkerError> {
        match input {
            Input::Local(local) => {
                let context = self.context(local).await?;
                let view = RootView::new(vec![context.index.clone()]);
                Ok((
                    SourceTree {
                        view,
                        place: Place::Context(context.directory.clone()),
                    },
                    Some(context),
                ))
            }
            Input::Root(root) => Ok((SourceTree::of_root(&self.settings.layers, root, bytes).await?, None)),
        }
    }

    /// What a step mounts from an input: a root as it is, of a context the files that mounts name, as one layer.
    async fn mounted_root(&self, exec: &ExecOp, position: usize, input: &Input) -> Result<Root, WorkerError> {
        let local = match input {
            Input::Root(root) => return Ok(root.clone()),
            Input::Local(local) => local,
        };
        let sources = exec.mounts.iter().filter_map(|mount| mount.source_in(position));
        let actions = sources
            .map(|source| FileAction::Copy(CopyAction::in_place(INPUT, source)))
            .collect();
        let op = FileOp { actions, epoch: None };
        let context = self.context(local).await?;
        let tree = SourceTree {
            view: RootView::new(vec![context.index.clone()]),
            place: Place::Context(context.directory.clone()),
        };
        let (layers, ownership, time) = (
            self.settings.layers.clone(),
            self.settings.ownership,
            self.settings.time,
        );
        let made = blocking(move || {
            let archives = StoreArchives::new(layers.store().clone(), UnpackOptions::default());
            let inputs = CopyInputs {
                sources: HashMap::from([(INPUT, tree)]),
                passwd: None,
                group: None,
                archives: &archives,
            };
            let nothing = RootView::new(Vec::new());
            let destination = Destination::new(
                &nothing,
                Mtime {
                    seconds: time,
                    nanos: 0,
                },
            );
            let contexts = [context];
            let mut plan = plan_layer(&op, &inputs, destination).map_err(|source| explain(source, &contexts))?;
            know_digests(&mut plan, &contexts)?;
            let id = LayerId::of_recipe(&recipe(&plan));
            make_layer(&layers, &id, &plan, &contexts, (true, false), ownership)?;
            Ok(id)
        });
        Ok(vec![made.await?].into())
    }

    async fn execute_file(&self, vertex: &Vertex, op: &FileOp, inputs: &[Input]) -> Result<Root, WorkerError> {
        let base: Root = match inputs.first() {
            Some(Input::Root(root)) => root.clone(),
            _ => Vec::new().into(),
        };
        let view = self.settings.layers.view(&base).await?;
        let (passwd, group) = if names_an_owner(op) {
            self.account_files(&base, &view).await?
        } else {
            (None, None)
        };
        let mut sources = HashMap::new();
        let mut contexts = Vec::new();
        for (position, input) in inputs.iter().enumerate().skip(1) {
            let (tree, context) = self.source_tree(input, true).await?;
            contexts.extend(context);
            sources.insert(position, tree);
        }
        let wants = (
            self.settings.wants.tree(&vertex.id),
            self.settings.wants.blob(&vertex.id),
        );
        let layers = self.settings.layers.clone();
        let (op, ownership, place) = (op.clone(), self.settings.ownership, StepPlace::of(vertex));
        let made = blocking(move || {
            let options = UnpackOptions {
                ownership,
                ..UnpackOptions::default()
            };
            let archives = StoreArchives::new(layers.store().clone(), options);
            let inputs = CopyInputs {
                sources,
                passwd: passwd.as_deref(),
                group: group.as_deref(),
                archives: &archives,
            };
            let destination = Destination::new(
                &view,
                Mtime {
                    seconds: op.epoch.unwrap_or(0),
                    nanos: 0,
                },
            );
            let mut plan = plan_layer(&op, &inputs, destination).map_err(|source| explain(source, &contexts))?;
            if let Some(epoch) = op.epoch {
                clamp_times(&mut plan, epoch);
            }
            know_digests(&mut plan, &contexts)?;
            let id = LayerId::of_recipe(&recipe(&plan));
            if let Some(place) = place {
                layers.made_at(&id, place);
            }
            make_layer(&layers, &id, &plan, &contexts, wants, ownership)?;
            Ok(id)
        });
        let layer = made.await?;
        Ok(base.iter().cloned().chain([layer]).collect())
    }

    /// `/etc/passwd` and `/etc/group` of a root.
    async fn account_files(
        &self,
        root: &Root,
        view: &RootView,
    ) -> Result<(Option<Vec<u8>>, Option<Vec<u8>>), WorkerError> {
        let passwd = self.read_file(root, view, b"etc/passwd").await?;
        let group = self.read_file(root, view, b"etc/group").await?;
        Ok((passwd, group))
    }

    /// A small file of a root, if it is there.
    pub async fn read_file(&self, root: &Root, view: &RootView, path: &[u8]) -> Result<Option<Vec<u8>>, WorkerError> {
        crate::exec::read_file(&self.settings.layers, root, view, path).await
    }
}

fn names_an_owner(op: &FileOp) -> bool {
    let owner = |action: &FileAction| match action {
        FileAction::Copy(copy) => copy.owner.clone(),
        FileAction::MakeDirectory { owner, .. } | FileAction::MakeFile { owner, .. } => owner.clone(),
    };
    let numeric = |part: &str| part.is_empty() || part.parse::<u32>().is_ok();
    op.actions
        .iter()
        .filter_map(owner)
        .any(|owner| !owner.text.split(':').all(numeric))
}

/// Says when the ignore file is why a source is not found.
fn explain(source: CopyError, contexts: &[Arc<Context>]) -> WorkerError {
    let missing = match &source {
        CopyError::Source(SourceError::NotFound { path, .. }) => path.clone(),
        _ => {
            return WorkerError::Copy {
                source,
                ignored_by: None,
            };
        }
    };
    let ignored_by = contexts.iter().find_map(|context| context.ignored_by(&missing));
    WorkerError::Copy { source, ignored_by }
}

#[async_trait]
impl Worker for LocalWorker {
    type Error = WorkerError;
    type Lock = KeyLock;

    async fn source(&self, vertex: &Vertex, context: &StepContext) -> Result<Source, WorkerError> {
        match &vertex.op {
            Op::Scratch => Ok(Source {
                key: cache_key(vertex, &[]),
                root: Vec::new().into(),
                description: "scratch".into(),
            }),
            Op::Image(image) => {
                let layers = self.settings.layers.learn(image)?;
                let description = match &image.manifest {
                    Some(digest) => format!("{}@{digest}", image.reference),
                    None => image.reference.clone(),
                };
                Ok(Source {
                    key: cache_key(vertex, &[]),
                    root: layers.into(),
                    description,
                })
            }
            Op::Http(http) => Ok(self.settings.remotes.http(http, &context.cancel).await?.source),
            Op::Git(git) => Ok(self.settings.remotes.git(git, &context.cancel).await?.source),
            Op::Local(_) | Op::Exec(_) | Op::File(_) | Op::Merge | Op::Graft => Err(WorkerError::Unsupported {
                what: format!("a source of kind `{}`", vertex.op.kind()),
            }),
        }
    }

    async fn select(&self, vertex: &Vertex, position: usize, input: &Input) -> Result<Option<Selection>, WorkerError> {
        let selective = match (&vertex.op, input) {
            (_, Input::Local(_)) => true,
            (Op::File(_), Input::Root(_)) => position > 0,
            // A mount of a whole root is identified by the root: its files need not be read for that.
            (Op::Exec(exec), Input::Root(_)) => {
                let mut sources = exec.mounts.iter().filter_map(|mount| mount.source_in(position));
                position > 0 && sources.all(|source| !clean(source).is_empty())
            }
            _ => false,
        };
        if !selective {
            return Ok(None);
        }
        let local = matches!(input, Input::Local(_));
        let (tree, context) = self.source_tree(input, !local).await?;
        let vertex = vertex.clone();
        let selection = blocking(move || {
            let mut digests = InputDigests {
                context: context.as_deref(),
                tree: &tree,
            };
            let selection = crate::selection::select(&vertex, position, &tree, &mut digests);
            selection.map_err(|error| match error {
                WorkerError::Copy { source, .. } => explain(source, context.as_slice()),
                other => other,
            })
        });
        selection.await.map(Some)
    }

    async fn lookup(&self, key: &CacheKey) -> Result<Option<Found>, WorkerError> {
        if let Some(record) = self.store().record(key)?
            && self.settings.layers.are_available(&record.layers)?
        {
            return Ok(Some(Found { record, cache: None }));
        }
        let Some(imported) = self.settings.imports.lookup(key, &self.settings.layers).await? else {
            return Ok(None);
        };
        if !self.settings.layers.are_available(&imported.record.layers)? {
            return Ok(None);
        }
        self.store().put_record(&imported.record, &imported.aliases)?;
        Ok(Some(Found {
            record: imported.record,
            cache: Some(imported.cache),
        }))
    }

    async fn nearest(&self, vertex: &Vertex) -> Result<Vec<CacheRecord>, WorkerError> {
        let meta = &vertex.meta;
        // Scripts and the like have no place of their own.
        if meta.slot.is_empty() {
            return Ok(Vec::new());
        }
        let mut records = self.store().nearest_records(&meta.slot, NEAREST)?;
        // An instruction that moved in its stage, because one before it is new or gone, is still the same.
        if !records.iter().any(|record| record.name == meta.name) {
            let namesakes = self.store().records_of_name(&meta.name, NEAREST)?;
            let akin = namesakes.into_iter().filter(|record| is_akin(vertex, &record.slot));
            records.extend(akin);
        }
        Ok(records)
    }

    async fn expected(&self, vertices: &[Arc<Vertex>]) -> Result<Vec<Option<Duration>>, WorkerError> {
        let (store, exec) = (self.store().clone(), self.settings.exec.clone());
        let vertices = vertices.to_vec();
        blocking(move || crate::expected::times(&store, &exec, &vertices)).await
    }

    async fn was_kept(&self, key: &CacheKey) -> Result<bool, WorkerError> {
        Ok(self.store().was_kept(key)?)
    }

    fn conceal(&self, text: String) -> String {
        self.settings.exec.conceal(text)
    }

    async fn lock(&self, key: &CacheKey) -> Result<KeyLock, WorkerError> {
        // Mostly nobody else has it, and then nothing is waited for.
        if let Some(lock) = self.store().try_lock_key(key)? {
            return Ok(lock);
        }
        let (store, key) = (self.store().clone(), key.clone());
        blocking(move || Ok(store.lock_key(&key)?)).await
    }

    async fn execute(&self, vertex: &Vertex, inputs: &[Input], context: &StepContext) -> Result<Root, WorkerError> {
        match &vertex.op {
            Op::File(file) => {
                let root = self.execute_file(vertex, file, inputs).await?;
                self.pack_early(vertex, &root);
                Ok(root)
            }
            Op::Exec(exec) => {
                let mut roots = Vec::with_capacity(inputs.len());
                for (position, input) in inputs.iter().enumerate() {
                    roots.push(self.mounted_root(exec, position, input).await?);
                }
                if let Some(base) = roots.first() {
                    self.send_base_early(vertex, base);
                }
                let LocalWorkerSettings {
                    layers,
                    exec: settings,
                    imports,
                    ..
                } = &self.settings;
                let root = crate::exec::run(layers, settings, vertex, exec, &roots, imports, context).await?;
                if let (Some(id), Some(place)) = (root.last(), StepPlace::of(vertex)) {
                    layers.made_at(id, place);
                }
                self.pack_early(vertex, &root);
                Ok(root)
            }
            Op::Merge => Ok(merge(inputs)),
            Op::Graft => crate::noarch::graft(&self.settings.layers, inputs).await,
            _ => Err(WorkerError::Unsupported {
                what: format!("running a vertex of kind `{}`", vertex.op.kind()),
            }),
        }
    }

    async fn save(&self, record: CacheRecord, aliases: Vec<CacheKey>) -> Result<(), WorkerError> {
        let fresh = self.settings.layers.fresh(&record.layers);
        Ok(self.store().put_record_with_layers(&record, &aliases, &fresh)?)
    }

    fn is_emulated(&self, vertex: &Vertex) -> bool {
        match &vertex.op {
            Op::Exec(exec) => self.settings.exec.is_emulated(&exec.platform),
            _ => false,
        }
    }
}

/// Records of one kind that a miss is explained with.
const NEAREST: usize = 8;

/// Whether a slot is of the same stage of the same file as a vertex. What runs on one platform says nothing of
/// another one; copied files are often the same, and then one record serves all platforms.
fn is_akin(vertex: &Vertex, slot: &str) -> bool {
    let split = |slot: &str| {
        let mut words = slot.rsplitn(3, ' ').map(str::to_owned);
        (words.next(), words.nth(1))
    };
    let ((platform, stage), (of_vertex, own_stage)) = (split(slot), split(&vertex.meta.slot));
    stage == own_stage && (platform == of_vertex || !matches!(vertex.op, Op::Exec(_)))
}

impl LocalWorker {
    /// Starts sending the layers of the image that a final stage stands on, as soon as a step has them fetched. Layers
    /// that no step needs are not fetched for it: the registry may have them.
    fn send_base_early(&self, vertex: &Vertex, base: &Root) {
        let names = self.settings.wants.destinations();
        if names.is_empty() || !self.settings.wants.blob(&vertex.id) {
            return;
        }
        // The first step above the image does it for all.
        let is_of_image = |id: &LayerId| self.settings.layers.diff_id_of_base(id).is_some();
        if !base.iter().all(is_of_image) {
            return;
        }
        for id in base.iter() {
            let (layers, id, names) = (self.settings.layers.clone(), id.clone(), names.to_vec());
            // Whoever needs it there asks again and is told of a failure then.
            tokio::spawn(async move {
                layers.tree(&id).await?;
                let packed = layers.described(&id, None).await?;
                let sent = names
                    .iter()
                    .map(|name| crate::transfer::push_layer(&layers, layers.client(), name, &packed.descriptor));
                futures::future::try_join_all(sent).await
            });
        }
    }

    /// Starts packing a layer, for the image that has it and for the caches that will, and sending it to the image, while
    /// later steps still run.
    fn pack_early(&self, vertex: &Vertex, root: &Root) {
        let wants = &self.settings.wants;
        let (in_image, caches) = (wants.blob(&vertex.id), wants.cached(&vertex.id));
        let Some(id) = root.last().filter(|_| in_image || !caches.is_empty()).cloned() else {
            return;
        };
        let (layers, names) = (self.settings.layers.clone(), wants.destinations().to_vec());
        // Whoever needs the blob, or needs it there, asks again and is told of a failure then.
        tokio::spawn(async move {
            if in_image {
                let packed = layers.blob(&id, None).await?;
                let sent = names
                    .iter()
                    .map(|name| crate::transfer::push_layer(&layers, layers.client(), name, &packed.descriptor));
                futures::future::try_join_all(sent).await?;
            }
            for (compression, in_image) in caches {
                layers.cached(&id, in_image, compression).await?;
            }
            Ok::<(), WorkerError>(())
        });
    }
}

/// The digests of files of one input.
struct InputDigests<'a> {
    context: Option<&'a Context>,
    tree: &'a SourceTree,
}

impl FileDigests for InputDigests<'_> {
    fn of(&mut self, path: &[u8], entry: &Entry) -> Result<Digest, WorkerError> {
        match (self.context, known_digest(entry)) {
            (Some(context), _) => Ok(context.digest(path)?),
            (None, Some(digest)) => Ok(digest.clone()),
            (None, None) => {
                let content = self.tree.content(path).map_err(|error| explain(error.into(), &[]))?;
                content_digest(&content, &[])
            }
        }
    }

    fn expect(&mut self, paths: &[&[u8]]) -> Result<(), WorkerError> {
        match self.context {
            Some(context) => Ok(context.learn_digests(paths)?),
            None => Ok(()),
        }
    }
}

/// The base's layers, and above them what each further input has on top of nothing.
fn merge(inputs: &[Input]) -> Root {
    let layers = inputs.iter().filter_map(|input| match input {
        Input::Root(root) => Some(root.iter().cloned()),
        Input::Local(_) => None,
    });
    layers.flatten().collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panic elsewhere leaves these maps whole: they are only inserted into.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
