//! Expressions of HCL's native form, by recursive descent; the weakest operators come first.

use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::source::{FileId, Span};
use crate::value::{Number, Type, Value};

use super::ast::{BinaryOperator, Expr, ExprKind, ForExpr, Step, UnaryOperator};
use super::cursor::{Cursor, Parsed};
use super::template::{heredoc, quoted_template};

/// Parses a text that is one expression. `base` is where it begins in its file.
pub fn parse_expression(text: &str, file: FileId, base: u32) -> Result<Expr, Box<Diagnostic>> {
    let mut cursor = Cursor::new(text, file, base);
    cursor.lines_are_space = true;
    cursor.skip()?;
    let parsed = expression(&mut cursor)?;
    cursor.skip()?;
    if cursor.is_at_end() {
        Ok(parsed)
    } else {
        cursor.error("Extra characters after expression", "The expression should end here.")
    }
}

/// An expression. White space before it was skipped; white space behind it may have been.
pub(super) fn expression(cursor: &mut Cursor<'_>) -> Parsed<Expr> {
    cursor.nested(conditional)
}

fn conditional(cursor: &mut Cursor<'_>) -> Parsed<Expr> {
    let condition = binary(cursor, 0)?;
    let before = cursor.clone();
    cursor.skip()?;
    if !cursor.take("?") {
        *cursor = before;
        return Ok(condition);
    }
    // A conditional may go on in the next line behind its marks.
    cursor.skip_lines()?;
    let then = expression(cursor)?;
    cursor.skip()?;
    if !cursor.take(":") {
        return cursor.error(
            "Missing false expression in conditional",
            "The conditional operator (...?...:...) requires a false expression, delimited by a colon.",
        );
    }
    cursor.skip_lines()?;
    let otherwise = expression(cursor)?;
    let span = condition.span.to(otherwise.span);
    Expr::new(
        ExprKind::Conditional {
            condition: condition.into(),
            then: then.into(),
            otherwise: otherwise.into(),
        },
        span,
    )
}

/// Operators from the weakest to the strongest. Longer ones come before their beginnings.
const LEVELS: [&[(&str, BinaryOperator)]; 6] = [
    &[("||", BinaryOperator::Or)],
    &[("&&", BinaryOperator::And)],
    &[("==", BinaryOperator::Equal), ("!=", BinaryOperator::NotEqual)],
    &[
        ("<=", BinaryOperator::LessOrEqual),
        (">=", BinaryOperator::GreaterOrEqual),
        ("<", BinaryOperator::Less),
        (">", BinaryOperator::Greater),
    ],
    &[("+", BinaryOperator::Add), ("-", BinaryOperator::Subtract)],
    &[
        ("*", BinaryOperator::Multiply),
        ("/", BinaryOperator::Divide),
        ("%", BinaryOperator::Modulo),
    ],
];

fn binary(cursor: &mut Cursor<'_>, level: usize) -> Parsed<Expr> {
    let Some(operators) = LEVELS.get(level) else {
        return unary(cursor);
    };
    let mut left = binary(cursor, level + 1)?;
    loop {
        let before = cursor.clone();
        cursor.skip()?;
        let found = operators.iter().find(|(text, _)| cursor.starts_with(text));
        // `%{` begins a directive, and `=>` ends the key of a for-expression.
        let Some((text, operator)) = found.filter(|(text, _)| !(*text == "%" && cursor.starts_with("%{"))) else {
            *cursor = before;
            return Ok(left);
        };
        cursor.advance(text.len());
        cursor.skip_lines()?;
        let right = binary(cursor, level + 1)?;
        let span = left.span.to(right.span);
        left = Expr::new(
            ExprKind::Binary {
                operator: *operator,
                left: left.into(),
                right: right.into(),
            },
            span,
        )?;
    }
}

fn unary(cursor: &mut Cursor<'_>) -> Parsed<Expr> {
    let start = cursor.at();
    let operator = match cursor.peek() {
        Some('!') => UnaryOperator::Not,
        Some('-') => UnaryOperator::Negate,
        _ => return postfix(cursor),
    };
    cursor.next();
    cursor.skip()?;
    let operand = cursor.nested(unary)?;
    Expr::new(
        ExprKind::Unary {
            operator,
            operand: operand.into(),
        },
        cursor.span_since(start),
    )
}

/// A term and what follows it: `.name`, `[key]`, splats.
fn postfix(cursor: &mut Cursor<'_>) -> Parsed<Expr> {
    let mut expr = term(cursor)?;
    loop {
        let before = cursor.clone();
        cursor.skip()?;
        let start = cursor.at();
        if cursor.starts_with(".") && !cursor.starts_with("...") {
            cursor.next();
            cursor.skip()?;
            expr = match cursor.peek() {
                Some('*') => {
                    cursor.next();
                    attribute_splat(cursor, expr, start)?
                }
                Some(digit) if digit.is_ascii_digit() => {
                    let number = integer(cursor)?;
                    with_step(expr, Step::Index(number, cursor.span_since(start)))?
                }
                _ => {
                    let Some((name, _)) = cursor.take_identifier() else {
                        return cursor.error("Invalid attribute name", "An attribute name is required after a dot.");
                    };
                    with_step(expr, Step::Attribute(name, cursor.span_since(start)))?
                }
            };
        } else if cursor.starts_with("[") {
            cursor.next();
            expr = cursor.with_lines(true, |cursor| {
                cursor.skip()?;
                let before = cursor.clone();
                if cursor.take("*") {
                    cursor.skip()?;
                    if cursor.take("]") {
                        return full_splat(cursor, expr, start);
                    }
                    *cursor = before;
                }
                let key = expression(cursor)?;
                cursor.skip()?;
                if !cursor.take("]") {
                    return cursor.error(
                        "Missing close bracket on index",
                        "The index operator must end with a closing bracket (\"]\").",
                    );
                }
                indexed(expr, key, cursor.span_since(start))
            })?;
        } else {
            *cursor = before;
            return Ok(expr);
        }
    }
}

