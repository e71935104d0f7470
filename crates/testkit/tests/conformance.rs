//! The corpora that need no build: each must hold but for what is known not to.
//!
//! `dockerfile-integration` and `dockerfile-peer-golden`, which build, are driven by `cargo xtask conformance --check` and so by `cargo xtask test`.

use std::path::Path;

use kiln_testkit::TestResult;
use kiln_testkit::conformance::{KnownFailures, corpus};

fn holds(name: &str) -> TestResult {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/conformance")
        .join(name);
    if !directory.is_dir() {
        std::io::Write::write_all(
            &mut std::io::stderr(),
            format!("skipped: {name}: the corpora are not beside this checkout\n").as_bytes(),
        )?;
        return Ok(());
    }
    let corpus = corpus(name).ok_or("no such corpus")?;
    let result = (corpus.drive)(&directory);
    assert!(result.total() > 0, "{name} has cases");
    let differences = KnownFailures::of_this_tree()?.differences(&result);
    assert!(differences.is_empty(), "{differences:#?}");
    Ok(())
}

#[test]
fn dockerfile_parser() -> TestResult {
    holds("dockerfile-parser")
}

#[test]
fn bake() -> TestResult {
    holds("bake")
}

#[test]
fn dockerfile_shell() -> TestResult {
    holds("dockerfile-shell")
}

#[test]
fn dockerignore() -> TestResult {
    holds("dockerignore")
}

#[test]
fn dockerfile_instructions() -> TestResult {
    holds("dockerfile-instructions")
}

#[test]
fn dockerfile_lint() -> TestResult {
    holds("dockerfile-lint")
}

#[test]
fn dockerfile_golden() -> TestResult {
    holds("dockerfile-golden")
}

#[test]
fn workdir_paths() -> TestResult {
    holds("workdir-paths")
}

#[test]
fn cli_flags() -> TestResult {
    holds("cli-flags")
}

#[test]
fn image_reference() -> TestResult {
    holds("image-reference")
}

#[test]
fn platforms() -> TestResult {
    holds("platforms")
}

#[test]
fn digest() -> TestResult {
    holds("digest")
}

#[test]
fn oci_image_spec() -> TestResult {
    holds("oci-image-spec")
}

#[test]
fn realworld() -> TestResult {
    holds("realworld")
}

#[test]
fn metadata_action() -> TestResult {
    holds("metadata-action")
}
