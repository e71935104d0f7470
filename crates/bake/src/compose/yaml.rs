//! YAML as it is written, before anything is known of what it means.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{NonFiniteFloatPolicy, Tagged};

/// A document or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub enum Yaml {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A number, with all its digits.
    Number(String),
    /// Text.
    String(String),
    /// A list.
    List(Vec<Yaml>),
    /// Values by name, in the order of the file.
    Map(Vec<(String, Yaml)>),
}

/// Why a text is no YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YamlError {
    /// What is wrong.
    pub message: String,
    /// Where, from 1; None if unknown.
    pub line: Option<usize>,
}

impl Yaml {
    /// Parses a text. How much aliases may repeat, and how deeply it may nest, is bounded by the parser.
    ///
    /// # Errors
    /// The first mistake, with its line.
    pub fn parse(text: &str) -> Result<Yaml, YamlError> {
        let documents = Document::parse_all(text)?;
        Ok(documents
            .into_iter()
            .next()
            .map_or(Yaml::Null, |document| document.root))
    }

    /// The value of a name in a map.
    pub fn get(&self, name: &str) -> Option<&Yaml> {
        match self {
            Yaml::Map(entries) => entries.iter().find(|(known, _)| known == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// Takes away what is at the end of a path of names.
    pub(super) fn remove(&mut self, path: &[String]) {
        let (Yaml::Map(entries), [name, rest @ ..]) = (self, path) else {
            return;
        };
        if rest.is_empty() {
            entries.retain(|(known, _)| known != name);
        } else if let Some((_, value)) = entries.iter_mut().find(|(known, _)| known == name) {
            value.remove(rest);
        }
    }

    /// A scalar as text; None for null, lists and maps.
    pub fn scalar(&self) -> Option<String> {
        match self {
            Yaml::Bool(value) => Some(value.to_string()),
            Yaml::Number(text) | Yaml::String(text) => Some(text.clone()),
            Yaml::Null | Yaml::List(_) | Yaml::Map(_) => None,
        }
    }

    /// What it is called in errors.
    pub fn kind(&self) -> &'static str {
        match self {
            Yaml::Null => "null",
            Yaml::Bool(_) => "boolean",
            Yaml::Number(_) => "number",
            Yaml::String(_) => "string",
            Yaml::List(_) => "array",
            Yaml::Map(_) => "object",
        }
    }
}

/// A document, and the places in it that take something away from the documents before it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Document {
    /// Its content, without what `!reset` marks.
    pub(super) root: Yaml,
    /// Where `!reset` and `!override` stand, by the names on the way.
    pub(super) replaced: Vec<Vec<String>>,
}

impl Document {
    /// Parses a text, as [`Yaml::parse`], with all documents that are in it; empty ones are left out.
    ///
    /// # Errors
    /// The first mistake, with its line.
    pub(super) fn parse_all(text: &str) -> Result<Vec<Document>, YamlError> {
        if text.trim().is_empty() {
            return Ok(Vec::new());
        }
        // As in YAML 1.2, `yes` and `on` are text; a number that begins with 0 is octal, as it was in YAML 1.1.
        let options = serde_saphyr::options! {
            strict_booleans: true,
            legacy_octal_numbers: true,
            non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        };
        let roots: Vec<Tagged<Node>> = serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
            let line = error
                .location()
                .and_then(|location| usize::try_from(location.line()).ok())
                .filter(|line| *line > 0);
            let message = match error.without_snippet() {
                serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => {
                    format!("mapping key {key:?} is there twice")
                }
                other => other.to_string(),
            };
            YamlError { message, line }
        })?;
        Ok(roots.into_iter().map(Document::of).collect())
    }

    fn of(root: Tagged<Node>) -> Document {
        let mut document = Document {
            root: Yaml::Null,
            replaced: Vec::new(),
        };
        document.root = document.settled(root, &mut Vec::new()).unwrap_or(Yaml::Null);
        document
    }

    /// A node without its tags; None if it is only there to take something away.
    fn settled(&mut self, node: Tagged<Node>, path: &mut Vec<String>) -> Option<Yaml> {
        let Tagged(node, tag) = node;
        match tag.as_deref() {
            Some("!reset") => {
                self.replaced.push(path.clone());
                return None;
            }
            Some("!override") => self.replaced.push(path.clone()),
            _ => {}
        }
        Some(match node {
            Node::Scalar(scalar) => scalar,
            Node::List(items) => {
                let items = items.into_iter().filter_map(|item| self.settled(item, path));
                Yaml::List(items.collect())
            }
            Node::Map(entries) => {
                let mut kept = Vec::new();
                for (name, value) in entries {
                    path.push(name.clone());
                    let value = self.settled(value, path);
                    path.pop();
                    kept.extend(value.map(|value| (name, value)));
                }
                Yaml::Map(kept)
            }
        })
    }
}

