//! `cargo xtask demo`: the main job, from nothing to an image that runs on three platforms.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use kiln_testkit::{BaseImages, Program};

use crate::cargo;
use crate::error::XtaskError;
use crate::system::{self, line_of, succeed};
use crate::talk::{heading, say};

/// Platform, and what `uname -m` prints there.
const PLATFORMS: &[(&str, &str)] = &[
    ("linux/amd64", "x86_64"),
    ("linux/arm64", "aarch64"),
    ("linux/arm/v7", "armv7l"),
];

/// Builds, pushes, inspects and runs `examples/hello`, then builds it a second time.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode, XtaskError> {
    if let Some(extra) = arguments.first() {
        return Err(XtaskError::Usage {
            text: format!("`demo` takes no arguments, got `{extra}`"),
        });
    }
    let started = Instant::now();
    let root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let rootless: &[system::Need] = if root { &[] } else { system::ROOTLESS };
    system::ensure(&[system::EMULATORS, rootless])?;
    heading("building kiln (release, one static binary)");
    let kiln = cargo::build("kiln", &["--release", "--package", "kiln-cli"])?;
    say(&kiln.display().to_string());

    let stage = Stage::set_up(&kiln)?;
    let image = format!("{}/hello:latest", stage.registry.address);
    let platforms: Vec<&str> = PLATFORMS.iter().map(|(platform, _)| *platform).collect();
    let platforms = platforms.join(",");
    let example = cargo::workspace().join("examples/hello");
    let build = || -> Result<Duration, XtaskError> {
        let mut command = stage.kiln(&["build", "--platform", &platforms, "-t", &image, "--push"]);
        command.arg(&example);
        say(&format!("$ {}", line_of(&command)));
        let started = Instant::now();
        succeed(&mut command)?;
        Ok(started.elapsed())
    };

    heading("the first build");
    let first = build()?;
    heading("what is in the registry");
    stage.show(&["inspect", &image])?;
    heading("the image on each platform");
    for (platform, machine) in PLATFORMS {
        let printed = stage.output(&["run", "--rm", "--platform", platform, &image, "uname", "-m"])?;
        say(&printed);
        expect(&format!("`uname -m` on {platform}"), machine, &printed)?;
        let printed = stage.output(&["run", "--rm", "--platform", platform, &image])?;
        say(&printed);
        expect(
            &format!("the image's own command on {platform}"),
            &format!("Building for {machine}"),
            &printed,
        )?;
    }
    heading("the second build, every step from the cache");
    let second = build()?;

    heading("done");
    say(&format!("first build   {:.2} s", first.as_secs_f64()));
    say(&format!("second build  {:.2} s", second.as_secs_f64()));
    say(&format!("everything    {:.1} s", started.elapsed().as_secs_f64()));
    Ok(ExitCode::SUCCESS)
}

fn expect(what: &str, expected: &str, got: &str) -> Result<(), XtaskError> {
    if expected == got {
        return Ok(());
    }
    Err(XtaskError::Unexpected {
        what: what.to_owned(),
        expected: expected.to_owned(),
        got: got.to_owned(),
    })
}

/// The registry and the configuration that the demo runs with. They stay in the target directory, so that a second run of
/// the demo finds the cache of the first.
#[derive(Debug)]
struct Stage {
    kiln: PathBuf,
    state: PathBuf,
    registry: Registry,
    /// Removed when the demo ends.
    configuration: tempfile::TempDir,
}

impl Stage {
    fn set_up(kiln: &Path) -> Result<Self, XtaskError> {
        let home = kiln_testkit::cache_directory()
            .map_err(|source| XtaskError::Fixture {
                what: "a directory for the demo",
                source,
            })?
            .join("demo");
        let configuration = tempfile::tempdir().map_err(|source| XtaskError::File {
            action: "create",
            path: "a temporary directory".into(),
            source,
        })?;
        heading("kiln's own registry");
        let registry = Registry::start(kiln, &home.join("registry"))?;
        say(&format!("listening on {}", registry.address));
        let stage = Self {
            kiln: kiln.to_owned(),
            state: home.join("state"),
            registry,
            configuration,
        };
        stage.settle_base_image()?;
        Ok(stage)
    }

    /// Uses the public `alpine:3.20` when it can be had quickly, else a stand-in on the loopback registry.
    fn settle_base_image(&self) -> Result<(), XtaskError> {
        heading("the base image");
        let public = Program::new(&self.kiln)
            .args(["inspect", "--raw", "docker.io/library/alpine:3.20"])
            .with(|command| self.dress(command))
            .limit(Duration::from_secs(10))
            .run();
        if public.is_ok_and(|outcome| outcome.status.success()) {
            say("alpine:3.20 from the public registry");
            return Ok(());
        }
        say("the public registry is not reached: making a stand-in for alpine:3.20 of Debian's busybox-static");
        let fixture = |source| XtaskError::Fixture {
            what: "the stand-in for alpine:3.20",
            source,
        };
        let images = BaseImages::prepare().map_err(fixture)?;
        images
            .layout()
            .push("library/alpine:3.20", &self.registry.address)
            .map_err(fixture)?;
        let text = kiln_testkit::registries_toml(&[("docker.io".to_owned(), self.registry.address.clone())]);
        let path = self.configuration.path().join("kiln/registries.toml");
        let file = |action, path: &Path| {
            let path = path.to_owned();
            move |source| XtaskError::File { action, path, source }
        };
        let directory = self.configuration.path().join("kiln");
        fs::create_dir_all(&directory).map_err(file("create", &directory))?;
        fs::write(&path, text).map_err(file("write", &path))?;
        say(&format!(
            "served from {} as the mirror of docker.io",
            self.registry.address
        ));
        Ok(())
    }

    fn kiln(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.kiln);
        self.dress(&mut command);
        command.args(arguments);
        command
    }

    fn dress(&self, command: &mut Command) {
        command
            .env("KILN_ROOT", &self.state)
            .env("XDG_CONFIG_HOME", self.configuration.path());
    }

    fn show(&self, arguments: &[&str]) -> Result<(), XtaskError> {
        let mut command = self.kiln(arguments);
        say(&format!("$ {}", line_of(&command)));
        succeed(&mut command)
    }

    /// What a command prints, without the line end.
    fn output(&self, arguments: &[&str]) -> Result<String, XtaskError> {
        let mut command = self.kiln(arguments);
        let program = line_of(&command);
        say(&format!("$ {program}"));
        let output = command
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|source| XtaskError::Start {
                program: program.clone(),
                source,
            })?;
        if !output.status.success() {
            return Err(XtaskError::Failed {
                program,
                status: output.status.to_string(),
            });
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }
}

/// A running `kiln registry serve`, ended by its id on drop.
#[derive(Debug)]
struct Registry {
    child: Child,
    address: String,
}

impl Registry {
    fn start(kiln: &Path, state: &Path) -> Result<Self, XtaskError> {
        let mut command = Command::new(kiln);
        command
            .args(["registry", "serve", "--addr", "127.0.0.1:0"])
            .env("KILN_ROOT", state);
        let (child, address) = kiln_testkit::await_address(command).map_err(|source| XtaskError::Fixture {
            what: "the registry",
            source,
        })?;
        Ok(Self { child, address })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
