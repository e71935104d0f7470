//! What the address of a git remote says about a repository.

use crate::event::Repository;

/// The name and the page of the repository behind a remote: `git@host:owner/name.git`, `ssh://…`, `https://…`. Users and
/// passwords are left out. A remote on this machine has a name and no page.
pub fn repository_of_remote(remote: &str) -> Repository {
    let remote = remote.trim();
    // What follows the path may be a secret, and is no part of the name.
    let web = remote.starts_with("http://") || remote.starts_with("https://");
    let end = remote.find(['?', '#']).filter(|_| web).unwrap_or(remote.len());
    let remote = remote[..end].trim_end_matches('/');
    let remote = remote.strip_suffix(".git").unwrap_or(remote);
    let name = remote.rsplit(['/', ':']).next().unwrap_or_default();
    Repository {
        name: name.to_owned(),
        url: page(remote).unwrap_or_default(),
        ..Repository::default()
    }
}

fn page(remote: &str) -> Option<String> {
    let (scheme, rest) = match remote.split_once("://") {
        Some((scheme, rest)) => (scheme, rest),
        // The short form of SSH has a colon before any slash.
        None => {
            let (authority, path) = remote.split_once(':')?;
            let path = path.trim_start_matches('/');
            let host = without_user(authority);
            // With a user behind the colon, what stands before it is no host.
            let is_user = path.split('/').next().is_some_and(|first| first.contains('@')) && host == authority;
            if host.is_empty() || path.is_empty() || is_user || authority.contains(['/', '[']) {
                return None;
            }
            return Some(format!("https://{host}/{path}"));
        }
    };
    let (authority, path) = rest.split_once('/')?;
    let host = without_user(authority);
    if host.is_empty() || path.is_empty() {
        return None;
    }
    match scheme {
        "http" | "https" => Some(format!("{scheme}://{host}/{path}")),
        // The port of SSH is none of the page's.
        "ssh" | "git" | "git+ssh" => {
            let port = host.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
            let host = port.map_or(host, |(host, _)| host);
            Some(format!("https://{host}/{path}"))
        }
        _ => None,
    }
}

fn without_user(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_no_secrets() {
        for (remote, name, url) in [
            ("git@github.com:o/app.git", "app", "https://github.com/o/app"),
            ("https://github.com/o/app", "app", "https://github.com/o/app"),
            (
                "https://user:token@h.example:8443/o/app.git/",
                "app",
                "https://h.example:8443/o/app",
            ),
            (
                "ssh://git@h.example:2222/g/s/app.git",
                "app",
                "https://h.example/g/s/app",
            ),
            (
                "https://h.example/o/app.git?private_token=x#y",
                "app",
                "https://h.example/o/app",
            ),
            ("user:secret@h.example:o/app", "app", ""),
            ("[git@h.example:22]:o/app", "app", ""),
            ("ssh://git@[::1]:22/o/app", "app", "https://[::1]/o/app"),
            ("ssh://git@[::1]/o/app", "app", "https://[::1]/o/app"),
            ("https://", "", ""),
            ("https:///app", "app", ""),
            ("@:", "", ""),
            ("/srv/git/app.git", "app", ""),
            ("../app", "app", ""),
            ("file:///srv/app", "app", ""),
            ("", "", ""),
        ] {
            let found = repository_of_remote(remote);
            assert_eq!((found.name.as_str(), found.url.as_str()), (name, url), "{remote}");
        }
    }
}
