//! The record of one build. Times are milliseconds since its beginning.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use kiln_graph::{
    AuditFinding, Event, Hit, LayerContent, MissReason, Outcome, Shared, SourceLines, TransferKind, VertexId,
};
use kiln_oci::{Digest, Platform};
use serde::{Deserialize, Serialize};

use crate::sharing::Sharing;

/// The format of records that this program writes.
pub const FORMAT: u32 = 1;

/// Everything that is kept of a build but what its steps wrote.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildRecord {
    /// The format of this document.
    pub format: u32,
    /// What the build is called in the history.
    pub id: String,
    /// The image's first name, else the context.
    pub name: String,
    /// How far it is.
    pub status: Status,
    /// When it began, in milliseconds since the Unix epoch.
    pub started_unix_ms: i64,
    /// How long it took, or has taken so far.
    pub duration_ms: u64,
    /// Version of the program.
    pub version: String,
    /// What was asked for.
    pub request: RequestSummary,
    /// Its steps and sources, inputs first.
    pub steps: Vec<StepRecord>,
    /// Work outside the graph.
    pub tasks: Vec<TaskRecord>,
    /// The image of each platform.
    pub images: Vec<ImageRecord>,
    /// What its names point at.
    pub results: Vec<ResultRecord>,
    /// Bytes that went from and to registries.
    pub transferred: Transferred,
    /// What its platforms had in common.
    pub shared: Shared,
    /// What it warned of.
    pub warnings: Vec<WarningRecord>,
    /// Why it failed: the outermost message first.
    pub error: Vec<String>,
    /// What the audit found, if there was one.
    pub audit: Option<Vec<AuditRecord>>,
    /// What came of the tests, if there were any.
    pub tests: Option<Vec<TestRecord>>,
}

/// How far a build is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It runs.
    #[default]
    Running,
    /// It ended well.
    Done,
    /// It failed.
    Failed,
    /// The user stopped it.
    Cancelled,
    /// Its process was killed.
    Interrupted,
}

impl Status {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Status::Running => "running",
            Status::Done => "done",
            Status::Failed => "failed",
            Status::Cancelled => "cancelled",
            Status::Interrupted => "interrupted",
        }
    }
}

/// What was asked of a build. Values of arguments are left out: they may be secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestSummary {
    /// The context as it was named.
    pub context: String,
    /// The Dockerfile.
    pub file: String,
    /// The stage, if one was named.
    pub target: Option<String>,
    /// The platforms.
    pub platforms: Vec<Platform>,
    /// The image's names.
    pub names: Vec<String>,
    /// Names of the build arguments.
    pub arguments: Vec<String>,
}

/// One step or source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Its number in the build, from 1: the one that progress shows.
    pub number: usize,
    /// Its identity.
    pub vertex: VertexId,
    /// The steps and sources that it starts from.
    pub inputs: Vec<VertexId>,
    /// As people read it.
    pub name: String,
    /// Its stage.
    pub stage: Option<String>,
    /// Its number within the stage, and how many there are. None: a source or something else that is no instruction.
    pub step: Option<(usize, usize)>,
    /// The platform that it runs for.
    pub platform: Option<Platform>,
    /// The target platforms that need it.
    pub targets: BTreeSet<Platform>,
    /// Where it stands.
    pub lines: Option<SourceLines>,
    /// What came of it; None: it has not ended.
    pub outcome: Option<Outcome>,
    /// When it began to run. None: it did not.
    pub started_ms: Option<u64>,
    /// How long it ran.
    pub duration_ms: u64,
    /// Whether it ran under an emulator.
    pub emulated: bool,
    /// Why it ran.
    pub reason: Option<MissReason>,
    /// How its result was found, if it did not run.
    pub hit: Option<Hit>,
    /// The cache that had its record; None is the local store.
    #[serde(default)]
    pub cache: Option<String>,
    /// How long it took when it ran, if its result was found.
    pub took_ms: Option<u64>,
    /// Bytes that it wrote.
    pub log_bytes: u64,
}

/// Work outside the graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// What it is.
    pub name: String,
    /// The platform that it is for.
    pub platform: Option<Platform>,
    /// When it began.
    pub started_ms: u64,
    /// How long it took; None: it has not ended.
    pub duration_ms: Option<u64>,
    /// What came of it.
    pub outcome: Option<Outcome>,
    /// Pairs it with its end.
    pub id: u64,
}

