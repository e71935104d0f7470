//! From a step that ran back to where the change began.

use kiln_graph::{MissReason, VertexId};

use crate::history::record::{BuildRecord, StepRecord};

/// The steps that led to a step's running, from it to the root cause; it itself comes first.
pub fn chain<'r>(record: &'r BuildRecord, step: &'r StepRecord) -> Vec<&'r StepRecord> {
    let mut chain = vec![step];
    // A record that was tampered with may go round in circles.
    while chain.len() <= record.steps.len() {
        let next = chain
            .last()
            .and_then(|step| parent(step))
            .and_then(|id| record.step(id));
        match next {
            Some(next) => chain.push(next),
            None => break,
        }
    }
    chain
}

/// The step that made a step run, if nothing else did.
fn parent(step: &StepRecord) -> Option<&VertexId> {
    let mut parent = None;
    for reason in step.reason.as_ref()?.each() {
        match reason {
            MissReason::ParentChanged { vertex, .. } => parent = parent.or(Some(vertex)),
            _ => return None,
        }
    }
    parent
}
