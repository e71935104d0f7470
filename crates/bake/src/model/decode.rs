//! Values of a block's attributes → a target, and back for references.

use std::collections::BTreeMap;

use crate::value::{ConversionError, Entries, Type, Value, convert, mismatch};

use super::entry::Fields;
use super::{Attest, CacheEntry, Export, Policy, Resources, Secret, Ssh, Target, parse_cache_entries};

/// Attributes that a target may have.
pub const TARGET_ATTRIBUTES: [&str; 31] = [
    "annotations",
    "args",
    "attest",
    "cache-from",
    "cache-to",
    "call",
    "context",
    "contexts",
    "description",
    "dockerfile",
    "dockerfile-inline",
    "entitlements",
    "extra-hosts",
    "inherits",
    "labels",
    "matrix",
    "name",
    "network",
    "no-cache",
    "no-cache-filter",
    "output",
    "platforms",
    "policy",
    "pull",
    "resources",
    "secret",
    "shm-size",
    "ssh",
    "tags",
    "target",
    "ulimits",
];

/// Sets the attribute of a name. `matrix` and `name` decide which targets there are, and set nothing.
///
/// # Errors
/// What is wrong with the value.
pub fn decode_attribute(target: &mut Target, name: &str, value: &Value) -> Result<(), String> {
    match name {
        "description" => target.description = text(value)?.unwrap_or_default(),
        "inherits" => target.inherits = texts(value)?.unwrap_or_default(),
        "annotations" => target.annotations = texts(value)?,
        "attest" => {
            let wanted = Type::Map(Type::String.into());
            target.attest = entries(value, &wanted, Attest::parse, Attest::from_fields)?;
        }
        "context" => target.context = text(value)?,
        "contexts" => target.contexts = text_map(value)?,
        "dockerfile" => target.dockerfile = text(value)?,
        "dockerfile-inline" => target.dockerfile_inline = text(value)?,
        "args" => target.args = text_map(value)?,
        "labels" => target.labels = text_map(value)?,
        "tags" => target.tags = texts(value)?,
        "cache-from" => target.cache_from = caches(value)?,
        "cache-to" => target.cache_to = caches(value)?,
        "target" => target.target = text(value)?,
        "secret" => {
            let wanted = secret_type();
            target.secrets = entries(value, &wanted, Secret::parse, Secret::from_fields)?;
        }
        "ssh" => target.ssh = ssh(value)?,
        "platforms" => target.platforms = texts(value)?,
        "output" => {
            let wanted = Type::Map(Type::String.into());
            target.outputs = entries(value, &wanted, Export::parse, Export::from_fields)?;
        }
        "pull" => target.pull = boolean(value)?,
        "no-cache" => target.no_cache = boolean(value)?,
        "network" => target.network = text(value)?,
        "no-cache-filter" => target.no_cache_filter = texts(value)?,
        "shm-size" => target.shm_size = text(value)?,
        "ulimits" => target.ulimits = texts(value)?,
        "resources" => target.resources = resources(value)?,
        "call" => target.call = text(value)?,
        "entitlements" => target.entitlements = texts(value)?,
        "extra-hosts" => target.extra_hosts = text_map(value)?,
        "policy" => {
            let wanted = Type::Map(Type::String.into());
            target.policy = entries(value, &wanted, Policy::parse, Policy::from_fields)?;
        }
        _ => {}
    }
    Ok(())
}

fn message(error: ConversionError) -> String {
    error.message
}

fn text(value: &Value) -> Result<Option<String>, String> {
    let value = convert(value, &Type::String).map_err(message)?;
    Ok(value.as_str().map(str::to_owned))
}

fn boolean(value: &Value) -> Result<Option<bool>, String> {
    match convert(value, &Type::Bool).map_err(message)? {
        Value::Bool(value) => Ok(Some(value)),
        _ => Ok(None),
    }
}

