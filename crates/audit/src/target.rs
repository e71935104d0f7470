//! What a platform runs: machine code, loaders and the names that people give it.

use kiln_oci::Platform;

use crate::binary::{Class, Machine, Order, machine};
use crate::elf::{Elf, FloatAbi};
use crate::platform_words::Cpu;

/// A C library of Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Libc {
    /// GNU's.
    Glibc,
    /// musl.
    Musl,
}

impl Libc {
    /// How people call it.
    pub fn name(self) -> &'static str {
        match self {
            Libc::Glibc => "glibc",
            Libc::Musl => "musl",
        }
    }
}

/// Which C library a loader belongs to.
pub fn libc_of_loader(path: &str) -> Option<Libc> {
    let name = path.rsplit('/').next().unwrap_or(path);
    if name.starts_with("ld-musl-") {
        Some(Libc::Musl)
    } else if name.starts_with("ld-linux") || name.starts_with("ld64.so") || name.starts_with("ld.so") {
        Some(Libc::Glibc)
    } else {
        None
    }
}

/// Which C library a library was linked with, by what it needs.
pub fn libc_of(elf: &Elf) -> Option<Libc> {
    if let Some(libc) = elf.interpreter.as_deref().and_then(libc_of_loader) {
        return Some(libc);
    }
    elf.needed.iter().find_map(|name| match name.as_str() {
        "libc.so.6" | "libpthread.so.0" | "libm.so.6" | "libdl.so.2" | "librt.so.1" => Some(Libc::Glibc),
        "libc.so" => Some(Libc::Musl),
        name if name.starts_with("libc.musl-") => Some(Libc::Musl),
        name => libc_of_loader(name),
    })
}

/// A Linux platform.
#[derive(Debug, Clone)]
pub struct Target {
    /// The platform, normalised.
    pub platform: Platform,
    /// The machine code that its kernel starts.
    pub machine: Machine,
    /// What file names call its processor.
    pub cpu: Cpu,
    /// Directories of Debian's multiarch scheme that belong to it.
    pub triplets: &'static [&'static str],
    /// glibc's loaders.
    pub glibc_loaders: &'static [&'static str],
    /// The last part of a wheel's platform tag.
    pub wheel_names: &'static [&'static str],
}

/// Go's name, machine, class, order, processor, triplets, glibc's loaders, wheel names.
type Row = (
    &'static str,
    u16,
    Class,
    Order,
    Cpu,
    &'static [&'static str],
    &'static [&'static str],
    &'static [&'static str],
);

use Class::{Bits32, Bits64};
use Order::{Big, Little};

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("amd64", machine::X86_64, Bits64, Little, Cpu::Amd64, &["x86_64-linux-gnu", "x86_64-linux-musl"], &["/lib64/ld-linux-x86-64.so.2"], &["x86_64"]),
    ("386", machine::I386, Bits32, Little, Cpu::I386, &["i386-linux-gnu", "i686-linux-gnu"], &["/lib/ld-linux.so.2"], &["i686", "i386"]),
    ("arm64", machine::AARCH64, Bits64, Little, Cpu::Arm64, &["aarch64-linux-gnu", "aarch64-linux-musl"], &["/lib/ld-linux-aarch64.so.1"], &["aarch64", "arm64"]),
    ("arm", machine::ARM, Bits32, Little, Cpu::Arm, &["arm-linux-gnueabihf", "arm-linux-gnueabi"], &["/lib/ld-linux-armhf.so.3", "/lib/ld-linux.so.3"], &["armv7l", "armv6l", "armv5l", "armv8l", "arm"]),
    ("ppc64le", machine::PPC64, Bits64, Little, Cpu::Ppc64le, &["powerpc64le-linux-gnu"], &["/lib64/ld64.so.2"], &["ppc64le"]),
    ("ppc64", machine::PPC64, Bits64, Big, Cpu::Ppc64, &["powerpc64-linux-gnu"], &["/lib64/ld64.so.1"], &["ppc64"]),
    ("s390x", machine::S390, Bits64, Big, Cpu::S390x, &["s390x-linux-gnu"], &["/lib/ld64.so.1"], &["s390x"]),
    ("riscv64", machine::RISCV, Bits64, Little, Cpu::Riscv64, &["riscv64-linux-gnu"], &["/lib/ld-linux-riscv64-lp64d.so.1"], &["riscv64"]),
    ("mips64le", machine::MIPS, Bits64, Little, Cpu::Mips64le, &["mips64el-linux-gnuabi64"], &["/lib64/ld.so.1"], &["mips64", "mips64el"]),
    ("mips64", machine::MIPS, Bits64, Big, Cpu::Mips64, &["mips64-linux-gnuabi64"], &["/lib64/ld.so.1"], &["mips64"]),
    ("mipsle", machine::MIPS, Bits32, Little, Cpu::Mipsle, &["mipsel-linux-gnu"], &["/lib/ld.so.1"], &["mips", "mipsel"]),
    ("mips", machine::MIPS, Bits32, Big, Cpu::Mips, &["mips-linux-gnu"], &["/lib/ld.so.1"], &["mips"]),
    ("loong64", machine::LOONGARCH, Bits64, Little, Cpu::Loong64, &["loongarch64-linux-gnu"], &["/lib64/ld-linux-loongarch-lp64d.so.1"], &["loongarch64"]),
];

