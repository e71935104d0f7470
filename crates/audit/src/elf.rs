//! The facts of an ELF file that decide whether it runs: read from its headers and dynamic section, never from its
//! code (System V ABI, "Object Files" and "Program Loading and Dynamic Linking"; LSB, "Symbol Versioning").
//!
//! Everything is looked up by offset in [`Content`] and every loop has a bound, so a file that points at itself, past
//! its end, or everywhere, gives fewer facts and nothing worse.

mod dynamic;
mod notes;

use serde::{Deserialize, Serialize};

use crate::binary::{Class, Machine, Order, elf_machine, machine};
use crate::content::Content;

/// Program headers of a real file are dozens.
const MAX_SEGMENTS: u16 = 512;
/// Bytes of names of one file; the largest real libraries have some thousands.
const MAX_TEXTS: usize = 1 << 20;
/// Sections of a real file are thousands at most.
const MAX_SECTIONS: u16 = 8192;

/// What an ELF file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// At fixed addresses: always a program.
    Executable,
    /// A library, or a position independent program.
    Shared,
    /// An object file, a kernel module, a core dump: nothing that is started.
    Other,
}

/// How floating point arguments are passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FloatAbi {
    /// In integer registers.
    Soft,
    /// In floating point registers of 32 bits (RISC-V).
    Single,
    /// In floating point registers.
    Hard,
}

impl FloatAbi {
    /// How people call it.
    pub fn name(self) -> &'static str {
        match self {
            FloatAbi::Soft => "soft-float",
            FloatAbi::Single => "single-float",
            FloatAbi::Hard => "hard-float",
        }
    }
}

/// Versions that a file needs of one library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionNeed {
    /// The library, as in `needed`.
    #[serde(rename = "l")]
    pub library: String,
    /// Versions that must be defined, without weak ones.
    #[serde(rename = "v")]
    pub versions: Vec<String>,
}

/// The facts of one ELF file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elf {
    /// What it runs on.
    #[serde(rename = "m")]
    pub machine: Machine,
    /// What it is.
    #[serde(rename = "k")]
    pub kind: Kind,
    /// `e_flags`.
    #[serde(rename = "f", default, skip_serializing_if = "is_zero")]
    pub flags: u32,
    /// `PT_INTERP`: the loader.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<String>,
    /// `DT_SONAME`.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub soname: Option<String>,
    /// `DT_NEEDED`.
    #[serde(rename = "n", default, skip_serializing_if = "Vec::is_empty")]
    pub needed: Vec<String>,
    /// `DT_RPATH`, split at colons.
    #[serde(rename = "r", default, skip_serializing_if = "Vec::is_empty")]
    pub rpath: Vec<String>,
    /// `DT_RUNPATH`, split at colons.
    #[serde(rename = "p", default, skip_serializing_if = "Vec::is_empty")]
    pub runpath: Vec<String>,
    /// `DT_VERNEED`.
    #[serde(rename = "v", default, skip_serializing_if = "Vec::is_empty")]
    pub version_needs: Vec<VersionNeed>,
    /// `DT_VERDEF`: names of the versions that it defines.
    #[serde(rename = "d", default, skip_serializing_if = "Vec::is_empty")]
    pub version_definitions: Vec<String>,
    /// Microarchitecture level of x86-64 that its property note needs: 1 to 4.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub x86_level: Option<u8>,
    /// `Tag_CPU_arch` of its Arm attributes.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub arm_architecture: Option<u8>,
    /// How it passes floating point arguments, where the machine has several ways and the file says which.
    #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
    pub float_abi: Option<FloatAbi>,
    /// Whether the Go toolchain built it.
    #[serde(rename = "g", default, skip_serializing_if = "std::ops::Not::not")]
    pub go: bool,
    /// Whether it has a dynamic section.
    #[serde(rename = "y", default, skip_serializing_if = "std::ops::Not::not")]
    pub dynamic: bool,
    /// Whether it is too large or too broken to be read in full: what is absent here may be there.
    #[serde(rename = "t", default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

fn is_zero(flags: &u32) -> bool {
    *flags == 0
}

