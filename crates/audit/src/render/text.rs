//! For people: grouped by platform, legible without colour.

use crate::finding::{Finding, Severity};
use crate::render::place;
use crate::report::Report;

/// Files of one group that are named.
const SHOWN: usize = 5;

/// Findings that say the same about several files of one layer stand together.
struct Group<'a> {
    first: &'a Finding,
    all: Vec<&'a Finding>,
}

/// The whole report.
pub fn text(name: &str, report: &Report) -> String {
    let mut lines = Vec::new();
    for platform in &report.platforms {
        let (errors, warnings, notes) = counts(platform.findings.iter());
        let verdict = match platform.findings.len() {
            0 => "nothing found".to_owned(),
            _ => in_words(errors, warnings, notes),
        };
        lines.push(format!(
            "{}  {}  {} files: {verdict}",
            platform.platform, platform.manifest, platform.files
        ));
        for group in groups(&platform.findings) {
            lines.extend(group_lines(&group));
        }
        lines.push(String::new());
    }
    if !report.allowed.is_empty() {
        lines.push(format!("allowed by kiln-audit.toml: {}", report.allowed.len()));
        for allowed in &report.allowed {
            let path = allowed.finding.path.as_deref().unwrap_or("the image");
            let finding = &allowed.finding;
            lines.push(format!(
                "  {} {path} on {}: {}",
                finding.code.id(),
                finding.platform,
                allowed.reason
            ));
        }
        lines.push(String::new());
    }
    lines.extend(report.remarks.iter().map(|remark| format!("remark: {remark}")));
    lines.push(format!("{name}: {}", summary(report)));
    lines.join("\n")
}

/// A group of findings in one paragraph and what to do about it, for the talk of a build.
pub fn paragraphs(report: &Report, least: Severity) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for platform in &report.platforms {
        for group in groups(&platform.findings) {
            let first = group.first;
            if first.severity < least {
                continue;
            }
            let path = first
                .path
                .as_deref()
                .map(|path| format!("{path}: "))
                .unwrap_or_default();
            let more = match group.all.len() {
                1 => String::new(),
                count => format!(", and {} more files", count - 1),
            };
            let place = place(first).map(|place| format!(", in {place}")).unwrap_or_default();
            let text = format!(
                "{} on {}: {path}{}{more}{place}",
                first.code, platform.platform, first.reason
            );
            all.push((text, first.repair.clone()));
        }
    }
    all
}

/// One line about the whole.
pub fn summary(report: &Report) -> String {
    let platforms = report.platforms.len();
    let what = if platforms == 1 { "platform" } else { "platforms" };
    let (errors, warnings, notes) = counts(report.findings());
    if errors + warnings + notes == 0 {
        return format!("{platforms} {what}, nothing found");
    }
    format!("{platforms} {what}, {}", in_words(errors, warnings, notes))
}

fn counts<'a>(findings: impl Iterator<Item = &'a Finding>) -> (usize, usize, usize) {
    findings.fold((0, 0, 0), |(errors, warnings, notes), finding| match finding.severity {
        Severity::Error => (errors + 1, warnings, notes),
        Severity::Warning => (errors, warnings + 1, notes),
        Severity::Note => (errors, warnings, notes + 1),
    })
}

fn in_words(errors: usize, warnings: usize, notes: usize) -> String {
    let part = |count: usize, word: &str| match count {
        0 => None,
        1 => Some(format!("1 {word}")),
        count => Some(format!("{count} {word}s")),
    };
    let parts = [part(errors, "error"), part(warnings, "warning"), part(notes, "note")];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn groups(findings: &[Finding]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for finding in findings {
        let same = |group: &&mut Group<'_>| {
            let first = group.first;
            first.path.is_some()
                && finding.path.is_some()
                && (first.code, first.severity, &first.layer) == (finding.code, finding.severity, &finding.layer)
                && first.repair == finding.repair
        };
        match groups.iter_mut().rev().find(same) {
            Some(group) => group.all.push(finding),
            None => groups.push(Group {
                first: finding,
                all: vec![finding],
            }),
        }
    }
    groups
}

fn group_lines(group: &Group<'_>) -> Vec<String> {
    let first = group.first;
    let mut lines = vec![format!(
        "  {}[{}] {}",
        first.severity.name(),
        first.code.id(),
        first.code.name()
    )];
    for finding in group.all.iter().take(SHOWN) {
        lines.push(match &finding.path {
            Some(path) => format!("    {path}: {}", finding.reason),
            None => format!("    {}", finding.reason),
        });
    }
    if group.all.len() > SHOWN {
        lines.push(format!(
            "    and {} more files of this layer (`--format json` names them)",
            group.all.len() - SHOWN
        ));
    }
    if let Some(place) = place(first) {
        lines.push(format!("    in {place}"));
    }
    lines.push(format!("    hint: {}", first.repair));
    lines
}
