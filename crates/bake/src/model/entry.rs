//! Attributes that are written as `key=value,…` or as an object: caches, outputs, secrets and the like.

use std::collections::BTreeMap;

use kiln_flags::csv;
use kiln_flags::fields::boolean;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// Further `key=value` fields.
pub(super) type Fields = BTreeMap<String, String>;

/// A cache to read or write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheEntry {
    /// Its type.
    pub kind: String,
    /// What else is said of it.
    pub attributes: Fields,
}

/// An attestation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attest {
    /// Its type.
    pub kind: String,
    /// Whether it is switched off.
    pub disabled: bool,
    /// What else is said of it.
    pub attributes: Fields,
}

/// Where a result goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Export {
    /// Its type.
    pub kind: String,
    /// The path; empty if there is none.
    pub destination: String,
    /// What else is said of it.
    pub attributes: Fields,
}

/// A secret. What is empty was not said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Secret {
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The file that it is in.
    #[serde(rename = "src", skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The variable that it is in.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub env: String,
}

/// An SSH agent or keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Ssh {
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// A socket or keys; the agent of the environment if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
}

/// A source policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Policy {
    /// Its files.
    #[serde(rename = "filename", skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Whether policies before it are dropped.
    #[serde(skip_serializing_if = "is_false")]
    pub reset: bool,
    /// Whether it is switched off.
    #[serde(skip_serializing_if = "is_false")]
    pub disabled: bool,
    /// Whether what it does not decide is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
    /// How much is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
}

/// Limits of the control group of steps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Resources {
    /// Memory, with a unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// Memory and swap, with a unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_swap: Option<String>,
    /// Share of the processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_shares: Option<i64>,
    /// Period of the quota, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_period: Option<i64>,
    /// Time in each period, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_quota: Option<i64>,
    /// Processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset_mems: Option<String>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// The fields of one line of CSV.
fn split(text: &str) -> Result<Vec<String>, String> {
    csv::line(text).map_err(|error| error.to_string())
}

/// An attestation's short form: a boolean, or its fields without the type.
pub fn canonical_attest(kind: &str, text: &str) -> String {
    match boolean(text) {
        Some(on) => format!("type={kind},disabled={}", !on),
        None => format!("type={kind},{text}"),
    }
}

/// Entries of a kind, each from its text; empty texts are left out.
pub fn parse_entries<T>(texts: &[String], parse: fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    texts
        .iter()
        .filter(|text| !text.is_empty())
        .map(|text| parse(text))
        .collect()
}

/// Caches; a text without an equals sign is a list of registry references.
pub fn parse_cache_entries(texts: &[String]) -> Result<Vec<CacheEntry>, String> {
    let mut entries = Vec::new();
    for text in texts.iter().filter(|text| !text.is_empty()) {
        if text.contains('=') {
            entries.push(CacheEntry::parse(text)?);
        } else {
            for reference in split(text)? {
                entries.push(CacheEntry::parse(&reference)?);
            }
        }
    }
    Ok(entries)
}

fn key_and_value(field: &str) -> Result<(String, &str), String> {
    match field.split_once('=') {
        Some((key, value)) => Ok((key.to_lowercase().trim().to_owned(), value)),
        None => Err(format!("invalid value {field}")),
    }
}

impl CacheEntry {
    /// From its text.
    pub fn parse(text: &str) -> Result<CacheEntry, String> {
        let all = split(text)?;
        if let [reference] = all.as_slice()
            && !reference.contains('=')
        {
            return Ok(CacheEntry {
                kind: "registry".to_owned(),
                attributes: Fields::from([("ref".to_owned(), reference.clone())]),
            });
        }
        let mut fields = Fields::new();
        for field in &all {
            let (key, value) = key_and_value(field)?;
            fields.insert(key, value.to_owned());
        }
        CacheEntry::from_fields(fields).map_err(|_| format!("type required for {text:?}"))
    }

    /// From its fields.
    pub fn from_fields(mut fields: Fields) -> Result<CacheEntry, String> {
        match fields.remove("type").filter(|kind| !kind.is_empty()) {
            Some(kind) => Ok(CacheEntry {
                kind,
                attributes: fields,
            }),
            None => Err(format!(
                "type required for {:?}",
                serde_json::to_string(&fields).unwrap_or_default()
            )),
        }
    }
}

impl Export {
    /// From its text; a bare path is a directory, and `-` an archive on standard output.
    pub fn parse(text: &str) -> Result<Export, String> {
        let all = split(text)?;
        if all == [text] && !text.starts_with("type=") {
            return Ok(Export {
                kind: if text == "-" { "tar" } else { "local" }.to_owned(),
                destination: text.to_owned(),
                attributes: Fields::new(),
            });
        }
        let mut fields = Fields::new();
        for field in &all {
            let (key, value) = key_and_value(field)?;
            fields.insert(key, value.to_owned());
        }
        Export::from_fields(fields)
    }

    /// From its fields.
    pub fn from_fields(mut fields: Fields) -> Result<Export, String> {
        let kind = fields.remove("type").filter(|kind| !kind.is_empty());
        Ok(Export {
            kind: kind.ok_or("type is required for output")?,
            destination: fields.remove("dest").unwrap_or_default(),
            attributes: fields,
        })
    }
}

impl Attest {
    /// From its text.
    pub fn parse(text: &str) -> Result<Attest, String> {
        let mut fields = Fields::new();
        for field in split(text)? {
            let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid value {field}"))?;
            let known = key.to_lowercase();
            let name = if ["type", "disabled"].contains(&known.trim()) {
                known.trim()
            } else {
                key
            };
            fields.insert(name.to_owned(), value.to_owned());
        }
        Attest::from_fields(fields)
    }

