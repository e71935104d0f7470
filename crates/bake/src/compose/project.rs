//! Files → one project: parsing, variables, `extends`, merging, `!reset` and `!override`, and `include`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::config::{File, Inputs, rebased};
use crate::error::BakeError;
use crate::functions::clean_path;

use super::dotenv;
use super::interpolation::{interpolate, interpolate_noting};
use super::model::{Project, canonical_service, change_env_files, change_paths, merge};
use super::yaml::{Document, Yaml};

/// Files include each other no deeper, and services extend each other no deeper.
const DEEPEST: usize = 20;

/// Before the name of a file of the caller's directory.
const HERE: &str = "cwd://";

/// Loads files in their order.
///
/// # Errors
/// What is wrong in them.
pub(super) fn load(
    files: &[&File],
    environment: &BTreeMap<String, String>,
    inputs: &Inputs<'_>,
) -> Result<Project, BakeError> {
    let unset = RefCell::default();
    let model = Model {
        environment,
        inputs,
        unset: &unset,
        directory: None,
        depth: 0,
    };
    let mut project = model.load(files)?;
    project.unset = unset.take();
    if !project.found {
        let first = files.first();
        return Err(BakeError::Compose {
            file: first.map(|file| file.name.clone()).unwrap_or_default(),
            line: None,
            message: "empty compose file".to_owned(),
            text: String::new(),
        });
    }
    // Whichever file names a service first, services come in the order of their names.
    project.services.sort_by(|one, two| one.0.cmp(&two.0));
    Ok(project)
}

/// The name of the project: what the last file says, as far as a name can have it.
pub(super) fn name(files: &[&File], environment: &BTreeMap<String, String>) -> String {
    let lookup = |name: &str| environment.get(name).cloned();
    let mut found = "bake".to_owned();
    // Whatever is wrong in a file is found when it is loaded.
    let documents = files.iter().filter_map(|file| Document::parse_all(&file.text).ok());
    for document in documents.flatten() {
        let written = document.root.get("name").and_then(Yaml::scalar);
        let Some(name) = written.and_then(|name| interpolate(&name, &lookup).ok()) else {
            continue;
        };
        let mut name = name.to_lowercase();
        name.retain(|letter| matches!(letter, 'a'..='z' | '0'..='9' | '-' | '_'));
        let name = name.trim_start_matches(['-', '_']);
        if !name.is_empty() {
            name.clone_into(&mut found);
        }
    }
    found
}

/// Files that are merged with each other, and then with what they include.
struct Model<'a> {
    /// What variables stand for.
    environment: &'a BTreeMap<String, String>,
    inputs: &'a Inputs<'a>,
    /// Variables that are named and stand for nothing.
    unset: &'a RefCell<BTreeSet<String>>,
    /// Where its paths begin; None: where all of them do.
    directory: Option<String>,
    depth: usize,
}

/// An entry of `include`.
struct Include {
    /// The file that it stands in.
    from: String,
    /// Files that are one model together.
    paths: Vec<String>,
    /// Where the paths in them begin, if not with the first of them.
    directory: Option<String>,
    /// Files with variables for them; None: `.env` beside them, if it is there.
    variables: Option<Vec<String>>,
}

/// The services of one file while they are completed.
struct Scope<'a> {
    file: &'a File,
    services: &'a [(String, Yaml)],
    /// What the file takes away from what it extends and from files before it.
    replaced: &'a [Vec<String>],
    /// Where the files are that its services extend.
    directory: Option<String>,
}

fn failed(file: &str, message: String) -> BakeError {
    BakeError::Compose {
        file: file.to_owned(),
        line: None,
        message,
        text: String::new(),
    }
}

