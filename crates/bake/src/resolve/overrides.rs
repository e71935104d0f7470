//! `--set target.key[.name]=value`.

use std::collections::BTreeMap;

use kiln_flags::fields::boolean;

use crate::diagnostic::suggestion;
use crate::entitlement::Entitlements;
use crate::error::BakeError;
use crate::model::{Attest, Config, Export, Policy, Secret, Ssh, Target, parse_cache_entries, parse_entries};

use super::{Selection, matches};

/// Keys that take several values.
const LISTS: [&str; 15] = [
    "annotations",
    "attest",
    "cache-from",
    "cache-to",
    "entitlements",
    "no-cache-filter",
    "output",
    "platform",
    "platforms",
    "policy",
    "secrets",
    "ssh",
    "tags",
    "ulimits",
    "outputs",
];

/// Keys that take one.
const SINGLE: [&str; 12] = [
    "call",
    "context",
    "description",
    "dockerfile",
    "dockerfile-inline",
    "load",
    "network",
    "no-cache",
    "pull",
    "push",
    "shm-size",
    "target",
];

/// Keys that are true if they stand alone.
const FLAGS: [&str; 4] = ["load", "no-cache", "pull", "push"];

/// Keys that need a name behind them.
const NAMED: [&str; 6] = ["args", "contexts", "extra-hosts", "labels", "resources", "secret"];

/// What an override sets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Override {
    /// The last value.
    pub value: String,
    /// All values, for keys that take several.
    pub values: Vec<String>,
    /// Whether they are added (`+=`).
    pub append: bool,
}

/// Overrides by target and key.
#[derive(Debug, Default)]
pub(super) struct Overrides(BTreeMap<String, BTreeMap<String, Override>>);

impl Overrides {
    pub(super) fn parse(config: &Config, selection: &Selection) -> Result<Overrides, BakeError> {
        let mut all = Overrides::default();
        for text in &selection.overrides {
            all.add(config, selection, text)?;
        }
        Ok(all)
    }

    fn add(&mut self, config: &Config, selection: &Selection, text: &str) -> Result<(), BakeError> {
        let failed = |message: String| BakeError::Override { message, meant: None };
        let (written_key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (text, None),
        };
        let key = written_key.strip_suffix('+').unwrap_or(written_key);
        let append = key.len() < written_key.len();
        let parts: Vec<&str> = key.splitn(3, '.').collect();
        let [pattern, attribute, ..] = parts.as_slice() else {
            return Err(failed(format!("invalid override key {key}, expected target.name")));
        };
        if value.is_none() && *attribute != "args" && !FLAGS.contains(attribute) {
            return Err(failed(format!("invalid override {text}, expected target.name=value")));
        }
        let names = expanded(config, pattern)?;
        if NAMED.contains(attribute) && parts.len() != 3 {
            return Err(failed(format!("invalid key {written_key}, {attribute} requires name")));
        }
        let value = match (value, parts.get(2)) {
            (Some(value), _) => value.to_owned(),
            (None, _) if FLAGS.contains(attribute) => "true".to_owned(),
            (None, Some(name)) => match selection.environment.get(*name) {
                Some(value) => value.clone(),
                None => return Ok(()),
            },
            (None, None) => return Ok(()),
        };
        for name in names {
            let overrides = self.0.entry(name).or_default();
            let key = parts[1..].join(".");
            let entry = overrides.entry(key).or_default();
            entry.value.clone_from(&value);
            entry.values.push(value.clone());
            entry.append = append;
        }
        Ok(())
    }

    /// Applies what is set for a target. What the user sets by hand, the user allows.
    pub(super) fn apply(&self, name: &str, target: &mut Target, granted: &mut Entitlements) -> Result<(), BakeError> {
        let Some(overrides) = self.0.get(name) else {
            return Ok(());
        };
        // A secret's own override comes behind the one of the whole list.
        let (own, whole): (Vec<_>, Vec<_>) = overrides.iter().partition(|(key, _)| key.starts_with("secret."));
        for (key, set) in whole.into_iter().chain(own) {
            apply_one(target, key, set, granted)?;
        }
        Ok(())
    }
}

