//! `# kiln: …` on the lines directly above an instruction: what its author promises.

/// What a promise is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Promise {
    /// The layer is the same for every platform: it is made once, on the build platform.
    Noarch,
}

impl Promise {
    fn parse(word: &str) -> Option<Promise> {
        (word == "noarch").then_some(Promise::Noarch)
    }
}

/// What stands behind `kiln:` in a comment, if that is what it is.
fn words_of(comment: &str) -> Option<impl Iterator<Item = &str>> {
    let words = comment.strip_prefix("kiln:")?;
    Some(words.split([' ', '\t', ',']).filter(|word| !word.is_empty()))
}

/// Whether a comment is one of these, and so no description of what stands below.
pub(crate) fn is_directive(comment: &str) -> bool {
    words_of(comment).is_some()
}

/// What the comments above an instruction promise.
pub(crate) fn promises(comments: &[String]) -> impl Iterator<Item = Promise> + '_ {
    let words = comments.iter().filter_map(|comment| words_of(comment)).flatten();
    words.filter_map(Promise::parse)
}

/// Words in such comments that mean nothing.
pub(crate) fn unknown_words(comments: &[String]) -> impl Iterator<Item = &str> {
    let words = comments.iter().filter_map(|comment| words_of(comment)).flatten();
    words.filter(|word| Promise::parse(word).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_are_told_from_prose_and_from_what_means_nothing() {
        let comments = ["kiln fires the pots", "kiln: noarch, nocache", "kiln:noarch"].map(str::to_owned);
        assert_eq!(promises(&comments).count(), 2);
        assert_eq!(unknown_words(&comments).collect::<Vec<_>>(), ["nocache"]);
        assert!(!is_directive(&comments[0]) && is_directive(&comments[2]));
    }
}
