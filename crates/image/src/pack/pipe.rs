//! From the tar stream to the blob: hashing, dividing into members, compressing them on several threads, in order.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

use kiln_oci::{Algorithm, Compression, DiffId, Hasher};
use kiln_store::{BlobMember, MemberHash};

use super::compressor::Compressor;
use super::earlier::Earlier;
use super::{CompressionSetting, boundaries};

/// Files are read, and hashed while they are near, in steps of so many bytes.
const STEP: usize = 128 << 10;

/// Bytes that a member can be longer than its content.
const OVERHEAD: usize = 4096;

/// Members beyond one for each thread that may be under way. They are of different lengths and are written in order: with
/// fewer, threads would wait for the one that is due to be written.
const READY: usize = 6;

/// A member to be made, with room for it.
struct Job {
    content: Vec<u8>,
    room: Vec<u8>,
    reply: SyncSender<io::Result<Made>>,
}

/// A member; the content's room can be used again.
struct Made {
    content: Vec<u8>,
    bytes: Vec<u8>,
    member: Option<BlobMember>,
    /// Whether it was copied from an earlier blob.
    copied: bool,
}

/// What a whole stream came to.
pub(super) struct Piped {
    pub(super) diff_id: DiffId,
    /// The members that the blob is made of, if they are told apart.
    pub(super) members: Vec<BlobMember>,
    /// Bytes that were copied from earlier blobs.
    pub(super) copied: u64,
}

/// Takes the tar stream and gives the blob's bytes to `out`, in order.
pub(super) struct Pipe<'a> {
    out: &'a mut (dyn Write + Send),
    hasher: Hasher,
    /// The member that is being gathered.
    pending: Vec<u8>,
    jobs: SyncSender<Job>,
    replies: VecDeque<Receiver<io::Result<Made>>>,
    /// Members under way at most: memory is bounded by this.
    limit: usize,
    /// Room that was used before. To ask the system for it again, page by page, takes as long as to hash what is in it.
    spare: Vec<Vec<u8>>,
    members: Vec<BlobMember>,
    copied: u64,
}

impl<'a> Pipe<'a> {
    pub(super) fn new<'scope>(
        out: &'a mut (dyn Write + Send),
        setting: CompressionSetting,
        threads: usize,
        earlier: &'scope Earlier,
        scope: &'scope Scope<'scope, '_>,
    ) -> io::Result<Pipe<'a>> {
        // Nothing is gained by threads that copy.
        let threads = if setting.compression == Compression::Uncompressed {
            1
        } else {
            threads
        };
        let limit = threads + READY;
        let (jobs, queue) = sync_channel::<Job>(limit);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let queue = queue.clone();
            let mut worker = MemberMaker {
                compressor: Compressor::new(setting)?,
                listed: setting.compression != Compression::Uncompressed,
                earlier,
            };
            scope.spawn(move || {
                loop {
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = job else { return };
                    // Nobody waits any more once writing failed.
                    let _ = job.reply.send(worker.make(job.content, job.room));
                }
            });
        }
        Ok(Pipe {
            out,
            hasher: Hasher::new(Algorithm::Sha256),
            pending: Vec::new(),
            jobs,
            replies: VecDeque::new(),
            limit,
            spare: Vec::new(),
            members: Vec::new(),
            copied: 0,
        })
    }

    /// Begins an entry: its header, and before it the end of a member if one stands there.
    pub(super) fn begin_entry(&mut self, path: &[u8], header: &[u8], size: u64) -> io::Result<()> {
        if boundaries::begins_member(path, self.pending.len(), header.len(), size) {
            self.end_member()?;
        }
        self.write(header);
        Ok(())
    }

    /// Adds a few bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.pending.extend_from_slice(bytes);
    }

    /// Adds `length` bytes of a source, and gives how many there were. `file`: hashes them as well.
    pub(super) fn fill(
        &mut self,
        source: &mut impl Read,
        length: usize,
        file: &mut Option<Hasher>,
    ) -> io::Result<usize> {
        let mut done = 0;
        while done < length {
            let start = self.pending.len();
            let step = STEP.min(length - done);
            self.pending.resize(start + step, 0);
            let read = loop {
                match source.read(&mut self.pending[start..]) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => break other,
                }
            };
            self.pending.truncate(start + *read.as_ref().unwrap_or(&0));
            let read = read?;
            if read == 0 {
                break;
            }
            self.hasher.update(&self.pending[start..]);
            if let Some(file) = file {
                file.update(&self.pending[start..]);
            }
            done += read;
        }
        Ok(done)
    }

    /// Ends a member here.
    pub(super) fn end_member(&mut self) -> io::Result<()> {
        while self.replies.len() >= self.limit {
            self.receive()?;
        }
        let next = self.spare.pop().unwrap_or_default();
        let content = std::mem::replace(&mut self.pending, next);
        let room = self.spare.pop().unwrap_or_default();
        let (reply, answer) = sync_channel(1);
        let job = Job { content, room, reply };
        self.jobs
            .send(job)
            .map_err(|_| io::Error::other("the compressor threads ended"))?;
        self.replies.push_back(answer);
        Ok(())
    }

    /// Ends the stream.
    pub(super) fn finish(mut self) -> io::Result<Piped> {
        if !self.pending.is_empty() || (self.replies.is_empty() && self.members.is_empty()) {
            self.end_member()?;
        }
        while !self.replies.is_empty() {
            self.receive()?;
        }
        Ok(Piped {
            diff_id: DiffId(self.hasher.finish()),
            members: self.members,
            copied: self.copied,
        })
    }

    fn receive(&mut self) -> io::Result<()> {
        let Some(answer) = self.replies.pop_front() else {
            return Ok(());
        };
        let made = answer
            .recv()
            .map_err(|_| io::Error::other("a compressor thread ended"))??;
        self.out.write_all(&made.bytes)?;
        self.members.extend(made.member);
        if made.copied {
            self.copied += made.bytes.len() as u64;
        }
        for mut room in [made.content, made.bytes] {
            room.clear();
            self.spare.push(room);
        }
        Ok(())
    }
}

/// What each thread has.
struct MemberMaker<'a> {
    compressor: Compressor,
    /// Whether members are told apart: those that are not compressed are not.
    listed: bool,
    earlier: &'a Earlier,
}

impl MemberMaker<'_> {
    fn make(&mut self, content: Vec<u8>, mut bytes: Vec<u8>) -> io::Result<Made> {
        if !self.listed {
            return Ok(Made {
                bytes: content,
                content: bytes,
                member: None,
                copied: false,
            });
        }
        let hash = MemberHash::of(&content);
        let bound = content.len().saturating_add(content.len() / 8 + OVERHEAD);
        let copied = self.earlier.copy(&hash, bound, &mut bytes);
        let was_copied = copied.is_some();
        let member = match copied {
            Some(member) => member,
            None => {
                self.compressor.compress(&content, &mut bytes)?;
                BlobMember {
                    content: hash,
                    compressed: MemberHash::of(&bytes),
                    length: bytes.len() as u64,
                }
            }
        };
        Ok(Made {
            content,
            bytes,
            member: Some(member),
            copied: was_copied,
        })
    }
}
