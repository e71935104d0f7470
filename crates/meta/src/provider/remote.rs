//! What the address of a git remote says about a repository.

use crate::event::Repository;

/// The name and the page of the repository behind a remote: `git@host:owner/name.git`, `ssh://…`, `https://…`. Users and
/// passwords are left out. A remote on this machine has a name and no page.
pub fn repository_of_remote(remote: &str) -> Repository {
    let remote = remote.trim().trim_end_matches('/');
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
            let (host, path) = remote.split_once(':')?;
            if host.contains('/') || host.is_empty() {
                return None;
            }
            return Some(format!(
                "https://{}/{}",
                without_user(host),
                path.trim_start_matches('/')
            ));
        }
    };
    let (authority, path) = rest.split_once('/')?;
    let host = without_user(authority);
    match scheme {
        "http" | "https" => Some(format!("{scheme}://{host}/{path}")),
        // The port of SSH is none of the page's.
        "ssh" | "git" | "git+ssh" => {
            let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
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
