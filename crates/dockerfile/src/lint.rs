//! Checks of a Dockerfile: the peers' rules with their names, texts and lines, and Kiln's own about several platforms.
//!
//! * [`Rule`] — the closed set of rules; [`LintConfig`] — what `# check=…` says.
//! * [`Linter`] — collects [`Finding`]s while a file is read and lowered, so that nothing is read twice.
//! * `source` — rules that need no more than the text; `platform` — Kiln's own rules, over the stages.
//! * `shell` — the commands of a RUN; `native` — what they make, and for which processor.
//!
//! A `# check=skip=…` directive at the top of a file holds for all of it, one above an instruction for that
//! instruction alone. The build argument `BUILDKIT_DOCKERFILE_CHECK` replaces the directive.

mod config;
mod native;
mod platform;
mod rule;
mod shell;
mod source;

use std::collections::BTreeSet;

use serde::Serialize;

use crate::Lines;
use crate::diagnostic::SyntaxError;
use crate::directive::is_directive;
use crate::ignore::PatternMatcher;

pub use config::LintConfig;
pub use platform::check_platforms;
pub use rule::Rule;
pub(crate) use source::{
    check_default_bases, check_from_args, check_from_platform, check_node, check_port, check_secret, check_stages,
};

/// One thing that a rule found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which rule.
    pub rule: Rule,
    /// What was found, in the words of the peers for their rules.
    pub detail: String,
    /// Where.
    pub lines: Option<Lines>,
    /// What to do about it, for Kiln's own rules.
    pub repair: Option<String>,
}

/// Where a rule looks: the place, and the comments above it, which may switch rules off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) lines: Lines,
    pub(crate) comments: &'a [String],
}

/// Collects what the rules find.
#[derive(Debug, Default)]
pub struct Linter {
    config: LintConfig,
    /// Whether the configuration was given with the build, so that the file's own does not count.
    fixed: bool,
    findings: Vec<Finding>,
    /// What the build context leaves out.
    ignore: Option<PatternMatcher>,
}

impl Linter {
    /// A linter that takes its configuration from the file.
    pub fn new() -> Linter {
        Linter::default()
    }

    /// A linter whose configuration is `BUILDKIT_DOCKERFILE_CHECK`, if that is given.
    pub fn with_override(check: Option<&str>) -> Result<Linter, SyntaxError> {
        let mut linter = Linter::new();
        if let Some(check) = check {
            linter.config = LintConfig::parse(check)?;
            linter.fixed = true;
        }
        Ok(linter)
    }

    /// Tells which files the build context leaves out. Patterns that cannot be read are reported by whoever uses them.
    pub fn set_ignore(&mut self, patterns: &[String]) {
        self.ignore = PatternMatcher::new(patterns).ok().filter(|_| !patterns.is_empty());
    }

    /// What was found so far, by line.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = self.findings.clone();
        findings.sort_by_key(|finding| finding.lines.map_or(0, |lines| lines.start));
        findings
    }

    /// The error that `error=true` makes of findings. Kiln's own rules never fail a build that succeeds elsewhere.
    pub fn violation(&self) -> Option<SyntaxError> {
        if !self.config.error {
            return None;
        }
        let mut rules: Vec<&str> = Vec::new();
        let violations = self.findings.iter().filter(|finding| finding.rule.is_of_peers());
        for finding in violations.clone() {
            if !rules.contains(&finding.rule.name()) {
                rules.push(finding.rule.name());
            }
        }
        let first = violations.clone().find_map(|finding| finding.lines)?;
        let message = format!("lint violation found for rules: {}", rules.join(", "));
        let hint = "mend them, or leave them out with a `# check=skip=…` comment";
        Some(SyntaxError::new(message).hint(hint).at(first))
    }

    pub(crate) fn read_directive(&mut self, value: &str) -> Result<(), SyntaxError> {
        if !self.fixed {
            self.config = LintConfig::parse(value)?;
        }
        Ok(())
    }

    pub(crate) fn report(&mut self, rule: Rule, place: Place<'_>, detail: String) {
        self.add(rule, place, detail, None);
    }

    pub(crate) fn add(&mut self, rule: Rule, place: Place<'_>, detail: String, repair: Option<String>) {
        if !self.config.allows(rule) || place.comments.iter().any(|comment| skips(comment, rule)) {
            return;
        }
        let finding = Finding {
            rule,
            detail,
            lines: Some(place.lines),
            repair,
        };
        // Several platforms and several targets read the same lines.
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    /// Whether the ignore file hides a path of the build context from COPY.
    pub(crate) fn is_ignored(&self, path: &str) -> bool {
        /// Stands for any file: a pattern that hides all of the context hides it too.
        const ANY_FILE: &str = "any-file";
        let Some(matcher) = &self.ignore else { return false };
        if path == "." {
            return !matcher.has_exceptions() && matcher.matches_or_parent_matches(ANY_FILE);
        }
        matcher.matches_or_parent_matches(path)
    }
}

/// Whether a comment above an instruction switches a rule off.
fn skips(comment: &str, rule: Rule) -> bool {
    directive(comment).is_some_and(|value| LintConfig::parse(value).is_ok_and(|config| !config.allows_skipped(rule)))
}

/// What stands behind `check=` in a comment, if that is what it is.
fn directive(comment: &str) -> Option<&str> {
    let (name, value) = comment.split_once('=')?;
    (name.trim().eq_ignore_ascii_case("check")).then_some(value)
}

/// The comments that describe something: all but those that configure rules.
pub(crate) fn describing(comments: &[String]) -> impl DoubleEndedIterator<Item = &String> {
    let configures = |comment: &&String| directive(comment).is_some() || is_directive(comment);
    comments.iter().filter(move |comment| !configures(comment))
}

/// What the comments above an instruction say about the stage or argument `name`.
pub(crate) fn description(comments: &[String], name: &str) -> String {
    let found = describing(comments).find_map(|comment| comment.strip_prefix(name)?.strip_prefix(' '));
    found.filter(|_| !name.is_empty()).unwrap_or_default().to_owned()
}

/// The names of a set, for messages.
pub(crate) fn listed(names: &BTreeSet<String>) -> String {
    names
        .iter()
        .map(|name| format!("${name}"))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_describe_or_configure() {
        let comments = [
            "base is where all begins".to_owned(),
            "check=skip=all // really".to_owned(),
        ];
        assert_eq!(description(&comments, "base"), "is where all begins");
        assert_eq!(description(&comments, "bas"), "");
        assert_eq!(describing(&comments).count(), 1);
        assert!(skips(&comments[1], Rule::StageNameCasing));
        assert!(!skips("check=skip=FromAsCasing", Rule::StageNameCasing));
    }

    #[test]
    fn the_whole_context_is_hidden_only_if_every_file_is() {
        let hidden = |patterns: &[&str], path: &str| {
            let mut linter = Linter::new();
            linter.set_ignore(&patterns.iter().map(|pattern| (*pattern).to_owned()).collect::<Vec<_>>());
            linter.is_ignored(path)
        };
        assert!(hidden(&["*"], "."));
        assert!(!hidden(&[".*"], "."));
        assert!(!hidden(&["**", "!Dockerfile"], "."));
        assert!(hidden(&["Dockerfile"], "Dockerfile"));
        assert!(!hidden(&[], "."));
    }
}
