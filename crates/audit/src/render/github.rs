//! Annotations of GitHub Actions ("Workflow commands").

use crate::finding::Severity;
use crate::render::paragraph;
use crate::report::Report;

/// A line for each finding.
pub fn github(report: &Report) -> String {
    let lines: Vec<String> = report
        .findings()
        .map(|finding| {
            let level = match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Note => "notice",
            };
            let title = format!("{} on {}", finding.code, finding.platform);
            format!("::{level} title={}::{}", property(&title), data(&paragraph(finding)))
        })
        .collect();
    lines.join("\n")
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
