//! What happens during a build, told to whoever shows it.

use std::time::Duration;

use kiln_oci::{Digest, Platform};
use serde::{Deserialize, Serialize};

use crate::{VertexId, VertexMeta};

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
    },
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

/// Why a step ran: what differs from the nearest record of the same slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum MissReason {
    /// No build has run this step here.
    NoRecord,
    /// `--no-cache` said so.
    CacheIgnored,
    /// The instruction itself was edited.
    InstructionChanged {
        /// Before.
        from: String,
        /// Now.
        to: String,
    },
    /// A variable that the step sees has another value.
    VariableChanged {
        /// Which.
        name: String,
        /// Before; None was unset.
        from: Option<String>,
        /// Now; None is unset.
        to: Option<String>,
    },
    /// The base image is another.
    BaseChanged {
        /// Before.
        from: String,
        /// Now.
        to: String,
    },
    /// Files that the step copies or mounts differ.
    FilesChanged {
        /// The source as it stands in the instruction.
        source: String,
        /// Paths that are new.
        added: Vec<String>,
        /// Paths that are gone.
        removed: Vec<String>,
        /// Paths with other content, mode or owner.
        changed: Vec<String>,
    },
    /// A step before it gave another result.
    ParentChanged {
        /// That step's name.
        step: String,
    },
    /// Something else about the step differs.
    SettingChanged {
        /// What.
        name: String,
        /// Before.
        from: String,
        /// Now.
        to: String,
    },
    /// The record was there once and its layers are gone.
    Evicted,
}
