//! `cargo xtask soak`: what only time shows.
//!
//! `crash` kills `kiln` with SIGKILL at seeded random points of builds, pulls, pushes and prunes. After each, the check of
//! the store must find nothing wrong, and the same build must then succeed with the digest that it has in a store where
//! nothing was ever killed. `growth` builds changing revisions under a cap and shows how large the store is over time.

use std::fs;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use kiln_testkit::{Fixture, KilnRegistry, TestkitError};

use crate::cargo;
use crate::error::XtaskError;
use crate::talk::{heading, say};

/// How many Dockerfiles there are to choose from.
const VARIANTS: usize = 6;

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    /// A build whose steps are not cached.
    Build,
    /// A build that has to fetch its base.
    Pull,
    /// A build that pushes, to a repository that has nothing yet.
    Push,
    /// A prune of everything.
    Prune,
}

const JOBS: [Job; 4] = [Job::Build, Job::Pull, Job::Push, Job::Prune];

/// The arguments of a soak.
struct Options {
    points: usize,
    builds: usize,
    seed: u64,
    cap: u64,
}

pub(crate) fn run(arguments: &[String]) -> Result<ExitCode, XtaskError> {
    let usage = || XtaskError::Usage {
        text: "usage: cargo xtask soak crash [--points N] [--seed S] | growth [--builds N] [--cap MEGABYTES]".into(),
    };
    let (what, rest) = arguments.split_first().ok_or_else(usage)?;
    let mut options = Options {
        points: 500,
        builds: 300,
        seed: 1,
        cap: 30,
    };
    for pair in rest.chunks(2) {
        let [name, value] = pair else { return Err(usage()) };
        let number = || value.parse::<u64>().map_err(|_| usage());
        let count = || number().and_then(|number| usize::try_from(number).map_err(|_| usage()));
        match name.as_str() {
            "--points" => options.points = count()?,
            "--builds" => options.builds = count()?,
            "--seed" => options.seed = number()?,
            "--cap" => options.cap = number()?,
            _ => return Err(usage()),
        }
    }
    // As for tests, a binary that is there already can be named.
    if std::env::var_os("KILN_BIN").is_none() {
        cargo::build("kiln", &["--package", "kiln-cli"])?;
    }
    match what.as_str() {
        "crash" => crash(&options),
        "growth" => growth(&options),
        _ => Err(usage()),
    }
}

/// A sequence of numbers that a seed decides (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap_or(0)
    }
}

/// Where `kiln` runs.
struct World {
    fixture: Fixture,
    registry: KilnRegistry,
}

impl World {
    fn new() -> Result<World, XtaskError> {
        let mut fixture = Fixture::with_base_images().map_err(fixture_error("the base images"))?;
        fixture.set_env("SOURCE_DATE_EPOCH", "1000000000");
        let state = fixture.state().to_owned();
        fixture.set_state(fixture.directory().join("registry"));
        let registry = KilnRegistry::start(&fixture).map_err(fixture_error("a registry"))?;
        fixture.set_state(state);
        Ok(World { fixture, registry })
    }

    fn command(&self, arguments: &[&str]) -> Result<Command, XtaskError> {
        let mut command = self.fixture.command(arguments).map_err(fixture_error("kiln"))?;
        command.stdin(Stdio::null());
        Ok(command)
    }

    /// Runs to the end; what was printed.
    fn finish(&self, arguments: &[&str]) -> Result<String, XtaskError> {
        let output = self.command(arguments)?.output().map_err(|source| XtaskError::Start {
            program: "kiln".into(),
            source,
        })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        Err(XtaskError::Failed {
            program: format!("kiln {}", arguments.join(" ")),
            status: format!(
                "{}\n{}{}",
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ),
        })
    }
}

fn fixture_error(what: &'static str) -> impl FnOnce(TestkitError) -> XtaskError {
    move |source| XtaskError::Fixture { what, source }
}

fn write_variants(world: &World) -> Result<(), XtaskError> {
    for variant in 0..VARIANTS {
        let dockerfile = format!(
            "FROM busybox AS tools\nRUN --mount=type=cache,target=/cache echo {variant} >> /cache/log && echo {variant} > /tool\n\
             FROM alpine:3.20\nCOPY data /data/\nRUN cat /data/* > /sum && chmod 600 /sum\nCOPY --from=tools /tool /usr/bin/tool\n\
             RUN mkdir -p /a/b && for i in 1 2 3 4 5 6 7 8 9; do echo $i {variant} > /a/b/$i; done\n"
        );
        let mut random = Random(variant as u64);
        let data: Vec<u8> = (0..100_000).flat_map(|_| random.next().to_le_bytes()).collect();
        for (name, content) in [("Dockerfile", dockerfile.as_bytes()), ("data/noise", &data)] {
            let path = format!("app{variant}/{name}");
            world
                .fixture
                .write(&path, content)
                .map_err(fixture_error("the contexts"))?;
        }
    }
    Ok(())
}

