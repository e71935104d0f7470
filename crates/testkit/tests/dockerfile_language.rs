//! What the corpora do not show of the language: whole builds with several stages and contexts, against what the peers do.

use std::fs;

use kiln_testkit::{Fixture, Outcome, TestResult};

/// Builds a Dockerfile, beside which there is a file, into the directory `out`.
fn build(fixture: &Fixture, dockerfile: &str, flags: &[&str]) -> Result<Outcome, Box<dyn std::error::Error>> {
    let context = fixture.context("context", &[("Dockerfile", dockerfile), ("file", "text")])?;
    Ok(fixture
        .kiln(["build", "--progress", "plain", "-o", "out"])
        .args(flags)
        .args([context])
        .run()?)
}

/// The text of a file of the result.
fn built(fixture: &Fixture, path: &str) -> Result<String, Box<dyn std::error::Error>> {
    Ok(fs::read_to_string(fixture.directory().join("out").join(path))?)
}

#[test]
fn the_later_one_of_arg_and_env_counts() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = "FROM busybox AS first\nENV A=env\nARG A=arg\nARG B=kept\nRUN echo \"$A $B\" > /one\n\
        FROM first\nRUN echo \"$A $B\" > /two\nFROM scratch\nCOPY --from=1 /one /two /\n";
    build(&fixture, dockerfile, &[])?.assert_success();
    assert_eq!(built(&fixture, "one")?, "arg kept\n");
    // A stage begins with the configuration's variables, and with the arguments of the stage that it is built on.
    assert_eq!(built(&fixture, "two")?, "env kept\n");
    Ok(())
}

#[test]
fn a_working_directory_belongs_to_its_user() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = "FROM busybox\nRUN adduser -D app\nUSER app\nWORKDIR /a/b\nRUN stat -c %U:%G /a /a/b > owners\n\
        FROM scratch\nUSER nobody-knows\nWORKDIR /c\nCOPY --from=0 /a/b/owners /\n";
    build(&fixture, dockerfile, &[])?.assert_success();
    assert_eq!(built(&fixture, "owners")?, "app:app\napp:app\n");
    Ok(())
}

#[test]
fn a_context_takes_the_place_of_a_stage() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    fixture.context("other", &[("file", "of the context")])?;
    let dockerfile = "FROM busybox AS files\nRUN false\nFROM files AS used\nFROM scratch\nCOPY --from=used /file /one\n\
        COPY --from=files file /two\n";
    build(&fixture, dockerfile, &["--build-context", "files=other"])?.assert_success();
    assert_eq!(
        built(&fixture, "one")? + &built(&fixture, "two")?,
        "of the contextof the context"
    );
    let nothing = "FROM busybox AS gone\nRUN touch /there\nFROM scratch\nCOPY --from=gone . /copied/\nCOPY file /\n";
    build(&fixture, nothing, &["--build-context", "gone=docker-image://scratch"])?.assert_success();
    assert!(!fixture.directory().join("out/copied/there").exists());
    Ok(())
}

#[test]
fn stages_are_copied_from_in_order() -> TestResult {
    let fixture = Fixture::new()?;
    let later = "FROM scratch AS a\nCOPY --from=b /x /\nFROM scratch AS b\n";
    build(&fixture, later, &["--target", "a"])?
        .assert_code(2)
        .assert_says(&[
            "Dockerfile:2",
            "cannot copy from stage \"b\", it needs to be defined before current stage \"a\"",
        ]);
    build(&fixture, "FROM scratch AS a\nCOPY --from=a /x /\n", &[])?
        .assert_code(2)
        .assert_says(&["circular dependency detected on stage: a"]);
    build(&fixture, "FROM scratch\nCOPY --from=5 /x /\n", &[])?
        .assert_code(2)
        .assert_says(&["invalid stage index 5"]);
    Ok(())
}

#[test]
fn an_image_is_no_misspelt_stage() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = "FROM scratch AS busybox1\nFROM scratch\nCOPY --from=busybox /bin/busybox /\n";
    build(&fixture, dockerfile, &[])?.assert_success();
    assert!(fixture.directory().join("out/busybox").is_file());
    build(&fixture, "FROM busybux\nRUN true\n", &[])?
        .assert_code(2)
        .assert_says(&["Dockerfile:1", "did you mean busybox?"]);
    Ok(())
}

#[test]
fn a_link_with_a_mode_looks_at_what_is_below() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = "FROM busybox AS base\nRUN mkdir /real && ln -s real /link\nFROM base\nCOPY --link file /link/\n\
        RUN [ ! -L /link ] && [ -f /link/file ] && [ ! -e /real/file ]\n\
        FROM base\nCOPY --link --chmod=600 file /link/\nRUN [ -L /link ] && [ -f /real/file ]\n\
        FROM scratch\nCOPY --from=1 /link/file /one\nCOPY --from=2 /real/file /two\n";
    build(&fixture, dockerfile, &[])?.assert_success();
    assert_eq!(built(&fixture, "one")?, "text");
    Ok(())
}

#[test]
fn built_in_arguments_say_the_host_name_and_the_form() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = "FROM busybox\nRUN hostname > /name\nFROM scratch\nCOPY --from=0 /name /\n";
    let flags = [
        "--build-arg",
        "BUILDKIT_SANDBOX_HOSTNAME=elsewhere",
        "--build-arg",
        "BUILDKIT_MULTI_PLATFORM=1",
        "--platform",
        "linux/amd64",
    ];
    build(&fixture, dockerfile, &flags)?.assert_success();
    assert_eq!(built(&fixture, "linux_amd64/name")?, "elsewhere\n");
    Ok(())
}

#[test]
fn proxies_come_from_dockers_configuration() -> TestResult {
    let mut fixture = Fixture::with_base_images()?;
    let config = br#"{"proxies": {"default": {"httpProxy": "http://configured"}}}"#;
    fixture.write("docker/config.json", config)?;
    let directory = fixture.directory().join("docker").display().to_string();
    fixture.set_env("DOCKER_CONFIG", &directory);
    let dockerfile = "FROM busybox\nRUN echo $HTTP_PROXY $http_proxy > /proxy\nFROM scratch\nCOPY --from=0 /proxy /\n";
    build(&fixture, dockerfile, &[])?.assert_success();
    assert_eq!(built(&fixture, "proxy")?, "http://configured http://configured\n");
    let given = ["--no-cache", "--build-arg", "http_proxy=http://given"];
    build(&fixture, dockerfile, &given)?.assert_success();
    assert!(!built(&fixture, "proxy")?.contains("configured"));
    Ok(())
}

#[test]
fn an_archive_leaves_what_it_only_implies() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    archive.append_data(&mut header, "private/new/file", &b"x"[..])?;
    fixture.write("context/files.tar", &archive.into_inner()?)?;
    let dockerfile = "FROM busybox\nRUN mkdir -m 700 /private\nADD files.tar /\n\
        RUN stat -c %a /private /private/new > /modes\nFROM scratch\nCOPY --from=0 /modes /\n";
    build(&fixture, dockerfile, &[])?.assert_success();
    assert_eq!(built(&fixture, "modes")?, "700\n755\n");
    Ok(())
}
