//! Answers and errors of the distribution specification.

use axum::body::Body;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::Response;
use kiln_oci::Digest;

/// What a request gives.
pub(super) type Answer = Result<Response, ApiError>;

/// An error document.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError {
            status,
            code,
            message: message.into(),
        }
    }

    pub(super) fn not_found() -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "there is nothing at this path")
    }

    pub(super) fn unsupported() -> ApiError {
        ApiError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "UNSUPPORTED",
            "the operation is unsupported",
        )
    }

    pub(super) fn response(&self) -> Response {
        let document = serde_json::json!({ "errors": [{ "code": self.code, "message": self.message }] });
        with(
            self.status,
            &[(header::CONTENT_TYPE, "application/json".into())],
            Body::from(document.to_string()),
        )
    }
}

impl From<kiln_store::StoreError> for ApiError {
    fn from(error: kiln_store::StoreError) -> ApiError {
        let status = if error.is_disk_full() {
            StatusCode::INSUFFICIENT_STORAGE
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        };
        ApiError::new(status, "UNKNOWN", error.to_string())
    }
}

/// An answer with headers.
pub(super) fn with(status: StatusCode, headers: &[(HeaderName, String)], body: Body) -> Response {
    let mut builder = Response::builder()
        .status(status)
        .header("docker-distribution-api-version", "registry/2.0");
    for (name, value) in headers {
        builder = builder.header(name, value);
    }
    builder.body(body).unwrap_or_else(|_| Response::new(Body::empty()))
}

/// A JSON document.
pub(super) fn json(status: StatusCode, document: &serde_json::Value) -> Answer {
    Ok(with(
        status,
        &[(header::CONTENT_TYPE, "application/json".into())],
        Body::from(document.to_string()),
    ))
}

/// A digest in a path.
pub(super) fn digest(text: &str) -> Result<Digest, ApiError> {
    let text = text.replace("%3A", ":").replace("%3a", ":");
    text.parse().map_err(|_| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "DIGEST_INVALID",
            format!("`{text}` is no digest"),
        )
    })
}

/// A parameter of a query.
pub(super) fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let pair = query?
        .split('&')
        .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name));
    pair.map(|(_, value)| decoded(value))
}

/// `%3A` and its like.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut result = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes
            .get(at + 1..at + 3)
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                result.push(byte);
                at += 3;
            }
            (b'+', _) => {
                result.push(b' ');
                at += 1;
            }
            (byte, _) => {
                result.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&result).into_owned()
}

/// One page of a sorted list (`n`, `last`), and the path of the next.
pub(super) fn page(all: Vec<String>, query: Option<&str>, path: &str) -> (Vec<String>, Option<String>) {
    let count = parameter(query, "n")
        .and_then(|text| text.parse::<usize>().ok())
        .unwrap_or(usize::MAX);
    let last = parameter(query, "last");
    let rest = all
        .into_iter()
        .filter(|item| last.as_ref().is_none_or(|last| item > last));
    let mut page: Vec<String> = rest.take(count.saturating_add(1)).collect();
    if page.len() <= count {
        return (page, None);
    }
    page.truncate(count);
    let next = page
        .last()
        .map(|last| format!("<{path}?n={count}&last={last}>; rel=\"next\""));
    (page, next)
}
