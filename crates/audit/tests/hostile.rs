//! Foreign bytes: broken, self-referencing, huge. Nothing panics, nothing fills the memory.

#[path = "../examples/fuzz_audit/mutation.rs"]
mod mutation;

use std::io::Read;

use kiln_audit::{Content, EntryKind, FileFacts, LayerReader, elf, jar};
use mutation::{Dice, TARGETS, header, mutated, seal, small_elf};

/// Inputs of each reader: a second or two. `cargo xtask fuzz audit` runs for as long as one likes.
const RUNS: usize = 3000;

#[test]
fn broken_files_are_read_without_panics() {
    for target in TARGETS {
        let seeds = mutation::seeds(target);
        let mut dice = Dice::new(7);
        for number in 0..RUNS {
            mutation::read(target, &mutated(&seeds[number % seeds.len()], &mut dice));
        }
    }
}

#[test]
fn every_truncation_of_a_file_is_read() {
    let (elf, jar, tar) = (small_elf(), mutation::archive(), mutation::tar());
    for length in 0..elf.len() {
        drop(elf::read(&Content::whole(elf[..length].to_vec())));
    }
    for length in 0..jar.len() {
        drop(jar::read(&Content::whole(jar[..length].to_vec())));
    }
    for length in (0..tar.len()).step_by(37) {
        drop(LayerReader::new().read(&mut &tar[..length]));
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_behind_a_good_beginning_are_read(tail: Vec<u8>) {
        for beginning in [b"\x7fELF\x02\x01\x01".as_slice(), b"\x7fELF\x01\x02\x01", b"MZ", b"\xca\xfe\xba\xbe"] {
            let bytes = [beginning, &tail].concat();
            drop(elf::read(&Content::whole(bytes.clone())));
            let _ = kiln_audit::binary::foreign(&bytes);
        }
        drop(jar::read(&Content::whole([tail.as_slice(), b"PK\x05\x06", &tail].concat())));
        drop(kiln_audit::node_package::read(&tail));
        drop(kiln_audit::script::read(&[b"#!/".as_slice(), &tail].concat()));
    }
}

#[test]
fn version_records_that_point_at_themselves_end() {
    let mut bytes = small_elf();
    // Both `vn_next` and `vna_next` lead back to where they are, as far as unsigned offsets can.
    bytes[912..916].copy_from_slice(&0u32.wrapping_sub(0).to_le_bytes());
    bytes[902..904].copy_from_slice(&u16::MAX.to_le_bytes());
    bytes[928..932].copy_from_slice(&1u32.to_le_bytes());
    let read = elf::read(&Content::whole(bytes)).expect("an ELF file");
    assert!(read.version_needs.len() <= 1, "{read:?}");
    let whole = elf::read(&Content::whole(small_elf())).expect("an ELF file");
    assert_eq!(whole.needed, ["libc.so.6"]);
    assert_eq!(whole.version_needs[0].versions, ["GLIBC_2.34"]);
}

/// A stream that is made while it is read.
struct Stream<'a> {
    parts: Vec<(&'a [u8], u64)>,
    at: u64,
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while let Some((bytes, zeros)) = self.parts.first() {
            let length = bytes.len() as u64;
            if self.at < length {
                let rest = &bytes[usize::try_from(self.at).expect("a short part")..];
                let count = rest.len().min(buffer.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                self.at += count as u64;
                return Ok(count);
            }
            let left = length + zeros - self.at;
            if left > 0 {
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                buffer[..count].fill(0);
                self.at += count as u64;
                return Ok(count);
            }
            self.parts.remove(0);
            self.at = 0;
        }
        Ok(0)
    }
}

#[test]
fn ten_gigabytes_take_no_memory() {
    const SIZE: u64 = 10 << 30;
    let mut elf = small_elf();
    // The dynamic section is said to be at the end.
    elf[64 + 2 * 56 + 8..][..8].copy_from_slice(&(SIZE - 4096).to_le_bytes());
    let plain = [header("bin/huge", b'0', "", SIZE), elf.clone()].concat();
    let end = [0; 1024];
    let mut stream = Stream {
        parts: vec![(&plain, SIZE - elf.len() as u64), (&end, 0)],
        at: 0,
    };
    let before = mutation::peak_memory();
    let facts = LayerReader::new().read(&mut stream).expect("a layer");
    let used = mutation::peak_memory() - before;
    assert!(used < 96 << 20, "{used} bytes of memory");
    let EntryKind::File(FileFacts::Elf(found)) = &facts.entries[0].kind else {
        panic!("{facts:?}");
    };
    assert_eq!(
        found.interpreter.as_deref(),
        Some("/lib64/ld.so.2"),
        "what stands at the beginning is known"
    );
}

#[test]
fn a_sparse_file_is_what_its_parts_say() {
    let elf = small_elf();
    let mut block = header("bin/sparse", b'S', "", elf.len() as u64);
    let octal = |value: u64| format!("{value:011o}\0").into_bytes();
    block[386..398].copy_from_slice(&octal(0));
    block[398..410].copy_from_slice(&octal(elf.len() as u64));
    // Ten gigabytes in GNU's binary form.
    block[483] = 0x80;
    block[487..495].copy_from_slice(&(10u64 << 30).to_be_bytes());
    seal(&mut block);
    let layer = [block, elf, vec![0; 1024]].concat();
    let facts = LayerReader::new().read(&mut layer.as_slice()).expect("a layer");
    let EntryKind::File(FileFacts::Elf(found)) = &facts.entries[0].kind else {
        panic!("{facts:?}");
    };
    assert_eq!(found.needed, ["libc.so.6"]);
}

#[test]
fn bodies_of_every_claimed_length_end() {
    for size in [u64::MAX, u64::MAX - 511, u64::MAX - 512, 1 << 63] {
        let layer = header("x", b'0', "", size);
        assert!(LayerReader::new().read(&mut layer.as_slice()).is_err(), "{size}");
    }
}

#[test]
fn headers_that_claim_megabytes_of_names_are_refused() {
    let layer = header("x", b'L', "", 1 << 30);
    let error = LayerReader::new().read(&mut layer.as_slice()).expect_err("too long");
    let cause = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(cause.contains("more than a megabyte"), "{cause}");
}
