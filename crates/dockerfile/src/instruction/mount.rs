//! `RUN --mount`: comma-separated fields.

use kiln_flags::csv::{self, CsvError};
use kiln_flags::fields::boolean;
use kiln_flags::limit::size;

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
const SHARING: [&str; 3] = ["shared", "private", "locked"];
const FIELDS: [&str; 19] = [
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
    "env",
];

/// Parses one `--mount` value: fields as in CSV, the variables of each value expanded by `expand`.
pub fn parse_mount(
    text: &str,
    expand: &mut dyn FnMut(&str) -> Result<String, SyntaxError>,
) -> Result<MountSpec, SyntaxError> {
    let mut mount = MountSpec {
        kind: "bind".into(),
        ..MountSpec::default()
    };
    for field in csv(text)? {
        match field.split_once('=') {
            Some((key, value)) => {
                let key = key.trim().to_lowercase();
                if key == "from" && has_variable(value) {
                    let error = SyntaxError::new(format!(
                        "'{key}' doesn't support variable expansion, define alias stage instead"
                    ));
                    return Err(error.hint("write `FROM $NAME AS alias`, and mount from `alias`"));
                }
                mount.set(&key, &expand(value)?, &field)?;
            }
            None => mount.switch(&field.trim().to_lowercase(), &field)?,
        }
    }
    mount.check()?;
    Ok(mount)
}

/// The text of a mount before any variable is known: what is wrong whatever the variables are.
pub(super) fn check_mount(text: &str) -> Result<(), SyntaxError> {
    for field in csv(text)? {
        if let Some((key, value)) = field.split_once('=')
            && key.trim().eq_ignore_ascii_case("from")
            && has_variable(value)
        {
            return Err(SyntaxError::new(format!(
                "'{key}' doesn't support variable expansion, define alias stage instead"
            )));
        }
    }
    Ok(())
}

fn has_variable(value: &str) -> bool {
    value.find('$').is_some_and(|position| position + 1 < value.len())
}

