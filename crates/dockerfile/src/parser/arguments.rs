//! How each instruction's arguments are split.

use crate::ast::{Escape, Node};
use crate::diagnostic::SyntaxError;
use crate::parser::new_node;

/// Leading `--name=value` words, and what follows them.
pub(crate) fn flags(text: &str) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if !rest.starts_with("--") {
            return (flags, rest);
        }
        let (word, after) = flag_word(rest);
        rest = after;
        if word == "--" {
            return (flags, rest);
        }
        if !word.is_empty() {
            flags.push(word);
        }
    }
}

/// One word with quotes and backslashes taken away, and what follows.
fn flag_word(text: &str) -> (String, &str) {
    let mut word = String::new();
    let mut quote: Option<char> = None;
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match (quote, letter) {
            (None, letter) if letter.is_whitespace() => return (word, &text[at..]),
            (None, '\'' | '"') => quote = Some(letter),
            (Some(open), letter) if letter == open => quote = None,
            (_, '\\') => word.extend(letters.next().map(|(_, escaped)| escaped)),
            (_, letter) => word.push(letter),
        }
    }
    (word, "")
}

/// Words that keep their quotes and escapes.
pub fn split_words(text: &str, escape: Escape) -> Vec<String> {
    let escape = escape.character();
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote: Option<char> = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if quote.is_none() && letter.is_whitespace() {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            continue;
        }
        if letter == escape && quote != Some('\'') {
            // At the very end it is nothing.
            if let Some(escaped) = letters.next() {
                word.extend([letter, escaped]);
            }
            continue;
        }
        match quote {
            None if matches!(letter, '\'' | '"') => quote = Some(letter),
            Some(open) if open == letter => quote = None,
            _ => {}
        }
        word.push(letter);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// The strings of a JSON array. `Ok(None)`: the text is no JSON array; an error: it is one of other things.
pub fn json_words(text: &str) -> Result<Option<Vec<String>>, SyntaxError> {
    let text = text.trim();
    if !text.starts_with('[') {
        return Ok(None);
    }
    // Anything behind the array makes the whole a text for the shell.
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else {
        return Ok(None);
    };
    let strings: Option<Vec<String>> = values
        .into_iter()
        .map(|value| value.as_str().map(str::to_owned))
        .collect();
    let message = "when using JSON array syntax, arrays must be comprised of strings only";
    strings.map(Some).ok_or_else(|| SyntaxError::new(message))
}

/// Fills in the arguments by the instruction's own rule.
pub(crate) fn fill(node: &mut Node, rest: &str, escape: Escape) -> Result<(), SyntaxError> {
    match node.name().as_str() {
        "run" | "cmd" | "entrypoint" | "shell" => maybe_json(node, rest),
        "add" | "copy" | "volume" => match json_words(rest)? {
            Some(words) => {
                node.arguments = words;
                node.json = true;
                Ok(())
            }
            None => {
                node.arguments = rest.split_ascii_whitespace().map(str::to_owned).collect();
                Ok(())
            }
        },
        "expose" | "from" => {
            node.arguments = rest.split_ascii_whitespace().map(str::to_owned).collect();
            Ok(())
        }
        "arg" => {
            node.arguments = split_words(rest, escape);
            Ok(())
        }
        "env" | "label" => name_values(node, rest, escape),
        "maintainer" | "stopsignal" | "user" | "workdir" => {
            node.arguments = Some(rest)
                .filter(|rest| !rest.is_empty())
                .map(str::to_owned)
                .into_iter()
                .collect();
            Ok(())
        }
        "healthcheck" => {
            let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            if kind.is_empty() {
                return Ok(());
            }
            maybe_json(node, command.trim_start())?;
            node.arguments.insert(0, kind.to_owned());
            Ok(())
        }
        "onbuild" => {
            if !rest.is_empty() {
                node.child = Some(Box::new(new_node(rest, escape)?));
            }
            Ok(())
        }
        _ => {
            // The peers give an instruction that they do not know one empty argument.
            node.arguments = vec![String::new()];
            Ok(())
        }
    }
}

fn maybe_json(node: &mut Node, rest: &str) -> Result<(), SyntaxError> {
    match json_words(rest)? {
        Some(words) => {
            node.arguments = words;
            node.json = true;
        }
        None => {
            node.arguments = Some(rest)
                .filter(|rest| !rest.is_empty())
                .map(str::to_owned)
                .into_iter()
                .collect()
        }
    }
    Ok(())
}

/// `name=value …`, or the old form `name value`. Three words each: name, value, separator.
fn name_values(node: &mut Node, rest: &str, escape: Escape) -> Result<(), SyntaxError> {
    let words = split_words(rest, escape);
    let Some(first) = words.first() else {
        return Ok(());
    };
    if !first.contains('=') {
        let name = node.keyword.to_uppercase();
        let old = rest.split_once(|letter: char| letter.is_ascii_whitespace());
        let (key, value) = old.ok_or_else(|| {
            SyntaxError::new(format!("{name} must have two arguments")).hint(format!("write `{name} name=value`"))
        })?;
        node.arguments = vec![key.to_owned(), value.trim_start().to_owned(), String::new()];
        return Ok(());
    }
    for word in words {
        let (key, value) = word.split_once('=').ok_or_else(|| {
            let message = format!("Syntax error - can't find = in {word:?}. Must be of the form: name=value");
            SyntaxError::new(message).hint("quote values that hold spaces")
        })?;
        node.arguments
            .extend([key.to_owned(), value.to_owned(), "=".to_owned()]);
    }
    Ok(())
}
