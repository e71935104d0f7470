//! What images to be audited are made of: real packages of Debian, PyPI and npm, and programs built here by compilers
//! for many platforms. Everything is fetched or built once and kept beside cargo's output.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::debian::Debian;
use crate::error::TestkitError;
use crate::program::{Program, cache_directory};

/// Debian's architectures with the platforms that their images are for.
pub const DEBIAN_PLATFORMS: &[(&str, &str)] = &[
    ("amd64", "linux/amd64"),
    ("arm64", "linux/arm64"),
    ("armhf", "linux/arm/v7"),
    ("armel", "linux/arm/v5"),
    ("i386", "linux/386"),
    ("ppc64el", "linux/ppc64le"),
    ("s390x", "linux/s390x"),
    ("mips64el", "linux/mips64le"),
    ("mipsel", "linux/mipsle"),
];

/// The packages that roots are made of, fetched all at once.
const DEBIAN_PACKAGES: &[&str] = &[
    "libc6",
    "libc-bin",
    "dash",
    "bash",
    "libtinfo6",
    "musl",
    "busybox-static",
    "hello",
    "pigz",
    "zlib1g",
    "libgcc-s1",
    "coreutils",
    "perl-base",
    "libcrypt1",
    "libacl1",
    "libattr1",
    "libgmp10",
    "libselinux1",
    "libpcre2-8-0",
];

/// The release of Zig's compiler, which brings headers and stubs of every C library.
const ZIG: &str = "ziglang==0.13.0";

/// Long enough for the first program of a target on a busy machine.
const COMPILATION: Duration = Duration::from_secs(600);

/// Parts by name. A second call finds what the first one made.
#[derive(Debug)]
pub struct AuditParts {
    directory: PathBuf,
    debian: Debian,
    /// Held until the end: tests of one run are processes of their own.
    _lock: fs::File,
}

impl AuditParts {
    /// Opens the place where parts are kept.
    pub fn prepare() -> Result<Self, TestkitError> {
        let directory = cache_directory()?.join("audit-parts-1");
        fs::create_dir_all(&directory).map_err(TestkitError::file("create", &directory))?;
        let lock_path = directory.join("lock");
        let lock = fs::File::create(&lock_path).map_err(TestkitError::file("create", &lock_path))?;
        lock.lock().map_err(TestkitError::file("lock", &lock_path))?;
        let architectures: Vec<&str> = DEBIAN_PLATFORMS.iter().map(|row| row.0).collect();
        let debian = Debian::new(&directory.join("debian"), &architectures)?;
        let packages: Vec<String> = architectures
            .iter()
            .flat_map(|architecture| {
                DEBIAN_PACKAGES
                    .iter()
                    .map(move |package| format!("{package}:{architecture}"))
            })
            .collect();
        debian.download_all(&packages)?;
        Ok(Self {
            debian,
            directory,
            _lock: lock,
        })
    }

    /// An unpacked package of Debian.
    pub fn debian(&self, package: &str, architecture: &str) -> Result<PathBuf, TestkitError> {
        self.debian.unpack(package, architecture)
    }

    /// An unpacked wheel, as `pip` lays it into `site-packages`. `platform` is pip's, such as `manylinux2014_aarch64`.
    pub fn wheel(&self, requirement: &str, platform: &str) -> Result<PathBuf, TestkitError> {
        self.made(&format!("wheel-{requirement}-{platform}"), |place| {
            let download = place.join("download");
            Program::new("pip3")
                .args(["download", "--quiet", "--disable-pip-version-check", "--no-deps"])
                .args([
                    "--only-binary=:all:",
                    "--python-version",
                    "3.11",
                    "--platform",
                    platform,
                ])
                .args([requirement, "--dest"])
                .args([&download])
                .limit(COMPILATION)
                .succeed()?;
            let wheel = only_file(&download)?;
            // A wheel is a zip archive; modes do not matter to Python.
            Program::new("python3")
                .args(["-m", "zipfile", "-e"])
                .args([&wheel, &place.join("files")])
                .succeed()?;
            Ok(())
        })
        .map(|place| place.join("files"))
    }

