//! `kiln bake` of definitions and contexts that are in git repositories and at URLs.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use kiln_testkit::{
    Fixture, GitRepository, GitServer, GitServing, HttpServer, OrdinaryUser, Outcome, Program, Response,
    SubordinateIds, Terminal, TestResult, skip_unless_root,
};
use serde_json::Value;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const DOCKERFILE: &str = "FROM scratch\nCOPY . /\n";

/// A definition whose targets have contexts in the place that it comes from.
const DEFINITION: &str = r#"
target "default" {}
target "part" { context = "sub" }
target "inline" {
  dockerfile-inline = "FROM scratch\nCOPY file /whole\nCOPY --from=other file /part\n"
  contexts = { other = "sub" }
}
target "whole" {
  context = "sub"
  dockerfile-inline = "FROM scratch\nCOPY --from=all / /\n"
  contexts = { all = "." }
}
"#;

const FILES: &[(&str, &str)] = &[
    ("docker-bake.hcl", DEFINITION),
    ("Dockerfile", DOCKERFILE),
    ("file", "above"),
    ("sub/Dockerfile", DOCKERFILE),
    ("sub/file", "below"),
    (
        "sub/docker-bake.json",
        "{\"target\": {\"default\": {\"context\": \"deep\"}}}",
    ),
    ("sub/deep/Dockerfile", DOCKERFILE),
    ("sub/deep/file", "deepest"),
];

struct Place {
    fixture: Fixture,
    repository: GitRepository,
    server: GitServer,
}

impl Place {
    /// A repository `app` with files, served, and a working directory `here`.
    fn with(serving: GitServing, token: Option<&str>, files: &[(&str, &str)]) -> Result<Place> {
        let fixture = Fixture::with_base_images()?;
        let root = fixture.directory().join("git");
        let repository = GitRepository::init(root.join("app"))?;
        repository.commit(files)?;
        fs::create_dir(fixture.directory().join("here"))?;
        Ok(Place {
            server: GitServer::start(&root, serving, token)?,
            fixture,
            repository,
        })
    }

    fn url(&self) -> String {
        self.server.url("app")
    }

    fn program(&self, arguments: &[&str]) -> Program {
        let here = self.fixture.directory().join("here");
        self.fixture
            .kiln(std::iter::once("bake").chain(arguments.iter().copied()))
            .with(|command| _ = command.current_dir(here))
    }

    /// Bakes into the directory `out` of the working directory.
    fn bake(&self, arguments: &[&str]) -> Result<Outcome> {
        let _ = fs::remove_dir_all(self.fixture.directory().join("here/out"));
        Ok(self.program(&[&["--set=*.output=out"], arguments].concat()).run()?)
    }

    fn read(&self, path: &str) -> Result<String> {
        let path = self.fixture.directory().join("here/out").join(path);
        Ok(fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?)
    }

    fn write(&self, name: &str, text: &str) -> TestResult {
        self.fixture.write(&format!("here/{name}"), text.as_bytes())?;
        Ok(())
    }
}

#[test]
fn a_definition_of_a_repository_brings_its_contexts() -> TestResult {
    for serving in [GitServing::Backend, GitServing::Files] {
        let place = Place::with(serving, None, FILES)?;
        place.repository.git(["branch", "first"])?;
        place.repository.commit(&[("file", "later")])?;
        let url = place.url();
        for (suffix, arguments, expected) in [
            ("", &[][..], ("file", "later")),
            ("#first", &[], ("file", "above")),
            ("?branch=first", &[], ("file", "above")),
            ("#first", &["part"], ("file", "below")),
            ("?branch=first", &["part"], ("file", "below")),
            ("#first", &["inline"], ("whole", "above")),
            ("#first", &["inline"], ("part", "below")),
            ("#first", &["whole"], ("sub/file", "below")),
            ("#first:sub", &[], ("file", "deepest")),
        ] {
            let mut arguments = arguments.to_vec();
            let url = format!("{url}{suffix}");
            arguments.insert(0, &url);
            place.bake(&arguments)?.assert_success();
            assert_eq!(place.read(expected.0)?, expected.1, "{serving:?} {arguments:?}");
        }
        // Contexts are seen from the root of the repository, wherever the file is.
        let elsewhere = place.bake(&[&url, "-f", "sub/docker-bake.json"])?;
        assert_ne!(elsewhere.code(), Some(0));
        elsewhere.assert_says(&["deep"]);
        let missing = place.bake(&[&url, "-f", "none.hcl"])?;
        missing
            .assert_code(2)
            .assert_says(&["there is no definition `none.hcl`", "-f cwd://none.hcl"]);
        let unknown = place.bake(&[&format!("{url}#none")])?;
        assert_ne!(unknown.code(), Some(0));
        unknown.assert_says(&["none"]);
    }
    Ok(())
}

