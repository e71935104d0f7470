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
    let pattern = Regex::new(&translated(call.text(number)?)).map_err(|error| {
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

/// A pattern of RE2 as one of the library here, where the two mean different things by the same letters.
fn translated(pattern: &str) -> String {
    let mut result = String::new();
    let mut rest = pattern;
    // How many letters of a class in brackets were read; None outside of one.
    let mut class: Option<usize> = None;
    while let Some(letter) = rest.chars().next() {
        let behind = &rest[letter.len_utf8()..];
        let mut length = letter.len_utf8();
        let inside = class;
        if let Some(count) = &mut class {
            *count += 1;
        }
        match (letter, inside) {
            ('\\', _) => {
                let (written, read) = translated_escape(behind, inside.is_some());
                result.push_str(&written);
                length += read;
            }
            ('[', None) => {
                class = Some(0);
                result.push('[');
                if behind.starts_with('^') {
                    result.push('^');
                    length += 1;
                }
            }
            // A bracket that closes nothing yet stands for itself.
            (']', Some(1..)) => {
                class = None;
                result.push(']');
            }
            ('[', Some(_)) if behind.starts_with(':') => match behind.find(":]") {
                Some(end) => {
                    length += end + 2;
                    result.push_str(&rest[..length]);
                }
                None => result.push_str("\\["),
            },
            // Classes are not computed with.
            ('[' | '&' | '~' | ']', Some(_)) => {
                result.push('\\');
                result.push(letter);
            }
            ('-', Some(_)) if behind.starts_with('-') => {
                result.push_str("-\\-");
                length += 1;
            }
            ('{', None) if !is_repetition(behind) => result.push_str("\\{"),
            (letter, _) => result.push(letter),
        }
        rest = &rest[length..];
    }
    result
}

/// What follows a backslash, and how many bytes of it were read. Digits, words and spaces are those of ASCII.
fn translated_escape(behind: &str, in_class: bool) -> (String, usize) {
    const DIGIT: &str = "0-9";
    const WORD: &str = "0-9A-Za-z_";
    const SPACE: &str = "\\t\\n\\f\\r ";
    let Some(letter) = behind.chars().next() else {
        return ("\\".to_owned(), 0);
    };
    let of_class = |members: &str| match in_class {
        true => members.to_owned(),
        false => format!("[{members}]"),
    };
    let written = match letter {
        'Q' => {
            let quoted = &behind[1..];
            let end = quoted.find("\\E");
            let read = end.map_or(behind.len(), |end| end + 3);
            return (regex::escape(&quoted[..end.unwrap_or(quoted.len())]), read);
        }
        'd' => of_class(DIGIT),
        'w' => of_class(WORD),
        's' => of_class(SPACE),
        'D' => format!("[^{DIGIT}]"),
        'W' => format!("[^{WORD}]"),
        'S' => format!("[^{SPACE}]"),
        'b' if !in_class => "(?-u:\\b)".to_owned(),
        '<' | '>' => letter.to_string(),
        'p' | 'P' | 'x' if behind[1..].starts_with('{') => {
            let read = behind.find('}').map_or(behind.len(), |end| end + 1);
            return (format!("\\{}", &behind[..read]), read);
        }
        letter => format!("\\{letter}"),
    };
    (written, letter.len_utf8())
}

/// Whether `2}`, `2,}` or `2,3}` follows a brace. Any other brace stands for itself.
fn is_repetition(behind: &str) -> bool {
    let Some((inner, _)) = behind.split_once('}') else {
        return false;
    };
    let (least, most) = inner.split_once(',').unwrap_or((inner, ""));
    let digits = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
    !least.is_empty() && digits(least) && digits(most)
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
