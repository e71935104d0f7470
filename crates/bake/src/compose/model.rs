//! The parts of a Compose project that a build needs, in one form however they were written.

use std::collections::BTreeSet;

use crate::compose::yaml::Yaml;

/// Services and secrets of a project.
#[derive(Debug, Default)]
pub(super) struct Project {
    /// Services with their sections, by name.
    pub services: Vec<(String, Yaml)>,
    /// Secrets by name.
    pub secrets: Vec<(String, Yaml)>,
    /// Whether any file had either.
    pub found: bool,
    /// Variables that the files name, which are not set and have no default.
    pub unset: BTreeSet<String>,
}

impl Project {
    /// Takes what a later project says over this one.
    pub(super) fn take(&mut self, later: Project) {
        self.found |= later.found;
        for (mine, other) in [(&mut self.services, later.services), (&mut self.secrets, later.secrets)] {
            for (name, value) in other {
                match mine.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, known)) => merge(known, &value, ""),
                    None => mine.push((name, value)),
                }
            }
        }
    }

    /// Takes away what is at the end of a path of names.
    pub(super) fn remove(&mut self, path: &[String]) {
        let (list, rest) = match path {
            [kind, rest @ ..] if kind == "services" => (&mut self.services, rest),
            [kind, rest @ ..] if kind == "secrets" => (&mut self.secrets, rest),
            _ => return,
        };
        match rest {
            [] => list.clear(),
            [name] => list.retain(|(known, _)| known != name),
            [name, rest @ ..] => {
                if let Some((_, value)) = list.iter_mut().find(|(known, _)| known == name) {
                    value.remove(rest);
                }
            }
        }
    }
}

/// Sections of a service that are read.
const SERVICE_SECTIONS: [&str; 6] = ["image", "build", "environment", "env_file", "extends", "provider"];

/// Keys of `build`.
const BUILD_KEYS: [&str; 25] = [
    "additional_contexts",
    "args",
    "cache_from",
    "cache_to",
    "context",
    "dockerfile",
    "dockerfile_inline",
    "entitlements",
    "extra_hosts",
    "isolation",
    "labels",
    "network",
    "no_cache",
    "no_cache_filter",
    "platforms",
    "privileged",
    "provenance",
    "pull",
    "sbom",
    "secrets",
    "shm_size",
    "ssh",
    "tags",
    "target",
    "ulimits",
];

/// Keys of `build` that are a list of `name=value` or a map, and are made a map.
const MAPPINGS: [&str; 4] = ["additional_contexts", "args", "labels", "ssh"];

/// Keys of `build` that are lists of texts.
const LISTS: [&str; 5] = ["cache_from", "cache_to", "entitlements", "platforms", "tags"];

/// A service with its `build` as a map, its mappings as maps.
///
/// # Errors
/// What does not belong there.
pub(super) fn canonical_service(name: &str, service: &Yaml) -> Result<Yaml, String> {
    let entries = match service {
        Yaml::Null => return Ok(Yaml::Map(Vec::new())),
        Yaml::Map(entries) => entries,
        other => return Err(format!("services.{name} must be a mapping, not {}", other.kind())),
    };
    let mut kept = Vec::new();
    for (key, value) in entries
        .iter()
        .filter(|(key, _)| SERVICE_SECTIONS.contains(&key.as_str()))
    {
        let value = match key.as_str() {
            "build" => canonical_build(name, value)?,
            "image" => {
                text(value).map_err(|error| format!("services.{name}.image {error}"))?;
                value.clone()
            }
            "environment" => mapping(value).map_err(|error| format!("services.{name}.environment {error}"))?,
            _ => value.clone(),
        };
        kept.push((key.clone(), value));
    }
    Ok(Yaml::Map(kept))
}

