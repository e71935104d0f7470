//! Git repositories, and servers for them on a free loopback port.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::error::TestkitError;
use crate::http::{Request, Response};
use crate::http_server::HttpServer;
use crate::program::Program;

/// A repository with its files, made by `git`. Names and times in it are fixed, so the same commits have the same names.
#[derive(Debug)]
pub struct GitRepository {
    directory: PathBuf,
}

impl GitRepository {
    /// An empty repository in a new directory, on the branch `main`.
    pub fn init(directory: impl Into<PathBuf>) -> Result<Self, TestkitError> {
        Self::init_with(directory, &[])
    }

    /// As [`GitRepository::init`], with further arguments of `git init`.
    pub fn init_with(directory: impl Into<PathBuf>, more: &[&str]) -> Result<Self, TestkitError> {
        let directory = directory.into();
        fs::create_dir_all(&directory).map_err(TestkitError::file("create", &directory))?;
        let repository = Self { directory };
        let arguments = ["init", "--quiet", "--initial-branch=main"];
        repository.git(arguments.into_iter().chain(more.iter().copied()))?;
        Ok(repository)
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Runs `git` in it and gives what it printed.
    pub fn git<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<String, TestkitError> {
        const IDENTITY: [(&str, &str); 9] = [
            ("HOME", "/nonexistent"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_AUTHOR_NAME", "Author"),
            ("GIT_AUTHOR_EMAIL", "author@example.com"),
            ("GIT_COMMITTER_NAME", "Committer"),
            ("GIT_COMMITTER_EMAIL", "committer@example.com"),
            ("GIT_AUTHOR_DATE", "1500000000 +0000"),
            ("GIT_COMMITTER_DATE", "1600000000 +0000"),
        ];
        let program = IDENTITY
            .iter()
            .fold(Program::new("git"), |program, (name, value)| program.env(name, value));
        let outcome = program
            .args(["-c", "protocol.file.allow=always"])
            .args(arguments)
            .with(|command| {
                command.current_dir(&self.directory);
            })
            .succeed()?;
        Ok(outcome.stdout_text().trim().to_owned())
    }

    /// Writes files, commits everything, and gives the commit's name.
    pub fn commit(&self, files: &[(&str, &str)]) -> Result<String, TestkitError> {
        for (name, content) in files {
            let path = self.directory.join(name);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(TestkitError::file("create", parent))?;
            }
            fs::write(&path, content).map_err(TestkitError::file("write", &path))?;
        }
        self.git(["add", "--all"])?;
        self.git(["commit", "--quiet", "--allow-empty", "--message=a commit"])?;
        // For clients that are given nothing but files.
        self.git(["update-server-info"])?;
        self.git(["rev-parse", "HEAD"])
    }
}

/// How repositories are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GitServing {
    /// By git's own `http-backend`.
    Backend,
    /// As files that a web server sends: what git calls the dumb protocol.
    Files,
}

/// A running server for the repositories below a directory; dropping it closes the port.
#[derive(Debug)]
pub struct GitServer {
    server: HttpServer,
    requests: Arc<Mutex<Vec<String>>>,
}

impl GitServer {
    /// Starts a server. With a token, requests must carry it as the password of any user.
    pub fn start(root: &Path, serving: GitServing, token: Option<&str>) -> Result<Self, TestkitError> {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, root) = (Arc::clone(&requests), root.to_owned());
        let token = token.map(str::to_owned);
        let server = HttpServer::start(move |request| {
            let line = format!("{} {}", request.method, request.target);
            seen.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            if token.as_deref().is_some_and(|token| !carries(request, token)) {
                return Response::status(401).with_header("WWW-Authenticate", "Basic realm=\"git\"");
            }
            match serving {
                GitServing::Backend => backend(&root, request),
                GitServing::Files => file(&root, request),
            }
        })?;
        Ok(Self { server, requests })
    }

    /// The address of the repository in a directory below the root.
    pub fn url(&self, repository: &str) -> String {
        format!("http://{}/{repository}/.git", self.server.address())
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        self.server.address()
    }

    /// Method and target of every request so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn carries(request: &Request, token: &str) -> bool {
    let credentials = request
        .header("Authorization")
        .and_then(|value| value.split_once(' '))
        .and_then(|(_, encoded)| STANDARD.decode(encoded).ok());
    let text = credentials.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    text.is_some_and(|text| text.split_once(':').is_some_and(|(_, password)| password == token))
}

fn file(root: &Path, request: &Request) -> Response {
    let path = request.path().trim_start_matches('/');
    if path.split('/').any(|part| part == "..") {
        return Response::status(404);
    }
    match fs::read(root.join(path)) {
        Ok(bytes) => Response::with_body(200, "application/octet-stream", bytes),
        Err(_) => Response::status(404),
    }
}

/// A CGI program: its answer begins with header fields (RFC 3875).
fn backend(root: &Path, request: &Request) -> Response {
    let query = request.target.split_once('?').map_or("", |(_, query)| query);
    let variable = |name: &str| request.header(name).unwrap_or_default().to_owned();
    let outcome = Program::new("git")
        .args(["http-backend"])
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("REQUEST_METHOD", &request.method)
        .env("PATH_INFO", request.path())
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", variable("Content-Type"))
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", variable("Content-Encoding"))
        .env("GIT_PROTOCOL", variable("Git-Protocol"))
        .env("REMOTE_ADDR", "127.0.0.1")
        .input(request.body.clone())
        .run();
    let Ok(outcome) = outcome else {
        return Response::status(500);
    };
    let end = outcome.stdout.windows(4).position(|window| window == b"\r\n\r\n");
    let Some(end) = end else {
        return Response::status(500);
    };
    let (head, body) = (&outcome.stdout[..end], &outcome.stdout[end + 4..]);
    let mut response = Response::status(200);
    for line in String::from_utf8_lossy(head).lines() {
        match line.split_once(": ") {
            Some(("Status", status)) => {
                let code = status.split(' ').next().and_then(|code| code.parse().ok());
                response.status = code.unwrap_or(500);
            }
            Some((name, value)) => response.headers.push((name.to_owned(), value.to_owned())),
            None => {}
        }
    }
    response.body = body.to_vec();
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_can_be_cloned() -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let repository = GitRepository::init(directory.path().join("app"))?;
        let commit = repository.commit(&[("file", "content")])?;
        for serving in [GitServing::Backend, GitServing::Files] {
            let server = GitServer::start(directory.path(), serving, Some("secret"))?;
            let refused = repository.git(["ls-remote", &server.url("app"), "main"]);
            assert!(refused.is_err(), "{serving:?}: nothing without the token");
            let url = server.url("app").replacen("http://", "http://user:secret@", 1);
            let listed = repository.git(["ls-remote", &url, "main"])?;
            assert!(listed.starts_with(&commit), "{serving:?}: {listed}");
        }
        Ok(())
    }
}
