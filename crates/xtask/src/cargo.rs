//! Building with cargo, and finding what was built.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::error::XtaskError;
use crate::system::line_of;

/// The root of the workspace.
pub(crate) fn workspace() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest).to_owned()
}

/// The cargo that runs this command, in the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// Builds with these arguments and gives the path of the executable called `name`.
pub(crate) fn build(name: &str, arguments: &[&str]) -> Result<PathBuf, XtaskError> {
    let mut command = cargo();
    command
        .arg("build")
        .args(arguments)
        .arg("--message-format=json-render-diagnostics");
    let line = line_of(&command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| XtaskError::Start {
            program: line.clone(),
            source,
        })?;
    if !output.status.success() {
        return Err(XtaskError::Failed {
            program: line,
            status: output.status.to_string(),
        });
    }
    let executable = |line: &[u8]| -> Option<PathBuf> {
        let message: Value = serde_json::from_slice(line).ok()?;
        let path = PathBuf::from(message["executable"].as_str()?);
        (message["target"]["name"] == name).then_some(path)
    };
    output
        .stdout
        .split(|&byte| byte == b'\n')
        .find_map(executable)
        .ok_or_else(|| XtaskError::Missing {
            what: format!("the executable `{name}` after its build"),
            remedy: format!("look at what `{line}` builds"),
        })
}

/// `rustc 1.95.0 (…) for x86_64-unknown-linux-gnu`.
pub(crate) fn rustc_version() -> Result<String, XtaskError> {
    let mut command = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.arg("-vV").current_dir(workspace());
    let program = line_of(&command);
    let output = command
        .output()
        .map_err(|source| XtaskError::Start { program, source })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    let version = text.lines().next().unwrap_or("unknown");
    Ok(format!("{version} for {}", host.unwrap_or("an unknown host")))
}
