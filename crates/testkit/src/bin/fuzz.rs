//! Feeds mutated definitions to the parsers of `kiln bake` for a while. `cargo xtask fuzz` runs this.
//!
//! A panic ends the process and names the seed and the number of the text, with which the run can be repeated; so does a
//! text that takes longer than [`SLOWEST`].
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use kiln_bake::config::{File, Inputs, read};
use kiln_bake::functions::Host;
use kiln_bake::resolve::{Selection, resolve};

const USAGE: &str = "\
Usage: fuzz [hcl|json|compose…] [--seconds N] [--seed N]

  --seconds N  how long for each language; 60 unless given
  --seed N     where the random texts begin; 1 unless given
";

/// A text that takes longer is a finding.
const SLOWEST: Duration = Duration::from_secs(20);
/// Texts grow no longer, so that many are tried.
const LONGEST: usize = 4000;

const HCL: &[&str] = &[
    "variable \"A\" {\n  type = list(string)\n  default = [\"x\"]\n  validation {\n    condition = length(A) > 0\n    error_message = \"no\"\n  }\n}\n",
    "function \"f\" {\n  params = [a, b]\n  variadic_params = rest\n  result = \"${a}-${b}-${join(\",\", rest)}\"\n}\n",
    "target \"app\" {\n  name = \"app-${v}\"\n  matrix = { v = [\"1\", \"2\"] }\n  tags = [for t in [\"a\", \"b\"]: \"${t}:${v}\" if t != \"c\"]\n  args = { X = try(target.base.args.X, null), \"y\" = 1 + 2 * 3 % 4 }\n}\n",
    "target \"base\" {\n  inherits = [\"x\"]\n  dockerfile-inline = <<-EOT\n    FROM a\n    %{ if true }RUN b%{ else }c%{ endif }\n    EOT\n  contexts = { base = \"target:app-1\" }\n  secret = [{ id = \"a\", src = \"b\" }, \"id=c,env=d\"]\n}\ngroup \"default\" { targets = [\"app\", \"base\"] }\nLOCAL = [1, 2][*]\n",
];
const JSON: &[&str] = &[
    "{\"variable\":{\"A\":{\"default\":null,\"type\":\"map(string)\"}},\"target\":{\"a\":{\"args\":{\"x\":\"${A}\"},\"tags\":[\"b:${1+1}\"]}}}",
    "{\"group\":[{\"default\":{\"targets\":[\"a\"]}}],\"function\":{\"f\":{\"params\":[\"x\"],\"result\":\"${x}\"}},\"target\":{\"a\":[{\"matrix\":{\"v\":[1,2]},\"name\":\"a${v}\"}]}}",
];
const COMPOSE: &[&str] = &[
    "services:\n  a:\n    image: b\n    build:\n      context: ./c\n      args: [\"X=${Y:-z}\", W]\n      x-bake:\n        tags: d\n        platforms: [linux/amd64]\n",
    "x: &x\n  build: {context: ., ulimits: {nofile: 1}, shm_size: 64m}\nservices:\n  e:\n    <<: *x\n    extends: {service: f}\n  f:\n    build: .\nsecrets:\n  s: {file: ./s}\n",
];
/// Pieces that mean something in one of the languages.
const WORDS: &[&str] = &[
    "${",
    "}",
    "{",
    "[",
    "]",
    "(",
    ")",
    "\"",
    "%{ for x in y }",
    "%{endfor}",
    "<<EOT\n",
    "EOT\n",
    "\\u00e9",
    "~",
    "...",
    "[*]",
    ".*",
    "null",
    "1e99",
    "-",
    "target.app",
    "range(1,9)",
    "format(\"%5d\",1)",
    "&x ",
    "*x",
    "<<: ",
    "\n",
    "  ",
    ": ",
    "\u{301}",
    "$${",
    "#",
    "/*",
    "*/",
    "==",
    "? 1 : 2",
    "for a, b in c: d => e...",
];

/// Numbers that look random and are the same for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        if limit == 0 {
            0
        } else {
            (self.next() % limit as u64) as usize
        }
    }

    fn of<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }
}

