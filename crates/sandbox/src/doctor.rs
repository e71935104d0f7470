//! What this machine can do for a sandbox, and what to do about what it cannot.

use std::io;
use std::path::PathBuf;

use kiln_oci::Platform;
use serde::Serialize;

use crate::emulator::{Emulator, EmulatorError, EmulatorSearch, Execution, execution};
use crate::namespace::{self, IdentityMap, SubordinateIds};
use crate::{binfmt, sys};

/// How well something works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should.
    Ok,
    /// With restrictions.
    Degraded,
    /// Not at all.
    Missing,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub subject: String,
    /// How well it works.
    pub status: Status,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// The architectures that images are commonly made for.
const USUAL: [(&str, &str); 9] = [
    ("amd64", ""),
    ("386", ""),
    ("arm64", ""),
    ("arm", "v7"),
    ("riscv64", ""),
    ("ppc64le", ""),
    ("s390x", ""),
    ("mips64le", ""),
    ("loong64", ""),
];

/// Looks at everything. Takes some milliseconds: it tries what it tells.
pub fn probe(search: &EmulatorSearch) -> Vec<Finding> {
    let mut findings = vec![
        user_namespaces(),
        subordinate_ids(),
        overlay(),
        private_table(),
        control_groups(),
    ];
    findings.extend(
        USUAL
            .iter()
            .map(|(architecture, variant)| platform(search, &Platform::linux(architecture, variant))),
    );
    findings
}

/// Whether a sandbox can have a `binfmt_misc` of its own: tried in a child process.
pub fn has_private_table() -> bool {
    try_in_child(|| {
        namespace::unshare_with_same_ids(libc::CLONE_NEWNS)?;
        let filesystem = rustix::mount::fsopen("binfmt_misc", rustix::mount::FsOpenFlags::FSOPEN_CLOEXEC)?;
        Ok(rustix::mount::fsconfig_create(&filesystem)?)
    })
    .is_ok()
}

fn finding(subject: &str, status: Status, detail: impl Into<String>, fix: Option<&str>) -> Finding {
    Finding {
        subject: subject.into(),
        status,
        detail: detail.into(),
        fix: fix.map(str::to_owned),
    }
}

fn user_namespaces() -> Finding {
    let subject = "user namespaces";
    match try_in_child(|| sys::unshare(libc::CLONE_NEWUSER)) {
        Ok(()) => finding(subject, Status::Ok, "can be created", None),
        Err(error) => finding(
            subject,
            Status::Missing,
            error.to_string(),
            Some(
                "allow them: `sysctl -w user.max_user_namespaces=15000`, and on Ubuntu `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`",
            ),
        ),
    }
}

fn subordinate_ids() -> Finding {
    let subject = "subordinate ids";
    if namespace::identity_map() == IdentityMap::Many && rustix::process::geteuid().is_root() {
        return finding(subject, Status::Ok, "not needed by root", None);
    }
    let uid = rustix::process::getuid().as_raw();
    let name = namespace::user_name(uid);
    let read = |path: &str| {
        let file = std::fs::read_to_string(path).unwrap_or_default();
        SubordinateIds::read(&file, name.as_deref(), uid)
            .ranges
            .iter()
            .map(|(_, count)| u64::from(*count))
            .sum::<u64>()
    };
    let (uids, gids) = (read("/etc/subuid"), read("/etc/subgid"));
    if uids == 0 || gids == 0 {
        let fix = "give the user a range: `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER`";
        return finding(
            subject,
            Status::Degraded,
            "none: files can only belong to the user itself",
            Some(fix),
        );
    }
    if !namespace::helper_exists("newuidmap") || !namespace::helper_exists("newgidmap") {
        let fix = "install them: `apt-get install uidmap` (Debian, Ubuntu) or `dnf install shadow-utils` (Fedora)";
        return finding(
            subject,
            Status::Degraded,
            "`newuidmap` and `newgidmap` are missing",
            Some(fix),
        );
    }
    finding(subject, Status::Ok, format!("{uids} user ids, {gids} group ids"), None)
}

