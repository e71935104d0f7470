//! Pulling: manifests, blobs, tags, referrers.

use std::io::Write;

use kiln_oci::{Descriptor, Digest, ImageIndex, MediaType, Reference};
use kiln_store::{BlobWriter, Store};
use reqwest::{Method, Response, StatusCode};

use crate::RegistryError;
use crate::client::{ACCEPT, Client, MAX_MANIFEST, ResolvedManifest, reference_part};
use crate::hosts::Endpoint;
use crate::tap::BlobTap;
use crate::transport::{Request, backoff, failure};

/// Times that an interrupted download is taken up again.
const RESUMES: u32 = 6;

fn pull_scope(reference: &Reference) -> String {
    format!("repository:{}:pull", reference.path())
}

impl Client {
    /// The manifest or index that a tag or digest points at.
    pub async fn resolve(&self, reference: &Reference) -> Result<ResolvedManifest, RegistryError> {
        let part = reference_part(reference);
        self.first_endpoint(reference, |endpoint| async move {
            self.manifest_from(reference, &endpoint, &part_of(reference))
                .await
                .map_err(|error| named(error, reference, &part_of(reference)))
        })
        .await
        .and_then(|manifest| check(manifest, reference.digest(), &part))
    }

    /// A manifest of the same repository by its digest.
    pub async fn fetch_manifest(
        &self,
        reference: &Reference,
        digest: &Digest,
    ) -> Result<ResolvedManifest, RegistryError> {
        let pinned = reference.without_tag_and_digest().with_digest(digest.clone());
        self.resolve(&pinned).await
    }

