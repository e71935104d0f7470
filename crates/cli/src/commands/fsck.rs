//! `kiln fsck`.

use std::path::Path;

use kiln_store::{Repaired, StoreError, VerifyReport};
use serde_json::json;

use crate::args::{FsckArgs, UsageFormat};
use crate::command_error::{CommandError, ErrorKind, chain};
use crate::environment::Environment;
use crate::{machine, output};

/// What one repair uncovers, another one may have to mend: a layer is lost once its damaged blob is gone.
const MOST_ROUNDS: usize = 5;

/// Checks, and repairs if asked to. Exit code 1: something is wrong still.
pub fn run(args: &FsckArgs, environment: &Environment) -> Result<i32, CommandError> {
    machine::enter_namespace()?;
    let root = environment.state_directory();
    let mut report = verify(environment)?;
    let found: Vec<String> = report
        .problems
        .iter()
        .map(|problem| chain(problem).join(": "))
        .collect();
    let mut repaired = Vec::new();
    if args.repair {
        for _ in 0..MOST_ROUNDS {
            if report.is_sound() {
                break;
            }
            repaired.extend(repair(&root, report)?);
            report = verify(environment)?;
        }
    }
    let left: Vec<String> = report
        .problems
        .iter()
        .map(|problem| chain(problem).join(": "))
        .collect();
    match args.format {
        UsageFormat::Table => {
            if args.repair {
                for Repaired { problem, remedy } in &repaired {
                    output::line(&format!("{problem}: {remedy}"));
                }
            }
            for problem in &left {
                output::line(problem);
            }
            output::line(&summary(&report, repaired.len()));
        }
        UsageFormat::Json => {
            let repaired: Vec<_> = repaired
                .iter()
                .map(|done| json!({"problem": done.problem, "remedy": done.remedy.to_string()}))
                .collect();
            let value = json!({
                "blobs": report.blobs,
                "bytes": report.bytes,
                "indexes": report.indexes,
                "trees": report.trees,
                "layers": report.layers,
                "found": found,
                "repaired": repaired,
                "problems": left,
            });
            output::line(&format!("{value:#}"));
        }
    }
    if !left.is_empty() && !args.repair {
        output::talk("hint: `kiln fsck --repair` removes what can be made again and moves the rest aside");
    }
    Ok(i32::from(!left.is_empty()))
}

fn summary(report: &VerifyReport, repaired: usize) -> String {
    let verdict = match (report.problems.len(), repaired) {
        (0, 0) => "nothing is wrong".to_owned(),
        (0, count) => format!("{count} repaired, nothing is wrong any more"),
        (1, _) => "1 problem".to_owned(),
        (count, _) => format!("{count} problems"),
    };
    format!(
        "{} blobs ({}), {} indexes, {} trees, {} layers: {verdict}",
        report.blobs,
        kiln_store::human_size(report.bytes),
        report.indexes,
        report.trees,
        report.layers
    )
}

fn verify(environment: &Environment) -> Result<VerifyReport, CommandError> {
    // A handle for each check: a repair needs the store to itself.
    let store = machine::store(environment)?.unheld();
    store.verify().map_err(|error| machine::store_error(&error))
}

fn repair(root: &Path, report: VerifyReport) -> Result<Vec<Repaired>, CommandError> {
    kiln_store::repair(root, report).map_err(|error| {
        let locked = matches!(error, StoreError::Locked { .. });
        if locked {
            CommandError::from_error(ErrorKind::Environment, &error)
                .hint("a repair needs the store to itself: wait for running builds, stop `kiln registry serve`")
        } else {
            machine::store_error(&error)
        }
    })
}
