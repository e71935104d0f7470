//! What goes, what stays, and what happens meanwhile.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use kiln_oci::{Descriptor, DiffId, Digest, MediaType};

use super::*;
use crate::index::LayerIndex;
use crate::testing::temporary_store;
use crate::{CacheKey, CacheMountUse, CacheRecord, LayerId};

fn key(name: &str) -> CacheKey {
    CacheKey(Digest::sha256(name))
}

fn record(name: &str, layers: &[&LayerId]) -> CacheRecord {
    CacheRecord {
        key: key(name),
        layers: layers.iter().map(|layer| (*layer).clone()).collect(),
        slot: "slot".into(),
        parts: Vec::new(),
        created_unix: 1,
        duration_ms: 1,
        platform: None,
        name: name.into(),
    }
}

/// A layer with a tree, an index and a blob of `size` bytes.
fn layer(store: &Store, name: &str, size: usize) -> LayerId {
    let id: LayerId = format!("built-{name}").parse().expect("a layer id");
    let tree = store.stage_tree().expect("stage");
    std::fs::write(tree.path().join("file"), vec![7; size]).expect("write");
    store.put_layer_index(&id, &LayerIndex::default()).expect("put");
    tree.commit(&id).expect("commit");
    let content = vec![name.len() as u8; size + name.len()];
    let content = [name.as_bytes(), &content].concat();
    let blob = store.put_blob(&content).expect("put");
    let descriptor = Descriptor::new(MediaType::OCI_LAYER_GZIP, blob, content.len() as u64);
    let diff_id = DiffId(Digest::sha256(name));
    store.add_layer_blob(&id, &diff_id, descriptor).expect("add");
    id
}

/// Lets everything seem to have been used `seconds` ago.
fn age(store: &Store, name: &str, seconds: i64) {
    let then = unix_now() - seconds;
    store
        .database()
        .expect("open")
        .write("age", |connection| {
            connection.execute("UPDATE records SET used_unix = ?1 WHERE name = ?2", params![then, name])?;
            let layer = format!("built-{name}");
            connection.execute(
                "UPDATE layers SET used_unix = ?1, created_unix = ?1 WHERE id = ?2",
                params![then, layer],
            )
        })
        .expect("write");
}

fn all() -> CollectOptions {
    CollectOptions::default()
}

fn names(store: &Store) -> Vec<String> {
    let looker = store.unheld();
    let mut names: Vec<String> = looker
        .records()
        .expect("list")
        .into_iter()
        .filter_map(|(key, _)| looker.record(&key).expect("read"))
        .map(|record| record.name)
        .collect();
    names.sort();
    names
}

fn sound(store: &Store) {
    let report = store.verify().expect("verify");
    assert!(report.is_sound(), "{:?}", report.problems);
}

/// A store with things in it that nobody holds any more.
fn filled(steps: &[&str]) -> (tempfile::TempDir, Store) {
    let (directory, store) = temporary_store();
    for name in steps {
        let id = layer(&store, name, 10_000);
        store.put_record(&record(name, &[&id]), &[]).expect("put");
    }
    drop(store);
    let store = Store::open(directory.path()).expect("open");
    (directory, store)
}

#[test]
fn what_nothing_holds_goes_and_what_a_handle_found_stays() {
    let (_directory, store) = filled(&["used", "unused"]);
    assert!(store.record(&key("used")).expect("read").is_some());
    let collected = store.collect(&all()).expect("collect");
    assert_eq!(names(&store), ["used"]);
    let freed: Vec<ItemKind> = collected.removed.iter().map(|item| item.kind).collect();
    assert_eq!(
        freed,
        [ItemKind::Record, ItemKind::Tree, ItemKind::Index, ItemKind::Blob]
    );
    assert!(
        collected.bytes > 20_000 && collected.after < collected.before,
        "{collected:?}"
    );
    assert!(
        store.was_evicted(&key("unused")).expect("read"),
        "the miss can be explained"
    );
    let layer: LayerId = "built-used".parse().expect("a layer id");
    assert!(store.unheld().tree(&layer).expect("look").is_some());
    assert_eq!(store.blobs().expect("list").len(), 1);
    sound(&store);
}

