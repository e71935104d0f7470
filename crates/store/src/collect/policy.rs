//! Collection by itself, beside a build.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::StoreError;
use crate::collect::size::Size;
use crate::collect::{CollectOptions, Collected, Limits};
use crate::database::unix_now;
use crate::lock::{open_lock_file, try_lock};
use crate::store::Store;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const GIGABYTE: u64 = 1_000_000_000;

/// A look at a store that took this share of the time since the last one is due again.
const SHARE_OF_TIME: u32 = 100;

/// How long the end of a build waits for a collection that is removing things, so that builds which are shorter than
/// a collection do not keep it from ever getting anywhere.
const GRACE: Duration = Duration::from_millis(500);

/// When and how far builds collect garbage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectPolicy {
    /// Whether they do at all.
    pub enabled: bool,
    /// Most that the store may take up.
    pub max_used: Vec<Size>,
    /// What is never gone below.
    pub reserved: Vec<Size>,
    /// How much of the disk must be free.
    pub min_free: Vec<Size>,
    /// What was used within this time stays, even over the limits.
    pub keep_duration: Duration,
    /// What was not used for this long goes, even within the limits.
    pub expire: Duration,
    /// The least time between two looks at the store.
    pub check_every: Duration,
}

impl Default for CollectPolicy {
    /// Up to three quarters of the disk but no more than 100 GB, down to a tenth of it but no less than it takes to
    /// leave a fifth of the disk free; of several sizes, the smallest counts.
    fn default() -> CollectPolicy {
        CollectPolicy {
            enabled: true,
            max_used: vec![Size::Percent(75), Size::Bytes(100 * GIGABYTE)],
            reserved: vec![Size::Percent(10), Size::Bytes(10 * GIGABYTE)],
            min_free: vec![Size::Percent(20)],
            keep_duration: Duration::ZERO,
            expire: DAY * 60,
            check_every: Duration::from_secs(10),
        }
    }
}

impl CollectPolicy {
    /// What it means on a disk of this many bytes. A size of nothing sets no limit.
    pub fn limits(&self, disk: u64) -> Limits {
        let smallest = |sizes: &[Size]| sizes.iter().map(|size| size.on(disk)).min().filter(|bytes| *bytes > 0);
        let (max_used, min_free) = (smallest(&self.max_used), smallest(&self.min_free));
        Limits {
            // Of a reserve alone nothing follows.
            max_used: max_used.or(if min_free.is_none() { Some(u64::MAX) } else { None }),
            min_free,
            reserved: smallest(&self.reserved),
        }
    }
}

/// A collection in a thread of its own. Dropped: it is told to stop, and stops between two files.
#[derive(Debug)]
pub struct BackgroundCollection {
    stop: Arc<AtomicBool>,
    /// Set once there is something to remove.
    removing: Arc<AtomicBool>,
    pub(super) thread: Option<JoinHandle<()>>,
}

impl BackgroundCollection {
    /// The build is over. Gives a collection that is removing things a moment to get on, and leaves.
    pub fn finish(mut self) {
        let Some(thread) = self.thread.take() else { return };
        let started = Instant::now();
        while !thread.is_finished() && self.removing.load(Ordering::Relaxed) && started.elapsed() < GRACE {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.stop.store(true, Ordering::Relaxed);
        if thread.is_finished() {
            // It told its own failure already.
            drop(thread.join());
        }
        // Else it dies with the process, which it survives at any moment.
    }
}

impl Drop for BackgroundCollection {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Store {
    /// Begins to collect by a policy if a look at the store is due: one small file is read to find out. None: it is
    /// not, or another process is at it.
    pub fn collect_in_background(&self, policy: &CollectPolicy) -> Option<BackgroundCollection> {
        // A store without a database has nothing yet, and the build is about to make one.
        let has_nothing = !self.layout().database().exists();
        if !policy.enabled
            || has_nothing
            || self.is_read_only()
            || !is_due(&self.layout().collected(), policy.check_every)
        {
            return None;
        }
        let (stop, removing) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (root, policy) = (self.root().to_owned(), policy.clone());
        let flags = (stop.clone(), removing.clone());
        let thread = std::thread::Builder::new().name("collect".into()).spawn(move || {
            if let Err(error) = collect_by(&root, &policy, &flags.0, &flags.1) {
                tracing::warn!(%error, "failed to collect garbage");
            }
        });
        Some(BackgroundCollection {
            stop,
            removing,
            thread: thread.ok(),
        })
    }
}

/// Uses a handle of its own, so that the build's session ends with the build and not with this.
fn collect_by(root: &Path, policy: &CollectPolicy, stop: &AtomicBool, removing: &AtomicBool) -> Result<(), StoreError> {
    let store = Store::open(root)?.unheld();
    let path = store.layout().collected();
    let mut stamp = open_lock_file(&path)?;
    if !try_lock(&stamp).map_err(|error| StoreError::io("lock", &path, error))? {
        return Ok(());
    }
    let started = Instant::now();
    let (_, disk) = store.disk()?;
    let options = CollectOptions {
        keep_duration: policy.keep_duration,
        expire: Some(policy.expire).filter(|expire| !expire.is_zero()),
        limits: policy.limits(disk),
        ..CollectOptions::default()
    };
    let give_up = || stop.load(Ordering::Relaxed);
    let rehearsed = store.collect_until(
        &CollectOptions {
            dry_run: true,
            ..options.clone()
        },
        &give_up,
    )?;
    let mut collected = rehearsed;
    if !collected.removed.is_empty() && !give_up() {
        removing.store(true, Ordering::Relaxed);
        collected = store.collect_until(&options, &give_up)?;
    }
    if !collected.given_up {
        write_stamp(&mut stamp, &path, started.elapsed(), &collected)?;
    }
    Ok(())
}

/// `<seconds since the Unix epoch> <milliseconds that it took> <bytes that the store takes up>`.
fn write_stamp(stamp: &mut File, path: &PathBuf, took: Duration, collected: &Collected) -> Result<(), StoreError> {
    let text = format!("{} {} {}\n", unix_now(), took.as_millis(), collected.after);
    let mut write = || {
        stamp.rewind()?;
        stamp.write_all(text.as_bytes())?;
        stamp.set_len(text.len() as u64)
    };
    write().map_err(|error| StoreError::io("write", path, error))
}

/// Whether enough time has gone by since the last look, compared with what that one cost.
fn is_due(path: &Path, check_every: Duration) -> bool {
    let read = || -> std::io::Result<String> {
        let mut text = String::new();
        File::open(path)?.take(200).read_to_string(&mut text)?;
        Ok(text)
    };
    let text = read().unwrap_or_default();
    let mut numbers = text.split_whitespace().map(str::parse::<i64>);
    let (Some(Ok(at)), Some(Ok(took))) = (numbers.next(), numbers.next()) else {
        return true;
    };
    let cost = Duration::from_millis(u64::try_from(took).unwrap_or(0)).saturating_mul(SHARE_OF_TIME);
    let wait = i64::try_from(check_every.max(cost).as_secs()).unwrap_or(i64::MAX);
    // A time in the future is none.
    !(0..wait).contains(&unix_now().saturating_sub(at)) || check_every.is_zero()
}