impl Elf {
    /// Whether the kernel starts it as a program: it has a loader, or fixed addresses, or no dynamic linking to do.
    pub fn is_program(&self) -> bool {
        match self.kind {
            Kind::Executable => true,
            Kind::Shared => self.interpreter.is_some() || (self.soname.is_none() && self.needed.is_empty() && self.go),
            Kind::Other => false,
        }
    }

    /// About how many bytes the facts take.
    pub(crate) fn weight(&self) -> usize {
        let texts = |texts: &[String]| texts.iter().map(|text| text.len() + 24).sum::<usize>();
        let needs = self.version_needs.iter();
        let needs: usize = needs.map(|need| need.library.len() + 48 + texts(&need.versions)).sum();
        256 + needs + texts(&self.needed) + texts(&self.rpath) + texts(&self.runpath) + texts(&self.version_definitions)
    }

    /// Whether it is a library that other programs load.
    pub fn is_library(&self) -> bool {
        self.kind == Kind::Shared && self.interpreter.is_none()
    }
}

/// A program header.
#[derive(Debug, Clone, Copy)]
struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    file_size: u64,
    align: u64,
}

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
const PT_GNU_PROPERTY: u32 = 0x6474_e553;
const SHT_ARM_ATTRIBUTES: u32 = 0x7000_0003;

/// Looks at integers of the file's own order and class.
#[derive(Clone, Copy)]
struct Reader<'a> {
    content: &'a Content,
    order: Order,
    class: Class,
}

impl Reader<'_> {
    fn u16(&self, at: u64) -> Option<u16> {
        let bytes = self.content.at(at, 2)?.try_into().ok()?;
        Some(match self.order {
            Order::Little => u16::from_le_bytes(bytes),
            Order::Big => u16::from_be_bytes(bytes),
        })
    }

    fn u32(&self, at: u64) -> Option<u32> {
        let bytes = self.content.at(at, 4)?.try_into().ok()?;
        Some(match self.order {
            Order::Little => u32::from_le_bytes(bytes),
            Order::Big => u32::from_be_bytes(bytes),
        })
    }

    /// An integer of the class' word size.
    fn word(&self, at: u64) -> Option<u64> {
        match self.class {
            Class::Bits32 => self.u32(at).map(u64::from),
            Class::Bits64 => {
                let bytes = self.content.at(at, 8)?.try_into().ok()?;
                Some(match self.order {
                    Order::Little => u64::from_le_bytes(bytes),
                    Order::Big => u64::from_be_bytes(bytes),
                })
            }
        }
    }

    /// One of two offsets, by the class.
    fn pick(&self, in_32: u64, in_64: u64) -> u64 {
        match self.class {
            Class::Bits32 => in_32,
            Class::Bits64 => in_64,
        }
    }

    fn segments(&self) -> Option<Vec<Segment>> {
        let table = self.word(self.pick(28, 32))?;
        let size = u64::from(self.u16(self.pick(42, 54))?);
        let count = self.u16(self.pick(44, 56))?;
        if count == 0 {
            return Some(Vec::new());
        }
        if size < self.pick(32, 56) || count > MAX_SEGMENTS {
            return None;
        }
        (0..u64::from(count))
            .map(|number| {
                let at = table.checked_add(number * size)?;
                // The last byte decides whether the header is there at all; then no sum below overflows.
                at.checked_add(size)?;
                Some(Segment {
                    kind: self.u32(at)?,
                    offset: self.word(at + self.pick(4, 8))?,
                    address: self.word(at + self.pick(8, 16))?,
                    file_size: self.word(at + self.pick(16, 32))?,
                    align: self.word(at + self.pick(28, 48))?,
                })
            })
            .collect()
    }

    /// Offset and size of the first section of a type.
    fn section(&self, kind: u32) -> Option<(u64, u64)> {
        let table = self.word(self.pick(32, 40))?;
        let size = u64::from(self.u16(self.pick(46, 58))?);
        let count = self.u16(self.pick(48, 60))?.min(MAX_SECTIONS);
        if table == 0 || size < self.pick(40, 64) {
            return None;
        }
        (0..u64::from(count)).find_map(|number| {
            let at = table.checked_add(number * size)?;
            at.checked_add(size)?;
            let found = self.u32(at + 4)? == kind;
            found
                .then(|| Some((self.word(at + self.pick(16, 24))?, self.word(at + self.pick(20, 32))?)))
                .flatten()
        })
    }
}

