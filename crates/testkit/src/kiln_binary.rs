//! Where the `kiln` binary under test lies.

use std::env;
use std::path::PathBuf;

use crate::error::TestkitError;

/// The binary named by `KILN_BIN`, else the one beside this test's own directory (`target/…/debug/kiln` for a test in
/// `target/…/debug/deps`).
pub fn kiln_binary() -> Result<PathBuf, TestkitError> {
    if let Some(named) = env::var_os("KILN_BIN") {
        return Ok(PathBuf::from(named));
    }
    let program = env::current_exe().map_err(TestkitError::file("find", "the running program"))?;
    program
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join("kiln"))
        .find(|path| path.is_file())
        .ok_or_else(|| TestkitError::Missing {
            what: "the `kiln` binary".to_owned(),
            remedy: "run `cargo xtask test`, or build it with `cargo build --package kiln-cli`".to_owned(),
        })
}
