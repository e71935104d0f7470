//! What the language of Dockerfiles promises about arguments, platforms, proxies, triggers and frontends.

use std::fs;
use std::path::Path;

use kiln_testkit::{DockerRegistry, Fixture, HttpServer, Outcome, Response, TestResult, TestkitError};
use serde_json::Value;

/// Builds a Dockerfile into the directory `out` of the fixture.
fn build(fixture: &Fixture, dockerfile: &str, flags: &[&str]) -> Result<Outcome, TestkitError> {
    fixture.context("app", &[("Dockerfile", dockerfile)])?;
    fixture.kiln(["build", "-o", "out"]).args(flags).args(["app"]).run()
}

fn told(fixture: &Fixture, path: &str) -> std::io::Result<String> {
    fs::read_to_string(fixture.directory().join("out").join(path))
}

/// The image's configuration as it is in the registry, through `skopeo`.
fn config(fixture: &Fixture, reference: &str) -> Result<Value, TestkitError> {
    let reference = format!("docker://{reference}");
    let arguments = ["inspect", "--tls-verify=false", "--config", "--raw", &reference];
    Ok(fixture.skopeo(arguments).succeed()?.json())
}

#[test]
fn platform_arguments_have_values_where_they_are_declared() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = "\
FROM --platform=$BUILDPLATFORM alpine:3.20 AS native
ARG TARGETPLATFORM
ARG BUILDPLATFORM
RUN echo \"native $(uname -m) $BUILDPLATFORM for $TARGETPLATFORM\" > /native
FROM alpine:3.20 AS final
RUN echo \"undeclared <$TARGETARCH$TARGETSTAGE>\" > /before
ARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT TARGETSTAGE
RUN echo \"$(uname -m) $TARGETPLATFORM $TARGETOS $TARGETARCH <$TARGETVARIANT> $TARGETSTAGE\" > /after
COPY --from=native /native /
FROM final AS child
RUN echo \"inherited $TARGETARCH\" > /child
";
    let platforms = "--platform=linux/amd64,linux/arm64,linux/arm/v7";
    build(&fixture, dockerfile, &[platforms, "--target=child"])?.assert_success();
    let host = told(&fixture, "linux_arm64/native")?;
    let build_platform = if cfg!(target_arch = "x86_64") {
        "linux/amd64"
    } else {
        "linux/arm64"
    };
    assert!(host.ends_with(&format!("{build_platform} for linux/arm64\n")), "{host}");
    assert_eq!(told(&fixture, "linux_arm64/before")?, "undeclared <>\n");
    for (directory, line) in [
        ("linux_amd64", "x86_64 linux/amd64 linux amd64 <> child\n"),
        ("linux_arm64", "aarch64 linux/arm64 linux arm64 <> child\n"),
        ("linux_arm_v7", "armv7l linux/arm/v7 linux arm <v7> child\n"),
    ] {
        assert_eq!(told(&fixture, &format!("{directory}/after"))?, line);
    }
    assert_eq!(told(&fixture, "linux_arm_v7/child")?, "inherited arm\n");
    Ok(())
}

#[test]
fn a_given_value_takes_the_place_of_a_platform_argument() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = "FROM alpine:3.20\nARG TARGETARCH\nARG OWN=default\nRUN echo $TARGETARCH $OWN > /told\n";
    build(&fixture, dockerfile, &["--build-arg=TARGETARCH=mine"])?.assert_success();
    assert_eq!(told(&fixture, "told")?, "mine default\n");
    Ok(())
}

#[test]
fn the_scope_of_arg_is_a_stage() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = "\
ARG VERSION=3.20
ARG IMAGE=alpine:${VERSION}
FROM ${IMAGE} AS one
RUN echo \"<$VERSION>\" > /undeclared
ARG VERSION
RUN echo \"<$VERSION>\" > /declared
ARG VERSION=other
ENV FROM_ARG=${VERSION}
ENV VERSION=from-env
RUN echo \"<$VERSION> <$FROM_ARG>\" > /env
FROM one AS two
ARG VERSION=again
RUN echo \"<$VERSION>\" > /child
FROM alpine:3.20 AS three
COPY --from=two /undeclared /declared /env /child /
RUN echo \"<$VERSION>\" > /sibling
";
    build(&fixture, dockerfile, &[])?.assert_success();
    for (path, expected) in [
        ("undeclared", "<>\n"),
        ("declared", "<3.20>\n"),
        ("env", "<from-env> <other>\n"),
        ("child", "<again>\n"),
        ("sibling", "<>\n"),
    ] {
        assert_eq!(told(&fixture, path)?, expected, "{path}");
    }
    Ok(())
}

