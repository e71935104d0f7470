//! Why steps ran, what would run, and what is kept of builds.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use kiln_testkit::{Fixture, OrdinaryUser, SubordinateIds, TestResult, skip_unless_root};
use serde_json::Value;

const DOCKERFILE: &str = "FROM busybox AS app\n\
    ARG VERSION\n\
    RUN echo first\n\
    COPY src /src\n\
    RUN echo $VERSION > /version\n\
    FROM scratch\n\
    COPY --from=app /version /version\n";

fn context(fixture: &Fixture) -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        ("Dockerfile", DOCKERFILE),
        ("src/a", "1"),
        ("src/run.sh", "#!/bin/sh\n"),
        ("src/old", "x"),
    ];
    fixture.context("app", &files)?;
    Ok(())
}

fn build(fixture: &Fixture, flags: &[&str]) -> TestResult {
    let outcome = fixture
        .kiln(["build", "-o", "type=cacheonly"])
        .args(flags)
        .args(["app"])
        .run()?;
    outcome.assert_success();
    Ok(())
}

/// What `kiln why` says about the step whose instruction is `name`.
fn why(fixture: &Fixture, name: &str) -> Result<Value, Box<dyn std::error::Error>> {
    let answer = fixture.kiln(["why", "--format", "json"]).succeed()?.json();
    let steps = answer["steps"].as_array().cloned().unwrap_or_default();
    let found = steps.into_iter().find(|step| step["name"] == name);
    Ok(found.ok_or_else(|| format!("no step `{name}` in {answer:#}"))?)
}

#[test]
fn files_are_named_by_what_happened_to_them() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    context(&fixture)?;
    build(&fixture, &[])?;
    assert_eq!(why(&fixture, "COPY src /src")?["reason"]["reason"], "no-record");
    build(&fixture, &[])?;
    let last = why(&fixture, "COPY --from=app /version /version")?;
    assert_eq!(
        (&last["outcome"], &last["hit"]),
        (&"cached".into(), &"definition".into())
    );
    assert_eq!(why(&fixture, "RUN echo first")?["hit"], "not-needed");

    let source = fixture.directory().join("app/src");
    fs::write(source.join("a"), "2")?;
    fs::write(source.join("new"), "n")?;
    fs::remove_file(source.join("old"))?;
    fs::set_permissions(source.join("run.sh"), fs::Permissions::from_mode(0o755))?;
    build(&fixture, &[])?;
    let copied = why(&fixture, "COPY src /src")?;
    let reason = &copied["reason"];
    assert_eq!(reason["reason"], "files-changed", "{copied:#}");
    assert_eq!(reason["source"], "src");
    assert_eq!(reason["changed"], serde_json::json!(["src/a"]));
    assert_eq!(reason["added"], serde_json::json!(["src/new"]));
    assert_eq!(reason["removed"], serde_json::json!(["src/old"]));
    let mode = serde_json::json!([{"path": "src/run.sh", "from": "644", "to": "755"}]);
    assert_eq!(reason["remoded"], mode);
    assert_eq!(why(&fixture, "RUN echo first")?["outcome"], "cached");

    // What ran because of it names it as the cause, and what takes an unchanged file from it did not run.
    let led = why(&fixture, "RUN echo $VERSION > /version")?;
    assert_eq!(led["reason"]["reason"], "parent-changed");
    assert_eq!(led["reason"]["root"]["step"], "COPY src /src");
    assert_eq!(led["chain"][0]["name"], "COPY src /src");
    let last = why(&fixture, "COPY --from=app /version /version")?;
    assert_eq!((&last["outcome"], &last["hit"]), (&"cached".into(), &"content".into()));
    let text = fixture.kiln(["why", "app/3"]).succeed()?.stdout_text();
    for line in [
        "mode     src/run.sh (644 → 755)",
        "added    src/new",
        "removed  src/old",
        "changed  src/a",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    Ok(())
}

