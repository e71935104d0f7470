//! `cargo xtask bench scale`: how the time of a build grows with its size.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::bench::case::{platforms, steps};
use crate::bench::inputs::{self, failed};
use crate::bench::measure::{self, Run, median};
use crate::bench::report::{load, machine};
use crate::bench::tools::{Stage, Tool};
use crate::bench::{plot, settle, stage};
use crate::error::XtaskError;
use crate::talk::say;

/// One way in which builds grow.
#[derive(Debug, Clone, Copy)]
struct Kind {
    name: &'static str,
    what: &'static str,
    sizes: &'static [usize],
    made: Made,
}

/// What the builds of a series are made of.
#[derive(Debug, Clone, Copy)]
enum Made {
    Platforms,
    Steps,
    Stages,
    Files,
    Layers,
    Targets,
}

const KINDS: &[Kind] = &[
    kind(
        "platforms",
        "platforms, one RUN each",
        &[1, 2, 3, 4, 5, 6, 7, 8],
        Made::Platforms,
    ),
    kind("steps", "RUN steps in a row", &[10, 30, 100, 300, 1000], Made::Steps),
    kind(
        "stages",
        "stages between one base and one end",
        &[1, 5, 20, 60, 200],
        Made::Stages,
    ),
    kind(
        "files",
        "files of one COPY, to an archive",
        &[1000, 10_000, 100_000, 500_000],
        Made::Files,
    ),
    kind(
        "layers",
        "layers of the base, one RUN",
        &[1, 4, 16, 60, 120],
        Made::Layers,
    ),
    kind(
        "targets",
        "targets of a bake, a shared step and one of their own",
        &[1, 5, 20, 60, 200],
        Made::Targets,
    ),
];

const fn kind(name: &'static str, what: &'static str, sizes: &'static [usize], made: Made) -> Kind {
    Kind {
        name,
        what,
        sizes,
        made,
    }
}

/// The figures of one series.
#[derive(Debug, Default)]
pub(super) struct Series {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    /// Size, and seconds from an empty state.
    pub(super) points: Vec<(usize, f64)>,
    /// Size, and seconds of processor time: in user mode, and in the kernel. Noise of the machine touches them least.
    pub(super) processor: Vec<(usize, f64, f64)>,
    /// The same of the build that finds everything.
    pub(super) cached: Vec<(usize, f64, f64)>,
}

impl Series {
    /// What one more costs in processor time, at both ends of the series.
    fn growth(&self) -> String {
        let shown = |points: &[(usize, f64, f64)]| {
            let slope = |pair: &[(usize, f64, f64)]| match pair {
                [(n, user, system), (m, more_user, more_system)] => {
                    (more_user + more_system - user - system) / (m - n) as f64 * 1000.0
                }
                _ => 0.0,
            };
            let first = slope(points.get(..2).unwrap_or_default());
            let last = slope(points.get(points.len().saturating_sub(2)..).unwrap_or_default());
            format!("{first:.3} → {last:.3}")
        };
        format!("{}; found: {}", shown(&self.processor), shown(&self.cached))
    }

    /// How time grows up to the largest size, from one that is at most half of it: 1 is linear, 2 quadratic. Between sizes
    /// that are near each other the noise of two runs would be most of it.
    pub(super) fn exponent(&self) -> f64 {
        let Some((largest, time)) = self.points.last() else {
            return 0.0;
        };
        let half = self.points.iter().rev().find(|(size, _)| size * 2 <= *largest);
        half.map_or(0.0, |(size, before)| {
            (time / before).ln() / (*largest as f64 / *size as f64).ln()
        })
    }
}

