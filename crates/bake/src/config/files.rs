//! Which file is in which language, and how they come together.

use crate::compose;
use crate::config::evaluation::Evaluation;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::error::BakeError;
use crate::model::{Config, Group};
use crate::source::{FileId, LARGEST_FILE, Sources};
use crate::syntax::{Body, parse_json, parse_native};

use super::{Definition, File, Inputs};

/// Evaluation nests as deeply as its bounds allow, in builds without optimisation too. Only what is used is taken.
const STACK: usize = 256 << 20;

/// Files that are read if none is named, as far as they are there, in this order.
pub const DEFAULT_FILES: [&str; 8] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
    "docker-bake.json",
    "docker-bake.hcl",
    "docker-bake.override.json",
    "docker-bake.override.hcl",
];

/// The language of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Compose.
    Compose,
    /// HCL, in its native or its JSON form.
    Hcl,
}

/// The language of a file, by its name, else by what it holds.
///
/// # Errors
/// What Compose says of a file that it should be by its name.
pub fn kind_of(file: &File, inputs: &Inputs<'_>) -> Result<FileKind, BakeError> {
    let name = file.name.to_lowercase();
    if name.ends_with(".json") || name.ends_with(".hcl") {
        return Ok(FileKind::Hcl);
    }
    let named = name.ends_with(".yml") || name.ends_with(".yaml");
    match compose::validate(file, inputs) {
        Ok(()) => Ok(FileKind::Compose),
        Err(error) if named => Err(error),
        Err(_) => Ok(FileKind::Hcl),
    }
}

/// Reads all files.
///
/// # Errors
/// Everything that is wrong in them, with its place.
pub fn read(files: &[File], inputs: &Inputs<'_>) -> Result<Definition, BakeError> {
    std::thread::scope(|scope| {
        let reading = std::thread::Builder::new()
            .stack_size(STACK)
            .spawn_scoped(scope, || read_here(files, inputs));
        match reading.map(|thread| thread.join()) {
            Ok(Ok(read)) => read,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(error) => Err(BakeError::Thread(error)),
        }
    })
}

fn read_here(files: &[File], inputs: &Inputs<'_>) -> Result<Definition, BakeError> {
    let mut sources = Sources::default();
    let mut compose_files = Vec::new();
    let mut bodies = Vec::new();
    for file in files {
        if file.text.len() > LARGEST_FILE {
            return Err(BakeError::TooLarge {
                file: file.name.clone(),
            });
        }
        if kind_of(file, inputs)? == FileKind::Compose {
            compose_files.push(file);
            continue;
        }
        let id = sources.add(&file.name, &file.text);
        match parse(file, id) {
            Ok(body) => bodies.push((body, directory_of(&file.name, inputs))),
            Err(diagnostic) => return Err(BakeError::diagnosed(sources, Diagnostics::from(*diagnostic))),
        }
    }
    let mut config = Config::default();
    let mut odd = Vec::new();
    if !compose_files.is_empty() {
        (config, odd) = compose::read(&compose_files, inputs)?;
    }
    let evaluated = Evaluation::new(&bodies, &sources, inputs).and_then(|evaluation| evaluation.run(&mut config));
    match evaluated {
        Ok((variables, warnings)) => Ok(Definition {
            config,
            variables,
            warnings: odd.into_iter().chain(warnings).collect(),
            sources,
        }),
        Err(diagnostics) => Err(BakeError::diagnosed(sources, diagnostics)),
    }
}

/// A name that ends in neither `.json` nor `.hcl` leaves both open: what is meant is told by which error comes later.
fn parse(file: &File, id: FileId) -> Result<Body, Box<Diagnostic>> {
    let name = file.name.to_lowercase();
    if name.ends_with(".json") {
        return parse_json(&file.text, id);
    }
    let native = parse_native(&file.text, id);
    if native.is_ok() || name.ends_with(".hcl") || !file.text.trim_start().starts_with(['{', '[']) {
        return native;
    }
    parse_json(&file.text, id)
}

/// Where paths of a file begin, if not in the working directory.
pub(crate) fn directory_of(name: &str, inputs: &Inputs<'_>) -> Option<String> {
    if !inputs.file_relative_paths || name == "-" {
        return None;
    }
    let name = name.strip_prefix("cwd://").unwrap_or(name);
    let (directory, _) = name.rsplit_once('/')?;
    Some(if directory.is_empty() {
        "/".to_owned()
    } else {
        directory.to_owned()
    })
}

/// The group that a renamed target leaves behind under its own name.
pub(super) fn renamed(config: &mut Config, label: &str, names: Vec<String>) {
    let names = crate::model::deduplicated(names);
    if names == [label] {
        return;
    }
    config.groups.push(Group {
        name: label.to_owned(),
        description: String::new(),
        targets: names,
    });
}
