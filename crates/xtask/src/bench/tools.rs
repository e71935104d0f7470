//! The two tools that are compared, each with a state of its own, and the registry that both use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_testkit::{BaseImages, DockerRegistry, ImageLayout, registries_toml};

use crate::bench::inputs::failed;
use crate::error::XtaskError;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Tool {
    Kiln,
    Buildah,
}

/// What every run uses: binaries, the registry, and the directory that everything is in.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) kiln: PathBuf,
    /// Inputs stay here from one run to the next.
    pub(super) home: PathBuf,
    /// What runs make: removed at the end.
    pub(super) scratch: tempfile::TempDir,
    registry: DockerRegistry,
    /// What buildah calls itself, or why it is not compared.
    pub(super) peer: Result<String, String>,
}

impl Stage {
    pub(super) fn set_up(kiln: &Path, home: &Path) -> Result<Stage, XtaskError> {
        let fixture = |what| move |source| XtaskError::Fixture { what, source };
        fs::create_dir_all(home).map_err(failed("create", home))?;
        let scratch = tempfile::Builder::new().prefix("run-").tempdir_in(home);
        let scratch = scratch.map_err(failed("create", home))?;
        let registry = DockerRegistry::start().map_err(fixture("the registry"))?;
        let address = registry.address();
        let bases = BaseImages::prepare_all().map_err(fixture("the base images"))?;
        bases
            .layout()
            .push("library/alpine:3.20", &address)
            .map_err(fixture("the base images"))?;
        let write = |name: &str, text: String| {
            let path = scratch.path().join(name);
            let parent = path.parent().unwrap_or(scratch.path());
            fs::create_dir_all(parent).map_err(failed("create", parent))?;
            fs::write(&path, text).map_err(failed("write", &path))
        };
        write(
            "config/kiln/registries.toml",
            registries_toml(&[("docker.io".to_owned(), address.clone())]),
        )?;
        write(
            "registries.conf",
            format!(
                "unqualified-search-registries = [\"docker.io\"]\n\n[[registry]]\nprefix = \"docker.io\"\nlocation = \
                 \"{address}\"\ninsecure = true\n"
            ),
        )?;
        Ok(Stage {
            kiln: kiln.to_owned(),
            home: home.to_owned(),
            scratch,
            registry,
            peer: peer(),
        })
    }

    /// From now on no build looks after the size of its store, which it else does by the clock.
    pub(super) fn without_collection(&self) -> Result<(), XtaskError> {
        let path = self.scratch.path().join("config/kiln/kiln.toml");
        fs::write(&path, "[store]\ncollect = false\n").map_err(failed("write", &path))
    }

    /// `127.0.0.1:port`.
    pub(super) fn registry(&self) -> String {
        self.registry.address()
    }

    /// Makes an image of a layout known to both tools.
    pub(super) fn serve(&self, layout: &ImageLayout, reference: &str) -> Result<(), XtaskError> {
        layout
            .push(reference, &self.registry())
            .map_err(|source| XtaskError::Fixture {
                what: "a base image",
                source,
            })
    }

    /// Where a tool keeps its state in a run with this name.
    pub(super) fn state(&self, tool: Tool, name: &str) -> PathBuf {
        self.scratch.path().join(match tool {
            Tool::Kiln => format!("kiln-{name}"),
            Tool::Buildah => format!("buildah-{name}"),
        })
    }

    /// `kiln` over a state directory.
    pub(super) fn kiln(&self, state: &Path, arguments: &[String]) -> Command {
        let mut command = Command::new(&self.kiln);
        command
            .args(arguments)
            .env("KILN_ROOT", state)
            .env("XDG_CONFIG_HOME", self.scratch.path().join("config"))
            .env_remove("SOURCE_DATE_EPOCH");
        command
    }

    /// A shell that runs buildah over a state directory; `"$@"` stands for `buildah` with its storage in the script.
    pub(super) fn buildah(&self, state: &Path, script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-euc", script, "sh", "buildah"]);
        let root = |name: &str| state.join(name).display().to_string();
        command.args(["--root", &root("root"), "--runroot", &root("run")]);
        command.args(["--storage-driver", "overlay"]);
        command
            .env(
                "CONTAINERS_REGISTRIES_CONF",
                self.scratch.path().join("registries.conf"),
            )
            .env("BUILDAH_ISOLATION", "chroot")
            .env("TMPDIR", self.scratch.path());
        command
    }

    /// Removes what a tool keeps.
    pub(super) fn forget(&self, tool: Tool, state: &Path) -> Result<(), XtaskError> {
        if !state.exists() {
            return Ok(());
        }
        self.let_go(tool, state);
        fs::remove_dir_all(state).map_err(failed("remove", state))
    }

    /// Leaves nothing of a tool's state mounted, so that it can be removed.
    pub(super) fn let_go(&self, tool: Tool, state: &Path) {
        if tool == Tool::Buildah && state.exists() {
            // Overlay may have left a mount of its home.
            let _ = Command::new("umount")
                .arg("-l")
                .arg(state.join("root/overlay"))
                .output();
        }
    }
}

/// The version of buildah, as it is named in the results.
fn peer() -> Result<String, String> {
    let root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if !root {
        return Err("buildah is compared as root alone: its rootless mode needs settings of the machine".to_owned());
    }
    let output = Command::new("buildah")
        .arg("--version")
        .output()
        .map_err(|error| format!("buildah does not start: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // `buildah version 1.28.2 (image-spec …)`
    let version = text.split_whitespace().nth(2).unwrap_or("unknown").to_owned();
    Ok(format!("buildah {version}"))
}

/// Whether the host runs programs of other machines: buildah has no emulation of its own.
pub(super) fn host_emulates() -> bool {
    fs::read_dir("/proc/sys/fs/binfmt_misc")
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("qemu-"))
}
