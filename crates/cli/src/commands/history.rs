//! `kiln history`.

use std::io::Write as _;

use kiln_graph::Outcome;
use serde_json::json;

use crate::args::{DocumentFormat, HistoryArgs, HistoryCommand, ShowArgs};
use crate::command_error::{CommandError, ErrorKind};
use crate::environment::Environment;
use crate::history::archive::{self, failed};
use crate::history::record::{BuildRecord, StepKind, StepRecord};
use crate::render::tree::bytes;
use crate::render::{plain_text, table, time};
use crate::sharing;
use crate::{machine, output};

/// Looks at earlier builds.
pub fn run(args: &HistoryArgs, environment: &Environment) -> Result<i32, CommandError> {
    match &args.command {
        HistoryCommand::Ls { limit, quiet, format } => list(*limit, *quiet, *format, environment),
        HistoryCommand::Show(args) => show(args, environment),
        HistoryCommand::Logs { build, step } => logs(build.as_deref(), step.as_deref(), environment),
        HistoryCommand::Report(args) => super::report::run(args, environment),
        HistoryCommand::Rm { builds, all } => remove(builds, *all, environment),
    }
}

fn list(limit: usize, quiet: bool, format: DocumentFormat, environment: &Environment) -> Result<i32, CommandError> {
    let store = machine::store(environment)?;
    let ids = store.builds().map_err(failed)?;
    let newest = ids.iter().rev().take(limit);
    if quiet {
        newest.for_each(|id| output::line(&id.to_string()));
        return Ok(0);
    }
    let mut records = Vec::new();
    for id in newest {
        match archive::read(&store, id) {
            Ok(record) => records.push(record),
            // The others are still worth listing.
            Err(error) => output::talk(&format!("warning: {}", error.messages.join(": "))),
        }
    }
    if format == DocumentFormat::Json {
        let all: Vec<_> = records.iter().map(summary).collect();
        output::line(&format!("{:#}", json!(all)));
        return Ok(0);
    }
    let mut rows = vec![["BUILD", "NAME", "STARTED", "TOOK", "STATUS", "STEPS"].map(str::to_owned)];
    rows.extend(records.iter().map(|record| {
        let (cached, ran) = counts(record);
        [
            record.id.clone(),
            plain_text(&record.name),
            moment(record.started_unix_ms),
            time(record.duration_ms),
            record.status.word().to_owned(),
            format!("{cached} found, {ran} ran"),
        ]
    }));
    table(&rows).iter().for_each(|line| output::line(line));
    Ok(0)
}

fn summary(record: &BuildRecord) -> serde_json::Value {
    let (cached, ran) = counts(record);
    json!({
        "id": record.id,
        "name": record.name,
        "status": record.status,
        "started": moment(record.started_unix_ms),
        "started_unix_ms": record.started_unix_ms,
        "duration_ms": record.duration_ms,
        "platforms": record.request.platforms.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "results": record.results,
        "steps": { "cached": cached, "ran": ran, "all": record.instructions().count() },
        "warnings": record.warnings.len(),
    })
}

/// Steps that were found, and steps that ran.
fn counts(record: &BuildRecord) -> (usize, usize) {
    let ran = |step: &StepRecord| step.started_ms.is_some();
    let cached = record
        .instructions()
        .filter(|step| step.kind() == StepKind::Cached)
        .count();
    (cached, record.instructions().filter(|step| ran(step)).count())
}

