//! The solver against a worker that runs nothing.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

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
use kiln_solver::{Found, Input, Root, Selection, SolveError, SolveOptions, Source, StepContext, Worker, solve};
use kiln_store::{CacheKey, CacheRecord, KeyPart, LayerId};
use tokio_util::sync::CancellationToken;

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failure(String);

/// Runs nothing: notes what it was asked to run, and gives layers named after the step and a revision.
#[derive(Default)]
struct Fake {
    records: Mutex<HashMap<CacheKey, CacheRecord>>,
    /// Records that were there once.
    evicted: Mutex<HashMap<CacheKey, CacheRecord>>,
    ran: Mutex<Vec<String>>,
    /// Content of contexts and of steps' roots, by name of the step or context.
    contents: Mutex<HashMap<String, String>>,
    /// Which step's layer a layer is.
    layers: Mutex<HashMap<LayerId, String>>,
    failing: Mutex<Vec<String>>,
    running: AtomicUsize,
    most_running: AtomicUsize,
    lookups: AtomicUsize,
}

impl Fake {
    fn ran(&self) -> Vec<String> {
        let mut ran = std::mem::take(&mut *self.ran.lock().unwrap());
        ran.sort();
        ran
    }

    fn set_content(&self, name: &str, content: &str) {
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

    fn is_emulated(&self, _: &Vertex) -> bool {
        false
    }
}

#[derive(Default)]
struct Recorder(Mutex<Vec<Event>>);

impl EventSink for Recorder {
    fn send(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Recorder {
    fn outcomes(&self, graph: &Graph) -> HashMap<String, Outcome> {
        let events = self.0.lock().unwrap();
        let named = events.iter().filter_map(|event| match event {
            Event::StepFinished { vertex, outcome, .. } => {
                Some((graph.vertex(vertex).unwrap().meta.name.clone(), outcome.clone()))
            }
            _ => None,
        });
        named.collect()
    }

    fn reason(&self, graph: &Graph, name: &str) -> Option<MissReason> {
        let events = self.0.lock().unwrap();
        events.iter().find_map(|event| match event {
            Event::StepStarted { vertex, reason, .. } if graph.vertex(vertex).unwrap().meta.name == name => {
                reason.clone()
            }
            _ => None,
        })
    }
}

fn meta(name: &str) -> VertexMeta {
    VertexMeta {
        name: name.into(),
        slot: name.split(' ').take(2).collect::<Vec<_>>().join(" "),
        ..VertexMeta::default()
    }
}

fn scratch(graph: &mut Graph) -> VertexId {
    graph.add(Op::Scratch, vec![], meta("FROM scratch"))
}

fn run(graph: &mut Graph, base: &VertexId, name: &str) -> VertexId {
    run_with(graph, base, meta(name))
}

fn run_with(graph: &mut Graph, base: &VertexId, meta: VertexMeta) -> VertexId {
    let exec = ExecOp {
        argv: vec![meta.name.clone()],
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
        proxy: Vec::new(),
    };
    graph.add(Op::Exec(exec), vec![base.clone()], meta)
}

fn context(graph: &mut Graph) -> VertexId {
    graph.add(
        Op::Local(LocalSource {
            name: "context".into(),
            ignore: Vec::new(),
        }),
        vec![],
        meta("context"),
    )
}

fn copy(graph: &mut Graph, base: &VertexId, from: &VertexId, name: &str) -> VertexId {
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

struct Solving {
    worker: Arc<Fake>,
    parallelism: usize,
    cancel: CancellationToken,
}

impl Solving {
    fn new() -> Solving {
        Solving {
            worker: Arc::default(),
            parallelism: 4,
            cancel: CancellationToken::new(),
        }
    }

    async fn solve(
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
        };
        let solved = solve(graph, &targets, self.worker.clone(), options, context).await;
        (
            solved.map(|solution| solution.targets.into_iter().map(|solved| solved.root).collect()),
            events,
        )
    }
}

#[tokio::test]
async fn a_second_build_looks_up_its_target_and_nothing_else() {
    let mut graph = Graph::new();
    let base = scratch(&mut graph);
    let one = run(&mut graph, &base, "RUN one");
    let two = run(&mut graph, &one, "RUN two");
    let solving = Solving::new();
    let (first, _) = solving.solve(&graph, &[&two]).await;
    assert_eq!(solving.worker.ran(), ["RUN one", "RUN two"]);
    solving.worker.lookups.store(0, Ordering::SeqCst);
    let (second, events) = solving.solve(&graph, &[&two]).await;
    assert_eq!(first.unwrap(), second.unwrap());
    assert!(solving.worker.ran().is_empty());
    assert_eq!(solving.worker.lookups.load(Ordering::SeqCst), 1);
    let outcomes = events.outcomes(&graph);
    assert_eq!(outcomes["RUN one"], Outcome::Cached);
    assert_eq!(outcomes["RUN two"], Outcome::Cached);
}

#[tokio::test]
async fn equal_steps_of_several_platforms_run_once() {
    let mut graph = Graph::new();
    let base = scratch(&mut graph);
    let shared = run(&mut graph, &base, "RUN shared");
    let same = run(&mut graph, &base, "RUN shared");
    assert_eq!(shared, same);
    let left = run(&mut graph, &shared, "RUN left");
    let right = run(&mut graph, &same, "RUN right");
    let solving = Solving::new();
    solving.solve(&graph, &[&left, &right]).await.0.unwrap();
    assert_eq!(solving.worker.ran(), ["RUN left", "RUN right", "RUN shared"]);
}

#[tokio::test]
async fn a_changed_context_reruns_the_copy_and_what_follows() {
    let mut graph = Graph::new();
    let base = scratch(&mut graph);
    let before = run(&mut graph, &base, "RUN before");
    let files = context(&mut graph);
    let copied = copy(&mut graph, &before, &files, "COPY src /");
    let after = run(&mut graph, &copied, "RUN after");
    let solving = Solving::new();
    solving.worker.set_content("context", "1");
    solving.solve(&graph, &[&after]).await.0.unwrap();
    solving.worker.ran();
    solving.worker.set_content("context", "2");
    let (_, events) = solving.solve(&graph, &[&after]).await;
    assert_eq!(solving.worker.ran(), ["COPY src /", "RUN after"]);
    let reason = events.reason(&graph, "COPY src /").unwrap();
    assert_eq!(
        reason,
        MissReason::FilesChanged {
            source: "src".into(),
            added: vec![],
            removed: vec![],
            changed: vec!["context".into()],
            remoded: vec![],
        }
    );
    let led = MissReason::ParentChanged {
        step: "COPY src /".into(),
        vertex: copied.clone(),
        root: reason.root("COPY src /", &copied).map(Box::new),
    };
    assert_eq!(events.reason(&graph, "RUN after"), Some(led));
}

#[tokio::test]
async fn a_stage_that_ran_again_with_equal_files_changes_nothing_after_its_copy() {
    let build = |command: &str| {
        let mut graph = Graph::new();
        let base = scratch(&mut graph);
        let builder = run(&mut graph, &base, command);
        let copied = copy(&mut graph, &base, &builder, "COPY --from=builder src /");
        let last = run(&mut graph, &copied, "RUN last");
        (graph, last)
    };
    let solving = Solving::new();
    solving.worker.set_content("RUN make", "binary");
    solving.worker.set_content("RUN make -j2", "binary");
    let (graph, last) = build("RUN make");
    solving.solve(&graph, &[&last]).await.0.unwrap();
    solving.worker.ran();
    let (graph, last) = build("RUN make -j2");
    let (_, events) = solving.solve(&graph, &[&last]).await;
    assert_eq!(solving.worker.ran(), ["RUN make -j2"]);
    assert_eq!(events.outcomes(&graph)["RUN last"], Outcome::Cached);
    // The next build knows it beforehand.
    solving.solve(&graph, &[&last]).await.0.unwrap();
    assert!(solving.worker.ran().is_empty());
}

#[tokio::test]
async fn what_follows_a_step_that_ignores_the_cache_runs_too() {
    let build = |ignore| {
        let mut graph = Graph::new();
        let base = scratch(&mut graph);
        let ignoring = run_with(
            &mut graph,
            &base,
            VertexMeta {
                ignore_cache: ignore,
                ..meta("RUN date")
            },
        );
        let last = run(&mut graph, &ignoring, "RUN last");
        (graph, last)
    };
    let solving = Solving::new();
    let (graph, last) = build(false);
    solving.solve(&graph, &[&last]).await.0.unwrap();
    solving.worker.ran();
    let (graph, last) = build(true);
    let (_, events) = solving.solve(&graph, &[&last]).await;
    assert_eq!(solving.worker.ran(), ["RUN date", "RUN last"]);
    assert_eq!(events.reason(&graph, "RUN date"), Some(MissReason::CacheIgnored));
    // Afterwards the newest result is the cached one.
    let (graph, last) = build(false);
    solving.solve(&graph, &[&last]).await.0.unwrap();
    assert!(solving.worker.ran().is_empty());
}

#[tokio::test]
async fn the_first_failure_stops_the_rest() {
    let mut graph = Graph::new();
    let base = scratch(&mut graph);
    let slow = run(&mut graph, &base, "RUN slow");
    let never = run(&mut graph, &slow, "RUN never");
    let bad = run(&mut graph, &base, "RUN bad");
    let solving = Solving::new();
    solving.worker.failing.lock().unwrap().push("RUN bad".into());
    let (result, events) = solving.solve(&graph, &[&never, &bad]).await;
    match result {
        Err(SolveError::Step { vertex, source }) => {
            assert_eq!(vertex.meta.name, "RUN bad");
            assert_eq!(source.0, "RUN bad is told to fail");
        }
        other => panic!("a failing step fails the solve, got {other:?}"),
    }
    let outcomes = events.outcomes(&graph);
    assert_eq!(outcomes["RUN slow"], Outcome::Cancelled);
    assert_eq!(outcomes["RUN never"], Outcome::Cancelled);
    assert!(solving.worker.ran().is_empty());
}

#[tokio::test]
async fn an_interrupt_is_told_apart_from_a_failure() {
    let mut graph = Graph::new();
    let base = scratch(&mut graph);
    let slow = run(&mut graph, &base, "RUN slow");
    let solving = Solving::new();
    let cancel = solving.cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        cancel.cancel();
    });
    assert!(matches!(
        solving.solve(&graph, &[&slow]).await.0,
        Err(SolveError::Cancelled)
    ));
}

#[tokio::test]
async fn no_more_steps_run_at_once_than_allowed() {
    let mut graph = Graph::new();
    let base = scratch(&mut graph);
    let steps: Vec<VertexId> = (0..12)
        .map(|number| run(&mut graph, &base, &format!("RUN {number}")))
        .collect();
    let solving = Solving {
        parallelism: 3,
        ..Solving::new()
    };
    solving
        .solve(&graph, &steps.iter().collect::<Vec<_>>())
        .await
        .0
        .unwrap();
    assert_eq!(solving.worker.ran().len(), 12);
    assert_eq!(solving.worker.most_running.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_target_that_is_not_in_the_graph_is_an_error() {
    let graph = Graph::new();
    let stranger = VertexId(Digest::sha256("stranger"));
    assert!(matches!(
        Solving::new().solve(&graph, &[&stranger]).await.0,
        Err(SolveError::NoRoot(_))
    ));
}
