//! `metadata-action`: tags, labels and annotations for events of GitHub.
//!
//! The peer asks GitHub's API about the repository and, for some events, the time of the commit; its tests answer from
//! `fixtures/repo.json` and the clock, and so does the driver.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use kiln_meta::provider::{Provider, Variables};
use kiln_meta::{
    BakePart, Entry, Event, Flavor, Image, Input, Inputs, Latest, Level, Metadata, Options, Repository, TagRule,
    Template,
};
use serde_json::{Map, Value, json};

use super::CorpusResult;
use super::tables::{equal, refused, strings};

/// What the cases are run with.
struct World<'dir> {
    dir: &'dir Path,
    clock: Options,
    repository: Repository,
}

/// Drives every case.
pub(super) fn drive(dir: &Path) -> CorpusResult {
    let mut result = CorpusResult::new("metadata-action");
    let (file, world) = match read(dir) {
        Ok(read) => read,
        Err(error) => {
            result.fail("cases.json", error);
            return result;
        }
    };
    for case in file["cases"].as_array().into_iter().flatten() {
        let name = case["id"].as_str().unwrap_or("a case without a name");
        match catch_unwind(AssertUnwindSafe(|| world.case(case))) {
            Ok(outcome) => result.record(name, outcome),
            Err(_) => result.fail(name, "the code under test panics"),
        }
    }
    result
}

fn read(dir: &Path) -> Result<(Value, World<'_>), String> {
    let file = json_file(&dir.join("cases.json"))?;
    let clock = file["clock"].as_str().and_then(|clock| clock.split(' ').next());
    let now = clock.unwrap_or_default().parse().map_err(|error| format!("{error}"))?;
    let repository = json_file(&dir.join(file["repo"].as_str().unwrap_or_default()))?;
    let world = World {
        dir,
        clock: Options {
            now,
            ..Options::default()
        },
        repository: Repository::from_json(&repository),
    };
    Ok((file, world))
}

fn json_file(path: &Path) -> Result<Value, String> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display()))
}

impl World<'_> {
    fn case(&self, case: &Value) -> Result<(), String> {
        let expected = &case["expect"];
        match case["kind"].as_str().unwrap_or_default() {
            "is_raw_statement" => {
                let pattern = case["pattern"].as_str().unwrap_or_default();
                let raw = Template::parse(pattern).is_ok_and(|template| template.is_raw());
                equal(expected.as_bool(), Some(raw))
            }
            "tag_parse" => checked(case, tag_rule(case["input"].as_str().unwrap_or_default())),
            "flavor" => checked(case, flavor(&strings(&case["inputs"]))),
            "images" => checked(case, images(&strings(&case["inputs"]))),
            "get_inputs" => action_inputs(&case["inputs"], expected),
            "tags_labels" => {
                let metadata = self.metadata(case)?;
                let version = &metadata.version;
                let version = json!({"main": version.main, "partial": version.partial, "latest": version.latest});
                same(&expected["version"], &version)?;
                equal(strings(&expected["tags"]), metadata.tags())?;
                equal(strings(&expected["labels"]), metadata.labels())?;
                equal(strings(&expected["annotations"]), metadata.annotations())
            }
            "json" => same(expected, &self.metadata(case)?.to_json(&levels(case)?)),
            "bake_file_tags_labels" => self.bake_file(case, BakePart::TagsAndLabels),
            "bake_file" => {
                // What is in the file says which one it is.
                let target = expected["target"]
                    .as_object()
                    .and_then(|targets| targets.values().next());
                let part = match target {
                    Some(target) if !target["annotations"].is_null() => BakePart::Annotations,
                    Some(target) if !target["labels"].is_null() => BakePart::Labels,
                    _ => BakePart::Tags,
                };
                self.bake_file(case, part)
            }
            "sep_tags" => {
                let separator = case["inputs"]["sepTags"].as_str().unwrap_or("\n");
                equal(
                    expected.as_str().unwrap_or_default(),
                    &self.metadata(case)?.tags().join(separator),
                )
            }
            other => Err(format!("no driver for cases of the kind `{other}`")),
        }
    }

    fn bake_file(&self, case: &Value, part: BakePart) -> Result<(), String> {
        let target = case["inputs"]["bakeTarget"]
            .as_str()
            .unwrap_or("docker-metadata-action");
        let file = self.metadata(case)?.bake_file(target, part, &levels(case)?);
        same(&case["expect"], &file)
    }

    fn metadata(&self, case: &Value) -> Result<Metadata, String> {
        let mut inputs = Inputs::default();
        for input in Input::ALL {
            for (text, line) in strings(&case["inputs"][input.name()]).iter().zip(1..) {
                inputs.push(input, line, text).map_err(|error| error.to_string())?;
            }
        }
        let event = self.event(case)?;
        Metadata::compute(&inputs, &event, &self.clock).map_err(|error| format!("{error}: {}", error.problem))
    }

    fn event(&self, case: &Value) -> Result<Event, String> {
        let file = self.dir.join(case["env_file"].as_str().unwrap_or_default());
        let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let variables: Variables = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let payload = match Provider::GitHub.payload_file(&variables) {
            Some(path) => {
                let name = Path::new(path).file_name().unwrap_or_default();
                json_file(&self.dir.join("fixtures").join(name))?
            }
            None => Value::Null,
        };
        let head = case["describe"] == "pr-head-sha";
        Ok(Event {
            commit_time: Some(self.clock.now),
            repository: self.repository.clone(),
            ..Provider::GitHub.event(&variables, &payload, head)
        })
    }
}

