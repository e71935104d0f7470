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

use kiln_graph::{ExecOp, FileAction, Mount, MountKind, Op, Owner, Vertex};
use kiln_oci::{Algorithm, Digest, Hasher};
use kiln_store::{CacheKey, KeyPart};

use crate::Worker;

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
    /// The files taken from it, where they are known: the source as it was written, and a part for each file.
    pub selection: Option<(String, Vec<KeyPart>)>,
}

impl NamedInput {
    /// The input of `vertex` at a position: what gives it, how a source is described, what is taken from it, and its key.
    pub fn new(
        vertex: &Vertex,
        position: usize,
        from: &Vertex,
        description: &str,
        selection: Option<&Selection>,
        key: String,
    ) -> NamedInput {
        let name = if description.is_empty() {
            from.meta.name.clone()
        } else {
            description.to_owned()
        };
        let source = vertex.op.source_of_input(position).unwrap_or_else(|| name.clone());
        NamedInput {
            value: selection.map_or(key, |selection| selection.digest.to_string()),
            image: matches!(from.op, Op::Image(_)),
            selection: selection.map(|selection| (source, selection.files.clone())),
            name,
        }
    }
}

/// The named parts of a vertex' key, for [`crate::reason`]:
///
/// | name | value |
/// |---|---|
/// | `instruction` | as it was written |
/// | `variable <name>` | its value, or what stands for a value that is nobody's business |
/// | `setting <name>` | a working directory, a user, a destination… |
/// | `base <position>`, `input <position>` | the key, a space, the reference or the step |
/// | `source <position> <source>` | the digest of the files that are taken |
/// | `file <position> <path>` | mode, a space, everything else about the file |
pub fn key_parts(vertex: &Vertex, inputs: &[NamedInput]) -> Vec<KeyPart> {
    let part = |name: String, value: String| KeyPart { name, value };
    let instruction = match &vertex.op {
        // What was written is the instruction of the step whose layer it takes: that one tells of a change.
        Op::Graft => "layer of a step".to_owned(),
        _ => vertex.meta.name.clone(),
    };
    let mut parts = vec![part("instruction".into(), instruction)];
    match &vertex.op {
        Op::Exec(exec) => {
            for (name, value) in &exec.env {
                parts.push(part(format!("variable {name}"), variable_value(name, value)));
            }
            parts.extend(exec_settings(exec).map(|(name, value)| part(format!("setting {name}"), value)));
        }
        Op::File(file) => {
            let epoch = file.epoch.map(|epoch| epoch.to_string()).unwrap_or_default();
            parts.push(part("setting SOURCE_DATE_EPOCH".into(), epoch));
            parts.extend(
                file.actions
                    .iter()
                    .enumerate()
                    .map(|(number, action)| part(format!("setting file {}", number + 1), action_text(action))),
            );
        }
        _ => {}
    }
    parts.push(part("setting operation".into(), vertex.op.digest().to_string()));
    for (position, input) in inputs.iter().enumerate() {
        if let Some((source, files)) = &input.selection {
            parts.push(part(format!("source {position} {source}"), input.value.clone()));
            let file = |file: &KeyPart| {
                let path = file.name.strip_prefix("file ").unwrap_or(&file.name);
                part(format!("file {position} {path}"), file.value.clone())
            };
            parts.extend(files.iter().map(file));
        } else {
            let kind = if input.image { "base" } else { "input" };
            parts.push(part(
                format!("{kind} {position}"),
                format!("{} {}", input.value, input.name),
            ));
        }
    }
    parts
}

/// The parts as they may be kept and shown.
pub(crate) fn concealed<W: Worker>(worker: &W, mut parts: Vec<KeyPart>) -> Vec<KeyPart> {
    let of_files = |part: &KeyPart| {
        ["source ", "file ", "base ", "input "]
            .iter()
            .any(|word| part.name.starts_with(word))
    };
    // Digests and modes say nothing of a secret, and must stay as they are to be compared.
    for part in parts.iter_mut().filter(|part| !of_files(part)) {
        part.value = worker.conceal(std::mem::take(&mut part.value));
    }
    parts
}

fn exec_settings(exec: &ExecOp) -> impl Iterator<Item = (&'static str, String)> {
    let hosts: Vec<String> = exec
        .extra_hosts
        .iter()
        .map(|(name, address)| format!("{name}:{address}"))
        .collect();
    let limits: Vec<String> = exec
        .ulimits
        .iter()
        .map(|(name, (soft, hard))| format!("{name}={soft}:{hard}"))
        .collect();
    let mounts: Vec<String> = exec.mounts.iter().map(mount_text).collect();
    [
        ("command", exec.argv.join(" ")),
        ("working directory", exec.workdir.clone()),
        ("user", exec.user.clone()),
        ("platform", exec.platform.to_string()),
        ("network", format!("{:?}", exec.network).to_lowercase()),
        ("security", format!("{:?}", exec.security).to_lowercase()),
        ("host name", exec.hostname.clone()),
        ("hosts", hosts.join(" ")),
        ("limits", limits.join(" ")),
        (
            "shm size",
            exec.shm_size.map(|size| size.to_string()).unwrap_or_default(),
        ),
        ("cgroup parent", exec.cgroup_parent.clone().unwrap_or_default()),
        ("mounts", mounts.join(", ")),
    ]
    .into_iter()
}

