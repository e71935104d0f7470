//! A service's `build` section → a target.

use std::collections::BTreeMap;

use kiln_flags::fields::boolean;
use kiln_flags::limit::size;

use crate::config::{Inputs, is_local_path, is_target_name, rebased};
use crate::error::BakeError;
use crate::functions::clean_path;
use crate::model::{
    Attest, CacheEntry, Config, Export, Group, Secret, Ssh, Target, canonical_attest, deduplicated,
    parse_cache_entries, parse_entries,
};
use crate::resolve::sanitized_name;

use super::dotenv;
use super::model::Project;
use super::yaml::Yaml;

/// One target for each service that is built, and the group of them all.
pub(super) fn targets(
    project: &Project,
    environment: &BTreeMap<String, String>,
    base: Option<&str>,
    inputs: &Inputs<'_>,
) -> Result<Config, BakeError> {
    let mut config = Config::default();
    let mut group = Group {
        name: "default".to_owned(),
        ..Group::default()
    };
    for (name, service) in &project.services {
        let Some(build) = service.get("build").filter(|build| **build != Yaml::Null) else {
            continue;
        };
        let failed = |message: String| BakeError::Compose {
            file: String::new(),
            line: None,
            message,
            text: String::new(),
        };
        let target_name = sanitized_name(name);
        if !is_target_name(&target_name) {
            return Err(failed(format!(
                "invalid service name {target_name:?}: only \"[a-zA-Z0-9_-]+\" are allowed"
            )));
        }
        let own = service_environment(service, environment, inputs).map_err(failed)?;
        let section = Section {
            build,
            secrets: &project.secrets,
            lookup: &|name| own.get(name).or_else(|| environment.get(name)).cloned(),
        };
        let mut target = section
            .target(service)
            .map_err(|error| failed(format!("services.{name}.build: {error}")))?;
        target.name.clone_from(&target_name);
        if let Some(base) = base {
            target.context_base = Some(base.to_owned());
            if let Some(context) = &mut target.context {
                *context = rebased(context, base);
            }
            for context in target.contexts.values_mut() {
                *context = rebased(context, base);
            }
        }
        group.targets.push(target_name);
        config.add_target(target);
    }
    if !project.services.is_empty() {
        config.set_group(group);
    }
    Ok(config)
}

/// Variables of a service: its files, and what it says itself. A name without a value takes that of the environment.
fn service_environment(
    service: &Yaml,
    environment: &BTreeMap<String, String>,
    inputs: &Inputs<'_>,
) -> Result<BTreeMap<String, String>, String> {
    let mut own = BTreeMap::new();
    let files = match service.get("env_file") {
        None | Some(Yaml::Null) => Vec::new(),
        Some(Yaml::List(files)) => files.clone(),
        Some(file) => vec![file.clone()],
    };
    for file in files {
        let field = |name: &str| file.get(name).and_then(Yaml::scalar);
        let path = field("path").or_else(|| file.scalar()).unwrap_or_default();
        let required = field("required").is_none_or(|required| required != "false");
        match (inputs.read_file)(&path)? {
            Some(text) if field("format").as_deref() == Some("raw") => own.extend(raw_variables(&text)),
            Some(text) => {
                let lookup = |name: &str| environment.get(name).cloned();
                own.extend(dotenv::parse(&text, &lookup).map_err(|error| format!("failed to read {path}: {error}"))?);
            }
            None if required => return Err(format!("env file {path} not found")),
            None => {}
        }
    }
    if let Some(Yaml::Map(entries)) = service.get("environment") {
        for (name, value) in entries {
            match value.scalar() {
                Some(value) => _ = own.insert(name.clone(), value),
                None => {
                    if let Some(value) = environment.get(name) {
                        own.insert(name.clone(), value.clone());
                    }
                }
            }
        }
    }
    Ok(own)
}

/// Variables whose values are taken as they are written.
fn raw_variables(text: &str) -> impl Iterator<Item = (String, String)> {
    let lines = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim().to_owned(), value.to_owned()))
}

