//! Caches on registries and in directories: another machine, which has nothing, runs nothing again.

#![expect(clippy::print_stdout, reason = "a test says why it is skipped")]

use std::fs;
use std::path::Path;

use kiln_testkit::{CacheService, DockerRegistry, Fixture, MotoServer, Outcome, Program, TOKEN, TestResult};
use serde_json::Value;

const STAMP: &str = "cat /proc/sys/kernel/random/uuid";

/// A build with a stage that no image has layers of, and steps that show whether they ran again.
fn context(fixture: &Fixture) -> TestResult {
    let dockerfile = format!(
        "FROM --platform=$BUILDPLATFORM busybox AS build\nCOPY source /source\nRUN {STAMP} > /built && cat /source >> /built\n\
         FROM alpine:3.20\nRUN {STAMP} > /token\nCOPY --from=build /built /built\nCOPY source /source\n"
    );
    fixture.context("app", &[("Dockerfile", &dockerfile), ("source", "1\n")])?;
    Ok(())
}

const PLATFORMS: [&str; 2] = ["--platform", "linux/amd64,linux/arm64"];

fn build(fixture: &Fixture, arguments: &[&str]) -> Result<Outcome, Box<dyn std::error::Error>> {
    let all = ["build", "--progress", "rawjson"]
        .iter()
        .chain(&PLATFORMS)
        .chain(arguments);
    let outcome = fixture.kiln(all.chain(&["app"])).run()?;
    outcome.assert_success();
    Ok(outcome)
}