/// The definition is read before the build, and both in the namespace of the user.
#[test]
fn an_ordinary_user_bakes_a_repository() -> TestResult {
    if skip_unless_root("an_ordinary_user_bakes_a_repository") {
        return Ok(());
    }
    let user = OrdinaryUser::create(SubordinateIds::Granted)?;
    let mut fixture = Fixture::new()?;
    fixture.binary_for_everyone()?;
    // Served from elsewhere: the fixture becomes the user's.
    let root = tempfile::tempdir()?;
    let repository = GitRepository::init(root.path().join("app"))?;
    repository.commit(FILES)?;
    let server = GitServer::start(root.path(), GitServing::Backend, None)?;
    fixture
        .kiln_as(&user, ["bake", "--set=*.output=out", &server.url("app"), "part"])?
        .run()?
        .assert_success();
    assert_eq!(fs::read_to_string(fixture.directory().join("out/file"))?, "below");
    Ok(())
}

#[test]
fn contexts_are_printed_with_where_they_are() -> TestResult {
    let place = Place::with(GitServing::Backend, None, FILES)?;
    let url = format!("{}#main", place.url());
    let printed = place.program(&["--print", &url, "default", "part", "inline"]).run()?;
    let printed: Value = printed.assert_success().json();
    let target = &printed["target"];
    assert_eq!(target["default"]["context"], Value::from(url.clone()));
    assert_eq!(target["part"]["context"], Value::from(format!("{url}:sub")));
    assert_eq!(target["inline"]["contexts"]["other"], "sub");
    let listed = place.program(&["--list=targets", &url]).run()?;
    assert!(listed.assert_success().stdout_text().contains("part"));
    Ok(())
}

#[test]
fn files_of_the_working_directory_join_in() -> TestResult {
    let place = Place::with(GitServing::Backend, None, FILES)?;
    let url = place.url();
    place.write(
        "mine.hcl",
        "target \"default\" {\n  args = { WHO = \"me\" }\n  dockerfile-inline = \"FROM busybox\\nARG WHO\\nCOPY file /\\nRUN echo $WHO > /who\\n\"\n}\n",
    )?;
    // Later files change what earlier ones say; contexts stay where the definition is.
    place.bake(&[&url, "-f", "cwd://mine.hcl"])?.assert_success();
    assert_eq!(
        (place.read("file")?, place.read("who")?),
        ("above".into(), "me\n".into())
    );
    place
        .bake(&[
            &url,
            "-f",
            "sub/docker-bake.json",
            "-f",
            "cwd://mine.hcl",
            "--set=*.context=sub/deep",
        ])?
        .assert_success();
    assert_eq!(place.read("file")?, "deepest");
    Ok(())
}