    /// An unpacked package of npm, without what it depends on.
    pub fn node_package(&self, package: &str) -> Result<PathBuf, TestkitError> {
        self.made(&format!("npm-{}", package.replace('/', "_")), |place| {
            Program::new("npm")
                .args(["pack", "--silent", package])
                .with(|command| _ = command.current_dir(place))
                .limit(COMPILATION)
                .succeed()?;
            let archive = only_file(place)?;
            Program::new("tar")
                .args(["-xzf"])
                .args([&archive])
                .with(|command| _ = command.current_dir(place))
                .succeed()?;
            Ok(())
        })
        .map(|place| place.join("package"))
    }

    /// A program or library that Zig builds of C. `target` is Zig's, such as `aarch64-linux-gnu.2.38`.
    pub fn zig(&self, target: &str, source: &str, flags: &[&str]) -> Result<Vec<u8>, TestkitError> {
        let name = format!("zig-{target}-{}", fingerprint(&[&[source], flags].concat()));
        let place = self.made(&name, |place| {
            let platform = match std::env::consts::ARCH {
                "x86_64" => "manylinux2014_x86_64",
                "aarch64" => "manylinux2014_aarch64",
                other => {
                    return Err(TestkitError::Missing {
                        what: format!("Zig for {other}"),
                        remedy: "run these tests on x86-64 or aarch64".to_owned(),
                    });
                }
            };
            let compiler = self.wheel(ZIG, platform)?.join("ziglang/zig");
            make_executable(&compiler)?;
            let file = place.join("main.c");
            fs::write(&file, source).map_err(TestkitError::file("write", &file))?;
            Program::new(&compiler)
                .args(["cc", "-target", target, "-Os", "-s", "-w"])
                .args(flags)
                .args(["-o", "out", "main.c"])
                .env("ZIG_GLOBAL_CACHE_DIR", self.directory.join("zig-cache"))
                .env("ZIG_LOCAL_CACHE_DIR", self.directory.join("zig-cache"))
                .with(|command| _ = command.current_dir(place))
                .limit(COMPILATION)
                .succeed()?;
            Ok(())
        })?;
        read(&place.join("out"))
    }

    /// A program that Go builds without cgo.
    pub fn go(&self, architecture: &str, flags: &[&str]) -> Result<Vec<u8>, TestkitError> {
        self.go_with(architecture, "0", flags)
    }

    /// A Go plugin for this machine: plugins need cgo.
    pub fn go_plugin(&self, architecture: &str) -> Result<Vec<u8>, TestkitError> {
        self.go_with(architecture, "1", &["-buildmode=plugin"])
    }

    fn go_with(&self, architecture: &str, cgo: &str, flags: &[&str]) -> Result<Vec<u8>, TestkitError> {
        let name = format!("go-{architecture}-{}", fingerprint(&[&[cgo], flags].concat()));
        let place = self.made(&name, |place| {
            let file = place.join("main.go");
            let text = "package main\n\nfunc main() { println(\"hello\") }\n";
            fs::write(&file, text).map_err(TestkitError::file("write", &file))?;
            Program::new("go")
                .args(["build", "-trimpath", "-o", "out"])
                .args(flags)
                .args(["main.go"])
                .env("GOOS", "linux")
                .env("GOARCH", architecture)
                .env("GOARM", "7")
                .env("CGO_ENABLED", cgo)
                .env("GO111MODULE", "off")
                .env("GOFLAGS", "")
                .env("GOCACHE", self.directory.join("go-cache"))
                .with(|command| _ = command.current_dir(place))
                .limit(COMPILATION)
                .succeed()?;
            Ok(())
        })?;
        read(&place.join("out"))
    }

