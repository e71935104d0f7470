//! Requests with authentication, plain HTTP on loopback, and retries.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Method, Response, StatusCode};
use tokio::sync::OnceCell;

use crate::RegistryError;
use crate::auth::{Challenge, Credential, Token, fetch_token};
use crate::client::ClientSettings;
use crate::hosts::Endpoint;

/// Times that a request is tried in all.
const ATTEMPTS: u32 = 4;

/// The shared state of a client. Nothing is set up before the first request.
pub(crate) struct Transport {
    pub(crate) settings: ClientSettings,
    /// By registry domain: certificates differ.
    http: Mutex<HashMap<String, Arc<OnceCell<reqwest::Client>>>>,
    /// By host and scope.
    tokens: Mutex<HashMap<(String, String), Token>>,
    /// Hosts that want user and password with each request.
    basic: Mutex<HashSet<String>>,
    /// How loopback hosts turned out to speak: `plain HOST` or `tls HOST`.
    plain: Mutex<HashSet<String>>,
}

/// A request that can be sent again.
pub(crate) struct Request<'a> {
    pub(crate) domain: &'a str,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) method: Method,
    /// After the host: `/v2/…`, or a whole URL that the registry gave.
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// `repository:NAME:pull,push`, for the first token.
    pub(crate) scope: String,
    /// What is asked, for messages.
    pub(crate) operation: String,
    /// Makes the body; called again for each try.
    pub(crate) body: Option<&'a (dyn Fn() -> Result<(reqwest::Body, u64), RegistryError> + Send + Sync)>,
}

impl Transport {
    pub(crate) fn new(settings: ClientSettings) -> Transport {
        Transport {
            settings,
            http: Mutex::default(),
            tokens: Mutex::default(),
            basic: Mutex::default(),
            plain: Mutex::default(),
        }
    }

    pub(crate) async fn http(&self, domain: &str) -> Result<reqwest::Client, RegistryError> {
        let cell = lock(&self.http).entry(domain.to_owned()).or_default().clone();
        let make = || async {
            let host = self.settings.hosts.host(domain);
            let mut builder = reqwest::Client::builder()
                .user_agent(&self.settings.user_agent)
                .connect_timeout(Duration::from_secs(20))
                .read_timeout(Duration::from_secs(120))
                .danger_accept_invalid_certs(host.insecure);
            if let Some(path) = host.ca {
                let certificate = |source| RegistryError::Certificate {
                    path: path.clone(),
                    source,
                };
                let pem = std::fs::read(&path).map_err(certificate)?;
                builder =
                    builder.add_root_certificate(reqwest::Certificate::from_pem(&pem).map_err(RegistryError::Setup)?);
            }
            builder.build().map_err(RegistryError::Setup)
        };
        cell.get_or_try_init(make).await.cloned()
    }

    /// Sends a request: authenticated when asked, again after faults that pass. Any status but those is given back.
    pub(crate) async fn send(&self, request: &Request<'_>) -> Result<Response, RegistryError> {
        let mut attempt = 1;
        loop {
            let (pause, error) = match self.send_authenticated(request).await {
                Ok(response) if is_temporary(response.status()) => {
                    let pause = retry_after(&response);
                    (pause, failure(request, response).await)
                }
                Ok(response) => return Ok(response),
                Err(error) => (None, error),
            };
            if attempt == ATTEMPTS || !error.is_temporary() || is_refused_connection(&error) {
                return Err(error);
            }
            tokio::time::sleep(pause.unwrap_or_else(|| backoff(attempt))).await;
            attempt += 1;
        }
    }

    async fn send_authenticated(&self, request: &Request<'_>) -> Result<Response, RegistryError> {
        let host = &request.endpoint.host;
        let known = match self.token(host, &request.scope) {
            Some(token) => Some(format!("Bearer {token}")),
            None if lock(&self.basic).contains(host) => self.basic_header(request.domain).await?,
            None => None,
        };
        let response = self.send_once(request, known.as_deref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let challenges: Vec<Challenge> = response
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|header| Challenge::parse(header.to_str().ok()?))
            .collect();
        let Some(challenge) = challenges.into_iter().next() else {
            return Ok(response);
        };
        let header = match challenge {
            Challenge::Basic => {
                let header = self.basic_header(request.domain).await?;
                if header.is_none() || header == known {
                    return Ok(response);
                }
                lock(&self.basic).insert(host.clone());
                header
            }
            Challenge::Bearer { realm, service, scope } => {
                let scope = join_scopes(&request.scope, scope.as_deref());
                let credential = self.credential(request.domain).await?;
                let http = self.http(request.domain).await?;
                let token = fetch_token(&http, host, &realm, service.as_deref(), &scope, credential.as_ref()).await?;
                let header = format!("Bearer {}", token.text);
                lock(&self.tokens).insert((host.clone(), request.scope.clone()), token);
                Some(header)
            }
        };
        self.send_once(request, header.as_deref()).await
    }

