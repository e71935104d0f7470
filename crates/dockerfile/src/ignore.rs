//! Ignore files: moby's pattern rules, which are neither gitignore's nor the shell's.

use regex::Regex;

use crate::path_pattern;

/// Why a list of patterns cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// An exclamation mark alone.
    #[error("illegal exclusion pattern: \"!\"")]
    EmptyException,
    /// Not well-formed.
    #[error("error checking context: pattern `{pattern}`: syntax error in pattern")]
    Syntax {
        /// The pattern.
        pattern: String,
    },
}

/// The patterns of an ignore file: a line each, without comments, cleaned as the peers clean them.
pub fn read_ignore_file(text: &str) -> Vec<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut patterns = Vec::new();
    for line in text.lines() {
        if line.starts_with('#') {
            continue;
        }
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let (invert, pattern) = match line.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, line),
        };
        let mut cleaned = String::new();
        if !pattern.is_empty() {
            cleaned = path_pattern::clean(pattern);
            if cleaned.len() > 1 && cleaned.starts_with('/') {
                cleaned.remove(0);
            }
        }
        patterns.push(if invert { format!("!{cleaned}") } else { cleaned });
    }
    patterns
}

/// A list of patterns, the later ones deciding.
#[derive(Debug, Clone, Default)]
pub struct PatternMatcher {
    patterns: Vec<Pattern>,
}

/// How a pattern is matched: the cheap ways where they are equal to the expression.
#[derive(Debug, Clone)]
pub enum Matching {
    /// Equal to the text.
    Exact,
    /// Begins with the text before the final `**`.
    Prefix,
    /// Ends with the text after the leading `**`.
    Suffix,
    /// Matches a regular expression.
    Expression(Regex),
}

/// One pattern.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// Without the exclamation mark, cleaned.
    pub text: String,
    /// Whether what matches is part of the context after all.
    pub exception: bool,
    /// How it is matched.
    pub matching: Matching,
}

impl PatternMatcher {
    /// Compiles patterns. Empty ones are left out.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<PatternMatcher, PatternError> {
        let mut compiled = Vec::new();
        for pattern in patterns {
            let pattern = pattern.as_ref().trim();
            if pattern.is_empty() {
                continue;
            }
            let mut text = path_pattern::clean(pattern);
            let exception = text.starts_with('!');
            if exception {
                if text.len() == 1 {
                    return Err(PatternError::EmptyException);
                }
                text.remove(0);
            }
            let syntax = || PatternError::Syntax {
                pattern: pattern.to_owned(),
            };
            path_pattern::matches(&text, ".").map_err(|_| syntax())?;
            let matching = compile(&text).map_err(|_| syntax())?;
            compiled.push(Pattern {
                text,
                exception,
                matching,
            });
        }
        Ok(PatternMatcher { patterns: compiled })
    }

    /// The patterns, in order.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// Whether any pattern takes back what others ignore.
    pub fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.exception)
    }

    /// Whether a path, or a directory that it is in, is ignored.
    pub fn matches_or_parent_matches(&self, path: &str) -> bool {
        self.ignoring_pattern(path).is_some()
    }

    /// The pattern that decides that a path is ignored, as it was given without its exclamation mark.
    pub fn ignoring_pattern(&self, path: &str) -> Option<&str> {
        let mut deciding = None;
        for pattern in &self.patterns {
            // A pattern that could change nothing is not tried.
            if pattern.exception == deciding.is_some()
                && (pattern.matches(path) || parents(path).any(|parent| pattern.matches(parent)))
            {
                deciding = Some(pattern.text.as_str()).filter(|_| !pattern.exception);
            }
        }
        deciding
    }

    /// Whether something below an ignored directory may be taken back, so that it must be looked through. Exact as far
    /// as the directory's own components go: `!src/*.rs` opens `src` and no other directory.
    pub fn may_have_exceptions_below(&self, directory: &str) -> bool {
        self.patterns
            .iter()
            .filter(|pattern| pattern.exception)
            .any(|pattern| pattern.may_match_below(directory))
    }
}

/// The directories that a path is in, the outermost first.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/')
        .map(|(at, _)| &path[..at])
        .filter(|parent| !parent.is_empty())
}

impl Pattern {
    /// Whether the pattern can match something below a directory, or the directory or one above it.
    fn may_match_below(&self, directory: &str) -> bool {
        let mut wanted = self.text.split('/');
        for component in directory.split('/') {
            let Some(pattern) = wanted.next() else {
                // The pattern ended: it matched a directory above, and so everything in that one.
                return true;
            };
            // These may stand for slashes too, so nothing can be said from here on.
            if pattern.contains("**") || pattern.contains(['[', ']', '\\']) {
                return true;
            }
            let same = if pattern.contains(['*', '?']) {
                path_pattern::matches(pattern, component).unwrap_or(true)
            } else {
                pattern == component
            };
            if !same {
                return false;
            }
        }
        true
    }

    /// Whether the pattern matches the path itself.
    pub fn matches(&self, path: &str) -> bool {
        match &self.matching {
            Matching::Exact => path == self.text,
            Matching::Prefix => path.starts_with(&self.text[..self.text.len() - 2]),
            Matching::Suffix => {
                let suffix = &self.text[2..];
                path.ends_with(suffix) || suffix.strip_prefix('/') == Some(path)
            }
            Matching::Expression(expression) => expression.is_match(path),
        }
    }
}