impl Model<'_> {
    fn load(&self, files: &[&File]) -> Result<Project, BakeError> {
        let mut project = Project::default();
        for file in files {
            for document in self.parsed(file)? {
                // What a document includes is its own, which later ones change as they change the rest.
                let mut own = self.document(file, &document)?;
                if let Some(include) = document.root.get("include") {
                    let includes = included(include, &file.name).map_err(|message| failed(&file.name, message))?;
                    for include in includes {
                        self.include(&mut own, include)?;
                    }
                }
                for path in &document.replaced {
                    project.remove(path);
                }
                project.take(own);
            }
        }
        Ok(project)
    }

    /// The documents of a file with their variables replaced.
    fn parsed(&self, file: &File) -> Result<Vec<Document>, BakeError> {
        let failed = |message: String, line: Option<usize>| BakeError::Compose {
            file: file.name.clone(),
            line,
            message,
            text: file.text.clone(),
        };
        let mut documents = Document::parse_all(&file.text).map_err(|error| failed(error.message, error.line))?;
        let lookup = |name: &str| self.environment.get(name).cloned();
        let unset = |name: &str| _ = self.unset.borrow_mut().insert(name.to_owned());
        for document in &mut documents {
            if !matches!(document.root, Yaml::Map(_)) {
                let message = format!("top-level object must be a mapping, not {}", document.root.kind());
                return Err(failed(message, None));
            }
            replace_variables(&mut document.root, "", &lookup, &unset).map_err(|message| failed(message, None))?;
        }
        Ok(documents)
    }

    /// What a document says itself.
    fn document(&self, file: &File, document: &Document) -> Result<Project, BakeError> {
        let failed = |message: String| failed(&file.name, message);
        let home = self.inputs.host.home.as_deref();
        let root = &document.root;
        let mut project = Project::default();
        let services = services(file, root, home)?;
        project.found |= services.is_some();
        let services = services.unwrap_or_default();
        let scope = Scope {
            file,
            services: &services,
            replaced: &document.replaced,
            directory: self.directory.clone(),
        };
        for (name, service) in &services {
            let mut service = self.extended(&scope, name, service.clone(), &mut Vec::new())?;
            if let Some(directory) = &self.directory {
                change_paths(&mut service, &|path| rebased(path, directory));
            }
            if file.name.starts_with(HERE) {
                change_env_files(&mut service, &|path| located(HERE, path));
            }
            project.services.push((name.clone(), service));
        }
        match root.get("secrets") {
            None | Some(Yaml::Null) => {}
            Some(Yaml::Map(entries)) => {
                project.found = true;
                for (name, secret) in entries {
                    let mut secret = secret.clone();
                    if let Yaml::Map(entries) = &mut secret {
                        for (key, value) in entries {
                            if let ("file", Yaml::String(path)) = (key.as_str(), value) {
                                *path = at_home(path, home);
                                if let Some(directory) = &self.directory {
                                    *path = rebased(path, directory);
                                }
                            }
                        }
                    }
                    project.secrets.push((name.clone(), secret));
                }
            }
            Some(other) => return Err(failed(format!("secrets must be a mapping, not {}", other.kind()))),
        }
        Ok(project)
    }

    fn read(&self, from: &str, path: &str) -> Result<Option<File>, BakeError> {
        let name = located(from, path);
        let text = (self.inputs.read_file)(&name).map_err(|message| failed(from, message))?;
        Ok(text.map(|text| File { name, text }))
    }

    fn read_required(&self, from: &str, path: &str) -> Result<File, BakeError> {
        let missing = || failed(from, format!("the file `{path}` does not exist"));
        self.read(from, path)?.ok_or_else(missing)
    }

    fn include(&self, project: &mut Project, include: Include) -> Result<(), BakeError> {
        let from = include.from.as_str();
        if self.depth >= DEEPEST {
            let message = format!("files include each other more than {DEEPEST} levels deep");
            return Err(failed(from, message));
        }
        let here = self.directory.as_deref();
        let paths: Vec<String> = include.paths.iter().map(|path| beside(path, here)).collect();
        let mut files = Vec::new();
        for path in &paths {
            files.push(self.read_required(from, path)?);
        }
        let directory = match &include.directory {
            Some(directory) => Some(beside(directory, here)),
            None => paths.first().and_then(|path| directory_of(path)),
        };
        let mut environment = self.environment.clone();
        let variables = match &include.variables {
            Some(paths) => {
                let mut files = Vec::new();
                for path in paths.iter().filter(|path| *path != "/dev/null") {
                    files.push(self.read_required(from, &beside(path, here))?);
                }
                files
            }
            None => Vec::from_iter(self.read(from, &beside(".env", directory.as_deref()))?),
        };
        for file in variables {
            let lookup = |name: &str| environment.get(name).cloned();
            let found = dotenv::parse(&file.text, &lookup)
                .map_err(|error| failed(from, format!("failed to read {}: {error}", file.name)))?;
            // What was known before stays as it was.
            for (name, value) in found {
                if !self.environment.contains_key(&name) {
                    environment.insert(name, value);
                }
            }
        }
        let model = Model {
            environment: &environment,
            inputs: self.inputs,
            unset: self.unset,
            directory,
            depth: self.depth + 1,
        };
        let more = model.load(&files.iter().collect::<Vec<_>>())?;
        project.found |= more.found;
        for (kind, known, more) in [
            ("services", &mut project.services, more.services),
            ("secrets", &mut project.secrets, more.secrets),
        ] {
            for (name, value) in more {
                match known.iter().find(|(known, _)| *known == name) {
                    Some((_, same)) if *same == value => {}
                    Some(_) => {
                        return Err(failed(from, format!("{kind}.{name} conflicts with imported resource")));
                    }
                    None => known.push((name, value)),
                }
            }
        }
        Ok(())
    }

    /// A service over the one that it extends.
    fn extended(
        &self,
        scope: &Scope<'_>,
        name: &str,
        service: Yaml,
        visited: &mut Vec<(String, String)>,
    ) -> Result<Yaml, BakeError> {
        let file = scope.file;
        let failed = |message: String| failed(&file.name, message);
        let Some(extends) = service.get("extends") else {
            return Ok(service);
        };
        let here = (file.name.clone(), name.to_owned());
        if visited.contains(&here) || visited.len() > DEEPEST {
            return Err(failed(format!("services.{name}.extends: the service extends itself")));
        }
        visited.push(here);
        let (other_file, other) = match extends {
            Yaml::String(other) => (None, other.clone()),
            Yaml::Map(_) => {
                let other = extends.get("service").and_then(Yaml::scalar);
                let other = other.ok_or_else(|| failed(format!("services.{name}.extends.service is required")))?;
                (extends.get("file").and_then(Yaml::scalar), other)
            }
            _ => return Err(failed(format!("services.{name}.extends must be a string or a mapping"))),
        };
        let found = |services: &[(String, Yaml)]| {
            let found = services.iter().find(|(known, _)| *known == other);
            let missing = || failed(format!("cannot extend service {name:?}: service {other:?} not found"));
            found.map(|(_, service)| service.clone()).ok_or_else(missing)
        };
        let mut base = match other_file {
            None => self.extended(scope, &other, found(scope.services)?, visited)?,
            Some(path) => {
                let base_path = beside(&path, scope.directory.as_deref());
                let base_file = match self.read(&file.name, &base_path)? {
                    Some(base) => base,
                    // Beside the file itself, for definitions that are not in the working directory.
                    None => self.read_required(&file.name, &beside(&path, directory_of(&file.name).as_deref()))?,
                };
                let mut base_services = Vec::new();
                let mut replaced = Vec::new();
                for document in self.parsed(&base_file)? {
                    let home = self.inputs.host.home.as_deref();
                    base_services.extend(services(&base_file, &document.root, home)?.unwrap_or_default());
                    replaced.extend(document.replaced);
                }
                let base_scope = Scope {
                    file: &base_file,
                    services: &base_services,
                    replaced: &replaced,
                    directory: directory_of(&base_path),
                };
                let mut base = self.extended(&base_scope, &other, found(&base_services)?, visited)?;
                if let Some(directory) = directory_of(&path) {
                    change_paths(&mut base, &|path| rebased(path, &directory));
                }
                base
            }
        };
        for path in scope.replaced {
            if let [kind, service, rest @ ..] = path.as_slice()
                && kind == "services"
                && service == name
            {
                base.remove(rest);
            }
        }
        merge(&mut base, &service, "");
        base.remove(&["extends".to_owned()]);
        Ok(base)
    }
}