#[test]
fn a_definition_may_use_the_callers_directory() -> TestResult {
    let definition = r#"
target "default" {
  context = BAKE_CMD_CONTEXT
  dockerfile = "cwd://Mine"
}
target "named" {
  contexts = { mine = "${BAKE_CMD_CONTEXT}data" }
  dockerfile-inline = "FROM scratch\nCOPY file /\nCOPY --from=mine mine /\n"
}
target "theirs" { dockerfile = "cwd://Mine" }
target "mixed" { context = "cwd://data" }
target "elsewhere" {
  context = "cwd://../elsewhere"
  dockerfile-inline = "FROM scratch\nCOPY secret /\n"
}
"#;
    let place = Place::with(
        GitServing::Backend,
        None,
        &[
            ("docker-bake.hcl", definition),
            ("Dockerfile", DOCKERFILE),
            ("file", "theirs"),
        ],
    )?;
    place.write("Mine", "FROM scratch\nCOPY file /mine\n")?;
    place.write("file", "mine")?;
    place.write("data/mine", "data")?;
    let elsewhere = place.fixture.context("elsewhere", &[("secret", "hush")])?;
    let url = place.url();
    place.bake(&[&url])?.assert_success();
    assert_eq!(place.read("mine")?, "mine");
    place.bake(&[&url, "named"])?.assert_success();
    assert_eq!(
        (place.read("file")?, place.read("mine")?),
        ("theirs".into(), "data".into())
    );
    place.bake(&[&url, "theirs"])?.assert_success();
    assert_eq!(
        place.read("mine")?,
        "theirs",
        "the Dockerfile is here, the context is not"
    );
    place
        .bake(&[&url, "mixed"])?
        .assert_code(2)
        .assert_says(&["reading a dockerfile for a remote build invocation", "cwd://Dockerfile"]);
    // A second address takes the place of the caller's directory.
    let other = GitRepository::init(place.fixture.directory().join("git/other"))?;
    other.commit(&[("file", "of the other")])?;
    place.bake(&[&url, &place.server.url("other")])?.assert_success();
    assert_eq!(place.read("mine")?, "of the other");

    let flag = format!("--allow=fs.read={}", elsewhere.display());
    let refused = place.bake(&[&url, "elsewhere"])?;
    refused.assert_code(2).assert_says(&["asks for reading", &flag]);
    place.bake(&[&url, "elsewhere", &flag])?.assert_success();
    assert_eq!(place.read("secret")?, "hush");
    for variable in ["BAKE_ALLOW_REMOTE_FS_ACCESS=1", "BUILDX_BAKE_ENTITLEMENTS_FS=0"] {
        let (name, value) = variable.split_once('=').ok_or("a pair")?;
        let program = place.program(&["--set=*.output=out", &url, "elsewhere"]);
        program.env(name, value).run()?.assert_success();
    }
    Ok(())
}

#[test]
fn a_token_is_for_the_host_of_the_definition() -> TestResult {
    let place = Place::with(GitServing::Backend, Some("sesame"), FILES)?;
    let url = place.url();
    let refused = place.bake(&[&url, "part"])?;
    assert_ne!(refused.code(), Some(0));
    for token in ["BUILDX_BAKE_GIT_AUTH_TOKEN", "BUILDX_BAKE_GIT_AUTH_HEADER"] {
        let value = match token.ends_with("TOKEN") {
            true => "sesame",
            // Base64 of `x-access-token:sesame`.
            false => "basic eC1hY2Nlc3MtdG9rZW46c2VzYW1l",
        };
        let built = place
            .program(&["--set=*.output=out", "--set=*.no-cache=true", &url, "part"])
            .env(token, value)
            .run()?;
        built.assert_success();
        assert_eq!(place.read("file")?, "below", "{token}");
    }
    // Another server does not get it.
    let strict = GitServer::start(
        &place.fixture.directory().join("git"),
        GitServing::Backend,
        Some("sesame"),
    )?;
    let foreign = format!("--set=*.context={}", strict.url("app"));
    let refused = place
        .program(&["--set=*.output=out", &foreign, &url, "default"])
        .env("BUILDX_BAKE_GIT_AUTH_TOKEN", "sesame")
        .run()?;
    assert_ne!(refused.code(), Some(0), "{}", refused.stderr);
    Ok(())
}

/// An archive of files, as `tar` makes it.
fn archive(files: &[(&str, &str)]) -> Result<Vec<u8>> {
    let directory = tempfile::tempdir()?;
    for (name, text) in files {
        let path = directory.path().join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, text)?;
    }
    let packed = Command::new("tar")
        .arg("-C")
        .arg(directory.path())
        .args(["-czf", "-", "."])
        .output()?;
    Ok(packed.stdout)
}

