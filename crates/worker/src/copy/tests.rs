//! Plans of copies, from a source and onto a root that exist as entries alone.

use super::*;
use crate::archive::{ArchiveError, Archives, Unpacked};
use crate::source_tree::{Place, open_directory};
use kiln_store::index::LayerIndex;
use std::path::Path;
use std::sync::Arc;

/// Every archive has what is given here.
#[derive(Debug, Default)]
struct FakeArchives {
    entries: Option<Vec<Entry>>,
}

impl Archives for FakeArchives {
    fn unpack(&self, _content: &Content) -> Result<Option<Unpacked>, ArchiveError> {
        let planned = |entry: &Entry| PlannedEntry {
            entry: entry.clone(),
            content: Content::None,
        };
        Ok(self.entries.as_ref().map(|entries| Unpacked {
            entries: entries.iter().map(planned).collect(),
        }))
    }
}

fn directory(path: &str, mode: u32) -> Entry {
    entry(path, EntryKind::Directory { opaque: false }, mode)
}

fn file(path: &str) -> Entry {
    let digest = None;
    entry(path, EntryKind::File { size: 1, digest }, 0o644)
}

fn link(path: &str, target: &str) -> Entry {
    let target = target.as_bytes().to_vec();
    entry(path, EntryKind::Symlink { target }, 0o777)
}

fn entry(path: &str, kind: EntryKind, mode: u32) -> Entry {
    Entry {
        path: path.as_bytes().to_vec(),
        kind,
        mode,
        uid: 7,
        gid: 8,
        mtime: Mtime { seconds: 99, nanos: 0 },
        xattrs: Vec::new(),
    }
}

fn view(entries: &[Entry]) -> RootView {
    RootView::new(vec![Arc::new(LayerIndex::new(entries.to_vec()))])
}

/// A copy in the words of a Dockerfile.
#[derive(Default)]
struct Copy<'a> {
    source: &'a str,
    destination: &'a str,
    exclude: &'a [&'a str],
    parents: bool,
    chown: Option<&'a str>,
    chmod: Option<&'a str>,
    /// From another root, whose owners count, not from the context.
    from_root: bool,
    archive: Option<Vec<Entry>>,
}

impl Copy<'_> {
    /// The plan as `path kind mode uid:gid`, a line for each entry.
    fn plan(&self, source: &[Entry], base: &[Entry]) -> Result<Vec<String>, CopyError> {
        let anywhere = open_directory(Path::new("/")).expect("the root is there");
        let place = if self.from_root {
            Place::Layers(vec![("diff-a".parse().expect("an identity"), Some(anywhere))])
        } else {
            Place::Context(anywhere)
        };
        let tree = SourceTree {
            view: view(source),
            place,
        };
        let action = CopyAction {
            source: self.source.to_owned(),
            destination: self.destination.to_owned(),
            owner: self.chown.map(|text| kiln_graph::Owner {
                text: text.to_owned(),
                lenient: false,
            }),
            chmod: self.chmod.map(str::to_owned),
            wildcard: true,
            unpack: self.archive.is_some(),
            parents: self.parents,
            exclude: self.exclude.iter().map(|pattern| (*pattern).to_owned()).collect(),
            ..CopyAction::contents(1, "")
        };
        let archives = FakeArchives {
            entries: self.archive.clone(),
        };
        let inputs = CopyInputs {
            sources: HashMap::from([(1, tree)]),
            passwd: Some(b"app:x:10:20::/:/bin/sh\n"),
            group: Some(b"staff:x:30:\n"),
            archives: &archives,
        };
        let base = view(base);
        let op = FileOp {
            actions: vec![FileAction::Copy(action)],
            epoch: None,
        };
        let plan = plan_layer(&op, &inputs, Destination::new(&base, Mtime::default()))?;
        Ok(plan.entries.iter().map(|planned| shown_entry(&planned.entry)).collect())
    }

    fn lines(&self, source: &[Entry], base: &[Entry]) -> Vec<String> {
        self.plan(source, base).expect("can be copied")
    }
}

fn shown_entry(entry: &Entry) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let kind = match &entry.kind {
        EntryKind::Directory { .. } => "dir".to_owned(),
        EntryKind::File { .. } => "file".to_owned(),
        EntryKind::Symlink { target } => format!("-> {}", text(target)),
        EntryKind::Hardlink { target } => format!("= {}", text(target)),
        other => format!("{other:?}"),
    };
    format!(
        "{} {kind} {:o} {}:{}",
        text(&entry.path),
        entry.mode,
        entry.uid,
        entry.gid
    )
}

