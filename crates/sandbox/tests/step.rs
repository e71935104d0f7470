//! Real steps in real roots: native ones, and arm64 under emulation where QEMU is installed.

#![expect(unsafe_code, reason = "the init must run before the harness does")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says why it is skipped"
)]

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_oci::Platform;
use kiln_sandbox::{
    Changes, Emulator, EmulatorSearch, Exit, Network, Privileges, RootSource, SandboxError, Secret, Stdio, Step,
    StepMount,
};

/// The test binary is its own sandbox init: before the test harness begins, as `main` of the real program does.
#[used]
#[unsafe(link_section = ".init_array")]
static INIT: extern "C" fn() = init;

extern "C" fn init() {
    kiln_sandbox::init_if_requested();
}

/// A directory that is removed afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("kiln-step-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn directory(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether this machine has what the test needs; says why not.
fn can_run(busybox: &Path) -> bool {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return false;
    }
    if !busybox.exists() {
        println!("skipped: needs {} (package busybox-static)", busybox.display());
        return false;
    }
    true
}

fn tree(scratch: &Scratch, busybox: &Path) -> PathBuf {
    let lower = scratch.directory("lower");
    for directory in ["bin", "etc", "tmp", "root"] {
        std::fs::create_dir_all(lower.join(directory)).unwrap();
    }
    std::fs::copy(busybox, lower.join("bin/busybox")).unwrap();
    for applet in [
        "sh", "echo", "cat", "id", "uname", "sleep", "mkdir", "ls", "mount", "su", "kill", "true", "stty", "touch",
        "hostname", "ip", "unshare",
    ] {
        std::os::unix::fs::symlink("busybox", lower.join("bin").join(applet)).unwrap();
    }
    std::fs::write(
        lower.join("etc/passwd"),
        "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/tmp:/bin/sh\n",
    )
    .unwrap();
    std::fs::write(lower.join("etc/group"), "root:x:0:\napp:x:1000:\n").unwrap();
    lower
}

fn step(scratch: &Scratch, lower: &Path, script: &str) -> Step {
    Step {
        root: RootSource::Overlay {
            lowers: vec![lower.to_owned()],
            upper: scratch.directory("upper"),
            work: scratch.directory("work"),
        },
        mounts: Vec::new(),
        argv: ["/bin/sh", "-c", script].iter().map(Into::into).collect(),
        env: vec![("PATH".into(), "/bin".into())],
        cwd: "/".into(),
        uid: 0,
        gid: 0,
        groups: Vec::new(),
        hostname: "kiln-test".into(),
        hosts: Some("127.0.0.1 localhost\n".into()),
        resolv_conf: Some("nameserver 192.0.2.1\n".into()),
        network: Network::Host,
        privileges: Privileges::Default,
        emulator: None,
        shm_size: 64 << 20,
        ulimits: Vec::new(),
        resources: kiln_oci::Resources::default(),
        stdio: Stdio::Pipes,
    }
}

fn run(step: &Step) -> (Result<Exit, SandboxError>, String) {
    let mut running = step.spawn().unwrap();
    let (mut stdout, mut stderr) = (running.stdout.take().unwrap(), running.stderr.take().unwrap());
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        text
    });
    let mut text = String::new();
    stdout.read_to_string(&mut text).unwrap();
    let exit = running.wait();
    (exit, text + &errors.join().unwrap())
}

/// Every path below a directory.
fn paths(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            found.push(path.strip_prefix(directory).unwrap().display().to_string());
            if path.symlink_metadata().unwrap().is_dir() {
                pending.push(path);
            }
        }
    }
    found.sort();
    found
}

fn native(name: &str) -> Option<(Scratch, PathBuf)> {
    let busybox = Path::new("/bin/busybox");
    can_run(busybox).then(|| {
        let scratch = Scratch::new(name);
        let lower = tree(&scratch, busybox);
        (scratch, lower)
    })
}

#[test]
fn a_step_changes_its_upper_directory_and_nothing_else() {
    let Some((scratch, lower)) = native("changes") else {
        return;
    };
    let (exit, output) = run(&step(
        &scratch,
        &lower,
        "echo out; echo err >&2; mkdir /made; echo x > /made/file; cat /etc/resolv.conf; hostname; exit 7",
    ));
    assert_eq!(exit.unwrap(), Exit::Code(7), "{output}");
    assert_eq!(output, "out\nnameserver 192.0.2.1\nkiln-test\nerr\n");
    assert_eq!(paths(&scratch.0.join("upper")), ["made", "made/file"]);
    assert_eq!(paths(&lower), paths(&lower));
}