/// The image of one platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Which.
    pub platform: Platform,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Bytes of its compressed layers.
    pub size: u64,
    /// Its layers, lowest first.
    pub layers: Vec<LayerContent>,
}

/// What names point at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultRecord {
    /// Digest of the index, or of the only manifest.
    pub digest: Digest,
    /// Its names.
    pub names: Vec<String>,
}

/// Bytes that went from and to registries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Transferred {
    /// From.
    pub pulled: u64,
    /// To.
    pub pushed: u64,
}

/// Something that the user should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarningRecord {
    /// What.
    pub message: String,
    /// What to do about it.
    pub hints: Vec<String>,
}

/// What the audit found in the image of one platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Which.
    pub platform: Platform,
    /// Nothing in a sound image.
    pub findings: Vec<AuditFinding>,
}

/// What came of one test of one platform's image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestRecord {
    /// Which platform.
    pub platform: Platform,
    /// What it is called.
    pub name: String,
    /// What came of it.
    pub outcome: Outcome,
    /// How long it took.
    pub duration_ms: u64,
}

impl BuildRecord {
    /// The step `vertex`.
    pub fn step(&self, vertex: &VertexId) -> Option<&StepRecord> {
        self.steps.iter().find(|step| step.vertex == *vertex)
    }

    /// The steps that stand in the Dockerfile.
    pub fn instructions(&self) -> impl Iterator<Item = &StepRecord> {
        self.steps.iter().filter(|step| step.step.is_some())
    }
}

impl StepRecord {
    /// `[stage 2/5] RUN make`, as people know it.
    pub fn title(&self) -> String {
        let name = self.name.lines().next().unwrap_or_default();
        match (&self.stage, self.step) {
            (Some(stage), Some((number, count))) => format!("[{stage} {number}/{count}] {name}"),
            _ => name.to_owned(),
        }
    }

    /// When it ended, if it ran.
    pub fn ended_ms(&self) -> Option<u64> {
        self.started_ms.map(|started| started.saturating_add(self.duration_ms))
    }

    /// How it ran or why it did not, in one word.
    pub fn kind(&self) -> StepKind {
        match (&self.outcome, self.started_ms) {
            (Some(Outcome::Cached), _) => StepKind::Cached,
            (Some(Outcome::Failed(_)), _) => StepKind::Failed,
            (Some(Outcome::Cancelled), None) => StepKind::NotRun,
            (_, Some(_)) if self.emulated => StepKind::Emulated,
            (_, Some(_)) => StepKind::Native,
            (Some(_), None) if self.step.is_none() => StepKind::Source,
            _ => StepKind::NotRun,
        }
    }
}

/// How a step ran or why it did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// Its result was found.
    Cached,
    /// It ran on this machine's processor.
    Native,
    /// It ran under an emulator.
    Emulated,
    /// It ran, and failed.
    Failed,
    /// It is a source.
    Source,
    /// It did not come to run.
    NotRun,
}

impl StepKind {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            StepKind::Cached => "cached",
            StepKind::Native => "native",
            StepKind::Emulated => "emulated",
            StepKind::Failed => "failed",
            StepKind::Source => "source",
            StepKind::NotRun => "not run",
        }
    }
}

/// Folds events into a record.
#[derive(Debug, Default)]
pub struct Fold {
    /// The record so far.
    pub record: BuildRecord,
    positions: HashMap<VertexId, usize>,
    transfers: HashMap<(Digest, bool), u64>,
    sharing: Sharing,
}

impl Fold {
    /// Begins with what is known before the first event.
    pub fn begin(record: BuildRecord) -> Fold {
        Fold {
            record,
            ..Fold::default()
        }
    }

    /// The record of all that was taken.
    pub fn finish(mut self) -> BuildRecord {
        self.record.shared = self.sharing.total();
        self.record
    }

    fn step(&mut self, vertex: &VertexId) -> Option<&mut StepRecord> {
        self.record.steps.get_mut(*self.positions.get(vertex)?)
    }

    /// Bytes that a step has written so far.
    pub fn log_bytes(&self, vertex: &VertexId) -> u64 {
        let position = self.positions.get(vertex);
        position.map_or(0, |position| self.record.steps[*position].log_bytes)
    }

