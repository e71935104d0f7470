//! The input `tags`: rules that make tags.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::csv::fields;
use crate::error::{EntryError, MetaError};
use crate::expression::Template;
use crate::inputs::{Entry, Input};
use crate::pattern::Pattern;
use crate::warning::Warning;

/// The rules of an empty input.
const USUAL: [&str; 4] = [
    "type=schedule",
    "type=ref,event=branch",
    "type=ref,event=tag",
    "type=ref,event=pr",
];

/// A rule that makes a tag.
#[derive(Debug, Clone, PartialEq)]
pub struct TagRule {
    /// What the tag is made from.
    pub kind: TagKind,
    /// Whether the rule counts: comes to `true` or `false`.
    pub enable: Template,
    /// Rules of higher priority come first, and give the version.
    pub priority: f64,
    /// What stands before the tag, instead of the flavor's prefix.
    pub prefix: Option<Template>,
    /// What stands behind the tag, instead of the flavor's suffix.
    pub suffix: Option<Template>,
    /// Where it was written.
    pub(crate) entry: Entry,
    /// Attributes that mean nothing to a rule of this kind.
    unused: Vec<String>,
}

/// What a tag is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagKind {
    /// A text, when the clock started the build.
    Schedule {
        /// The text.
        pattern: Template,
    },
    /// A semantic version.
    Semver(VersionRule),
    /// A version of a Python package.
    Pep440(VersionRule),
    /// A part of a git tag.
    Match(MatchRule),
    /// The word `edge`, on one branch.
    Edge {
        /// The branch; the default branch when there is none.
        branch: Option<String>,
    },
    /// The reference itself.
    Ref(RefKind),
    /// A text.
    Raw {
        /// The text.
        value: Template,
    },
    /// The commit's digest.
    Sha(ShaFormat),
}

/// How a tag comes from a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRule {
    /// The tag.
    pub pattern: Template,
    /// The version; the git tag when there is none.
    pub value: Template,
    /// The part of the git tag that is the version.
    pub(crate) part: Option<Pattern>,
}

/// How a tag comes from a part of a git tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchRule {
    pub(crate) pattern: Pattern,
    /// The number of the group as it was written.
    group: String,
    /// What is searched; the git tag when there is none.
    pub value: Template,
}

impl MatchRule {
    /// The number of the group; `None` when no group can have it.
    pub(crate) fn group(&self) -> Option<usize> {
        let number: f64 = self.group.parse().ok()?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "what is no index is compared away"
        )]
        let index = number as usize;
        #[expect(clippy::cast_precision_loss, reason = "only small indices are groups")]
        let same = index as f64 == number;
        same.then_some(index)
    }

    /// The number of the group as it was written.
    pub(crate) fn group_text(&self) -> &str {
        &self.group
    }
}

/// The references that a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefKind {
    /// Branches.
    Branch,
    /// Tags.
    Tag,
    /// Pull requests.
    PullRequest,
}

impl RefKind {
    fn name(self) -> &'static str {
        match self {
            RefKind::Branch => "branch",
            RefKind::Tag => "tag",
            RefKind::PullRequest => "pr",
        }
    }
}

/// How much of a commit's digest is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShaFormat {
    /// Its first letters.
    Short,
    /// All of it.
    Long,
}

impl TagKind {
    /// The name of the type.
    pub fn name(&self) -> &'static str {
        match self {
            TagKind::Schedule { .. } => "schedule",
            TagKind::Semver(_) => "semver",
            TagKind::Pep440(_) => "pep440",
            TagKind::Match(_) => "match",
            TagKind::Edge { .. } => "edge",
            TagKind::Ref(_) => "ref",
            TagKind::Raw { .. } => "raw",
            TagKind::Sha(_) => "sha",
        }
    }

    fn usual_priority(&self) -> f64 {
        match self {
            TagKind::Schedule { .. } => 1000.0,
            TagKind::Semver(_) | TagKind::Pep440(_) => 900.0,
            TagKind::Match(_) => 800.0,
            TagKind::Edge { .. } => 700.0,
            TagKind::Ref(_) => 600.0,
            TagKind::Raw { .. } => 200.0,
            TagKind::Sha(_) => 100.0,
        }
    }
}

impl TagRule {
    /// The rules of the input, the highest priority first; rules of equal priority stay in their order.
    pub fn read_all(entries: &[Entry]) -> Result<Vec<TagRule>, MetaError> {
        let usual: Vec<Entry> = USUAL
            .iter()
            .zip(1..)
            .map(|(text, line)| Entry {
                input: Input::Tags,
                file: None,
                line,
                text: (*text).to_owned(),
            })
            .collect();
        let entries = if entries.is_empty() { &usual } else { entries };
        let mut rules = entries
            .iter()
            .map(TagRule::parse)
            .collect::<Result<Vec<TagRule>, MetaError>>()?;
        // Every priority is finite, and zero is no more than minus zero.
        rules.sort_by(|one, other| other.priority.partial_cmp(&one.priority).unwrap_or(Ordering::Equal));
        Ok(rules)
    }