/// A list of texts.
pub(crate) fn texts(value: &Value) -> Result<Option<Vec<String>>, String> {
    let list = convert(value, &Type::List(Type::String.into())).map_err(message)?;
    let Some(items) = list.items() else {
        return Ok(None);
    };
    let text = |item: &Value| {
        item.as_str()
            .map(str::to_owned)
            .ok_or_else(|| "unsuitable null value".to_owned())
    };
    items.iter().map(text).collect::<Result<_, _>>().map(Some)
}

/// Texts by name; what is null is left out.
fn text_map(value: &Value) -> Result<BTreeMap<String, String>, String> {
    let map = convert(value, &Type::Map(Type::String.into())).map_err(message)?;
    let entries = map.entries().map(|entries| entries.iter()).into_iter().flatten();
    Ok(entries
        .filter_map(|(name, value)| Some((name.to_string(), value.as_str()?.to_owned())))
        .collect())
}

fn items_of<'a>(value: &'a Value, wanted: &Type) -> Result<Option<&'a [Value]>, String> {
    match value {
        Value::Null(_) => Ok(None),
        Value::List(_, items) | Value::Tuple(items) => Ok(Some(items)),
        other => Err(mismatch(&other.type_of(), &Type::List(wanted.clone().into()))),
    }
}

/// Entries that are texts or objects.
fn entries<T>(
    value: &Value,
    wanted: &Type,
    parse: fn(&str) -> Result<T, String>,
    from_fields: fn(Fields) -> Result<T, String>,
) -> Result<Option<Vec<T>>, String> {
    let Some(items) = items_of(value, wanted)? else {
        return Ok(None);
    };
    let mut all = Vec::new();
    for item in items {
        match item {
            Value::Null(_) => {}
            Value::String(text) if text.is_empty() => {}
            Value::String(text) => all.push(parse(text)?),
            other => all.push(from_fields(fields_of(other)?)?),
        }
    }
    Ok(Some(all))
}

fn fields_of(value: &Value) -> Result<Fields, String> {
    text_map(value)
}

fn caches(value: &Value) -> Result<Option<Vec<CacheEntry>>, String> {
    let Some(items) = items_of(value, &Type::Map(Type::String.into()))? else {
        return Ok(None);
    };
    let mut all = Vec::new();
    for item in items {
        match item {
            Value::Null(_) => {}
            Value::String(text) => all.extend(parse_cache_entries(&[text.to_string()])?),
            other => all.push(CacheEntry::from_fields(fields_of(other)?)?),
        }
    }
    Ok(Some(all))
}

fn ssh(value: &Value) -> Result<Option<Vec<Ssh>>, String> {
    let Some(items) = items_of(value, &ssh_type())? else {
        return Ok(None);
    };
    let mut all = Vec::new();
    for item in items {
        match item {
            Value::Null(_) => {}
            Value::String(text) if text.is_empty() => {}
            Value::String(text) => all.push(Ssh::parse(text)?),
            Value::Object(entries) | Value::Map(_, entries) => all.push(Ssh {
                id: entries.get("id").map(text).transpose()?.flatten().unwrap_or_default(),
                paths: entries
                    .get("paths")
                    .map(texts)
                    .transpose()?
                    .flatten()
                    .unwrap_or_default(),
            }),
            other => return Err(mismatch(&other.type_of(), &ssh_type())),
        }
    }
    Ok(Some(all))
}

fn resources(value: &Value) -> Result<Option<Resources>, String> {
    let entries = match value {
        Value::Null(_) => return Ok(None),
        Value::Object(entries) | Value::Map(_, entries) => entries,
        other => return Err(mismatch(&other.type_of(), &resources_type())),
    };
    let mut resources = Resources::default();
    for (name, value) in entries.iter() {
        if !RESOURCES.contains(&&**name) {
            continue;
        }
        if let Some(written) = text(value)? {
            let numeric = ["cpu-shares", "cpu-period", "cpu-quota"].contains(&&**name);
            resources.set(name, &written).map_err(|error| {
                if numeric {
                    format!("attribute {name:?}: a number is required")
                } else {
                    error
                }
            })?;
        }
    }
    Ok(Some(resources))
}

