//! The parts of a Compose project that a build needs, in one form however they were written.

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
}

impl Project {
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
const SERVICE_SECTIONS: [&str; 5] = ["image", "build", "environment", "env_file", "extends"];

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
const MAPPINGS: [&str; 4] = ["args", "labels", "additional_contexts", "extra_hosts"];

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
            "environment" => mapping(value, '=').map_err(|error| format!("services.{name}.environment {error}"))?,
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
        let place = |error: String| format!("services.{service}.build.{key} {error}");
        let value = if MAPPINGS.contains(&key.as_str()) {
            let separator = if key == "extra_hosts" && !has_equals(value) {
                ':'
            } else {
                '='
            };
            mapping(value, separator).map_err(place)?
        } else {
            check_kind(key, value).map_err(place)?;
            value.clone()
        };
        kept.push((key.clone(), value));
    }
    Ok(Yaml::Map(kept))
}

fn has_equals(value: &Yaml) -> bool {
    match value {
        Yaml::List(items) => items
            .iter()
            .any(|item| matches!(item, Yaml::String(text) if text.contains('='))),
        _ => true,
    }
}

fn check_kind(key: &str, value: &Yaml) -> Result<(), String> {
    let lists = ["cache_from", "cache_to", "entitlements", "platforms", "secrets"];
    let texts = [
        "context",
        "dockerfile",
        "dockerfile_inline",
        "network",
        "target",
        "isolation",
    ];
    match value {
        Yaml::Null => Ok(()),
        Yaml::List(_) if lists.contains(&key) => Ok(()),
        other if lists.contains(&key) => Err(format!("must be an array, not {}", other.kind())),
        Yaml::List(_) | Yaml::Map(_) if texts.contains(&key) => Err(format!("must be a string, not {}", value.kind())),
        _ => Ok(()),
    }
}

/// A list of `name=value` or a map, as a map. A name without a value is null.
fn mapping(value: &Yaml, separator: char) -> Result<Yaml, String> {
    match value {
        Yaml::Null => Ok(Yaml::Map(Vec::new())),
        Yaml::Map(_) => Ok(value.clone()),
        Yaml::List(items) => {
            let mut entries: Vec<(String, Yaml)> = Vec::new();
            for item in items {
                let text = item
                    .scalar()
                    .ok_or_else(|| format!("must be an array of strings, not of {}", item.kind()))?;
                let (name, value) = match text.split_once(separator) {
                    Some((name, value)) => (name.to_owned(), Yaml::String(value.to_owned())),
                    None => (text, Yaml::Null),
                };
                set(&mut entries, name, value);
            }
            Ok(Yaml::Map(entries))
        }
        other => Err(format!("must be a mapping or an array, not {}", other.kind())),
    }
}

/// Sets an entry in place of the one of its name.
fn set(entries: &mut Vec<(String, Yaml)>, name: String, value: Yaml) {
    match entries.iter_mut().find(|(known, _)| *known == name) {
        Some(known) => known.1 = value,
        None => entries.push((name, value)),
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
