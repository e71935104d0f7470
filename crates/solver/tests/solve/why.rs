//! Why steps run, how results are found, and what a forecast says of both.

use kiln_graph::{Event, Graph, Hit, MissReason, Op, Outcome, VertexId, VertexMeta};
use kiln_solver::{StepContext, Verdict, forecast};

use crate::fake::{Recorder, Solving, context, copied_from_stage, copy, exec, meta, run, run_with, scratch};

/// A stage with files, a variable and a step behind both; what the steps are called by name.
struct Built {
    graph: Graph,
    last: VertexId,
}

/// What may differ between two builds.
#[derive(Clone, Copy)]
struct Revision {
    command: &'static str,
    version: Option<&'static str>,
    ignore: bool,
    inserted: bool,
}

const FIRST: Revision = Revision {
    command: "RUN make",
    version: Some("1"),
    ignore: false,
    inserted: false,
};

fn built(revision: Revision) -> Built {
    let mut graph = Graph::new();
    let base = scratch(&mut graph);
    let mut before = run_with(
        &mut graph,
        &base,
        VertexMeta {
            ignore_cache: revision.ignore,
            ..meta("RUN prepare")
        },
    );
    if revision.inserted {
        before = run(&mut graph, &before, "RUN inserted");
    }
    let files = context(&mut graph);
    let copied = copy(&mut graph, &before, &files, "COPY src /");
    let mut op = exec(revision.command);
    op.env
        .extend(revision.version.map(|value| ("VERSION".to_owned(), value.to_owned())));
    let made = graph.add(
        Op::Exec(op),
        vec![copied],
        VertexMeta {
            slot: "RUN make".into(),
            ..meta(revision.command)
        },
    );
    let last = run(&mut graph, &made, "RUN last");
    Built { graph, last }
}

fn name(graph: &Graph, vertex: &VertexId) -> String {
    graph
        .vertex(vertex)
        .map(|vertex| vertex.meta.name.clone())
        .unwrap_or_default()
}

fn hits(events: &Recorder, graph: &Graph) -> Vec<(String, Hit)> {
    let events = events.0.lock().unwrap();
    let found = events.iter().filter_map(|event| match event {
        Event::StepMatched { vertex, hit, .. } => Some((name(graph, vertex), *hit)),
        _ => None,
    });
    found.collect()
}

/// What every step says after a change: the cause at its own place, and the way to the root everywhere behind it.
#[tokio::test]
async fn every_change_is_named_where_it_is_and_traced_from_behind() {
    let edited = MissReason::InstructionChanged {
        from: "RUN make".into(),
        to: "RUN make all".into(),
    };
    let variable = |to: Option<&str>| MissReason::VariableChanged {
        name: "VERSION".into(),
        from: Some("1".into()),
        to: to.map(Into::into),
    };
    let files = MissReason::FilesChanged {
        source: "src".into(),
        added: vec![],
        removed: vec![],
        changed: vec!["context".into()],
        remoded: vec![],
    };
    type Change = (Revision, &'static str, &'static str, MissReason);
    let table: [Change; 6] = [
        (
            Revision {
                command: "RUN make all",
                ..FIRST
            },
            "1",
            "RUN make all",
            edited,
        ),
        (
            Revision {
                version: Some("2"),
                ..FIRST
            },
            "1",
            "RUN make",
            variable(Some("2")),
        ),
        (Revision { version: None, ..FIRST }, "1", "RUN make", variable(None)),
        (FIRST, "2", "COPY src /", files),
        (
            Revision { ignore: true, ..FIRST },
            "1",
            "RUN prepare",
            MissReason::CacheIgnored,
        ),
        (
            Revision {
                inserted: true,
                ..FIRST
            },
            "1",
            "RUN inserted",
            MissReason::NoRecord,
        ),
    ];
    for (revision, content, place, cause) in table {
        let solving = Solving::new();
        solving.worker.set_content("context", "1");
        let Built { graph, last } = built(FIRST);
        solving.solve(&graph, &[&last]).await.0.unwrap();
        solving.worker.set_content("context", content);
        let Built { graph, last } = built(revision);
        let (_, events) = solving.solve(&graph, &[&last]).await;
        assert_eq!(events.reason(&graph, place), Some(cause.clone()), "{place}");
        let behind = events.reason(&graph, "RUN last").unwrap();
        assert!(
            matches!(behind, MissReason::ParentChanged { .. }),
            "{place}: {behind:?}"
        );
        let root = behind.root("RUN last", &last).unwrap();
        assert_eq!((root.step.as_str(), root.reason), (place, cause));
        assert_eq!(
            name(&graph, &root.vertex),
            place,
            "the root is a step of this very build"
        );
    }
}

#[tokio::test]
async fn an_evicted_record_is_told_from_none() {
    let solving = Solving::new();
    let Built { graph, last } = built(FIRST);
    let (_, events) = solving.solve(&graph, &[&last]).await;
    assert_eq!(events.reason(&graph, "RUN make"), Some(MissReason::NoRecord));
    let evicted = std::mem::take(&mut *solving.worker.records.lock().unwrap());
    solving.worker.evicted.lock().unwrap().extend(evicted);
    let (_, events) = solving.solve(&graph, &[&last]).await;
    for step in ["RUN prepare", "COPY src /", "RUN make", "RUN last"] {
        assert_eq!(events.reason(&graph, step), Some(MissReason::Evicted), "{step}");
    }
}

