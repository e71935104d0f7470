//! As much of HTTP/1.1 as the fixtures need: whole messages in memory, over plain TCP.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A request, its body read whole.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `GET`, `PUT`, …
    pub method: String,
    /// Path and query as on the wire.
    pub target: String,
    /// Header fields in order, names as sent.
    pub headers: Vec<(String, String)>,
    /// The body, its transfer encoding removed.
    pub body: Vec<u8>,
}

/// A response, its body read whole.
#[derive(Debug, Clone, Default)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header fields in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// When set, only so many bytes of the body are sent and the connection is then closed, although the header announces
    /// the whole: what a broken connection looks like.
    pub cut_after: Option<usize>,
    /// When set, the connection is closed without any answer.
    pub no_answer: bool,
}

impl Request {
    /// A request without header fields or body.
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            ..Self::default()
        }
    }

    /// The value of a header field, its name compared without case.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The path without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Adds a header field.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

impl Response {
    /// A response with a status alone.
    pub fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    /// A response with status, media type and body.
    pub fn with_body(status: u16, media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            body: body.into(),
            ..Self::default()
        }
        .with_header("Content-Type", media_type)
    }

    /// Adds a header field.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The value of a header field, its name compared without case.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

/// Sends one request to `address` (`host:port`) on a connection of its own and reads the answer.
pub fn exchange(address: &str, request: &Request) -> io::Result<Response> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
    for (name, value) in &request.headers {
        let framing = ["connection", "content-length", "transfer-encoding", "expect"];
        if !framing.iter().any(|field| name.eq_ignore_ascii_case(field)) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    if request.header("Host").is_none() {
        head.push_str(&format!("Host: {address}\r\n"));
    }
    head.push_str(&format!(
        "Content-Length: {}\r\nConnection: close\r\n\r\n",
        request.body.len()
    ));
    stream.write_all(head.as_bytes())?;
    stream.write_all(&request.body)?;
    read_response(&mut BufReader::new(stream), request.method == "HEAD")
}

/// Reads a request from a connection; `None` when the peer closed it between two requests. `before_body` is called when the
/// client waits to be told to go on with the body.
pub(crate) fn read_request(
    reader: &mut impl BufRead,
    before_body: impl FnOnce() -> io::Result<()>,
) -> io::Result<Option<Request>> {
    let Some(first) = read_line(reader)? else {
        return Ok(None);
    };
    let mut words = first.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("`{first}` is no request line"),
        ));
    };
    let (method, target) = (method.to_owned(), target.to_owned());
    let headers = read_headers(reader)?;
    if find(&headers, "Expect").is_some() {
        before_body()?;
    }
    let body = read_body(reader, &headers, false)?;
    Ok(Some(Request {
        method,
        target,
        headers,
        body,
    }))
}

/// Writes a response. Gives false when the connection must be closed afterwards.
pub(crate) fn write_response(stream: &mut impl Write, response: &Response, head_only: bool) -> io::Result<bool> {
    if response.no_answer {
        return Ok(false);
    }
    let mut head = format!("HTTP/1.1 {} {}\r\n", response.status, reason(response.status));
    for (name, value) in &response.headers {
        let framing = ["connection", "transfer-encoding"];
        let own_length = !head_only && name.eq_ignore_ascii_case("content-length");
        if !own_length && !framing.iter().any(|field| name.eq_ignore_ascii_case(field)) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    if !head_only || response.header("Content-Length").is_none() {
        head.push_str(&format!("Content-Length: {}\r\n", response.body.len()));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    let sent = response
        .cut_after
        .unwrap_or(response.body.len())
        .min(response.body.len());
    if !head_only {
        stream.write_all(&response.body[..sent])?;
    }
    stream.flush()?;
    Ok(response.cut_after.is_none())
}

fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        206 => "Partial Content",
        304 => "Not Modified",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        _ => "Status",
    }
}

fn read_response(reader: &mut impl BufRead, head_only: bool) -> io::Result<Response> {
    loop {
        let first = read_line(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = first.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, first.clone()))?;
        let headers = read_headers(reader)?;
        if status == 100 {
            continue;
        }
        let body = if head_only || status == 204 || status == 304 {
            Vec::new()
        } else {
            read_body(reader, &headers, true)?
        };
        return Ok(Response {
            status,
            headers,
            body,
            ..Response::default()
        });
    }
}

fn read_line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    if reader.by_ref().take(64 * 1024).read_line(&mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(line.trim_end().to_owned()))
}

fn read_headers(reader: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            return Ok(headers);
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }
}

fn read_body(reader: &mut impl BufRead, headers: &[(String, String)], until_close: bool) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if find(headers, "Transfer-Encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        loop {
            let line = read_line(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(digits, 16)
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("`{line}` is no chunk size")))?;
            if size == 0 {
                // Trailer fields, which nobody here sends, end with an empty line too.
                read_headers(reader)?;
                return Ok(body);
            }
            reader.by_ref().take(size).read_to_end(&mut body)?;
            read_line(reader)?;
        }
    }
    match find(headers, "Content-Length").and_then(|value| value.parse::<u64>().ok()) {
        Some(length) => {
            reader.by_ref().take(length).read_to_end(&mut body)?;
            if (body.len() as u64) < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        None if until_close => {
            reader.read_to_end(&mut body)?;
        }
        None => {}
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunked_body_is_put_together() -> io::Result<()> {
        let wire = b"PUT /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;note\r\nde\r\n0\r\n\r\nGET ";
        let request = read_request(&mut &wire[..], || Ok(()))?.expect("there is a request");
        assert_eq!(request.body, b"abcde");
        Ok(())
    }

    #[test]
    fn a_cut_response_announces_more_than_it_sends() -> io::Result<()> {
        let mut wire = Vec::new();
        let response = Response {
            cut_after: Some(2),
            ..Response::with_body(200, "text/plain", "abcdef")
        };
        assert!(
            !write_response(&mut wire, &response, false)?,
            "the connection must be closed"
        );
        let text = String::from_utf8_lossy(&wire).into_owned();
        assert!(
            text.contains("Content-Length: 6") && text.ends_with("\r\n\r\nab"),
            "{text}"
        );
        let error = read_response(&mut &wire[..], false).expect_err("the body is short");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        Ok(())
    }
}