#[test]
fn signals_and_missing_programs_are_told() {
    let Some((scratch, lower)) = native("signals") else {
        return;
    };
    let (exit, output) = run(&step(&scratch, &lower, "kill -TERM $$"));
    assert_eq!(exit.unwrap(), Exit::Signal(15), "{output}");
    let mut missing = step(&scratch, &lower, "");
    missing.argv = vec!["nothing-like-that".into()];
    match run(&missing).0 {
        Err(SandboxError::Program { program, source }) => {
            assert_eq!(program, "nothing-like-that");
            assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
        }
        other => panic!("a missing program is an error of its own, got {other:?}"),
    }
}

#[test]
fn the_sandbox_hides_the_machine() {
    let Some((scratch, lower)) = native("hides") else {
        return;
    };
    let script = "echo pid $$; ls /proc | grep -c '^[0-9]' ; touch /proc/sys/kernel/hostname 2>/dev/null; echo x > /proc/sys/kernel/hostname; mount -t tmpfs none /tmp; unshare -U true; ls /dev";
    let (exit, output) = run(&step(&scratch, &lower, script));
    assert!(exit.is_ok(), "{output}");
    assert!(output.contains("Read-only file system"), "{output}");
    assert!(
        output.contains("mount: permission denied") || output.contains("Operation not permitted"),
        "{output}"
    );
    assert!(output.contains("unshare"), "user namespaces are refused: {output}");
    assert!(output.contains("urandom") && !output.contains("vda"), "{output}");
}

#[test]
fn set_user_id_programs_work_and_other_users_have_no_capabilities() {
    let Some((scratch, lower)) = native("setuid") else {
        return;
    };
    let suid = lower.join("bin/busybox-suid");
    std::fs::copy("/bin/busybox", &suid).unwrap();
    std::fs::set_permissions(&suid, std::fs::Permissions::from_mode(0o4755)).unwrap();
    let mut user = step(
        &scratch,
        &lower,
        "id -u; cat /proc/self/status | grep CapEff; /bin/busybox-suid cat /proc/self/status | grep '^Uid'",
    );
    (user.uid, user.gid) = (1000, 1000);
    let (exit, output) = run(&user);
    assert_eq!(exit.unwrap(), Exit::Code(0), "{output}");
    assert!(output.starts_with("1000\nCapEff:\t0000000000000000\n"), "{output}");
    let root = step(
        &scratch,
        &lower,
        "cat /proc/self/status | grep CapEff; su app -c 'id -u'",
    );
    let (_, output) = run(&root);
    assert_eq!(output, "CapEff:\t00000000a80425fb\n1000\n");
}

#[test]
fn mounts_appear_and_their_targets_disappear() {
    let Some((scratch, lower)) = native("mounts") else {
        return;
    };
    let source = scratch.directory("source");
    std::fs::write(source.join("file"), "bound").unwrap();
    // A link in the root that leads out of it must lead nowhere but into it.
    std::os::unix::fs::symlink("/etc", lower.join("link")).unwrap();
    let mut mounted = step(
        &scratch,
        &lower,
        "cat /new/dir/file; echo no > /new/dir/file; cat /link/inside/file; touch /cache/x; ls /cache",
    );
    mounted.mounts = vec![
        StepMount::Bind {
            source: source.clone(),
            inside: "".into(),
            target: "/new/dir".into(),
            read_only: true,
        },
        StepMount::Bind {
            source: source.clone(),
            inside: "".into(),
            target: "/link/inside".into(),
            read_only: true,
        },
        StepMount::Tmpfs {
            target: "/cache".into(),
            size: Some(1 << 20),
            mode: 0o1777,
        },
    ];
    let (exit, output) = run(&mounted);
    assert!(exit.is_ok());
    assert!(output.starts_with("boundboundx\n"), "{output}");
    assert!(output.contains("Read-only file system"), "{output}");
    assert_eq!(paths(&scratch.0.join("upper")), Vec::<String>::new());
    assert!(
        !Path::new("/etc/inside").exists(),
        "the link was followed inside the root"
    );
}

