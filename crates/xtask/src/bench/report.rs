//! The results: a table for people, JSON for programs, a page for the repository.

use serde_json::{Map, Value, json};

use crate::bench::case::Case;
use crate::bench::measure::{Run, median};
use crate::bench::tools::Stage;

/// The runs of one tool, summed up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome {
    pub(super) median: f64,
    pub(super) fastest: f64,
    pub(super) slowest: f64,
    pub(super) runs: usize,
    /// The most of any run, in MiB.
    pub(super) peak_mib: f64,
    pub(super) disk_mib: f64,
}

impl Outcome {
    pub(super) fn of(runs: &[Run], disk: u64) -> Outcome {
        let walls: Vec<f64> = runs.iter().map(|run| run.wall.as_secs_f64()).collect();
        Outcome {
            median: median(walls.clone()),
            fastest: walls.iter().copied().fold(f64::INFINITY, f64::min),
            slowest: walls.iter().copied().fold(0.0, f64::max),
            runs: runs.len(),
            peak_mib: mib(runs.iter().map(|run| run.peak_memory).max().unwrap_or(0)),
            disk_mib: mib(disk),
        }
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// What one benchmark came to.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) case: &'static Case,
    pub(super) kiln: Outcome,
    /// Why the peer was not run.
    pub(super) peer: Result<Outcome, String>,
}

impl Measured {
    fn ratio(&self) -> Option<f64> {
        let peer = self.peer.as_ref().ok()?;
        (self.kiln.median > 0.0).then(|| peer.median / self.kiln.median)
    }
}

/// All results, and what the machine was like.
#[derive(Debug)]
pub(super) struct Report {
    peer: Option<String>,
    machine: String,
    load: [String; 2],
    all: Vec<Measured>,
}

impl Report {
    pub(super) fn new(stage: &Stage) -> Report {
        Report {
            peer: stage.peer.clone().ok(),
            machine: machine(),
            load: [load(), String::new()],
            all: Vec::new(),
        }
    }

    /// Adds a result, and notes the load then.
    pub(super) fn add(&mut self, measured: Measured) {
        self.all.push(measured);
        self.load[1] = load();
    }

    /// `{"name": {"kiln_s": …, "peer": "buildah 1.28.2", "peer_s": …, "ratio": …, "peak_mib": …, …}}`
    pub(super) fn json(&self) -> String {
        let mut all = Map::new();
        for measured in &self.all {
            let peer = measured.peer.as_ref();
            let value = json!({
                "kiln_s": measured.kiln.median,
                "kiln_fastest_s": measured.kiln.fastest,
                "kiln_slowest_s": measured.kiln.slowest,
                "runs": measured.kiln.runs,
                "peer": self.peer,
                "peer_s": peer.map(|peer| peer.median).ok(),
                "peer_skipped": peer.err(),
                "ratio": measured.ratio(),
                "aim_s": measured.case.aim,
                "peak_mib": measured.kiln.peak_mib,
                "peer_peak_mib": peer.map(|peer| peer.peak_mib).ok(),
                "disk_mib": measured.kiln.disk_mib,
                "peer_disk_mib": peer.map(|peer| peer.disk_mib).ok(),
            });
            all.insert(measured.case.name.to_owned(), value);
        }
        format!("{:#}\n", Value::Object(all))
    }

