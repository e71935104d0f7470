//! What is measured: the builds of the project's yardstick, each with its aim.

use std::fs;
use std::path::{Path, PathBuf};

use crate::bench::inputs::{self, failed};
use crate::bench::tools::{Stage, Tool, host_emulates};
use crate::error::XtaskError;

/// What a tool finds when a run begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// An empty state directory.
    Cold,
    /// The state that the same build left.
    Warm,
    /// The state that the same build left, and one file of the context changed since.
    Touched,
}

/// What becomes of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// It stays in the tool's own store.
    Keep,
    /// It goes to the registry on loopback.
    Push,
    /// It becomes an OCI archive, compressed like this.
    Archive(&'static str),
    /// It stays, and the layers of all stages go into a cache in a directory.
    Cache,
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    /// Seconds that Kiln may take on two cores.
    pub(super) aim: f64,
    pub(super) start: Start,
    pub(super) goal: Goal,
    input: Input,
    platforms: usize,
}

#[derive(Debug, Clone, Copy)]
enum Input {
    Hello,
    Steps,
    SmallFiles,
    OneLayer,
    OtherStage,
    Base { layers: usize, bytes: u64 },
}

const MB: u64 = 1_000_000;

/// The whole yardstick, in the order in which it is printed.
pub(super) const CASES: &[Case] = &[
    case(
        "A",
        "first example, 2 platforms, push",
        0.15,
        Start::Cold,
        Goal::Push,
        Input::Hello,
        2,
    ),
    case(
        "A-one",
        "first example, this platform alone, push",
        0.15,
        Start::Cold,
        Goal::Push,
        Input::Hello,
        1,
    ),
    case(
        "A-cached-push",
        "first example, 2 platforms, cached, push",
        0.025,
        Start::Warm,
        Goal::Push,
        Input::Hello,
        2,
    ),
    case(
        "A-cached",
        "first example, 2 platforms, cached",
        0.012,
        Start::Warm,
        Goal::Keep,
        Input::Hello,
        2,
    ),
    case(
        "F",
        "first example, 6 platforms, push",
        0.35,
        Start::Cold,
        Goal::Push,
        Input::Hello,
        6,
    ),
    case("B", "60 small RUN steps", 0.6, Start::Cold, Goal::Keep, Input::Steps, 1),
    case(
        "B-cached",
        "60 small RUN steps, cached",
        0.02,
        Start::Warm,
        Goal::Keep,
        Input::Steps,
        1,
    ),
    case(
        "C",
        "COPY of 20,000 files, 200 MB, push",
        2.6,
        Start::Cold,
        Goal::Push,
        Input::SmallFiles,
        1,
    ),
    case(
        "C-same",
        "the same, nothing changed",
        0.1,
        Start::Warm,
        Goal::Keep,
        Input::SmallFiles,
        1,
    ),
    case(
        "C-one",
        "the same, one file changed, push",
        1.6,
        Start::Touched,
        Goal::Push,
        Input::SmallFiles,
        1,
    ),
    case(
        "D-gzip",
        "18,600 files, 500 MB to an OCI archive, gzip",
        3.5,
        Start::Cold,
        Goal::Archive("gzip"),
        Input::OneLayer,
        1,
    ),
    case(
        "D-zstd",
        "18,600 files, 500 MB to an OCI archive, zstd",
        2.0,
        Start::Cold,
        Goal::Archive("zstd"),
        Input::OneLayer,
        1,
    ),
    case(
        "D-same",
        "the archive again, nothing changed, gzip",
        0.4,
        Start::Warm,
        Goal::Archive("gzip"),
        Input::OneLayer,
        1,
    ),
    case(
        "E",
        "60 MB in another stage",
        0.5,
        Start::Cold,
        Goal::Keep,
        Input::OtherStage,
        1,
    ),
    case(
        "E-cache",
        "the same, all stages into a cache",
        0.8,
        Start::Cold,
        Goal::Cache,
        Input::OtherStage,
        1,
    ),
    case(
        "G",
        "base of 450 MB in 4 layers, one RUN",
        4.0,
        Start::Cold,
        Goal::Keep,
        Input::Base {
            layers: 4,
            bytes: 450 * MB,
        },
        1,
    ),
    case(
        "G-small",
        "base of 40 MB in 4 layers, one RUN",
        0.5,
        Start::Cold,
        Goal::Keep,
        Input::Base {
            layers: 4,
            bytes: 40 * MB,
        },
        1,
    ),
];

const fn case(
    name: &'static str,
    what: &'static str,
    aim: f64,
    start: Start,
    goal: Goal,
    input: Input,
    platforms: usize,
) -> Case {
    Case {
        name,
        what,
        aim,
        start,
        goal,
        input,
        platforms,
    }
}

/// Foreign platforms with a stable place in the table: the build platform comes first.
const FOREIGN: [&str; 6] = [
    "linux/arm64",
    "linux/arm/v7",
    "linux/386",
    "linux/s390x",
    "linux/ppc64le",
    "linux/amd64",
];

/// This machine's platform and others, `count` in all.
pub(super) fn platforms(count: usize) -> String {
    let host = inputs::host_platform();
    let others = FOREIGN
        .iter()
        .filter(|name| **name != host)
        .map(|name| (*name).to_owned());
    let all: Vec<String> = std::iter::once(host.clone()).chain(others).take(count).collect();
    all.join(",")
}

