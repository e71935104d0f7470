//! `kiln du`, `kiln prune`, `kiln fsck`, and the collection that builds do by themselves.

use kiln_testkit::{DockerRegistry, Fixture, OrdinaryUser, SubordinateIds, TestResult, skip_unless_root};
use serde_json::Value;

const DOCKERFILE: &str = "FROM busybox\nARG REVISION\nRUN --mount=type=cache,target=/cache echo x >> /cache/log\n\
     COPY data /data\nRUN head -c 300000 /dev/urandom > /noise\n";

fn du(fixture: &Fixture) -> Result<Value, Box<dyn std::error::Error>> {
    let outcome = fixture.kiln(["du", "--format", "json", "--verbose"]).run()?;
    outcome.assert_success();
    Ok(outcome.json())
}

fn count(usage: &Value, kind: &str) -> u64 {
    usage["kinds"][kind]["count"].as_u64().unwrap_or(u64::MAX)
}

fn built() -> Result<Fixture, Box<dyn std::error::Error>> {
    let fixture = Fixture::with_base_images()?;
    fixture.context("app", &[("Dockerfile", DOCKERFILE), ("data", "1")])?;
    fixture.kiln(["build", "-t", "app:1", "app"]).run()?.assert_success();
    Ok(fixture)
}

#[test]
fn du_counts_what_a_build_leaves_and_prune_takes_what_nothing_keeps() -> TestResult {
    let fixture = built()?;
    let before = du(&fixture)?;
    for kind in [
        "blobs",
        "trees",
        "indexes",
        "records",
        "documents",
        "cache mounts",
        "contexts",
    ] {
        assert!(count(&before, kind) > 0, "{kind}: {before:#}");
    }
    let total = before["total"]["bytes"].as_u64().ok_or("no total")?;
    assert!(total > 300_000, "{before:#}");
    assert!(
        before["total"]["reclaimableBytes"].as_u64() < Some(total),
        "the image has a name"
    );
    let table = fixture.kiln(["du"]).run()?;
    let text = table.assert_success().stdout_text();
    assert!(text.starts_with("KIND ") && text.contains("cache mounts"), "{text}");

    let rehearsed = fixture.kiln(["prune", "--dry-run", "--format", "json"]).run()?;
    let rehearsed = rehearsed.assert_success().json();
    assert_eq!(
        count(&du(&fixture)?, "trees"),
        count(&before, "trees"),
        "only rehearsed"
    );
    let pruned = fixture.kiln(["prune", "-f", "--format", "json"]).run()?;
    let pruned = pruned.assert_success().json();
    assert_eq!(pruned["bytes"], rehearsed["bytes"]);
    assert_eq!(pruned["bytes"], before["total"]["reclaimableBytes"]);
    let after = du(&fixture)?;
    assert_eq!(
        (count(&after, "trees"), count(&after, "cache mounts")),
        (0, 0),
        "{after:#}"
    );
    assert!(count(&after, "blobs") > 0, "the image that has a name stays");
    fixture.kiln(["fsck"]).run()?.assert_success();

    // The name still stands for an image: its layers come from blobs that stayed.
    fixture.context("next", &[("Dockerfile", "FROM app:1\nRUN test -s /noise\n")])?;
    fixture
        .kiln(["build", "-o", "type=cacheonly", "next"])
        .run()?
        .assert_success();
    fixture
        .kiln(["prune", "-a"])
        .run()?
        .assert_code(2)
        .assert_says(&["--force"]);
    fixture.kiln(["prune", "-af"]).run()?.assert_success();
    let blobs = du(&fixture)?;
    assert_eq!(count(&blobs, "blobs"), 0, "{blobs:#}");
    Ok(())
}

#[test]
fn a_pushed_image_does_not_stay_for_its_name() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let registry = DockerRegistry::start()?;
    let name = format!("{}/app:1", registry.address());
    fixture.context("app", &[("Dockerfile", DOCKERFILE), ("data", "1")])?;
    fixture
        .kiln(["build", "-t", &name, "--push", "app"])
        .run()?
        .assert_success();
    fixture.kiln(["prune", "-f"]).run()?.assert_success();
    assert_eq!(count(&du(&fixture)?, "blobs"), 0);
    fixture.context("next", &[("Dockerfile", &format!("FROM {name}\nRUN test -s /noise\n"))])?;
    fixture
        .kiln(["build", "-o", "type=cacheonly", "next"])
        .run()?
        .assert_success();
    Ok(())
}

