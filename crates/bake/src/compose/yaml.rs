//! YAML as it is written, before anything is known of what it means.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::value::Number;

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
        if text.trim().is_empty() {
            return Ok(Yaml::Null);
        }
        // As in YAML 1.2, `yes` and `on` are text.
        let options = serde_saphyr::options! { strict_booleans: true };
        serde_saphyr::from_str_with_options(text, options).map_err(|error| YamlError {
            line: error
                .location()
                .and_then(|location| usize::try_from(location.line()).ok())
                .filter(|line| *line > 0),
            message: error.without_snippet().to_string(),
        })
    }

    /// The value of a name in a map.
    pub fn get(&self, name: &str) -> Option<&Yaml> {
        match self {
            Yaml::Map(entries) => entries.iter().find(|(known, _)| known == name).map(|(_, value)| value),
            _ => None,
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

impl<'de> Deserialize<'de> for Yaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Yaml, D::Error> {
        deserializer.deserialize_any(YamlVisitor)
    }
}

struct YamlVisitor;

impl<'de> Visitor<'de> for YamlVisitor {
    type Value = Yaml;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }

    fn visit_none<E>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Yaml, D::Error> {
        Yaml::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Yaml, E> {
        Ok(Yaml::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Yaml, E> {
        Ok(Yaml::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Yaml, E> {
        Ok(Yaml::Number(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Yaml, E> {
        Ok(Yaml::Number(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Yaml, E> {
        Ok(Yaml::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Yaml, E> {
        Ok(match Number::from_f64(value) {
            Some(number) => Yaml::Number(number.to_string()),
            None => Yaml::String(value.to_string()),
        })
    }

    fn visit_str<E>(self, text: &str) -> Result<Yaml, E> {
        Ok(Yaml::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Yaml, E> {
        Ok(Yaml::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Yaml, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Yaml::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Yaml, A::Error> {
        let mut entries = Vec::new();
        while let Some((name, value)) = access.next_entry::<Yaml, Yaml>()? {
            let name = name
                .scalar()
                .ok_or_else(|| serde::de::Error::custom("names in a map are text"))?;
            entries.push((name, value));
        }
        Ok(Yaml::Map(entries))
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
