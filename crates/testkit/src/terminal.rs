//! A program on a terminal of its own, typed at as a person would.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::pty::OpenptFlags;

use crate::error::TestkitError;

/// How long a program may stay silent before the conversation is over.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program and the other side of its terminal. Dropping it ends the program.
#[derive(Debug)]
pub struct Terminal {
    child: std::process::Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    shown: String,
}

impl Terminal {
    /// Starts a program with a new terminal as its standard input, output and error.
    pub fn start(mut command: Command) -> Result<Terminal, TestkitError> {
        let failed = |source: std::io::Error| TestkitError::file("open", "a terminal")(source);
        let open = || -> std::io::Result<(File, File)> {
            let ours = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
            rustix::pty::grantpt(&ours)?;
            rustix::pty::unlockpt(&ours)?;
            let name = rustix::pty::ptsname(&ours, Vec::new())?;
            let theirs = File::options()
                .read(true)
                .write(true)
                .open(name.to_string_lossy().as_ref())?;
            Ok((ours.into(), theirs))
        };
        let (ours, theirs) = open().map_err(failed)?;
        let copies = || Ok::<_, std::io::Error>((theirs.try_clone()?, theirs.try_clone()?, theirs.try_clone()?));
        let (input, output, error) = copies().map_err(failed)?;
        command.stdin(Stdio::from(input)).stdout(output).stderr(error);
        let child = command.spawn().map_err(failed)?;
        let keyboard = ours.try_clone().map_err(failed)?;
        let (sender, screen) = channel();
        let mut ours = ours;
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The last writer's end is an error on a terminal, not an end of file.
            while let Ok(count @ 1..) = ours.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Ok(Terminal {
            child,
            keyboard,
            screen,
            shown: String::new(),
        })
    }

    /// Waits until a text was shown; false if it never was.
    pub fn wait_for(&mut self, text: &str) -> bool {
        while !self.shown.contains(text) {
            match self.screen.recv_timeout(PATIENCE) {
                Ok(bytes) => self.shown.push_str(&String::from_utf8_lossy(&bytes).replace('\r', "")),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
            }
        }
        true
    }

    /// Types.
    pub fn type_keys(&mut self, keys: &str) -> Result<(), TestkitError> {
        let typed = self.keyboard.write_all(keys.as_bytes());
        typed.map_err(TestkitError::file("type at", "a terminal"))
    }

    /// Everything that was shown so far.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Waits until the program has ended, and gives its exit code; None if it was killed or would not end.
    pub fn finish(&mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            while let Ok(bytes) = self.screen.try_recv() {
                self.shown.push_str(&String::from_utf8_lossy(&bytes).replace('\r', ""));
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
