//! Conversion between types, and the type that several have in common.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{Entries, Number, Type, Value};

/// Why a value cannot be of a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversionError {
    /// What is wrong.
    pub message: String,
    /// Whether the types alone say so: then errors name the element that is at fault.
    by_type: bool,
}

impl ConversionError {
    fn of_value(message: &str) -> ConversionError {
        ConversionError {
            message: message.to_owned(),
            by_type: false,
        }
    }

    fn of_types(value: &Value, wanted: &Type) -> ConversionError {
        ConversionError {
            message: mismatch(&value.type_of(), wanted),
            by_type: true,
        }
    }

    fn within(self, place: impl fmt::Display) -> ConversionError {
        if self.by_type {
            ConversionError {
                message: format!("{place}: {}", self.message),
                by_type: true,
            }
        } else {
            self
        }
    }
}

impl fmt::Display for ConversionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What is said when a value has another type than is wanted.
pub fn mismatch(is: &Type, wanted: &Type) -> String {
    format!("{} required, but have {}", wanted.friendly_constraint(), is.friendly())
}

/// The value as one of another type.
pub fn convert(value: &Value, wanted: &Type) -> Result<Value, ConversionError> {
    match (value, wanted) {
        (value, Type::Any) => Ok(value.clone()),
        (value, Type::Optional(wanted)) => convert(value, wanted),
        (Value::Null(_), wanted) => Ok(Value::Null(wanted.of_values())),
        (Value::String(_), Type::String) | (Value::Number(_), Type::Number) | (Value::Bool(_), Type::Bool) => {
            Ok(value.clone())
        }
        (Value::Number(number), Type::String) => Ok(Value::String(number.to_string().into())),
        (Value::Bool(value), Type::String) => Ok(Value::String(if *value { "true" } else { "false" }.into())),
        (Value::String(text), Type::Number) => Number::parse(text)
            .map(Value::Number)
            .ok_or_else(|| ConversionError::of_value("a number is required")),
        (Value::String(text), Type::Bool) => match &**text {
            "true" | "1" => Ok(Value::Bool(true)),
            "false" | "0" => Ok(Value::Bool(false)),
            "True" | "TRUE" | "False" | "FALSE" => Err(ConversionError::of_value(&format!(
                "a bool is required; to convert from string, use lowercase \"{}\"",
                text.to_lowercase()
            ))),
            _ => Err(ConversionError::of_value("a bool is required")),
        },
        (Value::List(_, items) | Value::Set(_, items) | Value::Tuple(items), Type::List(item)) => {
            let (item, items) = sequence(items, item)?;
            Ok(Value::list(item, items))
        }
        (Value::List(_, items) | Value::Set(_, items) | Value::Tuple(items), Type::Set(item)) => {
            let (item, items) = sequence(items, item)?;
            Ok(Value::set(item, items))
        }
        (Value::Tuple(items), Type::Tuple(wanted_items)) if items.len() == wanted_items.len() => {
            let items = items
                .iter()
                .zip(wanted_items.iter())
                .enumerate()
                .map(|(number, (item, wanted))| {
                    convert(item, wanted).map_err(|error| error.within(format_args!("element {number}")))
                })
                .collect::<Result<_, _>>()?;
            Ok(Value::tuple(items))
        }
        (Value::Map(_, entries) | Value::Object(entries), Type::Map(item)) => {
            let wanted = if **item == Type::Any {
                let types: Vec<Type> = entries.values().map(Value::type_of).collect();
                common(&types, value, wanted)?
            } else {
                (**item).clone()
            };
            let entries = entries
                .iter()
                .map(|(name, value)| {
                    convert(value, &wanted)
                        .map(|value| (name.clone(), value))
                        .map_err(|error| error.within(format_args!("element {name:?}")))
                })
                .collect::<Result<Entries, _>>()?;
            Ok(Value::Map(wanted.of_values(), Arc::new(entries)))
        }
        (Value::Map(_, entries) | Value::Object(entries), Type::Object(fields)) => object(entries, fields),
        _ => Err(ConversionError::of_types(value, wanted)),
    }
}

