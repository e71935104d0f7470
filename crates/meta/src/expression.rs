//! Templates: the part of the Handlebars language that makes sense in one line of text.
//!
//! There are values (`{{branch}}`, `{{{branch}}}` without HTML escapes), calls (`{{date 'YYYY' tz='Asia/Tokyo'}}`),
//! `{{#if}}`, `{{#unless}}` and `{{else}}`, comments, escapes (`\{{`) and the `~` that takes white space away. As in
//! Handlebars, a value is escaped for HTML, and a name that does not exist is empty.

mod lexer;
mod parser;

use thiserror::Error;

use crate::error::EntryError;
use crate::scope::{Evaluation, Scope, Value};

/// A template that cannot be read or filled in.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExpressionError {
    /// `{{` without `}}`.
    #[error("`{{{{` is not closed")]
    Unclosed,
    /// A letter that cannot stand there.
    #[error("unexpected `{letter}` at byte {at}")]
    Unexpected {
        /// The letter.
        letter: char,
        /// Where it stands.
        at: usize,
    },
    /// Nothing stands where a name must.
    #[error("a name is missing at byte {at}")]
    NoName {
        /// Where it should stand.
        at: usize,
    },
    /// A block is not closed, or another one is.
    #[error("the block `{0}` is not closed")]
    OpenBlock(String),
    /// `{{else}}` or `{{/if}}` without a block.
    #[error("`{0}` belongs to no block")]
    NoBlock(String),
    /// A part of the language that is not served.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// Blocks are nested too deeply.
    #[error("blocks are nested more than {0} deep")]
    TooDeep(usize),
    /// A name is called, and nothing of this name can be.
    #[error("there is nothing called `{0}` that takes arguments here")]
    NotCallable(String),
    /// A date without a format.
    #[error("`{0}` needs a format")]
    NoFormat(String),
    /// A date with an argument that is no format.
    #[error("`{0}` takes one format in quotes, and tz='ZONE'")]
    Arguments(String),
    /// An option does not exist.
    #[error("`{name}` has no option `{option}`")]
    UnknownOption {
        /// What is called.
        name: String,
        /// The option.
        option: String,
    },
    /// A time zone does not exist.
    #[error("there is no time zone `{0}`")]
    TimeZone(String),
}

impl ExpressionError {
    /// What to do about it, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            ExpressionError::NoFormat(name) | ExpressionError::Arguments(name) => {
                return Some(format!("write {{{{{name} 'YYYYMMDD'}}}}"));
            }
            ExpressionError::TimeZone(_) => "time zones have names such as Asia/Tokyo",
            ExpressionError::UnknownOption { .. } => "the only option is tz='ZONE'",
            ExpressionError::Unclosed => "close it with }}, or write \\{{ for the brackets themselves",
            _ => return None,
        };
        Some(text.to_owned())
    }
}

/// A template that can be filled in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template {
    text: String,
    nodes: Vec<Node>,
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Text(String),
    Value {
        call: Call,
        escape: bool,
    },
    Condition {
        negated: bool,
        subject: Argument,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
}

/// What stands between the brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Call {
    path: Path,
    arguments: Vec<Argument>,
    options: Vec<(String, Argument)>,
}

/// A name, and what is looked up in its value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Path {
    name: String,
    below: Vec<String>,
    /// `@name`: never one of ours.
    data: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Argument {
    Path(Path),
    Text(String),
    Number(String),
    True,
    False,
    Nothing,
}

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Template, ExpressionError> {
        Ok(Template {
            text: text.to_owned(),
            nodes: parser::parse(text)?,
        })
    }

    /// As [`Template::parse`], with the template in the error.
    pub(crate) fn read(text: &str) -> Result<Template, EntryError> {
        Template::parse(text).map_err(|source| EntryError::Expression {
            template: text.to_owned(),
            source,
        })
    }

    /// The template as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Whether it is the value `raw` and nothing else: the one pattern that holds for pre-releases as it stands.
    pub fn is_raw(&self) -> bool {
        matches!(&self.nodes[..], [Node::Value { call, .. }] if call.path.name == "raw" && call.path.below.is_empty())
    }

    /// Fills it in.
    pub(crate) fn fill(&self, scope: &dyn Scope) -> Result<Evaluation, EntryError> {
        let mut evaluation = Evaluation::default();
        fill(&self.nodes, scope, &mut evaluation).map_err(|source| EntryError::Expression {
            template: self.text.clone(),
            source,
        })?;
        Ok(evaluation)
    }
}

