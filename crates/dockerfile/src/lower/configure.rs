//! Instructions that change the configuration and no file, and WORKDIR, which does both.

use kiln_graph::{FileAction, FileOp, Op};
use kiln_oci::HealthCheck as ConfigHealthCheck;
use kiln_oci::config::Empty;

use crate::diagnostic::SyntaxError;
use crate::expand::Expander;
use crate::instruction::{CommandLine, HealthCheck, Instruction, Kind};
use crate::lower::args::PROXIES;
use crate::lower::run::{shell_of, workdir_of};
use crate::lower::stage::Builder;
use crate::lower::{Lowerer, history, set};
use crate::path_pattern;
use crate::ports::parse_port;

impl Lowerer<'_> {
    pub(super) fn configure(&mut self, builder: &mut Builder, kind: &Kind) -> Result<(), SyntaxError> {
        let expander = self.expander();
        let word = |builder: &Builder, text: &str| builder.expanded(expander, text).map(|expanded| expanded.text);
        let time = self.request.time;
        let shown = match kind {
            Kind::Arg(args) => {
                let mut shown = Vec::new();
                for (name, default) in args {
                    shown.push(self.declare(builder, name, default.as_deref())?);
                }
                format!("ARG {}", shown.join(" "))
            }
            Kind::Env(pairs) => {
                // All values are expanded with what held before the instruction.
                let mut values = Vec::new();
                for pair in pairs {
                    values.push((word(builder, &pair.key)?, word(builder, &pair.value)?));
                }
                let mut env = builder.config_env();
                for (name, value) in &values {
                    set(&mut env, name, value);
                }
                builder.config.config.env = env.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
                let shown: Vec<String> = values.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("ENV {}", shown.join(" "))
            }
            Kind::Label(pairs) => {
                let mut shown = Vec::new();
                for pair in pairs {
                    let (name, value) = (word(builder, &pair.key)?, word(builder, &pair.value)?);
                    shown.push(format!("{name}={value}"));
                    builder.config.config.labels.insert(name, value);
                }
                format!("LABEL {}", shown.join(" "))
            }
            Kind::Maintainer(name) => {
                builder.config.author = Some(name.clone());
                format!("MAINTAINER {name}")
            }
            Kind::User(user) => {
                let user = word(builder, user)?;
                builder.config.config.user.clone_from(&user);
                format!("USER {user}")
            }
            Kind::Cmd(command) => {
                let words = command_words(builder, command);
                let shown = format!("CMD {}", history::quoted_list(&words));
                builder.config.config.cmd = Some(words);
                builder.config.config.args_escaped = false;
                builder.cmd_set = true;
                shown
            }
            Kind::Entrypoint(command) => {
                let words = command_words(builder, command);
                let shown = format!("ENTRYPOINT {}", history::quoted_list(&words));
                builder.config.config.entrypoint = Some(words);
                // The base's arguments were meant for the base's program.
                if !builder.cmd_set {
                    builder.config.config.cmd = None;
                }
                shown
            }
            Kind::Expose(ports) => self.expose(builder, ports)?,
            Kind::Volume(volumes) => {
                let mut shown = Vec::new();
                for volume in volumes {
                    let volume = word(builder, volume)?;
                    if volume.is_empty() {
                        return Err(SyntaxError::new("VOLUME specified can not be an empty string"));
                    }
                    builder.config.config.volumes.insert(volume.clone(), Empty {});
                    shown.push(volume);
                }
                format!("VOLUME [{}]", shown.join(" "))
            }
            Kind::StopSignal(signal) => {
                let signal = word(builder, signal)?;
                check_signal(&signal)?;
                builder.config.config.stop_signal.clone_from(&signal);
                format!("STOPSIGNAL {signal}")
            }
            Kind::HealthCheck(check) => health_check(builder, check),
            Kind::Shell(words) => {
                builder.config.config.shell.clone_from(words);
                format!("SHELL [{}]", words.join(" "))
            }
            Kind::OnBuild(text) => {
                builder.config.config.on_build.push(text.clone());
                format!("ONBUILD {text}")
            }
            Kind::Run(_) | Kind::Copy(_) | Kind::Workdir(_) | Kind::From(_) => return Ok(()),
        };
        history::add(&mut builder.config, shown, false, time);
        Ok(())
    }

    /// Declares an argument of the stage. Gives it as history shows it.
    fn declare(&self, builder: &mut Builder, name: &str, default: Option<&str>) -> Result<String, SyntaxError> {
        let name = builder.expanded(self.expander(), name)?.text;
        let default = default
            .map(|default| builder.expanded(self.expander(), default).map(|expanded| expanded.text))
            .transpose()?;
        let given = self.request.build_args.get(&name).cloned();
        let value = given
            .or_else(|| default.clone())
            .or_else(|| builder.globals.value(&name));
        let shown = match &value {
            Some(value) => format!("{name}={value}"),
            None => name.clone(),
        };
        if PROXIES.contains(&name.as_str()) && default.is_none() {
            // Declared or not, a proxy's value is no part of the image.
            return Ok(name);
        }
        builder.args.retain(|(known, _)| *known != name);
        builder.args.push((name, value));
        Ok(shown)
    }

    fn expose(&self, builder: &mut Builder, ports: &[String]) -> Result<String, SyntaxError> {
        let mut all = Vec::new();
        for port in ports {
            for word in builder
                .expanded(
                    Expander {
                        skip_quotes: false,
                        ..self.expander()
                    },
                    port,
                )?
                .words
            {
                all.extend(parse_port(&word).map_err(|error| SyntaxError::new(error.to_string()))?);
            }
        }
        all.sort();
        all.dedup();
        builder
            .config
            .config
            .exposed_ports
            .extend(all.iter().map(|port| (port.clone(), Empty {})));
        Ok(format!("EXPOSE [{}]", all.join(" ")))
    }

    /// WORKDIR: the directory is made, as a layer.
    pub(super) fn workdir(
        &mut self,
        builder: &mut Builder,
        path: &str,
        instruction: &Instruction,
    ) -> Result<(), SyntaxError> {
        let written = builder.expanded(self.expander(), path)?.text;
        let directory = workdir(&workdir_of(builder), &written);
        builder.config.config.working_dir.clone_from(&directory);
        if directory == "/" {
            history::add(&mut builder.config, "WORKDIR /".into(), false, self.request.time);
            return Ok(());
        }
        let action = FileAction::MakeDirectory {
            path: directory.clone(),
            mode: 0o755,
            owner: None,
        };
        let meta = self.meta(builder, instruction.original.clone(), instruction.lines);
        let inputs = vec![builder.vertex.clone()];
        builder.vertex = self.graph.add(Op::File(FileOp { actions: vec![action] }), inputs, meta);
        history::add(
            &mut builder.config,
            format!("WORKDIR {directory}"),
            true,
            self.request.time,
        );
        Ok(())
    }
}