/// The services of a file in their canonical form; None if it has no such section.
fn services(file: &File, root: &Yaml, home: Option<&str>) -> Result<Option<Vec<(String, Yaml)>>, BakeError> {
    match root.get("services") {
        None | Some(Yaml::Null) => Ok(None),
        Some(Yaml::Map(entries)) => {
            let canonical = |(name, service): &(String, Yaml)| {
                let mut service = canonical_service(name, service).map_err(|message| failed(&file.name, message))?;
                change_paths(&mut service, &|path| at_home(path, home));
                Ok((name.clone(), service))
            };
            entries.iter().map(canonical).collect::<Result<_, _>>().map(Some)
        }
        Some(other) => Err(failed(
            &file.name,
            format!("services must be a mapping, not {}", other.kind()),
        )),
    }
}

fn beside(path: &str, directory: Option<&str>) -> String {
    match directory {
        Some(directory) if !path.starts_with('/') => format!("{directory}/{path}"),
        _ => path.to_owned(),
    }
}

/// The directory of a path; None if it has none.
fn directory_of(path: &str) -> Option<String> {
    let path = path.strip_prefix(HERE).unwrap_or(path);
    path.rsplit_once('/').map(|(directory, _)| directory.to_owned())
}

/// A path in a file as the caller is asked for it: in the caller's directory if the file is there.
fn located(from: &str, path: &str) -> String {
    if from.starts_with(HERE) && !path.starts_with(HERE) {
        format!("{HERE}{path}")
    } else {
        path.to_owned()
    }
}

