//! ADD of URLs, from a real server.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError};

use kiln_testkit::{Fixture, HttpServer, Outcome, Request, Response, TestResult};
use sha2::{Digest, Sha256, Sha512};

/// A server whose answers can change, and what it was asked.
struct Files {
    server: HttpServer,
    answers: Arc<Mutex<BTreeMap<String, Response>>>,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Files {
    fn start(answers: &[(&str, Response)]) -> Result<Files, Box<dyn std::error::Error>> {
        let answers = answers
            .iter()
            .map(|(path, answer)| ((*path).to_owned(), answer.clone()))
            .collect();
        let answers: Arc<Mutex<BTreeMap<String, Response>>> = Arc::new(Mutex::new(answers));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (held, seen) = (Arc::clone(&answers), Arc::clone(&requests));
        let server = HttpServer::start(move |request| {
            seen.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(request.clone());
            let answers = held.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(answer) = answers.get(request.path()) else {
                return Response::status(404);
            };
            let asked = request.header("If-None-Match");
            if asked.is_some() && asked == answer.header("ETag") {
                return Response::status(304);
            }
            answer.clone()
        })?;
        Ok(Files {
            server,
            answers,
            requests,
        })
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address())
    }

    fn set(&self, path: &str, answer: Response) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.insert(path.to_owned(), answer);
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn plain(body: &str) -> Response {
    Response::with_body(200, "application/octet-stream", body)
}

fn build(fixture: &Fixture, dockerfile: &str, more: &[&str]) -> Result<Outcome, Box<dyn std::error::Error>> {
    fixture.context("ctx", &[("Dockerfile", &format!("FROM scratch\n{dockerfile}\n"))])?;
    let _ = fs::remove_dir_all(fixture.directory().join("out"));
    Ok(fixture.kiln(["build", "-o", "out", "ctx"]).args(more).run()?)
}

fn read(fixture: &Fixture, path: &str) -> Result<String, Box<dyn std::error::Error>> {
    let path = fixture.directory().join("out").join(path);
    Ok(fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?)
}

fn archive() -> Result<Vec<u8>, std::io::Error> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(6);
    header.set_mode(0o640);
    header.set_mtime(1_400_000_000);
    builder.append_data(&mut header, "inside/file", &b"packed"[..])?;
    builder.into_inner()
}

#[test]
fn names_modes_owners_and_times() -> TestResult {
    let fixture = Fixture::new()?;
    let dated = plain("dated").with_header("Last-Modified", "Thu, 09 Sep 2010 01:46:40 GMT");
    let files = Files::start(&[
        ("/dir/dated.txt", dated),
        ("/a%20b", plain("spaced")),
        ("/", plain("root")),
    ])?;
    let dockerfile = format!(
        "ADD {} /\nADD {} {} /dir/\nADD {} /named\nADD --chmod=751 --chown=12:34 {} /mode",
        files.url("/dir/dated.txt?query=1#fragment"),
        files.url("/a%20b"),
        files.url("/"),
        files.url("/dir/dated.txt"),
        files.url("/dir/dated.txt"),
    );
    build(&fixture, &dockerfile, &[])?.assert_success();
    let stat = |path: &str| fs::metadata(fixture.directory().join("out").join(path));
    for (path, content) in [
        ("dated.txt", "dated"),
        ("dir/a b", "spaced"),
        ("dir/__unnamed__", "root"),
        ("named", "dated"),
    ] {
        assert_eq!(read(&fixture, path)?, content);
        assert_eq!(stat(path)?.mode() & 0o7777, 0o600, "{path}");
    }
    assert_eq!(
        stat("dated.txt")?.mtime(),
        1_283_996_800,
        "the time that the server says"
    );
    assert_eq!(stat("dir/a b")?.mtime(), 0, "the server says nothing");
    assert_eq!(stat("mode")?.mode() & 0o7777, 0o751);
    build(&fixture, &dockerfile, &["--build-arg", "SOURCE_DATE_EPOCH=1000000000"])?.assert_success();
    assert_eq!(stat("dated.txt")?.mtime(), 1_000_000_000, "later times are clamped");
    Ok(())
}

#[test]
fn archives_stay_whole_unless_they_are_to_be_unpacked() -> TestResult {
    let fixture = Fixture::new()?;
    let bytes = archive()?;
    let files = Files::start(&[
        ("/a.tar", Response::with_body(200, "application/x-tar", bytes.clone())),
        ("/text", plain("no archive")),
    ])?;
    let dockerfile = format!(
        "ADD {0} /whole/\nADD --unpack=true {0} /open/\nADD --unpack=true {1} /open/",
        files.url("/a.tar"),
        files.url("/text")
    );
    build(&fixture, &dockerfile, &[])?.assert_success();
    assert_eq!(fs::read(fixture.directory().join("out/whole/a.tar"))?, bytes);
    assert_eq!(read(&fixture, "open/inside/file")?, "packed");
    assert_eq!(read(&fixture, "open/text")?, "no archive", "what is none is copied");
    Ok(())
}