#[test]
fn stacks_are_mounted_in_part_and_changes_go_where_they_are_told() {
    let Some((scratch, lower)) = native("stacks") else {
        return;
    };
    let (one, two, empty) = (
        scratch.directory("one"),
        scratch.directory("two"),
        scratch.directory("empty"),
    );
    let (upper, work) = (scratch.directory("changes"), scratch.directory("work-of-changes"));
    std::fs::create_dir(one.join("sub")).unwrap();
    std::fs::write(one.join("sub/a"), "low").unwrap();
    std::fs::create_dir(two.join("sub")).unwrap();
    std::fs::write(two.join("sub/b"), "high").unwrap();
    std::os::unix::fs::symlink("/sub/b", two.join("link")).unwrap();
    let stack = |inside: &str, target: &str, changes: Option<Changes>| StepMount::Stack {
        lowers: vec![two.clone(), one.clone(), empty.clone()],
        changes,
        inside: inside.into(),
        target: target.into(),
    };
    let mut mounted = step(
        &scratch,
        &lower,
        "cat /all/sub/a /all/sub/b /file; touch /all/x || echo refused; echo new > /part/c; cat /part/c",
    );
    mounted.mounts = vec![
        stack("", "/all", None),
        stack("link", "/file", None),
        stack(
            "sub",
            "/part",
            Some(Changes {
                upper: upper.clone(),
                work,
            }),
        ),
    ];
    let (exit, output) = run(&mounted);
    assert!(exit.is_ok(), "{output}");
    assert!(output.starts_with("lowhighhigh"), "{output}");
    assert!(output.contains("refused\nnew\n"), "{output}");
    assert_eq!(paths(&upper), ["sub", "sub/c"]);
    assert_eq!(paths(&scratch.0.join("upper")), Vec::<String>::new());
}

#[test]
fn what_is_mounted_of_a_directory_never_leads_out_of_it() {
    let Some((scratch, lower)) = native("inside") else {
        return;
    };
    let source = scratch.directory("source");
    std::os::unix::fs::symlink("/etc", source.join("escape")).unwrap();
    let mut mounted = step(&scratch, &lower, "cat /victim/hostname");
    mounted.mounts = vec![StepMount::Bind {
        source,
        inside: "escape".into(),
        target: "/victim".into(),
        read_only: false,
    }];
    let (exit, _) = run(&mounted);
    let error = exit.expect_err("the link leads to nothing inside the directory");
    assert_eq!(error.to_string(), "failed to mount `escape` at /victim");
}

#[test]
fn files_in_memory_have_their_owner_and_mode() {
    let Some((scratch, lower)) = native("memory") else {
        return;
    };
    let mut mounted = step(
        &scratch,
        &lower,
        "cat /run/secrets/key; ls -ln /run/secrets/key; echo x > /run/secrets/key || echo refused",
    );
    let content = Secret(b"hush\n".to_vec());
    assert_eq!(format!("{content:?}"), "Secret(5 bytes)");
    mounted.mounts = vec![StepMount::File {
        content,
        target: "/run/secrets/key".into(),
        mode: 0o440,
        uid: 12,
        gid: 34,
    }];
    let (exit, output) = run(&mounted);
    assert!(exit.is_ok(), "{output}");
    assert!(output.starts_with("hush\n-r--r-----    1 12       34 "), "{output}");
    assert!(output.contains("refused"), "{output}");
    assert_eq!(paths(&scratch.0.join("upper")), Vec::<String>::new());
}

#[test]
fn a_dangling_link_of_resolv_conf_is_followed_inside_the_root() {
    let Some((scratch, lower)) = native("dangling") else {
        return;
    };
    std::os::unix::fs::symlink("../run/systemd/resolve/stub-resolv.conf", lower.join("etc/resolv.conf")).unwrap();
    let (exit, output) = run(&step(&scratch, &lower, "cat /etc/resolv.conf"));
    assert_eq!(exit.unwrap(), Exit::Code(0), "{output}");
    assert_eq!(output, "nameserver 192.0.2.1\n");
    assert_eq!(paths(&scratch.0.join("upper")), Vec::<String>::new());
}

