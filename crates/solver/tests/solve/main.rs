//! The solver against a worker that runs nothing.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod fake;
mod order;
mod why;

use std::sync::atomic::Ordering;
use std::time::Duration;

use kiln_graph::{Graph, MissReason, Outcome, VertexId, VertexMeta};
use kiln_oci::Digest;
use kiln_solver::SolveError;

use fake::{Solving, context, copied_from_stage, copy, meta, run, run_with, scratch};

#[tokio::test]
async fn a_second_build_looks_up_its_target_and_nothing_else() {
    let mut graph = Graph::new();
    let base = scratch(&mut graph);
    let one = run(&mut graph, &base, "RUN one");
    let two = run(&mut graph, &one, "RUN two");
    let solving = Solving::new();
    let (first, _) = solving.solve(&graph, &[&two]).await;
    assert_eq!(solving.worker.ran(), ["RUN one", "RUN two"]);
    solving.worker.lookups.store(0, Ordering::SeqCst);
    let (second, events) = solving.solve(&graph, &[&two]).await;
    assert_eq!(first.unwrap(), second.unwrap());
    assert!(solving.worker.ran().is_empty());
    assert_eq!(solving.worker.lookups.load(Ordering::SeqCst), 1);
    let outcomes = events.outcomes(&graph);
    assert_eq!(outcomes["RUN one"], Outcome::Cached);
    assert_eq!(outcomes["RUN two"], Outcome::Cached);
}

#[tokio::test]
async fn equal_steps_of_several_platforms_run_once() {
    let mut graph = Graph::new();
    let base = scratch(&mut graph);
    let shared = run(&mut graph, &base, "RUN shared");
    let same = run(&mut graph, &base, "RUN shared");
    assert_eq!(shared, same);
    let left = run(&mut graph, &shared, "RUN left");
    let right = run(&mut graph, &same, "RUN right");
    let solving = Solving::new();
    solving.solve(&graph, &[&left, &right]).await.0.unwrap();
    assert_eq!(solving.worker.ran(), ["RUN left", "RUN right", "RUN shared"]);
}

#[tokio::test]
async fn a_changed_context_reruns_the_copy_and_what_follows() {
    let mut graph = Graph::new();
    let base = scratch(&mut graph);
    let before = run(&mut graph, &base, "RUN before");
    let files = context(&mut graph);
    let copied = copy(&mut graph, &before, &files, "COPY src /");
    let after = run(&mut graph, &copied, "RUN after");
    let solving = Solving::new();
    solving.worker.set_content("context", "1");
    solving.solve(&graph, &[&after]).await.0.unwrap();
    solving.worker.ran();
    solving.worker.set_content("context", "2");
    let (_, events) = solving.solve(&graph, &[&after]).await;
    assert_eq!(solving.worker.ran(), ["COPY src /", "RUN after"]);
    let reason = events.reason(&graph, "COPY src /").unwrap();
    assert_eq!(
        reason,
        MissReason::FilesChanged {
            source: "src".into(),
            added: vec![],
            removed: vec![],
            changed: vec!["context".into()],
            remoded: vec![],
        }
    );
    let led = MissReason::ParentChanged {
        step: "COPY src /".into(),
        vertex: copied.clone(),
        root: reason.root("COPY src /", &copied).map(Box::new),
    };
    assert_eq!(events.reason(&graph, "RUN after"), Some(led));
}

#[tokio::test]
async fn a_stage_that_ran_again_with_equal_files_changes_nothing_after_its_copy() {
    let solving = Solving::new();
    solving.worker.set_content("RUN make", "binary");
    solving.worker.set_content("RUN make -j2", "binary");
    let (graph, last) = copied_from_stage("RUN make");
    solving.solve(&graph, &[&last]).await.0.unwrap();
    solving.worker.ran();
    let (graph, last) = copied_from_stage("RUN make -j2");
    let (_, events) = solving.solve(&graph, &[&last]).await;
    assert_eq!(solving.worker.ran(), ["RUN make -j2"]);
    assert_eq!(events.outcomes(&graph)["RUN last"], Outcome::Cached);
    // The next build knows it beforehand.
    solving.solve(&graph, &[&last]).await.0.unwrap();
    assert!(solving.worker.ran().is_empty());
}

