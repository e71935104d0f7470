//! Standard output and standard error: the one place that prints. Output is data, error is talk.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is the one home of printing"
)]

use crate::command_error::CommandError;

/// A line of data.
pub fn line(text: &str) {
    println!("{text}");
}

/// Data without an end of line.
pub fn raw(bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// A line for the person who waits.
pub fn talk(text: &str) {
    eprintln!("{text}");
}

/// Text for the person who waits, as it is.
pub fn talk_raw(text: &str) {
    eprint!("{text}");
}

/// An error with its causes and hints.
pub fn error(error: &CommandError) {
    eprint!("{error}");
}
