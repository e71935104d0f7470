//! RUN: a step in a sandbox.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kiln_graph::{Event, EventSink, ExecOp, LogStream, NetworkMode, SecurityMode, Vertex, VertexId};
use kiln_image::view::{FollowLast, RootView};
use kiln_oci::Platform;
use kiln_sandbox::emulator::{Execution, execution};
use kiln_sandbox::{
    Emulator, EmulatorSearch, Exit, Network, Privileges, RootSource, RunningStep, Stdio, Step, StepMount,
};
use kiln_solver::{Root, StepContext};
use kiln_store::index::EntryKind;
use kiln_store::{LayerId, LayerRecord, StagedTree};
use rustix::event::{PollFd, PollFlags, poll};
use tokio_util::sync::CancellationToken;

use crate::destination::shown;
use crate::ground::Ground;
use crate::layers::{Layers, blocking};
use crate::mask::{Mask, MaskedStream};
use crate::mounts::{AGENT_VARIABLE, MountSources, Mounted, Secrets};
use crate::remote_cache::CacheImports;
use crate::ssh::SshAgents;
use crate::{StepExit, WorkerError};

/// How steps run on this machine.
#[derive(Debug, Clone, Default)]
pub struct ExecSettings {
    /// Where emulators are.
    pub emulators: EmulatorSearch,
    /// The machine's `/etc/resolv.conf`, for steps that have a network.
    pub resolv_conf: Option<String>,
    /// Seconds after which a step is stopped; None is never.
    pub timeout: Option<std::time::Duration>,
    /// What `--secret` gave.
    pub secrets: Secrets,
    /// What `--ssh` gave.
    pub agents: SshAgents,
    /// Whether the root of a step that fails is kept, to look around in it.
    pub keep_failed: bool,
}

/// Bytes of `/dev/shm` unless the request says otherwise: Docker's default.
const SHM_SIZE: u64 = 64 << 20;

/// Lines of a failing step's output that its error shows.
const LOG_TAIL: usize = 20;

impl ExecSettings {
    /// Text without the values of secrets.
    pub fn conceal(&self, text: String) -> String {
        let mask = Mask::new(self.secrets.0.values());
        if mask.is_empty() {
            return text;
        }
        let mut stream = mask.stream();
        let mut shown = stream.push(text.as_bytes());
        shown.extend(stream.finish());
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// Whether steps of a platform run under an emulator.
    pub fn is_emulated(&self, platform: &Platform) -> bool {
        execution(platform) == Execution::Emulated
    }
}

/// A step that failed, with everything that it ran in.
#[derive(Debug)]
pub struct FailedStep {
    step: Step,
    shell: Option<String>,
    _staged: StagedTree,
    _ground: Arc<Ground>,
    _mounted: Mounted,
}

impl FailedStep {
    /// The same surroundings for another program, on the terminal of this process.
    pub fn with_program(&self, argv: Vec<OsString>, mounts: Vec<StepMount>) -> Step {
        Step {
            argv,
            mounts: self.step.mounts.iter().cloned().chain(mounts).collect(),
            stdio: Stdio::Terminal,
            ..self.step.clone()
        }
    }

