//! How much memory is there for steps: what control groups allow, and what the machine has left.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes that are available to this process and its children; None where nothing says so.
pub fn available() -> Option<u64> {
    let read = |path: &Path| fs::read_to_string(path).ok();
    available_by(&read)
}

/// The least of what each control group on the way up leaves, and of what the machine has. Groups that cannot be read say
/// nothing.
fn available_by(read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| memory_available(&text));
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let left = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        if controllers.is_empty() {
            let v2 = Files {
                limit: "memory.max",
                used: "memory.current",
                cache: "inactive_file",
            };
            v2.left(Path::new("/sys/fs/cgroup"), path, read)
        } else if controllers.split(',').any(|controller| controller == "memory") {
            let v1 = Files {
                limit: "memory.limit_in_bytes",
                used: "memory.usage_in_bytes",
                cache: "total_inactive_file",
            };
            v1.left(Path::new("/sys/fs/cgroup/memory"), path, read)
        } else {
            None
        }
    });
    left.chain(machine).min()
}

/// `MemAvailable` of `/proc/meminfo`: proc_meminfo(5) says it in KiB.
fn memory_available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// How the files of a version of control groups are called.
struct Files {
    limit: &'static str,
    used: &'static str,
    /// The line of `memory.stat` that says what the kernel gives back when asked: pages of files that nobody uses.
    cache: &'static str,
}

impl Files {
    /// The least that is left in a group and in those above it. Inside a container the path of the group is often that of
    /// the host, and its own group is what is mounted at the root: that one is asked in any case.
    fn left(&self, mount: &Path, group: &str, read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
        let group = PathBuf::from(group.trim_start_matches('/'));
        let ways = group.ancestors().map(|part| mount.join(part));
        ways.filter_map(|directory| self.left_in(&directory, read)).min()
    }

    fn left_in(&self, directory: &Path, read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
        let number = |name: &str| read(&directory.join(name))?.trim().parse::<u64>().ok();
        // `max` is no number, and so no limit. Without a limit, version 1 has one beyond all machines.
        let limit = number(self.limit)?;
        let used = number(self.used).unwrap_or(0);
        let stat = read(&directory.join("memory.stat")).unwrap_or_default();
        let given_back = stat.lines().find_map(|line| {
            let (name, value) = line.split_once(' ')?;
            (name == self.cache).then(|| value.trim().parse().ok())?
        });
        Some(limit.saturating_sub(used.saturating_sub(given_back.unwrap_or(0))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn available_with(files: &[(&str, &str)]) -> Option<u64> {
        let read = |path: &Path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned())
        };
        available_by(&read)
    }

    const MACHINE: (&str, &str) = ("/proc/meminfo", "MemTotal: 8000 kB\nMemAvailable:    4000 kB\n");

    #[test]
    fn the_least_of_machine_and_groups_counts() {
        assert_eq!(available_with(&[]), None);
        assert_eq!(available_with(&[MACHINE]), Some(4_096_000));
        let v2 = [
            MACHINE,
            ("/proc/self/cgroup", "0::/system.slice/runner.service\n"),
            ("/sys/fs/cgroup/system.slice/runner.service/memory.max", "max\n"),
            ("/sys/fs/cgroup/system.slice/memory.max", "3000000\n"),
            ("/sys/fs/cgroup/system.slice/memory.current", "1000000\n"),
            (
                "/sys/fs/cgroup/system.slice/memory.stat",
                "anon 1\ninactive_file 400000\n",
            ),
        ];
        assert_eq!(available_with(&v2), Some(2_400_000));
    }

    #[test]
    fn a_container_finds_its_own_group_at_the_root() {
        let hybrid = [
            MACHINE,
            ("/proc/self/cgroup", "5:cpu,memory:/docker/0123\n0::/docker/0123\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "1000000\n"),
            ("/sys/fs/cgroup/memory/memory.usage_in_bytes", "2000000\n"),
        ];
        assert_eq!(available_with(&hybrid), Some(0));
        let unlimited = [
            MACHINE,
            ("/proc/self/cgroup", "5:memory:/\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        assert_eq!(available_with(&unlimited), Some(4_096_000));
    }
}
