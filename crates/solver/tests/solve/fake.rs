//! A worker that runs nothing, and graphs for it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use kiln_graph::{
    CopyAction, Event, EventSink, ExecOp, FileAction, FileOp, Graph, LocalSource, MissReason, NetworkMode, Op, Outcome,
    SecurityMode, Vertex, VertexId, VertexMeta,
};
use kiln_oci::{Digest, Platform};
use kiln_solver::key::cache_key;
use kiln_solver::{
    AvailableMemory, Found, Input, Root, Selection, SolveError, SolveOptions, Source, StepContext, Worker, solve,
};
use kiln_store::{CacheKey, CacheRecord, KeyPart, LayerId};
use tokio_util::sync::CancellationToken;

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Failure(pub(crate) String);

/// Runs nothing: notes what it was asked to run, and gives layers named after the step and a revision.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) records: Mutex<HashMap<CacheKey, CacheRecord>>,
    /// Records that were there once.
    pub(crate) evicted: Mutex<HashMap<CacheKey, CacheRecord>>,
    pub(crate) ran: Mutex<Vec<String>>,
    /// Content of contexts and of steps' roots, by name of the step or context.
    pub(crate) contents: Mutex<HashMap<String, String>>,
    /// Which step's layer a layer is.
    pub(crate) layers: Mutex<HashMap<LayerId, String>>,
    pub(crate) failing: Mutex<Vec<String>>,
    pub(crate) running: AtomicUsize,
    pub(crate) most_running: AtomicUsize,
    pub(crate) lookups: AtomicUsize,
    /// What steps are expected to take, by name, in milliseconds.
    pub(crate) times: Mutex<HashMap<String, u64>>,
    /// How often somebody asked for that.
    pub(crate) asked_for_times: AtomicUsize,
    /// Steps whose lookups take a while.
    pub(crate) slow_lookups: Mutex<Vec<String>>,
}

impl Fake {
    pub(crate) fn ran(&self) -> Vec<String> {
        let mut ran = std::mem::take(&mut *self.ran.lock().unwrap());
        ran.sort();
        ran
    }

    /// The steps in the order in which they ended.
    pub(crate) fn order(&self) -> Vec<String> {
        std::mem::take(&mut *self.ran.lock().unwrap())
    }

    pub(crate) fn set_content(&self, name: &str, content: &str) {
        self.contents.lock().unwrap().insert(name.into(), content.into());
    }
}

#[async_trait]
impl Worker for Fake {
    type Error = Failure;
    type Lock = ();

    async fn source(&self, vertex: &Vertex, _: &StepContext) -> Result<Source, Failure> {
        Ok(Source {
            key: cache_key(vertex, &[]),
            root: Vec::new().into(),
            description: vertex.meta.name.clone(),
        })
    }

    async fn select(&self, vertex: &Vertex, position: usize, input: &Input) -> Result<Option<Selection>, Failure> {
        if self.slow_lookups.lock().unwrap().contains(&vertex.meta.name) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let name = match (&vertex.op, input) {
            (_, Input::Local(local)) => local.name.clone(),
            (Op::File(_), Input::Root(root)) if position > 0 => {
                self.layers.lock().unwrap()[root.last().unwrap()].clone()
            }
            _ => return Ok(None),
        };
        let content = self.contents.lock().unwrap().get(&name).cloned().unwrap_or_default();
        let files = vec![KeyPart {
            name: format!("file {name}"),
            value: format!("644 {content}"),
        }];
        Ok(Some(Selection {
            digest: Digest::sha256(content),
            files,
        }))
    }

    async fn lookup(&self, key: &CacheKey) -> Result<Option<Found>, Failure> {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        let record = self.records.lock().unwrap().get(key).cloned();
        Ok(record.map(|record| Found { record, cache: None }))
    }

    async fn nearest(&self, vertex: &Vertex) -> Result<Vec<CacheRecord>, Failure> {
        let mut all = self.records.lock().unwrap().clone();
        all.extend(self.evicted.lock().unwrap().clone());
        let mut records: Vec<CacheRecord> = all
            .into_values()
            .filter(|record| record.slot == vertex.meta.slot)
            .collect();
        records.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(records)
    }

    async fn expected(&self, vertices: &[Arc<Vertex>]) -> Result<Vec<Option<Duration>>, Failure> {
        self.asked_for_times.fetch_add(1, Ordering::SeqCst);
        let times = self.times.lock().unwrap();
        let known = |vertex: &Arc<Vertex>| times.get(&vertex.meta.name).copied().map(Duration::from_millis);
        Ok(vertices.iter().map(known).collect())
    }

    async fn was_kept(&self, key: &CacheKey) -> Result<bool, Failure> {
        Ok(self.evicted.lock().unwrap().contains_key(key))
    }

    fn conceal(&self, text: String) -> String {
        text.replace("hunter2", "***")
    }

    async fn lock(&self, _: &CacheKey) -> Result<(), Failure> {
        Ok(())
    }

    async fn execute(&self, vertex: &Vertex, inputs: &[Input], context: &StepContext) -> Result<Root, Failure> {
        let name = vertex.meta.name.clone();
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_running.fetch_max(running, Ordering::SeqCst);
        let slow = name.contains("slow");
        let cancelled = tokio::select! {
            () = context.cancel.cancelled(), if slow => true,
            () = tokio::time::sleep(Duration::from_millis(if slow { 60_000 } else { 5 })) => false,
        };
        self.running.fetch_sub(1, Ordering::SeqCst);
        if cancelled {
            return Err(Failure("stopped".into()));
        }
        if self.failing.lock().unwrap().contains(&name) {
            return Err(Failure(format!("{name} is told to fail")));
        }
        self.ran.lock().unwrap().push(name.clone());
        let layer = LayerId::random();
        self.layers.lock().unwrap().insert(layer.clone(), name);
        let base = match inputs.first() {
            Some(Input::Root(root)) => root.to_vec(),
            _ => Vec::new(),
        };
        Ok(base.into_iter().chain([layer]).collect())
    }

