//! The order of labels: that of JavaScript's `localeCompare`, which is the root collation of Unicode.

use std::cmp::Ordering;

/// Printable ASCII in the order of the root collation, without letters.
const BEFORE_LETTERS: &str = " _-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$0123456789";

/// Compares two names. ASCII is ordered as Unicode's root collation has it; everything else follows by its code point.
pub(crate) fn compare(one: &str, other: &str) -> Ordering {
    let first = one.chars().map(primary).cmp(other.chars().map(primary));
    // Names that are equal but for case: the small letter comes first.
    first.then_with(|| {
        let case = |text: &str| {
            text.chars()
                .map(|letter| letter.is_ascii_uppercase())
                .collect::<Vec<_>>()
        };
        case(one).cmp(&case(other))
    })
}

fn primary(letter: char) -> u32 {
    let letter = letter.to_ascii_lowercase();
    match BEFORE_LETTERS.find(letter) {
        Some(place) => 32 + u32::try_from(place).unwrap_or_default(),
        None if letter.is_ascii_control() => u32::from(letter),
        None => 128 + u32::from(letter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ordered_as_the_peer_does() {
        let mut names = [
            "ab", "a-b", "a.b", "a_b", "aB", "Ab", "AB", "a", "A", "b", "a/b", "a1", "org.b", "org-b", "orgb",
        ];
        names.sort_by(|one, other| compare(one, other));
        let expected = "a A a_b a-b a.b a/b a1 ab aB Ab AB b org-b org.b orgb";
        assert_eq!(names.join(" "), expected);
    }
}
