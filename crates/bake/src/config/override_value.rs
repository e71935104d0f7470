//! Text that is given for a variable → a value of the variable's type.

use std::sync::Arc;

use kiln_flags::csv;
use kiln_flags::fields::boolean;

use crate::value::{Number, Type, Value, convert, decode_json};

/// For a variable whose type is that of its default.
pub(super) fn untyped_from_text(name: &str, text: &str, of: &Type) -> Result<Value, String> {
    match of {
        Type::Any => Ok(Value::string(text)),
        Type::String | Type::Bool | Type::Number => primitive(text, of).map_err(|error| failed(name, of, &error)),
        other => Err(format!("unsupported type {} for variable {name}", other.friendly())),
    }
}

/// For a variable with a type: lists, sets, tuples and maps of primitives are written as CSV.
pub(super) fn from_text(name: &str, text: &str, of: &Type) -> Result<Value, String> {
    let unsupported = || format!("unsupported type {} for variable {name}", of.friendly());
    match of {
        Type::Any => Ok(Value::string(text)),
        Type::String | Type::Bool | Type::Number => primitive(text, of).map_err(|error| failed(name, of, &error)),
        Type::List(item) | Type::Set(item) => {
            let item = if **item == Type::Any {
                Type::String
            } else {
                (**item).clone()
            };
            if !item.is_primitive() {
                return Err(unsupported());
            }
            let items = csv(name, text)?
                .iter()
                .enumerate()
                .map(|(number, text)| element(name, number, text, &item))
                .collect::<Result<_, _>>()?;
            Ok(match of {
                Type::Set(_) => Value::set(item, items),
                _ => Value::list(item, items),
            })
        }
        Type::Tuple(types) => {
            if !types.iter().all(Type::is_primitive) {
                return Err(unsupported());
            }
            let texts = csv(name, text)?;
            if texts.len() != types.len() {
                return Err(format!(
                    "failed to convert variable {name} from CSV: it needs {} elements, but has {}",
                    types.len(),
                    texts.len()
                ));
            }
            let items = texts.iter().zip(types.iter()).enumerate();
            let items = items.map(|(number, (text, of))| element(name, number, text, of));
            Ok(Value::tuple(items.collect::<Result<_, _>>()?))
        }
        Type::Map(item) => {
            let item = if **item == Type::Any {
                Type::String
            } else {
                (**item).clone()
            };
            if !item.is_primitive() {
                return Err(unsupported());
            }
            map(name, text, item)
        }
        Type::Object(_) | Type::Optional(_) => Err(unsupported()),
    }
}

/// `key:value,key:value`.
fn map(name: &str, text: &str, item: Type) -> Result<Value, String> {
    let mut entries = crate::value::Entries::new();
    for (number, pair) in pairs(name, text)?.iter().enumerate() {
        let parts =
            split_pair(pair).map_err(|error| format!("failed to parse {pair:?} of variable {name} as CSV: {error}"))?;
        let [key, value] = parts.as_slice() else {
            return Err(format!(
                "failed to convert variable {name} from CSV: expected one k/v pair, but have {pair:?}"
            ));
        };
        entries.insert(key.as_str().into(), element(name, number, value, &item)?);
    }
    Ok(Value::Map(item, Arc::new(entries)))
}

/// Pairs are cut at commas outside quotes; the quotes stay, for the pairs themselves.
fn pairs(name: &str, text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut pairs = vec![String::new()];
    let mut quoted = false;
    for letter in text.chars() {
        match letter {
            ',' if !quoted => pairs.push(String::new()),
            letter => {
                quoted ^= letter == '"';
                if let Some(pair) = pairs.last_mut() {
                    pair.push(letter);
                }
            }
        }
    }
    if quoted {
        return Err(format!(
            "failed to parse variable {name} as CSV: extraneous or missing \" in quoted-field"
        ));
    }
    Ok(pairs
        .into_iter()
        .map(
            |pair| match pair.strip_prefix('"').and_then(|pair| pair.strip_suffix('"')) {
                // The whole pair may be quoted.
                Some(inner) if !inner.contains('"') => inner.to_owned(),
                _ => pair,
            },
        )
        .collect())
}

fn split_pair(pair: &str) -> Result<Vec<String>, String> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    for letter in pair.chars() {
        match letter {
            ':' if !quoted => parts.push(String::new()),
            '"' => quoted = !quoted,
            letter => {
                if let Some(part) = parts.last_mut() {
                    part.push(letter);
                }
            }
        }
    }
    if quoted {
        Err("a quote is not closed".to_owned())
    } else {
        Ok(parts)
    }
}

fn csv(name: &str, text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    csv::line(text).map_err(|error| format!("failed to convert variable {name} from CSV: {error}"))
}

fn element(name: &str, number: usize, text: &str, of: &Type) -> Result<Value, String> {
    primitive(text, of).map_err(|error| {
        format!(
            "failed to parse element {number} of variable {name} as {}: {error}",
            of.friendly()
        )
    })
}

fn failed(name: &str, of: &Type, error: &str) -> String {
    format!("failed to parse {name} as {}: {error}", of.friendly())
}

fn primitive(text: &str, of: &Type) -> Result<Value, String> {
    match of {
        Type::Bool => boolean(text)
            .map(Value::Bool)
            .ok_or_else(|| format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
        Type::Number => {
            let parsed = text.parse::<f64>().ok();
            match parsed {
                Some(number) if !number.is_finite() => Err("invalid number value".to_owned()),
                Some(number) => Number::parse(text)
                    .or_else(|| Number::from_f64(number))
                    .map(Value::Number)
                    .ok_or_else(|| "invalid number value".to_owned()),
                None => Err(format!("strconv.ParseFloat: parsing {text:?}: invalid syntax")),
            }
        }
        _ => Ok(Value::string(text)),
    }
}

/// From JSON, for any type.
pub(super) fn from_json(name: &str, text: &str, of: &Type) -> Result<Value, String> {
    let failed = |error: String| format!("failed to convert variable {name} from JSON: {error}");
    let value = decode_json(text).map_err(|error| failed(json_error(text, error)))?;
    convert(&value, of).map_err(|error| failed(error.message))
}

/// What does not even begin as JSON is told in the peer's words.
fn json_error(text: &str, error: String) -> String {
    let first = text.trim_start().chars().next();
    match first {
        None => "unexpected end of JSON input".to_owned(),
        Some(letter) if !"{[\"-0123456789tfn".contains(letter) => {
            format!("invalid character '{letter}' looking for beginning of value")
        }
        Some(_) => error,
    }
}