fn served(answers: &[(&str, Vec<u8>)]) -> Result<HttpServer> {
    let answers: BTreeMap<String, Vec<u8>> = answers
        .iter()
        .map(|(path, body)| ((*path).to_owned(), body.clone()))
        .collect();
    Ok(HttpServer::start(move |request| match answers.get(request.path()) {
        Some(body) => Response::with_body(200, "application/octet-stream", body.clone()),
        None => Response::status(404),
    })?)
}

#[test]
fn an_archive_and_a_file_from_a_url() -> TestResult {
    let place = Place::with(GitServing::Backend, None, FILES)?;
    let alone = "target \"default\" {\n  dockerfile-inline = \"FROM scratch\\nCOPY file /\\n\"\n}\n";
    let server = served(&[("/app.tar.gz", archive(FILES)?), ("/docker-bake.hcl", alone.into())])?;
    let url = format!("http://{}/app.tar.gz", server.address());
    for (suffix, target, path, content) in [
        ("", "default", "file", "above"),
        ("", "part", "file", "below"),
        ("", "inline", "part", "below"),
        ("", "whole", "sub/file", "below"),
        ("#:sub", "default", "file", "deepest"),
    ] {
        place.bake(&[&format!("{url}{suffix}"), target])?.assert_success();
        assert_eq!(place.read(path)?, content, "{suffix} {target}");
    }
    let printed = place.program(&["--print", &url, "part"]).run()?.assert_success().json();
    assert_eq!(printed["target"]["part"]["context"], Value::from(format!("{url}#:sub")));
    // A directory of an archive is a context of `kiln build` too.
    place
        .fixture
        .kiln(["build", "-o", "here/out", &format!("{url}#:sub/deep")])
        .run()?
        .assert_success();
    let missing = place.bake(&[&url, "--set=*.context=nowhere"])?;
    assert_ne!(missing.code(), Some(0));
    missing.assert_says(&["nowhere"]);

    // A file alone says nothing of other files: contexts are here.
    place.write("file", "mine")?;
    let url = format!("http://{}/docker-bake.hcl", server.address());
    place.bake(&[&url])?.assert_success();
    assert_eq!(place.read("file")?, "mine");
    let gone = place.bake(&[&format!("http://{}/none.hcl", server.address())])?;
    gone.assert_says(&["404"]);
    Ok(())
}

#[test]
fn compose_files_of_a_repository() -> TestResult {
    let place = Place::with(
        GitServing::Backend,
        None,
        &[
            ("compose.yaml", "include:\n  - parts/web.yaml\nservices: {}\n"),
            (
                "parts/web.yaml",
                "services:\n  web:\n    build:\n      context: ./web\n      args: [WHO, WHOSE, WHERE]\n    env_file: web.env\n    environment:\n      WHERE: ${PLACE:-nowhere}\n",
            ),
            ("parts/web.env", "WHO=repository\n"),
            (
                "parts/web/Dockerfile",
                "FROM busybox\nARG WHO WHOSE WHERE\nRUN echo $WHO $WHOSE $WHERE > /who\n",
            ),
        ],
    )?;
    place.write(".env", "PLACE=here\nWHOSE=caller\n")?;
    place.write("web.env", "WHO=thief\n")?;
    place.bake(&[&place.url(), "web"])?.assert_success();
    assert_eq!(place.read("who")?, "repository caller here\n");
    Ok(())
}

#[test]
fn contexts_of_a_local_definition_are_fetched_once() -> TestResult {
    let place = Place::with(GitServing::Backend, None, FILES)?;
    let url = place.url();
    place.write(
        "docker-bake.hcl",
        &format!(
            r#"
group "default" {{ targets = ["one", "two", "three"] }}
target "one" {{
  context = "{url}#main"
  output = ["out/one"]
}}
target "two" {{
  context = "{url}#main"
  dockerfile-inline = "FROM scratch\nCOPY file /inline\n"
  output = ["out/two"]
}}
target "three" {{
  context = "."
  contexts = {{ source = "{url}#main:sub" }}
  dockerfile-inline = "FROM scratch\nCOPY --from=source file /named\n"
  output = ["out/three"]
}}
"#
        ),
    )?;
    place.program(&[]).run()?.assert_success();
    assert_eq!(place.read("one/file")?, "above");
    assert_eq!(place.read("two/inline")?, "above");
    assert_eq!(place.read("three/named")?, "below");
    let fetches = place.server.requests();
    let packs = fetches
        .iter()
        .filter(|request| request.contains("git-upload-pack") && request.starts_with("POST"));
    let packs = packs.count();
    // Another build of the same asks for nothing but where the branch is.
    place.program(&[]).run()?.assert_success();
    let again = place.server.requests().split_off(fetches.len());
    let more = again.iter().filter(|request| request.starts_with("POST")).count();
    assert!(more < packs, "{packs} at first, then {more}: {again:?}");
    Ok(())
}