fn mount_text(mount: &Mount) -> String {
    let kind = match &mount.kind {
        MountKind::Bind { source, writable, .. } => {
            let writable = if *writable { " (writable)" } else { "" };
            format!("bind of /{}{writable}", source.trim_start_matches('/'))
        }
        MountKind::Cache {
            id, sharing, read_only, ..
        } => {
            let read_only = if *read_only { " (read-only)" } else { "" };
            format!("cache {id}, {}{read_only}", format!("{sharing:?}").to_lowercase())
        }
        MountKind::Tmpfs { .. } => "tmpfs".to_owned(),
        MountKind::Secret { id, .. } => format!("secret {id}"),
        MountKind::Ssh { id, .. } => format!("ssh {id}"),
    };
    format!("{kind} at {}", mount.target)
}

fn action_text(action: &FileAction) -> String {
    let owned = |owner: &Option<Owner>| {
        owner
            .as_ref()
            .map(|owner| format!(" for {}", owner.text))
            .unwrap_or_default()
    };
    let moded = |mode: &Option<String>| {
        mode.as_ref()
            .map(|mode| format!(" with mode {mode}"))
            .unwrap_or_default()
    };
    match action {
        FileAction::Copy(copy) => {
            let source = if copy.source.is_empty() { "." } else { &copy.source };
            let left_out = if copy.exclude.is_empty() {
                String::new()
            } else {
                format!(" without {}", copy.exclude.join(" "))
            };
            let (owner, mode) = (owned(&copy.owner), moded(&copy.chmod));
            format!("{source} to {}{left_out}{owner}{mode}", copy.destination)
        }
        FileAction::MakeDirectory { path, mode, owner } => {
            format!("directory {path} with mode {mode:o}{}", owned(owner))
        }
        FileAction::MakeFile {
            destination,
            name,
            content,
            chmod,
            owner,
        } => {
            let digest = Digest::sha256(content);
            let (owner, mode) = (owned(owner), moded(chmod));
            format!("file {name} ({}) to {destination}{owner}{mode}", digest.short())
        }
    }
}

/// A variable's value as it may be kept and shown: passwords in URLs are left out, and of a variable whose name says
/// that it is a secret only so much is kept that a change can be told.
fn variable_value(name: &str, value: &str) -> String {
    if is_secret_name(name) {
        let digest = Digest::sha256(value);
        return format!("{HIDDEN}{}", &digest.hex()[..8]);
    }
    without_password(value)
}

/// Begins what stands for a value that is not shown.
pub(crate) const HIDDEN: &str = "(hidden) ";

/// Whether a name says that the value is a secret, by its words.
fn is_secret_name(name: &str) -> bool {
    const WORDS: [&str; 10] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    let name = name.to_lowercase();
    let mut words = name.split('_');
    let harmless = name.ends_with("_file") || name.ends_with("_version");
    words.clone().any(|word| WORDS.contains(&word)) && !harmless && !words.any(|word| word == "public")
}

/// `scheme://user:password@host` without what stands before the `@`.
pub fn without_password(value: &str) -> String {
    let mut shown = String::new();
    let mut rest = value;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let end = after.find(['/', ' ', '?', '#']).unwrap_or(after.len());
        rest = match after[..end].rfind('@') {
            Some(sign) => {
                shown.push_str("***");
                &after[sign..]
            }
            None => after,
        };
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nobodys_business_is_not_kept() {
        assert_eq!(variable_value("VERSION", "1.0"), "1.0");
        assert_eq!(
            variable_value("https_proxy", "http://me:pw@proxy:3128/x@y"),
            "http://***@proxy:3128/x@y"
        );
        assert_eq!(without_password("a://b c://d:e@f"), "a://b c://***@f");
        for name in ["NPM_TOKEN", "password", "AWS_SECRET_ACCESS_KEY"] {
            let kept = variable_value(name, "hunter2");
            assert!(kept.starts_with(HIDDEN) && !kept.contains("hunter2"), "{name}: {kept}");
            assert_ne!(kept, variable_value(name, "hunter3"), "a change shows");
        }
        assert_eq!(variable_value("MONKEY", "x"), "x", "words count, not letters");
        assert_eq!(variable_value("PUBLIC_KEY", "x"), "x");
        assert_eq!(variable_value("TOKEN_FILE", "/t"), "/t");
    }
}
