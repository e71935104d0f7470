//! Why the kernel does not run a file that is there: it only says that something is missing, or that the format is not
//! one that it knows.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::binfmt::ElfMachine;

/// Looks at the program that could not be started, in the root of the caller. None: there is no such file, or nothing is
/// wrong with it. `search` are the directories of `PATH`.
pub(crate) fn reason(program: &OsStr, search: &OsStr) -> Option<String> {
    let path = if program.as_bytes().contains(&b'/') {
        PathBuf::from(program)
    } else {
        let mut candidates = std::env::split_paths(search).map(|directory| directory.join(program));
        candidates.find(|path| path.is_file())?
    };
    let mut head = Vec::new();
    // Program headers follow the file header in every linker's output; 4 KiB hold dozens of them.
    std::fs::File::open(path).ok()?.take(4096).read_to_end(&mut head).ok()?;
    explain(&head, |path| path.exists())
}

fn explain(head: &[u8], exists: impl Fn(&Path) -> bool) -> Option<String> {
    let is_missing = |path: &[u8]| !exists(Path::new(OsStr::from_bytes(path)));
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next()?.trim_ascii_start();
        let interpreter = line.split(|byte| matches!(byte, b' ' | b'\t')).next()?;
        return is_missing(interpreter).then(|| {
            let text = String::from_utf8_lossy(interpreter);
            let hint = if text.ends_with('\r') {
                " (its lines end as on Windows)"
            } else {
                ""
            };
            format!("there is no `{}`, which its first line asks for{hint}", text.trim_end())
        });
    }
    let machine = ElfMachine::read(head)?;
    let kind = machine.architecture().unwrap_or("another processor");
    match loader(head, machine) {
        Some(loader) if is_missing(loader) => {
            let loader = String::from_utf8_lossy(loader);
            Some(format!(
                "there is no `{loader}`, the loader that this program for {kind} asks for"
            ))
        }
        _ => Some(format!("it is a program for {kind}")),
    }
}

/// The path in the program header of type `PT_INTERP`.
fn loader(head: &[u8], machine: ElfMachine) -> Option<&[u8]> {
    const PT_INTERP: u64 = 3;
    let number = |at: usize, length: usize| -> Option<u64> {
        let bytes = head.get(at..at.checked_add(length)?)?;
        let join = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Some(if machine.is_little_endian {
            bytes.iter().rev().fold(0, join)
        } else {
            bytes.iter().fold(0, join)
        })
    };
    let size = |at: usize, length: usize| usize::try_from(number(at, length)?).ok();
    // Where the fields are, for each width of an address.
    let (word, table, entry) = if machine.is_64_bit { (8, 32, 54) } else { (4, 28, 42) };
    let (offset, length) = if machine.is_64_bit { (8, 32) } else { (4, 16) };
    let (start, step, count) = (size(table, word)?, size(entry, 2)?, size(entry + 2, 2)?);
    for position in 0..count {
        let at = start.checked_add(position.checked_mul(step)?)?;
        if number(at, 4)? == PT_INTERP {
            let from = size(at.checked_add(offset)?, word)?;
            let text = head.get(from..from.checked_add(size(at.checked_add(length)?, word)?)?)?;
            return text.split(|byte| *byte == 0).next();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 64-bit program with one program header that names a loader.
    fn program(machine: u16, loader: &str) -> Vec<u8> {
        let mut head = vec![0; 120];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        head[18..20].copy_from_slice(&machine.to_le_bytes());
        (head[32], head[54], head[56]) = (64, 56, 1);
        (head[64], head[72], head[96]) = (3, 120, u8::try_from(loader.len() + 1).unwrap_or(0));
        head.extend(loader.bytes().chain([0]));
        head
    }

    #[test]
    fn what_is_missing_is_named() {
        let none = |_: &Path| false;
        assert_eq!(
            explain(b"#!/bin/bash -e\necho\n", none).as_deref(),
            Some("there is no `/bin/bash`, which its first line asks for")
        );
        assert_eq!(
            explain(b"#! /bin/sh\r\necho\r\n", none).as_deref(),
            Some("there is no `/bin/sh`, which its first line asks for (its lines end as on Windows)")
        );
        assert_eq!(explain(b"#!/bin/sh\n", |_| true), None);
        assert_eq!(
            explain(&program(62, "/lib64/ld.so"), none).as_deref(),
            Some("there is no `/lib64/ld.so`, the loader that this program for amd64 asks for")
        );
        assert_eq!(
            explain(&program(183, "/lib/ld.so"), |_| true).as_deref(),
            Some("it is a program for arm64")
        );
    }

    #[test]
    fn broken_files_explain_nothing_and_harm_nothing() {
        let whole = program(62, "/lib64/ld.so");
        for length in 0..whole.len() {
            let _ = explain(&whole[..length], |_| false);
        }
        let mut endless = whole;
        endless[32..40].fill(0xff);
        assert_eq!(
            explain(&endless, |_| false).as_deref(),
            Some("it is a program for amd64")
        );
        assert_eq!(explain(b"echo hello\n", |_| false), None);
    }
}
