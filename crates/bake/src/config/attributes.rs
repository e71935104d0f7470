//! Paths of contexts, where they are relative to the file that names them.

use crate::functions::clean_path;

/// Whether a context is something else than a path of this machine.
pub fn is_remote(context: &str) -> bool {
    let schemes = ["http://", "https://", "git://", "ssh://", "git@", "github.com/"];
    schemes.iter().any(|scheme| context.starts_with(scheme))
}

/// Whether a named context is a path of this machine.
pub fn is_local_path(context: &str) -> bool {
    let others = ["target:", "docker-image:", "oci-layout:", "cwd://", "service:"];
    !is_remote(context) && !others.iter().any(|other| context.starts_with(other)) && context != "-"
}

/// The path as it is seen from the working directory.
pub(crate) fn rebased(context: &str, directory: &str) -> String {
    if context.is_empty() || context.starts_with('/') || !is_local_path(context) {
        context.to_owned()
    } else {
        clean_path(&format!("{directory}/{context}"))
    }
}