fn events(outcome: &Outcome) -> Vec<Value> {
    outcome
        .stderr
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// Names of the steps that ran.
fn ran(outcome: &Outcome) -> Vec<String> {
    let events = events(outcome);
    let name = |vertex: &Value| {
        let planned = events
            .iter()
            .find(|event| event["event"] == "step-planned" && event["vertex"] == *vertex);
        planned
            .and_then(|event| event["meta"]["name"].as_str())
            .unwrap_or_default()
            .to_owned()
    };
    let started = events.iter().filter(|event| event["event"] == "step-started");
    started.map(|event| name(&event["vertex"])).collect()
}

/// Blobs that went over the network in one direction.
fn moved(outcome: &Outcome, kind: &str) -> usize {
    let mut digests: Vec<String> = events(outcome)
        .iter()
        .filter(|event| event["event"] == "progress" && event["kind"] == kind)
        .map(|event| event["digest"].to_string())
        .collect();
    digests.sort_unstable();
    digests.dedup();
    digests.len()
}

fn another_machine(fixture: &mut Fixture, name: &str) {
    let state = fixture.directory().join(name);
    fixture.set_state(state);
}

#[test]
fn a_second_machine_runs_nothing_and_moves_manifests_only() -> TestResult {
    let mut fixture = Fixture::with_base_images()?;
    let registry = DockerRegistry::start()?;
    context(&fixture)?;
    let cache = format!("type=registry,ref={}/app:cache,mode=max", registry.address());
    let image = |tag: &str| format!("{}/app:{tag}", registry.address());
    let first = build(&fixture, &["--cache-to", &cache, "-t", &image("1"), "--push"])?;
    assert_eq!(ran(&first).len(), 8, "{:?}", ran(&first));
    another_machine(&mut fixture, "second");
    let second = build(&fixture, &["--cache-from", &cache, "-t", &image("2"), "--push"])?;
    assert_eq!(ran(&second), Vec::<String>::new());
    assert_eq!(moved(&second, "pull"), 0, "no layer is needed here");
    assert_eq!(
        fixture.raw_manifest(&image("1"))?,
        fixture.raw_manifest(&image("2"))?,
        "the same images"
    );
    // Something that must run on a cached layer fetches it, and what follows from it is right.
    let dockerfile =
        fs::read_to_string(fixture.directory().join("app/Dockerfile"))? + "RUN cat /built /token > /both\n";
    fixture.write("app/Dockerfile", dockerfile.as_bytes())?;
    another_machine(&mut fixture, "third");
    let third = build(&fixture, &["--cache-from", &cache, "-t", &image("3"), "--push"])?;
    assert_eq!(ran(&third).len(), 2, "one step for each platform: {:?}", ran(&third));
    for platform in ["linux/amd64", "linux/arm64"] {
        let read = |tag: &str, path: &str| fixture.file_in_image(&image(tag), platform, path);
        let expected = format!(
            "{}{}",
            read("1", "built")?.unwrap_or_default(),
            read("1", "token")?.unwrap_or_default()
        );
        assert_eq!(read("3", "both")?, Some(expected), "{platform}");
    }
    Ok(())
}

#[test]
fn a_directory_is_a_cache_and_an_oci_layout() -> TestResult {
    let mut fixture = Fixture::with_base_images()?;
    context(&fixture)?;
    build(&fixture, &["--cache-to", "type=local,dest=cache,mode=max", "-o", "one"])?;
    let listed = Program::new("umoci")
        .args(["list", "--layout"])
        .args([fixture.directory().join("cache")]);
    assert_eq!(listed.succeed()?.stdout_text(), "latest\n");
    for entry in fs::read_dir(fixture.directory().join("cache/blobs/sha256"))?.flatten() {
        let sum = Program::new("sha256sum").args([entry.path()]).succeed()?.stdout_text();
        assert!(sum.starts_with(&*entry.file_name().to_string_lossy()), "{sum}");
    }
    another_machine(&mut fixture, "second");
    let second = build(&fixture, &["--cache-from", "type=local,src=cache", "-o", "two"])?;
    assert_eq!(ran(&second), Vec::<String>::new());
    for file in ["linux_amd64/token", "linux_arm64/token", "linux_arm64/built"] {
        let read = |out: &str| fs::read_to_string(fixture.directory().join(out).join(file));
        assert_eq!(read("one")?, read("two")?, "{file}");
    }
    // From one cache into another, on a machine that has neither layers nor reason to fetch more than it passes on.
    another_machine(&mut fixture, "third");
    let arguments = [
        "--cache-from",
        "type=local,src=cache",
        "--cache-to",
        "type=local,dest=copy,mode=max",
        "-o",
        "three",
    ];
    build(&fixture, &arguments)?;
    another_machine(&mut fixture, "fourth");
    let fourth = build(&fixture, &["--cache-from", "type=local,src=copy", "-o", "four"])?;
    assert_eq!(ran(&fourth), Vec::<String>::new());
    Ok(())
}

#[test]
fn the_least_cache_knows_the_images_own_steps() -> TestResult {
    let mut fixture = Fixture::with_base_images()?;
    context(&fixture)?;
    build(&fixture, &["--cache-to", "type=local,dest=cache", "-o", "one"])?;
    another_machine(&mut fixture, "second");
    fixture.write("app/source", b"2\n")?;
    let second = build(&fixture, &["--cache-from", "type=local,src=cache", "-o", "two"])?;
    let ran = ran(&second);
    assert!(
        !ran.iter().any(|name| name.contains("/token")),
        "a step of the image: {ran:?}"
    );
    assert!(
        ran.iter().any(|name| name.contains("/built &&")),
        "a step of another stage: {ran:?}"
    );
    Ok(())
}

#[test]
fn an_image_carries_its_own_cache() -> TestResult {
    let mut fixture = Fixture::with_base_images()?;
    let registry = DockerRegistry::start()?;
    context(&fixture)?;
    let image = format!("{}/app:1", registry.address());
    build(
        &fixture,
        &["--build-arg", "BUILDKIT_INLINE_CACHE=1", "-t", &image, "--push"],
    )?;
    another_machine(&mut fixture, "second");
    let second = build(&fixture, &["--cache-from", &image, "-o", "type=cacheonly"])?;
    assert_eq!(ran(&second), Vec::<String>::new());
    // An image that carries none is no error.
    let plain = format!("{}/app:plain", registry.address());
    build(&fixture, &["-t", &plain, "--push"])?;
    another_machine(&mut fixture, "third");
    let third = build(&fixture, &["--cache-from", &plain, "-o", "type=cacheonly"])?;
    assert!(!ran(&third).is_empty());
    assert!(!third.stderr.contains("warning"), "{}", third.stderr);
    Ok(())
}

#[test]
fn two_builders_write_one_reference_at_the_same_time() -> TestResult {
    let mut fixture = Fixture::with_base_images()?;
    let registry = DockerRegistry::start()?;
    context(&fixture)?;
    for round in 0..4 {
        let cache = format!("type=registry,ref={}/app:cache{round},mode=max", registry.address());
        let mut builders = Vec::new();
        for platform in ["linux/amd64", "linux/arm64"] {
            another_machine(&mut fixture, &format!("{}-{round}", platform.replace('/', "-")));
            let arguments = [
                "build",
                "--platform",
                platform,
                "--cache-to",
                &cache,
                "-o",
                "type=cacheonly",
                "app",
            ];
            let mut command = fixture.command(arguments)?;
            command.stderr(std::process::Stdio::null());
            builders.push(command.spawn()?);
        }
        for mut builder in builders {
            assert!(builder.wait()?.success());
        }
        another_machine(&mut fixture, &format!("third-{round}"));
        let third = build(&fixture, &["--cache-from", &cache, "-o", "type=cacheonly"])?;
        assert_eq!(ran(&third), Vec::<String>::new(), "both kept their records");
    }
    Ok(())
}

/// What two machines do with any place that a cache can be in.
fn share(fixture: &mut Fixture, from: &str, to: &str) -> TestResult {
    context(fixture)?;
    // Large enough to be sent in several blocks.
    let large: Vec<u8> = (0..40_u32 << 20)
        .map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    fixture.write("app/large", &large)?;
    let dockerfile = fs::read_to_string(fixture.directory().join("app/Dockerfile"))? + "COPY large /large\n";
    fixture.write("app/Dockerfile", dockerfile.as_bytes())?;
    build(fixture, &["--cache-to", to, "-o", "one"])?.assert_success();
    another_machine(fixture, "second");
    let second = build(fixture, &["--cache-from", from, "-o", "two"])?;
    assert!(!second.stderr.contains("warning"), "{}", second.stderr);
    assert_eq!(ran(&second), Vec::<String>::new());
    for file in [
        "linux_amd64/token",
        "linux_arm64/token",
        "linux_arm64/built",
        "linux_arm64/large",
    ] {
        let read = |out: &str| fs::read(fixture.directory().join(out).join(file));
        assert!(read("one")? == read("two")?, "{file}");
    }
    Ok(())
}

#[test]
fn the_cache_service_of_github_actions_is_a_cache() -> TestResult {
    let mut fixture = Fixture::with_base_images()?;
    let service = CacheService::start()?;
    fixture.set_env("ACTIONS_RESULTS_URL", &service.url());
    fixture.set_env("ACTIONS_RUNTIME_TOKEN", TOKEN);
    service.refuse(3);
    share(&mut fixture, "type=gha", "type=gha,mode=max")?;
    assert!(service.requests().iter().any(|request| request.contains("/blob/")));
    let states = |service: &CacheService| {
        service
            .keys()
            .iter()
            .filter(|key| key.starts_with("kiln-index-"))
            .count()
    };
    assert_eq!(states(&service), 1);
    // What is known already is not sent again; another scope is another cache.
    let sent = service.keys().len();
    build(
        &fixture,
        &[
            "--cache-from",
            "type=gha",
            "--cache-to",
            "type=gha,mode=max",
            "-o",
            "type=cacheonly",
        ],
    )?;
    assert!(service.keys().len() <= sent + 1, "{:?}", service.keys());
    another_machine(&mut fixture, "third");
    let third = build(
        &fixture,
        &["--cache-from", "type=gha,scope=other", "-o", "type=cacheonly"],
    )?;
    assert!(!ran(&third).is_empty());
    // A token that is not valid is a warning.
    fixture.set_env("ACTIONS_RUNTIME_TOKEN", "wrong");
    another_machine(&mut fixture, "fourth");
    let fourth = build(&fixture, &["--cache-from", "type=gha", "-o", "type=cacheonly"])?;
    assert!(fourth.stderr.contains("answered 401"), "{}", fourth.stderr);
    Ok(())
}

#[test]
fn a_bucket_is_a_cache() -> TestResult {
    if let Some(reason) = MotoServer::missing() {
        println!("skipped: a_bucket_is_a_cache: {reason}");
        return Ok(());
    }
    let mut fixture = Fixture::with_base_images()?;
    let server = MotoServer::start("builds")?;
    fixture.set_env("AWS_ACCESS_KEY_ID", "id");
    fixture.set_env("AWS_SECRET_ACCESS_KEY", "secret");
    let place = format!(
        "type=s3,bucket=builds,region=us-east-1,endpoint_url={},prefix=kiln/",
        server.url()
    );
    share(&mut fixture, &place, &format!("{place},mode=max"))?;
    let missing = place.replace("bucket=builds", "bucket=nowhere");
    another_machine(&mut fixture, "third");
    let outcome = build(&fixture, &["--cache-to", &missing, "-o", "type=cacheonly"])?;
    assert!(
        outcome.stderr.contains("failed to write the cache"),
        "{}",
        outcome.stderr
    );
    Ok(())
}

#[test]
fn cache_mounts_travel_when_they_are_asked_to() -> TestResult {
    let mut fixture = Fixture::with_base_images()?;
    let registry = DockerRegistry::start()?;
    let dockerfile = |step: &str| {
        format!(
            "FROM busybox\nRUN --mount=type=cache,target=/c --mount=type=cache,id=own,target=/o,uid=12,mode=0700 \
             echo {step} >> /c/log; cat /c/log > /log; stat -c '%u %a' /o > /owner; touch /o/kept; ls /o > /kept\n"
        )
    };
    let cache = format!("type=registry,ref={}/app:cache", registry.address());
    let read = |fixture: &Fixture, path: &str| fs::read_to_string(fixture.directory().join(path));
    for (step, to) in [("one", cache.clone()), ("two", format!("{cache},mounts=true"))] {
        another_machine(&mut fixture, step);
        fixture.context("app", &[("Dockerfile", &dockerfile(step))])?;
        build(&fixture, &["--cache-from", &cache, "--cache-to", &to, "-o", step])?;
    }
    assert_eq!(
        read(&fixture, "two/linux_amd64/log")?.lines().next(),
        Some("two"),
        "not unless they are asked to"
    );
    another_machine(&mut fixture, "three");
    fixture.context("app", &[("Dockerfile", &dockerfile("three"))])?;
    let third = build(&fixture, &["--cache-from", &cache, "-o", "three"])?;
    assert!(!third.stderr.contains("warning"), "{}", third.stderr);
    let log = read(&fixture, "three/linux_amd64/log")?;
    assert!(log.starts_with("two\n") && log.ends_with("three\n"), "{log}");
    assert_eq!(read(&fixture, "three/linux_arm64/owner")?, "12 700\n");
    assert_eq!(read(&fixture, "three/linux_arm64/kept")?, "kept\n");
    // A mount that is too large stays where it is.
    another_machine(&mut fixture, "four");
    let small = "type=local,dest=small,mounts=true,mounts-max=1";
    build(&fixture, &["--cache-to", small, "-o", "four"])?;
    another_machine(&mut fixture, "five");
    fixture.context("app", &[("Dockerfile", &dockerfile("five"))])?;
    build(&fixture, &["--cache-from", "type=local,src=small", "-o", "five"])?;
    assert!(!read(&fixture, "five/linux_amd64/log")?.contains("three"));
    Ok(())
}

#[test]
fn a_cache_that_fails_never_fails_a_build() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    context(&fixture)?;
    fs::create_dir(fixture.directory().join("broken"))?;
    fs::write(fixture.directory().join("broken/index.json"), "{")?;
    fixture.write("file", b"in the way")?;
    for (flag, value, said) in [
        (
            "--cache-from",
            "type=registry,ref=127.0.0.1:1/app:cache",
            "failed to read the cache",
        ),
        (
            "--cache-to",
            "type=registry,ref=127.0.0.1:1/app:cache",
            "failed to write the cache",
        ),
        (
            "--cache-from",
            "type=local,src=broken",
            "failed to read the cache `broken`",
        ),
        ("--cache-to", "type=local,dest=file/below", "failed to write the cache"),
    ] {
        let arguments = ["build", "--no-cache", flag, value, "-o", "out", "app"];
        let outcome = fixture.kiln(arguments).run()?;
        outcome.assert_success();
        if flag == "--cache-to" {
            outcome.assert_says(&[said]);
        }
    }
    // With the cache ignored nothing is looked up; without, the warning is told.
    let mut fresh = Fixture::with_base_images()?;
    context(&fresh)?;
    let state = fresh.directory().join("fresh");
    fresh.set_state(state);
    let outcome = fresh
        .kiln([
            "build",
            "--cache-from",
            "type=registry,ref=127.0.0.1:1/app:cache",
            "-o",
            "out",
            "app",
        ])
        .run()?;
    outcome
        .assert_success()
        .assert_says(&["failed to read the cache", "goes on without it"]);
    assert!(Path::new(&fresh.directory().join("out/token")).exists());
    let outcome = fixture.kiln(["build", "--cache-to", "type=tape", "app"]).run()?;
    outcome.assert_code(2).assert_says(&["type=registry"]);
    Ok(())
}

