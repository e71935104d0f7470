//! `kiln registry serve`, used by clients that this project did not write.

use kiln_testkit::{BaseImages, Fixture, KilnRegistry, Program, Request, TestResult, exchange};

#[test]
fn skopeo_pushes_lists_pulls_and_deletes() -> TestResult {
    let fixture = Fixture::new()?;
    let registry = KilnRegistry::start(&fixture)?;
    let images = BaseImages::prepare()?.serve()?;
    let source = format!("docker://{}/library/alpine:3.20", images.address());
    let target = format!("docker://{}/copies/alpine:one", registry.address());
    let insecure = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    fixture
        .skopeo(["copy", "--all", "--preserve-digests"])
        .args(insecure)
        .args([&source, &target])
        .succeed()?;

    let original = fixture.raw_manifest(&format!("{}/library/alpine:3.20", images.address()))?;
    assert_eq!(
        fixture.raw_manifest(&format!("{}/copies/alpine:one", registry.address()))?,
        original
    );
    let repository = format!("docker://{}/copies/alpine", registry.address());
    let tags = fixture
        .skopeo(["list-tags", "--tls-verify=false", &repository])
        .succeed()?
        .json();
    assert_eq!(tags["Tags"], serde_json::json!(["one"]));
    let back = format!("dir:{}", fixture.directory().join("back").display());
    fixture
        .skopeo(["copy", "--all", "--src-tls-verify=false", &target, &back])
        .succeed()?;

    fixture.skopeo(["delete", "--tls-verify=false", &target]).succeed()?;
    let gone = fixture.skopeo(["inspect", "--tls-verify=false", &target]).run()?;
    assert!(
        !gone.status.success() && gone.stderr.contains("manifest unknown"),
        "{}",
        gone.stderr
    );
    Ok(())
}

#[test]
fn a_build_pushes_to_it_and_pulls_from_it() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let other = Fixture::new()?;
    let registry = KilnRegistry::start(&other)?;
    let base = format!("{}/base:1", registry.address());
    fixture.context("base", &[("Dockerfile", "FROM busybox\nRUN echo base > /base\n")])?;
    fixture
        .kiln(["build", "-t", &base, "--push", "base"])
        .run()?
        .assert_success();
    let mut second = Fixture::new()?;
    second.set_env("SOURCE_DATE_EPOCH", "0");
    second.context(
        "app",
        &[("Dockerfile", &format!("FROM {base}\nRUN cat /base > /copy\n"))],
    )?;
    second.kiln(["build", "-o", "out", "app"]).run()?.assert_success();
    assert_eq!(std::fs::read_to_string(second.directory().join("out/copy"))?, "base\n");
    Ok(())
}

#[test]
fn wrong_bytes_are_refused() -> TestResult {
    let fixture = Fixture::new()?;
    let registry = KilnRegistry::start(&fixture)?;
    let opened = exchange(&registry.address(), &Request::new("POST", "/v2/a/b/blobs/uploads/"))?;
    assert_eq!(opened.status, 202);
    let location = opened.header("Location").ok_or("no location")?.to_owned();
    let target = location
        .split_once("://")
        .map_or(location.as_str(), |(_, rest)| &rest[rest.find('/').unwrap_or(0)..]);
    let joint = if target.contains('?') { '&' } else { '?' };
    let digest = format!("sha256:{}", "0".repeat(64));
    let request = Request::new("PUT", &format!("{target}{joint}digest={digest}")).with_body("not that");
    let answer = exchange(&registry.address(), &request)?;
    assert_eq!(answer.status, 400, "{}", String::from_utf8_lossy(&answer.body));
    assert!(String::from_utf8_lossy(&answer.body).contains("DIGEST_INVALID"));
    let asked = exchange(
        &registry.address(),
        &Request::new("HEAD", &format!("/v2/a/b/blobs/{digest}")),
    )?;
    assert_eq!(asked.status, 404);
    Ok(())
}

#[test]
fn its_state_survives_a_restart() -> TestResult {
    let fixture = Fixture::new()?;
    let images = BaseImages::prepare()?;
    let registry = KilnRegistry::start(&fixture)?;
    images.layout().push("library/busybox:latest", &registry.address())?;
    drop(registry);
    let registry = KilnRegistry::start(&fixture)?;
    let reference = format!("docker://{}/library/busybox:latest", registry.address());
    let target = format!("oci:{}:1", fixture.directory().join("copy").display());
    Program::new("skopeo")
        .args([
            "--insecure-policy",
            "copy",
            "--src-tls-verify=false",
            &reference,
            &target,
        ])
        .succeed()?;
    Ok(())
}
