//! The closed set of operations.

use serde::{Deserialize, Serialize};

use crate::{ExecOp, FileOp, GitSource, HttpSource, ImageSource, LocalSource};

/// One operation. Inputs are given by position; each variant says what its inputs are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Op {
    /// The empty root. No inputs.
    Scratch,
    /// The root of an image. No inputs.
    Image(ImageSource),
    /// A directory of the user's: a named context. No inputs. Its result is files, not a root.
    Local(LocalSource),
    /// A file from a URL, as a root that holds this one file. No inputs.
    Http(HttpSource),
    /// A git checkout as a root. No inputs.
    Git(GitSource),
    /// A process run in a root. Input 0 is the root; mounts name further inputs.
    Exec(ExecOp),
    /// Files copied and made. Input 0 is the root; actions name further inputs.
    File(FileOp),
    /// The layers of all inputs but their common base, one above the other: input 0 is the base, each further
    /// input adds the layers that it has on top of the empty root.
    Merge,
    /// The root of input 0, and on it the topmost layer of input 1: of a step that ran on another platform and whose layer
    /// is the same for all.
    Graft,
}

impl Op {
    /// The word that people know the operation by.
    pub fn kind(&self) -> &'static str {
        match self {
            Op::Scratch => "scratch",
            Op::Image(_) => "image",
            Op::Local(_) => "local",
            Op::Http(_) => "http",
            Op::Git(_) => "git",
            Op::Exec(_) => "exec",
            Op::File(_) => "file",
            Op::Merge => "merge",
            Op::Graft => "graft",
        }
    }

    /// How the files that are taken from input `position` stand in the instruction.
    pub fn source_of_input(&self, position: usize) -> Option<String> {
        let sources: Vec<&str> = match self {
            Op::File(file) => file
                .actions
                .iter()
                .filter_map(|action| action.source_in(position))
                .collect(),
            Op::Exec(exec) => exec
                .mounts
                .iter()
                .filter_map(|mount| mount.source_in(position))
                .collect(),
            _ => Vec::new(),
        };
        (!sources.is_empty()).then(|| sources.join(" "))
    }

    /// Whether the operation reads something from outside the graph and has no inputs.
    pub fn is_source(&self) -> bool {
        matches!(
            self,
            Op::Scratch | Op::Image(_) | Op::Local(_) | Op::Http(_) | Op::Git(_)
        )
    }
}
