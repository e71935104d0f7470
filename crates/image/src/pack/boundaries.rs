//! Where members begin. Nothing but the entries themselves decides it, so that a layer that differs from an earlier one in
//! few files has the same members elsewhere: a boundary stands before some entries, chosen by their paths, and inside large
//! files at fixed distances from their own beginning.

/// Entries with fewer bytes before them do not begin a member: the compressor would see too little at once.
const SMALLEST: usize = 256 << 10;

/// One boundary is chosen for so many bytes of entries.
const SPREAD: u64 = 768 << 10;

/// Members that have so many bytes end before the next entry, whatever its path. Memory is bounded by this.
const LARGEST: usize = 2 << 20;

/// Large files are divided into pieces of so many bytes. A rest of less than half of it belongs to the last one.
const PIECE: u64 = 1 << 20;

/// Whether an entry begins a member. `before`: bytes of the member so far; `header`: bytes of the entry's header; `size`:
/// bytes of its content.
pub(super) fn begins_member(path: &[u8], before: usize, header: usize, size: u64) -> bool {
    let first = header.saturating_add(usize::try_from(piece(size)).unwrap_or(usize::MAX));
    if before == 0 {
        return false;
    }
    if before.saturating_add(first) > LARGEST {
        return true;
    }
    // The more bytes an entry has, the likelier it is chosen, so that members of small files are as long as others.
    before >= SMALLEST && spread(path) % SPREAD < (header as u64).saturating_add(size)
}

/// How many of the `left` bytes of a file, that come at its beginning or after a whole number of pieces, stay in one member.
pub(super) fn piece(left: u64) -> u64 {
    if left < PIECE + PIECE / 2 { left } else { PIECE }
}

/// A number that looks random and is the same everywhere: FNV-1a, its bits mixed once more.
fn spread(path: &[u8]) -> u64 {
    let hash = path.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ (mixed >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paths that members of files of this size begin with, and the bytes of each member.
    fn members(paths: &[String], size: u64) -> Vec<(&str, usize)> {
        let mut members: Vec<(&str, usize)> = Vec::new();
        for path in paths {
            let before = members.last().map_or(0, |(_, bytes)| *bytes);
            if members.is_empty() || begins_member(path.as_bytes(), before, 512, size) {
                members.push((path, 0));
            }
            if let Some((_, bytes)) = members.last_mut() {
                *bytes += 512 + usize::try_from(size.next_multiple_of(512)).expect("small");
            }
        }
        members
    }

    fn paths(count: usize) -> Vec<String> {
        (0..count)
            .map(|at| format!("src/d{:02}/file-{at:06}.rs", at / 100))
            .collect()
    }

    #[test]
    fn members_are_neither_small_nor_large_whatever_the_size_of_files() {
        for (size, count) in [(0, 100_000), (700, 60_000), (10_000, 10_000), (300_000, 400)] {
            let paths = paths(count);
            let members = members(&paths, size);
            let (_, whole) = members.split_last().expect("at least one");
            assert!(
                whole.iter().all(|(_, bytes)| (SMALLEST..=LARGEST).contains(bytes)),
                "{size}"
            );
            let total: usize = whole.iter().map(|(_, bytes)| bytes).sum();
            let average = total / whole.len();
            assert!((600 << 10..1400 << 10).contains(&average), "{size}: {average}");
        }
    }

    #[test]
    fn boundaries_come_together_again_after_a_file_more() {
        let before = paths(10_000);
        let old = members(&before, 10_000);
        for at in (0..10_000).step_by(500) {
            let mut after = before.clone();
            after.insert(at, format!("{}~new", before[at]));
            let new = members(&after, 10_000);
            let kept = new.iter().filter(|member| old.contains(member)).count();
            assert!(kept + 6 >= new.len(), "after {at}: {kept} of {}", new.len());
        }
    }

    #[test]
    fn pieces_are_even_but_for_the_last_one() {
        let pieces = |size: u64| {
            let (mut left, mut all) = (size, Vec::new());
            while left > 0 {
                all.push(piece(left));
                left -= piece(left);
            }
            all
        };
        assert_eq!(pieces(3 * PIECE), [PIECE; 3]);
        assert_eq!(pieces(2 * PIECE + 7), [PIECE, PIECE + 7]);
        assert_eq!(pieces(2 * PIECE + PIECE / 2), [PIECE, PIECE, PIECE / 2]);
    }
}