#[test]
fn another_proxy_runs_nothing_again_and_no_image_tells_of_it() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let registry = DockerRegistry::start()?;
    let image = format!("{}/team/app:1", registry.address());
    let dockerfile = "FROM alpine:3.20\nRUN test -n \"$HTTP_PROXY$http_proxy\"; date +%s%N > /when\n";
    fixture.context("app", &[("Dockerfile", dockerfile)])?;
    let run = |proxy: &str| {
        let given = ["HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "ALL_PROXY"];
        let flags = given.map(|name| format!("--build-arg={name}=http://{proxy}.invalid:3128"));
        fixture
            .kiln(["build", "--push", "--progress=plain", "-t", &image])
            .args(flags)
            .args(["app"])
            .run()
    };
    run("first-secret")?.assert_success();
    let first = fixture.file_in_image(&image, "linux/amd64", "when")?;
    let again = run("second-secret")?;
    again.assert_success().assert_says(&["CACHED"]);
    assert_eq!(
        fixture.file_in_image(&image, "linux/amd64", "when")?,
        first,
        "the step ran again"
    );
    let text = config(&fixture, &image)?.to_string() + &fixture.raw_manifest(&image)?.to_string();
    assert!(!text.contains("secret") && !text.contains("3128"), "{text}");
    Ok(())
}

#[test]
fn a_proxy_reaches_every_step() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = "FROM alpine:3.20\nRUN echo \"$HTTP_PROXY $no_proxy <$OTHER>\" > /told\n";
    let flags = [
        "--build-arg=HTTP_PROXY=http://p.invalid",
        "--build-arg=no_proxy=localhost",
        "--build-arg=OTHER=x",
    ];
    build(&fixture, dockerfile, &flags)?.assert_success();
    assert_eq!(told(&fixture, "told")?, "http://p.invalid localhost <>\n");
    Ok(())
}

#[test]
fn variables_are_expanded_in_all_their_forms() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let forms = [
        ("${SET}", "path/to/file.tar.gz"),
        ("${UNSET:-default}", "default"),
        ("${EMPTY:-default}", "default"),
        ("${EMPTY-default}", ""),
        ("${SET:+other}", "other"),
        ("${EMPTY:+other}", ""),
        ("${EMPTY+other}", "other"),
        ("${SET:?must be set}", "path/to/file.tar.gz"),
        ("${SET#*/}", "to/file.tar.gz"),
        ("${SET##*/}", "file.tar.gz"),
        ("${SET%.*}", "path/to/file.tar"),
        ("${SET%%.*}", "path/to/file"),
        ("${SET/t/T}", "paTh/to/file.tar.gz"),
        ("${SET//t/T}", "paTh/To/file.Tar.gz"),
        ("${UNSET:-${EMPTY:-nested}}", "nested"),
        ("\\${SET}", "${SET}"),
        ("'${SET}'", "${SET}"),
    ];
    let mut dockerfile = "FROM alpine:3.20\nARG SET=path/to/file.tar.gz\nARG EMPTY=\n".to_owned();
    for (number, (form, _)) in forms.iter().enumerate() {
        let quoted = if form.starts_with('\'') {
            (*form).to_owned()
        } else {
            format!("\"{form}\"")
        };
        dockerfile.push_str(&format!("ENV V{number}={quoted}\n"));
    }
    dockerfile.push_str("RUN env > /env\n");
    build(&fixture, &dockerfile, &[])?.assert_success();
    let env = told(&fixture, "env")?;
    for (number, (form, expected)) in forms.iter().enumerate() {
        let line = format!("V{number}={expected}");
        assert!(env.lines().any(|known| known == line), "{form}: no `{line}` in\n{env}");
    }
    for (text, says) in [
        ("FROM alpine:3.20\nENV A=${NAME:?give it a value}\n", "give it a value"),
        ("FROM alpine:3.20\nENV A=${NAME\n", "line 2"),
        ("FROM ${BASE}\n", "blank"),
    ] {
        build(&fixture, text, &[])?.assert_code(2).assert_says(&[says]);
    }
    Ok(())
}

