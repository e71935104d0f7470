//! `cargo xtask bench`: how long builds take, next to a tool that the machine's distribution has.
//!
//! Whole processes are timed, start-up included. The two tools take turns, so that whatever else the machine does meets
//! both; the ratio of their medians says more than either figure.

mod case;
mod inputs;
pub(crate) mod instructions;
mod measure;
mod plot;
mod profile;
mod report;
mod scale;
mod tools;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::bench::case::{CASES, Case, Start};
use crate::bench::measure::{Run, bytes_on_disk};
use crate::bench::report::{Measured, Outcome, Report};
use crate::bench::tools::{Stage, Tool};
use crate::cargo;
use crate::error::XtaskError;
use crate::system;
use crate::talk::say;

/// What `cargo xtask bench` was told.
#[derive(Debug, Default)]
struct Options {
    names: Vec<String>,
    json: Option<PathBuf>,
    table: Option<PathBuf>,
    runs: Option<usize>,
    profile: bool,
    no_peer: bool,
}

/// Runs the benchmarks that were named, or all.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode, XtaskError> {
    match arguments.split_first() {
        Some((first, rest)) if first == "scale" => return scale::run(rest),
        Some((first, rest)) if first == "instructions" => return instructions::run(rest),
        _ => {}
    }
    let options = options(arguments)?;
    let cases = chosen(&options.names)?;
    let stage = stage()?;
    if options.profile {
        for case in cases {
            profile::show(&stage, case)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    match (&stage.peer, options.no_peer) {
        (Ok(peer), false) => say(&format!(
            "compared with {peer}, storage driver overlay, isolation chroot"
        )),
        (Err(reason), false) => say(&format!("skipped: the comparison: {reason}")),
        (_, true) => {}
    }
    let mut report = Report::new(&stage);
    for case in cases {
        let measured = measure(&stage, case, &options)?;
        say(&report::line(&measured));
        report.add(measured);
        // After each one, so that an interrupted run is not lost.
        write(&report, &options)?;
    }
    say(&format!("\n{}", report.table()));
    Ok(ExitCode::SUCCESS)
}

fn write(report: &Report, options: &Options) -> Result<(), XtaskError> {
    if let Some(path) = &options.json {
        std::fs::write(path, report.json()).map_err(inputs::failed("write", path))?;
    }
    if let Some(path) = &options.table {
        std::fs::write(path, report.page()).map_err(inputs::failed("write", path))?;
    }
    Ok(())
}

/// Installs what is compared with, builds, and sets the registry up.
fn stage() -> Result<Stage, XtaskError> {
    system::ensure(&[system::EMULATORS, system::PEERS, system::BENCH_PEERS])?;
    // Another build of the binary can be measured in its place, to compare two.
    let kiln = match std::env::var_os("KILN_BIN") {
        Some(kiln) => PathBuf::from(kiln),
        None => cargo::build("kiln", &["--release", "--package", "kiln-cli"])?,
    };
    let home = kiln_testkit::cache_directory()
        .map_err(|source| XtaskError::Fixture {
            what: "a directory for the benchmarks",
            source,
        })?
        .join("bench");
    Stage::set_up(&kiln, &home)
}

fn options(arguments: &[String]) -> Result<Options, XtaskError> {
    let mut options = Options::default();
    let mut words = arguments.iter();
    let value = |flag: &str, word: Option<&String>| {
        word.cloned().ok_or_else(|| XtaskError::Usage {
            text: format!("`{flag}` needs a value"),
        })
    };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--json" => options.json = Some(value(word, words.next())?.into()),
            "--table" => options.table = Some(value(word, words.next())?.into()),
            "--runs" => {
                let text = value(word, words.next())?;
                let runs = text.parse().ok().filter(|runs| *runs > 0);
                options.runs = Some(runs.ok_or_else(|| XtaskError::Usage {
                    text: format!("`--runs` takes a number from 1 on, got `{text}`"),
                })?);
            }
            "--profile" => options.profile = true,
            "--no-peer" => options.no_peer = true,
            flag if flag.starts_with('-') => {
                return Err(XtaskError::Usage {
                    text: format!("`bench` has no flag `{flag}`"),
                });
            }
            name => options.names.push(name.to_owned()),
        }
    }
    Ok(options)
}

/// The benchmarks with these names; a letter alone stands for its whole group.
fn chosen(names: &[String]) -> Result<Vec<&'static Case>, XtaskError> {
    if names.is_empty() {
        return Ok(CASES.iter().collect());
    }
    let belongs =
        |case: &Case, name: &str| case.name == name || (name.len() == 1 && case.name.split('-').next() == Some(name));
    if let Some(unknown) = names.iter().find(|name| !CASES.iter().any(|case| belongs(case, name))) {
        let known: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        return Err(XtaskError::Usage {
            text: format!("there is no benchmark `{unknown}`; there are {}", known.join(", ")),
        });
    }
    let wanted = |case: &&Case| names.iter().any(|name| belongs(case, name));
    Ok(CASES.iter().filter(wanted).collect())
}

