//! `kiln doctor`.

use kiln_sandbox::doctor::{Status, probe};

use crate::args::DoctorArgs;
use crate::command_error::{CommandError, ErrorKind};
use crate::environment::Environment;
use crate::{machine, output};

/// Shows what this machine can do.
pub fn run(args: &DoctorArgs, environment: &Environment) -> Result<i32, CommandError> {
    let findings = probe(&machine::emulators(environment, &args.emulator_dir, true));
    if args.json {
        let text = serde_json::to_string_pretty(&findings)
            .map_err(|error| CommandError::from_error(ErrorKind::Environment, &error))?;
        output::line(&text);
        return Ok(0);
    }
    let width = findings.iter().map(|finding| finding.subject.len()).max().unwrap_or(0);
    for finding in &findings {
        let mark = match finding.status {
            Status::Ok => "ok      ",
            Status::Degraded => "degraded",
            Status::Missing => "missing ",
        };
        output::line(&format!("{mark}  {:width$}  {}", finding.subject, finding.detail));
        if let Some(fix) = &finding.fix {
            output::line(&format!("          {:width$}  fix: {fix}", ""));
        }
    }
    Ok(0)
}
