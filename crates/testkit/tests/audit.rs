//! `kiln audit` and the gate of `kiln build`: what is audited, how it is told, and what it keeps from happening.

use std::fs;

use kiln_testkit::{DockerRegistry, Fixture, ImageLayout, Program, TestResult, Tree};
use serde_json::{Value, json};

/// The header of a static x86-64 program.
fn program() -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    bytes[16] = 2;
    bytes[18] = 62;
    bytes
}

const DOCKERFILE: &str = "FROM busybox\nCOPY --chmod=0755 tool /usr/bin/tool\nCMD [\"tool\"]\n";

/// A build whose arm64 image holds an x86-64 program.
fn faulty_build() -> Result<Fixture, Box<dyn std::error::Error>> {
    let fixture = Fixture::with_base_images()?;
    let context = fixture.context("context", &[("Dockerfile", DOCKERFILE)])?;
    fs::write(context.join("tool"), program())?;
    Ok(fixture)
}

/// The same image without a build.
fn faulty_layout(fixture: &Fixture) -> Result<ImageLayout, Box<dyn std::error::Error>> {
    let layout = ImageLayout::create(&fixture.directory().join("layout"))?;
    let base = layout.add_layer(&Tree::new().file("etc/name", 0o644, "kiln"))?;
    let tool = layout.add_layer(&Tree::new().file("usr/bin/tool", 0o755, program()))?;
    let mut images = Vec::new();
    for platform in ["linux/amd64", "linux/arm64"] {
        let layers = [("ADD base", &base), ("COPY tool /usr/bin/tool # buildkit", &tool)];
        images.push(layout.add_layers(platform, &layers, json!({"Cmd": ["/usr/bin/tool"]}))?);
    }
    layout.add_index(&["app:1"], &images)?;
    Ok(layout)
}

#[test]
fn errors_keep_a_build_from_being_published() -> TestResult {
    let fixture = faulty_build()?;
    let registry = DockerRegistry::start()?;
    let name = format!("{}/team/app:1", registry.address());
    let build = |further: &[&str]| {
        let platforms = ["build", "--platform", "linux/amd64,linux/arm64", "-t", &name, "--push"];
        fixture.kiln(platforms.iter().chain(further).chain(&["context"])).run()
    };
    let refused = build(&["--audit=error"])?;
    refused.assert_code(1).assert_says(&[
        "the audit found",
        "A01 wrong-architecture on linux/arm64: /usr/bin/tool: an x86-64 program",
        "COPY --chmod=0755 tool /usr/bin/tool",
        "--audit=warn",
    ]);
    assert!(!refused.stderr.contains("on linux/amd64"), "{}", refused.stderr);
    fixture.kiln(["inspect", &name]).run()?.assert_code(3);

    let silent = build(&["--audit=off"])?;
    silent.assert_success();
    assert!(!silent.stderr.contains("A01"), "{}", silent.stderr);
    let warned = build(&[])?;
    warned
        .assert_success()
        .assert_says(&["warning: A01 wrong-architecture"]);
    fixture.kiln(["inspect", &name]).run()?.assert_success();
    let shown = fixture.kiln(["history", "show", "--format", "json"]).run()?;
    assert!(
        shown.assert_success().stdout_text().contains("\"A01\""),
        "{}",
        shown.stdout_text()
    );
    // What the build published is what the command finds, by name.
    let found = fixture
        .kiln(["audit", &name, "--pull", "--platform", "linux/arm64"])
        .run()?;
    found.assert_code(1);
    assert!(found.stdout_text().contains("error[A01]"), "{}", found.stdout_text());
    fixture
        .kiln(["audit", &name, "--platform", "linux/amd64"])
        .run()?
        .assert_success();
    Ok(())
}

#[test]
fn one_platform_is_audited_when_asked() -> TestResult {
    let fixture = faulty_build()?;
    let build = |further: &[&str]| {
        let words = ["build", "--platform", "linux/arm64", "-t", "app:1"];
        fixture.kiln(words.iter().chain(further).chain(&["context"])).run()
    };
    let plain = build(&[])?;
    plain.assert_success();
    assert!(!plain.stderr.contains("A01"), "{}", plain.stderr);
    build(&["--audit=warn"])?.assert_success().assert_says(&["A01"]);
    build(&["--audit=error"])?.assert_code(1);
    // Of files alone nothing can be said: who asks for it should know.
    let files = build(&["--audit=error", "-o", "out"])?;
    files.assert_code(2).assert_says(&["--audit needs an image"]);
    Ok(())
}

