//! What bad input gets: for every way to be wrong, a message that says what is wrong, where, and what to do.

use std::fs;
use std::time::Duration;

use kiln_testkit::{
    Access, DockerRegistry, Fault, FaultProxy, Fixture, Outcome, Program, Rule, TestResult, skip_unless_root,
};

/// Builds a context that holds just this Dockerfile.
fn build(fixture: &Fixture, dockerfile: &str, flags: &[&str]) -> Result<Outcome, Box<dyn std::error::Error>> {
    let context = fixture.context("context", &[("Dockerfile", dockerfile)])?;
    Ok(fixture
        .kiln(["build", "--progress", "plain"])
        .args(flags)
        .args([context])
        .run()?)
}

#[test]
fn no_dockerfile() -> TestResult {
    let fixture = Fixture::new()?;
    fixture.context("empty", &[("main.go", "package main\n")])?;
    let outcome = fixture.kiln(["build", "empty"]).run()?;
    outcome.assert_code(2).assert_says(&["Dockerfile", "empty", "hint: "]);
    let outcome = fixture.kiln(["build", "-f", "empty/Other", "empty"]).run()?;
    outcome.assert_code(2).assert_says(&["empty/Other"]);
    Ok(())
}

#[test]
fn no_context() -> TestResult {
    let fixture = Fixture::new()?;
    fixture
        .kiln(["build", "nowhere"])
        .run()?
        .assert_code(2)
        .assert_says(&["nowhere"]);
    Ok(())
}

#[test]
fn a_syntax_error() -> TestResult {
    let fixture = Fixture::new()?;
    let outcome = build(&fixture, "FROM scratch\nENV broken\nCOPY a b\n", &[])?;
    // The file, the line, the lines around it and a mark under what is wrong.
    outcome
        .assert_code(2)
        .assert_says(&["Dockerfile:2", "FROM scratch", "ENV broken", "COPY a b", "^"]);
    Ok(())
}

#[test]
fn an_unknown_instruction() -> TestResult {
    let fixture = Fixture::new()?;
    let outcome = build(&fixture, "FROM scratch\nCPOY a b\n", &[])?;
    outcome.assert_code(2).assert_says(&["Dockerfile:2", "CPOY", "COPY"]);
    Ok(())
}

#[test]
fn an_unknown_flag() -> TestResult {
    let fixture = Fixture::new()?;
    let outcome = build(&fixture, "FROM scratch\nCOPY --form=build a b\n", &[])?;
    outcome
        .assert_code(2)
        .assert_says(&["Dockerfile:2", "--form", "--from"]);
    Ok(())
}

#[test]
fn an_unknown_stage_in_from_and_in_target() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = "FROM scratch AS compile\nCOPY Dockerfile /\nFROM scratch AS release\nCOPY --from=complie / /\n";
    let outcome = build(&fixture, dockerfile, &[])?;
    outcome
        .assert_code(2)
        .assert_says(&["Dockerfile:4", "complie", "did you mean compile?"]);
    let outcome = build(
        &fixture,
        "FROM scratch AS compile\nFROM scratch AS release\n",
        &["--target", "relaese"],
    )?;
    outcome.assert_code(2).assert_says(&["relaese", "compile", "release"]);
    Ok(())
}

#[test]
fn a_source_that_does_not_exist() -> TestResult {
    let fixture = Fixture::new()?;
    let outcome = build(&fixture, "FROM scratch\nCOPY missing.txt /\n", &[])?;
    outcome.assert_code(2).assert_says(&["Dockerfile:2", "missing.txt"]);
    assert!(!outcome.stderr.contains(".dockerignore"), "{}", outcome.stderr);
    Ok(())
}

#[test]
fn a_source_that_the_ignore_file_hides() -> TestResult {
    let fixture = Fixture::new()?;
    let context = [
        ("Dockerfile", "FROM scratch\nCOPY secret.txt /\n"),
        ("secret.txt", "x"),
        (".dockerignore", "*.txt\n"),
    ];
    fixture.context("ignored", &context)?;
    let outcome = fixture.kiln(["build", "ignored"]).run()?;
    outcome
        .assert_code(2)
        .assert_says(&["Dockerfile:2", "secret.txt", ".dockerignore", "*.txt"]);
    Ok(())
}

#[test]
fn a_base_image_that_does_not_exist() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let outcome = build(&fixture, "FROM scratch AS first\nFROM busybox:no-such-tag\n", &[])?;
    assert!(!outcome.status.success());
    outcome.assert_says(&["Dockerfile:2", "busybox:no-such-tag", "hint: "]);
    Ok(())
}

#[test]
fn a_base_image_without_the_platform() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let outcome = build(
        &fixture,
        "FROM alpine:3.20\nRUN true\n",
        &["--platform", "linux/amd64,linux/s390x"],
    )?;
    assert!(!outcome.status.success());
    outcome.assert_says(&[
        "Dockerfile:1",
        "FROM alpine:3.20",
        "linux/s390x",
        "linux/amd64",
        "linux/arm64",
        "linux/arm/v7",
        "hint: ",
    ]);
    Ok(())
}

