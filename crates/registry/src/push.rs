//! Pushing: blobs, then manifests.

use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use kiln_oci::{Descriptor, Digest, MediaType, Reference};
use kiln_store::Store;
use reqwest::{Method, StatusCode};

use crate::RegistryError;
use crate::client::Client;
use crate::transport::{Request, failure};

/// Where the bytes of a blob are.
#[derive(Debug, Clone)]
pub enum BlobSource {
    /// Here.
    Bytes(Vec<u8>),
    /// In the store.
    Store(Store),
}

/// Bytes of one piece of a streamed body.
const PIECE: usize = 256 << 10;

type Progress = dyn Fn(u64) + Send + Sync;

impl Client {
    /// Whether a repository has a blob.
    pub async fn blob_exists(&self, reference: &Reference, digest: &Digest) -> Result<bool, RegistryError> {
        let endpoint = self.transport.settings.hosts.endpoint(reference.domain());
        let path = format!("/v2/{}/blobs/{digest}", reference.path());
        let request = self.push_request(reference, &endpoint, Method::HEAD, path, "look for a blob");
        let response = self.transport.send(&request).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_success() => Ok(true),
            _ => Err(failure(&request, response).await),
        }
    }

    /// Has the registry take a blob over from another of its repositories. False: it will not.
    pub async fn mount_blob(&self, reference: &Reference, digest: &Digest, from: &str) -> Result<bool, RegistryError> {
        let endpoint = self.transport.settings.hosts.endpoint(reference.domain());
        let path = format!("/v2/{}/blobs/uploads/?mount={digest}&from={from}", reference.path());
        let mut request = self.push_request(reference, &endpoint, Method::POST, path, "mount a blob");
        request.scope.push_str(&format!(" repository:{from}:pull"));
        request.headers.push(("content-length", "0".into()));
        let response = self.transport.send(&request).await?;
        match response.status() {
            StatusCode::CREATED => Ok(true),
            // An upload was begun instead. It is left to the registry, which ends those that nobody goes on with.
            StatusCode::ACCEPTED => Ok(false),
            _ => Err(failure(&request, response).await),
        }
    }

    /// Sends a blob, unless it is there or can be mounted from a repository of the same registry.
    pub async fn push_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        source: BlobSource,
        mount_from: Option<&str>,
        progress: Arc<Progress>,
    ) -> Result<(), RegistryError> {
        match self.blob_exists(reference, &descriptor.digest).await {
            Ok(true) => {
                progress(descriptor.size);
                return Ok(());
            }
            // An answer without a body says no word; the upload's own refusal does.
            Ok(false) | Err(RegistryError::Denied { .. }) => {}
            Err(error) => return Err(error),
        }
        let endpoint = self.transport.settings.hosts.endpoint(reference.domain());
        let mut path = format!("/v2/{}/blobs/uploads/", reference.path());
        if let Some(from) = mount_from {
            path.push_str(&format!("?mount={}&from={from}", descriptor.digest));
        }
        let mut start = self.push_request(reference, &endpoint, Method::POST, path, "begin an upload");
        if let Some(from) = mount_from {
            start.scope.push_str(&format!(" repository:{from}:pull"));
        }
        start.headers.push(("content-length", "0".into()));
        let response = self.transport.send(&start).await?;
        match response.status() {
            StatusCode::CREATED => {
                progress(descriptor.size);
                return Ok(());
            }
            StatusCode::ACCEPTED => {}
            _ => return Err(failure(&start, response).await),
        }
        let location = response
            .headers()
            .get("location")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let location = location.ok_or_else(|| RegistryError::Answer {
            host: endpoint.host.clone(),
            what: "an upload without a location".into(),
        })?;
        let separator = if location.contains('?') { '&' } else { '?' };
        let size = descriptor.size;
        let digest = descriptor.digest.clone();
        let body = move || body_of(&source, &digest, size, progress.clone());
        let mut put = self.push_request(
            reference,
            &endpoint,
            Method::PUT,
            format!("{location}{separator}digest={}", descriptor.digest),
            "upload a blob",
        );
        put.headers.push(("content-type", "application/octet-stream".into()));
        put.body = Some(&body);
        let response = self.transport.send(&put).await?;
        if response.status() == StatusCode::CREATED || response.status() == StatusCode::NO_CONTENT {
            return Ok(());
        }
        Err(failure(&put, response).await)
    }

    /// Sends a manifest or index under a tag or digest.
    pub async fn push_manifest(
        &self,
        reference: &Reference,
        part: &str,
        bytes: Vec<u8>,
        media_type: &MediaType,
    ) -> Result<(), RegistryError> {
        let endpoint = self.transport.settings.hosts.endpoint(reference.domain());
        let path = format!("/v2/{}/manifests/{part}", reference.path());
        let body = move || Ok((reqwest::Body::from(bytes.clone()), bytes.len() as u64));
        let mut request = self.push_request(reference, &endpoint, Method::PUT, path, "push the manifest");
        request.headers.push(("content-type", media_type.to_string()));
        request.body = Some(&body);
        let response = self.transport.send(&request).await?;
        if response.status().is_success() {
            Ok(())
        } else {
            Err(failure(&request, response).await)
        }
    }

    /// Removes a manifest or tag.
    pub async fn delete_manifest(&self, reference: &Reference, part: &str) -> Result<(), RegistryError> {
        let endpoint = self.transport.settings.hosts.endpoint(reference.domain());
        let path = format!("/v2/{}/manifests/{part}", reference.path());
        let mut request = self.push_request(reference, &endpoint, Method::DELETE, path, "delete the manifest");
        request.scope = format!("repository:{}:delete", reference.path());
        let response = self.transport.send(&request).await?;
        if response.status().is_success() {
            Ok(())
        } else {
            Err(failure(&request, response).await)
        }
    }

    fn push_request<'a>(
        &self,
        reference: &'a Reference,
        endpoint: &'a crate::hosts::Endpoint,
        method: Method,
        path: String,
        operation: &str,
    ) -> Request<'a> {
        Request {
            domain: reference.domain(),
            endpoint,
            method,
            path,
            headers: Vec::new(),
            scope: format!("repository:{}:pull,push", reference.path()),
            operation: format!("{operation} of {}", reference.familiar()),
            body: None,
        }
    }
}

