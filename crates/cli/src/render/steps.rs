//! What is known of a build while it runs: folded from its events.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use kiln_graph::{Event, MissReason, Outcome, TransferKind, VertexId, VertexMeta};
use kiln_oci::{Digest, Platform};

use crate::sharing::Sharing;

/// How far a step is.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// Known.
    Planned,
    /// Under way.
    Running(Instant),
    /// Ended.
    Ended(Outcome, Duration),
}

/// One step.
#[derive(Debug, Clone)]
pub struct Step {
    pub number: usize,
    pub meta: VertexMeta,
    pub progress: Progress,
    pub emulated: bool,
    pub reason: Option<MissReason>,
    /// The last lines that it wrote.
    pub tail: Vec<String>,
    open: String,
}

/// Work outside the graph.
#[derive(Debug, Clone)]
pub struct Task {
    pub name: String,
    pub platform: Option<Platform>,
    pub progress: Progress,
}

/// The image of one platform.
#[derive(Debug, Clone)]
pub struct Finished {
    pub platform: Platform,
    pub digest: Digest,
    pub layers: usize,
    pub size: u64,
}

/// Everything.
#[derive(Debug, Default)]
pub struct Steps {
    pub order: Vec<VertexId>,
    pub steps: HashMap<VertexId, Step>,
    pub tasks: Vec<(u64, Task)>,
    pub transfers: HashMap<(Digest, TransferLabel), (u64, Option<u64>)>,
    pub finished: Vec<Finished>,
    pub warnings: Vec<String>,
    pub started: Option<Instant>,
    pub sharing: Sharing,
}

/// A kind of transfer as a word.
pub type TransferLabel = &'static str;

/// Lines of a running step's output that are kept.
const TAIL: usize = 4;

impl Steps {
    /// Takes one event.
    pub fn take(&mut self, event: &Event) {
        self.started.get_or_insert_with(Instant::now);
        self.sharing.take(event);
        match event {
            Event::StepPlanned { vertex, meta, .. } => {
                let number = self.order.len() + 1;
                let step = Step {
                    number,
                    meta: meta.clone(),
                    progress: Progress::Planned,
                    emulated: false,
                    reason: None,
                    tail: Vec::new(),
                    open: String::new(),
                };
                self.order.push(vertex.clone());
                self.steps.insert(vertex.clone(), step);
            }
            Event::StepStarted {
                vertex,
                emulated,
                reason,
            } => {
                if let Some(step) = self.steps.get_mut(vertex) {
                    step.progress = Progress::Running(Instant::now());
                    step.emulated = *emulated;
                    step.reason.clone_from(reason);
                }
            }
            Event::StepLog { vertex, text, .. } => {
                if let Some(step) = self.steps.get_mut(vertex) {
                    step.log(text);
                }
            }
            Event::StepFinished {
                vertex,
                outcome,
                duration,
            } => {
                if let Some(step) = self.steps.get_mut(vertex) {
                    step.progress = Progress::Ended(outcome.clone(), *duration);
                }
            }
            Event::TaskStarted { id, name, platform } => {
                self.tasks.push((
                    *id,
                    Task {
                        name: name.clone(),
                        platform: platform.clone(),
                        progress: Progress::Running(Instant::now()),
                    },
                ));
            }
            Event::TaskFinished { id, outcome, duration } => {
                if let Some((_, task)) = self.tasks.iter_mut().rev().find(|(known, _)| known == id) {
                    task.progress = Progress::Ended(outcome.clone(), *duration);
                }
            }
            Event::Progress {
                digest,
                kind,
                done,
                total,
            } => {
                self.transfers.insert((digest.clone(), label(*kind)), (*done, *total));
            }
            Event::PlatformFinished {
                platform,
                digest,
                layers,
                size,
                contents: _,
            } => {
                self.finished.push(Finished {
                    platform: platform.clone(),
                    digest: digest.clone(),
                    layers: *layers,
                    size: *size,
                });
            }
            Event::Warning { message, .. } => self.warnings.push(message.clone()),
            Event::StepMatched { .. } | Event::Shared(_) | Event::AuditFinished { .. } | Event::TestFinished { .. } => {
            }
        }
    }
}

impl Step {
    fn log(&mut self, text: &str) {
        for piece in text.split_inclusive('\n') {
            self.open.push_str(piece);
            if piece.ends_with('\n') {
                let line = std::mem::take(&mut self.open);
                if self.tail.len() == TAIL {
                    self.tail.remove(0);
                }
                self.tail.push(line.trim_end().to_owned());
            }
        }
    }

    /// `[stage 2/5] RUN make`, as people know it.
    pub fn title(&self) -> String {
        match (&self.meta.stage, self.meta.step) {
            (Some(stage), Some((number, count))) => {
                format!("[{stage} {number}/{count}] {}", first_line(&self.meta.name))
            }
            _ => first_line(&self.meta.name).to_owned(),
        }
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn label(kind: TransferKind) -> TransferLabel {
    match kind {
        TransferKind::Pull => "pull",
        TransferKind::Unpack => "unpack",
        TransferKind::Pack => "pack",
        TransferKind::Push => "push",
    }
}
