//! Inputs and event → metadata.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::collation;
use crate::error::{EntryError, MetaError};
use crate::event::{Event, GitRef};
use crate::expression::Template;
use crate::flavor::Flavor;
use crate::image::Image;
use crate::inputs::{Entry, Inputs};
use crate::metadata::{Metadata, Options, Version};
use crate::pattern::{Groups, Pattern};
use crate::rule::{MatchRule, RefKind, ShaFormat, TagKind, TagRule, VersionRule};
use crate::scope::{Dates, Global};
use crate::version::{PythonVersion, SemanticVersion};
use crate::warning::Warning;

/// The longest tag that the distribution specification allows.
const LONGEST_TAG: usize = 128;

/// Computes everything.
pub(crate) fn metadata(inputs: &Inputs, event: &Event, options: &Options) -> Result<Metadata, MetaError> {
    let images = Image::read_all(&inputs.images)?;
    let rules = TagRule::read_all(&inputs.tags)?;
    let flavor = Flavor::read_all(&inputs.flavor)?;
    let mut computation = Computation {
        global: Global {
            event,
            now: options.now,
            short: options.short_commit.0,
            unknown: RefCell::new(Vec::new()),
        },
        flavor: &flavor,
        warnings: Vec::new(),
    };
    let version = computation.version(&rules)?;
    let labels = computation.pairs(&inputs.labels, &version)?;
    let annotations = computation.pairs(&inputs.annotations, &version)?;
    // The prefix and suffix of `latest` are text, unlike those of the other tags.
    let part = |on: bool, template: &Template| if on { template.text().to_owned() } else { String::new() };
    let prefix = part(flavor.prefix_latest, &flavor.prefix);
    let suffix = part(flavor.suffix_latest, &flavor.suffix);
    let latest_name = sanitized(&format!("{prefix}latest{suffix}"));
    Ok(Metadata {
        images: images
            .into_iter()
            .filter(|image| image.enable)
            .map(|image| image.repository())
            .collect::<Result<_, _>>()?,
        warnings: computation.warnings(&version),
        version,
        latest_name,
        labels,
        annotations,
    })
}

struct Computation<'input> {
    global: Global<'input>,
    flavor: &'input Flavor,
    warnings: Vec<Warning>,
}

/// What a rule gives: a name, and whether there is a `latest` unless the flavor says otherwise.
type Named = Option<(String, bool)>;

