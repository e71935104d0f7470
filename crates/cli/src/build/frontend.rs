//! From the Dockerfile's text to the graph: parsing, checks, the build's time, and images as they are needed.

use kiln_audit::Base;
use kiln_dockerfile::Dockerfile;
use kiln_dockerfile::epoch::{self, Epoch, epoch};
use kiln_dockerfile::lint::{Linter, check_platforms};
use kiln_dockerfile::lower::{Lowered, Lowering, file_at, lower};
use kiln_dockerfile::plan::{BuildContext, NamedContext, Need, Resolved, ResolvedImage};
use kiln_graph::{Event, ImageOrigin, Outcome};
use kiln_worker::Images;

use crate::build::audit::PinnedBase;
use crate::build::{BuildError, BuildRequest, Machine, remote};

/// A build whose graph is known.
#[derive(Debug, Clone)]
pub struct Planned {
    /// What was asked for, with the time that the Dockerfile gives it.
    pub request: BuildRequest,
    /// The graph.
    pub lowered: Lowered,
    /// Bases that are pinned to one platform.
    pub pinned: Vec<PinnedBase>,
}

/// A linter as the request wants it.
pub fn linter(request: &BuildRequest) -> Result<Linter, BuildError> {
    let check = request
        .plan
        .build_args
        .get("BUILDKIT_DOCKERFILE_CHECK")
        .map(String::as_str);
    let mut linter = Linter::with_override(check).map_err(|error| BuildError::syntax(request, error))?;
    linter.set_ignore(&request.plan.ignore);
    Ok(linter)
}

/// Reads the Dockerfile. The linter keeps what it found even if the file is wrong.
pub fn parse(request: &BuildRequest, linter: &mut Linter) -> Result<Dockerfile, BuildError> {
    if let Some(frontend) = request.plan.build_args.get("BUILDKIT_SYNTAX") {
        kiln_dockerfile::stage::check_frontend(frontend).map_err(|error| BuildError::syntax(request, error))?;
    }
    let dockerfile =
        Dockerfile::parse(&request.dockerfile, linter).map_err(|error| BuildError::syntax(request, error))?;
    let foreign = |platform| kiln_sandbox::emulator::execution(platform) == kiln_sandbox::emulator::Execution::Emulated;
    check_platforms(
        linter,
        &dockerfile,
        &request.plan.platforms,
        request.plan.platforms.iter().any(foreign),
    );
    Ok(dockerfile)
}

/// Parses and lowers, and refuses what the Dockerfile itself declares an error.
pub async fn plan(request: &BuildRequest, machine: &Machine, linter: &mut Linter) -> Result<Planned, BuildError> {
    let mut dockerfile = parse(request, linter)?;
    let request = with_time(request, machine, &dockerfile).await?;
    if !request.plan.build_args.contains_key(epoch::NAME) {
        // The name of something without a time is no time.
        let named = dockerfile.global_args.iter_mut().filter(|arg| arg.name == epoch::NAME);
        named.for_each(|arg| arg.default = None);
    }
    let (lowered, pinned) = lower_all(&request, machine, &dockerfile, linter).await?;
    match linter.violation() {
        Some(violation) => Err(BuildError::syntax(&request, violation)),
        None => Ok(Planned {
            request,
            lowered,
            pinned,
        }),
    }
}

/// Tells what the linter found.
pub fn tell(machine: &Machine, linter: &Linter) {
    for finding in linter.findings() {
        let place = finding
            .lines
            .map(|lines| format!(" (line {})", lines.start))
            .unwrap_or_default();
        machine.events.send(Event::Warning {
            message: format!("{}: {}{place}", finding.rule.name(), finding.detail),
            hints: finding.repair.into_iter().collect(),
        });
    }
}

