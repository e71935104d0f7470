//! A proxy in front of a registry that misbehaves at chosen points, a bounded number of times.

use std::sync::{Arc, Mutex};

use crate::error::TestkitError;
use crate::http::{Request, Response, exchange};
use crate::http_server::HttpServer;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The request is answered with this status and text instead of being passed on.
    Status(u16, String),
    /// The answer's body ends after so many bytes, and the connection with it.
    Cut(usize),
    /// One byte of the answer's body, at this offset from its start, is flipped.
    Corrupt(usize),
    /// The connection is closed without an answer.
    Close,
}

/// When something goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Only for requests of this method; of any when empty.
    pub method: &'static str,
    /// Only for requests whose path contains this text.
    pub path_contains: String,
    /// How many requests meet the fault; later ones are passed on unharmed.
    pub times: usize,
    /// What they meet.
    pub fault: Fault,
}

/// The running proxy.
#[derive(Debug)]
pub struct FaultProxy {
    server: HttpServer,
    rules: Arc<Mutex<Vec<Rule>>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl FaultProxy {
    /// Starts a proxy on a free loopback port that passes requests on to `upstream` (`host:port`, plain HTTP).
    pub fn start(upstream: &str, rules: Vec<Rule>) -> Result<Self, TestkitError> {
        let rules = Arc::new(Mutex::new(rules));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (upstream, shared, log) = (upstream.to_owned(), Arc::clone(&rules), Arc::clone(&requests));
        let server = HttpServer::start(move |request| {
            if let Ok(mut log) = log.lock() {
                log.push(format!("{} {}", request.method, request.target));
            }
            answer(&upstream, &shared, request)
        })?;
        Ok(Self {
            server,
            rules,
            requests,
        })
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        self.server.address()
    }

    /// How many faults have not been met yet. A test that expects them all asserts that none is left.
    pub fn faults_left(&self) -> usize {
        self.rules
            .lock()
            .map(|rules| rules.iter().map(|rule| rule.times).sum())
            .unwrap_or(usize::MAX)
    }

    /// Method and path of every request so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().map(|log| log.clone()).unwrap_or_default()
    }
}

fn answer(upstream: &str, rules: &Mutex<Vec<Rule>>, request: &Request) -> Response {
    let fault = rules.lock().ok().and_then(|mut rules| {
        let rule = rules.iter_mut().find(|rule| {
            rule.times > 0
                && (rule.method.is_empty() || rule.method == request.method)
                && request.target.contains(&rule.path_contains)
        })?;
        rule.times -= 1;
        Some(rule.fault.clone())
    });
    match &fault {
        Some(Fault::Status(status, text)) => return Response::with_body(*status, "text/plain", text.as_bytes()),
        Some(Fault::Close) => {
            return Response {
                no_answer: true,
                ..Response::default()
            };
        }
        Some(Fault::Cut(_) | Fault::Corrupt(_)) | None => {}
    }
    let mut response = match exchange(upstream, request) {
        Ok(response) => response,
        Err(error) => return Response::with_body(502, "text/plain", format!("the upstream failed: {error}")),
    };
    match fault {
        Some(Fault::Cut(after)) => response.cut_after = Some(after),
        Some(Fault::Corrupt(at)) => {
            if let Some(byte) = response.body.get_mut(at) {
                *byte ^= 0xff;
            }
        }
        _ => {}
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_met_so_often_and_no_more() -> Result<(), Box<dyn std::error::Error>> {
        let upstream = HttpServer::start(|_| Response::with_body(200, "text/plain", "abcdef"))?;
        let rule = |path: &str, fault| Rule {
            method: "GET",
            path_contains: path.to_owned(),
            times: 1,
            fault,
        };
        let proxy = FaultProxy::start(
            &upstream.address(),
            vec![
                rule("/refused", Fault::Status(503, "try later".to_owned())),
                rule("/cut", Fault::Cut(3)),
                rule("/corrupt", Fault::Corrupt(0)),
                rule("/closed", Fault::Close),
            ],
        )?;
        let ask = |path: &str| exchange(&proxy.address(), &Request::new("GET", path));
        assert_eq!(ask("/refused")?.status, 503);
        assert!(ask("/cut").is_err(), "a cut body must not look whole");
        assert_ne!(ask("/corrupt")?.body, b"abcdef");
        assert!(ask("/closed").is_err());
        assert_eq!(proxy.faults_left(), 0);
        for path in ["/refused", "/cut", "/corrupt", "/closed"] {
            assert_eq!(ask(path)?.body, b"abcdef", "{path} the second time");
        }
        Ok(())
    }
}
