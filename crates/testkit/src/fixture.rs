//! A private world in which the `kiln` binary runs: state, configuration and home in one temporary directory.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::base_image::BaseImages;
use crate::error::TestkitError;
use crate::kiln_binary::kiln_binary;
use crate::language_images::{Language, LanguageImages};
use crate::ordinary_user::OrdinaryUser;
use crate::program::Program;
use crate::static_registry::StaticRegistry;

/// How a program ended.
#[derive(Debug)]
pub struct Outcome {
    /// The command line.
    pub line: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote as data.
    pub stdout: Vec<u8>,
    /// What it said.
    pub stderr: String,
    /// How long it took.
    pub elapsed: Duration,
}

impl Outcome {
    /// The exit code; `None` when a signal ended the program.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Standard output as text.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or(Value::Null)
    }

    /// Fails the test unless the program succeeded.
    #[track_caller]
    pub fn assert_success(&self) -> &Self {
        assert!(
            self.status.success(),
            "`{}` ended with {}\n--- stdout\n{}\n--- stderr\n{}",
            self.line,
            self.status,
            self.stdout_text(),
            self.stderr
        );
        self
    }

    /// Fails the test unless the program ended with this exit code.
    #[track_caller]
    pub fn assert_code(&self, code: i32) -> &Self {
        assert_eq!(self.code(), Some(code), "`{}`\n--- stderr\n{}", self.line, self.stderr);
        self
    }

    /// Fails the test unless each of the texts is in what the program said.
    #[track_caller]
    pub fn assert_says(&self, texts: &[&str]) -> &Self {
        for text in texts {
            assert!(
                self.stderr.contains(text),
                "`{}` does not say `{text}`\n--- stderr\n{}",
                self.line,
                self.stderr
            );
        }
        self
    }
}

/// The temporary directory and the settings of every `kiln` that runs in it.
#[derive(Debug)]
pub struct Fixture {
    directory: TempDir,
    binary: PathBuf,
    state: PathBuf,
    environment: Vec<(String, String)>,
    mirrors: Vec<(String, String)>,
    base_images: Option<StaticRegistry>,
}

impl Fixture {
    /// An empty state directory and no configuration.
    pub fn new() -> Result<Self, TestkitError> {
        let directory = tempfile::Builder::new()
            .prefix("kiln-test-")
            .tempdir()
            .map_err(TestkitError::file("create", "a temporary directory"))?;
        // An ordinary user must be able to walk through it.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))
            .map_err(TestkitError::file("open to everyone", directory.path()))?;
        let state = directory.path().join("state");
        let fixture = Self {
            directory,
            binary: kiln_binary()?,
            state,
            environment: Vec::new(),
            mirrors: Vec::new(),
            base_images: None,
        };
        for name in ["config/kiln", "docker", "home"] {
            let path = fixture.directory().join(name);
            fs::create_dir_all(&path).map_err(TestkitError::file("create", &path))?;
        }
        Ok(fixture)
    }

    /// As [`Fixture::new`], with the base images served as the mirror of `docker.io`.
    pub fn with_base_images() -> Result<Self, TestkitError> {
        let mut fixture = Self::new()?;
        let registry = BaseImages::prepare()?.serve()?;
        fixture.mirror("docker.io", &registry.address())?;
        fixture.base_images = Some(registry);
        Ok(fixture)
    }

    /// As [`Fixture::new`], with the base images of a language served as the mirror of `docker.io`.
    pub fn with_language_images(language: Language) -> Result<Self, TestkitError> {
        let mut fixture = Self::new()?;
        let registry = LanguageImages::prepare(language)?.serve()?;
        fixture.mirror("docker.io", &registry.address())?;
        fixture.base_images = Some(registry);
        Ok(fixture)
    }

    /// Method and path of every request to the base images' registry so far.
    pub fn base_image_requests(&self) -> Vec<String> {
        self.base_images
            .as_ref()
            .map(StaticRegistry::requests)
            .unwrap_or_default()
    }

    /// The directory that everything lies in.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The state directory (`KILN_ROOT`).
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Uses another state directory from now on.
    pub fn set_state(&mut self, state: impl Into<PathBuf>) {
        self.state = state.into();
    }

    /// Sets a variable of the environment for every later run.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Makes a plain HTTP registry at `address` the first place where images of `registry` (`docker.io`) are looked for.
    pub fn mirror(&mut self, registry: &str, address: &str) -> Result<(), TestkitError> {
        self.mirrors.push((registry.to_owned(), address.to_owned()));
        let text = registries_toml(&self.mirrors);
        self.write("config/kiln/registries.toml", text.as_bytes()).map(drop)
    }

    /// Writes Docker's `config.json` with a password for one registry.
    pub fn log_in(&self, registry: &str, user: &str, password: &str) -> Result<(), TestkitError> {
        let auth = STANDARD.encode(format!("{user}:{password}"));
        let document = json!({"auths": {registry: {"auth": auth}}}).to_string();
        self.write("docker/config.json", document.as_bytes()).map(drop)
    }

