//! HCL, JSON and Compose files → resolved targets, as `docker buildx bake` resolves them.
//!
//! ```text
//!  text ──syntax──▶ Body ──config──▶ Definition ──resolve──▶ Resolved
//!        (HCL, JSON)       (eval, functions)       (groups, inherits, --set, target: links)
//!  text ──compose─────────────────────▲
//! ```
//!
//! [`config::read`] evaluates files to a [`config::Definition`]: every target as it is written. [`resolve::resolve`]
//! chooses targets and completes them. [`entitlement`] says what a target would do to the machine that the user must
//! allow. Nothing here reads a file, the environment or the clock; the caller gives all of it ([`config::Inputs`]).
//!
//! Whatever the text, evaluation ends: nesting, sizes and the bytes that expressions make are bounded, and what goes
//! beyond is an error with a place.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod compose;
pub mod config;
pub mod diagnostic;
pub mod entitlement;
mod error;
pub mod eval;
pub mod functions;
pub mod model;
pub mod resolve;
pub mod source;
pub mod syntax;
pub mod value;

pub use error::{BakeError, Diagnosed};