/// The media types of the layers that a cache in a layout has and that its manifest names, by their number.
fn layer_types(fixture: &Fixture, directory: &str) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let mut types = Vec::new();
    for entry in fs::read_dir(fixture.directory().join(directory).join("blobs/sha256"))?.flatten() {
        let Ok(manifest) = serde_json::from_slice::<Value>(&fs::read(entry.path())?) else {
            continue;
        };
        let layers = manifest["layers"].as_array().into_iter().flatten();
        types.extend(layers.filter_map(|layer| layer["mediaType"].as_str().map(str::to_owned)));
    }
    types.retain(|name| name.contains("image.layer"));
    types.sort();
    types.dedup();
    Ok(types)
}

#[test]
fn how_a_cache_is_compressed_does_not_show_in_images() -> TestResult {
    let mut fixture = Fixture::with_base_images()?;
    context(&fixture)?;
    let image = |out: &str| format!("type=oci,dest={out}.tar");
    let manifest = |fixture: &Fixture, out: &str| -> Result<String, Box<dyn std::error::Error>> {
        let archive = fixture.directory().join(format!("{out}.tar"));
        let index = Program::new("tar").args(["-xOf"]).args([archive]).args(["index.json"]);
        Ok(index.succeed()?.stdout_text())
    };
    build(
        &fixture,
        &["--cache-to", "type=local,dest=usual,mode=max", "-o", &image("one")],
    )?;
    const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    assert_eq!(
        layer_types(&fixture, "usual")?,
        [GZIP, ZSTD],
        "of images, and of other stages"
    );
    let forced = "type=local,dest=forced,mode=max,compression=zstd,compression-level=1,force-compression=true";
    build(&fixture, &["--cache-to", forced, "-o", &image("again")])?;
    assert_eq!(layer_types(&fixture, "forced")?, [ZSTD]);
    assert_eq!(manifest(&fixture, "again")?, manifest(&fixture, "one")?);
    another_machine(&mut fixture, "second");
    let second = build(
        &fixture,
        &["--cache-from", "type=local,src=forced", "-o", &image("two")],
    )?;
    assert_eq!(ran(&second), Vec::<String>::new());
    assert_eq!(manifest(&fixture, "two")?, manifest(&fixture, "one")?);
    Ok(())
}
