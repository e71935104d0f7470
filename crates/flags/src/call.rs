//! `--call`: what is done with a Dockerfile.

use crate::FlagError;
use crate::fields::{boolean, split};

/// A method and how its answer is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Call {
    /// The method; `check` is `lint`.
    pub name: String,
    /// The form of the answer; empty is text.
    pub format: String,
    /// Whether findings leave the exit code 0.
    pub ignore_status: bool,
}

impl Call {
    /// Reads a value. None: the Dockerfile is built.
    pub fn parse(text: &str) -> Result<Option<Call>, FlagError> {
        if text.is_empty() {
            return Ok(None);
        }
        let mut call = Call::default();
        for field in split(text)? {
            match field.text.split_once('=') {
                Some(("format", format)) => format.clone_into(&mut call.format),
                Some(("ignorestatus", value)) => {
                    call.ignore_status = boolean(value).ok_or_else(|| FlagError::IgnoreStatus(value.to_owned()))?;
                }
                Some(_) => return Err(FlagError::CallField(field.text)),
                None if call.name.is_empty() => call.name = field.text,
                None => return Err(FlagError::CallValue(text.to_owned())),
            }
        }
        if call.name == "check" {
            "lint".clone_into(&mut call.name);
        }
        Ok(Some(call).filter(|call| call.name != "build"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn building_is_no_call() {
        assert_eq!(Call::parse(""), Ok(None));
        assert_eq!(Call::parse("build"), Ok(None));
        let call = Call::parse("check,format=json,ignorestatus=t")
            .expect("valid")
            .expect("a call");
        assert_eq!(
            (call.name.as_str(), call.format.as_str(), call.ignore_status),
            ("lint", "json", true)
        );
        assert_eq!(Call::parse("a,b"), Err(FlagError::CallValue("a,b".into())));
        assert_eq!(Call::parse("a,b=c"), Err(FlagError::CallField("b=c".into())));
    }
}
