//! What several platforms share in one graph.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;

use kiln_dockerfile::Dockerfile;
use kiln_dockerfile::lint::Linter;
use kiln_dockerfile::lower::{Lowered, Lowering, lower};
use kiln_dockerfile::plan::{PlanRequest, Resolved};
use kiln_graph::{Op, Vertex};
use kiln_oci::Platform;

fn lowered(text: &str, platforms: &[&str]) -> Result<Box<Lowered>, String> {
    let request = PlanRequest {
        platforms: platforms.iter().map(|platform| platform.parse().unwrap()).collect(),
        build_platform: "linux/amd64".parse().unwrap(),
        ..PlanRequest::default()
    };
    let mut linter = Linter::default();
    let dockerfile = Dockerfile::parse(text, &mut linter).map_err(|error| error.message)?;
    match lower(&dockerfile, &request, &Resolved::default(), &mut linter) {
        Ok(Lowering::Done(lowered)) => Ok(lowered),
        Ok(Lowering::Needs(needs)) => Err(format!("{needs:?}")),
        Err(error) => Err(error.message),
    }
}

const FOUR: [&str; 4] = ["linux/amd64", "linux/arm64", "linux/s390x", "linux/arm/v7"];

/// The vertices that the targets need and that are instructions.
fn steps(lowered: &Lowered) -> Vec<&Vertex> {
    let targets: Vec<_> = lowered.targets.iter().map(|target| target.vertex.clone()).collect();
    let needed = lowered.graph.needed(&targets).unwrap();
    needed.into_iter().filter(|vertex| vertex.meta.step.is_some()).collect()
}

fn names(lowered: &Lowered) -> Vec<&str> {
    steps(lowered).iter().map(|step| step.meta.name.as_str()).collect()
}

fn platforms(of: &[&str]) -> BTreeSet<Platform> {
    of.iter().map(|platform| platform.parse().unwrap()).collect()
}

#[test]
fn what_knows_no_platform_is_one_vertex_for_all() {
    let text = "FROM scratch AS files\nCOPY a /a\nWORKDIR /b\nADD https://example.com/c /c\nCOPY <<EOF /d\ntext\nEOF\n\
                FROM scratch\nCOPY --from=files /a /a\nCOPY --link b /b\nARG TARGETARCH\nENV ARCH=$TARGETARCH\n";
    let lowered = lowered(text, &FOUR).unwrap();
    let roots: BTreeSet<_> = lowered.targets.iter().map(|target| &target.vertex).collect();
    assert_eq!(roots.len(), 1, "the images differ in their configuration alone");
    assert_eq!(steps(&lowered).len(), 6);
    assert!(steps(&lowered).iter().all(|step| step.meta.targets == platforms(&FOUR)));
}

#[test]
fn what_is_marked_runs_once_on_the_build_platform() {
    let text = "FROM scratch\nARG TARGETARCH\nRUN prepare $TARGETARCH\n# kiln: noarch\nRUN pages\nRUN finish\n";
    let lowered = lowered(text, &FOUR).unwrap();
    let marked: Vec<&Vertex> = steps(&lowered)
        .into_iter()
        .filter(|step| step.meta.name == "RUN pages")
        .collect();
    let [step] = marked.as_slice() else {
        panic!("{:?}", names(&lowered))
    };
    let Op::Exec(exec) = &step.op else {
        panic!("{:?}", step.op)
    };
    assert_eq!(exec.platform.to_string(), "linux/amd64");
    assert_eq!(step.meta.targets, platforms(&FOUR));
    assert!(step.meta.noarch);
    let hidden = |(name, _): &(String, String)| name == "TARGETARCH";
    assert!(!exec.env.iter().any(hidden), "{:?}", exec.env);
    let vertices = lowered.graph.vertices().iter();
    let grafts: Vec<&Vertex> = vertices.filter(|step| step.op == Op::Graft).collect();
    assert_eq!(grafts.len(), 3);
    assert!(grafts.iter().all(|graft| graft.inputs[1] == step.id));
    // Every image's history has the same lines, and one for each layer.
    let lines: BTreeSet<Vec<bool>> = lowered
        .targets
        .iter()
        .map(|target| target.config.history.iter().map(|line| line.empty_layer).collect())
        .collect();
    assert_eq!(lines.len(), 1);
    for target in &lowered.targets {
        let line = &target.config.history[2];
        assert_eq!(line.created_by.as_deref(), Some("RUN /bin/sh -c pages # buildkit"));
    }
}

#[test]
fn the_build_platform_need_not_be_built_for() {
    let text = "FROM scratch AS made\nRUN make\nFROM scratch\n# kiln: noarch\nCOPY --from=made /x /\n";
    let lowered = lowered(text, &["linux/arm64", "linux/s390x"]).unwrap();
    assert_eq!(
        names(&lowered),
        ["RUN make", "COPY --from=made /x /"],
        "one root, and nothing to put on another"
    );
    let both = platforms(&["linux/arm64", "linux/s390x"]);
    assert!(steps(&lowered).iter().all(|step| step.meta.targets == both));
    let Op::Exec(exec) = &steps(&lowered)[0].op else {
        panic!("a process")
    };
    assert_eq!(exec.platform.to_string(), "linux/amd64");
}

#[test]
fn what_reads_the_platform_cannot_be_the_same_for_all() {
    let read = |before: &str, step: &str| {
        let text = format!("ARG GLOBAL=$TARGETOS\nFROM scratch\n{before}# kiln: noarch\n{step}\n");
        lowered(&text, &["linux/amd64", "linux/arm64"]).err()
    };
    let reads = |name: &str| {
        Some(format!(
            "the step is marked `noarch`, but reads `${name}`, which differs between platforms"
        ))
    };
    assert_eq!(read("", "RUN echo ${TARGETARCH}"), reads("TARGETARCH"));
    assert_eq!(
        read("ARG TARGETARCH\nARG X=a-$TARGETARCH\nENV Y=$X\n", "RUN echo $Y"),
        reads("Y")
    );
    assert_eq!(read("ARG GLOBAL\n", "COPY a-$GLOBAL /a"), reads("GLOBAL"));
    assert_eq!(
        read("ARG TARGETARCH\n", "RUN <<EOF\necho $TARGETARCH\nEOF"),
        reads("TARGETARCH")
    );
    assert_eq!(
        read(
            "ARG TARGETARCH\nARG X=$TARGETARCH\nARG X=same\n",
            "RUN echo $X $BUILDARCH"
        ),
        None
    );
}

#[test]
fn promises_that_mean_nothing_are_told() {
    let text = "# kiln: noarch\nFROM scratch\n# kiln: nocache\nRUN a\n# kiln: noarch\nRUN b\n# kiln: noarch\nENV A=b\n";
    let mut linter = Linter::default();
    Dockerfile::parse(text, &mut linter).unwrap();
    let found: Vec<(String, usize)> = linter
        .findings()
        .into_iter()
        .map(|finding| (finding.detail, finding.lines.unwrap().start))
        .collect();
    let expected = [
        ("`noarch` means nothing above FROM: it makes no layer", 2),
        ("`nocache` is no promise that Kiln knows", 4),
        ("`noarch` means nothing above ENV: it makes no layer", 8),
    ];
    assert_eq!(found, expected.map(|(detail, line)| (detail.to_owned(), line)));
}
