//! What breaks on the way: killed builds, interrupted ones, registries that misbehave.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use kiln_testkit::{BaseImages, DockerRegistry, Fault, FaultProxy, Fixture, Program, Rule, TestResult, is_running};

/// Starts a build whose step sleeps for so many seconds, and waits until it does. Tests tell their sleeps apart by the number.
fn start_sleeping(fixture: &Fixture, seconds: u32) -> Result<Child, Box<dyn std::error::Error>> {
    let dockerfile = format!("FROM busybox\nRUN echo started && sleep {seconds}\n");
    fixture.context("sleeper", &[("Dockerfile", &dockerfile)])?;
    let mut command = fixture.command(["build", "--progress", "plain", "-o", "type=cacheonly", "sleeper"])?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stderr = std::io::BufReader::new(child.stderr.take().ok_or("no output")?);
    let mut line = String::new();
    while std::io::BufRead::read_line(&mut stderr, &mut line)? > 0 {
        // The log line of the step, not the line that shows its instruction.
        if line.contains("started") && !line.contains("RUN") {
            // Reading on keeps the build from blocking on a full pipe.
            std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
            return Ok(child);
        }
        line.clear();
    }
    Err("the build ended before its step started".into())
}

fn assert_nothing_left(fixture: &Fixture, seconds: u32) -> TestResult {
    let started = Instant::now();
    let running = || is_running(&format!("sleep {seconds}"));
    while running() && started.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!running(), "a step outlives its build");
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    assert!(!mounts.contains(&fixture.directory().display().to_string()), "{mounts}");
    Ok(())
}

#[test]
fn a_killed_build_leaves_a_store_that_works() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    for _ in 0..3 {
        let mut child = start_sleeping(&fixture, 2929)?;
        Program::new("kill")
            .args(["-KILL", &child.id().to_string()])
            .succeed()?;
        child.wait()?;
    }
    assert_nothing_left(&fixture, 2929)?;
    fixture.context("next", &[("Dockerfile", "FROM busybox\nRUN echo fine > /fine\n")])?;
    fixture.kiln(["build", "-o", "out", "next"]).run()?.assert_success();
    assert_eq!(fs::read_to_string(fixture.directory().join("out/fine"))?, "fine\n");
    Ok(())
}

#[test]
fn an_interrupted_build_stops_its_steps_and_exits_with_130() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let mut child = start_sleeping(&fixture, 2930)?;
    let interrupted = Instant::now();
    Program::new("kill").args(["-INT", &child.id().to_string()]).succeed()?;
    assert_eq!(child.wait()?.code(), Some(130));
    assert!(
        interrupted.elapsed() < Duration::from_secs(15),
        "{:?}",
        interrupted.elapsed()
    );
    assert_nothing_left(&fixture, 2930)?;
    fixture.context("next", &[("Dockerfile", "FROM busybox\nRUN echo fine > /fine\n")])?;
    fixture.kiln(["build", "-o", "out", "next"]).run()?.assert_success();
    Ok(())
}

#[test]
fn the_first_failure_stops_the_other_platforms() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = "FROM busybox\nRUN if [ $(uname -m) = x86_64 ]; then sleep 1; exit 3; else sleep 2828; fi\n";
    fixture.context("app", &[("Dockerfile", dockerfile)])?;
    let platforms = ["--platform", "linux/amd64,linux/arm64", "-o", "type=cacheonly"];
    let outcome = fixture
        .kiln(["build", "app"])
        .args(platforms)
        .limit(Duration::from_secs(60))
        .run()?;
    outcome.assert_code(1).assert_says(&["linux/amd64", "3"]);
    assert!(
        !is_running("sleep 2828") && !is_running("/bin/sleep 2828"),
        "the other platform's step goes on"
    );
    Ok(())
}

/// A fixture whose base images come through a proxy that misbehaves.
fn behind(rules: Vec<Rule>) -> Result<(Fixture, FaultProxy, kiln_testkit::StaticRegistry), Box<dyn std::error::Error>> {
    let registry = BaseImages::prepare()?.serve()?;
    let proxy = FaultProxy::start(&registry.address(), rules)?;
    let mut fixture = Fixture::new()?;
    fixture.mirror("docker.io", &proxy.address())?;
    fixture.context("app", &[("Dockerfile", "FROM busybox\nRUN echo fine > /fine\n")])?;
    Ok((fixture, proxy, registry))
}

