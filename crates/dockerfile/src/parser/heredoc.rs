//! Here-documents: `<<NAME`, `<<-NAME`, `<<"NAME"`, `3<<NAME`.

use crate::ast::Heredoc;
use crate::expand::{ExpandError, Expander};

fn nothing(_: &str) -> Option<String> {
    None
}

/// The here-documents that a line opens, without contents.
pub fn heredocs_of_line(line: &str) -> Result<Vec<Heredoc>, ExpandError> {
    let words = Expander {
        raw_quotes: true,
        raw_escapes: true,
        skip_unset: true,
        ..Expander::new('\\')
    };
    let words = words.expand(line, &nothing)?.words;
    let mut found = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        // An operator alone takes the next word as the name, whatever it begins with.
        let heredoc = match operator(word) {
            Some(chomp) => match words.next() {
                Some(name) => named(name, chomp, descriptor(word))?,
                None => None,
            },
            None => parse_heredoc(word)?,
        };
        found.extend(heredoc);
    }
    Ok(found)
}

/// Whether a word is `<<` or `<<-` and nothing more; the value says which.
fn operator(word: &str) -> Option<bool> {
    match word.trim_start_matches(|letter: char| letter.is_ascii_digit()) {
        "<<" => Some(false),
        "<<-" => Some(true),
        _ => None,
    }
}

/// The number before `<<`; 0 if there is none.
fn descriptor(word: &str) -> u32 {
    let digits = word.len() - word.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
    word[..digits].parse().unwrap_or(0)
}

/// The here-document that a word opens, if it does.
pub fn parse_heredoc(word: &str) -> Result<Option<Heredoc>, ExpandError> {
    let digits = word.len() - word.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
    let Some(rest) = word[digits..].strip_prefix("<<") else {
        return Ok(None);
    };
    let (chomp, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if rest.is_empty() || rest.contains('<') {
        return Ok(None);
    }
    named(rest, chomp, descriptor(word))
}

/// The here-document whose name is written so, in quotes or not.
fn named(written: &str, chomp: bool, descriptor: u32) -> Result<Option<Heredoc>, ExpandError> {
    let plain = Expander {
        skip_unset: true,
        ..Expander::new('\\')
    };
    let raw = Expander {
        raw_quotes: true,
        ..plain
    }
    .expand(written, &nothing)?
    .words;
    let name = plain.expand(written, &nothing)?.words;
    let ([raw], [name]) = (raw.as_slice(), name.as_slice()) else {
        return Ok(None);
    };
    Ok(Some(Heredoc {
        name: name.clone(),
        descriptor,
        expand: raw == name,
        chomp,
        content: String::new(),
    }))
}
