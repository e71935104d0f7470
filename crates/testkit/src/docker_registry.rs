//! Debian's `docker-registry`: a registry that Kiln's authors did not write.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::error::TestkitError;
use crate::http::{Request, exchange};
use crate::program::on_path;

/// Who may use a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everyone.
    Open,
    /// Only the user [`DockerRegistry::USER`] with [`DockerRegistry::PASSWORD`].
    Password,
}

/// A running registry with an empty storage of its own; dropping it ends the process and removes the storage.
#[derive(Debug)]
pub struct DockerRegistry {
    child: Child,
    address: String,
    directory: TempDir,
}

impl DockerRegistry {
    /// The user of a registry with [`Access::Password`].
    pub const USER: &str = "kiln";
    /// The password that goes with it.
    pub const PASSWORD: &str = "correct horse";
    /// The same as a line of an `htpasswd` file; this server reads bcrypt alone.
    const HTPASSWD: &str = "kiln:$2b$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2\n";

    /// Starts an open registry on a free loopback port; images can be deleted.
    pub fn start() -> Result<Self, TestkitError> {
        Self::start_with(Access::Open)
    }

    /// Starts a registry with the given access.
    pub fn start_with(access: Access) -> Result<Self, TestkitError> {
        let program = on_path("docker-registry").ok_or_else(|| TestkitError::Missing {
            what: "`docker-registry`".to_owned(),
            remedy: "install the Debian package docker-registry, or run `cargo xtask test`".to_owned(),
        })?;
        let directory = tempfile::tempdir().map_err(TestkitError::file("create", "a temporary directory"))?;
        // Another process may take the port between the moment it is found and the moment it is used.
        let mut last = None;
        for _ in 0..5 {
            match Self::try_start(&program, access, &directory) {
                Ok((child, address)) => {
                    return Ok(Self {
                        child,
                        address,
                        directory,
                    });
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| TestkitError::Missing {
            what: "a free port".to_owned(),
            remedy: "look at what listens on this machine".to_owned(),
        }))
    }

    fn try_start(program: &Path, access: Access, directory: &TempDir) -> Result<(Child, String), TestkitError> {
        let listen = |source| TestkitError::Network {
            action: "find a free port",
            address: "127.0.0.1:0".into(),
            source,
        };
        let address = TcpListener::bind("127.0.0.1:0")
            .and_then(|free| free.local_addr())
            .map_err(listen)?
            .to_string();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::write(&path, text)
                .map_err(TestkitError::file("write", &path))
                .map(|()| path)
        };
        let passwords = write("htpasswd", Self::HTPASSWD)?;
        let auth = match access {
            Access::Open => String::new(),
            Access::Password => {
                format!(
                    "auth:\n  htpasswd:\n    realm: kiln tests\n    path: {}\n",
                    passwords.display()
                )
            }
        };
        let storage = directory.path().join("storage");
        let configuration = write(
            "config.yml",
            &format!(
                "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    \
                 rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: {address}\n{auth}",
                storage.display()
            ),
        )?;
        let log = directory.path().join("log");
        let output = fs::File::create(&log).map_err(TestkitError::file("create", &log))?;
        let mut child = Command::new(program)
            .arg("serve")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .map_err(|source| TestkitError::Start {
                program: program.display().to_string(),
                source,
            })?;
        if await_answer(&mut child, &address) {
            return Ok((child, address));
        }
        // It has ended by itself, or is of no use.
        let _ = child.kill();
        let _ = child.wait();
        Err(TestkitError::Program {
            program: "docker-registry serve".to_owned(),
            status: "no answer".to_owned(),
            stderr: fs::read_to_string(&log).unwrap_or_default(),
        })
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// Where the registry keeps its blobs and links.
    pub fn storage(&self) -> std::path::PathBuf {
        self.directory.path().join("storage")
    }

    /// How many different blobs the registry holds.
    pub fn blob_count(&self) -> usize {
        let algorithm = self.storage().join("docker/registry/v2/blobs/sha256");
        let prefixes = fs::read_dir(algorithm).into_iter().flatten().flatten();
        prefixes
            .map(|prefix| fs::read_dir(prefix.path()).into_iter().flatten().count())
            .sum()
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        // Ended by its own id; it may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until the server answers on its base path, with whatever status; false when its process ends first.
pub(crate) fn await_answer(child: &mut Child, address: &str) -> bool {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(20) {
        if exchange(address, &Request::new("GET", "/v2/")).is_ok() {
            // Another process may own the port while this child has ended because of it.
            thread::sleep(Duration::from_millis(5));
            return matches!(child.try_wait(), Ok(None));
        }
        if !matches!(child.try_wait(), Ok(None)) {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
    false
}
