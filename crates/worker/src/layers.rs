//! The forms of a layer, made on demand: an index to answer questions, a tree to run in, a blob to export.

mod blobs;
mod gate;

use std::collections::HashMap;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use kiln_graph::{Event, EventSink, ImageLayer, ImageOrigin, ImageSource, TransferKind};
use kiln_image::pack::CompressionSetting;
use kiln_image::unpack::{Ownership, UnpackOptions, Unpacked};
use kiln_image::view::RootView;
use kiln_oci::{Descriptor, DiffId, Digest, Reference};
use kiln_registry::{BlobTap, Client};
use kiln_sandbox::Network;
use kiln_store::index::LayerIndex;
use kiln_store::{CacheKey, LayerId, LayerRecord, StagedTree, Store};
use tokio::sync::OnceCell;

pub use blobs::CacheCompression;
use gate::Gate;

use crate::WorkerError;
use crate::ground::Ground;
use crate::implied::{corrections, implied_directories};
use crate::place::Place;
use crate::remote_cache::ObjectCache;
use crate::source_tree::open_directory;

/// Roots of so many layers are stacked as they are: no usual image has more.
const STACKED_AT_MOST: usize = 128;

/// Layers that are packed at once: while one waits for its files, the other has the processors. Each takes memory for the
/// members that it has under way, so that more would only take more of it.
const PACKED_AT_ONCE: usize = 2;

/// Layers that are merged to one tree in deeper roots.
const GROUP: usize = 100;

/// Where the blob of an image's layer can be fetched.
#[derive(Debug, Clone)]
struct Remote {
    place: LayerPlace,
    descriptor: Descriptor,
    diff_id: DiffId,
    /// Whether a cache has it, not an image that the build stands on.
    cached: bool,
}

/// Where a blob can be fetched.
#[derive(Debug, Clone)]
pub enum LayerPlace {
    /// A repository of a registry, or an image in it.
    Registry(String),
    /// An OCI layout on this machine.
    Layout(PathBuf),
    /// A cache in an object store.
    Objects(Arc<ObjectCache>),
}

/// A compressed layer, ready to be named in a manifest.
#[derive(Debug, Clone)]
pub struct PackedLayer {
    /// Digest of the uncompressed layer.
    pub diff_id: DiffId,
    /// The blob.
    pub descriptor: Descriptor,
}

/// Filled when a layer is packed.
type PackedOnce = Arc<OnceCell<PackedLayer>>;

/// Filled when a blob has arrived at its destination.
pub(crate) type Sent = Arc<OnceCell<()>>;

/// All layers that a build touches. Cheap to clone.
#[derive(Clone)]
pub struct Layers {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Layers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layers").finish_non_exhaustive()
    }
}

struct Inner {
    store: Store,
    client: Client,
    events: Arc<dyn EventSink>,
    ownership: Ownership,
    /// Times later than this are clamped to it when a step's layer is packed.
    epoch: Option<i64>,
    compression: CompressionSetting,
    remotes: Mutex<HashMap<LayerId, Remote>>,
    trees: Mutex<HashMap<LayerId, Arc<OnceCell<PathBuf>>>>,
    blobs: Mutex<HashMap<(LayerId, CompressionSetting), PackedOnce>>,
    packers: Gate,
    /// Image and blob → whether it was sent there.
    sent: Mutex<HashMap<(String, Digest), Sent>>,
    /// Where the steps stand that made layers.
    places: Mutex<HashMap<LayerId, Place>>,
    /// Directories that layers have no entry for.
    implied: Mutex<HashMap<LayerId, Arc<Vec<Vec<u8>>>>>,
    /// Layer and path → small files that every step asks for, as `/etc/passwd`.
    small_files: Mutex<SmallFiles>,
    /// What the roots of steps with and without a network stand on.
    grounds: [OnceCell<Arc<Ground>>; 2],
    /// Layers of steps whose records are about to be kept.
    fresh: Mutex<HashMap<LayerId, LayerRecord>>,
}

type SmallFiles = HashMap<(LayerId, Vec<u8>), Arc<[u8]>>;

/// Larger files are read each time.
const SMALL_FILE: usize = 64 << 10;

