//! A cache in the cache service of GitHub Actions, version 2: `CreateCacheEntry`, an upload to a block blob of Azure's,
//! `FinalizeCacheEntryUpload`, and `GetCacheEntryDownloadURL`.
//!
//! An entry never changes, and the newest of those whose keys begin alike is found. So every state of the cache is an
//! entry of its own, under a key that ends in the time.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kiln_oci::{Descriptor, Digest};
use kiln_store::Store;
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::object::{body_of, refused, send, small_body};
use super::s3::now_nanos;
use super::storage::{CacheError, Written};

const SERVICE: &str = "twirp/github.actions.results.api.v1.CacheService";

/// Larger uploads go in blocks.
const BLOCK: u64 = 32 << 20;

/// Where the service is.
#[derive(Clone, PartialEq, Eq)]
pub struct ActionsSettings {
    /// `ACTIONS_RESULTS_URL`.
    pub url: String,
    /// `ACTIONS_RUNTIME_TOKEN`.
    pub token: String,
    /// Keeps caches of one repository apart.
    pub scope: String,
    /// How long faults that pass, and refusals for too many requests, are waited for.
    pub timeout: Duration,
}

impl std::fmt::Debug for ActionsSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut all = f.debug_struct("ActionsSettings");
        all.field("url", &self.url)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

/// A cache in the service.
#[derive(Debug, Clone)]
pub struct ActionsCache {
    settings: ActionsSettings,
    client: Client,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    ok: bool,
    signed_upload_url: String,
    signed_download_url: String,
    matched_key: String,
}

impl ActionsCache {
    /// Nothing is connected.
    pub fn new(settings: ActionsSettings) -> ActionsCache {
        ActionsCache {
            settings,
            client: Client::new(),
        }
    }

    pub(super) fn name(&self) -> String {
        format!("gha:{}", self.settings.scope)
    }

    /// Entries of another version are never found: it says which form they have.
    fn version() -> String {
        Digest::sha256("kiln cache 1").hex()
    }

    fn index_prefix(&self) -> String {
        format!("kiln-index-{}-", self.settings.scope)
    }

    fn blob_key(blob: &Descriptor) -> String {
        format!("kiln-blob-{}-{}", blob.digest.algorithm().name(), blob.digest.hex())
    }

    /// None: the service says that there is none, or, for an entry to be made, that there is one already.
    async fn call(&self, method: &str, body: Value) -> Result<Option<Answer>, CacheError> {
        let url = format!("{}/{SERVICE}/{method}", self.settings.url.trim_end_matches('/'));
        let request = || async {
            let request = self.client.post(&url).bearer_auth(&self.settings.token);
            Ok(request.json(&body))
        };
        let response = send(&self.name(), self.settings.timeout, request).await?;
        match response.status() {
            StatusCode::NOT_FOUND | StatusCode::CONFLICT => Ok(None),
            status if status.is_success() => {
                let bytes = small_body(&self.name(), response).await?;
                let answer: Answer = serde_json::from_slice(&bytes)?;
                Ok(Some(answer).filter(|answer| answer.ok))
            }
            _ => Err(refused(&self.name(), response).await),
        }
    }

    async fn find(&self, key: &str, alike: &[&str]) -> Result<Option<Answer>, CacheError> {
        let body = json!({ "key": key, "restore_keys": alike, "version": Self::version() });
        self.call("GetCacheEntryDownloadURL", body).await
    }

    async fn download(&self, url: &str) -> Result<Response, CacheError> {
        // The address is signed: the token is not for whoever holds the bytes.
        let request = || async { Ok(self.client.get(url)) };
        let response = send(&self.name(), self.settings.timeout, request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refused(&self.name(), response).await)
    }

    pub(super) async fn index(&self) -> Result<Option<(Vec<u8>, String)>, CacheError> {
        let prefix = self.index_prefix();
        let Some(found) = self.find(&prefix, &[&prefix]).await? else {
            return Ok(None);
        };
        let response = self.download(&found.signed_download_url).await?;
        Ok(Some((small_body(&self.name(), response).await?, found.matched_key)))
    }

