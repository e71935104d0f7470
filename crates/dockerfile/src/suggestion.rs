//! The nearest known word to a misspelt one.

/// The candidate with the smallest edit distance, if it is close enough to be meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const FARTHEST: usize = 2;
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| (1..=FARTHEST).contains(distance))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// What was probably meant by a variable's name: the first of the nearest candidates, letters in their case. A
/// name that is among the candidates needs no suggestion.
pub(crate) fn suggested<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const FARTHEST: usize = 2;
    let mut best = None;
    let mut smallest = FARTHEST + 1;
    for candidate in candidates {
        let distance = distance(name, candidate);
        if distance == 0 {
            return None;
        }
        if distance < smallest {
            (best, smallest) = (Some(candidate), distance);
        }
    }
    best
}

/// Levenshtein's distance.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (above, letter) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (column, other) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested() {
        let instructions = ["FROM", "RUN", "COPY"];
        assert_eq!(nearest("FORM", instructions), Some("FROM"));
        assert_eq!(nearest("copi", instructions), Some("COPY"));
        assert_eq!(nearest("EXPLODE", instructions), None);
        assert_eq!(nearest("bulid", ["build", "base"]), Some("build"));
        assert_eq!(suggested("PAHT", ["HOME", "PATH"]), Some("PATH"));
        assert_eq!(suggested("PATH", ["PATHS", "PATH"]), None);
    }
}
