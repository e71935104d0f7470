//! `kiln-audit.toml`: findings that are known and accepted, each with a reason and perhaps an end.
//!
//! ```toml
//! [[allow]]
//! code = "A01"
//! path = "/opt/tools/**"
//! platform = "linux/arm64"
//! reason = "run under the vendor's own emulator"
//! expires = "2027-01-31"
//! ```

use jiff::civil::Date;
use kiln_oci::Platform;
use regex::Regex;
use serde::Deserialize;

use crate::finding::{Code, Finding};
use crate::report::{Allowed, Report};

/// Why an allow list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AllowError {
    /// The file is no TOML of this form.
    #[error("the allow list cannot be read")]
    Syntax(#[source] toml::de::Error),
    /// A row names a code that there is not.
    #[error("`{0}` is no code of the audit")]
    Code(String),
    /// A row names a platform that there is not.
    #[error("`{0}` is no platform")]
    Platform(String),
    /// A row's end is no date.
    #[error("`{0}` is no date of the form 2027-01-31")]
    Date(String),
    /// A row gives no reason.
    #[error("the row for `{0}` gives no reason")]
    NoReason(String),
    /// A row would allow everything.
    #[error("a row names neither `path` nor `code`")]
    Everything,
    /// A row's pattern is too large.
    #[error("the pattern `{0}` is too large")]
    Pattern(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    allow: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    code: Option<String>,
    path: Option<String>,
    platform: Option<String>,
    reason: String,
    expires: Option<String>,
}

/// A list of what is allowed.
#[derive(Debug, Clone, Default)]
pub struct AllowList {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    code: Option<Code>,
    path: Option<Regex>,
    platform: Option<Platform>,
    reason: String,
    expires: Option<Date>,
    /// The row in short, for remarks.
    shown: String,
}

impl AllowList {
    /// Reads the text of `kiln-audit.toml`.
    pub fn parse(text: &str) -> Result<AllowList, AllowError> {
        let file: File = toml::from_str(text).map_err(AllowError::Syntax)?;
        let rules = file.allow.into_iter().map(rule).collect::<Result<_, _>>()?;
        Ok(AllowList { rules })
    }

    pub(crate) fn apply(&self, report: &mut Report, today: Date) {
        if self.rules.is_empty() {
            return;
        }
        let mut used = vec![false; self.rules.len()];
        for platform in &mut report.platforms {
            let findings = std::mem::take(&mut platform.findings);
            for finding in findings {
                let position = self.rules.iter().position(|rule| rule.covers(&finding));
                match position.map(|number| (number, &self.rules[number])) {
                    Some((number, rule)) if rule.expires.is_none_or(|end| today <= end) => {
                        used[number] = true;
                        report.allowed.push(Allowed {
                            finding,
                            reason: rule.reason.clone(),
                        });
                    }
                    Some((number, _)) => {
                        used[number] = true;
                        platform.findings.push(finding);
                    }
                    None => platform.findings.push(finding),
                }
            }
        }
        for (rule, used) in self.rules.iter().zip(used) {
            match rule.expires {
                Some(end) if today > end => {
                    report
                        .remarks
                        .push(format!("the allowance for {} ended on {end}", rule.shown));
                }
                _ if !used => report
                    .remarks
                    .push(format!("the allowance for {} covers nothing: remove it", rule.shown)),
                _ => {}
            }
        }
    }
}

impl Rule {
    fn covers(&self, finding: &Finding) -> bool {
        let path = finding.path.as_deref().unwrap_or_default();
        self.code.is_none_or(|code| code == finding.code)
            && self.path.as_ref().is_none_or(|pattern| pattern.is_match(path))
            && self
                .platform
                .as_ref()
                .is_none_or(|platform| *platform == finding.platform)
    }
}

fn rule(row: Row) -> Result<Rule, AllowError> {
    let shown = match (&row.code, &row.path) {
        (None, None) => return Err(AllowError::Everything),
        (Some(code), None) => format!("`{code}`"),
        (None, Some(path)) => format!("`{path}`"),
        (Some(code), Some(path)) => format!("`{code}` in `{path}`"),
    };
    if row.reason.trim().is_empty() {
        return Err(AllowError::NoReason(shown));
    }
    let code = |text: String| Code::parse(&text).ok_or(AllowError::Code(text));
    let platform = |text: String| text.parse::<Platform>().map_err(|_| AllowError::Platform(text));
    let date = |text: String| text.parse::<Date>().map_err(|_| AllowError::Date(text));
    Ok(Rule {
        code: row.code.map(code).transpose()?,
        path: row.path.map(|pattern| glob(&pattern)).transpose()?,
        platform: row.platform.map(platform).transpose()?,
        expires: row.expires.map(date).transpose()?,
        reason: row.reason,
        shown,
    })
}

/// `*` stands for anything but slashes, `**` for anything, `?` for one character that is no slash.
fn glob(pattern: &str) -> Result<Regex, AllowError> {
    let mut text = String::from("^/");
    let mut rest = pattern.trim_start_matches('/');
    while let Some(letter) = rest.chars().next() {
        let (part, length) = if rest.starts_with("**/") {
            ("(?:.*/)?".to_owned(), 3)
        } else if rest.starts_with("**") {
            (".*".to_owned(), 2)
        } else if letter == '*' {
            ("[^/]*".to_owned(), 1)
        } else if letter == '?' {
            ("[^/]".to_owned(), 1)
        } else {
            (regex::escape(&letter.to_string()), letter.len_utf8())
        };
        text.push_str(&part);
        rest = &rest[length..];
    }
    text.push('$');
    regex::RegexBuilder::new(&text)
        .dot_matches_new_line(true)
        .build()
        .map_err(|_| AllowError::Pattern(pattern.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_paths_with_stars() {
        let table = [
            ("/opt/**", "/opt/a/b", true),
            ("opt/*", "/opt/a", true),
            ("/opt/*", "/opt/a/b", false),
            ("/**/*.node", "/app/x.node", true),
            ("/**/*.node", "/x.node", true),
            ("/opt/?.so", "/opt/a.so", true),
            ("/opt/a.so", "/opt/axso", false),
        ];
        for (pattern, path, expected) in table {
            assert_eq!(
                glob(pattern).expect(pattern).is_match(path),
                expected,
                "{pattern} {path}"
            );
        }
    }

    #[test]
    fn broken_rows_are_refused_by_what_is_wrong() {
        let table = [
            ("[[allow]]\npath = \"/x\"\n", "cannot be read"),
            ("[[allow]]\npath = \"/x\"\nreason = \" \"\n", "gives no reason"),
            ("[[allow]]\nreason = \"all\"\n", "names neither"),
            ("[[allow]]\ncode = \"A99\"\nreason = \"x\"\n", "`A99` is no code"),
            (
                "[[allow]]\ncode = \"A01\"\nreason = \"x\"\nexpires = \"soon\"\n",
                "`soon` is no date",
            ),
            (
                "[[allow]]\ncode = \"A01\"\nreason = \"x\"\nplatform = \"pdp11\"\n",
                "`pdp11` is no platform",
            ),
            (
                "[[allow]]\ncode = \"A01\"\nreason = \"x\"\nuntil = \"2027-01-01\"\n",
                "cannot be read",
            ),
        ];
        for (text, expected) in table {
            let error = AllowList::parse(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(AllowList::parse("").is_ok());
    }
}
