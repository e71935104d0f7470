//! Bake files: what a build takes over from the metadata.

use serde_json::{Map, Value, json};

use crate::level::Level;
use crate::metadata::{BakePart, Metadata};

/// A file with one target.
pub(crate) fn file(metadata: &Metadata, target: &str, part: BakePart, levels: &[Level]) -> Value {
    let mut definition = Map::new();
    if matches!(part, BakePart::Tags | BakePart::TagsAndLabels) {
        definition.insert("tags".to_owned(), json!(metadata.tags()));
    }
    if matches!(part, BakePart::Labels | BakePart::TagsAndLabels) {
        let labels = metadata.labels.iter();
        let labels = labels.map(|(name, value)| (bake_literal(name), Value::String(bake_literal(value))));
        definition.insert("labels".to_owned(), Value::Object(labels.collect()));
    }
    if part == BakePart::Annotations {
        let annotations = metadata.annotations_on(levels);
        let annotations: Vec<_> = annotations.iter().map(|text| bake_literal(text)).collect();
        definition.insert("annotations".to_owned(), json!(annotations));
    }
    if matches!(part, BakePart::Tags | BakePart::TagsAndLabels) {
        let mut arguments = Map::new();
        arguments.insert("DOCKER_META_IMAGES".to_owned(), json!(metadata.images.join(",")));
        if let Some(version) = &metadata.version.main {
            arguments.insert("DOCKER_META_VERSION".to_owned(), json!(version));
        }
        definition.insert("args".to_owned(), Value::Object(arguments));
    }
    json!({"target": {target: definition}})
}

/// A text as a bake file has it in JSON, where texts are templates: `${…}` and `%{…}` would be filled in. The letters that
/// begin them come from templates then: a second one before them would be an escape, and ambiguous behind a third.
pub fn bake_literal(text: &str) -> String {
    if !text.contains("${") && !text.contains("%{") {
        return text.to_owned();
    }
    let mut literal = String::new();
    for letter in text.chars() {
        match letter {
            '$' => literal.push_str("${\"$\"}"),
            '%' => literal.push_str("${\"%\"}"),
            letter => literal.push(letter),
        }
    }
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_of_bake_are_literals() {
        for (text, expected) in [
            ("100% for $5 {a}", "100% for $5 {a}"),
            ("${a}", "${\"$\"}{a}"),
            ("$${a}", "${\"$\"}${\"$\"}{a}"),
            ("$%{if}", "${\"$\"}${\"%\"}{if}"),
        ] {
            assert_eq!(bake_literal(text), expected, "{text}");
        }
    }
}
