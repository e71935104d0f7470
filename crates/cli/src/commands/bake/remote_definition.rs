//! Definitions from git repositories and URLs.

use kiln_bake::config::{DEFAULT_FILES, Definition, File};
use kiln_dockerfile::git::redacted;

use crate::args::BakeArgs;
use crate::build::remote::{ContextRoot, Found, open};
use crate::build::{BuildError, Machine};
use crate::command_error::CommandError;
use crate::commands::build::{Surroundings, explain, on_this_machine};
use crate::environment::Environment;
use crate::settings;
use crate::settings::bake::remote::{Origin, fetching};
use crate::settings::bake::{self, HERE, Names, Subject};

/// Fetches and reads a definition. The second value is where its contexts are, if they are not here.
pub(super) fn read(
    url: &str,
    args: &BakeArgs,
    subject: &Subject,
    environment: &Environment,
) -> Result<(Definition, Option<Origin>), CommandError> {
    let (build, request) = fetching(url, args, environment)?;
    let surroundings = Surroundings {
        args: &build,
        steps: settings::step_settings(&build, environment)?,
        foreign: false,
        recorded: None,
        environment,
    };
    let names = bake::names(args, environment);
    let reading = Reading {
        url,
        args,
        subject,
        environment,
    };
    let (read, identities, _) = on_this_machine(surroundings, async |machine: &Machine| {
        match open(&request, machine).await? {
            Found::File(text) => Ok(reading.file(text, &names)),
            Found::Repository(root) => reading.files(&root, &names, false).await,
            Found::Archive(root) => reading.files(&root, &names, true).await,
        }
    })?;
    read.map_err(|error| explain(error, identities))?
}

type Read = Result<(Definition, Option<Origin>), CommandError>;

/// What a definition is read with.
struct Reading<'a> {
    url: &'a str,
    args: &'a BakeArgs,
    subject: &'a Subject,
    environment: &'a Environment,
}

impl Reading<'_> {
    /// A definition in one file, whose paths are those of the working directory.
    fn file(&self, text: String, names: &Names) -> Read {
        let mut files = vec![File {
            name: self.url.to_owned(),
            text,
        }];
        files.extend(here(names)?);
        let read = |path: &str| bake::read_here(path.strip_prefix(HERE).unwrap_or(path));
        let definition = bake::evaluated(&files, self.args, self.subject, self.environment, &read)?;
        Ok((definition, None))
    }

    /// A definition whose files lie in a repository or an archive, and its contexts with them.
    async fn files(&self, root: &ContextRoot, names: &Names, is_archive: bool) -> Result<Read, BuildError> {
        let mut files = Vec::new();
        let by_default = names.there.is_empty();
        let defaults = DEFAULT_FILES.map(str::to_owned);
        for name in if by_default { &defaults } else { names.there.as_slice() } {
            match root.read(name).await? {
                Some(text) => files.push(File {
                    name: name.clone(),
                    text,
                }),
                None if by_default => {}
                None => return Ok(Err(self.missing(name))),
            }
        }
        match here(names) {
            Ok(more) => files.extend(more),
            Err(error) => return Ok(Err(error)),
        }
        let runtime = tokio::runtime::Handle::current();
        let read = |path: &str| match path.strip_prefix(HERE) {
            Some(path) => bake::read_here(path),
            // Evaluation has a thread of its own, which may wait.
            None => runtime
                .block_on(root.read(path))
                .map_err(|error| format!("failed to read `{path}`: {error}")),
        };
        let evaluate = || bake::evaluated(&files, self.args, self.subject, self.environment, &read);
        let definition = tokio::task::block_in_place(evaluate);
        let origin = Origin {
            url: self.url.to_owned(),
            is_archive,
        };
        Ok(definition.map(|definition| (definition, Some(origin))))
    }

    fn missing(&self, name: &str) -> CommandError {
        let message = format!("there is no definition `{name}` in `{}`", redacted(self.url));
        CommandError::user(message).hint(format!("for a file in the working directory write `-f {HERE}{name}`"))
    }
}

/// The files of the working directory. Their names say that they are there, and so where what they name is.
fn here(names: &Names) -> Result<Vec<File>, CommandError> {
    let read = |name: &String| {
        let path = name.strip_prefix(HERE).unwrap_or(name);
        let file = bake::read_file(path)?;
        Ok(File {
            name: name.clone(),
            ..file
        })
    };
    names.here.iter().map(read).collect()
}
