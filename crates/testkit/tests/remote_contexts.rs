//! Contexts that are not a directory: URLs, standard input, and the named ones of every kind.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;

use kiln_testkit::{Fixture, GitRepository, GitServer, GitServing, HttpServer, Outcome, Program, Response, TestResult};

const COPY_ALL: &str = "FROM scratch\nCOPY . /\n";

type Files<'a> = &'a [(&'a str, &'a str)];

/// A tar archive; its entries are made a second after one another.
fn tar(files: Files<'_>) -> std::io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (time, (name, content)) in (1_300_000_000..).zip(files) {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(time);
        builder.append_data(&mut header, name, content.as_bytes())?;
    }
    builder.into_inner()
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn serve(answers: Vec<(&'static str, Vec<u8>)>) -> Result<HttpServer, Box<dyn std::error::Error>> {
    Ok(HttpServer::start(move |request| {
        let found = answers.iter().find(|(path, _)| *path == request.path());
        let Some((_, body)) = found else {
            return Response::status(404);
        };
        let response = Response::with_body(200, "application/octet-stream", body.clone());
        if request.path().contains("dated") {
            return response.with_header("Last-Modified", "Thu, 09 Sep 2010 01:46:40 GMT");
        }
        response
    })?)
}

fn build(fixture: &Fixture, arguments: &[&str]) -> Result<Outcome, Box<dyn std::error::Error>> {
    let _ = fs::remove_dir_all(fixture.directory().join("out"));
    Ok(fixture.kiln(["build", "-o", "out"]).args(arguments).run()?)
}

fn read(fixture: &Fixture, path: &str) -> Result<String, Box<dyn std::error::Error>> {
    let path = fixture.directory().join("out").join(path);
    Ok(fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?)
}

fn exists(fixture: &Fixture, path: &str) -> bool {
    fixture.directory().join("out").join(path).exists()
}

#[test]
fn an_archive_at_a_url_is_a_context() -> TestResult {
    let fixture = Fixture::new()?;
    let plain = tar(&[
        ("Dockerfile", COPY_ALL),
        ("other/Dockerfile.prod", "FROM scratch\nCOPY file /prod\n"),
        ("file", "content"),
    ])?;
    let server = serve(vec![
        ("/a.tar", plain.clone()),
        ("/a.tar.gz", gzip(&plain)?),
        ("/empty", tar(&[("x", "")])?),
    ])?;
    let url = |path: &str| format!("http://{}{path}", server.address());
    for path in ["/a.tar", "/a.tar.gz"] {
        build(&fixture, &[&url(path)])?.assert_success();
        assert_eq!(read(&fixture, "file")?, "content", "{path}");
    }
    build(&fixture, &["-f", "other/Dockerfile.prod", &url("/a.tar")])?.assert_success();
    assert_eq!(read(&fixture, "prod")?, "content");
    build(&fixture, &[&url("/empty")])?
        .assert_code(2)
        .assert_says(&["failed to read dockerfile: open Dockerfile: no such file"]);
    build(&fixture, &[&url("/missing")])?
        .assert_code(3)
        .assert_says(&["invalid response status 404"]);
    Ok(())
}

#[test]
fn a_file_at_a_url_is_the_dockerfile() -> TestResult {
    let fixture = Fixture::new()?;
    let server = serve(vec![
        (
            "/Dockerfile",
            b"FROM scratch\nCOPY <<EOF /made\nhere\nEOF\nCOPY context /itself\n".to_vec(),
        ),
        ("/remote", b"FROM scratch\nCOPY file /from-remote\n".to_vec()),
    ])?;
    build(&fixture, &[&format!("http://{}/Dockerfile", server.address())])?.assert_success();
    assert_eq!(read(&fixture, "made")?, "here\n");
    assert!(
        read(&fixture, "itself")?.starts_with("FROM scratch"),
        "the context is the file"
    );
    fixture.context("ctx", &[("file", "content")])?;
    build(&fixture, &["-f", &format!("http://{}/remote", server.address()), "ctx"])?.assert_success();
    assert_eq!(read(&fixture, "from-remote")?, "content");
    Ok(())
}

#[test]
fn ignore_files_of_remote_contexts_count() -> TestResult {
    let fixture = Fixture::new()?;
    let archive = tar(&[
        ("Dockerfile", COPY_ALL),
        ("Own", COPY_ALL),
        ("Own.dockerignore", "b\n"),
        (".dockerignore", "a\n"),
        ("a", ""),
        ("b", ""),
    ])?;
    let server = serve(vec![("/a.tar", archive)])?;
    let url = format!("http://{}/a.tar", server.address());
    build(&fixture, &[&url])?.assert_success();
    assert_eq!((exists(&fixture, "a"), exists(&fixture, "b")), (false, true));
    build(&fixture, &["-f", "Own", &url])?.assert_success();
    assert_eq!((exists(&fixture, "a"), exists(&fixture, "b")), (true, false));
    Ok(())
}

#[test]
fn dockerfiles_from_elsewhere_serve_remote_contexts() -> TestResult {
    let fixture = Fixture::new()?;
    let server = serve(vec![("/a.tar", tar(&[("file", "content")])?)])?;
    let url = format!("http://{}/a.tar", server.address());
    let local = fixture.write("elsewhere/Dockerfile", b"FROM scratch\nCOPY file /local\n")?;
    build(&fixture, &["-f", &local.display().to_string(), &url])?.assert_success();
    assert_eq!(read(&fixture, "local")?, "content");
    let outcome = fixture
        .kiln(["build", "-o", "out", "-f", "-", &url])
        .input("FROM scratch\nCOPY file /stdin\n")
        .run()?;
    outcome.assert_success();
    assert_eq!(read(&fixture, "stdin")?, "content");
    Ok(())
}

#[test]
fn standard_input_holds_archives_and_dockerfiles() -> TestResult {
    let fixture = Fixture::new()?;
    let plain = tar(&[
        ("Dockerfile", COPY_ALL),
        ("Other", "FROM scratch\nCOPY file /other\n"),
        (".dockerignore", "hidden\n"),
        ("file", "content"),
        ("hidden", ""),
    ])?;
    let compressed = |program: &str| -> Result<Vec<u8>, Box<dyn std::error::Error>> {
        Ok(Program::new(program)
            .args(["-c"])
            .input(plain.clone())
            .succeed()?
            .stdout)
    };
    let archives = [
        ("plain", plain.clone()),
        ("gzip", gzip(&plain)?),
        ("bzip2", compressed("bzip2")?),
        ("xz", compressed("xz")?),
        ("zstd", compressed("zstd")?),
    ];
    for (method, archive) in archives {
        let _ = fs::remove_dir_all(fixture.directory().join("out"));
        let outcome = fixture.kiln(["build", "-o", "out", "-"]).input(archive).run()?;
        outcome.assert_success();
        assert_eq!(read(&fixture, "file")?, "content", "{method}");
        assert!(!exists(&fixture, "hidden"), "{method}");
    }
    let other = fixture
        .kiln(["build", "-o", "out", "-f", "Other", "-"])
        .input(plain)
        .run()?;
    other.assert_success();
    assert_eq!(read(&fixture, "other")?, "content");
    let alone = fixture
        .kiln(["build", "-o", "out", "-"])
        .input("FROM scratch\nCOPY <<x /made\ntext\nx\n")
        .run()?;
    alone.assert_success();
    assert_eq!(read(&fixture, "made")?, "text\n");
    fixture.context("ctx", &[("file", "of the directory")])?;
    let given = fixture
        .kiln(["build", "-o", "out", "-f", "-", "ctx"])
        .input("FROM scratch\nCOPY file /given\n")
        .run()?;
    given.assert_success();
    assert_eq!(read(&fixture, "given")?, "of the directory");
    let both = fixture.kiln(["build", "-f", "-", "-"]).input("FROM scratch\n").run()?;
    both.assert_code(2).assert_says(&["standard input cannot be both"]);
    Ok(())
}

#[test]
fn named_contexts_of_every_kind() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let repository = GitRepository::init(fixture.directory().join("git/app"))?;
    repository.commit(&[("file", "of the repository"), ("sub/file", "below")])?;
    let git = GitServer::start(&fixture.directory().join("git"), GitServing::Backend, None)?;
    let http = serve(vec![("/file", b"of the url".to_vec())])?;
    fixture.context("dir", &[("file", "of the directory")])?;
    fixture.context(
        "image",
        &[("Dockerfile", "FROM scratch\nCOPY <<x /file\nof the layout\nx\n")],
    )?;
    fixture
        .kiln(["build", "-o", "type=oci,dest=layout,tar=false", "-t", "app:v1", "image"])
        .succeed()?;
    fixture.context(
        "ctx",
        &[(
            "Dockerfile",
            "FROM base AS base\nFROM scratch\nCOPY --from=dir file /dir\nCOPY --from=repo file /repo\nCOPY --from=part file /part\n\
             COPY --from=url context /url\nCOPY --from=layout file /layout\nCOPY --from=box /bin/busybox /busybox\n\
             COPY --from=base file /base\n",
        )],
    )?;
    let contexts = [
        "dir=dir".to_owned(),
        format!("repo={}", git.url("app")),
        format!("part={}#main:sub", git.url("app")),
        format!("base={}", git.url("app")),
        format!("url=http://{}/file", http.address()),
        "layout=oci-layout://layout:v1".to_owned(),
        "box=docker-image://busybox".to_owned(),
    ];
    let mut arguments: Vec<&str> = contexts
        .iter()
        .flat_map(|context| ["--build-context", context])
        .collect();
    arguments.push("ctx");
    build(&fixture, &arguments)?.assert_success();
    for (path, content) in [
        ("dir", "of the directory"),
        ("repo", "of the repository"),
        ("part", "below"),
        ("base", "of the repository"),
        ("url", "of the url"),
        ("layout", "of the layout\n"),
    ] {
        assert_eq!(read(&fixture, path)?, content, "{path}");
    }
    assert!(exists(&fixture, "busybox"));
    // A stage on a named context that holds nothing.
    fixture.context("none", &[("Dockerfile", "FROM alpine\nCOPY Dockerfile /\n")])?;
    build(&fixture, &["--build-context", "alpine=docker-image://scratch", "none"])?.assert_success();
    assert!(exists(&fixture, "Dockerfile") && !exists(&fixture, "bin"));
    build(&fixture, &["--build-context", "x=no/such/place", "ctx"])?
        .assert_code(2)
        .assert_says(&["no/such/place", "git repository"]);
    Ok(())
}

