//! Kiln's own registry, run as a user runs it.

use std::io::{BufRead, BufReader, Read, Seek};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::docker_registry::await_answer;
use crate::error::TestkitError;
use crate::fixture::Fixture;

/// A running `kiln registry serve`; dropping it ends the process.
#[derive(Debug)]
pub struct KilnRegistry {
    child: Child,
    address: String,
}

impl KilnRegistry {
    /// Starts a registry over the state directory of `fixture`, on a free loopback port.
    pub fn start(fixture: &Fixture) -> Result<Self, TestkitError> {
        let (child, address) = await_address(fixture.command(["registry", "serve", "--addr", "127.0.0.1:0"])?)?;
        Ok(Self { child, address })
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        self.address.clone()
    }
}

impl Drop for KilnRegistry {
    fn drop(&mut self) {
        // Ended by its own id; it may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a `kiln registry serve` and waits until it answers: the process, which the caller ends, and `127.0.0.1:port`. The
/// address is what the command prints, as data, on standard output.
pub fn await_address(mut command: Command) -> Result<(Child, String), TestkitError> {
    let mut talk = tempfile::tempfile().map_err(TestkitError::file("create", "a temporary file"))?;
    let output = talk
        .try_clone()
        .map_err(TestkitError::file("open", "a temporary file"))?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(output)
        .spawn()
        .map_err(|source| TestkitError::Start {
            program: "kiln registry serve".to_owned(),
            source,
        })?;
    let (send, receive) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Nobody listens once the address is known; reading on keeps the pipe from filling up.
                let _ = send.send(line);
            }
        });
    }
    while let Ok(line) = receive.recv_timeout(Duration::from_secs(20)) {
        if let Some(address) = address_in(&line)
            && await_answer(&mut child, &address)
        {
            return Ok((child, address));
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    let mut said = String::new();
    // What it said is only decoration of the error.
    let _ = talk.rewind().and_then(|()| talk.read_to_string(&mut said));
    Err(TestkitError::Program {
        program: "kiln registry serve".to_owned(),
        status: "no address on standard output".to_owned(),
        stderr: said,
    })
}

/// The first `127.0.0.1:port` in a line.
fn address_in(line: &str) -> Option<String> {
    let start = line.find("127.0.0.1:")?;
    let address: String = line[start..]
        .chars()
        .take_while(|one| one.is_ascii_digit() || ".:".contains(*one))
        .collect();
    Some(address.trim_end_matches(['.', ':']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::address_in;

    #[test]
    fn the_address_is_found_in_a_line() {
        assert_eq!(
            address_in("listening on http://127.0.0.1:4711/"),
            Some("127.0.0.1:4711".to_owned())
        );
        assert_eq!(address_in("127.0.0.1:80"), Some("127.0.0.1:80".to_owned()));
        assert_eq!(address_in("nothing here"), None);
    }
}
