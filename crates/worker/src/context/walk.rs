//! Reading the entries of a context: directories are read by several threads at once, and one that the ignore patterns
//! rule out is not opened.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use kiln_dockerfile::ignore::PatternMatcher;
use kiln_store::FileStamp;
use kiln_store::index::{Entry, EntryKind, Mtime};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

use crate::context::{ContextError, io};
use crate::destination::{parent, push_component};

/// Directories that wait before a further thread is worth its start.
const WORTH_A_THREAD: usize = 16;

/// An entry, and of a regular file what tells whether it was touched since.
#[derive(Debug)]
pub(super) struct Walked {
    pub(super) entry: Entry,
    pub(super) stamp: Option<FileStamp>,
    /// A pattern hides it, and it was only kept because something below it may be taken back.
    hidden: bool,
}

/// The entries below a directory, sorted by path.
pub(super) fn walk(
    root: &Path,
    directory: &Arc<OwnedFd>,
    matcher: &PatternMatcher,
    threads: usize,
) -> Result<Vec<Walked>, ContextError> {
    let walk = Walk {
        root,
        matcher,
        queue: Mutex::new(Queue::default()),
        changed: Condvar::new(),
    };
    let mut walked = Vec::new();
    walk.read(&Waiting::root(directory), &mut walked)?;
    // Most contexts are small: this thread alone reads those.
    while walk.locked().waiting.len() < WORTH_A_THREAD {
        let Some(next) = walk.locked().waiting.pop() else { break };
        walk.read(&next, &mut walked)?;
    }
    if !walk.locked().waiting.is_empty() {
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads.max(1)).map(|_| scope.spawn(|| walk.work())).collect();
            let mut all = vec![walk.work()];
            // A thread that panicked has read nothing that is kept; the panic goes on here.
            all.extend(
                others
                    .into_iter()
                    .map(|other| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))),
            );
            for part in all {
                walked.append(&mut part?);
            }
            Ok::<(), ContextError>(())
        })?;
    }
    Ok(without_empty_hidden(sorted(walked)))
}

/// Sorts by path. Each entry is moved once, as they are large.
fn sorted(walked: Vec<Walked>) -> Vec<Walked> {
    let mut order: Vec<usize> = (0..walked.len()).collect();
    order.sort_by(|a, b| walked[*a].entry.path.cmp(&walked[*b].entry.path));
    let mut walked: Vec<Option<Walked>> = walked.into_iter().map(Some).collect();
    order.into_iter().filter_map(|at| walked[at].take()).collect()
}

/// A hidden directory is part of the context only if something below it is.
fn without_empty_hidden(walked: Vec<Walked>) -> Vec<Walked> {
    if !walked.iter().any(|one| one.hidden) {
        return walked;
    }
    let mut needed = std::collections::HashSet::new();
    let mut kept: Vec<Walked> = Vec::with_capacity(walked.len());
    // What is below a directory stands after it, so it is seen first.
    for one in walked.into_iter().rev() {
        if one.hidden && !needed.contains(&one.entry.path) {
            continue;
        }
        needed.insert(parent(&one.entry.path).to_vec());
        kept.push(one);
    }
    kept.reverse();
    kept
}

/// A directory that is still to be read. The one above stays open until then; its own descriptor is opened late, so that
/// wide trees do not need more than a process may have.
struct Waiting {
    above: Arc<OwnedFd>,
    name: Option<CString>,
    path: Vec<u8>,
}

impl Waiting {
    fn root(directory: &Arc<OwnedFd>) -> Waiting {
        Waiting {
            above: directory.clone(),
            name: None,
            path: Vec::new(),
        }
    }
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// Threads that read a directory now, and so may find more.
    busy: usize,
    failed: bool,
}

