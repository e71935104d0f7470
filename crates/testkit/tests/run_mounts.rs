//! `RUN --mount`: what a step sees beside its root, and what stays of it.

use std::fs;
use std::path::Path;

use kiln_testkit::{Fixture, TestResult};

const TOKEN: &str = "cat /proc/sys/kernel/random/uuid";

fn read(fixture: &Fixture, path: &str) -> std::io::Result<String> {
    fs::read_to_string(fixture.directory().join(path))
}

/// Every file of the output, so that nothing of a mount is among them unseen.
fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                pending.push(entry.path());
            }
            if let Ok(path) = entry.path().strip_prefix(directory) {
                found.push(path.display().to_string());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_bind_mount_shows_the_context_and_leaves_nothing() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = format!(
        "FROM busybox\n\
         RUN --mount=source=a,target=/part,rw echo more >> /part/file && cat /part/file > /written && {TOKEN} > /token\n\
         RUN --mount=target=/src cat /src/a/file > /seen; ls -ln /src/a/file | cut -c1-40 >> /seen; ls /src >> /seen; touch /src/x 2>> /seen; true\n\
         RUN --mount=source=a/file,target=/etc/one cat /etc/one > /single\n"
    );
    fixture.context(
        "app",
        &[
            ("Dockerfile", &dockerfile),
            ("a/file", "one\n"),
            ("b", "not mounted by the first step"),
            ("hidden", "x"),
            (".dockerignore", "hidden\n"),
        ],
    )?;
    fixture.kiln(["build", "-o", "out", "app"]).run()?.assert_success();
    let seen = read(&fixture, "out/seen")?;
    assert!(seen.starts_with("one\n-rw-r--r--    1 0        0 "), "{seen}");
    assert!(!seen.contains("hidden"), "{seen}");
    assert!(seen.contains("Read-only file system"), "{seen}");
    assert_eq!(read(&fixture, "out/written")?, "one\nmore\n");
    assert_eq!(read(&fixture, "out/single")?, "one\n");
    assert_eq!(read(&fixture, "app/a/file")?, "one\n", "what is written is thrown away");
    for path in ["src", "part", "etc/one"] {
        assert!(
            !fixture.directory().join("out").join(path).exists(),
            "{path} was only mounted"
        );
    }
    // What a mount does not name is nothing to its step.
    fixture.write("app/b", b"changed")?;
    fixture.kiln(["build", "-o", "again", "app"]).run()?.assert_success();
    assert_eq!(read(&fixture, "out/token")?, read(&fixture, "again/token")?);
    fixture.write("app/a/file", b"two\n")?;
    fixture.kiln(["build", "-o", "third", "app"]).run()?.assert_success();
    assert_ne!(read(&fixture, "out/token")?, read(&fixture, "third/token")?);
    assert_eq!(read(&fixture, "third/written")?, "two\nmore\n");
    Ok(())
}

#[test]
fn stages_and_images_are_mounted_in_part_and_count_by_what_is_mounted() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = |other: &str| {
        format!(
            "FROM busybox AS tools\nRUN mkdir -p /opt/bin && echo tool > /opt/bin/tool && ln -s /opt/bin /link && echo {other} > /other\n\
             FROM busybox\n\
             RUN --mount=from=tools,source=/link,target=/tools cat /tools/tool > /seen && {TOKEN} > /token\n\
             RUN --mount=type=bind,from=alpine:3.20,target=/alpine ls /alpine/etc/passwd > /image\n"
        )
    };
    fixture.context("app", &[("Dockerfile", &dockerfile("1"))])?;
    fixture
        .kiln(["build", "--platform", "linux/amd64,linux/arm64", "-o", "out", "app"])
        .run()?
        .assert_success();
    for platform in ["linux_amd64", "linux_arm64"] {
        assert_eq!(read(&fixture, &format!("out/{platform}/seen"))?, "tool\n");
        assert_eq!(
            read(&fixture, &format!("out/{platform}/image"))?,
            "/alpine/etc/passwd\n"
        );
    }
    fixture.context("app", &[("Dockerfile", &dockerfile("2"))])?;
    fixture
        .kiln(["build", "--platform", "linux/amd64,linux/arm64", "-o", "again", "app"])
        .run()?
        .assert_success();
    assert_eq!(
        read(&fixture, "out/linux_amd64/token")?,
        read(&fixture, "again/linux_amd64/token")?,
        "the stage changed, what is mounted of it did not"
    );
    let missing = format!("FROM busybox\nRUN --mount=from=busybox,source=/no/such,target=/x {TOKEN}\n");
    fixture.context("missing", &[("Dockerfile", &missing)])?;
    let outcome = fixture.kiln(["build", "-o", "none", "missing"]).run()?;
    outcome.assert_code(2).assert_says(&["/no/such", "not found"]);
    Ok(())
}

