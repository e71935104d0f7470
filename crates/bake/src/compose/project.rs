//! Files → one project: parsing, variables, `include`, `extends`, and merging.

use std::collections::BTreeMap;

use crate::config::{File, Inputs, rebased};
use crate::error::BakeError;

use super::interpolation::interpolate;
use super::model::{Project, canonical_service, merge};
use super::yaml::Yaml;

/// Files include each other no deeper.
const DEEPEST: usize = 20;

/// Loads files in their order.
///
/// # Errors
/// What is wrong in them.
pub(super) fn load(
    files: &[&File],
    environment: &BTreeMap<String, String>,
    inputs: &Inputs<'_>,
) -> Result<Project, BakeError> {
    let mut loading = Loading {
        environment,
        inputs,
        project: Project::default(),
    };
    for file in files {
        loading.add(file, None, 0)?;
    }
    let mut project = loading.project;
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

struct Loading<'a> {
    environment: &'a BTreeMap<String, String>,
    inputs: &'a Inputs<'a>,
    project: Project,
}

impl Loading<'_> {
    /// Adds a file. Paths of an included one begin in its directory.
    fn add(&mut self, file: &File, directory: Option<&str>, depth: usize) -> Result<(), BakeError> {
        let failed = |message: String, line: Option<usize>| BakeError::Compose {
            file: file.name.clone(),
            line,
            message,
            text: file.text.clone(),
        };
        if depth > DEEPEST {
            return Err(failed(
                format!("files include each other more than {DEEPEST} levels deep"),
                None,
            ));
        }
        let parsed = Yaml::parse(&file.text).map_err(|error| failed(error.message, error.line))?;
        let mut root = match parsed {
            Yaml::Null => return Ok(()),
            Yaml::Map(_) => parsed,
            other => {
                let message = format!("top-level object must be a mapping, not {}", other.kind());
                return Err(failed(message, None));
            }
        };
        let lookup = |name: &str| self.environment.get(name).cloned();
        replace_variables(&mut root, "", &lookup).map_err(|message| failed(message, None))?;
        if let Some(include) = root.get("include") {
            let paths = included(include).map_err(|message| failed(message, None))?;
            for path in paths {
                self.include(file, &path, directory, depth)?;
            }
        }
        let mut services = Vec::new();
        match root.get("services") {
            None | Some(Yaml::Null) => {}
            Some(Yaml::Map(entries)) => {
                self.project.found = true;
                for (name, service) in entries {
                    let service = canonical_service(name, service).map_err(|message| failed(message, None))?;
                    services.push((name.clone(), service));
                }
            }
            Some(other) => {
                return Err(failed(
                    format!("services must be a mapping, not {}", other.kind()),
                    None,
                ));
            }
        }
        let all = services.clone();
        for (name, mut service) in services {
            service = self.extended(file, &all, &name, service, depth, &mut Vec::new())?;
            if let Some(directory) = directory {
                move_paths(&mut service, directory);
            }
            match self.project.services.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => merge(known, &service, ""),
                None => self.project.services.push((name, service)),
            }
        }
        match root.get("secrets") {
            None | Some(Yaml::Null) => {}
            Some(Yaml::Map(entries)) => {
                self.project.found = true;
                for (name, secret) in entries {
                    let mut secret = secret.clone();
                    if let (Some(directory), Yaml::Map(entries)) = (directory, &mut secret) {
                        for (key, value) in entries {
                            if let ("file", Yaml::String(path)) = (key.as_str(), value) {
                                *path = rebased(path, directory);
                            }
                        }
                    }
                    match self.project.secrets.iter_mut().find(|(known, _)| known == name) {
                        Some((_, known)) => merge(known, &secret, ""),
                        None => self.project.secrets.push((name.clone(), secret)),
                    }
                }
            }
            Some(other) => return Err(failed(format!("secrets must be a mapping, not {}", other.kind()), None)),
        }
        Ok(())
    }

    fn read(&self, from: &File, path: &str) -> Result<File, BakeError> {
        let failed = |message: String| BakeError::Compose {
            file: from.name.clone(),
            line: None,
            message,
            text: String::new(),
        };
        let text = (self.inputs.read_file)(path).map_err(failed)?;
        let text = text.ok_or_else(|| failed(format!("the file `{path}` does not exist")))?;
        Ok(File {
            name: path.to_owned(),
            text,
        })
    }

    fn include(&mut self, from: &File, path: &str, directory: Option<&str>, depth: usize) -> Result<(), BakeError> {
        let path = beside(path, directory);
        let file = self.read(from, &path)?;
        let directory = path.rsplit_once('/').map(|(directory, _)| directory.to_owned());
        self.add(&file, directory.as_deref(), depth + 1)
    }

    /// A service over the one that it extends.
    fn extended(
        &self,
        file: &File,
        services: &[(String, Yaml)],
        name: &str,
        service: Yaml,
        depth: usize,
        visited: &mut Vec<(String, String)>,
    ) -> Result<Yaml, BakeError> {
        let failed = |message: String| BakeError::Compose {
            file: file.name.clone(),
            line: None,
            message,
            text: String::new(),
        };
        let Some(extends) = service.get("extends") else {
            return Ok(service);
        };
        let here = (file.name.clone(), name.to_owned());
        if visited.contains(&here) || depth + visited.len() > DEEPEST {
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
        let missing = || failed(format!("cannot extend service {name:?}: service {other:?} not found"));
        let mut base = match other_file {
            None => {
                let found = services.iter().find(|(known, _)| *known == other).ok_or_else(missing)?;
                self.extended(file, services, &other, found.1.clone(), depth, visited)?
            }
            Some(path) => {
                let directory = file.name.rsplit_once('/').map(|(directory, _)| directory);
                let base_file = self.read(file, &beside(&path, directory))?;
                let parsed = Yaml::parse(&base_file.text).map_err(|error| failed(error.message))?;
                let mut root = parsed;
                let lookup = |name: &str| self.environment.get(name).cloned();
                replace_variables(&mut root, "", &lookup).map_err(failed)?;
                let Some(Yaml::Map(entries)) = root.get("services") else {
                    return Err(missing());
                };
                let mut others = Vec::new();
                for (known, service) in entries {
                    others.push((known.clone(), canonical_service(known, service).map_err(failed)?));
                }
                let found = others.iter().find(|(known, _)| *known == other).ok_or_else(missing)?;
                let mut base = self.extended(&base_file, &others, &other, found.1.clone(), depth, visited)?;
                if let Some((directory, _)) = base_file.name.rsplit_once('/') {
                    move_paths(&mut base, directory);
                }
                base
            }
        };
        merge(&mut base, &service, "");
        if let Yaml::Map(entries) = &mut base {
            entries.retain(|(key, _)| key != "extends");
        }
        Ok(base)
    }
}

