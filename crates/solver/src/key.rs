//! Cache keys and the named parts that explain them.
//!
//! * The **definition key** of a vertex: its operation and the keys of its inputs. It can be computed before
//!   anything has run.
//! * The **content key**: the same, but where the operation takes selected files from an input (COPY, ADD, a
//!   bind mount), the digest of those files stands in place of the input's key. Contexts have no key of their
//!   own, so what reads a context always has a content key.
//!
//! The key that a finished vertex is known by downstream is its *canonical* key: the content key where it has
//! one. So a stage that ran again but gave the same files changes nothing after the COPY that took them.

use kiln_graph::{Op, Vertex};
use kiln_oci::{Algorithm, Digest, Hasher};
use kiln_store::{CacheKey, KeyPart};

/// The digest over the files that an operation takes from one input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The digest: paths, types, modes, owners and contents.
    pub digest: Digest,
    /// One part for each file, to name what changed: `file <path>`.
    pub files: Vec<KeyPart>,
}

/// What stands for an input in a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputKey {
    /// The key of the vertex that gives it.
    Key(CacheKey),
    /// The digest of what is taken from it.
    Content(Digest),
}

/// The key of a vertex from what stands for its inputs.
pub fn cache_key(vertex: &Vertex, inputs: &[InputKey]) -> CacheKey {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(b"kiln cache key 1\n");
    hasher.update(vertex.op.digest().hex().as_bytes());
    for input in inputs {
        let (word, digest) = match input {
            InputKey::Key(key) => ("\nkey ", key.digest()),
            InputKey::Content(digest) => ("\ncontent ", digest),
        };
        hasher.update(word.as_bytes());
        hasher.update(digest.hex().as_bytes());
    }
    CacheKey(hasher.finish())
}

/// A key that no other run has: of a step that was told to ignore the cache.
pub fn fresh_key(key: &CacheKey, root: &[kiln_store::LayerId]) -> CacheKey {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(b"kiln fresh key 1\n");
    hasher.update(key.digest().hex().as_bytes());
    for layer in root {
        hasher.update(b"\n");
        hasher.update(layer.to_string().as_bytes());
    }
    CacheKey(hasher.finish())
}

/// One input as it is named in the parts of a key.
#[derive(Debug, Clone)]
pub struct NamedInput {
    /// The step or source that gives it.
    pub name: String,
    /// What stands for it.
    pub value: String,
    /// Whether it is a base image.
    pub image: bool,
    /// The files taken from it, where they are known.
    pub selection: Option<(String, Vec<KeyPart>)>,
}

/// The named parts of a vertex' key, for [`crate::reason`].
pub fn key_parts(vertex: &Vertex, inputs: &[NamedInput]) -> Vec<KeyPart> {
    let part = |name: String, value: String| KeyPart { name, value };
    let mut parts = vec![part("instruction".into(), vertex.meta.name.clone())];
    if let Op::Exec(exec) = &vertex.op {
        parts.push(part("command".into(), exec.argv.join(" ")));
        for (name, value) in &exec.env {
            parts.push(part(format!("env {name}"), value.clone()));
        }
        parts.push(part("setting working directory".into(), exec.workdir.clone()));
        parts.push(part("setting user".into(), exec.user.clone()));
        parts.push(part("setting platform".into(), exec.platform.to_string()));
    }
    parts.push(part("setting operation".into(), vertex.op.digest().to_string()));
    for (position, input) in inputs.iter().enumerate() {
        if let Some((source, files)) = &input.selection {
            parts.push(part(format!("source {source}"), input.value.clone()));
            parts.extend(files.iter().cloned());
        } else if input.image {
            parts.push(part("base".into(), input.name.clone()));
        } else {
            parts.push(part(format!("input {position} {}", input.name), input.value.clone()));
        }
    }
    parts
}
