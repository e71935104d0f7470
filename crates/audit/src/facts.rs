//! What is remembered of a layer: every path, and of the files that decide whether something runs, the facts.

use serde::{Deserialize, Serialize};

use crate::binary::Foreign;
use crate::elf::Elf;
use crate::jar::Jar;
use crate::node_package::NodePackage;
use crate::script::Script;

/// Version of the facts. Facts of another version are not understood: the layer is read again.
pub const VERSION: u32 = 1;

/// The facts of one layer. Depends on the layer's bytes alone, so it is good for every image that has the layer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerFacts {
    /// Its entries, in the order of the archive.
    #[serde(rename = "e")]
    pub entries: Vec<Entry>,
    /// Bytes of the uncompressed archive.
    #[serde(rename = "s")]
    pub size: u64,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Path relative to the root.
    #[serde(rename = "p")]
    pub path: String,
    /// Permission bits.
    #[serde(rename = "m", default, skip_serializing_if = "is_usual")]
    pub mode: u32,
    /// What it is.
    #[serde(rename = "k")]
    pub kind: EntryKind,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    /// A directory.
    #[serde(rename = "d")]
    Directory,
    /// A regular file.
    #[serde(rename = "f")]
    File(FileFacts),
    /// A symbolic link and its target.
    #[serde(rename = "l")]
    Symlink(String),
    /// Another name of an entry that stands before it or in a lower layer.
    #[serde(rename = "h")]
    Hardlink(String),
    /// What lower layers have under this path is gone.
    #[serde(rename = "w")]
    Whiteout,
    /// What lower layers have below this directory is gone.
    #[serde(rename = "o")]
    Opaque,
    /// A device or a pipe.
    #[serde(rename = "x")]
    Special,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileFacts {
    /// Nothing that matters here.
    #[serde(rename = "p")]
    Plain,
    /// No bytes at all.
    #[serde(rename = "0")]
    Empty,
    /// Machine code.
    #[serde(rename = "e")]
    Elf(Box<Elf>),
    /// Machine code for another system than Linux.
    #[serde(rename = "b")]
    Foreign(Foreign),
    /// A script.
    #[serde(rename = "s")]
    Script(Script),
    /// A Java archive.
    #[serde(rename = "j")]
    Jar(Jar),
    /// Platform tags of an installed wheel.
    #[serde(rename = "w")]
    Wheel(Vec<String>),
    /// A package of Node.js for some platforms only.
    #[serde(rename = "n")]
    NodePackage(NodePackage),
    /// The text of a configuration of the loader.
    #[serde(rename = "t")]
    Text(String),
}

impl FileFacts {
    /// About how many bytes the facts take, so that a layer of hostile files cannot take more and more.
    pub(crate) fn weight(&self) -> usize {
        let texts = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
        match self {
            FileFacts::Plain | FileFacts::Empty | FileFacts::Foreign(_) => 0,
            FileFacts::Elf(elf) => elf.weight(),
            FileFacts::Script(script) => script.interpreter.len() + texts(&script.paths),
            FileFacts::Jar(jar) => jar.natives.iter().map(|native| native.path.len() + 32).sum(),
            FileFacts::Wheel(tags) => texts(tags),
            FileFacts::NodePackage(package) => {
                package.name.len() + texts(&package.os) + texts(&package.cpu) + texts(&package.libc)
            }
            FileFacts::Text(text) => text.len(),
        }
    }
}

fn is_usual(mode: &u32) -> bool {
    *mode == 0
}

impl LayerFacts {
    /// The facts as bytes, to be kept beside the layer.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&(VERSION, self))
    }

    /// Facts that [`LayerFacts::encode`] wrote. None: of another version, or damaged.
    pub fn decode(bytes: &[u8]) -> Option<LayerFacts> {
        let (version, facts): (u32, LayerFacts) = serde_json::from_slice(bytes).ok()?;
        (version == VERSION).then_some(facts)
    }
}
