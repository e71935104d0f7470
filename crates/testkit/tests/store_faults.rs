//! A store on a disk that is full, cannot be written to, or lost what it was given.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_testkit::{Fixture, Program, TestResult, kiln_binary, skip_unless_root};

/// A build whose layers do not compress, with steps of every kind.
fn write_app(fixture: &Fixture) -> TestResult {
    let dockerfile = "FROM busybox\nCOPY data /data\nRUN cat /data > /again && echo x > /x\nFROM busybox\nCOPY --from=0 /x /data /\n";
    fixture.context("app", &[("Dockerfile", dockerfile)])?;
    let mut state = 7u64;
    let mut data = Vec::new();
    while data.len() < 2_000_000 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        data.extend_from_slice(&state.to_le_bytes()[3..]);
    }
    fixture.write("app/data", &data)?;
    Ok(())
}

/// The digest that the build must have, from another store.
fn expected(fixture: &mut Fixture) -> Result<String, Box<dyn std::error::Error>> {
    fixture.set_env("SOURCE_DATE_EPOCH", "1000000000");
    let state = fixture.state().to_owned();
    fixture.set_state(fixture.directory().join("reference"));
    let digest = build(fixture)?;
    fixture.set_state(state);
    Ok(digest)
}

fn build(fixture: &Fixture) -> Result<String, Box<dyn std::error::Error>> {
    let outcome = fixture.kiln(["build", "-t", "app:1", "app"]).run()?;
    Ok(outcome.assert_success().stdout_text().trim().to_owned())
}

/// Runs a script in a mount namespace of its own, where `kiln` and `$KILN_ROOT` are set.
fn in_mount_namespace(fixture: &Fixture, script: &str) -> Result<String, Box<dyn std::error::Error>> {
    fs::create_dir_all(fixture.state())?;
    let outcome = Program::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-euc", script])
        .with(|command| fixture.dress(command))
        .env("KILN", kiln_binary()?)
        .run()?;
    outcome.assert_success();
    Ok(outcome.stdout_text() + &outcome.stderr)
}

#[test]
fn a_full_disk_ends_a_build_clearly_and_harms_nothing() -> TestResult {
    if skip_unless_root("a_full_disk_ends_a_build_clearly_and_harms_nothing") {
        return Ok(());
    }
    let mut fixture = Fixture::with_base_images()?;
    write_app(&fixture)?;
    let digest = expected(&mut fixture)?;
    let script = r#"
        for size in 2500k 3500k 5m 7m 9m 12m; do
            mount -t tmpfs -o size=$size none "$KILN_ROOT"
            if "$KILN" build -t app:1 app >digest 2>said; then echo "fits in $size"; else
                code=$?
                if test $code = 3; then grep -q 'hint: the disk is full' said || { cat said; exit 1; }
                # A step whose own files do not fit fails by itself.
                elif test $code = 1; then grep -q 'No space left' said || { cat said; exit 1; }
                else cat said; exit 1; fi
                echo "full at $size"
            fi
            "$KILN" fsck || exit 1
            mount -o remount,size=100m "$KILN_ROOT"
            "$KILN" build -t app:1 app >digest
            echo "then $(cat digest)"
            "$KILN" fsck
            umount "$KILN_ROOT"
        done
        # With not one byte left, there is still a way to make room.
        mount -t tmpfs -o size=100m none "$KILN_ROOT"
        "$KILN" build -t app:1 app >digest
        mount -o remount,size="$(( $(df -k --output=used "$KILN_ROOT" | tail -1) + 40 ))k" "$KILN_ROOT"
        mkdir "$KILN_ROOT/aside"
        cat /dev/zero > "$KILN_ROOT/aside/filler" 2>/dev/null || true
        df "$KILN_ROOT" | grep -q '100%'
        "$KILN" prune -f --filter type=record
        rm "$KILN_ROOT/aside/filler"
        mount -o remount,size=100m "$KILN_ROOT"
        "$KILN" build -t app:1 app >digest
        echo "then $(cat digest)"
    "#;
    let text = in_mount_namespace(&fixture, script)?;
    assert!(text.contains("full at 2500k") && text.contains("full at 5m"), "{text}");
    let digests: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("then ")).collect();
    assert_eq!(digests, vec![digest.as_str(); 7], "{text}");
    Ok(())
}

