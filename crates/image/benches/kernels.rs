//! The kernels of packing a layer: tar headers, hashing, compression by method and level.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kiln_image::pack::{CompressionSetting, Earlier, Packing, pack_layer, write_layer};
use kiln_image::plan::{Content, LayerPlan, PlannedEntry};
use kiln_oci::{Compression, Digest};
use kiln_store::Store;
use kiln_store::index::{Entry, EntryKind, Mtime};

/// Text that compresses about as well as source code does.
fn text(size: usize) -> Vec<u8> {
    const WORDS: [&str; 8] = [
        "fn ",
        "let digest = ",
        "match self ",
        "layer.",
        "Some(",
        ") => {\n",
        "}\n",
        "return ",
    ];
    let mut state = 1u64;
    let mut text = Vec::with_capacity(size + 64);
    while text.len() < size {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let number = state >> 33;
        for at in 0..6 {
            text.extend_from_slice(WORDS[(number >> (at * 3)) as usize % 8].as_bytes());
        }
        text.extend_from_slice(format!("{:x}", number & 0xfff).as_bytes());
    }
    text.truncate(size);
    text
}

fn plan(files: usize, size: usize) -> LayerPlan {
    let planned = |number: usize| PlannedEntry {
        entry: Entry {
            path: format!("some/directory/file-{number:06}").into(),
            kind: EntryKind::File {
                size: size as u64,
                digest: None,
            },
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Mtime::default(),
            xattrs: Vec::new(),
        },
        content: Content::Bytes(text(size).into()),
    };
    LayerPlan {
        entries: (0..files).map(planned).collect(),
    }
}

fn pack(plan: &LayerPlan, compression: Compression, level: Option<i32>) -> usize {
    let setting = CompressionSetting {
        compression,
        level,
        threads: Some(1),
    };
    let mut out = Vec::new();
    write_layer(black_box(plan), setting, None, &mut out).expect("memory can be read and written");
    out.len()
}

fn kernels(criterion: &mut Criterion) {
    let (small, large) = (plan(2000, 100), plan(4, 1 << 20));
    let bytes = 4 << 20;
    let mut group = criterion.benchmark_group("pack");
    group.sample_size(10);
    group.bench_function("tar of 2,000 small files", |bench| {
        bench.iter(|| pack(&small, Compression::Uncompressed, None));
    });
    group.throughput(Throughput::Bytes(bytes));
    group.bench_function("tar and hashes", |bench| {
        bench.iter(|| pack(&large, Compression::Uncompressed, None))
    });
    for level in [1, 4, 5, 6, 9] {
        let name = format!(
            "gzip {level}, to {} %",
            pack(&large, Compression::Gzip, Some(level)) * 100 / (4 << 20)
        );
        group.bench_function(name, |bench| {
            bench.iter(|| pack(&large, Compression::Gzip, Some(level)))
        });
    }
    for level in [1, 3, 6] {
        let name = format!(
            "zstd {level}, to {} %",
            pack(&large, Compression::Zstd, Some(level)) * 100 / (4 << 20)
        );
        group.bench_function(name, |bench| {
            bench.iter(|| pack(&large, Compression::Zstd, Some(level)))
        });
    }
    group.bench_function("a layer of 4 MiB whose members are there", |bench| {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(scratch.path()).expect("a new store");
        let setting = CompressionSetting {
            threads: Some(1),
            ..CompressionSetting::default()
        };
        let pack = |earlier: &Earlier| {
            let packing = Packing {
                plan: &large,
                setting,
                epoch: None,
                file_digests: false,
                earlier,
            };
            let out = store.new_blob().expect("a store that can be written");
            pack_layer(black_box(packing), out).expect("memory can be read")
        };
        let first = pack(&Earlier::default());
        let earlier = Earlier::open(&store, &[first.digest], setting).expect("a store that can be read");
        bench.iter(|| assert_eq!(pack(&earlier).copied, first.size));
    });
    group.finish();
    let block = text(1 << 20);
    let mut group = criterion.benchmark_group("hash");
    group.sample_size(10).throughput(Throughput::Bytes(1 << 20));
    group.bench_function("sha256 of 1 MiB", |bench| {
        bench.iter(|| Digest::sha256(black_box(&block)))
    });
    group.finish();
}

criterion_group!(benches, kernels);
criterion_main!(benches);
