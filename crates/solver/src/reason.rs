//! Why a step ran: what differs from the nearest record of the same step.
//!
//! Records hold the named parts of their keys ([`crate::key::key_parts`] has the table). The nearest record is one of
//! the same instruction if there is one, else of the same place in the stage; among those the one with the fewest
//! differences, and then the newest.

use std::collections::BTreeMap;

use kiln_graph::{MissReason, ModeChange, Vertex, VertexId};
use kiln_store::{CacheKey, CacheRecord, KeyPart};

use crate::Worker;
use crate::key::HIDDEN;

/// A step or source that gives an input of the step that is explained.
#[derive(Debug, Clone)]
pub struct Parent {
    /// Which.
    pub vertex: VertexId,
    /// Its name.
    pub name: String,
    /// Why it ran itself. None: it did not run.
    pub reason: Option<MissReason>,
}

/// Why a step runs whose `keys` (by definition and by content) gave no record.
pub(crate) async fn explain<W: Worker>(
    worker: &W,
    vertex: &Vertex,
    parts: &[KeyPart],
    keys: &[&CacheKey],
    parents: &[Parent],
) -> Result<MissReason, W::Error> {
    if vertex.meta.ignore_cache {
        return Ok(MissReason::CacheIgnored);
    }
    for key in keys {
        if worker.was_kept(key).await? {
            return Ok(MissReason::Evicted);
        }
    }
    let records = worker.nearest(vertex).await?;
    Ok(miss_reason(parts, &vertex.meta.slot, &records, parents))
}

/// Everything that differs from the nearest record, what a person would call the cause first. `parents` are the
/// inputs by position.
pub fn miss_reason(parts: &[KeyPart], slot: &str, records: &[CacheRecord], parents: &[Parent]) -> MissReason {
    let Some(record) = nearest(parts, slot, records) else {
        return MissReason::NoRecord;
    };
    let changes = Changes::between(&record.parts, parts);
    let mut reasons: Vec<MissReason> = Vec::new();
    reasons.extend(changes.instruction());
    reasons.extend(changes.variables());
    reasons.extend(changes.bases());
    reasons.extend(changes.files());
    reasons.extend(changes.parents(parents));
    // Settings follow from an edited instruction; alone they are the cause.
    if !changes.is_edited() {
        let named = changes.settings().filter(|(name, ..)| *name != "operation");
        reasons.extend(named.map(setting));
        if reasons.is_empty() {
            reasons.extend(changes.settings().map(setting));
        }
    }
    match reasons.len() {
        0 => MissReason::Evicted,
        1 => reasons.swap_remove(0),
        _ => MissReason::Several { reasons },
    }
}

/// The record that a person would compare with.
pub fn nearest<'r>(parts: &[KeyPart], slot: &str, records: &'r [CacheRecord]) -> Option<&'r CacheRecord> {
    let instruction = |parts: &[KeyPart]| parts.iter().find(|part| part.name == "instruction").cloned();
    let written = instruction(parts);
    records.iter().min_by_key(|record| {
        let edited = instruction(&record.parts) != written;
        let elsewhere = record.slot != slot;
        (edited, elsewhere, Changes::between(&record.parts, parts).all.len())
    })
}

/// The parts that are not the same in both, by name.
struct Changes<'a> {
    all: BTreeMap<&'a str, Change<'a>>,
    before: &'a [KeyPart],
    now: &'a [KeyPart],
}

#[derive(Clone, Copy)]
struct Change<'a> {
    before: Option<&'a str>,
    now: Option<&'a str>,
}

