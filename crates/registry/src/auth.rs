//! Who we are to a registry: credentials of Docker's configuration, challenges, tokens.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::RegistryError;

/// A name and a secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// User and password.
    Basic {
        /// Who.
        user: String,
        /// The secret.
        password: String,
    },
    /// An OAuth 2 refresh token.
    Identity(String),
}

/// Secrets are never printed.
impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Credential::Basic { user, .. } => write!(f, "Basic({user})"),
            Credential::Identity(_) => f.write_str("Identity"),
        }
    }
}

/// Gives the credential of a registry. May block: helpers are programs.
pub trait Credentials: Send + Sync + std::fmt::Debug {
    /// The credential for a registry's domain, if there is one.
    fn credential(&self, domain: &str) -> Result<Option<Credential>, RegistryError>;
}

/// No registry knows us.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCredentials;

impl Credentials for NoCredentials {
    fn credential(&self, _: &str) -> Result<Option<Credential>, RegistryError> {
        Ok(None)
    }
}

/// Docker's `config.json`: written credentials, a credentials store, helpers by registry.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, AuthEntry>,
    #[serde(default)]
    creds_store: Option<String>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    /// Where helper programs are searched.
    #[serde(skip)]
    search_path: Option<std::ffi::OsString>,
}

#[derive(Clone, Default, Deserialize)]
struct AuthEntry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
}

impl std::fmt::Debug for AuthEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuthEntry")
    }
}

/// What Docker calls its own registry in the file.
const DOCKER_KEY: &str = "https://index.docker.io/v1/";

impl DockerConfig {
    /// Reads the file's bytes. `search_path`: where helper programs are.
    pub fn parse(bytes: &[u8], search_path: Option<std::ffi::OsString>) -> Result<DockerConfig, serde_json::Error> {
        let mut config: DockerConfig = serde_json::from_slice(bytes)?;
        config.search_path = search_path;
        Ok(config)
    }

    fn written(&self, domain: &str) -> Option<Credential> {
        let keys = keys(domain);
        let entry = keys.iter().find_map(|key| self.auths.get(key)).or_else(|| {
            // Keys may be whole URLs.
            let host = |key: &str| {
                key.trim_start_matches("https://")
                    .trim_start_matches("http://")
                    .split('/')
                    .next()
                    .map(str::to_owned)
            };
            self.auths
                .iter()
                .find(|(key, _)| host(key).is_some_and(|host| host == domain))
                .map(|(_, entry)| entry)
        })?;
        if let Some(token) = entry.identitytoken.clone().filter(|token| !token.is_empty()) {
            return Some(Credential::Identity(token));
        }
        if let Some(encoded) = entry.auth.as_ref().filter(|auth| !auth.is_empty()) {
            let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
            let (user, password) = decoded.split_once(':')?;
            return Some(Credential::Basic {
                user: user.to_owned(),
                password: password.trim_end_matches('\0').to_owned(),
            });
        }
        Some(Credential::Basic {
            user: entry.username.clone()?,
            password: entry.password.clone()?,
        })
    }

    fn ask_helper(&self, helper: &str, key: &str) -> Result<Option<Credential>, RegistryError> {
        let program = format!("docker-credential-{helper}");
        let failed = |message: String| RegistryError::Helper {
            helper: program.clone(),
            message,
        };
        let mut command =
            Command::new(find(&program, self.search_path.as_deref()).unwrap_or_else(|| program.clone().into()));
        command
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        if let Some(mut input) = child.stdin.take() {
            input
                .write_all(key.as_bytes())
                .map_err(|error| failed(error.to_string()))?;
        }
        let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            return if said.contains("credentials not found") {
                Ok(None)
            } else {
                Err(failed(said))
            };
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            username: String,
            secret: String,
        }
        let answer: Answer = serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))?;
        Ok(Some(match answer.username.as_str() {
            "<token>" => Credential::Identity(answer.secret),
            user => Credential::Basic {
                user: user.to_owned(),
                password: answer.secret,
            },
        }))
    }
}

fn keys(domain: &str) -> Vec<String> {
    if domain == "docker.io" {
        vec![
            DOCKER_KEY.to_owned(),
            "docker.io".to_owned(),
            "index.docker.io".to_owned(),
        ]
    } else {
        vec![domain.to_owned()]
    }
}

fn find(program: &str, path: Option<&std::ffi::OsStr>) -> Option<std::path::PathBuf> {
    std::env::split_paths(path?)
        .map(|directory| directory.join(program))
        .find(|candidate: &std::path::PathBuf| Path::is_file(candidate))
}

