//! Values from JSON and to JSON.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{Entries, Number, Type, Value, normalized};

/// The value that a JSON text stands for: objects and tuples, numbers with all their digits.
///
/// # Errors
/// The message of the JSON parser, or that a number is too large.
pub fn decode(text: &str) -> Result<Value, String> {
    let raw: Box<RawValue> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    from_raw(&raw)
}

fn from_raw(raw: &RawValue) -> Result<Value, String> {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'{') => {
            // Later members of the same name win.
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(|error| error.to_string())?;
            let entries: Result<Entries, String> = members
                .into_iter()
                .map(|(name, raw)| Ok((normalized(&name), from_raw(raw)?)))
                .collect();
            Ok(Value::object(entries?))
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| error.to_string())?;
            Ok(Value::tuple(items.into_iter().map(from_raw).collect::<Result<_, _>>()?))
        }
        Some(b'"') => {
            let text: String = serde_json::from_str(text).map_err(|error| error.to_string())?;
            Ok(Value::String(normalized(&text)))
        }
        Some(b't') => Ok(Value::Bool(true)),
        Some(b'f') => Ok(Value::Bool(false)),
        Some(b'n') => Ok(Value::Null(Type::Any)),
        _ => Number::parse(text)
            .map(Value::Number)
            .ok_or_else(|| format!("the number `{text}` is too large")),
    }
}

/// The value as JSON, with `<`, `>` and `&` escaped as the peer does.
pub fn encode(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Null(_) => text.push_str("null"),
        Value::String(content) => write_string(content, text),
        Value::Number(number) => text.push_str(&number.to_string()),
        Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Value::List(_, items) | Value::Set(_, items) | Value::Tuple(items) => {
            text.push('[');
            for (number, item) in items.iter().enumerate() {
                if number > 0 {
                    text.push(',');
                }
                write(item, text);
            }
            text.push(']');
        }
        Value::Map(_, entries) | Value::Object(entries) => {
            text.push('{');
            for (number, (name, value)) in entries.iter().enumerate() {
                if number > 0 {
                    text.push(',');
                }
                write_string(name, text);
                text.push(':');
                write(value, text);
            }
            text.push('}');
        }
    }
}

fn write_string(content: &str, text: &mut String) {
    text.push('"');
    for letter in content.chars() {
        match letter {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\u{0}'..='\u{1f}' => {
                text.push_str(&format!("\\u{:04x}", letter as u32));
            }
            letter => text.push(letter),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits() {
        let value = decode(r#"{"a": [1, 12345678901234567890123, "x<y", null], "b": {"c": true}}"#).expect("valid");
        assert_eq!(
            encode(&value),
            r#"{"a":[1,12345678901234567890123,"x\u003cy",null],"b":{"c":true}}"#
        );
        assert!(decode("{").is_err());
        assert!(decode(&"[".repeat(100_000)).is_err());
    }
}
