//! Which form of each vertex' layer will be asked for, so that a copy makes the right one at once.

use std::collections::{HashMap, HashSet};

use kiln_graph::{Graph, Op, Vertex, VertexId};
use kiln_oci::Reference;

use crate::layers::CacheCompression;
use crate::remote_cache::{ExportChoice, ExportMode};

/// The vertices whose layers are needed in a certain form.
#[derive(Debug, Clone, Default)]
pub struct Wants {
    trees: HashSet<VertexId>,
    blobs: HashSet<VertexId>,
    /// Images that the blobs will be sent to.
    names: Vec<Reference>,
    caches: Vec<WantedByCache>,
}

/// What a cache that the build writes will ask for.
#[derive(Debug, Clone)]
struct WantedByCache {
    steps: HashSet<VertexId>,
    /// Those of them whose layers are in the targets' roots.
    in_images: HashSet<VertexId>,
    compression: CacheCompression,
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

    /// The same, where one more cache will be written, of a build for `targets`.
    #[must_use]
    pub fn kept_by(mut self, choice: ExportChoice, graph: &Graph, targets: &[VertexId]) -> Wants {
        self.caches.push(WantedByCache {
            steps: choice.mode.steps(graph, targets),
            in_images: ExportMode::Min.steps(graph, targets),
            compression: choice.compression,
        });
        self
    }

    /// How each cache that will have the vertex' layer has it compressed, and whether an image has the layer as well.
    pub fn cached(&self, vertex: &VertexId) -> Vec<(CacheCompression, bool)> {
        let caches = self.caches.iter().filter(|cache| cache.steps.contains(vertex));
        caches
            .map(|cache| (cache.compression, cache.in_images.contains(vertex)))
            .collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_graph::{CopyAction, FileAction, FileOp, VertexMeta};

    /// A step that makes something, and one that copies it to where an image begins.
    fn two_stages() -> (Graph, VertexId, VertexId) {
        let mut graph = Graph::new();
        let copy = |source| {
            Op::File(FileOp {
                actions: vec![FileAction::Copy(CopyAction::contents(1, source))],
                epoch: None,
            })
        };
        let scratch = graph.add(Op::Scratch, Vec::new(), VertexMeta::default());
        let inputs = vec![scratch.clone(), scratch.clone()];
        let made = graph.add(copy("/made"), inputs, VertexMeta::default());
        let copied = graph.add(copy("/"), vec![scratch, made.clone()], VertexMeta::default());
        (graph, made, copied)
    }

    #[test]
    fn a_cache_asks_for_the_layers_of_its_mode() {
        let (graph, made, copied) = two_stages();
        let targets = [copied.clone()];
        let kept_by = |mode| {
            let choice = ExportChoice {
                mode,
                ..ExportChoice::default()
            };
            Wants::of(&graph, &targets, true).kept_by(choice, &graph, &targets)
        };
        let asked = |wants: &Wants, vertex| {
            let cached = wants.cached(vertex).into_iter();
            cached.map(|(_, in_image)| in_image).collect::<Vec<_>>()
        };
        let (min, max) = (kept_by(ExportMode::Min), kept_by(ExportMode::Max));
        assert_eq!((asked(&min, &made), asked(&min, &copied)), (vec![], vec![true]));
        assert_eq!((asked(&max, &made), asked(&max, &copied)), (vec![false], vec![true]));
        assert!(Wants::of(&graph, &targets, true).cached(&copied).is_empty());
    }
}
