//! What happens during a build, told to whoever shows it.

use std::time::Duration;

use kiln_oci::{Digest, Platform};
use serde::{Deserialize, Serialize};

use crate::{MissReason, VertexId, VertexMeta};

/// Receives events, from any thread. Must not block for long.
pub trait EventSink: Send + Sync {
    /// Takes one event.
    fn send(&self, event: Event);
}

/// Receives events and forgets them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl EventSink for Silent {
    fn send(&self, _event: Event) {}
}

/// One event. Times are told by the receiver's clock, durations by the sender.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// Work outside the graph has begun: loading the Dockerfile, resolving a base image, exporting, pushing.
    /// `id` pairs it with its end.
    TaskStarted {
        /// Pairs start, progress and end.
        id: u64,
        /// What it is, such as `resolve docker.io/library/alpine:3.20`.
        name: String,
        /// The platform that it is for.
        platform: Option<Platform>,
    },
    /// Such work has ended.
    TaskFinished {
        /// Pairs start, progress and end.
        id: u64,
        /// What came of it.
        outcome: Outcome,
        /// How long it took.
        duration: Duration,
    },
    /// A step is known. Sent for every vertex before the first runs.
    StepPlanned {
        /// Which.
        vertex: VertexId,
        /// What is said about it.
        meta: VertexMeta,
        /// The steps and sources that it starts from, by position.
        inputs: Vec<VertexId>,
    },
    /// A step need not run: its result is there already. Sent before the step's end.
    StepMatched {
        /// Which.
        vertex: VertexId,
        /// How its result was found.
        hit: Hit,
        /// The cache that the record came from; None is the local store.
        cache: Option<String>,
        /// How long it took when it ran, if its record was read.
        took: Option<Duration>,
        /// When it ran, in seconds since the Unix epoch, if its record was read.
        created_unix: Option<i64>,
    },
    /// A step runs.
    StepStarted {
        /// Which.
        vertex: VertexId,
        /// Whether it runs under an emulator.
        emulated: bool,
        /// Why it was not found in the cache.
        reason: Option<MissReason>,
    },
    /// A step wrote to its standard output or error.
    StepLog {
        /// Which.
        vertex: VertexId,
        /// Which stream.
        stream: LogStream,
        /// The bytes, lossily as text; not always whole lines.
        text: String,
    },
    /// A step has ended.
    StepFinished {
        /// Which.
        vertex: VertexId,
        /// What came of it.
        outcome: Outcome,
        /// How long it took.
        duration: Duration,
    },
    /// Bytes of one transfer or conversion.
    Progress {
        /// The blob.
        digest: Digest,
        /// What is done with it.
        kind: TransferKind,
        /// Bytes done.
        done: u64,
        /// Bytes in all, if known.
        total: Option<u64>,
    },
    /// Something that the user should know.
    Warning {
        /// The text.
        message: String,
        /// What to do about it.
        hints: Vec<String>,
    },
    /// The image of one platform is assembled.
    PlatformFinished {
        /// Which.
        platform: Platform,
        /// Digest of its manifest.
        digest: Digest,
        /// Its layers.
        layers: usize,
        /// Bytes of its compressed layers.
        size: u64,
        /// Its layers, lowest first.
        contents: Vec<LayerContent>,
    },
    /// What the platforms had in common. The last event of `--progress=rawjson`; nobody else sends it.
    Shared(Shared),
    /// The audit of one platform's image has ended.
    AuditFinished {
        /// Which.
        platform: Platform,
        /// What was found; nothing in a sound image.
        findings: Vec<AuditFinding>,
    },
    /// A test of one platform's image has ended.
    TestFinished {
        /// Which.
        platform: Platform,
        /// What the test is called.
        name: String,
        /// What came of it.
        outcome: Outcome,
        /// How long it took.
        duration: Duration,
    },
}

/// What the platforms of a build had in common.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shared {
    /// How often instructions would have run if each platform had run its own. Those that were found do not count.
    pub runs: u64,
    /// How many fewer ran, since an instruction ran once for several platforms.
    pub runs_saved: u64,
    /// Bytes of the compressed layers that the build put on its bases, counted once for each platform that has them.
    pub bytes: u64,
    /// How many of these bytes are in a layer that another platform has too.
    pub bytes_saved: u64,
}

/// One layer of a finished image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerContent {
    /// Digest of the compressed blob.
    pub digest: Digest,
    /// Bytes of the compressed blob.
    pub size: u64,
    /// The instruction that made it, as the image's history has it; empty if the history says nothing.
    pub instruction: String,
    /// Whether it came with the base image.
    pub base: bool,
}

/// Something that an audit found in an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditFinding {
    /// Its stable code, such as `A01`.
    pub code: String,
    /// How bad it is.
    pub severity: Severity,
    /// The file; empty if it is about the whole image.
    pub path: String,
    /// The instruction that put the file there, if it is known.
    pub instruction: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub repair: Option<String>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It does not work.
    Error,
    /// It may not work.
    Warning,
    /// Good to know.
    Note,
}

/// How the result of a step that did not run was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hit {
    /// A record of the same operation on the same inputs.
    Definition,
    /// A record of the same operation on the same files: what gave the files had changed, the files had not.
    Content,
    /// A record that was not there when the step was looked up first: of another build, or of the same step for another
    /// platform, with the same files.
    Concurrent,
    /// Nobody asked: a later step was found, so this one's result is not needed.
    NotNeeded,
}

/// What came of a step or task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Done.
    Done,
    /// Found in the cache: nothing ran.
    Cached,
    /// Failed, with the error's text.
    Failed(String),
    /// Stopped because something else failed or the user said so.
    Cancelled,
}

/// A stream of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What is done with a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransferKind {
    /// Fetched from a registry.
    Pull,
    /// Unpacked to a tree.
    Unpack,
    /// Packed from files.
    Pack,
    /// Sent to a registry.
    Push,
}
