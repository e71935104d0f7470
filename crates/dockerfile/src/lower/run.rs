//! RUN.

use kiln_graph::{ExecOp, Mount, MountKind, NetworkMode, Op, SecurityMode, Sharing, VertexId};

use crate::ast::Heredoc;
use crate::diagnostic::SyntaxError;
use crate::instruction::{Instruction, MountSpec, Run, parse_mount};
use crate::lower::args::PROXIES;
use crate::lower::stage::{Builder, FileOrigin};
use crate::lower::{Env, Lowerer, history};

impl Lowerer<'_> {
    /// False: an image that it mounts is not resolved yet.
    pub(super) fn run(
        &mut self,
        builder: &mut Builder,
        run: &Run,
        instruction: &Instruction,
    ) -> Result<bool, SyntaxError> {
        if !run.devices.is_empty() {
            let error = SyntaxError::new("RUN --device is not supported yet");
            return Err(error.hint("steps see only the usual devices of a container"));
        }
        let (argv, shown, heredoc_mounts) = self.command(builder, run)?;
        let mut inputs = vec![builder.vertex.clone()];
        let mut mounts = Vec::new();
        for text in &run.mounts {
            let text = builder.expanded(self.expander(), text)?.text;
            let spec = parse_mount(&text)?;
            match self.mount(builder, &spec, &mut inputs, instruction)? {
                Some(mount) => mounts.push(mount),
                None => return Ok(false),
            }
        }
        for (vertex, target) in heredoc_mounts {
            inputs.push(vertex);
            let kind = MountKind::Bind {
                input: inputs.len() - 1,
                source: "script".into(),
                writable: false,
            };
            mounts.push(Mount { target, kind });
        }
        let network = self.network(builder, run)?;
        let security = self.security(run)?;
        let exec = ExecOp {
            argv,
            env: builder.env(),
            workdir: workdir_of(builder),
            user: builder.config.config.user.clone(),
            network,
            security,
            hostname: self.request.hostname.clone(),
            extra_hosts: self.request.extra_hosts.clone(),
            mounts,
            platform: builder.platform.clone(),
            shm_size: self.request.shm_size,
            ulimits: self.request.ulimits.clone(),
            cgroup_parent: self.request.cgroup_parent.clone(),
            proxy: self.proxies(),
        };
        let meta = self.meta(builder, instruction.original.clone(), instruction.lines);
        builder.vertex = self.graph.add(Op::Exec(exec), inputs, meta);
        let text = format!("RUN {}", with_args(builder, &shown));
        history::add_layer(&mut builder.config, text, self.request.time);
        Ok(true)
    }

    /// The words of the command, the same as history shows them, and the here-documents that are files.
    #[expect(clippy::type_complexity, reason = "three results of one reading")]
    fn command(
        &mut self,
        builder: &Builder,
        run: &Run,
    ) -> Result<(Vec<String>, Vec<String>, Vec<(VertexId, String)>), SyntaxError> {
        if !run.command.shell {
            return Ok((run.command.words.clone(), run.command.words.clone(), Vec::new()));
        }
        let text = run.command.words.first().cloned().unwrap_or_default();
        let shell = shell_of(builder);
        let shelled = |text: String| -> Vec<String> { shell.iter().cloned().chain([text]).collect() };
        let [heredoc] = run.heredocs.as_slice() else {
            let full = with_documents(&text, &run.heredocs);
            return Ok((shelled(full.clone()), shelled(full), Vec::new()));
        };
        let only_document = text
            .trim()
            .trim_start_matches(|letter: char| letter.is_ascii_digit())
            .starts_with("<<")
            && !text.trim().contains(char::is_whitespace);
        if !only_document {
            let full = with_documents(&text, &run.heredocs);
            return Ok((shelled(full.clone()), shelled(full), Vec::new()));
        }
        let shown = with_documents(&text, &run.heredocs);
        if heredoc.content.starts_with("#!") {
            let vertex = self.script(heredoc);
            let path = "/dev/pipes/EOF".replace("EOF", &heredoc.name);
            return Ok((vec![path.clone()], shelled(shown), vec![(vertex, path)]));
        }
        Ok((shelled(heredoc.content.clone()), shelled(shown), Vec::new()))
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
            Op::File(kiln_graph::FileOp { actions: vec![action] }),
            vec![scratch],
            meta(),
        )
    }

    fn mount(
        &mut self,
        builder: &Builder,
        spec: &MountSpec,
        inputs: &mut Vec<VertexId>,
        instruction: &Instruction,
    ) -> Result<Option<Mount>, SyntaxError> {
        let mut input = |lowerer: &mut Self| -> Result<Option<usize>, SyntaxError> {
            let vertex = match &spec.from {
                None => lowerer.local("context", lowerer.request.ignore.clone()),
                Some(name) => match lowerer.origin(builder, name, instruction.lines, &instruction.original)? {
                    FileOrigin::Vertex(vertex) => vertex,
                    FileOrigin::Pending => return Ok(None),
                },
            };
            inputs.push(vertex);
            Ok(Some(inputs.len() - 1))
        };
        let absolute = |target: &str| super::workdir(&workdir_of(builder), target);
        let source = || spec.source.clone().unwrap_or_default();
        let (mode, uid, gid) = (spec.mode, spec.uid.unwrap_or(0), spec.gid.unwrap_or(0));
        let kind = match spec.kind.as_str() {
            "bind" => {
                let Some(input) = input(self)? else { return Ok(None) };
                MountKind::Bind {
                    input,
                    source: source(),
                    writable: spec.read_only == Some(false),
                }
            }
            "cache" => {
                let from = match &spec.from {
                    None => None,
                    Some(_) => match input(self)? {
                        Some(input) => Some(input),
                        None => return Ok(None),
                    },
                };
                let target = absolute(spec.target.as_deref().unwrap_or_default());
                MountKind::Cache {
                    id: spec.id.clone().unwrap_or(target),
                    sharing: match spec.sharing.as_deref() {
                        Some("private") => Sharing::Private,
                        Some("locked") => Sharing::Locked,
                        _ => Sharing::Shared,
                    },
                    input: from,
                    source: source(),
                    mode: mode.unwrap_or(0o755),
                    uid,
                    gid,
                    read_only: spec.read_only == Some(true),
                }
            }
            "tmpfs" => MountKind::Tmpfs { size: spec.size },
            "secret" => {
                let id = spec.id.clone().or_else(|| spec.source.clone()).or_else(|| {
                    spec.target
                        .as_deref()
                        .and_then(|target| target.rsplit('/').next())
                        .map(str::to_owned)
                });
                let id = id.ok_or_else(|| SyntaxError::new("one of source, target required"))?;
                let target = match (&spec.target, &spec.env) {
                    (Some(target), _) => absolute(target),
                    (None, Some(_)) => String::new(),
                    (None, None) => format!("/run/secrets/{}", id.rsplit('/').next().unwrap_or(&id)),
                };
                let kind = MountKind::Secret {
                    id,
                    required: spec.required,
                    mode: mode.unwrap_or(0o400),
                    uid,
                    gid,
                    env: spec.env.clone(),
                };
                return Ok(Some(Mount { target, kind }));
            }
            _ => {
                let target = spec
                    .target
                    .as_deref()
                    .map(absolute)
                    .unwrap_or_else(|| "/run/buildkit/ssh_agent.0".to_owned());
                let id = spec.id.clone().unwrap_or_else(|| "default".into());
                return Ok(Some(Mount {
                    target,
                    kind: MountKind::Ssh {
                        id,
                        required: spec.required,
                        mode: mode.unwrap_or(0o600),
                        uid,
                        gid,
                    },
                }));
            }
        };
        Ok(Some(Mount {
            target: absolute(spec.target.as_deref().unwrap_or_default()),
            kind,
        }))
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

    fn proxies(&self) -> Env {
        let given = |name: &&str| Some((name.to_string(), self.request.build_args.get(*name)?.clone()));
        PROXIES.iter().filter_map(given).collect()
    }
}

