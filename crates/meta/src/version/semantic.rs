//! Semantic versions as npm's `semver` reads them: SemVer 2.0.0, with an optional `v` before it.

use std::fmt;

/// The largest number that a version may hold: JavaScript's largest safe integer.
const LARGEST: u64 = (1 << 53) - 1;
/// Longer texts are no versions.
const LONGEST: usize = 256;

/// A semantic version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SemanticVersion {
    /// As it was written.
    pub(crate) raw: String,
    pub(crate) major: u64,
    pub(crate) minor: u64,
    pub(crate) patch: u64,
    /// The identifiers behind the hyphen.
    pub(crate) prerelease: Vec<String>,
    /// The identifiers behind the plus sign.
    pub(crate) build: Vec<String>,
}

impl SemanticVersion {
    /// Reads a version; `None` when the text is none.
    pub(crate) fn parse(text: &str) -> Option<SemanticVersion> {
        if text.len() > LONGEST {
            return None;
        }
        let trimmed = text.trim();
        let rest = trimmed.strip_prefix('v').unwrap_or(trimmed);
        let (rest, build) = match rest.split_once('+') {
            Some((rest, build)) => (rest, identifiers(build, |_| true)?),
            None => (rest, Vec::new()),
        };
        let (numbers, prerelease) = match rest.split_once('-') {
            Some((numbers, prerelease)) => (numbers, identifiers(prerelease, is_prerelease)?),
            None => (rest, Vec::new()),
        };
        let mut numbers = numbers.split('.').map(number);
        let (major, minor, patch) = (numbers.next()??, numbers.next()??, numbers.next()??);
        if numbers.next().is_some() {
            return None;
        }
        Some(SemanticVersion {
            raw: text.to_owned(),
            major,
            minor,
            patch,
            prerelease,
            build,
        })
    }
}

impl fmt::Display for SemanticVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        if !self.prerelease.is_empty() {
            write!(f, "-{}", self.prerelease.join("."))?;
        }
        Ok(())
    }
}

fn number(text: &str) -> Option<u64> {
    if !is_numeric(text) || has_leading_zero(text) {
        return None;
    }
    text.parse().ok().filter(|number| *number <= LARGEST)
}

fn identifiers(text: &str, is_valid: impl Fn(&str) -> bool) -> Option<Vec<String>> {
    let letters = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|letter| letter.is_ascii_alphanumeric() || letter == b'-')
    };
    text.split('.')
        .map(|part| (letters(part) && is_valid(part)).then(|| part.to_owned()))
        .collect()
}

fn is_prerelease(part: &str) -> bool {
    !(is_numeric(part) && has_leading_zero(part))
}

fn is_numeric(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_digit())
}

fn has_leading_zero(text: &str) -> bool {
    text.len() > 1 && text.starts_with('0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_strictly() {
        for (text, expected) in [
            ("1.2.3", Some("1.2.3")),
            ("v1.2.3", Some("1.2.3")),
            (" v1.2.3", Some("1.2.3")),
            ("=1.2.3", None),
            ("1.2.3-a.b+c.d", Some("1.2.3-a.b")),
            ("1.2.3--x", Some("1.2.3--x")),
            ("1.2.3+build", Some("1.2.3")),
            ("v9.5.7-alpha.2+fork.3.1.8", Some("9.5.7-alpha.2")),
            ("1.2", None),
            ("1.2.3.4", None),
            ("01.2.3", None),
            ("1.2.3-01", None),
            ("1.2.3-", None),
            ("1.2.3+", None),
            ("V1.2.3", None),
            ("v 1.2.3", None),
            ("99999999999999999999.0.0", None),
            ("sometag", None),
            ("", None),
        ] {
            let version = SemanticVersion::parse(text).map(|version| version.to_string());
            assert_eq!(version.as_deref(), expected, "{text}");
        }
    }
}