struct Walk<'a> {
    root: &'a Path,
    matcher: &'a PatternMatcher,
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Walk<'_> {
    fn locked(&self) -> MutexGuard<'_, Queue> {
        // The queue is whole at any moment, whatever a thread that held it died of.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads directories until none is left.
    fn work(&self) -> Result<Vec<Walked>, ContextError> {
        let mut walked = Vec::new();
        while let Some(next) = self.next() {
            let result = self.read(&next, &mut walked);
            drop(next);
            let mut queue = self.locked();
            queue.busy -= 1;
            queue.failed |= result.is_err();
            drop(queue);
            self.changed.notify_all();
            result?;
        }
        Ok(walked)
    }

    fn next(&self) -> Option<Waiting> {
        let mut queue = self.locked();
        loop {
            if queue.failed {
                return None;
            }
            // The newest first: the deeper of two, so that few directories stay open.
            if let Some(next) = queue.waiting.pop() {
                queue.busy += 1;
                return Some(next);
            }
            if queue.busy == 0 {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn read(&self, waiting: &Waiting, walked: &mut Vec<Walked>) -> Result<(), ContextError> {
        let mut relative = waiting.path.clone();
        let directory = match &waiting.name {
            None => waiting.above.clone(),
            Some(name) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let opened = rustix::fs::openat(&waiting.above, name, flags, Mode::empty());
                Arc::new(opened.map_err(|error| self.error("open", &relative, error))?)
            }
        };
        let entries = Dir::read_from(&directory).map_err(|error| self.error("list", &relative, error))?;
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| self.error("list", &relative, error))?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let length = relative.len();
            push_component(&mut relative, name);
            if self.entry(&directory, entry.file_name(), &relative, walked)? {
                found.push(Waiting {
                    above: directory.clone(),
                    name: Some(entry.file_name().to_owned()),
                    path: relative.clone(),
                });
            }
            relative.truncate(length);
        }
        if !found.is_empty() {
            self.locked().waiting.append(&mut found);
            self.changed.notify_all();
        }
        Ok(())
    }

    /// Keeps an entry. True: it is a directory that must be read.
    fn entry(
        &self,
        parent: &OwnedFd,
        name: &CStr,
        relative: &[u8],
        walked: &mut Vec<Walked>,
    ) -> Result<bool, ContextError> {
        let text = String::from_utf8_lossy(relative);
        let hidden = self.matcher.matches_or_parent_matches(&text);
        if hidden && !self.matcher.has_exceptions() {
            return Ok(false);
        }
        let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // A file that went away between the listing and now was never part of the context.
            Err(rustix::io::Errno::NOENT) => return Ok(false),
            Err(error) => return Err(self.error("read the attributes of", relative, error)),
        };
        let file_type = FileType::from_raw_mode(stat.st_mode);
        let directory = file_type == FileType::Directory;
        let descend = directory && (!hidden || self.matcher.may_have_exceptions_below(&text));
        if hidden && !descend {
            return Ok(false);
        }
        let (kind, stamp) = match file_type {
            FileType::Directory => (EntryKind::Directory { opaque: false }, None),
            FileType::RegularFile => {
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                let stamp = FileStamp::from_stat(&stat);
                (EntryKind::File { size, digest: None }, Some(stamp))
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(parent, name, Vec::new());
                let target = target.map_err(|error| self.error("read the link", relative, error))?;
                (
                    EntryKind::Symlink {
                        target: target.into_bytes(),
                    },
                    None,
                )
            }
            // Sockets, pipes and devices of the user's machine are no part of an image.
            _ => return Ok(false),
        };
        walked.push(Walked {
            entry: Entry {
                path: relative.to_vec(),
                kind,
                mode: stat.st_mode & 0o7777,
                uid: 0,
                gid: 0,
                mtime: Mtime::default(),
                xattrs: Vec::new(),
            },
            stamp,
            hidden,
        });
        Ok(descend)
    }

    fn error(&self, operation: &'static str, relative: &[u8], error: rustix::io::Errno) -> ContextError {
        io(operation, &self.root.join(OsStr::from_bytes(relative)), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(root: &Path, patterns: &[&str], threads: usize) -> Vec<String> {
        let directory = rustix::fs::open(root, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).expect("it is there");
        let matcher = PatternMatcher::new(patterns).expect("well-formed");
        let walked = walk(root, &Arc::new(directory), &matcher, threads).expect("readable");
        walked
            .into_iter()
            .map(|one| String::from_utf8_lossy(&one.entry.path).into_owned())
            .collect()
    }

    #[test]
    fn many_threads_find_what_one_finds() {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let mut expected = Vec::new();
        for outer in 0..40 {
            expected.push(format!("d{outer}"));
            for inner in 0..5 {
                let directory = format!("d{outer}/e{inner}");
                std::fs::create_dir_all(scratch.path().join(&directory)).expect("mkdir");
                std::fs::write(scratch.path().join(&directory).join("f"), "x").expect("write");
                expected.extend([directory.clone(), format!("{directory}/f")]);
            }
        }
        expected.sort();
        for threads in [1, 2, 8] {
            assert_eq!(paths(scratch.path(), &[], threads), expected, "{threads} threads");
        }
    }

    #[test]
    fn what_is_hidden_is_not_even_opened() {
        use std::os::unix::fs::symlink;
        let scratch = tempfile::tempdir().expect("a temporary directory");
        for directory in ["node_modules/a/b", "dist/keep", "dist/drop/deep", "src"] {
            std::fs::create_dir_all(scratch.path().join(directory)).expect("mkdir");
        }
        for file in ["dist/keep/x", "dist/drop/deep/y", "src/main.rs", "node_modules/a/b/c"] {
            std::fs::write(scratch.path().join(file), "x").expect("write");
        }
        symlink("main.rs", scratch.path().join("src/link")).expect("symlink");
        let patterns = ["node_modules", "dist", "!dist/keep/*"];
        assert_eq!(
            paths(scratch.path(), &patterns, 2),
            ["dist", "dist/keep", "dist/keep/x", "src", "src/link", "src/main.rs"]
        );
        assert_eq!(paths(scratch.path(), &["*", "!src/*.py"], 2), [""; 0]);
    }
}
