//! Which form of each vertex' layer will be asked for, so that a copy makes the right one at once.

use std::collections::{HashMap, HashSet};

use kiln_graph::{Graph, Op, VertexId};

/// The vertices whose layers are needed in a certain form.
#[derive(Debug, Clone, Default)]
pub struct Wants {
    trees: HashSet<VertexId>,
    blobs: HashSet<VertexId>,
}

impl Wants {
    /// Steps need the trees of everything below them, copies the trees of what they copy from, and images the
    /// blobs of everything that they are made of.
    pub fn of(graph: &Graph, targets: &[VertexId], images: bool) -> Wants {
        let mut wants = Wants::default();
        for vertex in graph.vertices() {
            match &vertex.op {
                Op::Exec(_) => vertex
                    .inputs
                    .iter()
                    .for_each(|input| stack(graph, input, &mut wants.trees)),
                Op::File(_) => vertex
                    .inputs
                    .iter()
                    .skip(1)
                    .for_each(|input| stack(graph, input, &mut wants.trees)),
                _ => {}
            }
        }
        for target in targets {
            let form = if images { &mut wants.blobs } else { &mut wants.trees };
            stack(graph, target, form);
        }
        wants
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
fn stack(graph: &Graph, top: &VertexId, marked: &mut HashSet<VertexId>) {
    let by_id: HashMap<&VertexId, _> = graph.vertices().iter().map(|vertex| (&vertex.id, vertex)).collect();
    let mut pending = vec![top.clone()];
    while let Some(id) = pending.pop() {
        if !marked.insert(id.clone()) {
            continue;
        }
        if let Some(vertex) = by_id.get(&id) {
            match vertex.op {
                Op::Exec(_) | Op::File(_) => pending.extend(vertex.inputs.first().cloned()),
                Op::Merge => pending.extend(vertex.inputs.iter().cloned()),
                _ => {}
            }
        }
    }
}
