//! From the text of a definition with fifty targets to one graph: what `kiln bake` does before anything runs.

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use kiln_bake::config::{File, Inputs, read};
use kiln_bake::functions::Host;
use kiln_bake::model::Target;
use kiln_bake::resolve::{Selection, resolve};
use kiln_dockerfile::Dockerfile;
use kiln_dockerfile::lint::Linter;
use kiln_dockerfile::lower::{Lowered, Lowering, lower};
use kiln_dockerfile::plan::{PlanRequest, Resolved};
use kiln_graph::Graph;

const TARGETS: usize = 50;

/// Targets that share most of what they are: a common parent, a matrix and functions.
fn definition() -> String {
    let names: Vec<String> = (0..TARGETS).map(|number| format!("\"app{number}\"")).collect();
    format!(
        "variable \"TAG\" {{\n  default = \"1.0\"\n}}\nvariable \"REGISTRY\" {{\n  default = \"registry.example/team\"\n}}\n\
         target \"common\" {{\n  platforms = [\"linux/amd64\", \"linux/arm64\"]\n  labels = {{ \"org.example.tag\" = TAG }}\n  \
         args = {{ VERSION = upper(TAG) }}\n}}\ntarget \"app\" {{\n  inherits = [\"common\"]\n  matrix = {{ name = [{}] }}\n  name = \
         name\n  tags = [\"${{REGISTRY}}/${{name}}:${{TAG}}\"]\n  args = {{ NAME = name }}\n}}\n",
        names.join(", ")
    )
}

/// Two stages that are the same for every target, and one that is not.
const DOCKERFILE: &str = "# syntax=docker/dockerfile:1\nFROM scratch AS base\nARG VERSION\nENV VERSION=$VERSION\nRUN prepare\nWORKDIR /src\nCOPY \
                          lock ./\nRUN fetch\nFROM base AS build\nARG TARGETARCH\nCOPY . .\nRUN make ARCH=$TARGETARCH\nFROM scratch\nARG \
                          NAME\nLABEL name=$NAME\nCOPY --from=build /out/$NAME /bin/$NAME\nENTRYPOINT [\"/bin/app\"]\n";

fn targets(text: &str) -> BTreeMap<String, Target> {
    let file = File {
        name: "docker-bake.hcl".to_owned(),
        text: text.to_owned(),
    };
    let inputs = Inputs {
        variables: BTreeMap::new(),
        environment: BTreeMap::new(),
        built_in: BTreeMap::new(),
        host: Host {
            now: 0,
            home: None,
            random: |_| {},
        },
        file_relative_paths: false,
        read_file: &|_| Ok(None),
    };
    let definition = read(&[file], &inputs).expect("a valid definition");
    let selection = Selection {
        targets: vec!["app".to_owned()],
        ..Selection::default()
    };
    resolve(&definition.config, &selection)
        .expect("targets that are there")
        .targets
}

fn lowered(target: &Target) -> Box<Lowered> {
    let request = PlanRequest {
        platforms: target
            .platforms
            .iter()
            .flatten()
            .map(|platform| platform.parse().expect("a valid platform"))
            .collect(),
        build_platform: "linux/amd64".parse().expect("a valid platform"),
        build_args: target.args.clone(),
        labels: target.labels.clone(),
        ..PlanRequest::default()
    };
    let mut linter = Linter::default();
    let dockerfile = Dockerfile::parse(DOCKERFILE, &mut linter).expect("a valid file");
    match lower(&dockerfile, &request, &Resolved::default(), &mut linter).expect("a valid file") {
        Lowering::Done(lowered) => lowered,
        Lowering::Needs(needs) => panic!("stages on nothing need nothing, but {needs:?}"),
    }
}

fn united(all: &[Box<Lowered>]) -> Graph {
    let mut graph = Graph::new();
    for lowered in all {
        graph.absorb(&lowered.graph, |_, _| {});
    }
    graph
}

fn plans(criterion: &mut Criterion) {
    let text = definition();
    let resolved = targets(&text);
    assert_eq!(resolved.len(), TARGETS);
    let all: Vec<Box<Lowered>> = resolved.values().map(lowered).collect();
    // Whatever is the same is there once: the contexts and the two stages, and a copy for each target and platform.
    assert!(united(&all).vertices().len() < 3 * TARGETS);
    criterion.bench_function("targets of a definition of 50", |bench| {
        bench.iter(|| targets(black_box(&text)).len())
    });
    criterion.bench_function("graphs of 50 targets", |bench| {
        bench.iter(|| {
            resolved
                .values()
                .map(lowered)
                .map(|lowered| lowered.graph.vertices().len())
                .sum::<usize>()
        })
    });
    criterion.bench_function("one graph of 50", |bench| {
        bench.iter(|| united(black_box(&all)).vertices().len())
    });
    criterion.bench_function("plan of 50 targets, from text to one graph", |bench| {
        bench.iter(|| {
            let all: Vec<Box<Lowered>> = targets(black_box(&text)).values().map(lowered).collect();
            united(&all).vertices().len()
        })
    });
}

criterion_group!(benches, plans);
criterion_main!(benches);