/// Which parts of a large file are needed besides its beginning: segments of headers, and the section table.
pub(crate) fn windows(head: &Content) -> Vec<(u64, u64)> {
    /// More than any dynamic section, note or section table of a real file.
    const WINDOW: u64 = 1 << 20;
    let Some((machine, reader)) = open(head) else {
        return Vec::new();
    };
    let mut windows: Vec<(u64, u64)> = reader
        .segments()
        .unwrap_or_default()
        .into_iter()
        .filter(|segment| matches!(segment.kind, PT_DYNAMIC | PT_INTERP | PT_NOTE | PT_GNU_PROPERTY))
        .map(|segment| (segment.offset, segment.file_size.min(WINDOW)))
        .collect();
    // Only Arm has facts in sections.
    if machine.code == machine::ARM
        && let Some(table) = reader.word(reader.pick(32, 40))
    {
        windows.push((table.saturating_sub(WINDOW), 2 * WINDOW));
    }
    windows
}

fn open(content: &Content) -> Option<(Machine, Reader<'_>)> {
    let machine = elf_machine(content.at(0, 20)?)?;
    let reader = Reader {
        content,
        order: machine.order,
        class: machine.class,
    };
    Some((machine, reader))
}

/// Reads the facts of an ELF file. None: it is none.
pub fn read(content: &Content) -> Option<Elf> {
    let (machine, reader) = open(content)?;
    let kind = match reader.u16(16)? {
        2 => Kind::Executable,
        3 => Kind::Shared,
        _ => Kind::Other,
    };
    let flags = reader.u32(reader.pick(36, 48));
    let mut elf = Elf {
        machine,
        kind,
        flags: flags.unwrap_or(0),
        interpreter: None,
        soname: None,
        needed: Vec::new(),
        rpath: Vec::new(),
        runpath: Vec::new(),
        version_needs: Vec::new(),
        version_definitions: Vec::new(),
        x86_level: None,
        arm_architecture: None,
        float_abi: None,
        go: false,
        dynamic: false,
        partial: false,
    };
    if kind == Kind::Other {
        return Some(elf);
    }
    elf.float_abi = float_abi(machine, elf.flags);
    let segments = reader.segments();
    elf.partial = segments.is_none() || flags.is_none();
    let segments = segments.unwrap_or_default();
    for segment in &segments {
        match segment.kind {
            PT_INTERP => match interpreter(&reader, segment) {
                Some(path) => elf.interpreter = Some(path),
                None => elf.partial = true,
            },
            PT_NOTE | PT_GNU_PROPERTY => notes::read(&reader, segment, &mut elf),
            PT_DYNAMIC => dynamic::read(&reader, segment, &segments, &mut elf),
            _ => {}
        }
    }
    if machine.code == machine::ARM
        && let Some((offset, size)) = reader.section(SHT_ARM_ATTRIBUTES)
    {
        notes::read_arm_attributes(&reader, offset, size, &mut elf);
    }
    if elf.weight() > MAX_TEXTS {
        // Its names are no names. Without them it is still a file of its machine.
        elf.needed.clear();
        elf.version_needs.clear();
        elf.version_definitions.clear();
        elf.rpath.clear();
        elf.runpath.clear();
        elf.partial = true;
    }
    Some(elf)
}

fn interpreter(reader: &Reader<'_>, segment: &Segment) -> Option<String> {
    let bytes = reader.content.at(segment.offset, segment.file_size.min(4096))?;
    let path = bytes.split(|&byte| byte == 0).next()?;
    (!path.is_empty()).then(|| String::from_utf8_lossy(path).into_owned())
}

/// What `e_flags` say about floating point arguments (ELF for the Arm Architecture; RISC-V ELF psABI).
fn float_abi(machine: Machine, flags: u32) -> Option<FloatAbi> {
    match machine.code {
        machine::ARM if flags & 0x400 != 0 => Some(FloatAbi::Hard),
        machine::ARM if flags & 0x200 != 0 => Some(FloatAbi::Soft),
        machine::RISCV => Some(match flags & 0x6 {
            0 => FloatAbi::Soft,
            2 => FloatAbi::Single,
            _ => FloatAbi::Hard,
        }),
        _ => None,
    }
}
