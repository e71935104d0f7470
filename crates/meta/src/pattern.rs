//! Regular expressions in the language of JavaScript, as the inputs have them.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use regress::{Flags, Regex};
use thiserror::Error;

/// Longer expressions are a mistake.
const LONGEST: usize = 2048;
/// Brackets nested deeper than this would take the reader's stack.
const DEEPEST: usize = 64;
/// The largest number of repetitions that may be written.
const MOST: u64 = 1000;
/// How long a match is waited for. The engine tries every way to match, and some expressions have more ways than time.
const PATIENCE: Duration = Duration::from_secs(10);

/// A regular expression that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PatternError {
    /// It is longer than anything that is meant.
    #[error("it has more than {LONGEST} bytes")]
    TooLong,
    /// Its brackets are nested too deeply.
    #[error("its brackets are nested more than {DEEPEST} deep")]
    TooDeep,
    /// It repeats something too often.
    #[error("it repeats something more than {MOST} times")]
    TooMany,
    /// A flag behind `/…/` does not exist.
    #[error("there is no flag `{0}`")]
    Flag(char),
    /// A match is neither found nor ruled out in time.
    #[error("it takes too long to find out whether it matches `{text}`")]
    TooSlow {
        /// What it was matched against.
        text: String,
    },
    /// It does not follow the grammar.
    #[error("{0}")]
    Syntax(String),
}

/// The groups of a match; `None` where one took no part in it.
pub(crate) type Groups = Vec<Option<String>>;

/// A regular expression, and how it was written.
#[derive(Clone)]
pub(crate) struct Pattern {
    text: String,
    regex: Regex,
    /// `g`: the groups are the matches one after the other.
    every: bool,
    /// `y`: the match begins where the text does.
    sticky: bool,
}

impl Pattern {
    /// Reads an expression as it stands.
    pub(crate) fn parse(text: &str) -> Result<Pattern, PatternError> {
        Pattern::with_flags(text, text, "")
    }

    /// Reads an expression that may stand between slashes, with flags behind them.
    pub(crate) fn parse_delimited(text: &str) -> Result<Pattern, PatternError> {
        let delimited = text
            .strip_prefix('/')
            .and_then(|rest| rest.rsplit_once('/'))
            .filter(|(inside, flags)| !inside.is_empty() && !text.contains('\n') && !flags.contains('\n'));
        match delimited {
            Some((inside, flags)) => Pattern::with_flags(text, inside, flags),
            None => Pattern::parse(text),
        }
    }

    fn with_flags(text: &str, expression: &str, flags: &str) -> Result<Pattern, PatternError> {
        check_size(expression)?;
        let unknown = |(index, flag): &(usize, char)| !"dgimsuvy".contains(*flag) || flags[..*index].contains(*flag);
        if let Some((_, flag)) = flags.char_indices().find(unknown) {
            return Err(PatternError::Flag(flag));
        }
        let regex = Regex::with_flags(expression, Flags::from(flags))
            .map_err(|error| PatternError::Syntax(error.to_string()))?;
        Ok(Pattern {
            text: text.to_owned(),
            regex,
            every: flags.contains('g'),
            sticky: flags.contains('y'),
        })
    }

    /// The expression as it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The groups of the first match, the whole match first; `None` when nothing matches.
    pub(crate) fn groups(&self, text: &str) -> Result<Option<Groups>, PatternError> {
        self.groups_within(text, PATIENCE)
    }

    fn groups_within(&self, text: &str, patience: Duration) -> Result<Option<Groups>, PatternError> {
        let (pattern, subject) = (self.clone(), text.to_owned());
        let (sender, receiver) = mpsc::channel();
        // The engine cannot be stopped. A thread that is left behind ends with the run, which this error ends.
        let spawned = thread::Builder::new().spawn(move || sender.send(pattern.first(&subject)));
        if spawned.is_err() {
            // Where no thread is to be had, there is no limit either.
            return Ok(self.first(text));
        }
        receiver
            .recv_timeout(patience)
            .map_err(|_| PatternError::TooSlow { text: text.to_owned() })
    }

