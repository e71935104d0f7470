//! The commands that a developer of Kiln needs: `cargo xtask demo`, `test`, `conformance`, `fuzz`, `soak`, `bench`.
#![allow(
    clippy::disallowed_methods,
    reason = "a tool for developers reads its own environment"
)]
#![forbid(unsafe_code)]

mod bench;
mod cargo;
mod conformance;
mod demo;
mod error;
mod fuzz;
mod fuzz_audit;
mod soak;
mod system;
mod talk;
mod test;

use std::env;
use std::process::ExitCode;

use error::XtaskError;
use talk::{explain, say};

const USAGE: &str = "\
Usage: cargo xtask <COMMAND>

  demo                       build examples/hello for three platforms, push it to a registry on loopback, run it on each
  test [FILTER…]             install what the tests need, build everything, run the corpora and every test
  conformance [CORPUS…] [--dir DIR] [--json FILE] [--check] [-v]
                             how many cases of each corpus hold
  fuzz [hcl|json|compose…] [--seconds N] [--seed N]
                             random definitions for the parsers of `kiln bake`
  fuzz audit-all|audit-elf|audit-jar|audit-layer… [--seconds N] [--seed N]
                             read files that are broken by chance, until the time is over or something is wrong
  soak crash [--points N] [--seed S]
                             kill kiln at random points; the store must be sound and the same build right after each
  soak growth [--builds N] [--cap MEGABYTES]
                             build changing revisions under a cap and show the size of the store over time
  bench [NAME…] [--runs N] [--json FILE] [--table FILE] [--no-peer]
                             how long builds take, next to buildah; a letter names a group
  bench --profile NAME…      where the time of one build goes
  bench scale [SERIES…] [--page DIR]
                             how time grows with platforms, steps, stages, files, layers
  bench instructions [--record]
                             whether the cached path executes as many instructions as recorded
";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let (command, rest) = match words.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &words[..]),
    };
    let outcome = match command {
        "demo" => demo::run(rest),
        "test" => test::run(rest),
        "conformance" => conformance::run(rest),
        "fuzz" => fuzz(rest),
        "soak" => soak::run(rest),
        "bench" => bench::run(rest),
        "help" | "-h" | "--help" => {
            say(USAGE.trim_end());
            Ok(ExitCode::SUCCESS)
        }
        other => Err(XtaskError::Usage {
            text: format!("there is no command `{other}`\n\n{USAGE}"),
        }),
    };
    outcome.unwrap_or_else(|error| {
        explain(&error);
        ExitCode::FAILURE
    })
}

/// Readers of foreign bytes by name: those of the audit begin with `audit-`, the others are of definitions.
fn fuzz(words: &[String]) -> Result<ExitCode, XtaskError> {
    let audit = words.first().and_then(|target| target.strip_prefix("audit-"));
    match audit {
        Some(name) => fuzz_audit::run(name, &words[1..]),
        None => fuzz::run(words),
    }
}
