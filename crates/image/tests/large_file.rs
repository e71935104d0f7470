//! A file of any size streams: what a layer takes in memory does not depend on it.

use std::io::Write;
use std::sync::Arc;

use kiln_image::pack::{CompressionSetting, write_layer};
use kiln_image::plan::plan_from_tree;
use kiln_oci::Compression;

/// Bytes of the file: more than what is allowed in memory by far.
const SIZE: u64 = 2 << 30;

/// Bytes that packing may take at most, above what the process had before.
const ALLOWED: u64 = 64 << 20;

/// Counts what is written to it.
struct Count(Arc<std::sync::atomic::AtomicU64>);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .fetch_add(bytes.len() as u64, std::sync::atomic::Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The most memory that this process ever had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("it is always there");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .expect("it is named");
    let kilobytes: u64 = line
        .split_whitespace()
        .nth(1)
        .expect("a number")
        .parse()
        .expect("a number");
    kilobytes << 10
}

#[test]
fn a_sparse_file_of_gigabytes_is_packed_in_little_memory() {
    let tree = tempfile::tempdir().expect("a temporary directory");
    let file = std::fs::File::create(tree.path().join("large")).expect("writable");
    file.set_len(SIZE).expect("a sparse file");
    let plan = plan_from_tree(tree.path()).expect("readable");
    let before = peak();
    let written = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let setting = CompressionSetting {
        compression: Compression::Zstd,
        level: None,
        threads: Some(2),
    };
    write_layer(&plan, setting, None, &mut Count(written.clone())).expect("readable");
    let grown = peak() - before;
    assert!(grown < ALLOWED, "{} MiB", grown >> 20);
    let written = written.load(std::sync::atomic::Ordering::Relaxed);
    assert!(written > SIZE >> 16 && written < SIZE >> 10, "{written} bytes");
}