#[test]
fn a_cache_outlives_builds_and_is_no_part_of_the_image() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = |step: &str| {
        format!(
            "FROM busybox\nWORKDIR /app\n\
             RUN --mount=type=cache,target=/var/cache/x,id=x echo {step} >> /var/cache/x/log && cat /var/cache/x/log > /seen\n\
             RUN --mount=type=cache,target=rel touch rel/f && pwd > /where && ls -d /app/rel >> /where\n\
             RUN --mount=type=cache,target=/own,uid=12,gid=34,mode=0750 stat -c '%u %g %a' /own > /owner\n\
             RUN --mount=type=cache,target=/ro,id=x,ro cat /ro/log > /dev/null; touch /ro/f || echo refused > /refused\n\
             RUN --mount=type=cache,target=/filled,from=busybox,source=/etc cat /filled/passwd > /passwd\n"
        )
    };
    fixture.context("app", &[("Dockerfile", &dockerfile("one"))])?;
    fixture.kiln(["build", "-o", "one", "app"]).run()?.assert_success();
    fixture.context("app", &[("Dockerfile", &dockerfile("two"))])?;
    fixture.kiln(["build", "-o", "two", "app"]).run()?.assert_success();
    assert_eq!(read(&fixture, "one/seen")?, "one\n");
    assert_eq!(read(&fixture, "two/seen")?, "one\ntwo\n");
    assert_eq!(read(&fixture, "two/where")?, "/app\n/app/rel\n");
    assert_eq!(read(&fixture, "two/owner")?, "12 34 750\n");
    assert_eq!(read(&fixture, "two/refused")?, "refused\n");
    assert!(read(&fixture, "two/passwd")?.starts_with("root:"));
    let out = files(&fixture.directory().join("two"));
    for path in ["var/cache/x", "app/rel", "own", "ro", "filled"] {
        assert!(!out.iter().any(|file| file == path), "{path} was only mounted");
    }
    Ok(())
}

/// Steps that hold a cache alone write `begin` and `end` with nothing between; those that share it overlap.
#[test]
fn caches_are_shared_locked_or_private() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let step = |sharing: &str, name: &str| {
        format!(
            "FROM busybox AS {name}\nRUN --mount=type=cache,target=/c,id={sharing},sharing={sharing} \
             echo begin {name} >> /c/log; sleep 1; echo end {name} >> /c/log; cp /c/log /log-{name}\n"
        )
    };
    let copies = |names: &[&str]| {
        names
            .iter()
            .map(|name| format!("COPY --from={name} /log-{name} /\n"))
            .collect::<String>()
    };
    let dockerfile = [
        step("locked", "l1"),
        step("locked", "l2"),
        step("private", "p1"),
        step("private", "p2"),
        format!("FROM scratch\n{}", copies(&["l1", "l2", "p1", "p2"])),
    ]
    .concat();
    fixture.context("app", &[("Dockerfile", &dockerfile)])?;
    fixture
        .kiln(["build", "--max-parallelism", "8", "-o", "out", "app"])
        .run()?
        .assert_success();
    let logs = [read(&fixture, "out/log-l1")?, read(&fixture, "out/log-l2")?];
    let longest = logs.iter().max_by_key(|log| log.len()).cloned().unwrap_or_default();
    let lines: Vec<&str> = longest.lines().collect();
    assert_eq!(lines.len(), 4, "both used the same directory: {longest}");
    for pair in lines.chunks(2) {
        assert_eq!(
            pair[0].replace("begin", "end"),
            pair[1],
            "nobody came between: {longest}"
        );
    }
    for name in ["p1", "p2"] {
        let log = read(&fixture, &format!("out/log-{name}"))?;
        assert_eq!(log, format!("begin {name}\nend {name}\n"), "a directory of its own");
    }
    Ok(())
}

