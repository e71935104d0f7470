//! `RUN --mount`: what the mounts of a step come to on this machine.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kiln_graph::{ExecOp, Mount, MountKind, Sharing};
use kiln_image::unpack::UnpackOptions;
use kiln_sandbox::{Changes, Secret, StepMount};
use kiln_solver::Root;
use kiln_store::{CacheMount, CacheMountUse};
use tokio_util::sync::CancellationToken;

use crate::WorkerError;
use crate::layers::{Layers, blocking};
use crate::remote_cache::{CacheImports, restore_mount};
use crate::ssh::{Forwarding, SshAgents};

/// How often a cache that is in use elsewhere is asked for again.
const RETRY: Duration = Duration::from_millis(50);

/// The secrets of a build by identity.
#[derive(Debug, Clone, Default)]
pub struct Secrets(pub BTreeMap<String, Secret>);

/// Why something cannot be mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// A required secret that was not given.
    #[error("secret {0}: not found")]
    NoSecret(String),
    /// A secret for a variable that is no text.
    #[error("secret {0} is not UTF-8 and cannot be the value of a variable")]
    SecretNotText(String),
    /// A required agent that was not given.
    #[error("no SSH key {0:?} forwarded from the client")]
    NoAgent(String),
    /// The socket of an agent.
    #[error("failed to forward the SSH agent `{id}`")]
    Agent {
        /// Which.
        id: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// The mounts of one step, and what must be kept while it runs.
#[derive(Debug, Default)]
pub struct Mounted {
    /// In the order in which they are mounted.
    pub mounts: Vec<StepMount>,
    /// Variables that come with them.
    pub env: Vec<(String, String)>,
    /// The secrets that the step sees.
    pub secrets: Vec<Secret>,
    /// Locked caches, directories for changes and running agents: they end when they are dropped, after the step.
    held: Vec<Box<dyn Any + Send + Sync>>,
}

/// What mounts are made from.
#[derive(Debug)]
pub struct MountSources<'a> {
    /// Layers and the store below them.
    pub layers: &'a Layers,
    /// The roots of the step's inputs.
    pub roots: &'a [Root],
    /// What `--secret` gave.
    pub secrets: &'a Secrets,
    /// What `--ssh` gave.
    pub agents: &'a SshAgents,
    /// Set when the build is to stop.
    pub cancel: &'a CancellationToken,
    /// Caches elsewhere, which may have the files of a cache mount.
    pub imports: &'a CacheImports,
}

