//! Why a step ran.

use serde::{Deserialize, Serialize};

use crate::VertexId;

/// Why a step ran: what differs from the nearest record of the same step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum MissReason {
    /// No build has run this step here.
    NoRecord,
    /// `--no-cache` said so.
    CacheIgnored,
    /// The instruction itself was edited.
    InstructionChanged {
        /// Before.
        from: String,
        /// Now.
        to: String,
    },
    /// A variable that the step sees has another value.
    VariableChanged {
        /// Which.
        name: String,
        /// Before; None was unset.
        from: Option<String>,
        /// Now; None is unset.
        to: Option<String>,
    },
    /// The base image is another.
    BaseChanged {
        /// Before.
        from: String,
        /// Now.
        to: String,
    },
    /// Files that the step copies or mounts differ.
    FilesChanged {
        /// The source as it stands in the instruction.
        source: String,
        /// Paths that are new.
        added: Vec<String>,
        /// Paths that are gone.
        removed: Vec<String>,
        /// Paths with other content, kind, owner or attributes.
        changed: Vec<String>,
        /// Paths with another mode and nothing else.
        remoded: Vec<ModeChange>,
    },
    /// A step before it gave another result.
    ParentChanged {
        /// That step's name.
        step: String,
        /// That step.
        vertex: VertexId,
        /// Where the chain of changed steps begins. None: no step of this build ran, so that step was found with
        /// another result than the one that the record is about.
        root: Option<Box<RootCause>>,
    },
    /// Something else about the step differs.
    SettingChanged {
        /// What.
        name: String,
        /// Before.
        from: String,
        /// Now.
        to: String,
    },
    /// The record was there once and is no longer, or its layers are gone.
    Evicted,
    /// More than one thing differs.
    Several {
        /// All of them, what a person would call the cause first.
        reasons: Vec<MissReason>,
    },
}

/// The permission bits of a file, twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModeChange {
    /// The file.
    pub path: String,
    /// Before, octal.
    pub from: String,
    /// Now, octal.
    pub to: String,
}

/// The first of a chain of steps that ran because the one before had changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootCause {
    /// Its name.
    pub step: String,
    /// Which.
    pub vertex: VertexId,
    /// Why it ran.
    pub reason: MissReason,
}

impl MissReason {
    /// Every single reason, in order.
    pub fn each(&self) -> &[MissReason] {
        match self {
            MissReason::Several { reasons } => reasons,
            single => std::slice::from_ref(single),
        }
    }

    /// Where the chain begins that led to the step `vertex`, called `step`, which ran for this reason: at itself, unless
    /// it ran only because of a step before it.
    pub fn root(&self, step: &str, vertex: &VertexId) -> Option<RootCause> {
        let own = |reason: &&MissReason| !matches!(reason, MissReason::ParentChanged { .. });
        if self.each().iter().any(|reason| own(&reason)) {
            return Some(RootCause {
                step: step.to_owned(),
                vertex: vertex.clone(),
                reason: self.clone(),
            });
        }
        self.each().iter().find_map(|reason| match reason {
            MissReason::ParentChanged { root, .. } => root.as_deref().cloned(),
            _ => None,
        })
    }
}
