//! Control groups: what the processes of a step may take of the machine together.
//!
//! A step with limits has a group of its own, which its first process enters before it starts anything, and which is
//! removed when the step has ended. Both versions of the kernel's interface are served: with version 2 there is one group
//! in one hierarchy, with version 1 one in the hierarchy of each controller.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kiln_oci::Resources;

/// Where the hierarchies are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// Before the process id in the names of groups.
const PREFIX: &str = "kiln-";

/// Why processes cannot be limited.
#[derive(Debug, thiserror::Error)]
pub enum ControlGroupError {
    /// The kernel or whoever started this program offers no such controller.
    #[error("this machine has no controller `{0}` for it")]
    NoController(&'static str),
    /// A file of a control group cannot be written, or a group not be made.
    #[error("failed to write `{}`", .path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Whether steps can be limited like this: a group is made, and removed.
///
/// # Errors
/// Why they cannot.
pub fn check(resources: &Resources) -> Result<(), ControlGroupError> {
    ControlGroup::make(resources).map(drop)
}

/// Controllers that are there.
pub(crate) fn controllers() -> Vec<String> {
    let listed = fs::read_to_string(Path::new(MOUNT).join("cgroup.controllers")).unwrap_or_default();
    if !listed.trim().is_empty() {
        return listed.split_whitespace().map(str::to_owned).collect();
    }
    let known = ["cpu", "cpuset", "memory"].into_iter();
    known
        .filter(|name| Path::new(MOUNT).join(name).join("cgroup.procs").exists())
        .map(str::to_owned)
        .collect()
}

/// Groups of one step, one for each hierarchy. Dropping them removes them.
#[derive(Debug, Default)]
pub(crate) struct ControlGroup {
    directories: Vec<PathBuf>,
}

/// What is written to which file, by controller.
type Settings = Vec<(&'static str, Vec<(&'static str, String)>)>;

impl ControlGroup {
    pub(crate) fn make(resources: &Resources) -> Result<ControlGroup, ControlGroupError> {
        if resources.is_empty() {
            return Ok(ControlGroup::default());
        }
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        if Path::new(MOUNT).join("cgroup.controllers").exists() {
            ControlGroup::unified(&settings_of_version_2(resources), &own)
        } else {
            ControlGroup::separate(&settings_of_version_1(resources), &own)
        }
    }

    /// Directories that a process must enter.
    pub(crate) fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// Version 2. A group may have either processes or groups with controllers in it, so beside the group of this program
    /// there is more likely a place than in it.
    fn unified(settings: &Settings, own: &str) -> Result<ControlGroup, ControlGroupError> {
        let path = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
        let inside = below(Path::new(MOUNT), path);
        let beside = inside
            .parent()
            .filter(|parent| parent.starts_with(MOUNT))
            .map(Path::to_path_buf);
        let mut why = None;
        for parent in std::iter::once(inside).chain(beside) {
            match ControlGroup::unified_in(&parent, settings) {
                Ok(group) => return Ok(group),
                Err(error) => why = why.or(Some(error)),
            }
        }
        Err(why.unwrap_or(ControlGroupError::NoController("memory")))
    }

    fn unified_in(parent: &Path, settings: &Settings) -> Result<ControlGroup, ControlGroupError> {
        let has = |file: &str, wanted: &str| {
            let listed = fs::read_to_string(parent.join(file)).unwrap_or_default();
            listed.split_whitespace().any(|controller| controller == wanted)
        };
        for (controller, _) in settings {
            if !has("cgroup.controllers", controller) {
                return Err(ControlGroupError::NoController(controller));
            }
            if !has("cgroup.subtree_control", controller) {
                write(&parent.join("cgroup.subtree_control"), &format!("+{controller}"))?;
            }
        }
        let mut group = ControlGroup::default();
        let directory = group.add(parent)?;
        for (name, value) in settings.iter().flat_map(|(_, files)| files) {
            write(&directory.join(name), value)?;
        }
        Ok(group)
    }

    /// Version 1.
    fn separate(settings: &Settings, own: &str) -> Result<ControlGroup, ControlGroupError> {
        let mut group = ControlGroup::default();
        for (controller, files) in settings {
            let path = own.lines().find_map(|line| {
                let (_, rest) = line.split_once(':')?;
                let (controllers, path) = rest.split_once(':')?;
                controllers.split(',').any(|known| known == *controller).then_some(path)
            });
            let root = Path::new(MOUNT).join(controller);
            let parent = path.map(|path| below(&root, path)).filter(|path| path.is_dir());
            let parent = parent.unwrap_or(root);
            if !parent.join("cgroup.procs").exists() {
                return Err(ControlGroupError::NoController(controller));
            }
            let directory = group.add(&parent)?;
            if *controller == "cpuset" {
                // A new group has neither, and no process may enter it like that.
                for name in ["cpuset.cpus", "cpuset.mems"] {
                    let inherited = fs::read_to_string(parent.join(name)).unwrap_or_default();
                    write(&directory.join(name), inherited.trim())?;
                }
            }
            for (name, value) in files {
                write(&directory.join(name), value)?;
            }
        }
        Ok(group)
    }

    fn add(&mut self, parent: &Path) -> Result<PathBuf, ControlGroupError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        remove_abandoned(parent);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
        fs::create_dir(&directory).map_err(|source| ControlGroupError::Write {
            path: directory.clone(),
            source,
        })?;
        self.directories.push(directory.clone());
        Ok(directory)
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        for directory in self.directories.drain(..) {
            // The last process may take a moment to leave; what remains is removed by the next step's program.
            for _ in 0..50 {
                match fs::remove_dir(&directory) {
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    _ => break,
                }
            }
        }
    }
}