    /// Reads one rule.
    pub fn parse(entry: &Entry) -> Result<TagRule, MetaError> {
        Attributes::read(&entry.text)
            .and_then(|attributes| attributes.rule(entry))
            .map_err(|problem| entry.error(problem))
    }

    /// What was written and means nothing.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = Warning> {
        self.unused.iter().map(|name| Warning::UnusedAttribute {
            name: name.clone(),
            rule: self.entry.text.clone(),
        })
    }

    /// The attributes in full, with the usual values of those that were not written.
    pub fn attributes(&self) -> Vec<(&'static str, String)> {
        let mut all = vec![
            ("priority", self.priority.to_string()),
            ("enable", self.enable.text().to_owned()),
        ];
        let optional = [("prefix", &self.prefix), ("suffix", &self.suffix)];
        for (name, template) in optional {
            if let Some(template) = template {
                all.push((name, template.text().to_owned()));
            }
        }
        match &self.kind {
            TagKind::Schedule { pattern } => all.push(("pattern", pattern.text().to_owned())),
            TagKind::Semver(rule) | TagKind::Pep440(rule) => {
                let part = rule.part.as_ref().map_or("", Pattern::text);
                all.push(("pattern", rule.pattern.text().to_owned()));
                all.push(("value", rule.value.text().to_owned()));
                all.push(("match", part.to_owned()));
            }
            TagKind::Match(rule) => {
                all.push(("pattern", rule.pattern.text().to_owned()));
                all.push(("group", rule.group.clone()));
                all.push(("value", rule.value.text().to_owned()));
            }
            TagKind::Edge { branch } => all.push(("branch", branch.clone().unwrap_or_default())),
            TagKind::Ref(kind) => all.push(("event", kind.name().to_owned())),
            TagKind::Raw { value } => all.push(("value", value.text().to_owned())),
            TagKind::Sha(format) => {
                let format = match format {
                    ShaFormat::Short => "short",
                    ShaFormat::Long => "long",
                };
                all.push(("format", format.to_owned()));
            }
        }
        all
    }
}

/// The attributes of a rule as they were written.
struct Attributes(BTreeMap<String, String>);