/// Entries of `include`: texts, or maps with paths, perhaps a directory and files of variables.
fn included(include: &Yaml, from: &str) -> Result<Vec<Include>, String> {
    let Yaml::List(items) = include else {
        return Err("include must be a list".to_owned());
    };
    let texts = |yaml: Option<&Yaml>| match yaml {
        None | Some(Yaml::Null) => None,
        Some(Yaml::List(several)) => Some(several.iter().filter_map(Yaml::scalar).collect::<Vec<_>>()),
        Some(single) => Some(single.scalar().into_iter().collect()),
    };
    let entry = |item: &Yaml| {
        let (paths, directory, variables) = match item {
            Yaml::String(path) => (Some(vec![path.clone()]), None, None),
            Yaml::Map(_) => (
                texts(item.get("path")),
                item.get("project_directory").and_then(Yaml::scalar),
                texts(item.get("env_file")),
            ),
            other => return Err(format!("include must be a list of paths, not of {}", other.kind())),
        };
        Ok(Include {
            from: from.to_owned(),
            paths: paths
                .filter(|paths| !paths.is_empty())
                .ok_or("include.path is required")?,
            directory: directory.filter(|directory| !directory.is_empty()),
            variables,
        })
    };
    items.iter().map(entry).collect()
}

/// A path that begins in the home directory, if it does, with that.
fn at_home(path: &str, home: Option<&str>) -> String {
    match (path.strip_prefix('~'), home) {
        (Some(rest), Some(home)) => clean_path(&format!("{home}/{rest}")),
        _ => path.to_owned(),
    }
}

/// Replaces variables in all texts. Names in maps stay as they are.
fn replace_variables(
    yaml: &mut Yaml,
    place: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    unset: &dyn Fn(&str),
) -> Result<(), String> {
    match yaml {
        Yaml::String(text) => {
            *text = interpolate_noting(text, lookup, unset).map_err(|error| {
                if error.starts_with("invalid interpolation") {
                    error.replacen(
                        "invalid interpolation format",
                        &format!("invalid interpolation format for {place}"),
                        1,
                    )
                } else {
                    format!("error while interpolating {place}: {error}")
                }
            })?;
        }
        Yaml::List(items) => {
            for item in items {
                replace_variables(item, &format!("{place}.[]"), lookup, unset)?;
            }
        }
        Yaml::Map(entries) => {
            for (name, value) in entries {
                let place = if place.is_empty() {
                    name.clone()
                } else {
                    format!("{place}.{name}")
                };
                replace_variables(value, &place, lookup, unset)?;
            }
        }
        Yaml::Null | Yaml::Bool(_) | Yaml::Number(_) => {}
    }
    Ok(())
}
