//! Errors as people see them: what failed, why, and what to do.

use std::error::Error;
use std::fmt;

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// What was asked for cannot be: exit code 2.
    User,
    /// This machine, the network or a registry: 3.
    Environment,
    /// A step of the build: 1.
    Build,
    /// The user stopped it: 130.
    Interrupted,
}

/// An error of a command.
#[derive(Debug)]
pub struct CommandError {
    /// Whose turn it is.
    pub kind: ErrorKind,
    /// What failed, with its causes, the outermost first.
    pub messages: Vec<String>,
    /// A drawing of the place, ready to print.
    pub drawing: Option<String>,
    /// What to do.
    pub hints: Vec<String>,
}

impl CommandError {
    /// An error of one line.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> CommandError {
        CommandError {
            kind,
            messages: vec![message.into()],
            drawing: None,
            hints: Vec::new(),
        }
    }

    /// An error of the user's.
    pub fn user(message: impl Into<String>) -> CommandError {
        CommandError::new(ErrorKind::User, message)
    }

    /// An error with its causes.
    pub fn from_error(kind: ErrorKind, error: &dyn Error) -> CommandError {
        CommandError {
            kind,
            messages: chain(error),
            drawing: None,
            hints: Vec::new(),
        }
    }

    /// With something to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> CommandError {
        self.hints.push(hint.into());
        self
    }

    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            ErrorKind::Build => 1,
            ErrorKind::User => 2,
            ErrorKind::Environment => 3,
            ErrorKind::Interrupted => 130,
        }
    }
}

/// The texts of an error and its causes; a cause that says the same again is left out.
pub fn chain(error: &dyn Error) -> Vec<String> {
    let mut messages: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !messages.last().is_some_and(|last| last.contains(&text)) {
            messages.push(text);
        }
        next = error.source();
    }
    messages
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut messages = self.messages.iter();
        if let Some(first) = messages.next() {
            writeln!(f, "error: {first}")?;
        }
        for cause in messages {
            writeln!(f, "  caused by: {cause}")?;
        }
        if let Some(drawing) = &self.drawing {
            writeln!(f, "{}", drawing.trim_end())?;
        }
        for hint in &self.hints {
            writeln!(f, "hint: {hint}")?;
        }
        Ok(())
    }
}
