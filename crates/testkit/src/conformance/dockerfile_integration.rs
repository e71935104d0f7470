//! Whole builds: contexts, options and outputs in, files and error messages out, through the `kiln` binary.
//!
//! Every case runs in a directory of its own; all share one state directory, so that base images are fetched once. A case
//! that drops the cache goes on with a fresh state directory. Base images come from a registry inside this process, which
//! the configuration names as the mirror of `docker.io`.

mod assertion;
mod case;
mod flags;
mod golden;
mod layout;
mod repositories;
mod session;
mod tree;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

pub(super) use golden::drive as drive_golden;

use super::CorpusResult;
use crate::base_image::BaseImages;
use crate::docker_registry::DockerRegistry;
use crate::error::TestkitError;
use crate::fixture::Fixture;
use case::Case;
use repositories::Repositories;
use session::Session;

const NAME: &str = "dockerfile-integration";

/// Drives every case in `dir/cases`.
pub(super) fn drive(dir: &Path) -> CorpusResult {
    let mut result = CorpusResult::new(NAME);
    let repositories = match Repositories::start() {
        Ok(repositories) => repositories,
        Err(error) => {
            result.fail("(making the repositories)", in_full(&error));
            return result;
        }
    };
    let cases = match read_cases(&dir.join("cases"), &repositories) {
        Ok(cases) => cases,
        Err(error) => {
            result.fail("(reading the cases)", error);
            return result;
        }
    };
    let mut pending = Vec::new();
    for (name, case) in cases {
        match case {
            Ok(case) => match case.reason_to_skip() {
                Some(reason) => result.skip(name, reason),
                None => pending.push(case),
            },
            Err(error) => result.fail(name, format!("unreadable case: {error}")),
        }
    }
    let world = match World::start() {
        Ok(world) => world,
        Err(error) => {
            let detail = in_full(&error);
            for case in pending {
                result.fail(case.name, format!("the surroundings could not be made: {detail}"));
            }
            return result;
        }
    };
    let next = AtomicUsize::new(0);
    let shared = Mutex::new(result);
    let workers = thread::available_parallelism().map_or(2, usize::from).min(8);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(case) = pending.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = Session::run(case, &world);
                    shared
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .record(&case.name, outcome);
                }
            });
        }
    });
    let mut result = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    result.failed.sort_by(|one, other| one.case.cmp(&other.case));
    result
}

/// What all cases share.
#[derive(Debug)]
struct World {
    /// Its state directory is the shared one.
    shared: Fixture,
    /// Where cases push to.
    registry: DockerRegistry,
    /// Where base images come from.
    base: crate::StaticRegistry,
}

impl World {
    fn start() -> Result<Self, TestkitError> {
        let base = BaseImages::prepare()?.serve()?;
        Ok(Self {
            shared: Fixture::new()?,
            registry: DockerRegistry::start()?,
            base,
        })
    }
}

type NamedCase = (String, Result<Case, String>);

fn read_cases(directory: &Path, repositories: &Repositories) -> Result<Vec<NamedCase>, String> {
    let entries = fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    Ok(paths
        .iter()
        .map(|path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let case = fs::read_to_string(path)
                .map_err(|error| error.to_string())
                .and_then(|text| read_case(&name, &text, repositories));
            (name, case)
        })
        .collect())
}

fn read_case(name: &str, text: &str, repositories: &Repositories) -> Result<Case, String> {
    let filled = repositories.fill_in(name, text);
    let mut case: Case = serde_json::from_str(filled.as_deref().unwrap_or(text)).map_err(|error| error.to_string())?;
    if filled.is_some() {
        case.incomplete_reasons
            .retain(|reason| !reason.contains(case::OWN_SERVER));
    }
    Ok(case)
}

/// An error with its causes.
fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
