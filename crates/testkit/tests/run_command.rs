//! `kiln run`: a command in an image, on any platform, with its exit code and signals.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use kiln_testkit::{Fixture, Program, TestResult, is_running};

#[test]
fn exit_codes_pass_through_on_every_platform() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    for (platform, machine) in [
        ("linux/amd64", "x86_64"),
        ("linux/arm64", "aarch64"),
        ("linux/arm/v7", "armv7l"),
    ] {
        let script = "uname -m; echo talk >&2; exit 7";
        let outcome = fixture
            .kiln(["run", "--rm", "--platform", platform, "alpine:3.20", "sh", "-c", script])
            .run()?;
        outcome.assert_code(7).assert_says(&["talk"]);
        assert_eq!(outcome.stdout_text(), format!("{machine}\n"));
    }
    Ok(())
}

#[test]
fn a_signal_ends_with_its_code() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    for platform in ["linux/amd64", "linux/arm64"] {
        // A shell that kills itself is not the first process of its container, which ignores such signals.
        let script = "sh -c 'kill -TERM $$'; exit $?";
        let outcome = fixture
            .kiln(["run", "--rm", "--platform", platform, "busybox", "sh", "-c", script])
            .run()?;
        outcome.assert_code(128 + 15);
    }
    Ok(())
}

#[test]
fn a_signal_reaches_the_command() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    for platform in ["linux/amd64", "linux/arm64"] {
        let script = "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.1; done";
        let mut command = fixture.command(["run", "--rm", "--platform", platform, "busybox", "sh", "-c", script])?;
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().ok_or("no output")?));
        assert_eq!(lines.next().transpose()?.as_deref(), Some("ready"), "{platform}");
        Program::new("kill")
            .args(["-TERM", &child.id().to_string()])
            .succeed()?;
        assert_eq!(lines.next().transpose()?.as_deref(), Some("caught"), "{platform}");
        assert_eq!(child.wait()?.code(), Some(9), "{platform}");
    }
    Ok(())
}

#[test]
fn environment_directory_user_and_entrypoint_are_set() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let flags = [
        "--rm",
        "-e",
        "GREETING=hello",
        "-w",
        "/tmp",
        "-u",
        "1234:5678",
        "--entrypoint",
        "/bin/sh",
    ];
    let script = "echo $GREETING; pwd; id -u; id -g";
    let outcome = fixture
        .kiln(["run"])
        .args(flags)
        .args(["busybox", "-c", script])
        .run()?;
    assert_eq!(outcome.assert_success().stdout_text(), "hello\n/tmp\n1234\n5678\n");
    Ok(())
}

#[test]
fn a_directory_of_the_host_is_mounted() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    fixture.write("shared/in", b"from the host")?;
    let shared = fixture.directory().join("shared");
    let volume = format!("{}:/shared", shared.display());
    let script = "cat /shared/in; echo from inside > /shared/out";
    let outcome = fixture
        .kiln(["run", "--rm", "-v", &volume, "busybox", "sh", "-c", script])
        .run()?;
    assert_eq!(outcome.assert_success().stdout_text(), "from the host");
    assert_eq!(fs::read_to_string(shared.join("out"))?, "from inside\n");

    let volume = format!("{}:/shared:ro", shared.display());
    let outcome = fixture
        .kiln(["run", "--rm", "-v", &volume, "busybox", "touch", "/shared/new"])
        .run()?;
    assert!(
        !outcome.status.success() && !shared.join("new").exists(),
        "{}",
        outcome.stderr
    );
    Ok(())
}

#[test]
fn standard_input_reaches_the_command() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let outcome = fixture
        .kiln(["run", "--rm", "-i", "--platform", "linux/arm64", "busybox", "cat"])
        .input("typed\n")
        .run()?;
    assert_eq!(outcome.assert_success().stdout_text(), "typed\n");
    Ok(())
}

#[test]
fn an_image_without_the_platform_is_an_error_that_names_those_it_has() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let outcome = fixture
        .kiln(["run", "--rm", "--platform", "linux/riscv64", "alpine:3.20", "true"])
        .run()?;
    assert!(!outcome.status.success());
    outcome.assert_says(&["linux/riscv64", "linux/amd64", "linux/arm64"]);
    Ok(())
}

#[test]
fn a_command_that_does_not_exist_is_named() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let outcome = fixture.kiln(["run", "--rm", "busybox", "no-such-program"]).run()?;
    outcome.assert_code(127).assert_says(&["no-such-program"]);
    Ok(())
}

#[test]
fn a_program_that_cannot_start_says_what_it_lacks() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    fixture.write("scripts/job", b"#!/bin/bash\necho never\n")?;
    let path = fixture.directory().join("scripts/job");
    Program::new("chmod")
        .args(["755".as_ref(), path.as_os_str()])
        .succeed()?;
    let volume = format!("{}:/scripts", fixture.directory().join("scripts").display());
    for platform in ["linux/amd64", "linux/arm64"] {
        let run = [
            "run",
            "--rm",
            "--platform",
            platform,
            "-v",
            &volume,
            "busybox",
            "/scripts/job",
        ];
        fixture
            .kiln(run)
            .run()?
            .assert_code(127)
            .assert_says(&["there is no `/bin/bash`, which its first line asks for"]);
    }
    Ok(())
}

#[test]
fn nothing_is_left_mounted_or_running() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let mut command = fixture.command(["run", "--rm", "busybox", "sh", "-c", "echo ready; sleep 3131"])?;
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().ok_or("no output")?));
    assert_eq!(lines.next().transpose()?.as_deref(), Some("ready"));
    Program::new("kill")
        .args(["-KILL", &child.id().to_string()])
        .succeed()?;
    child.wait()?;
    let started = Instant::now();
    let running = || is_running("sleep 3131");
    while running() && started.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!running(), "the command outlives the `kiln` that ran it");
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    assert!(!mounts.contains(&fixture.directory().display().to_string()), "{mounts}");
    Ok(())
}
