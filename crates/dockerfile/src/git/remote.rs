//! Which of a checkout's remotes it came from.

/// A remote of a checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Its name, such as `origin`.
    pub name: String,
    /// Its address.
    pub url: String,
}

/// The address that a checkout is said to come from: that of the remote that the current branch tracks, else
/// `origin`'s, else `upstream`'s.
pub fn source_url<'a>(remotes: &'a [Remote], tracked: Option<&str>) -> Option<&'a str> {
    let named = |name: &str| remotes.iter().find(|remote| remote.name == name);
    tracked
        .and_then(named)
        .or_else(|| named("origin"))
        .or_else(|| named("upstream"))
        .map(|remote| remote.url.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tracked_wins() {
        let remote = |name: &str| Remote {
            name: name.to_owned(),
            url: format!("https://h/{name}.git"),
        };
        let remotes = [remote("upstream"), remote("fork"), remote("origin")];
        assert_eq!(source_url(&remotes, Some("fork")), Some("https://h/fork.git"));
        assert_eq!(source_url(&remotes, None), Some("https://h/origin.git"));
        assert_eq!(source_url(&remotes[..1], None), Some("https://h/upstream.git"));
        assert_eq!(source_url(&remotes[1..2], None), None);
    }
}
