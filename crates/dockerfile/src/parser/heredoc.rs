//! Here-documents: `<<NAME`, `<<-NAME`, `<<"NAME"`, `3<<NAME`.

use crate::ast::Heredoc;
use crate::expand::{ExpandError, Expander};

fn nothing(_: &str) -> Option<String> {
    None
}

/// The here-documents that a line opens, without contents.
pub fn heredocs_of_line(line: &str) -> Result<Vec<Heredoc>, ExpandError> {
    let words = Expander { raw_quotes: true, raw_escapes: true, skip_unset: true, ..Expander::new('\\') };
    let words = words.expand(line, &nothing)?.words;
    let found: Result<Vec<Option<Heredoc>>, ExpandError> = words.iter().map(|word| parse_heredoc(word)).collect();
    Ok(found?.into_iter().flatten().collect())
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
    let plain = Expander { skip_unset: true, ..Expander::new('\\') };
    let raw = Expander { raw_quotes: true, ..plain }.expand(rest, &nothing)?.words;
    let name = plain.expand(rest, &nothing)?.words;
    let ([raw], [name]) = (raw.as_slice(), name.as_slice()) else {
        return Ok(None);
    };
    let descriptor = word[..digits].parse().unwrap_or(0);
    Ok(Some(Heredoc { name: name.clone(), descriptor, expand: raw == name, chomp, content: String::new() }))
}