#[test]
fn triggers_of_a_base_image_run_in_its_children_and_not_in_theirs() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let registry = DockerRegistry::start()?;
    let [parent, child, grandchild] =
        ["parent", "child", "grandchild"].map(|name| format!("{}/{name}:1", registry.address()));
    let push = |name: &str, dockerfile: &str, image: &str| -> Result<Outcome, TestkitError> {
        fixture.context(name, &[("Dockerfile", dockerfile), ("file", name)])?;
        fixture.kiln(["build", "--push", "-t", image, name]).run()
    };
    let dockerfile =
        "FROM alpine:3.20\nONBUILD COPY file /file\nONBUILD RUN echo ran >> /ran\nONBUILD ENV TRIGGERED=yes\n";
    push("parent", dockerfile, &parent)?.assert_success();
    assert_eq!(
        config(&fixture, &parent)?["config"]["OnBuild"],
        serde_json::json!(["COPY file /file", "RUN echo ran >> /ran", "ENV TRIGGERED=yes"])
    );
    push(
        "child",
        &format!("FROM {parent}\nRUN echo \"$TRIGGERED $(cat /file)\" > /own\n"),
        &child,
    )?
    .assert_success();
    let file = |image: &str, path: &str| fixture.file_in_image(image, "linux/amd64", path);
    assert_eq!(file(&child, "own")?.as_deref(), Some("yes child\n"));
    assert_eq!(config(&fixture, &child)?["config"].get("OnBuild"), None);
    push("grandchild", &format!("FROM {child}\nRUN true\n"), &grandchild)?.assert_success();
    assert_eq!(
        file(&grandchild, "ran")?.as_deref(),
        Some("ran\n"),
        "once, in the child"
    );
    assert_eq!(file(&grandchild, "file")?.as_deref(), Some("child"));
    Ok(())
}

#[test]
fn dockers_frontend_is_built_in_and_others_are_refused() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    for accepted in [
        "docker/dockerfile:1",
        "docker/dockerfile:1.7-labs",
        "docker.io/docker/dockerfile:1.26",
        "docker/dockerfile-upstream:master",
        "registry.example/mirror/docker/dockerfile:1",
    ] {
        build(&fixture, &format!("# syntax={accepted}\nFROM alpine:3.20\n"), &[])?.assert_success();
    }
    let refused = build(
        &fixture,
        "# syntax=example.com/other/frontend:2\nFROM alpine:3.20\n",
        &[],
    )?;
    refused
        .assert_code(2)
        .assert_says(&["example.com/other/frontend:2", "line 1", "docker/dockerfile:1"]);
    let given = build(
        &fixture,
        "FROM alpine:3.20\n",
        &["--build-arg=BUILDKIT_SYNTAX=example.com/other"],
    )?;
    given.assert_code(2).assert_says(&["example.com/other"]);
    Ok(())
}

#[test]
fn build_arguments_configure_the_build() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let registry = DockerRegistry::start()?;
    let name = "FROM alpine:3.20\nRUN hostname > /name && grep -c \"$(hostname)\" /etc/hosts\n";
    build(&fixture, name, &[])?.assert_success();
    assert_eq!(told(&fixture, "name")?, "kiln\n");
    build(&fixture, name, &["--build-arg=BUILDKIT_SANDBOX_HOSTNAME=builder"])?.assert_success();
    assert_eq!(told(&fixture, "name")?, "builder\n");

    build(
        &fixture,
        name,
        &["--platform=linux/arm64", "--build-arg=BUILDKIT_MULTI_PLATFORM=1"],
    )?
    .assert_success();
    assert_eq!(told(&fixture, "linux_arm64/name")?, "kiln\n");
    let image = format!("{}/app:1", registry.address());
    for (flags, media_type) in [
        (&[][..], "application/vnd.oci.image.manifest.v1+json"),
        (
            &["--build-arg=BUILDKIT_MULTI_PLATFORM=true"][..],
            "application/vnd.oci.image.index.v1+json",
        ),
    ] {
        let push = fixture
            .kiln(["build", "--push", "-t", &image])
            .args(flags)
            .args(["app"])
            .run()?;
        push.assert_success();
        assert_eq!(fixture.raw_manifest(&image)?["mediaType"], media_type);
    }

    let cache = "FROM alpine:3.20\nARG RUN_NUMBER\nRUN --mount=type=cache,target=/c echo $RUN_NUMBER >> /c/log && cp /c/log /log\n";
    for (number, namespace, expected) in [("1", "one", "1\n"), ("2", "two", "2\n"), ("3", "one", "1\n3\n")] {
        let namespace = format!("--build-arg=BUILDKIT_CACHE_MOUNT_NS={namespace}");
        let number = format!("--build-arg=RUN_NUMBER={number}");
        build(&fixture, cache, &[&namespace, &number])?.assert_success();
        assert_eq!(told(&fixture, "log")?, expected);
    }

    let untidy = "FROM alpine:3.20 AS Base\n";
    build(&fixture, untidy, &["--build-arg=BUILDKIT_DOCKERFILE_CHECK=error=true"])?
        .assert_code(2)
        .assert_says(&["StageNameCasing"]);
    let skipped = build(
        &fixture,
        untidy,
        &["--build-arg=BUILDKIT_DOCKERFILE_CHECK=skip=all;error=true"],
    )?;
    assert!(!skipped.assert_success().stderr.contains("StageNameCasing"));
    Ok(())
}

