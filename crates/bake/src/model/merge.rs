//! What a later target changes in an earlier one, and duplicates.

use std::collections::HashMap;

use super::{Attest, Config, Group, Secret, Ssh, Target};

impl Target {
    /// Takes what another target says. Names, platforms and outputs replace; other lists grow.
    pub fn merge(&mut self, other: &Target) {
        fn replace<T: Clone>(mine: &mut Option<T>, other: &Option<T>) {
            if other.is_some() {
                mine.clone_from(other);
            }
        }
        fn append<T: Clone>(mine: &mut Option<Vec<T>>, other: &Option<Vec<T>>) {
            if let Some(more) = other {
                mine.get_or_insert_default().extend(more.iter().cloned());
            }
        }
        if other.context.is_some() {
            self.context.clone_from(&other.context);
        }
        if other.context_base.is_some() {
            self.context_base.clone_from(&other.context_base);
        }
        replace(&mut self.dockerfile, &other.dockerfile);
        replace(&mut self.dockerfile_inline, &other.dockerfile_inline);
        self.args.extend(other.args.clone());
        self.contexts.extend(other.contexts.clone());
        self.labels.extend(other.labels.clone());
        self.extra_hosts.extend(other.extra_hosts.clone());
        replace(&mut self.tags, &other.tags);
        replace(&mut self.target, &other.target);
        replace(&mut self.call, &other.call);
        append(&mut self.annotations, &other.annotations);
        append(&mut self.attest, &other.attest);
        append(&mut self.policy, &other.policy);
        append(&mut self.secrets, &other.secrets);
        append(&mut self.ssh, &other.ssh);
        replace(&mut self.platforms, &other.platforms);
        append(&mut self.cache_from, &other.cache_from);
        replace(&mut self.cache_to, &other.cache_to);
        replace(&mut self.outputs, &other.outputs);
        replace(&mut self.pull, &other.pull);
        replace(&mut self.no_cache, &other.no_cache);
        replace(&mut self.network, &other.network);
        append(&mut self.no_cache_filter, &other.no_cache_filter);
        replace(&mut self.shm_size, &other.shm_size);
        append(&mut self.ulimits, &other.ulimits);
        if let Some(resources) = &other.resources {
            self.resources.get_or_insert_default().merge(resources);
        }
        if !other.description.is_empty() {
            self.description.clone_from(&other.description);
        }
        append(&mut self.entitlements, &other.entitlements);
        self.inherits.extend(other.inherits.clone());
        self.normalize_entries();
    }

    fn normalize_entries(&mut self) {
        unique_attests(&mut self.attest);
        unique_secrets(&mut self.secrets);
        unique_ssh(&mut self.ssh);
        unique(&mut self.cache_from);
        unique(&mut self.cache_to);
        unique(&mut self.outputs);
    }

    /// Drops duplicates and what is empty, and derives what follows from the rest.
    pub fn normalize(&mut self) {
        self.normalize_entries();
        for list in [
            &mut self.annotations,
            &mut self.tags,
            &mut self.platforms,
            &mut self.no_cache_filter,
            &mut self.ulimits,
        ] {
            unique_texts(list);
        }
        if self.network.as_deref() == Some("host") {
            self.entitlements
                .get_or_insert_default()
                .push("network.host".to_owned());
        }
        unique_texts(&mut self.entitlements);
        self.contexts.retain(|_, context| !context.is_empty());
    }
}

/// The first of equal texts stays; empty ones go.
fn unique_texts(list: &mut Option<Vec<String>>) {
    if let Some(list) = list {
        *list = deduplicated(list.drain(..).filter(|text| !text.is_empty()));
    }
}

/// The first of equal texts stays.
pub(crate) fn deduplicated(texts: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    texts.into_iter().filter(|text| seen.insert(text.clone())).collect()
}

/// Drops duplicates in the peer's way: from the end, the last entry takes the place of a later duplicate.
fn unique<T: PartialEq>(list: &mut Option<Vec<T>>) {
    let Some(list) = list else { return };
    for at in (0..list.len().saturating_sub(1)).rev() {
        if let Some(twice) = (at + 1..list.len()).find(|other| list[at] == list[*other]) {
            list.swap_remove(twice);
        }
    }
}

/// The last of each key stays, at the place of the first.
fn last_of_each<T: Clone>(list: &mut Option<Vec<T>>, key: fn(&T) -> &str) {
    let Some(list) = list else { return };
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut kept: Vec<T> = Vec::new();
    for entry in list.drain(..) {
        match places.get(key(&entry)) {
            Some(place) => kept[*place] = entry,
            None => {
                places.insert(key(&entry).to_owned(), kept.len());
                kept.push(entry);
            }
        }
    }
    *list = kept;
}

fn unique_attests(list: &mut Option<Vec<Attest>>) {
    last_of_each(list, |attest| &attest.kind);
}

fn unique_secrets(list: &mut Option<Vec<Secret>>) {
    last_of_each(list, |secret| &secret.id);
}

fn unique_ssh(list: &mut Option<Vec<Ssh>>) {
    last_of_each(list, |ssh| &ssh.id);
}

impl Config {
    /// The target of a name.
    pub fn target(&self, name: &str) -> Option<&Target> {
        self.targets.iter().find(|target| target.name == name)
    }

    /// The group of a name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// Adds a target, or what it says to the one of its name.
    pub fn add_target(&mut self, target: Target) {
        match self.targets.iter_mut().find(|known| known.name == target.name) {
            Some(known) => known.merge(&target),
            None => self.targets.push(target),
        }
    }

    /// Adds a group in place of the one of its name.
    pub fn set_group(&mut self, mut group: Group) {
        group.targets = deduplicated(group.targets);
        match self.groups.iter_mut().find(|known| known.name == group.name) {
            Some(known) => *known = group,
            None => self.groups.push(group),
        }
    }
}
