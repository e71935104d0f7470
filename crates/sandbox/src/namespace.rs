//! User namespaces: the one that a rootless `kiln` lives in, and those of emulated steps.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Command;

use crate::sys::{self, RawPid};

/// Which owners files can have here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityMap {
    /// All: real root, or subordinate ids are mapped.
    Many,
    /// Only the user's own id, which is root inside.
    Single,
}

/// Why a user namespace could not be entered.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// The kernel or its settings forbid it.
    #[error("failed to {operation}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `newuidmap` or `newgidmap` refused.
    #[error("`{program}` failed: {output}")]
    Helper {
        /// Which.
        program: &'static str,
        /// What it said.
        output: String,
    },
}

/// What the id maps of a user may be made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubordinateIds {
    /// First id and number of ids.
    pub ranges: Vec<(u32, u32)>,
}

impl SubordinateIds {
    /// Reads `/etc/subuid` or `/etc/subgid`: lines `user:first:count`, the user by name or number.
    pub fn read(file: &str, user: Option<&str>, uid: u32) -> SubordinateIds {
        let number = uid.to_string();
        let ranges = file.lines().filter_map(|line| {
            let mut fields = line.trim().split(':');
            let (owner, first, count) = (fields.next()?, fields.next()?, fields.next()?);
            (Some(owner) == user || owner == number).then_some(())?;
            Some((first.parse().ok()?, count.parse().ok()?))
        });
        SubordinateIds {
            ranges: ranges.collect(),
        }
    }

    /// The words for `newuidmap`: the user's own id becomes 0, the others follow from 1.
    fn arguments(&self, own: u32) -> Vec<String> {
        let mut words = vec!["0".to_owned(), own.to_string(), "1".to_owned()];
        let mut inside = 1;
        for (first, count) in &self.ranges {
            words.extend([inside.to_string(), first.to_string(), count.to_string()]);
            inside += count;
        }
        words
    }
}

/// Which ids are mapped in this process' user namespace.
pub fn identity_map() -> IdentityMap {
    match std::fs::read_to_string("/proc/self/uid_map") {
        Ok(map) if map.split_whitespace().skip(2).step_by(3).all(|count| count == "1") => IdentityMap::Single,
        _ => IdentityMap::Many,
    }
}

/// Continues in a user and mount namespace of its own, as its root, if this process is not root. The process
/// that was started stays outside, passes signals on, and ends with the exit code of the one inside: this
/// function returns only inside. No thread may run yet.
///
/// With subordinate ids and `newuidmap`, files can have any owner; else only the user itself is mapped.
pub fn enter_user_namespace() -> Result<IdentityMap, NamespaceError> {
    if rustix::process::geteuid().is_root() {
        return Ok(identity_map());
    }
    let failed = |operation| move |source| NamespaceError::System { operation, source };
    let (ready_read, ready_write) = pipe().map_err(failed("make a pipe"))?;
    let (go_read, go_write) = pipe().map_err(failed("make a pipe"))?;
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    match sys::fork().map_err(failed("start the process inside the user namespace"))? {
        0 => {
            drop((ready_read, go_write));
            sys::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS).map_err(failed("create a user namespace"))?;
            std::fs::File::from(ready_write)
                .write_all(b"r")
                .map_err(failed("report the user namespace"))?;
            let mut answer = [0];
            std::fs::File::from(go_read)
                .read_exact(&mut answer)
                .map_err(failed("wait for the id map"))?;
            Ok(if answer == *b"m" {
                IdentityMap::Many
            } else {
                IdentityMap::Single
            })
        }
        child => {
            drop((ready_write, go_read));
            let mut told = Vec::new();
            let unshared = std::fs::File::from(ready_read).take(1).read_to_end(&mut told).is_ok() && !told.is_empty();
            if unshared {
                let answer: &[u8] = match write_maps(child, uid, gid) {
                    Ok(IdentityMap::Many) => b"m",
                    Ok(IdentityMap::Single) => b"s",
                    Err(error) => {
                        let _ = sys::kill(child, libc::SIGKILL);
                        let _ = sys::wait(child, 0);
                        return Err(error);
                    }
                };
                // If the child is gone, waiting for it tells why.
                let _ = std::fs::File::from(go_write).write_all(answer);
            }
            sys::exit_now(stand_in(child))
        }
    }
}

fn write_maps(child: RawPid, uid: u32, gid: u32) -> Result<IdentityMap, NamespaceError> {
    let name = user_name(uid);
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let uids = SubordinateIds::read(&read("/etc/subuid"), name.as_deref(), uid);
    let gids = SubordinateIds::read(&read("/etc/subgid"), name.as_deref(), uid);
    if !uids.ranges.is_empty() && !gids.ranges.is_empty() && helper_exists("newuidmap") && helper_exists("newgidmap") {
        run_helper("newuidmap", child, &uids.arguments(uid))?;
        run_helper("newgidmap", child, &gids.arguments(gid))?;
        return Ok(IdentityMap::Many);
    }
    let write = |file: &str, text: String| std::fs::write(format!("/proc/{child}/{file}"), text);
    let all = write("setgroups", "deny".into())
        .and_then(|()| write("uid_map", format!("0 {uid} 1")))
        .and_then(|()| write("gid_map", format!("0 {gid} 1")));
    all.map_err(|source| NamespaceError::System {
        operation: "map the user's own id",
        source,
    })?;
    Ok(IdentityMap::Single)
}

