//! The library of functions, with the peer's names and behaviour.
//!
//! `try`, `can` and `convert` see their arguments unevaluated, so the evaluator has them; everything else is a row of
//! the tables here.

mod cidr;
mod collections;
mod crypto;
mod encoding;
mod format;
mod logic;
mod numbers;
mod regular;
mod semver;
mod sets;
#[cfg(test)]
mod tests;
pub(crate) mod text;
mod time;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::value::{Type, Value};

pub use text::clean_path;

/// What functions learn of the world. The library reads neither clock nor environment itself.
#[derive(Clone)]
pub struct Host {
    /// Seconds since 1970 (UTC).
    pub now: i64,
    /// The user's home directory.
    pub home: Option<String>,
    /// Fills a buffer with random bytes.
    pub random: fn(&mut [u8]),
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("now", &self.now).finish_non_exhaustive()
    }
}

/// A function.
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// What it must be given.
    pub parameters: &'static [Parameter],
    /// What it may be given further.
    pub rest: Option<Parameter>,
    /// What it does.
    pub run: fn(&Call<'_>) -> Outcome,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Function")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A parameter.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Its name, for errors.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Whether null is taken.
    pub nullable: bool,
}

/// What a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Anything.
    Any,
    /// Text.
    String,
    /// A number.
    Number,
    /// True or false.
    Bool,
    /// A list of one type.
    List,
    /// A list of text.
    Strings,
    /// A set.
    Set,
}

impl Kind {
    /// The type that arguments are converted to.
    pub fn wanted(self) -> Type {
        match self {
            Kind::Any => Type::Any,
            Kind::String => Type::String,
            Kind::Number => Type::Number,
            Kind::Bool => Type::Bool,
            Kind::List => Type::List(Type::Any.into()),
            Kind::Strings => Type::List(Type::String.into()),
            Kind::Set => Type::Set(Type::Any.into()),
        }
    }
}

/// What a function is called with: as many arguments as its parameters want, of their types.
#[derive(Debug)]
pub struct Call<'a> {
    /// The arguments.
    pub arguments: &'a [Value],
    /// The world.
    pub host: &'a Host,
    /// How many bytes the result may take.
    pub room: usize,
}

/// What a function gives.
pub type Outcome = Result<Value, FunctionError>;

/// Why a function failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionError {
    /// Which argument is wrong, if one is.
    pub argument: Option<usize>,
    /// What is wrong.
    pub message: String,
}

impl FunctionError {
    fn at(argument: usize, message: impl Into<String>) -> FunctionError {
        FunctionError {
            argument: Some(argument),
            message: message.into(),
        }
    }
}

impl From<String> for FunctionError {
    fn from(message: String) -> FunctionError {
        FunctionError {
            argument: None,
            message,
        }
    }
}

impl From<&str> for FunctionError {
    fn from(message: &str) -> FunctionError {
        FunctionError::from(message.to_owned())
    }
}

impl Call<'_> {
    fn value(&self, number: usize) -> Result<&Value, FunctionError> {
        self.arguments
            .get(number)
            .ok_or_else(|| FunctionError::from("an argument is missing"))
    }

    fn text(&self, number: usize) -> Result<&str, FunctionError> {
        self.value(number)?
            .as_str()
            .ok_or_else(|| FunctionError::at(number, "string required"))
    }

    fn number(&self, number: usize) -> Result<&crate::value::Number, FunctionError> {
        match self.value(number)? {
            Value::Number(value) => Ok(value),
            _ => Err(FunctionError::at(number, "number required")),
        }
    }

    fn integer(&self, number: usize) -> Result<i64, FunctionError> {
        self.number(number)?
            .to_i64()
            .ok_or_else(|| FunctionError::at(number, "a whole number is required"))
    }

    fn boolean(&self, number: usize) -> Result<bool, FunctionError> {
        match self.value(number)? {
            Value::Bool(value) => Ok(*value),
            _ => Err(FunctionError::at(number, "bool required")),
        }
    }

    fn items(&self, number: usize) -> Result<&[Value], FunctionError> {
        self.value(number)?
            .items()
            .map(|items| items.as_slice())
            .ok_or_else(|| FunctionError::at(number, "a list is required"))
    }

    /// The strings of a list; nulls are refused.
    fn strings(&self, number: usize) -> Result<Vec<&str>, FunctionError> {
        self.items(number)?
            .iter()
            .enumerate()
            .map(|(position, item)| {
                item.as_str()
                    .ok_or_else(|| FunctionError::at(number, format!("element {position} is null; cannot use it here")))
            })
            .collect()
    }

    /// Refuses a result that would be too large, before it is made.
    fn make_room(&self, bytes: Option<usize>) -> Result<(), FunctionError> {
        match bytes {
            Some(bytes) if bytes <= self.room => Ok(()),
            _ => Err("the result is too large".into()),
        }
    }
}

const fn parameter(name: &'static str, kind: Kind) -> Parameter {
    Parameter {
        name,
        kind,
        nullable: false,
    }
}

const fn nullable(name: &'static str, kind: Kind) -> Parameter {
    Parameter {
        name,
        kind,
        nullable: true,
    }
}

const fn function(name: &'static str, parameters: &'static [Parameter], run: fn(&Call<'_>) -> Outcome) -> Function {
    Function {
        name,
        parameters,
        rest: None,
        run,
    }
}

const fn variadic(
    name: &'static str,
    parameters: &'static [Parameter],
    rest: Parameter,
    run: fn(&Call<'_>) -> Outcome,
) -> Function {
    Function {
        name,
        parameters,
        rest: Some(rest),
        run,
    }
}

/// Functions of the evaluator: their names are taken.
const LAZY: [&str; 3] = ["try", "can", "convert"];

static TABLE: LazyLock<HashMap<&'static str, &'static Function>> = LazyLock::new(|| {
    let tables: [&'static [Function]; 12] = [
        cidr::FUNCTIONS,
        collections::FUNCTIONS,
        crypto::FUNCTIONS,
        encoding::FUNCTIONS,
        format::FUNCTIONS,
        logic::FUNCTIONS,
        numbers::FUNCTIONS,
        regular::FUNCTIONS,
        semver::FUNCTIONS,
        sets::FUNCTIONS,
        text::FUNCTIONS,
        time::FUNCTIONS,
    ];
    let all = tables.into_iter().flatten();
    all.map(|function| (function.name, function)).collect()
});

/// The function of a name.
pub fn find(name: &str) -> Option<&'static Function> {
    TABLE.get(name).copied()
}

/// Names of all functions.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.keys().copied().chain(LAZY)
}

/// Whether a name is a function's.
pub fn exists(name: &str) -> bool {
    LAZY.contains(&name) || TABLE.contains_key(name)
}
