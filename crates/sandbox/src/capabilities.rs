//! The capabilities that a step keeps: Docker's default set.

use std::io;

/// `CAP_CHOWN`, `CAP_DAC_OVERRIDE`, `CAP_FSETID`, `CAP_FOWNER`, `CAP_MKNOD`, `CAP_NET_RAW`, `CAP_SETGID`,
/// `CAP_SETUID`, `CAP_SETFCAP`, `CAP_SETPCAP`, `CAP_NET_BIND_SERVICE`, `CAP_SYS_CHROOT`, `CAP_KILL`,
/// `CAP_AUDIT_WRITE`, by number.
const KEPT: [u32; 14] = [0, 1, 4, 3, 27, 13, 6, 7, 31, 8, 10, 18, 5, 29];

/// More than any kernel has.
const HIGHEST: u32 = 63;

/// Takes everything but the default set from the bounding set, so that no later exec can bring it back, and
/// from what this process hands on.
pub(crate) fn drop_bounding_set() -> io::Result<()> {
    for capability in (0..=HIGHEST).filter(|capability| !KEPT.contains(capability)) {
        // SAFETY: no pointers.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) };
        if result < 0 {
            let error = io::Error::last_os_error();
            // The first number that the kernel does not know ends the list.
            return if error.raw_os_error() == Some(libc::EINVAL) {
                Ok(())
            } else {
                Err(error)
            };
        }
    }
    Ok(())
}