    pub(super) async fn put_index(&self, bytes: Vec<u8>, expected: Option<&str>) -> Result<Written, CacheError> {
        let prefix = self.index_prefix();
        let newest = self.find(&prefix, &[&prefix]).await?.map(|found| found.matched_key);
        if newest.as_deref() != expected {
            return Ok(Written::Conflict);
        }
        let key = format!("{prefix}{:020}-{}", now_nanos() / 1_000, std::process::id());
        let length = bytes.len() as u64;
        let body = json!({ "key": key, "version": Self::version() });
        let Some(entry) = self.call("CreateCacheEntry", body).await? else {
            return Ok(Written::Conflict);
        };
        let request = || async { Ok(self.block_blob(&entry.signed_upload_url, length).body(bytes.clone())) };
        self.expect_created(send(&self.name(), self.settings.timeout, request).await?)
            .await?;
        self.finalize(&key, length).await?;
        Ok(Written::Done)
    }

    pub(super) async fn has(&self, blob: &Descriptor) -> Result<bool, CacheError> {
        Ok(self.find(&Self::blob_key(blob), &[]).await?.is_some())
    }

    pub(super) async fn put(&self, blob: &Descriptor, store: &Store) -> Result<(), CacheError> {
        let key = Self::blob_key(blob);
        let body = json!({ "key": key, "version": Self::version() });
        let Some(entry) = self.call("CreateCacheEntry", body).await? else {
            // Somebody else sends it, or has sent it, at this moment.
            return Ok(());
        };
        let url = &entry.signed_upload_url;
        if blob.size <= BLOCK {
            let request = || async {
                let body = body_of(blob, store, 0, blob.size).await?;
                Ok(self.block_blob(url, blob.size).body(body))
            };
            self.expect_created(send(&self.name(), self.settings.timeout, request).await?)
                .await?;
        } else {
            self.put_blocks(url, blob, store).await?;
        }
        self.finalize(&key, blob.size).await
    }

    /// Put Blob of Azure's Blob service.
    fn block_blob(&self, url: &str, length: u64) -> reqwest::RequestBuilder {
        self.client
            .put(url)
            .header("x-ms-blob-type", "BlockBlob")
            .header("content-type", "application/octet-stream")
            .header("content-length", length)
    }

    /// Put Block for each part, then Put Block List.
    async fn put_blocks(&self, url: &str, blob: &Descriptor, store: &Store) -> Result<(), CacheError> {
        let separator = if url.contains('?') { '&' } else { '?' };
        let mut list = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
        let mut offset = 0;
        while offset < blob.size {
            let length = BLOCK.min(blob.size - offset);
            let id = STANDARD.encode(format!("{offset:016}"));
            let block = format!("{url}{separator}comp=block&blockid={}", id.replace('=', "%3D"));
            let request = || async {
                let body = body_of(blob, store, offset, length).await?;
                Ok(self.client.put(&block).header("content-length", length).body(body))
            };
            self.expect_created(send(&self.name(), self.settings.timeout, request).await?)
                .await?;
            list.push_str(&format!("<Latest>{id}</Latest>"));
            offset += length;
        }
        list.push_str("</BlockList>");
        let whole = format!("{url}{separator}comp=blocklist");
        let request = || async { Ok(self.client.put(&whole).body(list.clone())) };
        self.expect_created(send(&self.name(), self.settings.timeout, request).await?)
            .await
    }

    async fn expect_created(&self, response: Response) -> Result<(), CacheError> {
        if response.status().is_success() {
            return Ok(());
        }
        Err(refused(&self.name(), response).await)
    }

    async fn finalize(&self, key: &str, length: u64) -> Result<(), CacheError> {
        let body = json!({ "key": key, "version": Self::version(), "size_bytes": length.to_string() });
        match self.call("FinalizeCacheEntryUpload", body).await? {
            Some(_) => Ok(()),
            None => Err(CacheError::Refused {
                name: self.name(),
                status: 200,
                message: "the upload was not accepted".into(),
            }),
        }
    }

    pub(super) async fn get(&self, blob: &Descriptor) -> Result<Response, CacheError> {
        match self.find(&Self::blob_key(blob), &[]).await? {
            Some(found) => self.download(&found.signed_download_url).await,
            None => Err(CacheError::NotACache(blob.digest.to_string())),
        }
    }
}
