//! An account of a build's time: events with their moments in, parts that add up out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What a moment was spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// Before the first event.
    StartUp,
    /// Nothing else is under way, before the graph is known.
    Plan,
    /// A task: resolving, auditing, exporting, pushing.
    Task,
    /// A process on the machine's own processor.
    Native,
    /// A process under emulation.
    Emulated,
    /// A COPY, ADD or WORKDIR.
    Files,
    /// Steps that have begun and whose layers are being fetched.
    Fetching,
    /// The same, and they are being unpacked.
    Unpacking,
    /// Nothing is under way between the first and the last step.
    Lookups,
    /// Nothing else is under way after the last step.
    Finish,
    /// After the last event.
    End,
}

impl Part {
    pub(super) fn text(self) -> &'static str {
        match self {
            Part::StartUp => "start-up: arguments, settings, store",
            Part::Plan => "plan: Dockerfile, ignore file, graph",
            Part::Task => "tasks: base images resolved; images audited, written and sent",
            Part::Native => "steps that run natively, with mounts and commits",
            Part::Emulated => "steps that run under emulation",
            Part::Files => "steps that copy files: walk, hash, pack",
            Part::Fetching => "while layers are fetched (and unpacked): steps that wait for them",
            Part::Unpacking => "while layers are unpacked: steps that wait for them",
            Part::Lookups => "keys, lookups and contexts walked: no step is under way",
            Part::Finish => "images assembled, history written",
            Part::End => "the process ends: store closed",
        }
    }
}

/// A step that has begun.
#[derive(Debug)]
struct Running {
    since: f64,
    emulated: bool,
}

/// What is known of a step beforehand.
#[derive(Debug, Default)]
struct Known {
    name: String,
    is_process: bool,
}

#[derive(Debug, Default)]
pub(super) struct Account {
    now: f64,
    parts: BTreeMap<Part, f64>,
    items: BTreeMap<String, f64>,
    known: BTreeMap<String, Known>,
    running: BTreeMap<String, Running>,
    /// Steps that have been told to be planned and have not ended.
    open: BTreeSet<String>,
    tasks: BTreeMap<String, String>,
    fetching: BTreeSet<String>,
    unpacking: BTreeSet<String>,
    any_event: bool,
    planned: bool,
    waited: f64,
}

impl Account {
    /// Takes an event that came so many seconds after the beginning.
    pub(super) fn take(&mut self, at: f64, event: &Value) {
        self.spend(at);
        self.any_event = true;
        let key = |field: &str| event[field].to_string();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match event["event"].as_str() {
            Some("task-started") => {
                let name = match event["platform"].as_object() {
                    Some(platform) => format!("{} for {}", text(&event["name"]), platform_text(platform)),
                    None => text(&event["name"]),
                };
                self.tasks.insert(key("id"), name);
            }
            Some("task-finished") => drop(self.tasks.remove(&key("id"))),
            Some("step-planned") => {
                let meta = &event["meta"];
                let name = text(&meta["name"]);
                let known = Known {
                    is_process: name.starts_with("RUN"),
                    name: match meta["platform"].as_object() {
                        Some(platform) => format!("{name} for {}", platform_text(platform)),
                        None => name,
                    },
                };
                self.planned = true;
                self.open.insert(key("vertex"));
                self.known.insert(key("vertex"), known);
            }
            Some("step-started") => {
                let running = Running {
                    since: at,
                    emulated: event["emulated"] == true,
                };
                self.running.insert(key("vertex"), running);
            }
            Some("step-finished") => {
                let vertex = key("vertex");
                self.open.remove(&vertex);
                if let Some(running) = self.running.remove(&vertex) {
                    self.waited += (duration(&event["duration"]) - (at - running.since)).max(0.0);
                }
            }
            Some("progress") => {
                let under_way = match event["kind"].as_str() {
                    Some("pull") => &mut self.fetching,
                    Some("unpack") => &mut self.unpacking,
                    _ => return,
                };
                if event["done"] == event["total"] {
                    under_way.remove(&key("digest"));
                } else {
                    under_way.insert(key("digest"));
                }
            }
            _ => {}
        }
    }

    /// The process ended.
    pub(super) fn end(&mut self, at: f64) {
        let spent = at - self.now;
        *self.parts.entry(Part::End).or_default() += spent;
        self.now = at;
    }

