//! Why a step ran: what differs from the nearest record of the same slot.

use std::collections::BTreeMap;

use kiln_graph::MissReason;
use kiln_store::{CacheRecord, KeyPart};

/// Names the first difference that a person would call the cause, against the record with the fewest
/// differences.
pub fn miss_reason(parts: &[KeyPart], records: &[CacheRecord]) -> MissReason {
    let nearest = records
        .iter()
        .min_by_key(|record| differences(parts, &record.parts).count());
    let Some(record) = nearest else {
        return MissReason::NoRecord;
    };
    let changes: Vec<Difference<'_>> = differences(parts, &record.parts).collect();
    instruction(&changes)
        .or_else(|| variable(&changes))
        .or_else(|| base(&changes))
        .or_else(|| files(&changes))
        .or_else(|| parent(&changes))
        .or_else(|| setting(&changes))
        .unwrap_or(MissReason::Evicted)
}

/// One part that is not the same in both.
struct Difference<'a> {
    name: &'a str,
    before: Option<&'a str>,
    now: Option<&'a str>,
}

fn differences<'a>(now: &'a [KeyPart], before: &'a [KeyPart]) -> impl Iterator<Item = Difference<'a>> {
    let mut all: BTreeMap<&str, (Option<&str>, Option<&str>)> = BTreeMap::new();
    for part in before {
        all.entry(&part.name).or_default().0 = Some(&part.value);
    }
    for part in now {
        all.entry(&part.name).or_default().1 = Some(&part.value);
    }
    all.into_iter()
        .filter(|(_, (before, now))| before != now)
        .map(|(name, (before, now))| Difference { name, before, now })
}

fn text(value: Option<&str>) -> String {
    value.unwrap_or_default().to_owned()
}

fn instruction(changes: &[Difference<'_>]) -> Option<MissReason> {
    let named = |name: &str| changes.iter().find(|change| change.name == name);
    let change = named("instruction").or_else(|| named("command"))?;
    Some(MissReason::InstructionChanged {
        from: text(change.before),
        to: text(change.now),
    })
}

fn variable(changes: &[Difference<'_>]) -> Option<MissReason> {
    changes.iter().find_map(|change| {
        Some(MissReason::VariableChanged {
            name: change.name.strip_prefix("env ")?.to_owned(),
            from: change.before.map(str::to_owned),
            to: change.now.map(str::to_owned),
        })
    })
}

fn base(changes: &[Difference<'_>]) -> Option<MissReason> {
    let change = changes.iter().find(|change| change.name == "base")?;
    Some(MissReason::BaseChanged {
        from: text(change.before),
        to: text(change.now),
    })
}

fn files(changes: &[Difference<'_>]) -> Option<MissReason> {
    let source = changes.iter().find_map(|change| change.name.strip_prefix("source "))?;
    let (mut added, mut removed, mut changed) = (Vec::new(), Vec::new(), Vec::new());
    for change in changes {
        if let Some(path) = change.name.strip_prefix("file ") {
            match (change.before, change.now) {
                (None, _) => added.push(path.to_owned()),
                (_, None) => removed.push(path.to_owned()),
                _ => changed.push(path.to_owned()),
            }
        }
    }
    Some(MissReason::FilesChanged {
        source: source.to_owned(),
        added,
        removed,
        changed,
    })
}

fn parent(changes: &[Difference<'_>]) -> Option<MissReason> {
    let change = changes.iter().find_map(|change| change.name.strip_prefix("input "))?;
    let step = change.split_once(' ').map_or(change, |(_, name)| name);
    Some(MissReason::ParentChanged { step: step.to_owned() })
}

fn setting(changes: &[Difference<'_>]) -> Option<MissReason> {
    changes.iter().find_map(|change| {
        Some(MissReason::SettingChanged {
            name: change.name.strip_prefix("setting ")?.to_owned(),
            from: text(change.before),
            to: text(change.now),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_store::CacheKey;

    fn parts(list: &[(&str, &str)]) -> Vec<KeyPart> {
        list.iter()
            .map(|(name, value)| KeyPart {
                name: (*name).into(),
                value: (*value).into(),
            })
            .collect()
    }

    fn record(list: &[(&str, &str)]) -> CacheRecord {
        CacheRecord {
            key: CacheKey(kiln_oci::Digest::sha256("k")),
            layers: Vec::new(),
            slot: "slot".into(),
            parts: parts(list),
            created_unix: 0,
            duration_ms: 0,
            platform: None,
            name: String::new(),
        }
    }

    #[test]
    fn nothing_is_known_of_a_slot_without_records() {
        assert_eq!(
            miss_reason(&parts(&[("instruction", "RUN a")]), &[]),
            MissReason::NoRecord
        );
    }

    #[test]
    fn each_difference_has_its_reason() {
        let before = [
            ("instruction", "RUN a"),
            ("env V", "1"),
            ("base", "x@1"),
            ("source src", "d1"),
            ("file src/a", "1"),
            ("input 0 RUN z", "k1"),
            ("setting user", ""),
        ];
        let with = |name: &str, value: &str| {
            let mut list: Vec<(&str, &str)> = before.to_vec();
            for entry in &mut list {
                if entry.0 == name {
                    entry.1 = Box::leak(value.to_owned().into_boxed_str());
                }
            }
            miss_reason(&parts(&list), &[record(&before)])
        };
        assert_eq!(
            with("instruction", "RUN b"),
            MissReason::InstructionChanged {
                from: "RUN a".into(),
                to: "RUN b".into()
            }
        );
        assert_eq!(
            with("env V", "2"),
            MissReason::VariableChanged {
                name: "V".into(),
                from: Some("1".into()),
                to: Some("2".into())
            }
        );
        assert_eq!(
            with("base", "x@2"),
            MissReason::BaseChanged {
                from: "x@1".into(),
                to: "x@2".into()
            }
        );
        assert_eq!(
            with("input 0 RUN z", "k2"),
            MissReason::ParentChanged { step: "RUN z".into() }
        );
        assert_eq!(
            with("setting user", "app"),
            MissReason::SettingChanged {
                name: "user".into(),
                from: String::new(),
                to: "app".into()
            }
        );
        assert_eq!(with("none", ""), MissReason::Evicted);
    }

    #[test]
    fn changed_files_are_named() {
        let reason = miss_reason(
            &parts(&[("source src", "d2"), ("file src/a", "2"), ("file src/new", "1")]),
            &[record(&[
                ("source src", "d1"),
                ("file src/a", "1"),
                ("file src/old", "1"),
            ])],
        );
        let expected = MissReason::FilesChanged {
            source: "src".into(),
            added: vec!["src/new".into()],
            removed: vec!["src/old".into()],
            changed: vec!["src/a".into()],
        };
        assert_eq!(reason, expected);
    }

    #[test]
    fn the_nearest_record_is_the_one_with_the_fewest_differences() {
        let reason = miss_reason(
            &parts(&[("env A", "1"), ("env B", "1")]),
            &[
                record(&[("env A", "2"), ("env B", "2")]),
                record(&[("env A", "1"), ("env B", "3")]),
            ],
        );
        assert_eq!(
            reason,
            MissReason::VariableChanged {
                name: "B".into(),
                from: Some("3".into()),
                to: Some("1".into())
            }
        );
    }
}