/// The name of a user, from `/etc/passwd`.
pub fn user_name(uid: u32) -> Option<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// Where the helpers with the privilege to map subordinate ids usually are.
pub(crate) fn helper_exists(program: &str) -> bool {
    ["/usr/bin", "/usr/local/bin", "/bin", "/usr/sbin"]
        .iter()
        .any(|directory| Path::new(directory).join(program).exists())
}

fn run_helper(program: &'static str, child: RawPid, map: &[String]) -> Result<(), NamespaceError> {
    let output = Command::new(program).arg(child.to_string()).args(map).output();
    let output = output.map_err(|source| NamespaceError::System {
        operation: "run newuidmap",
        source,
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(NamespaceError::Helper { program, output: said })
}

/// Stands for the process inside: passes on signals that were sent to this process alone, and gives its exit code.
fn stand_in(child: RawPid) -> i32 {
    let Ok(signals) = sys::signal_descriptor() else {
        return exit_code(sys::wait(child, 0));
    };
    loop {
        let mut watched = [rustix::event::PollFd::new(&signals, rustix::event::PollFlags::IN)];
        let _ = rustix::event::poll(&mut watched, None);
        while let Ok(Some((signal, sent))) = sys::read_signal(signals.as_fd()) {
            // The terminal's own signals reach the process inside as well.
            if sent && signal != libc::SIGCHLD {
                let _ = sys::kill(child, signal);
            }
        }
        match sys::wait(child, libc::WNOHANG) {
            Ok((0, _)) => {}
            ended => return exit_code(ended),
        }
    }
}

fn exit_code(ended: io::Result<(RawPid, libc::c_int)>) -> i32 {
    match ended {
        Ok((_, status)) if libc::WIFSIGNALED(status) => 128 + libc::WTERMSIG(status),
        Ok((_, status)) => libc::WEXITSTATUS(status),
        Err(_) => 1,
    }
}

/// Leaves namespaces, the user namespace among them, with every id mapped to itself. Only a process outside the
/// new namespace has the privilege to write such a map, so a child is forked for it.
pub(crate) fn unshare_with_same_ids(flags: libc::c_int) -> io::Result<()> {
    let uid_map = same_ids(&std::fs::read_to_string("/proc/self/uid_map")?);
    let gid_map = same_ids(&std::fs::read_to_string("/proc/self/gid_map")?);
    let deny = std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny");
    let (go_read, go_write) = pipe()?;
    let process = std::process::id();
    let child = sys::fork()?;
    if child == 0 {
        drop(go_write);
        let mut byte = [0];
        let told = std::fs::File::from(go_read).read_exact(&mut byte);
        let write = |file: &str, text: &str| std::fs::write(format!("/proc/{process}/{file}"), text);
        let written = told
            .and_then(|()| if deny { write("setgroups", "deny") } else { Ok(()) })
            .and_then(|()| write("uid_map", &uid_map))
            .and_then(|()| write("gid_map", &gid_map));
        sys::exit_now(
            written
                .err()
                .map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO)),
        );
    }
    drop(go_read);
    let unshared = sys::unshare(libc::CLONE_NEWUSER | flags);
    if unshared.is_ok() {
        std::fs::File::from(go_write).write_all(b"g")?;
    } else {
        drop(go_write);
    }
    let (_, status) = sys::wait(child, 0)?;
    unshared?;
    match libc::WEXITSTATUS(status) {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// A map with the same inner ids, each to itself.
fn same_ids(map: &str) -> String {
    let lines = map.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (inside, _, count) = (fields.next()?, fields.next()?, fields.next()?);
        Some(format!("{inside} {inside} {count}\n"))
    });
    lines.collect()
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

/// A program on a search path.
pub fn find_program(name: &str, path: Option<&OsStr>) -> Option<std::path::PathBuf> {
    std::env::split_paths(path?)
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subordinate_ids_are_read_by_name_or_number() {
        let file = "alice:100000:65536\n1001:200000:10\nbroken\nbob:x:1\n";
        let read = |user, uid| SubordinateIds::read(file, user, uid).ranges;
        assert_eq!(read(Some("alice"), 1000), [(100_000, 65_536)]);
        assert_eq!(read(Some("carol"), 1001), [(200_000, 10)]);
        assert!(read(Some("bob"), 1002).is_empty());
        assert!(read(None, 1003).is_empty());
    }

    #[test]
    fn the_users_own_id_becomes_root_and_the_others_follow() {
        let ids = SubordinateIds {
            ranges: vec![(100_000, 10), (300_000, 5)],
        };
        assert_eq!(ids.arguments(1000).join(" "), "0 1000 1 1 100000 10 11 300000 5");
    }

    #[test]
    fn a_nested_map_keeps_every_id() {
        assert_eq!(same_ids("         0          0 4294967295\n"), "0 0 4294967295\n");
        assert_eq!(same_ids("0 1000 1\n1 100000 65536\n"), "0 0 1\n1 1 65536\n");
    }
}