    /// Shares the time since the last event out among what was under way.
    fn spend(&mut self, at: f64) {
        let spent = (at - self.now).max(0.0);
        self.now = self.now.max(at);
        let mut shares: Vec<(Part, Option<String>)> = Vec::new();
        for (vertex, running) in &self.running {
            let known = self.known.get(vertex);
            let part = match known {
                _ if !self.fetching.is_empty() => Part::Fetching,
                _ if !self.unpacking.is_empty() => Part::Unpacking,
                Some(known) if !known.is_process => Part::Files,
                _ if running.emulated => Part::Emulated,
                _ => Part::Native,
            };
            shares.push((part, known.map(|known| known.name.clone())));
        }
        if shares.is_empty() {
            shares.extend(self.tasks.values().map(|name| (Part::Task, Some(name.clone()))));
        }
        if shares.is_empty() {
            let part = match (self.any_event, self.planned, self.open.is_empty()) {
                (false, ..) => Part::StartUp,
                (true, false, _) => Part::Plan,
                (true, true, false) => Part::Lookups,
                (true, true, true) => Part::Finish,
            };
            shares.push((part, None));
        }
        let share = spent / shares.len() as f64;
        for (part, name) in shares {
            *self.parts.entry(part).or_default() += share;
            if let Some(name) = name {
                let first = name.lines().next().unwrap_or_default().to_owned();
                *self.items.entry(first).or_default() += share;
            }
        }
    }

    /// Seconds in all.
    pub(super) fn wall(&self) -> f64 {
        self.now
    }

    /// Seconds between a step's readiness and its beginning, over all steps that ran.
    pub(super) fn waited(&self) -> f64 {
        self.waited
    }

    /// Seconds by part, in the order of a build.
    pub(super) fn parts(&self) -> impl Iterator<Item = (Part, f64)> + '_ {
        self.parts.iter().map(|(part, seconds)| (*part, *seconds))
    }

    /// Seconds by step and task, the longest first.
    pub(super) fn items(&self) -> Vec<(String, f64)> {
        let mut items: Vec<(String, f64)> = self.items.clone().into_iter().collect();
        items.sort_by(|a, b| b.1.total_cmp(&a.1));
        items
    }
}

/// A platform as the events carry it.
fn platform_text(platform: &serde_json::Map<String, Value>) -> String {
    let word = |name: &str| platform.get(name).and_then(Value::as_str).unwrap_or_default();
    let variant = Some(word("variant")).filter(|variant| !variant.is_empty());
    let variant = variant.map(|variant| format!("/{variant}")).unwrap_or_default();
    format!("{}/{}{variant}", word("os"), word("architecture"))
}

/// A duration as the events carry it.
fn duration(value: &Value) -> f64 {
    let part = |name: &str| value[name].as_f64().unwrap_or(0.0);
    part("secs") + part("nanos") / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn account(events: &[(f64, Value)], end: f64) -> Account {
        let mut account = Account::default();
        for (at, event) in events {
            account.take(*at, event);
        }
        account.end(end);
        account
    }

    #[test]
    fn the_parts_add_up_to_the_time_on_the_clock() {
        let arm = json!({"os": "linux", "architecture": "arm64"});
        let started =
            |vertex: &str, emulated: bool| json!({"event": "step-started", "vertex": vertex, "emulated": emulated});
        let finished = |vertex: &str, secs: u64| json!({"event": "step-finished", "vertex": vertex, "outcome": "done", "duration": {"secs": secs, "nanos": 0}});
        let planned = |vertex: &str, name: &str| json!({"event": "step-planned", "vertex": vertex, "meta": {"name": name, "platform": arm}, "inputs": []});
        let pull = |done: u64| json!({"event": "progress", "digest": "d", "kind": "pull", "done": done, "total": 9});
        let events = [
            (1.0, json!({"event": "task-started", "id": 1, "name": "resolve a"})),
            (3.0, json!({"event": "task-finished", "id": 1})),
            (4.0, planned("r", "RUN make\nmore")),
            (4.0, planned("c", "COPY a /")),
            (5.0, started("r", true)),
            (6.0, pull(1)),
            (7.0, pull(9)),
            (
                7.0,
                json!({"event": "progress", "digest": "d", "kind": "unpack", "done": 0, "total": 9}),
            ),
            (
                8.0,
                json!({"event": "progress", "digest": "d", "kind": "unpack", "done": 9, "total": 9}),
            ),
            (9.0, started("c", false)),
            (11.0, finished("r", 8)),
            (12.0, finished("c", 3)),
            (13.0, json!({"event": "task-started", "id": 2, "name": "push b"})),
            (15.0, json!({"event": "task-finished", "id": 2})),
        ];
        let account = account(&events, 17.0);
        let parts: Vec<(Part, f64)> = account.parts().collect();
        let expected = [
            (Part::StartUp, 1.0),
            (Part::Plan, 1.0),
            (Part::Task, 4.0),
            (Part::Emulated, 3.0),
            (Part::Files, 2.0),
            (Part::Fetching, 1.0),
            (Part::Unpacking, 1.0),
            (Part::Lookups, 1.0),
            (Part::Finish, 1.0),
            (Part::End, 2.0),
        ];
        assert_eq!(parts, expected);
        assert!((parts.iter().map(|(_, seconds)| seconds).sum::<f64>() - account.wall()).abs() < 1e-9);
        assert!((account.waited() - 2.0).abs() < 1e-9, "of its 8 seconds, it ran 6");
        assert_eq!(account.items()[0], ("RUN make".to_owned(), 5.0));
    }
}
