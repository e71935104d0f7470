//! The live tree: steps under their platform, the tail of what runs, bytes of transfers. Pure: state and size in,
//! lines out.

use std::collections::BTreeMap;

use kiln_graph::Outcome;

use crate::render::steps::{Progress, Step, Steps};

/// The lines of the tree, `height` at most, each `width` characters at most.
pub fn lines(steps: &Steps, width: usize, height: usize, color: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for (_, task) in &steps.tasks {
        let platform = task
            .platform
            .as_ref()
            .map(|platform| format!(" for {platform}"))
            .unwrap_or_default();
        lines.push(format!(
            "{} {}{platform}{}",
            mark(&task.progress, color),
            task.name,
            time(&task.progress)
        ));
    }
    let mut platforms: BTreeMap<String, Vec<&Step>> = BTreeMap::new();
    for step in steps
        .order
        .iter()
        .filter_map(|id| steps.steps.get(id))
        .filter(|step| step.meta.step.is_some())
    {
        let platform = step.meta.platform.as_ref().map(ToString::to_string).unwrap_or_default();
        platforms.entry(platform).or_default().push(step);
    }
    for (platform, steps) in platforms {
        lines.push(platform);
        for step in steps {
            let emulated = if step.emulated { " (emulated)" } else { "" };
            lines.push(format!(
                "  {} {}{emulated}{}",
                mark(&step.progress, color),
                step.title(),
                time(&step.progress)
            ));
            if matches!(step.progress, Progress::Running(_)) {
                lines.extend(step.tail.iter().map(|line| format!("      {line}")));
            }
        }
    }
    let mut transfers: Vec<_> = steps
        .transfers
        .iter()
        .filter(|(_, (done, total))| total.is_none_or(|total| *done < total))
        .collect();
    transfers.sort_by(|a, b| a.0.cmp(b.0));
    for ((digest, label), (done, total)) in transfers {
        let total = total.map(|total| format!(" of {}", bytes(total))).unwrap_or_default();
        lines.push(format!("  {label} {} {}{total}", digest.short(), bytes(*done)));
    }
    // What is oldest goes first when there is no room.
    let first = lines.len().saturating_sub(height);
    lines.drain(..first);
    lines.into_iter().map(|line| cut(&line, width)).collect()
}

fn mark(progress: &Progress, color: bool) -> String {
    let (text, code) = match progress {
        Progress::Planned => ("·", "2"),
        Progress::Running(_) => (">", "33"),
        Progress::Ended(Outcome::Done, _) => ("✓", "32"),
        Progress::Ended(Outcome::Cached, _) => ("=", "36"),
        Progress::Ended(Outcome::Failed(_), _) => ("✗", "31"),
        Progress::Ended(Outcome::Cancelled, _) => ("-", "2"),
    };
    if color {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

fn time(progress: &Progress) -> String {
    match progress {
        Progress::Running(since) => format!("  {:.1}s", since.elapsed().as_secs_f64()),
        Progress::Ended(Outcome::Cached, _) => "  cached".into(),
        Progress::Ended(_, duration) => format!("  {:.1}s", duration.as_secs_f64()),
        Progress::Planned => String::new(),
    }
}

/// Bytes for people.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["B", "kB", "MB", "GB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{count} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// Cuts a line to a width; control sequences take no room.
fn cut(line: &str, width: usize) -> String {
    let mut shown = 0;
    let mut result = String::new();
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        result.push(letter);
        if letter == '\x1b' {
            for letter in letters.by_ref() {
                result.push(letter);
                if letter.is_ascii_alphabetic() {
                    break;
                }
            }
            continue;
        }
        shown += 1;
        if shown + 1 >= width {
            break;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_graph::{Event, VertexId, VertexMeta};
    use kiln_oci::{Digest, Platform};

    #[test]
    fn steps_stand_under_their_platform() {
        let mut steps = Steps::default();
        for (name, architecture) in [("RUN a", "amd64"), ("RUN b", "arm64")] {
            let meta = VertexMeta {
                name: name.into(),
                stage: Some("app".into()),
                step: Some((2, 3)),
                platform: Some(Platform::linux(architecture, "")),
                ..VertexMeta::default()
            };
            steps.take(&Event::StepPlanned {
                vertex: VertexId(Digest::sha256(name)),
                meta,
                inputs: Vec::new(),
            });
        }
        let done = Event::StepFinished {
            vertex: VertexId(Digest::sha256("RUN a")),
            outcome: Outcome::Cached,
            duration: std::time::Duration::ZERO,
        };
        steps.take(&done);
        let drawn = lines(&steps, 80, 20, false);
        assert_eq!(
            drawn,
            [
                "linux/amd64",
                "  = [app 2/3] RUN a  cached",
                "linux/arm64",
                "  · [app 2/3] RUN b"
            ]
        );
        assert_eq!(lines(&steps, 80, 2, false).len(), 2);
        assert!(lines(&steps, 10, 20, true).iter().all(|line| !line.contains("cached")));
    }

    #[test]
    fn bytes_are_readable() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_500_000), "1.5 MB");
    }
}