#[test]
fn names_of_processors_can_be_used_wherever_arguments_can() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let server = HttpServer::start(|request| {
        let path = request.path().to_owned();
        Response::with_body(200, "application/octet-stream", path)
    })?;
    let dockerfile = format!(
        "\
ARG TARGETARCH_DEB
FROM --platform=$BUILDPLATFORM alpine:3.20 AS native
ARG BUILDARCH_UNAME TARGETARCH_RUST
RUN test \"$BUILDARCH_UNAME\" = \"$(uname -m)\" && echo $TARGETARCH_RUST > /rust
FROM alpine:3.20
ARG TARGETARCH_UNAME TARGETARCH_DEB TARGETARCH_GNU TARGETARCH_NODE
RUN test \"$TARGETARCH_UNAME\" = \"$(uname -m)\"
ADD http://{}/tool-${{TARGETARCH_UNAME}}_${{TARGETARCH_DEB}} /tool
COPY --from=native /rust /
RUN echo $TARGETARCH_GNU $TARGETARCH_NODE > /told
LABEL arch=$TARGETARCH_NODE
",
        server.address()
    );
    let outcome = build(
        &fixture,
        &dockerfile,
        &["--platform=linux/amd64,linux/arm64,linux/arm/v7"],
    )?;
    outcome
        .assert_success()
        .assert_says(&["KilnExtension", "TARGETARCH_UNAME"]);
    for (directory, rust, tool, told_line) in [
        (
            "linux_amd64",
            "x86_64-unknown-linux-gnu",
            "/tool-x86_64_amd64",
            "x86_64-linux-gnu x64",
        ),
        (
            "linux_arm64",
            "aarch64-unknown-linux-gnu",
            "/tool-aarch64_arm64",
            "aarch64-linux-gnu arm64",
        ),
        (
            "linux_arm_v7",
            "armv7-unknown-linux-gnueabihf",
            "/tool-armv7l_armhf",
            "arm-linux-gnueabihf armv7l",
        ),
    ] {
        let read = |path: &str| told(&fixture, &Path::new(directory).join(path).display().to_string());
        assert_eq!(read("rust")?, format!("{rust}\n"));
        assert_eq!(read("tool")?, tool);
        assert_eq!(read("told")?, format!("{told_line}\n"));
    }
    Ok(())
}

#[test]
fn a_context_of_a_stages_name_stands_for_the_stage_on_its_own_platform() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = "\
FROM --platform=$BUILDPLATFORM alpine:3.20 AS tools
RUN exit 1
FROM tools AS build
ARG TARGETARCH
RUN uname -m > /built-on && echo $TARGETARCH > /for
FROM scratch
COPY --from=build /built-on /for /
COPY --from=tools /bin/busybox /tools
";
    build(&fixture, dockerfile, &[])?.assert_code(1);
    let flags = [
        "--platform=linux/amd64,linux/arm64",
        "--build-context=tools=docker-image://busybox",
    ];
    build(&fixture, dockerfile, &flags)?.assert_success();
    assert_eq!(
        told(&fixture, "linux_arm64/built-on")?,
        told(&fixture, "linux_amd64/built-on")?
    );
    assert_eq!(told(&fixture, "linux_arm64/for")?, "arm64\n");
    let tools = |platform: &str| fs::read(fixture.directory().join("out").join(platform).join("tools"));
    assert_eq!(
        tools("linux_arm64")?,
        tools("linux_amd64")?,
        "taken on the build platform"
    );
    Ok(())
}