fn canonical_build(service: &str, build: &Yaml) -> Result<Yaml, String> {
    let entries = match build {
        Yaml::Null => return Ok(Yaml::Null),
        Yaml::String(context) => return Ok(Yaml::Map(vec![("context".to_owned(), Yaml::String(context.clone()))])),
        Yaml::Map(entries) => entries,
        other => {
            return Err(format!(
                "services.{service}.build must be a string or a mapping, not {}",
                other.kind()
            ));
        }
    };
    let mut kept = Vec::new();
    for (key, value) in entries {
        if !BUILD_KEYS.contains(&key.as_str()) && !key.starts_with("x-") {
            return Err(format!(
                "services.{service}.build additional properties '{key}' not allowed"
            ));
        }
        let canonical = match key.as_str() {
            "extra_hosts" => hosts(value),
            key if MAPPINGS.contains(&key) => mapping(value),
            key => check_kind(key, value).map(|()| value.clone()),
        };
        let value = canonical.map_err(|error| format!("services.{service}.build.{key} {error}"))?;
        kept.push((key.clone(), value));
    }
    Ok(Yaml::Map(kept))
}

fn check_kind(key: &str, value: &Yaml) -> Result<(), String> {
    let texts = [
        "context",
        "dockerfile",
        "dockerfile_inline",
        "isolation",
        "network",
        "target",
    ];
    match value {
        Yaml::Null => Ok(()),
        Yaml::List(items) if LISTS.contains(&key) => items.iter().try_for_each(|item| listed_text(item).map(|_| ())),
        Yaml::List(_) if key == "secrets" => Ok(()),
        other if LISTS.contains(&key) || key == "secrets" => Err(format!("must be an array, not {}", other.kind())),
        other if texts.contains(&key) => text(other),
        _ => Ok(()),
    }
}

/// A number is no text: `1.10` would be another one than was meant.
fn text(value: &Yaml) -> Result<(), String> {
    match value {
        Yaml::Null | Yaml::String(_) => Ok(()),
        other => Err(format!("must be a string, not {}", other.kind())),
    }
}

/// An item of a list of texts.
fn listed_text(item: &Yaml) -> Result<&str, String> {
    match item {
        Yaml::String(text) => Ok(text),
        other => Err(format!("must be an array of strings, not of {}", other.kind())),
    }
}

/// A list of `name=value` or a map, as a map. A name without a value is null.
fn mapping(value: &Yaml) -> Result<Yaml, String> {
    match value {
        Yaml::Null => Ok(Yaml::Map(Vec::new())),
        Yaml::Map(entries) => match entries.iter().find(|(_, value)| !is_scalar(value)) {
            Some((name, other)) => Err(format!("must be a mapping to strings, but {name} is {}", other.kind())),
            None => Ok(value.clone()),
        },
        Yaml::List(items) => {
            let mut entries: Vec<(String, Yaml)> = Vec::new();
            for item in items {
                let text = listed_text(item)?;
                let (name, value) = match text.split_once('=') {
                    Some((name, value)) => (name, Yaml::String(value.to_owned())),
                    None => (text, Yaml::Null),
                };
                set(&mut entries, name.to_owned(), value);
            }
            Ok(Yaml::Map(entries))
        }
        other => Err(format!("must be a mapping or an array, not {}", other.kind())),
    }
}

fn is_scalar(value: &Yaml) -> bool {
    !matches!(value, Yaml::List(_) | Yaml::Map(_))
}