/// A `build` section while it is read.
struct Section<'a> {
    build: &'a Yaml,
    secrets: &'a [(String, Yaml)],
    lookup: &'a dyn Fn(&str) -> Option<String>,
}

impl Section<'_> {
    fn target(&self, service: &Yaml) -> Result<Target, String> {
        let mut target = Target {
            context: self.text("context").filter(|text| !text.is_empty()).map(local_path),
            dockerfile: self.text("dockerfile").filter(|text| !text.is_empty()),
            dockerfile_inline: self.text("dockerfile_inline").filter(|text| !text.is_empty()),
            contexts: named_contexts(self.map("additional_contexts")?),
            args: self.args(),
            labels: self.map("labels")?,
            tags: self.texts("tags")?,
            cache_from: self.caches("cache_from")?,
            cache_to: self.caches("cache_to")?,
            network: self.text("network").filter(|text| !text.is_empty()),
            platforms: self.texts("platforms")?,
            entitlements: self.texts("entitlements")?,
            no_cache_filter: self.texts("no_cache_filter")?,
            shm_size: self.shm_size()?,
            ulimits: self.ulimits()?,
            extra_hosts: self.extra_hosts(),
            secrets: self.secrets()?,
            ssh: self.ssh(),
            attest: self.attest()?,
            no_cache: self.flag("no_cache")?.filter(|on| *on),
            pull: self.flag("pull")?.filter(|on| *on),
            target: self.text("target").filter(|text| !text.is_empty()),
            ..Target::default()
        };
        if let Some(extension) = self.build.get("x-bake").filter(|extension| **extension != Yaml::Null) {
            extend(&mut target, extension).map_err(|error| format!("x-bake: {error}"))?;
        }
        if target.tags.as_ref().is_none_or(Vec::is_empty)
            && let Some(image) = service
                .get("image")
                .and_then(Yaml::scalar)
                .filter(|image| !image.is_empty())
        {
            target.tags = Some(vec![image]);
        }
        Ok(target)
    }

    fn text(&self, key: &str) -> Option<String> {
        self.build.get(key)?.scalar()
    }

    fn texts(&self, key: &str) -> Result<Option<Vec<String>>, String> {
        match self.build.get(key) {
            None | Some(Yaml::Null) => Ok(None),
            Some(Yaml::List(items)) => {
                let text = |item: &Yaml| item.scalar().ok_or_else(|| format!("{key} must be a list of strings"));
                items.iter().map(text).collect::<Result<_, _>>().map(Some)
            }
            Some(single) => Ok(single.scalar().map(|text| vec![text])),
        }
    }

    fn map(&self, key: &str) -> Result<BTreeMap<String, String>, String> {
        let Some(Yaml::Map(entries)) = self.build.get(key) else {
            return Ok(BTreeMap::new());
        };
        let entry = |(name, value): &(String, Yaml)| match value {
            Yaml::List(_) | Yaml::Map(_) => Err(format!("{key}.{name} must be a string, not {}", value.kind())),
            value => Ok((name.clone(), value.scalar().unwrap_or_default())),
        };
        entries.iter().map(entry).collect()
    }

    /// Arguments without a value take that of the environment, or are left out.
    fn args(&self) -> BTreeMap<String, String> {
        let Some(Yaml::Map(entries)) = self.build.get("args") else {
            return BTreeMap::new();
        };
        entries
            .iter()
            .filter_map(|(name, value)| {
                let value = value.scalar().or_else(|| (self.lookup)(name))?;
                Some((name.clone(), value))
            })
            .collect()
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, String> {
        match self.build.get(key) {
            None | Some(Yaml::Null) => Ok(None),
            Some(Yaml::Bool(on)) => Ok(Some(*on)),
            Some(other) => other
                .scalar()
                .and_then(|text| match text.to_lowercase().as_str() {
                    "true" | "y" | "yes" | "on" => Some(true),
                    "false" | "n" | "no" | "off" => Some(false),
                    _ => None,
                })
                .map(Some)
                .ok_or_else(|| format!("{key} must be a boolean")),
        }
    }

    fn caches(&self, key: &str) -> Result<Option<Vec<CacheEntry>>, String> {
        match self.texts(key)? {
            Some(texts) if !texts.is_empty() => parse_cache_entries(&texts).map(Some),
            _ => Ok(None),
        }
    }

    fn shm_size(&self) -> Result<Option<String>, String> {
        let Some(text) = self.text("shm_size") else {
            return Ok(None);
        };
        let bytes = size(&text).map_err(|_| format!("invalid shm_size {text:?}"))?;
        Ok((bytes > 0).then(|| shown_size(bytes)))
    }

    fn ulimits(&self) -> Result<Option<Vec<String>>, String> {
        let Some(Yaml::Map(entries)) = self.build.get("ulimits") else {
            return Ok(None);
        };
        let mut all = Vec::new();
        for (name, limit) in entries {
            let number = |yaml: Option<&Yaml>| yaml.and_then(Yaml::scalar).and_then(|text| text.parse::<i64>().ok());
            let (soft, hard) = match limit {
                Yaml::Map(_) => (number(limit.get("soft")), number(limit.get("hard"))),
                single => (number(Some(single)), number(Some(single))),
            };
            let (Some(soft), Some(hard)) = (soft, hard) else {
                return Err(format!("ulimits.{name} needs a number, or numbers for soft and hard"));
            };
            if hard != -1 && (soft == -1 || soft > hard) {
                return Err(format!(
                    "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
                ));
            }
            all.push(format!("{name}={soft}:{hard}"));
        }
        all.sort();
        Ok(Some(all))
    }

    fn extra_hosts(&self) -> BTreeMap<String, String> {
        let Some(Yaml::Map(entries)) = self.build.get("extra_hosts") else {
            return BTreeMap::new();
        };
        entries
            .iter()
            .map(|(name, value)| {
                let addresses = match value {
                    Yaml::List(addresses) => deduplicated(addresses.iter().filter_map(Yaml::scalar)),
                    _ => Vec::new(),
                };
                (name.clone(), addresses.join(","))
            })
            .collect()
    }

    fn secrets(&self) -> Result<Option<Vec<Secret>>, String> {
        let Some(Yaml::List(items)) = self.build.get("secrets") else {
            return Ok(None);
        };
        let mut all = Vec::new();
        for item in items {
            let source = match item {
                Yaml::Map(_) => item.get("source").and_then(Yaml::scalar),
                single => single.scalar(),
            };
            let id = source.ok_or("secrets need a name")?;
            let declared = self
                .secrets
                .iter()
                .find(|(name, _)| *name == id)
                .map(|(_, secret)| secret);
            let field = |key: &str| declared.and_then(|secret| secret.get(key)).and_then(Yaml::scalar);
            if field("external").is_some_and(|external| external == "true") {
                return Err(format!("unsupported external secret {id}"));
            }
            all.push(Secret {
                path: field("file").map(local_path).unwrap_or_default(),
                env: field("environment").unwrap_or_default(),
                id,
            });
        }
        Ok(Some(all))
    }

    fn ssh(&self) -> Option<Vec<Ssh>> {
        let Some(Yaml::Map(entries)) = self.build.get("ssh") else {
            return None;
        };
        let mut all: Vec<Ssh> = entries
            .iter()
            .map(|(id, path)| Ssh {
                id: id.clone(),
                paths: Vec::from_iter(path.scalar().filter(|path| !path.is_empty()).map(local_path)),
            })
            .collect();
        all.sort();
        Some(all)
    }

    fn attest(&self) -> Result<Option<Vec<Attest>>, String> {
        let mut all = Vec::new();
        for kind in ["sbom", "provenance"] {
            if let Some(text) = self.text(kind).filter(|text| !text.is_empty()) {
                all.push(Attest::parse(&canonical_attest(kind, &text))?);
            }
        }
        Ok((!all.is_empty()).then_some(all))
    }
}

