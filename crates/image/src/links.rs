//! Which of several names of a file is the file, and which are links to it.
//!
//! A layer holds its entries by path, and a link must come after what it links to. A walk finds names in another order: what
//! is in `a` before `a-`, whose path is the lesser one.

use std::collections::HashMap;

use kiln_store::index::{Entry, EntryKind};

/// Makes the first name of each file, in the order of the items, the file itself. `entry` gives an item's entry, and
/// `exchange` moves whatever else belongs to the file from its second argument to its first.
pub fn settle<T>(items: &mut [T], entry: impl Fn(&mut T) -> &mut Entry, mut exchange: impl FnMut(&mut T, &mut T)) {
    let mut links = Vec::new();
    for (position, item) in items.iter_mut().enumerate() {
        if let EntryKind::Hardlink { target } = &entry(item).kind {
            links.push((position, target.clone()));
        }
    }
    if links.is_empty() {
        return;
    }
    let mut files: HashMap<Vec<u8>, usize> = HashMap::new();
    for (position, item) in items.iter_mut().enumerate() {
        let entry = entry(item);
        if let EntryKind::File { .. } = entry.kind {
            files.insert(entry.path.clone(), position);
        }
    }
    // Where a file went: links to its old name follow it.
    let mut moved: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    for (position, target) in links {
        if let Some(first) = moved.get(&target) {
            entry(&mut items[position]).kind = EntryKind::Hardlink { target: first.clone() };
            continue;
        }
        let Some(&file) = files.get(&target).filter(|file| **file > position) else {
            continue;
        };
        let (before, after) = items.split_at_mut(file);
        let (link, file) = (&mut before[position], &mut after[0]);
        let path = entry(link).path.clone();
        let kind = std::mem::replace(&mut entry(file).kind, EntryKind::Hardlink { target: path.clone() });
        entry(link).kind = kind;
        exchange(link, file);
        moved.insert(target, path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_store::index::Mtime;

    fn named(path: &str, link: Option<&str>) -> Entry {
        Entry {
            path: path.into(),
            kind: match link {
                Some(target) => EntryKind::Hardlink { target: target.into() },
                None => EntryKind::File { size: 1, digest: None },
            },
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Mtime::default(),
            xattrs: Vec::new(),
        }
    }

    #[test]
    fn the_first_name_is_the_file() {
        // In the order of paths; a walk found `a/x` first.
        let mut entries = [
            named("a-", Some("a/x")),
            named("a/x", None),
            named("a/y", Some("a/x")),
            named("b", None),
            named("c", Some("b")),
        ];
        settle(&mut entries, |entry| entry, |_, _| {});
        let expected = [
            named("a-", None),
            named("a/x", Some("a-")),
            named("a/y", Some("a-")),
            named("b", None),
            named("c", Some("b")),
        ];
        assert_eq!(entries, expected);
    }
}
