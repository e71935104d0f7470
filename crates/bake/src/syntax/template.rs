//! Templates: quoted strings, heredocs and the strings of JSON bodies.

use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::source::{FileId, Span};
use crate::value::{Value, normalized};

use super::ast::{Expr, ExprKind, Part};
use super::cursor::{Cursor, Parsed};
use super::expression::expression;
use super::term::for_names;

/// Parses a text that is a template as a whole, without escapes by backslash. `base` is where it begins in its file.
pub fn parse_template(text: &str, file: FileId, base: u32) -> Result<Expr, Box<Diagnostic>> {
    let mut cursor = Cursor::new(text, file, base);
    let pieces = pieces(&mut cursor, &End::Text)?;
    let span = cursor.span_since(0);
    finish(pieces, span)
}

/// A quoted string without interpolation: the label of a block.
pub(super) fn plain_string(cursor: &mut Cursor<'_>) -> Parsed<(String, Span)> {
    let start = cursor.at();
    let template = quoted_template(cursor)?;
    let span = cursor.span_since(start);
    match template.kind {
        ExprKind::Literal(Value::String(text)) => Ok((text.to_string(), span)),
        _ => Err(Box::new(
            Diagnostic::new(
                "Invalid string literal",
                "Template sequences are not allowed in this string.",
                span,
            )
            .hint("write $${ for a dollar sign and a brace"),
        )),
    }
}

/// A quoted template; the cursor is at its first quote.
pub(super) fn quoted_template(cursor: &mut Cursor<'_>) -> Parsed<Expr> {
    let start = cursor.at();
    cursor.next();
    let pieces = cursor.with_lines(false, |cursor| pieces(cursor, &End::Quote { start }))?;
    let span = cursor.span_since(start);
    finish(pieces, span)
}

/// A heredoc; the cursor is at `<<`.
pub(super) fn heredoc(cursor: &mut Cursor<'_>) -> Parsed<Expr> {
    let start = cursor.at();
    cursor.advance(2);
    let flush = cursor.take("-");
    let Some((marker, _)) = cursor.take_identifier() else {
        return cursor.error(
            "Invalid heredoc",
            "A name is expected behind <<, which ends the text when it stands alone in a line.",
        );
    };
    if !cursor.take_line_end() {
        return cursor.error("Invalid heredoc", "The text begins in the line behind the marker.");
    }
    let mut pieces = pieces(cursor, &End::Marker { start, marker: &marker })?;
    if flush {
        unindent(&mut pieces);
    }
    let span = cursor.span_since(start);
    finish(pieces, span)
}

/// What ends a template.
enum End<'a> {
    Text,
    Quote { start: usize },
    Marker { start: usize, marker: &'a str },
}

/// A template before its directives are nested.
enum Piece {
    Literal {
        text: String,
        span: Span,
        line_start: bool,
    },
    Value {
        expr: Expr,
    },
    If {
        condition: Expr,
        span: Span,
    },
    Else(Span),
    EndIf(Span),
    For {
        key_name: Option<Arc<str>>,
        value_name: Arc<str>,
        collection: Expr,
        span: Span,
    },
    EndFor(Span),
}

struct Pieces<'c, 'a> {
    cursor: &'c mut Cursor<'a>,
    done: Vec<Piece>,
    literal: String,
    literal_start: usize,
    at_line_start: bool,
    /// Whether the white space that comes next is dropped (`~}`).
    strip: bool,
}

