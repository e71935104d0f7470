//! The shape of the workspace: who may use whom, where `unsafe` may stand, how long a file may be.

#![expect(clippy::disallowed_methods, reason = "a test finds the programs of this machine")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kiln_testkit::{Program, TestResult};
use serde_json::Value;

/// Every crate and the crates of this workspace that it may use, as `ARCHITECTURE.md` has it.
const ALLOWED: &[(&str, &[&str])] = &[
    ("kiln-oci", &[]),
    ("kiln-graph", &["kiln-oci"]),
    ("kiln-flags", &["kiln-oci"]),
    ("kiln-dockerfile", &["kiln-oci", "kiln-graph", "kiln-flags"]),
    ("kiln-meta", &["kiln-oci"]),
    ("kiln-bake", &["kiln-oci", "kiln-flags"]),
    ("kiln-store", &["kiln-oci"]),
    ("kiln-registry", &["kiln-oci", "kiln-store"]),
    ("kiln-image", &["kiln-oci", "kiln-store", "kiln-registry"]),
    ("kiln-sandbox", &["kiln-oci"]),
    ("kiln-audit", &["kiln-oci", "kiln-store"]),
    ("kiln-solver", &["kiln-oci", "kiln-graph", "kiln-store"]),
    (
        "kiln-worker",
        &[
            "kiln-oci",
            "kiln-graph",
            "kiln-dockerfile",
            "kiln-store",
            "kiln-registry",
            "kiln-image",
            "kiln-sandbox",
            "kiln-solver",
        ],
    ),
    (
        "kiln-cli",
        &[
            "kiln-oci",
            "kiln-graph",
            "kiln-flags",
            "kiln-dockerfile",
            "kiln-meta",
            "kiln-bake",
            "kiln-store",
            "kiln-registry",
            "kiln-image",
            "kiln-sandbox",
            "kiln-solver",
            "kiln-worker",
            "kiln-audit",
        ],
    ),
    (
        "kiln-testkit",
        &[
            "kiln-oci",
            "kiln-graph",
            "kiln-flags",
            "kiln-dockerfile",
            "kiln-meta",
            "kiln-bake",
            "kiln-registry",
            "kiln-image",
            "kiln-store",
        ],
    ),
    ("xtask", &["kiln-testkit"]),
];

/// Longer files are about more than one thing.
const LONGEST_FILE: usize = 800;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn packages() -> Result<Vec<Value>, Box<dyn std::error::Error>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let metadata = Program::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .with(|command| _ = command.current_dir(workspace()))
        .succeed()?
        .json();
    Ok(metadata["packages"].as_array().cloned().ok_or("no packages")?)
}

#[test]
fn crates_use_only_what_they_may() -> TestResult {
    let packages = packages()?;
    let ours: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let table: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        ours, table,
        "every crate of the workspace stands in the table, and nothing else does"
    );
    for package in &packages {
        let name = package["name"].as_str().unwrap_or_default();
        let allowed = ALLOWED
            .iter()
            .find(|row| row.0 == name)
            .map(|row| row.1)
            .unwrap_or_default();
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let used = dependency["name"].as_str().unwrap_or_default();
            // Tests may use the fixtures; nothing else may reach further in a test than it may in the crate.
            let in_tests = dependency["kind"] == "dev";
            let fine = allowed.contains(&used) || (in_tests && used == "kiln-testkit");
            assert!(!ours.contains(used) || fine, "{name} may not use {used}");
        }
    }
    Ok(())
}

#[test]
fn the_languages_know_neither_files_nor_async() -> TestResult {
    let pure = [
        "kiln-oci",
        "kiln-graph",
        "kiln-flags",
        "kiln-dockerfile",
        "kiln-meta",
        "kiln-bake",
    ];
    let reaching_out = [
        "tokio",
        "futures",
        "async-trait",
        "reqwest",
        "axum",
        "rusqlite",
        "rustix",
        "tempfile",
        "libc",
    ];
    for package in packages()?
        .iter()
        .filter(|package| pure.iter().any(|name| package["name"] == *name))
    {
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let used = dependency["name"].as_str().unwrap_or_default();
            let in_tests = dependency["kind"] == "dev";
            assert!(
                in_tests || !reaching_out.contains(&used),
                "{} may not use {used}",
                package["name"]
            );
        }
    }
    Ok(())
}

#[test]
fn only_the_sandbox_may_be_unsafe() -> TestResult {
    for package in packages()? {
        let name = package["name"].as_str().unwrap_or_default();
        if name == "kiln-sandbox" {
            continue;
        }
        for target in package["targets"].as_array().into_iter().flatten() {
            let kinds = target["kind"].to_string();
            if !kinds.contains("lib") && !kinds.contains("bin") {
                continue;
            }
            let path = target["src_path"].as_str().unwrap_or_default();
            // A binary beside a library is a front for it, but may still hold code of its own.
            assert!(
                fs::read_to_string(path)?.contains("#![forbid(unsafe_code)]"),
                "{path} does not forbid unsafe code"
            );
        }
    }
    Ok(())
}

#[test]
fn no_file_is_too_long() -> TestResult {
    let mut files = Vec::new();
    collect(&workspace().join("crates"), &mut files)?;
    assert!(files.len() > 50, "the walk finds the sources");
    let mut long = Vec::new();
    for file in files {
        let lines = fs::read_to_string(&file)?.lines().count();
        if lines > LONGEST_FILE {
            long.push(format!("{} has {lines} lines", file.display()));
        }
    }
    assert!(long.is_empty(), "{long:#?}");
    Ok(())
}

#[test]
fn modules_are_named_by_what_they_are_about() -> TestResult {
    let mut files = Vec::new();
    collect(&workspace().join("crates"), &mut files)?;
    let vague = [
        "utils", "util", "common", "helpers", "helper", "types", "manager", "misc",
    ];
    let found: Vec<_> = files
        .iter()
        .filter(|file| vague.contains(&&*file.file_stem().unwrap_or_default().to_string_lossy()))
        .collect();
    assert!(found.is_empty(), "{found:?}");
    Ok(())
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}