    /// The table in Markdown, which reads well as text too.
    pub(super) fn table(&self) -> String {
        let peer = self.peer.as_deref().unwrap_or("peer");
        let mut rows = vec![
            vec![
                String::new(),
                "work".to_owned(),
                "kiln".to_owned(),
                "spread".to_owned(),
                peer.to_owned(),
                "ratio".to_owned(),
                "aim".to_owned(),
                "memory (peer)".to_owned(),
                "on disk (peer)".to_owned(),
            ],
            vec!["---".to_owned(); 9],
        ];
        for measured in &self.all {
            let (kiln, peer) = (&measured.kiln, measured.peer.as_ref());
            let both = |own: f64, other: Option<f64>| match other {
                Some(other) => format!("{own:.0} ({other:.0}) MiB"),
                None => format!("{own:.0} MiB"),
            };
            rows.push(vec![
                measured.case.name.to_owned(),
                measured.case.what.to_owned(),
                seconds(kiln.median),
                format!("{}–{} ({})", seconds(kiln.fastest), seconds(kiln.slowest), kiln.runs),
                peer.map_or_else(|reason| format!("– ({reason})"), |peer| seconds(peer.median)),
                measured
                    .ratio()
                    .map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.1}")),
                seconds(measured.case.aim),
                both(kiln.peak_mib, peer.map(|peer| peer.peak_mib).ok()),
                both(kiln.disk_mib, peer.map(|peer| peer.disk_mib).ok()),
            ]);
        }
        let widths: Vec<usize> = (0..9)
            .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
            .collect();
        let line = |row: &Vec<String>| {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| {
                    let fill = if cell == "---" { '-' } else { ' ' };
                    let padding: String = std::iter::repeat_n(fill, width - cell.chars().count()).collect();
                    format!("{cell}{padding}")
                })
                .collect();
            format!("| {} |", cells.join(" | "))
        };
        rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// The page `BENCHMARKS.md`.
    pub(super) fn page(&self) -> String {
        PAGE.replace("{table}", &self.table())
            .replace("{machine}", &self.machine)
            .replace("{before}", &self.load[0])
            .replace("{after}", &self.load[1])
    }
}

const PAGE: &str = include_str!("page.md");

/// One line that is shown as soon as a benchmark is done.
pub(super) fn line(measured: &Measured) -> String {
    let peer = match (&measured.peer, measured.ratio()) {
        (Ok(peer), Some(ratio)) => format!("peer {:>8}  {ratio:>5.1} times", seconds(peer.median)),
        (Err(reason), _) => format!("peer – ({reason})"),
        (Ok(_), None) => String::new(),
    };
    format!(
        "{:<14} kiln {:>8}  {peer}  {}",
        measured.case.name,
        seconds(measured.kiln.median),
        measured.case.what
    )
}

fn seconds(value: f64) -> String {
    if value < 1.0 {
        format!("{:.0} ms", value * 1000.0)
    } else {
        format!("{value:.2} s")
    }
}

/// Load averages, as the kernel tells them.
pub(super) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// Processor, cores, memory and kernel.
pub(super) fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (processors, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, name)| name);
    let kibibytes: u64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok())
        .unwrap_or(0);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = read("/proc/sys/kernel/osrelease");
    let kernel: Vec<&str> = kernel.trim().splitn(3, '.').take(2).collect();
    format!(
        "{cores} cores of {model}, {} GiB of memory, Linux {}",
        kibibytes.div_ceil(1 << 20),
        kernel.join(".")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::case::CASES;

    fn outcome(median: f64) -> Outcome {
        Outcome {
            median,
            fastest: median,
            slowest: median * 2.0,
            runs: 3,
            peak_mib: 20.0,
            disk_mib: 1.0,
        }
    }

    fn report() -> Report {
        Report {
            peer: Some("buildah 1.2".to_owned()),
            machine: "2 cores".to_owned(),
            load: ["1".to_owned(), "2".to_owned()],
            all: vec![
                Measured {
                    case: &CASES[0],
                    kiln: outcome(0.1),
                    peer: Err("no emulation of its own".to_owned()),
                },
                Measured {
                    case: &CASES[1],
                    kiln: outcome(0.5),
                    peer: Ok(outcome(2.0)),
                },
            ],
        }
    }

    #[test]
    fn programs_get_figures_by_name() {
        let all: Value = serde_json::from_str(&report().json()).expect("JSON");
        assert_eq!(all["A-one"]["ratio"], json!(4.0));
        assert_eq!(all["A-one"]["kiln_s"], json!(0.5));
        assert_eq!(all["A"]["ratio"], Value::Null);
        assert_eq!(all["A"]["peer_skipped"], json!("no emulation of its own"));
    }

    #[test]
    fn people_get_a_table_with_the_same_columns_in_each_row() {
        let table = report().table();
        let columns: Vec<usize> = table.lines().map(|line| line.matches('|').count()).collect();
        assert_eq!(columns, [10; 4]);
        assert!(table.contains("100 ms"), "{table}");
        assert!(table.contains("– (no emulation of its own)"), "{table}");
    }

    #[test]
    fn the_page_has_no_open_place() {
        let page = report().page();
        assert!(!page.contains('{'), "{page}");
    }
}