#[test]
fn a_file_goes_into_a_directory_or_takes_the_name() {
    let source = [file("a")];
    let into = Copy {
        source: "a",
        destination: "/d/",
        ..Copy::default()
    };
    assert_eq!(into.lines(&source, &[]), ["d dir 755 0:0", "d/a file 644 0:0"]);
    let named = Copy {
        source: "a",
        destination: "/d/b",
        ..Copy::default()
    };
    assert_eq!(named.lines(&source, &[]), ["d dir 755 0:0", "d/b file 644 0:0"]);
    // What is below stays as it is, and the layer carries it.
    assert_eq!(
        named.lines(&source, &[directory("d", 0o700)]),
        ["d dir 700 7:8", "d/b file 644 0:0"]
    );
    let existing = Copy {
        source: "a",
        destination: "/d",
        ..Copy::default()
    };
    assert_eq!(
        existing.lines(&source, &[directory("d", 0o700)]),
        ["d dir 700 7:8", "d/a file 644 0:0"]
    );
}

#[test]
fn destinations_follow_links_inside_the_root() {
    let source = [file("a")];
    let base = [
        directory("real", 0o750),
        link("l", "/../../real"),
        link("f", "real/target"),
    ];
    let through = Copy {
        source: "a",
        destination: "/l/",
        ..Copy::default()
    };
    assert_eq!(
        through.lines(&source, &base),
        ["real dir 750 7:8", "real/a file 644 0:0"]
    );
    let to_target = Copy {
        source: "a",
        destination: "/f",
        ..Copy::default()
    };
    assert_eq!(
        to_target.lines(&source, &base),
        ["real dir 750 7:8", "real/target file 644 0:0"]
    );
}

#[test]
fn a_directory_gives_its_contents_and_their_attributes() {
    let source = [
        directory("s", 0o700),
        directory("s/d", 0o711),
        file("s/d/a"),
        link("s/l", "d/a"),
    ];
    let copy = Copy {
        source: "s",
        destination: "/t",
        ..Copy::default()
    };
    assert_eq!(
        copy.lines(&source, &[]),
        [
            "t dir 755 0:0",
            "t/d dir 711 0:0",
            "t/d/a file 644 0:0",
            "t/l -> d/a 777 0:0"
        ]
    );
    // A directory that is there takes the attributes of the copied one; the destination itself does not.
    assert_eq!(
        copy.lines(&source, &[directory("t", 0o750), directory("t/d", 0o750)])[..2],
        ["t dir 750 7:8", "t/d dir 711 0:0"]
    );
    let kept = Copy {
        from_root: true,
        ..copy
    };
    assert_eq!(
        kept.lines(&source, &[])[1..3],
        ["t/d dir 711 7:8", "t/d/a file 644 7:8"]
    );
}

#[test]
fn what_is_in_the_way_is_an_error() {
    let source = [file("a"), directory("s", 0o755), file("s/x"), directory("s/y", 0o755)];
    let error = |source_path: &str, destination: &str, base: &[Entry]| {
        let copy = Copy {
            source: source_path,
            destination,
            ..Copy::default()
        };
        copy.plan(&source, base).expect_err("in the way").to_string()
    };
    assert_eq!(
        error("s", "/t", &[directory("t", 0o755), directory("t/x", 0o755)]),
        "cannot replace to directory /t/x with file"
    );
    assert_eq!(error("s", "/f", &[file("f")]), "cannot copy to non-directory: /f");
    assert_eq!(
        error("s", "/t", &[directory("t", 0o755), file("t/y")]),
        "cannot copy to non-directory: /t/y"
    );
    assert!(error("none", "/", &[]).contains("\"/none\": not found"));
}

#[test]
fn owners_and_modes_are_set_on_everything_but_links() {
    let source = [
        directory("s", 0o700),
        directory("s/d", 0o700),
        file("s/d/a"),
        link("s/l", "d"),
    ];
    let copy = Copy {
        source: "s",
        destination: "/t",
        chown: Some("app:staff"),
        chmod: Some("u=rwX,go=rX"),
        ..Copy::default()
    };
    assert_eq!(
        copy.lines(&source, &[]),
        [
            "t dir 755 10:30",
            "t/d dir 755 10:30",
            "t/d/a file 644 10:30",
            "t/l -> d 777 10:30"
        ]
    );
    let unknown = Copy {
        chown: Some("nobody"),
        ..copy
    };
    assert!(matches!(unknown.plan(&source, &[]), Err(CopyError::Owner(_))));
}

