//! Compose files → targets: one for each service with a `build` section.
//!
//! Only what a build needs is read: `image`, `build`, `environment` and `env_file` of services, and `secrets`. The rest
//! of a file may be anything.

mod build;
mod consistency;
mod dotenv;
mod interpolation;
mod model;
mod project;
#[cfg(test)]
mod tests;
mod yaml;

use std::collections::BTreeMap;

use crate::config::{File, Inputs};
use crate::diagnostic::Diagnostic;
use crate::error::BakeError;
use crate::model::Config;

pub use dotenv::parse as parse_dotenv;
pub use yaml::Yaml;

/// Whether a file is a Compose file that can be read on its own.
///
/// # Errors
/// Why it is none.
pub fn validate(file: &File, inputs: &Inputs<'_>) -> Result<(), BakeError> {
    let environment = environment(&[file], inputs)?;
    project::load(&[file], &environment, inputs)?;
    Ok(())
}

/// The targets of some files, of which later ones change what earlier ones say, and what is odd in them.
///
/// # Errors
/// What is wrong in them.
pub fn read(files: &[&File], inputs: &Inputs<'_>) -> Result<(Config, Vec<Diagnostic>), BakeError> {
    let environment = environment(files, inputs)?;
    let project = project::load(files, &environment, inputs)?;
    consistency::check(&project)?;
    let base = files
        .first()
        .and_then(|file| crate::config::directory_of(&file.name, inputs));
    let config = build::targets(&project, &environment, base.as_deref(), inputs)?;
    let warnings = project.unset.iter().map(|name| Diagnostic {
        summary: "Unset variable".to_owned(),
        detail: format!("The {name:?} variable is not set. Defaulting to a blank string."),
        span: None,
        hints: Vec::new(),
        consequence: false,
    });
    Ok((config, warnings.collect()))
}

/// The environment, completed by a file `.env`, and what was given for this run before both; in it the project's name.
fn environment(files: &[&File], inputs: &Inputs<'_>) -> Result<BTreeMap<String, String>, BakeError> {
    let mut all = inputs.environment.clone();
    let failed = |message: String| BakeError::Compose {
        file: ".env".to_owned(),
        line: None,
        message,
        text: String::new(),
    };
    // Whoever calls completes the environment, wherever the files come from.
    if let Some(text) = (inputs.read_file)("cwd://.env").map_err(failed)? {
        let lookup = |name: &str| all.get(name).cloned();
        let found = parse_dotenv(&text, &lookup).map_err(failed)?;
        for (name, value) in found {
            all.entry(name).or_insert(value);
        }
    }
    all.extend(inputs.variables.clone());
    let name = project::name(files, &all);
    all.insert("COMPOSE_PROJECT_NAME".to_owned(), name);
    Ok(all)
}
