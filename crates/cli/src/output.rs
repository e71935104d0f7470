//! Standard output and standard error: the one place that prints. Output is data, error is talk.

#![expect(clippy::print_stderr, reason = "this is the one home of printing")]

use crate::command_error::CommandError;

/// A line of data. A reader that went away, such as `head`, wants no more of it.
pub fn line(text: &str) {
    use std::io::Write;
    if let Err(error) = writeln!(std::io::stdout().lock(), "{text}")
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        talk(&format!("warning: failed to write to standard output: {error}"));
    }
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