#[test]
fn arguments_bases_edits_and_ignored_caches_are_causes() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    context(&fixture)?;
    build(&fixture, &["--build-arg", "VERSION=1.0"])?;
    build(&fixture, &["--build-arg", "VERSION=1.1"])?;
    let text = fixture.kiln(["why", "echo $VERSION"]).succeed()?.stdout_text();
    assert!(text.contains("VERSION changed: 1.0 → 1.1"), "{text}");

    build(&fixture, &["--no-cache-filter", "app"])?;
    assert_eq!(why(&fixture, "RUN echo first")?["reason"]["reason"], "cache-ignored");

    // A new instruction in the middle is the cause of what follows, and what follows is not taken for edited.
    fixture.context(
        "app",
        &[("Dockerfile", &DOCKERFILE.replace("COPY src", "RUN echo new\nCOPY src"))],
    )?;
    build(&fixture, &["--build-arg", "VERSION=1.1"])?;
    let copied = why(&fixture, "COPY src /src")?;
    assert_eq!(copied["reason"]["root"]["step"], "RUN echo new", "{copied:#}");

    fixture.context(
        "app",
        &[("Dockerfile", &DOCKERFILE.replace("echo first", "echo other"))],
    )?;
    build(&fixture, &["--build-arg", "VERSION=1.1"])?;
    let edited = why(&fixture, "RUN echo other")?;
    assert_eq!(edited["reason"]["reason"], "instruction-changed");
    assert_eq!(edited["reason"]["from"], "RUN echo first");

    fixture.context(
        "app",
        &[("Dockerfile", &DOCKERFILE.replace("FROM busybox", "FROM alpine:3.20"))],
    )?;
    build(&fixture, &["--build-arg", "VERSION=1.1"])?;
    let moved = why(&fixture, "RUN echo first")?;
    assert_eq!(moved["reason"]["reason"], "base-changed", "{moved:#}");
    let (from, to) = (moved["reason"]["from"].to_string(), moved["reason"]["to"].to_string());
    assert!(from.contains("busybox") && from.contains("@sha256:"), "{from}");
    assert!(to.contains("alpine:3.20") && to.contains("@sha256:"), "{to}");
    Ok(())
}

#[test]
fn secrets_are_never_shown() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = "FROM busybox\nARG API_TOKEN\nARG OTHER\nRUN --mount=type=secret,id=pass cat /run/secrets/pass\n";
    fixture.context("app", &[("Dockerfile", dockerfile)])?;
    fixture.write("pass", b"swordfish")?;
    for (token, other) in [("hunter2", "swordfish"), ("hunter3", "trout")] {
        let (token, other) = (format!("API_TOKEN={token}"), format!("OTHER={other}"));
        let flags = [
            "--secret",
            "id=pass,src=pass",
            "--build-arg",
            &token,
            "--build-arg",
            &other,
        ];
        let outcome = fixture
            .kiln(["build", "--explain", "-o", "type=cacheonly"])
            .args(flags)
            .args(["app"])
            .run()?;
        outcome.assert_success();
        assert!(
            !outcome.stderr.contains("hunter") && !outcome.stderr.contains("swordfish"),
            "{}",
            outcome.stderr
        );
    }
    let text = fixture.kiln(["why"]).succeed()?.stdout_text();
    assert!(text.contains("API_TOKEN changed; its value is not shown"), "{text}");
    assert!(text.contains("OTHER changed: *** → trout"), "{text}");
    // Nothing that is kept has it either.
    let store = fs::read(fixture.state().join("store.db"))?;
    let mut kept = String::from_utf8_lossy(&store).into_owned();
    for entry in fs::read_dir(fixture.state().join("history"))? {
        kept.push_str(&fs::read_to_string(entry?.path())?);
    }
    for value in ["hunter2", "hunter3", "swordfish"] {
        assert!(!kept.contains(value), "{value} is kept");
    }
    Ok(())
}

