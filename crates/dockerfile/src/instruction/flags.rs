//! `--name=value` flags: each instruction says which it has.

use std::collections::HashMap;

use crate::diagnostic::SyntaxError;
use crate::suggestion::nearest;

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FlagKind {
    Text,
    Repeated,
    Bool,
}

/// The flags of one instruction as they were given.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    values: HashMap<String, Vec<String>>,
}

impl Flags {
    pub(crate) fn parse(given: &[String], known: &[(&str, FlagKind)]) -> Result<Flags, SyntaxError> {
        let mut flags = Flags::default();
        for flag in given {
            let body = flag.strip_prefix("--").unwrap_or(flag);
            let (name, value) = match body.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (body, None),
            };
            let Some((_, kind)) = known.iter().find(|(known, _)| *known == name) else {
                let suggestion = nearest(name, known.iter().map(|(known, _)| *known));
                let meant = suggestion
                    .map(|name| format!(" (did you mean --{name}?)"))
                    .unwrap_or_default();
                return Err(SyntaxError::new(format!("unknown flag: --{name}{meant}")));
            };
            let values = flags.values.entry(name.to_owned()).or_default();
            if !values.is_empty() && *kind != FlagKind::Repeated {
                return Err(SyntaxError::new(format!("duplicate flag specified: {name}")));
            }
            let value = match (kind, value) {
                (FlagKind::Bool, None) => "true".to_owned(),
                (FlagKind::Bool, Some(value)) => match value.to_lowercase().as_str() {
                    "true" | "false" => value.to_lowercase(),
                    _ => {
                        return Err(SyntaxError::new(format!(
                            "expecting boolean value for flag {name}, not: {value}"
                        )));
                    }
                },
                (_, Some(value)) => value.to_owned(),
                (_, None) => return Err(SyntaxError::new(format!("missing a value on flag: {name}"))),
            };
            values.push(value);
        }
        Ok(flags)
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.values.get(name)?.first().cloned()
    }

    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        self.values.get(name).cloned().unwrap_or_default()
    }

    pub(crate) fn bool(&self, name: &str) -> Option<bool> {
        self.text(name).map(|value| value == "true")
    }
}
