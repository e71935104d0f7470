//! `RUN --mount`: comma-separated fields.

use std::collections::BTreeSet;

use crate::diagnostic::SyntaxError;
use crate::suggestion::nearest;

/// A mount as it is written, after expansion.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountSpec {
    /// `bind`, `cache`, `tmpfs`, `secret` or `ssh`.
    pub kind: String,
    /// Stage, image or context.
    pub from: Option<String>,
    /// Path in it.
    pub source: Option<String>,
    /// Where.
    pub target: Option<String>,
    /// Whether writing is refused; None is the type's default.
    pub read_only: Option<bool>,
    /// Identity of a cache, secret or agent.
    pub id: Option<String>,
    /// `shared`, `private` or `locked`.
    pub sharing: Option<String>,
    /// Whether the step fails without it.
    pub required: bool,
    /// Bytes of a tmpfs.
    pub size: Option<u64>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Variable that carries a secret.
    pub env: Option<String>,
}

const TYPES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];
const FIELDS: [&str; 18] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
];

/// Parses one `--mount` value.
pub fn parse_mount(text: &str) -> Result<MountSpec, SyntaxError> {
    let mut mount = MountSpec {
        kind: "bind".into(),
        ..MountSpec::default()
    };
    let mut seen = BTreeSet::new();
    for field in text.split(',') {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.trim().to_lowercase(), Some(value)),
            None => (field.trim().to_lowercase(), None),
        };
        seen.insert(key.clone());
        let flag = |value: Option<&str>| match value {
            None => Ok(true),
            Some(value) => match value.to_lowercase().as_str() {
                "true" | "1" | "t" => Ok(true),
                "false" | "0" | "f" => Ok(false),
                _ => Err(SyntaxError::new(format!("invalid value for {key}: {value}"))),
            },
        };
        match key.as_str() {
            "readonly" | "ro" => {
                mount.read_only = Some(flag(value)?);
                continue;
            }
            "readwrite" | "rw" => {
                mount.read_only = Some(!flag(value)?);
                continue;
            }
            "required" => {
                mount.required = flag(value)?;
                continue;
            }
            _ => {}
        }
        let Some(value) = value else {
            return Err(SyntaxError::new(format!(
                "invalid field '{field}' must be a key=value pair"
            )));
        };
        let number = |radix| {
            u32::from_str_radix(value, radix).map_err(|_| SyntaxError::new(format!("invalid value {value} for {key}")))
        };
        match key.as_str() {
            "type" => {
                let kind = value.to_lowercase();
                if !TYPES.contains(&kind.as_str()) {
                    let meant = nearest(&kind, TYPES)
                        .map(|kind| format!(" (did you mean {kind}?)"))
                        .unwrap_or_default();
                    return Err(SyntaxError::new(format!("unsupported mount type {value:?}{meant}")));
                }
                mount.kind = kind;
            }
            "from" => mount.from = Some(value.to_owned()),
            "source" | "src" => mount.source = Some(value.to_owned()),
            "target" | "dst" | "destination" => mount.target = Some(value.to_owned()),
            "id" => mount.id = Some(value.to_owned()),
            "sharing" => {
                if !["shared", "private", "locked"].contains(&value.to_lowercase().as_str()) {
                    return Err(SyntaxError::new(format!("unsupported sharing value {value:?}")));
                }
                mount.sharing = Some(value.to_lowercase());
            }
            "size" => {
                let size = bytes(value).ok_or_else(|| SyntaxError::new(format!("invalid value for size: {value}")))?;
                mount.size = Some(size);
            }
            "mode" => mount.mode = Some(number(8)?),
            "uid" => mount.uid = Some(number(10)?),
            "gid" => mount.gid = Some(number(10)?),
            "env" => mount.env = Some(value.to_owned()),
            _ => {
                let meant = nearest(&key, FIELDS)
                    .map(|field| format!(" (did you mean {field}?)"))
                    .unwrap_or_default();
                return Err(SyntaxError::new(format!("unexpected key '{key}' in '{field}'{meant}")));
            }
        }
    }
    if mount.kind != "cache" && seen.contains("sharing") {
        return Err(SyntaxError::new(format!(
            "invalid cache sharing set for {} mount",
            mount.kind
        )));
    }
    if mount.target.is_none() && !matches!(mount.kind.as_str(), "secret" | "ssh") {
        return Err(SyntaxError::new("mount must have a target"));
    }
    Ok(mount)
}

/// `64m`, `1g`, `1048576`.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let text = text.to_lowercase();
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let scale: u64 = match &text[digits..] {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(scale)
}