#[test]
fn filters_choose_and_mistakes_are_told() -> TestResult {
    let fixture = built()?;
    fixture
        .kiln(["prune", "-f", "--filter", "until=24h"])
        .run()?
        .assert_success();
    assert!(count(&du(&fixture)?, "trees") > 0, "everything is younger");
    let mounts = fixture
        .kiln(["prune", "-f", "--filter", "type=exec.cachemount"])
        .run()?;
    mounts.assert_success();
    let left = du(&fixture)?;
    assert!(
        count(&left, "cache mounts") == 0 && count(&left, "trees") > 0,
        "{left:#}"
    );
    fixture
        .kiln(["prune", "--filter", "until=soon"])
        .run()?
        .assert_code(2)
        .assert_says(&["`soon` is no duration"]);
    fixture
        .kiln(["prune", "--filter", "colour=red"])
        .run()?
        .assert_code(2)
        .assert_says(&["unknown filter `colour`"]);
    fixture
        .kiln(["prune", "--max-used-space", "much"])
        .run()?
        .assert_code(2)
        .assert_says(&["invalid size `much`"]);
    Ok(())
}

#[test]
fn what_a_running_build_holds_stays() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let slow = "FROM busybox\nRUN head -c 100000 /dev/urandom > /one\nRUN sleep 3 && test -s /one\nRUN test -s /one\n";
    fixture.context("slow", &[("Dockerfile", slow)])?;
    let mut child = fixture
        .command(["build", "--progress", "plain", "-o", "out", "slow"])?
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()?;
    let mut pruned = 0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        fixture.kiln(["prune", "-af"]).run()?.assert_success();
        pruned += 1;
    };
    assert!(status.success() && pruned > 1, "{status}, pruned {pruned} times");
    assert_eq!(std::fs::metadata(fixture.directory().join("out/one"))?.len(), 100_000);
    fixture.kiln(["fsck"]).run()?.assert_success();
    Ok(())
}

#[test]
fn builds_keep_the_store_under_its_cap() -> TestResult {
    const CAP: u64 = 6_000_000;
    let fixture = Fixture::with_base_images()?;
    let toml = "[store]\nmax-used-space = \"6MB\"\nmin-free-space = \"0\"\ncheck-every = \"0s\"\n";
    fixture.write("config/kiln/kiln.toml", toml.as_bytes())?;
    let mut sizes = Vec::new();
    for revision in 0..20 {
        fixture.context("app", &[("Dockerfile", DOCKERFILE), ("data", &revision.to_string())])?;
        fixture
            .kiln(["build", "-t", "app:latest", "app"])
            .run()?
            .assert_success();
        sizes.push(du(&fixture)?["total"]["bytes"].as_u64().unwrap_or(u64::MAX));
    }
    // A build may add its own layers before what is older goes.
    let largest = sizes.iter().max().copied().unwrap_or(u64::MAX);
    assert!(largest < CAP + 2_500_000, "{sizes:?}");
    let every: u64 = 20 * 600_000;
    assert!(every > CAP + 2_500_000, "the revisions together do not fit");
    fixture.kiln(["fsck"]).run()?.assert_success();
    fixture.write("config/kiln/kiln.toml", b"[store]\nmaximum = \"6MB\"\n")?;
    let refused = fixture.kiln(["build", "app"]).run()?;
    refused
        .assert_code(2)
        .assert_says(&["kiln.toml", "unknown field `maximum`"]);
    Ok(())
}

#[test]
fn an_ordinary_user_prunes_what_belongs_to_other_ids() -> TestResult {
    if skip_unless_root("an_ordinary_user_prunes_what_belongs_to_other_ids") {
        return Ok(());
    }
    let user = OrdinaryUser::create(SubordinateIds::Granted)?;
    let mut fixture = Fixture::with_base_images()?;
    fixture.binary_for_everyone()?;
    let dockerfile = "FROM busybox\nRUN mkdir -p /a/b && echo x > /a/b/c && chown -R 1000:1000 /a && chmod -R 700 /a\n";
    fixture.context("app", &[("Dockerfile", dockerfile)])?;
    fixture
        .kiln_as(&user, ["build", "-o", "type=cacheonly", "app"])?
        .run()?
        .assert_success();
    fixture.kiln_as(&user, ["fsck"])?.run()?.assert_success();
    fixture.kiln_as(&user, ["prune", "-f"])?.run()?.assert_success();
    let trees = std::fs::read_dir(fixture.state().join("trees"))?.count();
    let sessions = std::fs::read_dir(fixture.state().join("sessions"))?.count();
    assert_eq!(
        (trees, sessions),
        (0, 0),
        "nothing is left that only other ids could remove"
    );
    Ok(())
}
