//! `SOURCE_DATE_EPOCH`: a number of seconds, or the name of something whose time it takes.

use std::collections::BTreeMap;

use kiln_graph::{GitSource, HttpSource};

use crate::diagnostic::SyntaxError;
use crate::instruction::{Copy, Kind};
use crate::lower::remote_source::{RemoteSource, remote_source};
use crate::plan::{NamedContext, PlanRequest};
use crate::stage::{Dockerfile, Stage};

/// The name that everyone uses.
pub const NAME: &str = "SOURCE_DATE_EPOCH";

/// What the time of a build is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Epoch {
    /// Nobody says.
    Unset,
    /// Seconds since 1970.
    At(i64),
    /// The time of the build context: a commit's, or that of what a URL gave.
    Context,
    /// The time of a named context.
    Named(NamedContext),
    /// The time of the commit that is the only thing that a stage fetches.
    AddedGit(GitSource),
    /// The time of the file that is the only thing that a stage fetches.
    AddedHttp(HttpSource),
}

/// What `SOURCE_DATE_EPOCH` means: the build argument, else the default of the global ARG.
pub fn epoch(dockerfile: &Dockerfile, request: &PlanRequest) -> Result<Epoch, SyntaxError> {
    let given = request.build_args.get(NAME).map(|text| (text.clone(), None));
    let default = || {
        let arg = dockerfile.global_args.iter().find(|arg| arg.name == NAME)?;
        let value = dockerfile
            .expander()
            .expand(arg.default.as_deref()?, &|name: &str| {
                request.build_args.get(name).cloned()
            })
            .ok()?;
        Some((value.text, Some(arg.lines)))
    };
    let Some((text, lines)) = given.or_else(default) else {
        return Ok(Epoch::Unset);
    };
    meaning(dockerfile, request, &text).map_err(|error| match lines {
        Some(lines) => error.at(lines),
        None => error,
    })
}

fn meaning(dockerfile: &Dockerfile, request: &PlanRequest, text: &str) -> Result<Epoch, SyntaxError> {
    if text.is_empty() {
        return Ok(Epoch::Unset);
    }
    if let Ok(seconds) = text.parse() {
        return Ok(Epoch::At(seconds));
    }
    if text == "context" {
        return Ok(Epoch::Context);
    }
    if let Some(context) = request.contexts.get(&text.to_lowercase()) {
        return Ok(Epoch::Named(context.clone()));
    }
    match dockerfile.stage(text, dockerfile.stages.len()) {
        Some(stage) => {
            let stage = &dockerfile.stages[stage];
            Adding::new(dockerfile, request)
                .added(stage)
                .map_err(|error| error.at(stage.lines))
        }
        None => Err(SyntaxError::new(format!("invalid {NAME}: {text}"))
            .hint("it is a number of seconds since 1970, `context`, or the name of a stage that only fetches")),
    }
}

/// Reads a stage that does nothing but fetch, without what the platforms decide.
struct Adding<'a> {
    dockerfile: &'a Dockerfile,
    request: &'a PlanRequest,
    args: BTreeMap<String, String>,
}

