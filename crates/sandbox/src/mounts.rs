//! The root of a step: overlay, `/dev`, `/proc`, `/sys`, the machine's small files, and the step's own mounts.
//!
//! Every path inside the root is resolved with `openat2(RESOLVE_IN_ROOT)` against the root's descriptor, so a
//! link in an image can never lead a mount out of it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};

use crate::overlay;
use crate::staging::Staging;
use crate::step::{RootSource, Step, StepMount};
use crate::stubs::Made;
use crate::sys;

/// A step of building the root that failed.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) what: String,
    pub(crate) error: io::Error,
}

pub(crate) trait During<T> {
    fn during(self, what: &str) -> Result<T, Stage>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, what: &str) -> Result<T, Stage> {
        self.map_err(|error| Stage {
            what: what.to_owned(),
            error: error.into(),
        })
    }
}

/// Paths that Docker hides from containers.
const MASKED: [&str; 9] = [
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];

/// Paths that Docker makes read-only.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Devices that every program expects.
const DEVICES: [Device; 6] = [
    Device::new("null", 1, 3),
    Device::new("zero", 1, 5),
    Device::new("full", 1, 7),
    Device::new("random", 1, 8),
    Device::new("urandom", 1, 9),
    Device::new("tty", 5, 0),
];

/// A character device of the kernel.
struct Device {
    name: &'static str,
    major: u32,
    minor: u32,
}

impl Device {
    const fn new(name: &'static str, major: u32, minor: u32) -> Device {
        Device { name, major, minor }
    }

    /// Makes it in a directory. Only real root may; everyone else mounts the machine's own.
    fn make(&self, dev: &OwnedFd) -> io::Result<()> {
        let mode = Mode::from_raw_mode(0o666);
        let number = rustix::fs::makedev(self.major, self.minor);
        if rustix::fs::mknodat(dev, self.name, FileType::CharacterDevice, mode, number).is_ok() {
            // In a user namespace and under some security modules a device can be made and not be opened.
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            match rustix::fs::openat(dev, self.name, flags, Mode::empty()) {
                Err(Errno::ACCESS | Errno::PERM) => rustix::fs::unlinkat(dev, self.name, AtFlags::empty())?,
                _ => return Ok(()),
            }
        }
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        let node = rustix::fs::openat(dev, self.name, flags, mode)?;
        let device = clone_mount(&Path::new("/dev").join(self.name), false)?;
        attach_at(device.as_fd(), node.as_fd())
    }
}

/// A root that is being built.
pub(crate) struct Root {
    fd: OwnedFd,
    /// Where the root is mounted until it becomes `/`.
    path: PathBuf,
    /// What had to be made to mount on.
    pub(crate) made: Vec<Made>,
}

/// Builds everything that the step's process will see.
pub(crate) fn build(step: &Step) -> Result<Root, Stage> {
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .during("make the mounts private")?;
    let path = mount_root(&step.root)?;
    let fd = rustix::fs::open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let mut root = Root {
        fd: fd.during("open the root")?,
        path,
        made: Vec::new(),
    };
    let mut staging = root.staging()?;
    root.proc()?;
    root.sys(&mut staging)?;
    root.devices(step)?;
    root.small_files(step, &mut staging)?;
    for mount in &step.mounts {
        root.mount(mount, &mut staging)?;
    }
    Ok(root)
}

/// Mounts the root and gives the path where it is.
fn mount_root(source: &RootSource) -> Result<PathBuf, Stage> {
    match source {
        RootSource::Directory(path) => {
            rustix::mount::mount_bind_recursive(path, path).during("bind the root")?;
            Ok(path.clone())
        }
        RootSource::Overlay { lowers, upper, work } => {
            // Over its own upper directory: a place that surely exists and that nobody else looks at.
            match overlay::mount(lowers, Some((upper, work))) {
                Ok(mount) => attach(mount.as_fd(), upper).during("attach the root")?,
                Err(error) if is_missing_call(&error) => {
                    overlay::mount_classic(lowers, upper, work).during("mount the root")?
                }
                Err(error) => {
                    return Err(Stage {
                        what: "mount the root".into(),
                        error,
                    });
                }
            }
            Ok(upper.clone())
        }
    }
}

fn is_missing_call(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOSYS)
}