#[test]
fn without_a_network_there_is_only_loopback() {
    let Some((scratch, lower)) = native("network") else {
        return;
    };
    let mut alone = step(&scratch, &lower, "ip -o link | cut -d: -f2; ip -o addr show lo");
    std::os::unix::fs::symlink("busybox", lower.join("bin/cut")).unwrap();
    alone.network = Network::None;
    let (exit, output) = run(&alone);
    assert_eq!(exit.unwrap(), Exit::Code(0), "{output}");
    assert!(output.starts_with(" lo\n"), "{output}");
    assert!(output.contains("127.0.0.1/8"), "{output}");
}

#[test]
fn killing_a_step_leaves_nothing() {
    let Some((scratch, lower)) = native("kill") else { return };
    let mut running = step(&scratch, &lower, "sleep 1234567 & sleep 1234567").spawn().unwrap();
    let handle = running.handle();
    std::thread::sleep(std::time::Duration::from_millis(100));
    handle.kill();
    drop(running.stdout.take());
    assert!(matches!(running.wait(), Err(SandboxError::Killed)));
    std::thread::sleep(std::time::Duration::from_millis(100));
    let left = Command::new("pgrep").args(["-f", "sleep 1234567"]).output().unwrap();
    assert!(left.stdout.is_empty(), "processes are left");
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&*scratch.0.to_string_lossy()), "mounts are left");
}

#[test]
fn steps_at_once_end_alone() {
    let Some((scratch, lower)) = native("at-once") else {
        return;
    };
    let other = Scratch::new("at-once-other");
    let endless = step(&scratch, &lower, "sleep 7654321").spawn().unwrap();
    let mut short = step(
        &other,
        &lower,
        "trap 'echo done; exit 4' TERM; echo begun; while true; do sleep 0.05; done",
    )
    .spawn()
    .unwrap();
    let mut stdout = short.stdout.take().unwrap();
    let mut begun = [0; 6];
    stdout.read_exact(&mut begun).unwrap();
    endless.handle().kill();
    assert!(matches!(endless.wait(), Err(SandboxError::Killed)));
    short.handle().signal(15);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "done\n");
    assert_eq!(short.wait().unwrap(), Exit::Code(4));
}

