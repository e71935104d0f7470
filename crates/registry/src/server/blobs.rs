//! Blobs: reading, and uploads in one piece or several.

use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use futures::StreamExt;
use kiln_oci::Digest;
use kiln_store::BlobWriter;

use super::Registry;
use super::answer::{Answer, ApiError, digest as parse_digest, parameter, with};

const BLOB: &str = "registry-blob";

/// Bytes of one piece of a streamed answer.
const PIECE: usize = 256 << 10;

fn unknown_blob() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "blob unknown to registry")
}

fn unknown_upload() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "BLOB_UPLOAD_UNKNOWN",
        "blob upload unknown to registry",
    )
}

impl Registry {
    /// Whether a repository has a blob.
    pub(super) fn has_blob(&self, name: &str, digest: &Digest) -> Result<bool, ApiError> {
        Ok(self.store.get_document(BLOB, &format!("{name}@{digest}"))?.is_some() && self.store.blob_exists(digest)?)
    }

    pub(super) fn add_blob(&self, name: &str, digest: &Digest) -> Result<(), ApiError> {
        Ok(self.store.put_document(BLOB, &format!("{name}@{digest}"), b"")?)
    }

    pub(super) async fn blob(&self, name: &str, digest: &Digest, method: &Method, headers: &HeaderMap) -> Answer {
        if !self.has_blob(name, digest)? {
            return Err(unknown_blob());
        }
        let size = self.store.blob_size(digest)?.ok_or_else(unknown_blob)?;
        let mut fields = vec![
            (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
            (header::ACCEPT_RANGES, "bytes".to_owned()),
            (
                header::HeaderName::from_static("docker-content-digest"),
                digest.to_string(),
            ),
        ];
        let range = headers
            .get(header::RANGE)
            .and_then(|value| value.to_str().ok())
            .map(|text| range_of(text, size));
        let (status, start, end) = match range {
            None => (StatusCode::OK, 0, size),
            Some(Some((start, end))) => {
                fields.push((header::CONTENT_RANGE, format!("bytes {start}-{}/{size}", end - 1)));
                (StatusCode::PARTIAL_CONTENT, start, end)
            }
            Some(None) => {
                return Ok(with(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    &[(header::CONTENT_RANGE, format!("bytes */{size}"))],
                    Body::empty(),
                ));
            }
        };
        fields.push((header::CONTENT_LENGTH, (end - start).to_string()));
        if method == Method::HEAD {
            return Ok(with(status, &fields, Body::empty()));
        }
        let mut file = self.store.open_blob(digest)?.ok_or_else(unknown_blob)?;
        file.seek(SeekFrom::Start(start))
            .map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", error.to_string()))?;
        let pieces = futures::stream::unfold(Some(file.take(end - start)), |state| async move {
            let mut file = state?;
            let read = tokio::task::spawn_blocking(move || {
                let mut piece = vec![0; PIECE];
                let result = file.read(&mut piece).map(|count| {
                    piece.truncate(count);
                    piece
                });
                (result, file)
            });
            match read.await {
                Ok((Ok(piece), _)) if piece.is_empty() => None,
                Ok((Ok(piece), file)) => Some((Ok(piece), Some(file))),
                Ok((Err(error), _)) => Some((Err(error), None)),
                Err(error) => Some((Err(std::io::Error::other(error)), None)),
            }
        });
        Ok(with(status, &fields, Body::from_stream(pieces)))
    }

    pub(super) fn delete_blob(&self, name: &str, digest: &Digest) -> Answer {
        if !self.store.delete_document(BLOB, &format!("{name}@{digest}"))? {
            return Err(unknown_blob());
        }
        Ok(with(StatusCode::ACCEPTED, &[], Body::empty()))
    }

    pub(super) async fn begin_upload(&self, name: &str, request: Request<Body>) -> Answer {
        let query = request.uri().query().map(str::to_owned);
        if let (Some(mount), from) = (
            parameter(query.as_deref(), "mount"),
            parameter(query.as_deref(), "from"),
        ) {
            let digest = parse_digest(&mount)?;
            let task = self.store.scoped();
            if let Some(from) = from
                && task.blob_exists(&digest)?
                && self.has_blob(&from, &digest)?
            {
                self.add_blob(name, &digest)?;
                return Ok(created(name, &digest));
            }
        }
        // Its own handle: the blob is held from the moment it is there until the repository's document names it.
        let mut writer = self.store.scoped().new_blob()?;
        if let Some(text) = parameter(query.as_deref(), "digest") {
            let digest = parse_digest(&text)?;
            append(&mut writer, request.into_body()).await?;
            return self.keep(name, writer, &digest);
        }
        let id = format!(
            "{:x}-{:x}",
            std::process::id(),
            self.counter.fetch_add(1, Ordering::Relaxed)
        );
        self.uploads.lock().await.insert(id.clone(), writer);
        Ok(progress(StatusCode::ACCEPTED, name, &id, 0))
    }

    pub(super) async fn upload_status(&self, name: &str, id: &str) -> Answer {
        let uploads = self.uploads.lock().await;
        let writer = uploads.get(id).ok_or_else(unknown_upload)?;
        Ok(progress(StatusCode::NO_CONTENT, name, id, writer.size()))
    }

    pub(super) async fn continue_upload(&self, name: &str, id: &str, request: Request<Body>) -> Answer {
        let mut writer = self.uploads.lock().await.remove(id).ok_or_else(unknown_upload)?;
        let result = in_order(request.headers(), writer.size());
        let result = match result {
            Ok(()) => append(&mut writer, request.into_body()).await,
            Err(error) => Err(error),
        };
        let size = writer.size();
        // A chunk that was refused may be sent again.
        self.uploads.lock().await.insert(id.to_owned(), writer);
        result?;
        Ok(progress(StatusCode::ACCEPTED, name, id, size))
    }

    pub(super) async fn finish_upload(&self, name: &str, id: &str, request: Request<Body>) -> Answer {
        let text = parameter(request.uri().query(), "digest")
            .ok_or_else(|| ApiError::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "the digest is missing"))?;
        let digest = parse_digest(&text)?;
        let mut writer = self.uploads.lock().await.remove(id).ok_or_else(unknown_upload)?;
        in_order(request.headers(), writer.size())?;
        append(&mut writer, request.into_body()).await?;
        self.keep(name, writer, &digest)
    }

