//! What must run, in which order, and why.
//!
//! [`solve`] takes a graph and the vertices that are wanted, and drives a [`Worker`]: it computes keys, looks
//! for records, and runs what has none. It touches no registry, no process and no file itself, so a fake
//! worker tests it.
//!
//! * [`worker`] — the seam: what the solver asks of whoever does the work.
//! * [`key`] — definition keys, content keys and the named parts of both.
//! * [`driver`] — one task that owns all state; the state machine of a vertex stands there as a table.
//! * `step` — one step whose inputs are done: matched once more, then run.
//! * [`schedule`] — whose turn it is: the longest path first, within the bounds of processors and memory.
//! * [`reason`] — why a step ran: the nearest record of the same step, compared part by part.
//! * [`forecast`] — what a solve would run, said beforehand.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod driver;
pub mod forecast;
pub mod key;
pub mod reason;
pub mod schedule;
mod step;
pub mod worker;

pub use driver::{Solution, SolveError, SolveOptions, Solved, solve};
pub use forecast::{Forecast, Verdict, forecast};
pub use key::{InputKey, Selection};
pub use schedule::AvailableMemory;
pub use worker::{Found, Input, Root, Source, StepContext, Worker};
