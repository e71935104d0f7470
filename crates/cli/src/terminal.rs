//! The user's terminal: questions, and steps that take it over: signals and keys go in, output comes out.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::os::fd::AsFd;

use kiln_sandbox::{RunningStep, Step};

use crate::command_error::{CommandError, ErrorKind};

/// Whether there is somebody to ask.
pub fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks. Everything but a yes is a no.
pub fn ask(question: &str) -> bool {
    crate::output::talk_raw(question);
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// Starts the step, passes signals and terminal on, and waits.
pub fn attend(step: &Step, interactive: bool) -> Result<i32, CommandError> {
    let mut running = step
        .spawn()
        .map_err(|error| CommandError::from_error(ErrorKind::Environment, &error))?;
    let forwarder = forward_signals(&running);
    let restore = running
        .terminal
        .take()
        .map(|terminal| Terminal::attach(terminal, interactive));
    let ended = running.wait();
    drop(restore);
    drop(forwarder);
    match ended {
        Ok(exit) => Ok(exit.code()),
        Err(error @ kiln_sandbox::SandboxError::Program { .. }) => {
            let missing = matches!(&error, kiln_sandbox::SandboxError::Program { source, .. } if source.kind() == std::io::ErrorKind::NotFound);
            crate::output::error(&CommandError::from_error(ErrorKind::User, &error));
            Ok(if missing { 127 } else { 126 })
        }
        Err(error) => Err(CommandError::from_error(ErrorKind::Environment, &error)
            .hint("`kiln doctor` shows what this machine allows")),
    }
}

/// A runtime that does nothing but pass signals on.
fn forward_signals(running: &RunningStep) -> Option<tokio::runtime::Runtime> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .ok()?;
    let handle = running.handle();
    let kinds = [
        (SignalKind::interrupt(), 2),
        (SignalKind::terminate(), 15),
        (SignalKind::hangup(), 1),
        (SignalKind::quit(), 3),
        (SignalKind::user_defined1(), 10),
        (SignalKind::user_defined2(), 12),
    ];
    for (kind, number) in kinds {
        let handle = handle.clone();
        runtime.spawn(async move {
            let Ok(mut stream) = signal(kind) else { return };
            while stream.recv().await.is_some() {
                handle.signal(number);
            }
        });
    }
    Some(runtime)
}

/// The user's terminal in raw mode, joined with the program's.
struct Terminal {
    before: Option<rustix::termios::Termios>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Terminal {
    fn attach(terminal: std::fs::File, interactive: bool) -> Terminal {
        let stdin = rustix::stdio::stdin();
        let before = if interactive {
            rustix::termios::tcgetattr(stdin).ok()
        } else {
            None
        };
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            // Without raw mode the program still works, with the terminal's own line editing.
            let _ = rustix::termios::tcsetattr(stdin, rustix::termios::OptionalActions::Now, &raw);
        }
        let _ = kiln_sandbox::pty::copy_size(rustix::stdio::stdout().as_fd(), terminal.as_fd());
        if interactive && let Ok(mut input) = terminal.try_clone() {
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = std::io::stdin().read(&mut buffer) {
                    if input.write_all(&buffer[..count]).is_err() {
                        return;
                    }
                }
            });
        }
        let mut output = terminal;
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                if crate::output::raw(&buffer[..count]).is_err() {
                    return;
                }
            }
        });
        Terminal {
            before,
            reader: Some(reader),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        if let Some(before) = &self.before {
            let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), rustix::termios::OptionalActions::Now, before);
        }
    }
}
