//! RUN.

use kiln_graph::{ExecOp, Mount, MountKind, NetworkMode, Op, SecurityMode, VertexId};

use crate::ast::Heredoc;
use crate::diagnostic::SyntaxError;
use crate::instruction::{Instruction, Run, parse_device, parse_mount};
use crate::lower::args::PROXIES;
use crate::lower::stage::Builder;
use crate::lower::workdir::with_slashes;
use crate::lower::{Env, Lowerer, history};

impl Lowerer<'_> {
    /// False: an image that it mounts is not resolved yet.
    pub(super) fn run(
        &mut self,
        builder: &mut Builder,
        run: &Run,
        instruction: &Instruction,
    ) -> Result<bool, SyntaxError> {
        for device in &run.devices {
            let text = builder.expanded(self.expander(), device)?.text;
            let device = parse_device(&text)?;
            // As with the peers, a step that can do without a device runs without it.
            if device.required {
                let error = SyntaxError::new(format!("the required device `{}` is not available", device.name));
                return Err(error.hint("steps see only the usual devices of a container: leave out `required`, or build where the device is"));
            }
        }
        let (argv, script) = self.command(builder, run);
        let mut inputs = vec![builder.vertex.clone()];
        let mut mounts = Vec::new();
        for text in &run.mounts {
            let expander = self.expander();
            let spec = parse_mount(text, &mut |value| Ok(builder.expanded(expander, value)?.text))?;
            let ssh_mounts = mounts
                .iter()
                .filter(|mount: &&Mount| matches!(mount.kind, MountKind::Ssh { .. }))
                .count();
            match self.mount(builder, &spec, &mut inputs, ssh_mounts, instruction)? {
                Some(mount) => mounts.push(mount),
                None => return Ok(false),
            }
        }
        if let Some((vertex, target)) = script {
            inputs.push(vertex);
            let kind = MountKind::Bind {
                input: inputs.len() - 1,
                source: "script".into(),
                writable: false,
            };
            mounts.push(Mount { target, kind });
        }
        let shown = argv.clone();
        let network = self.network(builder, run)?;
        let security = self.security(run)?;
        let exec = ExecOp {
            argv,
            env: shown_env(builder),
            workdir: workdir_of(builder),
            user: builder.config.config.user.clone(),
            network,
            security,
            hostname: self.hostname(),
            extra_hosts: self.request.extra_hosts.clone(),
            mounts,
            platform: builder.platform.clone(),
            shm_size: self.request.shm_size,
            ulimits: self.request.ulimits.clone(),
            cgroup_parent: self.request.cgroup_parent.clone(),
            resources: Box::new(self.request.resources.clone()),
            proxy: self.proxies(),
        };
        let meta = self.meta(builder, instruction.original.clone(), instruction.lines);
        builder.vertex = self.graph.add(Op::Exec(exec), inputs, meta);
        let text = format!("RUN {}", with_args(builder, &shown));
        history::add_layer(&mut builder.config, text, self.request.time);
        Ok(true)
    }

    /// The words of the command, and the here-document that is a program of its own.
    fn command(&mut self, builder: &Builder, run: &Run) -> (Vec<String>, Option<(VertexId, String)>) {
        if !run.command.shell {
            return (run.command.words.clone(), None);
        }
        let text = run.command.words.first().cloned().unwrap_or_default();
        let shelled = |text: String| -> Vec<String> { shell_of(builder).into_iter().chain([text]).collect() };
        match run.heredocs.as_slice() {
            [heredoc] if is_only_document(&text) => {
                if heredoc.content.starts_with("#!") {
                    let path = format!("/dev/pipes/{}", heredoc.name);
                    return (vec![path.clone()], Some((self.script(heredoc), path)));
                }
                (shelled(heredoc.content.clone()), None)
            }
            heredocs => (shelled(with_documents(&text, heredocs)), None),
        }
    }

    /// A here-document as an executable file.
    fn script(&mut self, heredoc: &Heredoc) -> VertexId {
        let meta = || kiln_graph::VertexMeta {
            name: format!("script {}", heredoc.name),
            ..kiln_graph::VertexMeta::default()
        };
        let scratch = self.graph.add(Op::Scratch, vec![], meta());
        let action = kiln_graph::FileAction::MakeFile {
            destination: "/script".into(),
            name: "script".into(),
            content: heredoc.content.clone(),
            chmod: Some("0755".into()),
            owner: None,
        };
        self.graph.add(
            Op::File(kiln_graph::FileOp {
                actions: vec![action],
                epoch: self.request.epoch(),
            }),
            vec![scratch],
            meta(),
        )
    }

    fn network(&self, builder: &Builder, run: &Run) -> Result<NetworkMode, SyntaxError> {
        let mode = match run.network.as_deref() {
            Some("none") => NetworkMode::None,
            Some("host") => NetworkMode::Host,
            _ => self.request.network,
        };
        if run.network.as_deref() == Some("host") && !self.request.allow_host_network {
            let error = SyntaxError::new("network.host is not allowed");
            return Err(error.hint("allow it with `--allow network.host`").at(builder.lines));
        }
        Ok(mode)
    }

    fn security(&self, run: &Run) -> Result<SecurityMode, SyntaxError> {
        match run.security.as_deref() {
            Some("insecure") if !self.request.allow_insecure => {
                Err(SyntaxError::new("security.insecure is not allowed")
                    .hint("allow it with `--allow security.insecure`"))
            }
            Some("insecure") => Ok(SecurityMode::Insecure),
            _ => Ok(SecurityMode::Sandbox),
        }
    }

    /// As the built-in argument says it, else the request's.
    fn hostname(&self) -> String {
        let given = self.request.build_args.get("BUILDKIT_SANDBOX_HOSTNAME");
        given.unwrap_or(&self.request.hostname).clone()
    }

    fn proxies(&self) -> Env {
        let given = |name: &&str| Some((name.to_string(), self.request.build_args.get(*name)?.clone()));
        PROXIES.iter().filter_map(given).collect()
    }
}