fn pieces(cursor: &mut Cursor<'_>, end: &End<'_>) -> Parsed<Vec<Piece>> {
    let literal_start = cursor.at();
    let mut state = Pieces {
        cursor,
        done: Vec::new(),
        literal: String::new(),
        literal_start,
        at_line_start: true,
        strip: false,
    };
    let mut line_start = true;
    loop {
        if let End::Marker { marker, .. } = end
            && line_start
        {
            let rest = state.cursor.rest();
            let line = rest.lines().next().unwrap_or_default();
            if line.trim() == *marker {
                let length = line.trim_end().len();
                state.flush();
                state.cursor.advance(length);
                return Ok(state.done);
            }
        }
        line_start = false;
        let here = state.cursor.at();
        let Some(letter) = state.cursor.peek() else {
            let (detail, start) = match end {
                End::Text => {
                    state.flush();
                    return Ok(state.done);
                }
                End::Quote { start } => ("The string that begins here has no closing quote.", *start),
                End::Marker { start, .. } => ("The heredoc that begins here has no line with only its marker.", *start),
            };
            let span = state.cursor.span(start, start + 1);
            return Err(Box::new(Diagnostic::new("Unterminated template string", detail, span)));
        };
        match (letter, end) {
            ('"', End::Quote { .. }) => {
                state.flush();
                state.cursor.next();
                return Ok(state.done);
            }
            ('\\', End::Quote { .. }) => {
                let unescaped = escape(state.cursor)?;
                state.literal.push(unescaped);
            }
            ('\n', End::Quote { start }) => {
                let span = state.cursor.span(*start, here);
                return Err(Box::new(
                    Diagnostic::new(
                        "Invalid multi-line string",
                        "Quoted strings may not be split over multiple lines.",
                        span,
                    )
                    .hint("write \\n, or use a heredoc (<<EOT)"),
                ));
            }
            ('$' | '%', _) => {
                let rest = state.cursor.rest().as_bytes();
                if rest.get(1) == Some(&b'{') {
                    state.sequence(letter)?;
                } else if rest.get(1) == Some(&letter_byte(letter)) && rest.get(2) == Some(&b'{') {
                    state.literal.push(letter);
                    state.literal.push('{');
                    state.cursor.advance(3);
                } else {
                    state.literal.push(letter);
                    state.cursor.next();
                }
            }
            ('\n', _) => {
                state.literal.push('\n');
                state.cursor.next();
                state.flush();
                state.at_line_start = true;
                line_start = true;
            }
            (letter, _) => {
                state.literal.push(letter);
                state.cursor.next();
            }
        }
    }
}

fn letter_byte(letter: char) -> u8 {
    if letter == '$' { b'$' } else { b'%' }
}

impl Pieces<'_, '_> {
    /// The literal so far becomes a piece.
    fn flush(&mut self) {
        let mut text = std::mem::take(&mut self.literal);
        if self.strip {
            text = text.trim_start().to_owned();
            // White space goes on in the next line.
            self.strip = text.is_empty();
        }
        if !text.is_empty() {
            self.done.push(Piece::Literal {
                text,
                span: self.cursor.span_since(self.literal_start),
                line_start: self.at_line_start,
            });
        }
        self.at_line_start = false;
        self.literal_start = self.cursor.at();
    }

    /// `${…}` or `%{…}`.
    fn sequence(&mut self, kind: char) -> Parsed<()> {
        self.flush();
        self.strip = false;
        let start = self.cursor.at();
        self.cursor.advance(2);
        if self.cursor.take("~") {
            self.strip_before();
        }
        let piece = self.cursor.with_lines(true, |cursor| {
            cursor.skip()?;
            let piece = if kind == '$' {
                Piece::Value {
                    expr: expression(cursor)?,
                }
            } else {
                directive(cursor, start)?
            };
            cursor.skip()?;
            Ok(piece)
        })?;
        let strip = self.cursor.take("~");
        if !self.cursor.take("}") {
            return self.cursor.error(
                "Extra characters after interpolation expression",
                "Expected a closing brace to end the interpolation expression.",
            );
        }
        self.strip = strip;
        self.done.push(piece);
        self.literal_start = self.cursor.at();
        Ok(())
    }

    /// `${~` drops the white space before it.
    fn strip_before(&mut self) {
        while let Some(Piece::Literal { text, .. }) = self.done.last_mut() {
            text.truncate(text.trim_end().len());
            if !text.is_empty() {
                break;
            }
            self.done.pop();
        }
    }
}