/// Long enough for a median to mean something, short enough for a slow tool.
const TIME_FOR_ONE: f64 = 12.0;

fn measure(stage: &Stage, case: &'static Case, options: &Options) -> Result<Measured, XtaskError> {
    let context = case.prepare(stage)?;
    let kiln = |round| -> Result<std::process::Command, XtaskError> {
        let state = stage.state(Tool::Kiln, &state_name(case, round));
        Ok(stage.kiln(&state, &case.kiln(stage, &context, round)))
    };
    let buildah = |round| -> Result<std::process::Command, String> {
        let state = stage.state(Tool::Buildah, &state_name(case, round));
        Ok(stage.buildah(&state, &case.buildah(stage, &context, round)?))
    };
    let peer_missing = match (&stage.peer, options.no_peer) {
        (_, true) => Some("not asked for".to_owned()),
        (Err(reason), _) => Some(reason.clone()),
        (Ok(_), _) => buildah(0).err(),
    };
    let log = stage.scratch.path().join("log");
    let mut runs: [Vec<Run>; 2] = Default::default();
    let mut disk = [0, 0];
    if case.start != Start::Cold {
        measure::run(kiln(0)?, &log)?;
        if let (None, Ok(command)) = (&peer_missing, buildah(0)) {
            measure::run(command, &log)?;
        }
    }
    let most = options.runs.unwrap_or(7);
    for round in 0..most {
        if case.start == Start::Touched {
            case.touch(&context, round)?;
        }
        let tools = [Tool::Kiln, Tool::Buildah];
        for (at, tool) in tools.into_iter().enumerate() {
            let spent: f64 = runs[at].iter().map(|run| run.wall.as_secs_f64()).sum();
            let enough = options.runs.is_none() && runs[at].len() >= 3 && spent > TIME_FOR_ONE;
            let missing = tool == Tool::Buildah && peer_missing.is_some();
            // A tool that needs minutes is run less often than the other.
            let slow = options.runs.is_none() && !runs[at].is_empty() && spent > 2.0 * TIME_FOR_ONE;
            if enough || missing || slow {
                continue;
            }
            let command = match tool {
                Tool::Kiln => kiln(round)?,
                Tool::Buildah => match buildah(round) {
                    Ok(command) => command,
                    Err(_) => continue,
                },
            };
            settle(&stage.home);
            match (measure::run(command, &log), tool) {
                (Ok(run), _) => runs[at].push(run),
                // It seals a copy of itself before each step, which fails now and then: "Close_Fd sealing memfd copy".
                (Err(error), Tool::Buildah) => say(&format!("{}: a run of the peer is left out: {error}", case.name)),
                (Err(error), Tool::Kiln) => return Err(error),
            }
            let state = stage.state(tool, &state_name(case, round));
            if round == 0 {
                disk[at] = bytes_on_disk(&state);
            }
            if case.start == Start::Cold {
                let_memory_go(&state);
                let_memory_go(&state.with_extension("tar"));
            }
        }
    }
    // Buildah may have left mounts, which must go. The states themselves stay until all is measured: ext4 gives out inodes
    // that were freed within the last minute only after a search that grows with their number, and the next run would
    // be measured by what the one before it threw away.
    for round in 0..most {
        stage.let_go(Tool::Buildah, &stage.state(Tool::Buildah, &state_name(case, round)));
    }
    let [kiln, buildah] = runs;
    Ok(Measured {
        case,
        kiln: Outcome::of(&kiln, disk[0]),
        peer: match peer_missing {
            Some(reason) => Err(reason),
            None if buildah.is_empty() => Err("no run of it succeeded".to_owned()),
            None => Ok(Outcome::of(&buildah, disk[1])),
        },
    })
}

/// A cold build has a state of its own in each round, the others share one.
fn state_name(case: &Case, round: usize) -> String {
    match case.start {
        Start::Cold => format!("{}-{round}", case.name),
        Start::Warm | Start::Touched => case.name.to_owned(),
    }
}

/// Lets go of the memory that holds what a run wrote. The next run writes into it again; otherwise it would write into memory
/// that a virtual machine's host has yet to give it, which takes longer than writing.
fn let_memory_go(written: &Path) {
    if !written.exists() {
        return;
    }
    settle(written);
    let mut pending = vec![written.to_owned()];
    while let Some(path) = pending.pop() {
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => {
                let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
                pending.extend(entries.map(|entry| entry.path()));
            }
            Ok(metadata) if metadata.is_file() => {
                if let Ok(file) = std::fs::File::open(&path) {
                    // Advice alone: without it the figures are only noisier.
                    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
                }
            }
            _ => {}
        }
    }
}

/// Lets the disk catch up, so that a run does not pay for what the one before it wrote.
fn settle(home: &Path) {
    // Without `sync` the figures are only noisier.
    let _ = std::process::Command::new("sync").arg("-f").arg(home).status();
}