impl<'a> Changes<'a> {
    fn between(before: &'a [KeyPart], now: &'a [KeyPart]) -> Changes<'a> {
        let nothing = Change {
            before: None,
            now: None,
        };
        let mut all: BTreeMap<&str, Change<'_>> = BTreeMap::new();
        for part in before {
            all.entry(&part.name).or_insert(nothing).before = Some(&part.value);
        }
        for part in now {
            all.entry(&part.name).or_insert(nothing).now = Some(&part.value);
        }
        all.retain(|name, change| {
            if is_input(name) {
                // What an input is called may change without its result.
                key_of(change.before) != key_of(change.now)
            } else {
                change.before != change.now
            }
        });
        Changes { all, before, now }
    }

    /// The changes whose names begin with a word, without it.
    fn of(&self, word: &'static str) -> impl Iterator<Item = (&'a str, Change<'a>)> + '_ {
        self.all
            .iter()
            .filter_map(move |(name, change)| Some((name.strip_prefix(word)?.strip_prefix(' ')?, *change)))
    }

    fn is_edited(&self) -> bool {
        self.all.contains_key("instruction")
    }

    fn instruction(&self) -> Option<MissReason> {
        let change = self.all.get("instruction")?;
        Some(MissReason::InstructionChanged {
            from: text(change.before),
            to: text(change.now),
        })
    }

    fn variables(&self) -> impl Iterator<Item = MissReason> + '_ {
        self.of("variable").map(|(name, change)| MissReason::VariableChanged {
            name: name.to_owned(),
            from: change.before.map(shown),
            to: change.now.map(shown),
        })
    }

    fn bases(&self) -> impl Iterator<Item = MissReason> + '_ {
        self.of("base").map(|(_, change)| MissReason::BaseChanged {
            from: name_of(change.before),
            to: name_of(change.now),
        })
    }

    fn files(&self) -> impl Iterator<Item = MissReason> + '_ {
        self.of("source").filter_map(|(named, change)| {
            // A source that only one of them has is an edited instruction.
            change.before.and(change.now)?;
            let (position, source) = named.split_once(' ').unwrap_or((named, ""));
            Some(self.files_of(position, source))
        })
    }

    fn files_of(&self, position: &str, source: &str) -> MissReason {
        let (mut added, mut removed, mut changed, mut remoded) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        // A record of very many files names none of them: then nothing can be said about single files.
        let prefix = format!("file {position} ");
        let names = |parts: &[KeyPart]| parts.iter().any(|part| part.name.starts_with(&prefix));
        let is_named = names(self.before) && names(self.now);
        for (name, change) in self.of("file") {
            let Some((_, path)) = name.split_once(' ').filter(|(of, _)| *of == position && is_named) else {
                continue;
            };
            let path = if path.is_empty() { "." } else { path }.to_owned();
            match (change.before, change.now) {
                (Some(before), Some(now)) => match mode_change(before, now) {
                    Some((from, to)) => remoded.push(ModeChange {
                        path,
                        from: from.to_owned(),
                        to: to.to_owned(),
                    }),
                    None => changed.push(path),
                },
                (None, _) => added.push(path),
                (_, None) => removed.push(path),
            }
        }
        MissReason::FilesChanged {
            source: source.to_owned(),
            added: without_parents(added),
            removed: without_parents(removed),
            changed,
            remoded,
        }
    }

    fn parents(&self, parents: &[Parent]) -> Vec<MissReason> {
        let changed = self.of("input").filter_map(|(position, change)| {
            change.now?;
            let parent = parents.get(position.parse::<usize>().ok()?)?;
            let root = parent
                .reason
                .as_ref()
                .and_then(|reason| reason.root(&parent.name, &parent.vertex));
            Some(MissReason::ParentChanged {
                step: parent.name.clone(),
                vertex: parent.vertex.clone(),
                root: root.map(Box::new),
            })
        });
        changed.collect()
    }

    fn settings(&self) -> impl Iterator<Item = (&'a str, Change<'a>)> + '_ {
        self.of("setting")
    }
}

fn setting((name, change): (&str, Change<'_>)) -> MissReason {
    MissReason::SettingChanged {
        name: name.to_owned(),
        from: text(change.before),
        to: text(change.now),
    }
}

fn text(value: Option<&str>) -> String {
    value.unwrap_or_default().to_owned()
}

/// A variable's value for people: of a hidden one, that it is hidden.
fn shown(value: &str) -> String {
    if value.starts_with(HIDDEN) {
        HIDDEN.trim_end().to_owned()
    } else {
        value.to_owned()
    }
}

fn is_input(name: &str) -> bool {
    name.starts_with("base ") || name.starts_with("input ")
}

/// The key in `<key> <name>`.
fn key_of(value: Option<&str>) -> Option<&str> {
    value.map(|value| value.split_once(' ').map_or(value, |(key, _)| key))
}

fn name_of(value: Option<&str>) -> String {
    value
        .and_then(|value| value.split_once(' '))
        .map(|(_, name)| name.to_owned())
        .unwrap_or_default()
}

/// Both modes, if two files differ in nothing else.
fn mode_change<'a>(before: &'a str, now: &'a str) -> Option<(&'a str, &'a str)> {
    let ((from, rest), (to, same)) = (before.split_once(' ')?, now.split_once(' ')?);
    (rest == same).then_some((from, to))
}

