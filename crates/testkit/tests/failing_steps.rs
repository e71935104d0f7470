//! A step that fails: what is told, how long it may take, and a shell to look around.

use kiln_testkit::{Fixture, Terminal, TestResult};

/// A build on a terminal whose failing step ends in a shell, where `keys` are typed. What was shown in all.
fn in_the_shell(fixture: &Fixture, arguments: &[&str], keys: &str) -> Result<String, Box<dyn std::error::Error>> {
    let mut command = fixture.command(arguments)?;
    command.env("TERM", "dumb");
    let mut terminal = Terminal::start(command)?;
    assert!(terminal.wait_for("`exit` ends it"), "{}", terminal.shown());
    terminal.type_keys(keys)?;
    let code = terminal.finish();
    assert_eq!(code, Some(1), "the build failed all the same: {}", terminal.shown());
    Ok(terminal.shown().to_owned())
}

const DOCKERFILE: &str = "FROM busybox\nWORKDIR /work\nENV GREETING=hello\n\
    RUN --mount=type=secret,id=token --mount=source=data,target=/data echo half > made; exit 7\n";

#[test]
fn a_shell_starts_where_a_step_failed() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    fixture.context("app", &[("Dockerfile", DOCKERFILE), ("data/file", "mounted")])?;
    fixture.write("token", b"hush")?;
    let arguments = ["build", "--on-error=shell", "--secret", "id=token,src=token", "app"];
    let keys = "echo [$(pwd)] [$GREETING] [$(cat made)] [$(cat /data/file)] [$(wc -c < /run/secrets/token)]\nexit\n";
    let output = in_the_shell(&fixture, &arguments, keys)?;
    assert!(output.contains("exit code: 7"), "{output}");
    assert!(output.contains("[/work] [hello] [half] [mounted] [4]"), "{output}");
    Ok(())
}

#[test]
fn a_root_without_a_shell_borrows_one() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile =
        "FROM busybox AS tools\nFROM scratch\nCOPY --from=tools /bin/busybox /only\nRUN [\"/only\", \"false\"]\n";
    fixture.context("app", &[("Dockerfile", dockerfile)])?;
    for platform in ["linux/amd64", "linux/arm64"] {
        let arguments = ["build", "--platform", platform, "--on-error=shell", "app"];
        let output = in_the_shell(&fixture, &arguments, "echo files: /o*\nexit\n")?;
        assert!(output.contains("files: /only"), "{platform}: {output}");
    }
    Ok(())
}

#[test]
fn without_a_terminal_there_is_no_shell() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    fixture.context("app", &[("Dockerfile", "FROM busybox\nRUN exit 7\n")])?;
    let outcome = fixture.kiln(["build", "--on-error=shell", "app"]).run()?;
    outcome
        .assert_code(1)
        .assert_says(&["--on-error=shell needs a terminal", "exit code: 7"]);
    Ok(())
}

#[test]
fn a_step_that_takes_too_long_is_stopped() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    fixture.context("app", &[("Dockerfile", "FROM busybox\nRUN sleep 60 & sleep 60\n")])?;
    for (platform, limit) in [("linux/amd64", "1s"), ("linux/arm64", "1")] {
        let outcome = fixture
            .kiln(["build", "--platform", platform, "--timeout-step", limit, "app"])
            .run()?;
        outcome
            .assert_code(1)
            .assert_says(&["it took longer than allowed", "RUN sleep 60"]);
        assert!(
            outcome.elapsed < std::time::Duration::from_secs(30),
            "{:?}",
            outcome.elapsed
        );
    }
    let outcome = fixture.kiln(["build", "--timeout-step", "soon", "app"]).run()?;
    outcome
        .assert_code(2)
        .assert_says(&["invalid --timeout-step `soon`", "90s"]);
    Ok(())
}
