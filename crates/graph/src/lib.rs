//! What a build is: a directed acyclic graph of content-addressed operations, and the events of a build.
//!
//! A [`Vertex`] is an [`Op`] and the vertices that it takes its inputs from. Its [`VertexId`] is the digest of
//! both, so equal vertices are one vertex: a stage that does not depend on the target platform stands once in
//! the graph of all platforms. What is only said about a vertex (its name, its line in the Dockerfile, the
//! platforms that need it) is [`VertexMeta`] and no part of its identity.
//!
//! Every vertex but a context has one result: a root, which is a stack of layers. [`Op::Exec`] and
//! [`Op::File`] put exactly one layer on the root of their first input.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod event;
pub mod exec;
pub mod file;
pub mod op;
pub mod reason;
pub mod source;
pub mod vertex;

pub use event::{
    AuditFinding, Event, EventSink, Hit, LayerContent, LogStream, Outcome, Severity, Shared, TransferKind,
};
pub use exec::{ExecOp, Mount, MountKind, NetworkMode, SecurityMode, Sharing};
pub use file::{CopyAction, FileAction, FileOp, Owner};
pub use op::Op;
pub use reason::{MissReason, ModeChange, RootCause};
pub use source::{GitSource, HttpSource, ImageLayer, ImageOrigin, ImageSource, LocalSource};
pub use vertex::{Graph, SourceLines, Vertex, VertexId, VertexMeta};
