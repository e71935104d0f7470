//! Finding paths in a sorted row when they are mostly asked for in its order.

use std::cmp::Ordering::{Equal, Greater, Less};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Remembers where in a sorted row the last path was found: who asks for the paths of a directory asks for its neighbours
/// next, and those cost a comparison instead of a search. Any order is answered, and any number of threads at once.
#[derive(Debug, Default)]
pub struct Cursor {
    next: AtomicUsize,
}

impl Cursor {
    /// The position of `path` in a row that is sorted by what `path_of` gives.
    pub fn find<'a, T>(&self, row: &'a [T], path: &[u8], path_of: impl Fn(&'a T) -> &'a [u8]) -> Option<usize> {
        let next = self.next.load(Ordering::Relaxed);
        let at = |position: usize| row.get(position).map_or(Greater, |item| path_of(item).cmp(path));
        let found = match at(next) {
            Equal => Ok(next),
            // It stands between the last one that was found and the next.
            Greater if next == 0 || (next <= row.len() && at(next - 1) == Less) => return None,
            _ => row.binary_search_by(|item| path_of(item).cmp(path)),
        };
        self.next.store(
            found.map_or_else(|place| place, |position| position + 1),
            Ordering::Relaxed,
        );
        found.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn finds_what_a_search_finds(row: std::collections::BTreeSet<[u8; 1]>, asked: Vec<[u8; 1]>) {
            let row: Vec<[u8; 1]> = row.into_iter().collect();
            let cursor = Cursor::default();
            for path in asked.iter().chain(&row) {
                let found = cursor.find(&row, path, |path| path.as_slice());
                prop_assert_eq!(found, row.binary_search(path).ok());
            }
        }
    }

    #[test]
    fn a_row_may_be_empty_or_shrink() {
        let cursor = Cursor::default();
        assert_eq!(cursor.find(&[b"a", b"b"], b"b", |path| path.as_slice()), Some(1));
        assert_eq!(cursor.find(&[b"a"], b"a", |path| path.as_slice()), Some(0));
        assert_eq!(cursor.find(&[] as &[&[u8]], b"a", |path| path), None);
    }
}
