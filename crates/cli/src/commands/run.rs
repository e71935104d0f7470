//! `kiln run`: a command in an image, for any platform.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use kiln_graph::event::Silent;
use kiln_image::pack::CompressionSetting;
use kiln_image::unpack::Ownership;
use kiln_oci::{ContainerConfig, Platform};
use kiln_sandbox::emulator::{Execution, execution};
use kiln_sandbox::{IdentityMap, Network, Privileges, RootSource, Stdio, Step, StepMount};
use kiln_solver::Root;
use kiln_store::Store;
use kiln_worker::exec::{hosts_file, read_file};
use kiln_worker::{ImageError, Images, Layers, LayersSettings, WorkerError};

use crate::args::RunArgs;
use crate::command_error::{CommandError, ErrorKind};
use crate::environment::Environment;
use crate::terminal::attend;
use crate::{machine, settings};

/// Bytes of `/dev/shm`: Docker's default.
const SHM_SIZE: u64 = 64 << 20;

/// Runs a command and gives its exit code.
pub fn run(args: RunArgs, environment: &Environment) -> Result<i32, CommandError> {
    let reference = settings::reference(&args.image)?;
    let platform = match &args.platform {
        Some(text) => settings::platform(text)?,
        None => Platform::host(),
    };
    let identities = machine::enter_namespace()?;
    let search = machine::emulators(
        environment,
        &args.emulator_dir,
        execution(&platform) == Execution::Emulated,
    );
    let emulator = search.find(&platform).map_err(|error| {
        CommandError::from_error(ErrorKind::Environment, &error)
            .hint("`kiln doctor` shows what is missing and how to get it")
    })?;
    let store = machine::store(environment)?;
    let client = machine::client(environment)?;
    let layers = Layers::new(LayersSettings {
        store: store.clone(),
        client: client.clone(),
        events: Arc::new(Silent),
        ownership: if identities == IdentityMap::Single {
            Ownership::SingleId
        } else {
            Ownership::Keep
        },
        epoch: None,
        compression: CompressionSetting::default(),
    });
    let runtime = machine::runtime()?;
    let prepared = runtime.block_on(async {
        let found = Images::new(store.clone(), client, args.pull)
            .find(&reference, &platform)
            .await?;
        let root: Root = layers.learn(&found.source)?.into();
        let mut lowers = layers.stack(&root).await?;
        lowers.reverse();
        if lowers.is_empty() {
            lowers.push(layers.empty_directory()?);
        }
        let view = layers.view(&root).await?;
        let passwd = read_file(&layers, &root, &view, b"etc/passwd").await?;
        let group = read_file(&layers, &root, &view, b"etc/group").await?;
        Ok::<_, WorkerError>((found.config.config, lowers, passwd, group))
    });
    let (config, lowers, passwd, group) = prepared.map_err(|error| prepare_error(&error))?;
    runtime.shutdown_background();
    let user_text = args.user.clone().unwrap_or_else(|| config.user.clone());
    let user = kiln_sandbox::user::resolve_user(&user_text, passwd.as_deref(), group.as_deref())
        .map_err(|error| CommandError::from_error(ErrorKind::User, &error))?;
    let staged = store
        .stage_tree()
        .map_err(|error| CommandError::from_error(ErrorKind::Environment, &error))?;
    let network = match args.network.as_str() {
        "none" => Network::None,
        "host" | "default" => Network::Host,
        other => return Err(CommandError::user(format!("unknown network `{other}`")).hint("there are host and none")),
    };
    let step = Step {
        root: RootSource::Overlay {
            lowers,
            upper: staged.path().to_owned(),
            work: staged.work_path().to_owned(),
        },
        mounts: args
            .volume
            .iter()
            .map(|volume| mount(volume))
            .collect::<Result<_, _>>()?,
        argv: argv(&args, &config)?,
        env: env(&args, &config, &user.home, environment)?,
        cwd: workdir(&args, &config),
        uid: user.uid,
        gid: user.gid,
        groups: user.groups,
        hostname: "kiln".into(),
        hosts: Some(hosts_file("", &[])),
        resolv_conf: (network == Network::Host).then(machine::resolv_conf).flatten(),
        network,
        privileges: Privileges::Default,
        emulator,
        shm_size: SHM_SIZE,
        ulimits: Vec::new(),
        resources: kiln_oci::Resources::default(),
        stdio: match (args.tty, args.interactive) {
            (true, _) => Stdio::Terminal,
            (false, true) => Stdio::Inherit,
            (false, false) => Stdio::InheritOutput,
        },
    };
    make_workdir(&step, &store)?;
    attend(&step, args.interactive)
}

