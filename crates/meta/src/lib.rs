//! Tags, labels and annotations of an image, from what started the build: a push, a pull request, a schedule, a git tag.
//!
//! The inputs are those of docker/metadata-action ([`Inputs`]: `images`, `tags`, `flavor`, `labels`, `annotations`), and so is
//! what comes of them. The difference is where the [`Event`] comes from: the variables of GitHub Actions, GitLab CI, Forgejo,
//! Gitea, Buildkite or Jenkins ([`provider`]), or a git working tree that the caller looked at.
//!
//! ```
//! use kiln_meta::{Event, GitRef, Input, Inputs, Metadata, Options};
//!
//! let mut inputs = Inputs::default();
//! inputs.add(Input::Images, "ghcr.io/octo/app")?;
//! inputs.add(Input::Tags, "type=semver,pattern={{version}}\ntype=semver,pattern={{major}}.{{minor}}")?;
//! let event = Event { git_ref: GitRef::parse("refs/tags/v1.2.3"), ..Event::default() };
//! let metadata = Metadata::compute(&inputs, &event, &Options::default())?;
//! let tags = ["ghcr.io/octo/app:1.2.3", "ghcr.io/octo/app:1.2", "ghcr.io/octo/app:latest"];
//! assert_eq!(metadata.tags(), tags);
//! # Ok::<(), kiln_meta::MetaError>(())
//! ```
//!
//! Nothing here does I/O, reads the environment or the clock, but that a regular expression that takes too long is given up.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod bake;
mod collation;
mod compute;
mod csv;
mod date;
mod document;
mod error;
mod event;
mod expression;
mod flavor;
mod image;
mod inputs;
mod level;
mod metadata;
mod pattern;
pub mod provider;
mod rule;
mod scope;
mod version;
mod warning;

pub use bake::bake_literal;
pub use csv::CsvError;
pub use document::{Document, DocumentError, Setting};
pub use error::{EntryError, MetaError};
pub use event::{Event, GitRef, Repository};
pub use expression::{ExpressionError, Template};
pub use flavor::{Flavor, Latest};
pub use image::Image;
pub use inputs::{Entry, Input, Inputs};
pub use level::{Level, LevelError};
pub use metadata::{BakePart, Metadata, Options, ShortLength, Version};
pub use pattern::PatternError;
pub use rule::{MatchRule, RefKind, ShaFormat, TagKind, TagRule, VersionRule};
pub use warning::Warning;