    /// Whether a tag or digest is there, without its bytes: the digest that the registry tells.
    pub async fn head_manifest(&self, reference: &Reference) -> Result<Option<Digest>, RegistryError> {
        let endpoint = self.transport.settings.hosts.endpoint(reference.domain());
        let path = format!("/v2/{}/manifests/{}", reference.path(), reference_part(reference));
        let request = self.get(reference, &endpoint, Method::HEAD, path, "look for the manifest");
        let response = self.transport.send(&request).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => {
                Ok(header(&response, "docker-content-digest").and_then(|text| text.parse().ok()))
            }
            _ => Err(failure(&request, response).await),
        }
    }

    /// Downloads a blob into the store: verified, taken up where it broke off.
    pub async fn fetch_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        store: &Store,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), RegistryError> {
        if store.blob_exists(&descriptor.digest)? {
            return Ok(());
        }
        self.first_endpoint(reference, |endpoint| async move {
            self.blob_from(reference, &endpoint, descriptor, store, progress, None)
                .await
        })
        .await
    }

    /// As [`Client::fetch_blob`], for a blob that is not in the store, and hands its bytes over as they come. Whoever reads
    /// them must not believe them before this has succeeded.
    pub async fn fetch_blob_through(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        store: &Store,
        progress: &(dyn Fn(u64) + Send + Sync),
        tap: BlobTap,
    ) -> Result<(), RegistryError> {
        let tap = tokio::sync::Mutex::new(tap);
        let tap = &tap;
        self.first_endpoint(reference, |endpoint| async move {
            let mut tap = tap.lock().await;
            self.blob_from(reference, &endpoint, descriptor, store, progress, Some(&mut tap))
                .await
        })
        .await
    }

    /// The tags of a repository, all pages.
    pub async fn tags(&self, reference: &Reference) -> Result<Vec<String>, RegistryError> {
        #[derive(serde::Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let endpoint = self.transport.settings.hosts.endpoint(reference.domain());
        let mut path = format!("/v2/{}/tags/list", reference.path());
        let mut all = Vec::new();
        loop {
            let request = self.get(reference, &endpoint, Method::GET, path.clone(), "list tags");
            let response = self.transport.send(&request).await?;
            if !response.status().is_success() {
                return Err(failure(&request, response).await);
            }
            let next = header(&response, "link").and_then(|link| next_page(&link));
            let page: Page = json(&endpoint, response).await?;
            all.extend(page.tags.unwrap_or_default());
            match next {
                Some(next) if next != path => path = next,
                _ => return Ok(all),
            }
        }
    }

    /// What refers to a manifest: by the API, else by the tag that stands for it.
    pub async fn referrers(&self, reference: &Reference, digest: &Digest) -> Result<Vec<Descriptor>, RegistryError> {
        let endpoint = self.transport.settings.hosts.endpoint(reference.domain());
        let path = format!("/v2/{}/referrers/{digest}", reference.path());
        let request = self.get(reference, &endpoint, Method::GET, path, "list referrers");
        let response = self.transport.send(&request).await?;
        if response.status().is_success() {
            let index: ImageIndex = json(&endpoint, response).await?;
            return Ok(index.manifests);
        }
        if response.status() != StatusCode::NOT_FOUND {
            return Err(failure(&request, response).await);
        }
        let tag = format!("{}-{}", digest.algorithm().name(), digest.hex());
        match self.manifest_from(reference, &endpoint, &tag).await {
            Ok(manifest) => {
                let index: Result<ImageIndex, _> = serde_json::from_slice(&manifest.bytes);
                Ok(index.map(|index| index.manifests).unwrap_or_default())
            }
            Err(RegistryError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Tries mirrors, then the registry: the first answer that is no error; the registry's own error else.
    async fn first_endpoint<T, F: Future<Output = Result<T, RegistryError>>>(
        &self,
        reference: &Reference,
        attempt: impl Fn(Endpoint) -> F,
    ) -> Result<T, RegistryError> {
        let endpoints = self.transport.settings.hosts.pull_endpoints(reference.domain());
        let mut first_error = None;
        let count = endpoints.len();
        for (number, endpoint) in endpoints.into_iter().enumerate() {
            match attempt(endpoint).await {
                Ok(value) => return Ok(value),
                // What a mirror does not have, or the registry behind it cannot be asked for, the mirror explains best.
                Err(error) if number + 1 == count => {
                    let unreachable = matches!(error, RegistryError::Unreachable { .. });
                    return Err(first_error.filter(|_| unreachable).unwrap_or(error));
                }
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        Err(RegistryError::Answer {
            host: reference.domain().to_owned(),
            what: "no endpoint".into(),
        })
    }

    async fn manifest_from(
        &self,
        reference: &Reference,
        endpoint: &Endpoint,
        part: &str,
    ) -> Result<ResolvedManifest, RegistryError> {
        let path = format!("/v2/{}/manifests/{part}", reference.path());
        let request = self.get(reference, endpoint, Method::GET, path, "read the manifest");
        let response = self.transport.send(&request).await?;
        if !response.status().is_success() {
            return Err(failure(&request, response).await);
        }
        let declared =
            header(&response, "content-type").map(|text| text.split(';').next().unwrap_or_default().trim().to_owned());
        let bytes = limited(&endpoint.host, response).await?;
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Typed {
            media_type: Option<MediaType>,
        }
        let typed: Result<Typed, _> = serde_json::from_slice(&bytes);
        let typed = typed.map_err(|error| RegistryError::Answer {
            host: endpoint.host.clone(),
            what: format!("a manifest that is no JSON: {error}"),
        })?;
        let media_type = typed
            .media_type
            .or_else(|| declared.map(MediaType::new))
            .unwrap_or(MediaType::OCI_MANIFEST);
        Ok(ResolvedManifest {
            media_type,
            digest: Digest::sha256(&bytes),
            bytes,
        })
    }

    async fn blob_from(
        &self,
        reference: &Reference,
        endpoint: &Endpoint,
        descriptor: &Descriptor,
        store: &Store,
        progress: &(dyn Fn(u64) + Send + Sync),
        mut tap: Option<&mut BlobTap>,
    ) -> Result<(), RegistryError> {
        let path = format!("/v2/{}/blobs/{}", reference.path(), descriptor.digest);
        let mut writer = store.new_blob_by(descriptor.digest.algorithm())?;
        let mut resumes = 0;
        loop {
            let done = writer.size();
            let mut request = self.get(
                reference,
                endpoint,
                Method::GET,
                path.clone(),
                &format!("read blob {}", descriptor.digest),
            );
            if done > 0 {
                request.headers.push(("range", format!("bytes={done}-")));
            }
            let mut response = self.transport.send(&request).await?;
            match response.status() {
                StatusCode::PARTIAL_CONTENT => {}
                StatusCode::OK => {
                    if done > 0 {
                        writer.restart()?;
                    }
                }
                _ => return Err(failure(&request, response).await),
            }
            let broken = loop {
                match response.chunk().await {
                    Ok(Some(chunk)) => {
                        if writer.size() + chunk.len() as u64 > descriptor.size {
                            let what = format!(
                                "blob {} is larger than its {} bytes",
                                descriptor.digest, descriptor.size
                            );
                            return Err(RegistryError::Answer {
                                host: endpoint.host.clone(),
                                what,
                            });
                        }
                        if let Some(tap) = &mut tap {
                            tap.take(writer.size(), &chunk).await;
                        }
                        writer.write_all(&chunk).map_err(disk)?;
                        progress(writer.size());
                    }
                    Ok(None) if writer.size() < descriptor.size => break None,
                    Ok(None) => {
                        if let Some(tap) = &mut tap {
                            tap.finish().await;
                        }
                        return commit(writer, descriptor, &endpoint.host).await;
                    }
                    Err(source) => break Some(source),
                }
            };
            resumes += 1;
            if resumes > RESUMES {
                return Err(match broken {
                    Some(source) => RegistryError::Unreachable {
                        host: endpoint.host.clone(),
                        source,
                    },
                    None => RegistryError::Answer {
                        host: endpoint.host.clone(),
                        what: format!(
                            "blob {} ends after {} of {} bytes",
                            descriptor.digest,
                            writer.size(),
                            descriptor.size
                        ),
                    },
                });
            }
            tokio::time::sleep(backoff(resumes)).await;
        }
    }

    fn get<'a>(
        &self,
        reference: &'a Reference,
        endpoint: &'a Endpoint,
        method: Method,
        path: String,
        operation: &str,
    ) -> Request<'a> {
        Request {
            domain: reference.domain(),
            endpoint,
            method,
            path,
            headers: vec![("accept", ACCEPT.to_owned())],
            scope: pull_scope(reference),
            operation: format!("{operation} of {}", reference.familiar()),
            body: None,
        }
    }
}

fn part_of(reference: &Reference) -> String {
    reference_part(reference)
}

/// What is not found is named as the user named it.
fn named(error: RegistryError, reference: &Reference, _part: &str) -> RegistryError {
    match error {
        RegistryError::NotFound { host, .. } => RegistryError::NotFound {
            host,
            what: reference.familiar(),
        },
        other => other,
    }
}

fn check(manifest: ResolvedManifest, expected: Option<&Digest>, host: &str) -> Result<ResolvedManifest, RegistryError> {
    match expected {
        Some(expected) if expected.algorithm() == manifest.digest.algorithm() && *expected != manifest.digest => {
            Err(RegistryError::WrongManifest {
                host: host.to_owned(),
                expected: expected.clone(),
                found: manifest.digest,
            })
        }
        _ => Ok(manifest),
    }
}

/// Verifies a blob and waits until it is on the disk, which other downloads need not do.
async fn commit(writer: BlobWriter, descriptor: &Descriptor, host: &str) -> Result<(), RegistryError> {
    let expected = descriptor.digest.clone();
    let committed = tokio::task::spawn_blocking(move || writer.commit(Some(&expected))).await;
    let committed = committed.map_err(|error| RegistryError::Answer {
        host: "store".into(),
        what: error.to_string(),
    })?;
    committed.map(drop).map_err(|error| {
        if error.is_disk_full() {
            error.into()
        } else {
            RegistryError::WrongBytes {
                host: host.to_owned(),
                expected: descriptor.digest.clone(),
                source: error,
            }
        }
    })
}

/// The store's errors pass through `io::Write` as they are.
fn disk(error: std::io::Error) -> RegistryError {
    let full = error.kind() == std::io::ErrorKind::StorageFull;
    match error.downcast::<kiln_store::StoreError>() {
        Ok(error) => RegistryError::Store(error),
        Err(error) if full => RegistryError::Store(kiln_store::StoreError::DiskFull {
            path: Default::default(),
            source: error,
        }),
        Err(error) => RegistryError::Answer {
            host: "store".into(),
            what: error.to_string(),
        },
    }
}

async fn limited(host: &str, mut response: Response) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|source| RegistryError::Unreachable {
        host: host.to_owned(),
        source,
    })? {
        if bytes.len() + chunk.len() > MAX_MANIFEST {
            return Err(RegistryError::Answer {
                host: host.to_owned(),
                what: format!("a manifest larger than {MAX_MANIFEST} bytes"),
            });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

async fn json<T: serde::de::DeserializeOwned>(endpoint: &Endpoint, response: Response) -> Result<T, RegistryError> {
    let bytes = limited(&endpoint.host, response).await?;
    serde_json::from_slice(&bytes).map_err(|error| RegistryError::Answer {
        host: endpoint.host.clone(),
        what: error.to_string(),
    })
}

fn header(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
}

/// The path of `<…>; rel="next"`.
fn next_page(link: &str) -> Option<String> {
    let (target, parameters) = link.split_once('>')?;
    if !parameters.contains("next") {
        return None;
    }
    let target = target.trim().strip_prefix('<')?;
    match target.split_once("://") {
        Some((_, rest)) => rest.find('/').map(|slash| rest[slash..].to_owned()),
        None => Some(target.to_owned()),
    }
}