fn on_blobs(times: usize, fault: Fault) -> Rule {
    Rule {
        method: "GET",
        path_contains: "/blobs/".to_owned(),
        times,
        fault,
    }
}

#[test]
fn a_corrupted_blob_never_enters_the_store() -> TestResult {
    // More often than anything is retried.
    let (fixture, proxy, _registry) = behind(vec![on_blobs(1000, Fault::Corrupt(700))])?;
    let outcome = fixture.kiln(["build", "-o", "out", "app"]).run()?;
    assert!(!outcome.status.success(), "a build on corrupted layers must fail");
    outcome.assert_says(&["sha256:"]);
    let mut wrong = Vec::new();
    check_blobs(fixture.state(), &mut wrong)?;
    assert_eq!(
        wrong,
        Vec::<String>::new(),
        "blobs whose name is not the digest of their bytes"
    );
    drop(proxy);
    Ok(())
}

/// Collects the files named by a SHA-256 whose content has another one.
fn check_blobs(directory: &std::path::Path, wrong: &mut Vec<String>) -> TestResult {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() {
            check_blobs(&path, wrong)?;
        } else if name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let sum = Program::new("sha256sum").args([&path]).succeed()?.stdout_text();
            if !sum.starts_with(&name) {
                wrong.push(path.display().to_string());
            }
        }
    }
    Ok(())
}

#[test]
fn a_broken_download_goes_on_where_it_stopped() -> TestResult {
    let (fixture, proxy, registry) = behind(vec![on_blobs(2, Fault::Cut(1000))])?;
    fixture.kiln(["build", "-o", "out", "app"]).run()?.assert_success();
    assert_eq!(proxy.faults_left(), 0, "both faults were met");
    assert_eq!(fs::read_to_string(fixture.directory().join("out/fine"))?, "fine\n");
    drop(registry);
    Ok(())
}

#[test]
fn refusals_that_pass_are_retried() -> TestResult {
    let manifests = Rule {
        method: "",
        path_contains: "/manifests/".to_owned(),
        times: 2,
        fault: Fault::Status(503, "try later".to_owned()),
    };
    let (fixture, proxy, _registry) = behind(vec![manifests, on_blobs(1, Fault::Close)])?;
    fixture.kiln(["build", "-o", "out", "app"]).run()?.assert_success();
    assert_eq!(proxy.faults_left(), 0, "every fault was met");
    Ok(())
}

#[test]
fn a_push_survives_a_reset() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let registry = DockerRegistry::start()?;
    let rule = |method, path: &str, fault| Rule {
        method,
        path_contains: path.to_owned(),
        times: 1,
        fault,
    };
    let proxy = FaultProxy::start(
        &registry.address(),
        vec![
            rule("POST", "/blobs/uploads", Fault::Status(503, "busy".to_owned())),
            rule("PUT", "/blobs/uploads", Fault::Close),
            rule("PUT", "/manifests/", Fault::Status(500, "oops".to_owned())),
        ],
    )?;
    let image = format!("{}/app:1", proxy.address());
    fixture.context("app", &[("Dockerfile", "FROM busybox\nCOPY Dockerfile /\n")])?;
    fixture
        .kiln(["build", "-t", &image, "--push", "app"])
        .run()?
        .assert_success();
    let copied = fixture.file_in_image(&format!("{}/app:1", registry.address()), "linux/amd64", "Dockerfile")?;
    assert!(copied.is_some_and(|text| text.starts_with("FROM busybox")));
    Ok(())
}

#[test]
fn two_builds_at_once_share_a_store() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = "FROM busybox\nRUN sleep 1; cat /proc/sys/kernel/random/uuid > /token\n";
    fixture.context("app", &[("Dockerfile", dockerfile)])?;
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let builds: Vec<_> = ["one", "two"]
            .map(|out| fixture.kiln(["build", "-o", out, "app"]))
            .into_iter()
            .map(|build| scope.spawn(move || build.run()))
            .collect();
        builds.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
    });
    for outcome in outcomes {
        outcome.map_err(|_| "a build panicked")??.assert_success();
    }
    let read = |out: &str| fs::read_to_string(fixture.directory().join(out).join("token"));
    assert_eq!(read("one")?, read("two")?, "the step ran in one of the two alone");
    Ok(())
}