impl Attributes {
    fn read(text: &str) -> Result<Attributes, EntryError> {
        let mut attributes = BTreeMap::new();
        for field in fields(text)? {
            // A field without a name is a value.
            let (key, value) = match field.split_once('=') {
                Some((key, value)) if !key.is_empty() => (key.trim().to_lowercase(), value),
                _ => ("value".to_owned(), field.as_str()),
            };
            attributes.insert(key, value.trim().to_owned());
        }
        Ok(Attributes(attributes))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    fn required(&mut self, name: &'static str) -> Result<String, EntryError> {
        self.take(name).ok_or(EntryError::Missing(name))
    }

    fn template(&mut self, name: &str) -> Result<Template, EntryError> {
        Template::read(&self.take(name).unwrap_or_default())
    }

    fn rule(mut self, entry: &Entry) -> Result<TagRule, EntryError> {
        let kind = match self.take("type").as_deref() {
            Some("schedule") => TagKind::Schedule {
                pattern: Template::read(&self.take("pattern").unwrap_or("nightly".to_owned()))?,
            },
            Some("semver") => TagKind::Semver(self.version()?),
            Some("pep440") => TagKind::Pep440(self.version()?),
            Some("match") => TagKind::Match(self.part()?),
            Some("edge") => TagKind::Edge {
                branch: self.take("branch").filter(|branch| !branch.is_empty()),
            },
            Some("ref") => TagKind::Ref(self.reference()?),
            None | Some("raw") => TagKind::Raw {
                value: Template::read(&self.required("value")?)?,
            },
            Some("sha") => TagKind::Sha(self.format()?),
            Some(other) => return Err(EntryError::UnknownType(other.to_owned())),
        };
        let usual_prefix = match kind {
            TagKind::Ref(RefKind::PullRequest) => Some("pr-"),
            TagKind::Sha(_) => Some("sha-"),
            _ => None,
        };
        let prefix = self.take("prefix").or(usual_prefix.map(str::to_owned));
        let suffix = self.take("suffix");
        Ok(TagRule {
            enable: Template::read(&self.take("enable").unwrap_or("true".to_owned()))?,
            priority: self.priority()?.unwrap_or(kind.usual_priority()),
            prefix: prefix.as_deref().map(Template::read).transpose()?,
            suffix: suffix.as_deref().map(Template::read).transpose()?,
            kind,
            entry: entry.clone(),
            unused: self.0.into_keys().collect(),
        })
    }

    fn version(&mut self) -> Result<VersionRule, EntryError> {
        let part = self.take("match").filter(|part| !part.is_empty());
        Ok(VersionRule {
            pattern: Template::read(&self.required("pattern")?)?,
            value: self.template("value")?,
            part: part
                .map(|part| Pattern::parse(&part).map_err(|source| EntryError::Pattern { pattern: part, source }))
                .transpose()?,
        })
    }

    fn part(&mut self) -> Result<MatchRule, EntryError> {
        let pattern = self.required("pattern")?;
        let group = self.take("group").unwrap_or("0".to_owned());
        if group.parse::<f64>().map_or(true, f64::is_nan) {
            return Err(EntryError::InvalidValue {
                attribute: "group",
                value: group,
                expected: "the number of a group, from 0",
            });
        }
        Ok(MatchRule {
            pattern: Pattern::parse_delimited(&pattern).map_err(|source| EntryError::Pattern { pattern, source })?,
            group,
            value: self.template("value")?,
        })
    }

    fn reference(&mut self) -> Result<RefKind, EntryError> {
        match self.required("event")?.as_str() {
            "branch" => Ok(RefKind::Branch),
            "tag" => Ok(RefKind::Tag),
            "pr" => Ok(RefKind::PullRequest),
            other => Err(EntryError::InvalidValue {
                attribute: "event",
                value: other.to_owned(),
                expected: "branch, tag or pr",
            }),
        }
    }

    fn format(&mut self) -> Result<ShaFormat, EntryError> {
        match self.take("format").as_deref() {
            None | Some("short") => Ok(ShaFormat::Short),
            Some("long") => Ok(ShaFormat::Long),
            Some(other) => Err(EntryError::InvalidValue {
                attribute: "format",
                value: other.to_owned(),
                expected: "short or long",
            }),
        }
    }

    fn priority(&mut self) -> Result<Option<f64>, EntryError> {
        let Some(text) = self.take("priority") else {
            return Ok(None);
        };
        let number = if text.is_empty() { Ok(0.0) } else { text.parse::<f64>() };
        match number {
            Ok(number) if number.is_finite() => Ok(Some(number)),
            _ => Err(EntryError::InvalidValue {
                attribute: "priority",
                value: text,
                expected: "a number",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::Inputs;

    fn read(text: &str) -> Result<Vec<TagRule>, MetaError> {
        let mut inputs = Inputs::default();
        inputs.add(Input::Tags, text)?;
        TagRule::read_all(&inputs.tags)
    }

    fn only(text: &str) -> TagRule {
        read(text).expect(text).remove(0)
    }

    #[test]
    fn rules_have_types_and_usual_values() {
        assert_eq!(only("type=edge").kind, TagKind::Edge { branch: None });
        assert_eq!(only("type=sha").kind, TagKind::Sha(ShaFormat::Short));
        assert_eq!(only("type=sha").prefix.expect("usual").text(), "sha-");
        assert_eq!(only("type=sha,prefix=").prefix.expect("written").text(), "");
        assert_eq!(only("type=ref,event=pr").prefix.expect("usual").text(), "pr-");
        assert_eq!(only("type=ref,event=tag").prefix, None);
        for text in ["latest", "type=raw,latest", "value=latest", "TYPE=raw , Value = latest"] {
            let TagKind::Raw { value } = only(text).kind else {
                panic!("{text} is raw")
            };
            assert_eq!(value.text(), "latest", "{text}");
        }
    }

    #[test]
    fn values_may_hold_equals_signs_and_commas() {
        let TagKind::Raw { value } = only("type=raw,value={{date 'YYYY' tz='Asia/Tokyo'}}").kind else {
            panic!("raw")
        };
        assert_eq!(value.text(), "{{date 'YYYY' tz='Asia/Tokyo'}}");
        let TagKind::Match(rule) = only("type=match,\"pattern=^\\d{1,2}$\",group=0").kind else {
            panic!("match")
        };
        assert_eq!(rule.pattern.text(), "^\\d{1,2}$");
    }

    #[test]
    fn priorities_order_and_keep_the_order_of_equals() {
        let names: Vec<_> = read("type=sha\ntype=edge\nb\na\ntype=raw,priority=2000,value=c")
            .expect("valid")
            .iter()
            .map(|rule| rule.entry.text.clone())
            .collect();
        assert_eq!(
            names,
            ["type=raw,priority=2000,value=c", "type=edge", "b", "a", "type=sha"]
        );
    }

    #[test]
    fn mistakes_name_their_line_and_what_there_is() {
        for bad in [
            "type=foo",
            "type=raw",
            "type=semver",
            "type=pep440,value=1",
            "type=match",
            "type=match,pattern=(",
            "type=match,pattern=a,group=x",
            "type=ref",
            "type=ref,event=foo",
            "type=sha,format=foo",
            "type=raw,value={{",
            "type=raw,value=x,priority=high",
            "type=raw,value=\"x\"",
            "type=semver,pattern={{version}},match=(",
        ] {
            let error = read(&format!("type=sha\n{bad}")).expect_err(bad);
            assert_eq!((error.line, error.text.as_str()), (2, bad));
        }
    }

    #[test]
    fn what_means_nothing_is_noted() {
        let rule = only("type=sha,event=branch,colour=red");
        assert_eq!(rule.warnings().count(), 2);
        assert_eq!(only("type=ref,event=branch").warnings().count(), 0);
    }
}
