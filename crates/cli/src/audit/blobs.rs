//! Layers become facts: each once, as many at the same time as there are processors, remembered in the store.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kiln_audit::{LayerError, LayerFacts, LayerReader, VERSION};
use kiln_oci::{Compression, Descriptor, Digest, Hasher};
use kiln_store::Store;

use crate::audit::archive::Archive;

/// The kind of documents that facts are kept as.
const DOCUMENT: &str = "audit-facts";

/// Why a layer cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// It cannot be opened or fetched.
    #[error("failed to open layer {digest}")]
    Open {
        /// Which.
        digest: Digest,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It cannot be read.
    #[error("failed to read layer {digest}")]
    Read {
        /// Which.
        digest: Digest,
        /// Why.
        #[source]
        source: LayerError,
    },
    /// It is not what its digest says.
    #[error("the bytes of layer {expected} have the digest {found}")]
    Digest {
        /// What they should be.
        expected: Digest,
        /// What they are.
        found: Digest,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] kiln_store::StoreError),
}

/// Where blobs are.
#[derive(Clone)]
pub enum Blobs {
    /// In the store, where every blob was verified on its way in. The function fetches what is missing.
    Store(Fetch),
    /// In the directory of an OCI layout.
    Layout(PathBuf),
    /// In an archive.
    Archive(Arc<Archive>),
}

/// Brings a blob into the store. Blocks.
pub type Fetch = Arc<dyn Fn(&Descriptor) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + Send + Sync>;

/// What the digest of a layer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verified {
    /// It was verified when it entered the store.
    Already,
    /// The blob as it is.
    Blob,
    /// The plain stream (Docker's archives name layers by nothing else).
    Plain,
}

/// The facts of layers, in the order asked for. Equal layers are read once; what is remembered is not read at all.
pub fn facts(store: &Store, blobs: &Blobs, layers: &[&Descriptor]) -> Result<Vec<Arc<LayerFacts>>, BlobError> {
    let mut wanted: Vec<&Descriptor> = Vec::new();
    for layer in layers {
        if !wanted.iter().any(|known| known.digest == layer.digest) {
            wanted.push(layer);
        }
    }
    // The largest first, so that none of them is left for the end.
    wanted.sort_by_key(|layer| std::cmp::Reverse(layer.size));
    let reader = LayerReader::new();
    let next = AtomicUsize::new(0);
    let found: Mutex<HashMap<Digest, Result<Arc<LayerFacts>, BlobError>>> = Mutex::default();
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..processors.min(wanted.len()) {
            scope.spawn(|| {
                while let Some(layer) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = one(store, blobs, layer, &reader).map(Arc::new);
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    found.insert(layer.digest.clone(), result);
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut shared: HashMap<Digest, Arc<LayerFacts>> = HashMap::new();
    for layer in &wanted {
        // A missing result would be a thread that panicked, which the scope has passed on.
        if let Some(result) = found.remove(&layer.digest) {
            shared.insert(layer.digest.clone(), result?);
        }
    }
    Ok(layers
        .iter()
        .filter_map(|layer| shared.get(&layer.digest).cloned())
        .collect())
}

/// What an earlier audit learnt of a layer.
pub fn remembered(store: &Store, layer: &Descriptor) -> Result<Option<LayerFacts>, BlobError> {
    let bytes = store.get_document(DOCUMENT, &name_of(layer))?;
    Ok(bytes.and_then(|bytes| LayerFacts::decode(&bytes)))
}

fn name_of(layer: &Descriptor) -> String {
    format!("{VERSION}/{}", layer.digest)
}

fn one(store: &Store, blobs: &Blobs, layer: &Descriptor, reader: &LayerReader) -> Result<LayerFacts, BlobError> {
    if let Some(facts) = remembered(store, layer)? {
        return Ok(facts);
    }
    let (opened, verified) = open(store, blobs, layer)?;
    let facts = read(opened, verified, layer, reader)?;
    if let Ok(bytes) = facts.encode() {
        store.put_document(DOCUMENT, &name_of(layer), &bytes)?;
    }
    Ok(facts)
}

fn open(store: &Store, blobs: &Blobs, layer: &Descriptor) -> Result<(Box<dyn Read + Send>, Verified), BlobError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| BlobError::Open {
        digest: layer.digest.clone(),
        source,
    };
    match blobs {
        Blobs::Store(fetch) => {
            if !store.blob_exists(&layer.digest)? {
                fetch(layer).map_err(failed)?;
            }
            let file = store.open_blob(&layer.digest)?;
            let file = file.ok_or_else(|| failed("it is gone from the store".into()))?;
            Ok((Box::new(file), Verified::Already))
        }
        Blobs::Layout(directory) => {
            let path = directory
                .join("blobs")
                .join(layer.digest.algorithm().name())
                .join(layer.digest.hex());
            let file = File::open(&path).map_err(|error| failed(Box::new(error)))?;
            Ok((Box::new(file), Verified::Blob))
        }
        Blobs::Archive(archive) => {
            let (file, is_plain) = archive.layer(&layer.digest).map_err(|error| failed(Box::new(error)))?;
            let verified = if is_plain { Verified::Plain } else { Verified::Blob };
            Ok((Box::new(file), verified))
        }
    }
}

fn read(
    opened: Box<dyn Read + Send>,
    verified: Verified,
    layer: &Descriptor,
    reader: &LayerReader,
) -> Result<LayerFacts, BlobError> {
    let archive = |source| BlobError::Read {
        digest: layer.digest.clone(),
        source: LayerError::Archive(source),
    };
    let algorithm = layer.digest.algorithm();
    let hasher = |when: Verified| (verified == when).then(|| Hasher::new(algorithm));
    let mut raw = Hashing {
        inner: opened,
        hasher: hasher(Verified::Blob),
    };
    let declared = layer
        .media_type
        .layer_compression()
        .unwrap_or(Compression::Uncompressed);
    let plain = kiln_image::unpack::decompress(&mut raw, declared).map_err(archive)?;
    let mut plain = Hashing {
        inner: plain,
        hasher: hasher(Verified::Plain),
    };
    let facts = reader.read(&mut plain).map_err(|source| BlobError::Read {
        digest: layer.digest.clone(),
        source,
    })?;
    // What stands behind the end mark belongs to the digest.
    io::copy(&mut plain, &mut io::sink()).map_err(archive)?;
    let hasher = plain.hasher.take();
    drop(plain);
    io::copy(&mut raw, &mut io::sink()).map_err(archive)?;
    match raw.hasher.or(hasher).map(Hasher::finish) {
        Some(found) if found != layer.digest => Err(BlobError::Digest {
            expected: layer.digest.clone(),
            found,
        }),
        _ => Ok(facts),
    }
}

struct Hashing<R> {
    inner: R,
    hasher: Option<Hasher>,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        Ok(count)
    }
}
