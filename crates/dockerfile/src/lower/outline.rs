//! Gathers what a build takes while its stages are lowered.

use std::collections::{BTreeMap, BTreeSet};

use crate::Lines;
use crate::lint::description;
use crate::lower::Lowerer;
use crate::outline::{Outline, OutlineArg, OutlineSecret};

/// An argument, and the arguments that its default is made of.
#[derive(Debug, Clone, Default)]
pub(super) struct Definition {
    pub(super) arg: OutlineArg,
    pub(super) parts: BTreeSet<String>,
}

/// What one stage takes.
#[derive(Debug, Clone, Default)]
pub(super) struct StageOutline {
    /// The arguments that it knows: global ones first, then its own.
    known: BTreeMap<String, Definition>,
    /// In the order of their use.
    used: Vec<String>,
    pub(super) secrets: Vec<OutlineSecret>,
    pub(super) ssh: Vec<OutlineSecret>,
    /// The stages that it begins with and takes files from.
    stages: BTreeSet<usize>,
}

impl StageOutline {
    pub(super) fn new(globals: BTreeMap<String, Definition>) -> StageOutline {
        StageOutline {
            known: globals,
            ..StageOutline::default()
        }
    }

    /// Notes that arguments are used, and those that they are made of.
    pub(super) fn use_args<'a>(&mut self, names: impl IntoIterator<Item = &'a String>) {
        for name in names {
            if self.used.contains(name) {
                continue;
            }
            self.used.push(name.clone());
            if let Some(definition) = self.known.get(name) {
                let parts = definition.parts.clone();
                self.use_args(&parts);
            }
        }
    }

    /// Notes an argument of the stage. One that only repeats a global argument is told by the global one.
    pub(super) fn declare(&mut self, arg: OutlineArg, inherited: bool) {
        let name = arg.name.clone();
        if !inherited {
            let parts = BTreeSet::new();
            self.known.insert(name.clone(), Definition { arg, parts });
        }
        self.use_args([&name]);
    }

    pub(super) fn take_from(&mut self, stage: usize) {
        self.stages.insert(stage);
    }
}

/// An argument as it is declared.
pub(super) fn declared(name: &str, value: Option<&str>, lines: Lines, comments: &[String]) -> OutlineArg {
    OutlineArg {
        name: name.to_owned(),
        description: description(comments, name),
        value: value.unwrap_or_default().to_owned(),
        lines,
    }
}

impl Lowerer<'_> {
    /// What the build of a stage takes, with all stages that it needs.
    pub(super) fn outline(&self, stage: usize) -> Outline {
        let mut reached = BTreeSet::new();
        let mut order = vec![stage];
        let mut outline = Outline::default();
        let mut named = BTreeSet::new();
        while let Some(number) = order.pop() {
            let Some(part) = self.outlines.get(&number).filter(|_| reached.insert(number)) else {
                continue;
            };
            for name in &part.used {
                if let Some(definition) = part.known.get(name)
                    && named.insert(name.clone())
                {
                    outline.args.push(definition.arg.clone());
                }
            }
            extend_once(&mut outline.secrets, &part.secrets);
            extend_once(&mut outline.ssh, &part.ssh);
            order.extend(part.stages.iter().rev());
        }
        outline.args.sort_by_key(|arg| arg.lines.start);
        outline.secrets.sort_by_key(|secret| secret.lines.start);
        outline.ssh.sort_by_key(|ssh| ssh.lines.start);
        let stage = &self.dockerfile.stages[stage];
        outline.name = stage.from.name.clone().unwrap_or_default();
        outline.description = description(&stage.comments, &outline.name);
        outline
    }
}

/// Each identity is told once; it is required if any step requires it.
fn extend_once(all: &mut Vec<OutlineSecret>, more: &[OutlineSecret]) {
    for secret in more {
        match all.iter_mut().find(|known| known.name == secret.name) {
            Some(known) => known.required |= secret.required,
            None => all.push(secret.clone()),
        }
    }
}