fn attach(mount: BorrowedFd<'_>, target: &Path) -> io::Result<()> {
    Ok(rustix::mount::move_mount(
        mount,
        "",
        CWD,
        target,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )?)
}

pub(crate) fn attach_at(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, "", target, "", flags)?)
}

/// A file system that needs nothing but options.
pub(crate) fn new_filesystem(kind: &str, options: &[(&str, &str)]) -> io::Result<OwnedFd> {
    let filesystem = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in options {
        rustix::mount::fsconfig_set_string(filesystem.as_fd(), *name, *value)?;
    }
    rustix::mount::fsconfig_create(filesystem.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID;
    Ok(rustix::mount::fsmount(
        filesystem.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        attributes,
    )?)
}

/// A detached copy of a mount of the host.
fn clone_mount(source: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(rustix::mount::open_tree(CWD, source, flags)?)
}

/// A detached copy of what a path names inside a root.
fn clone_inside(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let found = rustix::fs::openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(rustix::mount::open_tree(found.as_fd(), "", flags)?)
}

fn missing_source(source: &Path, target: &Path) -> String {
    format!("mount `{}` at {}", source.display(), target.display())
}

fn kind_of(mount: &OwnedFd) -> io::Result<Kind> {
    let mode = rustix::fs::fstat(mount)?.st_mode;
    Ok(if mode & libc::S_IFMT == libc::S_IFDIR {
        Kind::Directory
    } else {
        Kind::File
    })
}

/// What is needed at a target.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Directory,
    File,
}

