//! Proxies of a client's configuration: build arguments that nobody has to give.

use std::collections::BTreeMap;

/// The arguments of proxies, in capitals.
pub const NAMES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// Whether an argument is given, in letters of any size: programs differ in which they read.
pub fn is_given(arguments: &BTreeMap<String, String>, name: &str) -> bool {
    arguments.keys().any(|given| given.eq_ignore_ascii_case(name))
}

/// Adds configured proxies, in capitals and in small letters, where none of the name is given.
pub fn add(arguments: &mut BTreeMap<String, String>, configured: &BTreeMap<String, String>) {
    for (name, value) in configured.iter().filter(|(_, value)| !value.is_empty()) {
        if !is_given(arguments, name) {
            arguments.insert(name.to_uppercase(), value.clone());
            arguments.insert(name.to_lowercase(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_wins_in_any_case() {
        let mut arguments = BTreeMap::from([("http_proxy".to_owned(), "mine".to_owned())]);
        let configured = [("HTTP_PROXY", "theirs"), ("NO_PROXY", "localhost"), ("FTP_PROXY", "")];
        add(
            &mut arguments,
            &configured
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        );
        let expected = [
            ("NO_PROXY", "localhost"),
            ("http_proxy", "mine"),
            ("no_proxy", "localhost"),
        ];
        assert_eq!(
            arguments,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
        );
    }
}
