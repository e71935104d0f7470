//! How the kernel recognises programs of other processors (`binfmt_misc`), and the private table of a sandbox.
//!
//! A sandbox with a user namespace of its own may mount a `binfmt_misc` of its own (Linux 6.7 and newer). It
//! needs no privilege, the host's table never changes, and the flags `FPC` make the emulator work in any root:
//! `F` opens it at registration, so the root needs no emulator file; `P` keeps `argv[0]`; `C` takes credentials
//! from the program, so set-user-id programs and programs without read permission work.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use kiln_oci::Platform;
use rustix::fs::{Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use serde::{Deserialize, Serialize};

/// The head of an ELF file as far as it tells the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ElfMachine {
    /// 64-bit, else 32-bit.
    pub is_64_bit: bool,
    /// Little-endian, else big-endian.
    pub is_little_endian: bool,
    /// `e_machine`.
    pub machine: u16,
}

/// Architecture in Go's spelling, emulator's name in QEMU's, and what its programs look like.
const ARCHITECTURES: [(&str, &str, ElfMachine); 13] = [
    ("amd64", "x86_64", elf(true, true, 62)),
    ("386", "i386", elf(false, true, 3)),
    ("arm64", "aarch64", elf(true, true, 183)),
    ("arm", "arm", elf(false, true, 40)),
    ("riscv64", "riscv64", elf(true, true, 243)),
    ("ppc64le", "ppc64le", elf(true, true, 21)),
    ("ppc64", "ppc64", elf(true, false, 21)),
    ("s390x", "s390x", elf(true, false, 22)),
    ("mips64le", "mips64el", elf(true, true, 8)),
    ("mips64", "mips64", elf(true, false, 8)),
    ("mipsle", "mipsel", elf(false, true, 8)),
    ("mips", "mips", elf(false, false, 8)),
    ("loong64", "loongarch64", elf(true, true, 258)),
];

const fn elf(is_64_bit: bool, is_little_endian: bool, machine: u16) -> ElfMachine {
    ElfMachine {
        is_64_bit,
        is_little_endian,
        machine,
    }
}

/// The architectures that an emulator can be found for, in Go's spelling.
pub fn architectures() -> impl Iterator<Item = &'static str> {
    ARCHITECTURES.iter().map(|(name, _, _)| *name)
}

/// QEMU's name for a platform's processor.
pub fn emulator_name(platform: &Platform) -> Option<&'static str> {
    ARCHITECTURES
        .iter()
        .find(|(name, _, _)| *name == platform.architecture)
        .map(|(_, emulator, _)| *emulator)
}

impl ElfMachine {
    /// What the programs of a platform look like.
    pub fn of(platform: &Platform) -> Option<ElfMachine> {
        ARCHITECTURES
            .iter()
            .find(|(name, _, _)| *name == platform.architecture)
            .map(|(_, _, machine)| *machine)
    }

    /// The architecture whose programs look like this, in Go's spelling.
    pub fn architecture(self) -> Option<&'static str> {
        ARCHITECTURES
            .iter()
            .find(|(_, _, machine)| *machine == self)
            .map(|(name, _, _)| *name)
    }

    /// What the first bytes of a file say, if it is an ELF program.
    pub fn read(head: &[u8]) -> Option<ElfMachine> {
        let head: &[u8; 20] = head.get(..20)?.try_into().ok()?;
        if !head.starts_with(b"\x7fELF") {
            return None;
        }
        let little = head[5] == 1;
        let machine = [head[18], head[19]];
        let machine = if little {
            u16::from_le_bytes(machine)
        } else {
            u16::from_be_bytes(machine)
        };
        Some(ElfMachine {
            is_64_bit: head[4] == 2,
            is_little_endian: little,
            machine,
        })
    }

    fn half(self, value: u16) -> [u8; 2] {
        if self.is_little_endian {
            value.to_le_bytes()
        } else {
            value.to_be_bytes()
        }
    }

    /// The bytes that programs begin with, and which of their bits count: executables and shared objects, of
    /// any operating system's ABI.
    pub fn magic_and_mask(self) -> ([u8; 20], [u8; 20]) {
        let mut magic = [0; 20];
        magic[..4].copy_from_slice(b"\x7fELF");
        magic[4] = if self.is_64_bit { 2 } else { 1 };
        magic[5] = if self.is_little_endian { 1 } else { 2 };
        magic[6] = 1;
        magic[16..18].copy_from_slice(&self.half(2));
        magic[18..].copy_from_slice(&self.half(self.machine));
        let mut mask = [0xff; 20];
        mask[7..16].fill(0);
        mask[16..18].copy_from_slice(&self.half(0xfffe));
        (magic, mask)
    }

    /// The line that registers an emulator.
    pub fn registration(self, name: &str, interpreter: &Path) -> String {
        let (magic, mask) = self.magic_and_mask();
        let escaped = |bytes: &[u8]| {
            bytes.iter().fold(String::new(), |mut text, byte| {
                // Writing to a String never fails.
                let _ = write!(text, "\\x{byte:02x}");
                text
            })
        };
        format!(
            ":{name}:M:0:{}:{}:{}:FPC",
            escaped(&magic),
            escaped(&mask),
            interpreter.display()
        )
    }
}