fn prepare_error(error: &WorkerError) -> CommandError {
    let mut command = CommandError::from_error(ErrorKind::Environment, error);
    if error.is_disk_full() {
        return command.hint(machine::DISK_FULL);
    }
    if let WorkerError::Image(ImageError::NoPlatform { available, .. }) = error {
        let names: Vec<String> = available.iter().map(ToString::to_string).collect();
        command.kind = ErrorKind::User;
        return command.hint(format!("the image has: {}", names.join(", ")));
    }
    command.hint("check the name, the tag and the platform of the image")
}

/// The image's program and arguments, or the user's.
fn argv(args: &RunArgs, config: &ContainerConfig) -> Result<Vec<OsString>, CommandError> {
    let entrypoint = match &args.entrypoint {
        Some(program) => Some(program)
            .filter(|program| !program.is_empty())
            .map(|program| vec![program.clone()])
            .unwrap_or_default(),
        None => config.entrypoint.clone().unwrap_or_default(),
    };
    let command = match (args.command.is_empty(), &args.entrypoint) {
        (false, _) => args.command.clone(),
        (true, Some(_)) => Vec::new(),
        (true, None) => config.cmd.clone().unwrap_or_default(),
    };
    let words: Vec<OsString> = entrypoint.into_iter().chain(command).map(Into::into).collect();
    if words.is_empty() {
        return Err(CommandError::user("the image has no command").hint("name one: `kiln run IMAGE COMMAND`"));
    }
    Ok(words)
}

fn env(
    args: &RunArgs,
    config: &ContainerConfig,
    home: &str,
    environment: &Environment,
) -> Result<Vec<(OsString, OsString)>, CommandError> {
    let mut all: Vec<(String, String)> = config
        .env
        .iter()
        .filter_map(|variable| variable.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let mut set = |name: &str, value: &str| {
        all.retain(|(known, _)| known != name);
        all.push((name.to_owned(), value.to_owned()));
    };
    if !config.env.iter().any(|variable| variable.starts_with("PATH=")) {
        set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    }
    if !config.env.iter().any(|variable| variable.starts_with("HOME=")) {
        set("HOME", home);
    }
    if args.tty {
        set("TERM", environment.term.as_deref().unwrap_or("xterm"));
    }
    for (name, value) in settings::pairs(&args.env, "--env", environment)? {
        set(&name, &value);
    }
    Ok(all
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect())
}

fn workdir(args: &RunArgs, config: &ContainerConfig) -> PathBuf {
    let directory = args.workdir.clone().unwrap_or_else(|| config.working_dir.clone());
    PathBuf::from(if directory.is_empty() {
        "/".to_owned()
    } else {
        directory
    })
}

/// A working directory that the image lacks is made in the throw-away layer.
fn make_workdir(step: &Step, _store: &Store) -> Result<(), CommandError> {
    let RootSource::Overlay { lowers, upper, .. } = &step.root else {
        return Ok(());
    };
    let relative = step.cwd.strip_prefix("/").unwrap_or(&step.cwd);
    let exists = lowers
        .iter()
        .any(|lower| lower.join(relative).symlink_metadata().is_ok());
    if exists || relative.as_os_str().is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(upper.join(relative))
        .map_err(|error| CommandError::from_error(ErrorKind::Environment, &error))
}

fn mount(text: &str) -> Result<StepMount, CommandError> {
    let invalid = |what: &str| {
        CommandError::user(format!("invalid --volume `{text}`: {what}")).hint("write SOURCE:TARGET or SOURCE:TARGET:ro")
    };
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, mode) = match parts.as_slice() {
        [source, target] => (source, target, "rw"),
        [source, target, mode] => (source, target, *mode),
        _ => return Err(invalid("it has no target")),
    };
    if !target.starts_with('/') {
        return Err(invalid("the target is not absolute"));
    }
    if !["ro", "rw"].contains(&mode) {
        return Err(invalid("the mode is ro or rw"));
    }
    let source = std::path::absolute(source).map_err(|_| invalid("the source is no path"))?;
    if !source.exists() {
        return Err(invalid("the source does not exist"));
    }
    Ok(StepMount::Bind {
        source,
        inside: PathBuf::new(),
        target: PathBuf::from(target),
        read_only: mode == "ro",
    })
}