impl<'a> Adding<'a> {
    /// With the global arguments.
    fn new(dockerfile: &'a Dockerfile, request: &'a PlanRequest) -> Adding<'a> {
        let mut adding = Adding {
            dockerfile,
            request,
            args: BTreeMap::new(),
        };
        for arg in dockerfile.global_args.iter().filter(|arg| arg.name != NAME) {
            // A default that cannot be expanded is an error of the build itself, and told there.
            let _ = adding.declare(&arg.name, arg.default.as_deref());
        }
        adding
    }

    /// A stage has a time if all that it does is to fetch one thing.
    fn added(mut self, stage: &Stage) -> Result<Epoch, SyntaxError> {
        if self.expanded(&stage.from.base)? != "scratch" {
            return Err(SyntaxError::new(format!("{NAME} stage must use FROM scratch")));
        }
        let one = || SyntaxError::new(format!("{NAME} stage must contain exactly one remote ADD"));
        let mut found = None;
        for instruction in &stage.instructions {
            match &instruction.kind {
                Kind::Arg(args) => {
                    for (name, default) in args {
                        self.declare(name, default.as_deref())?;
                    }
                }
                Kind::Copy(add) if add.add && found.is_none() => found = Some(self.fetched(add)?),
                Kind::Copy(add) if add.add => return Err(one()),
                other => {
                    return Err(SyntaxError::new(format!(
                        "{NAME} stage does not meet source-only requirements: unsupported {} instruction",
                        other.name()
                    )));
                }
            }
        }
        found.ok_or_else(one)
    }

    fn fetched(&self, add: &Copy) -> Result<Epoch, SyntaxError> {
        let ([source], []) = (add.sources.as_slice(), add.heredocs.as_slice()) else {
            let message = format!("{NAME} stage must contain exactly one remote ADD source");
            return Err(SyntaxError::new(message));
        };
        let checksum = add.checksum.as_deref().map(|text| self.expanded(text)).transpose()?;
        match remote_source(&self.expanded(source)?, add, checksum.as_deref())? {
            Some(RemoteSource::Git(git)) => Ok(Epoch::AddedGit(git)),
            Some(RemoteSource::Http(http)) => Ok(Epoch::AddedHttp(http)),
            None => Err(SyntaxError::new(format!(
                "{NAME} stage source must be a single HTTP(S) or Git ADD"
            ))),
        }
    }

    fn declare(&mut self, name: &str, default: Option<&str>) -> Result<(), SyntaxError> {
        let value = match (self.request.build_args.get(name), default) {
            (Some(given), _) => given.clone(),
            (None, Some(default)) => self.expanded(default)?,
            (None, None) => return Ok(()),
        };
        self.args.insert(name.to_owned(), value);
        Ok(())
    }

    fn expanded(&self, text: &str) -> Result<String, SyntaxError> {
        let expanded = self
            .dockerfile
            .expander()
            .expand(text, &|name: &str| self.args.get(name).cloned());
        expanded
            .map(|expanded| expanded.text)
            .map_err(|error| SyntaxError::new(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::Linter;

    fn meant(text: &str, request: &PlanRequest) -> Result<Epoch, String> {
        let dockerfile = Dockerfile::parse(text, &mut Linter::new()).map_err(|error| error.message)?;
        epoch(&dockerfile, request).map_err(|error| error.message)
    }

    #[test]
    fn a_stage_that_only_fetches_has_the_time_of_what_it_fetches() {
        let text = "ARG SOURCE_DATE_EPOCH=src\nARG HOST=h\nFROM scratch AS src\nARG FILE=a.tar\n\
                    ADD https://$HOST/$FILE /\nFROM scratch\n";
        let Ok(Epoch::AddedHttp(http)) = meant(text, &PlanRequest::default()) else {
            panic!("a file");
        };
        assert_eq!(http.url, "https://h/a.tar");
        let mut request = PlanRequest::default();
        request.build_args.insert("FILE".into(), "b.git#v1".into());
        let Ok(Epoch::AddedGit(git)) = meant(text, &request) else {
            panic!("a repository");
        };
        assert_eq!(git.reference.as_deref(), Some("v1"));
        request.build_args.insert(NAME.into(), "12".into());
        assert_eq!(meant(text, &request), Ok(Epoch::At(12)));
    }

    #[test]
    fn other_stages_have_no_time() {
        for (body, message) in [
            (
                "FROM scratch AS src\nCOPY a /\n",
                "source-only requirements: unsupported COPY",
            ),
            ("FROM busybox AS src\nADD https://h/a /\n", "must use FROM scratch"),
            ("FROM scratch AS src\nADD a /\n", "must be a single HTTP(S) or Git ADD"),
            (
                "FROM scratch AS src\nADD https://h/a /\nADD https://h/b /\n",
                "exactly one remote ADD",
            ),
            ("FROM scratch AS src\n", "exactly one remote ADD"),
            ("FROM scratch\n", "invalid SOURCE_DATE_EPOCH: src"),
        ] {
            let text = format!("ARG SOURCE_DATE_EPOCH=src\n{body}");
            let error = meant(&text, &PlanRequest::default()).expect_err(body);
            assert!(error.contains(message), "{body}: {error}");
        }
    }
}
