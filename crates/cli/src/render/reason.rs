//! Why a step ran, or how its result was found, in words.

use kiln_graph::{Hit, MissReason, ModeChange};

/// Files of one kind of change that are named; the rest is counted.
const NAMED: usize = 10;

/// Why a step runs, in a few words.
pub fn short(reason: &MissReason) -> String {
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
            remoded,
            ..
        } => {
            let count = added.len() + removed.len() + changed.len() + remoded.len();
            let modes = remoded.iter().map(|change| &change.path);
            match changed.iter().chain(modes).chain(added).chain(removed).next() {
                Some(first) if count == 1 => format!("{first} changed"),
                Some(first) => format!("{count} files changed, {first} among them"),
                None => "files changed".into(),
            }
        }
        MissReason::ParentChanged { step, .. } => format!("after `{}`", first_line(step)),
        MissReason::SettingChanged { name, .. } => format!("{name} changed"),
        MissReason::Evicted => "no longer in the cache".into(),
        MissReason::Several { reasons } => {
            let first = reasons.first().map(short).unwrap_or_default();
            format!("{first}, and {} more", reasons.len().saturating_sub(1))
        }
    }
}

/// Why a step ran, with everything that is known: one line for each fact.
pub fn lines(reason: &MissReason) -> Vec<String> {
    match reason {
        MissReason::NoRecord => vec!["no record: it has not run here before".into()],
        MissReason::CacheIgnored => vec!["--no-cache: the cache was not asked".into()],
        MissReason::Evicted => vec!["evicted: there was a record, and it is gone".into()],
        MissReason::InstructionChanged { from, to } => moved("the instruction was edited", from, to),
        MissReason::VariableChanged { name, from, to } => {
            let shown = |value: &Option<String>| match value.as_deref() {
                None => "unset".to_owned(),
                Some("") => "\"\"".to_owned(),
                Some(value) => value.to_owned(),
            };
            let line = match (from, to) {
                (Some(from), Some(to)) if from == to => format!("{name} changed; its value is not shown"),
                _ => format!("{name} changed: {} → {}", shown(from), shown(to)),
            };
            vec![line]
        }
        MissReason::BaseChanged { from, to } => moved("the base moved", from, to),
        MissReason::FilesChanged {
            source,
            added,
            removed,
            changed,
            remoded,
        } => {
            let mut lines = vec![format!("files of `{source}` changed")];
            let modes = |change: &ModeChange| format!("{} ({} → {})", change.path, change.from, change.to);
            let kinds: [(&str, Vec<String>); 4] = [
                ("changed", changed.clone()),
                ("mode", remoded.iter().map(modes).collect()),
                ("added", added.clone()),
                ("removed", removed.clone()),
            ];
            for (word, paths) in kinds {
                lines.extend(paths.iter().take(NAMED).map(|path| format!("  {word:8} {path}")));
                if paths.len() > NAMED {
                    lines.push(format!("  {word:8} and {} more", paths.len() - NAMED));
                }
            }
            if lines.len() == 1 {
                lines.push("  too many files to name".into());
            }
            lines
        }
        MissReason::ParentChanged { step, .. } => vec![format!("a step before it changed: `{}`", first_line(step))],
        MissReason::SettingChanged { name, from, to } => moved(&format!("{name} changed"), from, to),
        MissReason::Several { reasons } => reasons.iter().flat_map(lines).collect(),
    }
}

/// How a result was found.
pub fn hit(hit: Hit) -> &'static str {
    match hit {
        Hit::Definition => "by its definition",
        Hit::Content => "by content: what gave its files changed, the files did not",
        Hit::Concurrent => "made in the meantime, by another build or for another platform",
        Hit::NotNeeded => "not needed: a later step was found",
    }
}

/// A change on one line if it fits, else on three.
fn moved(what: &str, from: &str, to: &str) -> Vec<String> {
    let shown = |text: &str| {
        if text.is_empty() {
            "nothing".to_owned()
        } else {
            text.to_owned()
        }
    };
    let single = format!("{what}: {} → {}", shown(from), shown(to));
    if single.chars().count() <= 80 && !single.contains('\n') {
        return vec![single];
    }
    let mut lines = vec![what.to_owned()];
    for (sign, text) in [("-", from), ("+", to)] {
        lines.extend(shown(text).lines().map(|line| format!("  {sign} {line}")));
    }
    lines
}

/// The first line of a text.
pub fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> MissReason {
        MissReason::FilesChanged {
            source: "src".into(),
            added: (0..12).map(|number| format!("new{number:02}")).collect(),
            removed: vec![],
            changed: vec!["a".into()],
            remoded: vec![ModeChange {
                path: "run.sh".into(),
                from: "644".into(),
                to: "755".into(),
            }],
        }
    }

    fn variable(from: Option<&str>, to: Option<&str>) -> MissReason {
        MissReason::VariableChanged {
            name: "V".into(),
            from: from.map(Into::into),
            to: to.map(Into::into),
        }
    }

    #[test]
    fn reasons_are_short() {
        assert_eq!(short(&files()), "14 files changed, a among them");
        assert_eq!(short(&MissReason::NoRecord), "first run");
        let several = MissReason::Several {
            reasons: vec![variable(None, Some("1")), files()],
        };
        assert_eq!(short(&several), "V changed, and 1 more");
    }

    #[test]
    fn every_file_has_its_kind_of_change() {
        let lines = lines(&files());
        assert_eq!(lines[0], "files of `src` changed");
        assert_eq!(lines[1], "  changed  a");
        assert_eq!(lines[2], "  mode     run.sh (644 → 755)");
        assert_eq!(lines[3], "  added    new00");
        assert_eq!(lines.last().map(String::as_str), Some("  added    and 2 more"));
    }

    #[test]
    fn values_move_from_what_to_what() {
        assert_eq!(lines(&variable(Some("1"), Some("2"))), ["V changed: 1 → 2"]);
        assert_eq!(lines(&variable(None, Some(""))), ["V changed: unset → \"\""]);
        let hidden = variable(Some("(hidden)"), Some("(hidden)"));
        assert_eq!(lines(&hidden), ["V changed; its value is not shown"]);
        let long = "x".repeat(90);
        let edited = MissReason::InstructionChanged {
            from: long.clone(),
            to: "RUN a".into(),
        };
        assert_eq!(
            lines(&edited),
            [
                "the instruction was edited".to_owned(),
                format!("  - {long}"),
                "  + RUN a".into()
            ]
        );
    }
}
