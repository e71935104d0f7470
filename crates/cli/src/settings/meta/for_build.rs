//! `--meta` of `kiln build` and `kiln bake`: what a build takes over.

use kiln_meta::{Document, Input, Level, Metadata, Setting, bake_literal};
use serde_json::{Map, Value, json};

use super::{BAKE_TARGET, Chosen, document_of, event, file_text, levels, options, refused, source};
use crate::command_error::{CommandError, ErrorKind};
use crate::environment::Environment;
use crate::output;

/// What a build takes over.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct BuildMetadata {
    /// Names of the image.
    pub tags: Vec<String>,
    /// Labels, `NAME=VALUE`.
    pub labels: Vec<String>,
    /// Annotations, `LEVEL:NAME=VALUE`.
    pub annotations: Vec<String>,
    /// Arguments that bake files of the action have: images and version. An earlier result does not tell them.
    pub args: Vec<(String, String)>,
    /// The target that a bake file has for all of this, if one was chosen.
    pub target: Option<String>,
}

/// What the values of `--meta` define for `kiln bake`: a target like that in the action's bake files, with annotations.
/// None without any value.
pub fn for_bake(written: &[String], environment: &Environment) -> Result<Option<String>, CommandError> {
    if written.is_empty() {
        return Ok(None);
    }
    let metadata = for_build(written, environment)?;
    let pairs = |pairs: &mut dyn Iterator<Item = (&str, &str)>| -> Map<String, Value> {
        pairs
            .map(|(name, value)| (bake_literal(name), bake_literal(value).into()))
            .collect()
    };
    let labels = pairs(&mut metadata.labels.iter().filter_map(|label| label.split_once('=')));
    let args = pairs(
        &mut metadata
            .args
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    let literals = |texts: &[String]| texts.iter().map(|text| bake_literal(text)).collect::<Vec<_>>();
    let target = json!({
        "tags": literals(&metadata.tags),
        "labels": labels,
        "annotations": literals(&metadata.annotations),
        "args": args,
    });
    let name = metadata.target.as_deref().unwrap_or(BAKE_TARGET);
    Ok(Some(json!({"target": {name: target}}).to_string()))
}

/// Reads the values of `--meta`: files, and inputs as `NAME=VALUE`. Without any there is nothing to take over.
pub fn for_build(written: &[String], environment: &Environment) -> Result<BuildMetadata, CommandError> {
    if written.is_empty() {
        return Ok(BuildMetadata::default());
    }
    let mut document = Document::default();
    let mut computed: Option<BuildMetadata> = None;
    for text in written {
        let named = text
            .split_once('=')
            .map(|(name, value)| (Input::named(name), Setting::named(name), value));
        match named {
            Some((Some(input), _, value)) => document.inputs.add(input, value).map_err(|error| refused(&error))?,
            Some((None, Some(setting), value)) => _ = document.settings.insert(setting, value.to_owned()),
            _ => {
                let content = file_text(text)?;
                if content.trim_start().starts_with('{') {
                    computed = Some(result_of(text, &content)?);
                    continue;
                }
                let read = document_of(text, &content)?;
                document.inputs.append(read.inputs);
                // What is said beside a file wins over the file.
                for (setting, value) in read.settings {
                    document.settings.entry(setting).or_insert(value);
                }
            }
        }
    }
    let target = document.settings.get(&Setting::BakeTarget).cloned();
    let metadata = match computed {
        Some(computed) if document.inputs.is_empty() => computed,
        Some(_) => {
            return Err(CommandError::user("--meta has a result and inputs for another one").hint("give one of them"));
        }
        None => compute(&document, environment)?,
    };
    let metadata = BuildMetadata { target, ..metadata };
    metadata.annotations.iter().try_for_each(|text| can_be_put(text))?;
    Ok(metadata)
}

/// Levels that exist, and that a build has no place for, are refused: a part of the name they must not become.
fn can_be_put(annotation: &str) -> Result<(), CommandError> {
    let served = ["manifest", "index", "manifest-descriptor"];
    match annotation.split_once(':') {
        Some((level, _)) if level.parse::<Level>().is_ok() && !served.contains(&level) => Err(CommandError::user(
            format!("a build cannot put annotations on `{level}`"),
        )
        .hint("DOCKER_METADATA_ANNOTATIONS_LEVELS may list manifest, index and manifest-descriptor")),
        _ => Ok(()),
    }
}

fn compute(document: &Document, environment: &Environment) -> Result<BuildMetadata, CommandError> {
    let inputs = &document.inputs;
    let source = source(None, document)?;
    if inputs.images.is_empty() {
        return Err(CommandError::user("--meta names no image")
            .hint("add --meta images=registry.example.com/team/app, or `images` to the file"));
    }
    let event = event(source, &Chosen::default(), environment)?;
    let metadata = Metadata::compute(inputs, &event, &options(environment)?).map_err(|error| refused(&error))?;
    for warning in &metadata.warnings {
        output::talk(&format!("warning: {warning}"));
    }
    // Images that are switched off leave names that are no names of images.
    let tags = if metadata.images.is_empty() {
        Vec::new()
    } else {
        metadata.tags()
    };
    let mut args = vec![("DOCKER_META_IMAGES".to_owned(), metadata.images.join(","))];
    args.extend(
        metadata
            .version
            .main
            .iter()
            .map(|version| ("DOCKER_META_VERSION".to_owned(), version.clone())),
    );
    Ok(BuildMetadata {
        tags,
        labels: metadata.labels(),
        annotations: metadata.annotations_on(&levels(environment)?),
        args,
        target: None,
    })
}

/// A result that was computed before: the JSON of `kiln meta --format json`, and of the action's output `json`.
fn result_of(file: &str, content: &str) -> Result<BuildMetadata, CommandError> {
    let invalid = || {
        CommandError::user(format!("`{file}` is no result of `kiln meta`"))
            .hint("write it with `kiln meta --format json`")
    };
    let value: Value = serde_json::from_str(content)
        .map_err(|error| CommandError::from_error(ErrorKind::User, &error))
        .map_err(|mut command| {
            command.messages.insert(0, format!("failed to read `{file}`"));
            command
        })?;
    let texts = |value: &Value| -> Result<Vec<String>, CommandError> {
        let items = value.as_array().ok_or_else(invalid)?;
        items
            .iter()
            .map(|item| item.as_str().map(str::to_owned).ok_or_else(invalid))
            .collect()
    };
    let labels = value["labels"].as_object().ok_or_else(invalid)?;
    Ok(BuildMetadata {
        tags: texts(&value["tags"])?,
        labels: labels
            .iter()
            .map(|(name, value)| {
                value
                    .as_str()
                    .map(|value| format!("{name}={value}"))
                    .ok_or_else(invalid)
            })
            .collect::<Result<_, _>>()?,
        annotations: texts(&value["annotations"])?,
        args: Vec::new(),
        target: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_taken_as_it_is() {
        let text = r#"{"tags": ["a:1"], "tag-names": ["1"], "labels": {"x": "y=z"}, "annotations": ["manifest:x=y"]}"#;
        let read = result_of("meta.json", text).expect("a result");
        let expected = BuildMetadata {
            tags: vec!["a:1".into()],
            labels: vec!["x=y=z".into()],
            annotations: vec!["manifest:x=y".into()],
            ..BuildMetadata::default()
        };
        assert_eq!(read, expected);
        for bad in ["{", "{}", r#"{"tags": "a", "labels": {}, "annotations": []}"#] {
            assert!(result_of("meta.json", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn levels_without_a_place_are_refused() {
        for (annotation, fine) in [
            ("manifest:a=b", true),
            ("index:a=b", true),
            ("a=b:c", true),
            ("org.example:x=y", true),
            ("index-descriptor:a=b", false),
            ("manifest[linux/amd64]:a=b", false),
        ] {
            assert_eq!(can_be_put(annotation).is_ok(), fine, "{annotation}");
        }
    }

    #[test]
    fn images_must_be_named() {
        let error = for_build(&["tags=type=sha".to_owned()], &Environment::default()).expect_err("no image");
        assert!(error.hints[0].contains("--meta images="), "{error}");
        let error = for_build(&["context=mars".to_owned()], &Environment::default()).expect_err("no context");
        assert!(error.to_string().contains("mars"), "{error}");
    }
}