impl Credentials for DockerConfig {
    fn credential(&self, domain: &str) -> Result<Option<Credential>, RegistryError> {
        let keys = keys(domain);
        if let Some(helper) = keys.iter().find_map(|key| self.cred_helpers.get(key)) {
            return self.ask_helper(helper, &keys[0]);
        }
        if let Some(found) = self.written(domain) {
            return Ok(Some(found));
        }
        match &self.creds_store {
            Some(store) => self.ask_helper(store, &keys[0]),
            None => Ok(None),
        }
    }
}

/// What a registry asks for (`WWW-Authenticate`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

impl Challenge {
    pub(crate) fn parse(header: &str) -> Option<Challenge> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Challenge::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let parameters = parameters(rest);
        Some(Challenge::Bearer {
            realm: parameters.get("realm")?.clone(),
            service: parameters.get("service").cloned(),
            scope: parameters.get("scope").cloned(),
        })
    }
}

/// `name="value", name=value`: a comma inside quotes belongs to the value.
fn parameters(text: &str) -> HashMap<String, String> {
    let mut found = HashMap::new();
    let mut rest = text.trim();
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        found.insert(name.trim().to_lowercase(), value.trim().to_owned());
        rest = after.trim_start().trim_start_matches(',').trim_start();
    }
    found
}

/// A bearer token.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) text: String,
    expires: Instant,
}

impl Token {
    pub(crate) fn is_fresh(&self) -> bool {
        Instant::now() < self.expires
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

/// Asks an authorisation server for a token.
pub(crate) async fn fetch_token(
    http: &reqwest::Client,
    host: &str,
    realm: &str,
    service: Option<&str>,
    scope: &str,
    credential: Option<&Credential>,
) -> Result<Token, RegistryError> {
    let unreachable = |source| RegistryError::Unreachable {
        host: realm.to_owned(),
        source,
    };
    let request = match credential {
        Some(Credential::Identity(token)) => {
            let form = [
                ("grant_type", "refresh_token"),
                ("refresh_token", token),
                ("service", service.unwrap_or_default()),
                ("scope", scope),
                ("client_id", "kiln"),
            ];
            http.post(realm).form(&form)
        }
        other => {
            let mut query: Vec<(&str, &str)> = scope
                .split(' ')
                .filter(|scope| !scope.is_empty())
                .map(|scope| ("scope", scope))
                .collect();
            query.extend(service.map(|service| ("service", service)));
            let request = http.get(realm).query(&query);
            match other {
                Some(Credential::Basic { user, password }) => request.basic_auth(user, Some(password)),
                _ => request,
            }
        }
    };
    let response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    let body = response.bytes().await.map_err(unreachable)?;
    if !status.is_success() {
        let message = crate::transport::registry_message(&body);
        return Err(RegistryError::Denied {
            host: host.to_owned(),
            operation: format!("a token for {scope}"),
            message,
        });
    }
    let answer: Result<TokenAnswer, _> = serde_json::from_slice(&body);
    let answer = answer.map_err(|error| RegistryError::Answer {
        host: host.to_owned(),
        what: error.to_string(),
    })?;
    let text = answer.token.or(answer.access_token).filter(|token| !token.is_empty());
    let text = text.ok_or_else(|| RegistryError::Answer {
        host: host.to_owned(),
        what: "a token answer without a token".into(),
    })?;
    // A little earlier than told: the request still has to travel.
    let lifetime = Duration::from_secs(answer.expires_in.unwrap_or(60).max(60)) - Duration::from_secs(10);
    Ok(Token {
        text,
        expires: Instant::now() + lifetime,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let header =
            r#"Bearer realm="https://auth.example.com/token",service="registry",scope="repository:a:pull,push""#;
        assert_eq!(
            Challenge::parse(header),
            Some(Challenge::Bearer {
                realm: "https://auth.example.com/token".into(),
                service: Some("registry".into()),
                scope: Some("repository:a:pull,push".into())
            })
        );
        assert_eq!(Challenge::parse("Basic realm=x"), Some(Challenge::Basic));
        assert_eq!(Challenge::parse("Negotiate"), None);
    }

    #[test]
    fn written_credentials_are_found() {
        let config = br#"{"auths":{"https://index.docker.io/v1/":{"auth":"dXNlcjpwYTpzcw=="},"r.example.com":{"identitytoken":"t"}}}"#;
        let config = DockerConfig::parse(config, None).expect("valid");
        let basic = Credential::Basic {
            user: "user".into(),
            password: "pa:ss".into(),
        };
        assert_eq!(config.credential("docker.io").expect("no helper"), Some(basic));
        assert_eq!(
            config.credential("r.example.com").expect("no helper"),
            Some(Credential::Identity("t".into()))
        );
        assert_eq!(config.credential("other.example.com").expect("no helper"), None);
    }
}
