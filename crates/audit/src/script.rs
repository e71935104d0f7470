//! Executable scripts: the interpreter that their first line names, and the programs that they start by path.

use serde::{Deserialize, Serialize};

/// Linux reads so much of the first line.
const MAX_LINE: usize = 256;
/// Paths that are kept of one script.
const MAX_PATHS: usize = 32;

/// What a script says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// The path behind `#!`.
    #[serde(rename = "i")]
    pub interpreter: String,
    /// Of `#!/usr/bin/env X`: the program X.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub env_program: Option<String>,
    /// Absolute paths in its text, which may be what it starts.
    #[serde(rename = "p", default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
}

/// Reads a script. None: it does not begin with `#!` and a path.
pub fn read(text: &[u8]) -> Option<Script> {
    let line = text.strip_prefix(b"#!")?;
    let line = line.get(..line.len().min(MAX_LINE))?;
    let line = line.split(|&byte| byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
    let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
    let interpreter = words.next()?.to_owned();
    // What is no path of a program is some other kind of file, such as a Rust attribute `#![…]`.
    if !interpreter.starts_with('/') {
        return None;
    }
    let is_env = interpreter.ends_with("/env");
    let env_program = is_env.then(|| env_program(words)).flatten();
    Some(Script {
        env_program,
        paths: absolute_paths(text),
        interpreter,
    })
}

/// The program of `env [-S] [NAME=VALUE…] PROGRAM`.
fn env_program<'a>(words: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut words = words.map(|word| word.strip_prefix("-S").unwrap_or(word));
    let program = words.find(|word| !word.is_empty() && !word.starts_with('-') && !word.contains('='))?;
    Some(program.to_owned())
}

fn absolute_paths(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/_.+-".contains(letter);
    let mut paths: Vec<String> = Vec::new();
    for line in text.lines().skip(1).filter(|line| !line.trim_start().starts_with('#')) {
        for word in line.split(|letter: char| !plain(letter)) {
            let new =
                (3..=4096).contains(&word.len()) && word.starts_with('/') && !paths.iter().any(|path| path == word);
            if new && paths.len() < MAX_PATHS {
                paths.push(word.to_owned());
            }
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines_are_read_as_the_kernel_does() {
        let table = [
            ("#!/bin/sh\necho", "/bin/sh", None),
            ("#! /bin/sh -e\n", "/bin/sh", None),
            ("#!/usr/bin/env python3\n", "/usr/bin/env", Some("python3")),
            ("#!/usr/bin/env -S deno run\n", "/usr/bin/env", Some("deno")),
            ("#!/usr/bin/env -S A=1 node\n", "/usr/bin/env", Some("node")),
            ("#!/bin/sh\r\n", "/bin/sh", None),
        ];
        for (text, interpreter, program) in table {
            let script = read(text.as_bytes()).expect(text);
            assert_eq!(script.interpreter, interpreter);
            assert_eq!(script.env_program.as_deref(), program, "{text}");
        }
        for text in ["", "#!", "#!\n", "#![feature(x)]\n", "echo"] {
            assert_eq!(read(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn paths_in_the_text_are_kept() {
        let script =
            read(b"#!/bin/sh\n# /not/this\nexec /app/server --config=/etc/app.conf \"$@\"\n").expect("a script");
        assert_eq!(script.paths, ["/app/server", "/etc/app.conf"]);
    }
}