/// What a step sees of the variables.
fn shown_env(builder: &Builder) -> Env {
    let shown = builder.env.iter().filter(|(name, _)| builder.shows(name));
    shown.cloned().collect()
}

/// The shell of the shell form.
pub(super) fn shell_of(builder: &Builder) -> Vec<String> {
    match builder.config.config.shell.as_slice() {
        [] if builder.config.os == "windows" => vec!["cmd".into(), "/S".into(), "/C".into()],
        [] => vec!["/bin/sh".into(), "-c".into()],
        shell => shell.to_vec(),
    }
}

pub(super) fn workdir_of(builder: &Builder) -> String {
    match builder.config.config.working_dir.as_str() {
        "" => "/".into(),
        directory => with_slashes(&builder.platform.os, directory),
    }
}

/// Whether a command is a here-document and nothing else.
fn is_only_document(text: &str) -> bool {
    let text = text.trim();
    let operator = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    operator.starts_with("<<") && !text.contains(char::is_whitespace)
}

fn with_documents(text: &str, heredocs: &[Heredoc]) -> String {
    heredocs.iter().fold(text.to_owned(), |full, heredoc| {
        format!("{full}\n{}{}", heredoc.content, heredoc.name)
    })
}

/// The declared arguments stand before the command: their number, then each with its value.
fn with_args(builder: &Builder, words: &[String]) -> String {
    let mut shown: Env = Env::new();
    for (name, value) in builder.args.iter().filter(|(name, _)| builder.shows(name)) {
        let seen = builder
            .env
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value);
        let value = seen.or(value.as_ref()).cloned().unwrap_or_default();
        super::set(&mut shown, name, &value);
    }
    let mut all = Vec::new();
    if !shown.is_empty() {
        all.push(format!("|{}", shown.len()));
        all.extend(shown.iter().map(|(name, value)| format!("{name}={value}")));
    }
    all.extend(words.iter().cloned());
    all.join(" ")
}
