//! `RUN --mount`.

use kiln_graph::{Mount, MountKind, Sharing, VertexId};

use crate::diagnostic::SyntaxError;
use crate::instruction::{Instruction, MountSpec};
use crate::lower::Lowerer;
use crate::lower::run::workdir_of;
use crate::lower::stage::{Builder, FileOrigin};
use crate::outline::OutlineSecret;
use crate::path_pattern;

/// The build argument that sets the caches of one build apart from those of others.
const CACHE_NAMESPACE: &str = "BUILDKIT_CACHE_MOUNT_NS";

impl Lowerer<'_> {
    /// One mount; `ssh_mounts` stand before it. None: an image that it takes files from is not resolved yet.
    pub(super) fn mount(
        &mut self,
        builder: &mut Builder,
        spec: &MountSpec,
        inputs: &mut Vec<VertexId>,
        ssh_mounts: usize,
        instruction: &Instruction,
    ) -> Result<Option<Mount>, SyntaxError> {
        let directory = workdir_of(builder);
        let absolute = |target: &str| super::absolute(&directory, target);
        let written = spec.target.as_deref();
        let (uid, gid) = (spec.uid.unwrap_or(0), spec.gid.unwrap_or(0));
        let mount = match spec.kind.as_str() {
            "bind" => {
                let Some(input) = self.mounted_input(builder, spec, inputs, instruction)? else {
                    return Ok(None);
                };
                let kind = MountKind::Bind {
                    input,
                    source: spec.source.clone().unwrap_or_default(),
                    writable: spec.read_only == Some(false),
                };
                Mount {
                    target: absolute(written.unwrap_or_default()),
                    kind,
                }
            }
            "cache" => {
                let input = match &spec.from {
                    None => None,
                    Some(_) => match self.mounted_input(builder, spec, inputs, instruction)? {
                        Some(input) => Some(input),
                        None => return Ok(None),
                    },
                };
                let target = absolute(written.unwrap_or_default());
                let id = spec
                    .id
                    .clone()
                    .map_or_else(|| target.clone(), |id| path_pattern::clean(&id));
                let kind = MountKind::Cache {
                    id: match self.request.build_args.get(CACHE_NAMESPACE) {
                        Some(namespace) if !namespace.is_empty() => path_pattern::clean(&format!("{namespace}/{id}")),
                        _ => id,
                    },
                    sharing: match spec.sharing.as_deref() {
                        Some("private") => Sharing::Private,
                        Some("locked") => Sharing::Locked,
                        _ => Sharing::Shared,
                    },
                    input,
                    source: spec.source.clone().unwrap_or_default(),
                    mode: spec.mode.unwrap_or(0o755),
                    uid,
                    gid,
                    read_only: spec.read_only == Some(true),
                };
                Mount { target, kind }
            }
            "tmpfs" => Mount {
                target: absolute(written.unwrap_or_default()),
                kind: MountKind::Tmpfs { size: spec.size },
            },
            "secret" => {
                let id = secret_id(spec)?;
                builder.outline.secrets.push(OutlineSecret {
                    name: id.clone(),
                    required: spec.required,
                    lines: instruction.lines,
                });
                let target = match (written, &spec.env) {
                    (Some(target), _) => absolute(target),
                    (None, Some(_)) => String::new(),
                    (None, None) => format!("/run/secrets/{}", last_component(&id)),
                };
                let kind = MountKind::Secret {
                    id,
                    required: spec.required,
                    mode: spec.mode.unwrap_or(0o400),
                    uid,
                    gid,
                    env: spec.env.clone(),
                };
                return Ok(Some(Mount { target, kind }));
            }
            _ => {
                if spec.source.is_some() {
                    return Err(SyntaxError::new("ssh does not support source").hint("name the agent with `id=`"));
                }
                let id = spec.id.clone().unwrap_or_else(|| "default".into());
                builder.outline.ssh.push(OutlineSecret {
                    name: id.clone(),
                    required: spec.required,
                    lines: instruction.lines,
                });
                let target = written.map_or_else(|| format!("/run/buildkit/ssh_agent.{ssh_mounts}"), absolute);
                let kind = MountKind::Ssh {
                    id,
                    required: spec.required,
                    mode: spec.mode.unwrap_or(0o600),
                    uid,
                    gid,
                };
                return Ok(Some(Mount { target, kind }));
            }
        };
        if mount.target == "/" {
            return Err(SyntaxError::new("invalid mount target \"/\"").hint("mount below a directory of its own"));
        }
        Ok(Some(mount))
    }

    /// The input that a mount takes files from: the build context unless `from` says otherwise.
    fn mounted_input(
        &mut self,
        builder: &mut Builder,
        spec: &MountSpec,
        inputs: &mut Vec<VertexId>,
        instruction: &Instruction,
    ) -> Result<Option<usize>, SyntaxError> {
        let vertex = match &spec.from {
            None => self.build_context(),
            Some(name) => match self.origin(builder, name, instruction.lines, &instruction.original)? {
                FileOrigin::Vertex(vertex) => vertex,
                FileOrigin::Pending => return Ok(None),
            },
        };
        inputs.push(vertex);
        Ok(Some(inputs.len() - 1))
    }
}

fn secret_id(spec: &MountSpec) -> Result<String, SyntaxError> {
    let id = spec.source.clone().or_else(|| spec.id.clone());
    let id = id.or_else(|| spec.target.as_deref().map(|target| last_component(target).to_owned()));
    id.ok_or_else(|| SyntaxError::new("one of source, target required").hint("write `id=NAME`"))
}

fn last_component(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
