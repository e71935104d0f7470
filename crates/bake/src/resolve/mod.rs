//! Which targets are built, and what each comes to: groups, inheritance, overrides, links.

mod overrides;
mod pattern;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::suggestion;
use crate::entitlement::Entitlements;
use crate::error::BakeError;
use crate::model::{Config, Export, Group, Target, deduplicated};

pub use overrides::Override;
use overrides::Overrides;
pub use pattern::matches;

/// Inheritance and groups nest no deeper.
const DEEPEST: usize = 200;

/// What is asked of a definition.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Targets, groups or patterns of either.
    pub targets: Vec<String>,
    /// Overrides, `target.key[.name]=value`.
    pub overrides: Vec<String>,
    /// The environment: for an override of an argument without a value.
    pub environment: BTreeMap<String, String>,
}

/// The targets to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Targets by name, with those that others link to.
    pub targets: BTreeMap<String, Target>,
    /// Groups that were asked for, and `default`: everything that was.
    pub groups: BTreeMap<String, Group>,
    /// What the user allows by an override.
    pub granted: Entitlements,
}

/// Resolves what is asked for.
///
/// # Errors
/// Names that are not there, overrides that cannot be made, links that go round in circles.
pub fn resolve(config: &Config, selection: &Selection) -> Result<Resolved, BakeError> {
    let mut wanted = Vec::new();
    for name in &selection.targets {
        wanted.extend(config.matching_names(&sanitized_name(name))?);
    }
    let wanted = deduplicated(wanted);
    let overrides = Overrides::parse(config, selection)?;
    let mut resolving = Resolving {
        config,
        overrides,
        granted: Entitlements::default(),
    };
    let mut targets = BTreeMap::new();
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for name in &wanted {
        let (members, named) = config.expand_group(name);
        for member in members {
            if let Entry::Vacant(entry) = targets.entry(member) {
                let target = resolving.target(entry.key())?;
                entry.insert(target);
            }
        }
        for group in named {
            if let Some(group) = config.group(&group) {
                groups.insert(group.name.clone(), group.clone());
            }
        }
    }
    for name in &wanted {
        // The group `default` does not contain itself.
        if name != "default" || !groups.contains_key("default") {
            groups
                .entry("default".to_owned())
                .or_default()
                .targets
                .push(name.clone());
        }
    }
    if let Some(default) = groups.get_mut("default") {
        let unique: BTreeSet<String> = default.targets.drain(..).collect();
        default.targets = unique.into_iter().collect();
    }
    let names: Vec<String> = targets.keys().cloned().collect();
    for name in names {
        resolving.link(&name, &mut targets, &mut Vec::new())?;
    }
    Ok(Resolved {
        targets,
        groups,
        granted: resolving.granted,
    })
}

struct Resolving<'a> {
    config: &'a Config,
    overrides: Overrides,
    granted: Entitlements,
}

impl Resolving<'_> {
    fn target(&mut self, name: &str) -> Result<Target, BakeError> {
        let mut target = self.inherit(name, &mut BTreeMap::new(), 0)?.unwrap_or_default();
        name.clone_into(&mut target.name);
        target.inherits.clear();
        if target.context.is_none() {
            target.context = Some(target.context_base.clone().unwrap_or_else(|| ".".to_owned()));
        }
        if target.dockerfile.as_deref().is_none_or(str::is_empty) {
            target.dockerfile = Some("Dockerfile".to_owned());
        }
        Ok(target)
    }

    /// A target with everything that it inherits. None while it is being resolved: a circle adds nothing.
    fn inherit(
        &mut self,
        name: &str,
        visited: &mut BTreeMap<String, Option<Target>>,
        depth: usize,
    ) -> Result<Option<Target>, BakeError> {
        if let Some(known) = visited.get(name) {
            return Ok(known.clone());
        }
        let config = self.config;
        let Some(written) = config.target(name) else {
            return Err(config.unknown_target(name));
        };
        if depth > DEEPEST {
            return Err(BakeError::Link(format!(
                "targets inherit from each other more than {DEEPEST} levels deep"
            )));
        }
        visited.insert(name.to_owned(), None);
        let mut target = Target::default();
        for parent in &written.inherits {
            if let Some(parent) = self.inherit(parent, visited, depth + 1)? {
                target.merge(&parent);
            }
        }
        target.merge(written);
        self.overrides.apply(name, &mut target, &mut self.granted)?;
        target.normalize();
        visited.insert(name.to_owned(), Some(target.clone()));
        Ok(Some(target))
    }

    /// Resolves the targets whose results a target uses as contexts.
    fn link(
        &mut self,
        name: &str,
        targets: &mut BTreeMap<String, Target>,
        visited: &mut Vec<String>,
    ) -> Result<(), BakeError> {
        visited.push(name.to_owned());
        let contexts: Vec<String> = match targets.get(name) {
            Some(target) => target.contexts.values().cloned().collect(),
            None => Vec::new(),
        };
        for context in contexts {
            let Some(other) = context.strip_prefix("target:") else {
                continue;
            };
            if other == name {
                return Err(BakeError::Link(format!("target {other} cannot link to itself")));
            }
            if visited.iter().any(|seen| seen == other) {
                return Err(BakeError::Link(format!("infinite loop from {name} to {other}")));
            }
            if !targets.contains_key(other) {
                let mut target = self.target(other)?;
                target.outputs = Some(vec![Export {
                    kind: "cacheonly".to_owned(),
                    ..Export::default()
                }]);
                target.linked = true;
                targets.insert(other.to_owned(), target);
            }
            self.link(other, targets, visited)?;
            let (Some(linked), Some(target)) = (targets.get(other).cloned(), targets.get_mut(name)) else {
                continue;
            };
            // What a linked target needs, whoever uses it needs.
            for entitlement in linked.entitlements.into_iter().flatten() {
                let all = target.entitlements.get_or_insert_default();
                if !all.contains(&entitlement) {
                    all.push(entitlement);
                }
            }
            check_platforms(name, target, other, linked.platforms.as_deref().unwrap_or_default())?;
        }
        visited.pop();
        Ok(())
    }
}