/// Changes a text in a few places.
fn mutate(random: &mut Random, pool: &[Vec<u8>]) -> Vec<u8> {
    let mut text = pool[random.below(pool.len())].clone();
    for _ in 0..=random.below(6) {
        let at = random.below(text.len() + 1);
        let end = (at + random.below(24)).min(text.len());
        match random.below(6) {
            0 => _ = text.drain(at..end),
            1 => text.splice(at..at, random.of(WORDS).bytes()).for_each(drop),
            2 => text.splice(at..end, random.of(WORDS).bytes()).for_each(drop),
            3 => {
                let copied = text[at..end].to_vec();
                let to = random.below(text.len() + 1);
                text.splice(to..to, copied).for_each(drop);
            }
            4 if at < text.len() => text[at] = random.next() as u8,
            _ => {
                let other = &pool[random.below(pool.len())];
                let from = random.below(other.len() + 1);
                let part = other[from..(from + random.below(200)).min(other.len())].to_vec();
                text.splice(at..at, part).for_each(drop);
            }
        }
    }
    text.truncate(LONGEST);
    text
}

/// Reads a text and resolves what it defines; both must end.
fn try_text(name: &str, text: &str) {
    let file = File {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    let inputs = Inputs {
        variables: BTreeMap::new(),
        environment: BTreeMap::from([("Y".to_owned(), "y".to_owned())]),
        built_in: BTreeMap::new(),
        host: Host {
            now: 0,
            home: None,
            random: |_| {},
        },
        file_relative_paths: false,
        read_file: &|_| Ok(None),
    };
    match read(&[file], &inputs) {
        Ok(definition) => {
            let selection = Selection {
                targets: vec!["*".to_owned(), "default".to_owned()],
                overrides: vec!["*.args.X=1".to_owned()],
                ..Selection::default()
            };
            _ = resolve(&definition.config, &selection).map_err(|error| error.to_string());
        }
        Err(error) => _ = error.to_string(),
    }
}

fn fuzz(language: &str, seconds: u64, seed: u64) -> io::Result<()> {
    let (name, seeds) = match language {
        "hcl" => ("a.hcl", HCL),
        "json" => ("a.json", JSON),
        _ => ("compose.yaml", COMPOSE),
    };
    let mut pool: Vec<Vec<u8>> = seeds.iter().map(|text| text.as_bytes().to_vec()).collect();
    let mut random = Random(seed);
    let started = Instant::now();
    let (mut count, mut slowest) = (0u64, Duration::ZERO);
    while started.elapsed() < Duration::from_secs(seconds) {
        let bytes = mutate(&mut random, &pool);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let before = Instant::now();
        if std::panic::catch_unwind(|| try_text(name, &text)).is_err() {
            return Err(io::Error::other(format!(
                "{language}: text {count} of seed {seed} panics:\n{text}"
            )));
        }
        slowest = slowest.max(before.elapsed());
        if before.elapsed() > SLOWEST {
            return Err(io::Error::other(format!(
                "{language}: text {count} of seed {seed} is slow:\n{text}"
            )));
        }
        count += 1;
        // What was kept is changed again; the pool stays small, so that it turns over.
        if count.is_multiple_of(16) {
            if pool.len() < 256 {
                pool.push(bytes);
            } else {
                let place = seeds.len() + random.below(pool.len() - seeds.len());
                pool[place] = bytes;
            }
        }
    }
    let seconds = started.elapsed().as_secs();
    writeln!(
        io::stdout(),
        "{language}: {count} texts in {seconds} s, no panic; the slowest took {slowest:.0?}"
    )
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a standard error there is nobody to tell.
            _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let (mut seconds, mut seed) = (60, 1);
    let mut languages = Vec::new();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = |name: &str| -> Result<u64, Box<dyn std::error::Error>> {
            Ok(words.next().ok_or(format!("{name} needs a number"))?.parse()?)
        };
        match word.as_str() {
            "--seconds" => seconds = number("--seconds")?,
            "--seed" => seed = number("--seed")?,
            "hcl" | "json" | "compose" => languages.push(word),
            "-h" | "--help" => {
                io::stdout().write_all(USAGE.as_bytes())?;
                return Ok(());
            }
            other => return Err(format!("unknown word `{other}`\n{USAGE}").into()),
        }
    }
    if languages.is_empty() {
        languages = ["hcl", "json", "compose"].map(str::to_owned).to_vec();
    }
    for language in languages {
        fuzz(&language, seconds, seed)?;
    }
    Ok(())
}
