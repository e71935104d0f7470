//! `dockerfile-peer-golden`: images that the peer really built, against the images that the binary builds of the same case.
//!
//! Compared are, for each platform: the configuration's `architecture`, `os`, `variant`, `author` and `config`; of the
//! history, behind the lines of the base image, the text and whether the line is empty (its comment names the builder and
//! is left to each); and of every layer above the base's, its entries: path, type, mode, owner, link, and a file's size and
//! digest. What differs between two runs of the binary itself (a time, random bytes) is not compared.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use serde_json::Value;

use super::case::Case;
use super::layout::{Image, images};
use super::session::Session;
use super::{World, in_full};
use crate::conformance::CorpusResult;
use crate::conformance::dockerfile_frontend::without_nothing;

const NAME: &str = "dockerfile-peer-golden";

/// One golden file.
struct Golden {
    name: String,
    build: u64,
    images: Vec<Value>,
}

/// Drives every golden file of `dir`, each case once for all of its builds.
pub(in crate::conformance) fn drive(dir: &Path) -> CorpusResult {
    let mut result = CorpusResult::new(NAME);
    let mut by_case: BTreeMap<PathBuf, Vec<Golden>> = BTreeMap::new();
    match read(dir) {
        Ok(found) => {
            for (case, golden) in found {
                by_case.entry(case).or_default().push(golden);
            }
        }
        Err(error) => {
            result.fail("(reading the files)", error);
            return result;
        }
    }
    let world = match World::start() {
        Ok(world) => world,
        Err(error) => {
            result.fail(
                "(all)",
                format!("the surroundings could not be made: {}", in_full(&error)),
            );
            return result;
        }
    };
    let pending: Vec<_> = by_case.into_iter().collect();
    let next = AtomicUsize::new(0);
    let shared = Mutex::new(result);
    let workers = thread::available_parallelism().map_or(2, usize::from).min(8);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((case, golden)) = pending.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcomes = compare_case(case, golden, &world);
                    let mut result = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    for (name, outcome) in outcomes {
                        result.record(name, outcome);
                    }
                }
            });
        }
    });
    let mut result = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    result.failed.sort_by(|one, other| one.case.cmp(&other.case));
    result
}

fn read(dir: &Path) -> Result<Vec<(PathBuf, Golden)>, String> {
    let listed = std::fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mut found = Vec::new();
    for entry in listed.flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let in_words = |error: &dyn std::error::Error| format!("{}: {error}", path.display());
        let bytes = std::fs::read(&path).map_err(|error| in_words(&error))?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| in_words(&error))?;
        let golden = Golden {
            name: value["id"].as_str().unwrap_or_default().to_owned(),
            build: value["build"].as_u64().unwrap_or_default(),
            images: value["images"].as_array().cloned().unwrap_or_default(),
        };
        found.push((dir.join(value["case"].as_str().unwrap_or_default()), golden));
    }
    Ok(found)
}

fn compare_case(path: &Path, golden: &[Golden], world: &World) -> Vec<(String, Result<(), String>)> {
    let failed = |detail: String| -> Vec<_> {
        let all = golden.iter();
        all.map(|golden| (golden.name.clone(), Err(detail.clone()))).collect()
    };
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => return failed(format!("{}: {error}", path.display())),
    };
    let case: Case = match serde_json::from_slice(&bytes) {
        Ok(case) => case,
        Err(error) => return failed(format!("unreadable case: {error}")),
    };
    let session = match Session::images(&case, world, None) {
        Ok(session) => session,
        Err(error) => return failed(error),
    };
    let mut second: Option<Result<Session<'_>, String>> = None;
    let mut outcomes = Vec::new();
    for golden in golden {
        let built = |session: &Session<'_>| -> Result<Vec<Image>, String> {
            let layout = session.layouts.get(&golden.build).filter(|layout| layout.is_dir());
            match layout {
                Some(layout) => images(layout),
                None => Err(session
                    .failures
                    .get(&golden.build)
                    .cloned()
                    .unwrap_or_else(|| "no image was built".to_owned())),
            }
        };
        let outcome = built(&session).and_then(|first| {
            let same = compare(golden, &first, &BTreeSet::new());
            if same.is_ok() {
                return same;
            }
            // What differs may be what differs from run to run: a second one, with nothing in the cache, tells.
            let again = second.get_or_insert_with(|| {
                let state = world.shared.directory().join(format!("again-{}", case.name));
                Session::images(&case, world, Some(state))
            });
            let other = again.as_ref().map_err(Clone::clone).and_then(&built)?;
            compare(golden, &first, &unstable(&first, &other))
        });
        outcomes.push((golden.name.clone(), outcome));
    }
    outcomes
}

