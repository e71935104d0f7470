//! Notes and Arm's build attributes.

use super::{Elf, FloatAbi, Reader, Segment};
use crate::binary::Class;

/// Notes of one segment.
const MAX_NOTES: usize = 256;
/// Bytes of a segment of notes, or of Arm's attributes, that are looked at.
const MAX_BYTES: u64 = 64 << 10;

const NT_GNU_PROPERTY: u32 = 5;
const NT_GO_BUILD_ID: u32 = 4;
const X86_ISA_NEEDED: u32 = 0xc000_8002;

/// Reads the notes of a segment: x86's property note, and the mark of the Go toolchain.
pub(super) fn read(reader: &Reader<'_>, segment: &Segment, elf: &mut Elf) {
    let end = segment.offset.saturating_add(segment.file_size.min(MAX_BYTES));
    let align = if segment.align == 8 { 8 } else { 4 };
    let mut at = segment.offset;
    for _ in 0..MAX_NOTES {
        if at >= end {
            return;
        }
        let Some((name_at, content_at, size, kind, next)) = note(reader, at, segment.offset, align) else {
            return;
        };
        match (reader.content.at(name_at, 4), kind) {
            (Some(b"GNU\0"), NT_GNU_PROPERTY) => {
                if let Some(level) = x86_level(reader, content_at, size) {
                    elf.x86_level = Some(level);
                }
            }
            (Some(b"Go\0\0"), NT_GO_BUILD_ID) => elf.go = true,
            _ => {}
        }
        at = next;
    }
}

/// Offsets of name and content, size of the content, type, offset of the next note.
fn note(reader: &Reader<'_>, at: u64, start: u64, align: u64) -> Option<(u64, u64, u64, u32, u64)> {
    let name_size = u64::from(reader.u32(at)?);
    let size = u64::from(reader.u32(at + 4)?);
    let kind = reader.u32(at + 8)?;
    let aligned = |offset: u64| start + (offset - start).next_multiple_of(align);
    let name_at = at + 12;
    let content_at = aligned(name_at.checked_add(name_size)?);
    let next = aligned(content_at.checked_add(size)?);
    Some((name_at, content_at, size, kind, next))
}

/// The highest bit of `GNU_PROPERTY_X86_ISA_1_NEEDED` (x86-64 psABI, "Program Property").
fn x86_level(reader: &Reader<'_>, start: u64, size: u64) -> Option<u8> {
    let align = if reader.class == Class::Bits64 { 8 } else { 4 };
    let end = start.checked_add(size.min(MAX_BYTES))?;
    let mut at = start;
    for _ in 0..MAX_NOTES {
        if at >= end {
            return None;
        }
        let kind = reader.u32(at)?;
        let length = u64::from(reader.u32(at + 4)?);
        if kind == X86_ISA_NEEDED {
            return match reader.u32(at + 8)? & 0xf {
                0 => None,
                bits => u8::try_from(32 - bits.leading_zeros()).ok(),
            };
        }
        at = (at + 8).checked_add(length.next_multiple_of(align))?;
    }
    None
}

const TAG_FILE: u64 = 1;
const TAG_CPU_RAW_NAME: u64 = 4;
const TAG_CPU_NAME: u64 = 5;
const TAG_CPU_ARCH: u64 = 6;
const TAG_ABI_VFP_ARGS: u64 = 28;
const TAG_COMPATIBILITY: u64 = 32;

/// Reads `.ARM.attributes` (Addenda to the ABI for the Arm Architecture, "Build attributes").
pub(super) fn read_arm_attributes(reader: &Reader<'_>, offset: u64, size: u64, elf: &mut Elf) {
    // Not finding out is no fault: the flags have told what matters most.
    let _ = arm_attributes(reader, offset, size, elf);
}

fn arm_attributes(reader: &Reader<'_>, offset: u64, size: u64, elf: &mut Elf) -> Option<()> {
    let section = reader.content.at(offset, size.min(MAX_BYTES))?;
    let rest = section.strip_prefix(b"A")?;
    // The vendor's subsection: length, name, then subsubsections of tag and length.
    let name_end = 4 + rest.get(4..)?.iter().position(|&byte| byte == 0)?;
    if rest.get(4..name_end)? != b"aeabi" {
        return None;
    }
    let attributes = rest.get(name_end + 1..)?;
    let mut cursor = Cursor { bytes: attributes };
    if cursor.uleb()? != TAG_FILE {
        return None;
    }
    cursor.skip(4)?;
    while !cursor.bytes.is_empty() {
        match cursor.uleb()? {
            TAG_CPU_RAW_NAME | TAG_CPU_NAME => cursor.skip_text()?,
            TAG_COMPATIBILITY => {
                cursor.uleb()?;
                cursor.skip_text()?;
            }
            TAG_CPU_ARCH => elf.arm_architecture = u8::try_from(cursor.uleb()?).ok(),
            TAG_ABI_VFP_ARGS => match cursor.uleb()? {
                1 => elf.float_abi = Some(FloatAbi::Hard),
                0 => elf.float_abi = Some(FloatAbi::Soft),
                _ => {}
            },
            // Beyond 32, odd tags hold text and even ones numbers.
            tag if tag > 32 && tag % 2 == 1 => cursor.skip_text()?,
            _ => _ = cursor.uleb()?,
        }
    }
    Some(())
}

struct Cursor<'a> {
    bytes: &'a [u8],
}

impl Cursor<'_> {
    fn uleb(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..63).step_by(7) {
            let (&byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.bytes = self.bytes.get(count..)?;
        Some(())
    }

    fn skip_text(&mut self) -> Option<()> {
        let end = self.bytes.iter().position(|&byte| byte == 0)?;
        self.skip(end + 1)
    }
}