/// A document as it is parsed.
enum Node {
    Scalar(Yaml),
    List(Vec<Tagged<Node>>),
    Map(Vec<(String, Tagged<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl NodeVisitor {
    fn number<E>(digits: impl fmt::Display) -> Result<Node, E> {
        Ok(Node::Scalar(Yaml::Number(digits.to_string())))
    }
}

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Yaml::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Yaml::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(Yaml::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        NodeVisitor::number(value)
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        NodeVisitor::number(value)
    }

    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        NodeVisitor::number(shown_float(value as f64))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Node, E> {
        NodeVisitor::number(shown_float(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        NodeVisitor::number(shown_float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Scalar(Yaml::String(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Node, E> {
        Ok(Node::Scalar(Yaml::String(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some((name, value)) = access.next_entry::<Node, Tagged<Node>>()? {
            let name = match name {
                Node::Scalar(name) => name.scalar(),
                Node::List(_) | Node::Map(_) => None,
            };
            let name = name.ok_or_else(|| serde::de::Error::custom("names in a map are text"))?;
            entries.push((name, value));
        }
        Ok(Node::Map(entries))
    }
}

/// A number as the peer shows it: with an exponent if it has more than six digits before the point, or is very small.
fn shown_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    match scientific.split_once('e') {
        Some((digits, exponent)) => match exponent.parse::<i32>() {
            Ok(exponent) if !(-4..6).contains(&exponent) => {
                let sign = if exponent < 0 { '-' } else { '+' };
                format!("{digits}e{sign}{:02}", exponent.abs())
            }
            _ => value.to_string(),
        },
        None => scientific,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_keep_their_kinds() {
        let parsed = Yaml::parse("a: 1\nb: [true, null, 'x', 1.5, yes]\nc: &x {d: e}\nf: *x\n").expect("valid");
        assert_eq!(parsed.get("a"), Some(&Yaml::Number("1".into())));
        let kinds: Vec<_> = match parsed.get("b") {
            Some(Yaml::List(items)) => items.iter().map(Yaml::kind).collect(),
            other => panic!("{other:?}"),
        };
        assert_eq!(kinds, ["boolean", "null", "string", "number", "string"]);
        assert_eq!(parsed.get("c"), parsed.get("f"));
    }

    #[test]
    fn numbers_are_shown_as_the_peer_shows_them() {
        for (text, shown) in [
            ("1.50", "1.5"),
            ("1.0", "1"),
            ("010", "8"),
            ("0o10", "8"),
            ("0x1F", "31"),
            ("1_000", "1000"),
            ("123456.5", "123456.5"),
            ("1234567.5", "1.2345675e+06"),
            ("1e21", "1e+21"),
            ("0.00001", "1e-05"),
            ("18446744073709551615", "18446744073709551615"),
            ("100000000000000000000000", "1e+23"),
            (".inf", "+Inf"),
            (".nan", "NaN"),
        ] {
            assert_eq!(
                Yaml::parse(text).expect("valid").scalar().as_deref(),
                Some(shown),
                "{text}"
            );
        }
    }

    #[test]
    fn a_file_may_have_several_documents() {
        let documents = Document::parse_all("---\na: 1\n---\n---\nb: !reset 2\n...\n").expect("valid");
        let roots: Vec<_> = documents.iter().map(|document| &document.root).collect();
        assert_eq!(roots, [&Yaml::parse("a: 1").expect("valid"), &Yaml::Map(Vec::new())]);
        let twice = Yaml::parse("a: 1\na: 2\n").expect_err("twice");
        assert_eq!(
            (twice.message.as_str(), twice.line),
            ("mapping key \"a\" is there twice", Some(2))
        );
    }

    #[test]
    fn tags_say_what_is_taken_away() {
        let text = "a: {b: !reset null, c: !override [1], d: 2}\ne: !reset [x]\nf: [!reset x, y]\ng: !other z\n";
        let document = Document::parse_all(text).expect("valid").remove(0);
        let paths: Vec<String> = document.replaced.iter().map(|path| path.join(".")).collect();
        assert_eq!(paths, ["a.b", "a.c", "e", "f"]);
        assert_eq!(
            document.root,
            Yaml::parse("a: {c: [1], d: 2}\nf: [y]\ng: z\n").expect("valid")
        );
        let mut root = document.root;
        root.remove(&["a".to_owned(), "c".to_owned()]);
        root.remove(&["g".to_owned()]);
        root.remove(&["f".to_owned(), "0".to_owned()]);
        assert_eq!(root, Yaml::parse("a: {d: 2}\nf: [y]\n").expect("valid"));
    }

    #[test]
    fn what_explodes_is_refused() {
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned()
            + &(0..12)
                .map(|level| {
                    let (name, before) = ((b'b' + level) as char, (b'a' + level) as char);
                    format!("{name}: &{name} [{}]\n", vec![format!("*{before}"); 9].join(","))
                })
                .collect::<String>();
        assert!(Yaml::parse(&bomb).is_err());
        assert!(Yaml::parse(&"[".repeat(100_000)).is_err());
        assert!(Yaml::parse("a: [\nb").expect_err("unclosed").line.is_some());
    }
}