/// Hosts with their addresses: a list of `host=address` or `host:address`, or a map to one or several of them.
fn hosts(value: &Yaml) -> Result<Yaml, String> {
    let mut all: Vec<(String, Yaml)> = Vec::new();
    let mut add = |host: &str, address: String| {
        if host.is_empty() || host.contains([':', '=']) {
            return Err(format!("has the bad host name '{host}'"));
        }
        let address = match address.strip_prefix('[').and_then(|address| address.strip_suffix(']')) {
            Some(inside) if !inside.is_empty() => inside.to_owned(),
            _ => address,
        };
        match all.iter_mut().find(|(known, _)| known == host) {
            Some((_, Yaml::List(addresses))) => addresses.push(Yaml::String(address)),
            _ => all.push((host.to_owned(), Yaml::List(vec![Yaml::String(address)]))),
        }
        Ok(())
    };
    match value {
        Yaml::Null => {}
        Yaml::Map(entries) => {
            for (host, addresses) in entries {
                match addresses {
                    Yaml::List(several) => {
                        for address in several {
                            add(host, listed_text(address)?.to_owned())?;
                        }
                    }
                    Yaml::Map(_) => return Err(format!("must be a mapping to strings, but {host} is object")),
                    single => add(host, single.scalar().unwrap_or_default())?,
                }
            }
        }
        Yaml::List(items) => {
            for item in items {
                let text = listed_text(item)?;
                let (host, address) = text
                    .split_once('=')
                    .or_else(|| text.split_once(':'))
                    .ok_or_else(|| format!("has an invalid additional host, missing IP: {text}"))?;
                add(host, address.to_owned())?;
            }
        }
        other => return Err(format!("must be a mapping or an array, not {}", other.kind())),
    }
    Ok(Yaml::Map(all))
}

/// Sets an entry in place of the one of its name.
fn set(entries: &mut Vec<(String, Yaml)>, name: String, value: Yaml) {
    match entries.iter_mut().find(|(known, _)| *known == name) {
        Some(known) => known.1 = value,
        None => entries.push((name, value)),
    }
}

/// Changes the paths of a service: of its contexts, its SSH keys and its files of variables.
pub(super) fn change_paths(service: &mut Yaml, change: &dyn Fn(&str) -> String) {
    let Yaml::Map(sections) = &mut *service else { return };
    for (section, value) in sections {
        let ("build", Yaml::Map(build)) = (section.as_str(), value) else {
            continue;
        };
        for (key, value) in build {
            match (key.as_str(), value) {
                ("context", Yaml::String(path)) => *path = change(path),
                ("additional_contexts" | "ssh", Yaml::Map(entries)) => {
                    for (_, value) in entries {
                        if let Yaml::String(path) = value {
                            *path = change(path);
                        }
                    }
                }
                _ => {}
            }
        }
    }
    change_env_files(service, change);
}

/// Changes the paths of `env_file`, which is a text, a list of texts, or one of maps with a path.
pub(super) fn change_env_files(service: &mut Yaml, change: &dyn Fn(&str) -> String) {
    fn walk(yaml: &mut Yaml, change: &dyn Fn(&str) -> String) {
        match yaml {
            Yaml::String(path) => *path = change(path),
            Yaml::List(files) => files.iter_mut().for_each(|file| walk(file, change)),
            Yaml::Map(entries) => {
                let paths = entries.iter_mut().filter(|(key, _)| key == "path");
                paths.for_each(|(_, path)| walk(path, change));
            }
            Yaml::Null | Yaml::Bool(_) | Yaml::Number(_) => {}
        }
    }
    let Yaml::Map(sections) = service else { return };
    for (_, value) in sections.iter_mut().filter(|(section, _)| section == "env_file") {
        walk(value, change);
    }
}

/// Lists in which a value stands once.
const UNIQUE: [&str; 2] = ["tags", "platforms"];

/// What a later file says over an earlier one: maps grow, lists grow, everything else is replaced.
pub(super) fn merge(earlier: &mut Yaml, later: &Yaml, key: &str) {
    match (&mut *earlier, later) {
        (_, Yaml::Null) => {}
        (Yaml::Map(mine), Yaml::Map(other)) => {
            for (name, value) in other {
                match mine.iter_mut().find(|(known, _)| known == name) {
                    Some((_, known)) => merge(known, value, name),
                    None => mine.push((name.clone(), value.clone())),
                }
            }
        }
        (Yaml::List(mine), Yaml::List(other)) => {
            for item in other {
                if !UNIQUE.contains(&key) || !mine.contains(item) {
                    mine.push(item.clone());
                }
            }
        }
        _ => *earlier = later.clone(),
    }
}
