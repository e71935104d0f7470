//! Reading a Dockerfile, and the graph of one with fifty stages.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use kiln_dockerfile::Dockerfile;
use kiln_dockerfile::ignore::PatternMatcher;
use kiln_dockerfile::lint::Linter;
use kiln_dockerfile::lower::{Lowering, lower};
use kiln_dockerfile::parser::parse;
use kiln_dockerfile::plan::{PlanRequest, Resolved};
use kiln_oci::Platform;

/// So many stages on nothing, and one that takes a file of each.
fn stages(count: usize) -> String {
    let mut text = String::from("# syntax=docker/dockerfile:1\nARG VERSION=1\n");
    let mut end = String::from("FROM scratch\n");
    for stage in 0..count {
        text.push_str(&format!(
            "FROM scratch AS stage{stage}\nARG VERSION\nENV NAME=value-$VERSION PLACE=/opt/${{VERSION:-0}}\nWORKDIR $PLACE\nRUN \
             [\"/bin/make\", \"stage{stage}\"]\nLABEL stage={stage}\n"
        ));
        end.push_str(&format!("COPY --from=stage{stage} --chmod=644 /out/{stage} /\n"));
    }
    text + &end
}

fn texts(criterion: &mut Criterion) {
    let text = stages(50);
    criterion.bench_function("parse 50 stages", |bench| {
        bench.iter(|| parse(black_box(&text)).expect("valid"))
    });
    let platform: Platform = "linux/amd64".parse().expect("valid");
    let request = PlanRequest {
        platforms: vec![platform.clone()],
        build_platform: platform,
        ..PlanRequest::default()
    };
    criterion.bench_function("graph of 50 stages", |bench| {
        bench.iter(|| {
            let mut linter = Linter::default();
            let dockerfile = Dockerfile::parse(&text, &mut linter).expect("valid");
            match lower(&dockerfile, black_box(&request), &Resolved::default(), &mut linter).expect("valid") {
                Lowering::Done(lowered) => lowered.graph.vertices().len(),
                Lowering::Needs(_) => 0,
            }
        });
    });
    let matcher = PatternMatcher::new(&["**/*.o", "target", "!target/keep", "node_modules", "*.log"]).expect("valid");
    let paths: Vec<String> = (0..1000)
        .map(|number| format!("src/module-{}/file-{number}.rs", number % 30))
        .collect();
    criterion.bench_function("1,000 paths against 5 ignore patterns", |bench| {
        bench.iter(|| {
            paths
                .iter()
                .filter(|path| matcher.matches_or_parent_matches(black_box(path)))
                .count()
        });
    });
}

criterion_group!(benches, texts);
criterion_main!(benches);
