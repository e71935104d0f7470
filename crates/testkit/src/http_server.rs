//! A small threaded HTTP server on a free loopback port.

use std::fmt;
use std::io::{self, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::error::TestkitError;
use crate::http::{Request, Response, read_request, write_response};

/// Answers one request.
type Handler = dyn Fn(&Request) -> Response + Send + Sync;

/// A running server; dropping it closes the port and every connection.
pub struct HttpServer {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
}

impl fmt::Debug for HttpServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HttpServer")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl HttpServer {
    /// Starts a server on a free port of 127.0.0.1 that answers every request by `handler`.
    pub fn start(handler: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Result<Self, TestkitError> {
        let trouble = |source| TestkitError::Network {
            action: "listen",
            address: "127.0.0.1:0".to_owned(),
            source,
        };
        let listener = TcpListener::bind("127.0.0.1:0").map_err(trouble)?;
        let address = listener.local_addr().map_err(trouble)?;
        let stopping = Arc::new(AtomicBool::new(false));
        let connections = Arc::new(Mutex::new(Vec::new()));
        let server = Self {
            address,
            stopping: Arc::clone(&stopping),
            connections: Arc::clone(&connections),
        };
        let handler: Arc<Handler> = Arc::new(handler);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stopping.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                if let (Ok(copy), Ok(mut open)) = (stream.try_clone(), connections.lock()) {
                    open.push(copy);
                }
                let handler = Arc::clone(&handler);
                // A client that goes away in the middle of a request is not this server's concern.
                thread::spawn(move || {
                    let _ = converse(&stream, &*handler);
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        Ok(server)
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // The accepting thread waits for a connection: one more wakes it.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        if let Ok(open) = self.connections.lock() {
            for stream in open.iter() {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

fn converse(stream: &TcpStream, handler: &Handler) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(request) = read_request(&mut reader, || {
        let mut stream = stream;
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
    })? {
        let response = handler(&request);
        if !write_response(&mut writer, &response, request.method == "HEAD")? {
            return Ok(());
        }
        if request
            .header("Connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
        {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::exchange;

    #[test]
    fn answers_by_path_and_stops_on_drop() -> Result<(), Box<dyn std::error::Error>> {
        let server = HttpServer::start(|request| {
            Response::with_body(200, "text/plain", format!("{} {}", request.method, request.path()))
        })?;
        let address = server.address();
        assert_eq!(exchange(&address, &Request::new("GET", "/a?b=c"))?.body, b"GET /a");
        assert_eq!(exchange(&address, &Request::new("HEAD", "/a"))?.body, b"");
        drop(server);
        assert!(
            exchange(&address, &Request::new("GET", "/")).is_err(),
            "the port is closed"
        );
        Ok(())
    }
}