#[test]
fn a_store_that_cannot_be_written_to_can_be_looked_at() -> TestResult {
    if skip_unless_root("a_store_that_cannot_be_written_to_can_be_looked_at") {
        return Ok(());
    }
    let mut fixture = Fixture::with_base_images()?;
    write_app(&fixture)?;
    let digest = expected(&mut fixture)?;
    assert_eq!(build(&fixture)?, digest);
    let script = r#"
        mount --bind "$KILN_ROOT" "$KILN_ROOT"
        mount -o remount,ro,bind "$KILN_ROOT"
        "$KILN" du
        "$KILN" fsck
        for command in "build -t app:1 app" "prune -f"; do
            code=0
            "$KILN" $command 2>said >printed || code=$?
            echo "$command: $code"
            cat said
        done
        mount -o remount,rw,bind "$KILN_ROOT"
        "$KILN" build -t app:1 app
    "#;
    let text = in_mount_namespace(&fixture, script)?;
    assert!(text.contains("KIND ") && text.contains("nothing is wrong"), "{text}");
    assert!(
        text.contains("build -t app:1 app: 3") && text.contains("prune -f: 3"),
        "{text}"
    );
    assert_eq!(
        text.matches("hint: the store is on a read-only file system").count(),
        2,
        "{text}"
    );
    assert!(text.contains(&digest), "{text}");
    Ok(())
}

/// The files of the blobs, the largest first.
fn blobs(state: &Path) -> Result<Vec<PathBuf>, Box<dyn std::error::Error>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(state.join("blobs/sha256"))? {
        let entry = entry?;
        found.push((entry.metadata()?.len(), entry.path()));
    }
    found.sort();
    Ok(found.into_iter().rev().map(|(_, path)| path).collect())
}

fn damage(path: &Path) -> TestResult {
    let mut bytes = fs::read(path)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::remove_file(path)?;
    fs::write(path, bytes)?;
    Ok(())
}

fn mend(fixture: &Fixture, finding: &str) -> TestResult {
    let outcome = fixture.kiln(["fsck"]).run()?;
    outcome.assert_code(1).assert_says(&["kiln fsck --repair"]);
    assert!(outcome.stdout_text().contains(finding), "{}", outcome.stdout_text());
    fixture.kiln(["fsck", "--repair"]).run()?.assert_success();
    let sound = fixture.kiln(["fsck"]).run()?;
    assert!(sound.assert_success().stdout_text().contains("nothing is wrong"));
    Ok(())
}

