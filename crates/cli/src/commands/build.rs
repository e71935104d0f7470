//! `kiln build`.

use std::path::Path;
use std::sync::Arc;

use kiln_graph::EventSink;
use kiln_oci::Platform;
use kiln_registry::RegistryError;
use kiln_sandbox::IdentityMap;
use kiln_sandbox::emulator::{EmulatorError, Execution, execution};
use kiln_worker::exec::ExecSettings;
use kiln_worker::git::GitError;
use kiln_worker::{ImageError, MountError, RemoteAuth, StepExit, WorkerError};

use crate::args::BuildArgs;
use crate::build::{BuildError, BuildRequest, BuildResult, Machine, Published};
use crate::command_error::{CommandError, ErrorKind};
use crate::environment::Environment;
use crate::history::RequestSummary;
use crate::settings::call::{Call, Method};
use crate::settings::configuration::Configuration;
use crate::{diagnostic, machine, output, render, settings};

mod after_failure;
pub(super) mod recording;

use recording::Recording;

/// What a user without subordinate ids should know when a step fails.
const SINGLE_ID: &str = "this user has no subordinate ids (/etc/subuid, /etc/subgid), so files can only belong to the user itself and `chown` to others fails: \
`usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER` gives some";

/// Builds, and says what came of it.
pub fn run(args: BuildArgs, environment: &Environment) -> Result<i32, CommandError> {
    let call = settings::call::call(&args)?;
    carry_out(call, args, environment)
}

/// Does with the Dockerfile what is asked for.
pub fn carry_out(call: Call, args: BuildArgs, environment: &Environment) -> Result<i32, CommandError> {
    let (request, _files) = settings::build_request(&args, environment)?;
    let mut steps = settings::step_settings(&args, environment)?;
    if steps.keep_failed && !after_failure::is_possible() {
        output::talk("warning: --on-error=shell needs a terminal: a failing step ends the build");
        steps.keep_failed = false;
    }
    let surroundings = Surroundings {
        args: &args,
        steps,
        foreign: is_foreign(&request),
        recorded: (call.method == Method::Build).then(|| recording::summary(&args.context, &[&request])),
        environment,
    };
    let (result, identities, recording) = on_this_machine(surroundings, async |machine| match call.method {
        Method::Build => crate::build::run(&request, machine)
            .await
            .map(|result| Done::Built(Box::new(result))),
        _ => super::call::run(call, &request, machine).await.map(Done::Answered),
    })?;
    let result = result.map_err(|mut error| {
        let kept = error.take_failed_step();
        (explain(error, identities), kept)
    });
    let built = match &result {
        Ok(Done::Built(result)) => Ok(result.published.iter().collect()),
        Ok(Done::Answered(_)) => Ok(Vec::new()),
        Err((command, _)) => Err(command),
    };
    recording.finish(built, args.work.explain);
    let result = match result {
        Ok(result) => result,
        Err((command, None)) => return Err(command),
        Err((command, Some(step))) => return Ok(after_failure::shell(&command, &step, environment)),
    };
    match result {
        Done::Built(result) => report(&args, &request, &result).map(|()| 0),
        Done::Answered(code) => Ok(code),
    }
}

/// What work is done with, beside what is built.
pub(super) struct Surroundings<'a> {
    /// Flags of the machine and of the display.
    pub(super) args: &'a BuildArgs,
    /// How steps run.
    pub(super) steps: ExecSettings,
    /// Whether emulators will be needed.
    pub(super) foreign: bool,
    /// What the history says was asked for; None: it is not worth a record.
    pub(super) recorded: Option<RequestSummary>,
    pub(super) environment: &'a Environment,
}

/// Whether a build may run steps of other platforms than this machine's.
pub(super) fn is_foreign(request: &BuildRequest) -> bool {
    let mut platforms = request.plan.platforms.iter();
    platforms.any(|platform| execution(platform) == Execution::Emulated)
        || request.remote.is_some()
        || request.dockerfile.contains("--platform")
}

