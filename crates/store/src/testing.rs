//! What the tests of this crate share.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::Store;

mod processes;

/// A new store that goes with the returned directory.
pub(crate) fn temporary_store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(directory.path()).expect("a new store opens");
    (directory, store)
}

const TOLD: &str = "told:";

/// This test program, ready to run one test in a process of its own. What it is told stands among its arguments,
/// where the test harness takes it for the name of one more test.
pub(crate) fn test_process(test: &str, told: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the path of the test program"));
    let mut argument = TOLD.as_bytes().to_vec();
    argument.extend_from_slice(told.as_os_str().as_bytes());
    command
        .args(["--exact", test, "--nocapture"])
        .arg(OsStr::from_bytes(&argument));
    command
}

/// What this process was told, if it was started by [`test_process`].
pub(crate) fn told() -> Option<PathBuf> {
    std::env::args_os().find_map(|argument| {
        Some(PathBuf::from(OsStr::from_bytes(
            argument.as_bytes().strip_prefix(TOLD.as_bytes())?,
        )))
    })
}

/// Runs one test of this program as another user. Needs to be root.
pub(crate) fn run_as(user: u32, test: &str, told: &Path) -> Output {
    // The program may lie where only root can go.
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let program = scratch.path().join("program");
    std::fs::copy(std::env::current_exe().expect("the path of the test program"), &program).expect("copy the program");
    for path in [scratch.path(), &program] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    let original = test_process(test, told);
    let mut command = Command::new(&program);
    command.args(original.get_args()).uid(user).gid(user).current_dir("/");
    command.output().expect("the program starts")
}