    /// From its fields.
    pub fn from_fields(mut fields: Fields) -> Result<Attest, String> {
        let kind = fields.remove("type").filter(|kind| !kind.is_empty());
        let kind = kind.ok_or("attestation type not specified")?;
        let disabled = match fields.remove("disabled") {
            Some(text) => boolean(&text).ok_or_else(|| format!("invalid value disabled={text}"))?,
            None => false,
        };
        Ok(Attest {
            kind,
            disabled,
            attributes: fields,
        })
    }
}

impl Secret {
    /// From its text.
    pub fn parse(text: &str) -> Result<Secret, String> {
        let mut secret = Secret::default();
        let mut kind = None;
        for field in csv::line(text).map_err(|error| format!("failed to parse csv secret: {error}"))? {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| format!("invalid field '{field}' must be a key=value pair"))?;
            match key.to_lowercase().as_str() {
                "type" if ["file", "env"].contains(&value) => kind = Some(value.to_owned()),
                "type" => return Err(format!("unsupported secret type {value:?}")),
                "id" => value.clone_into(&mut secret.id),
                "source" | "src" => value.clone_into(&mut secret.path),
                "env" => value.clone_into(&mut secret.env),
                other => return Err(format!("unexpected key '{other}' in '{field}'")),
            }
        }
        if kind.as_deref() == Some("env") && secret.env.is_empty() {
            secret.env = std::mem::take(&mut secret.path);
        }
        Ok(secret)
    }

    /// From its fields.
    pub fn from_fields(mut fields: Fields) -> Result<Secret, String> {
        Ok(Secret {
            id: fields.remove("id").unwrap_or_default(),
            path: fields.remove("src").unwrap_or_default(),
            env: fields.remove("env").unwrap_or_default(),
        })
    }
}

impl Ssh {
    /// From its text: `ID`, or `ID=PATH,PATH`.
    pub fn parse(text: &str) -> Result<Ssh, String> {
        Ok(match text.split_once('=') {
            Some((id, paths)) => Ssh {
                id: id.to_owned(),
                paths: paths.split(',').map(str::to_owned).collect(),
            },
            None => Ssh {
                id: text.to_owned(),
                paths: Vec::new(),
            },
        })
    }
}

impl Policy {
    /// From its text.
    pub fn parse(text: &str) -> Result<Policy, String> {
        let mut policy = Policy::default();
        for field in split(text)? {
            let (key, value) = key_and_value(&field)?;
            policy.set(&key, value, &field)?;
        }
        Ok(policy)
    }

    /// From its fields.
    pub fn from_fields(fields: Fields) -> Result<Policy, String> {
        let mut policy = Policy::default();
        for (key, value) in &fields {
            policy.set(key, value, &format!("{key}={value}"))?;
        }
        Ok(policy)
    }

    fn set(&mut self, key: &str, value: &str, field: &str) -> Result<(), String> {
        let invalid = || format!("invalid value {field}");
        let flag = || boolean(value).ok_or_else(invalid);
        match key {
            "filename" if value.is_empty() => return Err(invalid()),
            "filename" => self.files.push(value.to_owned()),
            "reset" => self.reset = flag()?,
            "disabled" => self.disabled = flag()?,
            "strict" => self.strict = Some(flag()?),
            "log-level" => self.log_level = Some(value.to_owned()),
            _ => return Err(invalid()),
        }
        Ok(())
    }
}

impl Resources {
    /// Sets a limit by its name.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let number = || {
            value
                .parse::<i64>()
                .map_err(|_| format!("invalid value {value} for int64 key resources.{name}"))
        };
        match name {
            "memory" => self.memory = Some(value.to_owned()),
            "memory-swap" => self.memory_swap = Some(value.to_owned()),
            "cpu-shares" => self.cpu_shares = Some(number()?),
            "cpu-period" => self.cpu_period = Some(number()?),
            "cpu-quota" => self.cpu_quota = Some(number()?),
            "cpuset-cpus" => self.cpuset_cpus = Some(value.to_owned()),
            "cpuset-mems" => self.cpuset_mems = Some(value.to_owned()),
            other => return Err(format!("unknown resources key {other}")),
        }
        Ok(())
    }

    /// Limits of another that it has override these.
    pub fn merge(&mut self, other: &Resources) {
        fn take<T: Clone>(mine: &mut Option<T>, other: &Option<T>) {
            if other.is_some() {
                mine.clone_from(other);
            }
        }
        take(&mut self.memory, &other.memory);
        take(&mut self.memory_swap, &other.memory_swap);
        take(&mut self.cpu_shares, &other.cpu_shares);
        take(&mut self.cpu_period, &other.cpu_period);
        take(&mut self.cpu_quota, &other.cpu_quota);
        take(&mut self.cpuset_cpus, &other.cpuset_cpus);
        take(&mut self.cpuset_mems, &other.cpuset_mems);
    }
}

impl Serialize for CacheEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = self.attributes.clone();
        all.insert("type".to_owned(), self.kind.clone());
        all.serialize(serializer)
    }
}

impl Serialize for Export {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = self.attributes.clone();
        all.insert("type".to_owned(), self.kind.clone());
        if !self.destination.is_empty() {
            all.insert("dest".to_owned(), self.destination.clone());
        }
        all.serialize(serializer)
    }
}

impl Serialize for Attest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in &self.attributes {
            map.serialize_entry(name, value)?;
        }
        if self.disabled {
            map.serialize_entry("disabled", &true)?;
        }
        map.serialize_entry("type", &self.kind)?;
        map.end()
    }
}
