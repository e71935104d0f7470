//! `kiln`: builds container images for many architectures at once.

#![forbid(unsafe_code)]
#![allow(
    unreachable_pub,
    reason = "a program has no outside: everything is as public as its module"
)]

mod args;
mod audit;
mod build;
mod command_error;
mod commands;
mod diagnostic;
mod environment;
mod history;
mod machine;
mod memory;
mod output;
mod render;
mod settings;
mod sharing;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Arguments, Command};
use crate::command_error::CommandError;
use crate::environment::Environment;

fn main() -> ExitCode {
    // A sandbox is this program again: nothing may happen before.
    kiln_sandbox::init_if_requested();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { 2 } else { 0 };
            // A reader that went away needs no help text.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match dispatch(arguments) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(error) => {
            output::error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn dispatch(arguments: Arguments) -> Result<i32, CommandError> {
    let environment = Environment::read();
    match arguments.command {
        Command::Build(args) => commands::build::run(*args, &environment),
        Command::Bake(args) => commands::bake::run(&args, &environment),
        Command::Plan(args) => commands::plan::run(*args, &environment),
        Command::Why(args) => commands::why::run(&args, &environment),
        Command::History(args) => commands::history::run(&args, &environment),
        Command::Report(args) => commands::report::run(&args, &environment),
        Command::Audit(args) => commands::audit::run(&args, &environment),
        Command::Lint(args) => commands::lint::run(&args, &environment),
        Command::Meta(args) => commands::meta::run(&args, &environment),
        Command::Run(args) => commands::run::run(*args, &environment),
        Command::Inspect(args) => commands::inspect::run(&args, &environment),
        Command::Registry(args) => commands::registry::run(&args, &environment),
        Command::Du(args) => commands::du::run(&args, &environment),
        Command::Prune(args) => commands::prune::run(&args, &environment),
        Command::Fsck(args) => commands::fsck::run(&args, &environment),
        Command::Doctor(args) => commands::doctor::run(&args, &environment),
        Command::Version => {
            output::line(&format!("kiln {}", env!("CARGO_PKG_VERSION")));
            Ok(0)
        }
    }
}
