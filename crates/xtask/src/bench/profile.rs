//! Where the time of one build goes, by the build's own events.

use std::collections::BTreeMap;
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

/// Lines shown of what takes longest.
const SHOWN: usize = 15;

/// Runs a build once and shows its longest parts. Steps that run at the same time are each counted in full.
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
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let mut parts: Vec<(f64, String)> = Vec::new();
    let mut moments: Vec<(f64, &str)> = Vec::new();
    let mut last_step = None;
    for line in BufReader::new(child.stderr.take().ok_or_else(no_events)?).lines() {
        let Ok(event) = serde_json::from_str::<Value>(&line.map_err(start)?) else {
            continue;
        };
        let now = started.elapsed().as_secs_f64();
        let id = |field: &str| event[field].to_string();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if moments.is_empty() {
            moments.push((now, "first event: arguments read, store opened"));
        }
        match event["event"].as_str() {
            Some("task-started") => drop(names.insert(id("id"), text(&event["name"]))),
            Some("step-planned") => {
                names.insert(id("vertex"), text(&event["meta"]["name"]));
                if moments.len() == 1 {
                    moments.push((now, "graph made: Dockerfile read, base images resolved"));
                }
            }
            Some("task-finished") => parts.push((duration(&event["duration"]), name_of(&names, &id("id")))),
            Some("step-finished") => {
                last_step = Some(now);
                let outcome = event["outcome"].as_str().unwrap_or("failed");
                parts.push((
                    duration(&event["duration"]),
                    format!("{} ({outcome})", name_of(&names, &id("vertex"))),
                ));
            }
            _ => {}
        }
    }
    let status = child.wait().map_err(start)?;
    let end = started.elapsed().as_secs_f64();
    stage.forget(Tool::Kiln, &state)?;
    if !status.success() {
        return Err(XtaskError::Failed {
            program,
            status: status.to_string(),
        });
    }
    heading(&format!("{}: {}", case.name, case.what));
    moments.extend(last_step.map(|moment| (moment, "last step done")));
    moments.push((end, "the process ended: image assembled and written"));
    for (moment, what) in moments {
        say(&format!("at {:>9.1} ms  {what}", moment * 1000.0));
    }
    parts.sort_by(|a, b| b.0.total_cmp(&a.0));
    let rest = parts.split_off(SHOWN.min(parts.len()));
    for (seconds, name) in &parts {
        say(&format!("   {:>9.1} ms  {name}", seconds * 1000.0));
    }
    if !rest.is_empty() {
        let together: f64 = rest.iter().map(|(seconds, _)| seconds).sum();
        say(&format!("   {:>9.1} ms  {} more", together * 1000.0, rest.len()));
    }
    Ok(())
}

fn no_events() -> XtaskError {
    XtaskError::Missing {
        what: "the build's standard error".to_owned(),
        remedy: "look at what closed it".to_owned(),
    }
}

fn name_of(names: &BTreeMap<String, String>, id: &str) -> String {
    names.get(id).cloned().unwrap_or_else(|| id.to_owned())
}

/// A duration as the events carry it.
fn duration(value: &Value) -> f64 {
    let part = |name: &str| value[name].as_f64().unwrap_or(0.0);
    part("secs") + part("nanos") / 1e9
}
