//! A record's steps, each with how its result was found or why it ran. Pure: record in, lines or JSON out.

use kiln_graph::Hit;
use serde_json::{Value, json};

use crate::history::chain::chain;
use crate::history::record::{BuildRecord, StepKind, StepRecord};
use crate::render::{plain_text, reason, time};

/// The lines about these steps of a build.
pub fn lines(record: &BuildRecord, steps: &[&StepRecord]) -> Vec<String> {
    let mut lines = vec![heading(record)];
    for step in steps {
        lines.push(String::new());
        lines.extend(step_lines(record, step));
    }
    lines
}

fn heading(record: &BuildRecord) -> String {
    let count = |wanted: &[StepKind]| {
        let kinds = record.instructions().map(StepRecord::kind);
        kinds.filter(|kind| wanted.contains(kind)).count()
    };
    let ran = count(&[StepKind::Native, StepKind::Emulated, StepKind::Failed]);
    format!(
        "build {} of {} ({}): {} found, {ran} ran",
        record.id,
        plain_text(&record.name),
        record.status.word(),
        count(&[StepKind::Cached])
    )
}

fn step_lines(record: &BuildRecord, step: &StepRecord) -> Vec<String> {
    let platform = step
        .platform
        .as_ref()
        .map(|platform| format!("  {platform}"))
        .unwrap_or_default();
    let end = match step.kind() {
        StepKind::Cached => "found".to_owned(),
        StepKind::Native => format!("ran {}", time(step.duration_ms)),
        StepKind::Emulated => format!("ran {}, emulated", time(step.duration_ms)),
        StepKind::Failed => format!("failed after {}", time(step.duration_ms)),
        StepKind::Source => "source".to_owned(),
        StepKind::NotRun => "did not run".to_owned(),
    };
    let mut lines = vec![format!(
        "#{} {}{platform}  {end}",
        step.number,
        plain_text(&step.title())
    )];
    if let Some(hit) = step.hit {
        lines.push(format!("   {}", hit_text(step, hit)));
    }
    let Some(why) = &step.reason else { return lines };
    lines.extend(reason::lines(why).iter().map(|line| format!("   {}", plain_text(line))));
    let chain = chain(record, step);
    if let [_, .., root] = chain.as_slice() {
        for between in &chain[1..chain.len() - 1] {
            lines.push(format!("   which ran because of #{}", between.number));
        }
        lines.push(format!("   root cause: #{} {}", root.number, plain_text(&root.title())));
        let of_root = match &root.reason {
            Some(why) => reason::lines(why),
            None => vec!["it was found with another result than then".to_owned()],
        };
        lines.extend(of_root.iter().map(|line| format!("     {}", plain_text(line))));
    }
    lines
}

fn hit_text(step: &StepRecord, hit: Hit) -> String {
    let from = match &step.cache {
        Some(cache) => format!("cache {}, {}", plain_text(cache), reason::hit(hit)),
        None if hit == Hit::NotNeeded => reason::hit(hit).to_owned(),
        None => format!("local record, {}", reason::hit(hit)),
    };
    match step.took_ms {
        Some(took) => format!("{from}; it took {} when it ran", time(took)),
        None => from,
    }
}

/// The same as one document.
pub fn value(record: &BuildRecord, steps: &[&StepRecord]) -> Value {
    json!({
        "build": {
            "id": record.id,
            "name": record.name,
            "status": record.status,
            "started_unix_ms": record.started_unix_ms,
            "duration_ms": record.duration_ms,
        },
        "steps": steps.iter().map(|step| step_value(record, step)).collect::<Vec<_>>(),
    })
}

fn step_value(record: &BuildRecord, step: &StepRecord) -> Value {
    let chain: Vec<Value> = chain(record, step)
        .iter()
        .skip(1)
        .map(|step| json!({"number": step.number, "name": step.name, "platform": step.platform.as_ref().map(ToString::to_string), "reason": step.reason}))
        .collect();
    json!({
        "number": step.number,
        "name": step.name,
        "stage": step.stage,
        "step": step.step,
        "platform": step.platform.as_ref().map(ToString::to_string),
        "outcome": step.kind().word(),
        "hit": step.hit,
        "cache": step.cache,
        "reason": step.reason,
        "chain": chain,
        "emulated": step.emulated,
        "duration_ms": step.duration_ms,
        "took_ms": step.took_ms,
    })
}

/// The steps that a text chooses: a number, a stage, `stage/number`, or a part of the instruction.
pub fn chosen<'r>(record: &'r BuildRecord, text: &str) -> Vec<&'r StepRecord> {
    let text = text.trim();
    if let Ok(number) = text.trim_start_matches('#').parse::<usize>() {
        return record.steps.iter().filter(|step| step.number == number).collect();
    }
    let in_stage = |step: &&StepRecord| {
        let Some(stage) = &step.stage else { return false };
        let numbered = step.step.map(|(number, _)| format!("{stage}/{number}"));
        stage.eq_ignore_ascii_case(text) || numbered.is_some_and(|numbered| numbered.eq_ignore_ascii_case(text))
    };
    let by_stage: Vec<_> = record.instructions().filter(in_stage).collect();
    if !by_stage.is_empty() {
        return by_stage;
    }
    let wanted = text.to_lowercase();
    let by_name = record
        .steps
        .iter()
        .filter(|step| step.name.to_lowercase().contains(&wanted));
    by_name.collect()
}
