//! What expressions begin with: literals, names, calls, lists, objects and `for`.

use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::source::Span;
use crate::value::{Type, Value};

use super::ast::{Expr, ExprKind, ForExpr};
use super::cursor::{Cursor, Parsed};
use super::expression::{expression, number_value};
use super::template::{heredoc, quoted_template};

pub(super) fn term(cursor: &mut Cursor<'_>) -> Parsed<Expr> {
    let start = cursor.at();
    match cursor.peek() {
        Some('"') => quoted_template(cursor),
        Some('<') if cursor.starts_with("<<") => heredoc(cursor),
        Some('(') => {
            cursor.next();
            let inner = cursor.with_lines(true, |cursor| {
                cursor.skip()?;
                let inner = expression(cursor)?;
                cursor.skip()?;
                Ok(inner)
            })?;
            if !cursor.take(")") {
                return cursor.error(
                    "Unbalanced parentheses",
                    "Expected a closing parenthesis to terminate the expression.",
                );
            }
            Expr::new(ExprKind::Parentheses(inner.into()), cursor.span_since(start))
        }
        Some('[') => cursor.with_lines(true, tuple),
        Some('{') => object(cursor),
        Some(digit) if digit.is_ascii_digit() => number(cursor),
        _ => match cursor.take_identifier() {
            Some((name, name_span)) => named(cursor, name, name_span),
            None => {
                let found = match cursor.peek() {
                    None => "Expected the start of an expression, but found the end of the file.".to_owned(),
                    Some('\n' | '\r') => "Expected the start of an expression, but the line ends.".to_owned(),
                    Some(letter) => format!("Expected the start of an expression, but found `{letter}`."),
                };
                cursor.error("Invalid expression", found)
            }
        },
    }
}

fn number(cursor: &mut Cursor<'_>) -> Parsed<Expr> {
    let start = cursor.at();
    let digits = |cursor: &mut Cursor<'_>| {
        while cursor.peek().is_some_and(|letter| letter.is_ascii_digit()) {
            cursor.next();
        }
    };
    digits(cursor);
    let followed_by_digit = |text: &str| text.starts_with(|letter: char| letter.is_ascii_digit());
    if cursor.starts_with(".") && followed_by_digit(&cursor.rest()[1..]) {
        cursor.next();
        digits(cursor);
    }
    if cursor.starts_with("e") || cursor.starts_with("E") {
        let exponent = cursor.rest()[1..].trim_start_matches(['+', '-']);
        if cursor.rest().len() - exponent.len() <= 2 && followed_by_digit(exponent) {
            let sign = cursor.rest().len() - exponent.len();
            cursor.advance(sign);
            digits(cursor);
        }
    }
    let span = cursor.span_since(start);
    Ok(Expr::literal(number_value(cursor.since(start), span)?, span))
}

/// A constant, a call or a variable.
fn named(cursor: &mut Cursor<'_>, name: Arc<str>, name_span: Span) -> Parsed<Expr> {
    let constant = match &*name {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        "null" => Some(Value::Null(Type::Any)),
        _ => None,
    };
    let before = cursor.clone();
    cursor.skip()?;
    if cursor.take("(") {
        return cursor.with_lines(true, |cursor| call(cursor, name, name_span));
    }
    *cursor = before;
    match constant {
        Some(value) => Ok(Expr::literal(value, name_span)),
        None => Expr::new(
            ExprKind::Traversal {
                root: name,
                root_span: name_span,
                steps: Vec::new(),
            },
            name_span,
        ),
    }
}

fn call(cursor: &mut Cursor<'_>, name: Arc<str>, name_span: Span) -> Parsed<Expr> {
    let mut arguments = Vec::new();
    let mut expand = false;
    loop {
        cursor.skip()?;
        if cursor.take(")") {
            break;
        }
        arguments.push(expression(cursor)?);
        cursor.skip()?;
        if cursor.take("...") {
            expand = true;
            cursor.skip()?;
            if cursor.take(")") {
                break;
            }
            return cursor.error(
                "Missing closing parenthesis",
                "An expanded function argument (with ...) must be immediately followed by closing parentheses.",
            );
        }
        if cursor.take(",") {
            continue;
        }
        if cursor.take(")") {
            break;
        }
        return cursor.error(
            "Missing argument separator",
            "A comma is required to separate each function argument from the next.",
        );
    }
    let end = cursor.here().start;
    Expr::new(
        ExprKind::Call {
            name,
            name_span,
            arguments,
            expand,
        },
        Span { end, ..name_span },
    )
}

fn tuple(cursor: &mut Cursor<'_>) -> Parsed<Expr> {
    let start = cursor.at();
    cursor.next();
    cursor.skip()?;
    if cursor.take_keyword("for") {
        return for_expression(cursor, start, false);
    }
    let mut items = Vec::new();
    loop {
        cursor.skip()?;
        if cursor.take("]") {
            break;
        }
        items.push(expression(cursor)?);
        cursor.skip()?;
        if cursor.take(",") {
            continue;
        }
        if cursor.take("]") {
            break;
        }
        return cursor.error(
            "Missing item separator",
            "Expected a comma to mark the beginning of the next item.",
        );
    }
    Expr::new(ExprKind::Tuple(items), cursor.span_since(start))
}