    pub(super) async fn cancel_upload(&self, id: &str) -> Answer {
        self.uploads.lock().await.remove(id).ok_or_else(unknown_upload)?;
        Ok(with(StatusCode::NO_CONTENT, &[], Body::empty()))
    }

    fn keep(&self, name: &str, writer: BlobWriter, digest: &Digest) -> Answer {
        let task = writer.store().clone();
        writer.commit(Some(digest)).map_err(|error| {
            if error.is_disk_full() {
                return ApiError::from(error);
            }
            ApiError::new(
                StatusCode::BAD_REQUEST,
                "DIGEST_INVALID",
                format!("provided digest did not match uploaded content: {error}"),
            )
        })?;
        self.add_blob(name, digest)?;
        drop(task);
        Ok(created(name, digest))
    }
}

fn created(name: &str, digest: &Digest) -> axum::response::Response {
    let fields = [
        (header::LOCATION, format!("/v2/{name}/blobs/{digest}")),
        (
            header::HeaderName::from_static("docker-content-digest"),
            digest.to_string(),
        ),
    ];
    with(StatusCode::CREATED, &fields, Body::empty())
}

fn progress(status: StatusCode, name: &str, id: &str, size: u64) -> axum::response::Response {
    let fields = [
        (header::LOCATION, format!("/v2/{name}/blobs/uploads/{id}")),
        (header::RANGE, format!("0-{}", size.saturating_sub(1))),
        (header::HeaderName::from_static("docker-upload-uuid"), id.to_owned()),
    ];
    with(status, &fields, Body::empty())
}

/// Chunks must follow one another.
fn in_order(headers: &HeaderMap, size: u64) -> Result<(), ApiError> {
    let Some(text) = headers.get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok()) else {
        return Ok(());
    };
    let start = text
        .trim_start_matches("bytes ")
        .split('-')
        .next()
        .and_then(|start| start.parse::<u64>().ok());
    if start == Some(size) {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::RANGE_NOT_SATISFIABLE,
        "BLOB_UPLOAD_INVALID",
        format!("the next chunk begins at {size}"),
    ))
}

async fn append(writer: &mut BlobWriter, body: Body) -> Result<(), ApiError> {
    let mut stream = body.into_data_stream();
    while let Some(piece) = stream.next().await {
        let piece =
            piece.map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID", error.to_string()))?;
        writer.write_all(&piece).map_err(|error| {
            let full = error.kind() == std::io::ErrorKind::StorageFull;
            let status = if full {
                StatusCode::INSUFFICIENT_STORAGE
            } else {
                StatusCode::INTERNAL_SERVER_ERROR
            };
            ApiError::new(status, "UNKNOWN", error.to_string())
        })?;
    }
    Ok(())
}

/// `bytes=START-[END]` as a half-open range. None: it cannot be satisfied.
fn range_of(text: &str, size: u64) -> Option<(u64, u64)> {
    let (start, end) = text.trim().strip_prefix("bytes=")?.split_once('-')?;
    let start: u64 = start.parse().ok()?;
    let end = if end.is_empty() {
        size
    } else {
        end.parse::<u64>().ok()?.checked_add(1)?.min(size)
    };
    (start < end).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_half_open_inside() {
        assert_eq!(range_of("bytes=0-9", 100), Some((0, 10)));
        assert_eq!(range_of("bytes=50-", 100), Some((50, 100)));
        assert_eq!(range_of("bytes=90-1000", 100), Some((90, 100)));
        assert_eq!(range_of("bytes=100-", 100), None);
        assert_eq!(range_of("items=0-1", 100), None);
    }
}