    /// The shell of the step's root, if it has one.
    pub fn shell(&self) -> Option<&str> {
        self.shell.as_deref()
    }
}

/// Shells, the most comfortable first.
const SHELLS: [&str; 4] = ["/bin/bash", "/bin/sh", "/bin/ash", "/busybox/sh"];

fn shell_of(view: &RootView) -> Option<String> {
    let is_there = |path: &&str| matches!(view.lookup(path.as_bytes(), FollowLast::Yes), Ok(Some(found)) if !found.entry.is_directory());
    SHELLS.iter().find(|path| is_there(path)).map(|path| (*path).to_owned())
}

/// Runs a step on the root of its first input. The upper directory becomes the new layer's tree as it is.
pub async fn run(
    layers: &Layers,
    settings: &ExecSettings,
    vertex: &Vertex,
    exec: &ExecOp,
    roots: &[Root],
    imports: &CacheImports,
    context: &StepContext,
) -> Result<Root, WorkerError> {
    let base: Root = roots.first().cloned().unwrap_or_else(|| Vec::new().into());
    let emulator = settings.emulators.find(&exec.platform)?;
    let sources = MountSources {
        layers,
        roots,
        secrets: &settings.secrets,
        agents: &settings.agents,
        cancel: &context.cancel,
        imports,
    };
    let mounted = sources.prepare(exec).await?;
    let prepared = prepare(layers, settings, exec, &base, mounted, emulator).await?;
    let job = Job {
        layers: layers.clone(),
        events: context.events.clone(),
        cancel: context.cancel.clone(),
        vertex: vertex.clone(),
        platform: exec.platform.clone(),
        timeout: settings.timeout,
        keep_failed: settings.keep_failed,
    };
    let layer = blocking(move || job.run(prepared)).await?;
    Ok(base.iter().cloned().chain([layer]).collect())
}

struct Prepared {
    step: Step,
    staged: StagedTree,
    ground: Arc<Ground>,
    mounted: Mounted,
    shell: Option<String>,
}

async fn prepare(
    layers: &Layers,
    settings: &ExecSettings,
    exec: &ExecOp,
    base: &Root,
    mounted: Mounted,
    emulator: Option<Emulator>,
) -> Result<Prepared, WorkerError> {
    let view = layers.view(base).await?;
    let mut lowers = layers.stack(base).await?;
    lowers.reverse();
    let staged = layers.store().stage_tree()?;
    let passwd = read_file(layers, base, &view, b"etc/passwd").await?;
    let group = read_file(layers, base, &view, b"etc/group").await?;
    let user =
        kiln_sandbox::user::resolve_user(&exec.user, passwd.as_deref(), group.as_deref()).map_err(WorkerError::User)?;
    make_workdir(&view, &exec.workdir, staged.path())?;
    let network = match exec.network {
        NetworkMode::None => Network::None,
        NetworkMode::Default | NetworkMode::Host => Network::Host,
    };
    let resolv_conf = settings.resolv_conf.clone().filter(|_| network == Network::Host);
    let ground = match resolv_conf {
        Some(_) => Network::Host,
        None => Network::None,
    };
    let ground = layers.ground(ground).await?;
    lowers.push(ground.path().to_owned());
    let step = Step {
        root: RootSource::Overlay {
            lowers,
            upper: staged.path().to_owned(),
            work: staged.work_path().to_owned(),
        },
        mounts: mounted.mounts.clone(),
        argv: exec.argv.iter().map(Into::into).collect(),
        env: environment(exec, &mounted, &user.home),
        cwd: PathBuf::from(&exec.workdir),
        uid: user.uid,
        gid: user.gid,
        groups: user.groups,
        hostname: if exec.hostname.is_empty() {
            "kiln".into()
        } else {
            exec.hostname.clone()
        },
        hosts: Some(hosts_file(&exec.hostname, &exec.extra_hosts)),
        resolv_conf,
        network,
        privileges: match exec.security {
            SecurityMode::Sandbox => Privileges::Default,
            SecurityMode::Insecure => Privileges::Insecure,
        },
        emulator,
        shm_size: exec.shm_size.unwrap_or(SHM_SIZE),
        ulimits: exec
            .ulimits
            .iter()
            .map(|(name, (soft, hard))| (name.clone(), *soft, *hard))
            .collect(),
        resources: *exec.resources.clone(),
        stdio: Stdio::Pipes,
    };
    Ok(Prepared {
        step,
        staged,
        ground,
        mounted,
        shell: shell_of(&view),
    })
}

/// Proxies, then what the Dockerfile says, then what mounts bring. An agent that the Dockerfile chose stays.
fn environment(exec: &ExecOp, mounted: &Mounted, home: &str) -> Vec<(OsString, OsString)> {
    let mut all: Vec<(String, String)> = Vec::new();
    let chosen = |name: &str| exec.env.iter().any(|(known, _)| known == name);
    let from_mounts = mounted
        .env
        .iter()
        .filter(|(name, _)| name != AGENT_VARIABLE || !chosen(name));
    for (name, value) in exec.proxy.iter().chain(&exec.env).chain(from_mounts) {
        match all.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => value.clone_into(known),
            None => all.push((name.clone(), value.clone())),
        }
    }
    if !all.iter().any(|(name, _)| name == "HOME") {
        all.push(("HOME".into(), home.to_owned()));
    }
    all.into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

/// The working directory is made if the root lacks it, as runtimes do.
fn make_workdir(view: &RootView, workdir: &str, upper: &Path) -> Result<(), WorkerError> {
    let missing = matches!(view.lookup(workdir.as_bytes(), FollowLast::Yes), Ok(None));
    if !missing {
        return Ok(());
    }
    let path = upper.join(workdir.trim_start_matches('/'));
    std::fs::create_dir_all(&path).map_err(|source| WorkerError::Io {
        operation: "make",
        path,
        source,
    })
}

/// `/etc/hosts` of a step.
pub fn hosts_file(hostname: &str, extra: &[(String, String)]) -> String {
    let mut text = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    let name = if hostname.is_empty() { "kiln" } else { hostname };
    text.push_str(&format!("127.0.1.1\t{name}\n"));
    for (name, address) in extra {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text
}

/// A small file of a root, if it is there and a file.
pub async fn read_file(
    layers: &Layers,
    root: &Root,
    view: &RootView,
    path: &[u8],
) -> Result<Option<Vec<u8>>, WorkerError> {
    const LIMIT: u64 = 4 << 20;
    let Ok(Some(found)) = view.lookup(path, FollowLast::Yes) else {
        return Ok(None);
    };
    if !matches!(found.entry.kind, EntryKind::File { .. } | EntryKind::Hardlink { .. }) {
        return Ok(None);
    }
    let Some(layer) = root.get(found.layer) else {
        return Ok(None);
    };
    let path = found.path.clone();
    if let Some(known) = layers.small_file(layer, &path) {
        return Ok(Some(known.to_vec()));
    }
    let directory = layers.open_tree(layer).await?;
    let read = blocking(move || {
        let failed = |source| WorkerError::Io {
            operation: "read",
            path: PathBuf::from(shown(&path)),
            source,
        };
        let mut bytes = Vec::new();
        let file = kiln_image::plan::open_below(&directory, &path).map_err(failed)?;
        file.take(LIMIT).read_to_end(&mut bytes).map_err(failed)?;
        Ok((path, bytes))
    });
    let (path, bytes) = read.await?;
    layers.keep_small_file(layer, path, &bytes);
    Ok(Some(bytes))
}

/// One step under way: everything that its thread needs.
struct Job {
    layers: Layers,
    events: Arc<dyn EventSink>,
    cancel: CancellationToken,
    vertex: Vertex,
    platform: Platform,
    timeout: Option<std::time::Duration>,
    keep_failed: bool,
}

impl Job {
    fn run(self, prepared: Prepared) -> Result<LayerId, WorkerError> {
        let Prepared {
            step,
            staged,
            ground,
            mounted,
            shell,
        } = prepared;
        let mask = Mask::new(&mounted.secrets);
        if self.cancel.is_cancelled() {
            return Err(WorkerError::Cancelled);
        }
        let mut running = step.spawn().map_err(WorkerError::Sandbox)?;
        let stop = Stop::watch(&running, self.cancel.clone(), self.timeout);
        let mut output = Output {
            events: self.events.clone(),
            vertex: self.vertex.id.clone(),
            tail: Tail::default(),
        };
        output.read_all([
            (running.stdout.take(), LogStream::Stdout, mask.stream()),
            (running.stderr.take(), LogStream::Stderr, mask.stream()),
        ]);
        let ended = running.wait();
        let timed_out = stop.finish();
        if self.cancel.is_cancelled() {
            return Err(WorkerError::Cancelled);
        }
        let exit = match ended {
            _ if timed_out => StepExit::TimedOut,
            Ok(Exit::Code(0)) => return self.commit(staged),
            Ok(Exit::Code(code)) => StepExit::Code(code),
            Ok(Exit::Signal(signal)) => StepExit::Signal(signal),
            Ok(Exit::EmulatorDied { binary, signal }) => StepExit::EmulatorDied { binary, signal },
            Err(error) => return Err(WorkerError::Sandbox(error)),
        };
        let log = output.tail.lines();
        Err(WorkerError::Exit {
            command: step
                .argv
                .iter()
                .map(|word| word.to_string_lossy())
                .collect::<Vec<_>>()
                .join(" "),
            exit,
            log,
            platform: self.platform,
            lines: self.vertex.meta.lines.clone(),
            kept: self.keep_failed.then(|| {
                Box::new(FailedStep {
                    step,
                    shell,
                    _staged: staged,
                    _ground: ground,
                    _mounted: mounted,
                })
            }),
        })
    }

    /// The upper directory is the layer's tree: no file is touched.
    fn commit(&self, staged: StagedTree) -> Result<LayerId, WorkerError> {
        let id = LayerId::random();
        let index = kiln_image::scan::scan_tree(staged.path())?;
        let store = self.layers.store();
        store.put_layer_index(&id, &index)?;
        staged.commit(&id)?;
        self.layers.keep_with_record(LayerRecord {
            unpacked_size: index.total_size(),
            ..LayerRecord::new(id.clone())
        });
        Ok(id)
    }
}

/// Where the output of a step goes.
struct Output {
    events: Arc<dyn EventSink>,
    vertex: VertexId,
    tail: Tail,
}

/// One of a step's streams, as long as it is open.
struct OpenStream<'a> {
    stream: std::fs::File,
    kind: LogStream,
    masked: MaskedStream<'a>,
    pending: Vec<u8>,
}

impl Output {
    /// Reads streams until all of them have ended.
    fn read_all<'a>(&mut self, streams: [(Option<std::fs::File>, LogStream, MaskedStream<'a>); 2]) {
        let mut open: Vec<OpenStream<'a>> = streams
            .into_iter()
            .filter_map(|(stream, kind, masked)| {
                Some(OpenStream {
                    stream: stream?,
                    kind,
                    masked,
                    pending: Vec::new(),
                })
            })
            .collect();
        let mut buffer = [0; 16 << 10];
        while !open.is_empty() {
            let mut watched: Vec<PollFd<'_>> = open
                .iter()
                .map(|open| PollFd::new(&open.stream, PollFlags::IN))
                .collect();
            match poll(&mut watched, None) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                // What cannot be waited for has told all that it could.
                Err(_) => break,
            }
            let ready: Vec<bool> = watched.iter().map(|watched| !watched.revents().is_empty()).collect();
            let mut ready = ready.into_iter();
            open.retain_mut(|open| !ready.next().unwrap_or(false) || self.read(open, &mut buffer));
        }
        for mut open in open {
            self.end(&mut open);
        }
    }

    /// Reads what is there. False: the stream has ended.
    fn read(&mut self, open: &mut OpenStream<'_>, buffer: &mut [u8]) -> bool {
        match open.stream.read(buffer) {
            Ok(count @ 1..) => {
                open.pending.extend(open.masked.push(&buffer[..count]));
                let whole = whole_text(&mut open.pending);
                self.send(open.kind, whole);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => true,
            Ok(_) | Err(_) => {
                self.end(open);
                false
            }
        }
    }

    fn end(&mut self, open: &mut OpenStream<'_>) {
        open.pending.extend(open.masked.finish());
        let rest = String::from_utf8_lossy(&open.pending).into_owned();
        open.pending.clear();
        self.send(open.kind, rest);
    }

    fn send(&mut self, stream: LogStream, text: String) {
        if text.is_empty() {
            return;
        }
        self.tail.add(&text);
        self.events.send(Event::StepLog {
            vertex: self.vertex.clone(),
            stream,
            text,
        });
    }
}

