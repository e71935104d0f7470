//! A layer that is made straight from a plan has the same bytes as one that is written through a real overlay mount and
//! then walked.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use kiln_image::pack::{CompressionSetting, write_layer};
use kiln_image::plan::{LayerPlan, plan_from_tree, write_tree};
use kiln_image::unpack::Ownership;
use kiln_oci::Compression;
use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, XattrFlags};

/// What a random tree is made of.
#[derive(Debug, Clone)]
enum Node {
    Directory,
    File(Vec<u8>),
    /// A file with nothing but holes up to its last byte.
    Sparse(u64),
    Link(Vec<u8>),
    /// A further name of the first file of the tree.
    HardLink,
    Fifo,
    Device(u32, u32),
    Socket,
}

#[derive(Debug, Clone)]
struct Made {
    node: Node,
    mode: u32,
    owner: (u32, u32),
    time: i64,
    attribute: Option<Vec<u8>>,
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => "[a-d][a-z0-9._-]{0,3}".prop_map(String::into_bytes),
        1 => Just(vec![b'n'; 255]),
        1 => Just("ünïcode 名".as_bytes().to_vec()),
        1 => Just(b"not \xff text".to_vec()),
    ]
}

fn node() -> impl Strategy<Value = Node> {
    prop_oneof![
        4 => Just(Node::Directory),
        5 => proptest::collection::vec(any::<u8>(), 0..2000).prop_map(Node::File),
        1 => (0u64..4_000_000).prop_map(Node::Sparse),
        1 => proptest::collection::vec(b'a'..=b'z', 1..300).prop_map(Node::Link),
        1 => Just(Node::HardLink),
        1 => Just(Node::Fifo),
        1 => (1u32..300, 0u32..300).prop_map(|(major, minor)| Node::Device(major, minor)),
        1 => Just(Node::Socket),
    ]
}

fn made() -> impl Strategy<Value = Made> {
    let attribute = proptest::option::weighted(0.2, proptest::collection::vec(any::<u8>(), 0..40));
    let owner = (prop_oneof![Just(0u32), Just(1000), Just(3_000_000)], 0u32..3);
    (node(), 0u32..0o10000, owner, -5i64..5_000_000_000, attribute).prop_map(|(node, mode, owner, time, attribute)| {
        Made {
            node,
            mode,
            owner,
            time,
            attribute,
        }
    })
}

fn tree() -> impl Strategy<Value = BTreeMap<Vec<u8>, Made>> {
    let path = proptest::collection::vec(name(), 1..4).prop_map(|names| names.join(&b'/'));
    proptest::collection::btree_map(path, made(), 1..25)
}

/// Makes a tree on disk. What lies below something that is no directory is left out.
fn make(root: &Path, tree: &BTreeMap<Vec<u8>, Made>) {
    let mut first_file = None;
    let mut dressed = Vec::new();
    for (path, made) in tree {
        let path = root.join(OsStr::from_bytes(path));
        let Some(above) = path.parent() else { continue };
        if std::fs::create_dir_all(above).is_err() || path.symlink_metadata().is_ok() {
            continue;
        }
        match &made.node {
            Node::Directory => std::fs::create_dir(&path).expect("a new directory"),
            Node::File(bytes) => {
                std::fs::write(&path, bytes).expect("a new file");
                first_file.get_or_insert_with(|| path.clone());
            }
            Node::Sparse(size) => {
                let file = File::create(&path).expect("a new file");
                file.write_all_at(b"x", *size).expect("room");
            }
            Node::Link(target) => std::os::unix::fs::symlink(OsStr::from_bytes(target), &path).expect("a new link"),
            Node::HardLink => match &first_file {
                Some(first) => std::fs::hard_link(first, &path).expect("one file system"),
                None => continue,
            },
            Node::Fifo => special(&path, FileType::Fifo, 0),
            Node::Device(major, minor) => {
                special(&path, FileType::CharacterDevice, rustix::fs::makedev(*major, *minor));
            }
            Node::Socket => special(&path, FileType::Socket, 0),
        }
        dressed.push((path, made));
    }
    // The deepest first: nothing can be made in a directory that was dressed, and its time must stay.
    dressed.sort_by_key(|(path, _)| std::cmp::Reverse(path.components().count()));
    for (path, made) in dressed {
        let kind = path.symlink_metadata().expect("it was made").file_type();
        std::os::unix::fs::lchown(&path, Some(made.owner.0), Some(made.owner.1)).expect("root may");
        if let (Some(value), true) = (&made.attribute, kind.is_file() || kind.is_dir()) {
            rustix::fs::lsetxattr(&path, "user.kiln.test", value, XattrFlags::empty())
                .expect("attributes are supported");
        }
        if !kind.is_symlink() {
            let mode = Mode::from_raw_mode(made.mode);
            rustix::fs::chmodat(CWD, &path, mode, rustix::fs::AtFlags::empty()).expect("root may");
        }
        let time = rustix::fs::Timespec {
            tv_sec: made.time,
            tv_nsec: 0,
        };
        let times = rustix::fs::Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(CWD, &path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).expect("root may");
    }
}