fn object(entries: &Entries, fields: &BTreeMap<Arc<str>, Type>) -> Result<Value, ConversionError> {
    let missing: Vec<String> = fields
        .iter()
        .filter(|(name, of)| !matches!(of, Type::Optional(_)) && !entries.contains_key(*name))
        .map(|(name, _)| format!("{name:?}"))
        .collect();
    match missing.as_slice() {
        [] => {}
        [one] => {
            return Err(ConversionError {
                message: format!("attribute {one} is required"),
                by_type: true,
            });
        }
        [many @ .., last] => {
            return Err(ConversionError {
                message: format!("attributes {} and {last} are required", many.join(", ")),
                by_type: true,
            });
        }
    }
    let mut converted = Entries::new();
    for (name, wanted) in fields {
        let value = entries.get(name).cloned().unwrap_or(Value::Null(Type::Any));
        let value = convert(&value, wanted).map_err(|error| error.within(format_args!("attribute {name:?}")))?;
        converted.insert(name.clone(), value);
    }
    Ok(Value::object(converted))
}

fn sequence(items: &[Value], wanted: &Type) -> Result<(Type, Vec<Value>), ConversionError> {
    let wanted = if *wanted == Type::Any {
        let types: Vec<Type> = items.iter().map(Value::type_of).collect();
        common(
            &types,
            &Value::Tuple(Arc::new(Vec::new())),
            &Type::List(Type::Any.into()),
        )?
    } else {
        wanted.clone()
    };
    let items = items
        .iter()
        .enumerate()
        .map(|(number, item)| convert(item, &wanted).map_err(|error| error.within(format_args!("element {number}"))))
        .collect::<Result<_, _>>()?;
    Ok((wanted.of_values(), items))
}

fn common(types: &[Type], value: &Value, wanted: &Type) -> Result<Type, ConversionError> {
    if types.is_empty() {
        return Ok(Type::Any);
    }
    unify(types).ok_or_else(|| ConversionError {
        message: match value {
            Value::Tuple(_) => "all list elements must have the same type".to_owned(),
            Value::Map(..) | Value::Object(_) => "all map elements must have the same type".to_owned(),
            other => mismatch(&other.type_of(), wanted),
        },
        by_type: false,
    })
}

/// Several values as values of one type, which they have in common.
pub fn convert_all_to_one(values: &[Value]) -> Option<(Type, Vec<Value>)> {
    let types: Vec<Type> = values.iter().map(Value::type_of).collect();
    let common = unify(&types)?;
    let values = values
        .iter()
        .map(|value| convert(value, &common).ok())
        .collect::<Option<_>>()?;
    Some((common, values))
}

/// The type that values of all these types can be converted to, if there is one.
pub fn unify(types: &[Type]) -> Option<Type> {
    let mut known = types.iter().filter(|of| **of != Type::Any);
    let first = known.next().unwrap_or(&Type::Any);
    known.try_fold(first.clone(), |common, of| unify_two(&common, of))
}

