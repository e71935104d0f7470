//! The fixtures themselves, against clients that this project did not write.

use kiln_testkit::{
    Access, BaseImages, DockerRegistry, Fault, FaultProxy, Program, Request, Rule, TestResult, exchange,
};

fn skopeo(arguments: &[&str]) -> Program {
    Program::new("skopeo").args(["--insecure-policy"]).args(arguments)
}

#[test]
fn base_images_exist_for_every_platform() -> TestResult {
    let registry = BaseImages::prepare()?.serve()?;
    for name in ["busybox:latest", "alpine:3.20"] {
        let reference = format!("docker://{}/library/{name}", registry.address());
        let index = skopeo(&["inspect", "--tls-verify=false", "--raw", &reference])
            .succeed()?
            .json();
        let architectures: Vec<&str> = index["manifests"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|manifest| manifest["platform"]["architecture"].as_str())
            .collect();
        assert_eq!(architectures, ["amd64", "arm64", "arm", "386"], "{name}");
    }
    Ok(())
}

#[test]
fn a_base_image_survives_a_push_and_a_copy_by_skopeo() -> TestResult {
    let images = BaseImages::prepare()?;
    let registry = DockerRegistry::start()?;
    images.layout().push("library/alpine:3.20", &registry.address())?;
    let directory = tempfile::tempdir()?;
    let target = format!("dir:{}", directory.path().display());
    let source = format!("docker://{}/library/alpine:3.20", registry.address());
    skopeo(&[
        "--override-arch",
        "arm64",
        "copy",
        "--src-tls-verify=false",
        &source,
        &target,
    ])
    .succeed()?;
    let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(directory.path().join("manifest.json"))?)?;
    let layer = manifest["layers"][0]["digest"]
        .as_str()
        .unwrap_or_default()
        .trim_start_matches("sha256:")
        .to_owned();
    let listing = Program::new("tar")
        .args(["-tvzf"])
        .args([directory.path().join(layer)])
        .succeed()?
        .stdout_text();
    for expected in [
        "etc/alpine-release",
        "bin/sh -> /bin/busybox",
        "bin/adduser",
        "drwxrwxrwt",
    ] {
        assert!(listing.contains(expected), "{expected} is missing in\n{listing}");
    }
    Ok(())
}

#[test]
fn a_registry_with_a_password_refuses_strangers() -> TestResult {
    let registry = DockerRegistry::start_with(Access::Password)?;
    let reference = format!("docker://{}/library/a:1", registry.address());
    let image = tempfile::tempdir()?;
    let layout = kiln_testkit::ImageLayout::create(image.path())?;
    let tree = kiln_testkit::Tree::new().file("a", 0o644, "b");
    let one = layout.add_image("linux/amd64", &tree, serde_json::json!({}))?;
    layout.add_index(&["a"], &[one])?;
    let source = format!("oci:{}:a", image.path().display());
    let refused = skopeo(&["copy", "--all", "--dest-tls-verify=false", &source, &reference]).run()?;
    assert!(
        !refused.status.success() && refused.stderr.contains("authentication"),
        "{}",
        refused.stderr
    );
    let credentials = format!("{}:{}", DockerRegistry::USER, DockerRegistry::PASSWORD);
    skopeo(&[
        "copy",
        "--all",
        "--dest-tls-verify=false",
        "--dest-creds",
        &credentials,
        &source,
        &reference,
    ])
    .succeed()?;
    assert!(registry.blob_count() >= 3, "index, manifest, configuration and layer");
    Ok(())
}

#[test]
fn a_proxy_passes_a_real_registry_through() -> TestResult {
    let images = BaseImages::prepare()?;
    let registry = DockerRegistry::start()?;
    let rule = Rule {
        method: "PUT",
        path_contains: "/manifests/".to_owned(),
        times: 1,
        fault: Fault::Close,
    };
    let proxy = FaultProxy::start(&registry.address(), vec![rule])?;
    assert!(
        images
            .layout()
            .push("library/busybox:latest", &proxy.address())
            .is_err(),
        "the first push meets the fault"
    );
    images.layout().push("library/busybox:latest", &proxy.address())?;
    let tags = exchange(&proxy.address(), &Request::new("GET", "/v2/library/busybox/tags/list"))?;
    assert_eq!(
        String::from_utf8(tags.body)?.trim(),
        r#"{"name":"library/busybox","tags":["latest"]}"#
    );
    assert_eq!(proxy.faults_left(), 0);
    Ok(())
}
