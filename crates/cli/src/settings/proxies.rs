//! Proxies of Docker's configuration: what every build on this machine is given as build arguments.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::command_error::{CommandError, ErrorKind};
use crate::environment::Environment;

/// The part of `config.json` that is about proxies, by the address of a daemon; Kiln has none, so the default counts.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    proxies: BTreeMap<String, Proxies>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Proxies {
    http_proxy: String,
    https_proxy: String,
    ftp_proxy: String,
    no_proxy: String,
    all_proxy: String,
}

/// The configured proxies by the name of their argument; empty ones are none.
pub fn configured(environment: &Environment) -> Result<BTreeMap<String, String>, CommandError> {
    let Some(path) = environment.docker_config_file() else {
        return Ok(BTreeMap::new());
    };
    // Whoever cannot read the file has no configuration, as for credentials.
    let Ok(bytes) = std::fs::read(&path) else {
        return Ok(BTreeMap::new());
    };
    by_name(&bytes).map_err(|error| {
        let mut command = CommandError::from_error(ErrorKind::User, &error);
        command
            .messages
            .insert(0, format!("failed to read `{}`", path.display()));
        command
    })
}

fn by_name(bytes: &[u8]) -> Result<BTreeMap<String, String>, serde_json::Error> {
    let mut file: File = serde_json::from_slice(bytes)?;
    let proxies = file.proxies.remove("default").unwrap_or_default();
    let values = [
        proxies.http_proxy,
        proxies.https_proxy,
        proxies.ftp_proxy,
        proxies.no_proxy,
        proxies.all_proxy,
    ];
    let pairs = kiln_flags::proxy::NAMES.iter().zip(values);
    Ok(pairs.map(|(name, value)| ((*name).to_owned(), value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_of_the_configuration_counts() {
        let text = br#"{"auths": {}, "proxies": {"tcp://a": {"httpProxy": "x"}, "default": {"httpsProxy": "y"}}}"#;
        let found = by_name(text).expect("valid");
        assert_eq!(found["HTTPS_PROXY"], "y");
        assert_eq!(found["HTTP_PROXY"], "");
        assert!(by_name(b"{").is_err());
    }
}