#[test]
fn a_plan_says_what_runs_and_runs_nothing() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    context(&fixture)?;
    let platforms = ["--platform", "linux/amd64,linux/arm64"];
    let plan = |flags: &[&str]| -> Result<Vec<Value>, Box<dyn std::error::Error>> {
        let outcome = fixture
            .kiln(["plan", "--format", "json"])
            .args(flags)
            .args(platforms)
            .args(["app"])
            .succeed()?;
        Ok(outcome.json()["steps"].as_array().cloned().unwrap_or_default())
    };
    let of = |steps: &[Value], name: &str, platform: &str| -> Value {
        let found = steps
            .iter()
            .find(|step| step["name"] == name && step["platform"] == platform);
        found.cloned().unwrap_or_default()
    };
    let first = plan(&[])?;
    let run = of(&first, "RUN echo first", "linux/arm64");
    assert_eq!(
        (&run["verdict"], &run["emulated"]),
        (&"run".into(), &true.into()),
        "{first:#?}"
    );
    assert_eq!(run["last_ms"], Value::Null);
    assert_eq!(of(&first, "RUN echo first", "linux/amd64")["emulated"], false);
    let history = fixture.kiln(["history", "ls", "-q"]).succeed()?.stdout_text();
    assert_eq!(history, "", "a plan is no build");

    build(&fixture, &platforms)?;
    let all_found = plan(&[])?;
    assert!(
        all_found.iter().all(|step| step["verdict"] == "cached"),
        "{all_found:#?}"
    );
    fs::write(fixture.directory().join("app/src/a"), "2")?;
    let changed = plan(&[])?;
    let copied = of(&changed, "COPY src /src", "linux/amd64");
    assert_eq!(
        copied["reason"]["changed"],
        serde_json::json!(["src/a"]),
        "{changed:#?}"
    );
    let version = of(&changed, "RUN echo $VERSION > /version", "linux/arm64");
    assert_eq!(version["verdict"], "run");
    assert!(version["last_ms"].as_u64().is_some_and(|last| last > 0), "{version:#}");
    let taken = of(&changed, "COPY --from=app /version /version", "linux/arm64");
    assert_eq!(taken["verdict"], "may-run", "the file may come out as it was");
    assert_eq!(of(&changed, "RUN echo first", "linux/amd64")["verdict"], "cached");
    // The plan was right.
    build(&fixture, &platforms)?;
    let ran = fixture.kiln(["why", "--format", "json"]).succeed()?.json();
    for step in ran["steps"].as_array().into_iter().flatten() {
        let name = step["name"].as_str().unwrap_or_default();
        let planned = of(&changed, name, step["platform"].as_str().unwrap_or_default());
        let expected: &[&str] = match planned["verdict"].as_str().unwrap_or_default() {
            "cached" => &["cached"],
            "run" => &["native", "emulated"],
            _ => &["cached", "native", "emulated"],
        };
        assert!(
            expected.contains(&step["outcome"].as_str().unwrap_or_default()),
            "{step:#} was planned as {planned:#}"
        );
    }
    let text = fixture
        .kiln(["plan"])
        .args(platforms)
        .args(["--no-cache", "app"])
        .succeed()?
        .stdout_text();
    assert!(
        text.contains("run emulated") && text.contains("on the critical path"),
        "{text}"
    );
    Ok(())
}

