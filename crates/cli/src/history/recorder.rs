//! Keeping a build's journal and record, beside whatever shows its events.
//!
//! One thread owns the journal. While events come thick and fast they are written together; when none has come for a
//! moment, what came is in the file, so that a killed build leaves nearly everything that it had told. A build that is
//! wholly cached is over before that, and writes its record alone.

use std::io::Write as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kiln_graph::{Event, EventSink};
use kiln_store::{BuildJournal, HistoryLimit, Store, StoreError};

use crate::history::record::{
    BuildRecord, FORMAT, Fold, JournalLine, RequestSummary, ResultRecord, Status, milliseconds,
};

/// How much is kept of all builds together.
pub const LIMIT: HistoryLimit = HistoryLimit {
    builds: 500,
    bytes: 128 << 20,
};

/// Bytes that are kept of what one step wrote.
const STEP_LOG: u64 = 1 << 20;

/// Bytes that are kept of what all steps of a build wrote.
const BUILD_LOG: u64 = 16 << 20;

/// How long events are waited for before those that came are written.
const MOMENT: Duration = Duration::from_millis(50);

/// Events that are written together at most.
const MANY: usize = 256;

/// How a build ended.
#[derive(Debug)]
pub struct Ending {
    /// Well, or how not.
    pub status: Status,
    /// Why it failed: the outermost message first.
    pub error: Vec<String>,
    /// What its names point at.
    pub results: Vec<ResultRecord>,
}

/// Records one build.
pub struct Recorder {
    sink: Arc<Sink>,
    thread: JoinHandle<Option<Journal>>,
}

/// Passes events on to the renderer and to the recorder's thread.
struct Sink {
    shown: Arc<dyn EventSink>,
    began: Instant,
    sender: Mutex<Option<Sender<(u64, Event)>>>,
}

impl EventSink for Sink {
    fn send(&self, event: Event) {
        if let Some(sender) = &*self.sender.lock().unwrap_or_else(PoisonError::into_inner) {
            // A recorder that could not go on needs no events.
            let _ = sender.send((milliseconds(self.began.elapsed()), event.clone()));
        }
        self.shown.send(event);
    }
}

impl Recorder {
    /// Begins the record of a build whose events also go to `shown`.
    pub fn begin(store: &Store, request: RequestSummary, shown: Arc<dyn EventSink>) -> Result<Recorder, StoreError> {
        let journal = store.begin_build()?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = request.names.first().unwrap_or(&request.context).clone();
        let record = BuildRecord {
            format: FORMAT,
            id: journal.id().to_string(),
            name,
            started_unix_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            request,
            ..BuildRecord::default()
        };
        let (sender, receiver) = channel();
        let journal = Journal::begin(journal, record)?;
        Ok(Recorder {
            sink: Arc::new(Sink {
                shown,
                began: Instant::now(),
                sender: Mutex::new(Some(sender)),
            }),
            thread: std::thread::spawn(move || journal.follow(&receiver)),
        })
    }

    /// Where events go.
    pub fn sink(&self) -> Arc<dyn EventSink> {
        self.sink.clone()
    }

    /// Keeps the record, and what it came to. None if it could not be written.
    pub fn finish(self, store: &Store, ending: Ending) -> Option<BuildRecord> {
        let took = milliseconds(self.sink.began.elapsed());
        self.sink.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The thread ends when the sender is gone; one that panicked has nothing to keep.
        let journal = self.thread.join().ok().flatten()?;
        let had_logs = journal.log_bytes > 0;
        let record = journal.finish(took, ending)?;
        // Builds that ran nothing are small and quick: only their number needs a look.
        if had_logs || store.builds().is_ok_and(|builds| builds.len() > LIMIT.builds) {
            // What is too much stays until the next build.
            let _ = store.trim_history(LIMIT);
        }
        Some(record)
    }
}

/// The journal and the record that becomes of it.
struct Journal {
    file: BuildJournal,
    fold: Fold,
    /// What is not written yet.
    waiting: Vec<JournalLine>,
    log_bytes: u64,
}

impl Journal {
    fn begin(mut file: BuildJournal, record: BuildRecord) -> Result<Journal, StoreError> {
        let mut lines = serde_json::to_vec(&record).unwrap_or_default();
        lines.push(b'\n');
        file.append(&lines)?;
        Ok(Journal {
            file,
            fold: Fold::begin(record),
            waiting: Vec::new(),
            log_bytes: 0,
        })
    }

    /// Takes events until there will be none. None: the journal could not be written.
    fn follow(mut self, events: &Receiver<(u64, Event)>) -> Option<Journal> {
        loop {
            let next = match events.recv_timeout(MOMENT) {
                Ok(next) => next,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    self.write()?;
                    match events.recv() {
                        Ok(next) => next,
                        Err(_) => break,
                    }
                }
            };
            self.take(next.0, next.1);
            if self.waiting.len() >= MANY {
                self.write()?;
            }
        }
        Some(self)
    }

    fn take(&mut self, at: u64, event: Event) {
        self.fold.take(at, &event);
        let event = match event {
            // The sums of transfers are in the record; single steps of them are nothing to keep.
            Event::Progress { .. } => return,
            Event::StepLog { vertex, stream, text } => {
                let before = self.fold.log_bytes(&vertex).saturating_sub(text.len() as u64);
                if before >= STEP_LOG || self.log_bytes >= BUILD_LOG {
                    return;
                }
                self.log_bytes += text.len() as u64;
                Event::StepLog {
                    vertex,
                    stream,
                    text: until(text, STEP_LOG.saturating_sub(before)),
                }
            }
            event => event,
        };
        self.waiting.push(JournalLine { at, event });
    }

    fn write(&mut self) -> Option<()> {
        let mut lines = Vec::new();
        for line in std::mem::take(&mut self.waiting) {
            serde_json::to_writer(&mut lines, &line).ok()?;
            lines.push(b'\n');
        }
        if lines.is_empty() {
            return Some(());
        }
        self.file.append(&lines).ok()
    }

    fn finish(mut self, took: u64, ending: Ending) -> Option<BuildRecord> {
        // Without a word of any step, nothing of the journal is kept.
        if self.log_bytes > 0 {
            self.write()?;
        }
        let mut record = self.fold.finish();
        record.duration_ms = took;
        record.status = ending.status;
        record.error = ending.error;
        record.results = ending.results;
        // They come in the order in which they are finished, which means nothing.
        let asked = record.request.platforms.clone();
        record
            .images
            .sort_by_key(|image| asked.iter().position(|platform| *platform == image.platform));
        let mut bytes = Vec::new();
        serde_json::to_writer(&mut bytes, &record).ok()?;
        bytes.write_all(b"\n").ok()?;
        self.file.finish(&bytes, self.log_bytes > 0).ok()?;
        Some(record)
    }
}

/// The beginning of a text, and that something is left out.
fn until(mut text: String, limit: u64) -> String {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if text.len() > limit {
        let end = (0..=limit).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str("\n(what follows is not kept)\n");
    }
    text
}
