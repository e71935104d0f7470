//! What a definition asks for that the user did not allow.

use std::path::{Path, PathBuf};

use kiln_bake::entitlement::{Entitlements, Needs, Paths};
use kiln_bake::model::Target;
use kiln_bake::resolve::Resolved;
use kiln_flags::fields::boolean;

use super::{Subject, local_paths};
use crate::args::BakeArgs;
use crate::command_error::{CommandError, ErrorKind};
use crate::environment::Environment;
use crate::{output, terminal};

/// Paths of this machine.
struct Machine {
    working: String,
}

impl Paths for Machine {
    fn follow(&self, path: &str) -> Result<(String, String), String> {
        let mut existing: PathBuf = Path::new(path).to_path_buf();
        let mut rest = Vec::new();
        loop {
            match std::fs::canonicalize(&existing) {
                Ok(real) => {
                    rest.reverse();
                    return Ok((real.to_string_lossy().into_owned(), rest.join("/")));
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    let name = existing.file_name().map(|name| name.to_string_lossy().into_owned());
                    let parent = existing.parent().map(Path::to_path_buf);
                    match (name, parent) {
                        (Some(name), Some(parent)) => {
                            rest.push(name);
                            existing = parent;
                        }
                        _ => return Err(format!("failed to follow `{path}`: {error}")),
                    }
                }
                Err(error) => return Err(format!("failed to follow `{path}`: {error}")),
            }
        }
    }

    fn working_directory(&self) -> String {
        self.working.clone()
    }
}

/// Refuses what no flag allows, unless the person at the terminal does. Reading and writing within the working directory
/// needs no flag, wherever the definition comes from.
pub fn check(
    args: &BakeArgs,
    subject: &Subject,
    resolved: &Resolved,
    environment: &Environment,
) -> Result<(), CommandError> {
    let working = std::env::current_dir().map_err(|error| CommandError::from_error(ErrorKind::Environment, &error))?;
    let machine = Machine {
        working: working.to_string_lossy().into_owned(),
    };
    let mut allowed = Entitlements::parse(&args.allow).map_err(|error| {
        CommandError::user(error).hint(
            "there are fs, fs.read, fs.write, ssh, network.host, security.insecure, device and local-output-delete",
        )
    })?;
    allowed.merge(&resolved.granted);
    allowed.read.push(machine.working.clone());
    allowed.write.push(machine.working.clone());
    let is_remote = subject.definition.is_some();
    let mut missing = Entitlements::default();
    for target in resolved.targets.values() {
        let mut paths = local_paths(target);
        if is_remote {
            // Whoever wrote the definition should not choose among the images of this machine.
            paths.extend(layouts(target));
        }
        let needs = Needs::of(target, paths);
        missing.merge(&allowed.missing(&needs, &machine).map_err(CommandError::user)?);
    }
    if !checks_files(is_remote, environment)? {
        missing.read.clear();
        missing.write.clear();
        missing.ssh = false;
    }
    for list in [&mut missing.read, &mut missing.write, &mut missing.devices] {
        list.sort();
        list.dedup();
    }
    if missing.is_empty() {
        return Ok(());
    }
    ask(&missing)
}

/// Directories of OCI layouts that a target takes contexts from.
fn layouts(target: &Target) -> Vec<String> {
    let layouts = target
        .contexts
        .values()
        .filter_map(|context| context.strip_prefix("oci-layout://"));
    layouts
        .map(|layout| layout.split(['@', ':']).next().unwrap_or(layout).to_owned())
        .collect()
}

/// The peers' own ways of switching the questions about files off.
fn checks_files(is_remote: bool, environment: &Environment) -> Result<bool, CommandError> {
    let flag = |name: &str| match environment.variables.get(name) {
        None => Ok(None),
        Some(text) => boolean(text)
            .map(Some)
            .ok_or_else(|| CommandError::user(format!("failed to parse {name} value {text:?}")).hint("write 0 or 1")),
    };
    if let Some(on) = flag("BUILDX_BAKE_ENTITLEMENTS_FS")? {
        return Ok(on);
    }
    Ok(!is_remote || flag("BAKE_ALLOW_REMOTE_FS_ACCESS")? != Some(true))
}

/// Whoever sits at a terminal is asked; whoever does not must have said it before.
fn ask(missing: &Entitlements) -> Result<(), CommandError> {
    const ASKED: &str = "the definition asks for more than it may do unasked";
    let explained = missing.explained();
    let flags: Vec<&str> = explained.iter().map(|(_, flag)| flag.as_str()).collect();
    let flags = flags.join(" ");
    if terminal::can_ask() {
        output::talk(&format!("{ASKED}:"));
        for (what, _) in &explained {
            output::talk(&format!("  - {what}"));
        }
        output::talk(&format!("To allow this without a question, add {flags}"));
        if terminal::ask("Allow this, and go on? [y/N] ") {
            return Ok(());
        }
    }
    let mut error = CommandError::user(ASKED);
    error
        .messages
        .extend(explained.iter().map(|(what, _)| format!("it asks for {what}")));
    Err(error.hint(format!("if you trust it, add {flags}")))
}
