//! Running programs with a time limit, and finding out what this machine has.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::TestkitError;
use crate::fixture::Outcome;

/// A program with its arguments, run to its end with a time limit.
#[derive(Debug)]
pub struct Program {
    command: Command,
    line: String,
    limit: Duration,
    input: Vec<u8>,
}

impl Program {
    /// A program found on the path, without arguments so far.
    pub fn new(name: impl AsRef<OsStr>) -> Self {
        let line = name.as_ref().to_string_lossy().into_owned();
        Self {
            command: Command::new(name),
            line,
            limit: Duration::from_secs(180),
            input: Vec::new(),
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        for argument in arguments {
            self.line.push(' ');
            self.line.push_str(&argument.as_ref().to_string_lossy());
            self.command.arg(argument);
        }
        self
    }

    /// Sets one variable of the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// What the program reads on its standard input; nothing unless given.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// How long the program may take before it is killed; three minutes unless given.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Gives the command to `change`, for what this type has no words for.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Command)) -> Self {
        change(&mut self.command);
        self
    }

    /// Runs the program to its end. An exit status other than zero is an outcome, not an error.
    pub fn run(mut self) -> Result<Outcome, TestkitError> {
        let started = Instant::now();
        let mut child = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| TestkitError::Start {
                program: self.line.clone(),
                source,
            })?;
        let stdout = drain(child.stdout.take());
        let stderr = drain(child.stderr.take());
        if let Some(mut stdin) = child.stdin.take() {
            let input = std::mem::take(&mut self.input);
            // A program that ends without reading its input closes the pipe, which is no error of the caller's.
            thread::spawn(move || std::io::Write::write_all(&mut stdin, &input));
        }
        let status = loop {
            let ended = child.try_wait().map_err(|source| TestkitError::Start {
                program: self.line.clone(),
                source,
            })?;
            if let Some(status) = ended {
                break status;
            }
            if started.elapsed() > self.limit {
                // Killing and reaping fail only when the process has just ended by itself.
                let _ = child.kill();
                let _ = child.wait();
                return Err(TestkitError::Program {
                    program: self.line,
                    status: format!("killed after {} s", self.limit.as_secs()),
                    stderr: tail(&String::from_utf8_lossy(&join(stderr))),
                });
            }
            thread::sleep(Duration::from_millis(2));
        };
        Ok(Outcome {
            line: self.line,
            status,
            stdout: join(stdout),
            stderr: String::from_utf8_lossy(&join(stderr)).into_owned(),
            elapsed: started.elapsed(),
        })
    }

    /// Runs the program to its end; an exit status other than zero is an error that carries the end of its talk.
    pub fn succeed(self) -> Result<Outcome, TestkitError> {
        let outcome = self.run()?;
        if outcome.status.success() {
            return Ok(outcome);
        }
        Err(TestkitError::Program {
            program: outcome.line.clone(),
            status: in_words(outcome.status),
            stderr: tail(&outcome.stderr),
        })
    }
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error is still worth showing.
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

fn join(reader: thread::JoinHandle<Vec<u8>>) -> Vec<u8> {
    reader.join().unwrap_or_default()
}

fn in_words(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit code {code}"),
        None => status.to_string(),
    }
}

/// The last lines of a program's talk.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// Where a program lies, searched on `PATH` and in the administrator's directories.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// Whether this process runs as root; prints why the test is skipped when it does not.
pub fn skip_unless_root(test: &str) -> bool {
    let root = fs::read_to_string("/proc/self/status")
        .unwrap_or_default()
        .lines()
        .find_map(|line| {
            line.strip_prefix("Uid:")
                .map(|ids| ids.split_whitespace().nth(1) == Some("0"))
        })
        .unwrap_or(false);
    if !root {
        report_skip(test, "needs root");
    }
    !root
}

/// Whether a process runs whose arguments, joined by spaces, are exactly `line`.
pub fn is_running(line: &str) -> bool {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .any(|arguments| {
            let words: Vec<_> = arguments
                .split(|&byte| byte == 0)
                .map(String::from_utf8_lossy)
                .collect();
            words.join(" ").trim_end() == line
        })
}

/// Prints the line by which a skipped test names its reason.
pub fn report_skip(test: &str, reason: &str) {
    // The harness captures standard error for each test and shows it; a failed write leaves nothing to do.
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("skipped: {test}: {reason}\n").as_bytes(),
    );
}

/// A directory that outlives one run: inside cargo's target directory when the running program lies there, else in the
/// system's temporary directory.
pub fn cache_directory() -> Result<PathBuf, TestkitError> {
    let program = env::current_exe().map_err(TestkitError::file("find", "the running program"))?;
    let target = program
        .ancestors()
        .filter(|directory| directory.join("CACHEDIR.TAG").is_file())
        .last();
    let directory = target
        .map_or_else(env::temp_dir, Path::to_path_buf)
        .join("kiln-testkit");
    fs::create_dir_all(&directory).map_err(TestkitError::file("create", &directory))?;
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_killed_and_says_so() {
        let error = Program::new("sleep")
            .args(["60"])
            .limit(Duration::from_millis(100))
            .run();
        let message = error
            .expect_err("a sleep of a minute cannot end in a tenth of a second")
            .to_string();
        assert!(message.contains("killed after 0 s"), "{message}");
    }

    #[test]
    fn the_end_of_the_talk_is_in_the_error() {
        let error = Program::new("sh")
            .args(["-c", "echo no such thing >&2; exit 3"])
            .succeed();
        let message = error.expect_err("the shell exits with 3").to_string();
        assert!(message.contains("exit code 3"), "{message}");
        assert!(message.contains("no such thing"), "{message}");
    }

    #[test]
    fn standard_input_reaches_the_program() -> Result<(), TestkitError> {
        let outcome = Program::new("cat").input("from stdin").succeed()?;
        assert_eq!(outcome.stdout_text(), "from stdin");
        Ok(())
    }
}
