//! What people see of a build: events become lines, a live tree, JSON, or nothing.

pub mod explain;
pub mod findings;
mod plain;
pub mod reason;
pub mod report;
mod steps;
pub mod store;
mod summary;
pub mod tree;

use std::io::IsTerminal;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kiln_graph::{Event, EventSink};

use crate::args::{BuildArgs, ProgressMode};
use crate::environment::Environment;
use crate::output;
use crate::sharing::Sharing;
use steps::Steps;

/// The mode that arguments, environment and terminal come to. Never `Auto`.
pub fn mode(args: &BuildArgs, environment: &Environment) -> ProgressMode {
    if args.quiet {
        return ProgressMode::Quiet;
    }
    let named = environment
        .progress
        .as_deref()
        .and_then(|text| <ProgressMode as clap::ValueEnum>::from_str(text, true).ok());
    match args.work.progress.or(named).unwrap_or(ProgressMode::Auto) {
        ProgressMode::Auto => {
            let terminal = std::io::stderr().is_terminal() && environment.term.as_deref() != Some("dumb");
            if terminal {
                ProgressMode::Tty
            } else {
                ProgressMode::Plain
            }
        }
        mode => mode,
    }
}

/// Shows events until it is finished. One thread owns all state.
pub struct Renderer {
    sink: Arc<Sink>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Passes events to the renderer's thread.
pub struct Sink(Mutex<Option<Sender<Event>>>);

impl EventSink for Sink {
    fn send(&self, event: Event) {
        if let Some(sender) = &*self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
            // A renderer that is gone needs no events.
            let _ = sender.send(event);
        }
    }
}

impl Renderer {
    /// Starts showing.
    pub fn start(mode: ProgressMode, environment: &Environment) -> Renderer {
        let (sender, receiver) = channel();
        let color = !environment.no_color && std::io::stderr().is_terminal();
        let thread = std::thread::spawn(move || show(mode, color, &receiver));
        Renderer {
            sink: Arc::new(Sink(Mutex::new(Some(sender)))),
            thread: Some(thread),
        }
    }

    /// Where events go.
    pub fn sink(&self) -> Arc<Sink> {
        self.sink.clone()
    }

    /// Shows what is left, and the summary of a build that ended well.
    pub fn finish(mut self, _done: bool) {
        self.sink
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        if let Some(thread) = self.thread.take() {
            // A renderer that panicked has shown why.
            let _ = thread.join();
        }
    }
}

fn show(mode: ProgressMode, color: bool, events: &Receiver<Event>) {
    let mut steps = Steps::default();
    match mode {
        ProgressMode::Quiet => events.iter().for_each(drop),
        ProgressMode::Rawjson => {
            let mut sharing = Sharing::default();
            let tell = |event: &Event| output::talk(&serde_json::to_string(event).unwrap_or_default());
            for event in events {
                sharing.take(&event);
                tell(&event);
            }
            tell(&Event::Shared(sharing.total()));
        }
        ProgressMode::Tty => live(events, &mut steps, color),
        ProgressMode::Plain | ProgressMode::Auto => {
            let mut plain = plain::Plain::default();
            for event in events {
                steps.take(&event);
                plain.lines(&event, &steps).iter().for_each(|line| output::talk(line));
            }
        }
    }
    if !matches!(mode, ProgressMode::Quiet | ProgressMode::Rawjson) {
        summary::lines(&steps).iter().for_each(|line| output::talk(line));
    }
}

/// Draws the tree again whenever something changed, ten times a second at most.
fn live(events: &Receiver<Event>, steps: &mut Steps, color: bool) {
    let mut drawn = 0;
    output::talk_raw("\x1b[?25l");
    loop {
        let mut open = true;
        match events.recv_timeout(Duration::from_millis(100)) {
            Ok(event) => {
                steps.take(&event);
                while let Ok(event) = events.try_recv() {
                    steps.take(&event);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => open = false,
        }
        let (width, height) = size();
        let lines = tree::lines(steps, width, height.saturating_sub(2), color);
        let mut frame = if drawn > 0 {
            format!("\x1b[{drawn}A\r")
        } else {
            String::new()
        };
        for line in &lines {
            frame.push_str(&format!("\x1b[2K{line}\n"));
        }
        frame.push_str("\x1b[J");
        output::talk_raw(&frame);
        drawn = lines.len();
        if !open {
            break;
        }
    }
    output::talk_raw("\x1b[?25h");
}

/// Rows as lines, their columns aligned with a gap between them. The last column is not padded, so that the lines are
/// those of the peers to the byte.
pub fn columns<const N: usize>(rows: &[[String; N]], gap: usize) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N)
        .map(|column| if column + 1 < N { width(column) + gap } else { 0 })
        .collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths);
        cells.map(|(cell, width)| format!("{cell:width$}")).collect::<String>()
    };
    rows.iter().map(line).collect()
}

/// Rows as lines for people.
pub fn table<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let lines = columns(rows, 3).into_iter();
    lines.map(|line| line.trim_end().to_owned()).collect()
}

/// Text of others (paths, instructions) on one line of a terminal: what could move the cursor is spelt out.
pub fn plain_text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// Milliseconds for people.
pub fn time(milliseconds: u64) -> String {
    match milliseconds {
        0..1_000 => format!("{milliseconds}ms"),
        1_000..60_000 => format!("{:.1}s", milliseconds as f64 / 1_000.0),
        _ => {
            let seconds = milliseconds.div_euclid(1_000);
            match seconds {
                0..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
                _ => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
            }
        }
    }
}

fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(rustix::stdio::stderr()) {
        Ok(size) if size.ws_col > 0 => (size.ws_col.into(), size.ws_row.max(10).into()),
        _ => (80, 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_others_moves_the_cursor() {
        assert_eq!(plain_text("a\x1b[2Jb\nü"), "a\\u{1b}[2Jb\\nü");
    }

    #[test]
    fn times_are_short() {
        assert_eq!(
            [time(7), time(1_250), time(61_000), time(7_260_000)],
            ["7ms", "1.2s", "1m01s", "2h01m"]
        );
    }
}