#[test]
fn the_least_recently_used_goes_first_until_there_is_room() {
    let (_directory, store) = filled(&["a", "b", "c", "d"]);
    for (name, seconds) in [("a", 100), ("b", 4000), ("c", 300), ("d", 3000)] {
        age(&store, name, seconds);
    }
    let total = store.usage().expect("count").total().bytes;
    let one = store.usage().expect("count").of(ItemKind::Tree).bytes / 4;
    let limits = Limits {
        max_used: Some(total - one),
        ..Limits::default()
    };
    let collected = store.collect(&CollectOptions { limits, ..all() }).expect("collect");
    assert_eq!(names(&store), ["a", "c", "d"]);
    assert!(collected.after <= total - one, "{collected:?}");
    let again = store.collect(&CollectOptions { limits, ..all() }).expect("collect");
    assert!(again.removed.is_empty(), "{again:?}");
    let until = CollectOptions {
        keep_duration: Duration::from_secs(1000),
        ..all()
    };
    store.collect(&until).expect("collect");
    assert_eq!(names(&store), ["a", "c"]);
    sound(&store);
}

#[test]
fn parents_live_as_long_as_what_stands_on_them() {
    let (directory, store) = temporary_store();
    let (base, top) = (layer(&store, "base", 5000), layer(&store, "top", 5000));
    store.put_record(&record("base", &[&base]), &[]).expect("put");
    store.put_record(&record("top", &[&base, &top]), &[]).expect("put");
    let other = layer(&store, "other", 5000);
    store.put_record(&record("other", &[&other]), &[]).expect("put");
    drop(store);
    let store = Store::open(directory.path()).expect("open");
    for (name, seconds) in [("base", 9000), ("other", 5000), ("top", 1000)] {
        age(&store, name, seconds);
    }
    let until = |seconds| CollectOptions {
        keep_duration: Duration::from_secs(seconds),
        ..all()
    };
    store.collect(&until(4000)).expect("collect");
    assert_eq!(names(&store), ["base", "top"], "the base is as young as the top");
    assert!(store.unheld().tree(&base).expect("look").is_some());
    store.collect(&until(0)).expect("collect");
    assert_eq!(names(&store), Vec::<String>::new());
    assert!(store.blobs().expect("list").is_empty());
}

#[test]
fn names_of_images_keep_what_they_name() {
    let (directory, store) = temporary_store();
    let blob = store.put_blob(b"a layer").expect("put");
    let manifest = format!("{{\"layers\":[{{\"digest\":\"{blob}\"}}]}}");
    let manifest = store.put_blob(manifest.as_bytes()).expect("put");
    let body = format!("{{\"digest\":\"{manifest}\"}}");
    store.put_document("image", "app:1", body.as_bytes()).expect("put");
    let stray = store.put_blob(b"stray").expect("put");
    let (kept, named) = (
        store.put_blob(b"kept").expect("put"),
        store.put_blob(b"named").expect("put"),
    );
    store
        .put_document("of a later version", "x", kept.to_string().as_bytes())
        .expect("put");
    store
        .put_document("registry-blob", &format!("app@{named}"), b"")
        .expect("put");
    drop(store);
    let store = Store::open(directory.path()).expect("open").unheld();
    store.collect(&all()).expect("collect");
    assert!(!store.blob_exists(&stray).expect("look"));
    for digest in [&blob, &manifest, &kept, &named] {
        assert!(store.blob_exists(digest).expect("look"), "{digest}");
    }
    // A pushed image can be fetched again.
    store
        .put_document("pushed", "app:1", manifest.to_string().as_bytes())
        .expect("put");
    store.collect(&all()).expect("collect");
    assert_eq!(store.get_document("image", "app:1").expect("read"), None);
    assert_eq!(store.get_document("pushed", "app:1").expect("read"), None);
    assert!(!store.blob_exists(&blob).expect("look"));
    assert!(store.blob_exists(&kept).expect("look") && store.blob_exists(&named).expect("look"));
}