impl Computation<'_> {
    fn version(&mut self, rules: &[TagRule]) -> Result<Version, MetaError> {
        let mut version = Version::default();
        let mut latest = None;
        for rule in rules {
            let named = self.named(rule).map_err(|problem| rule.entry.error(problem))?;
            let Some((name, usual)) = named.filter(|(name, _)| !name.is_empty()) else {
                continue;
            };
            let name = sanitized(&name);
            if name.len() > LONGEST_TAG || name.starts_with(['.', '-']) {
                self.warnings.push(Warning::NotATag(name.clone()));
            }
            match &version.main {
                None => version.main = Some(name),
                Some(main) if *main != name && !version.partial.contains(&name) => version.partial.push(name),
                Some(_) => {}
            }
            latest.get_or_insert(self.flavor.latest.decide(usual));
        }
        version.latest = latest.unwrap_or(false);
        Ok(version)
    }

    /// What one rule gives for this event; `None` when it is about another one.
    fn named(&mut self, rule: &TagRule) -> Result<Named, EntryError> {
        self.warnings.extend(rule.warnings());
        let enable = self.global.fill(&rule.enable)?;
        match enable.as_str() {
            "true" => {}
            "false" => return Ok(None),
            _ => return Err(EntryError::NotSwitch(enable)),
        }
        let event = self.global.event;
        let plain = |text: &str| Some((text.to_owned(), false));
        let named = match (&rule.kind, &event.git_ref) {
            (TagKind::Schedule { pattern }, _) if event.is_scheduled() => {
                let text = self.global.fill_with(pattern, &Dates(&self.global))?;
                Some((text, false))
            }
            (TagKind::Semver(version), _) => self.semantic(version)?,
            (TagKind::Pep440(version), _) => self.python(version)?,
            (TagKind::Match(part), _) => self.part(part)?,
            (TagKind::Edge { branch }, GitRef::Branch(current)) => {
                let edge = branch.as_ref().or(event.repository.default_branch.as_ref());
                (edge == Some(current)).then(|| ("edge".to_owned(), false))
            }
            (TagKind::Ref(RefKind::Branch), GitRef::Branch(branch)) => plain(branch),
            (TagKind::Ref(RefKind::Tag), GitRef::Tag(tag)) => Some((tag.clone(), true)),
            (TagKind::Ref(RefKind::PullRequest), GitRef::PullRequest(request)) => plain(request),
            (TagKind::Raw { value }, _) => Some((self.global.fill(value)?, false)),
            (TagKind::Sha(_), _) if event.commit.is_empty() => None,
            (TagKind::Sha(ShaFormat::Short), _) => plain(self.global.short_commit()),
            (TagKind::Sha(ShaFormat::Long), _) => plain(&event.commit),
            _ => None,
        };
        match named {
            Some((text, latest)) => Ok(Some((self.dressed(&text, rule)?, latest))),
            None => Ok(None),
        }
    }

    /// A name between its prefix and suffix: the rule's own, else the flavor's.
    fn dressed(&self, name: &str, rule: &TagRule) -> Result<String, EntryError> {
        let prefix = self.global.fill(rule.prefix.as_ref().unwrap_or(&self.flavor.prefix))?;
        let suffix = self.global.fill(rule.suffix.as_ref().unwrap_or(&self.flavor.suffix))?;
        Ok(format!("{prefix}{name}{suffix}"))
    }

    /// What a rule about versions looks at: its value, else the git tag.
    fn subject(&self, value: &Template) -> Result<Option<String>, EntryError> {
        if !value.is_empty() {
            return self.global.fill(value).map(Some);
        }
        Ok(match &self.global.event.git_ref {
            GitRef::Tag(tag) => Some(tag.clone()),
            _ => None,
        })
    }

    /// The text that is a version, cut out by the rule's expression.
    fn version_text(&mut self, rule: &VersionRule) -> Result<Option<String>, EntryError> {
        let Some(mut text) = self.subject(&rule.value)? else {
            return Ok(None);
        };
        if let Some(part) = &rule.part {
            match matched(part, &text)? {
                None => self.warnings.push(Warning::NoMatch {
                    pattern: part.text().to_owned(),
                    value: text.clone(),
                }),
                Some(groups) => {
                    let first = groups.into_iter().nth(1).flatten();
                    text = first.ok_or_else(|| EntryError::NoGroup(part.text().to_owned()))?;
                }
            }
        }
        Ok(Some(text.replace('/', "-")))
    }

    fn semantic(&mut self, rule: &VersionRule) -> Result<Named, EntryError> {
        let Some(text) = self.version_text(rule)? else {
            return Ok(None);
        };
        let Some(version) = SemanticVersion::parse(&text) else {
            self.warnings.push(Warning::NotAVersion {
                value: text,
                kind: "semantic version",
            });
            return Ok(None);
        };
        // A pre-release is its own tag alone: `1.2` shall not move for it.
        if version.prerelease.is_empty() || rule.pattern.is_raw() {
            let name = self.global.fill_with(&rule.pattern, &version)?;
            return Ok(Some((name, version.prerelease.is_empty())));
        }
        Ok(Some((version.to_string(), false)))
    }

    fn python(&mut self, rule: &VersionRule) -> Result<Named, EntryError> {
        let Some(text) = self.version_text(rule)? else {
            return Ok(None);
        };
        let Some(version) = PythonVersion::parse(&text) else {
            self.warnings.push(Warning::NotAVersion {
                value: text,
                kind: "version as PEP 440 has them",
            });
            return Ok(None);
        };
        if version.is_final() {
            return Ok(Some((self.global.fill_with(&rule.pattern, &version)?, true)));
        }
        if rule.pattern.is_raw() {
            return Ok(Some((version.raw, false)));
        }
        Ok(Some((version.to_string(), false)))
    }

    fn part(&mut self, rule: &MatchRule) -> Result<Named, EntryError> {
        let Some(text) = self.subject(&rule.value)? else {
            return Ok(None);
        };
        let Some(groups) = matched(&rule.pattern, &text)? else {
            self.warnings.push(Warning::NoMatch {
                pattern: rule.pattern.text().to_owned(),
                value: text,
            });
            return Ok(None);
        };
        let group = rule.group().and_then(|index| groups.into_iter().nth(index)).flatten();
        if group.is_none() {
            self.warnings.push(Warning::NoGroup {
                pattern: rule.pattern.text().to_owned(),
                group: rule.group_text().to_owned(),
            });
        }
        Ok(group.map(|group| (group, true)))
    }

    /// The usual names of the OCI image specification and those of the input, which win; ordered by name.
    fn pairs(&mut self, extra: &[Entry], version: &Version) -> Result<Vec<(String, String)>, MetaError> {
        let event = self.global.event;
        let repository = &event.repository;
        let created = self.global.now.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
        let usual = [
            ("created", created.as_str()),
            ("description", &repository.description),
            ("licenses", &repository.license),
            ("revision", &event.commit),
            ("source", &repository.url),
            ("title", &repository.name),
            ("url", &repository.url),
            ("version", version.main.as_deref().unwrap_or_default()),
        ];
        let mut all: BTreeMap<String, String> = usual
            .into_iter()
            .map(|(name, value)| (format!("org.opencontainers.image.{name}"), value.to_owned()))
            .collect();
        for entry in extra {
            let fill = || self.global.fill(&Template::read(&entry.text)?);
            let text = fill().map_err(|problem| entry.error(problem))?;
            match text.split_once('=') {
                Some((name, value)) => {
                    all.insert(name.to_owned(), value.to_owned());
                }
                None => self.warnings.push(Warning::NoValue(text)),
            }
        }
        let mut pairs: Vec<_> = all.into_iter().collect();
        pairs.sort_by(|(one, _), (other, _)| collation::compare(one, other));
        Ok(pairs)
    }

    /// Everything that is worth saying, once.
    fn warnings(self, version: &Version) -> Vec<Warning> {
        let unknown = self.global.unknown.into_inner().into_iter().map(Warning::UnknownName);
        let none = version.main.is_none().then_some(Warning::NoTags);
        let mut warnings: Vec<Warning> = Vec::new();
        for warning in self.warnings.into_iter().chain(unknown).chain(none) {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        warnings
    }
}

