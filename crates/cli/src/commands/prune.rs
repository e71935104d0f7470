//! `kiln prune`.

use std::io::{BufRead as _, IsTerminal as _};

use crate::args::{PruneArgs, UsageFormat};
use crate::command_error::{CommandError, ErrorKind};
use crate::environment::Environment;
use crate::{machine, output, render, settings};

/// Removes what is not used.
pub fn run(args: &PruneArgs, environment: &Environment) -> Result<i32, CommandError> {
    // Mistakes come before questions.
    settings::collect::filters(&args.filter)?;
    machine::enter_namespace()?;
    let store = machine::store(environment)?;
    let (_, disk) = store.disk().map_err(|error| machine::store_error(&error))?;
    let options = settings::collect::options(args, disk)?;
    if !args.dry_run && !args.force && !may_go_on(args)? {
        output::talk("nothing was removed");
        return Ok(0);
    }
    let collected = store.collect(&options).map_err(|error| machine::store_error(&error))?;
    match args.format {
        UsageFormat::Table => output::line(&render::store::collected(
            &collected,
            args.verbose,
            args.dry_run,
            machine::unix_now(),
        )),
        UsageFormat::Json => output::line(&format!(
            "{:#}",
            render::store::collected_json(&collected, args.dry_run)
        )),
    }
    Ok(0)
}

/// Asks on a terminal. Elsewhere nobody can answer: what can be made again goes, names of images need `--force`.
fn may_go_on(args: &PruneArgs) -> Result<bool, CommandError> {
    if !std::io::stdin().is_terminal() {
        if args.all {
            return Err(
                CommandError::user("--all removes images that are nowhere else, and nobody can be asked here")
                    .hint("say --force, or look first with --dry-run"),
            );
        }
        return Ok(true);
    }
    let what = if args.all {
        "This removes the build cache, and the images of this store that were not pushed."
    } else {
        "This removes the build cache, except for what is in use."
    };
    output::talk_raw(&format!("WARNING! {what}\nAre you sure you want to continue? [y/N] "));
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| CommandError::from_error(ErrorKind::Environment, &error))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