/// The shell of the shell form.
pub(super) fn shell_of(builder: &Builder) -> Vec<String> {
    match builder.config.config.shell.as_slice() {
        [] => vec!["/bin/sh".into(), "-c".into()],
        shell => shell.to_vec(),
    }
}

pub(super) fn workdir_of(builder: &Builder) -> String {
    match builder.config.config.working_dir.as_str() {
        "" => "/".into(),
        directory => directory.to_owned(),
    }
}

fn with_documents(text: &str, heredocs: &[Heredoc]) -> String {
    heredocs.iter().fold(text.to_owned(), |full, heredoc| {
        format!("{full}\n{}{}", heredoc.content, heredoc.name)
    })
}

/// The declared arguments stand before the command: their number, then each with its value.
fn with_args(builder: &Builder, words: &[String]) -> String {
    let env = builder.config_env();
    let mut shown: Env = Env::new();
    for (name, value) in &builder.args {
        let overridden = env
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone());
        super::set(
            &mut shown,
            name,
            &overridden.or_else(|| value.clone()).unwrap_or_default(),
        );
    }
    let mut all = Vec::new();
    if !shown.is_empty() {
        all.push(format!("|{}", shown.len()));
        all.extend(shown.iter().map(|(name, value)| format!("{name}={value}")));
    }
    all.extend(words.iter().cloned());
    all.join(" ")
}
