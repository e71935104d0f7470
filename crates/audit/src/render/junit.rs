//! JUnit's XML, for the test views of continuous integration.

use crate::finding::Severity;
use crate::render::paragraph;
use crate::report::Report;

/// A suite for each platform. A finding that reaches `fails` is a failed case; the others are passed cases with their
/// text as output. A platform without findings is one passed case.
pub fn junit(name: &str, report: &Report, fails: Option<Severity>) -> String {
    let is_failure = |severity: Severity| fails.is_some_and(|fails| severity >= fails);
    let failures = report.findings().filter(|finding| is_failure(finding.severity)).count();
    let cases: usize = report
        .platforms
        .iter()
        .map(|platform| platform.findings.len().max(1))
        .sum();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    text.push_str(&format!(
        "<testsuites name=\"{}\" tests=\"{cases}\" failures=\"{failures}\">\n",
        escaped(name)
    ));
    for platform in &report.platforms {
        let failed = platform
            .findings
            .iter()
            .filter(|finding| is_failure(finding.severity))
            .count();
        let suite = escaped(&platform.platform.to_string());
        let count = platform.findings.len().max(1);
        text.push_str(&format!(
            "  <testsuite name=\"{suite}\" tests=\"{count}\" failures=\"{failed}\">\n"
        ));
        if platform.findings.is_empty() {
            text.push_str(&format!("    <testcase classname=\"{suite}\" name=\"audit\"/>\n"));
        }
        for finding in &platform.findings {
            let case = escaped(&format!(
                "{} {}",
                finding.code,
                finding.path.as_deref().unwrap_or("the image")
            ));
            let message = escaped(&finding.reason);
            let body = escaped(&paragraph(finding));
            let severity = finding.severity.name();
            let inner = if is_failure(finding.severity) {
                format!("<failure type=\"{severity}\" message=\"{message}\">{body}</failure>")
            } else {
                format!("<system-out>{severity}: {body}</system-out>")
            };
            text.push_str(&format!(
                "    <testcase classname=\"{suite}\" name=\"{case}\">{inner}</testcase>\n"
            ));
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>");
    text
}

/// XML allows no control characters, escaped or not.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(' '),
            letter if letter.is_control() || letter == '\u{fffe}' || letter == '\u{ffff}' => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}