#[test]
fn builds_are_kept_with_their_logs_and_results() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let bad = "FROM busybox\nRUN echo spoken && false\n";
    fixture.context("app", &[("Dockerfile", "FROM busybox\nRUN echo well\n")])?;
    fixture.context("bad", &[("Dockerfile", bad)])?;
    let good = [
        "build",
        "-t",
        "example.test/app:1",
        "--iidfile",
        "iid",
        "-o",
        "type=oci,dest=app.tar",
        "app",
    ];
    fixture.kiln(good).run()?.assert_success();
    assert_eq!(fixture.kiln(["build", "bad"]).run()?.code(), Some(1));
    let listed = fixture.kiln(["history", "ls", "--format", "json"]).succeed()?.json();
    assert_eq!(listed[0]["status"], "failed");
    assert_eq!(
        (&listed[1]["status"], &listed[1]["name"]),
        (&"done".into(), &"example.test/app:1".into())
    );
    let shown = fixture.kiln(["history", "show", "--format", "json"]).succeed()?.json();
    let error = shown["error"].to_string();
    assert!(error.contains("RUN echo spoken"), "{error}");
    assert_eq!(
        fixture
            .kiln(["history", "logs", "latest", "echo spoken"])
            .succeed()?
            .stdout_text(),
        "spoken\n"
    );

    let older = fixture
        .kiln(["history", "inspect", "^1", "--format", "json"])
        .succeed()?
        .json();
    let id = older["id"].as_str().unwrap_or_default();
    assert_eq!(
        older["images"][0]["layers"].as_array().map(Vec::len),
        Some(2),
        "{older:#}"
    );
    assert_eq!(older["images"][0]["layers"][0]["base"], true);
    let instruction = older["images"][0]["layers"][1]["instruction"].to_string();
    assert!(instruction.contains("echo well"), "{instruction}");
    let digest = older["results"][0]["digest"].as_str().unwrap_or_default();
    assert!(digest.starts_with("sha256:"), "{older:#}");
    let text = fixture.kiln(["history", "show", id]).succeed()?.stdout_text();
    assert!(text.contains(digest) && text.contains("example.test/app:1"), "{text}");

    let none = fixture.kiln(["history", "show", "nothing"]).run()?;
    assert_eq!(none.code(), Some(2));
    assert!(none.stderr.contains("there is no build `nothing`"), "{}", none.stderr);
    fixture.kiln(["history", "rm", id]).succeed()?;
    assert_eq!(
        fixture
            .kiln(["history", "ls", "-q"])
            .succeed()?
            .stdout_text()
            .lines()
            .count(),
        1
    );
    fixture.kiln(["history", "rm", "--all"]).succeed()?;
    assert_eq!(fixture.kiln(["history", "show"]).run()?.code(), Some(2));
    Ok(())
}

#[test]
fn a_running_build_is_shown_and_a_killed_one_keeps_what_it_told() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = "FROM busybox\nRUN echo before\nRUN echo during && sleep 60\n";
    fixture.context("app", &[("Dockerfile", dockerfile)])?;
    let mut running = fixture
        .command(["build", "-o", "type=cacheonly", "app"])?
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let logs = fixture.kiln(["history", "logs"]).run()?.stdout_text();
        if logs.contains("during") {
            break;
        }
        assert!(Instant::now() < deadline, "the second step never spoke: {logs}");
        std::thread::sleep(Duration::from_millis(100));
    }
    let shown = |status: &str| -> TestResult {
        let record = fixture.kiln(["history", "show", "--format", "json"]).succeed()?.json();
        assert_eq!(record["status"], status, "{record:#}");
        let of = |name: &str| {
            record["steps"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|step| step["name"] == name)
                .cloned()
        };
        assert_eq!(of("RUN echo before").unwrap_or_default()["outcome"], "done");
        Ok(())
    };
    shown("running")?;
    let refused = fixture.kiln(["history", "rm", "latest"]).run()?;
    assert_eq!(refused.code(), Some(2), "{}", refused.stderr);
    running.kill()?;
    assert_eq!(running.wait()?.signal(), Some(9));
    shown("interrupted")?;
    let why = fixture.kiln(["why", "during"]).succeed()?.stdout_text();
    assert!(why.contains("interrupted") && why.contains("no record"), "{why}");
    fixture.kiln(["history", "rm", "latest"]).succeed()?;
    Ok(())
}