#[test]
fn a_base_of_one_platform_is_found() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let index: Value = serde_json::from_slice(&fixture.kiln(["inspect", "--raw", "busybox"]).run()?.stdout)?;
    let entries = index["manifests"].as_array().cloned().unwrap_or_default();
    let amd64 = entries
        .iter()
        .find(|entry| entry["platform"]["architecture"] == "amd64")
        .ok_or("no amd64")?;
    let pinned = format!("FROM busybox@{}\n", amd64["digest"].as_str().unwrap_or_default());
    fixture.context("context", &[("Dockerfile", &pinned)])?;
    let outcome = fixture
        .kiln([
            "build",
            "--platform",
            "linux/amd64,linux/arm64",
            "-t",
            "app:1",
            "--audit=error",
            "context",
        ])
        .run()?;
    outcome.assert_code(1).assert_says(&[
        "A10 single-platform-base on linux/arm64",
        "is pinned to the image of linux/amd64, and the platform is linux/arm64",
        "A09 manifest-lies on linux/arm64",
        "line 1",
    ]);
    // A stage that runs on the build platform may be pinned to it.
    let text = format!(
        "FROM --platform=linux/amd64 busybox@{} AS tools\nFROM busybox\nCOPY --from=tools /etc/passwd /etc/\n",
        amd64["digest"].as_str().unwrap_or_default()
    );
    fixture.context("good", &[("Dockerfile", &text)])?;
    fixture
        .kiln([
            "build",
            "--platform",
            "linux/amd64,linux/arm64",
            "-t",
            "app:2",
            "--audit=error",
            "good",
        ])
        .run()?
        .assert_success();
    Ok(())
}

#[test]
fn every_form_of_an_image_is_audited() -> TestResult {
    let fixture = Fixture::new()?;
    faulty_layout(&fixture)?;
    let directory = fixture.directory();
    let tar = |name: &str, flags: &str| {
        Program::new("tar")
            .args([flags, name, "-C", "layout", "."])
            .with(|command| _ = command.current_dir(directory))
            .succeed()
    };
    tar("archive.tar", "-cf")?;
    tar("archive.tar.gz", "-czf")?;
    let docker = format!("docker-archive:{}", directory.join("docker.tar").display());
    fixture
        .skopeo(["--override-arch", "arm64", "copy", "--quiet", "oci:layout", &docker])
        .with(|command| _ = command.current_dir(directory))
        .succeed()?;
    for form in [
        "layout",
        "oci:layout",
        "layout:1",
        "archive.tar",
        "archive.tar.gz",
        "oci-archive:archive.tar",
        "docker.tar",
    ] {
        let outcome = fixture.kiln(["audit", form, "--format", "json"]).run()?;
        outcome.assert_code(1);
        let report = outcome.json();
        let platforms = report["platforms"].as_array().cloned().unwrap_or_default();
        let arm64 = platforms
            .iter()
            .find(|platform| platform["platform"] == "linux/arm64")
            .ok_or(form)?;
        let finding = &arm64["findings"][0];
        assert_eq!(finding["code"], "A01", "{form}");
        assert_eq!(finding["path"], "/usr/bin/tool", "{form}");
        assert_eq!(finding["layer"]["number"], 2, "{form}");
        assert_eq!(finding["layer"]["instruction"], "COPY tool /usr/bin/tool", "{form}");
    }
    for (form, code, says) in [
        ("missing.tar", 2, "there is no `missing.tar`"),
        ("layout:9", 2, "the layout has no image `9`"),
        ("oci:nowhere", 2, "there is no `nowhere`"),
    ] {
        fixture
            .kiln(["audit", form])
            .run()?
            .assert_code(code)
            .assert_says(&[says]);
    }
    let outcome = fixture.kiln(["audit", "layout", "--platform", "linux/s390x"]).run()?;
    outcome
        .assert_code(2)
        .assert_says(&["has no image for linux/s390x", "linux/amd64, linux/arm64"]);
    Ok(())
}