fn directive(cursor: &mut Cursor<'_>, start: usize) -> Parsed<Piece> {
    let Some((keyword, keyword_span)) = cursor.take_identifier() else {
        return cursor.error(
            "Invalid template directive",
            "A template directive keyword (\"if\", \"for\", etc) is expected.",
        );
    };
    cursor.skip()?;
    match &*keyword {
        "if" => Ok(Piece::If {
            condition: expression(cursor)?,
            span: cursor.span_since(start),
        }),
        "else" => Ok(Piece::Else(cursor.span_since(start))),
        "endif" => Ok(Piece::EndIf(cursor.span_since(start))),
        "for" => {
            let (key_name, value_name) = for_names(cursor)?;
            cursor.skip()?;
            Ok(Piece::For {
                key_name,
                value_name,
                collection: expression(cursor)?,
                span: cursor.span_since(start),
            })
        }
        "endfor" => Ok(Piece::EndFor(cursor.span_since(start))),
        other => Err(Box::new(Diagnostic::new(
            "Invalid template directive",
            format!("\"{other}\" is not a valid template directive. There are if, else, endif, for and endfor."),
            keyword_span,
        ))),
    }
}

/// An escape by backslash.
fn escape(cursor: &mut Cursor<'_>) -> Parsed<char> {
    let start = cursor.at();
    cursor.next();
    let unicode = |cursor: &mut Cursor<'_>, digits: usize| {
        cursor.next();
        let code = cursor
            .rest()
            .get(..digits)
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .and_then(char::from_u32);
        if code.is_some() {
            cursor.advance(digits);
        }
        code
    };
    let simple = |cursor: &mut Cursor<'_>, letter: char| {
        cursor.next();
        Some(letter)
    };
    let letter = match cursor.peek() {
        Some('n') => simple(cursor, '\n'),
        Some('r') => simple(cursor, '\r'),
        Some('t') => simple(cursor, '\t'),
        Some('"') => simple(cursor, '"'),
        Some('\\') => simple(cursor, '\\'),
        Some('u') => unicode(cursor, 4),
        Some('U') => unicode(cursor, 8),
        _ => None,
    };
    letter.ok_or_else(|| {
        Box::new(
            Diagnostic::new(
                "Invalid escape sequence",
                "This backslash does not begin an escape. There are \\n, \\r, \\t, \\\", \\\\, \\uNNNN and \\UNNNNNNNN.",
                cursor.span(start, start + 1),
            )
            .hint("write \\\\ for a backslash"),
        )
    })
}

/// Takes the indentation that all lines share from a heredoc (`<<-`). Lines of nothing but white space do not count.
fn unindent(pieces: &mut [Piece]) {
    let indent_of = |text: &str| text.len() - text.trim_start_matches([' ', '\t']).len();
    let mut shared: Option<usize> = None;
    let mut at_line_start = true;
    for piece in pieces.iter() {
        match piece {
            Piece::Literal { text, line_start, .. } => {
                let blank = text.trim().is_empty() && text.ends_with('\n');
                if *line_start && !blank {
                    let indent = indent_of(text);
                    shared = Some(shared.map_or(indent, |shared| shared.min(indent)));
                }
                at_line_start = text.ends_with('\n');
            }
            _ => {
                if at_line_start {
                    shared = Some(0);
                }
                at_line_start = false;
            }
        }
    }
    let shared = shared.unwrap_or(0);
    for piece in pieces {
        if let Piece::Literal {
            text, line_start: true, ..
        } = piece
        {
            let cut = indent_of(text).min(shared);
            text.drain(..cut);
        }
    }
}

/// Nests directives, and makes the simplest expression that says the same.
fn finish(pieces: Vec<Piece>, span: Span) -> Parsed<Expr> {
    let mut pieces = pieces.into_iter().peekable();
    let (parts, stop) = nest(&mut pieces, 0)?;
    if let Some(stop) = stop {
        return Err(Box::new(Diagnostic::new(
            "Unexpected template directive",
            "This directive closes something that was not opened.",
            stop.span(),
        )));
    }
    template(parts, span)
}

