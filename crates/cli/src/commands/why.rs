//! `kiln why`.

use crate::args::{DocumentFormat, WhyArgs};
use crate::command_error::CommandError;
use crate::environment::Environment;
use crate::history::archive;
use crate::history::record::{BuildRecord, StepRecord};
use crate::render::explain;
use crate::{machine, output};

/// Says for each step how its result was found or why it ran.
pub fn run(args: &WhyArgs, environment: &Environment) -> Result<i32, CommandError> {
    let store = machine::store(environment)?;
    let record = archive::read(&store, &archive::find(&store, args.build.as_deref())?)?;
    let steps = match &args.step {
        Some(text) => steps(&record, text)?,
        None => record.instructions().collect(),
    };
    match args.format {
        DocumentFormat::Text => explain::lines(&record, &steps)
            .iter()
            .for_each(|line| output::line(line)),
        DocumentFormat::Json => output::line(&format!("{:#}", explain::value(&record, &steps))),
    }
    Ok(0)
}

/// The steps that a text chooses; none is an error.
pub fn steps<'r>(record: &'r BuildRecord, text: &str) -> Result<Vec<&'r StepRecord>, CommandError> {
    let chosen = explain::chosen(record, text);
    if chosen.is_empty() {
        return Err(
            CommandError::user(format!("build {} has no step `{text}`", record.id)).hint(format!(
                "write a number, STAGE, STAGE/NUMBER or a part of the instruction; `kiln history show {}` lists the steps",
                record.id
            )),
        );
    }
    Ok(chosen)
}
