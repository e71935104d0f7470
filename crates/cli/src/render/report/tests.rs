use std::collections::BTreeSet;

use kiln_graph::{AuditFinding, Hit, LayerContent, MissReason, Outcome, Severity, VertexId};
use kiln_oci::{Digest, Platform};

use super::page;
use crate::history::record::{
    AuditRecord, BuildRecord, ImageRecord, RequestSummary, ResultRecord, Status, StepRecord, TaskRecord, TestRecord,
    WarningRecord,
};

fn vertex(name: &str) -> VertexId {
    VertexId(Digest::sha256(name))
}

fn step(number: usize, name: &str, architecture: &str, inputs: &[&str]) -> StepRecord {
    StepRecord {
        number,
        vertex: vertex(name),
        inputs: inputs.iter().map(|name| vertex(name)).collect(),
        name: name.into(),
        stage: Some("app".into()),
        step: Some((number, 4)),
        platform: Some(Platform::linux(architecture, "")),
        targets: BTreeSet::new(),
        lines: None,
        outcome: Some(Outcome::Done),
        started_ms: None,
        duration_ms: 0,
        emulated: false,
        reason: None,
        hit: None,
        cache: None,
        took_ms: None,
        log_bytes: 0,
    }
}

fn layer(name: &str, size: u64, base: bool) -> LayerContent {
    LayerContent {
        digest: Digest::sha256(name),
        size,
        instruction: name.into(),
        base,
    }
}

/// A build with something in every section.
fn record() -> BuildRecord {
    let found = StepRecord {
        outcome: Some(Outcome::Cached),
        hit: Some(Hit::Definition),
        took_ms: Some(1_500),
        ..step(1, "RUN found", "amd64", &[])
    };
    let native = StepRecord {
        started_ms: Some(100),
        duration_ms: 400,
        reason: Some(MissReason::NoRecord),
        ..step(2, "RUN native", "amd64", &["RUN found"])
    };
    let emulated = StepRecord {
        started_ms: Some(200),
        duration_ms: 1_800,
        emulated: true,
        reason: Some(MissReason::CacheIgnored),
        ..step(3, "RUN emulated", "arm64", &[])
    };
    let led = StepRecord {
        started_ms: Some(2_000),
        duration_ms: 500,
        emulated: true,
        reason: Some(MissReason::ParentChanged {
            step: "RUN emulated".into(),
            vertex: vertex("RUN emulated"),
            root: None,
        }),
        ..step(4, "RUN led", "arm64", &["RUN emulated"])
    };
    let finding = AuditFinding {
        code: "A01".into(),
        severity: Severity::Error,
        path: "/usr/bin/tool".into(),
        instruction: Some("COPY tool /usr/bin/".into()),
        message: "an x86-64 program".into(),
        repair: Some("build it for arm64".into()),
    };
    let image = |architecture: &str, own: u64| ImageRecord {
        platform: Platform::linux(architecture, ""),
        digest: Digest::sha256(architecture),
        size: 3_000_000 + own,
        layers: vec![layer("ADD rootfs /", 3_000_000, true), layer("RUN native", own, false)],
    };
    BuildRecord {
        format: 1,
        id: "0190000000001234".into(),
        name: "example.test/app:1".into(),
        status: Status::Done,
        started_unix_ms: 1_700_000_000_000,
        duration_ms: 3_000,
        version: "1.2.3".into(),
        request: RequestSummary {
            context: ".".into(),
            file: "Dockerfile".into(),
            platforms: vec![Platform::linux("amd64", ""), Platform::linux("arm64", "")],
            ..RequestSummary::default()
        },
        steps: vec![found, native, emulated, led],
        tasks: vec![TaskRecord {
            name: "push example.test/app:1".into(),
            platform: None,
            started_ms: 2_500,
            duration_ms: Some(500),
            outcome: Some(Outcome::Done),
            id: 1,
        }],
        images: vec![image("amd64", 1_000_000), image("arm64", 900_000)],
        results: vec![ResultRecord {
            digest: Digest::sha256("index"),
            names: vec!["example.test/app:1".into()],
        }],
        warnings: vec![WarningRecord {
            message: "careful".into(),
            hints: vec!["look".into()],
        }],
        audit: Some(vec![AuditRecord {
            platform: Platform::linux("arm64", ""),
            findings: vec![finding],
        }]),
        tests: Some(vec![TestRecord {
            platform: Platform::linux("arm64", ""),
            name: "it starts".into(),
            outcome: Outcome::Failed("exit code 3".into()),
            duration_ms: 40,
        }]),
        ..BuildRecord::default()
    }
}