#[test]
fn checksums_hold() -> TestResult {
    let fixture = Fixture::new()?;
    let files = Files::start(&[("/file", plain("content"))])?;
    let url = files.url("/file");
    let (short, long) = (
        hex::encode(Sha256::digest("content")),
        hex::encode(Sha512::digest("content")),
    );
    let dockerfile =
        format!("ARG SUM={short}\nADD --checksum=sha256:$SUM {url} /a\nADD --checksum=sha512:{long} {url} /b");
    build(&fixture, &dockerfile, &[])?.assert_success();
    assert_eq!(read(&fixture, "b")?, "content");
    for (checksum, message) in [
        (
            format!("sha256:{}", "0".repeat(64)),
            format!("sha256:{short} (expected: sha256:{})", "0".repeat(64)),
        ),
        ("sha256:short".to_owned(), "failed to parse checksum".to_owned()),
    ] {
        let outcome = build(&fixture, &format!("ADD --checksum={checksum} {url} /a"), &[])?;
        assert!(!outcome.status.success());
        outcome.assert_says(&[&message]);
    }
    // A checksum of what is here already needs no server.
    drop(files);
    build(&fixture, &format!("ADD --checksum=sha512:{long} {url} /b"), &[])?.assert_success();
    Ok(())
}

#[test]
fn what_has_not_changed_is_not_sent_again() -> TestResult {
    let fixture = Fixture::new()?;
    let files = Files::start(&[("/file", plain("first").with_header("ETag", "\"1\""))])?;
    let dockerfile = format!("ADD {} /file", files.url("/file"));
    for _ in 0..2 {
        build(&fixture, &dockerfile, &[])?.assert_success();
        assert_eq!(read(&fixture, "file")?, "first");
    }
    let requests = files.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].header("If-None-Match"), None);
    assert_eq!(requests[1].header("If-None-Match"), Some("\"1\""));
    assert!(
        requests[1]
            .header("User-Agent")
            .is_some_and(|agent| agent.starts_with("kiln/"))
    );
    files.set("/file", plain("second").with_header("ETag", "\"2\""));
    build(&fixture, &dockerfile, &[])?.assert_success();
    assert_eq!(read(&fixture, "file")?, "second");
    Ok(())
}

#[test]
fn redirects_are_followed_and_refusals_told() -> TestResult {
    let fixture = Fixture::new()?;
    let files = Files::start(&[("/real", plain("content"))])?;
    files.set(
        "/moved",
        Response::status(302).with_header("Location", files.url("/real")),
    );
    files.set(
        "/circle",
        Response::status(302).with_header("Location", files.url("/circle")),
    );
    build(&fixture, &format!("ADD {} /", files.url("/moved")), &[])?.assert_success();
    assert_eq!(
        read(&fixture, "moved")?,
        "content",
        "the name is that of the address in the Dockerfile"
    );
    let missing = files.url("/missing").replacen("http://", "http://user:secret@", 1);
    let outcome = build(&fixture, &format!("ADD {missing} /"), &[])?;
    outcome.assert_code(3).assert_says(&["invalid response status 404"]);
    let told = outcome
        .stderr
        .lines()
        .filter(|line| line.contains("failed to fetch"))
        .collect::<String>();
    assert!(!told.contains("secret"), "{told}");
    build(&fixture, &format!("ADD {} /", files.url("/circle")), &[])?
        .assert_code(3)
        .assert_says(&["failed to fetch"]);
    Ok(())
}

#[test]
fn what_may_pass_is_tried_again() -> TestResult {
    let fixture = Fixture::new()?;
    let failures = Arc::new(Mutex::new(2));
    let server = HttpServer::start(move |_| {
        let mut left = failures.lock().unwrap_or_else(PoisonError::into_inner);
        *left -= 1;
        match *left {
            1 => Response::status(503),
            // The connection breaks in the middle of the file.
            0 => Response {
                cut_after: Some(3),
                ..plain("content")
            },
            _ => plain("content"),
        }
    })?;
    let url = format!("http://{}/file", server.address());
    build(&fixture, &format!("ADD {url} /"), &[])?.assert_success();
    assert_eq!(read(&fixture, "file")?, "content");
    Ok(())
}

#[test]
fn a_large_file_is_not_held_in_memory() -> TestResult {
    let fixture = Fixture::new()?;
    let size = 96 << 20;
    let files = Files::start(&[(
        "/large",
        Response::with_body(200, "application/octet-stream", vec![7_u8; size]),
    )])?;
    fixture.context(
        "ctx",
        &[(
            "Dockerfile",
            &format!("FROM scratch\nADD {} /large\n", files.url("/large")),
        )],
    )?;
    let mut command = fixture.command(["build", "-o", "out", "ctx"])?;
    let mut child = command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let ended = loop {
        if let Some(ended) = child.try_wait()? {
            break ended;
        }
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().split(' ').next()?.parse::<usize>().ok());
        peak = peak.max(kilobytes.unwrap_or(0));
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    assert!(ended.success());
    assert_eq!(fs::metadata(fixture.directory().join("out/large"))?.len(), size as u64);
    assert!(
        peak > 0 && peak * 1024 < size,
        "{peak} KiB of memory for a file of {size} bytes"
    );
    Ok(())
}

#[test]
fn a_token_is_sent_to_its_host() -> TestResult {
    let mut fixture = Fixture::new()?;
    let files = Files::start(&[("/file", plain("content"))])?;
    fixture.set_env("HTTP_AUTH_TOKEN_127.0.0.1", "t0ken");
    let dockerfile = format!("ADD {} /", files.url("/file"));
    build(&fixture, &dockerfile, &["--secret", "id=HTTP_AUTH_TOKEN_127.0.0.1"])?.assert_success();
    let sent = files
        .requests()
        .last()
        .and_then(|request| request.header("Authorization").map(str::to_owned));
    assert_eq!(sent.as_deref(), Some("Bearer t0ken"));
    Ok(())
}
