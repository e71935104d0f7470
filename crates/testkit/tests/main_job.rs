//! The main job: one Dockerfile in, one tag out, an image for each platform behind it, checked by clients that this
//! project did not write.

use std::fs;

use kiln_testkit::{DockerRegistry, Fixture, Program, TestResult};

const HELLO: &str =
    "FROM alpine:3.20\nRUN echo \"Building for $(uname -m)\" > /arch.txt\nCMD [\"cat\", \"/arch.txt\"]\n";

const THREE: &str = "linux/amd64,linux/arm64,linux/arm/v7";

#[test]
fn three_platforms_are_pushed_under_one_tag() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let registry = DockerRegistry::start()?;
    let image = format!("{}/team/hello:1.0", registry.address());
    fixture.context("hello", &[("Dockerfile", HELLO)])?;
    fixture
        .kiln(["build", "--platform", THREE, "-t", &image, "--push", "hello"])
        .run()?
        .assert_success();

    let index = fixture.raw_manifest(&image)?;
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    let platforms: Vec<String> = index["manifests"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|manifest| {
            let platform = &manifest["platform"];
            let variant = platform["variant"]
                .as_str()
                .map(|variant| format!("/{variant}"))
                .unwrap_or_default();
            let word = |name: &str| platform[name].as_str().unwrap_or_default().to_owned();
            format!("{}/{}{variant}", word("os"), word("architecture"))
        })
        .collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64", "linux/arm/v7"]);

    for (platform, machine) in [
        ("linux/amd64", "x86_64"),
        ("linux/arm64", "aarch64"),
        ("linux/arm/v7", "armv7l"),
    ] {
        let said = fixture.file_in_image(&image, platform, "arch.txt")?;
        assert_eq!(
            said.as_deref(),
            Some(format!("Building for {machine}\n").as_str()),
            "{platform}"
        );
        let ran = fixture.kiln(["run", "--rm", "--platform", platform, &image]).run()?;
        assert_eq!(
            ran.assert_success().stdout_text(),
            format!("Building for {machine}\n"),
            "{platform}"
        );
    }
    Ok(())
}

#[test]
fn the_host_knows_no_emulator_before_or_after() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    // The directory is empty where nothing is mounted on it.
    let table = || -> Vec<String> {
        let entries = fs::read_dir("/proc/sys/fs/binfmt_misc").into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    let before = table();
    // A script whose interpreter is a foreign binary, from a shell that is one.
    let dockerfile = "FROM busybox\nRUN printf '#!/bin/busybox sh\\nuname -m\\n' > /script && chmod 0755 /script \\\n  && sh -c /script > /machine && ! ls / | grep -i qemu\n";
    fixture.context("nested", &[("Dockerfile", dockerfile)])?;
    let outcome = fixture
        .kiln(["build", "--platform", "linux/arm64", "-o", "out", "nested"])
        .run()?;
    outcome.assert_success();
    assert_eq!(
        fs::read_to_string(fixture.directory().join("out/machine"))?,
        "aarch64\n"
    );
    assert_eq!(table(), before, "the host's table of binary formats");
    let left: Vec<_> = fs::read_dir(fixture.directory().join("out"))?
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert!(
        !left.iter().any(|name| name.to_string_lossy().contains("qemu")),
        "{left:?}"
    );
    Ok(())
}

#[test]
fn setuid_programs_work_under_emulation() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = "\
FROM busybox
RUN adduser -D -u 1234 someone && rm -f /bin/su && cp /bin/busybox /bin/su && chmod 4755 /bin/su && sed -i 's/^root:[^:]*:/root::/' /etc/shadow
USER someone
RUN id -u > /tmp/before && /bin/su -c 'id -u' > /tmp/after
";
    fixture.context("setuid", &[("Dockerfile", dockerfile)])?;
    fixture
        .kiln(["build", "--platform", "linux/arm64", "-o", "out", "setuid"])
        .run()?
        .assert_success();
    assert_eq!(
        fs::read_to_string(fixture.directory().join("out/tmp/before"))?,
        "1234\n"
    );
    assert_eq!(fs::read_to_string(fixture.directory().join("out/tmp/after"))?, "0\n");
    Ok(())
}

