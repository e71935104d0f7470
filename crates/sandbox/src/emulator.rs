//! Finding an emulator for a platform that this machine's processor cannot run.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use kiln_oci::Platform;
use serde::{Deserialize, Serialize};

use crate::binfmt::{self, ElfMachine};

/// How a step of a platform runs on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Execution {
    /// By the processor itself.
    Native,
    /// Under an emulator.
    Emulated,
}

/// An emulator that was found for a platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Emulator {
    /// A static QEMU user-mode binary, registered for the step alone.
    Private {
        /// The binary.
        path: PathBuf,
        /// What it runs.
        machine: ElfMachine,
    },
    /// An entry of the host's own table.
    Host {
        /// Its name.
        entry: String,
        /// Its interpreter.
        interpreter: String,
    },
}

/// Where emulators are searched.
#[derive(Debug, Clone, Default)]
pub struct EmulatorSearch {
    /// Directories that the user named, before everything else.
    pub directories: Vec<PathBuf>,
    /// The user's `PATH`.
    pub path: Option<OsString>,
    /// Whether a sandbox can have a table of its own. Where not, only the host's table helps.
    pub private_table: bool,
    /// Where the host's table is; None for its usual place.
    pub host_table: Option<PathBuf>,
}

/// Why a platform cannot run here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmulatorError {
    /// No emulator is known for such a processor at all.
    #[error("steps for {platform} cannot run on this machine: no emulator is known for it")]
    Unknown {
        /// The platform.
        platform: Platform,
    },
    /// No emulator was found.
    #[error("steps for {platform} cannot run on this machine: there is no emulator `qemu-{name}-static`")]
    NotFound {
        /// The platform.
        platform: Platform,
        /// QEMU's name for its processor.
        name: &'static str,
    },
    /// An emulator is here, and there is nowhere to register it.
    #[error(
        "steps for {platform} cannot run on this machine: the kernel has no private binfmt_misc (Linux 6.7 or newer) \
         and the host's table has no entry for it"
    )]
    NoTable {
        /// The platform.
        platform: Platform,
        /// The emulator that was found.
        emulator: PathBuf,
    },
}

/// Whether this machine's processor runs programs of a platform.
pub fn execution(platform: &Platform) -> Execution {
    let host = Platform::host();
    let native = platform.os == host.os
        && match (host.architecture.as_str(), platform.architecture.as_str()) {
            (host, wanted) if host == wanted => true,
            ("amd64", "386") => true,
            ("arm64", "arm") => runs_32_bit_arm(),
            _ => false,
        };
    if native { Execution::Native } else { Execution::Emulated }
}

/// Some arm64 processors have no 32-bit mode; the kernel refuses the personality then.
fn runs_32_bit_arm() -> bool {
    const PER_LINUX32: libc::c_ulong = 8;
    const QUERY: libc::c_ulong = 0xffff_ffff;
    // SAFETY: no pointers; the personality is set back to what it was.
    unsafe {
        let before = libc::personality(QUERY);
        let supported = libc::personality(PER_LINUX32) >= 0;
        libc::personality(libc::c_ulong::try_from(before).unwrap_or(0));
        supported
    }
}

impl EmulatorSearch {
    /// The emulator for a platform. None: the processor runs it itself.
    pub fn find(&self, platform: &Platform) -> Result<Option<Emulator>, EmulatorError> {
        if execution(platform) == Execution::Native {
            return Ok(None);
        }
        let unknown = || EmulatorError::Unknown {
            platform: platform.clone(),
        };
        let name = binfmt::emulator_name(platform)
            .filter(|_| platform.os == "linux")
            .ok_or_else(unknown)?;
        let machine = ElfMachine::of(platform).ok_or_else(unknown)?;
        let found = self.binary(name);
        if let Some(path) = &found
            && self.private_table
        {
            return Ok(Some(Emulator::Private {
                path: path.clone(),
                machine,
            }));
        }
        let table = self.host_table.as_deref().unwrap_or(Path::new(binfmt::HOST_TABLE));
        match (binfmt::host_entry(table, machine), found) {
            (Some((entry, interpreter)), _) => Ok(Some(Emulator::Host { entry, interpreter })),
            (None, None) => Err(EmulatorError::NotFound {
                platform: platform.clone(),
                name,
            }),
            (None, Some(emulator)) => Err(EmulatorError::NoTable {
                platform: platform.clone(),
                emulator,
            }),
        }
    }

    /// `qemu-NAME-static`, else `qemu-NAME` if it is static: in the user's directories, then on the `PATH`.
    pub fn binary(&self, name: &str) -> Option<PathBuf> {
        let on_path: Vec<PathBuf> = self
            .path
            .as_ref()
            .map(|path| std::env::split_paths(path).collect())
            .unwrap_or_default();
        let directories: Vec<&PathBuf> = self.directories.iter().chain(&on_path).collect();
        let candidates = [format!("qemu-{name}-static"), format!("qemu-{name}")];
        let named = self
            .directories
            .iter()
            .flat_map(|directory| candidates.iter().map(|file| directory.join(file)));
        let usual = candidates
            .iter()
            .flat_map(|file| directories.iter().map(move |directory| directory.join(file)));
        named.chain(usual).find(|path| is_static_program(path))
    }
}

/// Whether a file is a program that needs no libraries: an ELF program without an
/// interpreter, which runs in any root.
pub fn is_static_program(path: &Path) -> bool {
    let Ok(mut file) = std::fs::File::open(path) else {
        return false;
    };
    // Program headers follow the file header in every linker's output; 4 KiB hold dozens of them.
    let mut head = Vec::new();
    if file.by_ref().take(4096).read_to_end(&mut head).is_err() {
        return false;
    }
    is_static(&head).unwrap_or(false)
}

fn is_static(head: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    let machine = ElfMachine::read(head)?;
    if !machine.is_little_endian || !machine.is_64_bit {
        return Some(false);
    }
    let number = |at: usize, length: usize| -> Option<u64> {
        let bytes = head.get(at..at.checked_add(length)?)?;
        Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    let start = usize::try_from(number(32, 8)?).ok()?;
    let size = usize::try_from(number(54, 2)?).ok()?;
    let count = usize::try_from(number(56, 2)?).ok()?;
    for position in 0..count {
        let at = start.checked_add(position.checked_mul(size)?)?;
        if number(at, 4)? == u64::from(PT_INTERP) {
            return Some(false);
        }
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_own_platform_needs_no_emulator() {
        assert_eq!(execution(&Platform::host()), Execution::Native);
        assert_eq!(EmulatorSearch::default().find(&Platform::host()), Ok(None));
    }

    #[test]
    fn what_is_missing_is_named() {
        let foreign = if Platform::host().architecture == "s390x" {
            "riscv64"
        } else {
            "s390x"
        };
        let platform = Platform::linux(foreign, "");
        let search = EmulatorSearch {
            host_table: Some("/nonexistent".into()),
            ..EmulatorSearch::default()
        };
        assert_eq!(
            search.find(&platform),
            Err(EmulatorError::NotFound {
                platform: platform.clone(),
                name: foreign
            })
        );
        let mut darwin = platform;
        darwin.os = "darwin".into();
        assert_eq!(
            search.find(&darwin),
            Err(EmulatorError::Unknown {
                platform: darwin.clone()
            })
        );
    }

    #[test]
    fn a_head_that_ends_too_early_is_no_static_program() {
        assert_eq!(is_static(b"\x7fELF"), None);
        let mut head = vec![0; 64];
        head[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        head[56] = 1;
        head[54] = 56;
        head[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(is_static(&head), None);
    }
}
