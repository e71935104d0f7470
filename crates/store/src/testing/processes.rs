//! One store and many processes: at work together, and killed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Stdio};

use kiln_oci::Digest;

use super::{temporary_store, test_process, told};
use crate::{CacheKey, CacheRecord, KeyPart, LayerId, LayerRecord, Store};

fn key(text: &str) -> CacheKey {
    CacheKey(Digest::sha256(text))
}

fn record(name: &str, layer: &LayerId) -> CacheRecord {
    CacheRecord {
        key: key(name),
        layers: vec![layer.clone()],
        slot: "slot".into(),
        parts: vec![KeyPart {
            name: "instruction".into(),
            value: name.into(),
        }],
        created_unix: 1,
        duration_ms: 1,
        platform: None,
        name: name.into(),
    }
}

fn sessions(root: &Path) -> usize {
    std::fs::read_dir(root.join("sessions")).expect("list").count()
}

/// Starts a process that runs one test of this file, and waits until it says that it is ready.
fn start_until_ready(test: &str, root: &Path) -> Child {
    let mut child = test_process(test, root)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let output = BufReader::new(child.stdout.take().expect("its output is piped"));
    // The test harness may have written the test's name on the same line.
    let ready = output.lines().map_while(Result::ok).any(|line| line.ends_with("ready"));
    assert!(ready, "the process ended too early");
    child
}

#[test]
fn a_killed_process_leaves_nothing() {
    let (directory, store) = temporary_store();
    let mut child = start_until_ready("testing::processes::holds_everything_and_waits", directory.path());

    // While it lives, it is left alone.
    drop(Store::open(directory.path()).expect("open"));
    assert_eq!(sessions(directory.path()), 2, "its session and the session's lock");
    assert!(store.held().expect("held").blobs.contains(&Digest::sha256("held")));
    assert!(store.try_lock_key(&key("step")).expect("try").is_none());

    child.kill().expect("kill");
    child.wait().expect("wait");
    assert!(store.held().expect("held").blobs.is_empty());
    assert!(store.try_lock_key(&key("step")).expect("try").is_some());
    drop(Store::open(directory.path()).expect("open"));
    assert_eq!(sessions(directory.path()), 0);
    assert!(store.blobs().expect("list").is_empty());
    assert!(
        store
            .tree(&"built-0".parse().expect("a layer id"))
            .expect("look")
            .is_none()
    );
    let report = store.verify().expect("verify");
    assert!(report.is_sound(), "{:?}", report.problems);
}

/// The process that is killed above. Alone it has nothing to do.
#[test]
fn holds_everything_and_waits() {
    let Some(root) = told() else { return };
    let store = Store::open(&root).expect("open");
    let mut blob = store.new_blob().expect("new");
    blob.write_all(&vec![1; 1 << 20]).expect("write");
    let tree = store.stage_tree().expect("stage");
    std::fs::write(tree.path().join("file"), "x").expect("write");
    let scratch = store.scratch_dir().expect("scratch");
    let lease = store.lease().expect("lease");
    lease.hold_blob(&Digest::sha256("held")).expect("hold");
    let lock = store.lock_key(&key("step")).expect("lock");
    let mut output = std::io::stdout();
    output
        .write_all(b"ready\n")
        .and_then(|()| output.flush())
        .expect("write");
    std::thread::sleep(std::time::Duration::from_secs(60));
    drop((blob, tree, scratch, lease, lock));
}

#[test]
fn a_writer_killed_again_and_again_leaves_a_sound_store() {
    let (directory, store) = temporary_store();
    for round in 0..5u64 {
        let mut child = start_until_ready("testing::processes::works_until_it_is_killed", directory.path());
        std::thread::sleep(std::time::Duration::from_millis(20 + 30 * round));
        child.kill().expect("kill");
        child.wait().expect("wait");
        let reopened = Store::open(directory.path()).expect("open");
        for (key, _) in reopened.records().expect("list") {
            assert!(
                reopened.record(&key).expect("read").is_some(),
                "a record without its layer"
            );
        }
        let report = reopened.verify().expect("verify");
        assert!(report.is_sound(), "{:?}", report.problems);
    }
    assert!(
        !store.records().expect("list").is_empty(),
        "the killed processes had got something done"
    );
    assert_eq!(sessions(directory.path()), 0);
}

/// The process that is killed above. Alone it has nothing to do.
#[test]
fn works_until_it_is_killed() {
    let Some(root) = told() else { return };
    let store = Store::open(&root).expect("open");
    for number in 0u64.. {
        let name = format!("{} {number}", std::process::id());
        let tree = store.stage_tree().expect("stage");
        std::fs::write(tree.path().join("file"), &name).expect("write");
        let layer = LayerId::random();
        tree.commit(&layer).expect("commit");
        store.put_layer(&LayerRecord::new(layer.clone())).expect("put");
        store.put_blob(name.as_bytes()).expect("put");
        store.put_record(&record(&name, &layer), &[]).expect("put");
        if number == 0 {
            let mut output = std::io::stdout();
            output
                .write_all(b"ready\n")
                .and_then(|()| output.flush())
                .expect("write");
        }
    }
}

#[test]
fn processes_share_a_store() {
    const PROCESSES: usize = 4;
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let root = scratch.path().join("state");
    let children: Vec<_> = (0..PROCESSES)
        .map(|_| {
            test_process("testing::processes::runs_each_step_once", &root)
                .stdout(Stdio::piped())
                .spawn()
                .expect("the program starts")
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().expect("wait");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let store = Store::open(&root).expect("open");
    assert_eq!(store.records().expect("list").len(), STEPS);
    let runs = store.list_documents("run", "").expect("list");
    assert_eq!(runs.len(), STEPS, "each step ran in one process alone: {runs:?}");
    assert_eq!(store.blobs().expect("list").len(), STEPS);
    let report = store.verify().expect("verify");
    assert!(report.is_sound(), "{:?}", report.problems);
    drop(store);
    assert_eq!(sessions(&root), 0);
}

const STEPS: usize = 40;

/// What each of the processes above does: a build of the same steps. Alone it has nothing to do.
#[test]
fn runs_each_step_once() {
    let Some(root) = told() else { return };
    let store = Store::open(&root).expect("open");
    for step in 0..STEPS {
        let name = format!("step {step}");
        let _lock = store.lock_key(&key(&name)).expect("lock");
        if store.record(&key(&name)).expect("read").is_some() {
            continue;
        }
        store
            .put_document("run", &format!("{name} in {}", std::process::id()), b"")
            .expect("put");
        let digest = store.put_blob(name.as_bytes()).expect("put");
        assert!(store.blob_exists(&digest).expect("look"));
        let tree = store.stage_tree().expect("stage");
        let layer = LayerId::random();
        tree.commit(&layer).expect("commit");
        store.put_layer(&LayerRecord::new(layer.clone())).expect("put");
        store.put_record(&record(&name, &layer), &[]).expect("put");
    }
}