#[test]
fn several_tags_name_one_digest() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let registry = DockerRegistry::start()?;
    let (one, other) = (
        format!("{}/app:1.0.0", registry.address()),
        format!("{}/app:latest", registry.address()),
    );
    fixture.context(
        "app",
        &[("Dockerfile", "FROM busybox\nCOPY file /file\n"), ("file", "content")],
    )?;
    let platforms = ["--platform", "linux/amd64", "--platform", "linux/arm64"];
    let files = ["--iidfile", "iid", "--metadata-file", "metadata.json"];
    let outcome = fixture
        .kiln(["build", "--push", "-t", &one, "-t", &other])
        .args(platforms)
        .args(files)
        .args(["app"]);
    outcome.run()?.assert_success();
    assert_eq!(fixture.raw_manifest(&one)?, fixture.raw_manifest(&other)?);

    let raw = fixture
        .skopeo(["inspect", "--tls-verify=false", "--raw", &format!("docker://{one}")])
        .succeed()?
        .stdout;
    let sum = Program::new("sha256sum").input(raw.clone()).succeed()?.stdout_text();
    let digest = format!("sha256:{}", sum.split(' ').next().unwrap_or_default());
    let metadata: serde_json::Value = serde_json::from_slice(&fs::read(fixture.directory().join("metadata.json"))?)?;
    assert_eq!(metadata["containerimage.digest"], digest.as_str());
    assert_eq!(fs::read_to_string(fixture.directory().join("iid"))?.trim(), digest);
    let inspected = fixture.kiln(["inspect", "--raw", &one]).run()?;
    assert_eq!(
        inspected.assert_success().stdout,
        raw,
        "`--raw` gives the bytes of the registry"
    );
    Ok(())
}

#[test]
fn labels_and_annotations_reach_configuration_and_manifest() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let registry = DockerRegistry::start()?;
    let image = format!("{}/labels:1", registry.address());
    let dockerfile = "FROM busybox\nARG VERSION=none\nLABEL version=$VERSION\nEXPOSE 8080\nUSER nobody\nWORKDIR /srv\n\
                      HEALTHCHECK --interval=5s CMD [\"true\"]\nSTOPSIGNAL SIGUSR1\nVOLUME /data\nENTRYPOINT [\"sh\"]\n";
    fixture.context("labels", &[("Dockerfile", dockerfile)])?;
    let flags = [
        "--label",
        "team=blue",
        "--annotation",
        "org.example.note=kept",
        "--build-arg",
        "VERSION=2.0",
    ];
    fixture
        .kiln(["build", "-t", &image, "--push", "labels"])
        .args(flags)
        .run()?
        .assert_success();
    let reference = format!("docker://{image}");
    let document = fixture
        .skopeo(["inspect", "--tls-verify=false", "--config", "--raw", &reference])
        .succeed()?
        .json();
    let config = &document["config"];
    assert_eq!(config["Labels"]["team"], "blue");
    assert_eq!(config["Labels"]["version"], "2.0");
    assert_eq!(config["User"], "nobody");
    assert_eq!(config["WorkingDir"], "/srv");
    assert_eq!(config["StopSignal"], "SIGUSR1");
    assert!(config["ExposedPorts"].get("8080/tcp").is_some(), "{config}");
    assert!(config["Volumes"].get("/data").is_some(), "{config}");
    assert_eq!(config["Entrypoint"][0], "sh");
    assert_eq!(
        config["Cmd"],
        serde_json::Value::Null,
        "a new entrypoint drops the base image's command"
    );
    assert_eq!(config["Healthcheck"]["Interval"], 5_000_000_000_u64);
    assert_eq!(fixture.raw_manifest(&image)?["annotations"]["org.example.note"], "kept");
    Ok(())
}

#[test]
fn a_dockerfile_and_a_tar_are_taken_from_standard_input() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let outcome = fixture
        .kiln(["build", "-o", "one", "-"])
        .input("FROM scratch\nCOPY <<EOF /file\nfrom stdin\nEOF\n")
        .run()?;
    outcome.assert_success();
    assert_eq!(
        fs::read_to_string(fixture.directory().join("one/file"))?,
        "from stdin\n"
    );

    let tar = kiln_testkit::Tree::new()
        .file("Dockerfile", 0o644, "FROM scratch\nCOPY dir /dir\n")
        .directory("dir", 0o755)
        .file("dir/file", 0o640, "in the tar")
        .tar()?;
    fixture
        .kiln(["build", "-o", "two", "-"])
        .input(tar)
        .run()?
        .assert_success();
    assert_eq!(
        fs::read_to_string(fixture.directory().join("two/dir/file"))?,
        "in the tar"
    );
    Ok(())
}

#[test]
fn passwords_are_taken_from_dockers_configuration() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let registry = DockerRegistry::start_with(kiln_testkit::Access::Password)?;
    fixture.log_in(&registry.address(), DockerRegistry::USER, DockerRegistry::PASSWORD)?;
    let image = format!("{}/private/app:1", registry.address());
    fixture.context("app", &[("Dockerfile", "FROM busybox\nCOPY Dockerfile /\n")])?;
    fixture
        .kiln(["build", "-t", &image, "--push", "app"])
        .run()?
        .assert_success();
    let ran = fixture.kiln(["run", "--rm", &image, "cat", "/Dockerfile"]).run()?;
    assert_eq!(ran.assert_success().stdout_text(), "FROM busybox\nCOPY Dockerfile /\n");
    Ok(())
}
