//! `cargo xtask bench instructions`: the cached path, measured in executed instructions.
//!
//! Times differ from machine to machine and from minute to minute; the number of instructions hardly does, so a slower
//! start-up or a lost cache is seen even where the machine is busy.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use kiln_testkit::on_path;
use serde_json::{Value, json};

use crate::bench::case::{CASES, Case};
use crate::bench::inputs::failed;
use crate::bench::tools::{Stage, Tool};
use crate::bench::{measure, stage, state_name};
use crate::cargo;
use crate::error::XtaskError;
use crate::talk::say;

/// What is counted.
const COUNTED: [&str; 2] = ["A-cached", "B-cached"];

/// How far a count may be from the recorded one, in hundredths.
const TOLERANCE: f64 = 5.0;

/// The counts of one toolchain.
#[derive(Debug, PartialEq)]
struct Recorded {
    /// `rustc`'s version and host, valgrind's version, and the processor: programs choose other code for another one.
    toolchain: String,
    counts: BTreeMap<String, u64>,
}

/// Counts, and compares with what is recorded or records it.
pub(super) fn run(arguments: &[String]) -> Result<ExitCode, XtaskError> {
    let record = match arguments {
        [] => false,
        [flag] if flag == "--record" => true,
        _ => {
            return Err(XtaskError::Usage {
                text: "`bench instructions` takes `--record` or nothing".to_owned(),
            });
        }
    };
    if on_path("valgrind").is_none() && on_path("apt-get").is_none() {
        say("skipped: instruction counts: valgrind is not installed");
        return Ok(ExitCode::SUCCESS);
    }
    let path = cargo::workspace().join("crates/xtask/src/bench/instructions.json");
    let toolchain = toolchain()?;
    let recorded = read(&path)?;
    if !record && recorded.toolchain != toolchain {
        say(&format!(
            "skipped: instruction counts: recorded with {}, here is {toolchain}",
            recorded.toolchain
        ));
        return Ok(ExitCode::SUCCESS);
    }
    let stage = stage()?;
    stage.without_collection()?;
    let mut counts = BTreeMap::new();
    for case in CASES.iter().filter(|case| COUNTED.contains(&case.name)) {
        counts.insert(case.name.to_owned(), count(&stage, case)?);
    }
    if record {
        let text = format!("{:#}\n", json!({"toolchain": toolchain, "counts": counts}));
        std::fs::write(&path, text).map_err(failed("write", &path))?;
        say(&format!("recorded {counts:?}"));
        return Ok(ExitCode::SUCCESS);
    }
    let verdicts = compare(&recorded.counts, &counts);
    verdicts.iter().for_each(|(_, line)| say(line));
    let held = verdicts.iter().all(|(held, _)| *held);
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether each count is as it was recorded, and a line about it.
fn compare(recorded: &BTreeMap<String, u64>, counts: &BTreeMap<String, u64>) -> Vec<(bool, String)> {
    let verdict = |(name, &count): (&String, &u64)| {
        let Some(&before) = recorded.get(name) else {
            return (
                false,
                format!("{name}: {count} instructions, and nothing is recorded: run with --record"),
            );
        };
        let change = (count as f64 / before as f64 - 1.0) * 100.0;
        let line = format!("{name}: {count} instructions, {before} recorded: {change:+.1} %");
        if change.abs() <= TOLERANCE {
            return (true, line);
        }
        let advice = if change > 0.0 {
            "the cached path does more than it did: find out what, or record it with --record and say why"
        } else {
            "the cached path does less than it did: record it with --record, so that it stays so"
        };
        (false, format!("{line}\n  {advice}"))
    };
    counts.iter().map(verdict).collect()
}

/// Executed instructions of the program itself, all threads together: the smallest of three runs, as threads that wait for
/// each other spin more or less.
fn count(stage: &Stage, case: &Case) -> Result<u64, XtaskError> {
    let context = case.prepare(stage)?;
    let state = stage.state(Tool::Kiln, &state_name(case, 0));
    let log = stage.scratch.path().join("log");
    let arguments = case.kiln(stage, &context, 0);
    measure::run(stage.kiln(&state, &arguments), &log)?;
    let mut least = u64::MAX;
    for _ in 0..3 {
        let out = stage.scratch.path().join("callgrind.out");
        let plain = stage.kiln(&state, &arguments);
        let mut command = Command::new("valgrind");
        command
            .args(["--tool=callgrind", "--quiet"])
            .arg(format!("--callgrind-out-file={}", out.display()))
            .arg(plain.get_program())
            .args(plain.get_args());
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        measure::run(command, &log)?;
        let text = std::fs::read_to_string(&out).map_err(failed("read", &out))?;
        let total = total(&text).ok_or_else(|| XtaskError::Missing {
            what: "the total in callgrind's output".to_owned(),
            remedy: format!("look at {}", out.display()),
        })?;
        least = least.min(total);
    }
    stage.forget(Tool::Kiln, &state)?;
    Ok(least)
}

/// The line `totals: 123`, or `summary: 123` where that is missing.
fn total(text: &str) -> Option<u64> {
    let number = |prefix: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(prefix))?;
        line.split_whitespace().next()?.parse().ok()
    };
    number("totals:").or_else(|| number("summary:"))
}

fn read(path: &Path) -> Result<Recorded, XtaskError> {
    let text = std::fs::read_to_string(path).map_err(failed("read", path))?;
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    let counts = value["counts"].as_object().into_iter().flatten();
    Ok(Recorded {
        toolchain: value["toolchain"].as_str().unwrap_or_default().to_owned(),
        counts: counts
            .filter_map(|(name, count)| Some((name.clone(), count.as_u64()?)))
            .collect(),
    })
}

fn toolchain() -> Result<String, XtaskError> {
    let rustc = cargo::rustc_version()?;
    let valgrind = on_path("valgrind").unwrap_or_else(|| PathBuf::from("valgrind"));
    let output = Command::new(valgrind).arg("--version").output();
    let version = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    Ok(format!(
        "{rustc}, {}, {}",
        version.unwrap_or_else(|_| "no valgrind".to_owned()),
        processor(&std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default())
    ))
}

/// The model of the first processor.
fn processor(cpuinfo: &str) -> String {
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.and_then(|rest| rest.split_once(':')).map(|(_, name)| name.trim());
    model.unwrap_or("unknown processor").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(count: u64) -> BTreeMap<String, u64> {
        BTreeMap::from([("A-cached".to_owned(), count)])
    }

    #[test]
    fn a_change_of_more_than_a_twentieth_fails_in_both_directions() {
        let held = |count| compare(&counts(1000), &counts(count)).iter().all(|(held, _)| *held);
        assert!(held(1000) && held(1049) && held(951));
        assert!(!held(1051) && !held(949));
        assert!(!compare(&BTreeMap::new(), &counts(1)).iter().any(|(held, _)| *held));
    }

    #[test]
    fn the_processor_is_named_by_its_model() {
        assert_eq!(
            processor("processor\t: 0\nmodel name\t: Some CPU @ 2.0GHz\n"),
            "Some CPU @ 2.0GHz"
        );
        assert_eq!(processor(""), "unknown processor");
    }

    #[test]
    fn the_total_is_read_from_callgrinds_output() {
        assert_eq!(total("version: 1\nsummary: 5\n\nfn=x\ntotals: 7\n"), Some(7));
        assert_eq!(total("summary: 5\n"), Some(5));
        assert_eq!(total("fn=x"), None);
    }
}
