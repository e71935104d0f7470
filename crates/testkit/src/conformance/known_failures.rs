//! Cases that are known not to hold yet.
//!
//! The list lets the test command tell a step back from work that is still to do: a case that fails and is not listed
//! fails the run, and so does a listed case that holds, which must then leave the list. Listed cases count as failed in
//! every figure.

use std::collections::BTreeMap;

use super::CorpusResult;

/// The list, by corpus.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownFailures {
    cases: BTreeMap<String, BTreeMap<String, String>>,
}

impl KnownFailures {
    /// The list that belongs to this state of the code.
    pub fn of_this_tree() -> Result<Self, serde_json::Error> {
        Self::parse(include_str!("known_failures.json"))
    }

    /// Reads `{"corpus": {"case": "reason"}}`.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        Ok(Self {
            cases: serde_json::from_str(text)?,
        })
    }

    /// What differs between a result and the list, a line for each case; empty when both agree.
    pub fn differences(&self, result: &CorpusResult) -> Vec<String> {
        let empty = BTreeMap::new();
        let known = self.cases.get(&result.corpus).unwrap_or(&empty);
        let unexpected = result
            .failed
            .iter()
            .filter(|failure| !known.contains_key(&failure.case))
            .map(|failure| format!("{}: {} fails: {}", result.corpus, failure.case, failure.detail));
        let mended = known
            .keys()
            .filter(|case| !result.failed.iter().any(|failure| failure.case == **case))
            .map(|case| {
                format!(
                    "{}: {case} is listed as failing and does not fail: remove it",
                    result.corpus
                )
            });
        unexpected.chain(mended).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_back_and_stale_rows_are_both_reported() -> Result<(), serde_json::Error> {
        let known = KnownFailures::parse(r#"{"a": {"later": "needs secrets", "done": "was missing"}}"#)?;
        let mut result = CorpusResult::new("a");
        result.hold();
        result.fail("later", "no secrets");
        assert_eq!(
            known.differences(&result),
            ["a: done is listed as failing and does not fail: remove it"]
        );
        result.fail("done", "no");
        result.fail("new", "differs");
        assert_eq!(known.differences(&result), ["a: new fails: differs"]);
        Ok(())
    }

    #[test]
    fn the_list_of_this_tree_is_readable() -> Result<(), serde_json::Error> {
        KnownFailures::of_this_tree().map(drop)
    }
}