fn template(parts: Vec<Part>, span: Span) -> Parsed<Expr> {
    let mut parts = parts;
    match parts.len() {
        0 => Ok(Expr::literal(Value::String("".into()), span)),
        1 if matches!(parts[0], Part::Interpolation(_)) => match parts.pop() {
            Some(Part::Interpolation(inner)) => Expr::new(ExprKind::TemplateWrap(inner), span),
            _ => Ok(Expr::literal(Value::String("".into()), span)),
        },
        _ if parts.iter().all(|part| matches!(part, Part::Literal(..))) => {
            let text: String = parts
                .iter()
                .map(|part| match part {
                    Part::Literal(text, _) => &**text,
                    _ => "",
                })
                .collect();
            Ok(Expr::literal(Value::String(normalized(&text)), span))
        }
        _ => Expr::new(ExprKind::Template(parts), span),
    }
}

/// A directive that ends a list of parts.
enum Stop {
    Else(Span),
    EndIf(Span),
    EndFor(Span),
}

impl Stop {
    fn span(&self) -> Span {
        match self {
            Stop::Else(span) | Stop::EndIf(span) | Stop::EndFor(span) => *span,
        }
    }
}

type PieceStream = std::iter::Peekable<std::vec::IntoIter<Piece>>;

fn nest(pieces: &mut PieceStream, depth: u32) -> Parsed<(Vec<Part>, Option<Stop>)> {
    let mut parts = Vec::new();
    while let Some(piece) = pieces.next() {
        match piece {
            Piece::Literal { text, span, .. } => parts.push(Part::Literal(text.into(), span)),
            Piece::Value { expr } => parts.push(Part::Interpolation(expr.into())),
            Piece::Else(span) => return Ok((parts, Some(Stop::Else(span)))),
            Piece::EndIf(span) => return Ok((parts, Some(Stop::EndIf(span)))),
            Piece::EndFor(span) => return Ok((parts, Some(Stop::EndFor(span)))),
            Piece::If { span, .. } | Piece::For { span, .. } if depth > 100 => {
                return Err(Box::new(Diagnostic::new(
                    "Nesting too deep",
                    "Template directives may nest 100 levels deep.",
                    span,
                )));
            }
            Piece::If { condition, span } => {
                let (then, stop) = nest(pieces, depth + 1)?;
                let (otherwise, stop) = match stop {
                    Some(Stop::Else(_)) => nest(pieces, depth + 1)?,
                    stop => (Vec::new(), stop),
                };
                if !matches!(stop, Some(Stop::EndIf(_))) {
                    return Err(unclosed("if", "endif", span));
                }
                parts.push(Part::If {
                    condition: condition.into(),
                    then: joined(then, span)?.into(),
                    otherwise: joined(otherwise, span)?.into(),
                });
            }
            Piece::For {
                key_name,
                value_name,
                collection,
                span,
            } => {
                let (body, stop) = nest(pieces, depth + 1)?;
                if !matches!(stop, Some(Stop::EndFor(_))) {
                    return Err(unclosed("for", "endfor", span));
                }
                parts.push(Part::For {
                    key_name,
                    value_name,
                    collection: collection.into(),
                    body: joined(body, span)?.into(),
                });
            }
        }
    }
    Ok((parts, None))
}

/// The body of a directive is text, even if it is one interpolation.
fn joined(parts: Vec<Part>, span: Span) -> Parsed<Expr> {
    Expr::new(ExprKind::Template(parts), span)
}

fn unclosed(opened: &str, wanted: &str, span: Span) -> Box<Diagnostic> {
    Box::new(Diagnostic::new(
        "Unclosed template directive",
        format!("The \"{opened}\" directive is missing its corresponding \"{wanted}\" directive."),
        span,
    ))
}