/// Paths of files whose content is another in each run.
fn unstable(first: &[Image], second: &[Image]) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for (first, second) in first.iter().zip(second) {
        for (first, second) in first.layers.iter().zip(&second.layers) {
            let differs = |(path, entry): (&String, &Value)| {
                let other = second.get(path)?;
                (entry["sha256"] != other["sha256"]).then(|| path.clone())
            };
            paths.extend(first.iter().filter_map(differs));
        }
    }
    paths
}

fn compare(golden: &Golden, built: &[Image], unstable: &BTreeSet<String>) -> Result<(), String> {
    if golden.images.len() != built.len() {
        return Err(format!("expected {} images, got {}", golden.images.len(), built.len()));
    }
    for expected in &golden.images {
        let platform = without_nothing(&expected["platform"]);
        let image = built.iter().find(|image| without_nothing(&image.platform) == platform);
        let image = image.ok_or_else(|| format!("no image for {platform}"))?;
        compare_image(expected, image, unstable).map_err(|error| format!("{platform}: {error}"))?;
    }
    Ok(())
}

fn compare_image(expected: &Value, image: &Image, unstable: &BTreeSet<String>) -> Result<(), String> {
    let layers = expected["layers"].as_array().cloned().unwrap_or_default();
    let base = layers.iter().take_while(|layer| layer["base_layer"] == true).count();
    for field in ["architecture", "os", "variant", "author", "config"] {
        let expected = without_nothing(&expected["config"][field]);
        let mut is = without_nothing(&image.config[field]);
        if base > 0 && field == "config" {
            on_the_peers_base(&mut is);
        }
        same(field, &expected, &is)?;
    }
    let lines = |history: &Value| -> Vec<Value> {
        // Every base of the corpus has one line for each of its layers.
        let all = history.as_array().into_iter().flatten().skip(base);
        all.map(|line| {
            let empty = line["empty_layer"].as_bool().unwrap_or(false);
            serde_json::json!({"created_by": line["created_by"], "empty_layer": empty})
        })
        .collect()
    };
    same(
        "history",
        &lines(&expected["history"]).into(),
        &lines(&image.config["history"]).into(),
    )?;
    if layers.len() != image.layers.len() {
        return Err(format!("expected {} layers, got {}", layers.len(), image.layers.len()));
    }
    for (number, (expected, layer)) in layers.iter().zip(&image.layers).enumerate().skip(base) {
        let stable = |entry: &Value| -> Value {
            let mut entry = without_nothing(entry);
            if let Some(members) = entry.as_object_mut() {
                // The text repeats what the digest says.
                members.remove("text");
                if members
                    .get("path")
                    .and_then(Value::as_str)
                    .is_some_and(|path| unstable.contains(path))
                {
                    members.remove("size");
                    members.remove("sha256");
                }
            }
            entry
        };
        let path = |entry: &Value| entry["path"].as_str().unwrap_or_default().to_owned();
        let wanted = expected["entries"].as_array().into_iter().flatten();
        let wanted: BTreeMap<String, Value> = wanted.map(|entry| (path(entry), stable(entry))).collect();
        let is: BTreeMap<String, Value> = layer
            .iter()
            .map(|(path, entry)| (path.clone(), stable(entry)))
            .collect();
        let paths: BTreeSet<&String> = wanted.keys().chain(is.keys()).collect();
        for path in paths {
            let nothing = Value::Null;
            same(
                &format!("layer {number}: {path}"),
                wanted.get(path).unwrap_or(&nothing),
                is.get(path).unwrap_or(&nothing),
            )?;
        }
    }
    Ok(())
}

/// The base images of the peer's run have the command `/bin/sh` and the working directory `/`; the test kit's are like the
/// official ones, which have `sh` and none.
fn on_the_peers_base(config: &mut Value) {
    if config["Cmd"] == serde_json::json!(["sh"]) {
        config["Cmd"] = serde_json::json!(["/bin/sh"]);
    }
    if config["WorkingDir"].is_null() {
        config["WorkingDir"] = serde_json::json!("/");
    }
}

fn same(what: &str, expected: &Value, is: &Value) -> Result<(), String> {
    if expected == is {
        Ok(())
    } else {
        Err(format!("{what}: expected {expected}, got {is}"))
    }
}