#[test]
fn times_come_from_what_is_fetched() -> TestResult {
    let fixture = Fixture::new()?;
    let dockerfile = "FROM scratch\nARG SOURCE_DATE_EPOCH\nCOPY <<x /epoch\n$SOURCE_DATE_EPOCH\nx\n";
    let archive = tar(&[("Dockerfile", dockerfile), ("newest", "")])?;
    let server = serve(vec![
        ("/a.tar", archive.clone()),
        ("/dated.tar", archive),
        ("/file", b"x".to_vec()),
    ])?;
    let repository = GitRepository::init(fixture.directory().join("git/app"))?;
    repository.commit(&[("file", "x")])?;
    let git = GitServer::start(&fixture.directory().join("git"), GitServing::Backend, None)?;
    let url = |path: &str| format!("http://{}{path}", server.address());
    fixture.context("ctx", &[("Dockerfile", dockerfile)])?;
    let stage = |source: &str| format!("ARG SOURCE_DATE_EPOCH=src\nFROM scratch AS src\nADD {source} /\n{dockerfile}");
    fixture.context("http", &[("Dockerfile", &stage(&url("/dated.tar")))])?;
    fixture.context("git-stage", &[("Dockerfile", &stage(&git.url("app")))])?;
    fixture.context("timeless", &[("Dockerfile", &stage(&url("/file")))])?;
    let (dated, newest, commit) = ("1283996800\n", "1300000001\n", "1600000000\n");
    let named = |source: String| vec!["--build-context".to_owned(), format!("n={source}"), "ctx".to_owned()];
    let cases = [
        (Some("context"), vec![url("/dated.tar")], dated),
        (Some("context"), vec![url("/a.tar")], newest),
        (Some("context"), vec!["ctx".to_owned()], "\n"),
        (Some("n"), named(url("/a.tar")), newest),
        (Some("n"), named(git.url("app")), commit),
        (Some("n"), named("ctx".to_owned()), "\n"),
        (None, vec!["http".to_owned()], dated),
        (None, vec!["git-stage".to_owned()], commit),
        (None, vec!["timeless".to_owned()], "\n"),
        (Some("77"), vec!["http".to_owned()], "77\n"),
    ];
    for (argument, arguments, expected) in cases {
        let argument = argument.map(|value| format!("SOURCE_DATE_EPOCH={value}"));
        let mut all: Vec<&str> = argument.iter().flat_map(|argument| ["--build-arg", argument]).collect();
        all.extend(arguments.iter().map(String::as_str));
        build(&fixture, &all)?.assert_success();
        assert_eq!(read(&fixture, "epoch")?, expected, "{all:?}");
        let time = fs::metadata(fixture.directory().join("out/epoch"))?.mtime();
        assert_eq!(time, expected.trim().parse().unwrap_or(0), "{all:?}");
    }
    Ok(())
}