fn check_platforms(name: &str, target: &Target, other: &str, has: &[String]) -> Result<(), BakeError> {
    let wants = target.platforms.as_deref().unwrap_or_default();
    if wants.len() > 1 && has.len() > 1 && !wants.iter().all(|platform| has.contains(platform)) {
        return Err(BakeError::Link(format!(
            "target {other} can't be used by {name} because its platforms [{}] are not a subset of [{}]",
            wants.join(" "),
            has.join(" ")
        )));
    }
    Ok(())
}

/// Names of Compose services may have dots, names of targets not.
pub fn sanitized_name(name: &str) -> String {
    name.replace('.', "_")
}

impl Config {
    /// Groups and targets that a pattern fits; a name without pattern stands for itself.
    pub fn matching_names(&self, pattern: &str) -> Result<Vec<String>, BakeError> {
        if !pattern.contains(['*', '?', '[', ']']) {
            return Ok(vec![pattern.to_owned()]);
        }
        let groups = self.groups.iter().map(|group| &group.name);
        let targets = self.targets.iter().map(|target| &target.name);
        let names: Vec<String> = groups
            .chain(targets)
            .filter(|name| matches(pattern, name) == Ok(true))
            .cloned()
            .collect();
        if names.is_empty() {
            return Err(BakeError::NoMatch {
                quoted: format!("{pattern:?}"),
                meant: None,
            });
        }
        Ok(names)
    }

    /// The targets of a group with those of the groups in it, and the groups. Another name stands for a target.
    pub fn expand_group(&self, name: &str) -> (Vec<String>, Vec<String>) {
        let mut visited = BTreeMap::new();
        let (targets, groups) = self.expand(name, &mut visited, 0);
        (deduplicated(targets), deduplicated(groups))
    }

    fn expand(
        &self,
        name: &str,
        visited: &mut BTreeMap<String, (Vec<String>, Vec<String>)>,
        depth: usize,
    ) -> (Vec<String>, Vec<String>) {
        if let Some(known) = visited.get(name) {
            return known.clone();
        }
        let Some(group) = self.group(name).filter(|_| depth <= DEEPEST) else {
            return (vec![name.to_owned()], Vec::new());
        };
        visited.insert(name.to_owned(), (Vec::new(), Vec::new()));
        let mut targets = Vec::new();
        let mut groups = vec![name.to_owned()];
        for member in &group.targets {
            let (members, named) = self.expand(member, visited, depth + 1);
            if members.is_empty() {
                targets.push(member.clone());
            }
            targets.extend(members);
            groups.extend(named);
        }
        let found = (deduplicated(targets), deduplicated(groups));
        visited.insert(name.to_owned(), found.clone());
        found
    }

    pub(crate) fn unknown_target(&self, name: &str) -> BakeError {
        let groups = self.groups.iter().map(|group| group.name.as_str());
        let targets = self.targets.iter().map(|target| target.name.as_str());
        let others = groups.chain(targets).filter(|other| *other != name);
        BakeError::UnknownTarget {
            name: name.to_owned(),
            is_group: self.group(name).is_some(),
            meant: suggestion(name, others).map(str::to_owned),
        }
    }
}