    fn first(&self, text: &str) -> Option<Groups> {
        let cut = |range: regress::Range| text[range].to_owned();
        if self.every {
            let all: Vec<_> = self
                .regex
                .find_iter(text)
                .map(|found| Some(cut(found.range())))
                .collect();
            return Some(all).filter(|all| !all.is_empty());
        }
        let found = self.regex.find(text)?;
        if self.sticky && found.start() != 0 {
            return None;
        }
        Some(found.groups().map(|group| group.map(cut)).collect())
    }
}

impl std::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pattern").field(&self.text).finish()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

/// Refuses what the engine would need much memory or stack for.
fn check_size(expression: &str) -> Result<(), PatternError> {
    if expression.len() > LONGEST {
        return Err(PatternError::TooLong);
    }
    let (mut depth, mut deepest) = (0usize, 0usize);
    let mut repeated: u64 = 1;
    let mut letters = expression.char_indices();
    while let Some((index, letter)) = letters.next() {
        match letter {
            '\\' => {
                letters.next();
            }
            '(' | '[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            ')' | ']' => depth = depth.saturating_sub(1),
            '{' => {
                // Nested repetitions multiply, so all of them count together.
                let inside = expression[index + 1..].split('}').next().unwrap_or_default();
                let counts = inside
                    .split(',')
                    .filter(|count| !count.is_empty() && count.bytes().all(|digit| digit.is_ascii_digit()));
                let largest = counts
                    .map(|count| count.parse::<u64>().unwrap_or(u64::MAX))
                    .max()
                    .unwrap_or(1);
                repeated = repeated.saturating_mul(largest.max(1));
            }
            _ => {}
        }
    }
    if deepest > DEEPEST {
        return Err(PatternError::TooDeep);
    }
    if repeated > MOST * MOST {
        return Err(PatternError::TooMany);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(pattern: &str, text: &str) -> Option<Vec<String>> {
        let pattern = Pattern::parse_delimited(pattern).expect(pattern);
        let groups = pattern.groups(text).expect("in time")?;
        Some(groups.into_iter().map(|group| group.unwrap_or("-".into())).collect())
    }

    #[test]
    fn the_language_is_javascripts() {
        for (pattern, text, expected) in [
            ("v(.*)", "v1.2.3", Some(vec!["v1.2.3", "1.2.3"])),
            ("\\d{8}", "20200110-RC2", Some(vec!["20200110"])),
            ("^(a)|(b)", "b", Some(vec!["b", "-", "b"])),
            ("/V(.*)/i", "v1", Some(vec!["v1", "1"])),
            ("/\\d/g", "1.2", Some(vec!["1", "2"])),
            ("/\\d/y", "v1", None),
            ("(?<=v)\\d+(?=-)", "v12-rc", Some(vec!["12"])),
            ("(\\d)\\.\\1", "2.1.1", Some(vec!["1.1", "1"])),
            ("p1/v(\\d.\\d)", "p1/v1.0.0", Some(vec!["p1/v1.0", "1.0"])),
            ("//", "a//b", Some(vec!["//"])),
            ("x", "y", None),
        ] {
            let expected = expected.map(|all| all.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(groups(pattern, text), expected, "{pattern}");
        }
    }

    #[test]
    fn a_match_that_takes_for_ever_is_given_up() {
        let pattern = Pattern::parse("(a+)+$").expect("an expression");
        let text = format!("{}b", "a".repeat(60));
        let error = pattern
            .groups_within(&text, Duration::from_millis(50))
            .expect_err("too slow");
        assert!(matches!(error, PatternError::TooSlow { .. }), "{error}");
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for bad in ["(", "a{2,1}", "[", "*", "/a/x", "/a/ii"] {
            assert!(Pattern::parse_delimited(bad).is_err(), "{bad}");
        }
        let deep = "(".repeat(2000);
        assert_eq!(Pattern::parse(&deep), Err(PatternError::TooDeep));
        assert_eq!(Pattern::parse("(((a{1000}){1000}){1000})"), Err(PatternError::TooMany));
    }
}
