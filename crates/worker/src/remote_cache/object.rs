//! Caches in object stores: one object says everything, each blob is one more.
//!
//! * [`S3Cache`](super::S3Cache) — any store that speaks Amazon's S3.
//! * [`ActionsCache`](super::ActionsCache) — the cache service of GitHub Actions.

use std::time::Duration;

use kiln_oci::Descriptor;
use kiln_store::Store;
use reqwest::{Response, StatusCode};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use super::actions::ActionsCache;
use super::document::CacheContents;
use super::s3::S3Cache;
use super::storage::{CacheError, Found, Written};

/// Bytes of the object that says everything, at most.
const LARGEST_INDEX: u64 = 64 << 20;

/// Times that a request is sent again after a fault of the network or the server.
const RETRIES: u32 = 4;

/// An object store.
#[derive(Debug, Clone)]
pub enum ObjectCache {
    /// S3.
    S3(S3Cache),
    /// GitHub Actions.
    Actions(ActionsCache),
}

impl ObjectCache {
    /// What messages call it.
    pub fn name(&self) -> String {
        match self {
            ObjectCache::S3(cache) => cache.name(),
            ObjectCache::Actions(cache) => cache.name(),
        }
    }

    pub(super) async fn read(&self) -> Result<Found, CacheError> {
        let found = match self {
            ObjectCache::S3(cache) => cache.index().await?,
            ObjectCache::Actions(cache) => cache.index().await?,
        };
        let Some((bytes, version)) = found else {
            return Ok(Found::default());
        };
        let contents: CacheContents = serde_json::from_slice(&bytes)?;
        let checked = contents
            .into_iter()
            .map(|(platform, document)| (platform, document.checked()));
        Ok(Found {
            contents: checked.collect(),
            version: Some(version),
        })
    }

    pub(super) async fn write(&self, contents: &CacheContents, expected: Option<&str>) -> Result<Written, CacheError> {
        let bytes = serde_json::to_vec(contents)?;
        match self {
            ObjectCache::S3(cache) => cache.put_index(bytes, expected).await,
            ObjectCache::Actions(cache) => cache.put_index(bytes, expected).await,
        }
    }

    pub(super) async fn has(&self, blob: &Descriptor) -> Result<bool, CacheError> {
        match self {
            ObjectCache::S3(cache) => cache.has(blob).await,
            ObjectCache::Actions(cache) => cache.has(blob).await,
        }
    }

    /// Sends a blob of the store.
    pub(super) async fn put(&self, blob: &Descriptor, store: &Store) -> Result<(), CacheError> {
        match self {
            ObjectCache::S3(cache) => cache.put(blob, store).await,
            ObjectCache::Actions(cache) => cache.put(blob, store).await,
        }
    }

    /// Fetches a blob into the store, verified.
    pub async fn fetch(&self, blob: &Descriptor, store: &Store) -> Result<(), CacheError> {
        let mut response = match self {
            ObjectCache::S3(cache) => cache.get(blob).await?,
            ObjectCache::Actions(cache) => cache.get(blob).await?,
        };
        let mut writer = store.new_blob_by(blob.digest.algorithm())?;
        while let Some(piece) = response.chunk().await.map_err(|source| self.broken(source))? {
            std::io::Write::write_all(&mut writer, &piece).map_err(|source| CacheError::Io {
                operation: "write",
                path: store.root().to_owned(),
                source,
            })?;
        }
        writer.commit(Some(&blob.digest))?;
        Ok(())
    }

    fn broken(&self, source: reqwest::Error) -> CacheError {
        CacheError::Http {
            name: self.name(),
            source,
        }
    }
}

/// A body of a part of a blob, streamed from the store.
pub(super) async fn body_of(
    blob: &Descriptor,
    store: &Store,
    offset: u64,
    length: u64,
) -> Result<reqwest::Body, CacheError> {
    let missing = || CacheError::NotACache(blob.digest.to_string());
    let file = store.open_blob(&blob.digest)?.ok_or_else(missing)?;
    let mut file = tokio::fs::File::from_std(file);
    let seek = tokio::io::AsyncSeekExt::seek(&mut file, std::io::SeekFrom::Start(offset));
    seek.await.map_err(|source| CacheError::Io {
        operation: "read",
        path: store.root().to_owned(),
        source,
    })?;
    Ok(reqwest::Body::wrap_stream(ReaderStream::with_capacity(
        file.take(length),
        256 << 10,
    )))
}

/// The whole of a small body.
pub(super) async fn small_body(name: &str, mut response: Response) -> Result<Vec<u8>, CacheError> {
    let mut bytes = Vec::new();
    loop {
        let piece = response.chunk().await.map_err(|source| CacheError::Http {
            name: name.to_owned(),
            source,
        })?;
        let Some(piece) = piece else { return Ok(bytes) };
        bytes.extend_from_slice(&piece);
        if bytes.len() as u64 > LARGEST_INDEX {
            return Err(CacheError::NotACache(name.to_owned()));
        }
    }
}

/// Sends a request, again after faults that pass: no connection, an overloaded server, too many requests. `limit` bounds
/// the time that is spent waiting.
pub(super) async fn send<F>(name: &str, limit: Duration, request: impl Fn() -> F) -> Result<Response, CacheError>
where
    F: Future<Output = Result<reqwest::RequestBuilder, CacheError>>,
{
    let mut waited = Duration::ZERO;
    for attempt in 0.. {
        let (fault, pause) = match request().await?.send().await {
            Ok(response) if !is_passing(response.status()) => return Ok(response),
            Ok(response) => {
                let asked = response.headers().get("retry-after");
                let asked = asked
                    .and_then(|value| value.to_str().ok()?.parse().ok())
                    .map(Duration::from_secs);
                let status = response.status().as_u16();
                let fault = CacheError::Refused {
                    name: name.to_owned(),
                    status,
                    message: text_of(response).await,
                };
                (fault, asked)
            }
            Err(source) => {
                let fault = CacheError::Http {
                    name: name.to_owned(),
                    source,
                };
                (fault, None)
            }
        };
        let pause = pause.unwrap_or(Duration::from_millis(100 << attempt.min(6)));
        if attempt >= RETRIES || waited + pause > limit {
            return Err(fault);
        }
        tokio::time::sleep(pause).await;
        waited += pause;
    }
    Err(CacheError::Contended)
}

fn is_passing(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT || status.is_server_error()
}

/// The answer of a server that said no.
pub(super) async fn refused(name: &str, response: Response) -> CacheError {
    CacheError::Refused {
        name: name.to_owned(),
        status: response.status().as_u16(),
        message: text_of(response).await,
    }
}

async fn text_of(response: Response) -> String {
    const SHOWN: usize = 300;
    let text = response.text().await.unwrap_or_default();
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.chars().take(SHOWN).collect()
}
