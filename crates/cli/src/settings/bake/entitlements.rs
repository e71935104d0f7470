//! What a definition asks for that the user did not allow.

use std::path::{Path, PathBuf};

use kiln_bake::entitlement::{Entitlements, Needs, Paths};
use kiln_bake::model::parse_boolean;
use kiln_bake::resolve::Resolved;

use super::local_paths;
use crate::args::BakeArgs;
use crate::command_error::{CommandError, ErrorKind};
use crate::environment::Environment;

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

/// Refuses what no flag allows. Reading and writing within the working directory needs no flag.
pub fn check(args: &BakeArgs, resolved: &Resolved, environment: &Environment) -> Result<(), CommandError> {
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
    let mut missing = Entitlements::default();
    for target in resolved.targets.values() {
        let needs = Needs::of(target, local_paths(target));
        missing.merge(&allowed.missing(&needs, &machine).map_err(CommandError::user)?);
    }
    // The peers' own way of switching this off.
    let files = environment.variables.get("BUILDX_BAKE_ENTITLEMENTS_FS");
    if files.and_then(|text| parse_boolean(text)) == Some(false) {
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
    let explained = missing.explained();
    let mut error = CommandError::user("the definition asks for more than it may do unasked");
    error
        .messages
        .extend(explained.iter().map(|(what, _)| format!("it asks for {what}")));
    let flags: Vec<&str> = explained.iter().map(|(_, flag)| flag.as_str()).collect();
    Err(error.hint(format!("if you trust it, add {}", flags.join(" "))))
}
