//! Addresses of git repositories.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;

/// Values of a query by name, in the order in which they stand.
pub type Query = BTreeMap<String, Vec<String>>;

/// How a repository is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
    /// SSH, also in scp's form.
    Ssh,
    /// Git's own protocol, which is not encrypted.
    Git,
}

impl Scheme {
    /// As it stands in a URL.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Ssh => "ssh",
            Scheme::Git => "git",
        }
    }

    fn parse(text: &str) -> Option<Scheme> {
        [Scheme::Http, Scheme::Https, Scheme::Ssh, Scheme::Git]
            .into_iter()
            .find(|scheme| scheme.name() == text)
    }
}

/// Why a text is no address of a repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It has no protocol, and is not of scp's form.
    #[error("unknown protocol")]
    UnknownProtocol,
    /// Git repositories are not reached like this.
    #[error("invalid protocol: {0}")]
    InvalidProtocol(String),
    /// It breaks the rules of URLs (RFC 3986).
    #[error("invalid URL: {0}")]
    Malformed(&'static str),
}

/// Who logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The password, which may be empty.
    pub password: Option<String>,
}

/// What the part behind `#` asks for: `reference:directory`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// Branch, tag or commit; may be empty.
    pub reference: String,
    /// Directory in the repository; may be empty.
    pub subdirectory: String,
}

/// The address of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitUrl {
    /// How it is reached.
    pub scheme: Scheme,
    /// Who logs in.
    pub user: Option<User>,
    /// The host, with its port if one is given.
    pub host: String,
    /// The path on the host, decoded.
    pub path: String,
    /// The query; None if there is none.
    pub query: Option<Query>,
    /// The fragment; None if it is empty.
    pub fragment: Option<Fragment>,
    /// What git is given: the address without query and fragment.
    pub remote: String,
}

static PROTOCOL: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("^[a-zA-Z0-9]+://").expect("the pattern is a constant and valid"));

static SCP: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(?:([a-zA-Z0-9_-]+)@)?([a-zA-Z0-9.-]+):(.*?)(?:\?(.*?))?(?:#(.*))?$")
        .expect("the pattern is a constant and valid")
});

impl GitUrl {
    /// Parses a URL, or an address of scp's form.
    pub fn parse(text: &str) -> Result<GitUrl, UrlError> {
        match PROTOCOL.find(text) {
            Some(protocol) => {
                let name = protocol.as_str().trim_end_matches("://").to_lowercase();
                let scheme = Scheme::parse(&name).ok_or(UrlError::InvalidProtocol(name))?;
                GitUrl::standard(scheme, &text[protocol.end()..])
            }
            None => GitUrl::scp(text).ok_or(UrlError::UnknownProtocol),
        }
    }

    /// A URL whose scheme is known; `rest` begins with the host.
    pub(super) fn standard(scheme: Scheme, rest: &str) -> Result<GitUrl, UrlError> {
        let (rest, fragment) = split(rest, '#');
        let (address, query) = split(rest, '?');
        let (authority, path) = address.split_at(address.find('/').unwrap_or(address.len()));
        let (user, host) = user_and_host(authority)?;
        if text_is_unfit(path) {
            return Err(UrlError::Malformed("it holds control characters"));
        }
        Ok(GitUrl {
            scheme,
            user,
            host,
            path: decoded(path)?,
            query: query.map(parse_query),
            fragment: fragment_of(&decoded(fragment.unwrap_or_default())?),
            remote: format!("{}://{address}", scheme.name()),
        })
    }

    /// `[user@]host:path`, as scp writes it. None: the text is something else.
    pub fn scp(text: &str) -> Option<GitUrl> {
        if has_scheme_and_path(text) {
            return None;
        }
        let found = SCP.captures(text)?;
        let part = |number: usize| found.get(number).map(|part| part.as_str());
        let (host, path) = (part(2)?, part(3)?);
        let user = part(1).map(|name| User {
            name: name.to_owned(),
            password: None,
        });
        let prefix = user.as_ref().map(|user| format!("{}@", user.name)).unwrap_or_default();
        Some(GitUrl {
            scheme: Scheme::Ssh,
            remote: format!("{prefix}{host}:{path}"),
            user,
            host: host.to_owned(),
            path: path.to_owned(),
            query: part(4).map(parse_query),
            fragment: fragment_of(part(5).unwrap_or_default()),
        })
    }

    /// Host and port; the port may be empty.
    pub fn host_and_port(&self) -> (&str, &str) {
        match self.host.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (&self.host, ""),
        }
    }
}

/// The name of a host in a `known_hosts` file (sshd(8)): the port stands beside it unless it is SSH's own.
pub fn known_hosts_name(host: &str, port: &str) -> String {
    match port {
        "" | "22" => host.to_owned(),
        port => format!("[{}]:{port}", host.trim_matches(['[', ']'])),
    }
}

