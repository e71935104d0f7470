//! A layer has the same bytes whether members of earlier layers can be copied or not, and whatever became of these.

use std::path::Path;

use kiln_image::pack::{CompressionSetting, Earlier, Packed, Packing, pack_layer};
use kiln_image::plan::{Content, LayerPlan, PlannedEntry};
use kiln_oci::{Compression, Digest};
use kiln_store::index::{Entry, EntryKind, Mtime};
use kiln_store::{BlobMembers, Store};
use proptest::prelude::*;

/// A file by what its bytes are made from.
#[derive(Debug, Clone)]
struct Made {
    name: String,
    seed: u32,
    size: usize,
    time: i64,
}

/// What may happen to a tree between two builds.
#[derive(Debug, Clone)]
enum Edit {
    Rewrite { at: usize, seed: u32 },
    Resize { at: usize, size: usize },
    Add(Made),
    Remove { at: usize },
    Touch { at: usize },
}

/// What may happen to what an earlier build left.
#[derive(Debug, Clone)]
enum Damage {
    None,
    /// A bit of the blob.
    Blob {
        at: usize,
    },
    ShortBlob {
        keep: usize,
    },
    NoBlob,
    /// A bit of the list of members.
    List {
        at: usize,
    },
    /// A list that is well-formed and says something else: lengths in another order.
    LyingList,
    /// A list with members that are longer than anything can be.
    HugeMembers,
}

fn made() -> impl Strategy<Value = Made> {
    let size = prop_oneof![
        6 => 0_usize..40_000,
        3 => 100_000_usize..600_000,
        2 => 1_000_000_usize..3_500_000,
    ];
    ("[a-f]{1,4}/[a-z]{1,6}", any::<u32>(), size, 0_i64..1000).prop_map(|(name, seed, size, time)| Made {
        name,
        seed,
        size,
        time,
    })
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (any::<usize>(), any::<u32>()).prop_map(|(at, seed)| Edit::Rewrite { at, seed }),
        (any::<usize>(), 0_usize..2_500_000).prop_map(|(at, size)| Edit::Resize { at, size }),
        made().prop_map(Edit::Add),
        any::<usize>().prop_map(|at| Edit::Remove { at }),
        any::<usize>().prop_map(|at| Edit::Touch { at }),
    ]
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        3 => Just(Damage::None),
        3 => any::<usize>().prop_map(|at| Damage::Blob { at }),
        1 => any::<usize>().prop_map(|keep| Damage::ShortBlob { keep }),
        1 => Just(Damage::NoBlob),
        2 => any::<usize>().prop_map(|at| Damage::List { at }),
        1 => Just(Damage::LyingList),
        1 => Just(Damage::HugeMembers),
    ]
}

fn apply(files: &mut Vec<Made>, edit: &Edit) {
    let count = files.len().max(1);
    match edit {
        Edit::Rewrite { at, seed } => files[at % count].seed = *seed,
        Edit::Resize { at, size } => files[at % count].size = *size,
        Edit::Add(made) => files.push(made.clone()),
        Edit::Remove { at } if files.len() > 1 => drop(files.remove(at % count)),
        Edit::Remove { .. } => {}
        Edit::Touch { at } => files[at % count].time += 1,
    }
}

/// Text that compresses, but not to nothing.
fn bytes(seed: u32, size: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(size + 16);
    while bytes.len() < size {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bytes.extend_from_slice(&state.to_be_bytes()[..3]);
        bytes.extend_from_slice(b"some words ");
    }
    bytes.truncate(size);
    bytes
}

fn plan(files: &[Made]) -> LayerPlan {
    let mut files = files.to_vec();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files.dedup_by(|a, b| a.name == b.name);
    let planned = files.iter().map(|made| PlannedEntry {
        entry: Entry {
            path: made.name.clone().into(),
            kind: EntryKind::File {
                size: made.size as u64,
                digest: None,
            },
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Mtime {
                seconds: made.time,
                nanos: 0,
            },
            xattrs: Vec::new(),
        },
        content: Content::Bytes(bytes(made.seed, made.size).into()),
    });
    LayerPlan {
        entries: planned.collect(),
    }
}

fn setting(compression: Compression) -> CompressionSetting {
    CompressionSetting {
        compression,
        // Fast, since every tree is packed three times.
        level: Some(1),
        threads: Some(2),
    }
}