/// What `x-bake` adds: what Compose itself has no key for.
fn extend(target: &mut Target, extension: &Yaml) -> Result<(), String> {
    let Yaml::Map(entries) = extension else {
        return Err(format!("must be a mapping, not {}", extension.kind()));
    };
    for (key, value) in entries {
        let texts = || match value {
            Yaml::List(items) => {
                let text = |item: &Yaml| item.scalar().ok_or_else(|| format!("{key} must be a list of strings"));
                items.iter().map(text).collect::<Result<Vec<String>, String>>()
            }
            Yaml::Map(_) => Err(format!("{key} must be a string or a list of strings")),
            single => Ok(single
                .scalar()
                .unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned)
                .collect()),
        };
        let add = |list: &mut Option<Vec<String>>, more: Vec<String>| {
            if !more.is_empty() {
                let all = list.take().unwrap_or_default();
                *list = Some(deduplicated(all.into_iter().chain(more)));
            }
        };
        let flag = || {
            value
                .scalar()
                .and_then(|text| boolean(&text))
                .ok_or_else(|| format!("{key} must be a boolean"))
        };
        let mut more = Target::default();
        match key.as_str() {
            "tags" => add(&mut target.tags, texts()?),
            "platforms" => add(&mut target.platforms, texts()?),
            "no-cache-filter" => add(&mut target.no_cache_filter, texts()?),
            "cache-from" => more.cache_from = Some(parse_cache_entries(&texts()?)?),
            "cache-to" => {
                let mut all = target.cache_to.take().unwrap_or_default();
                all.extend(parse_cache_entries(&texts()?)?);
                more.cache_to = Some(all);
            }
            "secret" => more.secrets = Some(parse_entries(&texts()?, Secret::parse)?),
            "ssh" => more.ssh = Some(parse_entries(&texts()?, Ssh::parse)?),
            "output" => {
                let mut all = target.outputs.take().unwrap_or_default();
                all.extend(parse_entries(&texts()?, Export::parse)?);
                more.outputs = Some(all);
            }
            "pull" => target.pull = Some(flag()?),
            "no-cache" => target.no_cache = Some(flag()?),
            "contexts" => {
                let Yaml::Map(contexts) = value else {
                    return Err("contexts must be a mapping".to_owned());
                };
                let contexts = contexts
                    .iter()
                    .filter_map(|(name, context)| Some((name.clone(), context.scalar()?)))
                    .collect();
                for (name, context) in named_contexts(contexts) {
                    target.contexts.entry(name).or_insert(context);
                }
            }
            _ => {}
        }
        target.merge(&more);
    }
    if let Some(ssh) = &mut target.ssh {
        ssh.sort();
    }
    Ok(())
}

/// Another service as a context is its target.
fn named_contexts(contexts: BTreeMap<String, String>) -> BTreeMap<String, String> {
    contexts
        .into_iter()
        .map(|(name, context)| {
            let other = context
                .strip_prefix("service:")
                .or_else(|| context.strip_prefix("target:"));
            let context = match other {
                Some(other) => format!("target:{}", sanitized_name(other)),
                None => local_path(context),
            };
            (name, context)
        })
        .collect()
}

fn local_path(path: String) -> String {
    if is_local_path(&path) && !path.is_empty() {
        clean_path(&path)
    } else {
        path
    }
}

/// A number of bytes with the largest unit that leaves one digit or more, four digits at most.
fn shown_size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < units.len() {
        size /= 1024.0;
        unit += 1;
    }
    let digits = if size >= 1000.0 {
        0
    } else if size >= 100.0 {
        1
    } else if size >= 10.0 {
        2
    } else {
        3
    };
    let text = format!("{size:.digits$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}{}", units[unit])
}
