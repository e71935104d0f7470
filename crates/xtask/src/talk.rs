//! What the commands say. All of it goes to standard error, so that standard output stays what the called programs print.

use std::error::Error;
use std::io::{self, Write};

/// Prints a line.
pub(crate) fn say(line: &str) {
    // Without a standard error there is nobody to tell.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Prints a heading that sets off what follows.
pub(crate) fn heading(line: &str) {
    say(&format!("\n== {line}"));
}

/// Prints an error with its causes.
pub(crate) fn explain(error: &dyn Error) {
    say(&format!("error: {error}"));
    let mut source = error.source();
    while let Some(cause) = source {
        say(&format!("  cause: {cause}"));
        source = cause.source();
    }
}
