//! Every form that an image can be written in, read by programs that this project did not write.

use std::fs;
use std::os::unix::fs::MetadataExt;

use kiln_testkit::{Fixture, Program, TestResult, skip_unless_root};

const DOCKERFILE: &str = "\
FROM busybox
COPY --chown=1000:1001 --chmod=0640 file /data/file
RUN mkdir /made && echo $(uname -m) > /made/machine && ln -s ../made/machine /data/link && rm /etc/nsswitch.conf
CMD [\"cat\", \"/data/file\"]
";

fn fixture() -> Result<Fixture, Box<dyn std::error::Error>> {
    let fixture = Fixture::with_base_images()?;
    fixture.context("image", &[("Dockerfile", DOCKERFILE), ("file", "content\n")])?;
    Ok(fixture)
}

#[test]
fn an_oci_layout_is_unpacked_by_umoci() -> TestResult {
    if skip_unless_root("an_oci_layout_is_unpacked_by_umoci") {
        return Ok(());
    }
    let fixture = fixture()?;
    let output = "type=oci,tar=false,dest=layout,name=example.test/image:1";
    fixture
        .kiln(["build", "--platform", "linux/amd64,linux/arm64", "-o", output, "image"])
        .run()?
        .assert_success();
    let layout: serde_json::Value = serde_json::from_slice(&fs::read(fixture.directory().join("layout/oci-layout"))?)?;
    assert_eq!(layout["imageLayoutVersion"], "1.0.0");
    for (architecture, machine) in [("amd64", "x86_64"), ("arm64", "aarch64")] {
        // One platform a layout: umoci does not walk through nested indexes.
        let flat = format!("oci:flat-{architecture}:1");
        let source = "oci:layout".to_owned();
        fixture
            .skopeo(["--override-arch", architecture, "copy", &source, &flat])
            .with(|command| _ = command.current_dir(fixture.directory()))
            .succeed()?;
        let bundle = fixture.directory().join(format!("bundle-{architecture}"));
        let image = fixture.directory().join(format!("flat-{architecture}:1"));
        Program::new("umoci")
            .args(["unpack", "--image"])
            .args([&image, &bundle])
            .succeed()?;
        let root = bundle.join("rootfs");
        assert_eq!(fs::read_to_string(root.join("made/machine"))?, format!("{machine}\n"));
        assert_eq!(
            fs::read_link(root.join("data/link"))?.display().to_string(),
            "../made/machine"
        );
        let file = fs::metadata(root.join("data/file"))?;
        assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (1000, 1001, 0o640));
        assert!(!root.join("etc/nsswitch.conf").exists(), "a removed file stays removed");
    }
    Ok(())
}

#[test]
fn an_oci_archive_is_read_by_skopeo() -> TestResult {
    let fixture = fixture()?;
    fixture
        .kiln([
            "build",
            "--platform",
            "linux/arm64",
            "-o",
            "type=oci,dest=image.tar",
            "image",
        ])
        .run()?
        .assert_success();
    let archive = format!("oci-archive:{}", fixture.directory().join("image.tar").display());
    let inspected = fixture
        .skopeo(["--override-arch", "arm64", "inspect", &archive])
        .succeed()?
        .json();
    assert_eq!(inspected["Architecture"], "arm64");
    assert_eq!(inspected["Layers"].as_array().map(Vec::len), Some(3), "{inspected}");
    Ok(())
}

#[test]
fn a_docker_archive_is_read_by_skopeo() -> TestResult {
    let fixture = fixture()?;
    let output = "type=docker,dest=docker.tar,name=example.test/image:1";
    fixture.kiln(["build", "-o", output, "image"]).run()?.assert_success();
    let archive = format!("docker-archive:{}", fixture.directory().join("docker.tar").display());
    let inspected = fixture.skopeo(["inspect", &archive]).succeed()?.json();
    assert_eq!(inspected["Os"], "linux");
    let config = fixture.skopeo(["inspect", "--config", &archive]).succeed()?.json();
    assert_eq!(config["config"]["Cmd"], serde_json::json!(["cat", "/data/file"]));
    let target = format!("dir:{}", fixture.directory().join("copied").display());
    fixture.skopeo(["copy", &archive, &target]).succeed()?;
    Ok(())
}

#[test]
fn a_directory_holds_the_files() -> TestResult {
    let fixture = fixture()?;
    fixture.kiln(["build", "-o", "out", "image"]).run()?.assert_success();
    let out = fixture.directory().join("out");
    assert_eq!(fs::read_to_string(out.join("data/file"))?, "content\n");
    assert_eq!(
        fs::read_link(out.join("data/link"))?.display().to_string(),
        "../made/machine"
    );
    assert!(!out.join("etc/nsswitch.conf").exists());

    fixture
        .kiln(["build", "--platform", "linux/amd64,linux/arm64", "-o", "both", "image"])
        .run()?
        .assert_success();
    assert_eq!(
        fs::read_to_string(fixture.directory().join("both/linux_amd64/made/machine"))?,
        "x86_64\n"
    );
    assert_eq!(
        fs::read_to_string(fixture.directory().join("both/linux_arm64/made/machine"))?,
        "aarch64\n"
    );
    Ok(())
}

#[test]
fn a_tar_goes_to_standard_output() -> TestResult {
    let fixture = fixture()?;
    let outcome = fixture.kiln(["build", "-o", "-", "image"]).run()?;
    let archive = fixture.write("stdout.tar", &outcome.assert_success().stdout)?;
    let listing = Program::new("tar")
        .args(["-tvf"])
        .args([&archive])
        .succeed()?
        .stdout_text();
    assert!(
        listing
            .lines()
            .any(|line| line.starts_with("-rw-r-----") && line.ends_with("data/file")),
        "{listing}"
    );
    assert!(listing.contains("1000/1001"), "{listing}");
    assert!(!listing.contains("nsswitch.conf"), "{listing}");
    assert!(
        !listing.contains(".wh."),
        "whiteouts do not leave the layers:\n{listing}"
    );
    Ok(())
}

#[test]
fn nothing_is_written_for_the_cache_alone() -> TestResult {
    let fixture = fixture()?;
    let before = fs::read_dir(fixture.directory())?.count();
    fixture
        .kiln(["build", "-o", "type=cacheonly", "image"])
        .run()?
        .assert_success();
    // The state directory is new, and nothing else.
    assert_eq!(fs::read_dir(fixture.directory())?.count(), before + 1);
    Ok(())
}