    async fn save(&self, record: CacheRecord, aliases: Vec<CacheKey>) -> Result<(), Failure> {
        let mut records = self.records.lock().unwrap();
        for key in aliases.into_iter().chain([record.key.clone()]) {
            records.insert(key, record.clone());
        }
        Ok(())
    }

    fn is_emulated(&self, vertex: &Vertex) -> bool {
        vertex.meta.name.contains("emulated")
    }
}

#[derive(Default)]
pub(crate) struct Recorder(pub(crate) Mutex<Vec<Event>>);

impl EventSink for Recorder {
    fn send(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Recorder {
    pub(crate) fn outcomes(&self, graph: &Graph) -> HashMap<String, Outcome> {
        let events = self.0.lock().unwrap();
        let named = events.iter().filter_map(|event| match event {
            Event::StepFinished { vertex, outcome, .. } => {
                Some((graph.vertex(vertex).unwrap().meta.name.clone(), outcome.clone()))
            }
            _ => None,
        });
        named.collect()
    }

    pub(crate) fn reason(&self, graph: &Graph, name: &str) -> Option<MissReason> {
        let events = self.0.lock().unwrap();
        events.iter().find_map(|event| match event {
            Event::StepStarted { vertex, reason, .. } if graph.vertex(vertex).unwrap().meta.name == name => {
                reason.clone()
            }
            _ => None,
        })
    }
}

pub(crate) fn meta(name: &str) -> VertexMeta {
    VertexMeta {
        name: name.into(),
        slot: name.split(' ').take(2).collect::<Vec<_>>().join(" "),
        ..VertexMeta::default()
    }
}

pub(crate) fn scratch(graph: &mut Graph) -> VertexId {
    graph.add(Op::Scratch, vec![], meta("FROM scratch"))
}

pub(crate) fn run(graph: &mut Graph, base: &VertexId, name: &str) -> VertexId {
    run_with(graph, base, meta(name))
}

pub(crate) fn run_with(graph: &mut Graph, base: &VertexId, meta: VertexMeta) -> VertexId {
    let exec = exec(&meta.name);
    graph.add(Op::Exec(exec), vec![base.clone()], meta)
}

pub(crate) fn context(graph: &mut Graph) -> VertexId {
    graph.add(
        Op::Local(LocalSource {
            name: "context".into(),
            ignore: Vec::new(),
        }),
        vec![],
        meta("context"),
    )
}

pub(crate) fn copy(graph: &mut Graph, base: &VertexId, from: &VertexId, name: &str) -> VertexId {
    let action = CopyAction {
        input: 1,
        source: "src".into(),
        destination: "/".into(),
        owner: None,
        chmod: None,
        wildcard: true,
        allow_empty: true,
        unpack: false,
        unpack_required: false,
        parents: false,
        exclude: Vec::new(),
        follow_links: true,
        keep_times: false,
        written: "src".into(),
    };
    let op = Op::File(FileOp {
        actions: vec![FileAction::Copy(action)],
        epoch: None,
    });
    graph.add(op, vec![base.clone(), from.clone()], meta(name))
}

pub(crate) struct Solving {
    pub(crate) worker: Arc<Fake>,
    pub(crate) parallelism: usize,
    pub(crate) memory: Option<u64>,
    pub(crate) cancel: CancellationToken,
}

impl Solving {
    pub(crate) fn new() -> Solving {
        Solving {
            worker: Arc::default(),
            parallelism: 4,
            memory: None,
            cancel: CancellationToken::new(),
        }
    }

    pub(crate) async fn solve(
        &self,
        graph: &Graph,
        targets: &[&VertexId],
    ) -> (Result<Vec<Root>, SolveError<Failure>>, Arc<Recorder>) {
        let events = Arc::new(Recorder::default());
        let context = StepContext {
            events: events.clone(),
            cancel: self.cancel.clone(),
        };
        let targets: Vec<VertexId> = targets.iter().map(|&id| id.clone()).collect();
        let options = SolveOptions {
            parallelism: self.parallelism,
            memory: self.memory.map(|memory| AvailableMemory::new(move || Some(memory))),
        };
        let solved = solve(graph, &targets, self.worker.clone(), options, context).await;
        (
            solved.map(|solution| solution.targets.into_iter().map(|solved| solved.root).collect()),
            events,
        )
    }
}

/// A process on amd64 with nothing around it.
pub(crate) fn exec(command: &str) -> ExecOp {
    ExecOp {
        argv: vec![command.to_owned()],
        env: Vec::new(),
        workdir: "/".into(),
        user: String::new(),
        network: NetworkMode::Default,
        security: SecurityMode::Sandbox,
        hostname: String::new(),
        extra_hosts: Vec::new(),
        mounts: Vec::new(),
        platform: Platform::linux("amd64", ""),
        shm_size: None,
        ulimits: Default::default(),
        cgroup_parent: None,
        resources: Box::default(),
        proxy: Vec::new(),
    }
}

/// A stage that makes files, and a step on the files that are copied from it: the graph and that step.
pub(crate) fn copied_from_stage(command: &str) -> (Graph, VertexId) {
    let mut graph = Graph::new();
    let base = scratch(&mut graph);
    let builder = run(&mut graph, &base, command);
    let copied = copy(&mut graph, &base, &builder, "COPY --from=builder src /");
    let last = run(&mut graph, &copied, "RUN last");
    (graph, last)
}
