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
        definition.insert("labels".to_owned(), Value::Object(metadata.labels_object()));
    }
    if part == BakePart::Annotations {
        definition.insert("annotations".to_owned(), json!(metadata.annotations_on(levels)));
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