/// The groups of a match.
fn matched(pattern: &Pattern, text: &str) -> Result<Option<Groups>, EntryError> {
    pattern.groups(text).map_err(|source| EntryError::Pattern {
        pattern: pattern.text().to_owned(),
        source,
    })
}

/// A name that a registry takes: every run of other letters is one hyphen.
fn sanitized(name: &str) -> String {
    let mut clean = String::new();
    let mut replaced = false;
    for letter in name.chars() {
        if letter.is_ascii_alphanumeric() || "._-".contains(letter) {
            clean.push(letter);
            replaced = false;
        } else if !replaced {
            clean.push('-');
            replaced = true;
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::Input;

    fn event(name: &str, git_ref: &str) -> Event {
        let mut event = Event {
            name: name.to_owned(),
            git_ref: GitRef::parse(git_ref),
            commit: "90dd6032fac8bda1b6c4436a2e65de27961ed071".to_owned(),
            commit_time: "2019-12-31T23:59:59.5Z".parse().ok(),
            base: Some("main".to_owned()),
            ..Event::default()
        };
        event.repository.name = "app".to_owned();
        event.repository.default_branch = Some("main".to_owned());
        event
    }

    fn compute(inputs: &[(&str, &str)], event: &Event) -> Result<Metadata, MetaError> {
        let mut read = Inputs::default();
        for (name, text) in inputs {
            read.add(Input::named(name).expect(name), text)?;
        }
        let options = Options {
            now: "2020-01-10T00:30:00Z".parse().expect("a time"),
            ..Options::default()
        };
        Metadata::compute(&read, event, &options)
    }

    fn names(tags: &str, flavor: &str, event: &Event) -> Vec<String> {
        compute(&[("tags", tags), ("flavor", flavor)], event)
            .expect(tags)
            .tag_names()
    }

    const VERSIONS: &str = "type=semver,pattern={{version}}\ntype=semver,pattern={{major}}.{{minor}}\ntype=sha";

    #[test]
    fn each_event_has_its_tags() {
        for (kind, git_ref, tags, expected) in [
            ("push", "refs/heads/main", "", "main"),
            ("push", "refs/heads/feat/A_b@c", "", "feat-A_b-c"),
            ("push", "refs/tags/v1.2.3", "", "v1.2.3 latest"),
            ("pull_request", "refs/pull/2/merge", "", "pr-2"),
            ("schedule", "refs/heads/main", "", "nightly main"),
            ("push", "refs/tags/v1.2.3", VERSIONS, "1.2.3 1.2 sha-90dd603 latest"),
            (
                "push",
                "refs/tags/v2.0.8-beta.67",
                VERSIONS,
                "2.0.8-beta.67 sha-90dd603",
            ),
            (
                "push",
                "refs/tags/v2.0.8-b+5",
                "type=semver,pattern={{raw}}",
                "v2.0.8-b-5",
            ),
            ("push", "refs/tags/nope", VERSIONS, "sha-90dd603"),
            ("push", "refs/heads/main", VERSIONS, "sha-90dd603"),
            ("push", "refs/tags/1.2rc1", "type=pep440,pattern={{major}}", "1.2rc1"),
            (
                "push",
                "refs/tags/v1.2",
                "type=pep440,pattern={{major}}.{{minor}}.{{patch}}",
                "1.2.0 latest",
            ),
            ("push", "refs/heads/main", "type=edge", "edge"),
            ("push", "refs/heads/dev", "type=edge\ntype=edge,branch=dev", "edge"),
            (
                "push",
                "refs/tags/p1/v1.2.3",
                "type=match,pattern=p1/v(.*),group=1",
                "1.2.3 latest",
            ),
            (
                "push",
                "refs/tags/p1/v1.2.3",
                "type=semver,pattern={{version}},match=p1/(.*)",
                "1.2.3 latest",
            ),
            (
                "push",
                "refs/heads/main",
                "type=semver,pattern=v{{major}},value=v4.5.6",
                "v4 latest",
            ),
            (
                "push",
                "refs/heads/main",
                "a\ntype=raw,value=b,enable={{is_not_default_branch}}",
                "a",
            ),
            ("push", "refs/heads/main", "x\nx\ny", "x y"),
            (
                "push",
                "refs/tags/v1",
                "type=raw,{{base_ref}}-{{tag}}-{{sha}}",
                "main-v1-90dd603",
            ),
            (
                "push",
                "refs/heads/main",
                "value={{commit_date 'YYYY' tz='Asia/Tokyo'}}.{{date 'M'}}",
                "2020.1",
            ),
        ] {
            assert_eq!(
                names(tags, "", &event(kind, git_ref)).join(" "),
                expected,
                "{git_ref} {tags}"
            );
        }
    }

    #[test]
    fn the_flavor_dresses_what_has_no_dress_of_its_own() {
        let tag = event("push", "refs/tags/v1.2.3");
        let flavor = "prefix=a-,onlatest=true\nsuffix=-{{sha}},onlatest=false";
        let tags = "type=ref,event=tag\ntype=sha\ntype=raw,value=x,suffix=";
        let expected = "a-v1.2.3-90dd603 a-x sha-90dd603-90dd603 a-latest";
        assert_eq!(names(tags, flavor, &tag).join(" "), expected);
        assert_eq!(names("x", "latest=true", &tag), ["x", "latest"]);
        assert_eq!(names("type=ref,event=tag", "latest=false", &tag), ["v1.2.3"]);
    }

    #[test]
    fn labels_of_the_input_win() {
        let labels = "org.opencontainers.image.title=Mine\nb={{branch}}=x\nA=1\nnone";
        let metadata = compute(&[("labels", labels)], &event("push", "refs/heads/a&b")).expect("valid");
        let expected = [
            "A=1",
            "b=a&amp;b=x",
            "org.opencontainers.image.created=2020-01-10T00:30:00.000Z",
            "org.opencontainers.image.description=",
            "org.opencontainers.image.licenses=",
            "org.opencontainers.image.revision=90dd6032fac8bda1b6c4436a2e65de27961ed071",
            "org.opencontainers.image.source=",
            "org.opencontainers.image.title=Mine",
            "org.opencontainers.image.url=",
            "org.opencontainers.image.version=a-b",
        ];
        assert_eq!(metadata.labels(), expected);
        assert_eq!(metadata.warnings, [Warning::NoValue("none".to_owned())]);
    }

    #[test]
    fn images_are_in_lower_case_and_may_be_off() {
        let images = "Octo/App\nname=ghcr.io/o/a,enable=false\nname=ghcr.io/O/B";
        let metadata = compute(&[("images", images)], &event("push", "refs/heads/main")).expect("valid");
        assert_eq!(metadata.tags(), ["octo/app:main", "ghcr.io/o/b:main"]);
    }

    #[test]
    fn mistakes_name_the_line_that_they_are_in() {
        for (input, text, line) in [
            ("tags", "type=sha\ntype=raw,value=x,enable={{branch}}", 2),
            ("tags", "\n\ntype=raw,value={{date 'YYYY' tz='X'}}", 3),
            ("tags", "type=semver,pattern={{version}},value=v1.0.0,match=v.*", 1),
            ("labels", "a=b\nc={{date}}", 2),
            ("annotations", "{{nope 'x'}}=1", 1),
        ] {
            let error = compute(&[(input, text)], &event("push", "refs/heads/main")).expect_err(text);
            assert_eq!((error.input.name(), error.line), (input, line), "{error}");
        }
    }

    #[test]
    fn what_gives_no_tag_says_why() {
        let tags = "type=semver,pattern={{version}}\ntype=match,pattern=z\ntype=match,pattern=(n),group=3";
        let metadata = compute(&[("tags", tags)], &event("push", "refs/tags/nope")).expect("valid");
        assert_eq!(metadata.tags(), Vec::<String>::new());
        assert_eq!(metadata.warnings.len(), 4, "{:?}", metadata.warnings);
        assert!(metadata.warnings.contains(&Warning::NoTags));
        let dashed = compute(&[], &event("push", "refs/heads/-x")).expect("valid");
        assert_eq!(dashed.warnings, [Warning::NotATag("-x".to_owned())]);
    }
}