    /// Takes an event that came so many milliseconds after the beginning.
    pub fn take(&mut self, at: u64, event: &Event) {
        self.sharing.take(event);
        let record = &mut self.record;
        record.duration_ms = record.duration_ms.max(at);
        match event {
            Event::StepPlanned { vertex, meta, inputs } => {
                if self.positions.contains_key(vertex) {
                    return;
                }
                self.positions.insert(vertex.clone(), record.steps.len());
                record.steps.push(StepRecord {
                    number: record.steps.len() + 1,
                    vertex: vertex.clone(),
                    inputs: inputs.clone(),
                    name: meta.name.clone(),
                    stage: meta.stage.clone(),
                    step: meta.step,
                    platform: meta.platform.clone(),
                    targets: meta.targets.clone(),
                    lines: meta.lines.clone(),
                    outcome: None,
                    started_ms: None,
                    duration_ms: 0,
                    emulated: false,
                    reason: None,
                    hit: None,
                    cache: None,
                    took_ms: None,
                    log_bytes: 0,
                });
            }
            Event::StepMatched {
                vertex,
                hit,
                cache,
                took,
                ..
            } => {
                if let Some(step) = self.step(vertex) {
                    step.hit = Some(*hit);
                    step.cache.clone_from(cache);
                    step.took_ms = took.map(milliseconds);
                }
            }
            Event::StepStarted {
                vertex,
                emulated,
                reason,
            } => {
                if let Some(step) = self.step(vertex) {
                    step.started_ms = Some(at);
                    step.emulated = *emulated;
                    step.reason.clone_from(reason);
                }
            }
            Event::StepLog { vertex, text, .. } => {
                if let Some(step) = self.step(vertex) {
                    step.log_bytes += text.len() as u64;
                }
            }
            Event::StepFinished { vertex, outcome, .. } => {
                if let Some(step) = self.step(vertex) {
                    // What came before its start was waiting: for its turn, or for another build.
                    step.duration_ms = step.started_ms.map_or(0, |started| at.saturating_sub(started));
                    step.outcome = Some(outcome.clone());
                }
            }
            Event::TaskStarted { id, name, platform } => record.tasks.push(TaskRecord {
                name: name.clone(),
                platform: platform.clone(),
                started_ms: at,
                duration_ms: None,
                outcome: None,
                id: *id,
            }),
            Event::TaskFinished { id, outcome, duration } => {
                if let Some(task) = record.tasks.iter_mut().rev().find(|task| task.id == *id) {
                    task.duration_ms = Some(milliseconds(*duration));
                    task.outcome = Some(outcome.clone());
                }
            }
            Event::Progress { digest, kind, done, .. } => {
                let pushed = match kind {
                    TransferKind::Push => true,
                    TransferKind::Pull => false,
                    TransferKind::Pack | TransferKind::Unpack => return,
                };
                let known = self.transfers.entry((digest.clone(), pushed)).or_default();
                let more = done.saturating_sub(*known);
                *known += more;
                let total = if pushed {
                    &mut record.transferred.pushed
                } else {
                    &mut record.transferred.pulled
                };
                *total += more;
            }
            Event::Warning { message, hints } => record.warnings.push(WarningRecord {
                message: message.clone(),
                hints: hints.clone(),
            }),
            Event::PlatformFinished {
                platform,
                digest,
                size,
                contents,
                ..
            } => record.images.push(ImageRecord {
                platform: platform.clone(),
                digest: digest.clone(),
                size: *size,
                layers: contents.clone(),
            }),
            Event::Shared(_) => {}
            Event::AuditFinished { platform, findings } => {
                record.audit.get_or_insert_default().push(AuditRecord {
                    platform: platform.clone(),
                    findings: findings.clone(),
                });
            }
            Event::TestFinished {
                platform,
                name,
                outcome,
                duration,
            } => record.tests.get_or_insert_default().push(TestRecord {
                platform: platform.clone(),
                name: name.clone(),
                outcome: outcome.clone(),
                duration_ms: milliseconds(*duration),
            }),
        }
    }
}

/// A line of a journal after its first one, which is the record at the beginning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JournalLine {
    /// Milliseconds since the beginning.
    pub at: u64,
    /// What happened.
    pub event: Event,
}