    /// A program for this machine by its own Rust compiler.
    pub fn rust(&self, flags: &[&str]) -> Result<Vec<u8>, TestkitError> {
        let place = self.made(&format!("rust-{}", fingerprint(flags)), |place| {
            let file = place.join("main.rs");
            fs::write(&file, "fn main() { println!(\"hello\"); }\n").map_err(TestkitError::file("write", &file))?;
            Program::new("rustc")
                .args(["-O", "-C", "strip=symbols", "-o", "out"])
                .args(flags)
                .args(["main.rs"])
                .with(|command| _ = command.current_dir(place))
                .limit(COMPILATION)
                .succeed()?;
            Ok(())
        })?;
        read(&place.join("out"))
    }

    /// A program for this machine by its own C compiler.
    pub fn c(&self, source: &str, flags: &[&str]) -> Result<Vec<u8>, TestkitError> {
        let name = format!("c-{}", fingerprint(&[&[source], flags].concat()));
        let place = self.made(&name, |place| {
            let file = place.join("main.c");
            fs::write(&file, source).map_err(TestkitError::file("write", &file))?;
            Program::new("cc")
                .args(["-Os", "-s", "-o", "out", "main.c"])
                .args(flags)
                .with(|command| _ = command.current_dir(place))
                .succeed()?;
            Ok(())
        })?;
        read(&place.join("out"))
    }

    /// A directory with what `make` put there, made at most once.
    fn made(&self, name: &str, make: impl FnOnce(&Path) -> Result<(), TestkitError>) -> Result<PathBuf, TestkitError> {
        let place = self.directory.join(name);
        if place.is_dir() {
            return Ok(place);
        }
        let half = self.directory.join(format!("{name}.half"));
        if half.exists() {
            fs::remove_dir_all(&half).map_err(TestkitError::file("remove", &half))?;
        }
        fs::create_dir_all(&half).map_err(TestkitError::file("create", &half))?;
        make(&half)?;
        fs::rename(&half, &place).map_err(TestkitError::file("create", &place))?;
        Ok(place)
    }
}

/// A zip archive of stored members, as Java's archives may be.
pub fn java_archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    let length = |data: &[u8]| u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes();
    for (name, data) in members {
        let offset = length(&bytes);
        let mut crc = flate2::Crc::new();
        crc.update(data);
        let name_length = u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes();
        // Version, flags, method, time, date; then what both headers have in common.
        let common = [
            [10, 0, 0, 0, 0, 0, 0, 0, 0x21, 0].as_slice(),
            &crc.sum().to_le_bytes(),
            &length(data),
            &length(data),
            &name_length,
            &[0, 0],
        ]
        .concat();
        bytes.extend([b"PK\x03\x04".as_slice(), &common, name.as_bytes(), data].concat());
        let after = [[0; 10].as_slice(), &offset, name.as_bytes()].concat();
        directory.extend([b"PK\x01\x02\x0a\0".as_slice(), &common, &after].concat());
    }
    let count = u16::try_from(members.len()).unwrap_or(u16::MAX).to_le_bytes();
    let end = [
        b"PK\x05\x06\0\0\0\0".as_slice(),
        &count,
        &count,
        &length(&directory),
        &length(&bytes),
        &[0, 0],
    ]
    .concat();
    bytes.extend(directory);
    bytes.extend(end);
    bytes
}

fn read(path: &Path) -> Result<Vec<u8>, TestkitError> {
    fs::read(path).map_err(TestkitError::file("read", path))
}

fn only_file(directory: &Path) -> Result<PathBuf, TestkitError> {
    let entries = fs::read_dir(directory).map_err(TestkitError::file("read", directory))?;
    let mut files = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file());
    files.next().ok_or_else(|| TestkitError::Missing {
        what: format!("a file in {}", directory.display()),
        remedy: "remove the directory, so that it is fetched again".to_owned(),
    })
}

fn make_executable(path: &Path) -> Result<(), TestkitError> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(TestkitError::file("make executable", path))
}

/// A short name for a text.
fn fingerprint(texts: &[&str]) -> String {
    use sha2::{Digest, Sha256};
    hex::encode(&Sha256::digest(texts.join("\n"))[..6])
}