fn fill(nodes: &[Node], scope: &dyn Scope, into: &mut Evaluation) -> Result<(), ExpressionError> {
    for node in nodes {
        match node {
            Node::Text(text) => into.text.push_str(text),
            Node::Value { call, escape } => {
                let value = evaluate(call, scope, into)?.to_text();
                if *escape {
                    escape_html(&value, &mut into.text);
                } else {
                    into.text.push_str(&value);
                }
            }
            Node::Condition {
                negated,
                subject,
                then,
                otherwise,
            } => {
                let holds = argument(subject, scope, into)?.is_true() != *negated;
                fill(if holds { then } else { otherwise }, scope, into)?;
            }
        }
    }
    Ok(())
}

/// The value of a call. A name without arguments that does not exist is empty, and noted.
fn evaluate(call: &Call, scope: &dyn Scope, into: &mut Evaluation) -> Result<Value, ExpressionError> {
    let bare = call.arguments.is_empty() && call.options.is_empty();
    let name = &call.path.name;
    let found = Some(scope)
        .filter(|_| !call.path.data)
        .and_then(|scope| scope.value(name));
    match found {
        Some(Value::Date(date)) if call.path.below.is_empty() => date_text(call, date, scope, into).map(Value::Text),
        Some(value) => Ok(value.below(&call.path.below)),
        None if bare => {
            into.unknown.push(name.clone());
            Ok(Value::Nothing)
        }
        None => Err(ExpressionError::NotCallable(name.clone())),
    }
}

fn argument(argument: &Argument, scope: &dyn Scope, into: &mut Evaluation) -> Result<Value, ExpressionError> {
    Ok(match argument {
        Argument::Path(path) => {
            let found = Some(scope)
                .filter(|_| !path.data)
                .and_then(|scope| scope.value(&path.name));
            match found {
                Some(Value::Date(_)) => return Err(ExpressionError::NoFormat(path.name.clone())),
                Some(value) => value.below(&path.below),
                None => {
                    into.unknown.push(path.name.clone());
                    Value::Nothing
                }
            }
        }
        Argument::Text(text) => Value::Text(text.clone()),
        Argument::Number(number) => Value::Number(number.clone()),
        Argument::True => Value::Text("true".to_owned()),
        Argument::False | Argument::Nothing => Value::Nothing,
    })
}

fn date_text(
    call: &Call,
    date: jiff::Timestamp,
    scope: &dyn Scope,
    into: &mut Evaluation,
) -> Result<String, ExpressionError> {
    let name = &call.path.name;
    let written = match &call.arguments[..] {
        [] => return Err(ExpressionError::NoFormat(name.clone())),
        [only] => only,
        _ => return Err(ExpressionError::Arguments(name.clone())),
    };
    let mut zone = "UTC".to_owned();
    for (option, value) in &call.options {
        if option != "tz" {
            return Err(ExpressionError::UnknownOption {
                name: name.clone(),
                option: option.clone(),
            });
        }
        zone = match argument(value, scope, into)? {
            Value::Text(zone) => zone,
            other => return Err(ExpressionError::TimeZone(other.to_text())),
        };
    }
    let format = match (written, argument(written, scope, into)?) {
        (Argument::Text(text), _) => text.clone(),
        // A format without quotes is a name that does not exist; like an empty one it means the usual form.
        (_, Value::Nothing) => String::new(),
        _ => return Err(ExpressionError::Arguments(name.clone())),
    };
    let time = jiff::tz::TimeZone::get(&zone).map_err(|_| ExpressionError::TimeZone(zone.clone()))?;
    Ok(crate::date::format(&date.to_zoned(time), &format))
}

