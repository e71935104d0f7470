//! Native libraries inside Java archives: the central directory, and the first bytes of what looks like machine code
//! (PKWARE, ".ZIP File Format Specification").

use std::io::Read;

use flate2::read::DeflateDecoder;
use serde::{Deserialize, Serialize};

use crate::binary::{Foreign, Machine, elf_machine, foreign};
use crate::content::Content;

/// Entries of one archive that are looked at.
const MAX_ENTRIES: usize = 100_000;
/// Native libraries of one archive that are kept.
const MAX_NATIVES: usize = 1024;
/// Longer names are no paths.
const MAX_NAME: usize = 4096;
/// Bytes of an archive inside an archive.
const MAX_NESTED: u64 = 32 << 20;
/// Bytes that are inflated for one file of the image, whatever it claims.
const MAX_INFLATED: u64 = 256 << 20;
/// Where the end record can begin: its own length and a comment of 65535 bytes.
const END_AREA: u64 = 22 + 65_535;
/// Bytes of a native library that tell its machine.
const HEAD: u64 = 512;

/// A native library inside an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Native {
    /// Its path in the archive; behind `!/` inside an archive in the archive.
    #[serde(rename = "p")]
    pub path: String,
    /// What it runs on, if it is an ELF whose head could be read.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Machine>,
    /// What it is, if it is no ELF.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub foreign: Option<Foreign>,
}

/// What an archive holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jar {
    /// Its native libraries.
    #[serde(rename = "n", default, skip_serializing_if = "Vec::is_empty")]
    pub natives: Vec<Native>,
    /// Whether not everything could be looked at.
    #[serde(rename = "t", default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

/// Reads an archive.
pub fn read(content: &Content) -> Jar {
    let mut jar = Jar::default();
    let mut budget = MAX_INFLATED;
    jar.partial = walk(content, "", 0, &mut budget, &mut jar.natives).is_none();
    jar
}

/// An entry of the central directory.
struct Member<'a> {
    name: &'a [u8],
    method: u16,
    compressed: u64,
    local: u64,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// None: the archive is broken, or larger than what is looked at.
fn walk(content: &Content, prefix: &str, depth: usize, budget: &mut u64, natives: &mut Vec<Native>) -> Option<()> {
    let area_at = content.size().saturating_sub(END_AREA);
    let area = content.at(area_at, content.size() - area_at)?;
    let end = area.windows(4).rposition(|bytes| bytes == b"PK\x05\x06")?;
    let size = u64::from(u32_at(area, end + 12)?);
    let claimed = u64::from(u32_at(area, end + 16)?);
    // Something may stand before the archive, such as a script that starts it; every offset is then too small.
    let directory = (area_at + end as u64).checked_sub(size)?;
    let shift = directory.checked_sub(claimed)?;
    let mut rest = content.at(directory, size)?;
    let mut whole = true;
    let mut seen = 0;
    while let Some((member, next)) = member(rest) {
        rest = next;
        seen += 1;
        if seen > MAX_ENTRIES || natives.len() >= MAX_NATIVES {
            return None;
        }
        let name = String::from_utf8_lossy(member.name).into_owned();
        let path = format!("{prefix}{name}");
        if is_native(&name) && name.len() <= MAX_NAME {
            let head = head(content, &member, shift, HEAD, budget).unwrap_or_default();
            natives.push(Native {
                path,
                machine: elf_machine(&head),
                foreign: foreign(&head),
            });
        } else if depth == 0 && name.ends_with(".jar") {
            let nested = head(content, &member, shift, MAX_NESTED + 1, budget);
            let read = nested
                .filter(|bytes| bytes.len() as u64 <= MAX_NESTED)
                .and_then(|bytes| walk(&Content::whole(bytes), &format!("{path}!/"), 1, budget, natives));
            whole &= read.is_some();
        }
    }
    (whole && rest.is_empty()).then_some(())
}

