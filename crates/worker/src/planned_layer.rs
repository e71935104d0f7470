//! From the plan of a file operation to its layer, in the form that will be asked for.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use kiln_image::plan::{Content, LayerPlan};
use kiln_image::unpack::Ownership;
use kiln_oci::Digest;
use kiln_store::index::{Entry, EntryKind, Mtime};
use kiln_store::{LayerId, LayerRecord};

use crate::WorkerError;
use crate::context::{Context, READ_AT_ONCE, hash_file};
use crate::layers::{Layers, lock_of};

/// No time is later than `SOURCE_DATE_EPOCH`.
pub(crate) fn clamp_times(plan: &mut LayerPlan, epoch: i64) {
    for planned in plan
        .entries
        .iter_mut()
        .filter(|planned| planned.entry.mtime.seconds >= epoch)
    {
        planned.entry.mtime = Mtime {
            seconds: epoch,
            nanos: 0,
        };
    }
}

/// Makes a plan a layer, in the form that will be asked for. The same plan is the same layer, for every platform.
pub(crate) fn make_layer(
    layers: &Layers,
    id: &LayerId,
    plan: &LayerPlan,
    contexts: &[Arc<Context>],
    (tree, blob): (bool, bool),
    ownership: Ownership,
) -> Result<(), WorkerError> {
    let store = layers.store();
    let _lock = store.lock_key(&lock_of(id))?;
    let known = store.layer(id)?.is_some();
    let tree = tree || !blob;
    if tree && store.tree(id)?.is_none() {
        let staged = store.stage_tree()?;
        // The user changes the files of a context in place; those of layers never change.
        let is_stable = |dir: &Arc<_>| !contexts.iter().any(|context| Arc::ptr_eq(&context.directory, dir));
        let index = kiln_image::plan::write_tree_sharing(plan, staged.path(), ownership, &is_stable)?;
        keep_times(plan, contexts, staged.path())?;
        store.put_layer_index(id, &index)?;
        staged.commit(id)?;
    }
    let packed = known && layers.has_blob(id)?;
    if !tree && !packed {
        layers.pack_plan(id, plan)?;
    }
    if store.layer(id)?.is_none() {
        store.put_layer(&LayerRecord::new(id.clone()))?;
    }
    Ok(())
}

/// Steps see the files of a context with their own times: build tools compare them with what they keep in cache
/// mounts. The layer's index, and so its blob, has the time of the request.
fn keep_times(plan: &LayerPlan, contexts: &[Arc<Context>], tree: &Path) -> Result<(), WorkerError> {
    for planned in &plan.entries {
        let Content::In { dir, path, .. } = &planned.content else {
            continue;
        };
        let context = contexts.iter().find(|context| Arc::ptr_eq(&context.directory, dir));
        if let Some(mtime) = context.and_then(|context| context.modified(path)) {
            let entry = Entry {
                mtime,
                ..planned.entry.clone()
            };
            let path = tree.join(std::ffi::OsStr::from_bytes(&entry.path));
            kiln_image::plan::set_time(&path, &entry).map_err(|source| WorkerError::Io {
                operation: "set the time of",
                path,
                source,
            })?;
        }
    }
    Ok(())
}

/// Puts the digest of every file into the plan. A context's files were mostly hashed for the key of the step.
pub(crate) fn know_digests(plan: &mut LayerPlan, contexts: &[Arc<Context>]) -> Result<(), WorkerError> {
    for planned in &mut plan.entries {
        if let EntryKind::File { digest, .. } = &mut planned.entry.kind
            && digest.is_none()
        {
            *digest = Some(content_digest(&planned.content, contexts)?);
            if let Content::In { dir, path, stamp } = &mut planned.content {
                let context = contexts.iter().find(|context| Arc::ptr_eq(&context.directory, dir));
                *stamp = context.and_then(|context| context.stamp(path)).cloned();
            }
        }
    }
    Ok(())
}

/// The digest of everything that decides a planned layer's bytes.
pub(crate) fn recipe(plan: &LayerPlan) -> Digest {
    let mut hasher = kiln_oci::Hasher::new(kiln_oci::Algorithm::Sha256);
    for planned in &plan.entries {
        hasher.update(&planned.entry.to_bytes());
    }
    hasher.finish()
}

/// The digest of a file's bytes; of a context's file, if it was not touched, without reading them.
pub(crate) fn content_digest(content: &Content, contexts: &[Arc<Context>]) -> Result<Digest, WorkerError> {
    match content {
        Content::Bytes(bytes) => Ok(Digest::sha256(bytes)),
        Content::In { dir, path, .. } => {
            if let Some(context) = contexts.iter().find(|context| Arc::ptr_eq(&context.directory, dir)) {
                return Ok(context.digest(path)?);
            }
            let read = hash_file(dir, path, &mut vec![0; READ_AT_ONCE]);
            read.map_err(|source| WorkerError::Io {
                operation: "read",
                path: String::from_utf8_lossy(path).into_owned().into(),
                source,
            })
        }
        _ => Ok(Digest::sha256("")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_image::plan::PlannedEntry;

    fn of_one(path: &[u8]) -> LayerPlan {
        let entry = Entry {
            path: path.to_vec(),
            kind: EntryKind::Fifo,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Mtime::default(),
            xattrs: Vec::new(),
        };
        LayerPlan {
            entries: vec![PlannedEntry {
                entry,
                content: Content::None,
            }],
        }
    }

    #[test]
    fn names_that_are_no_text_are_told_apart() {
        assert_eq!(recipe(&of_one(b"a\xff")), recipe(&of_one(b"a\xff")));
        assert_ne!(recipe(&of_one(b"a\xff")), recipe(&of_one(b"a\xfe")));
    }
}
