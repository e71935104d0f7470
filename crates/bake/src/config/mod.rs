//! Files → everything that they define, before targets are chosen and resolved.

mod attributes;
mod blocks;
mod evaluation;
mod files;
mod override_value;
mod variables;

use std::collections::BTreeMap;

use crate::diagnostic::Diagnostic;
use crate::functions::Host;
use crate::model::Config;
use crate::source::Sources;

pub(crate) use attributes::rebased;
pub use attributes::{is_local_path, is_remote};
pub(crate) use blocks::is_target_name;
pub(crate) use files::directory_of;
pub use files::{DEFAULT_FILES, FileKind, kind_of, read};

/// A file of a definition.
#[derive(Debug, Clone)]
pub struct File {
    /// Its path as it was given; `-` for standard input.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// What a definition sees beside its files.
pub struct Inputs<'a> {
    /// Values of variables that were given for this run. They come before the environment's.
    pub variables: BTreeMap<String, String>,
    /// The environment; empty if variables may not be looked up in it.
    pub environment: BTreeMap<String, String>,
    /// Variables that are always there, such as `BAKE_CMD_CONTEXT`.
    pub built_in: BTreeMap<String, String>,
    /// What functions learn of the world.
    pub host: Host,
    /// Whether paths of contexts are relative to the file that names them.
    pub file_relative_paths: bool,
    /// Gives the text of a file that a Compose file names; None if there is none. A path that begins with `cwd://` is one
    /// of the caller's working directory, also if the definition comes from elsewhere.
    pub read_file: &'a (dyn Fn(&str) -> Result<Option<String>, String> + Sync),
}

impl std::fmt::Debug for Inputs<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inputs")
            .field("variables", &self.variables)
            .field("built_in", &self.built_in)
            .finish_non_exhaustive()
    }
}

impl Inputs<'_> {
    fn lookup(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .or_else(|| self.environment.get(name))
            .map(String::as_str)
    }
}

/// A variable of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Its type, if it is written.
    pub written_type: Option<String>,
    /// Its value; None if it is null.
    pub value: Option<String>,
}

/// What files define.
#[derive(Debug)]
pub struct Definition {
    /// Groups and targets.
    pub config: Config,
    /// Variables.
    pub variables: Vec<Variable>,
    /// What is odd, but no error.
    pub warnings: Vec<Diagnostic>,
    /// The files.
    pub sources: Sources,
}
