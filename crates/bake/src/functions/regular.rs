//! Regular expressions, in RE2's language.

use std::sync::Arc;

use regex::{Captures, Regex};

use crate::value::{Entries, Type, Value};

use super::{Call, Function, FunctionError, Kind, function, parameter};

pub(super) const FUNCTIONS: &[Function] = &[
    function("regex", &PATTERN, |call| {
        let pattern = compiled(call, 0)?;
        let found = pattern.captures(call.text(1)?);
        let found = found.ok_or("pattern did not match any part of the given string")?;
        Ok(captured(&pattern, &found))
    }),
    function("regexall", &PATTERN, |call| {
        let pattern = compiled(call, 0)?;
        let text = call.text(1)?;
        call.make_room(text.len().checked_mul(32 * pattern.captures_len()))?;
        let all: Vec<Value> = pattern
            .captures_iter(text)
            .map(|found| captured(&pattern, &found))
            .collect();
        let of = all.first().map_or_else(|| empty(&pattern), Value::type_of);
        Ok(Value::list(of, all))
    }),
    function(
        "regex_replace",
        &[
            parameter("str", Kind::String),
            parameter("pattern", Kind::String),
            parameter("replace", Kind::String),
        ],
        |call| {
            let pattern = compiled(call, 1)?;
            let (text, replacement) = (call.text(0)?, call.text(2)?);
            let times = pattern.find_iter(text).count();
            // A reference is at least two characters and stands for no more than the whole text.
            let longest = replacement.len().checked_mul(text.len().max(1));
            call.make_room(longest.and_then(|longest| longest.min(call.room).checked_mul(times.max(1))))?;
            Ok(Value::string(&pattern.replace_all(text, replacement)))
        },
    ),
];

const PATTERN: [super::Parameter; 2] = [parameter("pattern", Kind::String), parameter("string", Kind::String)];

fn compiled(call: &Call<'_>, number: usize) -> Result<Regex, FunctionError> {
    let pattern = Regex::new(&unquoted(call.text(number)?)).map_err(|error| {
        let message = error.to_string();
        let last = message.lines().last().unwrap_or_default().to_owned();
        FunctionError::at(number, format!("invalid regexp pattern: {last}"))
    })?;
    let named = pattern.capture_names().flatten().count();
    if named > 0 && named + 1 != pattern.captures_len() {
        let message = "invalid regexp pattern: cannot mix both named and unnamed capture groups";
        return Err(FunctionError::at(number, message));
    }
    Ok(pattern)
}

/// `\Q…\E` takes the text in it literally.
fn unquoted(pattern: &str) -> String {
    let mut result = String::new();
    let mut rest = pattern;
    while let Some(start) = rest.find("\\Q") {
        // `\\Q` is a backslash and the letter Q.
        let slashes = rest[..start].len() - rest[..start].trim_end_matches('\\').len();
        if slashes % 2 == 1 {
            result.push_str(&rest[..start + 2]);
            rest = &rest[start + 2..];
            continue;
        }
        result.push_str(&rest[..start]);
        let quoted = &rest[start + 2..];
        let end = quoted.find("\\E");
        result.push_str(&regex::escape(&quoted[..end.unwrap_or(quoted.len())]));
        rest = end.map_or("", |end| &quoted[end + 2..]);
    }
    result.push_str(rest);
    result
}

/// Without groups the match; else a tuple of the groups, or an object if they have names.
fn captured(pattern: &Regex, found: &Captures<'_>) -> Value {
    let group = |number: usize| match found.get(number) {
        Some(text) => Value::string(text.as_str()),
        None => Value::Null(Type::String),
    };
    if pattern.captures_len() == 1 {
        return group(0);
    }
    let names: Vec<Option<&str>> = pattern.capture_names().skip(1).collect();
    if names.iter().all(Option::is_some) {
        let entries: Entries = names
            .into_iter()
            .flatten()
            .enumerate()
            .map(|(number, name)| (Arc::from(name), group(number + 1)))
            .collect();
        return Value::object(entries);
    }
    Value::tuple((1..pattern.captures_len()).map(group).collect())
}

fn empty(pattern: &Regex) -> Type {
    if pattern.captures_len() == 1 {
        Type::String
    } else {
        Type::Any
    }
}
