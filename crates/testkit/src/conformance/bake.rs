//! Bake definitions: files, arguments and environment in, resolved targets or an error out.

mod functions;
mod tables;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use kiln_bake::BakeError;
use kiln_bake::config::{Definition, File, Inputs, read};
use kiln_bake::functions::{Host, clean_path};
use kiln_bake::model::printed;
use kiln_bake::resolve::{Selection, resolve};
use serde::Deserialize;
use serde_json::Value;

use super::CorpusResult;

/// Drives `cases.json` and `tables.json`.
pub(super) fn drive(dir: &Path) -> CorpusResult {
    let mut result = CorpusResult::new("bake");
    #[derive(Deserialize)]
    struct Cases {
        cases: Vec<Case>,
    }
    let cases = fs::read(dir.join("cases.json"))
        .map_err(|error| error.to_string())
        .and_then(|bytes| serde_json::from_slice::<Cases>(&bytes).map_err(|error| error.to_string()));
    match cases {
        Ok(cases) => {
            for case in &cases.cases {
                let outcome = catch_unwind(AssertUnwindSafe(|| case.hold()));
                result.record(
                    &case.id,
                    outcome.unwrap_or_else(|_| Err("the code under test panics".to_owned())),
                );
            }
        }
        Err(error) => result.fail("cases.json", error),
    }
    super::tables::drive(dir, &mut result, tables::drive);
    result
}

/// A definition with what is asked of it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Case {
    #[serde(default)]
    id: String,
    #[serde(default)]
    pub(super) files: Vec<CaseFile>,
    #[serde(default)]
    pub(super) targets: Vec<String>,
    #[serde(default)]
    pub(super) overrides: Vec<String>,
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    #[serde(default)]
    compose_env: BTreeMap<String, String>,
    #[serde(default)]
    vars: BTreeMap<String, String>,
    #[serde(default)]
    defaults: BTreeMap<String, String>,
    #[serde(default)]
    cwd_files: HashMap<String, String>,
    #[serde(default)]
    file_relative_paths: bool,
    expect_print: Option<Value>,
    expect_error: Option<String>,
    /// What the peer's program prints, where it is more than the library resolves.
    cli_print: Option<Value>,
    cli_error: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct CaseFile {
    pub(super) name: String,
    pub(super) content: String,
}

impl Case {
    /// A definition in one file.
    pub(super) fn of(name: &str, content: &str, targets: &[&str]) -> Case {
        Case {
            files: vec![CaseFile {
                name: name.to_owned(),
                content: content.to_owned(),
            }],
            targets: targets.iter().map(|target| (*target).to_owned()).collect(),
            ..Case::default()
        }
    }

    fn hold(&self) -> Result<(), String> {
        match (&self.expect_error, self.print(false)) {
            (Some(expected), Err(error)) => {
                let is = error.to_string();
                let also = self.cli_error.as_deref().is_some_and(|other| is.contains(other));
                if also || is.contains(expected) {
                    Ok(())
                } else {
                    Err(format!("expected the error {expected:?}, got {is:?}"))
                }
            }
            (Some(expected), Ok(printed)) => Err(format!("expected the error {expected:?}, got {printed}")),
            (None, Err(error)) => Err(format!("fails: {error}")),
            (None, Ok(printed)) => {
                same(self.expect_print.as_ref(), &printed)?;
                match &self.cli_print {
                    Some(expected) => same(Some(expected), &self.print(true).map_err(|error| error.to_string())?),
                    None => Ok(()),
                }
            }
        }
    }

    /// The resolved definition. The program also shortens paths of contexts.
    pub(super) fn print(&self, as_the_program: bool) -> Result<Value, BakeError> {
        let definition = self.read()?;
        let selection = Selection {
            targets: self.targets.clone(),
            overrides: self.overrides.clone(),
            environment: self.env.clone(),
        };
        let mut resolved = resolve(&definition.config, &selection)?;
        if as_the_program {
            for context in resolved
                .targets
                .values_mut()
                .filter_map(|target| target.context.as_mut())
            {
                let path = context.strip_prefix("cwd://").unwrap_or(context);
                if !kiln_bake::config::is_remote(path) {
                    *context = clean_path(path);
                }
            }
        }
        let printed = printed(&resolved.targets, &resolved.groups);
        Ok(serde_json::to_value(printed).unwrap_or_default())
    }

    pub(super) fn read(&self) -> Result<Definition, BakeError> {
        let files: Vec<File> = self
            .files
            .iter()
            .map(|file| File {
                name: file.name.clone(),
                text: file.content.clone(),
            })
            .collect();
        let mut environment = self.env.clone();
        environment.extend(self.compose_env.clone());
        let beside = |path: &str| {
            let path = clean_path(path.strip_prefix("cwd://").unwrap_or(path));
            Ok(self.cwd_files.get(&path).cloned())
        };
        let inputs = Inputs {
            variables: self.vars.clone(),
            environment,
            built_in: self.defaults.clone(),
            host: host(),
            file_relative_paths: self.file_relative_paths,
            read_file: &beside,
        };
        read(&files, &inputs)
    }
}

pub(super) fn host() -> Host {
    Host {
        now: 1_700_000_000,
        home: Some("/root".to_owned()),
        random: |bytes| bytes.fill(7),
    }
}

