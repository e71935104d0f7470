//! What builds left behind: each build's record, folded from its events while it runs.
//!
//! * [`record`] — the record, and how an event changes it: the same for a build that runs, that ended, and that was
//!   killed.
//! * [`recorder`] — takes the events of a build beside the renderer, keeps the journal and, at the end, the record.
//! * [`archive`] — finding and reading builds of the store's history.
//! * [`chain`] — from a step that ran back to where the change began.
//! * [`timeline`] — when what ran, and the critical path.

pub mod archive;
pub mod chain;
pub mod record;
pub mod recorder;
pub mod timeline;

pub use record::RequestSummary;
pub use recorder::{Ending, Recorder};
