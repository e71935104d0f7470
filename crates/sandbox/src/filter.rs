//! The system-call filter of a step: what Docker's default profile keeps from containers and capabilities do not.
//!
//! A classic BPF program. It knows the host's own ABI and the 32-bit one beside it, so that 386 programs run on
//! amd64 and arm programs on arm64. System calls that belong to capabilities which a step does not have (mount,
//! kexec, modules, clocks) need no entry here: the kernel refuses them anyway.

use std::io;

/// `AUDIT_ARCH_*` values.
#[cfg(target_arch = "x86_64")]
const ABIS: &[Abi] = &[
    Abi {
        audit: 0xc000_003e,
        denied: &[
            250,
            248,
            249,
            321,
            298,
            323,
            425,
            426,
            427,
            304,
            272 + NEW_USER,
            56 + NEW_USER,
            308,
            246,
            320,
            212,
            180,
        ],
        clone3: 435,
    },
    Abi {
        audit: 0x4000_0003,
        denied: &[
            288,
            286,
            287,
            357,
            336,
            374,
            425,
            426,
            427,
            342,
            310 + NEW_USER,
            120 + NEW_USER,
            346,
            283,
            253,
            169,
        ],
        clone3: 435,
    },
];
#[cfg(target_arch = "aarch64")]
const ABIS: &[Abi] = &[
    Abi {
        audit: 0xc000_00b7,
        denied: &[
            219,
            217,
            218,
            280,
            241,
            282,
            425,
            426,
            427,
            265,
            97 + NEW_USER,
            220 + NEW_USER,
            268,
            104,
            294,
            18,
            42,
        ],
        clone3: 435,
    },
    Abi {
        audit: 0x4000_0028,
        denied: &[
            311,
            309,
            310,
            386,
            364,
            388,
            425,
            426,
            427,
            371,
            337 + NEW_USER,
            120 + NEW_USER,
            375,
            347,
            249,
            169,
        ],
        clone3: 435,
    },
];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ABIS: &[Abi] = &[];

/// Marks a call that is refused only if its first argument asks for a new user namespace.
const NEW_USER: u32 = 0x1_0000;

const CLONE_NEWUSER: u32 = 0x1000_0000;

/// The calls of one ABI, in this order where it has them: keyctl, add_key, request_key, bpf, perf_event_open,
/// userfaultfd, the three of io_uring, open_by_handle_at, unshare, clone, setns, the kexec calls,
/// lookup_dcookie, nfsservctl.
struct Abi {
    audit: u32,
    denied: &'static [u32],
    clone3: u32,
}

/// One instruction: code, jump if true, jump if false, operand.
type Instruction = libc::sock_filter;

const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_SET: u16 = 0x45;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
const REFUSE: u32 = 0x0005_0000;

const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

/// Installs the filter. The process must have `CAP_SYS_ADMIN` in its user namespace: without it the kernel asks
/// for `no_new_privs`, which would break set-user-id programs.
pub(crate) fn install() -> io::Result<()> {
    let program = program();
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let filter = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the program outlives the call and its length is told; the kernel only reads it.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn program() -> Vec<Instruction> {
    let blocks: Vec<Vec<Instruction>> = ABIS.iter().map(block).collect();
    let mut program = vec![instruction(LOAD, 0, 0, ARCHITECTURE)];
    for (abi, block) in ABIS.iter().zip(blocks) {
        // A block is longer than a conditional jump reaches in theory, so it is skipped in two steps.
        program.push(instruction(JUMP_EQUAL, 1, 0, abi.audit));
        program.push(instruction(0x05, 0, 0, u32::try_from(block.len()).unwrap_or(0)));
        program.extend(block);
    }
    // Another ABI of this processor: nothing is known about its numbers, and capabilities still hold.
    program.push(instruction(RETURN, 0, 0, ALLOW));
    program
}

/// The rules of one ABI. Every path through it returns.
fn block(abi: &Abi) -> Vec<Instruction> {
    let mut block = vec![instruction(LOAD, 0, 0, NUMBER)];
    let refuse = |errno: i32| instruction(RETURN, 0, 0, REFUSE | u32::try_from(errno).unwrap_or(1));
    // Its flags are behind a pointer, where a filter cannot look: libraries fall back to clone.
    block.extend([instruction(JUMP_EQUAL, 0, 1, abi.clone3), refuse(libc::ENOSYS)]);
    for &call in abi.denied {
        if call & NEW_USER == 0 {
            block.extend([instruction(JUMP_EQUAL, 0, 1, call), refuse(libc::EPERM)]);
        } else {
            block.extend([
                instruction(JUMP_EQUAL, 0, 4, call & !NEW_USER),
                instruction(LOAD, 0, 0, FIRST_ARGUMENT),
                instruction(JUMP_SET, 0, 1, CLONE_NEWUSER),
                refuse(libc::EPERM),
                instruction(RETURN, 0, 0, ALLOW),
            ]);
        }
    }
    block.push(instruction(RETURN, 0, 0, ALLOW));
    block
}

fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    libc::sock_filter { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program on one call as the kernel would.
    fn verdict(audit: u32, number: u32, argument: u32) -> u32 {
        let program = program();
        let (mut at, mut value) = (0, 0);
        loop {
            let step = &program[at];
            at += 1;
            match step.code {
                LOAD => {
                    value = match step.k {
                        NUMBER => number,
                        ARCHITECTURE => audit,
                        _ => argument,
                    }
                }
                0x05 => at += step.k as usize,
                JUMP_EQUAL => at += usize::from(if value == step.k { step.jt } else { step.jf }),
                JUMP_SET => at += usize::from(if value & step.k != 0 { step.jt } else { step.jf }),
                _ => return step.k,
            }
        }
    }

    #[test]
    fn refused_calls_are_refused_and_others_are_not() {
        for abi in ABIS {
            for &call in abi.denied {
                let number = call & !NEW_USER;
                assert_eq!(
                    verdict(abi.audit, number, CLONE_NEWUSER),
                    REFUSE | 1,
                    "call {number} of {:x}",
                    abi.audit
                );
                if call & NEW_USER != 0 {
                    assert_eq!(verdict(abi.audit, number, 0x11), ALLOW);
                }
            }
            assert_eq!(verdict(abi.audit, abi.clone3, 0), REFUSE | 38);
            assert_eq!(verdict(abi.audit, 3, 0), ALLOW);
        }
        assert_eq!(verdict(0x1234, 250, 0), ALLOW);
    }
}