const RESOURCES: [&str; 7] = [
    "memory",
    "memory-swap",
    "cpu-shares",
    "cpu-period",
    "cpu-quota",
    "cpuset-cpus",
    "cpuset-mems",
];

fn object_type(fields: impl IntoIterator<Item = (&'static str, Type)>) -> Type {
    Type::Object(std::sync::Arc::new(
        fields.into_iter().map(|(name, of)| (name.into(), of)).collect(),
    ))
}

fn secret_type() -> Type {
    object_type(["id", "src", "env"].map(|name| (name, Type::String)))
}

fn ssh_type() -> Type {
    object_type([("id", Type::String), ("paths", Type::List(Type::String.into()))])
}

fn resources_type() -> Type {
    object_type(RESOURCES.map(|name| (name, Type::String)))
}

/// A target as a value that other targets can refer to: every attribute is there, what was not said is null.
pub fn target_value(target: &Target) -> Value {
    let text = |text: &Option<String>| text.as_deref().map_or(Value::Null(Type::String), Value::string);
    let flag = |flag: Option<bool>| flag.map_or(Value::Null(Type::Bool), Value::Bool);
    let list = |list: &Option<Vec<String>>| match list {
        Some(list) => Value::strings(list.iter().map(String::as_str)),
        None => Value::Null(Type::List(Type::String.into())),
    };
    let map = |map: &BTreeMap<String, String>| {
        let entries = map
            .iter()
            .map(|(name, value)| (name.as_str().into(), Value::string(value)));
        Value::Map(Type::String, std::sync::Arc::new(entries.collect()))
    };
    // What is printed is what is said.
    let through_json = |value: serde_json::Result<String>| {
        let decoded = value.ok().and_then(|text| crate::value::decode_json(&text).ok());
        decoded.unwrap_or(Value::Null(Type::Any))
    };
    let maps = |value: Value| {
        let wanted = Type::List(Type::Map(Type::String.into()).into());
        convert(&value, &wanted).unwrap_or(value)
    };
    let all: [(&str, Value); 29] = [
        ("name", Value::string(&target.name)),
        ("description", Value::string(&target.description)),
        ("inherits", Value::strings(target.inherits.iter().map(String::as_str))),
        ("annotations", list(&target.annotations)),
        (
            "attest",
            maps(through_json(serde_json::to_string(
                &target.attest.as_deref().unwrap_or_default(),
            ))),
        ),
        ("context", text(&target.context)),
        ("contexts", map(&target.contexts)),
        ("dockerfile", text(&target.dockerfile)),
        ("dockerfile-inline", text(&target.dockerfile_inline)),
        ("args", map(&target.args)),
        ("labels", map(&target.labels)),
        ("tags", list(&target.tags)),
        (
            "cache-from",
            maps(through_json(serde_json::to_string(
                &target.cache_from.as_deref().unwrap_or_default(),
            ))),
        ),
        (
            "cache-to",
            maps(through_json(serde_json::to_string(
                &target.cache_to.as_deref().unwrap_or_default(),
            ))),
        ),
        ("target", text(&target.target)),
        (
            "secret",
            through_json(serde_json::to_string(&target.secrets.as_deref().unwrap_or_default())),
        ),
        (
            "ssh",
            through_json(serde_json::to_string(&target.ssh.as_deref().unwrap_or_default())),
        ),
        ("platforms", list(&target.platforms)),
        (
            "output",
            maps(through_json(serde_json::to_string(
                &target.outputs.as_deref().unwrap_or_default(),
            ))),
        ),
        ("pull", flag(target.pull)),
        ("no-cache", flag(target.no_cache)),
        ("network", text(&target.network)),
        ("no-cache-filter", list(&target.no_cache_filter)),
        ("shm-size", text(&target.shm_size)),
        ("ulimits", list(&target.ulimits)),
        ("resources", through_json(serde_json::to_string(&target.resources))),
        ("call", text(&target.call)),
        ("entitlements", list(&target.entitlements)),
        ("extra-hosts", map(&target.extra_hosts)),
    ];
    let entries: Entries = all.into_iter().map(|(name, value)| (name.into(), value)).collect();
    Value::object(entries)
}
