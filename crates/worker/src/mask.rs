//! Hiding the values of secrets in what a step writes.

use kiln_sandbox::Secret;

/// What stands for a value.
const HIDDEN: &[u8] = b"***";

/// Shorter values would hide half of every word, and keep nobody from guessing them.
const SHORTEST: usize = 3;

/// Lines of a value of many lines are hidden one by one if they are at least so long: `{` is no secret.
const SHORTEST_LINE: usize = 8;

/// The values to hide, the longest first, so that no value hides half of another.
#[derive(Debug, Clone, Default)]
pub struct Mask {
    values: Vec<Secret>,
}

impl Mask {
    /// Hides these values, and the long lines of those that have many.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Mask {
        let mut values: Vec<Secret> = Vec::new();
        for secret in secrets {
            let whole = secret.0.trim_ascii();
            let lines = whole.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            let lines = lines.filter(|line| line.len() >= SHORTEST_LINE);
            let whole = Some(whole).filter(|whole| whole.len() >= SHORTEST);
            values.extend(whole.into_iter().chain(lines).map(|value| Secret(value.to_vec())));
        }
        values.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.0.cmp(&b.0)));
        values.dedup();
        Mask { values }
    }

    /// Whether there is nothing to hide.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The stream of one pipe.
    pub fn stream(&self) -> MaskedStream<'_> {
        MaskedStream {
            mask: self,
            held: Vec::new(),
        }
    }
}

/// What comes through one pipe in pieces. A value may be torn between two of them.
#[derive(Debug)]
pub struct MaskedStream<'a> {
    mask: &'a Mask,
    /// The end of what came, which may be the beginning of a value.
    held: Vec<u8>,
}

impl MaskedStream<'_> {
    /// Takes a piece, and gives what can be shown by now.
    pub fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        if self.mask.values.is_empty() {
            return piece.to_vec();
        }
        self.held.extend_from_slice(piece);
        self.shown(false)
    }

    /// What is left when the pipe is closed.
    pub fn finish(&mut self) -> Vec<u8> {
        self.shown(true)
    }

    fn shown(&mut self, last: bool) -> Vec<u8> {
        let held = std::mem::take(&mut self.held);
        let mut shown = Vec::with_capacity(held.len());
        let mut rest = held.as_slice();
        while !rest.is_empty() {
            let values = || self.mask.values.iter().map(|value| value.0.as_slice());
            // A longer value that may still come is waited for before a shorter one is hidden.
            if !last && values().any(|value| value.len() > rest.len() && value.starts_with(rest)) {
                self.held = rest.to_vec();
                break;
            }
            match values().find(|value| rest.starts_with(value)) {
                Some(value) => {
                    shown.extend_from_slice(HIDDEN);
                    rest = &rest[value.len()..];
                }
                None => {
                    shown.push(rest[0]);
                    rest = &rest[1..];
                }
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(secrets: &[&str], pieces: &[&str]) -> String {
        let secrets: Vec<Secret> = secrets.iter().map(|text| Secret(text.as_bytes().to_vec())).collect();
        let mask = Mask::new(&secrets);
        let mut stream = mask.stream();
        let mut shown: Vec<u8> = pieces.iter().flat_map(|piece| stream.push(piece.as_bytes())).collect();
        shown.extend(stream.finish());
        String::from_utf8(shown).expect("text stays text")
    }

    #[test]
    fn values_are_hidden_even_if_they_are_torn() {
        assert_eq!(masked(&["hunter2\n"], &["pass hunter2 ok"]), "pass *** ok");
        assert_eq!(masked(&["hunter2"], &["pass hun", "ter", "2!"]), "pass ***!");
        assert_eq!(masked(&["hunter2"], &["pass hun", "gry"]), "pass hungry");
        assert_eq!(masked(&["hunter2"], &["pass hun"]), "pass hun");
        assert_eq!(masked(&["abc", "abcdef"], &["abcdef abc abcde"]), "*** *** ***de");
        assert_eq!(masked(&["aab"], &["aaab"]), "a***");
        assert_eq!(masked(&[], &["as it is"]), "as it is");
        assert_eq!(masked(&["x"], &["x is too short to hide"]), "x is too short to hide");
    }

    #[test]
    fn long_lines_of_a_value_are_hidden_alone() {
        let key = "-----BEGIN KEY-----\nabcdefghijkl\n}\n";
        assert_eq!(masked(&[key], &["first abcdefghijkl then }"]), "first *** then }");
    }
}