/// A table of this user namespace with one emulator. The entry lives as long as the descriptor is open.
///
/// Must be called in a user namespace of its own, before the root changes: the emulator is named by its
/// descriptor under `/proc`.
pub(crate) fn register_private(machine: ElfMachine, emulator: &OwnedFd) -> io::Result<OwnedFd> {
    let filesystem = rustix::mount::fsopen("binfmt_misc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(filesystem.as_fd())?;
    let mount = rustix::mount::fsmount(
        filesystem.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )?;
    let register = rustix::fs::openat(
        mount.as_fd(),
        "register",
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let interpreter = format!("/proc/self/fd/{}", emulator.as_raw_fd());
    let line = machine.registration("kiln", Path::new(&interpreter));
    std::fs::File::from(register).write_all(line.as_bytes())?;
    Ok(mount)
}

/// Where the host's table is.
pub const HOST_TABLE: &str = "/proc/sys/fs/binfmt_misc";

/// An enabled entry of the host's table that runs programs of `machine` in any root (flag `F`): its name and
/// its interpreter.
pub fn host_entry(table: &Path, machine: ElfMachine) -> Option<(String, String)> {
    let (magic, _) = machine.magic_and_mask();
    let entries = std::fs::read_dir(table).ok()?;
    entries.filter_map(Result::ok).find_map(|entry| {
        let text = std::fs::read_to_string(entry.path()).ok()?;
        let interpreter = matching_interpreter(&text, &magic)?;
        Some((entry.file_name().to_string_lossy().into_owned(), interpreter))
    })
}

/// Reads one entry as the kernel prints it.
fn matching_interpreter(text: &str, program: &[u8; 20]) -> Option<String> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    if !text.lines().any(|line| line == "enabled") || !field("flags:")?.contains('F') || field("offset")? != "0" {
        return None;
    }
    let magic = unhex(field("magic")?)?;
    let mask = field("mask").and_then(unhex).unwrap_or_else(|| vec![0xff; magic.len()]);
    let matches = magic.len() <= program.len()
        && magic
            .iter()
            .zip(&mask)
            .zip(program)
            .all(|((magic, mask), byte)| magic & mask == byte & mask);
    matches.then(|| field("interpreter").map(str::to_owned))?
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arm64_program_is_registered_by_its_head() {
        let machine = ElfMachine::of(&Platform::linux("arm64", "")).expect("a known architecture");
        assert_eq!(
            machine.registration("kiln", Path::new("/q")),
            ":kiln:M:0:\\x7f\\x45\\x4c\\x46\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\xb7\\x00:\
             \\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\xfe\\xff\\xff\\xff:/q:FPC"
        );
    }

    #[test]
    fn every_architecture_recognises_its_own_programs_and_no_others() {
        for (_, _, machine) in ARCHITECTURES {
            for (_, _, other) in ARCHITECTURES {
                let (magic, mask) = machine.magic_and_mask();
                let (program, _) = other.magic_and_mask();
                let matches = magic
                    .iter()
                    .zip(mask)
                    .zip(program)
                    .all(|((magic, mask), byte)| magic & mask == byte & mask);
                assert_eq!(matches, machine == other);
                assert_eq!(ElfMachine::read(&program), Some(other));
            }
        }
        assert_eq!(ElfMachine::read(b"#!/bin/sh\n..........."), None);
        assert_eq!(ElfMachine::read(b"\x7fELF"), None);
    }

    #[test]
    fn the_hosts_entries_count_only_if_they_work_in_any_root() {
        let machine = ElfMachine::of(&Platform::linux("arm64", "")).expect("a known architecture");
        let (program, _) = machine.magic_and_mask();
        let entry = |flags: &str, state: &str| {
            format!(
                "{state}\ninterpreter /usr/bin/qemu-aarch64\nflags: {flags}\noffset 0\nmagic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n"
            )
        };
        assert_eq!(
            matching_interpreter(&entry("POCF", "enabled"), &program),
            Some("/usr/bin/qemu-aarch64".into())
        );
        assert_eq!(matching_interpreter(&entry("POC", "enabled"), &program), None);
        assert_eq!(matching_interpreter(&entry("F", "disabled"), &program), None);
        assert_eq!(matching_interpreter("nonsense", &program), None);
    }
}
