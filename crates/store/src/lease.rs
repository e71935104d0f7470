//! Leases: what running processes use, so that garbage collection leaves it alone.
//!
//! Every handle of a store has a lease of its own, and whatever the handle was told is there is on it: a blob that was
//! found, a layer that was asked for, a record with its layers. So nobody has to think of leases who works with one
//! handle to the end of a build. A process that serves for long takes a handle for each task ([`Store::scoped`]), and
//! one that only looks takes a handle that holds nothing ([`Store::unheld`]).

use std::collections::HashSet;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use kiln_oci::Digest;
use rustix::fs::{Mode, OFlags};

use crate::StoreError;
use crate::cache_record::CacheKey;
use crate::gate::Gate;
use crate::layer::LayerId;
use crate::session::{self, Session};
use crate::store::{Store, held};

/// Begins the names of lease files in a session's directory.
const PREFIX: &str = "lease";

/// Holds blobs, layers and cache records for this process. Dropped, or its process dead: released.
///
/// A lease is a file of lines (`blob sha256:…`, `layer …`, `record sha256:…`) in the session of its process.
/// Hold first, then look whether the thing is there: what is there after that stays.
#[derive(Debug)]
pub struct Lease {
    /// Keeps the session, and with it the lease, alive.
    _session: Arc<Session>,
    gate: Arc<Gate>,
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    written: HashSet<String>,
}

/// Everything that the leases of living processes hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Blobs.
    pub blobs: HashSet<Digest>,
    /// Layers with all their forms.
    pub layers: HashSet<LayerId>,
    /// Cache records.
    pub records: HashSet<CacheKey>,
}

impl Store {
    /// A lease that holds nothing yet.
    pub fn lease(&self) -> Result<Lease, StoreError> {
        let session = self.session()?;
        let path = session.fresh_path(PREFIX);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::APPEND | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR);
        let file = File::from(file.map_err(|error| StoreError::io("create", &path, error))?);
        Ok(Lease {
            _session: session,
            gate: self.gate(),
            path,
            state: Mutex::new(State {
                file,
                written: HashSet::new(),
            }),
        })
    }

    /// What the leases of all living processes hold at this moment.
    pub fn held(&self) -> Result<Held, StoreError> {
        let mut all = Held::default();
        for session in session::live(&self.layout().sessions())? {
            let entries = match std::fs::read_dir(&session) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(StoreError::io("list", session, error)),
            };
            for entry in entries {
                let entry = entry.map_err(|error| StoreError::io("list", &session, error))?;
                if !entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
                    continue;
                }
                match std::fs::read_to_string(entry.path()) {
                    Ok(text) => all.add(&text),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => return Err(StoreError::io("read", entry.path(), error)),
                }
            }
        }
        Ok(all)
    }
}

impl Lease {
    /// Holds a blob. A blob that is a manifest or an image index holds what it names too.
    pub fn hold_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        self.hold([blob_line(digest)])
    }

    /// Holds a layer in all its forms: its blobs, its index, its tree.
    pub fn hold_layer(&self, layer: &LayerId) -> Result<(), StoreError> {
        self.hold([layer_line(layer)])
    }

    /// Holds a cache record.
    pub fn hold_record(&self, key: &CacheKey) -> Result<(), StoreError> {
        self.hold([record_line(key)])
    }

    /// Writes down what is not held yet, in one piece, while no collector is at work.
    fn hold(&self, lines: impl IntoIterator<Item = String>) -> Result<(), StoreError> {
        let mut state = held(&self.state);
        let new: Vec<String> = lines.into_iter().filter(|line| !state.written.contains(line)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let _passage = self.gate.pass()?;
        state
            .file
            .write_all(new.concat().as_bytes())
            .map_err(|error| StoreError::io("write", &self.path, error))?;
        state.written.extend(new);
        Ok(())
    }
}

fn blob_line(digest: &Digest) -> String {
    format!("blob {digest}\n")
}

fn layer_line(layer: &LayerId) -> String {
    format!("layer {layer}\n")
}

fn record_line(key: &CacheKey) -> String {
    format!("record {key}\n")
}

/// What a handle holds.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    /// Made when the first thing is held.
    lease: Mutex<Option<Arc<Lease>>>,
    /// Layers on the lease whose trees are there.
    trees: Mutex<HashSet<LayerId>>,
}

impl Holds {
    pub(crate) fn has_seen_tree(&self, layer: &LayerId) -> bool {
        held(&self.trees).contains(layer)
    }

    pub(crate) fn see_tree(&self, layer: &LayerId) {
        held(&self.trees).insert(layer.clone());
    }

    pub(crate) fn forget_tree(&self, layer: &LayerId) {
        held(&self.trees).remove(layer);
    }
}