impl Root {
    fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(rustix::fs::openat2(
            self.fd.as_fd(),
            path,
            flags,
            Mode::empty(),
            resolve,
        )?)
    }

    /// Opens a target to mount on; makes it and its parents if they are missing, and notes that.
    fn target(&mut self, path: &Path, kind: Kind) -> io::Result<OwnedFd> {
        match self.open(path, OFlags::PATH) {
            Ok(found) => return Ok(found),
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => return Err(error),
            Err(_) => {}
        }
        let path = self.dangling_target(path).unwrap_or_else(|| path.to_owned());
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = match parent {
            Some(parent) => self.target(parent, Kind::Directory)?,
            None => self.fd.try_clone()?,
        };
        let name = path
            .file_name()
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
        let making = match kind {
            Kind::Directory => rustix::fs::mkdirat(&directory, name, Mode::from_raw_mode(0o755)),
            Kind::File => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                rustix::fs::openat(&directory, name, flags, Mode::from_raw_mode(0o644)).map(drop)
            }
        };
        match making {
            Ok(()) => {}
            // In a directory that several steps share, such as a cache, another one was faster: it is that one's.
            Err(Errno::EXIST) => return self.open(&path, OFlags::PATH),
            Err(error) => return Err(error.into()),
        }
        let made = self.relative(&directory)?.join(name);
        self.made.push(Made {
            path: made,
            directory: kind == Kind::Directory,
        });
        self.open(&path, OFlags::PATH)
    }

    /// Where a link points that leads to nothing. The result may have links itself; they are resolved later.
    fn dangling_target(&self, path: &Path) -> Option<PathBuf> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let link = rustix::fs::openat2(self.fd.as_fd(), path, flags, Mode::empty(), resolve).ok()?;
        let target = rustix::fs::readlinkat(&link, "", Vec::new()).ok()?;
        let target = Path::new(std::ffi::OsStr::from_bytes(target.as_bytes()));
        let joined = if target.is_absolute() {
            target.to_owned()
        } else {
            path.parent()?.join(target)
        };
        // `..` is taken lexically: what is made lies inside the root either way.
        let mut cleaned = PathBuf::from("/");
        for component in joined.components() {
            match component {
                std::path::Component::Normal(name) => cleaned.push(name),
                std::path::Component::ParentDir => {
                    cleaned.pop();
                }
                _ => {}
            }
        }
        (cleaned != path).then_some(cleaned)
    }

    /// The path of an opened directory inside the root.
    fn relative(&self, directory: &OwnedFd) -> io::Result<PathBuf> {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd()))?;
        Ok(link.strip_prefix(&self.path).map(Path::to_owned).unwrap_or_default())
    }

    fn place(&mut self, mount: &OwnedFd, path: &str, kind: Kind, what: &str) -> Result<(), Stage> {
        let target = self.target(Path::new(path), kind).during(what)?;
        attach_at(mount.as_fd(), target.as_fd()).during(what)
    }

    fn proc(&mut self) -> Result<(), Stage> {
        // Inside a container whose own /proc is masked the kernel refuses a new one; its own is better than none.
        let mount = new_filesystem("proc", &[])
            .or_else(|_| clone_mount(Path::new("/proc"), true))
            .during("mount /proc")?;
        self.place(&mount, "/proc", Kind::Directory, "mount /proc")?;
        self.hide()
    }

    fn hide(&mut self) -> Result<(), Stage> {
        for path in READ_ONLY {
            if let Ok(directory) = self.open(Path::new(path), OFlags::PATH) {
                let flags = OpenTreeFlags::OPEN_TREE_CLONE
                    | OpenTreeFlags::OPEN_TREE_CLOEXEC
                    | OpenTreeFlags::AT_RECURSIVE
                    | OpenTreeFlags::AT_EMPTY_PATH;
                let mount = rustix::mount::open_tree(directory.as_fd(), "", flags).during("protect /proc")?;
                sys::make_read_only(mount.as_fd(), c"", true).during("protect /proc")?;
                attach_at(mount.as_fd(), directory.as_fd()).during("protect /proc")?;
            }
        }
        Ok(())
    }

    fn sys(&mut self, staging: &mut Staging) -> Result<(), Stage> {
        let own = || -> io::Result<OwnedFd> {
            let mount = clone_mount(Path::new("/sys"), true)?;
            sys::make_read_only(mount.as_fd(), c"", true)?;
            Ok(mount)
        };
        let mount = own().during("mount /sys")?;
        self.place(&mount, "/sys", Kind::Directory, "mount /sys")?;
        for path in MASKED {
            self.mask(Path::new(path), staging)
                .during("hide parts of /proc and /sys")?;
        }
        Ok(())
    }

    /// Covers a directory with an empty one, a file with `/dev/null`.
    fn mask(&mut self, path: &Path, staging: &mut Staging) -> io::Result<()> {
        let Ok(target) = self.open(path, OFlags::PATH) else {
            return Ok(());
        };
        let is_directory = rustix::fs::fstat(&target).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFDIR);
        let cover = if is_directory {
            staging.empty_directory()?
        } else {
            clone_mount(Path::new("/dev/null"), false)?
        };
        attach_at(cover.as_fd(), target.as_fd())
    }

    fn devices(&mut self, step: &Step) -> Result<(), Stage> {
        let what = "make /dev";
        let tmpfs = new_filesystem("tmpfs", &[("mode", "755"), ("size", "65536k")]).during(what)?;
        self.place(&tmpfs, "/dev", Kind::Directory, what)?;
        let dev = self
            .open(Path::new("/dev"), OFlags::PATH | OFlags::DIRECTORY)
            .during(what)?;
        for device in &DEVICES {
            device.make(&dev).during(what)?;
        }
        let links = [
            ("/proc/self/fd", "fd"),
            ("/proc/self/fd/0", "stdin"),
            ("/proc/self/fd/1", "stdout"),
            ("/proc/self/fd/2", "stderr"),
            ("pts/ptmx", "ptmx"),
        ];
        for (target, name) in links {
            rustix::fs::symlinkat(target, &dev, name).during(what)?;
        }
        let size = step.shm_size.to_string();
        let shm = new_filesystem("tmpfs", &[("mode", "1777"), ("size", &size)]).during("make /dev/shm")?;
        self.within_dev(&dev, "shm", &shm)?;
        let pts = new_filesystem("devpts", &[("ptmxmode", "0666"), ("mode", "0620")]);
        self.within_dev(&dev, "pts", &pts.during("make /dev/pts")?)?;
        // Not every kernel and no outer container surely has message queues; few programs want them.
        if let Ok(queues) = new_filesystem("mqueue", &[]) {
            self.within_dev(&dev, "mqueue", &queues)?;
        }
        Ok(())
    }

    fn within_dev(&self, dev: &OwnedFd, name: &str, mount: &OwnedFd) -> Result<(), Stage> {
        let what = "make /dev";
        rustix::fs::mkdirat(dev, name, Mode::from_raw_mode(0o755)).during(what)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let target = rustix::fs::openat(dev, name, flags, Mode::empty()).during(what)?;
        attach_at(mount.as_fd(), target.as_fd()).during(what)
    }

    /// Where what is mounted is made first: below `/dev`, which is about to be covered.
    fn staging(&mut self) -> Result<Staging, Stage> {
        let staging = Staging::new().during("make a place for mounts")?;
        let target = self.target(Path::new("/dev"), Kind::Directory).during("make /dev")?;
        attach_at(staging.directory(), target.as_fd()).during("make a place for mounts")?;
        Ok(staging)
    }

    /// `/etc/hosts` and its like are mounted, so that they never become part of a layer.
    fn small_files(&mut self, step: &Step, staging: &mut Staging) -> Result<(), Stage> {
        let files = [
            ("/etc/hosts", step.hosts.as_deref()),
            ("/etc/resolv.conf", step.resolv_conf.as_deref()),
        ];
        for (path, text) in files {
            let Some(text) = text else { continue };
            let what = format!("mount {path}");
            let mount = staging.file(text.as_bytes(), 0o644, None).during(&what)?;
            self.attach(&mount, Path::new(path), Kind::File, &what)?;
        }
        Ok(())
    }

    fn attach(&mut self, mount: &OwnedFd, target: &Path, kind: Kind, what: &str) -> Result<(), Stage> {
        let target = self.target(target, kind).during(what)?;
        attach_at(mount.as_fd(), target.as_fd()).during(what)
    }

    fn mount(&mut self, mount: &StepMount, staging: &mut Staging) -> Result<(), Stage> {
        match mount {
            StepMount::Bind {
                source,
                inside,
                target,
                read_only,
            } => {
                let what = format!("mount {}", target.display());
                let clone = if inside.as_os_str().is_empty() {
                    clone_mount(source, true).during(&what)?
                } else {
                    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                    let root = rustix::fs::open(source, flags, Mode::empty()).during(&what)?;
                    clone_inside(root.as_fd(), inside).during(&missing_source(inside, target))?
                };
                if *read_only {
                    sys::make_read_only(clone.as_fd(), c"", true).during(&what)?;
                }
                let kind = kind_of(&clone).during(&what)?;
                self.attach(&clone, target, kind, &what)
            }
            StepMount::Stack {
                lowers,
                changes,
                inside,
                target,
            } => {
                let what = format!("mount {}", target.display());
                let stack = staging.stack(lowers, changes.as_ref()).during(&what)?;
                let clone = clone_inside(stack.as_fd(), inside).during(&missing_source(inside, target))?;
                if changes.is_none() {
                    sys::make_read_only(clone.as_fd(), c"", true).during(&what)?;
                }
                let kind = kind_of(&clone).during(&what)?;
                self.attach(&clone, target, kind, &what)
            }
            StepMount::Tmpfs { target, size, mode } => {
                let what = format!("mount {}", target.display());
                let (mode, size) = (format!("{mode:o}"), size.map(|size| size.to_string()));
                let mut options = vec![("mode", mode.as_str())];
                options.extend(size.as_deref().map(|size| ("size", size)));
                let tmpfs = new_filesystem("tmpfs", &options).during(&what)?;
                self.attach(&tmpfs, target, Kind::Directory, &what)
            }
            StepMount::File {
                content,
                target,
                mode,
                uid,
                gid,
            } => {
                let what = format!("mount {}", target.display());
                let file = staging.file(&content.0, *mode, Some((*uid, *gid))).during(&what)?;
                sys::make_read_only(file.as_fd(), c"", false).during(&what)?;
                self.attach(&file, target, Kind::File, &what)
            }
        }
    }

    /// Makes the root `/`. The old one is gone afterwards.
    pub(crate) fn enter(self) -> Result<(), Stage> {
        let what = "change to the root";
        rustix::process::fchdir(&self.fd).during(what)?;
        // Mounted over its own directory, the descriptor opened after the mount is the new root already.
        rustix::process::pivot_root(".", ".").during(what)?;
        rustix::mount::unmount(".", UnmountFlags::DETACH).during(what)?;
        rustix::process::chdir("/").during(what)
    }
}