/// What making the forms of layers needs.
#[derive(Clone)]
pub struct LayersSettings {
    /// Where the forms are kept.
    pub store: Store,
    /// Where blobs come from.
    pub client: Client,
    /// Where transfers are told.
    pub events: Arc<dyn EventSink>,
    /// Whether owners can be set here.
    pub ownership: Ownership,
    /// Times later than this are clamped to it when a step's layer is packed.
    pub epoch: Option<i64>,
    /// How layers are compressed.
    pub compression: CompressionSetting,
}

impl std::fmt::Debug for LayersSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LayersSettings").finish_non_exhaustive()
    }
}

impl Layers {
    /// No layers known yet.
    pub fn new(settings: LayersSettings) -> Layers {
        let LayersSettings {
            store,
            client,
            events,
            ownership,
            epoch,
            compression,
        } = settings;
        let inner = Inner {
            store,
            client,
            events,
            ownership,
            epoch,
            compression,
            remotes: Mutex::default(),
            trees: Mutex::default(),
            blobs: Mutex::default(),
            packers: Gate::new(PACKED_AT_ONCE),
            sent: Mutex::default(),
            places: Mutex::default(),
            implied: Mutex::default(),
            small_files: Mutex::default(),
            grounds: Default::default(),
            fresh: Mutex::default(),
        };
        Layers { inner: Arc::new(inner) }
    }

    /// Makes the layers of an image known: where to fetch what is not here. Nothing is fetched.
    pub fn learn(&self, image: &ImageSource) -> Result<Vec<LayerId>, WorkerError> {
        let mut remotes = lock(&self.inner.remotes);
        let mut learn = |layer: &ImageLayer| -> Result<LayerId, WorkerError> {
            let id = LayerId::of_diff(&layer.diff_id);
            // A record over layers that were never fetched is still good: they can be.
            let record = LayerRecord {
                diff_id: Some(layer.diff_id.clone()),
                remote: true,
                ..LayerRecord::new(id.clone())
            };
            self.inner.store.put_layer(&record)?;
            let remote = Remote {
                place: match &image.origin {
                    ImageOrigin::Registry => LayerPlace::Registry(image.reference.clone()),
                    ImageOrigin::Layout(path) => LayerPlace::Layout(path.clone()),
                },
                descriptor: layer.descriptor.clone(),
                diff_id: layer.diff_id.clone(),
                cached: false,
            };
            // A base is better known than a cache that happens to have the same layer.
            if remotes.get(&id).is_none_or(|known| known.cached) {
                remotes.insert(id.clone(), remote);
            }
            Ok(id)
        };
        image.layers.iter().map(&mut learn).collect()
    }

    /// Makes a layer of a remote cache known. Nothing is fetched.
    pub fn learn_cached(&self, diff_id: &DiffId, blob: &Descriptor, place: LayerPlace) -> Result<(), WorkerError> {
        let id = LayerId::of_diff(diff_id);
        self.inner.store.put_layer(&LayerRecord {
            diff_id: Some(diff_id.clone()),
            remote: true,
            ..LayerRecord::new(id.clone())
        })?;
        lock(&self.inner.remotes).entry(id).or_insert_with(|| Remote {
            place,
            descriptor: blob.clone(),
            diff_id: diff_id.clone(),
            cached: true,
        });
        Ok(())
    }

    /// The diff id of a layer that an image brings which the build stands on.
    pub fn diff_id_of_base(&self, id: &LayerId) -> Option<DiffId> {
        let remotes = lock(&self.inner.remotes);
        let remote = remotes.get(id).filter(|remote| !remote.cached)?;
        Some(remote.diff_id.clone())
    }

    /// Whether a blob is in a remote cache and not in the store.
    pub fn is_only_cached(&self, blob: &Digest) -> Result<bool, WorkerError> {
        let cached = lock(&self.inner.remotes)
            .values()
            .any(|remote| remote.cached && remote.descriptor.digest == *blob);
        Ok(cached && !self.inner.store.blob_exists(blob)?)
    }

    async fn record(&self, id: &LayerId) -> Result<Option<LayerRecord>, WorkerError> {
        Ok(self.inner.store.layer(id)?)
    }

    async fn fetch(&self, remote: &Remote) -> Result<(), WorkerError> {
        self.fetch_from(&remote.place, &remote.descriptor).await
    }