/// A body that streams from the store, so that a large blob is never in memory.
fn body_of(
    source: &BlobSource,
    digest: &Digest,
    size: u64,
    progress: Arc<Progress>,
) -> Result<(reqwest::Body, u64), RegistryError> {
    let store = match source {
        BlobSource::Bytes(bytes) => return Ok((reqwest::Body::from(bytes.clone()), bytes.len() as u64)),
        BlobSource::Store(store) => store,
    };
    let missing = || RegistryError::NotFound {
        host: "store".into(),
        what: digest.to_string(),
    };
    let mut file = store.open_blob(digest)?.ok_or_else(missing)?;
    let length = file.seek(SeekFrom::End(0)).unwrap_or(size);
    file.rewind().map_err(|error| RegistryError::Answer {
        host: "store".into(),
        what: error.to_string(),
    })?;
    let pieces = futures::stream::unfold((file, 0_u64), move |(mut file, done)| {
        let progress = progress.clone();
        async move {
            let read = tokio::task::spawn_blocking(move || {
                let mut piece = vec![0; PIECE];
                let count = file.read(&mut piece)?;
                piece.truncate(count);
                Ok::<_, std::io::Error>((file, piece))
            });
            match read.await {
                Ok(Ok((_, piece))) if piece.is_empty() => None,
                Ok(Ok((file, piece))) => {
                    let done = done + piece.len() as u64;
                    progress(done);
                    Some((Ok(piece), (file, done)))
                }
                Ok(Err(error)) => Some((Err(error), (dead_end(), done))),
                Err(error) => Some((Err(std::io::Error::other(error)), (dead_end(), done))),
            }
        }
    });
    Ok((reqwest::Body::wrap_stream(pieces), length))
}

/// A file that is at its end: after an error the stream is polled no more, but it must have a state.
fn dead_end() -> std::fs::File {
    std::fs::File::open("/dev/null").expect("every Linux has /dev/null")
}