fn crash(options: &Options) -> Result<ExitCode, XtaskError> {
    let mut world = World::new()?;
    write_variants(&world)?;
    heading("digests in a store where nothing is killed");
    let state = world.fixture.state().to_owned();
    world.fixture.set_state(world.fixture.directory().join("reference"));
    let mut digests = Vec::new();
    for variant in 0..VARIANTS {
        let context = format!("app{variant}");
        digests.push(world.finish(&["build", "-t", "reference:1", &context])?);
    }
    world.fixture.set_state(state);
    let mut lengths = [Duration::ZERO; 4];
    let mut counts = [[0usize; 2]; 4];
    let mut random = Random(options.seed);
    let started = Instant::now();
    let mut failures = 0;
    heading(&format!("{} points, seed {}", options.points, options.seed));
    for point in 0..options.points {
        let (job, variant) = (random.below(JOBS.len()), random.below(VARIANTS));
        let killed = kill_once(&world, JOBS[job], variant, point, &mut lengths[job], &mut random)?;
        counts[job][usize::from(killed)] += 1;
        let context = format!("app{variant}");
        let checked = world
            .finish(&["fsck"])
            .and_then(|_| world.finish(&["build", "-t", "app:1", &context]))
            .and_then(|digest| {
                if digest == digests[variant] {
                    return Ok(());
                }
                Err(XtaskError::Unexpected {
                    what: "the digest".into(),
                    expected: digests[variant].clone(),
                    got: digest,
                })
            });
        if let Err(error) = checked {
            failures += 1;
            say(&format!("point {point}, {:?} of variant {variant}:", JOBS[job]));
            crate::talk::explain(&error);
            // The next point begins with a store that is known to be sound.
            world.finish(&["fsck", "--repair"])?;
        }
        if (point + 1) % 50 == 0 {
            say(&format!(
                "{} points in {} s, {failures} failed",
                point + 1,
                started.elapsed().as_secs()
            ));
        }
    }
    heading("done");
    for (job, [over, killed]) in JOBS.iter().zip(counts) {
        say(&format!("{job:?}: {killed} killed, {over} were over before"));
    }
    say(&format!("{failures} of {} points failed", options.points));
    Ok(if failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Starts a job and kills it at a random moment. Whether it was still running.
fn kill_once(
    world: &World,
    job: Job,
    variant: usize,
    point: usize,
    length: &mut Duration,
    random: &mut Random,
) -> Result<bool, XtaskError> {
    let (context, name) = (
        format!("app{variant}"),
        format!("{}/soak{point}:1", world.registry.address()),
    );
    // What the job is about must not be there yet.
    match job {
        Job::Build => drop(world.finish(&["prune", "-f", "--filter", "type=record"])?),
        Job::Pull => drop(world.finish(&["prune", "-af"])?),
        Job::Push | Job::Prune => {}
    }
    let arguments: Vec<&str> = match job {
        Job::Build | Job::Pull => vec!["build", "-t", "app:1", &context],
        Job::Push => vec!["build", "-t", &name, "--push", &context],
        Job::Prune => vec!["prune", "-af"],
    };
    let started = Instant::now();
    let mut child = world
        .command(&arguments)?
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|source| XtaskError::Start {
            program: "kiln".into(),
            source,
        })?;
    let wait = |source| XtaskError::Start {
        program: "kiln".into(),
        source,
    };
    if length.is_zero() {
        // The first one of each shows how long they take.
        child.wait().map_err(wait)?;
        *length = started.elapsed();
        return Ok(false);
    }
    let micros = u64::try_from(length.as_micros()).unwrap_or(u64::MAX).max(1);
    let moment = Duration::from_micros(random.next() % micros);
    thread::sleep(moment.saturating_sub(started.elapsed()));
    let running = child.try_wait().map_err(wait)?.is_none();
    // Fails only if it has just ended by itself.
    let _ = child.kill();
    child.wait().map_err(wait)?;
    if !running {
        *length = (*length * 9 + started.elapsed()) / 10;
    }
    Ok(running)
}

fn growth(options: &Options) -> Result<ExitCode, XtaskError> {
    let world = World::new()?;
    let toml = format!(
        "[store]\nmax-used-space = \"{}MB\"\nmin-free-space = \"0\"\ncheck-every = \"0s\"\n",
        options.cap
    );
    world
        .fixture
        .write("config/kiln/kiln.toml", toml.as_bytes())
        .map_err(fixture_error("kiln.toml"))?;
    let dockerfile = "FROM alpine:3.20\nRUN echo stays > /stays\nCOPY data /data\nRUN cat /data /data > /twice\n";
    world
        .fixture
        .write("app/Dockerfile", dockerfile.as_bytes())
        .map_err(fixture_error("the context"))?;
    let mut random = Random(options.seed);
    let mut largest = 0;
    let mut written = 0;
    heading(&format!(
        "{} revisions under a cap of {} MB",
        options.builds, options.cap
    ));
    say("builds  store (MB)  without a cap (MB, about)");
    for build in 1..=options.builds {
        let data: Vec<u8> = (0..62_500).flat_map(|_| random.next().to_le_bytes()).collect();
        world
            .fixture
            .write("app/data", &data)
            .map_err(fixture_error("the context"))?;
        world.finish(&["build", "-t", "app:latest", "app"])?;
        let size = disk_usage(world.fixture.state());
        largest = size.max(largest);
        // The copied file as blob and tree, the step's as both.
        written += 3 * data.len() as u64 * 2;
        if build % (options.builds / 20).max(1) == 0 || build == 1 {
            say(&format!(
                "{build:>6}  {:>10.1}  {:>10.1}",
                size as f64 / 1e6,
                written as f64 / 1e6
            ));
        }
    }
    world.finish(&["fsck"])?;
    say(&format!("largest: {:.1} MB", largest as f64 / 1e6));
    // What one build adds before the next one collects, and the log of the database.
    let bound = (options.cap + 15) * 1_000_000;
    if largest > bound {
        return Err(XtaskError::Unexpected {
            what: "the largest size of the store in bytes".into(),
            expected: format!("at most {bound}"),
            got: largest.to_string(),
        });
    }
    Ok(ExitCode::SUCCESS)
}

/// What a directory takes up on disk, in bytes.
fn disk_usage(root: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            bytes += metadata.blocks() * 512;
            if metadata.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    bytes
}