#[test]
fn the_history_has_each_bake_and_the_audit_holds_one_back() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    // A static x86-64 program in an image for arm64.
    let mut program = vec![0; 64];
    program[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    program[16] = 2;
    program[18] = 62;
    fixture.write("tool", &program)?;
    fixture.write(
        "Dockerfile",
        b"FROM busybox AS good\nRUN true\nFROM busybox AS bad\nCOPY --chmod=0755 tool /usr/bin/tool\nCMD [\"tool\"]\n",
    )?;
    let definition = |target: &str| {
        format!(
            "target {target:?} {{\n  target = {target:?}\n  platforms = [\"linux/amd64\", \"linux/arm64\"]\n  output = [\"type=oci,dest={target}.tar\"]\n}}\n"
        )
    };
    fixture.write("docker-bake.hcl", (definition("good") + &definition("bad")).as_bytes())?;
    let refused = fixture.kiln(["bake", "--audit=error", "good", "bad"]).run()?;
    refused.assert_code(1).assert_says(&[
        "failed to build target `bad`",
        "A01 wrong-architecture on linux/arm64: /usr/bin/tool",
        "--audit=warn",
    ]);
    for target in ["good", "bad"] {
        let path = fixture.directory().join(format!("{target}.tar"));
        assert!(!path.exists(), "what is refused of one target holds all back: {target}");
    }
    let warned = fixture.kiln(["bake", "--explain", "good", "bad"]).run()?;
    warned
        .assert_success()
        .assert_says(&["warning: A01 wrong-architecture"]);
    assert!(fixture.directory().join("good.tar").exists());
    let local = fixture
        .kiln(["bake", "--audit=error", "--set=*.output=out", "good"])
        .run()?;
    local.assert_code(2).assert_says(&["--audit needs an image"]);

    let listed = fixture.kiln(["history", "ls", "--format", "json"]).succeed()?.json();
    let builds = listed.as_array().cloned().unwrap_or_default();
    let status: Vec<&str> = builds.iter().filter_map(|build| build["status"].as_str()).collect();
    assert_eq!(status, ["done", "failed"], "{listed}");
    let shown = fixture.kiln(["history", "show", "^1"]).succeed()?.stdout_text();
    assert!(shown.contains("bake") && shown.contains("bad"), "{shown}");
    Ok(())
}

#[test]
fn whoever_sits_at_a_terminal_is_asked() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    fixture.context(
        "project",
        &[("Dockerfile", "FROM busybox\nCOPY --from=other secret /\n")],
    )?;
    let elsewhere = fixture.context("elsewhere", &[("secret", "s")])?;
    let definition =
        format!("target \"default\" {{\n  contexts = {{ other = {elsewhere:?} }}\n  output = [\"out\"]\n}}\n");
    fixture.write("project/docker-bake.hcl", definition.as_bytes())?;
    for (answer, code) in [("n\r", 2), ("\r", 2), ("y\r", 0)] {
        let mut command = fixture.command(["bake", "--progress=plain"])?;
        command.current_dir(fixture.directory().join("project"));
        let mut terminal = Terminal::start(command)?;
        assert!(terminal.wait_for("[y/N]"), "{}", terminal.shown());
        assert!(terminal.shown().contains("reading"), "{}", terminal.shown());
        assert!(terminal.shown().contains("--allow=fs.read="), "{}", terminal.shown());
        terminal.type_keys(answer)?;
        assert_eq!(terminal.finish(), Some(code), "{answer:?}: {}", terminal.shown());
    }
    assert!(fixture.directory().join("project/out/secret").exists());
    Ok(())
}