impl Store {
    pub(crate) fn hold_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        self.hold_lines(|| vec![blob_line(digest)])
    }

    pub(crate) fn hold_layer(&self, layer: &LayerId) -> Result<(), StoreError> {
        self.hold_lines(|| vec![layer_line(layer)])
    }

    pub(crate) fn hold_record(&self, key: &CacheKey, layers: &[LayerId]) -> Result<(), StoreError> {
        self.hold_lines(|| {
            let mut lines = vec![record_line(key)];
            lines.extend(layers.iter().map(layer_line));
            lines
        })
    }

    fn hold_lines(&self, lines: impl FnOnce() -> Vec<String>) -> Result<(), StoreError> {
        let Some(holds) = self.holds() else { return Ok(()) };
        let lease = {
            let mut lease = held(&holds.lease);
            match &*lease {
                Some(lease) => lease.clone(),
                None => lease.insert(Arc::new(self.lease()?)).clone(),
            }
        };
        lease.hold(lines())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "failed to remove a lease; it ends with this process");
        }
    }
}

impl Held {
    fn add(&mut self, text: &str) {
        // A line without its end is still being written; whoever writes it has not looked for the thing yet.
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            match line.split_once(' ') {
                Some(("blob", digest)) => self.blobs.extend(digest.parse::<Digest>()),
                Some(("layer", layer)) => self.layers.extend(layer.parse::<LayerId>()),
                Some(("record", key)) => self.records.extend(key.parse::<CacheKey>()),
                _ => tracing::warn!(line, "a lease holds something unknown"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::temporary_store;

    #[test]
    fn leases_hold_until_they_are_dropped() {
        let (directory, store) = temporary_store();
        let other = Store::open(directory.path()).expect("open");
        let lease = store.lease().expect("lease");
        let (digest, layer, key) = (Digest::sha256("b"), LayerId::random(), CacheKey(Digest::sha256("k")));
        lease.hold_blob(&digest).expect("hold");
        lease.hold_blob(&digest).expect("hold twice");
        lease.hold_layer(&layer).expect("hold");
        lease.hold_record(&key).expect("hold");
        let expected = Held {
            blobs: [digest].into(),
            layers: [layer].into(),
            records: [key].into(),
        };
        assert_eq!(other.held().expect("held"), expected);
        drop(lease);
        assert_eq!(other.held().expect("held"), Held::default());
    }

    #[test]
    fn what_a_handle_was_told_is_there_is_held_until_it_closes() {
        let (directory, store) = temporary_store();
        let digest = store.put_blob(b"x").expect("put");
        drop(store);
        let watcher = Store::open(directory.path()).expect("open").unheld();
        assert!(watcher.blob_exists(&digest).expect("look"));
        assert_eq!(watcher.held().expect("held"), Held::default(), "a look alone");
        let store = Store::open(directory.path()).expect("open");
        let task = store.scoped();
        assert!(task.blob_exists(&digest).expect("look"));
        assert_eq!(watcher.held().expect("held").blobs, [digest].into());
        drop(task);
        assert_eq!(watcher.held().expect("held"), Held::default(), "the task is done");
    }

    #[test]
    fn nothing_is_held_while_a_collector_decides() {
        let (_directory, store) = temporary_store();
        let gate = Gate::new(store.layout().gate());
        let closed = gate.close().expect("close");
        let (sender, receiver) = std::sync::mpsc::channel();
        let other = store.clone();
        let holder = std::thread::spawn(move || {
            let held = other.hold_blob(&Digest::sha256("x")).is_ok();
            sender.send(held).expect("the test waits for it");
        });
        let early = receiver.recv_timeout(std::time::Duration::from_millis(50));
        assert!(early.is_err(), "the holder waits");
        assert!(store.held().expect("held").blobs.is_empty());
        drop(closed);
        assert!(receiver.recv().expect("the holder answers"));
        holder.join().expect("the holder ends");
        assert!(!store.held().expect("held").blobs.is_empty());
    }

    #[test]
    fn leases_of_dead_processes_hold_nothing() {
        let (directory, store) = temporary_store();
        let dead = directory.path().join("sessions/dead");
        std::fs::create_dir(&dead).expect("mkdir");
        std::fs::write(dead.join("lease-0"), format!("blob {}\n", Digest::sha256("b"))).expect("write");
        std::fs::write(directory.path().join("sessions/dead.lock"), "").expect("write");
        assert_eq!(store.held().expect("held"), Held::default());
    }

    #[test]
    fn half_a_line_is_not_taken_for_a_whole_one() {
        let mut all = Held::default();
        all.add("layer built-0123\nlayer built-45");
        assert_eq!(all.layers, HashSet::from(["built-0123".parse().expect("a layer id")]));
    }
}