/// `e_flags` of MIPS (MIPS ABI supplement).
mod mips {
    pub(super) const ABI2: u32 = 0x20;
    pub(super) const NAN2008: u32 = 0x400;
    pub(super) const ARCH: u32 = 0xf000_0000;
    pub(super) const ARCH_32R6: u32 = 0x9000_0000;
    pub(super) const ARCH_64R6: u32 = 0xa000_0000;
}

impl Target {
    /// The facts of a platform. None: it is not Linux, or a processor that Linux images are not made for.
    pub fn of(platform: &Platform) -> Option<Target> {
        let platform = platform.clone().normalized();
        if platform.os != "linux" {
            return None;
        }
        let architecture = match platform.architecture.as_str() {
            "mips64el" => "mips64le",
            "mipsel" => "mipsle",
            "ppc64el" => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        let row = ROWS.iter().find(|row| row.0 == architecture)?;
        let &(_, code, class, order, cpu, triplets, glibc_loaders, wheel_names) = row;
        Some(Target {
            machine: Machine { code, class, order },
            cpu,
            triplets,
            glibc_loaders,
            wheel_names,
            platform,
        })
    }

    /// The number of the variant: 7 of `v7`.
    fn variant(&self) -> Option<u8> {
        let digits = self.platform.variant.trim_start_matches('v');
        digits.split('.').next()?.parse().ok()
    }

    /// Whether the kernel of this platform starts programs of a machine. A 64-bit x86 kernel starts 32-bit programs.
    pub fn starts(&self, other: Machine) -> bool {
        let compatible = self.machine.code == machine::X86_64 && other.code == machine::I386;
        other == self.machine || compatible
    }

    /// Why a file of the right machine still cannot run here, if so.
    pub fn refuses(&self, elf: &Elf) -> Option<String> {
        let platform = &self.platform;
        match elf.machine.code {
            machine::X86_64 => {
                let level = elf.x86_level?;
                let declared = self.variant().unwrap_or(1);
                (level > declared).then(|| {
                    format!("it needs an x86-64-v{level} processor, and {platform} promises x86-64-v{declared}")
                })
            }
            machine::ARM => self.refuses_arm(elf),
            machine::MIPS => refuses_mips(elf.flags, elf.machine.class),
            machine::RISCV if elf.flags & 0x8 != 0 => Some("it is for the embedded RISC-V base (RVE)".to_owned()),
            machine::PPC64 if elf.machine.order == Little && elf.flags & 0x3 == 1 => {
                Some("it uses version 1 of the PowerPC ELF ABI, little-endian Linux has version 2".to_owned())
            }
            _ => None,
        }
    }

    fn refuses_arm(&self, elf: &Elf) -> Option<String> {
        let declared = self.variant()?;
        let platform = &self.platform;
        // Tag_CPU_arch: 6 to 9 are ARMv6 and its extensions, 10 is v7, 14 on is v8; below 6 are v4 and v5. 11, 12, 13,
        // 16, 17 and 21 are microcontrollers.
        let needed = match elf.arm_architecture? {
            0..=2 => 4,
            3..=5 => 5,
            6..=9 => 6,
            10 => 7,
            11 | 12 | 13 | 16 | 17 | 21 => return Some("it is for an Arm microcontroller".to_owned()),
            14 | 15 | 18..=20 => 8,
            _ => 9,
        };
        if needed > declared {
            return Some(format!(
                "it is built for ARMv{needed}, and {platform} promises ARMv{declared}"
            ));
        }
        (declared < 6 && elf.float_abi == Some(FloatAbi::Hard)).then(|| {
            format!("it passes floating point arguments in registers, which processors of {platform} need not have")
        })
    }
}

/// What file names call a machine's processor.
pub fn cpu_of(machine: Machine) -> Option<Cpu> {
    let row = ROWS
        .iter()
        .find(|row| (row.1, row.2, row.3) == (machine.code, machine.class, machine.order))?;
    Some(row.4)
}

/// Debian's multiarch directories of a machine.
pub fn triplets_of(machine: Machine) -> impl Iterator<Item = &'static str> {
    ROWS.iter()
        .filter(move |row| (row.1, row.2, row.3) == (machine.code, machine.class, machine.order))
        .flat_map(|row| row.5.iter().copied())
}

