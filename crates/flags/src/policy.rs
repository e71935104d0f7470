//! `--policy`: rules about the sources of a build.

use crate::FlagError;
use crate::fields::{boolean_field, split};

/// How much an evaluation of rules says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each says its own name")]
pub enum LogLevel {
    Panic,
    Fatal,
    Error,
    Warning,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Panic => "panic",
            LogLevel::Fatal => "fatal",
            LogLevel::Error => "error",
            LogLevel::Warning => "warning",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }

    fn parse(text: &str) -> Option<LogLevel> {
        Some(match text.to_lowercase().as_str() {
            "panic" => LogLevel::Panic,
            "fatal" => LogLevel::Fatal,
            "error" => LogLevel::Error,
            "warn" | "warning" => LogLevel::Warning,
            "info" => LogLevel::Info,
            "debug" => LogLevel::Debug,
            "trace" => LogLevel::Trace,
            _ => return None,
        })
    }
}

/// One set of rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// The files that hold them.
    pub files: Vec<String>,
    /// Whether those that hold by default do not.
    pub reset: bool,
    /// Whether no rules hold.
    pub disabled: bool,
    /// Whether what no rule speaks of is refused; None: as the rules say.
    pub strict: Option<bool>,
    /// How much is said.
    pub log_level: Option<LogLevel>,
}

impl Policy {
    /// Reads one value.
    pub fn parse(text: &str) -> Result<Policy, FlagError> {
        let mut policy = Policy::default();
        for field in split(text)? {
            let invalid = || FlagError::Field(field.text.clone());
            let (key, value) = field.pair().ok_or_else(invalid)?;
            match key.as_str() {
                "filename" if !value.is_empty() => policy.files.push(value.to_owned()),
                "reset" => policy.reset = boolean_field(&field, value)?,
                "disabled" => policy.disabled = boolean_field(&field, value)?,
                "strict" => policy.strict = Some(boolean_field(&field, value)?),
                "log-level" => policy.log_level = Some(LogLevel::parse(value).ok_or_else(invalid)?),
                _ => return Err(invalid()),
            }
        }
        Ok(policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_in_files() {
        let policy = Policy::parse("filename=a,filename=b,strict=0,log-level=WARN").expect("valid");
        assert_eq!(policy.files, ["a", "b"]);
        assert_eq!(policy.strict, Some(false));
        assert_eq!(policy.log_level.map(LogLevel::name), Some("warning"));
        assert!(Policy::parse("disabled=true").expect("valid").disabled);
        for bad in ["filename=", "a", "reset=maybe", "log-level=loud", "x=y"] {
            assert!(Policy::parse(bad).is_err(), "{bad}");
        }
    }
}