#[test]
fn only_everything_takes_names_that_are_the_only_ones() {
    let (directory, store) = temporary_store();
    let manifest = store.put_blob(b"{}").expect("put");
    store
        .put_document("image", "app:1", manifest.to_string().as_bytes())
        .expect("put");
    drop(store);
    let store = Store::open(directory.path()).expect("open").unheld();
    store.collect(&all()).expect("collect");
    assert!(store.blob_exists(&manifest).expect("look"));
    let everything = CollectOptions { all: true, ..all() };
    let rehearsed = store
        .collect(&CollectOptions {
            dry_run: true,
            ..everything.clone()
        })
        .expect("rehearse");
    assert_eq!(rehearsed.removed.len(), 2, "{rehearsed:?}");
    assert!(store.blob_exists(&manifest).expect("look"), "only rehearsed");
    store.collect(&everything).expect("collect");
    assert!(!store.blob_exists(&manifest).expect("look"));
}

#[test]
fn a_manifest_that_is_held_holds_what_it_names() {
    let (directory, store) = temporary_store();
    let config = store.put_blob(b"config").expect("put");
    let manifest = format!("{{\"config\":{{\"digest\":\"{config}\"}}}}");
    let manifest = store.put_blob(manifest.as_bytes()).expect("put");
    drop(store);
    let reader = Store::open(directory.path()).expect("open");
    assert!(reader.blob_exists(&manifest).expect("look"));
    reader.collect(&all()).expect("collect");
    assert!(reader.unheld().blob_exists(&config).expect("look"));
}

#[test]
fn filters_choose() {
    let (_directory, store) = filled(&["one", "two"]);
    let mount = store.try_cache_mount::<StoreError>("/root/.cache", CacheMountUse::Shared, |path| {
        std::fs::write(path.join("file"), "x").expect("writable");
        Ok(())
    });
    drop(mount.expect("made"));
    let filter = |filter| CollectOptions { filter, ..all() };
    let classes = |word: &str| CollectFilter {
        classes: vec![word.parse().expect("a class")],
        ..CollectFilter::default()
    };
    store.collect(&filter(classes("frontend"))).expect("collect");
    assert_eq!(names(&store), ["one", "two"]);
    let by_id = CollectFilter {
        ids: vec![key("one").digest().hex()[..12].to_owned()],
        ..CollectFilter::default()
    };
    store.collect(&filter(by_id)).expect("collect");
    assert_eq!(names(&store), ["two"]);
    assert_eq!(store.blobs().expect("list").len(), 1, "with all that only it needs");
    let mounts = |store: &Store| store.usage().expect("count").of(ItemKind::CacheMount).count;
    assert_eq!(mounts(&store), 1);
    store.collect(&filter(classes("exec.cachemount"))).expect("collect");
    assert_eq!((mounts(&store), names(&store)), (0, vec!["two".to_owned()]));
    let by_name = CollectFilter {
        description: Some("tw".into()),
        ..CollectFilter::default()
    };
    store.collect(&filter(by_name)).expect("collect");
    assert_eq!(names(&store), Vec::<String>::new());
    assert!("nonsense".parse::<Classes>().is_err());
}

#[test]
fn a_cache_mount_in_use_stays() {
    let (_directory, store) = temporary_store();
    let used = store.try_cache_mount::<StoreError>("id", CacheMountUse::Shared, |_| Ok(()));
    let used = used.expect("made").expect("free");
    let count = |store: &Store| store.usage().expect("count").of(ItemKind::CacheMount);
    assert_eq!((count(&store).count, count(&store).reclaimable), (1, 0));
    store.collect(&all()).expect("collect");
    assert!(used.path().is_dir());
    drop(used);
    store.collect(&all()).expect("collect");
    assert_eq!(count(&store).count, 0);
    let again = store.try_cache_mount::<StoreError>("id", CacheMountUse::Shared, |_| Ok(()));
    assert!(again.expect("made").expect("free").path().is_dir());
}

