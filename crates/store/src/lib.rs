//! Everything that Kiln keeps on disk. No other crate names a path in here; they hold handles.
//!
//! # The state directory
//!
//! ```text
//! <root>/                    mode 0700, as all directories here: trees hold setuid programs
//! ├── version                format of this tree (1), written last when a store is made
//! ├── lock                   flock: shared by whoever has the store open, exclusive for repairs
//! ├── gate                   flock: shared while something is written on a lease, exclusive while a collector decides
//! ├── collected              when builds last looked at the store's size, and what it was; locked by who looks
//! ├── store.db, -wal, -shm   SQLite: layers, cache records, documents; has a schema version of its own
//! ├── blobs/<algorithm>/<hex>   content-addressed, mode 0444, complete and synced from the moment they have the name;
//! │                          their time of modification is that of their last use
//! ├── members/<hex>          of which members a packed blob is made ([`BlobMembers`]), named by its digest; goes with it
//! ├── indexes/<layer id>     one layer index each ([`index`]), with version and checksum
//! ├── trees/<layer id>/      one unpacked layer each
//! │   ├── root/              the tree, in overlay's own form
//! │   └── boot               a link to the name of the boot in which it was made, until it is known to be on the disk
//! ├── contexts/<hex>         one stat cache each ([`StatCache`]), named by the digest of the context's path
//! ├── mounts/<hex>-<n>/      cache mounts, named by the digests of their ids
//! │   ├── lock               locked while a step uses the directory; its time is that of the last use
//! │   ├── name               the id
//! │   └── root/              what is mounted; appears when it is filled
//! ├── mounts/empty/          a directory that stays empty
//! ├── git/<hex>              one bare repository each, named by the digest of its remote; used under the lock
//! │                          of the key with the same digest; its time is that of its last use
//! ├── keys/<hex>             flock: one step with this cache key at a time; removed by its holder
//! ├── history/               appears with the first build
//! │   ├── <id>.journal       what happens in a build, locked for as long as it runs
//! │   └── <id>.record        what came of it; without one and unlocked, the build was interrupted
//! ├── aside/                 what a repair moved out of the way
//! └── sessions/              what must not outlive its process
//!     ├── <token>.lock       flock: held by the process until it ends, however it ends
//!     └── <token>/
//!         ├── lease-<n>      lines of what the process uses: `blob …`, `layer …`, `record …`
//!         ├── blob-<n>, file-<n>        unfinished files
//!         ├── tree-<n>/root, work-<n>   unfinished trees; where overlays work
//!         └── scratch-<n>/, doomed-<n>  temporary directories; trees and files being removed
//! ```
//!
//! Trees use overlay's form for unprivileged mounts (`userxattr`): a whiteout is a character device 0:0, an opaque
//! directory has the attribute `user.overlay.opaque` with the value `y`.
//!
//! # Many processes, and sudden death
//!
//! Everything gets its final name in one rename, so what has its name is whole. What the file system knows (is there
//! a blob, an index, a tree?) the database does not repeat. A process that dies, even by `kill -9`, leaves at most a
//! session whose lock is free; the next [`Store::open`] removes it. After a power failure, the last transactions and
//! indexes may be missing; blobs are synced; a tree that was not on the disk yet is found by its first user and made
//! again (`durability.rs`).
//!
//! # What stays
//!
//! Every handle holds whatever it was told is there, on a lease, until its last clone is dropped: blobs, layers in all
//! their forms, records with their layers. Nobody who uses a store for one build has to think of it; a process that
//! goes on takes a handle for each task ([`Store::scoped`]), and one that only looks holds nothing
//! ([`Store::unheld`]). The roots of garbage collection ([`Store::collect`]) are
//!
//! - the leases of living processes ([`Store::held`]), and whatever the manifests and indexes on them name;
//! - documents whose kind does not age ([`KINDS`]): names of images that are nowhere else, what the embedded
//!   registry serves, and every kind that this version does not know, with all blobs whose digests they spell;
//! - cache mounts that a step has locked.
//!
//! All else goes least recently used first, as far as a policy or a person says: records with the layers and blobs
//! that only they need, documents that age, cache mounts, stat caches. `collect.rs` says why builds may run beside it.
//!
//! # Entry points
//!
//! [`Store::open`] gives a [`Store`]. Its methods stand with what they are about: blobs ([`BlobWriter`], [`BlobMembers`]), layers
//! ([`LayerRecord`], [`index::LayerIndex`], [`StagedTree`]), cache records ([`CacheRecord`]), leases ([`Lease`]),
//! locks ([`KeyLock`]), documents ([`DocumentKind`]), collection ([`CollectOptions`], [`CollectPolicy`], [`Usage`]),
//! [`Store::verify`] and [`repair`].
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod blob;
mod cache_mount;
mod cache_record;
mod collect;
mod cursor;
mod database;
mod document;
mod document_kind;
mod durability;
mod early_sync;
mod error;
mod gate;
mod history;
pub mod index;
mod index_cache;
mod layer;
mod layout;
mod lease;
mod lock;
mod members;
mod removal;
mod repair;
mod session;
mod stack;
mod stat_cache;
mod store;
#[cfg(test)]
mod testing;
mod tree;
mod tree_check;
mod verify;
mod wire;

pub use blob::BlobWriter;
pub use cache_mount::{CacheMount, CacheMountUse};
pub use cache_record::{CacheKey, CacheRecord, KeyPart, StepTime};
pub use collect::{
    BackgroundCollection, Class, Classes, CollectFilter, CollectOptions, CollectPolicy, Collected, ItemKind, KindUsage,
    Limits, Size, SizeError, StoreItem, UnknownClass, Usage, human_size,
};
pub use cursor::Cursor;
pub use document_kind::{Ageing, DocumentKind, KINDS, Keeps};
pub use error::StoreError;
pub use history::{BuildId, BuildIdError, BuildJournal, BuildState, HistoryLimit};
pub use layer::{LayerBlob, LayerId, LayerIdError, LayerRecord};
pub use lease::{Held, Lease};
pub use lock::{CollectLock, KeyLock};
pub use members::{BlobMember, BlobMembers, MemberHash};
pub use removal::remove_directory_tree;
pub use repair::{Remedy, Repaired, repair};
pub use stat_cache::{FileStamp, StatCache};
pub use store::Store;
pub use tree::{ScratchDir, StagedTree};
pub use verify::{Problem, TreeFinding, VerifyReport};
