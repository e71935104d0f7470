//! Copying and making files: COPY, ADD, WORKDIR.

use serde::{Deserialize, Serialize};

/// Files put on a root as one layer. Input 0 is the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileOp {
    /// Carried out in order.
    pub actions: Vec<FileAction>,
    /// `SOURCE_DATE_EPOCH`: the time of whatever gets the build's, and the latest that anything has. None: the time
    /// is 0, and there is no latest.
    pub epoch: Option<i64>,
}

/// One thing done to the files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub enum FileAction {
    /// Copy from another vertex or a context.
    Copy(CopyAction),
    /// Make a directory and its parents; an existing one stays as it is.
    MakeDirectory {
        /// Where, absolute.
        path: String,
        /// Permission bits of what is made.
        mode: u32,
        /// Owner of what is made.
        owner: Option<Owner>,
    },
    /// Make a file (a heredoc of COPY or ADD).
    MakeFile {
        /// Where: a directory (with a slash at the end, or existing) or a file.
        destination: String,
        /// Name of the file where the destination is a directory.
        name: String,
        /// Its content.
        content: String,
        /// Permission bits, octal or symbolic; None is 0644.
        chmod: Option<String>,
        /// Its owner.
        owner: Option<Owner>,
    },
}

/// One source of a COPY or ADD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyAction {
    /// Which input of the vertex the files come from.
    pub input: usize,
    /// Path or pattern in it, cleaned, relative to its root. Empty is all of it.
    pub source: String,
    /// Where to, absolute; a slash at the end says that it is a directory.
    pub destination: String,
    /// Owner of everything copied; None is root.
    pub owner: Option<Owner>,
    /// Permission bits, octal or symbolic.
    pub chmod: Option<String>,
    /// Whether `source` may hold wildcards.
    pub wildcard: bool,
    /// Whether a pattern that matches nothing is fine.
    pub allow_empty: bool,
    /// Whether local archives are unpacked (ADD).
    pub unpack: bool,
    /// Whether only an archive is acceptable (`ADD --unpack=true` of a URL).
    pub unpack_required: bool,
    /// Whether parent directories are kept (`--parents`); the pivot is where `/./` stood.
    pub parents: bool,
    /// Patterns of what is left out (`--exclude`).
    pub exclude: Vec<String>,
    /// Whether a source that is a symbolic link is copied as what it points at.
    pub follow_links: bool,
    /// Whether files keep the times that they have in the source; else they get the build's.
    pub keep_times: bool,
    /// How the source stood in the Dockerfile, for messages.
    pub written: String,
}

impl CopyAction {
    /// The files that a path names, as they are, under the same path; all of them if it is empty.
    pub fn in_place(input: usize, source: &str) -> CopyAction {
        CopyAction {
            destination: format!("/{}", source.trim_start_matches('/')),
            ..CopyAction::contents(input, source)
        }
    }

    /// What a directory holds, put into the root directory.
    pub fn contents(input: usize, source: &str) -> CopyAction {
        CopyAction {
            input,
            source: source.to_owned(),
            destination: "/".into(),
            owner: None,
            chmod: None,
            wildcard: false,
            allow_empty: true,
            unpack: false,
            unpack_required: false,
            parents: false,
            exclude: Vec::new(),
            follow_links: true,
            keep_times: false,
            written: source.to_owned(),
        }
    }
}

/// `user[:group]` of `--chown`, resolved in the root that is copied to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// As it stood, after expansion.
    pub text: String,
    /// Whether a name that the root does not know is root's: so a directory is made for a USER of any image.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lenient: bool,
}

impl FileAction {
    /// The source as it was written, if it is taken from input `position`.
    pub fn source_in(&self, position: usize) -> Option<&str> {
        match self {
            FileAction::Copy(copy) if copy.input == position => Some(&copy.written),
            _ => None,
        }
    }
}
