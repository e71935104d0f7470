//! `kiln report`.

use std::path::Path;

use crate::args::ReportArgs;
use crate::command_error::{CommandError, ErrorKind};
use crate::environment::Environment;
use crate::history::archive;
use crate::render::report;
use crate::{machine, output};

/// Writes the page of a build.
pub fn run(args: &ReportArgs, environment: &Environment) -> Result<i32, CommandError> {
    let store = machine::store(environment)?;
    let record = archive::read(&store, &archive::find(&store, args.build.as_deref())?)?;
    let page = report::page(&record);
    if args.output == Path::new("-") {
        output::raw(page.as_bytes()).map_err(|error| CommandError::from_error(ErrorKind::Environment, &error))?;
        return Ok(0);
    }
    std::fs::write(&args.output, page).map_err(|error| {
        let mut command = CommandError::from_error(ErrorKind::Environment, &error);
        let message = format!("failed to write `{}`", args.output.display());
        command.messages.insert(0, message);
        command.hint("name another file with -o, or `-` for standard output")
    })?;
    output::line(&args.output.display().to_string());
    Ok(0)
}
