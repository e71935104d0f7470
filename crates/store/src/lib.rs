//! Everything that Kiln keeps on disk. No other crate names a path in here; they hold handles.
//!
//! # The state directory
//!
//! ```text
//! <root>/                    mode 0700, as all directories here: trees hold setuid programs
//! ├── version                format of this tree (1), written last when a store is made
//! ├── lock                   flock: shared by whoever has the store open, exclusive to collect garbage
//! ├── store.db, -wal, -shm   SQLite: layers, cache records, documents; has a schema version of its own
//! ├── blobs/<algorithm>/<hex>   content-addressed, mode 0444, complete and synced from the moment they have the name
//! ├── indexes/<layer id>     one layer index each ([`index`]), with version and checksum
//! ├── trees/<layer id>/root  one unpacked layer each, in overlay's own form
//! ├── contexts/<hex>         one stat cache each ([`StatCache`]), named by the digest of the context's path
//! ├── mounts/<hex>-<n>/      cache mounts, named by the digests of their ids
//! │   ├── lock               locked while a step uses the directory
//! │   └── root/              what is mounted; appears when it is filled
//! ├── mounts/empty/          a directory that stays empty
//! ├── git/<hex>              one bare repository each, named by the digest of its remote; used under a key's lock
//! ├── keys/<hex>             flock: one step with this cache key at a time; removed by its holder
//! └── sessions/              what must not outlive its process
//!     ├── <token>.lock       flock: held by the process until it ends, however it ends
//!     └── <token>/
//!         ├── lease-<n>      lines of what the process uses: `blob …`, `layer …`, `record …`
//!         ├── blob-<n>, file-<n>        unfinished files
//!         ├── tree-<n>/{root,work}      unfinished trees
//!         └── scratch-<n>/, doomed-<n>/ temporary directories, trees being removed
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
//! indexes may be missing; blobs are synced.
//!
//! Roots of garbage collection are the leases of living sessions ([`Store::held`]), and records with their layers as
//! far as they are young enough. [`Store::collect_lock`] says whether nobody else is there.
//!
//! # Entry points
//!
//! [`Store::open`] gives a [`Store`]. Its methods stand with what they are about: blobs ([`BlobWriter`]), layers
//! ([`LayerRecord`], [`index::LayerIndex`], [`StagedTree`]), cache records ([`CacheRecord`]), leases ([`Lease`]),
//! locks ([`KeyLock`]), documents, and [`Store::verify`].
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod blob;
mod cache_mount;
mod cache_record;
mod collect;
mod database;
mod document;
mod document_kind;
mod error;
mod gate;
pub mod index;
mod index_cache;
mod layer;
mod layout;
mod lease;
mod lock;
mod removal;
mod repair;
mod session;
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
pub use cache_record::{CacheKey, CacheRecord, KeyPart};
pub use collect::{
    BackgroundCollection, Class, Classes, CollectFilter, CollectOptions, CollectPolicy, Collected, ItemKind, KindUsage,
    Limits, Size, SizeError, StoreItem, UnknownClass, Usage, human_size,
};
pub use document_kind::{Ageing, DocumentKind, KINDS, Keeps};
pub use error::StoreError;
pub use layer::{LayerBlob, LayerId, LayerIdError, LayerRecord};
pub use lease::{Held, Lease};
pub use lock::{CollectLock, KeyLock};
pub use removal::remove_directory_tree;
pub use repair::{Remedy, Repaired, repair};
pub use stat_cache::{FileStamp, StatCache};
pub use store::Store;
pub use tree::{ScratchDir, StagedTree};
pub use verify::{Problem, TreeFinding, VerifyReport};