/// Runs the series that were named, or all; `--page DIR` writes `scale.md` and `scale.svg` there.
pub(super) fn run(arguments: &[String]) -> Result<ExitCode, XtaskError> {
    let (names, page) = match arguments.iter().position(|word| word == "--page") {
        Some(at) => {
            let directory = arguments.get(at + 1).ok_or_else(|| XtaskError::Usage {
                text: "`--page` needs a directory".to_owned(),
            })?;
            let names: Vec<&String> = arguments[..at].iter().chain(&arguments[at + 2..]).collect();
            (names, Some(PathBuf::from(directory)))
        }
        None => (arguments.iter().collect(), None),
    };
    if let Some(unknown) = names.iter().find(|name| KINDS.iter().all(|kind| kind.name != **name)) {
        let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        return Err(XtaskError::Usage {
            text: format!("there is no series `{unknown}`; there are {}", known.join(", ")),
        });
    }
    let stage = stage()?;
    let before = load();
    let mut all = Vec::new();
    for kind in KINDS {
        if !names.is_empty() && !names.iter().any(|name| *name == kind.name) {
            continue;
        }
        let mut series = Series {
            name: kind.name,
            what: kind.what,
            points: Vec::new(),
            processor: Vec::new(),
            cached: Vec::new(),
        };
        for &size in kind.sizes {
            let point = point(&stage, kind, size)?;
            say(&format!(
                "{:>7} {:<10} {:>8.3} s, processor {:.3} + {:.3} s; found again: {:.3} s, processor {:.3} + {:.3} s",
                size,
                kind.name,
                point.seconds,
                point.cold.user.as_secs_f64(),
                point.cold.system.as_secs_f64(),
                point.found.wall.as_secs_f64(),
                point.found.user.as_secs_f64(),
                point.found.system.as_secs_f64(),
            ));
            let times = |run: &Run| (size, run.user.as_secs_f64(), run.system.as_secs_f64());
            series.points.push((size, point.seconds));
            series.processor.push(times(&point.cold));
            series.cached.push(times(&point.found));
        }
        all.push(series);
        // After each one, so that an interrupted run is not lost.
        let Some(directory) = &page else { continue };
        let write = |name: &str, text: String| {
            let path = directory.join(name);
            fs::write(&path, text).map_err(failed("write", &path))
        };
        write("scale.svg", plot::svg(&all))?;
        write("scale.md", text(&all, &before, &load()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs of each size.
const ROUNDS: usize = 3;

/// One size of a series.
struct Point {
    /// From an empty state: the median of three.
    seconds: f64,
    /// The last of these runs.
    cold: Run,
    /// The same build again, which finds everything.
    found: Run,
}

fn point(stage: &Stage, kind: &Kind, size: usize) -> Result<Point, XtaskError> {
    let (context, arguments) = build(stage, kind, size)?;
    let log = stage.scratch.path().join("log");
    let mut walls = Vec::new();
    let mut round = 0;
    loop {
        let state = stage.state(Tool::Kiln, &format!("{}-{size}-{round}", kind.name));
        let command = || match kind.made {
            Made::Targets => {
                let mut command = stage.kiln(&state, &["bake".to_owned()]);
                command.args(&arguments).current_dir(&context);
                command
            }
            _ => {
                let mut command = stage.kiln(&state, &["build".to_owned()]);
                command.args(&arguments).arg(&context);
                command
            }
        };
        settle(&stage.home);
        let cold = measure::run(command(), &log)?;
        walls.push(cold.wall.as_secs_f64());
        round += 1;
        if round == ROUNDS {
            let found = measure::run(command(), &log)?;
            stage.forget(Tool::Kiln, &state)?;
            return Ok(Point {
                seconds: median(walls),
                cold,
                found,
            });
        }
        stage.forget(Tool::Kiln, &state)?;
    }
}

/// The context and the arguments of one build.
fn build(stage: &Stage, kind: &Kind, size: usize) -> Result<(PathBuf, Vec<String>), XtaskError> {
    let nothing = || vec!["--output".to_owned(), "type=cacheonly".to_owned()];
    let name = format!("scale-{}-{size}", kind.name);
    let dockerfile = |text: &str| inputs::only_dockerfile(&stage.home, &name, text);
    Ok(match kind.made {
        Made::Platforms => {
            let context = dockerfile("FROM alpine:3.20\nRUN echo \"Building for $(uname -m)\" > /arch.txt\n")?;
            let mut arguments = nothing();
            arguments.extend(["--platform".to_owned(), platforms(size)]);
            (context, arguments)
        }
        Made::Targets => {
            let context = dockerfile(TARGET)?;
            let path = context.join("docker-bake.hcl");
            fs::write(&path, targets(size)).map_err(failed("write", &path))?;
            (context, Vec::new())
        }
        Made::Steps => (dockerfile(&steps(size))?, nothing()),
        Made::Stages => (dockerfile(&diamond(size))?, nothing()),
        Made::Files => {
            let archive = stage.scratch.path().join("scale.tar");
            let output = format!("type=oci,dest={}", archive.display());
            let context = inputs::files(&stage.home, size, size as u64 * 1000)?;
            (context, vec!["--output".to_owned(), output])
        }
        Made::Layers => {
            let bytes = size as u64 * 200_000;
            let layout = inputs::base(&stage.home, size, bytes)?;
            stage.serve(&layout, &format!("library/base:{size}-{bytes}"))?;
            (
                dockerfile(&format!("FROM base:{size}-{bytes}\nRUN echo hello > /hello\n"))?,
                nothing(),
            )
        }
    })
}

/// The Dockerfile of every target.
const TARGET: &str = "FROM alpine:3.20\nRUN echo base > /base\nARG NAME\nRUN echo \"$NAME\" > /name\n";

/// A definition with so many targets, all in the default group.
fn targets(count: usize) -> String {
    let names: Vec<String> = (0..count).map(|number| format!("\"target{number}\"")).collect();
    let mut text = format!("group \"default\" {{\n  targets = [{}]\n}}\n", names.join(", "));
    for name in names {
        text.push_str(&format!(
            "target {name} {{\n  args = {{ NAME = {name} }}\n  output = [\"type=cacheonly\"]\n}}\n"
        ));
    }
    text
}

/// So many stages that stand on one base, and one that takes a file of each.
fn diamond(stages: usize) -> String {
    let mut text = "FROM alpine:3.20 AS base\nRUN echo base > /base\n".to_owned();
    let mut end = "FROM base\n".to_owned();
    for stage in 0..stages {
        text.push_str(&format!(
            "FROM base AS stage{stage}\nRUN echo {stage} > /file-{stage}\n"
        ));
        end.push_str(&format!("COPY --from=stage{stage} /file-{stage} /\n"));
    }
    text + &end
}

fn text(all: &[Series], before: &str, after: &str) -> String {
    let mut text = format!(
        "# Scale\n\nHow the time of a build from an empty store grows with its size. Made by `cargo xtask bench scale --page \
         docs`.\n\nMachine: {}. Load averages before: {before}; after: {after}.\n\n![time against size](scale.svg)\n\nThe \
         exponent is that of the growth to the last size from one of at most half: 1 is linear, less is better.\n\n| series | what grows | seconds at each \
         size | exponent | processor milliseconds for one more, from the first to the last size |\n|---|---|---|---|---|\n",
        machine()
    );
    for series in all {
        let points: Vec<String> = series
            .points
            .iter()
            .map(|(size, seconds)| format!("{size}: {seconds:.3}"))
            .collect();
        text.push_str(&format!(
            "| {} | {} | {} | {:.2} | {} |\n",
            series.name,
            series.what,
            points.join(", "),
            series.exponent(),
            series.growth()
        ));
    }
    text.push_str(
        "\nThe last column is processor time in user mode and in the kernel, which other work on the machine touches least: what \
         one more costs between the first two sizes and between the last two, from an empty store; and the same where all is \
         found. Equal figures are linear growth.\n",
    );
    text.push_str(
        "\nA step on very many layers does not stack them all: full groups of the lowest are merged to one tree first, of \
         hard links where owners, modes and times allow it, so that the kernel's limit on an overlay's layers is never met \
         and each mount takes the same time.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(points: Vec<(usize, f64)>) -> Series {
        Series {
            name: "steps",
            what: "RUN steps",
            points,
            ..Series::default()
        }
    }

    #[test]
    fn linear_growth_has_the_exponent_one() {
        assert!((series(vec![(1, 9.0), (10, 1.0), (100, 10.0)]).exponent() - 1.0).abs() < 1e-9);
        assert!((series(vec![(10, 1.0), (100, 100.0)]).exponent() - 2.0).abs() < 1e-9);
        assert!((series(vec![(4, 1.0), (7, 9.0), (8, 2.0)]).exponent() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn growth_is_what_one_more_costs() {
        let series = Series {
            processor: vec![(1, 0.5, 0.5), (11, 1.0, 1.0), (21, 6.0, 6.0)],
            ..series(Vec::new())
        };
        assert_eq!(series.growth(), "100.000 → 1000.000; found: 0.000 → 0.000");
    }

    #[test]
    fn every_target_is_in_the_default_group() {
        let text = targets(3);
        assert!(text.starts_with("group \"default\" {\n  targets = [\"target0\", \"target1\", \"target2\"]\n}\n"));
        assert_eq!(text.matches("\ntarget \"").count(), 3);
    }

    #[test]
    fn a_diamond_uses_every_stage() {
        let text = diamond(3);
        assert_eq!(text.matches("COPY --from=stage").count(), 3);
        assert_eq!(text.lines().filter(|line| line.starts_with("FROM")).count(), 5);
    }
}