/// Does work with this machine's store, registries and display, and tells which owners files can have.
pub(super) fn on_this_machine<T, E>(
    surroundings: Surroundings<'_>,
    work: impl AsyncFnOnce(&Machine) -> Result<T, E>,
) -> Result<(Result<T, E>, IdentityMap, Recording), CommandError> {
    let Surroundings {
        args,
        steps,
        foreign,
        recorded,
        environment,
    } = surroundings;
    let identities = machine::enter_namespace()?;
    let emulators = machine::emulators(environment, &args.work.emulator_dir, foreign);
    let store = machine::store(environment)?;
    let auth = RemoteAuth {
        secrets: steps.secrets.clone(),
        agents: steps.agents.clone(),
    };
    let remotes = machine::remotes(environment, &store, auth);
    let client = machine::client(environment)?;
    let collection = store.collect_in_background(&Configuration::read(environment)?.collect_policy());
    let renderer = render::Renderer::start(render::mode(args, environment), environment);
    let recording = Recording::begin(recorded, &store, renderer.sink() as Arc<dyn EventSink>);
    let runtime = machine::runtime()?;
    let result = runtime.block_on(async {
        let machine = Machine {
            store,
            client,
            events: recording.sink(),
            cancel: machine::cancel_on_interrupt(),
            exec: ExecSettings { emulators, ..steps },
            remotes,
            identities,
            parallelism: args.work.max_parallelism,
        };
        work(&machine).await
    });
    // Work that was cancelled has ended by now; what idles need not be waited for.
    runtime.shutdown_background();
    renderer.finish(result.is_ok());
    // Everything is published: what is still being removed may take a moment.
    if let Some(collection) = collection {
        collection.finish();
    }
    Ok((result, identities, recording))
}

/// What was done with the Dockerfile.
enum Done {
    Built(Box<BuildResult>),
    /// It was asked something; the exit code says what came of it.
    Answered(i32),
}

