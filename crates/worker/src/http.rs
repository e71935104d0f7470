//! Files from URLs: ADD of a URL, and contexts that are one.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use kiln_dockerfile::git::redacted;
use kiln_graph::HttpSource;
use kiln_oci::{Algorithm, Digest, Hasher};
use kiln_solver::Source;
use kiln_store::{CacheKey, LayerId, LayerRecord, Store};
use reqwest::header;
use serde::{Deserialize, Serialize};

use crate::WorkerError;
use crate::remotes::{Fetched, RemoteAuth, Remotes};

/// Why a URL cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection, or it broke.
    #[error("failed to fetch `{url}`")]
    Request {
        /// The URL.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The server said no.
    #[error("failed to fetch `{url}`: invalid response status {status}")]
    Status {
        /// The URL.
        url: String,
        /// What it said.
        status: u16,
    },
    /// The content is not what the instruction says.
    #[error("digest mismatch for {url}: {found} (expected: {expected})")]
    Checksum {
        /// The URL.
        url: String,
        /// What it should be.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// The file cannot be written.
    #[error("failed to write what `{url}` gave")]
    Write {
        /// The URL.
        url: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl HttpError {
    /// Whether the same request may succeed a moment later.
    fn may_pass(&self) -> bool {
        match self {
            HttpError::Request { source, .. } => !source.is_builder() && !source.is_redirect(),
            HttpError::Status { status, .. } => matches!(status, 408 | 429 | 500 | 502 | 503 | 504),
            HttpError::Checksum { .. } | HttpError::Write { .. } => false,
        }
    }
}

/// What a URL gave when it was last fetched.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Known {
    digest: Digest,
    etag: Option<String>,
    /// Seconds since the epoch, from `Last-Modified`.
    modified: Option<i64>,
    /// The header as it was, to ask with.
    modified_text: Option<String>,
}

/// How often a request is made, if what goes wrong may pass.
const ATTEMPTS: u32 = 4;

/// A client for files. Proxies are those of the environment, redirects are followed ten times at most, there are
/// no cookies.
pub(crate) fn client(user_agent: &str) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .user_agent(user_agent)
        .connect_timeout(Duration::from_secs(30))
        .read_timeout(Duration::from_secs(60))
        .build()
}

/// Fetches what the definition of a source names, or learns that what is here is still right.
pub(crate) async fn fetch(remotes: &Remotes, source: &HttpSource) -> Result<Fetched, WorkerError> {
    let store = remotes.store();
    let known = match &source.checksum {
        None => known(store, &source.url)?,
        // What has the checksum is right, whatever the server says.
        Some(checksum) => match known(store, &checked_name(source, checksum))? {
            Some(known) if known.digest == *checksum => {
                if let Some(found) = layer_of(store, source, &known)? {
                    return Ok(found);
                }
                None
            }
            _ => None,
        },
    };
    let client = remotes.client().await.map_err(|error| request_error(source, error))?;
    let authorization = authorization(&remotes.settings().auth, &source.url);
    let mut attempt = 1;
    loop {
        match once(store, client, source, known.as_ref(), authorization.as_deref()).await {
            Err(WorkerError::Http(error)) if attempt < ATTEMPTS && error.may_pass() => {
                tracing::debug!(%error, attempt, "fetching again");
                tokio::time::sleep(Duration::from_millis(200 << attempt)).await;
                attempt += 1;
            }
            other => return other,
        }
    }
}

async fn once(
    store: &Store,
    client: &reqwest::Client,
    source: &HttpSource,
    known: Option<&Known>,
    authorization: Option<&str>,
) -> Result<Fetched, WorkerError> {
    let failed = |error| request_error(source, error);
    let mut request = client.get(&source.url);
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    if let Some(known) = known
        && layer_of(store, source, known)?.is_some()
    {
        if let Some(etag) = &known.etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        } else if let Some(modified) = &known.modified_text {
            request = request.header(header::IF_MODIFIED_SINCE, modified);
        }
    }
    let mut response = request.send().await.map_err(failed)?;
    if response.status() == reqwest::StatusCode::NOT_MODIFIED
        && let Some(known) = known
        && let Some(found) = layer_of(store, source, known)?
    {
        return Ok(found);
    }
    if !response.status().is_success() {
        return Err(HttpError::Status {
            url: redacted(&source.url),
            status: response.status().as_u16(),
        }
        .into());
    }
    let header = |name| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        value.map(str::to_owned)
    };
    let modified_text = header(header::LAST_MODIFIED);
    let etag = header(header::ETAG);
    let staged = store.stage_tree()?;
    let path = staged.path().join(&source.filename);
    let write = |error| HttpError::Write {
        url: redacted(&source.url),
        source: error,
    };
    let mut file = std::fs::File::create(&path).map_err(write)?;
    let mut hasher = Hasher::new(source.checksum.as_ref().map_or(Algorithm::Sha256, Digest::algorithm));
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        hasher.update(&chunk);
        file.write_all(&chunk).map_err(write)?;
    }
    let digest = hasher.finish();
    check(source, &digest)?;
    let modified = modified_text.as_deref().and_then(http_date);
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
        .map_err(write)?;
    let seconds = u64::try_from(modified.unwrap_or(0)).unwrap_or(0);
    let time = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
    file.set_times(std::fs::FileTimes::new().set_modified(time))
        .map_err(write)?;
    let known = Known {
        digest,
        etag,
        modified,
        modified_text,
    };
    let (_, id) = identity(source, &known);
    let index = kiln_image::scan::scan_tree(staged.path())?;
    store.put_layer_index(&id, &index)?;
    staged.commit(&id)?;
    store.put_layer(&LayerRecord::new(id.clone()))?;
    match &source.checksum {
        None => remember(store, &source.url, &known)?,
        Some(checksum) => remember(store, &checked_name(source, checksum), &known)?,
    }
    Ok(fetched(source, &known))
}

