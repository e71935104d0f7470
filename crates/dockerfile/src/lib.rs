//! Dockerfiles: text → syntax tree → typed instructions → plan → graph. Pure: no I/O, no async.
//!
//! * [`parser`] — lines, directives, comments, continuation, heredocs; [`ast`] — the tree.
//! * [`instruction`] — every instruction and flag as a type; [`stage`] — instructions grouped by FROM.
//! * [`epoch`] — what `SOURCE_DATE_EPOCH` means.
//! * [`lint`] — rules about a file; [`outline`] — what can be built of it, and which arguments it takes.
//! * [`expand`] — parameter expansion and word splitting.
//! * [`git`] — git repositories as they are named.
//! * [`ignore`] — `.dockerignore` files; [`path_pattern`] — Go's `filepath.Match` and `filepath.Clean`.
//! * [`plan`] — which stages and images are needed; [`lower`] — the graph and the image configurations.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod ast;
pub mod diagnostic;
mod directive;
pub mod epoch;
pub mod expand;
pub mod git;
pub mod ignore;
pub mod instruction;
pub mod lint;
pub mod lower;
pub mod outline;
pub mod parser;
pub mod path_pattern;
pub mod plan;
pub mod ports;
pub mod stage;
pub mod suggestion;

pub use diagnostic::{Diagnostic, Lines, Severity};
pub use stage::Dockerfile;
