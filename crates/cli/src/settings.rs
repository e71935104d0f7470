//! What was typed becomes what is meant: arguments, environment and files → [`BuildRequest`].

pub mod bake;
mod caches;
pub mod call;
pub mod collect;
pub mod configuration;
mod context;
pub mod meta;
mod named_contexts;
mod outputs;
mod proxies;
pub mod secrets;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use kiln_dockerfile::plan::{BuildContext, NoCache, PlanRequest};
use kiln_flags::FlagError;
use kiln_flags::entitlement::Entitlement;
use kiln_flags::host::{GATEWAY, Host};
use kiln_flags::limit::Limit;
use kiln_flags::policy::Policy;
use kiln_graph::NetworkMode;
use kiln_oci::{Platform, Reference, ReferenceError};
use kiln_worker::exec::ExecSettings;

use crate::args::{AuditMode, BuildArgs, OnError};
use crate::build::request::Annotations;
use crate::build::{AuditRequest, BuildRequest, Output};
use crate::command_error::CommandError;
use crate::environment::Environment;
use crate::machine;

pub use context::{ContextFiles, ignore_file, stdin_text};

const RESOURCES: &str = "write KEY=VALUE, such as memory=2g; there are memory, memory-swap, cpu-shares, cpu-period, cpu-quota, cpuset-cpus and cpuset-mems";

