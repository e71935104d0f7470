//! The audit's side of the program: where images come from, and layers read in parallel.

pub mod archive;
pub mod bases;
pub mod blobs;
pub mod source;

use std::path::{Path, PathBuf};

use kiln_audit::AllowList;

use crate::command_error::{CommandError, ErrorKind};

/// The list of allowed findings: the named file, else `kiln-audit.toml` in a directory, else none.
pub fn allow_list(named: Option<&Path>, directory: &Path) -> Result<AllowList, CommandError> {
    let path = named.map_or_else(|| directory.join("kiln-audit.toml"), PathBuf::from);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(AllowList::default());
        }
        Err(error) => return Err(failed(&path, &error)),
    };
    AllowList::parse(&text).map_err(|error| {
        failed(&path, &error)
            .hint("rows are [[allow]] with `reason`, with `path` or `code`, and if wanted `platform` and `expires`")
    })
}

fn failed(path: &Path, error: &dyn std::error::Error) -> CommandError {
    let mut command = CommandError::from_error(ErrorKind::User, error);
    command
        .messages
        .insert(0, format!("failed to read `{}`", path.display()));
    command
}

/// Today, for allowances that end.
pub fn today() -> jiff::civil::Date {
    jiff::Zoned::now().date()
}
