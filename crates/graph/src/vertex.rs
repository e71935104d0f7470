//! Vertices and the graph that they form.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use kiln_oci::{Digest, Hasher, Platform, digest_newtype};
use serde::{Deserialize, Serialize};

use crate::Op;

digest_newtype! {
    /// Identity of a vertex: the digest of its operation and of its inputs' identities.
    VertexId
}

/// One operation with its inputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vertex {
    /// Its identity.
    pub id: VertexId,
    /// What it does.
    pub op: Op,
    /// Where its inputs come from, by position.
    pub inputs: Vec<VertexId>,
    /// What is said about it.
    pub meta: VertexMeta,
}

/// What is said about a vertex: never part of its identity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VertexMeta {
    /// The step as people read it, such as `RUN make` or `FROM docker.io/library/alpine:3.20`.
    pub name: String,
    /// Name of its stage, or its number.
    pub stage: Option<String>,
    /// Number of the step within its stage and how many there are, from 1.
    pub step: Option<(usize, usize)>,
    /// The platform that it runs for; with several targets, the first that needs it.
    pub platform: Option<Platform>,
    /// All target platforms that need it.
    pub targets: BTreeSet<Platform>,
    /// Where it stands.
    pub lines: Option<SourceLines>,
    /// Whether it runs even if there is a record of it (`--no-cache`).
    pub ignore_cache: bool,
    /// What stays the same when the step is edited: file, stage, number within the stage, platform. Records of
    /// one slot are compared to explain a miss.
    pub slot: String,
    /// Whether its author says that its layer is the same for all platforms.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub noarch: bool,
}

/// Lines of a source file, from 1, both ends included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceLines {
    /// The file.
    pub file: PathBuf,
    /// First line.
    pub start: usize,
    /// Last line.
    pub end: usize,
}

/// All vertices of a build. Inputs always stand before what uses them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graph {
    vertices: Vec<Vertex>,
    #[serde(skip)]
    positions: HashMap<VertexId, usize>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Graph {
        Graph::default()
    }

    /// Adds a vertex, or finds the equal one: then the target platforms are united, and the cache is ignored
    /// if either says so.
    ///
    /// # Panics
    ///
    /// If an input is not in the graph: vertices are added after their inputs.
    pub fn add(&mut self, op: Op, inputs: Vec<VertexId>, meta: VertexMeta) -> VertexId {
        for input in &inputs {
            assert!(
                self.positions.contains_key(input),
                "inputs are added before what uses them"
            );
        }
        let id = VertexId(identity(&op, &inputs));
        if let Some(&position) = self.positions.get(&id) {
            let known = &mut self.vertices[position].meta;
            known.targets.extend(meta.targets);
            known.ignore_cache |= meta.ignore_cache;
            known.noarch |= meta.noarch;
            return id;
        }
        self.positions.insert(id.clone(), self.vertices.len());
        self.vertices.push(Vertex {
            id: id.clone(),
            op,
            inputs,
            meta,
        });
        id
    }

    /// A target platform needs the layer of a vertex, and so all steps that files are taken from for it. The root that it
    /// stands on is another's: the platform has its own.
    pub fn also_for(&mut self, id: &VertexId, target: &Platform) {
        let mut pending = Vec::new();
        if let Some(vertex) = self.mutable(id) {
            vertex.meta.targets.insert(target.clone());
            pending.extend(vertex.inputs.iter().skip(1).cloned());
        }
        while let Some(id) = pending.pop() {
            let Some(vertex) = self.mutable(&id) else { continue };
            // What is known of a step is known of all below it.
            if vertex.meta.step.is_none() || vertex.meta.targets.insert(target.clone()) {
                pending.extend(vertex.inputs.iter().cloned());
            }
        }
    }

    fn mutable(&mut self, id: &VertexId) -> Option<&mut Vertex> {
        let position = *self.positions.get(id)?;
        self.vertices.get_mut(position)
    }

    /// Adds all vertices of another graph, each as `change` leaves it. Gives the identities that they have here by
    /// those that they have there.
    pub fn absorb(
        &mut self,
        other: &Graph,
        mut change: impl FnMut(&mut Op, &mut VertexMeta),
    ) -> HashMap<VertexId, VertexId> {
        let mut here: HashMap<VertexId, VertexId> = HashMap::new();
        for vertex in other.vertices() {
            let (mut op, mut meta) = (vertex.op.clone(), vertex.meta.clone());
            change(&mut op, &mut meta);
            let inputs = vertex
                .inputs
                .iter()
                .map(|input| here.get(input).unwrap_or(input).clone())
                .collect();
            here.insert(vertex.id.clone(), self.add(op, inputs, meta));
        }
        here
    }

    /// The vertex `id`.
    pub fn vertex(&self, id: &VertexId) -> Option<&Vertex> {
        match self.positions.get(id) {
            Some(&position) => self.vertices.get(position),
            // A graph that was deserialised has no positions.
            None => self.vertices.iter().find(|vertex| vertex.id == *id),
        }
    }

    /// The vertices that `targets` need, and they themselves, inputs first. Err: a target that is not in the graph.
    pub fn needed<'t>(&self, targets: &'t [VertexId]) -> Result<Vec<&Vertex>, &'t VertexId> {
        let positions: HashMap<&VertexId, usize> = self
            .vertices
            .iter()
            .enumerate()
            .map(|(position, vertex)| (&vertex.id, position))
            .collect();
        let mut needed = vec![false; self.vertices.len()];
        for target in targets {
            needed[*positions.get(target).ok_or(target)?] = true;
        }
        for (position, vertex) in self.vertices.iter().enumerate().rev() {
            if needed[position] {
                for input in &vertex.inputs {
                    needed[positions[input]] = true;
                }
            }
        }
        let all = self.vertices.iter().zip(needed);
        Ok(all.filter(|(_, needed)| *needed).map(|(vertex, _)| vertex).collect())
    }

    /// All vertices, inputs first.
    pub fn vertices(&self) -> &[Vertex] {
        &self.vertices
    }
}

/// The digest of everything that decides the result. Serialised form, so that a new field cannot be forgotten.
fn identity(op: &Op, inputs: &[VertexId]) -> Digest {
    let mut hasher = Hasher::new(kiln_oci::Algorithm::Sha256);
    hasher.update(&operation_bytes(op));
    for input in inputs {
        hasher.update(b"\0");
        hasher.update(input.0.hex().as_bytes());
    }
    hasher.finish()
}

impl Op {
    /// The digest of what the operation does, apart from its inputs.
    pub fn digest(&self) -> Digest {
        Digest::sha256(operation_bytes(self))
    }
}

fn operation_bytes(op: &Op) -> Vec<u8> {
    let bytes = match op {
        Op::Image(image) => serde_json::to_vec(&("image", image.diff_ids().collect::<Vec<_>>())),
        Op::Exec(exec) => {
            let mut exec = exec.clone();
            exec.proxy.clear();
            exec.resources = Box::default();
            serde_json::to_vec(&("exec", exec))
        }
        Op::File(file) => {
            let mut file = file.clone();
            for action in &mut file.actions {
                if let crate::FileAction::Copy(copy) = action {
                    copy.written.clear();
                }
            }
            serde_json::to_vec(&("file", file))
        }
        Op::Scratch | Op::Local(_) | Op::Http(_) | Op::Git(_) | Op::Merge | Op::Graft => serde_json::to_vec(op),
    };
    bytes.expect("operations hold only what JSON can carry")
}
