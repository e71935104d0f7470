//! Manifests, tags, referrers, the catalogue.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use kiln_oci::{Descriptor, Digest, ImageIndex, Manifest, MediaType};
use serde::{Deserialize, Serialize};

use super::Registry;
use super::answer::{Answer, ApiError, digest as parse_digest, page, parameter, with};
use crate::client::MAX_MANIFEST;

const MANIFEST: &str = "registry-manifest";
const TAG: &str = "registry-tag";
const REFERRER: &str = "registry-referrer";

/// What is kept of a manifest besides its bytes.
#[derive(Serialize, Deserialize)]
struct Kept {
    media_type: MediaType,
}

fn unknown() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "manifest unknown")
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", message)
}

impl Registry {
    fn find(&self, name: &str, reference: &str) -> Result<(Digest, MediaType, Vec<u8>), ApiError> {
        let digest = if reference.contains(':') {
            parse_digest(reference)?
        } else {
            let target = self
                .store
                .get_document(TAG, &format!("{name}:{reference}"))?
                .ok_or_else(unknown)?;
            parse_digest(&String::from_utf8_lossy(&target))?
        };
        let kept = self
            .store
            .get_document(MANIFEST, &format!("{name}@{digest}"))?
            .ok_or_else(unknown)?;
        let kept: Kept = serde_json::from_slice(&kept).map_err(|error| invalid(error.to_string()))?;
        let bytes = self
            .store
            .read_blob(&digest, MAX_MANIFEST as u64)?
            .ok_or_else(unknown)?;
        Ok((digest, kept.media_type, bytes))
    }

    pub(super) fn manifest(&self, name: &str, reference: &str, method: &Method) -> Answer {
        let (digest, media_type, bytes) = self.find(name, reference)?;
        let fields = [
            (header::CONTENT_TYPE, media_type.to_string()),
            (header::CONTENT_LENGTH, bytes.len().to_string()),
            (
                header::HeaderName::from_static("docker-content-digest"),
                digest.to_string(),
            ),
        ];
        let body = if method == Method::HEAD {
            Body::empty()
        } else {
            Body::from(bytes)
        };
        Ok(with(StatusCode::OK, &fields, body))
    }