fn beside(path: &str, directory: Option<&str>) -> String {
    match directory {
        Some(directory) if !path.starts_with('/') => format!("{directory}/{path}"),
        _ => path.to_owned(),
    }
}

/// Paths of `include`: texts, or maps with one or several paths.
fn included(include: &Yaml) -> Result<Vec<String>, String> {
    let Yaml::List(items) = include else {
        return Err("include must be a list".to_owned());
    };
    let mut paths = Vec::new();
    for item in items {
        match item {
            Yaml::String(path) => paths.push(path.clone()),
            Yaml::Map(_) => match item.get("path") {
                Some(Yaml::String(path)) => paths.push(path.clone()),
                Some(Yaml::List(several)) => paths.extend(several.iter().filter_map(Yaml::scalar)),
                _ => return Err("include.path is required".to_owned()),
            },
            other => return Err(format!("include must be a list of paths, not of {}", other.kind())),
        }
    }
    Ok(paths)
}

/// Paths of a service as they are seen from the working directory.
fn move_paths(service: &mut Yaml, directory: &str) {
    let Yaml::Map(sections) = service else { return };
    for (section, value) in sections {
        match (section.as_str(), value) {
            ("build", Yaml::Map(build)) => {
                for (key, value) in build {
                    match (key.as_str(), value) {
                        ("context", Yaml::String(path)) => *path = rebased(path, directory),
                        ("additional_contexts", Yaml::Map(contexts)) => {
                            for (_, context) in contexts {
                                if let Yaml::String(path) = context {
                                    *path = rebased(path, directory);
                                }
                            }
                        }
                        _ => {}
                    }
                }
            }
            ("env_file", Yaml::String(path)) => *path = rebased(path, directory),
            ("env_file", Yaml::List(files)) => {
                for file in files {
                    if let Yaml::String(path) = file {
                        *path = rebased(path, directory);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Replaces variables in all texts. Names in maps stay as they are.
fn replace_variables(yaml: &mut Yaml, place: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
    match yaml {
        Yaml::String(text) => {
            *text = interpolate(text, lookup).map_err(|error| {
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
                replace_variables(item, &format!("{place}.[]"), lookup)?;
            }
        }
        Yaml::Map(entries) => {
            for (name, value) in entries {
                let place = if place.is_empty() {
                    name.clone()
                } else {
                    format!("{place}.{name}")
                };
                replace_variables(value, &place, lookup)?;
            }
        }
        Yaml::Null | Yaml::Bool(_) | Yaml::Number(_) => {}
    }
    Ok(())
}
