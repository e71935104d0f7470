//! A cache in a bucket.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kiln_oci::{Descriptor, Digest};
use kiln_store::Store;
use reqwest::{Client, Method, Response, StatusCode};

use super::object::{body_of, refused, send, small_body};
use super::signature::{S3Credentials, Signed, encoded};
use super::storage::{CacheError, Written};

/// How long faults that pass are waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a cache is in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Settings {
    /// The bucket.
    pub bucket: String,
    /// Its region.
    pub region: String,
    /// `https://host[:port]` of a store that is not Amazon's.
    pub endpoint: Option<String>,
    /// Whether the bucket stands in the path and not in the host's name.
    pub path_style: bool,
    /// What the names of all objects begin with.
    pub prefix: String,
    /// Further, those of blobs.
    pub blobs_prefix: String,
    /// Further, those of caches.
    pub manifests_prefix: String,
    /// The cache's name.
    pub name: String,
    /// Who asks.
    pub credentials: S3Credentials,
}

/// A cache in a bucket.
#[derive(Debug, Clone)]
pub struct S3Cache {
    settings: S3Settings,
    client: Client,
}

impl S3Cache {
    /// Nothing is connected.
    pub fn new(settings: S3Settings) -> S3Cache {
        S3Cache {
            settings,
            client: Client::new(),
        }
    }

    pub(super) fn name(&self) -> String {
        format!("s3://{}/{}", self.settings.bucket, self.index_key())
    }

    fn index_key(&self) -> String {
        let S3Settings {
            prefix,
            manifests_prefix,
            name,
            ..
        } = &self.settings;
        format!("{prefix}{manifests_prefix}{name}")
    }

    fn blob_key(&self, blob: &Descriptor) -> String {
        let S3Settings {
            prefix, blobs_prefix, ..
        } = &self.settings;
        format!(
            "{prefix}{blobs_prefix}{}/{}",
            blob.digest.algorithm().name(),
            blob.digest.hex()
        )
    }

    fn request(&self, method: Method, key: &str, content: &Digest) -> reqwest::RequestBuilder {
        let settings = &self.settings;
        let amazon = format!("https://s3.{}.amazonaws.com", settings.region);
        let endpoint = settings.endpoint.as_deref().unwrap_or(&amazon).trim_end_matches('/');
        let (scheme, host) = endpoint.split_once("://").unwrap_or(("https", endpoint));
        let (host, path) = if settings.path_style {
            (host.to_owned(), format!("/{}/{key}", settings.bucket))
        } else {
            (format!("{}.{host}", settings.bucket), format!("/{key}"))
        };
        let path = encoded(&path);
        let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let headers = settings.credentials.headers(&Signed {
            method: method.as_str(),
            host: &host,
            path: &path,
            region: &settings.region,
            content: &content.hex(),
            time: &time,
        });
        let mut request = self.client.request(method, format!("{scheme}://{host}{path}"));
        for (name, value) in headers.into_iter().filter(|(name, _)| *name != "host") {
            request = request.header(name, value);
        }
        request
    }

    async fn send_empty(&self, method: Method, key: &str) -> Result<Response, CacheError> {
        let nothing = Digest::sha256("");
        let request = || async { Ok(self.request(method.clone(), key, &nothing)) };
        send(&self.name(), PATIENCE, request).await
    }

    pub(super) async fn index(&self) -> Result<Option<(Vec<u8>, String)>, CacheError> {
        let response = self.send_empty(Method::GET, &self.index_key()).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => {
                let tag = response.headers().get("etag").and_then(|tag| tag.to_str().ok());
                let tag = tag.unwrap_or_default().to_owned();
                Ok(Some((small_body(&self.name(), response).await?, tag)))
            }
            _ => Err(refused(&self.name(), response).await),
        }
    }

    /// The store itself compares where it can; one that knows no condition is read again by whoever wrote.
    pub(super) async fn put_index(&self, bytes: Vec<u8>, expected: Option<&str>) -> Result<Written, CacheError> {
        let digest = Digest::sha256(&bytes);
        for conditional in [true, false] {
            let request = || async {
                let request = self.request(Method::PUT, &self.index_key(), &digest);
                let request = match (conditional, expected) {
                    (false, _) => request,
                    (true, Some(tag)) => request.header("if-match", tag),
                    (true, None) => request.header("if-none-match", "*"),
                };
                Ok(request.body(bytes.clone()))
            };
            let response = send(&self.name(), PATIENCE, request).await;
            let response = match response {
                // 501: conditions are not implemented.
                Err(CacheError::Refused { status: 501, .. }) if conditional => continue,
                response => response?,
            };
            return match response.status() {
                StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT => Ok(Written::Conflict),
                status if status.is_success() => Ok(Written::Done),
                StatusCode::BAD_REQUEST if conditional => continue,
                _ => Err(refused(&self.name(), response).await),
            };
        }
        Err(CacheError::Contended)
    }

    pub(super) async fn has(&self, blob: &Descriptor) -> Result<bool, CacheError> {
        let response = self.send_empty(Method::HEAD, &self.blob_key(blob)).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_success() => Ok(true),
            _ => Err(refused(&self.name(), response).await),
        }
    }

    pub(super) async fn put(&self, blob: &Descriptor, store: &Store) -> Result<(), CacheError> {
        // The content's digest is what the signature wants: nothing is hashed again.
        let request = || async {
            let request = self.request(Method::PUT, &self.blob_key(blob), &blob.digest);
            let body = body_of(blob, store, 0, blob.size).await?;
            Ok(request.header("content-length", blob.size).body(body))
        };
        let response = send(&self.name(), PATIENCE, request).await?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(refused(&self.name(), response).await)
    }

    pub(super) async fn get(&self, blob: &Descriptor) -> Result<Response, CacheError> {
        let response = self.send_empty(Method::GET, &self.blob_key(blob)).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refused(&self.name(), response).await)
    }
}

/// Nanoseconds since the Unix epoch.
pub(super) fn now_nanos() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos()
}
