//! Text. Lengths and positions count grapheme clusters, as people do.

use unicode_segmentation::UnicodeSegmentation;

use crate::value::Value;

use super::{Call, Function, FunctionError, Kind, Outcome, function, parameter, variadic};

pub(super) const FUNCTIONS: &[Function] = &[
    function("chomp", &STR, |call| {
        Ok(Value::string(call.text(0)?.trim_end_matches(['\n', '\r'])))
    }),
    function(
        "indent",
        &[parameter("spaces", Kind::Number), parameter("str", Kind::String)],
        indent,
    ),
    variadic(
        "join",
        &[parameter("separator", Kind::String)],
        parameter("lists", Kind::Strings),
        join,
    ),
    function("lower", &STR, |call| Ok(Value::string(&lower(call.text(0)?)))),
    function("upper", &STR, |call| Ok(Value::string(&upper(call.text(0)?)))),
    function("title", &STR, |call| Ok(Value::string(&title(call.text(0)?)))),
    function(
        "replace",
        &[
            parameter("str", Kind::String),
            parameter("substr", Kind::String),
            parameter("replace", Kind::String),
        ],
        replace,
    ),
    function("reverse", &STR, |call| {
        Ok(Value::string(&call.text(0)?.graphemes(true).rev().collect::<String>()))
    }),
    function(
        "split",
        &[parameter("separator", Kind::String), parameter("str", Kind::String)],
        split,
    ),
    function("strlen", &STR, |call| {
        Ok(Value::integer(call.text(0)?.graphemes(true).count() as i64))
    }),
    function(
        "substr",
        &[
            parameter("str", Kind::String),
            parameter("offset", Kind::Number),
            parameter("length", Kind::Number),
        ],
        substring,
    ),
    function(
        "trim",
        &[parameter("str", Kind::String), parameter("cutset", Kind::String)],
        |call| {
            let cut: Vec<char> = call.text(1)?.chars().collect();
            Ok(Value::string(call.text(0)?.trim_matches(cut.as_slice())))
        },
    ),
    function(
        "trimprefix",
        &[parameter("str", Kind::String), parameter("prefix", Kind::String)],
        |call| {
            let text = call.text(0)?;
            Ok(Value::string(text.strip_prefix(call.text(1)?).unwrap_or(text)))
        },
    ),
    function(
        "trimsuffix",
        &[parameter("str", Kind::String), parameter("suffix", Kind::String)],
        |call| {
            let text = call.text(0)?;
            Ok(Value::string(text.strip_suffix(call.text(1)?).unwrap_or(text)))
        },
    ),
    function("trimspace", &STR, |call| Ok(Value::string(call.text(0)?.trim()))),
    function("basename", &[parameter("path", Kind::String)], |call| {
        Ok(Value::string(base_name(call.text(0)?)))
    }),
    function("dirname", &[parameter("path", Kind::String)], |call| {
        let path = call.text(0)?;
        let directory = path.rfind('/').map_or("", |slash| &path[..=slash]);
        Ok(Value::string(&clean_path(directory)))
    }),
    function("homedir", &[], |call| match &call.host.home {
        Some(home) => Ok(Value::string(home)),
        None => Err("the user has no home directory".into()),
    }),
    function("sanitize", &[parameter("name", Kind::String)], |call| {
        let fine = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
        let replaced = call
            .text(0)?
            .chars()
            .map(|letter| if fine(letter) { letter } else { '_' });
        Ok(Value::string(&replaced.collect::<String>()))
    }),
];

const STR: [super::Parameter; 1] = [parameter("str", Kind::String)];

/// Letters that have no single counterpart stay as they are.
fn map_letters<I: Iterator<Item = char>>(text: &str, map: impl Fn(char) -> I) -> String {
    text.chars()
        .map(|letter| {
            let mut mapped = map(letter);
            match (mapped.next(), mapped.next()) {
                (Some(single), None) => single,
                _ => letter,
            }
        })
        .collect()
}

