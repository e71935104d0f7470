//! A08: what the configuration starts.

use crate::check::Checks;
use crate::facts::FileFacts;
use crate::finding::{Code, Severity};
use crate::root::NodeKind;
use crate::view::View;

/// Words that a shell understands itself.
const BUILTINS: &[&str] = &[
    ".", ":", "[", "alias", "break", "case", "cd", "command", "continue", "do", "done", "echo", "elif", "else", "esac",
    "eval", "exec", "exit", "export", "false", "fi", "for", "function", "getopts", "hash", "if", "in", "local",
    "printf", "pwd", "read", "readonly", "return", "select", "set", "shift", "source", "test", "then", "time", "times",
    "trap", "true", "type", "ulimit", "umask", "unalias", "unset", "until", "wait", "while", "{", "}", "!",
];

/// Looks at ENTRYPOINT or CMD, and at HEALTHCHECK.
pub(crate) fn check(checks: &mut Checks<'_, '_>) {
    let config = checks.view.config;
    let entrypoint = config.entrypoint.as_deref().unwrap_or_default();
    let cmd = config.cmd.as_deref().unwrap_or_default();
    let (instruction, command) = if entrypoint.is_empty() {
        ("CMD", cmd)
    } else {
        ("ENTRYPOINT", entrypoint)
    };
    if !command.is_empty() {
        exec_form(checks, instruction, command);
    }
    let test = config
        .healthcheck
        .as_ref()
        .map(|check| check.test.as_slice())
        .unwrap_or_default();
    match test {
        [kind, command @ ..] if kind == "CMD" && !command.is_empty() => exec_form(checks, "HEALTHCHECK", command),
        [kind, command] if kind == "CMD-SHELL" => shell_form(checks, "HEALTHCHECK", command),
        _ => {}
    }
}

fn exec_form(checks: &mut Checks<'_, '_>, instruction: &str, command: &[String]) {
    let program = &command[0];
    // An empty word and a variable are what a runtime or its user fills in.
    if program.is_empty() || program.contains('$') {
        return;
    }
    if let Some(problem) = problem(checks.view, program) {
        report(checks, instruction, problem);
        return;
    }
    let is_shell = matches!(program.rsplit('/').next(), Some("sh" | "bash" | "ash" | "dash"));
    if is_shell && command.len() >= 3 && command[1].starts_with('-') && command[1].ends_with('c') {
        shell_form(checks, instruction, &command[2]);
    }
}

/// The first program of a shell command, where it is a plain word.
fn shell_form(checks: &mut Checks<'_, '_>, instruction: &str, command: &str) {
    let mut words = command.split_whitespace();
    let mut first = words.next();
    while let Some(word) = first {
        let assigns = word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty()
                && name
                    .chars()
                    .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        });
        if word == "exec" || assigns {
            first = words.next();
        } else {
            break;
        }
    }
    let Some(word) = first else { return };
    let plain = word
        .chars()
        .all(|letter| letter.is_ascii_alphanumeric() || "/_.+-".contains(letter));
    if !plain || word.starts_with('-') || BUILTINS.contains(&word) {
        return;
    }
    if let Some(problem) = problem(checks.view, word) {
        report(checks, instruction, problem);
    }
}

fn report(checks: &mut Checks<'_, '_>, instruction: &str, problem: String) {
    let repair = format!(
        "make {instruction} name a program of the last stage by its absolute path, and copy or install it for $TARGETPLATFORM"
    );
    checks.add_about_config(
        Code::Entrypoint,
        Severity::Error,
        format!("{instruction}: {problem}"),
        repair,
    );
}

/// Why a program cannot be started.
fn problem(view: &View<'_>, program: &str) -> Option<String> {
    let platform = &view.target.platform;
    let real = if program.contains('/') {
        let absolute = if program.starts_with('/') {
            program.to_owned()
        } else {
            format!("{}/{program}", view.config.working_dir)
        };
        match view.root.resolve(&absolute) {
            Some((real, _)) => real,
            None => return Some(format!("`{program}` is not in the image")),
        }
    } else {
        match view.program(program) {
            Some(real) => real,
            None => return Some(format!("`{program}` is in no directory of PATH")),
        }
    };
    let node = view.root.node(&real)?;
    let facts = match node.kind {
        NodeKind::File(facts) => facts,
        NodeKind::Directory => return Some(format!("`{program}` is a directory")),
        _ => return Some(format!("`{program}` is no regular file")),
    };
    if node.mode & 0o111 == 0 {
        return Some(format!("`{program}` is not executable (mode {:04o})", node.mode));
    }
    match facts {
        FileFacts::Elf(elf) if !view.target.starts(elf.machine) => Some(format!(
            "`{program}` is built for {}, and the platform is {platform}",
            elf.machine.name()
        )),
        FileFacts::Elf(elf) => view
            .target
            .refuses(elf)
            .map(|why| format!("`{program}` cannot run: {why}")),
        FileFacts::Foreign(found) => Some(format!("`{program}` is {}", found.name())),
        FileFacts::Empty => Some(format!("`{program}` is an empty file")),
        FileFacts::Plain | FileFacts::Text(_) => Some(format!(
            "`{program}` is neither a program nor a script that begins with `#!`, so the kernel says \"exec format error\""
        )),
        _ => None,
    }
}
