//! Drives the corpora and reports how many cases hold. `cargo xtask conformance` runs this.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use kiln_testkit::conformance::{CORPORA, Corpus, CorpusResult, KnownFailures, corpus};
use serde_json::json;

const USAGE: &str = "\
Usage: conformance [CORPUS…] [--dir DIR] [--json FILE] [--check] [-v]

  CORPUS       only these corpora; all that the directory has unless given
  --dir DIR    where the corpora lie; ../shared/conformance beside the checkout unless given
  --json FILE  write {\"corpus\": {\"held\": n, \"total\": n, \"skipped\": n}} to FILE
  --check      fail when a case fails that is not known to, or a known one no longer does
  -v           name every case that fails or is skipped, and why
";

#[derive(Debug, Default)]
struct Arguments {
    corpora: Vec<String>,
    directory: Option<PathBuf>,
    json: Option<PathBuf>,
    check: bool,
    verbose: bool,
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            // Without a standard error there is nobody to tell.
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut out = io::stdout();
    let Some(arguments) = parse(std::env::args().skip(1))? else {
        out.write_all(USAGE.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    };
    let directory = arguments
        .directory
        .clone()
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance"));
    if !directory.is_dir() {
        return Err(format!("there is no directory `{}`: name one with --dir", directory.display()).into());
    }
    let chosen = choose(&arguments.corpora)?;
    let known = KnownFailures::of_this_tree()?;
    let mut figures = BTreeMap::new();
    let mut differences = Vec::new();
    for corpus in chosen {
        let folder = directory.join(corpus.name);
        if !folder.is_dir() {
            if !arguments.corpora.is_empty() {
                return Err(format!("`{}` has no corpus `{}`", directory.display(), corpus.name).into());
            }
            writeln!(out, "skipped: {}: not in {}", corpus.name, directory.display())?;
            continue;
        }
        let result = (corpus.drive)(&folder);
        report(&mut out, &result, arguments.verbose)?;
        figures.insert(
            corpus.name,
            json!({"held": result.held, "total": result.total(), "skipped": result.skipped.len()}),
        );
        differences.extend(known.differences(&result));
    }
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec(&figures)?).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if arguments.check && !differences.is_empty() {
        for difference in &differences {
            writeln!(out, "{difference}")?;
        }
        writeln!(
            out,
            "conformance: {} differences from the list of known failures",
            differences.len()
        )?;
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn report(out: &mut impl Write, result: &CorpusResult, verbose: bool) -> io::Result<()> {
    writeln!(
        out,
        "{} {}/{} ({} skipped)",
        result.corpus,
        result.held,
        result.total(),
        result.skipped.len()
    )?;
    if verbose {
        for failure in &result.failed {
            writeln!(
                out,
                "  failed: {}: {}",
                failure.case,
                failure.detail.replace('\n', "\n    ")
            )?;
        }
        for (case, reason) in &result.skipped {
            writeln!(out, "  skipped: {case}: {reason}")?;
        }
    }
    out.flush()
}

fn choose(names: &[String]) -> Result<Vec<&'static Corpus>, String> {
    if names.is_empty() {
        return Ok(CORPORA.iter().collect());
    }
    let find = |name: &String| {
        corpus(name).ok_or_else(|| {
            let known: Vec<&str> = CORPORA.iter().map(|corpus| corpus.name).collect();
            format!(
                "no driver for the corpus `{name}`; there are drivers for {}",
                known.join(", ")
            )
        })
    };
    names.iter().map(find).collect()
}

/// `None` when only the usage is asked for.
fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Arguments>, String> {
    let mut arguments = Arguments::default();
    while let Some(word) = words.next() {
        let mut value = |name: &str| words.next().map(PathBuf::from).ok_or(format!("{name} needs a value"));
        match word.as_str() {
            "-h" | "--help" => return Ok(None),
            "-v" | "--verbose" => arguments.verbose = true,
            "--check" => arguments.check = true,
            "--dir" => arguments.directory = Some(value("--dir")?),
            "--json" => arguments.json = Some(value("--json")?),
            flag if flag.starts_with('-') => return Err(format!("unknown flag `{flag}`\n{USAGE}")),
            name => arguments.corpora.push(name.to_owned()),
        }
    }
    Ok(Some(arguments))
}
