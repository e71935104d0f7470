//! `kiln du`.

use crate::args::{DuArgs, UsageFormat};
use crate::command_error::CommandError;
use crate::environment::Environment;
use crate::{machine, output, render, settings};

/// Counts.
pub fn run(args: &DuArgs, environment: &Environment) -> Result<i32, CommandError> {
    let filters = settings::collect::filters(&args.filter)?;
    machine::enter_namespace()?;
    let store = machine::store(environment)?;
    let mut usage = store.usage().map_err(|error| machine::store_error(&error))?;
    let now = machine::unix_now();
    if !args.filter.is_empty() {
        let oldest = filters
            .until
            .map(|until| now.saturating_sub(i64::try_from(until.as_secs()).unwrap_or(i64::MAX)));
        usage.retain(
            |item| oldest.is_none_or(|oldest| item.used_unix <= oldest),
            &filters.filter,
        );
    }
    match args.format {
        UsageFormat::Table => output::line(render::store::usage(&usage, args.verbose, now).trim_end()),
        UsageFormat::Json => output::line(&format!("{:#}", render::store::usage_json(&usage, args.verbose))),
    }
    Ok(0)
}
