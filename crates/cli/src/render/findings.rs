//! What a linter found, as text, JSON, SARIF or annotations.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use kiln_dockerfile::Lines;
use kiln_dockerfile::diagnostic::SyntaxError;
use kiln_dockerfile::lint::{Finding, Rule};
use serde_json::{Value, json};

use crate::diagnostic;

/// One file with what was found in it.
#[derive(Debug)]
pub struct Checked {
    /// Its path.
    pub file: PathBuf,
    /// Its text.
    pub text: String,
    /// What was found.
    pub findings: Vec<Finding>,
    /// Why it cannot be used, if it cannot.
    pub error: Option<SyntaxError>,
}

impl Checked {
    /// Whether nothing is to be said.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && self.error.is_none()
    }
}

/// For people: each finding with its lines.
pub fn text(all: &[Checked]) -> String {
    let mut text = String::new();
    for checked in all {
        let draw = |lines: Option<Lines>| {
            lines
                .map(|lines| diagnostic::draw(&checked.file, &checked.text, lines.start, lines.end, ""))
                .unwrap_or_default()
        };
        for finding in &checked.findings {
            text.push_str(&format!("warning[{}]: {}\n", finding.rule.name(), finding.detail));
            text.push_str(&draw(finding.lines));
            if let Some(repair) = &finding.repair {
                text.push_str(&format!("hint: {repair}\n"));
            }
            text.push_str(&format!("see: {}\n\n", finding.rule.url()));
        }
        if let Some(error) = &checked.error {
            text.push_str(&format!("error: {}\n{}", error.message, draw(error.lines)));
            for hint in &error.hints {
                text.push_str(&format!("hint: {hint}\n"));
            }
            text.push('\n');
        }
    }
    let found: usize = all.iter().map(|checked| checked.findings.len()).sum();
    let errors = all.iter().filter(|checked| checked.error.is_some()).count();
    text.push_str(&match (found, errors) {
        (0, 0) => "Check complete, no warnings found.".to_owned(),
        (1, 0) => "Check complete, 1 warning has been found!".to_owned(),
        (found, 0) => format!("Check complete, {found} warnings have been found!"),
        (found, 1) => format!("Check complete, 1 error and {found} warnings have been found!"),
        (found, errors) => format!("Check complete, {errors} errors and {found} warnings have been found!"),
    });
    text
}

/// The peers' text for one file, as `--call=check` answers; hints stand below Kiln's own findings.
pub fn peer_text(checked: &Checked) -> String {
    let mut text = match checked.findings.len() {
        0 => String::new(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        found => format!("Check complete, {found} warnings have been found!\n"),
    };
    for finding in &checked.findings {
        text.push_str(&format!(
            "\nWARNING: {} - {}\n{}\n",
            finding.rule.name(),
            finding.rule.url(),
            finding.detail
        ));
        if let Some(repair) = &finding.repair {
            text.push_str(&format!("hint: {repair}\n"));
        }
        if let Some(lines) = finding.lines {
            text.push_str(&peer_drawing(checked, lines));
        }
    }
    if let Some(error) = &checked.error {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("ERROR: {}\n", error.message));
        for hint in &error.hints {
            text.push_str(&format!("hint: {hint}\n"));
        }
        if let Some(lines) = error.lines {
            text.push_str(&peer_drawing(checked, lines));
        }
    } else if checked.findings.is_empty() {
        text.push_str("Check complete, no warnings found.\n");
    }
    text.truncate(text.trim_end_matches('\n').len());
    text
}

/// The lines with those around them, as the peers draw them.
fn peer_drawing(checked: &Checked, marked: Lines) -> String {
    let lines: Vec<&str> = checked.text.split('\n').collect();
    if marked.start < 1 || marked.start > lines.len() {
        return String::new();
    }
    let (mut start, mut end) = (marked.start, marked.end.min(lines.len()));
    // One line gets more around it than several; each round adds a line on either side.
    let wanted = if start == end { 4 } else { 2 };
    let mut padded = 0;
    while padded < wanted {
        if start > 1 {
            start -= 1;
            padded += 1;
        }
        if end != lines.len() {
            end += 1;
            padded += 1;
        }
        padded += 1;
    }
    let rule = "--------------------\n";
    let mut text = format!("{}:{}\n{rule}", file_name(&checked.file), marked.start);
    for (number, line) in lines.iter().enumerate().take(end).skip(start - 1) {
        let number = number + 1;
        let mark = if (marked.start..=marked.end).contains(&number) {
            ">>>"
        } else {
            "   "
        };
        text.push_str(&format!(" {number:3} | {mark} {line}\n"));
    }
    text + rule
}

/// How the peers call a Dockerfile: by its last name, and from standard input by the usual one.
pub fn file_name(file: &Path) -> String {
    match file.file_name() {
        Some(name) if name != "-" => name.to_string_lossy().into_owned(),
        _ => "Dockerfile".to_owned(),
    }
}

