//! `cargo xtask fuzz`: random definitions for the parsers of `kiln bake`.

use std::process::{Command, ExitCode};

use crate::cargo;
use crate::error::XtaskError;
use crate::system::line_of;

/// Builds the program and runs it with the caller's arguments.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode, XtaskError> {
    let program = cargo::build("fuzz", &["--package", "kiln-testkit", "--bin", "fuzz"])?;
    let mut command = Command::new(program);
    command.args(arguments);
    let program = line_of(&command);
    let status = command
        .status()
        .map_err(|source| XtaskError::Start { program, source })?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
