//! `registries.toml`: how registries are reached.
//!
//! ```toml
//! [registry."docker.io"]
//! mirrors = ["https://mirror.example.com", "http://127.0.0.1:5000"]
//!
//! [registry."registry.example.com:5000"]
//! plain_http = true            # no TLS at all
//! insecure = false             # TLS whose certificate is not checked
//! ca = "/etc/ssl/example.pem"  # a certificate authority of its own
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostsConfig {
    /// By the registry's name in references.
    #[serde(default)]
    pub registry: BTreeMap<String, HostConfig>,
}

/// One registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostConfig {
    /// Where to pull from first, in order: `http://host:port` or `https://host:port`.
    #[serde(default)]
    pub mirrors: Vec<String>,
    /// No TLS.
    #[serde(default)]
    pub plain_http: bool,
    /// Certificates are not checked.
    #[serde(default)]
    pub insecure: bool,
    /// A certificate authority in PEM.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

/// A place where a registry's API is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Host and port.
    pub host: String,
    /// Whether plain HTTP may be tried if TLS fails.
    pub may_be_plain: bool,
}

impl HostsConfig {
    /// Reads the file's text.
    pub fn parse(text: &str) -> Result<HostsConfig, toml::de::Error> {
        toml::from_str(text)
    }

    pub(crate) fn host(&self, domain: &str) -> HostConfig {
        self.registry.get(domain).cloned().unwrap_or_default()
    }

    /// Where to pull from: mirrors first, then the registry itself.
    pub(crate) fn pull_endpoints(&self, domain: &str) -> Vec<Endpoint> {
        let mirrors = self.host(domain).mirrors;
        let mirrors = mirrors.iter().map(|mirror| match mirror.strip_prefix("http://") {
            Some(host) => Endpoint {
                scheme: "http",
                host: host.trim_end_matches('/').to_owned(),
                may_be_plain: false,
            },
            None => {
                let host = mirror.strip_prefix("https://").unwrap_or(mirror).trim_end_matches('/');
                Endpoint {
                    scheme: "https",
                    host: host.to_owned(),
                    may_be_plain: is_loopback(host),
                }
            }
        });
        mirrors.chain([self.endpoint(domain)]).collect()
    }

    /// The registry itself.
    pub(crate) fn endpoint(&self, domain: &str) -> Endpoint {
        let host = if domain == "docker.io" {
            "registry-1.docker.io"
        } else {
            domain
        };
        let scheme = if self.host(domain).plain_http { "http" } else { "https" };
        Endpoint {
            scheme,
            host: host.to_owned(),
            may_be_plain: scheme == "https" && is_loopback(host),
        }
    }
}

/// Whether a host is this machine itself, where plain HTTP is usual.
pub fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_come_first() {
        let config =
            HostsConfig::parse("[registry.\"docker.io\"]\nmirrors = [\"http://127.0.0.1:5000\"]\n").expect("valid");
        let hosts: Vec<_> = config
            .pull_endpoints("docker.io")
            .into_iter()
            .map(|endpoint| format!("{}://{}", endpoint.scheme, endpoint.host))
            .collect();
        assert_eq!(hosts, ["http://127.0.0.1:5000", "https://registry-1.docker.io"]);
        assert!(
            HostsConfig::parse("[registry.x]\nmirror = []\n").is_err(),
            "an unknown field is an error"
        );
    }

    #[test]
    fn this_machine_is_known() {
        for host in [
            "localhost:5000",
            "127.0.0.1",
            "127.1.2.3:80",
            "[::1]:5000",
            "a.localhost",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        assert!(!is_loopback("registry.example.com"));
    }
}