impl MountSources<'_> {
    /// Prepares all mounts of a step. Waits for caches that others have locked.
    pub async fn prepare(&self, exec: &ExecOp) -> Result<Mounted, WorkerError> {
        let mut mounted = Mounted::default();
        let caches = self.caches(exec).await?;
        for mount in in_order(&exec.mounts) {
            self.mount(mount, &caches, &mut mounted).await?;
        }
        for cache in caches.into_values() {
            mounted.held.push(Box::new(cache));
        }
        Ok(mounted)
    }

    async fn mount(
        &self,
        mount: &Mount,
        caches: &BTreeMap<String, CacheMount>,
        mounted: &mut Mounted,
    ) -> Result<(), WorkerError> {
        let target = PathBuf::from(&mount.target);
        match &mount.kind {
            MountKind::Bind {
                input,
                source,
                writable,
            } => {
                let root = self.roots.get(*input).cloned().unwrap_or_else(|| Vec::new().into());
                if root.is_empty() && !writable {
                    mounted.mounts.push(StepMount::Bind {
                        source: self.layers.empty_directory()?,
                        inside: relative(source),
                        target,
                        read_only: true,
                    });
                    return Ok(());
                }
                let changes = writable.then(|| self.layers.store().stage_tree()).transpose()?;
                mounted.mounts.push(StepMount::Stack {
                    lowers: self.lowers(&root).await?,
                    changes: changes.as_ref().map(|staged| Changes {
                        upper: staged.path().to_owned(),
                        work: staged.work_path().to_owned(),
                    }),
                    inside: relative(source),
                    target,
                });
                if let Some(changes) = changes {
                    mounted.held.push(Box::new(changes));
                }
            }
            MountKind::Cache {
                source,
                input,
                read_only,
                ..
            } => {
                let wanted = self.cache_wanted(&mount.kind);
                let cache = wanted.and_then(|(id, _)| caches.get(&id));
                let inside = match input {
                    // A cache that is filled from elsewhere holds what `source` names there.
                    Some(_) => PathBuf::new(),
                    None => relative(source),
                };
                mounted.mounts.extend(cache.map(|cache| StepMount::Bind {
                    source: cache.path().to_owned(),
                    inside,
                    target,
                    read_only: *read_only,
                }));
            }
            MountKind::Tmpfs { size } => mounted.mounts.push(StepMount::Tmpfs {
                target,
                size: *size,
                mode: 0o1777,
            }),
            MountKind::Secret { .. } => self.secret(mount, mounted)?,
            MountKind::Ssh { .. } => self.agent(mount, mounted)?,
        }
        Ok(())
    }

    fn secret(&self, mount: &Mount, mounted: &mut Mounted) -> Result<(), WorkerError> {
        let MountKind::Secret {
            id,
            required,
            mode,
            uid,
            gid,
            env,
        } = &mount.kind
        else {
            return Ok(());
        };
        let Some(value) = self.secrets.0.get(id) else {
            return if *required {
                Err(MountError::NoSecret(id.clone()).into())
            } else {
                Ok(())
            };
        };
        if let Some(name) = env {
            let text = String::from_utf8(value.0.clone()).map_err(|_| MountError::SecretNotText(id.clone()))?;
            mounted.env.push((name.clone(), text));
        }
        if !mount.target.is_empty() {
            mounted.mounts.push(StepMount::File {
                content: value.clone(),
                target: PathBuf::from(&mount.target),
                mode: *mode,
                uid: *uid,
                gid: *gid,
            });
        }
        mounted.secrets.push(value.clone());
        Ok(())
    }

    fn agent(&self, mount: &Mount, mounted: &mut Mounted) -> Result<(), WorkerError> {
        let MountKind::Ssh {
            id,
            required,
            mode,
            uid,
            gid,
        } = &mount.kind
        else {
            return Ok(());
        };
        let first = !mounted.env.iter().any(|(name, _)| name == AGENT_VARIABLE);
        let Some(source) = self.agents.0.get(id) else {
            return if *required {
                Err(MountError::NoAgent(id.clone()).into())
            } else {
                Ok(())
            };
        };
        let scratch = self.layers.store().scratch_dir()?;
        let forwarding = Forwarding::start(scratch.path(), source.clone(), *mode, *uid, *gid);
        let forwarding = forwarding.map_err(|source| MountError::Agent { id: id.clone(), source })?;
        mounted.mounts.push(StepMount::Bind {
            source: forwarding.path().to_owned(),
            inside: PathBuf::new(),
            target: PathBuf::from(&mount.target),
            read_only: false,
        });
        if first {
            mounted.env.push((AGENT_VARIABLE.into(), mount.target.clone()));
        }
        mounted.held.push(Box::new((forwarding, scratch)));
        Ok(())
    }

    /// The trees of an input, the top one first. Below them lies an empty one: overlay wants two trees where nothing
    /// is written.
    async fn lowers(&self, root: &Root) -> Result<Vec<PathBuf>, WorkerError> {
        let mut lowers = self.layers.stack(root).await?;
        lowers.reverse();
        lowers.push(self.layers.empty_directory()?);
        Ok(lowers)
    }

    /// The caches of a step by identity, taken in the order of the identities, so that two steps never wait for
    /// each other.
    async fn caches(&self, exec: &ExecOp) -> Result<BTreeMap<String, CacheMount>, WorkerError> {
        let kinds = exec.mounts.iter().map(|mount| &mount.kind);
        let wanted: BTreeMap<String, CacheWanted<'_>> = kinds.filter_map(|kind| self.cache_wanted(kind)).collect();
        let mut caches = BTreeMap::new();
        for (id, wanted) in wanted {
            let cache = self.take_cache(&id, &wanted).await?;
            caches.insert(id, cache);
        }
        Ok(caches)
    }

    /// The cache that a mount wants: what identifies it, and what it is made of at first.
    fn cache_wanted<'m>(&'m self, kind: &'m MountKind) -> Option<(String, CacheWanted<'m>)> {
        let MountKind::Cache {
            id,
            sharing,
            input,
            source,
            mode,
            uid,
            gid,
            ..
        } = kind
        else {
            return None;
        };
        let wanted = CacheWanted {
            usage: match sharing {
                Sharing::Shared => CacheMountUse::Shared,
                Sharing::Private => CacheMountUse::Private,
                Sharing::Locked => CacheMountUse::Locked,
            },
            from: input.and_then(|input| Some((self.roots.get(input)?, source.as_str()))),
            mode: *mode,
            owner: (*uid, *gid),
        };
        let mut text = identity(id, *mode, (*uid, *gid));
        if let Some((root, source)) = wanted.from {
            let layers: Vec<String> = root.iter().map(ToString::to_string).collect();
            text.push_str(&format!("\nfrom {} {source}", layers.join(" ")));
        }
        Some((text, wanted))
    }

    async fn take_cache(&self, id: &str, wanted: &CacheWanted<'_>) -> Result<CacheMount, WorkerError> {
        let plan = match wanted.from {
            Some((root, source)) => Some(crate::copy::contents_of(self.layers, root, source).await?),
            None => None,
        };
        let missing = wanted.from.is_none() && !self.layers.store().has_cache_mount(id);
        let chunks = if missing {
            self.imports.mount(id, self.layers).await?
        } else {
            None
        };
        loop {
            let (store, id, plan) = (self.layers.store().clone(), id.to_owned(), plan.clone());
            let (chunks, layers) = (chunks.clone(), self.layers.clone());
            let (usage, owner, mode) = (wanted.usage, wanted.owner, wanted.mode);
            let ownership = self.layers.ownership();
            let taken = blocking(move || {
                store.try_cache_mount(&id, usage, |directory| {
                    if let Some(plan) = &plan {
                        kiln_image::plan::write_tree(plan, directory, ownership)?;
                    }
                    if let Some(chunks) = &chunks {
                        let options = UnpackOptions {
                            ownership,
                            ..UnpackOptions::default()
                        };
                        restore_mount(chunks, directory, layers.store(), options)?;
                    }
                    own(directory, mode, owner)
                })
            });
            if let Some(cache) = taken.await? {
                return Ok(cache);
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                () = self.cancel.cancelled() => return Err(WorkerError::Cancelled),
            }
        }
    }
}

