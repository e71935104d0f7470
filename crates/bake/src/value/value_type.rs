//! Types.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The type of a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Type {
    /// Any type: of a null that nobody gave one, and in type constraints.
    Any,
    /// Text.
    String,
    /// A number.
    Number,
    /// True or false.
    Bool,
    /// Any number of values of one type.
    List(Arc<Type>),
    /// Different values of one type.
    Set(Arc<Type>),
    /// Values of one type by name.
    Map(Arc<Type>),
    /// Values of these types.
    Tuple(Arc<[Type]>),
    /// Values of these types by name.
    Object(Arc<BTreeMap<Arc<str>, Type>>),
    /// Of an attribute that an object may do without. It stands only in type constraints: no value is of this type.
    Optional(Arc<Type>),
}

impl Type {
    /// How errors call it.
    pub fn friendly(&self) -> String {
        match self {
            Type::Any => "dynamic".to_owned(),
            Type::String => "string".to_owned(),
            Type::Number => "number".to_owned(),
            Type::Bool => "bool".to_owned(),
            Type::List(item) => format!("list of {}", item.friendly()),
            Type::Set(item) => format!("set of {}", item.friendly()),
            Type::Map(item) => format!("map of {}", item.friendly()),
            Type::Tuple(_) => "tuple".to_owned(),
            Type::Object(_) => "object".to_owned(),
            Type::Optional(of) => of.friendly(),
        }
    }

    /// How errors call what it asks for.
    pub fn friendly_constraint(&self) -> String {
        match self {
            Type::Any => "any type".to_owned(),
            Type::Optional(of) => of.friendly_constraint(),
            Type::List(item) if **item == Type::Any => "list of any single type".to_owned(),
            Type::Set(item) if **item == Type::Any => "set of any single type".to_owned(),
            Type::Map(item) if **item == Type::Any => "map of any single type".to_owned(),
            other => other.friendly(),
        }
    }

    /// Whether it is text, a number or a boolean.
    pub fn is_primitive(&self) -> bool {
        matches!(self, Type::String | Type::Number | Type::Bool)
    }

    /// As it is written in a definition.
    pub fn written(&self) -> String {
        match self {
            Type::Any => "any".to_owned(),
            Type::List(item) => format!("list({})", item.written()),
            Type::Set(item) => format!("set({})", item.written()),
            Type::Map(item) => format!("map({})", item.written()),
            Type::Tuple(items) => {
                let items: Vec<String> = items.iter().map(Type::written).collect();
                format!("tuple([{}])", items.join(","))
            }
            Type::Object(entries) => {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|(name, of)| format!("{name}={}", of.written()))
                    .collect();
                format!("object({{{}}})", entries.join(","))
            }
            Type::Optional(of) => of.written(),
            primitive => primitive.friendly(),
        }
    }

    /// The type of values that fit a constraint.
    pub fn of_values(&self) -> Type {
        match self {
            Type::Any | Type::String | Type::Number | Type::Bool => self.clone(),
            Type::List(item) => Type::List(item.of_values().into()),
            Type::Set(item) => Type::Set(item.of_values().into()),
            Type::Map(item) => Type::Map(item.of_values().into()),
            Type::Tuple(items) => Type::Tuple(items.iter().map(Type::of_values).collect()),
            Type::Object(entries) => {
                let entries = entries.iter().map(|(name, of)| (name.clone(), of.of_values()));
                Type::Object(Arc::new(entries.collect()))
            }
            Type::Optional(of) => of.of_values(),
        }
    }
}