fn report(args: &BuildArgs, request: &BuildRequest, result: &BuildResult) -> Result<(), CommandError> {
    let Some(published) = &result.published else {
        return Ok(());
    };
    let identifier = published
        .config
        .as_ref()
        .unwrap_or(&published.descriptor.digest)
        .to_string();
    if let Some(path) = &args.iidfile {
        write(path, &identifier)?;
    }
    if let Some(path) = &args.metadata_file {
        write_json(path, &metadata(published))?;
    }
    let to_stdout = request.outputs.iter().any(|output| {
        use crate::build::Output::{Docker, Oci, Tar};
        use crate::build::request::Destination::Stdout;
        matches!(
            output,
            Oci {
                destination: Stdout,
                ..
            } | Docker {
                destination: Stdout,
                ..
            } | Tar {
                destination: Stdout,
                ..
            }
        )
    });
    if !to_stdout {
        output::line(&published.descriptor.digest.to_string());
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), CommandError> {
    std::fs::write(path, text).map_err(|error| {
        let mut command = CommandError::from_error(ErrorKind::Environment, &error);
        command
            .messages
            .insert(0, format!("failed to write `{}`", path.display()));
        command
    })
}

/// Writes a document for other programs.
pub(super) fn write_json(path: &Path, value: &serde_json::Value) -> Result<(), CommandError> {
    write(path, &format!("{value:#}"))
}

/// What was built, for other programs.
pub(super) fn metadata(published: &Published) -> serde_json::Value {
    let names: Vec<String> = published.names.iter().map(ToString::to_string).collect();
    let mut metadata = serde_json::json!({
        "containerimage.digest": published.descriptor.digest,
        "containerimage.descriptor": published.descriptor,
    });
    if let Some(config) = &published.config {
        metadata["containerimage.config.digest"] = serde_json::json!(config);
    }
    if !names.is_empty() {
        metadata["image.name"] = serde_json::json!(names.join(","));
    }
    metadata
}

/// What a person can do about a failed build.
pub(super) fn explain(error: BuildError, identities: IdentityMap) -> CommandError {
    let failed = matches!(&error, BuildError::Step { source, .. } if matches!(**source, WorkerError::Exit { .. }));
    let store = error
        .store_error()
        .map(|error| machine::store_hint(error).map(str::to_owned));
    let mut command = explained(error);
    if let Some(hint) = store {
        // Whatever was being done, nothing that the user wrote is the cause.
        command.kind = ErrorKind::Environment;
        command.hints.extend(hint);
        command.hints.dedup();
    }
    if failed && identities == IdentityMap::Single {
        command.hint(SINGLE_ID)
    } else {
        command
    }
}

fn explained(error: BuildError) -> CommandError {
    if error.is_disk_full() {
        return CommandError::from_error(ErrorKind::Environment, &error).hint(machine::DISK_FULL);
    }
    match &error {
        BuildError::Cancelled => CommandError::new(ErrorKind::Interrupted, "interrupted: the steps were stopped"),
        BuildError::Syntax { file, text, source } => {
            let place = source
                .lines
                .map(|lines| format!(" on line {}", lines.start))
                .unwrap_or_default();
            let mut command = CommandError::user(format!("dockerfile parse error{place}: {}", source.message));
            command.drawing = source
                .lines
                .map(|lines| diagnostic::draw(file, text, lines.start, lines.end, ""));
            command.hints.clone_from(&source.hints);
            command
        }
        BuildError::Base {
            file,
            text,
            need,
            source,
        } => {
            let mut command = CommandError::from_error(ErrorKind::User, &error);
            command.drawing = Some(diagnostic::draw(file, text, need.lines.start, need.lines.end, ""));
            if let Some(meant) = &need.meant {
                command.hints.push(format!("did you mean {meant}?"));
            }
            base_hints(&mut command, source, &need.platform);
            let unknown = matches!(
                &**source,
                WorkerError::Image(ImageError::Resolve { source, .. }) if matches!(source, RegistryError::NotFound { .. })
            );
            if need.meant.is_some() && unknown {
                command.kind = ErrorKind::User;
            }
            command
        }
        BuildError::Step { vertex, text, source } => {
            // What a RUN ends in is the build's own failure; what cannot be copied was never there.
            let kind = match **source {
                WorkerError::Copy { .. }
                | WorkerError::NoContext(_)
                | WorkerError::Mount(MountError::NoSecret(_) | MountError::NoAgent(_))
                | WorkerError::User(_)
                | WorkerError::Unsupported { .. } => ErrorKind::User,
                _ => ErrorKind::Build,
            };
            let mut command = CommandError::from_error(kind, &error);
            if let Some(lines) = &vertex.meta.lines {
                command.drawing = Some(diagnostic::draw(&lines.file, text, lines.start, lines.end, ""));
            }
            step_hints(&mut command, source);
            command
        }
        BuildError::Remote { source, .. } => {
            let mut command = CommandError::from_error(ErrorKind::Environment, &error);
            step_hints(&mut command, source);
            command
        }
        BuildError::NoDockerfile { .. } => {
            CommandError::from_error(ErrorKind::User, &error).hint("name it with `-f PATH`, relative to the context")
        }
        BuildError::Push { source, .. } => {
            let mut command = CommandError::from_error(ErrorKind::Environment, &error);
            registry_hints(&mut command, source);
            command
        }
        BuildError::Refused { findings, .. } => {
            let mut command = CommandError::from_error(ErrorKind::Build, &error);
            command.drawing = Some(findings.clone());
            command.hint(
                "`--audit=warn` publishes all the same; `kiln-audit.toml` allows single findings, each with a reason",
            )
        }
        BuildError::Worker(source) => {
            let mut command = CommandError::from_error(ErrorKind::Environment, &error);
            step_hints(&mut command, source);
            command
        }
        _ => CommandError::from_error(ErrorKind::Environment, &error),
    }
}

pub fn base_hints(command: &mut CommandError, error: &WorkerError, wanted: &Platform) {
    match error {
        WorkerError::Image(ImageError::NoPlatform { available, .. }) => {
            let names: Vec<String> = available.iter().map(ToString::to_string).collect();
            command.hints.push(format!("the image has: {}", names.join(", ")));
            command.hints.push(format!("build without {wanted}, choose another base, or pin the stage with `FROM --platform=…` if its output runs anywhere"));
        }
        WorkerError::Image(ImageError::Resolve { source, .. }) | WorkerError::Registry(source) => {
            command.kind = ErrorKind::Environment;
            registry_hints(command, source);
        }
        _ => {}
    }
}

fn registry_hints(command: &mut CommandError, error: &RegistryError) {
    match error {
        RegistryError::Unreachable { host, .. } => {
            command.hints.push(format!(
                "is `{host}` spelt right and reachable from here? Mirrors and plain HTTP are set in registries.toml"
            ));
        }
        RegistryError::Denied { host, .. } => {
            command.hints.push(format!(
                "log in with `docker login {host}`, or check that your account may do this"
            ));
        }
        RegistryError::NotFound { .. } => {
            command
                .hints
                .push("check the name and the tag; a private image may need `docker login`".into());
        }
        _ => {}
    }
}

fn step_hints(command: &mut CommandError, error: &WorkerError) {
    match error {
        WorkerError::Exit {
            exit, log, platform, ..
        } => {
            if !log.is_empty() {
                let shown: Vec<String> = log.iter().map(|line| format!("  | {line}")).collect();
                let drawing = command.drawing.get_or_insert_default();
                drawing.push_str(&format!("last output for {platform}:\n{}\n", shown.join("\n")));
            }
            if matches!(exit, StepExit::EmulatorDied { .. }) {
                command.hints.push(format!("the emulator cannot run this program: cross-compile in a stage on $BUILDPLATFORM, or build {platform} on a machine of that kind"));
            }
        }
        WorkerError::Copy {
            ignored_by: Some(pattern),
            ..
        } => {
            command.hints.push(format!(
                "the file is there, and the pattern `{pattern}` of the ignore file (.dockerignore) hides it"
            ));
        }
        WorkerError::Mount(MountError::NoSecret(id)) => {
            command.hints.push(format!("give it: --secret id={id},src=FILE"));
        }
        WorkerError::Mount(MountError::NoAgent(id)) => {
            command
                .hints
                .push(format!("give an agent or a key: --ssh {id} or --ssh {id}=KEY"));
        }
        WorkerError::Emulator(EmulatorError::NotFound { name, .. }) => {
            command.hints.push(format!("install a static QEMU (`apt-get install qemu-user-static`), or name the directory of qemu-{name}-static with --emulator-dir"));
        }
        WorkerError::Emulator(EmulatorError::NoTable { .. }) => {
            command.hints.push(
                "use Linux 6.7 or newer, or register the emulator on this machine: `apt-get install qemu-user-static`"
                    .into(),
            );
        }
        WorkerError::Git(error) => {
            command.kind = match error {
                GitError::NotInstalled | GitError::Start(_) | GitError::Failed { .. } => ErrorKind::Environment,
                _ => ErrorKind::User,
            };
            command.hints.extend(error.hints());
        }
        WorkerError::NotForAll { .. } => command
            .hints
            .push("leave out `# kiln: noarch` above the instruction: then it runs once for each platform".into()),
        WorkerError::Http(_) => command.kind = ErrorKind::Environment,
        WorkerError::Image(_) | WorkerError::Registry(_) => base_hints(command, error, &Platform::default()),
        WorkerError::WrongDiffId { .. } | WorkerError::Unpack(_) => command.hints.push(machine::FSCK.into()),
        WorkerError::Sandbox(_) => command
            .hints
            .push("`kiln doctor` shows what this machine allows".into()),
        _ => {}
    }
}