/// Processes that this one started, by what their command lines contain.
fn children(word: &str) -> Vec<i32> {
    let own = std::process::id().to_string();
    let output = Command::new("pgrep").args(["-P", &own, "-f", word]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

#[test]
fn a_launcher_that_was_killed_takes_its_steps_along_and_is_replaced() {
    let Some((scratch, lower)) = native("launcher") else {
        return;
    };
    // No other test of this program has privileged steps, so that they have this launcher to themselves.
    let privileged = |script: &str| Step {
        privileges: Privileges::Insecure,
        ..step(&scratch, &lower, script)
    };
    let mut running = privileged("echo begun; sleep 7654322").spawn().unwrap();
    let mut begun = [0; 6];
    running.stdout.as_mut().unwrap().read_exact(&mut begun).unwrap();
    let launchers = children("Insecure");
    assert_eq!(launchers.len(), 1, "one for all privileged steps");
    let launcher = rustix::process::Pid::from_raw(launchers[0]).unwrap();
    rustix::process::kill_process(launcher, rustix::process::Signal::KILL).unwrap();
    assert!(matches!(running.wait(), Err(SandboxError::Killed)));
    let (exit, output) = run(&privileged("echo again"));
    assert_eq!((exit.unwrap(), output.as_str()), (Exit::Code(0), "again\n"));
    let left = Command::new("pgrep").args(["-f", "sleep 7654322"]).output().unwrap();
    assert!(left.stdout.is_empty(), "processes are left");
}

#[test]
fn steps_may_make_the_same_mount_point_at_once() {
    let Some((scratch, lower)) = native("at-once") else {
        return;
    };
    for round in 0..10 {
        let shared = scratch.directory(&format!("shared-{round}"));
        let running: Vec<_> = (0..8)
            .map(|number| {
                let own = Scratch::new(&format!("at-once-{round}-{number}"));
                let mut mounted = step(&own, &lower, "echo into > /shared/inner/file && cat /shared/inner/file");
                mounted.mounts = vec![
                    StepMount::Bind {
                        source: shared.clone(),
                        inside: "".into(),
                        target: "/shared".into(),
                        read_only: false,
                    },
                    StepMount::Tmpfs {
                        target: "/shared/inner".into(),
                        size: None,
                        mode: 0o755,
                    },
                ];
                (mounted.spawn().unwrap(), own)
            })
            .collect();
        for (step, _own) in running {
            assert_eq!(step.wait().unwrap(), Exit::Code(0), "round {round}");
        }
    }
}

#[test]
fn signals_are_forwarded() {
    let Some((scratch, lower)) = native("forward") else {
        return;
    };
    let mut running = step(
        &scratch,
        &lower,
        "trap 'echo caught; exit 3' TERM; echo ready; while true; do sleep 0.05; done",
    )
    .spawn()
    .unwrap();
    let mut stdout = running.stdout.take().unwrap();
    let mut ready = [0; 6];
    stdout.read_exact(&mut ready).unwrap();
    running.handle().signal(15);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(running.wait().unwrap(), Exit::Code(3));
    assert_eq!(rest, "caught\n");
}

#[test]
fn a_terminal_is_a_terminal() {
    let Some((scratch, lower)) = native("terminal") else {
        return;
    };
    let mut wanted = step(&scratch, &lower, "test -t 0 && test -t 1 && echo terminal");
    std::os::unix::fs::symlink("busybox", lower.join("bin/test")).unwrap();
    wanted.stdio = Stdio::Terminal;
    let mut running = wanted.spawn().unwrap();
    let mut terminal = running.terminal.take().unwrap();
    let mut output = Vec::new();
    // The read fails with EIO once the other side is closed.
    let mut buffer = [0; 256];
    while let Ok(count @ 1..) = terminal.read(&mut buffer) {
        output.extend_from_slice(&buffer[..count]);
    }
    assert_eq!(running.wait().unwrap(), Exit::Code(0));
    assert_eq!(String::from_utf8(output).unwrap(), "terminal\r\n");
}

#[test]
fn many_layers_stack() {
    let Some((scratch, lower)) = native("many") else { return };
    let mut lowers: Vec<PathBuf> = (0..120)
        .map(|number| {
            let layer = scratch.directory(&format!("layer-{number}"));
            std::fs::write(layer.join("top"), number.to_string()).unwrap();
            layer
        })
        .collect();
    lowers.push(lower.clone());
    let mut deep = step(&scratch, &lower, "cat /top");
    if let RootSource::Overlay { lowers: list, .. } = &mut deep.root {
        *list = lowers;
    }
    let (exit, output) = run(&deep);
    assert_eq!(exit.unwrap(), Exit::Code(0), "{output}");
    assert_eq!(output, "0");
}

/// `busybox` for another processor, from the distribution's package, without changing the machine's own list of
/// architectures.
fn foreign_busybox(architecture: &str) -> Result<PathBuf, String> {
    let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("busybox-{architecture}"));
    if shared.exists() {
        return Ok(shared);
    }
    // Several tests may fetch it at once: each in a place of its own, and the last one to finish wins.
    let scratch = Scratch::new(&format!("busybox-{architecture}"));
    let cache = scratch.0.clone();
    let program = cache.join("root/bin/busybox");
    for directory in ["lists/partial", "archives/partial", "root"] {
        std::fs::create_dir_all(cache.join(directory)).map_err(|error| error.to_string())?;
    }
    std::fs::write(cache.join("status"), "").map_err(|error| error.to_string())?;
    let options = [
        format!("Dir::State={}", cache.display()),
        format!("Dir::State::status={}", cache.join("status").display()),
        format!("Dir::Cache={}", cache.display()),
        format!("APT::Architecture={architecture}"),
        format!("APT::Architectures={architecture}"),
        "APT::Sandbox::User=root".into(),
        "Acquire::Languages=none".into(),
    ];
    let apt = |words: &[&str]| -> Result<(), String> {
        let mut command = Command::new("apt-get");
        options.iter().for_each(|option| {
            command.arg("-o").arg(option);
        });
        let output = command
            .args(words)
            .current_dir(&cache)
            .output()
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    };
    apt(&["-q", "update"])?;
    apt(&["-q", "download", &*format!("busybox-static:{architecture}")])?;
    let package = std::fs::read_dir(&cache)
        .map_err(|error| error.to_string())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or("nothing was downloaded")?;
    let unpacked = Command::new("dpkg-deb")
        .arg("-x")
        .arg(&package)
        .arg(cache.join("root"))
        .status();
    unpacked.map_err(|error| error.to_string())?;
    // Which of the two it is depends on the release.
    if !program.exists() {
        std::fs::create_dir_all(cache.join("root/bin")).map_err(|error| error.to_string())?;
        std::fs::rename(cache.join("root/usr/bin/busybox"), &program).map_err(|error| error.to_string())?;
    }
    let staged = shared.with_extension(std::process::id().to_string());
    std::fs::copy(&program, &staged).map_err(|error| error.to_string())?;
    std::fs::rename(&staged, &shared).map_err(|error| error.to_string())?;
    Ok(shared)
}

fn search() -> EmulatorSearch {
    EmulatorSearch {
        path: Some("/usr/bin".into()),
        private_table: kiln_sandbox::doctor::has_private_table(),
        ..EmulatorSearch::default()
    }
}

fn emulated(name: &str, architecture: &str) -> Option<(Scratch, PathBuf, Emulator)> {
    let platform = Platform::linux(architecture, "");
    let busybox = match foreign_busybox(architecture) {
        Ok(busybox) => busybox,
        Err(error) => {
            println!("skipped: busybox for {architecture} cannot be had: {error}");
            return None;
        }
    };
    let emulator = match search().find(&platform) {
        Ok(Some(emulator @ Emulator::Private { .. })) => emulator,
        other => {
            println!("skipped: no private emulation of {platform} here: {other:?}");
            return None;
        }
    };
    can_run(&busybox).then(|| {
        let scratch = Scratch::new(name);
        let lower = tree(&scratch, &busybox);
        (scratch, lower, emulator)
    })
}

#[test]
fn a_foreign_root_runs_without_an_emulator_file_or_registration() {
    let Some((scratch, lower, emulator)) = emulated("foreign", "arm64") else {
        return;
    };
    let table = || {
        std::fs::read_dir("/proc/sys/fs/binfmt_misc")
            .map(|entries| entries.count())
            .unwrap_or(0)
    };
    let before = table();
    std::fs::write(lower.join("bin/script"), "#!/bin/cat\nnested\n").unwrap();
    std::fs::set_permissions(lower.join("bin/script"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut foreign = step(
        &scratch,
        &lower,
        "uname -m; /bin/script; su app -c 'id -u'; echo x > /made",
    );
    foreign.emulator = Some(emulator);
    let (exit, output) = run(&foreign);
    assert_eq!(exit.unwrap(), Exit::Code(0), "{output}");
    assert_eq!(output, "aarch64\n#!/bin/cat\nnested\n1000\n");
    assert_eq!(paths(&scratch.0.join("upper")), ["made"]);
    assert_eq!(table(), before, "the machine's table is not touched");
}

#[test]
fn a_dying_emulator_is_named() {
    let Some((scratch, lower, emulator)) = emulated("dying", "arm64") else {
        return;
    };
    let mut dying = step(&scratch, &lower, "kill -SEGV $$");
    dying.emulator = Some(emulator);
    let (exit, output) = run(&dying);
    assert_eq!(
        exit.unwrap(),
        Exit::EmulatorDied {
            binary: "/bin/sh".into(),
            signal: 11
        },
        "{output}"
    );
}

#[test]
fn owners_and_set_id_bits_survive_emulation() {
    let Some((scratch, lower, emulator)) = emulated("owners", "arm64") else {
        return;
    };
    std::os::unix::fs::symlink("busybox", lower.join("bin/chown")).unwrap();
    std::os::unix::fs::symlink("busybox", lower.join("bin/chmod")).unwrap();
    let mut foreign = step(&scratch, &lower, "touch /f && chown 1234:5678 /f && chmod 4755 /f");
    foreign.emulator = Some(emulator);
    let (exit, output) = run(&foreign);
    assert_eq!(exit.unwrap(), Exit::Code(0), "{output}");
    let metadata = std::fs::metadata(scratch.0.join("upper/f")).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!(
        (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777),
        (1234, 5678, 0o4755)
    );
}