#[test]
fn an_unknown_platform() -> TestResult {
    let fixture = Fixture::new()?;
    let outcome = build(&fixture, "FROM scratch\n", &["--platform", "linux/amd64,linux//v7"])?;
    outcome.assert_code(2).assert_says(&["linux//v7"]);
    let outcome = build(&fixture, "FROM scratch\n", &["--platform", "amd46"])?;
    outcome.assert_code(2).assert_says(&["amd46", "os/arch"]);
    Ok(())
}

#[test]
fn a_tag_written_as_a_digest() -> TestResult {
    let fixture = Fixture::new()?;
    let outcome = build(
        &fixture,
        "FROM scratch\n",
        &["-t", "registry.example/app@20250324-101500"],
    )?;
    // What a digest is, and the tag that was meant.
    outcome
        .assert_code(2)
        .assert_says(&["app@20250324-101500", "sha256:", "app:20250324-101500", "hint: "]);
    Ok(())
}

#[test]
fn no_permission_to_push() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let registry = DockerRegistry::start_with(Access::Password)?;
    let image = format!("{}/app:1", registry.address());
    let outcome = build(&fixture, "FROM scratch\nCOPY Dockerfile /\n", &["-t", &image, "--push"])?;
    assert!(!outcome.status.success());
    outcome.assert_says(&[&registry.address(), "authentication required", "hint: "]);

    let open = DockerRegistry::start()?;
    let refusal = r#"{"errors":[{"code":"DENIED","message":"the quota of team blue is used up"}]}"#;
    let fault = Fault::Status(403, refusal.to_owned());
    let rule = Rule {
        method: "POST",
        path_contains: "/blobs/uploads".to_owned(),
        times: 50,
        fault,
    };
    let proxy = FaultProxy::start(&open.address(), vec![rule])?;
    let image = format!("{}/app:1", proxy.address());
    let outcome = build(&fixture, "FROM scratch\nCOPY Dockerfile /\n", &["-t", &image, "--push"])?;
    assert!(!outcome.status.success());
    outcome.assert_says(&["the quota of team blue is used up", &proxy.address()]);
    Ok(())
}

#[test]
fn a_registry_that_cannot_be_reached() -> TestResult {
    let fixture = Fixture::new()?;
    // Nothing listens on this port: it belongs to the superuser and to no service.
    let outcome = build(
        &fixture,
        "FROM scratch\nCOPY Dockerfile /\n",
        &["-t", "127.0.0.1:9/app:1", "--push"],
    )?;
    assert!(!outcome.status.success());
    outcome.assert_says(&["127.0.0.1:9"]);
    let refused = outcome.stderr.to_lowercase();
    assert!(
        refused.contains("refused") || refused.contains("reach"),
        "{}",
        outcome.stderr
    );
    let outcome = build(&fixture, "FROM 127.0.0.1:9/base:1\n", &[])?;
    assert!(!outcome.status.success());
    outcome.assert_says(&["Dockerfile:1", "127.0.0.1:9"]);
    Ok(())
}

#[test]
fn a_step_that_fails() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = "FROM busybox\nRUN seq 1 100 && \\\n    echo the compiler is unhappy && \\\n    exit 42\n";
    let outcome = build(
        &fixture,
        dockerfile,
        &["--platform", "linux/arm64", "--progress", "quiet"],
    )?;
    outcome.assert_code(1).assert_says(&[
        "linux/arm64",
        "Dockerfile:2",
        "exit 42",
        "the compiler is unhappy",
        "42",
    ]);
    // The last twenty lines of the log: 82 to 100 and the sentence.
    let lines: Vec<&str> = outcome.stderr.lines().map(str::trim).collect();
    assert!(lines.iter().any(|line| line.ends_with("82")), "{}", outcome.stderr);
    assert!(!lines.contains(&"81"), "{}", outcome.stderr);
    Ok(())
}

#[test]
fn an_instruction_that_is_not_executed_yet_is_named() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let outcome = build(
        &fixture,
        "FROM busybox\nRUN --mount=type=secret,id=token cat /run/secrets/token\n",
        &[],
    )?;
    if outcome.status.success() {
        return Err("a build with a secret that was not given succeeded".into());
    }
    outcome.assert_says(&["Dockerfile:2"]);
    Ok(())
}

#[test]
fn a_full_disk() -> TestResult {
    if skip_unless_root("a_full_disk") {
        return Ok(());
    }
    let mut fixture = Fixture::with_base_images()?;
    let state = fixture.directory().join("small");
    fs::create_dir(&state)?;
    let mount = Mounted::tmpfs(&state, "24m")?;
    fixture.set_state(&state);
    let dockerfile = "FROM busybox\nRUN dd if=/dev/urandom of=/big bs=1M count=40\n";
    let outcome = build(&fixture, dockerfile, &[])?;
    assert!(!outcome.status.success());
    let said = outcome.stderr.to_lowercase();
    assert!(said.contains("no space left on device"), "{}", outcome.stderr);
    let outcome = build(&fixture, "FROM scratch\nCOPY Dockerfile /\n", &["-o", "type=cacheonly"])?;
    outcome.assert_success();
    drop(mount);
    Ok(())
}

/// A mount that goes away with this value.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn tmpfs(path: &std::path::Path, size: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let options = format!("size={size},mode=0755");
        Program::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .args([path])
            .succeed()?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let command = Program::new("umount")
            .args(["--lazy"])
            .args([&self.0])
            .limit(Duration::from_secs(20));
        let _ = command.run();
    }
}
