//! Running a command line to its end: how long it took, and how much memory it and its children had at once.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::bench::inputs::failed;
use crate::error::XtaskError;
use crate::system::line_of;

/// One run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) wall: Duration,
    /// Processor time in user mode, with all children.
    pub(super) user: Duration,
    /// Processor time in the kernel, with all children.
    pub(super) system: Duration,
    /// Bytes.
    pub(super) peak_memory: u64,
}

/// Runs a command; its output goes to `log`. An end that is no success is an error with the last lines of it.
pub(super) fn run(mut command: Command, log: &Path) -> Result<Run, XtaskError> {
    let line = line_of(&command);
    let out = File::create(log).map_err(failed("create", log))?;
    let error = out.try_clone().map_err(failed("open", log))?;
    command.stdin(Stdio::null()).stdout(out).stderr(error);
    let before = processor_times();
    let started = Instant::now();
    let mut child = command.spawn().map_err(|source| XtaskError::Start {
        program: line.clone(),
        source,
    })?;
    let (process, ended) = (child.id(), AtomicBool::new(false));
    let (status, wall, peak_memory) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| watch_memory(process, started, &ended));
        let status = child.wait();
        let wall = started.elapsed();
        ended.store(true, Ordering::Relaxed);
        (status, wall, watch.join().unwrap_or(0))
    });
    let status = status.map_err(|source| XtaskError::Start {
        program: line.clone(),
        source,
    })?;
    if status.success() {
        let after = processor_times();
        return Ok(Run {
            wall,
            user: after.0.saturating_sub(before.0),
            system: after.1.saturating_sub(before.1),
            peak_memory,
        });
    }
    let said = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = said.lines().collect();
    Err(XtaskError::Failed {
        program: line,
        status: format!("{status}\n{}", lines[lines.len().saturating_sub(15)..].join("\n")),
    })
}

/// Processor time of all children that have ended so far, in user mode and in the kernel: fields 16 and 17 of proc_pid_stat(5),
/// in hundredths of a second. Runs come one after the other, so a difference is one run's.
fn processor_times() -> (Duration, Duration) {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is a name in brackets and may hold anything.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    (
        Duration::from_millis(ticks(13) * 10),
        Duration::from_millis(ticks(14) * 10),
    )
}

/// The most that a process and everything below it had resident at one moment. Looks every millisecond at first, so that
/// short runs are seen, and rarely later, so that looking costs nothing.
fn watch_memory(process: u32, started: Instant, ended: &AtomicBool) -> u64 {
    let mut peak = 0;
    while !ended.load(Ordering::Relaxed) {
        let mut pending = vec![process];
        let (mut together, mut largest) = (0, 0);
        while let Some(process) = pending.pop() {
            let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
            together += kilobytes(&status, "VmRSS:");
            largest = largest.max(kilobytes(&status, "VmHWM:"));
            // The kernel lists children by the thread that started them.
            for thread in fs::read_dir(format!("/proc/{process}/task"))
                .into_iter()
                .flatten()
                .flatten()
            {
                let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
                pending.extend(
                    children
                        .split_whitespace()
                        .filter_map(|child| child.parse::<u32>().ok()),
                );
            }
        }
        peak = peak.max(together).max(largest);
        let pause = if started.elapsed() < Duration::from_millis(60) {
            1
        } else {
            25
        };
        std::thread::sleep(Duration::from_millis(pause));
    }
    peak * 1024
}

fn kilobytes(status: &str, field: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// Bytes that a directory takes on disk, files with several names once.
pub(super) fn bytes_on_disk(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut seen = std::collections::HashSet::new();
    let mut total = 0;
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.path().symlink_metadata() else {
                continue;
            };
            if metadata.is_dir() {
                pending.push(entry.path());
            }
            if metadata.nlink() == 1 || metadata.is_dir() || seen.insert((metadata.dev(), metadata.ino())) {
                total += metadata.blocks() * 512;
            }
        }
    }
    total
}

/// The middle of several figures.
pub(super) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    match figures.len() {
        0 => 0.0,
        count if count % 2 == 1 => figures[count / 2],
        count => f64::midpoint(figures[count / 2 - 1], figures[count / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_between_two_figures_or_one_of_them() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
    }

    #[test]
    fn memory_of_children_counts() -> Result<(), Box<dyn std::error::Error>> {
        let log = tempfile::NamedTempFile::new()?;
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "sh -c 'x=$(head -c 20000000 /dev/zero | tr \"\\\\0\" a); sleep 0.2; echo ${#x}'; true",
        ]);
        let run = run(command, log.path())?;
        assert!(run.peak_memory > 20_000_000, "{run:?}");
        assert!(run.wall > Duration::from_millis(200), "{run:?}");
        Ok(())
    }

    #[test]
    fn hard_links_count_once() -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        fs::write(directory.path().join("a"), vec![1; 100_000])?;
        let before = bytes_on_disk(directory.path());
        fs::hard_link(directory.path().join("a"), directory.path().join("b"))?;
        assert!(before >= 100_000);
        assert_eq!(before, bytes_on_disk(directory.path()));
        Ok(())
    }
}
