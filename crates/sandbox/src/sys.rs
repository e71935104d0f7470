//! Calls that have no safe wrapper, each in a small function that has.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

/// A process identifier of this process' own namespace.
pub(crate) type RawPid = libc::pid_t;

/// The value of a call, or its error.
pub(crate) fn check(value: libc::c_int) -> io::Result<libc::c_int> {
    if value < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(value)
    }
}

/// A text without NUL bytes, for the kernel.
pub(crate) fn c_string(text: impl AsRef<OsStr>) -> io::Result<CString> {
    CString::new(text.as_ref().as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

/// Forks. Gives 0 in the child.
///
/// Only the launcher, the init and the start of `main` call this: none of them has a second thread.
pub(crate) fn fork() -> io::Result<RawPid> {
    // SAFETY: the process has one thread, so the child may do whatever the parent could.
    check(unsafe { libc::fork() })
}

/// Forks into new namespaces. Gives 0 in the child, which is process 1 if it has a new process namespace.
///
/// Only the launcher calls this, which has one thread.
pub(crate) fn fork_into(namespaces: libc::c_int) -> io::Result<RawPid> {
    let flags = libc::c_ulong::try_from(namespaces | libc::SIGCHLD).map_err(io::Error::other)?;
    let null = 0 as libc::c_ulong;
    // SAFETY: the process has one thread, so the child may do whatever the parent could; without a new stack the call
    // returns in it as a fork does. No pointer is passed.
    let child = unsafe {
        if cfg!(target_arch = "s390x") {
            libc::syscall(libc::SYS_clone, null, flags, null, null, null)
        } else {
            libc::syscall(libc::SYS_clone, flags, null, null, null, null)
        }
    };
    if child < 0 {
        return Err(io::Error::last_os_error());
    }
    RawPid::try_from(child).map_err(io::Error::other)
}

/// Makes descriptors the standard input, output and error of this process and of the programs that it becomes.
pub(crate) fn set_standard_streams(streams: &[OwnedFd; 3]) -> io::Result<()> {
    for (number, stream) in (0..).zip(streams) {
        // SAFETY: plain descriptor numbers; nothing in this process owns the standard ones.
        check(unsafe { libc::dup2(stream.as_raw_fd(), number) })?;
    }
    Ok(())
}

/// Leaves namespaces.
pub(crate) fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: the call takes no pointers; the process has one thread.
    check(unsafe { libc::unshare(flags) }).map(drop)
}

/// Waits for one child, or for any with -1. Gives its pid and raw status.
pub(crate) fn wait(pid: RawPid, flags: libc::c_int) -> io::Result<(RawPid, libc::c_int)> {
    let mut status = 0;
    loop {
        // SAFETY: `status` outlives the call.
        match check(unsafe { libc::waitpid(pid, &raw mut status, flags) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.map(|pid| (pid, status)),
        }
    }
}

/// Sends a signal.
pub(crate) fn kill(pid: RawPid, signal: i32) -> io::Result<()> {
    // SAFETY: the call takes no pointers.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Ends this process without running anything else.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

/// Replaces this process. Returns only if that failed.
pub(crate) fn exec(path: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter()
            .map(|text| text.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both lists are terminated by null and their strings outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Takes over a descriptor that the parent process promised to this one.
pub(crate) fn inherited(fd: RawFd) -> OwnedFd {
    // SAFETY: the number is part of the protocol between parent and init; nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Sets whether a descriptor is closed by an exec.
pub(crate) fn set_close_on_exec(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    let flags = if on { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: a plain descriptor number.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, flags) }).map(drop)
}

/// Blocks all signals and gives a descriptor that tells of them.
pub(crate) fn signal_descriptor() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigfillset before it is used.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()))?;
        let fd = check(libc::signalfd(
            -1,
            &raw const set,
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        ))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Reads one signal from [`signal_descriptor`]: number, and whether a process sent it (not the terminal).
pub(crate) fn read_signal(fd: BorrowedFd<'_>) -> io::Result<Option<(i32, bool)>> {
    // SAFETY: signalfd_siginfo is plain data for which zeros are valid.
    let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
    let size = std::mem::size_of_val(&info);
    // SAFETY: the buffer is `size` bytes long and outlives the call.
    let read = unsafe { libc::read(fd.as_raw_fd(), (&raw mut info).cast(), size) };
    if read < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::WouldBlock {
            Ok(None)
        } else {
            Err(error)
        };
    }
    let sent = info.ssi_code <= 0;
    Ok(Some((i32::try_from(info.ssi_signo).unwrap_or(0), sent)))
}

/// Gives signals back their default meaning: what a new program expects. Those that this process ignores, it must block
/// before.
pub(crate) fn reset_signals() {
    // SAFETY: setting default handlers cannot fail for the signals that allow it.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

/// Lets all signals through: what a new program expects.
pub(crate) fn unblock_signals() {
    // SAFETY: the set is initialised.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

/// Sets all user ids, in this process alone.
pub(crate) fn set_user(uid: u32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::setresuid(uid, uid, uid) }).map(drop)
}

/// Sets all group ids, in this process alone.
pub(crate) fn set_group(gid: u32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::setresgid(gid, gid, gid) }).map(drop)
}

/// Sets the supplementary groups.
pub(crate) fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: the list outlives the call and its length is told.
    check(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) }).map(drop)
}

/// Sets a resource limit.
pub(crate) fn set_limit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: `limit` outlives the call.
    check(unsafe { libc::prlimit64(0, resource as _, &raw const limit, std::ptr::null_mut()) }).map(drop)
}

/// Makes the mount at a descriptor, and what is below it, read-only.
pub(crate) fn make_read_only(mount: BorrowedFd<'_>, path: &CStr, recursive: bool) -> io::Result<()> {
    #[repr(C)]
    struct MountAttr {
        set: u64,
        clear: u64,
        propagation: u64,
        user_namespace: u64,
    }
    const MOUNT_ATTR_RDONLY: u64 = 1;
    const AT_RECURSIVE: libc::c_int = 0x8000;
    let attributes = MountAttr {
        set: MOUNT_ATTR_RDONLY,
        clear: 0,
        propagation: 0,
        user_namespace: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: the structure has the kernel's layout, its size is told, and it outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const attributes,
            std::mem::size_of::<MountAttr>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Brings the loopback interface of this network namespace up.
pub(crate) fn loopback_up() -> io::Result<()> {
    // SAFETY: the request is zeroed plain data with the interface's name; it outlives both calls.
    unsafe {
        let socket = check(libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0))?;
        let socket = OwnedFd::from_raw_fd(socket);
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        check(libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCGIFFLAGS as _,
            &raw mut request,
        ))?;
        request.ifr_ifru.ifru_flags |= (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        check(libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS as _,
            &raw mut request,
        ))
        .map(drop)
    }
}
