//! The page of one build. Pure: record in, one HTML document out that needs nothing else, runs no script and is used by
//! keyboard as well as by mouse.
//!
//! * [`html`] — elements, and text and attributes that are always escaped.
//! * [`timeline`] — what ran when, on a lane for each platform, and the critical path.
//! * [`steps`] — every step, and why it ran.
//! * [`sizes`] — bytes by platform, layer and instruction, with the [`treemap`].
//! * [`findings`] — warnings, errors, the audit and the tests.

mod findings;
mod html;
mod sizes;
mod steps;
mod timeline;
mod treemap;

use crate::commands::history::moment;
use crate::history::record::{BuildRecord, Status, StepKind};
use crate::render::time;
use crate::render::tree::bytes;
use crate::sharing;
use html::Html;

const STYLE: &str = include_str!("report/style.css");

/// The page.
pub fn page(record: &BuildRecord) -> String {
    let mut body = Html::default();
    body.element("a", &[("class", "skip"), ("href", "#main")], |link| {
        link.text("Skip to the content");
    });
    body.element("header", &[], |header| heading(header, record));
    body.element("main", &[("id", "main")], |main| {
        findings::error(main, record);
        summary(main, record);
        timeline::section(main, record);
        steps::section(main, record);
        sizes::section(main, record);
        findings::audit(main, record);
        findings::tests(main, record);
        findings::warnings(main, record);
    });
    body.element("footer", &[], |footer| {
        footer.text(&format!("kiln {} · build {}", record.version, record.id));
    });
    document(&format!("{} · build {}", record.name, record.id), body)
}

fn document(title: &str, body: Html) -> String {
    let mut head = Html::default();
    head.element("title", &[], |element| element.text(title));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         {}\n<style>\n{STYLE}</style>\n</head>\n<body>\n{}\n</body>\n</html>\n",
        head.finish(),
        body.finish()
    )
}

fn heading(header: &mut Html, record: &BuildRecord) {
    header.element("h1", &[], |title| title.text(&record.name));
    let (mark, class) = match record.status {
        Status::Done => ("✓", "good"),
        Status::Failed => ("✗", "bad"),
        Status::Running => ("▶", "open"),
        Status::Cancelled | Status::Interrupted => ("■", "bad"),
    };
    header.element("p", &[("class", "status")], |line| {
        line.element("strong", &[("class", class)], |status| {
            status.text(&format!("{mark} {}", record.status.word()));
        });
        line.text(&format!(
            " · {} · {}",
            time(record.duration_ms),
            moment(record.started_unix_ms)
        ));
    });
}

fn summary(main: &mut Html, record: &BuildRecord) {
    let count = |wanted: StepKind| record.instructions().filter(|step| step.kind() == wanted).count();
    let mut facts: Vec<(&str, String)> = Vec::new();
    let counts = [
        StepKind::Cached,
        StepKind::Native,
        StepKind::Emulated,
        StepKind::Failed,
        StepKind::NotRun,
    ];
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|kind| count(*kind) > 0)
        .map(|kind| format!("{} {}", count(kind), kind.word()))
        .collect();
    facts.push(("Steps", counts.join(", ")));
    let platforms: Vec<String> = record.request.platforms.iter().map(ToString::to_string).collect();
    facts.push(("Platforms", platforms.join(", ")));
    for result in &record.results {
        facts.push(("Result", result.digest.to_string()));
        facts.extend(result.names.iter().map(|name| ("Tag", name.clone())));
    }
    facts.push(("Context", record.request.context.clone()));
    facts.push(("Dockerfile", record.request.file.clone()));
    facts.push(("Target", record.request.target.clone().unwrap_or_default()));
    if record.transferred.pulled + record.transferred.pushed > 0 {
        let (pulled, pushed) = (bytes(record.transferred.pulled), bytes(record.transferred.pushed));
        facts.push(("Moved", format!("{pulled} pulled, {pushed} pushed")));
    }
    if let Some(saved) = sharing::line(&record.shared, bytes) {
        facts.push(("Saved by sharing", saved));
    }
    main.element("section", &[("aria-labelledby", "summary")], |section| {
        section.element("h2", &[("id", "summary")], |title| title.text("Summary"));
        section.element("dl", &[], |list| {
            for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
                list.element("div", &[], |pair| {
                    pair.element("dt", &[], |term| term.text(name));
                    pair.element("dd", &[], |definition| definition.text(value));
                });
            }
        });
    });
}

/// The letter and the class of a kind of step: shape, letter and colour say the same.
fn mark(kind: StepKind) -> (&'static str, &'static str) {
    match kind {
        StepKind::Cached => ("C", "cached"),
        StepKind::Native => ("N", "native"),
        StepKind::Emulated => ("E", "emulated"),
        StepKind::Failed => ("F", "failed"),
        StepKind::Source => ("S", "source"),
        StepKind::NotRun => ("–", "notrun"),
    }
}

#[cfg(test)]
mod tests;
