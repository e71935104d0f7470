//! What the pages in `docs/` say, tried out.
//!
//! Blocks marked `sh test` are run in order, all of a page in one directory, by a shell that ends at the first failure. A
//! block marked `text output` lists lines that the block before it must print, in this order. `registry.example` stands for
//! a registry on loopback.

#![expect(clippy::disallowed_methods, reason = "a test finds the programs of this machine")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kiln_testkit::{DockerRegistry, Fixture, GitServer, GitServing, Program, TestResult, kiln_binary};

/// A fenced block of a page.
struct Block {
    kind: String,
    text: String,
    line: usize,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(kind), None) => {
                open = Some(Block {
                    kind: kind.to_owned(),
                    text: String::new(),
                    line: number + 1,
                })
            }
            (Some(_), Some(block)) => found.push(block),
            (None, Some(mut block)) => {
                block.text.push_str(line);
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    found
}

fn try_out(name: &str) -> TestResult {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    let page = fs::read_to_string(&path)?;
    let fixture = Fixture::with_base_images()?;
    let registry = DockerRegistry::start()?;
    let programs = fixture.context("programs", &[])?;
    std::os::unix::fs::symlink(kiln_binary()?, programs.join("kiln"))?;
    let search = std::env::join_paths(
        std::iter::once(programs).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    )?;
    let place = fixture.context("page", &[])?;
    let repositories = GitServer::start(&place, GitServing::Backend, None)?;
    let mut printed = None;
    let mut tried = 0;
    for block in blocks(&page) {
        let at = format!("{name}:{}", block.line);
        match block.kind.as_str() {
            "sh test" => {
                let script = block.text.replace("registry.example", &registry.address());
                let script = script.replace("git.example", &repositories.address());
                let outcome = Program::new("bash")
                    .args(["-euo", "pipefail", "-c", &script])
                    .with(|command| {
                        fixture.dress(command);
                        command.current_dir(&place);
                    })
                    .env("PATH", &search)
                    .limit(Duration::from_secs(120))
                    .run()?;
                assert!(
                    outcome.status.success(),
                    "{at} fails\n{}\n{}",
                    outcome.stdout_text(),
                    outcome.stderr
                );
                printed = Some(outcome.stdout_text());
                tried += 1;
            }
            "text output" => {
                let output = printed.take().ok_or_else(|| format!("{at}: no block before it"))?;
                let mut rest = output.as_str();
                for line in block.text.lines() {
                    let start = rest.find(line);
                    let start =
                        start.ok_or_else(|| format!("{at}: `{line}` is not printed, or not in order:\n{output}"))?;
                    rest = &rest[start + line.len()..];
                }
            }
            _ => {}
        }
    }
    assert!(tried > 0, "{name} has no block to try");
    Ok(())
}

#[test]
fn every_page_is_known_here() -> TestResult {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let mut untried: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(&directory)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let has_tests = blocks(&fs::read_to_string(entry.path())?)
            .iter()
            .any(|block| block.kind == "sh test");
        if has_tests != TRIED.contains(&name.as_str()) {
            untried.push(entry.path());
        }
    }
    assert!(untried.is_empty(), "pages whose blocks no test runs: {untried:?}");
    Ok(())
}

/// The pages that have something to try, each of them by a test below.
const TRIED: &[&str] = &[
    "audit.md",
    "build.md",
    "dockerfile.md",
    "lint.md",
    "sharing.md",
    "run.md",
    "inspect.md",
    "meta.md",
    "bake.md",
    "registry.md",
    "doctor.md",
    "emulation.md",
    "arguments.md",
    "secrets.md",
    "cache.md",
    "contexts.md",
    "why.md",
    "plan.md",
    "history.md",
    "report.md",
    "du.md",
    "prune.md",
    "fsck.md",
];

#[test]
fn audit() -> TestResult {
    try_out("audit.md")
}

#[test]
fn build() -> TestResult {
    try_out("build.md")
}

#[test]
fn dockerfile() -> TestResult {
    try_out("dockerfile.md")
}

#[test]
fn sharing() -> TestResult {
    try_out("sharing.md")
}

#[test]
fn lint() -> TestResult {
    try_out("lint.md")
}

#[test]
fn run() -> TestResult {
    try_out("run.md")
}

#[test]
fn inspect() -> TestResult {
    try_out("inspect.md")
}

#[test]
fn meta() -> TestResult {
    try_out("meta.md")
}

#[test]
fn registry() -> TestResult {
    try_out("registry.md")
}

#[test]
fn doctor() -> TestResult {
    try_out("doctor.md")
}

#[test]
fn emulation() -> TestResult {
    try_out("emulation.md")
}

#[test]
fn contexts() -> TestResult {
    try_out("contexts.md")
}

#[test]
fn secrets() -> TestResult {
    try_out("secrets.md")
}

#[test]
fn cache() -> TestResult {
    try_out("cache.md")
}

#[test]
fn arguments() -> TestResult {
    try_out("arguments.md")
}

#[test]
fn bake() -> TestResult {
    try_out("bake.md")
}

#[test]
fn why() -> TestResult {
    try_out("why.md")
}

#[test]
fn plan() -> TestResult {
    try_out("plan.md")
}

#[test]
fn history() -> TestResult {
    try_out("history.md")
}

#[test]
fn report() -> TestResult {
    try_out("report.md")
}

#[test]
fn du() -> TestResult {
    try_out("du.md")
}

#[test]
fn prune() -> TestResult {
    try_out("prune.md")
}

#[test]
fn fsck() -> TestResult {
    try_out("fsck.md")
}
