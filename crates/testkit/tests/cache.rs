//! What runs again and what does not. Every step here leaves a random name, so that a step that ran twice shows.

#![expect(clippy::print_stdout, reason = "a test says what it could not check")]

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use kiln_testkit::{Fixture, Program, TestResult};

const TOKEN: &str = "cat /proc/sys/kernel/random/uuid";

fn read(fixture: &Fixture, path: &str) -> std::io::Result<String> {
    fs::read_to_string(fixture.directory().join(path))
}

#[test]
fn a_second_build_runs_nothing() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = format!("FROM alpine:3.20\nCOPY file /\nRUN {TOKEN} > /token\nRUN {TOKEN} > /other\n");
    fixture.context("app", &[("Dockerfile", &dockerfile), ("file", "1")])?;
    for out in ["first", "second"] {
        let platforms = "linux/amd64,linux/arm64";
        fixture
            .kiln(["build", "--platform", platforms, "-o", out, "app"])
            .run()?
            .assert_success();
    }
    for platform in ["linux_amd64", "linux_arm64"] {
        for file in ["token", "other"] {
            let (first, second) = (format!("first/{platform}/{file}"), format!("second/{platform}/{file}"));
            assert_eq!(read(&fixture, &first)?, read(&fixture, &second)?, "{platform} {file}");
        }
    }
    let (amd64, arm64) = (
        read(&fixture, "first/linux_amd64/token")?,
        read(&fixture, "first/linux_arm64/token")?,
    );
    assert_ne!(amd64, arm64, "a step of the target platform runs for each");
    Ok(())
}

#[test]
fn a_stage_on_the_build_platform_runs_once() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = format!(
        "FROM --platform=$BUILDPLATFORM busybox AS build\nRUN {TOKEN} > /token && uname -m > /machine\n\
         FROM busybox\nCOPY --from=build /token /machine /\n"
    );
    fixture.context("app", &[("Dockerfile", &dockerfile)])?;
    fixture
        .kiln(["build", "--platform", "linux/amd64,linux/arm64", "-o", "out", "app"])
        .run()?
        .assert_success();
    assert_eq!(
        read(&fixture, "out/linux_amd64/token")?,
        read(&fixture, "out/linux_arm64/token")?
    );
    assert_eq!(
        read(&fixture, "out/linux_arm64/machine")?,
        read(&fixture, "out/linux_amd64/machine")?
    );
    Ok(())
}

#[test]
fn a_changed_file_runs_what_follows_and_nothing_before() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile =
        format!("FROM busybox\nRUN {TOKEN} > /before\nCOPY source /source\nRUN {TOKEN} > /after\nCOPY last /last\n");
    let context = |source: &str| {
        fixture.context(
            "app",
            &[
                ("Dockerfile", &dockerfile),
                ("source", source),
                ("last", "z"),
                ("unused", source),
            ],
        )
    };
    context("1")?;
    fixture.kiln(["build", "-o", "one", "app"]).run()?.assert_success();
    context("2")?;
    fixture.kiln(["build", "-o", "two", "app"]).run()?.assert_success();
    assert_eq!(read(&fixture, "one/before")?, read(&fixture, "two/before")?);
    assert_ne!(read(&fixture, "one/after")?, read(&fixture, "two/after")?);
    assert_eq!(read(&fixture, "two/source")?, "2");
    // Back to the first content: nothing runs, because the content is the key and not the time of the file.
    context("1")?;
    fixture.kiln(["build", "-o", "three", "app"]).run()?.assert_success();
    assert_eq!(read(&fixture, "one/after")?, read(&fixture, "three/after")?);
    Ok(())
}

#[test]
fn an_argument_changes_what_uses_it() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = format!("FROM busybox\nRUN {TOKEN} > /before\nARG VERSION\nRUN {TOKEN} > /after\n");
    fixture.context("app", &[("Dockerfile", &dockerfile)])?;
    for (out, version) in [("one", "VERSION=1"), ("two", "VERSION=2"), ("again", "VERSION=1")] {
        fixture
            .kiln(["build", "--build-arg", version, "-o", out, "app"])
            .run()?
            .assert_success();
    }
    assert_eq!(read(&fixture, "one/before")?, read(&fixture, "two/before")?);
    assert_ne!(read(&fixture, "one/after")?, read(&fixture, "two/after")?);
    assert_eq!(read(&fixture, "one/after")?, read(&fixture, "again/after")?);
    Ok(())
}

#[test]
fn without_the_cache_everything_runs() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    fixture.context(
        "app",
        &[("Dockerfile", &format!("FROM busybox\nRUN {TOKEN} > /token\n"))],
    )?;
    fixture.kiln(["build", "-o", "one", "app"]).run()?.assert_success();
    fixture
        .kiln(["build", "--no-cache", "-o", "two", "app"])
        .run()?
        .assert_success();
    assert_ne!(read(&fixture, "one/token")?, read(&fixture, "two/token")?);
    Ok(())
}

#[test]
fn layers_of_a_base_image_are_fetched_once() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    fixture.context("app", &[("Dockerfile", "FROM busybox\nRUN true\n")])?;
    fixture
        .kiln(["build", "-o", "type=cacheonly", "app"])
        .run()?
        .assert_success();
    let blobs = |fixture: &Fixture| {
        fixture
            .base_image_requests()
            .iter()
            .filter(|line| line.starts_with("GET") && line.contains("/blobs/"))
            .count()
    };
    let first = blobs(&fixture);
    assert!(
        first >= 2,
        "the configuration and the layer: {:?}",
        fixture.base_image_requests()
    );
    fixture.context("app", &[("Dockerfile", "FROM busybox\nRUN echo another step\n")])?;
    fixture
        .kiln(["build", "-o", "type=cacheonly", "app"])
        .run()?
        .assert_success();
    assert_eq!(blobs(&fixture), first, "{:?}", fixture.base_image_requests());
    Ok(())
}