/// Whole milliseconds.
pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_graph::VertexMeta;

    fn vertex(name: &str) -> VertexId {
        VertexId(Digest::sha256(name))
    }

    fn planned(name: &str, step: Option<(usize, usize)>) -> Event {
        Event::StepPlanned {
            vertex: vertex(name),
            meta: VertexMeta {
                name: name.into(),
                stage: step.map(|_| "app".into()),
                step,
                ..VertexMeta::default()
            },
            inputs: Vec::new(),
        }
    }

    fn finished(name: &str, outcome: Outcome) -> Event {
        Event::StepFinished {
            vertex: vertex(name),
            outcome,
            duration: Duration::from_secs(60),
        }
    }

    #[test]
    fn events_become_steps_with_their_times() {
        let mut fold = Fold::default();
        let started = |name: &str, emulated| Event::StepStarted {
            vertex: vertex(name),
            emulated,
            reason: Some(MissReason::NoRecord),
        };
        let log = |text: &str| Event::StepLog {
            vertex: vertex("RUN a"),
            stream: kiln_graph::LogStream::Stdout,
            text: text.into(),
        };
        let matched = Event::StepMatched {
            vertex: vertex("RUN c"),
            hit: Hit::Content,
            cache: None,
            took: Some(Duration::from_millis(1500)),
            created_unix: Some(1),
        };
        let events = [
            (0, planned("FROM x", None)),
            (0, planned("RUN a", Some((1, 3)))),
            (0, planned("RUN b", Some((2, 3)))),
            (0, planned("RUN c", Some((3, 3)))),
            (5, finished("FROM x", Outcome::Done)),
            (10, started("RUN a", false)),
            (12, log("four")),
            (20, started("RUN b", true)),
            (110, finished("RUN a", Outcome::Done)),
            (150, matched),
            (150, finished("RUN c", Outcome::Cached)),
            (220, finished("RUN b", Outcome::Failed("exit code 1".into()))),
        ];
        for (at, event) in events {
            fold.take(at, &event);
        }
        let record = fold.record;
        let kinds: Vec<(StepKind, u64)> = record
            .steps
            .iter()
            .map(|step| (step.kind(), step.duration_ms))
            .collect();
        assert_eq!(
            kinds,
            [
                (StepKind::Source, 0),
                (StepKind::Native, 100),
                (StepKind::Failed, 200),
                (StepKind::Cached, 0)
            ]
        );
        assert_eq!(record.steps[1].log_bytes, 4);
        assert_eq!(record.steps[1].title(), "[app 1/3] RUN a");
        assert_eq!(
            (record.steps[3].hit, record.steps[3].took_ms),
            (Some(Hit::Content), Some(1500))
        );
        assert_eq!(record.duration_ms, 220);
    }

    #[test]
    fn transfers_are_summed_and_findings_have_their_section() {
        let mut fold = Fold::default();
        let progress = |name: &str, kind, done| Event::Progress {
            digest: Digest::sha256(name),
            kind,
            done,
            total: None,
        };
        for event in [
            progress("a", TransferKind::Pull, 10),
            progress("a", TransferKind::Pull, 30),
            progress("a", TransferKind::Push, 7),
            progress("b", TransferKind::Pull, 5),
            progress("b", TransferKind::Pack, 500),
        ] {
            fold.take(0, &event);
        }
        let moved = Transferred { pulled: 35, pushed: 7 };
        assert_eq!(fold.record.transferred, moved);
        assert_eq!(fold.record.audit, None, "no audit is not a clean audit");
        let audit = Event::AuditFinished {
            platform: Platform::linux("arm64", ""),
            findings: Vec::new(),
        };
        fold.take(0, &audit);
        assert_eq!(fold.record.audit.map(|audits| audits.len()), Some(1));
    }

    #[test]
    fn a_record_comes_back_from_json_and_from_an_older_program() {
        let mut fold = Fold::default();
        fold.take(0, &planned("RUN a", Some((1, 1))));
        let text = serde_json::to_string(&fold.record).expect("serialise");
        assert_eq!(serde_json::from_str::<BuildRecord>(&text).expect("parse"), fold.record);
        let old: BuildRecord = serde_json::from_str("{\"id\":\"x\",\"unknown\":1}").expect("parse");
        assert_eq!((old.id.as_str(), old.steps.len()), ("x", 0));
    }
}