#[tokio::test]
async fn values_of_secrets_are_in_no_reason_and_no_record() {
    let solving = Solving::new();
    for version in ["hunter2", "other"] {
        let revision = Revision {
            version: Some(version),
            ..FIRST
        };
        let Built { graph, last } = built(revision);
        let (_, events) = solving.solve(&graph, &[&last]).await;
        if version == "other" {
            let expected = MissReason::VariableChanged {
                name: "VERSION".into(),
                from: Some("***".into()),
                to: Some("other".into()),
            };
            assert_eq!(events.reason(&graph, "RUN make"), Some(expected));
        }
    }
    let records = solving.worker.records.lock().unwrap();
    let parts = records.values().flat_map(|record| &record.parts);
    assert!(parts.into_iter().all(|part| !part.value.contains("hunter2")));
}

#[tokio::test]
async fn hits_say_how_they_were_found() {
    let solving = Solving::new();
    let (graph, last) = copied_from_stage("RUN make");
    solving.solve(&graph, &[&last]).await.0.unwrap();
    let (_, events) = solving.solve(&graph, &[&last]).await;
    let mut found = hits(&events, &graph);
    found.sort();
    let named = |name: &str, hit| (name.to_owned(), hit);
    let all = [
        named("COPY --from=builder src /", Hit::NotNeeded),
        named("RUN last", Hit::Definition),
        named("RUN make", Hit::NotNeeded),
    ];
    assert_eq!(found, all);
    // The builder runs again and gives the same files.
    let (graph, last) = copied_from_stage("RUN make -j2");
    let (_, events) = solving.solve(&graph, &[&last]).await;
    let copied = hits(&events, &graph)
        .into_iter()
        .find(|(name, _)| name.starts_with("COPY"));
    assert_eq!(copied, Some(named("COPY --from=builder src /", Hit::Content)));
}

#[tokio::test]
async fn a_record_from_elsewhere_explains_later_misses() {
    let solving = Solving::new();
    let Built { graph, last } = built(FIRST);
    solving.solve(&graph, &[&last]).await.0.unwrap();
    // As another machine would give it: known by its keys alone.
    {
        let mut records = solving.worker.records.lock().unwrap();
        records.retain(|_, record| record.name == "RUN last");
        for record in records.values_mut() {
            record.slot.clear();
            record.parts.clear();
        }
    }
    solving.solve(&graph, &[&last]).await.0.unwrap();
    assert_eq!(solving.worker.ran().len(), 4, "the second build runs nothing");
    let Built { graph, last } = built(Revision {
        version: Some("2"),
        ..FIRST
    });
    let (_, events) = solving.solve(&graph, &[&last]).await;
    let reason = events.reason(&graph, "RUN last").unwrap();
    assert!(matches!(reason, MissReason::ParentChanged { .. }), "{reason:?}");
}

async fn verdicts(solving: &Solving, graph: &Graph, last: &VertexId) -> Vec<(String, Verdict)> {
    let events = std::sync::Arc::new(Recorder::default());
    let context = StepContext {
        events,
        cancel: solving.cancel.clone(),
    };
    let targets = [last.clone()];
    let forecasts = forecast(graph, &targets, &*solving.worker, &context).await.unwrap();
    let named = forecasts
        .into_iter()
        .map(|forecast| (name(graph, &forecast.vertex), forecast.verdict));
    named.collect()
}

/// What a forecast says is what then happens, for every kind of change, and it runs nothing itself.
#[tokio::test]
async fn a_forecast_comes_true() {
    let revisions = [
        FIRST,
        Revision {
            command: "RUN make all",
            ..FIRST
        },
        Revision { version: None, ..FIRST },
        Revision { ignore: true, ..FIRST },
        Revision {
            inserted: true,
            ..FIRST
        },
    ];
    for revision in revisions {
        let solving = Solving::new();
        let Built { graph, last } = built(FIRST);
        solving.solve(&graph, &[&last]).await.0.unwrap();
        solving.worker.ran();
        let Built { graph, last } = built(revision);
        let planned = verdicts(&solving, &graph, &last).await;
        assert!(solving.worker.ran().is_empty(), "a forecast runs nothing");
        let (_, events) = solving.solve(&graph, &[&last]).await;
        let outcomes = events.outcomes(&graph);
        for (step, verdict) in planned {
            match (&verdict, &outcomes[&step]) {
                (Verdict::Source, Outcome::Done) | (Verdict::Cached { .. }, Outcome::Cached) => {}
                (Verdict::Runs(reason), Outcome::Done) => {
                    assert_eq!(events.reason(&graph, &step).as_ref(), Some(reason), "{step}");
                }
                other => panic!("{step}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn what_hangs_on_files_that_may_be_the_same_may_run() {
    let solving = Solving::new();
    let (graph, last) = copied_from_stage("RUN make");
    solving.solve(&graph, &[&last]).await.0.unwrap();
    let (graph, last) = copied_from_stage("RUN make -j2");
    let planned = verdicts(&solving, &graph, &last).await;
    let of = |step: &str| {
        planned
            .iter()
            .find(|(name, _)| name == step)
            .map(|(_, verdict)| verdict.clone())
    };
    assert!(matches!(of("RUN make -j2"), Some(Verdict::Runs(_))), "{planned:?}");
    for step in ["COPY --from=builder src /", "RUN last"] {
        assert!(matches!(of(step), Some(Verdict::MayRun(_))), "{planned:?}");
    }
}