/// A new file makes its new directories no news. Paths are sorted.
fn without_parents(paths: Vec<String>) -> Vec<String> {
    // What is inside a directory sorts behind it, with nothing but its other neighbours `dir-…` in between.
    let is_parent = |position: usize, path: &str| {
        let inside = format!("{path}/");
        let behind = paths[position + 1..].iter().take_while(|other| other.starts_with(path));
        (path == "." && paths.len() > 1) || behind.into_iter().any(|other| other.starts_with(&inside))
    };
    let all = paths.iter().enumerate();
    all.filter(|(position, path)| !is_parent(*position, path))
        .map(|(_, path)| path.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_graph::RootCause;
    use kiln_oci::Digest;

    fn parts(list: &[(&str, &str)]) -> Vec<KeyPart> {
        list.iter()
            .map(|(name, value)| KeyPart {
                name: (*name).into(),
                value: (*value).into(),
            })
            .collect()
    }

    fn record(slot: &str, list: &[(&str, &str)]) -> CacheRecord {
        CacheRecord {
            key: CacheKey(Digest::sha256("k")),
            layers: Vec::new(),
            slot: slot.into(),
            parts: parts(list),
            created_unix: 0,
            duration_ms: 0,
            platform: None,
            name: String::new(),
        }
    }

    fn vertex(name: &str) -> VertexId {
        VertexId(Digest::sha256(name))
    }

    fn parent(name: &str, reason: Option<MissReason>) -> Parent {
        Parent {
            vertex: vertex(name),
            name: name.into(),
            reason,
        }
    }

    const BEFORE: [(&str, &str); 9] = [
        ("instruction", "RUN a"),
        ("variable V", "1"),
        ("variable TOKEN", "(hidden) 0123abcd"),
        ("base 0", "k1 x@1"),
        ("source 1 src", "d1"),
        ("file 1 src/a", "644 file 1"),
        ("input 2", "k1 RUN z"),
        ("setting user", ""),
        ("setting operation", "o1"),
    ];

    fn after(changes: &[(&str, Option<&str>)]) -> MissReason {
        let mut now: Vec<(&str, &str)> = BEFORE.to_vec();
        for (name, value) in changes {
            now.retain(|(known, _)| known != name);
            now.extend(value.map(|value| (*name, value)));
        }
        let parents = [
            parent("FROM x", None),
            parent("context", None),
            parent("RUN z", Some(MissReason::CacheIgnored)),
        ];
        miss_reason(&parts(&now), "slot", &[record("slot", &BEFORE)], &parents)
    }

    fn variable(name: &str, from: Option<&str>, to: Option<&str>) -> MissReason {
        MissReason::VariableChanged {
            name: name.into(),
            from: from.map(Into::into),
            to: to.map(Into::into),
        }
    }

    #[test]
    fn nothing_is_known_of_a_step_without_records() {
        let now = parts(&[("instruction", "RUN a")]);
        assert_eq!(miss_reason(&now, "slot", &[], &[]), MissReason::NoRecord);
    }

    #[test]
    fn each_difference_has_its_reason() {
        let edited = MissReason::InstructionChanged {
            from: "RUN a".into(),
            to: "RUN b".into(),
        };
        let moved = MissReason::BaseChanged {
            from: "x@1".into(),
            to: "x@2".into(),
        };
        let root = RootCause {
            step: "RUN z".into(),
            vertex: vertex("RUN z"),
            reason: MissReason::CacheIgnored,
        };
        let led = MissReason::ParentChanged {
            step: "RUN z".into(),
            vertex: vertex("RUN z"),
            root: Some(Box::new(root)),
        };
        let set = |name: &str, from: &str, to: &str| MissReason::SettingChanged {
            name: name.into(),
            from: from.into(),
            to: to.into(),
        };
        type Case<'a> = (&'a [(&'a str, Option<&'a str>)], MissReason);
        let cases: Vec<Case<'_>> = vec![
            (
                &[("instruction", Some("RUN b")), ("setting operation", Some("o2"))],
                edited,
            ),
            (
                &[("variable V", Some("2")), ("setting operation", Some("o2"))],
                variable("V", Some("1"), Some("2")),
            ),
            (&[("variable V", None)], variable("V", Some("1"), None)),
            (&[("variable W", Some(""))], variable("W", None, Some(""))),
            (
                &[("variable TOKEN", Some("(hidden) ffffffff"))],
                variable("TOKEN", Some("(hidden)"), Some("(hidden)")),
            ),
            (&[("base 0", Some("k2 x@2"))], moved),
            (&[("input 2", Some("k2 RUN z"))], led),
            (
                &[("setting user", Some("app")), ("setting operation", Some("o2"))],
                set("user", "", "app"),
            ),
            (&[("setting operation", Some("o2"))], set("operation", "o1", "o2")),
            (&[], MissReason::Evicted),
            (
                &[("base 0", Some("k1 x@2")), ("input 2", Some("k1 RUN y"))],
                MissReason::Evicted,
            ),
        ];
        for (changes, expected) in cases {
            assert_eq!(after(changes), expected, "{changes:?}");
        }
    }

    #[test]
    fn all_causes_are_named_together() {
        let both = after(&[("variable V", Some("2")), ("variable W", Some("3"))]);
        assert_eq!(both.each().len(), 2);
        assert_eq!(both.each()[1], variable("W", None, Some("3")));
        let root = both.root("RUN a", &vertex("RUN a")).expect("it is a cause itself");
        assert_eq!(root.reason, both);
    }

    #[test]
    fn files_are_told_apart_by_what_happened_to_them() {
        let before = record(
            "slot",
            &[
                ("instruction", "COPY src lib /"),
                ("source 1 src lib", "d1"),
                ("file 1 src/a", "644 file 1"),
                ("file 1 src/run.sh", "644 file 2"),
                ("file 1 src/old", "644 file 3"),
                ("file 1 src/deep", "755 directory"),
                ("file 1 src/same", "644 file 4"),
                ("source 2 other", "e1"),
                ("file 2 other/x", "644 file 5"),
            ],
        );
        let now = parts(&[
            ("instruction", "COPY src lib /"),
            ("source 1 src lib", "d2"),
            ("file 1 src/a", "644 file 9"),
            ("file 1 src/run.sh", "755 file 2"),
            ("file 1 src/deep", "700 directory"),
            ("file 1 src/same", "644 file 4"),
            ("file 1 src/new", "755 directory"),
            ("file 1 src/new/b", "644 file 6"),
            ("source 2 other", "e1"),
            ("file 2 other/x", "644 file 5"),
        ]);
        let mode = |path: &str, from: &str, to: &str| ModeChange {
            path: path.into(),
            from: from.into(),
            to: to.into(),
        };
        let expected = MissReason::FilesChanged {
            source: "src lib".into(),
            added: vec!["src/new/b".into()],
            removed: vec!["src/old".into()],
            changed: vec!["src/a".into()],
            remoded: vec![mode("src/deep", "755", "700"), mode("src/run.sh", "644", "755")],
        };
        assert_eq!(miss_reason(&now, "slot", &[before], &[]), expected);
    }

    #[test]
    fn the_nearest_record_is_the_same_instruction_wherever_it_stood() {
        let records = [
            record("stage 3", &[("instruction", "RUN c"), ("input 0", "k1 RUN b")]),
            record("stage 2", &[("instruction", "RUN b"), ("input 0", "k9 RUN a")]),
            record(
                "stage 2",
                &[("instruction", "RUN b"), ("input 0", "k9 RUN a"), ("variable A", "1")],
            ),
        ];
        let now = parts(&[("instruction", "RUN b"), ("input 0", "k1 RUN new")]);
        let parents = [parent("RUN new", Some(MissReason::NoRecord))];
        let reason = miss_reason(&now, "stage 3", &records, &parents);
        let root = reason.root("RUN b", &vertex("RUN b")).expect("a chain has a beginning");
        assert_eq!((root.step.as_str(), root.reason), ("RUN new", MissReason::NoRecord));
    }

    #[test]
    fn a_parent_that_did_not_run_has_no_chain() {
        let records = [record("s", &[("instruction", "RUN b"), ("input 0", "k1 RUN a")])];
        let now = parts(&[("instruction", "RUN b"), ("input 0", "k2 RUN a")]);
        let expected = MissReason::ParentChanged {
            step: "RUN a".into(),
            vertex: vertex("RUN a"),
            root: None,
        };
        assert_eq!(miss_reason(&now, "s", &records, &[parent("RUN a", None)]), expected);
    }
}