/// Whether a text is a URL of HTTP. The scheme counts in lower case alone.
pub fn is_http(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// A URL without its credentials: each of user and password is five letters x. What is no URL stays as it is.
pub fn redacted(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let valid = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter));
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let Some((user, host)) = authority.rsplit_once('@').filter(|_| valid) else {
        return text.to_owned();
    };
    const MASK: &str = "xxxxx";
    let masked = match user.split_once(':') {
        Some(("", _)) => format!(":{MASK}"),
        Some(_) => format!("{MASK}:{MASK}"),
        None if user.is_empty() => String::new(),
        None => MASK.to_owned(),
    };
    format!("{scheme}://{masked}@{host}{tail}")
}

/// Splits at the first `separator`, which belongs to neither part.
fn split(text: &str, separator: char) -> (&str, Option<&str>) {
    match text.split_once(separator) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

fn user_and_host(authority: &str) -> Result<(Option<User>, String), UrlError> {
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let user = match user.map(|user| split(user, ':')) {
        None => None,
        Some((name, password)) => Some(User {
            name: decoded(name)?,
            password: password.map(decoded).transpose()?,
        }),
    };
    let (name, port) = match host.rfind(']') {
        Some(end) => host.split_at(end + 1),
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port_is_fit = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    if !port_is_fit {
        return Err(UrlError::Malformed("the port is no number"));
    }
    if text_is_unfit(name) || name.contains([' ', '"', '<', '>', '\\', '^', '`', '{', '|', '}']) {
        return Err(UrlError::Malformed("the host holds a character that no host has"));
    }
    Ok((user, host.to_owned()))
}

fn text_is_unfit(text: &str) -> bool {
    text.chars().any(|letter| letter.is_ascii_control())
}

/// Whether a text has a scheme that a path or nothing follows: scp's form is then meant by nobody.
fn has_scheme_and_path(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter));
    is_scheme && (rest.is_empty() || rest.starts_with(['/', '?', '#']))
}

fn fragment_of(text: &str) -> Option<Fragment> {
    if text.is_empty() {
        return None;
    }
    let (reference, subdirectory) = split(text, ':');
    Some(Fragment {
        reference: reference.to_owned(),
        subdirectory: subdirectory.unwrap_or_default().to_owned(),
    })
}

/// Names and values of a query; pairs that cannot be decoded are left out.
fn parse_query(text: &str) -> Query {
    let mut query = Query::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
        let (name, value) = split(pair, '=');
        let plain = |text: &str| decoded(&text.replace('+', " ")).ok();
        if let (Some(name), Some(value)) = (plain(name), plain(value.unwrap_or_default())) {
            query.entry(name).or_default().push(value);
        }
    }
    query
}

/// A text as a value of a query (RFC 3986).
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// A text with its `%XX` decoded.
pub(crate) fn decoded(text: &str) -> Result<String, UrlError> {
    let bad = UrlError::Malformed("a % that two hexadecimal digits do not follow");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first != b'%' {
            bytes.push(*first);
            rest = tail;
            continue;
        }
        let digit = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(0), digit(1)) else {
            return Err(bad);
        };
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| bad.clone())?);
        rest = &tail[2..];
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_come_apart() {
        let url = GitUrl::parse("HTTPS://me:p%40ss@h.example:8443/a%20b.git?ref=x&deep#v1:dir").expect("a URL");
        assert_eq!(url.scheme, Scheme::Https);
        assert_eq!(url.remote, "https://me:p%40ss@h.example:8443/a%20b.git");
        assert_eq!(url.path, "/a b.git");
        assert_eq!(url.user.expect("a user").password.as_deref(), Some("p@ss"));
        assert_eq!(url.query.expect("a query")["deep"], [""]);
        assert_eq!(url.fragment.expect("a fragment").subdirectory, "dir");
    }

    #[test]
    fn scp_addresses_need_no_user() {
        let url = GitUrl::parse("github.com:a/b.git#main").expect("scp's form");
        assert_eq!((url.scheme, url.remote.as_str()), (Scheme::Ssh, "github.com:a/b.git"));
        assert_eq!(url.user, None);
        for bad in [
            "a/b",
            "scheme:/path",
            "ftp://h/x",
            "https://h:port/x.git",
            "http://h/%zz.git",
        ] {
            assert!(GitUrl::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn credentials_are_masked() {
        assert_eq!(redacted("https://:secret@h/x"), "https://:xxxxx@h/x");
        assert_eq!(redacted("https://h/x@y"), "https://h/x@y");
        assert_eq!(redacted("git@h:x"), "git@h:x");
    }

    #[test]
    fn other_ports_stand_beside_the_host() {
        assert_eq!(known_hosts_name("h", "2222"), "[h]:2222");
        assert_eq!(known_hosts_name("h", "22"), "h");
    }
}
