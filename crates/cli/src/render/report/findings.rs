//! What a build warned of, why it failed, and what the audit and the tests said.

use kiln_graph::{AuditFinding, Outcome, Severity};

use super::html::Html;
use crate::history::record::{AuditRecord, BuildRecord};
use crate::render::time;

/// Why the build failed.
pub fn error(main: &mut Html, record: &BuildRecord) {
    if record.error.is_empty() {
        return;
    }
    main.element(
        "section",
        &[("aria-labelledby", "error"), ("class", "failure")],
        |section| {
            section.element("h2", &[("id", "error")], |title| title.text("✗ Error"));
            section.element("pre", &[("class", "error")], |text| {
                text.text(&record.error.join("\n  caused by: "))
            });
        },
    );
}

/// What the build warned of.
pub fn warnings(main: &mut Html, record: &BuildRecord) {
    if record.warnings.is_empty() {
        return;
    }
    main.element("section", &[("aria-labelledby", "warnings")], |section| {
        section.element("h2", &[("id", "warnings")], |title| title.text("Warnings"));
        section.element("ul", &[], |list| {
            for warning in &record.warnings {
                list.element("li", &[], |item| {
                    item.text(&warning.message);
                    for hint in &warning.hints {
                        item.element("br", &[], |_| {});
                        item.element("small", &[], |small| small.text(&format!("hint: {hint}")));
                    }
                });
            }
        });
    });
}

/// What the audit found on each platform.
pub fn audit(main: &mut Html, record: &BuildRecord) {
    let Some(audits) = &record.audit else { return };
    main.element("section", &[("aria-labelledby", "audit")], |section| {
        section.element("h2", &[("id", "audit")], |title| title.text("Audit"));
        for audit in audits {
            section.element("h3", &[], |title| title.text(&heading(audit)));
            if audit.findings.is_empty() {
                continue;
            }
            let mut sorted: Vec<&AuditFinding> = audit.findings.iter().collect();
            sorted.sort_by_key(|finding| finding.severity);
            section.element("ul", &[("class", "findings")], |list| {
                for finding in sorted {
                    list.element("li", &[], |item| one(item, finding));
                }
            });
        }
    });
}

fn heading(audit: &AuditRecord) -> String {
    match audit.findings.len() {
        0 => format!("✓ {}: nothing found", audit.platform),
        1 => format!("{}: 1 finding", audit.platform),
        count => format!("{}: {count} findings", audit.platform),
    }
}

fn one(item: &mut Html, finding: &AuditFinding) {
    let (word, class) = match finding.severity {
        Severity::Error => ("✗ error", "bad"),
        Severity::Warning => ("! warning", "open"),
        Severity::Note => ("i note", "quiet"),
    };
    item.element("strong", &[("class", class)], |strong| {
        strong.text(&format!("{word} {}", finding.code))
    });
    item.text(" ");
    if !finding.path.is_empty() {
        item.element("code", &[], |code| code.text(&finding.path));
        item.text(": ");
    }
    item.text(&finding.message);
    let more = [("by", &finding.instruction), ("hint:", &finding.repair)];
    for (word, text) in more.into_iter().filter_map(|(word, text)| Some((word, text.as_ref()?))) {
        item.element("br", &[], |_| {});
        item.element("small", &[], |small| small.text(&format!("{word} {text}")));
    }
}

/// What came of the tests.
pub fn tests(main: &mut Html, record: &BuildRecord) {
    let Some(tests) = &record.tests else { return };
    main.element("section", &[("aria-labelledby", "tests")], |section| {
        section.element("h2", &[("id", "tests")], |title| title.text("Tests"));
        section.element("ul", &[("class", "findings")], |list| {
            for test in tests {
                list.element("li", &[], |item| {
                    let (word, class) = match &test.outcome {
                        Outcome::Done | Outcome::Cached => ("✓ passed", "good"),
                        Outcome::Failed(_) => ("✗ failed", "bad"),
                        Outcome::Cancelled => ("■ cancelled", "quiet"),
                    };
                    item.element("strong", &[("class", class)], |strong| strong.text(word));
                    item.text(&format!(
                        " {} on {}, {}",
                        test.name,
                        test.platform,
                        time(test.duration_ms)
                    ));
                    if let Outcome::Failed(error) = &test.outcome {
                        item.element("pre", &[("class", "error")], |text| text.text(error));
                    }
                });
            }
        });
    });
}
