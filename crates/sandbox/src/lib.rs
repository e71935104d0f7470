//! Runs one process in one root: namespaces, mounts, capabilities, system-call filter, users, emulators.
//!
//! The crate knows nothing of Dockerfiles, images or caches. A [`Step`] says everything; [`Step::spawn`] has a
//! *launcher*, which is this program again, fork the sandbox's init, and gives a [`RunningStep`].
//!
//! ```text
//! kiln ── posix_spawn, once ──> launcher: one thread; for each emulator one in a user namespace of its own
//!      ── a message a step ──>    └─ clone ──> init (pid 1 of new namespaces): builds the root, reaps
//!                                               └─ fork ──> the step's process
//! ```
//!
//! Two pipes join `kiln` and the init: *control* (signals to forward; its end means that `kiln` is gone, and
//! init ends the step) and *report* (what failed, what was made, how the process ended; its end is the sandbox's).
//!
//! This is the only crate with `unsafe` code: process creation and a few calls that have no safe wrapper.

#![expect(
    unsafe_code,
    reason = "process creation and a few kernel calls have no safe wrapper; no other crate has any"
)]
#![warn(missing_docs)]

pub mod binfmt;
mod capabilities;
pub mod control_group;
pub mod doctor;
pub mod emulator;
mod filter;
mod init;
mod launcher;
mod mounts;
pub mod namespace;
mod overlay;
pub mod pty;
mod refusal;
mod report;
mod spawn;
mod staging;
pub mod step;
mod stubs;
mod sys;
pub mod user;

pub use emulator::{Emulator, EmulatorSearch};
pub use launcher::init_if_requested;
pub use namespace::{IdentityMap, enter_user_namespace};
pub use spawn::{RunningStep, SandboxError};
pub use step::{Changes, Exit, Network, Privileges, RootSource, Secret, Stdio, Step, StepMount};