/// Holds when both say the same. Where the peer prints null for nothing, nothing is meant.
fn same(expected: Option<&Value>, is: &Value) -> Result<(), String> {
    let nothing = serde_json::json!({});
    let part = |value: &Value, key: &str| match &value[key] {
        Value::Null => nothing.clone(),
        other => other.clone(),
    };
    let expected = expected.unwrap_or(&nothing);
    for key in ["group", "target"] {
        let (wanted, got) = (part(expected, key), part(is, key));
        if wanted != got {
            return Err(difference(key, &wanted, &got));
        }
    }
    Ok(())
}

/// The first thing that differs.
fn difference(place: &str, wanted: &Value, got: &Value) -> String {
    if let (Value::Object(wanted), Value::Object(got)) = (wanted, got) {
        let names: std::collections::BTreeSet<&String> = wanted.keys().chain(got.keys()).collect();
        for name in names {
            let (one, two) = (wanted.get(name), got.get(name));
            if one != two {
                let null = Value::Null;
                return difference(&format!("{place}.{name}"), one.unwrap_or(&null), two.unwrap_or(&null));
            }
        }
    }
    format!("{place}: expected {wanted}, got {got}")
}

/// `realworld`: definitions of public projects. A case holds when its targets, its variables, what is built without
/// asking for anything and what is built of all targets are the peer's.
pub(super) fn realworld(dir: &Path, result: &mut CorpusResult) {
    for (name, path) in super::dockerfile_syntax::entries(&dir.join("bake")) {
        let expected = dir.join("bake-expected").join(format!("{name}.json"));
        let outcome = catch_unwind(AssertUnwindSafe(|| read_as_the_peer(&path, &expected)));
        result.record(
            name,
            outcome.unwrap_or_else(|_| Err("the code under test panics".to_owned())),
        );
    }
}

fn read_as_the_peer(definition: &Path, expected: &Path) -> Result<(), String> {
    let text = |path: &Path| fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
    let expected: Value = serde_json::from_str(&text(expected)?).map_err(|error| error.to_string())?;
    let file = expected["file"].as_str().unwrap_or("docker-bake.hcl");
    let built_in = [("BAKE_CMD_CONTEXT", "cwd://"), ("BAKE_LOCAL_PLATFORM", "linux/amd64")];
    let case = |targets: Vec<String>| Case {
        targets,
        defaults: built_in.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..Case::of(file, &text(definition).unwrap_or_default(), &[])
    };
    let mut all = Vec::new();
    if expected["list_error"].is_null() {
        let read = case(Vec::new()).read().map_err(|error| error.to_string())?;
        same_names(&expected["targets"], &read)?;
        same_variables(&expected["variables"], &read)?;
        let targets = expected["targets"].as_array().into_iter().flatten();
        all = targets
            .filter_map(|target| target["name"].as_str().map(str::to_owned))
            .collect();
    }
    for (key, targets) in [("default", vec!["default".to_owned()]), ("all", all)] {
        let error = expected[format!("{key}_error")].as_str();
        if error.is_none() && expected[key].is_null() {
            continue;
        }
        match (case(targets).print(true), error) {
            (Ok(printed), None) => same(Some(&without_times(&expected[key])), &without_times(&printed))?,
            // The peer looks for the files of secrets before it prints; Kiln when it builds.
            (Ok(_), Some(error)) if error.starts_with("failed to stat ") => {}
            (Ok(_), Some(error)) => return Err(format!("{key}: expected the error {error:?}")),
            (Err(error), None) => return Err(format!("{key} fails: {error}")),
            (Err(is), Some(error)) => {
                if !is.to_string().contains(error) && !error.contains(&is.to_string()) {
                    return Err(format!("{key}: expected the error {error:?}, got {is}"));
                }
            }
        }
    }
    Ok(())
}

/// The peer's answers hold the time at which they were made.
fn without_times(value: &Value) -> Value {
    let text = value.to_string();
    let masked = regex::Regex::new(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
        .map(|time| time.replace_all(&text, "TIME").into_owned())
        .unwrap_or(text);
    serde_json::from_str(&masked).unwrap_or_default()
}

fn same_names(expected: &Value, read: &Definition) -> Result<(), String> {
    let mut wanted: Vec<&str> = expected
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|target| target["name"].as_str())
        .collect();
    let groups = read.config.groups.iter().map(|group| group.name.as_str());
    let targets = read.config.targets.iter().map(|target| target.name.as_str());
    // Names that begin with an underscore are not listed.
    let mut is: Vec<&str> = groups.chain(targets).filter(|name| !name.starts_with('_')).collect();
    wanted.sort_unstable();
    is.sort_unstable();
    wanted.dedup();
    is.dedup();
    super::tables::equal(wanted, is)
}

fn same_variables(expected: &Value, read: &Definition) -> Result<(), String> {
    let mut wanted: Vec<(&str, Option<&str>, &str)> = expected
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|variable| {
            let name = variable["name"].as_str()?;
            let description = variable["description"].as_str().unwrap_or_default();
            Some((name, variable["value"].as_str(), description))
        })
        .collect();
    let mut is: Vec<(&str, Option<&str>, &str)> = read
        .variables
        .iter()
        .map(|variable| {
            (
                variable.name.as_str(),
                variable.value.as_deref(),
                variable.description.as_str(),
            )
        })
        .collect();
    wanted.sort_unstable();
    is.sort_unstable();
    super::tables::equal(wanted, is)
}