/// How a step wants to use a cache, and how the cache is made.
struct CacheWanted<'a> {
    usage: CacheMountUse,
    /// The root that it is filled from, and what of it.
    from: Option<(&'a Root, &'a str)>,
    mode: u32,
    owner: (u32, u32),
}

/// What identifies a cache: its name, and how its directory is made if it is made in another way than usual.
fn identity(id: &str, mode: u32, owner: (u32, u32)) -> String {
    match (mode, owner) {
        (0o755, (0, 0)) => id.to_owned(),
        (mode, (uid, gid)) => format!("{id}\n{mode:o} {uid}:{gid}"),
    }
}

/// The identity of a cache that means the same on any machine. One that is filled from a root does not: its files are
/// where the root is.
pub(crate) fn portable_id(kind: &MountKind) -> Option<String> {
    match kind {
        MountKind::Cache {
            id,
            input: None,
            mode,
            uid,
            gid,
            ..
        } => Some(identity(id, *mode, (*uid, *gid))),
        _ => None,
    }
}

/// Where programs look for an agent.
pub(crate) const AGENT_VARIABLE: &str = "SSH_AUTH_SOCK";

/// Parents before what is mounted in them, else as they are written.
fn in_order(mounts: &[Mount]) -> Vec<&Mount> {
    let mut ordered: Vec<&Mount> = mounts.iter().collect();
    ordered.sort_by_key(|mount| Path::new(&mount.target).components().count());
    ordered
}

fn relative(source: &str) -> PathBuf {
    PathBuf::from(crate::source_tree::clean(source))
}

fn own(directory: &Path, mode: u32, (uid, gid): (u32, u32)) -> Result<(), WorkerError> {
    let failed = |operation: &'static str| {
        move |source: std::io::Error| WorkerError::Io {
            operation,
            path: directory.to_owned(),
            source,
        }
    };
    if (uid, gid) != (0, 0) {
        std::os::unix::fs::lchown(directory, Some(uid), Some(gid)).map_err(failed("set the owner of"))?;
    }
    rustix::fs::chmod(directory, rustix::fs::Mode::from_raw_mode(mode))
        .map_err(|error| failed("set the mode of")(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_mounted_before_what_is_in_them() {
        let mount = |target: &str| Mount {
            target: target.into(),
            kind: MountKind::Tmpfs { size: None },
        };
        let mounts = [mount("/a/b/c"), mount("/a"), mount("/b"), mount("/a/b")];
        let order: Vec<&str> = in_order(&mounts).iter().map(|mount| mount.target.as_str()).collect();
        assert_eq!(order, ["/a", "/b", "/a/b", "/a/b/c"]);
    }

    #[test]
    fn sources_stay_inside() {
        assert_eq!(relative("."), Path::new(""));
        assert_eq!(relative("/x/../../y"), Path::new("y"));
    }
}
