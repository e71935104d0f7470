//! Inputs for the readers of foreign bytes: good files, broken in ways that a seed decides.

use std::io::Read;

use kiln_audit::{Content, LayerFacts, LayerReader, elf, jar, node_package, script, wheel};

/// Readers by name.
pub(crate) const TARGETS: [&str; 6] = ["elf", "jar", "script", "wheel", "node-package", "layer"];

/// Reads an input with the reader of that name. Nothing may come of a broken input but less.
pub(crate) fn read(target: &str, input: &[u8]) {
    match target {
        "elf" => drop(elf::read(&Content::whole(input.to_vec()))),
        "jar" => drop(jar::read(&Content::whole(input.to_vec()))),
        "script" => drop(script::read(input)),
        "wheel" => drop(wheel::platform_tags(input)),
        "node-package" => drop(node_package::read(input)),
        _ => layer(input),
    }
}

/// Reads a layer, keeps what was read, and stacks it on itself.
fn layer(input: &[u8]) {
    if let Ok(facts) = LayerReader::new().read(&mut &input[..]) {
        let kept = facts.encode().ok().and_then(|bytes| LayerFacts::decode(&bytes));
        assert_eq!(kept.as_ref(), Some(&facts), "what is kept is what was read");
        let root = kiln_audit::root::Root::of([&facts, &facts]);
        for (path, _) in root.all().take(1000) {
            root.resolve(path);
        }
    }
}

/// A pseudo random sequence (xorshift64*).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        if bound == 0 {
            return 0;
        }
        usize::try_from(self.next() % bound as u64).unwrap_or(0)
    }
}

/// Breaks an input in one to eight places.
pub(crate) fn mutated(seed: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut input = seed.to_vec();
    // Most of what decides stands at the beginning: headers, and the tables behind them.
    let near = |length: usize, dice: &mut Dice| {
        if dice.below(2) == 0 {
            dice.below(length.min(512))
        } else {
            dice.below(length)
        }
    };
    for _ in 0..=dice.below(8) {
        let at = near(input.len(), dice);
        match dice.below(8) {
            0 => input.truncate(at),
            1 | 2 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << dice.below(8);
                }
            }
            3 | 4 => {
                let numbers = [
                    0,
                    1,
                    u64::MAX,
                    u64::MAX / 2,
                    1 << 31,
                    1 << 32,
                    at as u64,
                    seed.len() as u64,
                    dice.next(),
                ];
                let bytes = numbers[dice.below(numbers.len())].to_le_bytes();
                let width = [1, 2, 4, 8][dice.below(4)];
                for (place, byte) in input.iter_mut().skip(at).zip(&bytes[..width]) {
                    *place = *byte;
                }
            }
            5 => {
                let piece: Vec<u8> = input.iter().skip(at).take(dice.below(64)).copied().collect();
                let target = near(input.len(), dice).min(input.len());
                input.splice(target..target, piece);
            }
            6 => {
                let end = (at + dice.below(64)).min(input.len());
                drop(input.drain(at.min(end)..end));
            }
            _ => {
                let from: Vec<u8> = input.iter().skip(near(input.len(), dice)).take(16).copied().collect();
                for (place, byte) in input.iter_mut().skip(at).zip(from) {
                    *place = byte;
                }
            }
        }
    }
    input
}

