//! The place of a step in its build, by which what it gave earlier is found.

use kiln_graph::Vertex;
use kiln_store::{LayerId, Store, StoreError};

/// Earlier results that are looked at: of a step that alternates between a few inputs, the last one is not the nearest.
const EARLIER: usize = 4;

/// Where a step stands, and what it is called.
#[derive(Debug, Clone)]
pub struct Place {
    slot: String,
    name: String,
}

impl Place {
    /// The place of a vertex; None: it has none of its own, as scripts and the like.
    pub fn of(vertex: &Vertex) -> Option<Place> {
        let meta = &vertex.meta;
        (!meta.slot.is_empty()).then(|| Place {
            slot: meta.slot.clone(),
            name: meta.name.clone(),
        })
    }

    /// The layers that steps of this place gave when their inputs were other ones, newest first. They need not be here.
    pub fn earlier_layers(&self, store: &Store) -> Result<Vec<LayerId>, StoreError> {
        store.earlier_results(&self.slot, &self.name, EARLIER)
    }
}
