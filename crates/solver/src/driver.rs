//! One task that owns the state of a whole solve.
//!
//! | state | waits for | then |
//! |---|---|---|
//! | `Unkeyed` | keys of its inputs | a probe: the source's key, or the digests of what it takes from contexts |
//! | `Probing` | the probe | a source is `Done`; everything else is `Keyed` with its provisional key |
//! | `Keyed` | being wanted | `Looking`; without a trustworthy key (the cache is ignored here or above) `Waiting` |
//! | `Looking` | the lookup of the provisional key | hit: `Done`; miss: `Waiting`, and its inputs are wanted |
//! | `Waiting` | all inputs `Done` | `Running` |
//! | `Running` | the job: match by definition and content keys; if nothing matches, run | `Done` |
//!
//! Keys are computed from the leaves up, results are wanted from the targets down. A build that is wholly
//! cached therefore looks up one record for each target and no more.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kiln_graph::{Event, Graph, Hit, MissReason, Op, Outcome, Vertex, VertexId};
use kiln_store::{CacheKey, CacheRecord};
use tokio::task::JoinSet;

use crate::key::{InputKey, NamedInput, cache_key, concealed, key_parts};
use crate::schedule::{AvailableMemory, Scheduler, Shape, Turn, memory_of};
use crate::step::{Step, StepInput};
use crate::{Found, Input, Root, Selection, Source, StepContext, Worker};

/// How a solve is carried out.
#[derive(Debug, Clone)]
pub struct SolveOptions {
    /// How many steps may run at the same time.
    pub parallelism: usize,
    /// How much memory they share; None: they are not held back for it.
    pub memory: Option<AvailableMemory>,
}

/// A wanted vertex and what came of it.
#[derive(Debug, Clone)]
pub struct Solved {
    /// Which.
    pub vertex: VertexId,
    /// Its layers.
    pub root: Root,
}

/// What a solve came to.
#[derive(Debug, Clone)]
pub struct Solution {
    /// The targets, in their order.
    pub targets: Vec<Solved>,
    /// What the vertices that are no sources are known by, whether they were looked at or only stand below a hit.
    pub keys: HashMap<VertexId, CacheKey>,
}

/// Why a solve did not end well.
#[derive(Debug, thiserror::Error)]
pub enum SolveError<E: std::error::Error + 'static> {
    /// A step failed; the others were stopped.
    #[error("step `{}` failed", .vertex.meta.name)]
    Step {
        /// Which.
        vertex: Box<Vertex>,
        /// Why.
        #[source]
        source: E,
    },
    /// The user stopped the build.
    #[error("the build was interrupted")]
    Cancelled,
    /// A context or a vertex that is not in the graph is wanted.
    #[error("vertex `{0}` gives no root")]
    NoRoot(VertexId),
    /// A job of the solver itself died.
    #[error("a task of the solver panicked")]
    Panicked(#[source] tokio::task::JoinError),
}

