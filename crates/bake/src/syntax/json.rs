//! The JSON form: the same tree, from JSON.
//!
//! JSON does not say what is a block and what an attribute; a bake file's blocks are known, so that decides it. Strings
//! are templates.

use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::source::{FileId, Span};
use crate::value::{Number, Type, Value, normalized};

use super::ast::{Attribute, Block, Body, Expr, ExprKind, Label};
use super::cursor::{Cursor, Parsed};
use super::template::parse_template;

/// Blocks with one label at the top of a file.
const LABELLED: [&str; 4] = ["group", "target", "variable", "function"];

/// A member of a body that is nothing but a comment.
const COMMENT: &str = "//";

/// Parses a file.
pub fn parse_json(text: &str, file: FileId) -> Result<Body, Box<Diagnostic>> {
    let text_start = if text.starts_with('\u{feff}') {
        '\u{feff}'.len_utf8()
    } else {
        0
    };
    let mut cursor = Cursor::new(&text[text_start..], file, text_start as u32);
    cursor.lines_are_space = true;
    let root = value(&mut cursor)?;
    space(&mut cursor);
    if !cursor.is_at_end() {
        return cursor.error(
            "Extraneous data after value",
            "Extra characters appear after the JSON value.",
        );
    }
    let mut bodies = Vec::new();
    match root.kind {
        Kind::Object(_) => bodies.push(root),
        Kind::Array(items) => bodies.extend(items),
        _ => {
            return Err(Box::new(Diagnostic::new(
                "Root value must be object",
                "The root value in a JSON-based configuration must be either a JSON object or a JSON array of objects.",
                root.span,
            )));
        }
    }
    let mut whole = Body {
        attributes: Vec::new(),
        blocks: Vec::new(),
        missing: cursor.here().start_point(),
    };
    for item in bodies {
        let Kind::Object(members) = item.kind else {
            return Err(object_expected(item.span));
        };
        for member in members.into_iter().filter(|member| member.name != COMMENT) {
            if LABELLED.contains(&member.name.as_str()) {
                labelled(&member.name, member.name_span, member.value, &mut whole.blocks)?;
            } else {
                whole.attributes.push(attribute(member)?);
            }
        }
    }
    Ok(whole)
}

/// `{"label": {…}}`, or a list of such objects, or lists of bodies behind a label.
fn labelled(kind: &str, kind_span: Span, value: Json, blocks: &mut Vec<Block>) -> Parsed<()> {
    for object in objects(value)? {
        for member in object {
            for (body_members, span) in bodies(member.value)? {
                let label = Label {
                    text: member.name.as_str().into(),
                    span: member.name_span,
                };
                blocks.push(Block {
                    kind: kind.into(),
                    labels: vec![label],
                    body: block_body(kind, body_members, span)?,
                    span: kind_span,
                });
            }
        }
    }
    Ok(())
}

fn block_body(kind: &str, members: Vec<Member>, span: Span) -> Parsed<Body> {
    let mut body = Body {
        attributes: Vec::new(),
        blocks: Vec::new(),
        missing: span.start_point(),
    };
    for member in members.into_iter().filter(|member| member.name != COMMENT) {
        if kind == "variable" && member.name == "validation" {
            for (members, span) in bodies(member.value)? {
                body.blocks.push(Block {
                    kind: "validation".into(),
                    labels: Vec::new(),
                    body: block_body("validation", members, span)?,
                    span: member.name_span,
                });
            }
            continue;
        }
        if let Some(earlier) = body.attribute(&member.name) {
            return Err(Box::new(Diagnostic::new(
                "Duplicate argument",
                format!("The argument \"{}\" was already set.", earlier.name),
                member.name_span,
            )));
        }
        body.attributes.push(attribute(member)?);
    }
    Ok(body)
}

fn objects(value: Json) -> Parsed<Vec<Vec<Member>>> {
    Ok(bodies(value)?.into_iter().map(|(members, _)| members).collect())
}

/// An object or a list of objects; null is none.
fn bodies(value: Json) -> Parsed<Vec<(Vec<Member>, Span)>> {
    match value.kind {
        Kind::Object(members) => Ok(vec![(members, value.span)]),
        Kind::Array(items) => {
            let mut all = Vec::new();
            for item in items {
                match item.kind {
                    Kind::Object(members) => all.push((members, item.span)),
                    _ => return Err(object_expected(item.span)),
                }
            }
            Ok(all)
        }
        Kind::Null => Ok(Vec::new()),
        _ => Err(object_expected(value.span)),
    }
}

fn object_expected(span: Span) -> Box<Diagnostic> {
    Box::new(Diagnostic::new(
        "Incorrect JSON value type",
        "Either a JSON object or a JSON array of objects is required here, to define blocks.",
        span,
    ))
}

fn attribute(member: Member) -> Parsed<Attribute> {
    let value = to_expr(member.value)?;
    Ok(Attribute {
        name: member.name.as_str().into(),
        name_span: member.name_span,
        span: member.name_span.to(value.span),
        value,
    })
}

