//! Whose turn it is.

use std::sync::atomic::Ordering;
use std::time::Duration;

use kiln_graph::{Graph, Outcome, VertexId};
use kiln_solver::schedule::memory_of;
use proptest::prelude::*;

use crate::fake::{Solving, copy, run, scratch};

/// A step, a short arm that stands first in the graph, a long arm, and a step that takes files of both.
fn diamond() -> (Graph, VertexId) {
    let mut graph = Graph::new();
    let base = scratch(&mut graph);
    let top = run(&mut graph, &base, "RUN top");
    let short = run(&mut graph, &top, "RUN short");
    let one = run(&mut graph, &top, "RUN long 1");
    let two = run(&mut graph, &one, "RUN long 2");
    let end = copy(&mut graph, &two, &short, "COPY --from=short");
    (graph, end)
}

fn one_at_a_time() -> Solving {
    Solving {
        parallelism: 1,
        ..Solving::new()
    }
}

fn expect(solving: &Solving, times: &[(&str, u64)]) {
    let times = times.iter().map(|(name, time)| ((*name).to_owned(), *time));
    solving.worker.times.lock().unwrap().extend(times);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_long_arm_of_a_diamond_runs_first() {
    for slow in [&[][..], &["RUN long 1"], &["RUN short"]] {
        let (graph, end) = diamond();
        let solving = one_at_a_time();
        *solving.worker.slow_lookups.lock().unwrap() = slow.iter().map(|name| (*name).to_owned()).collect();
        expect(
            &solving,
            &[("RUN short", 300), ("RUN long 1", 200), ("RUN long 2", 200)],
        );
        solving.solve(&graph, &[&end]).await.0.unwrap();
        let order = solving.worker.order();
        // After the first step of the long arm, the short one is the longer path.
        assert_eq!(
            order,
            ["RUN top", "RUN long 1", "RUN short", "RUN long 2", "COPY --from=short"],
            "whoever's lookup is slow: {slow:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_times_the_longer_chain_and_then_the_file_decides() {
    let (graph, end) = diamond();
    let solving = one_at_a_time();
    solving.solve(&graph, &[&end]).await.0.unwrap();
    assert_eq!(
        solving.worker.order(),
        ["RUN top", "RUN long 1", "RUN short", "RUN long 2", "COPY --from=short"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emulated_step_of_unknown_time_is_the_longer_one() {
    let mut graph = Graph::new();
    let base = scratch(&mut graph);
    let native = run(&mut graph, &base, "RUN native");
    let emulated = run(&mut graph, &base, "RUN emulated");
    let solving = one_at_a_time();
    solving.solve(&graph, &[&native, &emulated]).await.0.unwrap();
    assert_eq!(solving.worker.order(), ["RUN emulated", "RUN native"]);
}

#[tokio::test]
async fn nobody_asks_for_times_while_there_is_room() {
    let (graph, end) = diamond();
    let solving = Solving {
        parallelism: 2,
        ..Solving::new()
    };
    solving.solve(&graph, &[&end]).await.0.unwrap();
    assert_eq!(solving.worker.asked_for_times.load(Ordering::SeqCst), 0);
    // Nor when all is found, however few may run.
    let solving = Solving {
        parallelism: 1,
        ..solving
    };
    solving.worker.order();
    solving.solve(&graph, &[&end]).await.0.unwrap();
    assert!(solving.worker.order().is_empty());
    assert_eq!(solving.worker.asked_for_times.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn memory_bounds_what_runs_at_once() {
    let mut graph = Graph::new();
    let base = scratch(&mut graph);
    let steps: Vec<VertexId> = (0..8)
        .map(|number| run(&mut graph, &base, &format!("RUN emulated {number}")))
        .collect();
    let wanted = memory_of(graph.vertex(&steps[0]).unwrap(), true);
    // Of four parts, three are shared: room for two, and for none at all. Then one runs alone.
    for (memory, at_once) in [(wanted * 8 / 3, 2), (1 << 20, 1)] {
        let solving = Solving {
            parallelism: 8,
            memory: Some(memory),
            ..Solving::new()
        };
        let all: Vec<&VertexId> = steps.iter().collect();
        solving.solve(&graph, &all).await.0.unwrap();
        assert_eq!(solving.worker.order().len(), 8);
        assert_eq!(solving.worker.most_running.load(Ordering::SeqCst), at_once);
    }
}

#[tokio::test]
async fn steps_that_wait_when_the_build_fails_do_not_begin() {
    let mut graph = Graph::new();
    let base = scratch(&mut graph);
    let bad = run(&mut graph, &base, "RUN bad");
    let waiting = run(&mut graph, &base, "RUN waiting");
    let solving = one_at_a_time();
    expect(&solving, &[("RUN bad", 500), ("RUN waiting", 100)]);
    solving.worker.failing.lock().unwrap().push("RUN bad".into());
    let (result, events) = solving.solve(&graph, &[&waiting, &bad]).await;
    assert!(result.is_err());
    assert!(solving.worker.order().is_empty());
    assert_eq!(events.outcomes(&graph)["RUN waiting"], Outcome::Cancelled);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_step_runs_once_whatever_the_bounds(
        // For each step: how far back its base and the one that it copies of stand, what it takes, and its kind.
        steps in prop::collection::vec((1_usize..6, 1_usize..6, 0_u64..400, 0_u8..3), 1..30),
        parallelism in 1_usize..6,
        memory in prop::option::of(0_u64..(2 << 30)),
    ) {
        let mut graph = Graph::new();
        let mut all = vec![scratch(&mut graph)];
        let solving = Solving { parallelism, memory, ..Solving::new() };
        for (number, (base, from, time, kind)) in steps.iter().enumerate() {
            let back = |far: usize| all[all.len() - far.min(all.len())].clone();
            let name = match kind {
                0 => format!("RUN {number}"),
                1 => format!("RUN emulated {number}"),
                _ => format!("COPY {number}"),
            };
            // Some are known, some are not.
            if time % 3 > 0 {
                expect(&solving, &[(&name, *time)]);
            }
            solving.worker.set_content(&name, &name);
            let (base, from) = (back(*base), back(*from));
            let step = match kind {
                2 if from != all[0] => copy(&mut graph, &base, &from, &name),
                _ => run(&mut graph, &base, &name),
            };
            all.push(step);
        }
        let targets: Vec<&VertexId> = all[1..].iter().collect();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let solved = runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(60), solving.solve(&graph, &targets)).await
        });
        solved.expect("nobody waits for ever").0.unwrap();
        let ran = solving.worker.order();
        prop_assert_eq!(ran.len(), graph.vertices().len() - 1);
        prop_assert!(solving.worker.most_running.load(Ordering::SeqCst) <= parallelism);
    }
}
