//! `cargo xtask fuzz audit-…`: the audit's readers of foreign bytes, with files broken by chance.

use std::process::{Command, ExitCode};

use crate::cargo::cargo;
use crate::error::XtaskError;
use crate::system::line_of;

/// Builds the tool with optimisation and overflow checks, and runs it.
pub(crate) fn run(target: &str, arguments: &[String]) -> Result<ExitCode, XtaskError> {
    let mut command: Command = cargo();
    command
        .args([
            "run",
            "--quiet",
            "--release",
            "--package",
            "kiln-audit",
            "--example",
            "fuzz_audit",
        ])
        .args(["--config", "profile.release.overflow-checks=true"])
        .args(["--config", "profile.release.lto=false"])
        .args(["--", target])
        .args(arguments);
    let program = line_of(&command);
    let status = command
        .status()
        .map_err(|source| XtaskError::Start { program, source })?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}
