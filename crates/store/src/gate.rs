//! The gate between those who hold things and those who remove them.
//!
//! Whoever writes down what it holds passes the gate shared; a collector closes it for as long as it reads what is
//! held, decides, and moves what nothing holds out of sight. So a hold is either seen by the collector, or written
//! after the thing was gone, and then the look that follows every hold finds that.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use rustix::fs::FlockOperation;

use crate::StoreError;
use crate::lock::{flock, open_lock_file};
use crate::store::held;

/// A handle's own way through the gate.
#[derive(Debug)]
pub(crate) struct Gate {
    path: PathBuf,
    /// One thread at a time: a lock belongs to the open file, not to the thread.
    file: Mutex<Option<File>>,
}

/// The gate is open for this thread, or closed by it, until this is dropped.
#[derive(Debug)]
pub(crate) struct Passage<'a> {
    file: MutexGuard<'a, Option<File>>,
}

impl Gate {
    pub(crate) fn new(path: PathBuf) -> Gate {
        Gate {
            path,
            file: Mutex::new(None),
        }
    }

    /// Waits while a collector has closed the gate.
    pub(crate) fn pass(&self) -> Result<Passage<'_>, StoreError> {
        self.lock(FlockOperation::LockShared)
    }

    /// Waits until nobody passes, and lets nobody pass. The gate must not be one that the same thread passes too.
    pub(crate) fn close(&self) -> Result<Passage<'_>, StoreError> {
        self.lock(FlockOperation::LockExclusive)
    }

    fn lock(&self, operation: FlockOperation) -> Result<Passage<'_>, StoreError> {
        let mut guard = held(&self.file);
        if guard.is_none() {
            *guard = Some(open_lock_file(&self.path)?);
        }
        if let Some(file) = &*guard {
            flock(file, operation).map_err(|error| StoreError::io("lock", &self.path, error))?;
        }
        Ok(Passage { file: guard })
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        let unlocked = self.file.as_ref().map(|file| flock(file, FlockOperation::Unlock));
        if let Some(Err(error)) = unlocked {
            // Closing the file gives the lock back as well.
            tracing::debug!(%error, "failed to leave the gate");
            *self.file = None;
        }
    }
}