/// Enters groups: the process that calls this, and all that it starts from now on.
pub(crate) fn enter(directories: &[PathBuf]) -> io::Result<()> {
    for directory in directories {
        fs::write(directory.join("cgroup.procs"), "0")?;
    }
    Ok(())
}

/// Groups of programs that were killed. Only empty ones can be removed.
fn remove_abandoned(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn write(path: &Path, value: &str) -> Result<(), ControlGroupError> {
    fs::write(path, value).map_err(|source| ControlGroupError::Write {
        path: path.to_owned(),
        source,
    })
}

/// The files of a controller, and what is written into those that are set.
type Files = (&'static str, Vec<(&'static str, Option<String>)>);

fn kept(settings: Vec<Files>) -> Settings {
    let of_controller = |(controller, files): Files| {
        let files: Vec<_> = files
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        (!files.is_empty()).then_some((controller, files))
    };
    settings.into_iter().filter_map(of_controller).collect()
}

fn settings_of_version_2(resources: &Resources) -> Settings {
    let swap = resources.memory_swap.map(|total| match u64::try_from(total) {
        // Version 2 counts swap alone.
        Ok(total) => total.saturating_sub(resources.memory.unwrap_or(0)).to_string(),
        Err(_) => "max".to_owned(),
    });
    let time = (resources.cpu_quota.is_some() || resources.cpu_period.is_some()).then(|| {
        let quota = resources.cpu_quota.filter(|quota| *quota > 0);
        let quota = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
        format!("{quota} {}", resources.cpu_period.unwrap_or(100_000))
    });
    // From 2 to 262144 onto 1 to 10000.
    let weight = resources
        .cpu_shares
        .map(|shares| (1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142).to_string());
    kept(vec![
        (
            "memory",
            vec![
                ("memory.max", resources.memory.map(|bytes| bytes.to_string())),
                ("memory.swap.max", swap),
            ],
        ),
        ("cpu", vec![("cpu.weight", weight), ("cpu.max", time)]),
        (
            "cpuset",
            vec![
                ("cpuset.cpus", resources.cpuset_cpus.clone()),
                ("cpuset.mems", resources.cpuset_mems.clone()),
            ],
        ),
    ])
}

fn settings_of_version_1(resources: &Resources) -> Settings {
    let text = |number: Option<u64>| number.map(|number| number.to_string());
    let signed = |number: Option<i64>| number.map(|number| number.to_string());
    kept(vec![
        (
            "memory",
            vec![
                ("memory.limit_in_bytes", text(resources.memory)),
                ("memory.memsw.limit_in_bytes", signed(resources.memory_swap)),
            ],
        ),
        (
            "cpu",
            vec![
                ("cpu.shares", text(resources.cpu_shares)),
                ("cpu.cfs_period_us", text(resources.cpu_period)),
                ("cpu.cfs_quota_us", signed(resources.cpu_quota)),
            ],
        ),
        (
            "cpuset",
            vec![
                ("cpuset.cpus", resources.cpuset_cpus.clone()),
                ("cpuset.mems", resources.cpuset_mems.clone()),
            ],
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources() -> Resources {
        Resources {
            memory: Some(1 << 20),
            memory_swap: Some(3 << 20),
            cpu_shares: Some(1024),
            cpu_quota: Some(50_000),
            cpuset_cpus: Some("0".to_owned()),
            ..Resources::default()
        }
    }

    fn flat(settings: &Settings) -> Vec<String> {
        let files = settings.iter().flat_map(|(_, files)| files);
        files.map(|(name, value)| format!("{name}={value}")).collect()
    }

    #[test]
    fn both_versions_say_the_same() {
        assert_eq!(
            flat(&settings_of_version_2(&resources())),
            [
                "memory.max=1048576",
                "memory.swap.max=2097152",
                "cpu.weight=39",
                "cpu.max=50000 100000",
                "cpuset.cpus=0",
            ]
        );
        assert_eq!(
            flat(&settings_of_version_1(&resources())),
            [
                "memory.limit_in_bytes=1048576",
                "memory.memsw.limit_in_bytes=3145728",
                "cpu.shares=1024",
                "cpu.cfs_quota_us=50000",
                "cpuset.cpus=0",
            ]
        );
        let unlimited = Resources {
            memory_swap: Some(-1),
            cpu_quota: Some(-1),
            cpu_period: Some(1000),
            ..Resources::default()
        };
        assert_eq!(
            flat(&settings_of_version_2(&unlimited)),
            ["memory.swap.max=max", "cpu.max=max 1000"]
        );
    }

    /// The same code against a directory that looks like a hierarchy of version 2, since no test can choose the kernel's.
    #[test]
    fn a_group_of_version_2_needs_its_controllers() {
        let directory = tempfile::tempdir().expect("a directory");
        let parent = directory.path();
        fs::write(parent.join("cgroup.controllers"), "cpu memory\n").expect("written");
        fs::write(parent.join("cgroup.subtree_control"), "memory\n").expect("written");
        let memory = Resources {
            memory: Some(4096),
            ..Resources::default()
        };
        let group = ControlGroup::unified_in(parent, &settings_of_version_2(&memory)).expect("it can be made");
        let [made] = group.directories() else {
            panic!("one group")
        };
        assert_eq!(fs::read_to_string(made.join("memory.max")).expect("there"), "4096");
        let error = ControlGroup::unified_in(parent, &settings_of_version_2(&resources())).expect_err("no cpuset");
        assert!(matches!(error, ControlGroupError::NoController("cpuset")), "{error}");
        // What another controller needs was asked for before.
        assert_eq!(
            fs::read_to_string(parent.join("cgroup.subtree_control")).expect("there"),
            "+cpu"
        );
    }
}