#[test]
fn reports_have_the_forms_that_others_read() -> TestResult {
    let fixture = Fixture::new()?;
    faulty_layout(&fixture)?;
    let report = |format: &str| fixture.kiln(["audit", "layout", "--format", format]).run();
    let text = report("text")?.stdout_text();
    for expected in [
        "linux/amd64  sha256:",
        "nothing found",
        "  error[A01] wrong-architecture",
        "    /usr/bin/tool: an x86-64 program, and the platform is linux/arm64 (the image's configuration starts it)",
        "    in layer 2 (COPY tool /usr/bin/tool)",
        "    hint: build it for $TARGETPLATFORM",
        "layout: 2 platforms, 2 errors, 1 warning",
    ] {
        assert!(text.contains(expected), "`{expected}` is missing in\n{text}");
    }
    let sarif = report("sarif")?.json();
    assert_eq!(sarif["version"], "2.1.0");
    let run = &sarif["runs"][0];
    assert_eq!(run["tool"]["driver"]["rules"].as_array().map(Vec::len), Some(10));
    assert_eq!(run["results"][0]["ruleId"], "A01");
    assert_eq!(run["results"][0]["level"], "error");
    let place = &run["results"][0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "usr/bin/tool");
    let junit = report("junit")?.stdout_text();
    assert!(
        junit.contains("<testsuite name=\"linux/arm64\" tests=\"3\" failures=\"2\">"),
        "{junit}"
    );
    let parsed = Program::new("python3")
        .args(["-c", "import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.stdin)"])
        .input(junit)
        .run()?;
    parsed.assert_success();
    let github = report("github")?.stdout_text();
    assert!(
        github.starts_with("::error title=A01 wrong-architecture on linux/arm64::/usr/bin/tool: "),
        "{github}"
    );
    fixture
        .kiln(["audit", "layout", "--fail-on", "never"])
        .run()?
        .assert_success();
    Ok(())
}

#[test]
fn allowances_have_reasons_and_ends() -> TestResult {
    let fixture = Fixture::new()?;
    faulty_layout(&fixture)?;
    let row = |further: &str| {
        format!(
            "[[allow]]\npath = \"/usr/bin/*\"\nreason = \"emulated\"\n{further}\n[[allow]]\ncode = \"entrypoint\"\nreason = \"the same\"\n"
        )
    };
    fixture.write("kiln-audit.toml", row("").as_bytes())?;
    let outcome = fixture.kiln(["audit", "layout"]).run()?;
    outcome.assert_success();
    let text = outcome.stdout_text();
    assert!(text.contains("A01 /usr/bin/tool on linux/arm64: emulated"), "{text}");
    fixture.write("ended.toml", row("expires = \"2020-01-31\"").as_bytes())?;
    let outcome = fixture.kiln(["audit", "layout", "--config", "ended.toml"]).run()?;
    outcome.assert_code(1);
    assert!(
        outcome.stdout_text().contains("ended on 2020-01-31"),
        "{}",
        outcome.stdout_text()
    );
    fixture.write("unused.toml", b"[[allow]]\npath = \"/nothing\"\nreason = \"x\"\n")?;
    let outcome = fixture.kiln(["audit", "layout", "--config", "unused.toml"]).run()?;
    assert!(
        outcome.stdout_text().contains("covers nothing"),
        "{}",
        outcome.stdout_text()
    );
    fixture.write("broken.toml", b"[[allow]]\npaths = \"/x\"\nreason = \"x\"\n")?;
    let outcome = fixture.kiln(["audit", "layout", "--config", "broken.toml"]).run()?;
    outcome
        .assert_code(2)
        .assert_says(&["broken.toml", "unknown field `paths`"]);
    Ok(())
}

#[test]
fn layers_are_read_once_and_verified() -> TestResult {
    let fixture = Fixture::new()?;
    let layout = faulty_layout(&fixture)?;
    fixture.kiln(["audit", "layout"]).run()?.assert_code(1);
    // What was read is remembered: the layers themselves are not needed again.
    let tool = Tree::new().file("usr/bin/tool", 0o755, program()).tar()?;
    let blob = fs::read_dir(layout.directory().join("blobs/sha256"))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| fs::read(path).is_ok_and(|bytes| bytes == tool))
        .ok_or("no layer")?;
    fs::write(&blob, b"damaged")?;
    fixture.kiln(["audit", "layout"]).run()?.assert_code(1);
    // Where nothing is remembered, damage is seen.
    let mut other = Fixture::new()?;
    other.set_state(fixture.directory().join("other-state"));
    let mut damaged = tool.clone();
    damaged[700] ^= 1;
    fs::write(&blob, &damaged)?;
    let path = layout.directory().display().to_string();
    other
        .kiln(["audit", &path])
        .run()?
        .assert_code(2)
        .assert_says(&["have the digest", "damaged"]);
    fs::write(&blob, &tool[..700])?;
    other
        .kiln(["audit", &path])
        .run()?
        .assert_code(2)
        .assert_says(&["failed to read layer"]);
    Ok(())
}
