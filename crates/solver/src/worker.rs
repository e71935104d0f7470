//! The seam between deciding what runs and running it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kiln_graph::{EventSink, LocalSource, Vertex};
use kiln_store::{CacheKey, CacheRecord, LayerId};
use tokio_util::sync::CancellationToken;

use crate::Selection;

/// A stack of layers, lowest first.
pub type Root = Arc<[LayerId]>;

/// What a vertex takes from one input.
#[derive(Debug, Clone)]
pub enum Input {
    /// The root that a vertex gave.
    Root(Root),
    /// A named context; the worker knows where its files are.
    Local(LocalSource),
}

/// A source, brought as far as its key asks for.
#[derive(Debug, Clone)]
pub struct Source {
    /// What identifies it.
    pub key: CacheKey,
    /// Its layers. Their blobs or trees need not be here yet.
    pub root: Root,
    /// How the source is called in explanations, such as a reference with its digest.
    pub description: String,
}

/// A record that answers a lookup.
#[derive(Debug, Clone)]
pub struct Found {
    /// The record. One from elsewhere has neither slot nor parts.
    pub record: CacheRecord,
    /// The cache that it came from; None is the local store.
    pub cache: Option<String>,
}

/// What a running step is given besides its inputs.
#[derive(Clone)]
pub struct StepContext {
    /// Where logs and progress go.
    pub events: Arc<dyn EventSink>,
    /// Set when the step is to stop.
    pub cancel: CancellationToken,
}

impl std::fmt::Debug for StepContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StepContext").finish_non_exhaustive()
    }
}

/// Does the work. All methods may be called at the same time.
#[async_trait]
pub trait Worker: Send + Sync + 'static {
    /// Why something went wrong.
    type Error: std::error::Error + Send + Sync + 'static;
    /// Keeps other processes from running a step with the same key, until it is dropped.
    type Lock: Send;

    /// The key and the layers of a source that is no context. A source whose content is not known from its
    /// definition (a URL without a checksum) is fetched for this.
    async fn source(&self, vertex: &Vertex, context: &StepContext) -> Result<Source, Self::Error>;

    /// The digest over what `vertex` takes from its input at `position`: for a context always, for a root only
    /// where the operation takes selected files. None: the whole input counts, and its key stands for it.
    async fn select(&self, vertex: &Vertex, position: usize, input: &Input) -> Result<Option<Selection>, Self::Error>;

    /// The record of `key`, if all that it names is still to be had.
    async fn lookup(&self, key: &CacheKey) -> Result<Option<Found>, Self::Error>;

    /// Records to explain a miss with, newest first: of the same slot, and of the same instruction elsewhere in the
    /// stage.
    async fn nearest(&self, vertex: &Vertex) -> Result<Vec<CacheRecord>, Self::Error>;

    /// How long each step is expected to take, by what it or one like it took before; None where nothing is known. Asked
    /// once in a solve, when the first step has to wait for its turn.
    async fn expected(&self, vertices: &[Arc<Vertex>]) -> Result<Vec<Option<Duration>>, Self::Error>;

    /// Whether there was a record of this very key once, which [`Worker::lookup`] does not give any more.
    async fn was_kept(&self, key: &CacheKey) -> Result<bool, Self::Error>;

    /// Text that is kept and shown, without the values of the user's secrets.
    fn conceal(&self, text: String) -> String;

    /// Waits until no other process runs a step with this key.
    async fn lock(&self, key: &CacheKey) -> Result<Self::Lock, Self::Error>;

    /// Runs one step and gives the root that comes of it.
    async fn execute(&self, vertex: &Vertex, inputs: &[Input], context: &StepContext) -> Result<Root, Self::Error>;

    /// Keeps a record under its key and under `aliases`.
    async fn save(&self, record: CacheRecord, aliases: Vec<CacheKey>) -> Result<(), Self::Error>;

    /// Whether the step would run under an emulator here.
    fn is_emulated(&self, vertex: &Vertex) -> bool;
}
