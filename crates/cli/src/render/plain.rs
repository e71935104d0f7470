//! Lines: each with the step's number, its platform and its time.

use kiln_graph::{Event, MissReason, Outcome, VertexId};

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
                    .map(|reason| format!(" ({})", why(reason)))
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
            Event::StepPlanned { .. } | Event::Progress { .. } | Event::PlatformFinished { .. } => Vec::new(),
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

/// Why a step runs, in a few words.
pub fn why(reason: &MissReason) -> String {
    match reason {
        MissReason::NoRecord => "first run".into(),
        MissReason::CacheIgnored => "cache ignored".into(),
        MissReason::InstructionChanged { .. } => "instruction changed".into(),
        MissReason::VariableChanged { name, .. } => format!("{name} changed"),
        MissReason::BaseChanged { from, to } => format!("base moved {from} → {to}"),
        MissReason::FilesChanged {
            added,
            removed,
            changed,
            ..
        } => {
            let count = added.len() + removed.len() + changed.len();
            match changed.iter().chain(added).chain(removed).next() {
                Some(first) if count == 1 => format!("{first} changed"),
                Some(first) => format!("{count} files changed, {first} among them"),
                None => "files changed".into(),
            }
        }
        MissReason::ParentChanged { step } => format!("after `{}`", step.lines().next().unwrap_or_default()),
        MissReason::SettingChanged { name, .. } => format!("{name} changed"),
        MissReason::Evicted => "no longer in the cache".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_short() {
        let files = MissReason::FilesChanged {
            source: "src".into(),
            added: vec!["b".into()],
            removed: vec![],
            changed: vec!["a".into()],
        };
        assert_eq!(why(&files), "2 files changed, a among them");
        assert_eq!(why(&MissReason::NoRecord), "first run");
    }
}