    /// Fetches a blob into the store, if it is not there.
    pub(crate) async fn fetch_from(&self, place: &LayerPlace, blob: &Descriptor) -> Result<(), WorkerError> {
        let store = &self.inner.store;
        if store.blob_exists(&blob.digest)? {
            return Ok(());
        }
        match place {
            LayerPlace::Registry(reference) => {
                let reference: Reference = reference.parse()?;
                let progress = self.progress(blob, TransferKind::Pull);
                self.inner.client.fetch_blob(&reference, blob, store, &progress).await?;
            }
            LayerPlace::Objects(cache) => {
                let fetched = cache.fetch(blob, store).await;
                fetched.map_err(|source| WorkerError::Cache(Box::new(source)))?;
            }
            LayerPlace::Layout(path) => {
                let (store, path, descriptor) = (store.clone(), path.clone(), blob.clone());
                blocking(move || crate::images::copy_layout_blob(&store, &path, &descriptor)).await?;
            }
        }
        Ok(())
    }

    pub(crate) fn progress(&self, descriptor: &Descriptor, kind: TransferKind) -> impl Fn(u64) + Send + Sync + 'static {
        let (events, digest, total) = (self.inner.events.clone(), descriptor.digest.clone(), descriptor.size);
        move |done| {
            events.send(Event::Progress {
                digest: digest.clone(),
                kind,
                done,
                total: Some(total),
            })
        }
    }

    /// The unpacked directories of a root to stack, lowest first: all that are missing are made at the same time. A tree
    /// more than there are layers gives directories the attributes that upper layers leave out.
    pub async fn trees(&self, layers: &[LayerId]) -> Result<Vec<PathBuf>, WorkerError> {
        let mut trees = futures::future::try_join_all(layers.iter().map(|id| self.tree(id))).await?;
        trees.extend(self.correction(layers).await?);
        Ok(trees)
    }

    /// The tree of directories whose attributes the stacked trees do not have; None: they have them all.
    async fn correction(&self, layers: &[LayerId]) -> Result<Option<PathBuf>, WorkerError> {
        let mut implied = Vec::with_capacity(layers.len());
        for id in layers {
            implied.push(self.implied_directories(id).await?);
        }
        if implied.iter().skip(1).all(|directories| directories.is_empty()) {
            return Ok(None);
        }
        let view = self.view(layers).await?;
        let plan = corrections(&view, implied.iter().map(|directories| directories.as_slice()));
        let plan = plan.map_err(WorkerError::View)?;
        if plan.entries.is_empty() {
            return Ok(None);
        }
        let layers = self.clone();
        blocking(move || {
            let store = &layers.inner.store;
            let mut hasher = kiln_oci::Hasher::new(kiln_oci::Algorithm::Sha256);
            for planned in &plan.entries {
                hasher.update(format!("{:?}\n", planned.entry).as_bytes());
            }
            let id = LayerId::of_recipe(&hasher.finish());
            let _lock = store.lock_key(&lock_of(&id))?;
            if store.tree(&id)?.is_none() {
                let staged = store.stage_tree()?;
                let index = kiln_image::plan::write_tree(&plan, staged.path(), layers.inner.ownership)?;
                store.put_layer_index(&id, &index)?;
                store.put_layer(&LayerRecord::new(id.clone()))?;
                staged.commit(&id)?;
            }
            Ok(store.tree(&id)?)
        })
        .await
    }

    async fn implied_directories(&self, id: &LayerId) -> Result<Arc<Vec<Vec<u8>>>, WorkerError> {
        if let Some(known) = lock(&self.inner.implied).get(id) {
            return Ok(known.clone());
        }
        let found = Arc::new(implied_directories(&*self.index(id).await?));
        lock(&self.inner.implied).insert(id.clone(), found.clone());
        Ok(found)
    }

    /// The directories to stack so that they show a root, lowest first. Of a deep root full groups of layers are merged
    /// to one tree each: the kernel's bound on the layers of an overlay is never met, a mount takes the same time
    /// however deep the root is, and the groups are the same for the next step.
    pub async fn stack(&self, layers: &[LayerId]) -> Result<Vec<PathBuf>, WorkerError> {
        let whole = if layers.len() > STACKED_AT_MOST {
            layers.len() - layers.len() % GROUP
        } else {
            0
        };
        let (groups, single) = layers.split_at(whole);
        let mut stack = Vec::new();
        for group in groups.chunks(GROUP) {
            stack.push(self.merged(group).await?);
        }
        stack.extend(futures::future::try_join_all(single.iter().map(|id| self.tree(id))).await?);
        stack.extend(self.correction(layers).await?);
        Ok(stack)
    }

    /// One tree that shows what several layers show together.
    async fn merged(&self, group: &[LayerId]) -> Result<PathBuf, WorkerError> {
        let names: Vec<&str> = group.iter().map(LayerId::as_str).collect();
        let id = LayerId::of_recipe(&Digest::sha256(format!("merged {}", names.join(" "))));
        let cell = lock(&self.inner.trees).entry(id.clone()).or_default().clone();
        let make = || async {
            if let Some(tree) = self.inner.store.tree(&id)? {
                return Ok(tree);
            }
            let trees = futures::future::try_join_all(group.iter().map(|id| self.tree(id))).await?;
            let (store, id) = (self.inner.store.clone(), id.clone());
            blocking(move || {
                let _lock = store.lock_key(&lock_of(&id))?;
                if let Some(tree) = store.tree(&id)? {
                    return Ok(tree);
                }
                let staged = store.stage_tree()?;
                kiln_image::merge::merge_trees(&trees, staged.path()).map_err(kiln_image::plan::PlanError::from)?;
                // Known, so that garbage collection finds it; nothing refers to it, as it can always be made again.
                store.put_layer(&LayerRecord::new(id.clone()))?;
                staged.commit(&id)?;
                store.tree(&id)?.ok_or_else(|| WorkerError::LayerGone(id.clone()))
            })
            .await
        };
        cell.get_or_try_init(make).await.cloned()
    }

    /// The unpacked directory of one layer. Asked for twice, it is made once.
    pub async fn tree(&self, id: &LayerId) -> Result<PathBuf, WorkerError> {
        let cell = lock(&self.inner.trees).entry(id.clone()).or_default().clone();
        cell.get_or_try_init(|| self.make_tree(id)).await.cloned()
    }

    async fn make_tree(&self, id: &LayerId) -> Result<PathBuf, WorkerError> {
        if let Some(tree) = self.inner.store.tree(id)? {
            return Ok(tree);
        }
        if let Some(tree) = self.unpack_on_the_way(id).await? {
            return Ok(tree);
        }
        let descriptor = self.local_blob(id).await?;
        let (layers, id) = (self.clone(), id.clone());
        blocking(move || layers.unpack(&id, &descriptor)).await
    }

    /// Unpacks a layer while its blob comes from a registry. None: the blob is here, comes from elsewhere, or another
    /// process is about to make the same tree, and waiting for it would keep a connection waiting.
    async fn unpack_on_the_way(&self, id: &LayerId) -> Result<Option<PathBuf>, WorkerError> {
        let Some(remote) = lock(&self.inner.remotes).get(id).cloned() else {
            return Ok(None);
        };
        let LayerPlace::Registry(reference) = &remote.place else {
            return Ok(None);
        };
        if let Some(record) = self.record(id).await?
            && self.stored_blob(&record, None)?.is_some()
        {
            return Ok(None);
        }
        let (store, blob) = (&self.inner.store, &remote.descriptor);
        if store.blob_exists(&blob.digest)? {
            return Ok(None);
        }
        let Some(key_lock) = store.try_lock_key(&lock_of(id))? else {
            return Ok(None);
        };
        if let Some(tree) = store.tree(id)? {
            return Ok(Some(tree));
        }
        let reference: Reference = reference.parse()?;
        let (tap, bytes) = BlobTap::new();
        let (layers, descriptor) = (self.clone(), blob.clone());
        let unpacking = tokio::task::spawn_blocking(move || layers.unpack_stream(bytes, &descriptor));
        let progress = self.progress(blob, TransferKind::Pull);
        let client = &self.inner.client;
        let fetched = client.fetch_blob_through(&reference, blob, store, &progress, tap).await;
        let unpacked = unpacking.await.map_err(WorkerError::Panicked)?;
        // What broke off on its way cannot be unpacked either: the download's error is the cause.
        fetched?;
        let unpacked = unpacked?;
        let (layers, id, descriptor) = (self.clone(), id.clone(), blob.clone());
        let tree = blocking(move || {
            let _lock = key_lock;
            layers.keep_tree(&id, &descriptor, unpacked)
        });
        tree.await.map(Some)
    }

    /// A blob of the layer in the store, fetched if need be.
    async fn local_blob(&self, id: &LayerId) -> Result<Descriptor, WorkerError> {
        if let Some(record) = self.record(id).await?
            && let Some(packed) = self.stored_blob(&record, None)?
        {
            return Ok(packed.descriptor);
        }
        let remote = lock(&self.inner.remotes)
            .get(id)
            .cloned()
            .ok_or_else(|| WorkerError::LayerGone(id.clone()))?;
        self.fetch(&remote).await?;
        Ok(remote.descriptor)
    }

    fn unpack(&self, id: &LayerId, descriptor: &Descriptor) -> Result<PathBuf, WorkerError> {
        let store = &self.inner.store;
        let _lock = store.lock_key(&lock_of(id))?;
        if let Some(tree) = store.tree(id)? {
            return Ok(tree);
        }
        let blob = store
            .open_blob(&descriptor.digest)?
            .ok_or_else(|| WorkerError::LayerGone(id.clone()))?;
        let unpacked = self.unpack_stream(blob, descriptor)?;
        self.keep_tree(id, descriptor, unpacked)
    }

    fn unpack_stream(
        &self,
        blob: impl Read + Send,
        descriptor: &Descriptor,
    ) -> Result<(StagedTree, Unpacked), WorkerError> {
        let staged = self.inner.store.stage_tree()?;
        let options = UnpackOptions {
            ownership: self.inner.ownership,
            ..UnpackOptions::default()
        };
        let compression = descriptor
            .media_type
            .layer_compression()
            .unwrap_or(kiln_oci::Compression::Gzip);
        let progress = self.progress(descriptor, TransferKind::Unpack);
        progress(0);
        let unpacked = kiln_image::unpack::unpack_layer(blob, compression, staged.path(), &options)?;
        progress(descriptor.size);
        Ok((staged, unpacked))
    }

    /// Makes what was unpacked of a verified blob the tree of a layer, if it is that layer.
    fn keep_tree(
        &self,
        id: &LayerId,
        descriptor: &Descriptor,
        (staged, unpacked): (StagedTree, Unpacked),
    ) -> Result<PathBuf, WorkerError> {
        let store = &self.inner.store;
        if LayerId::of_diff(&unpacked.diff_id) != *id
            && store.layer(id)?.and_then(|record| record.diff_id).as_ref() != Some(&unpacked.diff_id)
        {
            return Err(WorkerError::WrongDiffId {
                blob: descriptor.digest.clone(),
                found: unpacked.diff_id,
            });
        }
        store.put_layer_index(id, &unpacked.index)?;
        let packed = PackedLayer {
            diff_id: unpacked.diff_id,
            descriptor: descriptor.clone(),
        };
        self.keep_blob(id, &packed, None)?;
        staged.commit(id)?;
        store.tree(id)?.ok_or_else(|| WorkerError::LayerGone(id.clone()))
    }

    /// A root seen through the indexes of its layers. A layer without one is fetched and unpacked for it.
    pub async fn view(&self, layers: &[LayerId]) -> Result<RootView, WorkerError> {
        // A deep root is looked at by each of its steps, and by then all but its last index are in memory.
        let mut indexes = Vec::with_capacity(layers.len());
        for id in layers {
            let Some(index) = self.inner.store.layer_index(id)? else {
                let all = layers.iter().map(|id| self.index(id));
                return Ok(RootView::new(futures::future::try_join_all(all).await?));
            };
            indexes.push(index);
        }
        Ok(RootView::new(indexes))
    }

    /// The entries of one layer.
    pub async fn index(&self, id: &LayerId) -> Result<Arc<LayerIndex>, WorkerError> {
        if let Some(index) = self.inner.store.layer_index(id)? {
            return Ok(index);
        }
        let tree = self.tree(id).await?;
        if let Some(index) = self.inner.store.layer_index(id)? {
            return Ok(index);
        }
        // The index alone was lost, as after a power failure.
        let (store, id) = (self.inner.store.clone(), id.clone());
        blocking(move || {
            let index = kiln_image::scan::scan_tree(&tree)?;
            store.put_layer_index(&id, &index)?;
            store.layer_index(&id)?.ok_or(WorkerError::LayerGone(id))
        })
        .await
    }

    /// The tree of a layer, opened to read files in it.
    pub async fn open_tree(&self, id: &LayerId) -> Result<Arc<OwnedFd>, WorkerError> {
        let path = self.tree(id).await?;
        open_directory(&path).map_err(|source| WorkerError::Io {
            operation: "open",
            path,
            source,
        })
    }

    /// A file of a layer's tree that was read before.
    pub(crate) fn small_file(&self, id: &LayerId, path: &[u8]) -> Option<Arc<[u8]>> {
        lock(&self.inner.small_files)
            .get(&(id.clone(), path.to_owned()))
            .cloned()
    }

    /// Keeps a file of a layer's tree for the next step that asks. Trees never change.
    pub(crate) fn keep_small_file(&self, id: &LayerId, path: Vec<u8>, bytes: &[u8]) {
        if bytes.len() <= SMALL_FILE {
            lock(&self.inner.small_files).insert((id.clone(), path), bytes.into());
        }
    }

    /// Whether a record's layers can all be brought back: from a tree, a blob, or where their image came from.
    pub fn are_available(&self, layers: &[LayerId]) -> Result<bool, WorkerError> {
        for id in layers {
            if lock(&self.inner.remotes).contains_key(id) || self.inner.store.tree(id)?.is_some() {
                continue;
            }
            let stored = self.inner.store.layer(id)?;
            let blob = stored
                .as_ref()
                .map(|record| self.stored_blob(record, None))
                .transpose()?
                .flatten();
            if blob.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The image that a blob can be fetched from, if it came from a registry.
    pub fn origin_of(&self, blob: &Digest) -> Option<Reference> {
        let remotes = lock(&self.inner.remotes);
        let remote = remotes.values().find(|remote| remote.descriptor.digest == *blob)?;
        match &remote.place {
            LayerPlace::Registry(reference) => reference.parse().ok(),
            LayerPlace::Layout(_) | LayerPlace::Objects(_) => None,
        }
    }

    /// Fetches the blob of an image's layer into the store.
    pub async fn fetch_blob(&self, blob: &Digest) -> Result<(), WorkerError> {
        let remote = lock(&self.inner.remotes)
            .values()
            .find(|remote| remote.descriptor.digest == *blob)
            .cloned();
        match remote {
            Some(remote) => self.fetch(&remote).await,
            None => Ok(()),
        }
    }

    /// Where it is noted that a blob was sent to an image: whoever is first sends it.
    pub(crate) fn sent(&self, name: &Reference, blob: &Digest) -> Sent {
        let key = (name.to_string(), blob.clone());
        lock(&self.inner.sent).entry(key).or_default().clone()
    }

    /// The client that layers are fetched with.
    pub(crate) fn client(&self) -> &Client {
        &self.inner.client
    }

    /// A directory that stays empty.
    pub fn empty_directory(&self) -> Result<PathBuf, WorkerError> {
        Ok(self.inner.store.empty_directory()?)
    }

    /// The directory that lies below all layers of a step's root.
    pub(crate) async fn ground(&self, network: Network) -> Result<Arc<Ground>, WorkerError> {
        let make = || async {
            let store = self.inner.store.clone();
            blocking(move || Ok(Arc::new(Ground::make(&store, network)?))).await
        };
        let cell = match network {
            Network::Host => &self.inner.grounds[0],
            Network::None => &self.inner.grounds[1],
        };
        cell.get_or_try_init(make).await.cloned()
    }

    /// Keeps what is known of a step's layer together with the step's record.
    pub(crate) fn keep_with_record(&self, layer: LayerRecord) {
        lock(&self.inner.fresh).insert(layer.id.clone(), layer);
    }

    /// The layers among these that are to be kept with their record.
    pub(crate) fn fresh(&self, layers: &[LayerId]) -> Vec<LayerRecord> {
        let mut fresh = lock(&self.inner.fresh);
        layers.iter().filter_map(|id| fresh.remove(id)).collect()
    }

    /// Whether owners can be set here.
    pub fn ownership(&self) -> Ownership {
        self.inner.ownership
    }

    /// The store below.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }
}

/// The lock under which a layer's forms are made.
pub(crate) fn lock_of(id: &LayerId) -> CacheKey {
    CacheKey(Digest::sha256(format!("layer {id}")))
}

/// Runs blocking work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WorkerError> + Send + 'static,
) -> Result<T, WorkerError> {
    tokio::task::spawn_blocking(work).await.map_err(WorkerError::Panicked)?
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panic elsewhere leaves these maps whole: they are only inserted into.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
