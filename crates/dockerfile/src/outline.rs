//! What a Dockerfile offers: its stages, and what a build of one of them can be given.

use serde::Serialize;

use crate::Lines;
use crate::lint::description;
use crate::stage::Dockerfile;

/// What the build of one stage takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Outline {
    /// The stage's name; empty if it has none.
    pub name: String,
    /// What its comment says.
    pub description: String,
    /// The arguments that change what is built, by place.
    pub args: Vec<OutlineArg>,
    /// The secrets that steps ask for, by place.
    pub secrets: Vec<OutlineSecret>,
    /// The SSH agents that steps ask for, by place.
    pub ssh: Vec<OutlineSecret>,
}

/// An argument of a build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct OutlineArg {
    /// Its name.
    pub name: String,
    /// What its comment says.
    pub description: String,
    /// The value that it would have.
    pub value: String,
    /// Where it is declared.
    pub lines: Lines,
}

/// A secret or an SSH agent that a step asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutlineSecret {
    /// Its identity.
    pub name: String,
    /// Whether the step fails without it.
    pub required: bool,
    /// Where it is asked for.
    pub lines: Lines,
}

/// A stage that can be built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StageTarget {
    /// Its name; empty if it has none.
    pub name: String,
    /// What it is built on, as it is written.
    pub base: String,
    /// Its `--platform`, as it is written.
    pub platform: String,
    /// What its comment says.
    pub description: String,
    /// Whether it is built if none is named.
    pub default: bool,
    /// Where it begins.
    pub lines: Lines,
}

/// The stages of a Dockerfile, in order.
pub fn targets(dockerfile: &Dockerfile) -> Vec<StageTarget> {
    let last = dockerfile.stages.len() - 1;
    let target = |(position, stage): (usize, &crate::stage::Stage)| {
        let name = stage.from.name.clone().unwrap_or_default();
        StageTarget {
            description: description(&stage.comments, &name),
            name,
            base: stage.from.base.clone(),
            platform: stage.from.platform.clone().unwrap_or_default(),
            default: position == last,
            lines: stage.lines,
        }
    };
    dockerfile.stages.iter().enumerate().map(target).collect()
}
