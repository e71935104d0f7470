//! Values and types, as the peer's language has them: `go-cty`'s, of which bake files only ever see known values.

mod convert;
mod decimal;
mod json;
mod number;
mod value_type;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use unicode_normalization::UnicodeNormalization;

pub use convert::{ConversionError, convert, convert_all_to_one, mismatch, unify};
pub(crate) use decimal::Decimal;
pub use json::{decode as decode_json, encode as encode_json};
pub use number::Number;
pub use value_type::Type;

/// Named values.
pub type Entries = BTreeMap<Arc<str>, Value>;

/// A value. Cloning shares its content.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// No value, of a type.
    Null(Type),
    /// Text, in Unicode's composed form.
    String(Arc<str>),
    /// A number.
    Number(Number),
    /// True or false.
    Bool(bool),
    /// Any number of values of one type.
    List(Type, Arc<Vec<Value>>),
    /// Different values of one type, sorted.
    Set(Type, Arc<Vec<Value>>),
    /// Values of one type by name.
    Map(Type, Arc<Entries>),
    /// Values of any types.
    Tuple(Arc<Vec<Value>>),
    /// Values of any types by name.
    Object(Arc<Entries>),
}

/// Text in the form in which all strings are kept.
pub fn normalized(text: &str) -> Arc<str> {
    if text.is_ascii() {
        text.into()
    } else {
        text.nfc().collect::<String>().into()
    }
}

impl Value {
    /// A string.
    pub fn string(text: &str) -> Value {
        Value::String(normalized(text))
    }

    /// A whole number.
    pub fn integer(number: i64) -> Value {
        Value::Number(Number::from(number))
    }

    /// A list of strings.
    pub fn strings<'a>(items: impl IntoIterator<Item = &'a str>) -> Value {
        Value::List(Type::String, Arc::new(items.into_iter().map(Value::string).collect()))
    }

    /// A list; values of other types are the caller's mistake and are not checked.
    pub fn list(item: Type, items: Vec<Value>) -> Value {
        Value::List(item, Arc::new(items))
    }

    /// A tuple.
    pub fn tuple(items: Vec<Value>) -> Value {
        Value::Tuple(Arc::new(items))
    }

    /// An object.
    pub fn object(entries: Entries) -> Value {
        Value::Object(Arc::new(entries))
    }

    /// A set: sorted, each value once.
    pub fn set(item: Type, mut items: Vec<Value>) -> Value {
        items.sort_by(Value::order);
        items.dedup();
        Value::Set(item, Arc::new(items))
    }

    /// Its type.
    pub fn type_of(&self) -> Type {
        match self {
            Value::Null(of) => of.clone(),
            Value::String(_) => Type::String,
            Value::Number(_) => Type::Number,
            Value::Bool(_) => Type::Bool,
            Value::List(item, _) => Type::List(item.clone().into()),
            Value::Set(item, _) => Type::Set(item.clone().into()),
            Value::Map(item, _) => Type::Map(item.clone().into()),
            Value::Tuple(items) => Type::Tuple(items.iter().map(Value::type_of).collect()),
            Value::Object(entries) => Type::Object(Arc::new(
                entries
                    .iter()
                    .map(|(name, value)| (name.clone(), value.type_of()))
                    .collect(),
            )),
        }
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null(_))
    }

    /// Its text, if it is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Items of a list, set or tuple.
    pub fn items(&self) -> Option<&Arc<Vec<Value>>> {
        match self {
            Value::List(_, items) | Value::Set(_, items) | Value::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// Entries of a map or object.
    pub fn entries(&self) -> Option<&Arc<Entries>> {
        match self {
            Value::Map(_, entries) | Value::Object(entries) => Some(entries),
            _ => None,
        }
    }

    /// How many items or entries it has; None if it is no collection.
    pub fn length(&self) -> Option<usize> {
        self.items()
            .map(|items| items.len())
            .or_else(|| self.entries().map(|entries| entries.len()))
    }

    /// Keys and values to go through; None if it is no collection. The key of a set's item is the item.
    pub fn pairs(&self) -> Option<Vec<(Value, Value)>> {
        match self {
            Value::Set(_, items) => Some(items.iter().map(|item| (item.clone(), item.clone())).collect()),
            Value::List(_, items) | Value::Tuple(items) => Some(
                items
                    .iter()
                    .enumerate()
                    .map(|(number, item)| (Value::integer(number as i64), item.clone()))
                    .collect(),
            ),
            Value::Map(_, entries) | Value::Object(entries) => Some(
                entries
                    .iter()
                    .map(|(name, value)| (Value::String(name.clone()), value.clone()))
                    .collect(),
            ),
            _ => None,
        }
    }

    /// The order of a set's items: numbers by size, text by its bytes, anything else by what it consists of.
    pub fn order(&self, other: &Value) -> Ordering {
        let rank = |value: &Value| match value {
            Value::Null(_) => 0,
            Value::Bool(_) => 1,
            Value::Number(_) => 2,
            Value::String(_) => 3,
            Value::List(..) | Value::Tuple(_) | Value::Set(..) => 4,
            Value::Map(..) | Value::Object(_) => 5,
        };
        match (self, other) {
            (Value::Bool(one), Value::Bool(two)) => one.cmp(two),
            (Value::Number(one), Value::Number(two)) => one.cmp(two),
            (Value::String(one), Value::String(two)) => one.cmp(two),
            _ => match (self.items(), other.items(), self.entries(), other.entries()) {
                (Some(one), Some(two), ..) => {
                    let different = one.iter().zip(two.iter()).map(|(one, two)| one.order(two));
                    different
                        .into_iter()
                        .find(|order| order.is_ne())
                        .unwrap_or_else(|| one.len().cmp(&two.len()))
                }
                (_, _, Some(one), Some(two)) => {
                    let different = one
                        .iter()
                        .zip(two.iter())
                        .map(|(one, two)| one.0.cmp(two.0).then_with(|| one.1.order(two.1)));
                    different
                        .into_iter()
                        .find(|order| order.is_ne())
                        .unwrap_or_else(|| one.len().cmp(&two.len()))
                }
                _ => rank(self).cmp(&rank(other)),
            },
        }
    }

    /// Whether both are the same: types count, except that one null is as good as another.
    pub fn same(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Null(_), Value::Null(_)) => true,
            (Value::Tuple(one), Value::Tuple(two)) | (Value::List(_, one), Value::List(_, two)) => {
                one.len() == two.len() && one.iter().zip(two.iter()).all(|(one, two)| one.same(two))
            }
            (Value::Set(_, one), Value::Set(_, two)) => one == two,
            (Value::Object(one), Value::Object(two)) | (Value::Map(_, one), Value::Map(_, two)) => {
                one.len() == two.len()
                    && one
                        .iter()
                        .zip(two.iter())
                        .all(|(one, two)| one.0 == two.0 && one.1.same(two.1))
            }
            _ => self == other,
        }
    }

    /// About how many bytes it takes: what bounds how much an evaluation may make.
    pub fn weight(&self) -> usize {
        match self {
            Value::Null(_) | Value::Bool(_) | Value::Number(_) => 16,
            Value::String(text) => 16 + text.len(),
            Value::List(_, items) | Value::Set(_, items) | Value::Tuple(items) => 32 * items.len(),
            Value::Map(_, entries) | Value::Object(entries) => entries.keys().map(|name| name.len() + 48).sum(),
        }
    }
}
