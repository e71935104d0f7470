//! Comma-separated `key=value` fields: one line of CSV.

use crate::{FlagError, csv};

/// A field as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// All of it.
    pub text: String,
}

impl Field {
    /// Key and value, the key in lower case without blanks around it.
    pub fn pair(&self) -> Option<(String, &str)> {
        let (key, value) = self.text.split_once('=')?;
        Some((key.trim().to_lowercase(), value))
    }
}

/// The fields of a value, in order. A field with a comma stands in quotes, a quote inside of it is doubled.
pub fn split(text: &str) -> Result<Vec<Field>, FlagError> {
    let fields = csv::fields(text).map_err(|_| FlagError::Quote(text.to_owned()))?;
    Ok(fields.into_iter().map(|text| Field { text }).collect())
}

/// A truth value in any of Go's spellings.
pub fn boolean(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

pub(crate) fn boolean_field(field: &Field, value: &str) -> Result<bool, FlagError> {
    boolean(value).ok_or_else(|| FlagError::Boolean {
        field: field.text.clone(),
        value: value.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Result<Vec<String>, FlagError> {
        Ok(split(text)?.into_iter().map(|field| field.text).collect())
    }

    #[test]
    fn fields_are_split_outside_of_quotes() {
        assert_eq!(
            texts(r#"type=local,"dest=a,b",push"#).expect("well-formed"),
            ["type=local", "dest=a,b", "push"]
        );
        assert_eq!(texts(r#""a""b",,"#).expect("well-formed"), [r#"a"b"#, "", ""]);
        for broken in [r#""a"#, r#"a"b"#, r#""a"b"#] {
            assert_eq!(texts(broken), Err(FlagError::Quote(broken.into())));
        }
    }

    #[test]
    fn truth_has_gos_spellings() {
        assert_eq!(boolean("T"), Some(true));
        assert_eq!(boolean("False"), Some(false));
        assert_eq!(boolean("yes"), None);
    }
}
