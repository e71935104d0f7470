//! What people see of a build: events become lines, a live tree, JSON, or nothing.

pub mod findings;
mod plain;
mod steps;
pub mod store;
mod summary;
mod tree;

use std::io::IsTerminal;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kiln_graph::{Event, EventSink};

use crate::args::{BuildArgs, ProgressMode};
use crate::environment::Environment;
use crate::output;
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
    match args.progress.or(named).unwrap_or(ProgressMode::Auto) {
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
            for event in events {
                output::talk(&serde_json::to_string(&event).unwrap_or_default());
            }
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

fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(rustix::stdio::stderr()) {
        Ok(size) if size.ws_col > 0 => (size.ws_col.into(), size.ws_row.max(10).into()),
        _ => (80, 24),
    }
}
