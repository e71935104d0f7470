//! `--on-error=shell`: looking around where a step failed.

use std::io::IsTerminal;
use std::path::PathBuf;

use kiln_sandbox::StepMount;
use kiln_sandbox::emulator::is_static_program;
use kiln_sandbox::namespace::find_program;
use kiln_worker::exec::FailedStep;

use crate::command_error::CommandError;
use crate::environment::Environment;
use crate::output;
use crate::terminal::attend;

/// Where a shell of this machine's stands in a root that has none: in memory, so that no layer has it.
const BORROWED: &str = "/dev/kiln/busybox";

/// Whether a shell can be talked to.
pub fn is_possible() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Tells why the build failed, starts a shell in the step's surroundings, and gives the exit code of the build.
pub fn shell(error: &CommandError, step: &FailedStep, environment: &Environment) -> i32 {
    output::error(error);
    let (argv, mounts) = match (step.shell(), busybox(environment)) {
        (Some(shell), _) => (vec![shell.to_owned()], Vec::new()),
        (None, Some(busybox)) => {
            let mount = StepMount::Bind {
                source: busybox,
                inside: PathBuf::new(),
                target: BORROWED.into(),
                read_only: true,
            };
            (vec![BORROWED.to_owned(), "sh".to_owned()], vec![mount])
        }
        (None, None) => {
            output::talk(
                "warning: the step's root has no shell, and this machine has no static busybox to lend it (`apt-get install busybox-static`)",
            );
            return error.exit_code().into();
        }
    };
    output::talk(
        "a shell where the step failed, with its mounts and variables; what it changes is thrown away. `exit` ends it",
    );
    let step = step.with_program(argv.into_iter().map(Into::into).collect(), mounts);
    if let Err(failed) = attend(&step, true) {
        output::error(&failed);
    }
    error.exit_code().into()
}

fn busybox(environment: &Environment) -> Option<PathBuf> {
    let path = environment.path.as_deref();
    let names = ["busybox-static", "busybox"];
    let found = names.iter().filter_map(|name| find_program(name, path));
    found.into_iter().find(|program| is_static_program(program))
}