#[tokio::test]
async fn what_follows_a_step_that_ignores_the_cache_runs_too() {
    let build = |ignore| {
        let mut graph = Graph::new();
        let base = scratch(&mut graph);
        let ignoring = run_with(
            &mut graph,
            &base,
            VertexMeta {
                ignore_cache: ignore,
                ..meta("RUN date")
            },
        );
        let last = run(&mut graph, &ignoring, "RUN last");
        (graph, last)
    };
    let solving = Solving::new();
    let (graph, last) = build(false);
    solving.solve(&graph, &[&last]).await.0.unwrap();
    solving.worker.ran();
    let (graph, last) = build(true);
    let (_, events) = solving.solve(&graph, &[&last]).await;
    assert_eq!(solving.worker.ran(), ["RUN date", "RUN last"]);
    assert_eq!(events.reason(&graph, "RUN date"), Some(MissReason::CacheIgnored));
    // Afterwards the newest result is the cached one.
    let (graph, last) = build(false);
    solving.solve(&graph, &[&last]).await.0.unwrap();
    assert!(solving.worker.ran().is_empty());
}

#[tokio::test]
async fn the_first_failure_stops_the_rest() {
    let mut graph = Graph::new();
    let base = scratch(&mut graph);
    let slow = run(&mut graph, &base, "RUN slow");
    let never = run(&mut graph, &slow, "RUN never");
    let bad = run(&mut graph, &base, "RUN bad");
    let solving = Solving::new();
    solving.worker.failing.lock().unwrap().push("RUN bad".into());
    let (result, events) = solving.solve(&graph, &[&never, &bad]).await;
    match result {
        Err(SolveError::Step { vertex, source }) => {
            assert_eq!(vertex.meta.name, "RUN bad");
            assert_eq!(source.0, "RUN bad is told to fail");
        }
        other => panic!("a failing step fails the solve, got {other:?}"),
    }
    let outcomes = events.outcomes(&graph);
    assert_eq!(outcomes["RUN slow"], Outcome::Cancelled);
    assert_eq!(outcomes["RUN never"], Outcome::Cancelled);
    assert!(solving.worker.ran().is_empty());
}

#[tokio::test]
async fn an_interrupt_is_told_apart_from_a_failure() {
    let mut graph = Graph::new();
    let base = scratch(&mut graph);
    let slow = run(&mut graph, &base, "RUN slow");
    let solving = Solving::new();
    let cancel = solving.cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        cancel.cancel();
    });
    assert!(matches!(
        solving.solve(&graph, &[&slow]).await.0,
        Err(SolveError::Cancelled)
    ));
}

#[tokio::test]
async fn no_more_steps_run_at_once_than_allowed() {
    let mut graph = Graph::new();
    let base = scratch(&mut graph);
    let steps: Vec<VertexId> = (0..12)
        .map(|number| run(&mut graph, &base, &format!("RUN {number}")))
        .collect();
    let solving = Solving {
        parallelism: 3,
        ..Solving::new()
    };
    solving
        .solve(&graph, &steps.iter().collect::<Vec<_>>())
        .await
        .0
        .unwrap();
    assert_eq!(solving.worker.ran().len(), 12);
    assert_eq!(solving.worker.most_running.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_target_that_is_not_in_the_graph_is_an_error() {
    let graph = Graph::new();
    let stranger = VertexId(Digest::sha256("stranger"));
    assert!(matches!(
        Solving::new().solve(&graph, &[&stranger]).await.0,
        Err(SolveError::NoRoot(_))
    ));
}
