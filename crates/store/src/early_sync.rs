//! Bringing a large file to the disk while it is still being written. Kernels wait for seconds before they begin by
//! themselves, and whoever syncs a file at its end then waits for the whole of it.

use std::fs::File;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Bytes after which what was written so far is brought to the disk.
const EVERY: u64 = 8 << 20;

/// Syncs a file again and again on a thread of its own, from the moment at which it is large enough.
#[derive(Debug, Default)]
pub(crate) struct EarlySync {
    unsynced: u64,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    wake: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl EarlySync {
    /// To be told of bytes that were written to the file.
    pub(crate) fn wrote(&mut self, file: &File, bytes: usize) {
        self.unsynced += bytes as u64;
        if self.unsynced < EVERY {
            return;
        }
        self.unsynced = 0;
        if self.running.is_none() {
            self.running = start(file).ok();
        }
        if let Some(running) = &self.running {
            // If it is at work it has been told already, or it failed, which the end will tell.
            let _ = running.wake.try_send(());
        }
    }

    /// Waits for what is under way. The file has still to be synced, but an error that this thread was told of is not told
    /// again by that.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let Some(Running { wake, thread }) = self.running.take() else {
            return Ok(());
        };
        drop(wake);
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn start(file: &File) -> io::Result<Running> {
    let file = file.try_clone()?;
    let (wake, woken) = sync_channel(1);
    let work = move || {
        while woken.recv().is_ok() {
            file.sync_data()?;
        }
        Ok(())
    };
    let thread = std::thread::Builder::new().name("early-sync".into()).spawn(work)?;
    Ok(Running { wake, thread })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn large_files_are_synced_while_they_are_written_and_small_ones_are_not() {
        let mut file = tempfile::tempfile().expect("a temporary file");
        let mut early = EarlySync::default();
        file.write_all(&[1; 1000]).expect("write");
        early.wrote(&file, 1000);
        assert!(early.running.is_none());
        for _ in 0..40 {
            file.write_all(&[1; 1 << 20]).expect("write");
            early.wrote(&file, 1 << 20);
        }
        assert!(early.running.is_some());
        early.finish().expect("synced");
    }

    #[test]
    fn an_error_of_the_thread_is_told_at_the_end() {
        // A pipe cannot be synced.
        let (_reader, writer) = std::io::pipe().expect("a pipe");
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let mut early = EarlySync::default();
        early.wrote(&file, 9 << 20);
        assert!(early.finish().is_err());
    }
}
