//! What lies below all layers of a step's root: places to mount on, for images that lack them.
//!
//! Every sandbox mounts something at these places. What is missing there would have to be made in the step's changes and
//! taken out again, with the directories that overlay copies up for it; from below, it shows only where the image has
//! nothing, and never becomes part of a layer.

use std::path::{Path, PathBuf};

use kiln_sandbox::Network;
use kiln_store::{ScratchDir, Store};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Timespec, Timestamps};

use crate::WorkerError;

const DIRECTORIES: [&str; 4] = ["dev", "etc", "proc", "sys"];
const HOSTS: &str = "etc/hosts";
const NAME_SERVERS: &str = "etc/resolv.conf";

/// A directory with all places, as old as time, so that a directory which a step puts something into is the same in every
/// build.
#[derive(Debug)]
pub(crate) struct Ground(ScratchDir);

impl Ground {
    pub(crate) fn make(store: &Store, network: Network) -> Result<Ground, WorkerError> {
        let scratch = store.scratch_dir()?;
        let make = |path: PathBuf, made: rustix::io::Result<()>, mode: u32| {
            let long_ago = Timestamps {
                last_access: Timespec { tv_sec: 0, tv_nsec: 0 },
                last_modification: Timespec { tv_sec: 0, tv_nsec: 0 },
            };
            let result = made
                .and_then(|()| rustix::fs::chmodat(CWD, &path, Mode::from_raw_mode(mode), AtFlags::empty()))
                .and_then(|()| rustix::fs::utimensat(CWD, &path, &long_ago, AtFlags::empty()));
            result.map_err(|source| WorkerError::Io {
                operation: "make",
                path,
                source: source.into(),
            })
        };
        let directories = || DIRECTORIES.iter().map(|name| scratch.path().join(name));
        for path in directories() {
            let made = rustix::fs::mkdir(&path, Mode::RWXU);
            make(path, made, 0o755)?;
        }
        // Without a network nothing is mounted there, and then nothing may show either.
        let servers = (network == Network::Host).then_some(NAME_SERVERS);
        for path in [HOSTS].into_iter().chain(servers).map(|name| scratch.path().join(name)) {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            let made = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR).map(drop);
            make(path, made, 0o644)?;
        }
        // Once more: what was made in them has moved their times.
        for path in directories().chain([scratch.path().to_owned()]) {
            make(path, Ok(()), 0o755)?;
        }
        Ok(Ground(scratch))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}