/// Whether a directory's name is a multiarch triplet, and whose.
pub fn cpu_of_triplet(name: &str) -> Option<Cpu> {
    ROWS.iter().find(|row| row.5.contains(&name)).map(|row| row.4)
}

/// Whether two machines are the word sizes and byte orders of one processor, for which toolchains install libraries
/// side by side.
pub fn are_siblings(a: Machine, b: Machine) -> bool {
    let processor = |machine: Machine| match machine.code {
        machine::I386 => machine::X86_64,
        machine::PPC => machine::PPC64,
        code => code,
    };
    processor(a) == processor(b)
}

fn refuses_mips(flags: u32, class: Class) -> Option<String> {
    let architecture = flags & mips::ARCH;
    if architecture == mips::ARCH_32R6 || architecture == mips::ARCH_64R6 {
        return Some("it is built for MIPS release 6, whose instructions other MIPS processors do not know".to_owned());
    }
    if flags & mips::NAN2008 != 0 {
        return Some("it uses the IEEE 754-2008 encoding of NaN, the platform the older one".to_owned());
    }
    (class == Class::Bits32 && flags & mips::ABI2 != 0).then(|| "it uses the n32 ABI".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_platform_of_debian_is_known() {
        for text in [
            "linux/amd64",
            "linux/386",
            "linux/arm64",
            "linux/arm/v7",
            "linux/arm/v6",
            "linux/arm/v5",
            "linux/ppc64le",
            "linux/s390x",
            "linux/riscv64",
            "linux/mips64le",
            "linux/mips64el",
            "linux/mipsle",
        ] {
            assert!(Target::of(&text.parse().expect(text)).is_some(), "{text}");
        }
        assert!(Target::of(&"windows/amd64".parse().expect("valid")).is_none());
    }

    #[test]
    fn a_loader_tells_the_library() {
        assert_eq!(libc_of_loader("/lib/ld-musl-x86_64.so.1"), Some(Libc::Musl));
        assert_eq!(libc_of_loader("/lib64/ld-linux-x86-64.so.2"), Some(Libc::Glibc));
        assert_eq!(libc_of_loader("/lib/ld64.so.1"), Some(Libc::Glibc));
        assert_eq!(libc_of_loader("/system/bin/linker64"), None);
    }
}