/// Good files for a target, the small ones first.
pub(crate) fn seeds(target: &str) -> Vec<Vec<u8>> {
    let programs = || -> Vec<Vec<u8>> {
        let places = [
            "/proc/self/exe",
            "/bin/true",
            "/lib/x86_64-linux-gnu/libm.so.6",
            "/lib/ld-linux-aarch64.so.1",
        ];
        let read = |path: &&str| {
            let mut bytes = Vec::new();
            std::fs::File::open(path)
                .ok()?
                .take(256 << 10)
                .read_to_end(&mut bytes)
                .ok()?;
            Some(bytes)
        };
        places.iter().filter_map(read).chain([small_elf()]).collect()
    };
    match target {
        "elf" => programs(),
        "jar" => vec![archive()],
        "script" => vec![b"#!/usr/bin/env -S A=1 node --x\nexec /app/server \"$@\"\n".to_vec()],
        "wheel" => vec![b"Wheel-Version: 1.0\nTag: cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64\n".to_vec()],
        "node-package" => {
            vec![br#"{"name": "@a/linux-x64", "os": ["linux"], "cpu": ["x64"], "libc": ["musl"]}"#.to_vec()]
        }
        _ => vec![tar()],
    }
}

/// A header with program headers that name an interpreter, a note and a dynamic section.
pub(crate) fn small_elf() -> Vec<u8> {
    let mut bytes = vec![0; 1024];
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(16, &3u16.to_le_bytes());
    put(18, &62u16.to_le_bytes());
    put(32, &64u64.to_le_bytes());
    put(54, &56u16.to_le_bytes());
    put(56, &3u16.to_le_bytes());
    for (number, (kind, offset, size)) in [(1u32, 0u64, 1024u64), (3, 512, 16), (2, 640, 128)]
        .into_iter()
        .enumerate()
    {
        let at = 64 + number * 56;
        put(at, &kind.to_le_bytes());
        for (field, value) in [(8, offset), (16, offset), (32, size), (40, size), (48, 8)] {
            put(at + field, &value.to_le_bytes());
        }
    }
    put(512, b"/lib64/ld.so.2\0");
    // DT_NEEDED, DT_STRTAB, DT_VERNEED and its count, DT_NULL.
    for (number, (tag, value)) in [(1u64, 1u64), (5, 800), (0x6fff_fffe, 900), (0x6fff_ffff, 1), (0, 0)]
        .into_iter()
        .enumerate()
    {
        put(640 + number * 16, &tag.to_le_bytes());
        put(648 + number * 16, &value.to_le_bytes());
    }
    put(801, b"libc.so.6\0GLIBC_2.34\0");
    put(900, &[1, 0, 1, 0, 1, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0]);
    put(916, &[0, 0, 0, 0, 0, 0, 0, 0, 11, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}

/// An archive of one native library, stored.
pub(crate) fn archive() -> Vec<u8> {
    let (name, data) = (b"linux/libx.so".as_slice(), small_elf());
    let length = u32::try_from(data.len()).unwrap_or(0).to_le_bytes();
    let common = [
        [10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].as_slice(),
        &length,
        &length,
        &[13, 0, 0, 0],
    ]
    .concat();
    let mut bytes = [b"PK\x03\x04".as_slice(), &common, name, &data].concat();
    let start = u32::try_from(bytes.len()).unwrap_or(0).to_le_bytes();
    let member = [b"PK\x01\x02\x0a\0".as_slice(), &common, &[0; 14], name].concat();
    let size = u32::try_from(member.len()).unwrap_or(0).to_le_bytes();
    bytes.extend(member);
    bytes.extend([b"PK\x05\x06\0\0\0\0\x01\0\x01\0".as_slice(), &size, &start, &[0, 0]].concat());
    bytes
}

/// A layer with one of everything.
pub(crate) fn tar() -> Vec<u8> {
    let elf = small_elf();
    let jar = archive();
    let entries: [(&str, u8, &str, &[u8]); 9] = [
        ("bin/", b'5', "", b""),
        ("bin/tool", b'0', "", &elf),
        ("bin/link", b'2', "../bin/tool", b""),
        ("bin/hard", b'1', "bin/tool", b""),
        ("x", b'x', "", b"16 path=app/x.jar\n"),
        ("app/x.jar", b'0', "", &jar),
        ("app/.wh.gone", b'0', "", b""),
        ("app/.wh..wh..opq", b'0', "", b""),
        ("bin/script", b'0', "", b"#!/bin/sh\n"),
    ];
    let mut bytes = Vec::new();
    for (name, kind, link, body) in entries {
        bytes.extend(header(name, kind, link, body.len() as u64));
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// A tar header with its checksum.
pub(crate) fn header(name: &str, kind: u8, link: &str, size: u64) -> Vec<u8> {
    let mut block = vec![0u8; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..108].copy_from_slice(b"0000755\0");
    if size < 1 << 33 {
        block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    } else {
        block[124] = 0x80;
        block[128..136].copy_from_slice(&size.to_be_bytes());
    }
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link.as_bytes());
    block[257..263].copy_from_slice(b"ustar\0");
    seal(&mut block);
    block
}

/// Writes a header's checksum.
pub(crate) fn seal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// The most memory that this process has used, in bytes.
pub(crate) fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|text| text.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}
