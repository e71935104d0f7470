//! Whose turn it is: steps ask for permits, and permits go to the step at the head of the longest path.
//!
//! A permit is a place among the steps that run at once and a part of the machine's memory. While there is room for
//! everyone who asks, nobody is compared with anybody: the time of earlier builds is read only when a step must wait
//! for the first time. Then each step has a rank: the expected time from its beginning to the end of the last target
//! that needs it, longest first, and between equals the one that stands first in the graph.
//!
//! A step that waits is not overtaken by one of a lower rank, even if that one would fit: weights stay honest, and
//! nothing starves. Steps that can run but are still being looked up keep a place free for [`PATIENCE`], so that the
//! order does not hang on whose lookup is quicker.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kiln_graph::{Op, Vertex};
use tokio::sync::{OnceCell, oneshot};

use crate::Worker;

/// How long a step waits for one of a higher rank that is still being looked up.
pub const PATIENCE: Duration = Duration::from_millis(50);

/// How much longer an emulated step takes than the same step natively, where only one of the two is known. Between what
/// was measured for compressors (3 to 4), compilers (9) and scripts that start programs (24).
pub const EMULATION_FACTOR: u32 = 8;

/// Expected of a process of which nothing is known.
const UNKNOWN_RUN: Duration = Duration::from_secs(1);

/// Expected of a COPY of which nothing is known.
const UNKNOWN_FILES: Duration = Duration::from_millis(100);

/// Says how many bytes of memory are available to steps, asked once; None where nobody knows.
#[derive(Clone)]
pub struct AvailableMemory(Arc<dyn Fn() -> Option<u64> + Send + Sync>);

impl AvailableMemory {
    /// Asks `available` when the first step is about to run.
    pub fn new(available: impl Fn() -> Option<u64> + Send + Sync + 'static) -> AvailableMemory {
        AvailableMemory(Arc::new(available))
    }

    fn ask(&self) -> Option<u64> {
        (self.0)()
    }
}

impl std::fmt::Debug for AvailableMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AvailableMemory").finish_non_exhaustive()
    }
}

/// What a step takes of the machine while it runs, besides one place: bytes of memory.
///
/// | step | bytes | why |
/// |---|---|---|
/// | a process | 256 MiB | a compiler on one large file |
/// | an emulated process | 384 MiB | the same, and what each program's translated code takes |
/// | files | 32 MiB | they go by in pieces: buffers of compressors and hashes |
pub fn memory_of(vertex: &Vertex, emulated: bool) -> u64 {
    match &vertex.op {
        Op::Exec(_) if emulated => 384 << 20,
        Op::Exec(_) => 256 << 20,
        _ => 32 << 20,
    }
}

/// Of the memory that is available, what steps share. The rest is for Kiln itself and for whoever else grows.
fn shared_part(available: u64) -> u64 {
    available / 4 * 3
}

/// Longest path first, then the order of the graph.
type Rank = (Reverse<Duration>, usize);

/// What stands in the graph, by position.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) vertices: Vec<Arc<Vertex>>,
    pub(crate) users: Vec<Vec<usize>>,
}

impl Shape {
    /// The time from the beginning of each vertex to the end of the last one that needs it.
    fn paths(&self, times: &[Duration]) -> Vec<Duration> {
        let mut paths = vec![Duration::ZERO; self.vertices.len()];
        // Whoever uses a vertex stands behind it.
        for position in (0..self.vertices.len()).rev() {
            let after = self.users[position].iter().map(|&user| paths[user]).max();
            paths[position] = times[position] + after.unwrap_or_default();
        }
        paths
    }
}

/// Hands out permits.
pub(crate) struct Scheduler {
    state: Mutex<State>,
    memory: Option<AvailableMemory>,
    paths: OnceCell<Vec<Duration>>,
}

struct State {
    total: Room,
    free: Room,
    /// Whether `total.memory` is what the machine has. It is asked when the first step is about to run.
    measured: bool,
    /// A step failed: nobody gets a permit any more, and whoever waits is told to stop.
    closed: bool,
    ranked: bool,
    paths: Vec<Duration>,
    /// Steps that can run and are still being looked up.
    coming: BTreeMap<usize, Room>,
    waiting: BTreeMap<Rank, Waiting>,
}

struct Waiting {
    wants: Room,
    /// Whether it leaves a place for steps of a higher rank that have not asked yet.
    patient: bool,
    granted: oneshot::Sender<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    steps: usize,
    memory: u64,
}

impl Room {
    fn holds(self, wanted: Room) -> bool {
        self.steps >= wanted.steps && self.memory >= wanted.memory
    }

    fn and(self, other: Room) -> Room {
        Room {
            steps: self.steps + other.steps,
            memory: self.memory.saturating_add(other.memory),
        }
    }
}

impl Scheduler {
    pub(crate) fn new(steps: usize, memory: Option<AvailableMemory>) -> Arc<Scheduler> {
        let total = Room {
            steps: steps.max(1),
            memory: u64::MAX,
        };
        Arc::new(Scheduler {
            state: Mutex::new(State {
                total,
                free: total,
                measured: memory.is_none(),
                closed: false,
                ranked: false,
                paths: Vec::new(),
                coming: BTreeMap::new(),
                waiting: BTreeMap::new(),
            }),
            memory,
            paths: OnceCell::new(),
        })
    }