/// Solves `targets` of `graph`: their roots, and the keys of everything on the way.
pub async fn solve<W: Worker>(
    graph: &Graph,
    targets: &[VertexId],
    worker: Arc<W>,
    options: SolveOptions,
    context: StepContext,
) -> Result<Solution, SolveError<W::Error>> {
    let mut driver = Driver::new(graph, targets, worker, options, context)?;
    let result = driver.run().await;
    driver.report_rest(result.is_ok());
    result?;
    Ok(Solution {
        targets: targets
            .iter()
            .map(|target| driver.solved(target))
            .collect::<Result<_, _>>()?,
        keys: driver.keys(),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unkeyed,
    Probing,
    Keyed,
    Looking,
    Waiting,
    Running,
    Done,
}

struct Node {
    vertex: Arc<Vertex>,
    inputs: Vec<usize>,
    users: Vec<usize>,
    state: State,
    wanted: bool,
    /// From definitions alone. None: the cache is ignored here or above, so nothing can be said beforehand.
    provisional: Option<CacheKey>,
    /// What the vertex is known by downstream once it is done.
    canonical: Option<CacheKey>,
    /// What it takes from contexts, by input position.
    selections: Vec<Option<Selection>>,
    root: Option<Root>,
    description: String,
    /// Why it ran, if it did.
    reason: Option<MissReason>,
    reported: bool,
    /// Whether it was told how its result was found.
    matched: bool,
    /// Its place among the steps that may soon ask to run.
    turn: Option<Turn>,
}

/// What a job brings back.
pub(crate) enum Output {
    Source(Source),
    Selections(Vec<Option<Selection>>),
    Record(Option<Found>),
    /// A record from elsewhere was given its place here.
    Placed,
    Ran {
        root: Root,
        canonical: CacheKey,
        /// None: it was found in the cache.
        reason: Option<MissReason>,
    },
    /// The build was given up before the step's turn came.
    Stopped,
}

struct Driver<W: Worker> {
    nodes: Vec<Node>,
    positions: HashMap<VertexId, usize>,
    worker: Arc<W>,
    context: StepContext,
    /// A child of the user's token: set when a step fails.
    step_context: StepContext,
    scheduler: Arc<Scheduler>,
    /// What the scheduler ranks steps by; made when the first one is about to run.
    shape: Option<Arc<Shape>>,
    /// Steps that have become ready together. They are all announced before the first of them asks for its turn.
    ready: Vec<(usize, Step<W>)>,
    jobs: JoinSet<(usize, Result<Output, W::Error>)>,
}

impl<W: Worker> Driver<W> {
    fn new(
        graph: &Graph,
        targets: &[VertexId],
        worker: Arc<W>,
        options: SolveOptions,
        context: StepContext,
    ) -> Result<Driver<W>, SolveError<W::Error>> {
        let needed = graph
            .needed(targets)
            .map_err(|stranger| SolveError::NoRoot(stranger.clone()))?;
        let mut nodes: Vec<Node> = Vec::new();
        let mut positions = HashMap::new();
        for vertex in needed {
            let inputs: Vec<usize> = vertex.inputs.iter().map(|input| positions[input]).collect();
            let position = nodes.len();
            for &input in &inputs {
                nodes[input].users.push(position);
            }
            positions.insert(vertex.id.clone(), nodes.len());
            nodes.push(Node::new(vertex.clone(), inputs));
        }
        for target in targets {
            nodes[positions[target]].wanted = true;
        }
        let step_context = StepContext {
            events: context.events.clone(),
            cancel: context.cancel.child_token(),
        };
        Ok(Driver {
            nodes,
            positions,
            worker,
            context,
            step_context,
            scheduler: Scheduler::new(options.parallelism, options.memory),
            shape: None,
            ready: Vec::new(),
            jobs: JoinSet::new(),
        })
    }

    async fn run(&mut self) -> Result<(), SolveError<W::Error>> {
        for node in &self.nodes {
            if !matches!(node.vertex.op, Op::Local(_)) {
                self.context.events.send(Event::StepPlanned {
                    vertex: node.vertex.id.clone(),
                    meta: node.vertex.meta.clone(),
                    inputs: node.vertex.inputs.clone(),
                });
            }
        }
        for position in 0..self.nodes.len() {
            self.advance(position);
        }
        self.launch();
        let mut failure = None;
        while let Some(joined) = self.jobs.join_next().await {
            let (position, result) = joined.map_err(SolveError::Panicked)?;
            if self.context.cancel.is_cancelled() && failure.is_none() {
                failure = Some(SolveError::Cancelled);
            }
            match result {
                Ok(output) if failure.is_none() => {
                    self.take(position, output);
                    self.launch();
                }
                Ok(_) => {}
                Err(source) => {
                    self.step_context.cancel.cancel();
                    failure.get_or_insert_with(|| SolveError::Step {
                        vertex: Box::new((*self.nodes[position].vertex).clone()),
                        source,
                    });
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Moves a vertex on as far as it can go now. Called again whenever something that it waits for is there.
    fn advance(&mut self, position: usize) {
        loop {
            let before = self.nodes[position].state;
            match before {
                State::Unkeyed => self.probe(position),
                State::Keyed if self.nodes[position].wanted => self.look(position),
                State::Waiting => self.start(position),
                State::Looking => self.announce(position),
                State::Keyed | State::Probing | State::Running | State::Done => {}
            }
            if self.nodes[position].state == before {
                return;
            }
        }
    }

    fn probe(&mut self, position: usize) {
        let node = &self.nodes[position];
        if let Op::Local(_) = node.vertex.op {
            self.nodes[position].state = State::Done;
            return;
        }
        if node
            .inputs
            .iter()
            .any(|&input| matches!(self.nodes[input].state, State::Unkeyed | State::Probing))
        {
            return;
        }
        let vertex = node.vertex.clone();
        let worker = self.worker.clone();
        if node.vertex.op.is_source() {
            let context = self.step_context.clone();
            self.jobs
                .spawn(async move { (position, worker.source(&vertex, &context).await.map(Output::Source)) });
        } else {
            let contexts: Vec<(usize, Input)> = self.local_inputs(position).collect();
            if contexts.is_empty() {
                self.nodes[position].selections = vec![None; self.nodes[position].inputs.len()];
                self.keyed(position);
                return;
            }
            let count = node.inputs.len();
            self.jobs.spawn(async move {
                (
                    position,
                    select_all(&*worker, &vertex, count, contexts)
                        .await
                        .map(Output::Selections),
                )
            });
        }
        self.nodes[position].state = State::Probing;
    }

    fn local_inputs(&self, position: usize) -> impl Iterator<Item = (usize, Input)> + '_ {
        self.nodes[position]
            .inputs
            .iter()
            .enumerate()
            .filter_map(|(at, &input)| match &self.nodes[input].vertex.op {
                Op::Local(local) => Some((at, Input::Local(local.clone()))),
                _ => None,
            })
    }

    /// The selections are known: the provisional key follows, if all inputs have one.
    fn keyed(&mut self, position: usize) {
        let node = &self.nodes[position];
        let keys: Option<Vec<InputKey>> = node
            .inputs
            .iter()
            .zip(&node.selections)
            .map(|(&input, selection)| match selection {
                Some(selection) => Some(InputKey::Content(selection.digest.clone())),
                None => self.nodes[input].provisional.clone().map(InputKey::Key),
            })
            .collect();
        let provisional = keys
            .filter(|_| !node.vertex.meta.ignore_cache)
            .map(|keys| cache_key(&node.vertex, &keys));
        self.nodes[position].provisional = provisional;
        self.nodes[position].state = State::Keyed;
        self.advance_users(position);
    }

    fn look(&mut self, position: usize) {
        let Some(key) = self.nodes[position].provisional.clone() else {
            self.want_inputs(position);
            return;
        };
        let worker = self.worker.clone();
        self.jobs
            .spawn(async move { (position, worker.lookup(&key).await.map(Output::Record)) });
        self.nodes[position].state = State::Looking;
        self.announce(position);
    }

    /// A step whose inputs are there will ask for its turn if the lookup finds nothing: whoever is of a lower rank had better
    /// wait a moment for it.
    fn announce(&mut self, position: usize) {
        let node = &self.nodes[position];
        if node.turn.is_none() && self.has_inputs(node) {
            let memory = memory_of(&node.vertex, self.worker.is_emulated(&node.vertex));
            let turn = self.scheduler.announce(position, memory);
            self.nodes[position].turn = Some(turn);
        }
    }

    fn has_inputs(&self, node: &Node) -> bool {
        node.inputs.iter().all(|&input| self.nodes[input].state == State::Done)
    }

    fn want_inputs(&mut self, position: usize) {
        self.nodes[position].state = State::Waiting;
        for input in self.nodes[position].inputs.clone() {
            if !self.nodes[input].wanted {
                self.nodes[input].wanted = true;
                self.advance(input);
            }
        }
    }

    fn start(&mut self, position: usize) {
        if !self.has_inputs(&self.nodes[position]) {
            return;
        }
        self.announce(position);
        let Some(turn) = self.nodes[position].turn.take() else {
            return;
        };
        let node = &self.nodes[position];
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for (&input, selection) in node.inputs.iter().zip(&node.selections) {
            let from = &self.nodes[input];
            inputs.push(StepInput {
                input: match (&from.vertex.op, &from.root) {
                    (Op::Local(local), _) => Input::Local(local.clone()),
                    (_, Some(root)) => Input::Root(root.clone()),
                    (_, None) => Input::Root(Vec::new().into()),
                },
                vertex: from.vertex.clone(),
                reason: from.reason.clone(),
                key: from.canonical.clone(),
                selection: selection.clone(),
                name: from.description.clone(),
            });
        }
        let shape = self.shape.get_or_insert_with(|| Arc::new(shape_of(&self.nodes)));
        let step = Step {
            vertex: node.vertex.clone(),
            inputs,
            provisional: node.provisional.clone(),
            worker: self.worker.clone(),
            context: self.step_context.clone(),
            turn,
            shape: shape.clone(),
        };
        self.nodes[position].state = State::Running;
        self.nodes[position].reported = true;
        self.ready.push((position, step));
    }

    fn launch(&mut self) {
        for (position, step) in self.ready.drain(..) {
            self.jobs.spawn(async move { (position, step.run().await) });
        }
    }

    fn take(&mut self, position: usize, output: Output) {
        match output {
            Output::Source(source) => {
                let node = &mut self.nodes[position];
                node.provisional = Some(source.key.clone());
                node.description = source.description;
                self.done(position, source.root, source.key);
            }
            Output::Selections(selections) => {
                self.nodes[position].selections = selections;
                self.keyed(position);
                self.advance(position);
            }
            Output::Record(Some(found)) => {
                self.nodes[position].matched = true;
                let hit = matched(&self.nodes[position].vertex.id, Hit::Definition, Some(&found));
                self.context.events.send(hit);
                if found.record.slot.is_empty() {
                    self.place(position, found.record.clone());
                }
                self.done(position, found.record.layers.into(), found.record.key);
            }
            Output::Placed | Output::Stopped => {}
            Output::Record(None) => {
                self.want_inputs(position);
                self.advance(position);
            }
            Output::Ran {
                root,
                canonical,
                reason,
            } => {
                self.nodes[position].reason = reason;
                self.done(position, root, canonical);
            }
        }
    }

    /// Gives a record from elsewhere its slot and parts, so that a later miss can be explained against it.
    fn place(&mut self, position: usize, record: CacheRecord) {
        let node = &self.nodes[position];
        let inputs = node.inputs.iter().zip(&node.selections).enumerate();
        let named = inputs.map(|(at, (&input, selection))| {
            let from = &self.nodes[input];
            let key = from.canonical.as_ref().or(from.provisional.as_ref());
            let key = key.map(ToString::to_string).unwrap_or_default();
            NamedInput::new(
                &node.vertex,
                at,
                &from.vertex,
                &from.description,
                selection.as_ref(),
                key,
            )
        });
        let parts = key_parts(&node.vertex, &named.collect::<Vec<_>>());
        let placed = CacheRecord {
            slot: node.vertex.meta.slot.clone(),
            parts: concealed(&*self.worker, parts),
            ..record
        };
        let worker = self.worker.clone();
        self.jobs
            .spawn(async move { (position, worker.save(placed, Vec::new()).await.map(|()| Output::Placed)) });
    }

    fn done(&mut self, position: usize, root: Root, canonical: CacheKey) {
        let node = &mut self.nodes[position];
        node.root = Some(root);
        node.canonical = Some(canonical);
        node.state = State::Done;
        node.turn = None;
        self.advance_users(position);
    }

    fn advance_users(&mut self, position: usize) {
        for user in self.nodes[position].users.clone() {
            self.advance(user);
        }
    }

    /// Tells of the steps that no job told of: they were found in the cache, or never came to run.
    fn report_rest(&self, solved: bool) {
        for node in self
            .nodes
            .iter()
            .filter(|node| !node.reported && !matches!(node.vertex.op, Op::Local(_)))
        {
            let outcome = match (&node.vertex.op, node.state) {
                (op, State::Done) if op.is_source() => Outcome::Done,
                (_, State::Done) => Outcome::Cached,
                _ if solved => Outcome::Cached,
                _ => Outcome::Cancelled,
            };
            if outcome == Outcome::Cached && !node.matched {
                let hit = matched(&node.vertex.id, Hit::NotNeeded, None);
                self.context.events.send(hit);
            }
            self.context.events.send(Event::StepFinished {
                vertex: node.vertex.id.clone(),
                outcome,
                duration: Duration::ZERO,
            });
        }
    }

    fn keys(&self) -> HashMap<VertexId, CacheKey> {
        let steps = self.nodes.iter().filter(|node| !node.vertex.op.is_source());
        let keyed = steps.filter_map(|node| {
            let key = node.canonical.as_ref().or(node.provisional.as_ref())?;
            Some((node.vertex.id.clone(), key.clone()))
        });
        keyed.collect()
    }

    fn solved(&self, target: &VertexId) -> Result<Solved, SolveError<W::Error>> {
        let root = self
            .positions
            .get(target)
            .and_then(|&position| self.nodes[position].root.clone());
        let root = root.ok_or_else(|| SolveError::NoRoot(target.clone()))?;
        Ok(Solved {
            vertex: target.clone(),
            root,
        })
    }
}

fn shape_of(nodes: &[Node]) -> Shape {
    Shape {
        vertices: nodes.iter().map(|node| node.vertex.clone()).collect(),
        users: nodes.iter().map(|node| node.users.clone()).collect(),
    }
}

impl Node {
    fn new(vertex: Vertex, inputs: Vec<usize>) -> Node {
        Node {
            vertex: Arc::new(vertex),
            inputs,
            users: Vec::new(),
            state: State::Unkeyed,
            wanted: false,
            provisional: None,
            canonical: None,
            selections: Vec::new(),
            root: None,
            description: String::new(),
            reason: None,
            reported: false,
            matched: false,
            turn: None,
        }
    }
}

pub(crate) fn matched(vertex: &VertexId, hit: Hit, found: Option<&Found>) -> Event {
    Event::StepMatched {
        vertex: vertex.clone(),
        hit,
        cache: found.and_then(|found| found.cache.clone()),
        took: found.map(|found| Duration::from_millis(found.record.duration_ms)),
        created_unix: found.map(|found| found.record.created_unix),
    }
}

pub(crate) async fn select_all<W: Worker>(
    worker: &W,
    vertex: &Vertex,
    count: usize,
    inputs: Vec<(usize, Input)>,
) -> Result<Vec<Option<Selection>>, W::Error> {
    let mut selections = vec![None; count];
    for (at, input) in inputs {
        selections[at] = worker.select(vertex, at, &input).await?;
    }
    Ok(selections)
}