    /// Writes a file below the fixture's directory, with the directories above it, and gives its path.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<PathBuf, TestkitError> {
        let path = self.directory().join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(TestkitError::file("create", parent))?;
        }
        fs::write(&path, content).map_err(TestkitError::file("write", &path))?;
        Ok(path)
    }

    /// Writes a build context: a directory of this name with these files.
    pub fn context(&self, name: &str, files: &[(&str, &str)]) -> Result<PathBuf, TestkitError> {
        for (path, content) in files {
            self.write(&format!("{name}/{path}"), content.as_bytes())?;
        }
        let directory = self.directory().join(name);
        fs::create_dir_all(&directory).map_err(TestkitError::file("create", &directory))?;
        Ok(directory)
    }

    /// A copy of the binary inside the fixture, where any user can execute it.
    pub fn binary_for_everyone(&mut self) -> Result<(), TestkitError> {
        let copy = self.directory().join("kiln");
        // By a process of its own: a program that another thread starts meanwhile would hold the copy open for writing
        // for a moment, and a file that is written to cannot be run.
        Program::new("cp")
            .args([self.binary.as_os_str(), copy.as_os_str()])
            .succeed()?;
        self.binary = copy;
        Ok(())
    }

    /// `kiln` with arguments, in this fixture's world, with nothing of the caller's environment but the path.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<Command, TestkitError> {
        let mut command = Command::new(&self.binary);
        self.dress(&mut command);
        command.args(arguments);
        Ok(command)
    }

    /// As [`Fixture::command`], run to its end with a time limit.
    pub fn kiln<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Program {
        Program::new(&self.binary)
            .with(|command| self.dress(command))
            .args(arguments)
    }

    /// As [`Fixture::kiln`], as an ordinary user, whose the whole fixture becomes.
    pub fn kiln_as<S: AsRef<OsStr>>(
        &self,
        user: &OrdinaryUser,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Program, TestkitError> {
        user.own(self.directory())?;
        Ok(self.kiln(arguments).with(|command| user.assume(command)))
    }

    /// `skopeo` with arguments, without a signature policy of the machine's.
    pub fn skopeo<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Program {
        Program::new("skopeo").args(["--insecure-policy"]).args(arguments)
    }

    /// The raw manifest or index of an image on a plain HTTP registry, as `skopeo` sees it.
    pub fn raw_manifest(&self, reference: &str) -> Result<Value, TestkitError> {
        let reference = format!("docker://{reference}");
        Ok(self
            .skopeo(["inspect", "--tls-verify=false", "--raw", &reference])
            .succeed()?
            .json())
    }

    /// As [`Fixture::bytes_in_image`], as text.
    pub fn file_in_image(&self, reference: &str, platform: &str, path: &str) -> Result<Option<String>, TestkitError> {
        let bytes = self.bytes_in_image(reference, platform, path)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The content of a file in the last layer that has it, of one platform's image on a plain HTTP registry, fetched and
    /// unpacked by `skopeo` and `tar`. `None` when no layer has it. `platform` is `os/arch[/variant]`.
    pub fn bytes_in_image(&self, reference: &str, platform: &str, path: &str) -> Result<Option<Vec<u8>>, TestkitError> {
        let mut parts = platform.split('/');
        let (os, architecture) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let mut arguments = vec!["--override-os", os, "--override-arch", architecture];
        if let Some(variant) = parts.next() {
            arguments.extend(["--override-variant", variant]);
        }
        let place = tempfile::tempdir_in(self.directory())
            .map_err(TestkitError::file("create a directory in", self.directory()))?;
        let (source, target) = (
            format!("docker://{reference}"),
            format!("dir:{}", place.path().display()),
        );
        arguments.extend(["copy", "--quiet", "--src-tls-verify=false", &source, &target]);
        self.skopeo(&arguments).succeed()?;
        let manifest = place.path().join("manifest.json");
        let manifest = fs::read(&manifest).map_err(TestkitError::file("read", &manifest))?;
        let manifest: Value = serde_json::from_slice(&manifest).unwrap_or_default();
        for layer in manifest["layers"].as_array().into_iter().flatten().rev() {
            let digest = layer["digest"].as_str().unwrap_or_default();
            let blob = place.path().join(digest.trim_start_matches("sha256:"));
            // `tar` finds out about the compression by itself, and fails when the file is not in the archive.
            let archive = [blob.as_os_str()];
            let listed = Program::new("tar").args(["-xOf"]).args(archive).args([path]).run()?;
            if listed.status.success() {
                return Ok(Some(listed.stdout));
            }
        }
        Ok(None)
    }

    /// Gives `command` the environment and the directory of this world, with nothing of the caller's but the path.
    pub fn dress(&self, command: &mut Command) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let directory = self.directory();
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", directory.join("home"))
            .env("XDG_CONFIG_HOME", directory.join("config"))
            .env("DOCKER_CONFIG", directory.join("docker"))
            .env("KILN_ROOT", &self.state)
            .env("NO_COLOR", "1")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(directory);
    }
}

/// The `registries.toml` that sends requests for images of some registries to plain HTTP registries first: pairs of the
/// registry (`docker.io`) and the address (`127.0.0.1:5000`).
pub fn registries_toml(mirrors: &[(String, String)]) -> String {
    let mut text = String::new();
    for (registry, address) in mirrors {
        text.push_str(&format!(
            "[registry.\"{registry}\"]\nmirrors = [\"http://{address}\"]\n\n"
        ));
    }
    text
}