/// The peers' form for one file; of several files each finding names its source by number.
pub fn json(all: &[Checked]) -> Value {
    let mut warnings = Vec::new();
    let mut result = json!({});
    for (source, checked) in all.iter().enumerate() {
        for finding in &checked.findings {
            let mut warning = json!({
                "ruleName": finding.rule.name(),
                "description": finding.rule.description(),
                "url": finding.rule.url(),
                "detail": finding.detail,
            });
            if let Some(lines) = finding.lines {
                warning["location"] = location(source, lines);
            }
            if let Some(repair) = &finding.repair {
                warning["repair"] = json!(repair);
            }
            warnings.push(warning);
        }
        if let Some(error) = &checked.error {
            let mut value = json!({ "message": error.message });
            if let Some(lines) = error.lines {
                value["location"] = location(source, lines);
            }
            result["buildError"] = value;
        }
    }
    let source = |checked: &Checked| {
        json!({
            "filename": checked.file.display().to_string(),
            "language": "Dockerfile",
            "data": encoded(&checked.text),
        })
    };
    let sources: Vec<Value> = all.iter().map(source).collect();
    result["warnings"] = json!(warnings);
    result["sources"] = json!(sources);
    result
}

/// A file's text as the peers' answers hold it.
pub fn encoded(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// A place as the peers' answers hold it.
pub fn location(source: usize, lines: Lines) -> Value {
    let mut range = json!({ "start": { "line": lines.start }, "end": { "line": lines.end } });
    let ranges = json!([range.take()]);
    let mut location = json!({ "ranges": ranges });
    // Zero is left out, as in the peers' serialised messages.
    if source > 0 {
        location["sourceIndex"] = json!(source);
    }
    location
}

/// SARIF 2.1.0.
pub fn sarif(all: &[Checked]) -> Value {
    let rules: Vec<Value> = Rule::ALL
        .iter()
        .map(|rule| {
            json!({
                "id": rule.name(),
                "shortDescription": { "text": rule.description() },
                "helpUri": if rule.is_of_peers() { rule.url() } else { String::new() },
            })
        })
        .map(without_empty_help)
        .collect();
    let mut results = Vec::new();
    for checked in all {
        for finding in &checked.findings {
            let text = match &finding.repair {
                Some(repair) => format!("{}. {repair}.", finding.detail),
                None => finding.detail.clone(),
            };
            results.push(sarif_result(
                checked,
                Some(finding.rule),
                "warning",
                &text,
                finding.lines,
            ));
        }
        if let Some(error) = &checked.error {
            results.push(sarif_result(checked, None, "error", &error.message, error.lines));
        }
    }
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "kiln", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "results": results,
        }],
    })
}

fn without_empty_help(mut rule: Value) -> Value {
    if rule["helpUri"] == ""
        && let Some(members) = rule.as_object_mut()
    {
        members.remove("helpUri");
    }
    rule
}

fn sarif_result(checked: &Checked, rule: Option<Rule>, level: &str, text: &str, lines: Option<Lines>) -> Value {
    let lines = lines.unwrap_or(Lines { start: 1, end: 1 });
    let mut result = json!({
        "level": level,
        "message": { "text": text },
        "locations": [{
            "physicalLocation": {
                "artifactLocation": { "uri": uri(&checked.file) },
                "region": { "startLine": lines.start, "endLine": lines.end },
            },
        }],
    });
    if let Some(rule) = rule {
        result["ruleId"] = json!(rule.name());
    }
    result
}

/// A path as a relative or absolute reference (RFC 3986).
fn uri(path: &Path) -> String {
    let mut text = String::new();
    for byte in path.display().to_string().bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/!$&'()*+,;=@".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// Annotations of GitHub Actions, a line each.
pub fn github(all: &[Checked]) -> String {
    let mut lines = Vec::new();
    for checked in all {
        let line = |level: &str, title: &str, text: &str, at: Option<Lines>| {
            let at = at.unwrap_or(Lines { start: 1, end: 1 });
            format!(
                "::{level} file={},line={},endLine={},title={}::{}",
                escaped_property(&checked.file.display().to_string()),
                at.start,
                at.end,
                escaped_property(title),
                escaped(text)
            )
        };
        for finding in &checked.findings {
            lines.push(line("warning", finding.rule.name(), &finding.detail, finding.lines));
        }
        if let Some(error) = &checked.error {
            lines.push(line("error", "Dockerfile", &error.message, error.lines));
        }
    }
    lines.join("\n")
}

fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn escaped_property(text: &str) -> String {
    escaped(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked() -> Vec<Checked> {
        vec![Checked {
            file: "a,b/Dockerfile".into(),
            text: "FROM a\nRUN go build\n".into(),
            findings: vec![Finding {
                rule: Rule::EmulatedHeavyStep,
                detail: "`go build`\nis slow".into(),
                lines: Some(Lines { start: 2, end: 2 }),
                repair: Some("do not".into()),
            }],
            error: None,
        }]
    }

    #[test]
    fn people_see_the_line_and_the_repair() {
        let text = text(&checked());
        assert!(text.starts_with("warning[EmulatedHeavyStep]: `go build`"), "{text}");
        assert!(
            text.contains("2 |>RUN go build") && text.contains("hint: do not"),
            "{text}"
        );
        assert!(text.ends_with("Check complete, 1 warning has been found!"), "{text}");
    }

    #[test]
    fn programs_see_place_and_rule() {
        let json = json(&checked());
        assert_eq!(json["warnings"][0]["location"]["ranges"][0]["start"]["line"], 2);
        assert_eq!(json["sources"][0]["language"], "Dockerfile");
        let sarif = sarif(&checked());
        assert_eq!(sarif["runs"][0]["results"][0]["ruleId"], "EmulatedHeavyStep");
        assert_eq!(uri(Path::new("a b/#1/Dockerfile")), "a%20b/%231/Dockerfile");
        assert_eq!(
            github(&checked()),
            "::warning file=a%2Cb/Dockerfile,line=2,endLine=2,title=EmulatedHeavyStep::`go build`%0Ais slow"
        );
    }
}