/// `make` and `cargo` compare times of sources with those of what they keep: a file that changed must look new.
#[test]
fn a_changed_file_is_newer_than_what_a_cache_holds() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = "FROM busybox\nCOPY src /copied\n\
        RUN --mount=type=cache,target=/target --mount=source=src,target=/bound \
        for file in /copied/a /bound/a /copied/b; do \
          if [ ! -e /target/stamp ] || [ $file -nt /target/stamp ]; then echo $file; fi; done > /stale; sleep 1; touch /target/stamp\n";
    fixture.context("app", &[("Dockerfile", dockerfile), ("src/a", "1"), ("src/b", "1")])?;
    fixture.kiln(["build", "-o", "one", "app"]).run()?.assert_success();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    fixture.write("app/src/a", b"2")?;
    let outcome = fixture.kiln(["build", "-t", "app", "-o", "two", "app"]).run()?;
    outcome.assert_success();
    assert_eq!(read(&fixture, "one/stale")?, "/copied/a\n/bound/a\n/copied/b\n");
    assert_eq!(read(&fixture, "two/stale")?, "/copied/a\n/bound/a\n");
    Ok(())
}

#[test]
fn a_tmpfs_is_empty_bounded_and_gone_afterwards() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = "FROM busybox\nRUN mkdir /t && echo old > /t/old\n\
        RUN --mount=type=tmpfs,target=/t,size=1m ls /t > /seen; dd if=/dev/zero of=/t/big bs=1024 count=4096 2>> /seen; df -k /t | tail -1 | awk '{print $2}' > /size\n";
    fixture.context("app", &[("Dockerfile", dockerfile)])?;
    fixture.kiln(["build", "-o", "out", "app"]).run()?.assert_success();
    assert!(read(&fixture, "out/seen")?.contains("No space left"));
    assert_eq!(read(&fixture, "out/size")?, "1024\n");
    assert_eq!(read(&fixture, "out/t/old")?, "old\n");
    assert!(!fixture.directory().join("out/t/big").exists());
    Ok(())
}

#[test]
fn what_cannot_be_mounted_is_told() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    for (mount, code, said) in [
        (
            "type=cach,target=/x",
            2,
            "unsupported mount type \"cach\" (did you mean cache?)",
        ),
        ("type=cache,target=/", 2, "invalid mount target \"/\""),
        ("type=secret,id=token,required", 2, "secret token: not found"),
        (
            "type=ssh,required",
            2,
            "no SSH key \"default\" forwarded from the client",
        ),
        ("source=missing,target=/x", 2, "\"/missing\": not found"),
        (
            "type=cache,target=/x,source=../../etc",
            1,
            "failed to mount `etc` at /x",
        ),
    ] {
        fixture.context(
            "app",
            &[("Dockerfile", &format!("FROM busybox\nRUN --mount={mount} true\n"))],
        )?;
        let outcome = fixture.kiln(["build", "-o", "out", "app"]).run()?;
        outcome.assert_code(code).assert_says(&[said, "RUN --mount="]);
    }
    Ok(())
}
