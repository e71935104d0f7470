//! Fixtures and corpora that the tests of Kiln stand on.
//!
//! - **Base images** ([`BaseImages`]): busybox and a stand-in for Alpine, made of Debian's static busybox for several
//!   architectures and served by a small registry inside the test process.
//! - **Languages** ([`LanguageImages`]): base images with compilers and interpreters, made of Debian's packages.
//! - **Peers** ([`DockerRegistry`], [`KilnRegistry`], [`MotoServer`], [`CacheService`]): servers on a free loopback port, stopped by their id on drop.
//! - **Remote sources** ([`GitServer`], [`HttpServer`]): repositories and files on a free loopback port.
//! - **Faults** ([`FaultProxy`]): a proxy that resets, truncates, corrupts or refuses at chosen points, a bounded number
//!   of times.
//! - **Runs** ([`Fixture`]): a private state directory and configuration in which the `kiln` binary is started.
//! - **Terminals** ([`Terminal`]): a program that is typed at as by a person.
//! - **Pages** ([`Browser`]): a headless browser that looks at what this program writes.
//! - **Corpora** ([`conformance`]): cases that other projects wrote, driven against this one.
#![allow(
    clippy::disallowed_methods,
    reason = "a tool for developers reads its own environment"
)]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod audit_parts;
mod base_image;
mod browser;
mod cache_service;
#[cfg(feature = "conformance")]
pub mod conformance;
mod debian;
mod docker_registry;
mod error;
mod fault_proxy;
mod fixture;
mod git_server;
mod http;
mod http_server;
mod image_layout;
mod kiln_binary;
mod kiln_registry;
mod language_images;
mod moto_server;
mod ordinary_user;
mod package_layer;
mod program;
mod static_registry;
mod terminal;

pub use audit_parts::{AuditParts, DEBIAN_PLATFORMS, java_archive};
pub use base_image::{BaseImages, Distribution};
pub use browser::Browser;
pub use cache_service::{CacheService, TOKEN};
pub use debian::Debian;
pub use docker_registry::{Access, DockerRegistry};
pub use error::TestkitError;
pub use fault_proxy::{Fault, FaultProxy, Rule};
pub use fixture::{Fixture, Outcome, registries_toml};
pub use git_server::{GitRepository, GitServer, GitServing};
pub use http::{Request, Response, exchange};
pub use http_server::HttpServer;
pub use image_layout::{ImageLayout, Layer, Tree};
pub use kiln_binary::kiln_binary;
pub use kiln_registry::{KilnRegistry, await_address};
pub use language_images::{Language, LanguageImages};
pub use moto_server::MotoServer;
pub use ordinary_user::{OrdinaryUser, SubordinateIds};
pub use program::{Program, cache_directory, is_running, on_path, report_skip, skip_unless_root};
pub use static_registry::StaticRegistry;
pub use terminal::Terminal;

/// What an end-to-end test returns.
pub type TestResult = Result<(), Box<dyn std::error::Error>>;
