//! `cargo xtask conformance`: how many cases of each corpus hold.

use std::path::Path;
use std::process::{Command, ExitCode};

use crate::cargo;
use crate::error::XtaskError;
use crate::system::{self, line_of};

/// Builds the binary and the drivers, and runs them with the caller's arguments.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode, XtaskError> {
    system::ensure(&[system::EMULATORS, system::PEERS])?;
    let kiln = cargo::build("kiln", &["--package", "kiln-cli"])?;
    run_with(&kiln, arguments)
}

/// As [`run`], with a binary that is built already.
pub(crate) fn run_with(kiln: &Path, arguments: &[String]) -> Result<ExitCode, XtaskError> {
    let drivers = cargo::build("conformance", &["--package", "kiln-testkit", "--bin", "conformance"])?;
    let mut command = Command::new(drivers);
    command.args(arguments).env("KILN_BIN", kiln);
    let program = line_of(&command);
    let status = command
        .status()
        .map_err(|source| XtaskError::Start { program, source })?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}