#[test]
fn another_time_is_another_layer() -> TestResult {
    let fixture = Fixture::new()?;
    fixture.context(
        "ctx",
        &[("Dockerfile", "FROM scratch\nWORKDIR /dir\nCOPY Dockerfile .\n")],
    )?;
    for time in [None, Some(1_000_000_000), Some(1_100_000_000), None] {
        let argument = time.map(|time| format!("SOURCE_DATE_EPOCH={time}"));
        let mut arguments: Vec<&str> = argument.iter().flat_map(|argument| ["--build-arg", argument]).collect();
        arguments.push("ctx");
        build(&fixture, &arguments)?.assert_success();
        for path in ["dir", "dir/Dockerfile"] {
            let found = fs::metadata(fixture.directory().join("out").join(path))?.mtime();
            assert_eq!(found, time.unwrap_or(0), "{path}");
        }
    }
    Ok(())
}

#[test]
fn an_output_may_want_another_time() -> TestResult {
    let fixture = Fixture::new()?;
    fixture.context("ctx", &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")])?;
    for (attribute, expected) in [
        ("", "1970-01-01T00:00:12Z"),
        (",source-date-epoch=1000000000", "2001-09-09T01:46:40Z"),
        (",source-date-epoch=", "1970-01-01T00:00:12Z"),
    ] {
        let output = format!("type=oci,tar=false,dest=layout{attribute}");
        let arguments = ["build", "--build-arg", "SOURCE_DATE_EPOCH=12", "-o", &output, "ctx"];
        let printed = fixture.kiln(arguments).succeed()?.stdout_text();
        let blob = |digest: &str| -> Result<serde_json::Value, Box<dyn std::error::Error>> {
            let path = format!("layout/blobs/{}", digest.trim().replace(':', "/"));
            Ok(serde_json::from_slice(&fs::read(fixture.directory().join(path))?)?)
        };
        let mut manifest = blob(&printed)?;
        if let Some(digest) = manifest["manifests"][0]["digest"].as_str() {
            manifest = blob(digest)?;
        }
        let config = blob(manifest["config"]["digest"].as_str().unwrap_or_default())?;
        assert_eq!(config["created"], expected, "{attribute}");
    }
    Ok(())
}

#[test]
fn a_cached_step_is_written_with_the_time_that_is_asked_for() -> TestResult {
    let mut fixture = Fixture::with_base_images()?;
    fixture.context("ctx", &[("Dockerfile", "FROM busybox\nRUN echo made > /made\n")])?;
    let mut digests = Vec::new();
    for (state, before) in [
        ("one", None),
        ("two", Some("SOURCE_DATE_EPOCH=")),
        ("three", Some("SOURCE_DATE_EPOCH=1100000000")),
    ] {
        fixture.set_state(fixture.directory().join(state));
        for argument in before.into_iter().chain(["SOURCE_DATE_EPOCH=1000000000"]) {
            let arguments = ["build", "--build-arg", argument, "-o", "type=oci,dest=image.tar", "ctx"];
            let printed = fixture.kiln(arguments).succeed()?.stdout_text();
            digests.push((argument, printed));
        }
    }
    let wanted: Vec<&String> = digests
        .iter()
        .filter(|(argument, _)| *argument == "SOURCE_DATE_EPOCH=1000000000")
        .map(|(_, digest)| digest)
        .collect();
    assert!(wanted.iter().all(|digest| *digest == wanted[0]), "{digests:?}");
    assert_ne!(&digests[1].1, wanted[0], "without a time it is another image");
    Ok(())
}
