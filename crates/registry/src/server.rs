//! The embedded registry: the distribution API 1.1 over the store.
//!
//! What belongs to which repository is kept in small documents of the store: `registry-blob` and
//! `registry-manifest` by `repository@digest`, `registry-tag` by `repository:tag`, `registry-referrer` by
//! `repository@subject/digest`. Blobs and manifests themselves are blobs of the store.

mod answer;
mod blobs;
mod manifests;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use kiln_store::{BlobWriter, Store};
use tokio::sync::Mutex;

use answer::{Answer, ApiError};

/// Shared by all requests.
struct Registry {
    store: Store,
    /// Uploads under way, by their identifier.
    uploads: Mutex<HashMap<String, BlobWriter>>,
    counter: std::sync::atomic::AtomicU64,
}

/// Serves until `stop` is ready.
pub async fn serve(
    listener: tokio::net::TcpListener,
    store: Store,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let registry = Arc::new(Registry {
        // Serves for long, and reads through open files: what it looks at need not be held. What is being put is.
        store: store.unheld(),
        uploads: Mutex::default(),
        counter: std::sync::atomic::AtomicU64::new(1),
    });
    let router = Router::new().fallback(handle).with_state(registry);
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

async fn handle(State(registry): State<Arc<Registry>>, request: Request<Body>) -> Response {
    match route(&registry, request).await {
        Ok(response) => response,
        Err(error) => error.response(),
    }
}

/// What a path asks for. Repository names hold slashes, so the last parts decide.
async fn route(registry: &Arc<Registry>, request: Request<Body>) -> Answer {
    let path = request.uri().path().to_owned();
    if path == "/v2" || path == "/v2/" {
        return answer::json(StatusCode::OK, &serde_json::json!({}));
    }
    let rest = path.strip_prefix("/v2/").ok_or_else(ApiError::not_found)?.to_owned();
    let method = request.method().clone();
    if rest == "_catalog" {
        return registry.catalog(request.uri().query());
    }
    let parts: Vec<&str> = rest.split('/').collect();
    let name = |count: usize| -> Result<String, ApiError> {
        let name = parts[..parts.len() - count].join("/");
        let valid = kiln_oci::Reference::parse_normalized(&format!("localhost/{name}"))
            .is_ok_and(|reference| reference.tag().is_none() && reference.digest().is_none());
        if valid {
            Ok(name)
        } else {
            Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                "NAME_INVALID",
                "invalid repository name",
            ))
        }
    };
    match parts.as_slice() {
        [.., "tags", "list"] if method == Method::GET => registry.tags(&name(2)?, request.uri().query()),
        [.., "blobs", "uploads", ""] | [.., "blobs", "uploads"] if method == Method::POST => {
            let count = if parts.last() == Some(&"") { 3 } else { 2 };
            registry.begin_upload(&name(count)?, request).await
        }
        [.., "blobs", "uploads", id] => {
            let (name, id) = (name(3)?, (*id).to_owned());
            match method {
                Method::GET => registry.upload_status(&name, &id).await,
                Method::PATCH => registry.continue_upload(&name, &id, request).await,
                Method::PUT => registry.finish_upload(&name, &id, request).await,
                Method::DELETE => registry.cancel_upload(&id).await,
                _ => Err(ApiError::unsupported()),
            }
        }
        [.., "blobs", digest] => {
            let (name, digest) = (name(2)?, answer::digest(digest)?);
            match method {
                Method::GET | Method::HEAD => registry.blob(&name, &digest, &method, request.headers()).await,
                Method::DELETE => registry.delete_blob(&name, &digest),
                _ => Err(ApiError::unsupported()),
            }
        }
        [.., "manifests", reference] => {
            let (name, reference) = (name(2)?, (*reference).to_owned());
            match method {
                Method::GET | Method::HEAD => registry.manifest(&name, &reference, &method),
                Method::PUT => registry.put_manifest(&name, &reference, request).await,
                Method::DELETE => registry.delete_manifest(&name, &reference),
                _ => Err(ApiError::unsupported()),
            }
        }
        [.., "referrers", digest] if method == Method::GET => {
            registry.referrers(&name(2)?, &answer::digest(digest)?, request.uri().query())
        }
        _ => Err(ApiError::not_found()),
    }
}
