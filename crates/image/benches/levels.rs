//! What each level of each method costs and gives, over the files of real directories:
//!
//! ```text
//! cargo bench -p kiln-image --bench levels -- DIRECTORY…
//! ```
//!
//! Speeds are in MB of files for each second of processor time, without what reading and hashing take. They stand in
//! ARCHITECTURE.md, where the defaults are chosen.

#![expect(clippy::print_stdout, reason = "the table is what it is for")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use kiln_image::pack::{CompressionSetting, write_layer};
use kiln_image::plan::{LayerPlan, plan_from_tree};
use kiln_oci::Compression;
use kiln_store::index::EntryKind;

/// More of a directory is not read: the rest says the same.
const MOST: u64 = 256_000_000;

fn main() {
    let directories: Vec<PathBuf> = std::env::args_os()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .map(PathBuf::from)
        .collect();
    for directory in &directories {
        table(directory);
    }
    if directories.is_empty() {
        println!("name the directories to measure: cargo bench -p kiln-image --bench levels -- /usr/lib");
    }
}

fn table(directory: &Path) {
    let plan = some_of(plan_from_tree(directory).expect("a directory that can be read"));
    let (tar, plain) = measured(&plan, Compression::Uncompressed, None);
    let megabytes = tar as f64 / 1e6;
    println!("{}: {megabytes:.0} MB", directory.display());
    let settings = (1..=9)
        .map(|level| (Compression::Gzip, level))
        .chain((1..=9).map(|level| (Compression::Zstd, level)));
    for (compression, level) in settings {
        let (size, time) = measured(&plan, compression, Some(level));
        let seconds = time.saturating_sub(plain).as_secs_f64();
        println!(
            "{compression:?} {level}: {:5.0} MB/s, to {:4.1} %",
            megabytes / seconds,
            size as f64 * 100.0 / tar as f64
        );
    }
}

/// The first entries, as far as they are few enough.
fn some_of(mut plan: LayerPlan) -> LayerPlan {
    let mut left = MOST;
    plan.entries.retain(|planned| match planned.entry.kind {
        EntryKind::File { size, .. } if size > left => false,
        EntryKind::File { size, .. } => {
            left -= size;
            true
        }
        EntryKind::Hardlink { .. } => false,
        _ => true,
    });
    plan
}

/// Bytes of the layer, and the processor's time for it: the best of two runs, since others use the machine as well.
fn measured(plan: &LayerPlan, compression: Compression, level: Option<i32>) -> (usize, Duration) {
    let setting = CompressionSetting {
        compression,
        level,
        threads: Some(1),
    };
    let once = || {
        let before = processor_time();
        let mut out = Vec::new();
        write_layer(plan, setting, None, &mut out).expect("files that can be read");
        (out.len(), processor_time() - before)
    };
    let (first, second) = (once(), once());
    (first.0, first.1.min(second.1))
}

fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    Duration::new(part(time.tv_sec), 0) + Duration::from_nanos(part(time.tv_nsec))
}