    async fn send_once(&self, request: &Request<'_>, authorization: Option<&str>) -> Result<Response, RegistryError> {
        let host = &request.endpoint.host;
        let scheme = if request.endpoint.may_be_plain && !lock(&self.plain).contains(&format!("tls {host}")) {
            "http"
        } else {
            request.endpoint.scheme
        };
        let first = self.send_with_scheme(request, scheme, authorization).await;
        if scheme == request.endpoint.scheme {
            return first;
        }
        // A server with TLS on this machine answers a plain request with an error of its own.
        match first {
            Ok(response) if response.status() != StatusCode::BAD_REQUEST || is_registry(&response) => {
                lock(&self.plain).insert(format!("plain {host}"));
                Ok(response)
            }
            first if lock(&self.plain).contains(&format!("plain {host}")) => first,
            first => {
                let second = self
                    .send_with_scheme(request, request.endpoint.scheme, authorization)
                    .await;
                match (second, first) {
                    (Ok(response), _) => {
                        lock(&self.plain).insert(format!("tls {host}"));
                        Ok(response)
                    }
                    (Err(_), first) => first,
                }
            }
        }
    }

    async fn send_with_scheme(
        &self,
        request: &Request<'_>,
        scheme: &str,
        authorization: Option<&str>,
    ) -> Result<Response, RegistryError> {
        let http = self.http(request.domain).await?;
        let url = if request.path.starts_with('/') {
            format!("{scheme}://{}{}", request.endpoint.host, request.path)
        } else {
            request.path.clone()
        };
        let mut builder = http.request(request.method.clone(), url);
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        if let Some(authorization) = authorization
            && let Ok(mut value) = HeaderValue::from_str(authorization)
        {
            value.set_sensitive(true);
            builder = builder.header(AUTHORIZATION, value);
        }
        if let Some(body) = request.body {
            let (body, length) = body()?;
            builder = builder.header(reqwest::header::CONTENT_LENGTH, length).body(body);
        }
        let sent = builder.send().await;
        sent.map_err(|source| RegistryError::Unreachable {
            host: request.endpoint.host.clone(),
            source,
        })
    }

    fn token(&self, host: &str, scope: &str) -> Option<String> {
        let tokens = lock(&self.tokens);
        tokens
            .get(&(host.to_owned(), scope.to_owned()))
            .filter(|token| token.is_fresh())
            .map(|token| token.text.clone())
    }

    async fn credential(&self, domain: &str) -> Result<Option<Credential>, RegistryError> {
        let (credentials, domain) = (self.settings.credentials.clone(), domain.to_owned());
        let asked = tokio::task::spawn_blocking(move || credentials.credential(&domain)).await;
        asked.map_err(|error| RegistryError::Answer {
            host: "credentials".into(),
            what: error.to_string(),
        })?
    }

    async fn basic_header(&self, domain: &str) -> Result<Option<String>, RegistryError> {
        use base64::Engine;
        Ok(match self.credential(domain).await? {
            Some(Credential::Basic { user, password }) => {
                let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
                Some(format!("Basic {encoded}"))
            }
            _ => None,
        })
    }
}

/// Turns an unwanted status into an error with the registry's own words.
pub(crate) async fn failure(request: &Request<'_>, response: Response) -> RegistryError {
    let status = response.status();
    let host = request.endpoint.host.clone();
    let operation = request.operation.clone();
    let body = response.bytes().await.unwrap_or_default();
    let message = registry_message(&body);
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RegistryError::Denied {
            host,
            operation,
            message,
        },
        StatusCode::NOT_FOUND => RegistryError::NotFound { host, what: operation },
        _ => RegistryError::Refused {
            host,
            operation,
            status: status.as_u16(),
            message,
        },
    }
}

/// The texts of the error document of the distribution specification.
pub(crate) fn registry_message(body: &[u8]) -> Option<String> {
    let document: serde_json::Value = serde_json::from_slice(body).ok()?;
    let errors = document.get("errors").and_then(serde_json::Value::as_array);
    let text = |error: &serde_json::Value| {
        let field = |name: &str| {
            error
                .get(name)
                .and_then(serde_json::Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (code, message) = (field("code"), field("message"));
        [code, message]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(": ")
    };
    match errors {
        Some(errors) => Some(errors.iter().map(text).collect::<Vec<_>>().join("; ")).filter(|text| !text.is_empty()),
        None => document
            .get("details")
            .or(document.get("message"))
            .and_then(serde_json::Value::as_str)
            .map(str::to_owned),
    }
}

fn is_registry(response: &Response) -> bool {
    response.headers().contains_key("docker-distribution-api-version")
}

fn is_temporary(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
}

/// Nobody listens: trying again at once changes nothing.
fn is_refused_connection(error: &RegistryError) -> bool {
    matches!(error, RegistryError::Unreachable { source, .. } if source.is_connect())
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds: u64 = response
        .headers()
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds.min(60)))
}

/// Doubles from a fifth of a second, with a part that differs between clients.
pub(crate) fn backoff(attempt: u32) -> Duration {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |time| time.subsec_nanos());
    Duration::from_millis((200 << attempt.min(6)) / 2) + Duration::from_millis(u64::from(nanos % 100))
}

fn join_scopes(wanted: &str, asked: Option<&str>) -> String {
    match asked {
        Some(asked) if !wanted.split(' ').any(|scope| scope == asked) && wanted.is_empty() => asked.to_owned(),
        _ => wanted.to_owned(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
