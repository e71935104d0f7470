//! Files and blocks in HCL's native form.

use std::collections::HashSet;
use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::source::{FileId, Span};

use super::ast::{Attribute, Block, Body, Label};
use super::cursor::{Cursor, Parsed};
use super::expression::expression;
use super::template::plain_string;

/// Parses a file. The first mistake ends it: what follows would be guesses.
pub fn parse_native(text: &str, file: FileId) -> Result<Body, Box<Diagnostic>> {
    let text_start = if text.starts_with('\u{feff}') {
        '\u{feff}'.len_utf8()
    } else {
        0
    };
    let mut cursor = Cursor::new(&text[text_start..], file, text_start as u32);
    let start = cursor.here().start_point();
    body(&mut cursor, None, start)
}

/// What stands until the file ends, or until the brace that closes the block whose start is given.
fn body(cursor: &mut Cursor<'_>, opened: Option<Span>, missing: Span) -> Parsed<Body> {
    let mut found = Body {
        attributes: Vec::new(),
        blocks: Vec::new(),
        missing,
    };
    let mut seen: HashSet<Arc<str>> = HashSet::new();
    loop {
        cursor.skip_lines()?;
        match (cursor.peek(), opened) {
            (None, None) => return Ok(found),
            (None, Some(opened)) => {
                return Err(Box::new(Diagnostic::new(
                    "Unclosed configuration block",
                    "There is no closing brace for this block before the end of the file.",
                    opened,
                )));
            }
            (Some('}'), Some(_)) => {
                cursor.next();
                return Ok(found);
            }
            _ => {}
        }
        let Some((name, name_span)) = cursor.take_identifier() else {
            return cursor.error(
                "Argument or block definition required",
                "An argument or block definition is required here.",
            );
        };
        cursor.skip()?;
        if cursor.starts_with("=") && !cursor.starts_with("==") {
            if !seen.insert(name.clone()) {
                return Err(Box::new(Diagnostic::new(
                    "Attribute redefined",
                    format!("The argument \"{name}\" was already set. Each argument may be set only once."),
                    name_span,
                )));
            }
            cursor.next();
            let attribute = attribute(cursor, name, name_span)?;
            found.attributes.push(attribute);
            line_end(cursor, "argument", "An argument")?;
        } else {
            let block = cursor.nested(|cursor| block(cursor, name, name_span))?;
            found.blocks.push(block);
            line_end(cursor, "block definition", "A block")?;
        }
    }
}

/// What stands in a block of one line: one argument.
fn one_line(cursor: &mut Cursor<'_>, missing: Span) -> Parsed<Body> {
    let Some((name, name_span)) = cursor.take_identifier() else {
        return cursor.error(
            "Argument or block definition required",
            "An argument or block definition is required here.",
        );
    };
    cursor.skip()?;
    if !cursor.starts_with("=") || cursor.starts_with("==") {
        return Err(Box::new(
            Diagnostic::new(
                "Argument definition required",
                "A block in one line can contain only a single argument.",
                name_span,
            )
            .hint(format!(
                "to set a value, write {name} = …; a nested block stands on a line of its own"
            )),
        ));
    }
    cursor.next();
    let attribute = attribute(cursor, name, name_span)?;
    cursor.skip()?;
    if !cursor.take("}") {
        return cursor.error(
            "Invalid single-argument block definition",
            "A block in one line must end with a closing brace right behind its single argument.",
        );
    }
    Ok(Body {
        attributes: vec![attribute],
        blocks: Vec::new(),
        missing,
    })
}

fn attribute(cursor: &mut Cursor<'_>, name: Arc<str>, name_span: Span) -> Parsed<Attribute> {
    cursor.skip()?;
    let value = cursor.with_lines(false, expression)?;
    Ok(Attribute {
        span: name_span.to(value.span),
        name,
        name_span,
        value,
    })
}

/// A definition ends its line.
fn line_end(cursor: &mut Cursor<'_>, what: &str, subject: &str) -> Parsed<()> {
    cursor.skip()?;
    if cursor.is_at_end() || cursor.take_line_end() {
        return Ok(());
    }
    cursor.error(
        &format!("Missing newline after {what}"),
        format!("{subject} definition must end with a newline."),
    )
}

fn block(cursor: &mut Cursor<'_>, kind: Arc<str>, kind_span: Span) -> Parsed<Block> {
    let mut labels = Vec::new();
    let mut span = kind_span;
    loop {
        cursor.skip()?;
        match cursor.peek() {
            Some('"') => {
                let (text, label_span) = plain_string(cursor)?;
                span = kind_span.to(label_span);
                labels.push(Label {
                    text: text.into(),
                    span: label_span,
                });
            }
            Some('{') => {
                let opening = cursor.here();
                cursor.next();
                cursor.skip()?;
                let goes_on = ["}", "\n", "\r\n"].iter().any(|end| cursor.starts_with(end));
                let body = if goes_on || cursor.is_at_end() {
                    body(cursor, Some(opening), opening.start_point())?
                } else {
                    one_line(cursor, opening.start_point())?
                };
                return Ok(Block {
                    kind,
                    labels,
                    body,
                    span,
                });
            }
            _ => match cursor.take_identifier() {
                Some((text, label_span)) => {
                    span = kind_span.to(label_span);
                    labels.push(Label { text, span: label_span });
                }
                None => {
                    let hint = if labels.is_empty() {
                        format!("to set a value, write {kind} = …")
                    } else {
                        "labels are names or quoted strings, and the block's content stands in braces".to_owned()
                    };
                    let diagnostic = Diagnostic::new(
                        "Invalid block definition",
                        "Either a quoted string block label or an opening brace (\"{\") is expected here.",
                        cursor.here(),
                    );
                    return Err(Box::new(diagnostic.hint(hint)));
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Sources;

    fn summary(text: &str) -> Option<String> {
        let file = Sources::default().add("x.hcl", text);
        parse_native(text, file).err().map(|diagnostic| diagnostic.summary)
    }

    #[test]
    fn a_block_in_one_line_has_one_argument() {
        for text in [
            "a {}",
            "a { b = 1 }",
            "a { /* c */ b = 1 } # d",
            "a { # b\n}",
            "a \"l\" {\r\n  b = 1\r\n}\r\n",
            "a {\n  b {}\n}",
        ] {
            assert_eq!(summary(text), None, "{text}");
        }
        for (text, expected) in [
            ("a { b = 1 c = 2 }", "Invalid single-argument block definition"),
            ("a { b = 1\n}", "Invalid single-argument block definition"),
            ("a { b { c = 1 } }", "Argument definition required"),
            ("a { b {} }", "Argument definition required"),
            ("a { 1 }", "Argument or block definition required"),
            ("a {\n  b = 1 }", "Missing newline after argument"),
            ("a {\n  b {} }", "Missing newline after block definition"),
            ("a {} b {}", "Missing newline after block definition"),
        ] {
            assert_eq!(summary(text).as_deref(), Some(expected), "{text}");
        }
    }
}
