//! The cache service of GitHub Actions, version 2, and the block blobs of Azure's that it hands out, in memory.
//!
//! Entries are made, uploaded to, finalized, and found by key or by how keys begin, newest first; an entry never changes.
//! Both sides check what the real ones check: the token, the version, the blob type, the size at the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use crate::error::TestkitError;
use crate::http::{Request, Response};
use crate::http_server::HttpServer;

const SERVICE: &str = "/twirp/github.actions.results.api.v1.CacheService/";

/// The token that requests must carry.
pub const TOKEN: &str = "runtime-token";

/// A running service.
#[derive(Debug)]
pub struct CacheService {
    server: HttpServer,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// In the order in which they were made.
    entries: Vec<Entry>,
    /// Uploads by number: whole blobs, and blocks that are not in a list yet.
    blobs: BTreeMap<usize, Vec<u8>>,
    blocks: BTreeMap<(usize, String), Vec<u8>>,
    requests: Vec<String>,
    /// How many requests are still answered with 429.
    refusals: usize,
}

#[derive(Debug)]
struct Entry {
    key: String,
    version: String,
    finalized: bool,
}

impl CacheService {
    /// Starts an empty service on a free loopback port.
    pub fn start() -> Result<CacheService, TestkitError> {
        let state: Arc<Mutex<State>> = Arc::default();
        let inner = state.clone();
        let server = HttpServer::start(move |request| {
            let mut state = inner.lock().unwrap_or_else(PoisonError::into_inner);
            state.answer(request)
        })?;
        Ok(CacheService { server, state })
    }

    /// `ACTIONS_RESULTS_URL`.
    pub fn url(&self) -> String {
        format!("http://{}/", self.server.address())
    }

    /// Answers so many requests with 429 (too many requests) from now on.
    pub fn refuse(&self, count: usize) {
        self.state().refusals = count;
    }

    /// Method and path of every request so far.
    pub fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    /// Keys of all entries that were uploaded whole.
    pub fn keys(&self) -> Vec<String> {
        let state = self.state();
        let whole = state.entries.iter().filter(|entry| entry.finalized);
        whole.map(|entry| entry.key.clone()).collect()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Response {
        self.requests.push(format!("{} {}", request.method, request.path()));
        if self.refusals > 0 {
            self.refusals -= 1;
            return Response::status(429).with_header("retry-after", "0");
        }
        let host = request.header("host").unwrap_or_default().to_owned();
        if let Some(method) = request.path().strip_prefix(SERVICE) {
            if request.header("authorization") != Some(&format!("Bearer {TOKEN}")) {
                return Response::status(401);
            }
            let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            return self.call(method, &body, &host);
        }
        let number = request
            .path()
            .strip_prefix("/blob/")
            .and_then(|number| number.parse().ok());
        let signed = request.target.contains("sig=secret");
        match (number, signed, request.method.as_str()) {
            (Some(number), true, "PUT") => self.upload(number, request),
            (Some(number), true, "GET") => match self.blobs.get(&number) {
                Some(blob) => Response::with_body(200, "application/octet-stream", blob.clone()),
                None => Response::status(404),
            },
            (Some(_), false, _) => Response::status(403),
            _ => Response::status(404),
        }
    }

    fn call(&mut self, method: &str, body: &Value, host: &str) -> Response {
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let (key, version) = (text("key"), text("version"));
        let answer = |value: Value| Response::with_body(200, "application/json", value.to_string());
        let url = |number: usize| format!("http://{host}/blob/{number}?sig=secret");
        match method {
            "CreateCacheEntry" => {
                let known = self
                    .entries
                    .iter()
                    .any(|entry| entry.key == key && entry.version == version);
                if known {
                    return Response::with_body(409, "application/json", r#"{"code":"already_exists"}"#);
                }
                self.entries.push(Entry {
                    key,
                    version,
                    finalized: false,
                });
                answer(json!({ "ok": true, "signed_upload_url": url(self.entries.len() - 1) }))
            }
            "FinalizeCacheEntryUpload" => {
                let found = self
                    .entries
                    .iter()
                    .position(|entry| entry.key == key && entry.version == version);
                let size: Option<usize> = body["size_bytes"].as_str().and_then(|size| size.parse().ok());
                match found {
                    Some(number) if self.blobs.get(&number).map(Vec::len) == size && size.is_some() => {
                        self.entries[number].finalized = true;
                        answer(json!({ "ok": true, "entry_id": number.to_string() }))
                    }
                    _ => answer(json!({ "ok": false })),
                }
            }
            "GetCacheEntryDownloadURL" => {
                let alike: Vec<&str> = body["restore_keys"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect();
                let whole = |entry: &&(usize, &Entry)| entry.1.finalized && entry.1.version == version;
                let entries: Vec<(usize, &Entry)> = self.entries.iter().enumerate().collect();
                let exact = entries.iter().filter(whole).find(|(_, entry)| entry.key == key);
                let newest = || {
                    let begins = |entry: &Entry| alike.iter().any(|begin| entry.key.starts_with(begin));
                    entries.iter().filter(whole).rfind(|(_, entry)| begins(entry))
                };
                match exact.or_else(newest) {
                    Some((number, entry)) => {
                        answer(json!({ "ok": true, "signed_download_url": url(*number), "matched_key": entry.key }))
                    }
                    None => answer(json!({ "ok": false })),
                }
            }
            _ => Response::status(404),
        }
    }

    fn upload(&mut self, number: usize, request: &Request) -> Response {
        let query = request
            .target
            .split_once('?')
            .map(|(_, query)| query)
            .unwrap_or_default();
        let parameter = |name: &str| {
            let found = query
                .split('&')
                .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name));
            found.map(|(_, value)| value.replace("%3D", "=")).unwrap_or_default()
        };
        match parameter("comp").as_str() {
            "block" => {
                self.blocks.insert((number, parameter("blockid")), request.body.clone());
            }
            "blocklist" => {
                let text = String::from_utf8_lossy(&request.body).into_owned();
                let names = text
                    .split("<Latest>")
                    .skip(1)
                    .filter_map(|rest| rest.split("</Latest>").next());
                let mut whole = Vec::new();
                for name in names {
                    match self.blocks.get(&(number, name.to_owned())) {
                        Some(block) => whole.extend_from_slice(block),
                        None => return Response::status(400),
                    }
                }
                self.blobs.insert(number, whole);
            }
            _ if request.header("x-ms-blob-type") == Some("BlockBlob") => {
                self.blobs.insert(number, request.body.clone());
            }
            _ => return Response::status(400),
        }
        Response::status(201)
    }
}