#[test]
fn damaged_blobs_and_trees_are_found_and_mended() -> TestResult {
    let mut fixture = Fixture::with_base_images()?;
    write_app(&fixture)?;
    let digest = expected(&mut fixture)?;
    assert_eq!(build(&fixture)?, digest);
    let all = blobs(fixture.state())?;
    assert!(all.len() >= 4, "{all:?}");
    for path in [all.first(), all.last()].into_iter().flatten() {
        damage(path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        mend(&fixture, &format!("blob `sha256:{name}` is damaged"))?;
        assert_eq!(build(&fixture)?, digest);
    }
    // A file of an unpacked layer that lost its end, as after a power failure.
    let tree = fs::read_dir(fixture.state().join("trees"))?
        .filter_map(Result::ok)
        .map(|entry| entry.path().join("root/again"))
        .find(|path| path.exists())
        .ok_or("the tree of the RUN step")?;
    fs::File::options().write(true).open(&tree)?.set_len(1000)?;
    mend(&fixture, "is damaged at `again`: it has 1000 bytes instead of 2000000")?;
    assert_eq!(build(&fixture)?, digest);
    Ok(())
}

/// What is left of the store when the machine is started again.
fn restart(state: &Path) -> TestResult {
    for tree in fs::read_dir(state.join("trees"))?.filter_map(Result::ok) {
        let mark = tree.path().join("boot");
        fs::remove_file(&mark)?;
        std::os::unix::fs::symlink("00000000-0000-4000-8000-000000000000", &mark)?;
    }
    Ok(())
}

#[test]
fn a_step_whose_result_a_power_failure_cut_runs_again() -> TestResult {
    let mut fixture = Fixture::with_base_images()?;
    write_app(&fixture)?;
    let digest = expected(&mut fixture)?;
    assert_eq!(build(&fixture)?, digest);
    let state = fixture.state().to_owned();
    restart(&state)?;
    let trees = || fs::read_dir(state.join("trees")).map(|trees| trees.filter_map(Result::ok).map(|tree| tree.path()));
    let cut = trees()?
        .map(|tree| tree.join("root/again"))
        .find(|path| path.exists())
        .ok_or("the tree of the RUN step")?;
    fs::File::options().write(true).open(&cut)?.set_len(1000)?;
    let more = "FROM busybox\nCOPY data /data\nRUN cat /data > /again && echo x > /x\nRUN wc -c < /again\n";
    fixture.context("app", &[("Dockerfile", more)])?;
    let outcome = fixture
        .kiln(["build", "--progress=plain", "-t", "app:2", "app"])
        .run()?;
    outcome.assert_success().assert_says(&["2000000"]);
    assert!(!cut.exists(), "the tree that was cut is gone");
    let marked = trees()?
        .filter(|tree| fs::read_link(tree.join("boot")).is_ok_and(|boot| boot.to_string_lossy().starts_with("0000")));
    let unused = marked.count();
    assert!(unused < trees()?.count(), "trees that were used are known to be whole");
    // The first build once more, with the parts that it used before.
    write_app(&fixture)?;
    assert_eq!(build(&fixture)?, digest);
    fixture.kiln(["fsck"]).run()?.assert_success();
    Ok(())
}

#[test]
fn a_truncated_database_is_found_and_begun_anew() -> TestResult {
    let mut fixture = Fixture::with_base_images()?;
    write_app(&fixture)?;
    let digest = expected(&mut fixture)?;
    assert_eq!(build(&fixture)?, digest);
    let path = fixture.state().join("store.db");
    let length = fs::metadata(&path)?.len();
    for left in [length / 2, 5000, 50] {
        fs::File::options().write(true).open(&path)?.set_len(left)?;
        fixture.context("other", &[("Dockerfile", "FROM busybox\nRUN true\n")])?;
        let refused = fixture.kiln(["build", "-t", "other:1", "app"]).run()?;
        if !refused.status.success() {
            refused
                .assert_code(3)
                .assert_says(&["store.db` is damaged", "kiln fsck --repair"]);
        }
        mend(&fixture, "the database is damaged")?;
        assert_eq!(build(&fixture)?, digest, "{left} bytes left");
    }
    // With nothing left it is a new one.
    fs::File::options().write(true).open(&path)?.set_len(0)?;
    assert_eq!(build(&fixture)?, digest);
    fixture.kiln(["fsck"]).run()?.assert_success();
    Ok(())
}

#[test]
fn a_clock_that_jumps_neither_breaks_builds_nor_keeps_things_for_ever() -> TestResult {
    let mut fixture = Fixture::with_base_images()?;
    write_app(&fixture)?;
    let digest = expected(&mut fixture)?;
    assert_eq!(build(&fixture)?, digest);
    for time in ["2099-01-01", "1999-01-01"] {
        Program::new("find")
            .args([fixture.state().as_os_str()])
            .args([
                "-not",
                "-path",
                "*/trees/*",
                "-exec",
                "touch",
                "-h",
                "-d",
                time,
                "{}",
                "+",
            ])
            .succeed()?;
        fs::write(fixture.state().join("collected"), "99999999999 1 1\n")?;
        assert_eq!(build(&fixture)?, digest, "files of {time}");
        fixture.kiln(["fsck"]).run()?.assert_success();
        fixture.kiln(["du", "--verbose"]).run()?.assert_success();
    }
    let future = "touch -h -d 2099-01-01 \"$KILN_ROOT\"/blobs/sha256/*";
    Program::new("sh")
        .args(["-euc", future])
        .with(|command| fixture.dress(command))
        .succeed()?;
    fixture.kiln(["prune", "-af"]).run()?.assert_success();
    let usage = fixture.kiln(["du", "--format", "json"]).run()?.json();
    assert_eq!(usage["kinds"]["blobs"]["count"], 0, "{usage:#}");
    assert_eq!(build(&fixture)?, digest);
    Ok(())
}
