//! Lines: each with the step's number, its platform and its time.

use kiln_graph::{Event, Outcome, VertexId};

use crate::render::reason::short;
use crate::render::steps::{Step, Steps};

/// Gives the lines of each event.
#[derive(Debug, Default)]
pub struct Plain {
    /// Output that has no end of line yet, by step.
    open: std::collections::HashMap<VertexId, String>,
}

impl Plain {
    /// The lines that an event is worth.
    pub fn lines(&mut self, event: &Event, steps: &Steps) -> Vec<String> {
        match event {
            Event::StepStarted {
                vertex,
                emulated,
                reason,
            } => steps.steps.get(vertex).map_or_else(Vec::new, |step| {
                let emulated = if *emulated { " (emulated)" } else { "" };
                let reason = reason
                    .as_ref()
                    .map(|reason| format!(" ({})", short(reason)))
                    .unwrap_or_default();
                vec![format!(
                    "#{} {}{}{emulated}{reason}",
                    step.number,
                    platform(step),
                    step.title()
                )]
            }),
            Event::StepLog { vertex, text, .. } => {
                let Some(step) = steps.steps.get(vertex) else {
                    return Vec::new();
                };
                let open = self.open.entry(vertex.clone()).or_default();
                open.push_str(text);
                let mut lines = Vec::new();
                while let Some(end) = open.find('\n') {
                    let line: String = open.drain(..=end).collect();
                    lines.push(format!("#{} {}{}", step.number, platform(step), line.trim_end()));
                }
                lines
            }
            Event::StepFinished {
                vertex,
                outcome,
                duration,
            } => {
                let Some(step) = steps.steps.get(vertex) else {
                    return Vec::new();
                };
                let mut lines = Vec::new();
                if let Some(rest) = self.open.remove(vertex).filter(|rest| !rest.is_empty()) {
                    lines.push(format!("#{} {}{rest}", step.number, platform(step)));
                }
                let end = match outcome {
                    Outcome::Done if step.meta.step.is_none() => return lines,
                    Outcome::Done => format!("DONE {:.1}s", duration.as_secs_f64()),
                    Outcome::Cached => format!("{} CACHED", step.title()),
                    Outcome::Failed(error) => format!("ERROR: {error}"),
                    Outcome::Cancelled => "CANCELLED".to_owned(),
                };
                lines.push(format!("#{} {}{end}", step.number, platform(step)));
                lines
            }
            Event::TaskStarted { name, platform, .. } => {
                let platform = platform
                    .as_ref()
                    .map(|platform| format!("[{platform}] "))
                    .unwrap_or_default();
                vec![format!("{platform}{name}")]
            }
            Event::TaskFinished { id, outcome, duration } => {
                let task = steps.tasks.iter().rev().find(|(known, _)| known == id);
                let Some((_, task)) = task else { return Vec::new() };
                let end = match outcome {
                    Outcome::Done | Outcome::Cached => format!("DONE {:.1}s", duration.as_secs_f64()),
                    Outcome::Failed(error) => format!("ERROR: {error}"),
                    Outcome::Cancelled => "CANCELLED".to_owned(),
                };
                vec![format!("{} {end}", task.name)]
            }
            Event::Warning { message, hints } => {
                let mut lines = vec![format!("warning: {message}")];
                lines.extend(hints.iter().map(|hint| format!("hint: {hint}")));
                lines
            }
            Event::StepPlanned { .. }
            | Event::StepMatched { .. }
            | Event::Progress { .. }
            | Event::PlatformFinished { .. }
            | Event::Shared(_)
            | Event::AuditFinished { .. }
            | Event::TestFinished { .. } => Vec::new(),
        }
    }
}

fn platform(step: &Step) -> String {
    step.meta
        .platform
        .as_ref()
        .map(|platform| format!("[{platform}] "))
        .unwrap_or_default()
}