#[test]
fn excluded_directories_come_back_for_what_is_meant_after_all() {
    let source = [
        directory("s", 0o755),
        directory("s/d", 0o711),
        file("s/d/a.txt"),
        file("s/d/b.md"),
        file("s/c.txt"),
    ];
    let copy = |exclude: &'static [&'static str]| Copy {
        source: "s",
        destination: "/",
        exclude,
        ..Copy::default()
    };
    assert_eq!(
        copy(&["**/*.txt"]).lines(&source, &[]),
        ["d dir 711 0:0", "d/b.md file 644 0:0"]
    );
    assert_eq!(copy(&["d"]).lines(&source, &[]), ["c.txt file 644 0:0"]);
    assert_eq!(
        copy(&["d", "!d/b.md"]).lines(&source, &[]),
        ["c.txt file 644 0:0", "d dir 711 0:0", "d/b.md file 644 0:0"]
    );
}

#[test]
fn parents_are_kept_from_the_pivot_on() {
    let source = [
        directory("a", 0o700),
        directory("a/b", 0o711),
        file("a/b/x"),
        directory("a/c", 0o755),
        directory("a/c/d", 0o755),
        file("a/c/d/x"),
        file("a/y"),
    ];
    let copy = |source: &'static str| Copy {
        source,
        destination: "/out/",
        parents: true,
        ..Copy::default()
    };
    assert_eq!(
        copy("a/b/x").lines(&source, &[]),
        [
            "out dir 755 0:0",
            "out/a dir 700 0:0",
            "out/a/b dir 711 0:0",
            "out/a/b/x file 644 0:0"
        ]
    );
    assert_eq!(
        copy("a/./b").lines(&source, &[]),
        ["out dir 755 0:0", "out/b dir 711 0:0", "out/b/x file 644 0:0"]
    );
    assert_eq!(
        copy("a/./**/d/x").lines(&source, &[]),
        [
            "out dir 755 0:0",
            "out/c dir 755 0:0",
            "out/c/d dir 755 0:0",
            "out/c/d/x file 644 0:0"
        ]
    );
    assert_eq!(
        copy("*/./b*").lines(&source, &[]),
        ["out dir 755 0:0", "out/b dir 711 0:0", "out/b/x file 644 0:0"]
    );
    // A pattern that matches nothing leaves the destination; a plain path must be there.
    assert_eq!(copy("a/./z*").lines(&source, &[]), ["out dir 755 0:0"]);
    assert!(copy("a/./z").plan(&source, &[]).is_err());
    // Directories that are there keep their attributes.
    let base = [directory("out", 0o755), directory("out/b", 0o750)];
    assert_eq!(copy("a/./b").lines(&source, &base)[1], "out/b dir 750 7:8");
}

#[test]
fn names_of_one_file_stay_names_of_one_file() {
    let hard = |path: &str, target: &str| {
        let target = target.as_bytes().to_vec();
        entry(path, EntryKind::Hardlink { target }, 0o644)
    };
    let source = [
        directory("s", 0o755),
        directory("s/a", 0o755),
        file("s/a/x"),
        hard("s/a.b", "s/a/x"),
        hard("s/z", "s/a/x"),
        file("s/other"),
    ];
    let copy = Copy {
        source: "s",
        destination: "/",
        from_root: true,
        ..Copy::default()
    };
    // The first name in the order of a layer has the bytes: a link leads to what was there before it.
    assert_eq!(
        copy.lines(&source, &[]),
        [
            "a dir 755 7:8",
            "a.b file 644 7:8",
            "a/x = a.b 644 7:8",
            "other file 644 7:8",
            "z = a.b 644 7:8"
        ]
    );
    let one = Copy {
        source: "s/z",
        destination: "/z",
        from_root: true,
        ..Copy::default()
    };
    assert_eq!(one.lines(&source, &[]), ["z file 644 7:8"]);
}

#[test]
fn archives_are_merged_with_what_is_there() {
    let source = [file("t.tar")];
    let add = |archive: Vec<Entry>| Copy {
        source: "t.tar",
        destination: "/",
        archive: Some(archive),
        ..Copy::default()
    };
    // What the archive only implies stays as it is below, and is root's where nothing is.
    let implied = add(vec![file("etc/new/conf")]);
    assert_eq!(
        implied.lines(&source, &[directory("etc", 0o700)]),
        ["etc dir 700 7:8", "etc/new dir 755 0:0", "etc/new/conf file 644 7:8"]
    );
    // Links of directories are followed; whatever else is in the way goes.
    let base = [
        directory("usr", 0o755),
        directory("usr/lib", 0o755),
        link("lib", "usr/lib"),
        directory("x", 0o755),
    ];
    let merged = add(vec![directory("lib", 0o711), file("lib/so"), file("x")]);
    assert_eq!(
        merged.lines(&source, &base),
        [
            "usr dir 755 7:8",
            "usr/lib dir 711 7:8",
            "usr/lib/so file 644 7:8",
            "x file 644 7:8"
        ]
    );
}