fn special(path: &Path, kind: FileType, device: u64) {
    rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), device).expect("root may");
}

fn packed(plan: &LayerPlan, compression: Compression) -> Vec<u8> {
    let setting = CompressionSetting {
        compression,
        level: None,
        threads: Some(2),
    };
    let mut out = Vec::new();
    write_layer(plan, setting, None, &mut out).expect("readable");
    out
}

/// An overlay over nothing, unmounted on drop.
struct Overlay<'a>(&'a Path);

impl Overlay<'_> {
    /// None: no overlay can be mounted here.
    fn mount(scratch: &Path) -> Option<Overlay<'_>> {
        for directory in ["lower", "upper", "work", "merged"] {
            std::fs::create_dir(scratch.join(directory)).expect("a new directory");
        }
        let at = |name: &str| scratch.join(name).display().to_string();
        let options = format!(
            "lowerdir={},upperdir={},workdir={},userxattr",
            at("lower"),
            at("upper"),
            at("work")
        );
        let mut command = Command::new("mount");
        command.args(["-t", "overlay", "test", "-o", &options, &at("merged")]);
        let done = command.output().is_ok_and(|output| output.status.success());
        done.then_some(Overlay(scratch))
    }

    fn unmount(self) {}
}

impl Drop for Overlay<'_> {
    fn drop(&mut self) {
        // The test's directory cannot be removed while it is mounted, which is noticed.
        let _ = Command::new("umount").arg(self.0.join("merged")).status();
    }
}

/// The bytes of the layer that the plan gives, and of the one that a mount and a walk give.
fn both(plan: &LayerPlan, compression: Compression) -> Option<(Vec<u8>, Vec<u8>)> {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let overlay = Overlay::mount(scratch.path())?;
    write_tree(plan, &scratch.path().join("merged"), Ownership::Keep).expect("writable");
    overlay.unmount();
    let walked = plan_from_tree(&scratch.path().join("upper")).expect("readable");
    Some((packed(plan, compression), packed(&walked, compression)))
}

/// Whether this can run here; says why not.
fn possible(test: &str) -> bool {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let possible = rustix::process::geteuid().is_root() && Overlay::mount(scratch.path()).is_some();
    if !possible {
        let reason = format!(
            "skipped: {test}: needs root and overlay mounts in {}\n",
            scratch.path().display()
        );
        // Without a standard error there is nobody to tell.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), reason.as_bytes());
    }
    possible
}

#[test]
fn a_link_whose_path_sorts_before_its_file_is_the_file() {
    if !possible("a_link_whose_path_sorts_before_its_file_is_the_file") {
        return;
    }
    let source = tempfile::tempdir().expect("a temporary directory");
    std::fs::create_dir(source.path().join("a")).expect("writable");
    std::fs::write(source.path().join("a/x"), "shared").expect("writable");
    std::fs::hard_link(source.path().join("a/x"), source.path().join("a-")).expect("one file system");
    let plan = plan_from_tree(source.path()).expect("readable");
    let (lazy, real) = both(&plan, Compression::Uncompressed).expect("overlays are possible");
    assert!(lazy == real);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_layer_made_lazily_is_the_one_that_a_mount_and_a_walk_give(tree in tree()) {
        if !possible("a_layer_made_lazily_is_the_one_that_a_mount_and_a_walk_give") {
            return Ok(());
        }
        let source = tempfile::tempdir().expect("a temporary directory");
        make(source.path(), &tree);
        let plan = plan_from_tree(source.path()).expect("readable");
        let sockets = tree.values().filter(|made| matches!(made.node, Node::Socket)).count();
        prop_assert!(plan.entries.len() + sockets >= 1);
        for compression in [Compression::Uncompressed, Compression::Gzip, Compression::Zstd] {
            if let Some((lazy, real)) = both(&plan, compression) {
                prop_assert!(lazy == real, "{compression:?} differs for {:?}", plan.entries);
            }
        }
    }
}

#[test]
fn ten_thousand_entries_in_one_directory_give_the_same_bytes() {
    if !possible("ten_thousand_entries_in_one_directory_give_the_same_bytes") {
        return;
    }
    let source = tempfile::tempdir().expect("a temporary directory");
    for number in 0..10_000 {
        std::fs::write(source.path().join(format!("entry-{number}")), format!("{number}")).expect("a new file");
    }
    let plan = plan_from_tree(source.path()).expect("readable");
    assert_eq!(plan.entries.len(), 10_000);
    let (lazy, real) = both(&plan, Compression::Gzip).expect("it was possible before");
    assert!(lazy == real);
}

#[test]
fn a_socket_is_no_part_of_a_layer() {
    let source = tempfile::tempdir().expect("a temporary directory");
    let _listener = std::os::unix::net::UnixListener::bind(source.path().join("socket")).expect("a socket");
    std::fs::write(source.path().join("file"), "x").expect("a new file");
    let plan = plan_from_tree(source.path()).expect("readable");
    let paths: Vec<&[u8]> = plan
        .entries
        .iter()
        .map(|planned| planned.entry.path.as_slice())
        .collect();
    assert_eq!(paths, [b"file"]);
}
