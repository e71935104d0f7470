//! `SOURCE_DATE_EPOCH`: a number of seconds, or the name of something whose time it takes.

use crate::diagnostic::SyntaxError;
use crate::instruction::Kind;
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
    /// The time of the only thing that a stage fetches, as its ADD names it.
    Added(String),
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
            added(stage).map_err(|error| error.at(stage.lines))
        }
        None => Err(SyntaxError::new(format!("invalid {NAME}: {text}"))
            .hint("it is a number of seconds since 1970, `context`, or the name of a stage that only fetches")),
    }
}

/// A stage has a time if all that it does is to fetch one thing.
fn added(stage: &Stage) -> Result<Epoch, SyntaxError> {
    let unfit = |why: String| SyntaxError::new(format!("{NAME} stage does not meet source-only requirements: {why}"));
    if stage.from.base != "scratch" {
        return Err(unfit("base must be scratch".into()));
    }
    let mut sources = Vec::new();
    for instruction in &stage.instructions {
        match &instruction.kind {
            Kind::Copy(copy) if copy.add => sources.extend(copy.sources.iter().cloned()),
            other => return Err(unfit(format!("unsupported {} instruction", other.name()))),
        }
    }
    match sources.as_slice() {
        [one] if is_remote(one) => Ok(Epoch::Added(one.clone())),
        _ => Err(SyntaxError::new(format!(
            "{NAME} stage source must be a single HTTP(S) or Git ADD"
        ))),
    }
}

fn is_remote(source: &str) -> bool {
    ["http://", "https://", "git://", "ssh://", "git@"]
        .iter()
        .any(|scheme| source.starts_with(scheme))
}