/// The levels of annotations: a variable of the peer's, that its cases carry where they set it.
fn levels(case: &Value) -> Result<Vec<Level>, String> {
    match case["env"]["DOCKER_METADATA_ANNOTATIONS_LEVELS"].as_str() {
        Some(levels) => Level::parse_list(levels).map_err(|error| error.to_string()),
        None => Ok(vec![Level::default()]),
    }
}

/// Holds when the result is the expected one, or when an error is expected and there.
fn checked(case: &Value, result: Result<Value, String>) -> Result<(), String> {
    if case["expect_error"] == true {
        return refused(result);
    }
    same(&case["expect"], &result?)
}

fn same(expected: &Value, is: &Value) -> Result<(), String> {
    if expected == is {
        Ok(())
    } else {
        Err(format!("expected {expected}, got {is}"))
    }
}

fn entry(input: Input, text: &str) -> Entry {
    Entry {
        input,
        file: None,
        line: 1,
        text: text.to_owned(),
    }
}

fn tag_rule(text: &str) -> Result<Value, String> {
    let rule = TagRule::parse(&entry(Input::Tags, text)).map_err(|error| error.to_string())?;
    let attributes: Map<String, Value> = rule
        .attributes()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    Ok(json!({"type": rule.kind.name(), "attrs": attributes}))
}

fn entries(input: Input, texts: &[String]) -> Vec<Entry> {
    texts.iter().map(|text| entry(input, text)).collect()
}

fn flavor(texts: &[String]) -> Result<Value, String> {
    let flavor = Flavor::read_all(&entries(Input::Flavor, texts)).map_err(|error| error.to_string())?;
    let latest = match flavor.latest {
        Latest::Auto => "auto",
        Latest::Always => "true",
        Latest::Never => "false",
    };
    Ok(json!({
        "latest": latest,
        "prefix": flavor.prefix.text(),
        "prefixLatest": flavor.prefix_latest,
        "suffix": flavor.suffix.text(),
        "suffixLatest": flavor.suffix_latest,
    }))
}

fn images(texts: &[String]) -> Result<Value, String> {
    let images = Image::read_all(&entries(Input::Images, texts)).map_err(|error| error.to_string())?;
    let all = images
        .iter()
        .map(|image| json!({"name": image.name, "enable": image.enable}));
    Ok(all.collect())
}

/// The lists of the action's inputs. What else it has (separators, the target's name, a token) are flags of `kiln meta`, or
/// nothing to compute.
fn action_inputs(given: &Value, expected: &Value) -> Result<(), String> {
    let mut inputs = Inputs::default();
    let mut read = BTreeMap::new();
    for input in Input::ALL {
        let text = given[input.name()].as_str().unwrap_or_default();
        inputs.add(input, text).map_err(|error| error.to_string())?;
        let texts: Vec<_> = inputs.entries(input).iter().map(|entry| entry.text.clone()).collect();
        read.insert(input, texts);
    }
    for (input, texts) in read {
        equal(strings(&expected[input.name()]), texts)?;
    }
    Ok(())
}
