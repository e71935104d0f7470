//! Which form of each vertex' layer will be asked for, so that a copy makes the right one at once.

use std::collections::{HashMap, HashSet};

use kiln_graph::{Graph, Op, Vertex, VertexId};
use kiln_oci::Reference;

/// The vertices whose layers are needed in a certain form.
#[derive(Debug, Clone, Default)]
pub struct Wants {
    trees: HashSet<VertexId>,
    blobs: HashSet<VertexId>,
    /// Images that the blobs will be sent to.
    names: Vec<Reference>,
}

impl Wants {
    /// Steps need the trees of everything below them, copies the trees of what they copy from, and images the
    /// blobs of everything that they are made of.
    pub fn of(graph: &Graph, targets: &[VertexId], images: bool) -> Wants {
        let mut wants = Wants::default();
        let by_id: HashMap<&VertexId, &Vertex> = graph.vertices().iter().map(|vertex| (&vertex.id, vertex)).collect();
        let stack = |input: &VertexId, marked: &mut HashSet<VertexId>| stack(&by_id, input, marked);
        for vertex in graph.vertices() {
            match &vertex.op {
                Op::Exec(_) => vertex.inputs.iter().for_each(|input| stack(input, &mut wants.trees)),
                Op::File(_) => vertex
                    .inputs
                    .iter()
                    .skip(1)
                    .for_each(|input| stack(input, &mut wants.trees)),
                _ => {}
            }
        }
        for target in targets {
            let form = if images { &mut wants.blobs } else { &mut wants.trees };
            stack(target, form);
        }
        wants
    }

    /// The same, where the blobs will be sent to registries: each can be sent as soon as it is made.
    #[must_use]
    pub fn sent_to(mut self, names: Vec<Reference>) -> Wants {
        self.names = names;
        self
    }

    /// The images that blobs will be sent to.
    pub fn destinations(&self) -> &[Reference] {
        &self.names
    }

    /// Whether a tree of the vertex' own layer will be asked for.
    pub fn tree(&self, vertex: &VertexId) -> bool {
        self.trees.contains(vertex)
    }

    /// Whether a blob of the vertex' own layer will be asked for.
    pub fn blob(&self, vertex: &VertexId) -> bool {
        self.blobs.contains(vertex)
    }
}

/// Marks a vertex and all vertices whose layers its root is made of.
fn stack(by_id: &HashMap<&VertexId, &Vertex>, top: &VertexId, marked: &mut HashSet<VertexId>) {
    let mut pending = vec![top.clone()];
    while let Some(id) = pending.pop() {
        if !marked.insert(id.clone()) {
            continue;
        }
        if let Some(vertex) = by_id.get(&id) {
            match vertex.op {
                Op::Exec(_) | Op::File(_) => pending.extend(vertex.inputs.first().cloned()),
                Op::Merge => pending.extend(vertex.inputs.iter().cloned()),
                // Of the other root, the topmost layer alone.
                Op::Graft => {
                    pending.extend(vertex.inputs.first().cloned());
                    marked.extend(vertex.inputs.get(1).cloned());
                }
                _ => {}
            }
        }
    }
}