fn object(cursor: &mut Cursor<'_>) -> Parsed<Expr> {
    let start = cursor.at();
    cursor.next();
    cursor.skip_lines()?;
    if cursor.take_keyword("for") {
        return cursor.with_lines(true, |cursor| for_expression(cursor, start, true));
    }
    cursor.with_lines(false, |cursor| {
        let mut items = Vec::new();
        loop {
            cursor.skip_lines()?;
            if cursor.take("}") {
                break;
            }
            let key = object_key(cursor)?;
            cursor.skip()?;
            if !cursor.take("=") && !cursor.take(":") {
                return cursor.error(
                    "Missing key/value separator",
                    "Expected an equals sign (\"=\") to mark the beginning of the attribute value.",
                );
            }
            cursor.skip_lines()?;
            let value = expression(cursor)?;
            items.push((key, value));
            cursor.skip()?;
            if cursor.take(",") || cursor.take_line_end() || cursor.starts_with("}") {
                continue;
            }
            return cursor.error(
                "Missing attribute separator",
                "Expected a newline or comma to mark the beginning of the next attribute.",
            );
        }
        Expr::new(ExprKind::Object(items), cursor.span_since(start))
    })
}

/// A bare name is the key itself; a longer traversal could be meant in two ways, so it must stand in parentheses.
fn object_key(cursor: &mut Cursor<'_>) -> Parsed<Expr> {
    let key = expression(cursor)?;
    match &key.kind {
        ExprKind::Traversal { root, steps, .. } if steps.is_empty() => {
            Ok(Expr::literal(Value::String(root.clone()), key.span))
        }
        ExprKind::Traversal { .. } => Err(Box::new(Diagnostic::new(
            "Ambiguous attribute key",
            "If this expression is intended to be a reference, wrap it in parentheses. If it's instead intended as a literal name containing periods, wrap it in quotes to create a string literal.",
            key.span,
        ))),
        ExprKind::Literal(Value::Bool(value)) => Ok(Expr::literal(Value::String(value.to_string().into()), key.span)),
        ExprKind::Literal(Value::Null(_)) => Ok(Expr::literal(Value::String("null".into()), key.span)),
        _ => Ok(key),
    }
}

/// Behind `[for` or `{for`.
fn for_expression(cursor: &mut Cursor<'_>, start: usize, object: bool) -> Parsed<Expr> {
    let (key_name, value_name) = for_names(cursor)?;
    cursor.skip()?;
    let collection = expression(cursor)?;
    cursor.skip()?;
    if !cursor.take(":") {
        return cursor.error(
            "Invalid 'for' expression",
            "For expression requires a colon after the collection expression.",
        );
    }
    cursor.skip()?;
    let first = expression(cursor)?;
    cursor.skip()?;
    let (key, value) = if cursor.take("=>") {
        cursor.skip()?;
        (Some(first), expression(cursor)?)
    } else {
        (None, first)
    };
    if object != key.is_some() {
        let detail = if object {
            "Key expression is required when building an object."
        } else {
            "Key expression is not valid when building a tuple."
        };
        return cursor.error("Invalid 'for' expression", detail);
    }
    cursor.skip()?;
    let group = cursor.take("...");
    if group && !object {
        return cursor.error(
            "Invalid 'for' expression",
            "Grouping ellipsis (\"...\") cannot be used when building a tuple.",
        );
    }
    cursor.skip()?;
    let condition = if cursor.take_keyword("if") {
        cursor.skip()?;
        Some(expression(cursor)?)
    } else {
        None
    };
    cursor.skip()?;
    if !cursor.take(if object { "}" } else { "]" }) {
        return cursor.error(
            "Invalid 'for' expression",
            "Extra characters after the end of the 'for' expression.",
        );
    }
    let parts = ForExpr {
        key_name,
        value_name,
        collection,
        key,
        value,
        condition,
        group,
    };
    Expr::new(ExprKind::For(parts.into()), cursor.span_since(start))
}

/// `key, value in` or `value in`.
pub(super) fn for_names(cursor: &mut Cursor<'_>) -> Parsed<(Option<Arc<str>>, Arc<str>)> {
    let name = |cursor: &mut Cursor<'_>| {
        cursor.skip()?;
        match cursor.take_identifier() {
            Some((name, _)) => Ok(name),
            None => cursor.error(
                "Invalid 'for' expression",
                "For expression requires variable name after 'for'.",
            ),
        }
    };
    let first = name(cursor)?;
    cursor.skip()?;
    let second = if cursor.take(",") { Some(name(cursor)?) } else { None };
    cursor.skip()?;
    if !cursor.take_keyword("in") {
        return cursor.error(
            "Invalid 'for' expression",
            "For expression requires the 'in' keyword after its name declarations.",
        );
    }
    Ok(match second {
        Some(second) => (Some(first), second),
        None => (None, first),
    })
}
