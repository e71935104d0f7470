//! Reading a context: its entries, and the digests of its files with and without what is remembered of them.

use criterion::{Criterion, criterion_group, criterion_main};
use kiln_store::Store;
use kiln_worker::context::Context;

fn contexts(criterion: &mut Criterion) {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let (root, state) = (scratch.path().join("context"), scratch.path().join("state"));
    for directory in 0..20 {
        let path = root.join(format!("d{directory}/inner"));
        std::fs::create_dir_all(&path).expect("a new directory");
        for file in 0..100 {
            std::fs::write(path.join(format!("file-{file}.txt")), format!("{directory} {file}")).expect("a new file");
        }
    }
    let store = Store::open(&state).expect("a new store");
    let mut group = criterion.benchmark_group("context of 2,000 files");
    group.sample_size(10);
    group.bench_function("walk", |bench| {
        bench.iter(|| Context::scan(&root, &[], &store).expect("readable"))
    });
    let ignore = ["**/*.o".to_owned(), "d1*".to_owned(), "!d12/inner/*".to_owned()];
    group.bench_function("walk with patterns", |bench| {
        bench.iter(|| Context::scan(&root, &ignore, &store).expect("readable"));
    });
    group.bench_function("walk and digests", |bench| {
        bench.iter(|| {
            let context = Context::scan(&root, &[], &store).expect("readable");
            let paths: Vec<&[u8]> = context
                .index
                .entries
                .iter()
                .map(|entry| entry.path.as_slice())
                .collect();
            context.learn_digests(&paths).expect("readable");
        });
    });
    group.finish();
}

criterion_group!(benches, contexts);
criterion_main!(benches);