    pub(super) async fn put_manifest(&self, name: &str, reference: &str, request: Request<Body>) -> Answer {
        let declared = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let bytes = axum::body::to_bytes(request.into_body(), MAX_MANIFEST).await;
        let bytes = bytes.map_err(|_| {
            ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "MANIFEST_INVALID",
                "the manifest is larger than 4 MiB",
            )
        })?;
        let digest = Digest::sha256(&bytes);
        if reference.contains(':') {
            if parse_digest(reference)? != digest {
                return Err(ApiError::new(
                    StatusCode::BAD_REQUEST,
                    "DIGEST_INVALID",
                    "provided digest did not match uploaded content",
                ));
            }
        } else if !kiln_oci::reference::is_tag(reference) {
            return Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                "MANIFEST_INVALID",
                format!("`{reference}` is no tag"),
            ));
        }
        let media_type = declared.map(MediaType::new).unwrap_or(MediaType::OCI_MANIFEST);
        let (subject, artifact) = self.check(name, &media_type, &bytes)?;
        // Holds the manifest until a document names it.
        let task = self.store.scoped();
        task.put_blob(&bytes)?;
        let kept = serde_json::to_vec(&Kept {
            media_type: media_type.clone(),
        })
        .map_err(|error| invalid(error.to_string()))?;
        self.store.put_document(MANIFEST, &format!("{name}@{digest}"), &kept)?;
        drop(task);
        let mut fields = vec![
            (header::LOCATION, format!("/v2/{name}/manifests/{digest}")),
            (
                header::HeaderName::from_static("docker-content-digest"),
                digest.to_string(),
            ),
        ];
        if let Some(subject) = subject {
            let mut descriptor = Descriptor::new(media_type, digest.clone(), bytes.len() as u64);
            descriptor.artifact_type = artifact.0;
            descriptor.annotations = artifact.1;
            let text = serde_json::to_vec(&descriptor).map_err(|error| invalid(error.to_string()))?;
            self.store
                .put_document(REFERRER, &format!("{name}@{subject}/{digest}"), &text)?;
            fields.push((header::HeaderName::from_static("oci-subject"), subject.to_string()));
        }
        if !reference.contains(':') {
            self.store
                .put_document(TAG, &format!("{name}:{reference}"), digest.to_string().as_bytes())?;
        }
        Ok(with(StatusCode::CREATED, &fields, Body::empty()))
    }

    /// What a manifest names must be there. Gives its subject, artifact type and annotations.
    #[expect(clippy::type_complexity, reason = "what a referrer's descriptor is made of")]
    fn check(
        &self,
        name: &str,
        media_type: &MediaType,
        bytes: &[u8],
    ) -> Result<(Option<Digest>, (Option<MediaType>, kiln_oci::Annotations)), ApiError> {
        let missing = |digest: &Digest| {
            ApiError::new(
                StatusCode::NOT_FOUND,
                "MANIFEST_BLOB_UNKNOWN",
                format!("blob unknown to registry: {digest}"),
            )
        };
        if media_type.is_index() {
            let index: ImageIndex = serde_json::from_slice(bytes).map_err(|error| invalid(error.to_string()))?;
            for entry in &index.manifests {
                if self
                    .store
                    .get_document(MANIFEST, &format!("{name}@{}", entry.digest))?
                    .is_none()
                {
                    return Err(missing(&entry.digest));
                }
            }
            return Ok((
                index.subject.map(|subject| subject.digest),
                (index.artifact_type, index.annotations),
            ));
        }
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(|error| invalid(error.to_string()))?;
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            // Layers with addresses of their own need not be here.
            if blob.urls.is_empty() && !self.has_blob(name, &blob.digest)? {
                return Err(missing(&blob.digest));
            }
        }
        let artifact = manifest.artifact_type.unwrap_or(manifest.config.media_type);
        Ok((
            manifest.subject.map(|subject| subject.digest),
            (Some(artifact), manifest.annotations),
        ))
    }

    pub(super) fn delete_manifest(&self, name: &str, reference: &str) -> Answer {
        if !reference.contains(':') {
            if !self.store.delete_document(TAG, &format!("{name}:{reference}"))? {
                return Err(unknown());
            }
            return Ok(with(StatusCode::ACCEPTED, &[], Body::empty()));
        }
        let (digest, _, bytes) = self.find(name, reference)?;
        self.store.delete_document(MANIFEST, &format!("{name}@{digest}"))?;
        for tag in self.tag_names(name)? {
            let key = format!("{name}:{tag}");
            if self
                .store
                .get_document(TAG, &key)?
                .is_some_and(|target| target == digest.to_string().as_bytes())
            {
                self.store.delete_document(TAG, &key)?;
            }
        }
        #[derive(Deserialize)]
        struct Subject {
            subject: Option<Descriptor>,
        }
        if let Ok(Subject { subject: Some(subject) }) = serde_json::from_slice(&bytes) {
            self.store
                .delete_document(REFERRER, &format!("{name}@{}/{digest}", subject.digest))?;
        }
        Ok(with(StatusCode::ACCEPTED, &[], Body::empty()))
    }

    fn tag_names(&self, name: &str) -> Result<Vec<String>, ApiError> {
        let prefix = format!("{name}:");
        let mut tags: Vec<String> = self
            .store
            .list_documents(TAG, &prefix)?
            .into_iter()
            .filter_map(|key| Some(key.strip_prefix(&prefix)?.to_owned()))
            .collect();
        tags.sort();
        Ok(tags)
    }

    pub(super) fn tags(&self, name: &str, query: Option<&str>) -> Answer {
        let known = !self.store.list_documents(MANIFEST, &format!("{name}@"))?.is_empty();
        let tags = self.tag_names(name)?;
        if !known && tags.is_empty() {
            return Err(ApiError::new(
                StatusCode::NOT_FOUND,
                "NAME_UNKNOWN",
                "repository name not known to registry",
            ));
        }
        let (tags, next) = page(tags, query, &format!("/v2/{name}/tags/list"));
        let mut fields = vec![(header::CONTENT_TYPE, "application/json".to_owned())];
        fields.extend(next.map(|next| (header::LINK, next)));
        let document = serde_json::json!({ "name": name, "tags": tags });
        Ok(with(StatusCode::OK, &fields, Body::from(document.to_string())))
    }

    pub(super) fn catalog(&self, query: Option<&str>) -> Answer {
        let keys = self.store.list_documents(MANIFEST, "")?;
        let names: BTreeSet<String> = keys
            .iter()
            .filter_map(|key| Some(key.split_once('@')?.0.to_owned()))
            .collect();
        let (repositories, next) = page(names.into_iter().collect(), query, "/v2/_catalog");
        let mut fields = vec![(header::CONTENT_TYPE, "application/json".to_owned())];
        fields.extend(next.map(|next| (header::LINK, next)));
        let document = serde_json::json!({ "repositories": repositories });
        Ok(with(StatusCode::OK, &fields, Body::from(document.to_string())))
    }

    pub(super) fn referrers(&self, name: &str, subject: &Digest, query: Option<&str>) -> Answer {
        let wanted = parameter(query, "artifactType");
        let mut manifests = Vec::new();
        for key in self.store.list_documents(REFERRER, &format!("{name}@{subject}/"))? {
            let descriptor = self
                .store
                .get_document(REFERRER, &key)?
                .and_then(|bytes| serde_json::from_slice::<Descriptor>(&bytes).ok());
            manifests.extend(descriptor.filter(|descriptor| {
                wanted.as_ref().is_none_or(|wanted| {
                    descriptor
                        .artifact_type
                        .as_ref()
                        .is_some_and(|found| found.as_str() == wanted)
                })
            }));
        }
        let document =
            serde_json::json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": manifests });
        let mut fields = vec![(header::CONTENT_TYPE, MediaType::OCI_INDEX.to_string())];
        if wanted.is_some() {
            fields.push((
                header::HeaderName::from_static("oci-filters-applied"),
                "artifactType".to_owned(),
            ));
        }
        let response = with(StatusCode::OK, &fields, Body::from(document.to_string()));
        Ok(response)
    }
}