impl MountSpec {
    /// A field without a value.
    fn switch(&mut self, key: &str, field: &str) -> Result<(), SyntaxError> {
        match key {
            "readonly" | "ro" => self.read_only = Some(true),
            "readwrite" | "rw" => self.read_only = Some(false),
            "required" => self.require(key, true)?,
            _ => {
                let error = SyntaxError::new(format!("invalid field '{field}' must be a key=value pair"));
                return Err(error);
            }
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: &str, field: &str) -> Result<(), SyntaxError> {
        let truth = || boolean(value).ok_or_else(|| SyntaxError::new(format!("invalid value for {key}: {value}")));
        let number = |radix| {
            u32::from_str_radix(value, radix).map_err(|_| SyntaxError::new(format!("invalid value {value} for {key}")))
        };
        match key {
            "type" => {
                let kind = value.to_lowercase();
                if !TYPES.contains(&kind.as_str()) {
                    return Err(SyntaxError::new(format!(
                        "unsupported mount type {value:?}{}",
                        meant(&kind, &TYPES)
                    )));
                }
                self.kind = kind;
            }
            "from" => self.from = Some(value.to_owned()),
            "source" | "src" => self.source = Some(value.to_owned()),
            "target" | "dst" | "destination" => self.target = Some(value.to_owned()),
            "readonly" | "ro" => self.read_only = Some(truth()?),
            "readwrite" | "rw" => self.read_only = Some(!truth()?),
            "required" => self.require(key, truth()?)?,
            "id" => self.id = Some(value.to_owned()),
            "sharing" => {
                let sharing = value.to_lowercase();
                if !SHARING.contains(&sharing.as_str()) {
                    return Err(SyntaxError::new(format!(
                        "unsupported sharing value {value:?}{}",
                        meant(&sharing, &SHARING)
                    )));
                }
                self.sharing = Some(sharing);
            }
            "size" => {
                let size = size(value).map_err(|_| SyntaxError::new(format!("invalid value for size: {value}")))?;
                self.size = Some(size);
            }
            "mode" => self.mode = Some(number(8)?),
            "uid" => self.uid = Some(number(10)?),
            "gid" => self.gid = Some(number(10)?),
            "env" => self.env = Some(value.to_owned()),
            _ => {
                return Err(SyntaxError::new(format!(
                    "unexpected key '{key}' in '{field}'{}",
                    meant(key, &FIELDS)
                )));
            }
        }
        Ok(())
    }

    fn require(&mut self, key: &str, required: bool) -> Result<(), SyntaxError> {
        if !matches!(self.kind.as_str(), "secret" | "ssh") {
            let error = SyntaxError::new(format!("unexpected key '{key}' for mount type '{}'", self.kind));
            return Err(error.hint("secrets and SSH agents can be required; `type=` stands before it"));
        }
        self.required = required;
        Ok(())
    }

    /// What must hold between the fields.
    fn check(&self) -> Result<(), SyntaxError> {
        let kind = self.kind.as_str();
        let refused = |text: String| Err(SyntaxError::new(text));
        if matches!(kind, "bind" | "tmpfs") {
            let owned = [
                ("mode", self.mode.is_some()),
                ("uid", self.uid.is_some()),
                ("gid", self.gid.is_some()),
            ];
            if let Some((name, _)) = owned.iter().find(|(_, given)| *given) {
                return refused(format!("{name} not allowed for {kind:?} type mounts"));
            }
        }
        if self.sharing.is_some() && kind != "cache" {
            return refused(format!("invalid cache sharing set for {kind} mount"));
        }
        if kind == "secret" {
            if self.from.is_some() {
                return refused("secret mount should not have a from".into());
            }
            if self.source.is_none() && self.target.is_none() && self.id.is_none() {
                return refused("invalid secret mount. one of source, target required".into());
            }
            if self.source.is_some() && self.id.is_some() {
                return refused("both source and id can't be set".into());
            }
        }
        if self.env.is_some() && kind != "secret" {
            return refused(format!("unexpected key 'env' for mount type '{kind}'"));
        }
        if self.size.is_some() && kind != "tmpfs" {
            return refused(format!("unexpected key 'size' for mount type '{kind}'"));
        }
        Ok(())
    }
}

fn meant(word: &str, known: &[&str]) -> String {
    nearest(word, known.iter().copied())
        .map(|meant| format!(" (did you mean {meant}?)"))
        .unwrap_or_default()
}

/// The fields of one line.
fn csv(text: &str) -> Result<Vec<String>, SyntaxError> {
    csv::fields(text).map_err(|error| {
        SyntaxError::new(match error {
            CsvError::Quote => format!("failed to parse csv mounts: {text:?} has an open quote"),
            error => format!("failed to parse csv mounts: {error}"),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<MountSpec, String> {
        let mut expand = |value: &str| Ok(value.replace("$NAME", "a,b"));
        parse_mount(text, &mut expand).map_err(|error| error.message)
    }

    #[test]
    fn fields_are_csv_and_variables_stand_for_whole_values() {
        let mount = parse("type=cache,\"target=/x,y\",id=$NAME,sharing=Locked,ro").expect("well-formed");
        assert_eq!(mount.target.as_deref(), Some("/x,y"));
        assert_eq!(mount.id.as_deref(), Some("a,b"));
        assert_eq!(mount.sharing.as_deref(), Some("locked"));
        assert_eq!(mount.read_only, Some(true));
    }

    #[test]
    fn what_does_not_fit_is_told() {
        for (text, expected) in [
            (
                "type=bnd,target=/x",
                "unsupported mount type \"bnd\" (did you mean bind?)",
            ),
            (
                "type=cache,taget=/x",
                "unexpected key 'taget' in 'taget=/x' (did you mean target?)",
            ),
            (
                "type=cache,target=/x,sharing=lock",
                "unsupported sharing value \"lock\" (did you mean locked?)",
            ),
            (
                "type=bind,target=/x,sharing=shared",
                "invalid cache sharing set for bind mount",
            ),
            (
                "type=tmpfs,target=/x,uid=1",
                "uid not allowed for \"tmpfs\" type mounts",
            ),
            ("type=secret", "invalid secret mount. one of source, target required"),
            ("type=secret,id=a,source=b", "both source and id can't be set"),
            ("type=secret,id=a,from=b", "secret mount should not have a from"),
            (
                "type=cache,target=/x,required",
                "unexpected key 'required' for mount type 'cache'",
            ),
            (
                "type=cache,target=/x,from=$NAME",
                "'from' doesn't support variable expansion, define alias stage instead",
            ),
            ("type=cache,target=/x,mode=9", "invalid value 9 for mode"),
            ("type=tmpfs,target=/x,size=much", "invalid value for size: much"),
            ("target=/x,rubbish", "invalid field 'rubbish' must be a key=value pair"),
        ] {
            assert_eq!(parse(text), Err(expected.to_owned()), "{text}");
        }
    }
}
