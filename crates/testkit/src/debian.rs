//! Packages of Debian for any architecture, without touching the host's package database.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::TestkitError;
use crate::program::Program;

/// A private copy of apt's state: its own lists, cache and architectures. The architectures that the host's dpkg knows
/// stay as they are.
#[derive(Debug)]
pub struct Debian {
    directory: PathBuf,
    architectures: Vec<String>,
}

impl Debian {
    /// Prepares the state in `directory` for Debian architectures (`amd64`, `arm64`, `armhf`, …). Lists are fetched when a
    /// package is first asked for.
    pub fn new(directory: &Path, architectures: &[&str]) -> Result<Self, TestkitError> {
        for part in ["state/lists/partial", "cache/archives/partial"] {
            let path = directory.join(part);
            fs::create_dir_all(&path).map_err(TestkitError::file("create", &path))?;
        }
        // Without installed packages apt has nothing to compare with, which is what downloading needs.
        let status = directory.join("state/status");
        fs::write(&status, "").map_err(TestkitError::file("write", &status))?;
        let architectures = architectures.iter().map(|&name| name.to_owned()).collect();
        Ok(Self {
            directory: directory.to_owned(),
            architectures,
        })
    }

    /// The host's own Debian architecture.
    pub fn host_architecture() -> Result<String, TestkitError> {
        Ok(Program::new("dpkg")
            .args(["--print-architecture"])
            .succeed()?
            .stdout_text()
            .trim()
            .to_owned())
    }

    /// Downloads a package and unpacks it into a directory, which is given back. A second call finds it there.
    pub fn unpack(&self, package: &str, architecture: &str) -> Result<PathBuf, TestkitError> {
        let unpacked = self.directory.join(format!("{package}-{architecture}"));
        if unpacked.is_dir() {
            return Ok(unpacked);
        }
        let archive = self.download(package, architecture)?;
        let half = self.directory.join(format!("{package}-{architecture}.half"));
        if half.exists() {
            fs::remove_dir_all(&half).map_err(TestkitError::file("remove", &half))?;
        }
        Program::new("dpkg-deb")
            .args(["-x".as_ref(), archive.as_os_str(), half.as_os_str()])
            .succeed()?;
        fs::rename(&half, &unpacked).map_err(TestkitError::file("create", &unpacked))?;
        Ok(unpacked)
    }

    /// Downloads a package file. A second call finds it there.
    pub fn download(&self, package: &str, architecture: &str) -> Result<PathBuf, TestkitError> {
        let name = format!("{package}:{architecture}");
        let mut files = self.download_all(std::slice::from_ref(&name))?;
        files.pop().ok_or_else(|| absent(&name, &self.directory))
    }

    /// The packages that `roots` (`name`, or `name:architecture`) need on a machine of an architecture that has none yet,
    /// themselves included, each as `name:architecture` or `name:all`. Recommended packages are left out.
    pub fn closure(&self, roots: &[&str], architecture: &str) -> Result<Vec<String>, TestkitError> {
        self.update(false)?;
        let list = || {
            self.apt(&["install", "--print-uris", "--yes", "--no-install-recommends"])
                .args(["-o", &format!("APT::Architecture={architecture}")])
                .args(roots)
        };
        let mut listed = list().run()?;
        if !listed.status.success() {
            self.update(true)?;
            listed = list().succeed()?;
        }
        let listed = listed.stdout_text();
        // Each line is an address in quotes, a file name `name_version_architecture.deb`, a size and a checksum.
        let packages = listed.lines().filter_map(|line| {
            let file = line.strip_prefix('\'')?.split(' ').nth(1)?;
            let (name, rest) = file.split_once('_')?;
            let of = rest.strip_suffix(".deb")?.rsplit('_').next()?;
            Some(format!("{name}:{of}"))
        });
        Ok(packages.collect())
    }

    /// Downloads packages (`name:architecture` or `name:all`), all at once, and gives their files in the same order.
    pub fn download_all(&self, packages: &[String]) -> Result<Vec<PathBuf>, TestkitError> {
        let halves = |package: &String| {
            let (name, architecture) = package.split_once(':').unwrap_or((package, "all"));
            (name.to_owned(), architecture.to_owned())
        };
        let mut missing = Vec::new();
        for package in packages {
            let (name, architecture) = halves(package);
            if self.downloaded(&name, &architecture)?.is_none() {
                missing.push(package.strip_suffix(":all").unwrap_or(package));
            }
        }
        if !missing.is_empty() {
            self.update(false)?;
            let download = || {
                self.apt(&["download"])
                    .args(&missing)
                    .with(|command| _ = command.current_dir(&self.directory))
                    .limit(Duration::from_secs(900))
            };
            // Lists of an earlier day may name versions that the mirror no longer has.
            if !download().run()?.status.success() {
                self.update(true)?;
                download().succeed()?;
            }
        }
        packages
            .iter()
            .map(|package| {
                let (name, architecture) = halves(package);
                self.downloaded(&name, &architecture)?
                    .ok_or_else(|| absent(package, &self.directory))
            })
            .collect()
    }

    /// Fetches the lists of packages, unless that was done once and they need not be `fresh`.
    fn update(&self, fresh: bool) -> Result<(), TestkitError> {
        let marker = self.directory.join("state/updated");
        if fresh || !marker.exists() {
            // One list that a mirror is just replacing makes the whole update fail while the others are usable: whether
            // the package can be had is decided by the download.
            self.apt(&["update"]).run()?;
            fs::write(&marker, "").map_err(TestkitError::file("write", &marker))?;
        }
        Ok(())
    }

    fn downloaded(&self, package: &str, architecture: &str) -> Result<Option<PathBuf>, TestkitError> {
        let entries = fs::read_dir(&self.directory).map_err(TestkitError::file("read", &self.directory))?;
        let prefix = format!("{package}_");
        let suffixes = [format!("_{architecture}.deb"), "_all.deb".to_owned()];
        Ok(entries.flatten().map(|entry| entry.path()).find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&prefix) && suffixes.iter().any(|suffix| name.ends_with(suffix.as_str()))
        }))
    }

    fn apt(&self, arguments: &[&str]) -> Program {
        let directory = self.directory.display();
        let mut options = vec![
            format!("Dir::State={directory}/state"),
            format!("Dir::State::status={directory}/state/status"),
            format!("Dir::Cache={directory}/cache"),
            // Files under a home directory are not readable for apt's own user.
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=3".to_owned(),
        ];
        options.extend(
            self.architectures
                .iter()
                .map(|name| format!("APT::Architectures::={name}")),
        );
        let options = options.iter().flat_map(|option| ["-o", option.as_str()]);
        Program::new("apt-get").args(["-qq"]).args(options).args(arguments)
    }
}

fn absent(package: &str, directory: &Path) -> TestkitError {
    TestkitError::Missing {
        what: format!("the package {package} after its download"),
        remedy: format!("look into {}", directory.display()),
    }
}
