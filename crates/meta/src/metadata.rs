//! What comes of it all.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::bake;
use crate::error::MetaError;
use crate::event::Event;
use crate::inputs::Inputs;
use crate::level::Level;
use crate::warning::Warning;

/// How many letters of a commit's digest are shown, unless told otherwise.
const SHORT: usize = 7;

/// What the result depends on beside the inputs and the event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The time of the run; the Unix epoch unless given.
    pub now: Timestamp,
    /// How many letters of a commit's digest are shown.
    pub short_commit: ShortLength,
}

/// How many letters of a commit's digest are shown: 7 unless given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortLength(pub usize);

impl Default for ShortLength {
    fn default() -> Self {
        ShortLength(SHORT)
    }
}

/// The names of the tags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Version {
    /// The first tag: the version of the image. `None` when no rule gives one.
    pub main: Option<String>,
    /// The other tags, in their order.
    pub partial: Vec<String>,
    /// Whether there is a tag `latest`.
    pub latest: bool,
}

/// Parts of a bake file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BakePart {
    /// Tags and labels: what most files want.
    TagsAndLabels,
    /// Tags.
    Tags,
    /// Labels.
    Labels,
    /// Annotations.
    Annotations,
}

/// Tags, labels and annotations of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The names of the tags.
    pub version: Version,
    /// The names of the images that count, in lower case.
    pub images: Vec<String>,
    /// How `latest` is spelt, with the flavor's prefix and suffix.
    pub(crate) latest_name: String,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) annotations: Vec<(String, String)>,
    /// What is worth saying.
    pub warnings: Vec<Warning>,
}

impl Metadata {
    /// Computes everything.
    pub fn compute(inputs: &Inputs, event: &Event, options: &Options) -> Result<Metadata, MetaError> {
        crate::compute::metadata(inputs, event, options)
    }

    /// The tags without the names of images, the version first and `latest` last.
    pub fn tag_names(&self) -> Vec<String> {
        let Some(main) = &self.version.main else {
            return Vec::new();
        };
        let latest = self.version.latest.then_some(&self.latest_name);
        std::iter::once(main)
            .chain(&self.version.partial)
            .chain(latest)
            .cloned()
            .collect()
    }

    /// The tags of every image; without an image, the names alone.
    pub fn tags(&self) -> Vec<String> {
        let names = self.tag_names();
        if self.images.is_empty() {
            return names;
        }
        let of = |image: &String| {
            names
                .iter()
                .map(move |name| format!("{image}:{name}"))
                .collect::<Vec<_>>()
        };
        self.images.iter().flat_map(of).collect()
    }

    /// The labels, `NAME=VALUE`, ordered by name.
    pub fn labels(&self) -> Vec<String> {
        joined(&self.labels)
    }

    /// The labels as names and values.
    pub fn label_pairs(&self) -> &[(String, String)] {
        &self.labels
    }

    /// The annotations, `NAME=VALUE`, ordered by name.
    pub fn annotations(&self) -> Vec<String> {
        joined(&self.annotations)
    }

    /// The annotations for each level, `LEVEL:NAME=VALUE`.
    pub fn annotations_on(&self, levels: &[Level]) -> Vec<String> {
        let all = self.annotations();
        let on = |level: &Level| all.iter().map(|text| format!("{level}:{text}")).collect::<Vec<_>>();
        levels.iter().flat_map(on).collect()
    }

    /// Everything as one JSON object.
    pub fn to_json(&self, levels: &[Level]) -> Value {
        json!({
            "tags": self.tags(),
            "tag-names": self.tag_names(),
            "labels": self.labels_object(),
            "annotations": self.annotations_on(levels),
        })
    }

    /// A bake file that defines one target.
    pub fn bake_file(&self, target: &str, part: BakePart, levels: &[Level]) -> Value {
        bake::file(self, target, part, levels)
    }

    pub(crate) fn labels_object(&self) -> Map<String, Value> {
        let pairs = self.labels.iter();
        pairs
            .map(|(name, value)| (name.clone(), Value::String(value.clone())))
            .collect()
    }
}

fn joined(pairs: &[(String, String)]) -> Vec<String> {
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect()
}
