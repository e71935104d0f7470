//! Expressions of HCL's native form, by recursive descent; the weakest operators come first.

use crate::diagnostic::Diagnostic;
use crate::source::{FileId, Span};
use crate::value::{Number, Value};

use super::ast::{BinaryOperator, Expr, ExprKind, Step, UnaryOperator};
use super::cursor::{Cursor, Parsed};
use super::term::term;

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

pub(super) fn number_value(text: &str, span: Span) -> Parsed<Value> {
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
