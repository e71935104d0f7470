//! The dynamic section: libraries, search paths, versions.

use super::{Elf, PT_LOAD, Reader, Segment, VersionNeed};

const MAX_ENTRIES: u64 = 4096;
const MAX_NAMES: usize = 1024;
const MAX_TEXT: usize = 4096;
/// Version records of one file; glibc itself defines about fifty.
const MAX_VERSIONS: usize = 16 << 10;

const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_SONAME: u64 = 14;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
const DT_VERDEF: u64 = 0x6fff_fffc;
const DT_VERDEFNUM: u64 = 0x6fff_fffd;
const DT_VERNEED: u64 = 0x6fff_fffe;
const DT_VERNEEDNUM: u64 = 0x6fff_ffff;

const VER_FLG_BASE: u16 = 1;
const VER_FLG_WEAK: u16 = 2;

#[derive(Default)]
struct Found {
    needed: Vec<u64>,
    soname: Option<u64>,
    rpath: Option<u64>,
    runpath: Option<u64>,
    strings: Option<u64>,
    verdef: Option<(u64, u64)>,
    verneed: Option<(u64, u64)>,
}

/// Reads the dynamic segment into the facts. What cannot be followed makes them partial.
pub(super) fn read(reader: &Reader<'_>, segment: &Segment, segments: &[Segment], elf: &mut Elf) {
    elf.dynamic = true;
    let Some(found) = entries(reader, segment) else {
        elf.partial = true;
        return;
    };
    let offset_of = |address: u64| file_offset(segments, address);
    let Some(strings) = found.strings.and_then(offset_of) else {
        // A static program that relocates itself has a dynamic section without names.
        elf.partial = !found.needed.is_empty();
        return;
    };
    let mut partial = false;
    let mut text = |offset: u64| {
        let found = strings.checked_add(offset).and_then(|at| string(reader, at));
        partial |= found.is_none();
        found.unwrap_or_default()
    };
    elf.needed = found
        .needed
        .iter()
        .map(|&name| text(name))
        .filter(|name| !name.is_empty())
        .collect();
    elf.soname = found.soname.map(&mut text).filter(|name| !name.is_empty());
    let split = |paths: Option<String>| -> Vec<String> {
        let paths = paths.unwrap_or_default();
        paths
            .split(':')
            .filter(|path| !path.is_empty())
            .map(str::to_owned)
            .collect()
    };
    elf.rpath = split(found.rpath.map(&mut text));
    elf.runpath = split(found.runpath.map(&mut text));
    let place = |table: Option<(u64, u64)>| {
        let (address, count) = table?;
        Some((offset_of(address)?, count))
    };
    if let Some((at, count)) = place(found.verneed) {
        match version_needs(reader, at, count, strings) {
            Some(needs) => elf.version_needs = needs,
            None => partial = true,
        }
    }
    if let Some((at, count)) = place(found.verdef) {
        match version_definitions(reader, at, count, strings) {
            Some(definitions) => elf.version_definitions = definitions,
            None => partial = true,
        }
    }
    elf.partial |= partial;
}

fn entries(reader: &Reader<'_>, segment: &Segment) -> Option<Found> {
    let size = reader.pick(8, 16);
    let count = (segment.file_size / size).min(MAX_ENTRIES);
    let mut found = Found::default();
    let (mut verdef, mut verdef_count, mut verneed, mut verneed_count) = (None, 0, None, 0);
    for number in 0..count {
        let at = segment.offset.checked_add(number * size)?;
        let tag = reader.word(at)?;
        let value = reader.word(at + size / 2)?;
        match tag {
            0 => break,
            DT_NEEDED if found.needed.len() < MAX_NAMES => found.needed.push(value),
            DT_STRTAB => found.strings = Some(value),
            DT_SONAME => found.soname = Some(value),
            DT_RPATH => found.rpath = Some(value),
            DT_RUNPATH => found.runpath = Some(value),
            DT_VERDEF => verdef = Some(value),
            DT_VERDEFNUM => verdef_count = value,
            DT_VERNEED => verneed = Some(value),
            DT_VERNEEDNUM => verneed_count = value,
            _ => {}
        }
    }
    found.verdef = verdef.map(|at| (at, verdef_count));
    found.verneed = verneed.map(|at| (at, verneed_count));
    Some(found)
}

/// Where an address of the loaded file stands in the file.
fn file_offset(segments: &[Segment], address: u64) -> Option<u64> {
    segments
        .iter()
        .filter(|segment| segment.kind == PT_LOAD)
        .find_map(|segment| {
            let inside = address.checked_sub(segment.address)?;
            (inside < segment.file_size).then(|| segment.offset.checked_add(inside))?
        })
}

fn string(reader: &Reader<'_>, at: u64) -> Option<String> {
    let bytes = reader.content.from(at)?;
    let end = bytes.iter().take(MAX_TEXT).position(|&byte| byte == 0)?;
    Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
}

fn version_needs(reader: &Reader<'_>, mut at: u64, count: u64, strings: u64) -> Option<Vec<VersionNeed>> {
    let name = |offset: u32| string(reader, strings.checked_add(u64::from(offset))?);
    let mut needs = Vec::new();
    let mut budget = MAX_VERSIONS;
    for _ in 0..count.min(MAX_NAMES as u64) {
        // What stands at `at` itself decides whether the record is in the file; then no sum below overflows.
        reader.u16(at)?;
        let auxiliary_count = reader.u16(at + 2)?;
        let mut need = VersionNeed {
            library: name(reader.u32(at + 4)?)?,
            versions: Vec::new(),
        };
        let mut auxiliary = at.checked_add(u64::from(reader.u32(at + 8)?))?;
        for _ in 0..auxiliary_count {
            budget = budget.checked_sub(1)?;
            reader.u32(auxiliary)?;
            let weak = reader.u16(auxiliary + 4)? & VER_FLG_WEAK != 0;
            let version = name(reader.u32(auxiliary + 8)?)?;
            if !weak {
                need.versions.push(version);
            }
            match reader.u32(auxiliary + 12)? {
                0 => break,
                next => auxiliary = auxiliary.checked_add(u64::from(next))?,
            }
        }
        needs.push(need);
        match reader.u32(at + 12)? {
            0 => break,
            next => at = at.checked_add(u64::from(next))?,
        }
    }
    Some(needs)
}

fn version_definitions(reader: &Reader<'_>, mut at: u64, count: u64, strings: u64) -> Option<Vec<String>> {
    let mut definitions = Vec::new();
    for _ in 0..count.min(MAX_VERSIONS as u64) {
        reader.u16(at)?;
        let flags = reader.u16(at + 2)?;
        let auxiliary = at.checked_add(u64::from(reader.u32(at + 12)?))?;
        // The base definition is the file's own name.
        if flags & VER_FLG_BASE == 0 {
            let offset = u64::from(reader.u32(auxiliary)?);
            definitions.push(string(reader, strings.checked_add(offset)?)?);
        }
        match reader.u32(at + 16)? {
            0 => break,
            next => at = at.checked_add(u64::from(next))?,
        }
    }
    Some(definitions)
}
