//! A read-only registry inside the test process that serves an OCI image layout.

use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::error::TestkitError;
use crate::http::{Request, Response};
use crate::http_server::HttpServer;
use crate::image_layout::ImageLayout;

/// Serves every image of a layout over the distribution protocol, and remembers what was asked for.
#[derive(Debug)]
pub struct StaticRegistry {
    server: HttpServer,
    requests: Arc<Mutex<Vec<String>>>,
}

impl StaticRegistry {
    /// Starts serving `layout` on a free loopback port.
    pub fn start(layout: ImageLayout) -> Result<Self, TestkitError> {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        let server = HttpServer::start(move |request| {
            if let Ok(mut log) = log.lock() {
                log.push(format!("{} {}", request.method, request.target));
            }
            answer(&layout, request)
        })?;
        Ok(Self { server, requests })
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        self.server.address()
    }

    /// Method and path of every request so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().map(|log| log.clone()).unwrap_or_default()
    }
}

fn answer(layout: &ImageLayout, request: &Request) -> Response {
    if !matches!(request.method.as_str(), "GET" | "HEAD") {
        return failure(405, "UNSUPPORTED", "this registry is read-only");
    }
    let path = request.path();
    if path == "/v2/" || path == "/v2" {
        return Response::with_body(200, "application/json", "{}");
    }
    let Some(rest) = path.strip_prefix("/v2/") else {
        return failure(404, "NOT_FOUND", "no such page");
    };
    if let Some((repository, reference)) = rest.rsplit_once("/manifests/") {
        let digest = if reference.contains(':') {
            Some(reference.to_owned())
        } else {
            layout
                .find(&format!("{repository}:{reference}"))
                .and_then(|found| found["digest"].as_str().map(str::to_owned))
        };
        let found = digest.and_then(|digest| layout.blob(&digest).map(|bytes| (digest, bytes)));
        return match found {
            Some((digest, bytes)) => {
                let document: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
                let media_type = document["mediaType"].as_str().unwrap_or("application/octet-stream");
                Response::with_body(200, media_type, bytes).with_header("Docker-Content-Digest", digest)
            }
            None => failure(404, "MANIFEST_UNKNOWN", "manifest unknown"),
        };
    }
    if let Some((_, digest)) = rest.rsplit_once("/blobs/") {
        return match layout.blob(digest) {
            Some(bytes) => ranged(request, bytes).with_header("Docker-Content-Digest", digest),
            None => failure(404, "BLOB_UNKNOWN", "blob unknown to registry"),
        };
    }
    if let Some(repository) = rest.strip_suffix("/tags/list") {
        let prefix = format!("{repository}:");
        let references = layout.references().unwrap_or_default();
        let tags: Vec<&str> = references
            .iter()
            .filter_map(|reference| reference.strip_prefix(&prefix))
            .collect();
        return Response::with_body(
            200,
            "application/json",
            json!({"name": repository, "tags": tags}).to_string(),
        );
    }
    failure(404, "NOT_FOUND", "no such page")
}

/// The whole body, or the part from the first byte of an open range on.
fn ranged(request: &Request, bytes: Vec<u8>) -> Response {
    let start = request
        .header("Range")
        .and_then(|range| range.strip_prefix("bytes="))
        .and_then(|range| range.split('-').next())
        .and_then(|start| start.parse::<usize>().ok());
    match start {
        Some(start) if start < bytes.len() => {
            let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
            Response::with_body(206, "application/octet-stream", &bytes[start..]).with_header("Content-Range", range)
        }
        Some(_) => failure(416, "RANGE_INVALID", "range past the end"),
        None => Response::with_body(200, "application/octet-stream", bytes),
    }
}

fn failure(status: u16, code: &str, message: &str) -> Response {
    let body = json!({"errors": [{"code": code, "message": message}]}).to_string();
    Response::with_body(status, "application/json", body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::exchange;
    use crate::image_layout::Tree;

    #[test]
    fn serves_indexes_blobs_and_ranges() -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let layout = ImageLayout::create(directory.path())?;
        let image = layout.add_image("linux/amd64", &Tree::new().file("a", 0o644, "b"), json!({}))?;
        let digest = image["digest"].as_str().unwrap_or_default().to_owned();
        layout.add_index(&["library/a:1"], &[image])?;
        let registry = StaticRegistry::start(layout)?;
        let ask = |target: &str| exchange(&registry.address(), &Request::new("GET", target));
        assert_eq!(ask("/v2/library/a/manifests/1")?.status, 200);
        assert_eq!(ask("/v2/library/a/manifests/2")?.status, 404);
        let whole = ask(&format!("/v2/library/a/blobs/{digest}"))?;
        let part = exchange(
            &registry.address(),
            &Request::new("GET", &format!("/v2/library/a/blobs/{digest}")).with_header("Range", "bytes=5-"),
        )?;
        assert_eq!((part.status, &part.body[..]), (206, &whole.body[5..]));
        assert!(
            registry
                .requests()
                .contains(&"GET /v2/library/a/manifests/1".to_owned())
        );
        Ok(())
    }
}