#[test]
fn repositories_go_unless_somebody_works_in_them() {
    let (_directory, store) = temporary_store();
    for name in ["used", "unused"] {
        std::fs::write(store.git_repository(name).expect("made").join("HEAD"), "x").expect("write");
    }
    let hosts = store.git_repository("known hosts").expect("made").join("known_hosts");
    std::fs::write(&hosts, "h").expect("write");
    let lock = store.lock_key(&key("used")).expect("lock");
    assert_eq!(store.usage().expect("count").of(ItemKind::Repository).count, 2);
    store.collect(&all()).expect("collect");
    assert_eq!(store.usage().expect("count").of(ItemKind::Repository).count, 1);
    assert!(store.layout().repository("used").join("HEAD").exists() && hosts.exists());
    drop(lock);
    store.collect(&all()).expect("collect");
    assert_eq!(store.usage().expect("count").of(ItemKind::Repository).count, 0);
}

#[test]
fn lock_files_of_dead_processes_go() {
    let (_directory, store) = temporary_store();
    std::fs::write(store.layout().key(&key("dead")), "").expect("write");
    let lock = store.lock_key(&key("alive")).expect("lock");
    store.collect(&all()).expect("collect");
    assert!(!store.layout().key(&key("dead")).exists());
    assert!(store.layout().key(&key("alive")).exists());
    drop(lock);
}

#[test]
fn what_was_used_in_the_future_ages_from_now_on() {
    let (_directory, store) = filled(&["future"]);
    age(&store, "future", -1_000_000_000);
    assert!(store.record(&key("future")).expect("read").is_some(), "it can be used");
    let store = store.scoped();
    store
        .collect(&CollectOptions {
            keep_duration: Duration::from_secs(60),
            ..all()
        })
        .expect("collect");
    let used = store.records().expect("list")[0].1;
    assert!((0..60).contains(&(unix_now() - used)), "{used}");
}

#[test]
fn limits_are_the_peers() {
    let limits = |reserved, max_used, min_free| Limits {
        reserved,
        max_used,
        min_free,
    };
    assert_eq!(limits(None, None, None).keep_bytes(100, 50), 0, "everything goes");
    assert_eq!(limits(None, Some(70), None).keep_bytes(100, 50), 70);
    assert_eq!(limits(Some(30), None, None).keep_bytes(100, 50), 30);
    assert_eq!(
        limits(None, None, Some(60)).keep_bytes(100, 50),
        90,
        "ten more must be free"
    );
    assert_eq!(limits(None, None, Some(40)).keep_bytes(100, 50), u64::MAX, "enough is");
    assert_eq!(limits(Some(95), Some(99), Some(60)).keep_bytes(100, 50), 95);
    assert_eq!(limits(Some(10), Some(70), Some(60)).keep_bytes(100, 50), 70);
}

#[test]
fn evicted_steps_explain_themselves_until_everything_goes() {
    let (_directory, store) = filled(&["one"]);
    store.collect(&all()).expect("collect");
    assert_eq!(store.nearest_records("slot", 5).expect("list").len(), 1);
    store.collect(&CollectOptions { all: true, ..all() }).expect("collect");
    assert_eq!(store.nearest_records("slot", 5).expect("list").len(), 0);
    assert!(!store.was_evicted(&key("one")).expect("read"));
}

#[test]
fn usage_adds_up() {
    let (_directory, store) = filled(&["one", "two"]);
    let kept = store.record(&key("one")).expect("read");
    assert!(kept.is_some());
    let usage = store.usage().expect("count");
    let (total, tree) = (usage.total(), usage.of(ItemKind::Tree));
    assert_eq!(tree.count, 2);
    assert_eq!(tree.reclaimable * 2, tree.bytes, "one of them is held");
    assert!(total.bytes >= tree.bytes && usage.disk > usage.free);
    assert!(usage.of(ItemKind::Session).count > 0, "this process has one");
    let collected = store.collect(&all()).expect("collect");
    assert_eq!(collected.bytes, total.reclaimable);
}

