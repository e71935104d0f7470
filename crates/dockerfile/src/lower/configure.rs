//! Instructions that change the configuration and no file, and WORKDIR, which does both.

use std::collections::BTreeSet;

use kiln_graph::{FileAction, FileOp, Op, Owner};
use kiln_oci::HealthCheck as ConfigHealthCheck;
use kiln_oci::config::Empty;

use crate::Lines;
use crate::diagnostic::SyntaxError;
use crate::expand::Expander;
use crate::instruction::{CommandLine, HealthCheck, Instruction, Kind};
use crate::lint::{Place, Rule, check_port, check_secret};
use crate::lower::outline::declared;
use crate::lower::run::shell_of;
use crate::lower::stage::{Builder, NEVER_UNDEFINED, variables};
use crate::lower::workdir::{is_absolute, with_slashes, workdir};
use crate::lower::{Lowerer, history, set};
use crate::ports::parse_port;

impl Lowerer<'_> {
    pub(super) fn configure(&mut self, builder: &mut Builder, instruction: &Instruction) -> Result<(), SyntaxError> {
        let expander = self.expander();
        let word = |builder: &Builder, text: &str| builder.expanded(expander, text).map(|expanded| expanded.text);
        let time = self.request.time;
        self.check(builder, instruction);
        let shown = match &instruction.kind {
            Kind::Arg(args) => {
                let mut shown = Vec::new();
                for (name, default) in args {
                    shown.push(self.declare(builder, name, default.as_deref(), instruction)?);
                }
                format!("ARG {}", shown.join(" "))
            }
            Kind::Env(pairs) => {
                // All values are expanded with what held before the instruction.
                let mut values = Vec::new();
                for pair in pairs {
                    let value = builder.expanded(expander, &pair.value)?;
                    values.push((word(builder, &pair.key)?, value.text, value.matched));
                }
                let mut env = variables(&builder.config);
                for (name, value, _) in &values {
                    set(&mut env, name, value);
                    set(&mut builder.env, name, value);
                }
                builder.config.config.env = env.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
                let shown: Vec<String> = values
                    .iter()
                    .map(|(name, value, _)| format!("{name}={value}"))
                    .collect();
                builder.made_of_each(values.iter().map(|(name, _, parts)| (name, parts)));
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
            Kind::Expose(ports) => self.expose(builder, ports, instruction)?,
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
                // A trigger leaves no line in the history: it has not happened yet.
                builder.config.config.on_build.push(text.clone());
                return Ok(());
            }
            Kind::Run(_) | Kind::Copy(_) | Kind::Workdir(_) | Kind::From(_) => return Ok(()),
        };
        history::add(&mut builder.config, shown, false, time);
        Ok(())
    }

    /// Rules about instructions that change the configuration.
    fn check(&mut self, builder: &mut Builder, instruction: &Instruction) {
        let place = instruction.place();
        match &instruction.kind {
            Kind::Env(pairs) | Kind::Label(pairs) => {
                let name = instruction.kind.name();
                for pair in pairs {
                    if pair.legacy {
                        let detail = format!(
                            "\"{name} key=value\" should be used instead of legacy \"{name} key value\" format"
                        );
                        self.linter.report(Rule::LegacyKeyValueFormat, place, detail);
                    }
                    if name == "ENV" {
                        check_secret(self.linter, place, "ENV", &pair.key);
                    }
                }
            }
            Kind::Cmd(command) => {
                let before = builder.used.cmd.replace((place.lines, instruction.comments.clone()));
                self.check_command(builder, instruction, Some(command), before);
            }
            Kind::Entrypoint(command) => {
                let before = builder
                    .used
                    .entrypoint
                    .replace((place.lines, instruction.comments.clone()));
                self.check_command(builder, instruction, Some(command), before);
            }
            Kind::HealthCheck(_) => {
                let before = builder
                    .used
                    .health_check
                    .replace((place.lines, instruction.comments.clone()));
                self.check_command(builder, instruction, None, before);
            }
            _ => {}
        }
    }

    /// The last of several counts: the one before is told of, as it is the one without effect.
    fn check_command(
        &mut self,
        builder: &Builder,
        instruction: &Instruction,
        command: Option<&CommandLine>,
        before: Option<(Lines, Vec<String>)>,
    ) {
        let name = instruction.kind.name();
        if let Some((lines, comments)) = before {
            let detail = format!(
                "Multiple {name} instructions should not be used in the same stage because only the last one will be used"
            );
            let place = Place {
                lines,
                comments: &comments,
            };
            self.linter.report(Rule::MultipleInstructionsDisallowed, place, detail);
        }
        // Who names a shell wants one.
        if command.is_some_and(|command| command.shell) && builder.config.config.shell.is_empty() {
            let detail =
                format!("JSON arguments recommended for {name} to prevent unintended behavior related to OS signals");
            self.linter
                .report(Rule::JsonArgsRecommended, instruction.place(), detail);
        }
    }

    /// Declares an argument of the stage. Gives it as history shows it.
    fn declare(
        &mut self,
        builder: &mut Builder,
        name: &str,
        default: Option<&str>,
        instruction: &Instruction,
    ) -> Result<String, SyntaxError> {
        check_secret(self.linter, instruction.place(), "ARG", name);
        let given = self.request.build_args.get(name).cloned();
        if given.is_none() && default.is_none() {
            self.check_extension(name, instruction.place());
        }
        let inherited = given.is_none() && default.is_none() && builder.globals.value(name).is_some();
        let mut parts = BTreeSet::new();
        let value = match (given, default) {
            (Some(given), _) => Some(given),
            // A default that is not used may be one that cannot be expanded.
            (None, Some(default)) => {
                let expanded = builder.expanded(self.expander(), default)?;
                parts = expanded.matched;
                Some(expanded.text)
            }
            (None, None) => {
                parts = builder.globals.all_parts(name);
                builder.globals.value(name)
            }
        };
        builder.made_of(name, &parts);
        let shown = match &value {
            Some(value) => format!("{name}={value}"),
            None => name.to_owned(),
        };
        let told = declared(name, value.as_deref(), instruction.lines, &instruction.comments);
        builder.outline.declare(told, inherited);
        if let Some(value) = &value
            && !NEVER_UNDEFINED.contains(&name)
        {
            set(&mut builder.env, name, value);
        }
        match builder.args.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => builder.args.push((name.to_owned(), value)),
        }
        Ok(shown)
    }

    fn expose(
        &mut self,
        builder: &mut Builder,
        ports: &[String],
        instruction: &Instruction,
    ) -> Result<String, SyntaxError> {
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
                check_port(self.linter, instruction.place(), &word);
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
        let system = builder.platform.os.clone();
        if !builder.workdir_set && !is_absolute(&system, &written) {
            let detail = format!("Relative workdir {written:?} can have unexpected results if the base image changes");
            self.linter
                .report(Rule::WorkdirRelativePath, instruction.place(), detail);
        }
        builder.workdir_set = true;
        let directory = workdir(&system, &builder.config.config.working_dir, &written)?;
        builder.config.config.working_dir.clone_from(&directory);
        let directory = with_slashes(&system, &directory);
        if directory == "/" {
            history::add(&mut builder.config, "WORKDIR /".into(), false, self.request.time);
            return Ok(());
        }
        let action = FileAction::MakeDirectory {
            path: directory.clone(),
            mode: 0o755,
            owner: Some(&builder.config.config.user)
                .filter(|user| !user.is_empty())
                .map(|user| Owner {
                    text: user.clone(),
                    lenient: true,
                }),
        };
        let meta = self.meta(builder, instruction.original.clone(), instruction.lines);
        let inputs = vec![builder.vertex.clone()];
        let op = FileOp {
            actions: vec![action],
            epoch: self.request.epoch(),
        };
        builder.vertex = self.graph.add(Op::File(op), inputs, meta);
        history::add(
            &mut builder.config,
            format!("WORKDIR {directory}"),
            true,
            self.request.time,
        );
        Ok(())
    }
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
const SIGNALS: [&str; 34] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS", "IOT", "CLD", "POLL",
];

/// `RTMIN` to `RTMIN+15`, `RTMAX-14` to `RTMAX`.
fn is_real_time(name: &str) -> bool {
    let offset = |text: &str, sign: char, most: u32| match text.strip_prefix(sign) {
        Some(digits) => digits.parse::<u32>().is_ok_and(|offset| (1..=most).contains(&offset)),
        None => text.is_empty(),
    };
    let lowest = name.strip_prefix("RTMIN").is_some_and(|rest| offset(rest, '+', 15));
    lowest || name.strip_prefix("RTMAX").is_some_and(|rest| offset(rest, '-', 14))
}

fn check_signal(signal: &str) -> Result<(), SyntaxError> {
    let upper = signal.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = signal.parse::<u32>().is_ok_and(|number| number > 0);
    if number || SIGNALS.contains(&name) || is_real_time(name) {
        return Ok(());
    }
    Err(SyntaxError::new(format!("invalid signal: {signal}")).hint("name a signal such as SIGTERM, or give its number"))
}