fn to_expr(json: Json) -> Parsed<Expr> {
    let span = json.span;
    match json.kind {
        Kind::Null => Ok(Expr::literal(Value::Null(Type::Any), span)),
        Kind::Bool(value) => Ok(Expr::literal(Value::Bool(value), span)),
        Kind::Number(value) => Ok(Expr::literal(Value::Number(value), span)),
        Kind::String(text) => string_expr(&text, span),
        Kind::Array(items) => {
            let items = items.into_iter().map(to_expr).collect::<Parsed<_>>()?;
            Expr::new(ExprKind::Tuple(items), span)
        }
        Kind::Object(members) => {
            let members = members
                .into_iter()
                .map(|member| Ok((string_expr(&member.name, member.name_span)?, to_expr(member.value)?)))
                .collect::<Parsed<_>>()?;
            Expr::new(ExprKind::Object(members), span)
        }
    }
}

fn string_expr(text: &str, span: Span) -> Parsed<Expr> {
    let mut template = parse_template(text, span.file, span.start + 1)?;
    template.span = span;
    let text: Arc<str> = normalized(text);
    Expr::new(
        ExprKind::JsonString {
            text,
            template: template.into(),
        },
        span,
    )
}

struct Json {
    kind: Kind,
    span: Span,
}

enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Array(Vec<Json>),
    Object(Vec<Member>),
}

struct Member {
    name: String,
    name_span: Span,
    value: Json,
}

fn space(cursor: &mut Cursor<'_>) {
    while cursor
        .peek()
        .is_some_and(|letter| matches!(letter, ' ' | '\t' | '\n' | '\r'))
    {
        cursor.next();
    }
}

fn value(cursor: &mut Cursor<'_>) -> Parsed<Json> {
    cursor.nested(|cursor| {
        space(cursor);
        let start = cursor.at();
        let kind = match cursor.peek() {
            Some('{') => object(cursor)?,
            Some('[') => array(cursor)?,
            Some('"') => Kind::String(string(cursor)?),
            Some('-' | '0'..='9') => number(cursor)?,
            _ if cursor.take_keyword("true") => Kind::Bool(true),
            _ if cursor.take_keyword("false") => Kind::Bool(false),
            _ if cursor.take_keyword("null") => Kind::Null,
            None => return cursor.error("Missing JSON value", "A JSON value is expected, but the file ends."),
            Some(letter) => {
                return cursor.error(
                    "Invalid JSON value",
                    format!("A JSON value cannot start with `{letter}`."),
                );
            }
        };
        Ok(Json {
            kind,
            span: cursor.span_since(start),
        })
    })
}

fn object(cursor: &mut Cursor<'_>) -> Parsed<Kind> {
    cursor.next();
    let mut members = Vec::new();
    loop {
        space(cursor);
        if members.is_empty() && cursor.take("}") {
            break;
        }
        let start = cursor.at();
        if cursor.peek() != Some('"') {
            return cursor.error(
                "Invalid object property name",
                "A JSON object property name must be a string.",
            );
        }
        let name = string(cursor)?;
        let name_span = cursor.span_since(start);
        space(cursor);
        if !cursor.take(":") {
            return cursor.error(
                "Missing property value colon",
                "A colon must appear between an object property's name and its value.",
            );
        }
        let value = value(cursor)?;
        members.push(Member { name, name_span, value });
        space(cursor);
        if cursor.take("}") {
            break;
        }
        if !cursor.take(",") {
            return cursor.error(
                "Missing attribute separator",
                "A comma must appear between each attribute definition in an object.",
            );
        }
    }
    Ok(Kind::Object(members))
}

fn array(cursor: &mut Cursor<'_>) -> Parsed<Kind> {
    cursor.next();
    let mut items = Vec::new();
    loop {
        space(cursor);
        if items.is_empty() && cursor.take("]") {
            break;
        }
        items.push(value(cursor)?);
        space(cursor);
        if cursor.take("]") {
            break;
        }
        if !cursor.take(",") {
            return cursor.error(
                "Missing array element separator",
                "A comma must appear between each array element.",
            );
        }
    }
    Ok(Kind::Array(items))
}

fn number(cursor: &mut Cursor<'_>) -> Parsed<Kind> {
    let start = cursor.at();
    while cursor
        .peek()
        .is_some_and(|letter| matches!(letter, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'))
    {
        cursor.next();
    }
    match Number::parse(cursor.since(start)) {
        Some(number) => Ok(Kind::Number(number)),
        None => Err(Box::new(Diagnostic::new(
            "Invalid JSON number",
            "There is a syntax error in this number, or it is too large.",
            cursor.span_since(start),
        ))),
    }
}

/// A quoted string. The standard library's parser of JSON unescapes it.
fn string(cursor: &mut Cursor<'_>) -> Parsed<String> {
    let start = cursor.at();
    cursor.next();
    loop {
        match cursor.next() {
            Some('\\') => _ = cursor.next(),
            Some('"') => break,
            Some(_) => {}
            None => {
                return Err(Box::new(Diagnostic::new(
                    "Unterminated string",
                    "The string that begins here has no closing quote.",
                    cursor.span(start, start + 1),
                )));
            }
        }
    }
    serde_json::from_str(cursor.since(start)).map_err(|error| {
        Box::new(Diagnostic::new(
            "Invalid JSON string",
            format!("There is a syntax error in this string: {error}."),
            cursor.span_since(start),
        ))
    })
}