fn pack(store: &Store, plan: &LayerPlan, compression: Compression, earlier: &[Digest]) -> Packed {
    let setting = setting(compression);
    let earlier = Earlier::open(store, earlier, setting).expect("the store can be read");
    let packing = Packing {
        plan,
        setting,
        epoch: None,
        file_digests: false,
        earlier: &earlier,
    };
    pack_layer(packing, store.new_blob().expect("writable")).expect("packed")
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).expect("it is there");
    let at = at % bytes.len();
    bytes[at] ^= 1 << (at % 8);
    replace(path, &bytes);
}

/// Blobs are read-only; another file takes the place.
fn replace(path: &Path, bytes: &[u8]) {
    std::fs::remove_file(path).expect("it is there");
    std::fs::write(path, bytes).expect("writable");
}

fn harm(store: &Store, blob: &Digest, damage: &Damage) {
    let (file, list) = (
        store.root().join("blobs/sha256").join(blob.hex()),
        store.root().join("members").join(blob.hex()),
    );
    let rewrite = |change: &dyn Fn(&mut BlobMembers)| {
        let mut members = store.blob_members(blob).expect("readable").expect("it is there");
        change(&mut members);
        store.put_blob_members(blob, &members).expect("writable");
    };
    match damage {
        Damage::None => {}
        Damage::Blob { at } => flip(&file, *at),
        Damage::ShortBlob { keep } => {
            let bytes = std::fs::read(&file).expect("it is there");
            replace(&file, &bytes[..keep % bytes.len()]);
        }
        Damage::NoBlob => std::fs::remove_file(&file).expect("it is there"),
        Damage::List { at } => flip(&list, *at),
        Damage::LyingList => rewrite(&|members| {
            let lengths: Vec<u64> = members.members.iter().map(|member| member.length).collect();
            for (member, length) in members.members.iter_mut().zip(lengths.into_iter().rev()) {
                member.length = length + 1;
            }
        }),
        Damage::HugeMembers => rewrite(&|members| {
            for member in &mut members.members {
                member.length = u64::MAX / 2;
            }
        }),
    }
}

fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(&directory.path().join("state")).expect("a new store");
    (directory, store)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_bytes_are_the_same_with_and_without_earlier_layers(
        files in proptest::collection::vec(made(), 1..12),
        edits in proptest::collection::vec(edit(), 0..4),
        damage in damage(),
        zstd in any::<bool>(),
    ) {
        let compression = if zstd { Compression::Zstd } else { Compression::Gzip };
        let (_first, with) = store();
        let (_second, without) = store();
        let before = pack(&with, &plan(&files), compression, &[]);
        let mut files = files;
        for edit in &edits {
            apply(&mut files, edit);
        }
        let plan = plan(&files);
        let fresh = pack(&without, &plan, compression, &[]);
        harm(&with, &before.digest, &damage);
        let reused = pack(&with, &plan, compression, std::slice::from_ref(&before.digest));
        prop_assert_eq!(&reused.digest, &fresh.digest);
        prop_assert_eq!(&reused.diff_id, &fresh.diff_id);
        prop_assert_eq!(
            with.blob_members(&reused.digest).expect("readable"),
            without.blob_members(&fresh.digest).expect("readable")
        );
        // What stands under the name has the digest, even where the damaged blob had the same name.
        if reused.digest != before.digest {
            prop_assert!(with.read_blob(&reused.digest, u64::MAX).expect("undamaged").is_some());
        }
        if matches!(damage, Damage::None) && edits.is_empty() {
            prop_assert_eq!(reused.copied, reused.size);
        }
    }
}

#[test]
fn only_what_changed_is_compressed_again() {
    let (_directory, store) = store();
    let mut files: Vec<Made> = (0..600)
        .map(|at| Made {
            name: format!("d{}/file-{at:04}", at / 50),
            seed: at,
            size: if at % 100 == 7 { 3_300_000 } else { 20_000 },
            time: 0,
        })
        .collect();
    let gzip =
        |store: &Store, files: &[Made], earlier: &[Digest]| pack(store, &plan(files), Compression::Gzip, earlier);
    let first = gzip(&store, &files, &[]);
    assert_eq!(first.copied, 0);
    files[300].seed = 1_000_000;
    let second = gzip(&store, &files, std::slice::from_ref(&first.digest));
    assert!(
        second.copied > second.size * 9 / 10,
        "{} of {}",
        second.copied,
        second.size
    );
    // A file that is longer moves everything behind it.
    files[20].size += 1000;
    files.remove(400);
    let third = gzip(&store, &files, &[first.digest.clone(), second.digest]);
    assert!(third.copied > third.size * 8 / 10, "{} of {}", third.copied, third.size);
    let other = pack(&store, &plan(&files), Compression::Zstd, &[first.digest]);
    assert_eq!(other.copied, 0, "members of another method are of no use");
}
