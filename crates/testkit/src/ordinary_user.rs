//! A user without privileges, for rootless runs.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::TestkitError;
use crate::program::Program;

/// Whether a user may map more ids than its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubordinateIds {
    /// A range in `/etc/subuid` and `/etc/subgid`.
    Granted,
    /// Neither: only the user's own id can be mapped.
    None,
}

/// A user of this machine, removed on drop. Making one needs root.
#[derive(Debug)]
pub struct OrdinaryUser {
    name: String,
    uid: u32,
    gid: u32,
}

impl OrdinaryUser {
    /// Makes a user with a group of its own.
    pub fn create(subordinate: SubordinateIds) -> Result<Self, TestkitError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("kiln-t{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut arguments = vec!["--no-create-home", "--user-group", "--shell", "/bin/sh"];
        // Users of the system get no subordinate ids.
        if subordinate == SubordinateIds::None {
            arguments.push("--system");
        }
        // The user database is locked while another test makes or removes a user.
        let mut made = Program::new("useradd").args(&arguments).args([&name]).succeed();
        for _ in 0..20 {
            if made.is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
            made = Program::new("useradd").args(&arguments).args([&name]).succeed();
        }
        made?;
        let id = |flag: &str| -> Result<u32, TestkitError> {
            let text = Program::new("id").args([flag, &name]).succeed()?.stdout_text();
            text.trim().parse().map_err(|_| TestkitError::Missing {
                what: format!("the id of `{name}`"),
                remedy: format!("`id {flag}` printed `{}`", text.trim()),
            })
        };
        let user = Self {
            uid: id("-u")?,
            gid: id("-g")?,
            name,
        };
        let granted = fs::read_to_string("/etc/subuid").unwrap_or_default();
        let has_range = granted.lines().any(|line| line.starts_with(&format!("{}:", user.name)));
        if has_range == (subordinate == SubordinateIds::Granted) {
            return Ok(user);
        }
        Err(TestkitError::Missing {
            what: format!("a user with subordinate ids {subordinate:?}"),
            remedy: "install the package uidmap, and see SUB_UID_COUNT in /etc/login.defs".to_owned(),
        })
    }

    /// The user's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The user's id.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Makes the user the owner of a directory and everything in it.
    pub fn own(&self, directory: &Path) -> Result<(), TestkitError> {
        let owner = format!("{}:{}", self.uid, self.gid);
        Program::new("chown")
            .args(["-R".as_ref(), owner.as_ref(), directory.as_os_str()])
            .succeed()
            .map(drop)
    }

    /// Makes `command` run as this user, with no group but the user's own.
    pub fn assume(&self, command: &mut Command) {
        command
            .uid(self.uid)
            .gid(self.gid)
            .env("USER", &self.name)
            .env("LOGNAME", &self.name);
    }
}

impl Drop for OrdinaryUser {
    fn drop(&mut self) {
        // A user that cannot be removed is left over, which harms no later test: every test makes its own.
        for _ in 0..20 {
            if Program::new("userdel").args([&self.name]).succeed().is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}