fn expanded(config: &Config, pattern: &str) -> Result<Vec<String>, BakeError> {
    if config.target(pattern).is_some() {
        return Ok(vec![pattern.to_owned()]);
    }
    let mut names = Vec::new();
    for target in &config.targets {
        let fits = matches(pattern, &target.name).map_err(|error| BakeError::Override {
            message: format!("could not match targets with '{pattern}': {error}"),
            meant: None,
        })?;
        if fits {
            names.push(target.name.clone());
        }
    }
    if names.is_empty() {
        let known = config.targets.iter().map(|target| target.name.as_str());
        return Err(BakeError::NoMatch {
            quoted: format!("'{pattern}'"),
            meant: suggestion(pattern, known).map(str::to_owned),
        });
    }
    Ok(names)
}

/// Values in place of a list, or behind it.
fn put<T>(list: &mut Option<Vec<T>>, values: Vec<T>, append: bool) {
    if append {
        list.get_or_insert_default().extend(values);
    } else {
        *list = Some(values);
    }
}

fn apply_one(target: &mut Target, key: &str, set: &Override, granted: &mut Entitlements) -> Result<(), BakeError> {
    let failed = |message: String| BakeError::Override { message, meant: None };
    let (attribute, name) = key.split_once('.').unwrap_or((key, ""));
    let value = set.value.clone();
    let name = name.to_owned();
    let flag = || {
        boolean(&set.value).ok_or_else(|| failed(format!("invalid value {} for boolean key {attribute}", set.value)))
    };
    match attribute {
        "context" => target.context = Some(value),
        "description" => target.description = value,
        "dockerfile" => target.dockerfile = Some(value),
        "dockerfile-inline" => target.dockerfile_inline = Some(value),
        "args" => _ = target.args.insert(name, value),
        "contexts" => _ = target.contexts.insert(name, value),
        "labels" => _ = target.labels.insert(name, value),
        "extra-hosts" => _ = target.extra_hosts.insert(name, value),
        "resources" => target
            .resources
            .get_or_insert_default()
            .set(&name, &value)
            .map_err(failed)?,
        "tags" => put(&mut target.tags, set.values.clone(), set.append),
        "platform" | "platforms" => put(&mut target.platforms, set.values.clone(), set.append),
        "no-cache-filter" => put(&mut target.no_cache_filter, set.values.clone(), set.append),
        "ulimits" => put(&mut target.ulimits, set.values.clone(), set.append),
        "target" => target.target = Some(value),
        "call" => target.call = Some(value),
        "network" => target.network = Some(value),
        "shm-size" => target.shm_size = Some(value),
        "no-cache" => target.no_cache = Some(flag()?),
        "pull" => target.pull = Some(flag()?),
        "push" => set_push(&mut target.outputs, flag()?),
        "load" => set_load(&mut target.outputs, flag()?),
        "annotations" => target.annotations.get_or_insert_default().extend(set.values.clone()),
        "attest" => {
            let attest = parse_entries(&set.values, Attest::parse)
                .map_err(|error| failed(format!("invalid value for attest: {error}")))?;
            target.attest.get_or_insert_default().extend(attest);
        }
        "policy" => {
            let policy = parse_entries(&set.values, Policy::parse).map_err(failed)?;
            put(&mut target.policy, policy, set.append);
        }
        "entitlements" => {
            target.entitlements.get_or_insert_default().extend(set.values.clone());
            for value in &set.values {
                granted.network_host |= value == "network.host";
                granted.security_insecure |= value == "security.insecure";
            }
        }
        "cache-from" => {
            put(
                &mut target.cache_from,
                parse_cache_entries(&set.values).map_err(failed)?,
                set.append,
            );
            let caches = target.cache_from.iter().flatten().filter(|cache| cache.kind == "local");
            granted
                .read
                .extend(caches.filter_map(|cache| cache.attributes.get("src").cloned()));
        }
        "cache-to" => {
            put(
                &mut target.cache_to,
                parse_cache_entries(&set.values).map_err(failed)?,
                set.append,
            );
            let caches = target.cache_to.iter().flatten().filter(|cache| cache.kind == "local");
            granted
                .write
                .extend(caches.filter_map(|cache| cache.attributes.get("dest").cloned()));
        }
        "secrets" => {
            let secrets = parse_entries(&set.values, Secret::parse)
                .map_err(|error| failed(format!("invalid value for secrets: {error}")))?;
            put(&mut target.secrets, secrets, set.append);
            granted.read.extend(paths_of(target));
        }
        "secret" => {
            override_secret(target, &name, &value).map_err(failed)?;
            granted.read.extend(paths_of(target));
        }
        "ssh" => {
            let ssh = parse_entries(&set.values, Ssh::parse).map_err(failed)?;
            put(&mut target.ssh, ssh, set.append);
            granted
                .read
                .extend(target.ssh.iter().flatten().flat_map(|ssh| ssh.paths.clone()));
        }
        "output" | "outputs" => {
            let outputs = parse_entries(&set.values, Export::parse)
                .map_err(|error| failed(format!("invalid value for outputs: {error}")))?;
            put(&mut target.outputs, outputs, set.append);
            let outputs = target.outputs.iter().flatten().map(|output| output.destination.clone());
            granted
                .write
                .extend(outputs.filter(|path| !path.is_empty() && path != "-"));
        }
        other => {
            let known = LISTS.into_iter().chain(SINGLE).chain(NAMED);
            return Err(BakeError::Override {
                message: format!("unknown key: {other}"),
                meant: suggestion(other, known).map(str::to_owned),
            });
        }
    }
    Ok(())
}

