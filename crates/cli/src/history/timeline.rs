//! What had to wait for what.

use std::collections::HashMap;

use kiln_graph::VertexId;

/// A step in a critical path.
#[derive(Debug, Clone)]
pub struct Timed<'a> {
    /// Which.
    pub vertex: &'a VertexId,
    /// What it waits for.
    pub inputs: &'a [VertexId],
    /// How long it runs, in milliseconds.
    pub duration_ms: u64,
}

/// The chain of steps, each waiting for the one before, that takes longest, and how long that is. Inputs stand before
/// what waits for them. Steps that take no time are left out.
pub fn critical_path<'a>(steps: &[Timed<'a>]) -> (Vec<&'a VertexId>, u64) {
    let mut longest: HashMap<&VertexId, (u64, Option<&'a VertexId>)> = HashMap::new();
    let mut last: Option<&'a VertexId> = None;
    for step in steps {
        let before = step.inputs.iter().filter(|input| longest.contains_key(*input));
        let before = before.max_by_key(|input| longest[input].0);
        let total = step
            .duration_ms
            .saturating_add(before.map_or(0, |input| longest[input].0));
        longest.insert(step.vertex, (total, before));
        if last.is_none_or(|known| longest[known].0 < total) {
            last = Some(step.vertex);
        }
    }
    let total = last.map_or(0, |vertex| longest[vertex].0);
    let durations: HashMap<&VertexId, u64> = steps.iter().map(|step| (step.vertex, step.duration_ms)).collect();
    let mut path = Vec::new();
    while let Some(vertex) = last {
        if durations[vertex] > 0 {
            path.push(vertex);
        }
        last = longest[vertex].1;
    }
    path.reverse();
    (path, total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_oci::Digest;

    #[test]
    fn the_longest_chain_is_critical() {
        let ids: Vec<VertexId> = ["base", "a", "b", "c", "alone"]
            .map(|name| VertexId(Digest::sha256(name)))
            .into();
        let inputs = [vec![], vec![0], vec![0], vec![1, 2], vec![]];
        let inputs: Vec<Vec<VertexId>> = inputs
            .iter()
            .map(|list| list.iter().map(|at: &usize| ids[*at].clone()).collect())
            .collect();
        let times = [0, 5, 9, 2, 10];
        let steps: Vec<Timed<'_>> = (0..5)
            .map(|at| Timed {
                vertex: &ids[at],
                inputs: &inputs[at],
                duration_ms: times[at],
            })
            .collect();
        assert_eq!(critical_path(&steps), (vec![&ids[2], &ids[3]], 11));
        assert_eq!(critical_path(&[]), (vec![], 0));
    }
}