impl Case {
    /// Makes what the build reads, and gives the context.
    pub(super) fn prepare(&self, stage: &Stage) -> Result<PathBuf, XtaskError> {
        match self.input {
            Input::Hello => inputs::only_dockerfile(
                &stage.home,
                "hello",
                "FROM alpine:3.20\nRUN echo \"Building for $(uname -m)\" > /arch.txt\nCMD [\"cat\", \"/arch.txt\"]\n",
            ),
            Input::Steps => inputs::only_dockerfile(&stage.home, "steps", &steps(60)),
            Input::SmallFiles => inputs::files(&stage.home, 20_000, 200 * MB),
            Input::OneLayer => inputs::files(&stage.home, 18_600, 500 * MB),
            Input::OtherStage => {
                let context = inputs::files(&stage.home, 6000, 60 * MB)?;
                inputs::dockerfile(
                    &context,
                    "FROM scratch AS files\nCOPY src /src\nFROM scratch\nCOPY --from=files /src/d00/d42 /some\n",
                )?;
                Ok(context)
            }
            Input::Base { layers, bytes } => {
                let layout = inputs::base(&stage.home, layers, bytes)?;
                stage.serve(&layout, &format!("library/base:{layers}-{bytes}"))?;
                inputs::only_dockerfile(
                    &stage.home,
                    &format!("on-base-{layers}-{bytes}"),
                    &format!("FROM base:{layers}-{bytes}\nRUN echo hello > /hello\n"),
                )
            }
        }
    }

    /// Changes one file of the context, differently in each round.
    pub(super) fn touch(&self, context: &Path, round: usize) -> Result<(), XtaskError> {
        let path = context.join("src/d00/d42/file-004242.rs");
        fs::write(&path, format!("changed by {} in round {round}\n", std::process::id()))
            .map_err(failed("write", &path))
    }

    /// What Kiln is told.
    pub(super) fn kiln(&self, stage: &Stage, context: &Path, round: usize) -> Vec<String> {
        let mut words = vec!["build".to_owned(), "--platform".to_owned(), platforms(self.platforms)];
        match self.goal {
            Goal::Keep => words.extend(["--output".to_owned(), "type=cacheonly".to_owned()]),
            Goal::Push => words.extend([
                "--tag".to_owned(),
                self.image(stage, "kiln", round),
                "--push".to_owned(),
            ]),
            Goal::Cache => {
                let cache = stage.scratch.path().join(format!("cache-{round}"));
                let cache = format!("type=local,dest={},mode=max", cache.display());
                words.extend(["--output", "type=cacheonly", "--cache-to", &cache].map(str::to_owned));
            }
            Goal::Archive(compression) => {
                let archive = self.archive(stage, Tool::Kiln, round);
                let output = format!("type=oci,dest={},compression={compression}", archive.display());
                words.extend(["--output".to_owned(), output]);
            }
        }
        words.push(context.display().to_string());
        words
    }

    /// A cold build pushes to a repository that has nothing yet, in each round.
    fn image(&self, stage: &Stage, tool: &str, round: usize) -> String {
        let round = if self.start == Start::Cold { round } else { 0 };
        format!(
            "{}/bench/{tool}-{}-{round}:latest",
            stage.registry(),
            self.name.to_lowercase()
        )
    }

    /// A cold build writes an archive that is not there yet, in each round.
    fn archive(&self, stage: &Stage, tool: Tool, round: usize) -> PathBuf {
        let round = if self.start == Start::Cold { round } else { 0 };
        stage.state(tool, &format!("{}-{round}.tar", self.name))
    }

    /// What buildah is told, as a shell script; or why it cannot do this.
    pub(super) fn buildah(&self, stage: &Stage, context: &Path, round: usize) -> Result<String, String> {
        if self.platforms > 1 && !host_emulates() {
            return Err("no emulation of its own".to_owned());
        }
        let (context, image) = (context.display(), self.image(stage, "buildah", round));
        let platforms = platforms(self.platforms);
        let build = format!("\"$@\" bud --layers --platform {platforms} --tls-verify=false");
        // A list that is there already would be added to.
        let forget = "\"$@\" manifest rm bench 2>&1 || true";
        let archive = self.archive(stage, Tool::Buildah, round);
        Ok(match (self.goal, self.platforms) {
            (Goal::Keep, 1) => format!("{build} -t bench {context}"),
            (Goal::Keep, _) => format!("{forget}; {build} --manifest bench {context}"),
            (Goal::Cache, _) => return Err("no cache in a directory".to_owned()),
            (Goal::Push, 1) => {
                format!("{build} -t bench {context}; \"$@\" push --tls-verify=false bench docker://{image}")
            }
            (Goal::Push, _) => format!(
                "{forget}; {build} --manifest bench {context}; \"$@\" manifest push --all --tls-verify=false bench docker://{image}"
            ),
            (Goal::Archive(compression), _) => format!(
                "{build} -t bench {context}; rm -f {0}; \"$@\" push --compression-format {compression} bench oci-archive:{0}",
                archive.display()
            ),
        })
    }
}

/// A Dockerfile of so many small steps.
pub(super) fn steps(count: usize) -> String {
    let mut text = "FROM alpine:3.20\n".to_owned();
    for step in 0..count {
        text.push_str(&format!("RUN echo {step} > /step-{step}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_begin_with_this_machines_and_are_different() {
        let all = platforms(6);
        let mut names: Vec<&str> = all.split(',').collect();
        assert_eq!(names[0], inputs::host_platform());
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 6);
    }

    #[test]
    fn names_are_different() {
        let mut names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CASES.len());
    }
}