/// A path against the working directory: absolute and cleaned.
pub fn workdir(current: &str, path: &str) -> String {
    let joined = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{current}/{path}")
    };
    path_pattern::clean(&joined)
}

fn command_words(builder: &Builder, command: &CommandLine) -> Vec<String> {
    if !command.shell {
        return command.words.clone();
    }
    if command.words.is_empty() {
        return Vec::new();
    }
    shell_of(builder)
        .into_iter()
        .chain(command.words.iter().cloned())
        .collect()
}

fn health_check(builder: &mut Builder, check: &HealthCheck) -> String {
    let test = match &check.command {
        None => vec!["NONE".to_owned()],
        Some(command) => {
            let kind = if command.shell { "CMD-SHELL" } else { "CMD" };
            std::iter::once(kind.to_owned())
                .chain(command.words.iter().cloned())
                .collect()
        }
    };
    let shown = format!(
        "HEALTHCHECK {{Test:[{}] Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        test.join(" "),
        history::duration(check.interval),
        history::duration(check.timeout),
        history::duration(check.start_period),
        history::duration(check.start_interval),
        check.retries
    );
    builder.config.config.healthcheck = Some(ConfigHealthCheck {
        test,
        interval: check.interval,
        timeout: check.timeout,
        start_period: check.start_period,
        start_interval: check.start_interval,
        retries: check.retries,
    });
    shown
}

/// Names of signals, without `SIG`.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

fn check_signal(signal: &str) -> Result<(), SyntaxError> {
    let upper = signal.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = signal.parse::<u32>().is_ok_and(|number| (1..=64).contains(&number));
    if number || SIGNALS.contains(&name) || name.starts_with("RTMIN") || name.starts_with("RTMAX") {
        return Ok(());
    }
    Err(SyntaxError::new(format!("invalid signal: {signal}")).hint("name a signal such as SIGTERM, or give its number"))
}