/// The characters that Handlebars escapes.
fn escape_html(text: &str, into: &mut String) {
    for letter in text.chars() {
        match letter {
            '&' => into.push_str("&amp;"),
            '<' => into.push_str("&lt;"),
            '>' => into.push_str("&gt;"),
            '"' => into.push_str("&quot;"),
            '\'' => into.push_str("&#x27;"),
            '`' => into.push_str("&#x60;"),
            '=' => into.push_str("&#x3D;"),
            letter => into.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Scope for Fixed {
        fn value(&self, name: &str) -> Option<Value> {
            Some(match name {
                "branch" => Value::Text("feat/a&b".to_owned()),
                "empty" => Value::Text(String::new()),
                "zero" => Value::Number("0".to_owned()),
                "list" => Value::List(vec!["rc".to_owned(), "1".to_owned()]),
                "date" => Value::Date("2020-01-10T00:30:00Z".parse().expect("a time")),
                _ => return None,
            })
        }
    }

    fn filled(text: &str) -> Result<String, String> {
        let template = Template::parse(text).map_err(|error| error.to_string())?;
        let evaluation = template.fill(&Fixed).map_err(|error| match error {
            EntryError::Expression { source, .. } => source.to_string(),
            other => other.to_string(),
        })?;
        Ok(evaluation.text)
    }

    #[test]
    fn values_are_escaped_unless_told_otherwise() {
        for (template, expected) in [
            ("a-{{branch}}-b", "a-feat/a&amp;b-b"),
            ("{{{branch}}}", "feat/a&b"),
            ("{{& branch }}", "feat/a&b"),
            ("{{ [branch] }}{{'branch'}}", "feat/a&amp;bfeat/a&amp;b"),
            ("{{this.branch}}|{{./branch}}", "feat/a&amp;b|feat/a&amp;b"),
            ("{{missing}}x", "x"),
            ("{{zero}}", "0"),
            ("{{list}} {{list.0}} {{list.[1]}} {{list.7}}", "rc,1 rc 1 "),
            ("a {{~zero~}} b", "a0b"),
            ("a{{! comment }}b{{!-- }} --}}c", "abc"),
            ("\\{{branch}} {{zero}}", "{{branch}} 0"),
            ("\\\\{{zero}}", "\\0"),
            ("} }} {", "} }} {"),
            ("{{true}}x", "x"),
            ("a\n  {{! comment }}  \nb", "a\nb"),
            ("a\n{{#if branch}}\n  b\n{{else}}\n  c\n{{/if}}\r\nd", "a\n  b\nd"),
            ("a\n{{zero}}\nb {{! comment }}\nc", "a\n0\nb \nc"),
            ("{{#if branch}}\na\n{{/if}}", "a\n"),
        ] {
            assert_eq!(filled(template), Ok(expected.to_owned()), "{template}");
        }
    }

    #[test]
    fn conditions_ask_whether_there_is_something() {
        for (template, expected) in [
            ("{{#if branch}}a{{else}}b{{/if}}", "a"),
            ("{{#if empty}}a{{else}}b{{/if}}", "b"),
            ("{{#if zero}}a{{/if}}.", "."),
            ("{{#unless missing}}a{{/unless}}", "a"),
            ("{{#if empty}}a{{else if branch}}b{{else}}c{{/if}}", "b"),
            ("{{#if empty}}a{{^}}{{#if branch}}n{{/if}}{{/if}}", "n"),
        ] {
            assert_eq!(filled(template), Ok(expected.to_owned()), "{template}");
        }
    }

    #[test]
    fn dates_have_a_format_and_a_zone() {
        for (template, expected) in [
            ("{{date 'YYYYMMDD'}}", "20200110"),
            ("{{date \"YYYYMMDD-HHmmss\" tz='Asia/Tokyo'}}", "20200110-093000"),
            ("{{date YYYY-MM-DD}}", "2020-01-10T00:30:00Z"),
            ("{{date '' tz='asia/tokyo'}}", "2020-01-10T09:30:00+09:00"),
        ] {
            assert_eq!(filled(template), Ok(expected.to_owned()), "{template}");
        }
        for (template, said) in [
            ("{{date}}", "needs a format"),
            ("{{date 'YYYY' 'MM'}}", "takes one format"),
            ("{{date 2020}}", "takes one format"),
            ("{{date branch}}", "takes one format"),
            ("{{date true}}", "takes one format"),
            ("{{date 'YYYY' zone='UTC'}}", "no option `zone`"),
            ("{{date 'YYYY' tz='Mars/Base'}}", "no time zone `Mars/Base`"),
            ("{{dat 'YYYY'}}", "nothing called `dat`"),
        ] {
            let error = filled(template).expect_err(template);
            assert!(error.contains(said), "{template}: {error}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for bad in [
            "{{",
            "{{branch",
            "{{branch}",
            "{{}}",
            "{{{branch}}",
            "{{branch}}}",
            "{{a,b}}",
            "{{'a}}",
            "{{#if branch}}",
            "{{#if branch}}{{/unless}}",
            "{{/if}}",
            "{{else}}",
            "{{#if}}{{/if}}",
            "{{#each list}}{{/each}}",
            "{{> partial}}",
            "{{date tz='UTC' 'YYYY'}}",
            "{{{{raw}}}}",
            "{{a (b)}}",
        ] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
        let deep = format!("{}x{}", "{{#if a}}".repeat(2000), "{{/if}}".repeat(2000));
        assert!(matches!(Template::parse(&deep), Err(ExpressionError::TooDeep(_))));
    }

    #[test]
    fn the_raw_statement_stands_alone() {
        for (text, raw) in [
            ("{{raw}}", true),
            ("{{ raw }}", true),
            ("{{{raw}}}", true),
            ("{{ raw }}.{{ version }}", false),
            ("{{version}}", false),
            ("raw", false),
            (" {{raw}}", false),
            ("", false),
        ] {
            assert_eq!(Template::parse(text).expect(text).is_raw(), raw, "{text}");
        }
    }
}