/// Builders find, make and use layers while a collector takes everything that it can: nothing that a builder was told
/// is there may go before its handle closes.
#[test]
fn collecting_beside_builders_harms_none() {
    const STEPS: usize = 6;
    let (directory, store) = temporary_store();
    let (over, hits, rounds) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                store.collect(&all()).expect("collect");
                rounds.fetch_add(1, Ordering::SeqCst);
            }
        });
        let builders: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    for round in 0..12 {
                        let store = Store::open(directory.path()).expect("open");
                        let mut found = Vec::new();
                        for step in 0..STEPS {
                            let name = format!("{step}");
                            let _lock = store.lock_key(&key(&name)).expect("lock");
                            let record = match store.record(&key(&name)).expect("read") {
                                Some(record) => {
                                    hits.fetch_add(1, Ordering::SeqCst);
                                    record
                                }
                                None => {
                                    let id = layer(&store, &name, 100);
                                    let made = record(&name, &[&id]);
                                    store.put_record(&made, &[]).expect("put");
                                    made
                                }
                            };
                            found.extend(record.layers);
                        }
                        for id in found {
                            let known = store.layer(&id).expect("read").expect("a layer that was found");
                            let tree = store.tree(&id).expect("look").expect("its tree");
                            assert!(tree.join("file").exists(), "round {round}");
                            let digest = &known.blobs[0].descriptor.digest;
                            assert!(store.read_blob(digest, 1 << 20).expect("read").is_some());
                        }
                    }
                })
            })
            .collect();
        for builder in builders {
            builder.join().expect("a builder that nobody harmed");
        }
        over.store(true, Ordering::SeqCst);
    });
    assert!(rounds.into_inner() > 3 && hits.into_inner() > 0, "both were at work");
    sound(&store);
}

/// Many small steps, so that a collector has long to decide: what is found while it does must be there afterwards.
#[test]
fn what_is_found_while_a_collector_decides_stays() {
    const STEPS: usize = 120;
    /// Both must meet; on a busy machine one of them may have the processor for a whole round.
    const ROUNDS_AT_MOST: usize = 30;
    let (directory, store) = temporary_store();
    let make = |store: &Store, step: usize| {
        let id: LayerId = format!("built-{step}").parse().expect("a layer id");
        store.stage_tree().expect("stage").commit(&id).expect("commit");
        store.put_layer(&crate::LayerRecord::new(id.clone())).expect("put");
        let made = record(&step.to_string(), &[&id]);
        store.put_record(&made, &[]).expect("put");
    };
    let hits = AtomicUsize::new(0);
    for round in 0..ROUNDS_AT_MOST {
        if round >= 3 && hits.load(Ordering::SeqCst) > 10 {
            break;
        }
        let filler = Store::open(directory.path()).expect("open");
        (0..STEPS).for_each(|step| make(&filler, step));
        drop(filler);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                store.collect(&all()).expect("collect");
                over.store(true, Ordering::SeqCst);
            });
            let mut found = Vec::new();
            for step in (0..STEPS).cycle() {
                let handle = Store::open(directory.path()).expect("open");
                if let Some(record) = handle.record(&key(&step.to_string())).expect("read") {
                    found.push((handle, record.layers[0].clone()));
                    hits.fetch_add(1, Ordering::SeqCst);
                }
                if over.load(Ordering::SeqCst) {
                    break;
                }
            }
            for (handle, id) in &found {
                assert!(handle.unheld().tree(id).expect("look").is_some(), "{id} was found");
                assert!(handle.layer_is_usable(id).expect("look"), "{id} was found");
            }
        });
    }
    assert!(hits.into_inner() > 10, "something was found meanwhile");
}

#[test]
fn a_policy_collects_in_the_background_when_it_is_due() {
    let (_directory, store) = filled(&["one", "two"]);
    age(&store, "one", 500);
    let half = store.usage().expect("count").total().bytes - 5000;
    let policy = CollectPolicy {
        max_used: vec![Size::Bytes(half)],
        min_free: Vec::new(),
        reserved: Vec::new(),
        check_every: Duration::from_secs(3600),
        ..CollectPolicy::default()
    };
    let wait = |collection: Option<BackgroundCollection>| {
        let mut collection = collection.expect("due");
        let thread = collection.thread.take().expect("started");
        thread.join().expect("the collector ends");
    };
    wait(store.collect_in_background(&policy));
    assert_eq!(names(&store), ["two"]);
    assert!(store.collect_in_background(&policy).is_none(), "just done");
    std::fs::write(store.layout().collected(), "99999999999 1 1\n").expect("write");
    wait(store.collect_in_background(&policy));
    let off = CollectPolicy {
        enabled: false,
        check_every: Duration::ZERO,
        ..policy
    };
    assert!(store.collect_in_background(&off).is_none());
}