/// The regular expression of a pattern, or the cheap way that is equal to it.
fn compile(pattern: &str) -> Result<Matching, regex::Error> {
    let mut expression = String::from("^");
    #[derive(PartialEq)]
    enum Kind {
        Exact,
        Prefix,
        Suffix,
        Expression,
    }
    let mut kind = Kind::Exact;
    let mut letters = pattern.chars().peekable();
    let mut first = true;
    while let Some(letter) = letters.next() {
        match letter {
            '*' if letters.peek() == Some(&'*') => {
                letters.next();
                // Any number of directories, none included: a slash after it belongs to it.
                if letters.peek() == Some(&'/') {
                    letters.next();
                }
                if letters.peek().is_none() {
                    if kind == Kind::Exact {
                        kind = Kind::Prefix;
                    } else {
                        expression.push_str(".*");
                        kind = Kind::Expression;
                    }
                } else {
                    expression.push_str("(.*/)?");
                    kind = Kind::Expression;
                }
                if first {
                    kind = Kind::Suffix;
                }
            }
            '*' => {
                expression.push_str("[^/]*");
                kind = Kind::Expression;
            }
            '?' => {
                expression.push_str("[^/]");
                kind = Kind::Expression;
            }
            '.' | '+' | '(' | ')' | '|' | '{' | '}' | '$' => {
                expression.push('\\');
                expression.push(letter);
            }
            '\\' => {
                match letters.next() {
                    Some(escaped) => expression.push_str(&regex::escape(&escaped.to_string())),
                    None => expression.push_str("\\\\"),
                }
                kind = Kind::Expression;
            }
            '[' | ']' => {
                expression.push(letter);
                kind = Kind::Expression;
            }
            other => expression.push(other),
        }
        first = false;
    }
    Ok(match kind {
        Kind::Exact => Matching::Exact,
        Kind::Prefix => Matching::Prefix,
        Kind::Suffix => Matching::Suffix,
        Kind::Expression => {
            expression.push('$');
            Matching::Expression(Regex::new(&expression)?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignored(patterns: &[&str], path: &str) -> bool {
        PatternMatcher::new(patterns)
            .expect("well-formed")
            .matches_or_parent_matches(path)
    }

    #[test]
    fn later_patterns_decide() {
        assert!(ignored(&["*.md"], "README.md"));
        assert!(!ignored(&["*.md"], "docs/README.md"));
        assert!(ignored(&["**/*.md"], "docs/README.md"));
        assert!(ignored(&["docs"], "docs/a/b"));
        assert!(!ignored(&["docs", "!docs/keep"], "docs/keep"));
        assert!(ignored(&["docs", "!docs/keep", "docs/keep/not"], "docs/keep/not"));
        assert!(!ignored(&["*", "!src/**"], "src/a/b"));
    }

    #[test]
    fn directories_are_pruned_only_if_nothing_below_is_taken_back() {
        let matcher = PatternMatcher::new(&["node_modules", "dist", "!dist/keep/**"]).expect("well-formed");
        assert!(!matcher.may_have_exceptions_below("node_modules"));
        assert!(matcher.may_have_exceptions_below("dist"));
        assert!(matcher.may_have_exceptions_below("dist/keep/deeper"));
        assert!(
            PatternMatcher::new(&["*", "!**/x"])
                .expect("well-formed")
                .may_have_exceptions_below("any")
        );
    }

    #[test]
    fn a_wildcard_opens_only_the_directories_that_it_can_match_in() {
        let below = |pattern: &str, directory: &str| {
            PatternMatcher::new(&["*", pattern])
                .expect("well-formed")
                .may_have_exceptions_below(directory)
        };
        assert!(below("!src/*.rs", "src"));
        assert!(!below("!src/*.rs", "node_modules"));
        assert!(!below("!src/*.rs", "src/x.py"));
        assert!(
            below("!src/*.rs", "src/x.rs"),
            "what is in a directory that is taken back is taken back"
        );
        assert!(below("!s?c/*/keep", "sec/any"));
        assert!(!below("!s?c/*/keep", "sec/any/drop"));
        assert!(below("!a/**/keep", "a/b/c"));
        assert!(below("![^x]y", "any"), "a class may stand for a slash");
    }

    proptest::proptest! {
        /// A directory that is pruned holds nothing that the patterns take back.
        #[test]
        fn pruning_never_loses_a_file(
            patterns in proptest::collection::vec("!?[ab*?]{1,3}(/[ab*?]{1,3}){0,2}", 1..5),
            directory in "[ab]{1,2}(/[ab]{1,2}){0,1}",
            rest in "[ab]{1,2}(/[ab]{1,2}){0,1}",
        ) {
            let Ok(matcher) = PatternMatcher::new(&patterns) else { return Ok(()) };
            let path = format!("{directory}/{rest}");
            let pruned = matcher.matches_or_parent_matches(&directory) && !matcher.may_have_exceptions_below(&directory);
            proptest::prop_assert!(!pruned || matcher.matches_or_parent_matches(&path), "{patterns:?} {path}");
        }
    }

    #[test]
    fn ignore_files_are_cleaned() {
        let text = "\u{feff}# comment\n\n /foo/ \n!  ./bar\nbaz/../qux\n#not#\n";
        assert_eq!(read_ignore_file(text), ["foo", "!bar", "qux"]);
    }

    #[test]
    fn bad_patterns_are_errors() {
        assert_eq!(
            PatternMatcher::new(&["!"]).expect_err("bad"),
            PatternError::EmptyException
        );
        assert!(matches!(
            PatternMatcher::new(&["[a"]).expect_err("bad"),
            PatternError::Syntax { .. }
        ));
    }
}