/// A time in UTC, exact to a second.
pub fn moment(unix_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(unix_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

fn show(args: &ShowArgs, environment: &Environment) -> Result<i32, CommandError> {
    let store = machine::store(environment)?;
    let record = archive::read(&store, &archive::find(&store, args.build.as_deref())?)?;
    if args.format == DocumentFormat::Json {
        let text = serde_json::to_string_pretty(&record)
            .map_err(|error| CommandError::from_error(ErrorKind::Environment, &error))?;
        output::line(&text);
        return Ok(0);
    }
    facts(&record).iter().for_each(|line| output::line(line));
    let mut rows = vec![["#", "STEP", "PLATFORM", "OUTCOME", "TIME"].map(str::to_owned)];
    rows.extend(record.steps.iter().map(step_row));
    output::line("");
    table(&rows).iter().for_each(|line| output::line(line));
    Ok(0)
}

fn facts(record: &BuildRecord) -> Vec<String> {
    let mut rows: Vec<[String; 2]> = Vec::new();
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            rows.push([format!("{name}:"), plain_text(&value)]);
        }
    };
    fact("Build", record.id.clone());
    fact("Name", record.name.clone());
    fact("Status", record.status.word().to_owned());
    fact("Started", moment(record.started_unix_ms));
    fact("Took", time(record.duration_ms));
    fact("Context", record.request.context.clone());
    fact("Dockerfile", record.request.file.clone());
    fact("Target", record.request.target.clone().unwrap_or_default());
    let platforms: Vec<String> = record.request.platforms.iter().map(ToString::to_string).collect();
    fact("Platforms", platforms.join(", "));
    fact("Arguments", record.request.arguments.join(", "));
    for result in &record.results {
        fact("Result", result.digest.to_string());
        result.names.iter().for_each(|name| fact("Tag", name.clone()));
    }
    for image in &record.images {
        let (layers, size) = (image.layers.len(), bytes(image.size));
        fact(
            "Image",
            format!("{}  {}  {layers} layers, {size}", image.platform, image.digest),
        );
    }
    if record.transferred.pulled + record.transferred.pushed > 0 {
        let (pulled, pushed) = (bytes(record.transferred.pulled), bytes(record.transferred.pushed));
        fact("Moved", format!("{pulled} pulled, {pushed} pushed"));
    }
    if let Some(saved) = sharing::line(&record.shared, bytes) {
        fact("Saved by sharing", saved);
    }
    for warning in &record.warnings {
        fact("Warning", warning.message.clone());
    }
    for audit in record.audit.iter().flatten() {
        fact(
            "Audit",
            format!("{}  {} findings", audit.platform, audit.findings.len()),
        );
    }
    for test in record.tests.iter().flatten() {
        fact(
            "Test",
            format!("{}  {}  {}", test.platform, test.name, outcome_word(&test.outcome)),
        );
    }
    record.error.iter().for_each(|line| fact("Error", line.clone()));
    table(&rows)
}

fn outcome_word(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Done | Outcome::Cached => "passed",
        Outcome::Failed(error) => error,
        Outcome::Cancelled => "cancelled",
    }
}

fn step_row(step: &StepRecord) -> [String; 5] {
    let took = match step.started_ms {
        Some(_) => time(step.duration_ms),
        None => String::new(),
    };
    [
        step.number.to_string(),
        plain_text(&step.title()),
        step.platform.as_ref().map(ToString::to_string).unwrap_or_default(),
        step.kind().word().to_owned(),
        took,
    ]
}

fn logs(build: Option<&str>, step: Option<&str>, environment: &Environment) -> Result<i32, CommandError> {
    let store = machine::store(environment)?;
    let id = archive::find(&store, build)?;
    let record = archive::read(&store, &id)?;
    let chosen = step.map(|text| super::why::steps(&record, text)).transpose()?;
    let pieces = archive::logs(&store, &id)?;
    let broken = |error: std::io::Error| CommandError::from_error(ErrorKind::Environment, &error);
    if let Some(chosen) = chosen {
        // Of chosen steps, what they wrote, as they wrote it.
        for step in chosen {
            let text: String = pieces
                .iter()
                .filter(|piece| piece.vertex == step.vertex)
                .map(|piece| piece.text.as_str())
                .collect();
            output::raw(text.as_bytes()).map_err(broken)?;
        }
        return Ok(0);
    }
    let mut text = Vec::new();
    for step in &record.steps {
        let written: String = pieces
            .iter()
            .filter(|piece| piece.vertex == step.vertex)
            .map(|piece| piece.text.as_str())
            .collect();
        if written.is_empty() {
            continue;
        }
        let platform = step
            .platform
            .as_ref()
            .map(|platform| format!("[{platform}] "))
            .unwrap_or_default();
        writeln!(text, "#{} {platform}{}", step.number, plain_text(&step.title())).map_err(broken)?;
        for line in written.lines() {
            writeln!(text, "#{} {line}", step.number).map_err(broken)?;
        }
    }
    output::raw(&text).map_err(broken)?;
    Ok(0)
}

fn remove(builds: &[String], all: bool, environment: &Environment) -> Result<i32, CommandError> {
    let store = machine::store(environment)?;
    let ids = if all {
        store.builds().map_err(failed)?
    } else {
        let found: Result<Vec<_>, _> = builds.iter().map(|text| archive::find(&store, Some(text))).collect();
        found?
    };
    let mut running = 0;
    for id in ids {
        if store.remove_build(&id).map_err(failed)? {
            output::line(&id.to_string());
        } else {
            running += 1;
        }
    }
    if running > 0 && !all {
        return Err(CommandError::user("a build that still runs stays in the history").hint("stop it first"));
    }
    Ok(0)
}
