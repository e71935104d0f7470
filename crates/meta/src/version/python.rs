//! Python's versions: PEP 440, as Renovate's `pep440` reads and normalises them.

use std::fmt;
use std::sync::LazyLock;

use regress::Regex;

/// The pattern of PEP 440, appendix B, without white space around it.
static PATTERN: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = concat!(
        r"^v?(?:(?<epoch>[0-9]+)!)?(?<release>[0-9]+(?:\.[0-9]+)*)",
        r"(?:[-_.]?(?<pre>a|b|c|rc|alpha|beta|pre|preview)[-_.]?(?<prenumber>[0-9]+)?)?",
        r"(?<post>-(?<bare>[0-9]+)|[-_.]?(?:post|rev|r)[-_.]?(?<postnumber>[0-9]+)?)?",
        r"(?<dev>[-_.]?dev[-_.]?(?<devnumber>[0-9]+)?)?",
        r"(?:\+(?<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?$",
    );
    Regex::with_flags(pattern, "i").expect("the pattern is a constant that a test reads")
});

/// Longer texts are no versions.
const LONGEST: usize = 256;

/// A version of a Python package. Numbers are kept as digits without leading zeros: they may be of any size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PythonVersion {
    /// As it was written.
    pub(crate) raw: String,
    epoch: String,
    pub(crate) release: Vec<String>,
    /// `a`, `b` or `rc`, and its number.
    pre: Option<(&'static str, String)>,
    post: Option<String>,
    dev: Option<String>,
    local: Vec<String>,
}

impl PythonVersion {
    /// Reads a version; `None` when the text is none.
    pub(crate) fn parse(text: &str) -> Option<PythonVersion> {
        if text.len() > LONGEST {
            return None;
        }
        let found = PATTERN.find(text)?;
        let group = |name: &str| found.named_group(name).map(|range| &text[range]);
        // A part without a number has the number 0.
        let numbered = |name: &str| digits(group(name).unwrap_or("0"));
        let pre = group("pre").map(|letter| {
            let letter = match letter.to_ascii_lowercase().as_str() {
                "a" | "alpha" => "a",
                "b" | "beta" => "b",
                _ => "rc",
            };
            (letter, numbered("prenumber"))
        });
        let local = group("local").map(|local| local.split(['.', '-', '_']).map(local_part).collect());
        Some(PythonVersion {
            raw: text.to_owned(),
            epoch: numbered("epoch"),
            release: group("release")?.split('.').map(digits).collect(),
            pre,
            post: group("post").map(|_| group("bare").map_or_else(|| numbered("postnumber"), digits)),
            dev: group("dev").map(|_| numbered("devnumber")),
            local: local.unwrap_or_default(),
        })
    }

    /// Whether it is the release itself: neither before it, nor behind it, nor on the way to it.
    pub(crate) fn is_final(&self) -> bool {
        self.pre.is_none() && self.post.is_none() && self.dev.is_none()
    }
}

/// The normal form.
impl fmt::Display for PythonVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.epoch != "0" {
            write!(f, "{}!", self.epoch)?;
        }
        f.write_str(&self.release.join("."))?;
        if let Some((letter, number)) = &self.pre {
            write!(f, "{letter}{number}")?;
        }
        if let Some(number) = &self.post {
            write!(f, ".post{number}")?;
        }
        if let Some(number) = &self.dev {
            write!(f, ".dev{number}")?;
        }
        if !self.local.is_empty() {
            // PEP 440 has dots here. Renovate's library writes commas, which become hyphens in a tag, and tags shall be equal.
            write!(f, "+{}", self.local.join(","))?;
        }
        Ok(())
    }
}

/// Digits without leading zeros.
fn digits(text: &str) -> String {
    match text.trim_start_matches('0') {
        "" => "0".to_owned(),
        digits => digits.to_owned(),
    }
}

fn local_part(part: &str) -> String {
    if part.bytes().all(|letter| letter.is_ascii_digit()) {
        digits(part)
    } else {
        part.to_ascii_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_a_normal_form() {
        for (text, normal, is_final) in [
            ("1.2.3", "1.2.3", true),
            ("v1.1.1", "1.1.1", true),
            ("1.1beta2", "1.1b2", false),
            ("1.0dev4", "1.0.dev4", false),
            ("1.2post1", "1.2.post1", false),
            ("1.2.3rc2", "1.2.3rc2", false),
            ("1.0-1", "1.0.post1", false),
            ("v1.0.0-RC.1", "1.0.0rc1", false),
            ("1.0a", "1.0a0", false),
            ("1.0c1", "1.0rc1", false),
            ("1.0-preview_3", "1.0rc3", false),
            ("1.0.post", "1.0.post0", false),
            ("1!2.0", "1!2.0", true),
            ("2020.01.10", "2020.1.10", true),
            ("1.0+Ubuntu-01", "1.0+ubuntu,1", true),
            ("1.0a1.post2.dev3", "1.0a1.post2.dev3", false),
        ] {
            let version = PythonVersion::parse(text).expect(text);
            assert_eq!(version.to_string(), normal, "{text}");
            assert_eq!(version.is_final(), is_final, "{text}");
        }
        for bad in ["", "x", "1.", "1.0 ", "1.0+", "sometag", "1..2", "1.0-x"] {
            assert_eq!(PythonVersion::parse(bad), None, "{bad}");
        }
    }
}
