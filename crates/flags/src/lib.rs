//! What the values of build flags mean: text → typed values, in the grammar of `docker buildx build` and of the build
//! definitions and Dockerfiles that spell them the same. Pure: nothing is looked up, opened or read here.
//!
//! * [`csv`], [`fields`] — the comma-separated `key=value` form that most of them share; [`duration`] — spans of time.
//! * [`output`], [`cache`], [`attest`] — what a build writes besides its result's name: `--output`, `--cache-to` and
//!   `--cache-from`, `--attest` with its short forms `--sbom` and `--provenance`.
//! * [`secret`], [`ssh`], [`entitlement`] — what steps are given and allowed.
//! * [`context`] — `--build-context` and image layouts; [`host`], [`limit`], [`resource`] — `--add-host`, `--ulimit` and
//!   sizes, `--resource`.
//! * [`annotation`], [`pair`], [`call`] — `--annotation`; `--build-arg` and `--label`; `--call`.
//! * [`policy`], [`proxy`] — `--policy`; proxies of a client's configuration.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod annotation;
pub mod attest;
pub mod cache;
pub mod call;
pub mod context;
pub mod csv;
pub mod duration;
pub mod entitlement;
mod error;
pub mod fields;
pub mod host;
pub mod limit;
pub mod output;
pub mod pair;
pub mod policy;
pub mod proxy;
pub mod resource;
pub mod secret;
pub mod ssh;

pub use error::FlagError;
