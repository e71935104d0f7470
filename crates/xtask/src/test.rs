//! `cargo xtask test`: every test, on a machine that had only a Rust toolchain.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use kiln_testkit::on_path;

use crate::cargo::{self, cargo};
use crate::conformance;
use crate::error::XtaskError;
use crate::system::{self, line_of, succeed};
use crate::talk::{heading, say};

/// Sets the machine up, runs the corpora, then every test of the workspace. `filters` choose tests by name.
pub(crate) fn run(filters: &[String]) -> Result<ExitCode, XtaskError> {
    system::ensure(&[system::EMULATORS, system::ROOTLESS, system::PEERS, system::PARTS])?;
    // 124 MB to fetch and 414 MB on disk for the tests of one page: whoever filters for other tests is spared them.
    if filters.is_empty() || filters.iter().any(|filter| filter.contains("page")) {
        system::ensure(&[system::BROWSER])?;
    }
    heading("the binary under test");
    let kiln = cargo::build("kiln", &["--package", "kiln-cli"])?;
    say(&kiln.display().to_string());
    let corpora_hold = if filters.is_empty() { corpora(&kiln)? } else { true };
    heading("tests");
    let tests_hold = tests(&kiln, filters)?;
    Ok(if corpora_hold && tests_hold {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn corpora(kiln: &Path) -> Result<bool, XtaskError> {
    heading("conformance");
    let directory = cargo::workspace().join("../shared/conformance");
    if !directory.is_dir() {
        say("skipped: conformance: the corpora in ../shared/conformance are not beside this checkout");
        return Ok(true);
    }
    let arguments = [
        "--check".to_owned(),
        "--dir".to_owned(),
        directory.display().to_string(),
    ];
    let code = conformance::run_with(kiln, &arguments)?;
    Ok(code == ExitCode::SUCCESS)
}

fn tests(kiln: &Path, filters: &[String]) -> Result<bool, XtaskError> {
    if on_path("cargo-nextest").is_some() {
        let mut command = cargo();
        command
            .args(["nextest", "run", "--workspace", "--no-fail-fast"])
            .args(filters)
            .env("KILN_BIN", kiln);
        return Ok(succeed(&mut command).is_ok());
    }
    say("cargo-nextest is not installed: running `cargo test`, which takes longer");
    let mut command = cargo();
    command
        .args([
            "test",
            "--workspace",
            "--no-fail-fast",
            "--lib",
            "--bins",
            "--tests",
            "--",
        ])
        .args(filters);
    command.env("KILN_BIN", kiln);
    let (success, output) = echo(&mut command)?;
    let (passed, failed) = totals(&output);
    say(&format!("{passed} passed, {failed} failed"));
    Ok(success)
}

/// Runs a program, passes on what it prints, and gives it back as well.
fn echo(command: &mut Command) -> Result<(bool, String), XtaskError> {
    let program = line_of(command);
    let start = |source| XtaskError::Start {
        program: program.clone(),
        source,
    };
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(start)?;
    let mut output = String::new();
    if let Some(stdout) = child.stdout.take() {
        for line in std::io::BufRead::lines(std::io::BufReader::new(stdout)).map_while(Result::ok) {
            say(&line);
            output.push_str(&line);
            output.push('\n');
        }
    }
    Ok((child.wait().map_err(start)?.success(), output))
}

/// Adds up the lines `test result: ok. 3 passed; 0 failed; …` of every test binary.
fn totals(output: &str) -> (usize, usize) {
    let count = |line: &str, word: &str| -> usize {
        line.split([';', '.'])
            .filter_map(|part| part.trim().strip_suffix(word))
            .find_map(|number| number.trim().parse().ok())
            .unwrap_or(0)
    };
    output
        .lines()
        .filter(|line| line.starts_with("test result:"))
        .fold((0, 0), |(passed, failed), line| {
            (passed + count(line, "passed"), failed + count(line, "failed"))
        })
}

#[cfg(test)]
mod tests {
    use super::totals;

    #[test]
    fn the_results_of_all_binaries_are_added_up() {
        let output = "\
running 4 tests
test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s
test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s
";
        assert_eq!(totals(output), (13, 2));
    }
}