#[test]
fn the_same_files_give_the_same_digest_in_another_store() -> TestResult {
    let mut fixture = Fixture::with_base_images()?;
    let dockerfile = "FROM busybox\nCOPY --chown=5:6 tree /tree\nCOPY run.sh /usr/local/bin/run\n";
    let mut digests = Vec::new();
    for round in ["one", "two"] {
        // The same content in another directory, written at another time.
        let context = fixture.context(
            round,
            &[
                ("Dockerfile", dockerfile),
                ("tree/a/b", "1"),
                ("tree/c", "2"),
                ("run.sh", "#!/bin/sh\n"),
            ],
        )?;
        fixture.set_state(fixture.directory().join(format!("state-{round}")));
        let iid = format!("{round}.iid");
        let platforms = [
            "--platform",
            "linux/amd64,linux/arm64",
            "-o",
            "type=image,name=example.test/app:1",
        ];
        fixture
            .kiln(["build", "--iidfile", &iid])
            .args(platforms)
            .args([context])
            .run()?
            .assert_success();
        digests.push(read(&fixture, &iid)?);
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
    assert!(digests[0].starts_with("sha256:"), "{digests:?}");
    assert_eq!(digests[0], digests[1]);
    Ok(())
}

/// The names of the layers of an archive's images.
fn blobs(fixture: &Fixture, archive: &str) -> Result<String, Box<dyn std::error::Error>> {
    let path = fixture.directory().join(archive);
    Ok(Program::new("tar").args(["-tf"]).args([path]).succeed()?.stdout_text())
}

/// Sets the time of the last reading far back.
fn forget_reading(path: &Path) -> TestResult {
    let touch = Program::new("touch").args(["-a", "-d", "2001-01-01"]).args([path]);
    touch.succeed()?;
    Ok(())
}

fn was_read(path: &Path) -> std::io::Result<bool> {
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    Ok(fs::metadata(path)?.accessed()? > long_ago)
}

#[test]
fn a_layer_that_was_made_from_an_earlier_one_has_the_bytes_of_a_first_build() -> TestResult {
    let mut fixture = Fixture::with_base_images()?;
    // Times of steps would give other bytes in each build.
    let dockerfile =
        "FROM busybox\nCOPY files /files\nRUN head -c 3000000 /dev/zero > /large && cat /files/2* > /some-of-them\n";
    let line = |seed: usize| format!("{seed} {} some words\n", seed.wrapping_mul(2_654_435_761) % 1_000_003);
    let text = |seed: usize| -> String { (0..900).map(|at| line(seed * 1000 + at)).collect() };
    fixture.context("app", &[("Dockerfile", dockerfile)])?;
    for file in 0..300 {
        fixture.write(&format!("app/files/{file:03}"), text(file).as_bytes())?;
    }
    let build = |fixture: &Fixture, out: &str| -> TestResult {
        let output = format!("type=oci,dest={out}");
        let arguments = ["build", "--build-arg", "SOURCE_DATE_EPOCH=1", "-o", &output, "app"];
        fixture.kiln(arguments).run()?.assert_success();
        Ok(())
    };
    let lists = fixture.state().join("members");
    build(&fixture, "first.tar")?;
    assert!(fs::read_dir(&lists)?.count() >= 2, "of each packed layer");
    fixture.write("app/files/200", text(1_000_000).as_bytes())?;
    fixture.write("app/files/100~", text(2_000_000).as_bytes())?;
    let probe = fixture.write("probe", b"read")?;
    for path in fs::read_dir(fixture.state().join("blobs/sha256"))?
        .flatten()
        .map(|blob| blob.path())
    {
        forget_reading(&path)?;
    }
    build(&fixture, "second.tar")?;
    forget_reading(&probe)?;
    fs::read(&probe)?;
    if was_read(&probe)? {
        let (first, second) = (blobs(&fixture, "first.tar")?, blobs(&fixture, "second.tar")?);
        let replaced = first.lines().filter(|name| !second.contains(name));
        let mut read = 0;
        for name in replaced {
            // Manifests and configurations are in the archive alone.
            let path = fixture.state().join(name);
            let is_layer = fs::metadata(&path).is_ok_and(|metadata| metadata.len() > 100_000);
            read += usize::from(is_layer && was_read(&path)?);
        }
        assert_eq!(read, 2, "both layers were made from what they replace");
    } else {
        println!("not checked that members are copied: this file system does not note when a file is read");
    }
    // A blob that was damaged meanwhile is nothing to take members from.
    for blob in fs::read_dir(fixture.state().join("blobs/sha256"))?.flatten() {
        let mut bytes = fs::read(blob.path())?;
        if bytes.len() > 100_000 {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::remove_file(blob.path())?;
            fs::write(blob.path(), bytes)?;
        }
    }
    fixture.write("app/files/200", text(3_000_000).as_bytes())?;
    build(&fixture, "third.tar")?;
    let elsewhere = fixture.directory().join("elsewhere");
    fixture.set_state(elsewhere);
    build(&fixture, "fresh.tar")?;
    assert_eq!(blobs(&fixture, "third.tar")?, blobs(&fixture, "fresh.tar")?);
    assert_ne!(blobs(&fixture, "third.tar")?, blobs(&fixture, "second.tar")?);
    Ok(())
}