fn unify_two(one: &Type, two: &Type) -> Option<Type> {
    if one == two {
        return Some(one.clone());
    }
    match (one, two) {
        (Type::Any, other) | (other, Type::Any) => Some(other.clone()),
        (Type::String, other) | (other, Type::String) if other.is_primitive() => Some(Type::String),
        (Type::List(one), Type::List(two)) => Some(Type::List(unify_two(one, two)?.into())),
        (Type::Set(one), Type::Set(two)) => Some(Type::Set(unify_two(one, two)?.into())),
        (Type::Map(one), Type::Map(two)) => Some(Type::Map(unify_two(one, two)?.into())),
        (Type::List(one), Type::Set(two)) | (Type::Set(one), Type::List(two)) => {
            Some(Type::List(unify_two(one, two)?.into()))
        }
        (Type::List(item), Type::Tuple(items)) | (Type::Tuple(items), Type::List(item)) => {
            Some(Type::List(unify_with(item, items.iter())?.into()))
        }
        (Type::Set(item), Type::Tuple(items)) | (Type::Tuple(items), Type::Set(item)) => {
            Some(Type::Set(unify_with(item, items.iter())?.into()))
        }
        (Type::Map(item), Type::Object(fields)) | (Type::Object(fields), Type::Map(item)) => {
            Some(Type::Map(unify_with(item, fields.values())?.into()))
        }
        (Type::Tuple(one), Type::Tuple(two)) if one.len() == two.len() => {
            let items: Option<Vec<Type>> = one
                .iter()
                .zip(two.iter())
                .map(|(one, two)| unify_two(one, two))
                .collect();
            Some(Type::Tuple(items?.into()))
        }
        (Type::Tuple(one), Type::Tuple(two)) => {
            Some(Type::List(unify_with(&Type::Any, one.iter().chain(two.iter()))?.into()))
        }
        (Type::Object(one), Type::Object(two)) if one.keys().eq(two.keys()) => {
            let fields: Option<BTreeMap<Arc<str>, Type>> = one
                .iter()
                .zip(two.values())
                .map(|((name, one), two)| Some((name.clone(), unify_two(one, two)?)))
                .collect();
            Some(Type::Object(Arc::new(fields?)))
        }
        (Type::Object(one), Type::Object(two)) => Some(Type::Map(
            unify_with(&Type::Any, one.values().chain(two.values()))?.into(),
        )),
        _ => None,
    }
}

fn unify_with<'a>(start: &Type, mut types: impl Iterator<Item = &'a Type>) -> Option<Type> {
    types.try_fold(start.clone(), |common, of| unify_two(&common, of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primitives_convert_to_text_and_back() {
        assert_eq!(convert(&Value::integer(5), &Type::String), Ok(Value::string("5")));
        assert_eq!(convert(&Value::string("5"), &Type::Number), Ok(Value::integer(5)));
        assert_eq!(convert(&Value::string("1"), &Type::Bool), Ok(Value::Bool(true)));
        let error = convert(&Value::string("five"), &Type::Number).expect_err("no number");
        assert_eq!(error.message, "a number is required");
        let error = convert(&Value::integer(1), &Type::Bool).expect_err("no bool");
        assert_eq!(error.message, "bool required, but have number");
    }

    #[test]
    fn errors_name_the_element() {
        let mut entries = Entries::new();
        entries.insert("foo".into(), Value::tuple(vec![]));
        let error = convert(&Value::object(entries), &Type::Map(Type::String.into())).expect_err("no string");
        assert_eq!(error.message, "element \"foo\": string required, but have tuple");
    }

    #[test]
    fn objects_may_do_without_optional_attributes() {
        let inner = Type::Object(Arc::new(BTreeMap::from([(
            "x".into(),
            Type::Optional(Type::Number.into()),
        )])));
        let wanted = Type::Object(Arc::new(BTreeMap::from([
            ("a".into(), Type::String),
            ("b".into(), Type::Optional(inner.into())),
        ])));
        let object = |entries: &[(&str, Value)]| {
            Value::object(
                entries
                    .iter()
                    .map(|(name, value)| ((*name).into(), value.clone()))
                    .collect(),
            )
        };
        let without = convert(&object(&[("a", Value::integer(1))]), &wanted).expect("fits");
        assert_eq!(without.type_of(), wanted.of_values());
        let with = object(&[("a", Value::string("")), ("b", object(&[("x", Value::string("2"))]))]);
        let list = convert(&Value::tuple(vec![without, with]), &Type::List(wanted.clone().into())).expect("fits");
        assert_eq!(list.type_of(), Type::List(wanted.of_values().into()));
        let error = convert(&object(&[]), &wanted).expect_err("a is missing");
        assert_eq!(error.message, "attribute \"a\" is required");
    }

    #[test]
    fn types_in_common() {
        assert_eq!(unify(&[Type::Number, Type::String]), Some(Type::String));
        assert_eq!(unify(&[Type::Number, Type::Bool]), None);
        let pair: Type = Type::Tuple([Type::Number, Type::Number].into());
        let single = Type::Tuple([Type::String].into());
        assert_eq!(unify(&[pair, single]), Some(Type::List(Type::String.into())));
    }
}
