//! Comma-separated `key=value` fields: one line of CSV.

use crate::FlagError;

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
    let broken = || FlagError::Quote(text.to_owned());
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let field = if let Some(quoted) = rest.strip_prefix('"') {
            let (field, after) = unquoted(quoted).ok_or_else(broken)?;
            rest = after;
            if !rest.is_empty() && !rest.starts_with(',') {
                return Err(broken());
            }
            field
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let field = rest[..end].to_owned();
            if field.contains('"') {
                return Err(broken());
            }
            rest = &rest[end..];
            field
        };
        fields.push(Field { text: field });
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None => return Ok(fields),
        }
    }
}

/// The text up to the closing quote, and what follows that.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let quote = rest.find('"')?;
        field.push_str(&rest[..quote]);
        rest = &rest[quote + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None => return Some((field, rest)),
        }
    }
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