/// The first member of a central directory, and what follows it.
fn member(bytes: &[u8]) -> Option<(Member<'_>, &[u8])> {
    if bytes.get(..4)? != b"PK\x01\x02" {
        return None;
    }
    let name_length = usize::from(u16_at(bytes, 28)?);
    let behind = usize::from(u16_at(bytes, 30)?) + usize::from(u16_at(bytes, 32)?);
    let member = Member {
        name: bytes.get(46..46 + name_length)?,
        method: u16_at(bytes, 10)?,
        compressed: u64::from(u32_at(bytes, 20)?),
        local: u64::from(u32_at(bytes, 42)?),
    };
    Some((member, bytes.get(46 + name_length + behind..)?))
}

/// The first `length` bytes of a member.
fn head(content: &Content, member: &Member<'_>, shift: u64, length: u64, budget: &mut u64) -> Option<Vec<u8>> {
    let local_at = member.local.checked_add(shift)?;
    let local = content.at(local_at, 30)?;
    if local.get(..4)? != b"PK\x03\x04" {
        return None;
    }
    let behind = u64::from(u16_at(local, 26)?) + u64::from(u16_at(local, 28)?);
    let data = content.at(local_at + 30 + behind, member.compressed)?;
    let length = length.min(*budget);
    match member.method {
        0 => Some(data[..data.len().min(usize::try_from(length).ok()?)].to_vec()),
        8 => {
            let mut bytes = Vec::new();
            // What breaks off has still told something.
            let _ = DeflateDecoder::new(data).take(length).read_to_end(&mut bytes);
            *budget -= bytes.len() as u64;
            Some(bytes)
        }
        _ => None,
    }
}

fn is_native(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    [".so", ".dll", ".dylib", ".jnilib"]
        .iter()
        .any(|ending| file.ends_with(ending))
        || file.contains(".so.")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive of stored members.
    pub(crate) fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let (mut bytes, mut directory) = (Vec::new(), Vec::new());
        for (name, data) in members {
            let local = bytes.len() as u32;
            let sizes = [(data.len() as u32).to_le_bytes(), (data.len() as u32).to_le_bytes()].concat();
            let name_length = (name.len() as u16).to_le_bytes();
            bytes.extend([b"PK\x03\x04".as_slice(), &[0; 14], &sizes, &name_length, &[0; 2]].concat());
            bytes.extend(name.as_bytes());
            bytes.extend(*data);
            directory.extend([b"PK\x01\x02".as_slice(), &[0; 16], &sizes, &name_length, &[0; 12]].concat());
            directory.extend(local.to_le_bytes());
            directory.extend(name.as_bytes());
        }
        let start = bytes.len() as u32;
        bytes.extend(&directory);
        bytes.extend([b"PK\x05\x06".as_slice(), &[0; 8]].concat());
        bytes.extend((directory.len() as u32).to_le_bytes());
        bytes.extend(start.to_le_bytes());
        bytes.extend([0; 2]);
        bytes
    }

    fn elf() -> Vec<u8> {
        let mut head = vec![0; 64];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        head[18] = 62;
        head
    }

    #[test]
    fn native_libraries_are_found_at_any_depth() {
        let inner = archive(&[("linux/libx.so", &elf()), ("readme", b"x")]);
        let outer = archive(&[("BOOT-INF/lib/x.jar", &inner), ("win/x.dll", b"MZ")]);
        for bytes in [outer.clone(), [b"#!/bin/sh\nexec java\n".to_vec(), outer].concat()] {
            let jar = read(&Content::whole(bytes));
            assert!(!jar.partial);
            assert_eq!(jar.natives.len(), 2);
            assert_eq!(jar.natives[0].path, "BOOT-INF/lib/x.jar!/linux/libx.so");
            assert_eq!(jar.natives[0].machine.map(Machine::name).as_deref(), Some("x86-64"));
        }
        assert!(read(&Content::whole(b"no archive".to_vec())).partial);
        assert!(read(&Content::whole(Vec::new())).partial);
    }
}