/// The request of a build. The context's temporary files live as long as the second value.
pub fn build_request(
    args: &BuildArgs,
    environment: &Environment,
) -> Result<(BuildRequest, ContextFiles), CommandError> {
    refuse_later(args)?;
    let mut build_args = pairs(&args.build_arg, "--build-arg", environment)?;
    let files = context::read(&args.context, args.file.as_deref())?;
    let platforms = platforms(&args.platform)?;
    let metadata = meta::for_build(&args.meta, environment)?;
    let mut tags = Vec::new();
    for tag in args.tag.iter().chain(&metadata.tags) {
        let tag = reference(tag)?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    // Like the peers' client, the environment's time is a build argument.
    if let Some(time) = &environment.source_date_epoch {
        build_args
            .entry("SOURCE_DATE_EPOCH".to_owned())
            .or_insert_with(|| time.clone());
    }
    kiln_flags::proxy::add(&mut build_args, &proxies::configured(environment)?);
    let cache_to = caches::exports(&args.cache_to, &build_args, environment)?;
    let mut directories = HashMap::new();
    if let Some(directory) = &files.directory {
        directories.insert(BuildContext::NAME.to_owned(), directory.clone());
    }
    let contexts = named_contexts::parse(&args.build_context, &mut directories)?;
    let allowed = kiln_flags::entitlement::allowed(&args.allow)
        .map_err(|error| invalid("--allow", &error).hint("there are network.host and security.insecure"))?;
    let allows = |entitlement: &Entitlement| allowed.entitlements.contains(entitlement);
    let written = outputs::parse(args, &tags)?;
    let allowances = files.directory.as_deref().unwrap_or(Path::new("."));
    let audit = audit(args.work.audit, platforms.len(), &written.outputs, allowances)?;
    let plan = PlanRequest {
        platforms,
        implicit_platform: args.platform.iter().all(|text| text.trim().is_empty()),
        build_platform: Platform::host(),
        build_args,
        target: args.target.clone(),
        contexts,
        labels: pairs(&[metadata.labels, args.label.clone()].concat(), "--label", environment)?,
        no_cache: no_cache(args),
        network: network(&args.network)?,
        extra_hosts: extra_hosts(&args.add_host)?,
        hostname: String::new(),
        shm_size: args
            .shm_size
            .as_deref()
            .map(|text| size("--shm-size", text))
            .transpose()?,
        ulimits: ulimits(&args.ulimit)?,
        cgroup_parent: None,
        resources: kiln_flags::resource::resources(&args.resource)
            .map_err(|error| invalid("--resource", &error).hint(RESOURCES))?,
        time: 0,
        context: BuildContext::Local,
        ignore: files.ignore.clone(),
        file: files.dockerfile_path.clone(),
        allow_host_network: allows(&Entitlement::HostNetwork),
        allow_insecure: allows(&Entitlement::Insecure),
        every_stage: false,
    };
    let request = BuildRequest {
        dockerfile: files.dockerfile.clone(),
        remote: files.remote.clone(),
        plan,
        directories,
        tags,
        outputs: written.outputs,
        pull: args.pull,
        epoch: None,
        exporter_epoch: written.epoch,
        compression: written.compression,
        family: written.family,
        annotations: annotations(
            &[metadata.annotations, args.annotation.clone()].concat(),
            written.annotations,
        )?,
        cache_from: caches::imports(&args.cache_from, environment)?,
        cache_to,
        audit,
    };
    Ok((request, files))
}

/// `--audit`: warnings for several platforms unless it says otherwise, nothing for one.
fn audit(
    asked: Option<AuditMode>,
    platforms: usize,
    outputs: &[Output],
    directory: &Path,
) -> Result<Option<AuditRequest>, CommandError> {
    let mode = asked.unwrap_or(if platforms > 1 { AuditMode::Warn } else { AuditMode::Off });
    if mode == AuditMode::Off {
        return Ok(None);
    }
    if !outputs.iter().any(Output::is_image) {
        // By default there is just nothing to audit; who asks for it should know.
        return match asked {
            None => Ok(None),
            Some(_) => Err(CommandError::user("--audit needs an image, and no output is one")
                .hint("add `-o type=image`, registry, oci or docker, or leave --audit out")),
        };
    }
    Ok(Some(AuditRequest {
        asked: asked.is_some(),
        refuses: mode == AuditMode::Error,
        allow: crate::audit::allow_list(None, directory)?,
    }))
}

/// How steps run, but for the emulators, which the machine knows.
pub fn step_settings(args: &BuildArgs, environment: &Environment) -> Result<ExecSettings, CommandError> {
    let timeout = args.work.timeout_step.as_deref().map(timeout).transpose()?;
    Ok(ExecSettings {
        resolv_conf: machine::resolv_conf(),
        timeout,
        secrets: secrets::secrets(&args.secret, environment)?,
        agents: secrets::agents(&args.ssh, environment)?,
        keep_failed: args.on_error == OnError::Shell,
        ..ExecSettings::default()
    })
}

/// A number of seconds, or numbers with units.
fn timeout(text: &str) -> Result<Duration, CommandError> {
    let seconds = text.parse::<u64>().map(Duration::from_secs);
    let spelt = || kiln_flags::duration::nanoseconds(text).and_then(|nanos| u64::try_from(nanos).ok());
    let duration = seconds.ok().or_else(|| spelt().map(Duration::from_nanos));
    duration.filter(|duration| !duration.is_zero()).ok_or_else(|| {
        CommandError::user(format!("invalid --timeout-step `{text}`"))
            .hint("write a number of seconds, or numbers with units, such as 90s, 10m or 1h30m")
    })
}

/// Flags that are not served yet end in an error: ignoring them would give another result than was asked for.
fn refuse_later(args: &BuildArgs) -> Result<(), CommandError> {
    let later = &args.later;
    // What cannot be read at all is told first.
    kiln_flags::attest::attestations(&later.attest)
        .map_err(|error| invalid("--attest", &error).hint("write type=sbom or type=provenance with attributes"))?;
    for text in &later.policy {
        let policy = Policy::parse(text).map_err(|error| {
            invalid("--policy", &error).hint("write filename=FILE, with reset, strict or log-level")
        })?;
        // Nothing holds where there are no rules.
        if !policy.disabled {
            return Err(CommandError::user("--policy is not supported yet").hint("leave it out"));
        }
    }
    let off = |value: &Option<String>| value.as_deref().is_none_or(|value| matches!(value, "false" | "0"));
    let refused = [
        (
            "--load",
            later.load,
            "write an archive with `-o type=docker,dest=FILE` and load that",
        ),
        ("--attest", !later.attest.is_empty(), "leave it out"),
        ("--sbom", !off(&later.sbom), "leave it out"),
        ("--provenance", !off(&later.provenance), "leave it out"),
        (
            "--builder",
            later.builder.as_deref().is_some_and(|builder| builder != "default"),
            "no builder is needed: leave it out",
        ),
        ("--cgroup-parent", later.cgroup_parent.is_some(), "leave it out"),
        ("--debug", later.debug, "leave it out"),
    ];
    match refused.iter().find(|(_, given, _)| *given) {
        Some((flag, _, hint)) => Err(CommandError::user(format!("{flag} is not supported yet")).hint(*hint)),
        None => Ok(()),
    }
}

fn platforms(written: &[String]) -> Result<Vec<Platform>, CommandError> {
    let mut platforms: Vec<Platform> = Vec::new();
    for text in written.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
        let platform = if text == "local" {
            Platform::host()
        } else {
            platform(text)?
        };
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    if platforms.is_empty() {
        platforms.push(Platform::host());
    }
    Ok(platforms)
}

/// A platform as it was typed.
pub fn platform(text: &str) -> Result<Platform, CommandError> {
    let hint = "platforms are written os/arch[/variant], such as linux/amd64, linux/arm64 or linux/arm/v7";
    let parsed: Platform = text
        .parse()
        .map_err(|error| CommandError::from_error(crate::command_error::ErrorKind::User, &error).hint(hint))?;
    let known = kiln_sandbox::binfmt::architectures().any(|known| known == parsed.architecture);
    if parsed.os == "linux" && !known {
        return Err(CommandError::user(format!(
            "unknown platform `{text}`: there is no architecture `{}`",
            parsed.architecture
        ))
        .hint(hint));
    }
    Ok(parsed)
}

/// An image's name as it was typed.
pub fn reference(text: &str) -> Result<Reference, CommandError> {
    text.parse::<Reference>().map(|reference| reference.tagged_latest()).map_err(|error| {
        let message = format!("invalid image name `{text}`: {error}");
        match &error {
            ReferenceError::NotADigest { text: after, .. } => {
                let name = text.split('@').next().unwrap_or(text);
                let name = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(name, |(name, _)| name);
                CommandError::user(message)
                    .hint("what follows @ is a digest reference: the hash of existing content, such as sha256:2c26b4…, and cannot be chosen")
                    .hint(format!("a name that you choose is a tag: {name}:{after}"))
            }
            ReferenceError::Uppercase(_) => CommandError::user(message).hint(text.to_lowercase()),
            _ => CommandError::user(message).hint("names look like registry.example.com/team/app:1.0"),
        }
    })
}

/// `NAME=VALUE`, or `NAME` for the environment's value.
pub fn pairs(
    written: &[String],
    flag: &str,
    environment: &Environment,
) -> Result<BTreeMap<String, String>, CommandError> {
    kiln_flags::pair::pairs(written, &|name| environment.variables.get(name).cloned())
        .map_err(|error| invalid(flag, &error))
}

/// A value that cannot be read.
fn invalid(flag: &str, error: &FlagError) -> CommandError {
    CommandError::user(format!("invalid {flag}: {error}"))
}

fn no_cache(args: &BuildArgs) -> NoCache {
    match (args.no_cache, args.no_cache_filter.is_empty()) {
        (true, true) => NoCache::All,
        (_, false) => NoCache::Stages(args.no_cache_filter.iter().map(|stage| stage.to_lowercase()).collect()),
        (false, true) => NoCache::No,
    }
}

fn network(text: &str) -> Result<NetworkMode, CommandError> {
    match text {
        "default" | "" => Ok(NetworkMode::Default),
        "none" => Ok(NetworkMode::None),
        "host" => Ok(NetworkMode::Host),
        other => Err(CommandError::user(format!("unknown network `{other}`")).hint("there are default, none and host")),
    }
}

fn extra_hosts(written: &[String]) -> Result<Vec<(String, String)>, CommandError> {
    let hosts = kiln_flags::host::hosts(written)
        .map_err(|error| invalid("--add-host", &error).hint("write HOST:ADDRESS, such as db:10.0.0.2"))?;
    let address = |host: Host| {
        // Steps share the machine's network unless they are cut off from it: its own address is the loopback's.
        let address = if host.address == GATEWAY {
            "127.0.0.1".to_owned()
        } else {
            host.address
        };
        (host.name, address)
    };
    Ok(hosts.into_iter().map(address).collect())
}

fn size(flag: &str, text: &str) -> Result<u64, CommandError> {
    kiln_flags::limit::size(text)
        .map_err(|error| invalid(flag, &error).hint("write a number with b, k, m or g, such as 128m"))
}

fn ulimits(written: &[String]) -> Result<BTreeMap<String, (u64, u64)>, CommandError> {
    let read = |text: &String| match Limit::parse(text) {
        Ok(limit) => Ok((limit.name, (limit.soft, limit.hard))),
        Err(error) => Err(invalid("--ulimit", &error).hint("write NAME=SOFT[:HARD], such as nofile=1024:4096")),
    };
    written.iter().map(read).collect()
}

fn annotations(written: &[String], mut annotations: Annotations) -> Result<Annotations, CommandError> {
    let read = kiln_flags::annotation::annotations(written).map_err(|error| {
        invalid("--annotation", &error).hint("write [manifest|index|manifest-descriptor:]NAME=VALUE")
    })?;
    for annotation in read {
        annotations.add(annotation).map_err(|what| {
            CommandError::user(format!("--annotation of {what} is not supported yet")).hint("leave it out")
        })?;
    }
    Ok(annotations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_behind_an_at_sign_is_explained() {
        let error = reference("user/app:1@20250324-101500").expect_err("no digest");
        assert!(error.hints[0].contains("digest reference"));
        assert_eq!(
            error.hints[1],
            "a name that you choose is a tag: user/app:20250324-101500"
        );
    }

    #[test]
    fn platforms_are_known_ones() {
        assert_eq!(platform("linux/arm64/v8").expect("known").to_string(), "linux/arm64");
        for bad in ["linux/foo", "linux/amd64/v2/x", "win dows"] {
            assert!(platform(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_sizes_and_limits() {
        let hosts = extra_hosts(&["db:10.0.0.2".into(), "self=host-gateway".into()]).expect("valid");
        assert_eq!(hosts[0], ("db".into(), "10.0.0.2".into()));
        assert_eq!(hosts[1], ("self".into(), "127.0.0.1".into()));
        assert!(extra_hosts(&["db".into()]).is_err());
        assert_eq!(size("--shm-size", "64m").expect("valid"), 64 << 20);
        assert_eq!(ulimits(&["nofile=1:2".into()]).expect("valid")["nofile"], (1, 2));
    }
}
