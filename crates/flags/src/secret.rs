//! `--secret`: what steps can mount.

use crate::FlagError;
use crate::fields::split;

/// One secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secret {
    /// Its name in `RUN --mount=type=secret`.
    pub id: String,
    /// `src` or `source`: the file that holds it.
    pub source: Option<String>,
    /// `env`: the variable that holds it.
    pub variable: Option<String>,
    /// Whether `type=file` stands there.
    pub of_file: bool,
    /// Whether `type=env` stands there.
    pub of_variable: bool,
}

impl Secret {
    /// Reads one value.
    pub fn parse(text: &str) -> Result<Secret, FlagError> {
        let mut secret = Secret::default();
        let given = |value: &str| Some(value.to_owned()).filter(|value| !value.is_empty());
        for field in split(text)? {
            let (key, value) = field.pair().ok_or_else(|| FlagError::NoPair(field.text.clone()))?;
            match key.as_str() {
                "type" if value == "file" => secret.of_file = true,
                "type" if value == "env" => secret.of_variable = true,
                "type" => return Err(FlagError::SecretType(value.to_owned())),
                "id" => value.clone_into(&mut secret.id),
                "source" | "src" => secret.source = given(value),
                "env" => secret.variable = given(value),
                _ => {
                    return Err(FlagError::Key {
                        key,
                        field: field.text.clone(),
                    });
                }
            }
        }
        if secret.of_variable && secret.variable.is_none() {
            secret.variable = secret.source.take();
        }
        Ok(secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_file_or_a_variable() {
        let of = |text: &str| Secret::parse(text).map(|secret| (secret.id, secret.source, secret.variable));
        assert_eq!(of("id=a,source=f"), Ok(("a".into(), Some("f".into()), None)));
        assert_eq!(of("type=env,id=a,src=V"), Ok(("a".into(), None, Some("V".into()))));
        assert_eq!(of("type=vault,id=a"), Err(FlagError::SecretType("vault".into())));
        assert_eq!(of("a"), Err(FlagError::NoPair("a".into())));
        assert!(of("id=a,mode=1").is_err());
    }
}
