//! Breaks good files in ways that a seed decides, for as long as it is told, and reads them: `fuzz_audit TARGET|all
//! [--seconds N] [--seed N]`. A panic, a slow input or memory without bound ends it with an error and the input in a file.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool for developers")]

mod mutation;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use mutation::{Dice, TARGETS};

/// No input of these sizes may take longer.
const SLOW: Duration = Duration::from_secs(2);
/// No target may use more memory for all its inputs.
const MEMORY: u64 = 256 << 20;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: u64| {
        let at = words.iter().position(|word| word == name);
        at.and_then(|at| words.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    let (seconds, seed) = (number("--seconds", 60), number("--seed", 1));
    let wanted: Vec<&'static str> = match words.first().map(String::as_str) {
        Some("all") => TARGETS.to_vec(),
        name => TARGETS.into_iter().filter(|target| Some(*target) == name).collect(),
    };
    if wanted.is_empty() {
        eprintln!("targets: all, {}", TARGETS.join(", "));
        return ExitCode::from(2);
    }
    for target in &wanted {
        if let Err(problem) = fuzz(target, Duration::from_secs(seconds / wanted.len() as u64), seed) {
            eprintln!("{target}: {problem}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn fuzz(target: &'static str, time: Duration, seed: u64) -> Result<(), String> {
    let seeds = mutation::seeds(target);
    let mut dice = Dice::new(seed);
    let (started, mut runs) = (Instant::now(), 0u64);
    while started.elapsed() < time {
        let mut input = mutation::mutated(&seeds[dice.below(seeds.len())], &mut dice);
        if target == "layer" && dice.below(2) == 0 {
            // A wrong checksum ends the reading before anything else can be wrong.
            for block in input.chunks_exact_mut(512) {
                if block[257..262] == *b"ustar" {
                    mutation::seal(block);
                }
            }
        }
        let begun = Instant::now();
        let copy = input.clone();
        let ended = std::panic::catch_unwind(move || mutation::read(target, &copy));
        let slow = begun.elapsed() > SLOW;
        if ended.is_err() || slow {
            let path = std::env::temp_dir().join(format!("fuzz-{target}-{seed}-{runs}"));
            let kept =
                std::fs::write(&path, &input).map_or_else(|error| error.to_string(), |()| path.display().to_string());
            return Err(format!(
                "run {runs} of seed {seed} {}: {kept}",
                if slow { "is slow" } else { "panics" }
            ));
        }
        runs += 1;
    }
    let memory = mutation::peak_memory();
    println!(
        "{target}: {runs} runs in {} s, seed {seed}, peak memory {} MiB",
        time.as_secs(),
        memory >> 20
    );
    if memory > MEMORY {
        return Err(format!("it used {memory} bytes of memory"));
    }
    Ok(())
}
