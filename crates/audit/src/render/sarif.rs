//! SARIF 2.1.0, for code scanning.

use serde_json::{Value, json};

use crate::finding::{Code, Finding};
use crate::render::paragraph;
use crate::report::Report;

/// The whole report. Files are named inside the image; the platform is part of the message and of the fingerprint.
pub fn sarif(name: &str, version: &str, report: &Report) -> Value {
    let rules: Vec<Value> = Code::ALL
        .iter()
        .map(|code| {
            json!({
                "id": code.id(),
                "name": code.name(),
                "shortDescription": { "text": code.description() },
            })
        })
        .collect();
    let results: Vec<Value> = report.findings().map(|finding| result(name, finding)).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "kiln audit", "version": version, "rules": rules } },
            "results": results,
        }],
    })
}

fn result(name: &str, finding: &Finding) -> Value {
    let path = finding.path.as_deref().unwrap_or("/");
    let mut location = json!({
        "physicalLocation": {
            "artifactLocation": { "uri": uri(path.trim_start_matches('/')) },
            // Code scanning wants a line, and a binary has none.
            "region": { "startLine": 1 },
        },
    });
    if let Some(layer) = &finding.layer {
        let text = layer.instruction.clone().unwrap_or_else(|| layer.digest.to_string());
        location["logicalLocations"] =
            json!([{ "name": text, "fullyQualifiedName": format!("{name} layer {}", layer.number) }]);
    }
    json!({
        "ruleId": finding.code.id(),
        "level": finding.severity.name(),
        "message": { "text": format!("{}: {}", finding.platform, paragraph(finding)) },
        "locations": [location],
        "partialFingerprints": { "kiln/v1": format!("{}:{}:{path}", finding.code.id(), finding.platform) },
    })
}

/// A path as a relative reference (RFC 3986); `.` for the image itself.
fn uri(path: &str) -> String {
    if path.is_empty() {
        return ".".to_owned();
    }
    let letter = |byte: u8| match byte {
        plain if plain.is_ascii_alphanumeric() || b"-._~/+@".contains(&plain) => char::from(plain).to_string(),
        other => format!("%{other:02X}"),
    };
    path.bytes().map(letter).collect()
}