fn integer(cursor: &mut Cursor<'_>) -> Parsed<Value> {
    let start = cursor.at();
    while cursor.peek().is_some_and(|letter| letter.is_ascii_digit()) {
        cursor.next();
    }
    number_value(cursor.since(start), cursor.span_since(start))
}

fn number_value(text: &str, span: Span) -> Parsed<Value> {
    match Number::parse(text) {
        Some(number) => Ok(Value::Number(number)),
        None => Err(Box::new(Diagnostic::new(
            "Invalid number literal",
            "The number is too large, too small or not a number.",
            span,
        ))),
    }
}

fn with_step(expr: Expr, step: Step) -> Parsed<Expr> {
    let span = expr.span.to(step.span());
    match expr.kind {
        ExprKind::Traversal {
            root,
            root_span,
            mut steps,
        } => {
            steps.push(step);
            Expr::new(ExprKind::Traversal { root, root_span, steps }, span)
        }
        ExprKind::Relative { source, mut steps } => {
            steps.push(step);
            Expr::new(ExprKind::Relative { source, steps }, span)
        }
        kind => {
            let source = Box::new(Expr::new(kind, expr.span)?);
            Expr::new(
                ExprKind::Relative {
                    source,
                    steps: vec![step],
                },
                span,
            )
        }
    }
}

/// A constant key is a step of the traversal, any other an operation of its own.
fn indexed(expr: Expr, key: Expr, step_span: Span) -> Parsed<Expr> {
    let constant = match &key.kind {
        ExprKind::Literal(value @ (Value::Number(_) | Value::String(_))) => Some(value.clone()),
        _ => None,
    };
    if let Some(value) = constant {
        return with_step(expr, Step::Index(value, step_span));
    }
    let span = expr.span.to(step_span);
    Expr::new(
        ExprKind::Index {
            collection: expr.into(),
            key: key.into(),
        },
        span,
    )
}

/// `.*`: the names that follow belong to each item.
fn attribute_splat(cursor: &mut Cursor<'_>, source: Expr, start: usize) -> Parsed<Expr> {
    let mut each = Expr::new(ExprKind::SplatItem, cursor.span_since(start))?;
    loop {
        let before = cursor.clone();
        cursor.skip()?;
        let step_start = cursor.at();
        let dot = cursor.starts_with(".") && !cursor.starts_with("...") && cursor.take(".");
        if dot && cursor.peek().is_some_and(|letter| letter.is_ascii_digit()) {
            let number = integer(cursor)?;
            each = with_step(each, Step::Index(number, cursor.span_since(step_start)))?;
        } else if let Some((name, _)) = dot.then(|| cursor.take_identifier()).flatten() {
            each = with_step(each, Step::Attribute(name, cursor.span_since(step_start)))?;
        } else {
            *cursor = before;
            break;
        }
    }
    splat(cursor, source, each)
}

/// `[*]`: names and keys that follow belong to each item.
fn full_splat(cursor: &mut Cursor<'_>, source: Expr, start: usize) -> Parsed<Expr> {
    let mut each = Expr::new(ExprKind::SplatItem, cursor.span_since(start))?;
    loop {
        let before = cursor.clone();
        cursor.skip()?;
        let step_start = cursor.at();
        if cursor.starts_with(".") && !cursor.starts_with("...") && !cursor.starts_with(".*") {
            cursor.next();
            if cursor.peek().is_some_and(|letter| letter.is_ascii_digit()) {
                let number = integer(cursor)?;
                each = with_step(each, Step::Index(number, cursor.span_since(step_start)))?;
                continue;
            }
            let Some((name, _)) = cursor.take_identifier() else {
                return cursor.error("Invalid attribute name", "An attribute name is required after a dot.");
            };
            each = with_step(each, Step::Attribute(name, cursor.span_since(step_start)))?;
        } else if cursor.take("[") {
            cursor.skip()?;
            if cursor.starts_with("*") {
                *cursor = before;
                break;
            }
            let key = expression(cursor)?;
            cursor.skip()?;
            if !cursor.take("]") {
                return cursor.error(
                    "Missing close bracket on index",
                    "The index operator must end with a closing bracket (\"]\").",
                );
            }
            each = indexed(each, key, cursor.span_since(step_start))?;
        } else {
            *cursor = before;
            break;
        }
    }
    splat(cursor, source, each)
}

fn splat(_cursor: &Cursor<'_>, source: Expr, each: Expr) -> Parsed<Expr> {
    let span = source.span.to(each.span);
    Expr::new(
        ExprKind::Splat {
            source: source.into(),
            each: each.into(),
        },
        span,
    )
}

fn term(cursor: &mut Cursor<'_>) -> Parsed<Expr> {
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