fn request_error(source: &HttpSource, error: reqwest::Error) -> HttpError {
    HttpError::Request {
        url: redacted(&source.url),
        // The address stands in the message already, without its credentials.
        source: error.without_url(),
    }
}

fn check(source: &HttpSource, found: &Digest) -> Result<(), HttpError> {
    match &source.checksum {
        Some(expected) if expected != found => Err(HttpError::Checksum {
            url: redacted(&source.url),
            expected: expected.clone(),
            found: found.clone(),
        }),
        _ => Ok(()),
    }
}

/// The value of the Authorization header, if there is a secret for the host.
fn authorization(auth: &RemoteAuth, url: &str) -> Option<String> {
    let url = reqwest::Url::parse(url).ok()?;
    let host = url.host_str()?;
    let token = auth.secret(&format!("HTTP_AUTH_TOKEN_{host}"));
    token
        .map(|token| format!("Bearer {token}"))
        .or_else(|| auth.secret(&format!("HTTP_AUTH_HEADER_{host}")))
}

/// Under what it is remembered what a URL gave when it had to have a checksum.
fn checked_name(source: &HttpSource, checksum: &Digest) -> String {
    format!("{checksum} {}", source.url)
}

fn known(store: &Store, url: &str) -> Result<Option<Known>, WorkerError> {
    let bytes = store.get_document("http", url)?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

fn remember(store: &Store, url: &str, known: &Known) -> Result<(), WorkerError> {
    let bytes = serde_json::to_vec(known).expect("digests and texts are always representable as JSON");
    Ok(store.put_document("http", url, &bytes)?)
}

fn layer_of(store: &Store, source: &HttpSource, known: &Known) -> Result<Option<Fetched>, WorkerError> {
    let (_, id) = identity(source, known);
    let there = store.tree(&id)?.is_some();
    Ok(there.then(|| fetched(source, known)))
}

fn fetched(source: &HttpSource, known: &Known) -> Fetched {
    let (key, id) = identity(source, known);
    Fetched {
        source: Source {
            key,
            root: vec![id].into(),
            description: redacted(&source.url),
        },
        time: known.modified,
        commit: None,
    }
}

/// Equal files are one layer, wherever they came from.
fn identity(source: &HttpSource, known: &Known) -> (CacheKey, LayerId) {
    let text = format!(
        "http\n{}\n{}\n{}",
        source.filename,
        known.digest,
        known.modified.unwrap_or(0)
    );
    let digest = Digest::sha256(text);
    (CacheKey(digest.clone()), LayerId::of_recipe(&digest))
}

/// Seconds since the epoch of an HTTP date (RFC 9110, section 5.6.7, the preferred form).
fn http_date(text: &str) -> Option<i64> {
    let mut words = text.split_once(", ")?.1.split(' ');
    let day: i64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let year: i64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let month = i64::try_from(MONTHS.iter().position(|name| *name == month)?).ok()? + 1;
    Some(days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar. Years begin in March, so that the leap day is last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_its_hosts_own() {
        let mut auth = RemoteAuth::default();
        for (id, value) in [("HTTP_AUTH_TOKEN_h", "t\n"), ("HTTP_AUTH_HEADER_other", "Basic x")] {
            let secret = kiln_sandbox::Secret(value.as_bytes().to_vec());
            auth.secrets.0.insert(id.into(), secret);
        }
        assert_eq!(authorization(&auth, "https://h:1/x").as_deref(), Some("Bearer t"));
        assert_eq!(authorization(&auth, "https://other/x").as_deref(), Some("Basic x"));
        assert_eq!(authorization(&auth, "https://third/x"), None);
    }

    #[test]
    fn http_dates_are_seconds() {
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date("Thu, 29 Feb 2024 12:00:00 GMT"), Some(1_709_208_000));
        assert_eq!(http_date("yesterday"), None);
    }
}
