//! Versions: semantic ones, and Python's.

mod python;
mod semantic;

pub(crate) use python::PythonVersion;
pub(crate) use semantic::SemanticVersion;