    /// A step can run, and will ask for a permit unless its result is found.
    pub(crate) fn announce(self: &Arc<Scheduler>, position: usize, memory: u64) -> Turn {
        let wants = Room { steps: 1, memory };
        self.lock().coming.insert(position, wants);
        Turn {
            scheduler: self.clone(),
            position,
            wants,
            holds: None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The paths of the whole graph; read when they are asked for first.
    async fn rank<W: Worker>(&self, shape: &Shape, worker: &W) -> Result<(), W::Error> {
        let paths = self.paths.get_or_try_init(|| async {
            let known = worker.expected(&shape.vertices).await?;
            let times: Vec<Duration> = shape
                .vertices
                .iter()
                .zip(known)
                .map(|(vertex, known)| known.unwrap_or_else(|| unknown_time(vertex, worker.is_emulated(vertex))))
                .collect();
            Ok(shape.paths(&times))
        });
        let paths = paths.await?;
        let mut state = self.lock();
        if !state.ranked {
            state.ranked = true;
            state.paths.clone_from(paths);
        }
        Ok(())
    }
}

fn unknown_time(vertex: &Vertex, emulated: bool) -> Duration {
    match &vertex.op {
        Op::Exec(_) if emulated => UNKNOWN_RUN * EMULATION_FACTOR,
        Op::Exec(_) => UNKNOWN_RUN,
        Op::File(_) => UNKNOWN_FILES,
        _ => Duration::ZERO,
    }
}

impl State {
    fn rank(&self, position: usize) -> Rank {
        (Reverse(self.paths.get(position).copied().unwrap_or_default()), position)
    }

    /// A step that wants more than there is gets all that there is, so that it runs alone.
    fn clamped(&self, wanted: Room) -> Room {
        Room {
            steps: wanted.steps.min(self.total.steps),
            memory: wanted.memory.min(self.total.memory),
        }
    }

    /// Whether there is room for everyone who may ask, so that nobody need be compared.
    fn has_room_for_all(&self) -> bool {
        let waiting = self.waiting.values().map(|waiting| waiting.wants);
        let all = self.coming.values().copied().chain(waiting);
        self.free.holds(all.fold(Room { steps: 0, memory: 0 }, Room::and))
    }

    fn take(&mut self, room: Room) {
        self.free.steps -= room.steps;
        self.free.memory -= room.memory;
    }

    fn lose_patience(&mut self, rank: Rank) {
        if let Some(waiting) = self.waiting.get_mut(&rank) {
            waiting.patient = false;
        }
        self.dispatch();
    }

    /// Grants what can be granted, in the order of ranks.
    fn dispatch(&mut self) {
        while !self.closed
            && let Some((&rank, first)) = self.waiting.first_key_value()
        {
            let wants = self.clamped(first.wants);
            let kept = if first.patient {
                let before = |position: &usize| self.rank(*position) < rank;
                let ahead = self.coming.iter().filter(|(position, _)| before(position));
                ahead.map(|(_, room)| *room).fold(wants, Room::and)
            } else {
                wants
            };
            if !self.free.holds(kept) {
                return;
            }
            let Some((_, first)) = self.waiting.pop_first() else {
                return;
            };
            // Nobody is there any more if the whole solve was given up.
            if first.granted.send(()).is_ok() {
                self.take(wants);
            }
        }
    }
}

/// A step's turn: announced, then asked for, then held until it is dropped.
pub(crate) struct Turn {
    scheduler: Arc<Scheduler>,
    position: usize,
    wants: Room,
    holds: Option<Room>,
}

impl Turn {
    /// Waits for a permit.
    pub(crate) async fn wait<W: Worker>(&mut self, shape: &Shape, worker: &W) -> Result<(), W::Error> {
        let scheduler = self.scheduler.clone();
        if self.take_if_free() {
            return Ok(());
        }
        scheduler.rank(shape, worker).await?;
        let (granted, mut grant) = oneshot::channel();
        let rank = {
            let mut state = scheduler.lock();
            state.coming.remove(&self.position);
            let rank = state.rank(self.position);
            let waiting = Waiting {
                wants: self.wants,
                patient: true,
                granted,
            };
            state.waiting.insert(rank, waiting);
            state.dispatch();
            rank
        };
        if tokio::time::timeout(PATIENCE, &mut grant).await.is_err() {
            scheduler.lock().lose_patience(rank);
            // The sender stays in the queue until it has sent.
            let _ = grant.await;
        }
        self.holds = Some(scheduler.lock().clamped(self.wants));
        Ok(())
    }

    /// The step failed: the build is over.
    pub(crate) fn close(&self) {
        self.scheduler.lock().closed = true;
    }

    fn take_if_free(&mut self) -> bool {
        let mut state = self.scheduler.lock();
        if !state.measured {
            state.measured = true;
            if let Some(available) = self.scheduler.memory.as_ref().and_then(AvailableMemory::ask) {
                let memory = shared_part(available).max(1);
                (state.total.memory, state.free.memory) = (memory, memory);
            }
        }
        if state.closed || !state.has_room_for_all() {
            return false;
        }
        state.coming.remove(&self.position);
        let room = state.clamped(self.wants);
        state.take(room);
        self.holds = Some(room);
        true
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.scheduler.lock();
        state.coming.remove(&self.position);
        if let Some(room) = self.holds.take() {
            state.free = state.free.and(room);
        }
        state.dispatch();
    }
}