fn paths_of(target: &Target) -> Vec<String> {
    let secrets = target.secrets.iter().flatten();
    secrets
        .map(|secret| secret.path.clone())
        .filter(|path| !path.is_empty())
        .collect()
}

/// Another place for a secret that the target declares.
fn override_secret(target: &mut Target, id: &str, value: &str) -> Result<(), String> {
    let mut secret = Secret::parse(value)?;
    if secret.id.is_empty() {
        id.clone_into(&mut secret.id);
    }
    let declared = target.secrets.iter_mut().flatten().find(|declared| declared.id == id);
    let Some(declared) = declared else {
        return Err(format!("secret {id:?} must be declared before it can be overridden"));
    };
    if secret.id != id {
        return Err(format!(
            "secret override id {:?} does not match declared secret {id:?}",
            secret.id
        ));
    }
    *declared = secret;
    Ok(())
}

fn set_push(outputs: &mut Option<Vec<Export>>, push: bool) {
    if !push {
        let Some(outputs) = outputs else { return };
        let mut at = 0;
        while at < outputs.len() {
            if outputs[at].kind == "registry" {
                outputs.swap_remove(at);
                continue;
            }
            if outputs[at].kind == "image" {
                outputs[at].attributes.insert("push".to_owned(), "false".to_owned());
            }
            at += 1;
        }
        return;
    }
    let outputs = outputs.get_or_insert_default();
    for output in outputs.iter_mut().filter(|output| output.kind == "image") {
        output.attributes.insert("push".to_owned(), "true".to_owned());
    }
    if outputs.iter().all(|output| output.kind == "docker") {
        outputs.push(Export {
            kind: "image".to_owned(),
            attributes: BTreeMap::from([("push".to_owned(), "true".to_owned())]),
            ..Export::default()
        });
    }
}

fn set_load(outputs: &mut Option<Vec<Export>>, load: bool) {
    if !load {
        return;
    }
    let outputs = outputs.get_or_insert_default();
    for output in outputs.iter() {
        match output.kind.as_str() {
            "docker" if output.destination.is_empty() => return,
            "docker" | "image" | "registry" | "oci" => {}
            _ => return,
        }
    }
    outputs.push(Export {
        kind: "docker".to_owned(),
        ..Export::default()
    });
}
