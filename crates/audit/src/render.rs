//! A report as text, JSON, SARIF, JUnit or annotations of GitHub Actions. Pure: a report goes in, a text comes out.

mod github;
mod json;
mod junit;
mod sarif;
mod text;

pub use github::github;
pub use json::json;
pub use junit::junit;
pub use sarif::sarif;
pub use text::{paragraphs, summary, text};

use crate::finding::Finding;

/// `layer 3 (COPY . /app)`.
fn place(finding: &Finding) -> Option<String> {
    let layer = finding.layer.as_ref()?;
    Some(match &layer.instruction {
        Some(instruction) => format!("layer {} ({instruction})", layer.number),
        None => format!("layer {} ({})", layer.number, layer.digest),
    })
}

/// Reason, place and repair in one paragraph.
fn paragraph(finding: &Finding) -> String {
    let path = finding
        .path
        .as_deref()
        .map(|path| format!("{path}: "))
        .unwrap_or_default();
    let place = place(finding).map(|place| format!(", in {place}")).unwrap_or_default();
    format!("{path}{}{place}. {}", finding.reason, sentence(&finding.repair))
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), letters.as_str()),
        None => String::new(),
    }
}
