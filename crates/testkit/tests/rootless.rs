//! Everything that needs no privilege, as a user who has none.

use std::fs;

use kiln_testkit::{DockerRegistry, Fixture, OrdinaryUser, SubordinateIds, TestResult, skip_unless_root};

const DOCKERFILE: &str = "\
FROM alpine:3.20
RUN uname -m > /machine && id -u > /id
COPY --chown=1000:1000 file /file
RUN --mount=type=cache,target=/cache --mount=type=secret,id=s --mount=target=/src --mount=from=busybox,target=/from,rw \
    echo kept > /cache/x && cat /run/secrets/s /src/file > /mounted && touch /from/x && ls /from/bin/busybox >> /mounted
";

fn build_and_run(subordinate: SubordinateIds, test: &str) -> TestResult {
    if skip_unless_root(test) {
        return Ok(());
    }
    let user = OrdinaryUser::create(subordinate)?;
    let mut fixture = Fixture::with_base_images()?;
    fixture.binary_for_everyone()?;
    let registry = DockerRegistry::start()?;
    let image = format!("{}/rootless:1", registry.address());
    fixture.context("app", &[("Dockerfile", DOCKERFILE), ("file", "content")])?;
    let arguments = [
        "build",
        "--platform",
        "linux/amd64,linux/arm64",
        "-t",
        &image,
        "--push",
        "--secret",
        "id=s,src=secret",
        "app",
    ];
    fixture.write("secret", b"hush ")?;
    fixture.kiln_as(&user, arguments)?.run()?.assert_success();
    for (platform, machine) in [("linux/amd64", "x86_64\n"), ("linux/arm64", "aarch64\n")] {
        assert_eq!(
            fixture.file_in_image(&image, platform, "machine")?.as_deref(),
            Some(machine)
        );
        assert_eq!(
            fixture.file_in_image(&image, platform, "id")?.as_deref(),
            Some("0\n"),
            "root inside"
        );
        assert_eq!(
            fixture.file_in_image(&image, platform, "file")?.as_deref(),
            Some("content")
        );
        assert_eq!(
            fixture.file_in_image(&image, platform, "mounted")?.as_deref(),
            Some("hush content/from/bin/busybox\n")
        );
        let ran = fixture
            .kiln_as(&user, ["run", "--rm", "--platform", platform, &image, "uname", "-m"])?
            .run()?;
        assert_eq!(ran.assert_success().stdout_text(), machine);
    }
    // What the user's build wrote is the user's to remove, and nothing of it is mounted.
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    assert!(!mounts.contains(&fixture.directory().display().to_string()), "{mounts}");
    Ok(())
}

#[test]
fn builds_with_subordinate_ids() -> TestResult {
    build_and_run(SubordinateIds::Granted, "builds_with_subordinate_ids")
}

#[test]
fn builds_without_subordinate_ids() -> TestResult {
    build_and_run(SubordinateIds::None, "builds_without_subordinate_ids")
}

#[test]
fn a_rootless_image_equals_one_that_root_built() -> TestResult {
    if skip_unless_root("a_rootless_image_equals_one_that_root_built") {
        return Ok(());
    }
    let user = OrdinaryUser::create(SubordinateIds::Granted)?;
    let mut fixture = Fixture::with_base_images()?;
    fixture.binary_for_everyone()?;
    let dockerfile = "FROM busybox\nCOPY --chown=33:44 file /file\nWORKDIR /srv/app\n";
    fixture.context("app", &[("Dockerfile", dockerfile), ("file", "content")])?;
    let build = |iid: &str| {
        [
            "build",
            "--iidfile",
            iid,
            "-o",
            "type=image,name=example.test/app:1",
            "app",
        ]
        .map(str::to_owned)
    };
    fixture.kiln(build("root.iid")).run()?.assert_success();
    fixture.set_state(fixture.directory().join("state-of-the-user"));
    fixture.kiln_as(&user, build("user.iid"))?.run()?.assert_success();
    let read = |name: &str| fs::read_to_string(fixture.directory().join(name));
    assert_eq!(read("root.iid")?, read("user.iid")?);
    Ok(())
}

#[test]
fn a_foreign_owner_without_subordinate_ids_gets_a_hint() -> TestResult {
    if skip_unless_root("a_foreign_owner_without_subordinate_ids_gets_a_hint") {
        return Ok(());
    }
    let user = OrdinaryUser::create(SubordinateIds::None)?;
    let mut fixture = Fixture::with_base_images()?;
    fixture.binary_for_everyone()?;
    fixture.context(
        "app",
        &[("Dockerfile", "FROM busybox\nRUN touch /file && chown 1000:1000 /file\n")],
    )?;
    let outcome = fixture
        .kiln_as(&user, ["build", "-o", "type=cacheonly", "app"])?
        .run()?;
    outcome.assert_code(1).assert_says(&["subordinate", "/etc/subuid"]);
    Ok(())
}