fn overlay() -> Finding {
    let subject = "overlay file systems";
    let attempt = try_in_child(|| {
        let root = rustix::process::geteuid().is_root();
        if !root {
            sys::unshare(libc::CLONE_NEWUSER)?;
        }
        sys::unshare(libc::CLONE_NEWNS)?;
        let filesystem = rustix::mount::fsopen("overlay", rustix::mount::FsOpenFlags::FSOPEN_CLOEXEC)?;
        Ok(rustix::mount::fsconfig_set_flag(&filesystem, "userxattr")?)
    });
    match attempt {
        Ok(()) => finding(subject, Status::Ok, "with user attributes", None),
        Err(error) => {
            let fix = "load the module (`modprobe overlay`); without root, Linux 5.11 or newer is needed";
            finding(subject, Status::Missing, error.to_string(), Some(fix))
        }
    }
}

fn private_table() -> Finding {
    let subject = "private binfmt_misc";
    if has_private_table() {
        return finding(
            subject,
            Status::Ok,
            "emulators need no registration on this machine",
            None,
        );
    }
    let fix = "use Linux 6.7 or newer, or register emulators on the machine: `apt-get install qemu-user-static`";
    finding(
        subject,
        Status::Degraded,
        "the kernel has none: the machine's own table is used",
        Some(fix),
    )
}

fn control_groups() -> Finding {
    let subject = "control groups";
    let controllers = crate::control_group::controllers();
    let limits = kiln_oci::Resources {
        memory: Some(1 << 30),
        ..kiln_oci::Resources::default()
    };
    match crate::control_group::check(&limits) {
        Ok(()) => finding(subject, Status::Ok, controllers.join(" "), None),
        Err(error) => finding(
            subject,
            Status::Degraded,
            format!("{error}: `--resource` is not carried out"),
            Some(
                "run as root, or where the service manager delegates control groups, as in `systemd-run --user --scope -p Delegate=yes`",
            ),
        ),
    }
}

fn platform(search: &EmulatorSearch, platform: &Platform) -> Finding {
    let subject = platform.to_string();
    if execution(platform) == Execution::Native {
        return finding(&subject, Status::Ok, "native", None);
    }
    let install =
        "install a static QEMU: `apt-get install qemu-user-static`, or name its directory with `--emulator-dir`";
    match search.find(platform) {
        Ok(Some(Emulator::Private { path, .. })) => {
            finding(&subject, Status::Ok, format!("emulated by {}", path.display()), None)
        }
        Ok(Some(Emulator::Host { entry, interpreter })) => finding(
            &subject,
            Status::Ok,
            format!("emulated by {interpreter}, the machine's entry `{entry}`"),
            None,
        ),
        Ok(None) => finding(&subject, Status::Ok, "native", None),
        Err(error @ EmulatorError::NoTable { .. }) => {
            let fix = "use Linux 6.7 or newer, or register the emulator on the machine with flag F";
            finding(&subject, Status::Missing, error.to_string(), Some(fix))
        }
        Err(_) => {
            let name = binfmt::emulator_name(platform).unwrap_or("?");
            finding(
                &subject,
                Status::Missing,
                format!("no qemu-{name}-static"),
                Some(install),
            )
        }
    }
}

/// Tries something that changes the process in a child process.
fn try_in_child(attempt: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    // The child only makes system calls before it ends, so other threads' locks cannot matter to it.
    let child = sys::fork()?;
    if child == 0 {
        let errno = attempt()
            .err()
            .map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
        sys::exit_now(errno);
    }
    let (_, status) = sys::wait(child, 0)?;
    match libc::WEXITSTATUS(status) {
        0 if libc::WIFEXITED(status) => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Where emulators of the distribution usually are.
pub fn usual_directories() -> Vec<PathBuf> {
    ["/usr/bin", "/usr/local/bin", "/usr/libexec/qemu-binfmt"]
        .iter()
        .map(PathBuf::from)
        .collect()
}
