//! `--add-host`: lines of `/etc/hosts` of steps.

use std::net::IpAddr;

use crate::FlagError;

/// The word for the address of the machine that builds.
pub const GATEWAY: &str = "host-gateway";

/// One name with one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The name.
    pub name: String,
    /// The address as it is written, without brackets, or [`GATEWAY`].
    pub address: String,
}

impl Host {
    /// `NAME=ADDRESS`
    pub fn text(&self) -> String {
        format!("{}={}", self.name, self.address)
    }
}

/// Reads every value: `NAME=ADDRESS` or `NAME:ADDRESS`, several addresses with commas between them.
pub fn hosts(written: &[String]) -> Result<Vec<Host>, FlagError> {
    let mut hosts = Vec::new();
    for text in written {
        let pair = text.split_once('=').or_else(|| text.split_once(':'));
        let (name, addresses) = pair
            .filter(|(name, _)| !name.is_empty() && !name.contains(':'))
            .ok_or_else(|| FlagError::Host(text.clone()))?;
        for address in addresses.split(',') {
            let inner = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            let plain = inner.filter(|inner| !inner.is_empty()).unwrap_or(address);
            if plain != GATEWAY && plain.parse::<IpAddr>().is_err() {
                return Err(FlagError::Address(plain.to_owned()));
            }
            hosts.push(Host {
                name: name.to_owned(),
                address: plain.to_owned(),
            });
        }
    }
    Ok(hosts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_of_either_family() {
        let read = |text: &str| -> Result<Vec<String>, FlagError> {
            Ok(hosts(&[text.to_owned()])?.iter().map(Host::text).collect())
        };
        assert_eq!(read("a:10.0.0.1").expect("valid"), ["a=10.0.0.1"]);
        assert_eq!(read("a:::1").expect("valid"), ["a=::1"]);
        assert_eq!(read("a=[::1],10.0.0.1").expect("valid"), ["a=::1", "a=10.0.0.1"]);
        assert_eq!(read("a=host-gateway").expect("valid"), ["a=host-gateway"]);
        assert_eq!(read("a"), Err(FlagError::Host("a".into())));
        assert_eq!(read("a:"), Err(FlagError::Address(String::new())));
    }
}