/// Takes the text so far, but not a character whose last bytes have not come yet.
fn whole_text(pending: &mut Vec<u8>) -> String {
    let end = match std::str::from_utf8(pending) {
        Ok(_) => pending.len(),
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Err(_) => pending.len(),
    };
    let rest = pending.split_off(end);
    let text = String::from_utf8_lossy(pending).into_owned();
    *pending = rest;
    text
}

/// The last lines of a step's output.
#[derive(Default)]
struct Tail {
    lines: VecDeque<String>,
    open: String,
}

impl Tail {
    fn add(&mut self, text: &str) {
        for piece in text.split_inclusive('\n') {
            self.open.push_str(piece);
            if piece.ends_with('\n') {
                let line = std::mem::take(&mut self.open);
                self.push(line.trim_end_matches(['\n', '\r']).to_owned());
            }
        }
    }

    fn push(&mut self, line: String) {
        if self.lines.len() == LOG_TAIL {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    fn lines(mut self) -> Vec<String> {
        if !self.open.is_empty() {
            let line = std::mem::take(&mut self.open);
            self.push(line);
        }
        self.lines.into()
    }
}

/// Ends a step when the build is cancelled or its time is over.
struct Stop {
    done: CancellationToken,
    is_late: Arc<AtomicBool>,
}

impl Stop {
    fn watch(running: &RunningStep, cancel: CancellationToken, timeout: Option<std::time::Duration>) -> Stop {
        let stop = Stop {
            done: CancellationToken::new(),
            is_late: Arc::default(),
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (handle, done, is_late) = (running.handle(), stop.done.clone(), stop.is_late.clone());
            runtime.spawn(async move {
                let late = async {
                    match timeout {
                        Some(timeout) => tokio::time::sleep(timeout).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = done.cancelled() => {}
                    () = cancel.cancelled() => handle.kill(),
                    () = late => {
                        is_late.store(true, Ordering::Release);
                        handle.kill();
                    }
                }
            });
        }
        stop
    }

    /// Whether the step took too long.
    fn finish(self) -> bool {
        self.done.cancel();
        self.is_late.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_is_never_torn() {
        let mut pending = "aä".as_bytes()[..2].to_vec();
        assert_eq!(whole_text(&mut pending), "a");
        pending.extend_from_slice(&"ä".as_bytes()[1..]);
        assert_eq!(whole_text(&mut pending), "ä");
        let mut invalid = vec![b'x', 0xff, b'y'];
        assert_eq!(whole_text(&mut invalid), "x\u{fffd}y");
    }

    #[test]
    fn the_tail_keeps_the_last_lines() {
        let mut tail = Tail::default();
        (0..30).for_each(|number| tail.add(&format!("line {number}\n")));
        tail.add("open");
        let lines = tail.lines();
        assert_eq!(lines.len(), LOG_TAIL);
        assert_eq!(lines.last().map(String::as_str), Some("open"));
        assert_eq!(lines[0], "line 11");
    }
}
