//! What kind of machine code a file holds, by its first bytes.

use serde::{Deserialize, Serialize};

/// Word size of an ELF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Class {
    /// 32 bits.
    #[serde(rename = "32")]
    Bits32,
    /// 64 bits.
    #[serde(rename = "64")]
    Bits64,
}

/// Byte order of an ELF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Order {
    /// Least significant byte first.
    #[serde(rename = "le")]
    Little,
    /// Most significant byte first.
    #[serde(rename = "be")]
    Big,
}

/// What an ELF file runs on, by its identification and `e_machine` (ELF specification, "ELF Header").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Machine {
    /// `e_machine`.
    #[serde(rename = "m")]
    pub code: u16,
    /// Word size.
    #[serde(rename = "c")]
    pub class: Class,
    /// Byte order.
    #[serde(rename = "o")]
    pub order: Order,
}

/// Values of `e_machine` that platforms name.
pub mod machine {
    /// Intel 80386.
    pub const I386: u16 = 3;
    /// MIPS.
    pub const MIPS: u16 = 8;
    /// PowerPC, 32 bits.
    pub const PPC: u16 = 20;
    /// PowerPC, 64 bits.
    pub const PPC64: u16 = 21;
    /// IBM System/390 and z/Architecture.
    pub const S390: u16 = 22;
    /// Arm, 32 bits.
    pub const ARM: u16 = 40;
    /// SPARC V9.
    pub const SPARCV9: u16 = 43;
    /// AMD64.
    pub const X86_64: u16 = 62;
    /// Arm, 64 bits.
    pub const AARCH64: u16 = 183;
    /// RISC-V.
    pub const RISCV: u16 = 243;
    /// LoongArch.
    pub const LOONGARCH: u16 = 258;
}

impl Machine {
    /// How people call it: `x86-64`, `aarch64`, `arm`, …
    pub fn name(self) -> String {
        use Class::{Bits32, Bits64};
        use Order::{Big, Little};
        let known = match (self.code, self.class, self.order) {
            (machine::I386, ..) => "i386",
            (machine::X86_64, Bits64, _) => "x86-64",
            (machine::X86_64, Bits32, _) => "x32",
            (machine::AARCH64, _, Little) => "aarch64",
            (machine::AARCH64, _, Big) => "big-endian aarch64",
            (machine::ARM, _, Little) => "arm",
            (machine::ARM, _, Big) => "big-endian arm",
            (machine::MIPS, Bits64, Little) => "mips64el",
            (machine::MIPS, Bits64, Big) => "mips64",
            (machine::MIPS, Bits32, Little) => "mipsel",
            (machine::MIPS, Bits32, Big) => "mips",
            (machine::PPC, ..) => "powerpc",
            (machine::PPC64, _, Little) => "ppc64le",
            (machine::PPC64, _, Big) => "ppc64",
            (machine::S390, Bits64, _) => "s390x",
            (machine::S390, Bits32, _) => "s390",
            (machine::SPARCV9, ..) => "sparc64",
            (machine::RISCV, Bits64, _) => "riscv64",
            (machine::RISCV, Bits32, _) => "riscv32",
            (machine::LOONGARCH, Bits64, _) => "loongarch64",
            (2, ..) => "sparc",
            (4, ..) => "m68k",
            (15, ..) => "hppa",
            (42, ..) => "superh",
            (50, ..) => "ia64",
            (83, ..) => "avr",
            (94, ..) => "xtensa",
            (190, ..) => "CUDA",
            (224, ..) => "AMD GPU",
            (247, ..) => "BPF",
            (code, ..) => return format!("machine {code}"),
        };
        known.to_owned()
    }

    /// Whether a container's processor could have been meant. BPF, GPUs and microcontrollers are loaded by programs,
    /// not run by the kernel.
    pub fn is_of_a_host(self) -> bool {
        use machine::{AARCH64, ARM, I386, LOONGARCH, MIPS, PPC, PPC64, RISCV, S390, SPARCV9, X86_64};
        let hosts = [
            I386, MIPS, PPC, PPC64, S390, ARM, SPARCV9, X86_64, AARCH64, RISCV, LOONGARCH,
        ];
        hosts.contains(&self.code)
    }
}

/// Machine code that is no ELF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Foreign {
    /// A Windows executable or library with machine code.
    Pe,
    /// A Windows container of .NET code, which runs anywhere.
    Managed,
    /// A macOS executable or library.
    MachO,
}

impl Foreign {
    /// How people call it.
    pub fn name(self) -> &'static str {
        match self {
            Foreign::Pe => "a Windows binary (PE)",
            Foreign::Managed => "a .NET assembly",
            Foreign::MachO => "a macOS binary (Mach-O)",
        }
    }
}

/// The ELF identification at the beginning of a file.
pub fn elf_machine(head: &[u8]) -> Option<Machine> {
    let ident = head.get(..20)?;
    if !ident.starts_with(b"\x7fELF") {
        return None;
    }
    let class = match ident[4] {
        1 => Class::Bits32,
        2 => Class::Bits64,
        _ => return None,
    };
    let code = [ident[18], ident[19]];
    let (order, code) = match ident[5] {
        1 => (Order::Little, u16::from_le_bytes(code)),
        2 => (Order::Big, u16::from_be_bytes(code)),
        _ => return None,
    };
    Some(Machine { code, class, order })
}

/// PE and Mach-O by their headers.
pub fn foreign(head: &[u8]) -> Option<Foreign> {
    let word = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
    match head.get(..4)? {
        [0xcf | 0xce, 0xfa, 0xed, 0xfe] | [0xfe, 0xed, 0xfa, 0xcf | 0xce] => return Some(Foreign::MachO),
        // A universal binary begins as a Java class does; the number of its architectures is small, where a class has
        // its version, which is 45 or more.
        [0xca, 0xfe, 0xba, 0xbe] => {
            let count = u32::from_be_bytes(head.get(4..8)?.try_into().ok()?);
            return (1..45).contains(&count).then_some(Foreign::MachO);
        }
        [b'M', b'Z', ..] => {}
        _ => return None,
    }
    let header = usize::try_from(word(0x3c)?).ok()?;
    if head.get(header..header.checked_add(4)?)? != b"PE\0\0" {
        return None;
    }
    // The optional header's fifteenth directory is the CLR header (PE specification, "Optional Header Data Directories").
    let optional = header + 24;
    let directories = match head.get(optional..optional + 2)? {
        [0x0b, 0x01] => optional + 96,
        [0x0b, 0x02] => optional + 112,
        _ => return Some(Foreign::Pe),
    };
    let managed = word(directories + 14 * 8).is_some_and(|address| address != 0);
    Some(if managed { Foreign::Managed } else { Foreign::Pe })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_classes_are_no_universal_binaries() {
        assert_eq!(foreign(b"\xca\xfe\xba\xbe\0\0\0\x41more"), None);
        assert_eq!(foreign(b"\xca\xfe\xba\xbe\0\0\0\x02more"), Some(Foreign::MachO));
        assert_eq!(foreign(b"MZ"), None);
        assert_eq!(foreign(&[b"MZ".as_slice(), &[0xff; 80]].concat()), None);
    }
}