/// The request with the time that `SOURCE_DATE_EPOCH` stands for.
async fn with_time(
    request: &BuildRequest,
    machine: &Machine,
    dockerfile: &Dockerfile,
) -> Result<BuildRequest, BuildError> {
    let mut request = request.clone();
    let found = epoch(dockerfile, &request.plan).map_err(|error| BuildError::syntax(&request, error))?;
    let time = match &found {
        Epoch::Unset => None,
        Epoch::At(time) => Some(*time),
        Epoch::Context => match &request.plan.context {
            // A directory of the user's has no time of its own.
            BuildContext::Local => None,
            BuildContext::Git(source) => remote::time_of_commit(machine, source).await?,
            BuildContext::Http { source, .. } => remote::time_of_file(machine, source).await?,
        },
        Epoch::Named(NamedContext::Git(source)) | Epoch::AddedGit(source) => {
            remote::time_of_commit(machine, source).await?
        }
        Epoch::Named(NamedContext::Http(url) | NamedContext::Archive { url, .. }) => {
            remote::time_of_file(machine, &file_at(url)).await?
        }
        Epoch::AddedHttp(source) => remote::time_of_file(machine, source).await?,
        // Neither have directories and images.
        Epoch::Named(_) => None,
    };
    if let Some(time) = time {
        request.plan.build_args.insert(epoch::NAME.to_owned(), time.to_string());
    } else {
        request.plan.build_args.remove(epoch::NAME);
    }
    request.plan.time = time.unwrap_or(0);
    request.epoch = time;
    Ok(request)
}

/// Lowers the Dockerfile, resolving images as they turn out to be needed: all that are known at the same time.
async fn lower_all(
    request: &BuildRequest,
    machine: &Machine,
    dockerfile: &Dockerfile,
    linter: &mut Linter,
) -> Result<(Lowered, Vec<PinnedBase>), BuildError> {
    let mut pinned = Vec::new();
    let images = Images::new(machine.store.clone(), machine.client.clone(), request.pull);
    let mut resolved = Resolved::default();
    loop {
        let lowering = lower(dockerfile, &request.plan, &resolved, linter);
        match lowering.map_err(|error| BuildError::syntax(request, error))? {
            Lowering::Done(lowered) => return Ok((*lowered, needed_by_several(pinned))),
            Lowering::Needs(needs) => {
                let found = needs
                    .iter()
                    .enumerate()
                    .map(|(number, need)| resolve(request, machine, &images, number as u64, need));
                let found = tokio::select! {
                    found = futures::future::try_join_all(found) => found?,
                    () = machine.cancel.cancelled() => return Err(BuildError::Cancelled),
                };
                for (need, image) in needs.iter().zip(found) {
                    pinned.extend(pinned_base(need, &image));
                    resolved.insert(need, image);
                }
            }
        }
    }
}

/// The base of a need whose digest is that of a manifest, which can only be right for one platform.
fn pinned_base(need: &Need, image: &ResolvedImage) -> Option<PinnedBase> {
    let digest = need.reference.digest()?;
    let is_from = need
        .text
        .trim_start()
        .get(..4)
        .is_some_and(|word| word.eq_ignore_ascii_case("from"));
    (is_from && image.source.manifest.as_ref() == Some(digest)).then(|| PinnedBase {
        used_for: need.platform.clone(),
        base: Base {
            reference: need.reference.to_string(),
            instruction: Some(format!("{}, line {}", need.text.trim(), need.lines.start)),
            is_single: true,
            platform: image.config.platform(),
        },
    })
}

/// A stage that runs on the build platform alone may well be pinned to its manifest.
fn needed_by_several(pinned: Vec<PinnedBase>) -> Vec<PinnedBase> {
    let is_shared = |one: &PinnedBase| {
        let others = pinned
            .iter()
            .any(|other| other.base.reference == one.base.reference && other.used_for != one.used_for);
        others || one.base.platform.clone().normalized() != one.used_for
    };
    pinned.iter().filter(|one| is_shared(one)).cloned().collect()
}

async fn resolve(
    request: &BuildRequest,
    machine: &Machine,
    images: &Images,
    id: u64,
    need: &Need,
) -> Result<ResolvedImage, BuildError> {
    let name = format!("resolve {}", need.reference);
    machine.events.send(Event::TaskStarted {
        id,
        name,
        platform: Some(need.platform.clone()),
    });
    let started = std::time::Instant::now();
    let found = match &need.origin {
        ImageOrigin::Registry => images.find(&need.reference, &need.platform).await,
        ImageOrigin::Layout(path) => images.find_in_layout(path, &need.reference, &need.platform).await,
    };
    let outcome = match &found {
        Ok(_) => Outcome::Done,
        Err(error) => Outcome::Failed(error.to_string()),
    };
    machine.events.send(Event::TaskFinished {
        id,
        outcome,
        duration: started.elapsed(),
    });
    let found = found.map_err(|source| BuildError::Base {
        file: request.plan.file.clone(),
        text: request.dockerfile.clone(),
        need: Box::new(need.clone()),
        source: Box::new(source),
    })?;
    Ok(ResolvedImage {
        source: found.source,
        config: found.config,
    })
}
