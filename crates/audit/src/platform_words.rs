//! Platforms as people write them into file names: `linux-x64-musl`, `manylinux_2_17_aarch64`, `darwin-arm64`,
//! `x86_64-unknown-linux-gnu`, `Linux/x86_64`.

use crate::target::Libc;

/// A processor that a word names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Cpu {
    Amd64,
    I386,
    Arm64,
    Arm,
    Ppc64le,
    Ppc64,
    S390x,
    Riscv64,
    Mips,
    Mipsle,
    Mips64,
    Mips64le,
    Loong64,
    /// One that no image of ours can be for.
    Other,
}

/// An operating system that a word names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum System {
    Linux,
    Darwin,
    Windows,
    Other,
}

/// What the words of a name say about a platform.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Named {
    /// The processor.
    pub cpu: Option<Cpu>,
    /// The operating system.
    pub system: Option<System>,
    /// The C library.
    pub libc: Option<Libc>,
}

enum Word {
    Cpu(Cpu),
    System(System),
    Libc(Libc),
}

impl Named {
    /// What a name says. Words that name nothing are skipped; of several that name the same kind, the last counts.
    pub fn of(name: &str) -> Named {
        let mut named = Named::default();
        for word in words(name) {
            match meaning(&word) {
                Some(Word::Cpu(cpu)) => named.cpu = Some(cpu),
                Some(Word::System(system)) => named.system = Some(system),
                Some(Word::Libc(libc)) => named.libc = Some(libc),
                None => {}
            }
        }
        named
    }

    /// Whether a processor or a system is named at all.
    pub fn is_some(self) -> bool {
        self.cpu.is_some() || self.system.is_some()
    }
}

/// A name without its words of platforms: what `linux-x64` and `darwin-arm64` packages of one family share.
pub fn family(name: &str) -> String {
    let kept: Vec<String> = words(name).into_iter().filter(|word| meaning(word).is_none()).collect();
    kept.join("-")
}

/// The words of a name, in lower case. `x86_64`, `x86-64` and `aarch_64` are one word each.
fn words(name: &str) -> Vec<String> {
    let lower = name.to_lowercase();
    let joined = lower
        .replace("x86_64", "amd64")
        .replace("x86-64", "amd64")
        .replace("aarch_64", "aarch64")
        .replace("ppcle_64", "ppc64le")
        .replace("ppc_64", "ppc64")
        .replace("s390_64", "s390x")
        .replace("mips64_el", "mips64el");
    joined
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

fn meaning(word: &str) -> Option<Word> {
    let cpu = match word {
        "amd64" | "x64" | "win64" | "x8664" => Cpu::Amd64,
        "386" | "i386" | "i486" | "i586" | "i686" | "x86" | "ia32" | "win32" => Cpu::I386,
        "arm64" | "aarch64" | "arm64v8" | "armv8" | "arm64ec" => Cpu::Arm64,
        "arm" | "armhf" | "armel" | "armv5" | "armv6" | "armv6l" | "armv7" | "armv7a" | "armv7l" | "armv7hf"
        | "arm32" => Cpu::Arm,
        "ppc64le" | "ppc64el" | "powerpc64le" => Cpu::Ppc64le,
        "ppc64" | "powerpc64" => Cpu::Ppc64,
        "s390x" => Cpu::S390x,
        "riscv64" | "riscv64gc" | "riscv" => Cpu::Riscv64,
        "mips" => Cpu::Mips,
        "mipsel" | "mipsle" => Cpu::Mipsle,
        "mips64" => Cpu::Mips64,
        "mips64el" | "mips64le" => Cpu::Mips64le,
        "loong64" | "loongarch64" => Cpu::Loong64,
        "sparc" | "sparc64" | "sparcv9" | "ia64" | "ppc" | "powerpc" | "s390" | "alpha" | "m68k" | "sh4" | "hppa"
        | "riscv32" | "wasm32" => Cpu::Other,
        _ => {
            let system = match word {
                "linux" | "linuxmusl" | "manylinux" | "manylinux1" | "manylinux2010" | "manylinux2014"
                | "musllinux" => System::Linux,
                "darwin" | "macos" | "macosx" | "osx" | "mac" => System::Darwin,
                "windows" | "win" | "msvc" => System::Windows,
                "freebsd" | "openbsd" | "netbsd" | "sunos" | "solaris" | "android" | "aix" | "dragonfly"
                | "openharmony" | "ios" | "wasi" | "dragonflybsd" | "illumos" => System::Other,
                _ => {
                    return match word {
                        "gnu" | "glibc" | "gnueabihf" | "gnueabi" | "gnuabi64" => Some(Word::Libc(Libc::Glibc)),
                        "musl" | "musleabihf" | "musleabi" => Some(Word::Libc(Libc::Musl)),
                        _ => None,
                    };
                }
            };
            return Some(Word::System(system));
        }
    };
    Some(Word::Cpu(cpu))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_real_packages_are_read() {
        let table = [
            ("linux-x64", Some(Cpu::Amd64), Some(System::Linux), None),
            (
                "rollup-linux-arm64-musl",
                Some(Cpu::Arm64),
                Some(System::Linux),
                Some(Libc::Musl),
            ),
            (
                "x86_64-unknown-linux-gnu",
                Some(Cpu::Amd64),
                Some(System::Linux),
                Some(Libc::Glibc),
            ),
            (
                "netty-transport-native-epoll-linux-aarch_64",
                Some(Cpu::Arm64),
                Some(System::Linux),
                None,
            ),
            ("darwin-arm64", Some(Cpu::Arm64), Some(System::Darwin), None),
            ("linux-x86-64", Some(Cpu::Amd64), Some(System::Linux), None),
            ("charm", None, None, None),
        ];
        for (name, cpu, system, libc) in table {
            assert_eq!(Named::of(name), Named { cpu, system, libc }, "{name}");
        }
        assert_eq!(family("rollup-linux-x64-gnu"), "rollup");
        assert_eq!(family("sharp-libvips-linuxmusl-x64"), "sharp-libvips");
    }
}