fn lower(text: &str) -> String {
    map_letters(text, char::to_lowercase)
}

fn upper(text: &str) -> String {
    map_letters(text, char::to_uppercase)
}

/// The first letter of each word as a capital.
fn title(text: &str) -> String {
    let mut before = ' ';
    text.chars()
        .map(|letter| {
            let separated = if before.is_ascii() {
                !before.is_ascii_alphanumeric() && before != '_'
            } else {
                before.is_whitespace()
            };
            before = letter;
            if separated {
                let mut mapped = letter.to_uppercase();
                match (mapped.next(), mapped.next()) {
                    (Some(single), None) => single,
                    _ => letter,
                }
            } else {
                letter
            }
        })
        .collect()
}

fn indent(call: &Call<'_>) -> Outcome {
    let spaces = usize::try_from(call.integer(0)?).map_err(|_| FunctionError::at(0, "must not be negative"))?;
    let text = call.text(1)?;
    let lines = text.matches('\n').count();
    call.make_room(lines.checked_mul(spaces).and_then(|more| more.checked_add(text.len())))?;
    Ok(Value::string(&text.replace('\n', &format!("\n{}", " ".repeat(spaces)))))
}

fn join(call: &Call<'_>) -> Outcome {
    let separator = call.text(0)?;
    if call.arguments.len() < 2 {
        return Err("at least one list is required".into());
    }
    let mut parts = Vec::new();
    for list in 1..call.arguments.len() {
        parts.extend(call.strings(list)?);
    }
    let text: usize = parts.iter().map(|part| part.len()).sum();
    call.make_room(
        parts
            .len()
            .checked_mul(separator.len())
            .and_then(|more| more.checked_add(text)),
    )?;
    Ok(Value::string(&parts.join(separator)))
}

fn replace(call: &Call<'_>) -> Outcome {
    let (text, old, new) = (call.text(0)?, call.text(1)?, call.text(2)?);
    let times = if old.is_empty() {
        text.chars().count() + 1
    } else {
        text.matches(old).count()
    };
    call.make_room(
        times
            .checked_mul(new.len())
            .and_then(|more| more.checked_add(text.len())),
    )?;
    Ok(Value::string(&text.replace(old, new)))
}

fn split(call: &Call<'_>) -> Outcome {
    let (separator, text) = (call.text(0)?, call.text(1)?);
    call.make_room(text.len().checked_mul(16))?;
    if text.is_empty() {
        return Ok(Value::strings(if separator.is_empty() { vec![] } else { vec![""] }));
    }
    if separator.is_empty() {
        let letters: Vec<String> = text.chars().map(String::from).collect();
        return Ok(Value::strings(letters.iter().map(String::as_str)));
    }
    Ok(Value::strings(text.split(separator)))
}

fn substring(call: &Call<'_>) -> Outcome {
    let clusters: Vec<&str> = call.text(0)?.graphemes(true).collect();
    let (offset, length) = (call.integer(1)?, call.integer(2)?);
    let total = clusters.len() as i64;
    // What would begin before the text begins with it.
    let start = if offset < 0 {
        offset.saturating_add(total).max(0)
    } else {
        offset
    };
    if start >= total || length == 0 {
        return Ok(Value::string(""));
    }
    let end = if length < 0 {
        total
    } else {
        start.saturating_add(length).min(total)
    };
    let range = start as usize..end as usize;
    Ok(Value::string(&clusters.get(range).unwrap_or_default().concat()))
}

/// The last element of a path, as Go's `path.Base` has it.
fn base_name(path: &str) -> &str {
    if path.is_empty() {
        return ".";
    }
    let path = path.trim_end_matches('/');
    if path.is_empty() {
        return "/";
    }
    path.rsplit('/').next().unwrap_or(path)
}

/// The shortest path that means the same, as Go's `path.Clean` has it.
pub fn clean_path(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if kept.last().is_some_and(|last| *last != "..") => _ = kept.pop(),
            ".." if rooted => {}
            part => kept.push(part),
        }
    }
    let joined = kept.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}
