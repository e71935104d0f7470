//! One JSON document.

use serde_json::{Value, json};

use crate::finding::{Finding, Severity};
use crate::report::Report;

/// The whole report. Fields are only ever added.
pub fn json(name: &str, report: &Report) -> Value {
    let platforms: Vec<Value> = report
        .platforms
        .iter()
        .map(|platform| {
            json!({
                "platform": platform.platform.to_string(),
                "manifest": platform.manifest,
                "files": platform.files,
                "findings": platform.findings.iter().map(finding).collect::<Vec<_>>(),
            })
        })
        .collect();
    let allowed: Vec<Value> = report
        .allowed
        .iter()
        .map(|allowed| {
            let mut value = finding(&allowed.finding);
            value["allowed"] = json!(allowed.reason);
            value
        })
        .collect();
    json!({
        "name": name,
        "errors": report.count(Severity::Error),
        "warnings": report.count(Severity::Warning),
        "notes": report.count(Severity::Note),
        "platforms": platforms,
        "allowed": allowed,
        "remarks": report.remarks,
    })
}

fn finding(finding: &Finding) -> Value {
    let mut value = json!({
        "code": finding.code.id(),
        "name": finding.code.name(),
        "severity": finding.severity,
        "platform": finding.platform.to_string(),
        "reason": finding.reason,
        "repair": finding.repair,
        "files": finding.files,
    });
    if let Some(path) = &finding.path {
        value["path"] = json!(path);
    }
    if let Some(layer) = &finding.layer {
        value["layer"] = json!({ "number": layer.number, "digest": layer.digest, "instruction": layer.instruction });
    }
    value
}
