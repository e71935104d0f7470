//! `kiln version`, `kiln doctor`, `kiln inspect`.

use kiln_testkit::{Fixture, TestResult};

#[test]
fn the_version_is_data() -> TestResult {
    let outcome = Fixture::new()?.kiln(["version"]).run()?;
    assert!(
        outcome
            .assert_success()
            .stdout_text()
            .contains(env!("CARGO_PKG_VERSION")),
        "{}",
        outcome.stdout_text()
    );
    Ok(())
}

#[test]
fn the_doctor_names_what_it_looked_at() -> TestResult {
    let outcome = Fixture::new()?.kiln(["doctor"]).run()?;
    let said = outcome.stdout_text().to_lowercase();
    for subject in [
        "user namespaces",
        "subordinate ids",
        "overlay",
        "binfmt",
        "control groups",
        "linux/arm64",
    ] {
        assert!(said.contains(subject), "`{subject}` is missing in\n{said}");
    }
    Ok(())
}

#[test]
fn inspect_shows_every_platform() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let outcome = fixture.kiln(["inspect", "alpine:3.20"]).run()?;
    let said = outcome.assert_success().stdout_text();
    for expected in [
        "docker.io/library/alpine:3.20",
        "sha256:",
        "linux/amd64",
        "linux/arm64",
        "linux/arm/v7",
    ] {
        assert!(said.contains(expected), "`{expected}` is missing in\n{said}");
    }
    let outcome = fixture.kiln(["inspect", "alpine:none"]).run()?;
    assert!(!outcome.status.success());
    outcome.assert_says(&["alpine:none"]);
    Ok(())
}