#[test]
fn the_page_is_as_it_was() {
    // The style is a file of its own; what it says is looked at in a browser.
    let page = page(&record());
    let (head, rest) = page.split_once("<style>").expect("the page has a style");
    let (_, body) = rest.split_once("</style>").expect("the style ends");
    insta::assert_snapshot!(format!("{head}{body}"));
}

#[test]
fn the_critical_path_is_the_chain_that_takes_longest() {
    let page = page(&record());
    let (_, path) = page.split_once("Critical path").expect("it is there");
    let (path, _) = path.split_once("</section>").expect("it ends");
    assert!(path.contains("RUN emulated") && path.contains("RUN led"), "{path}");
    assert!(!path.contains("RUN native"), "{path}");
    assert!(path.contains("2.3s of the build&#39;s 3.0s (76 %)"), "{path}");
}

#[test]
fn a_section_that_says_nothing_is_not_there() {
    let page = page(&BuildRecord::default());
    for heading in ["Audit", "Tests", "Sizes", "Warnings", "Critical path", "Error"] {
        assert!(!page.contains(&format!(">{heading}</h2>")), "{heading}");
    }
    let unaudited = BuildRecord {
        audit: None,
        ..record()
    };
    assert!(!super::page(&unaudited).contains(">Audit</h2>"));
}

#[test]
fn names_of_others_are_text_everywhere() {
    let hostile = "x\"'><script>alert(1)</script><img src=x onerror=alert(1)>\u{202e}";
    let mut record = record();
    let text = || hostile.to_owned();
    record.name = text();
    record.id = text();
    record.version = text();
    record.request.context = text();
    record.request.file = text();
    record.request.target = Some(text());
    record.error = vec![text(), text()];
    record.warnings[0].message = text();
    record.warnings[0].hints = vec![text()];
    record.tasks[0].name = text();
    record.results[0].names = vec![text()];
    for step in &mut record.steps {
        step.name = format!("RUN {hostile}\nsecond line");
        step.stage = Some(text());
        step.cache = Some(text());
        step.reason = step.reason.as_ref().map(|_| MissReason::InstructionChanged {
            from: text(),
            to: text(),
        });
    }
    record.steps[3].outcome = Some(Outcome::Failed(text()));
    for image in &mut record.images {
        image.layers[1].instruction = text();
        image.platform.variant = text();
    }
    for audit in record.audit.iter_mut().flatten() {
        let finding = &mut audit.findings[0];
        for field in [&mut finding.code, &mut finding.path, &mut finding.message] {
            *field = text();
        }
        finding.instruction = Some(text());
        finding.repair = Some(text());
    }
    for test in record.tests.iter_mut().flatten() {
        test.name = text();
        test.outcome = Outcome::Failed(text());
    }
    let page = page(&record);
    assert!(
        page.matches("&lt;script&gt;").count() > 20,
        "it is shown where it belongs"
    );
    for bad in ["<script", "<img", "\u{202e}", "onerror=\""] {
        assert!(!page.contains(bad), "{bad}");
    }
    // Every quote of an attribute that was opened is closed by us: outside tags there is none.
    let outside: String = page
        .split('>')
        .filter_map(|part| part.split('<').next())
        .skip(1)
        .collect();
    let (_, body) = outside.split_once("Skip to").expect("the body");
    assert!(!body.contains('"'), "a quote got out of its attribute");
}