#[test]
fn an_evicted_record_is_told_from_none() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    context(&fixture)?;
    build(&fixture, &[])?;
    // The layers are lost, as if a disk had been cleared by hand; what is known of the steps is not.
    for kind in ["trees", "blobs/sha256"] {
        for entry in fs::read_dir(fixture.state().join(kind))? {
            let path = entry?.path();
            if path.is_dir() {
                fs::remove_dir_all(path)?;
            } else {
                fs::remove_file(path)?;
            }
        }
    }
    build(&fixture, &[])?;
    assert_eq!(why(&fixture, "RUN echo first")?["reason"]["reason"], "evicted");
    let text = fixture.kiln(["why", "echo first"]).succeed()?.stdout_text();
    assert!(text.contains("evicted"), "{text}");
    Ok(())
}

#[test]
fn a_hit_from_a_cache_names_the_cache_and_explains_later_misses() -> TestResult {
    let mut fixture = Fixture::with_base_images()?;
    context(&fixture)?;
    build(
        &fixture,
        &[
            "--build-arg",
            "VERSION=1",
            "--cache-to",
            "type=local,dest=cache,mode=max",
        ],
    )?;
    fixture.set_state(fixture.directory().join("another"));
    build(
        &fixture,
        &["--build-arg", "VERSION=1", "--cache-from", "type=local,src=cache"],
    )?;
    let last = why(&fixture, "COPY --from=app /version /version")?;
    assert_eq!(last["outcome"], "cached");
    assert!(
        last["cache"].as_str().is_some_and(|cache| cache.contains("cache")),
        "{last:#}"
    );
    let text = fixture.kiln(["why", "--", "--from=app"]).succeed()?.stdout_text();
    assert!(text.contains("cache ") && text.contains("by its definition"), "{text}");
    Ok(())
}

#[test]
fn files_of_mounts_and_edited_documents_are_causes() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let mounted = "RUN --mount=type=bind,source=src,target=/in --mount=type=bind,source=other,target=/out cat /in/a";
    let dockerfile = |word: &str| format!("FROM busybox\n{mounted}\nRUN <<EOF\necho {word}\nEOF\n");
    let files = |content: &str, word: &str| {
        let dockerfile = dockerfile(word);
        let files = [
            ("Dockerfile", dockerfile.as_str()),
            ("src/a", content),
            ("other/b", "1"),
        ];
        fixture.context("app", &files).map(drop)
    };
    files("1", "one")?;
    build(&fixture, &[])?;
    files("2", "one")?;
    build(&fixture, &[])?;
    let reason = why(&fixture, mounted)?["reason"].clone();
    assert_eq!(
        (&reason["reason"], &reason["changed"]),
        (&"files-changed".into(), &serde_json::json!(["src/a"]))
    );
    assert!(
        reason["source"].as_str().is_some_and(|source| source.contains("src")),
        "{reason:#}"
    );
    files("2", "two")?;
    build(&fixture, &[])?;
    let text = fixture.kiln(["why", "RUN <<EOF"]).succeed()?.stdout_text();
    assert!(
        text.contains("echo one") && text.contains("echo two"),
        "both texts are shown: {text}"
    );
    Ok(())
}

#[test]
fn an_ordinary_user_has_a_history_of_their_own() -> TestResult {
    if skip_unless_root("an_ordinary_user_has_a_history_of_their_own") {
        return Ok(());
    }
    let user = OrdinaryUser::create(SubordinateIds::Granted)?;
    let mut fixture = Fixture::with_base_images()?;
    fixture.binary_for_everyone()?;
    fixture.context("app", &[("Dockerfile", "FROM busybox\nRUN echo mine\n")])?;
    fixture
        .kiln_as(&user, ["build", "-o", "type=cacheonly", "app"])?
        .run()?
        .assert_success();
    let listed = fixture
        .kiln_as(&user, ["history", "ls", "--format", "json"])?
        .succeed()?
        .json();
    assert_eq!(listed[0]["status"], "done", "{listed:#}");
    let logs = fixture
        .kiln_as(&user, ["history", "logs", "latest", "mine"])?
        .succeed()?
        .stdout_text();
    assert_eq!(logs, "mine\n");
    fixture.kiln_as(&user, ["history", "rm", "latest"])?.succeed()?;
    Ok(())
}
