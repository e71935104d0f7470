//! Where the time of one build goes, by the build's own events.
//!
//! Every moment of the build is accounted for once, so that the parts add up to the time on the clock. Where several
//! steps or tasks are under way, each gets its share of the moment. What a step waits for is told apart from the step:
//! layers that are fetched meanwhile, and, beside the account, the time before it got its turn.

mod account;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Instant;

use serde_json::Value;

use crate::bench::case::{Case, Start};
use crate::bench::tools::{Stage, Tool};
use crate::bench::{measure, state_name};
use crate::error::XtaskError;
use crate::system::line_of;
use crate::talk::{heading, say};
use account::Account;

/// Lines shown of what takes longest.
const SHOWN: usize = 15;

/// Runs a build once and shows where its time went.
pub(super) fn show(stage: &Stage, case: &Case) -> Result<(), XtaskError> {
    let context = case.prepare(stage)?;
    let state = stage.state(Tool::Kiln, &state_name(case, 0));
    let mut arguments = case.kiln(stage, &context, 0);
    if case.start != Start::Cold {
        measure::run(stage.kiln(&state, &arguments), &stage.scratch.path().join("log"))?;
    }
    if case.start == Start::Touched {
        case.touch(&context, usize::MAX)?;
    }
    arguments.extend(["--progress".to_owned(), "rawjson".to_owned()]);
    let mut command = stage.kiln(&state, &arguments);
    let program = line_of(&command);
    let start = |source| XtaskError::Start {
        program: program.clone(),
        source,
    };
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let started = Instant::now();
    let mut child = command.spawn().map_err(start)?;
    let mut account = Account::default();
    let mut said = Vec::new();
    for line in BufReader::new(child.stderr.take().ok_or_else(no_events)?).lines() {
        let line = line.map_err(start)?;
        match serde_json::from_str::<Value>(&line) {
            Ok(event) => account.take(started.elapsed().as_secs_f64(), &event),
            Err(_) => said.push(line),
        }
    }
    let status = child.wait().map_err(start)?;
    account.end(started.elapsed().as_secs_f64());
    stage.forget(Tool::Kiln, &state)?;
    if !status.success() {
        return Err(XtaskError::Failed {
            program,
            status: format!("{status}\n{}", said.join("\n")),
        });
    }
    heading(&format!("{}: {}", case.name, case.what));
    lines(&account).iter().for_each(|line| say(line));
    Ok(())
}

fn lines(account: &Account) -> Vec<String> {
    let line = |seconds: f64, what: &str| {
        let share = 100.0 * seconds / account.wall().max(f64::MIN_POSITIVE);
        format!("{:>10.1} ms {share:>5.1} %  {what}", seconds * 1000.0)
    };
    let mut lines = Vec::new();
    for (part, seconds) in account.parts() {
        lines.push(line(seconds, part.text()));
    }
    lines.push(line(account.wall(), "on the clock"));
    if account.waited() > 0.0 {
        lines.push(format!(
            "{:>10.1} ms          waited for their turn or another's result, all steps together; no part of the above",
            account.waited() * 1000.0
        ));
    }
    lines.push("what took longest:".to_owned());
    let items = account.items();
    lines.extend(items.iter().take(SHOWN).map(|(name, seconds)| line(*seconds, name)));
    let rest = items.get(SHOWN..).unwrap_or_default();
    if !rest.is_empty() {
        let together = rest.iter().map(|(_, seconds)| seconds).sum();
        lines.push(line(together, &format!("{} more", rest.len())));
    }
    lines
}

fn no_events() -> XtaskError {
    XtaskError::Missing {
        what: "the build's standard error".to_owned(),
        remedy: "look at what closed it".to_owned(),
    }
}
