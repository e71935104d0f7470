//! Layer indexes that were read, kept for the life of the process: the same base is asked about at every COPY.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::index::LayerIndex;
use crate::layer::LayerId;
use crate::store::held;

#[derive(Debug, Default)]
pub(crate) struct IndexCache(Mutex<HashMap<LayerId, Arc<LayerIndex>>>);

impl IndexCache {
    pub(crate) fn find(&self, layer: &LayerId) -> Option<Arc<LayerIndex>> {
        held(&self.0).get(layer).cloned()
    }

    pub(crate) fn keep(&self, layer: &LayerId, index: Arc<LayerIndex>) {
        held(&self.0).insert(layer.clone(), index);
    }

    pub(crate) fn forget(&self, layer: &LayerId) {
        held(&self.0).remove(layer);
    }
}
