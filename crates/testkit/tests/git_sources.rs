//! Git repositories as contexts and as sources of ADD, fetched from real servers.

#![expect(
    clippy::disallowed_methods,
    reason = "a test puts a program of its own before those of this machine"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use kiln_testkit::{
    Fixture, GitRepository, GitServer, GitServing, OrdinaryUser, Outcome, Program, SubordinateIds, TestResult,
    skip_unless_root,
};

const DOCKERFILE: &str = "FROM scratch\nCOPY . /\n";

/// A fixture, a repository `app` in its directory `git`, and a server for it.
fn served(serving: GitServing) -> Result<(Fixture, GitRepository, GitServer), Box<dyn std::error::Error>> {
    let fixture = Fixture::new()?;
    let root = fixture.directory().join("git");
    let repository = GitRepository::init(root.join("app"))?;
    let server = GitServer::start(&root, serving, None)?;
    Ok((fixture, repository, server))
}

fn build(fixture: &Fixture, arguments: &[&str]) -> Result<Outcome, Box<dyn std::error::Error>> {
    let _ = fs::remove_dir_all(fixture.directory().join("out"));
    Ok(fixture.kiln(["build", "-o", "out"]).args(arguments).run()?)
}

fn read(fixture: &Fixture, path: &str) -> Result<String, Box<dyn std::error::Error>> {
    let path = fixture.directory().join("out").join(path);
    Ok(fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?)
}

#[test]
fn branches_tags_commits_and_directories() -> TestResult {
    for serving in [GitServing::Backend, GitServing::Files] {
        let (fixture, repository, server) = served(serving)?;
        let first = repository.commit(&[
            ("Dockerfile", DOCKERFILE),
            ("file", "first"),
            ("sub/Dockerfile", DOCKERFILE),
        ])?;
        repository.git(["tag", "light"])?;
        repository.git(["tag", "--annotate", "--message=x", "heavy"])?;
        repository.git(["branch", "old"])?;
        repository.commit(&[("file", "second"), ("sub/file", "below")])?;
        repository.commit(&[("file", "third")])?;
        let url = server.url("app");
        for (suffix, content) in [
            ("", "third"),
            ("#main", "third"),
            ("#old", "first"),
            ("?branch=old", "first"),
            ("#light", "first"),
            ("?tag=heavy", "first"),
            ("#refs/tags/heavy", "first"),
            (&format!("#{first}"), "first"),
            (&format!("?ref=old&checksum={}", &first[..9]), "first"),
            (&format!("?tag=heavy&commit={first}"), "first"),
            (&format!("?fetch-by-commit=true&checksum={first}"), "first"),
            ("#main:sub", "below"),
            ("?subdir=/sub", "below"),
        ] {
            build(&fixture, &[&format!("{url}{suffix}")])?.assert_success();
            assert_eq!(read(&fixture, "file")?, content, "{serving:?} {suffix}");
            assert!(!fixture.directory().join("out/.git").exists(), "{suffix}");
        }
    }
    Ok(())
}

#[test]
fn repositories_of_sha256_names() -> TestResult {
    for serving in [GitServing::Backend, GitServing::Files] {
        let fixture = Fixture::new()?;
        let root = fixture.directory().join("git");
        let repository = GitRepository::init_with(root.join("app"), &["--object-format=sha256"])?;
        let first = repository.commit(&[("Dockerfile", DOCKERFILE), ("file", "first")])?;
        assert_eq!(first.len(), 64);
        repository.commit(&[("file", "second")])?;
        let server = GitServer::start(&root, serving, None)?;
        let url = server.url("app");
        let by_checksum = format!("{url}?checksum={first}&fetch-by-commit=true");
        for (context, content) in [
            (url.clone(), "second"),
            (format!("{url}#{first}"), "first"),
            (by_checksum, "first"),
        ] {
            build(&fixture, &[&context])?.assert_success();
            assert_eq!(read(&fixture, "file")?, content, "{serving:?} {context}");
        }
        build(&fixture, &[&format!("{url}?keep-git-dir=true")])?.assert_success();
        assert_eq!(read(&fixture, ".git/HEAD")?.trim().len(), 64);
    }
    Ok(())
}

#[test]
fn a_branch_that_moves_is_built_again() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let root = fixture.directory().join("git");
    let repository = GitRepository::init(root.join("app"))?;
    repository.commit(&[("file", "1")])?;
    let server = GitServer::start(&root, GitServing::Backend, None)?;
    let dockerfile = format!(
        "FROM busybox\nADD {}#main /src\nRUN cat /proc/sys/kernel/random/uuid > /token\n",
        server.url("app")
    );
    fixture.context("ctx", &[("Dockerfile", &dockerfile)])?;
    let mut tokens = Vec::new();
    for content in ["1", "1", "2"] {
        if content == "2" {
            repository.commit(&[("file", "2")])?;
        }
        let before = server.requests().len();
        build(&fixture, &["ctx"])?.assert_success();
        let requests = server.requests().split_off(before);
        assert_eq!(read(&fixture, "src/file")?, content);
        let fetched = requests.iter().filter(|request| request.starts_with("POST")).count();
        tokens.push((read(&fixture, "token")?, fetched));
    }
    assert_eq!(tokens[0].0, tokens[1].0, "nothing has changed");
    assert_ne!(tokens[1].0, tokens[2].0, "the branch has moved");
    assert!(tokens[1].1 < tokens[0].1, "what is here is only asked for: {tokens:?}");
    Ok(())
}

#[test]
fn a_commit_that_is_here_needs_no_network() -> TestResult {
    let (fixture, repository, server) = served(GitServing::Backend)?;
    let commit = repository.commit(&[("Dockerfile", DOCKERFILE), ("file", "x")])?;
    let context = format!("{}#{commit}", server.url("app"));
    build(&fixture, &[&context])?.assert_success();
    drop(server);
    build(&fixture, &[&context])?.assert_success();
    assert_eq!(read(&fixture, "file")?, "x");
    Ok(())
}

#[test]
fn a_repository_that_is_kept_is_one() -> TestResult {
    for serving in [GitServing::Backend, GitServing::Files] {
        let (fixture, repository, server) = served(serving)?;
        repository.commit(&[("Dockerfile", DOCKERFILE), ("file", "1")])?;
        repository.git(["tag", "--annotate", "--message=x", "v1"])?;
        let tagged = repository.git(["rev-parse", "HEAD"])?;
        let latest = repository.commit(&[("file", "2")])?;
        let url = server.url("app");
        for (arguments, head) in [
            (vec![format!("{url}?keep-git-dir=true")], &latest),
            (vec![format!("{url}?tag=v1&keep-git-dir")], &tagged),
            (vec![format!("{url}?keep-git-dir#{tagged}")], &tagged),
            (
                vec![
                    "--build-arg".into(),
                    "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1".into(),
                    url.clone(),
                ],
                &latest,
            ),
        ] {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            build(&fixture, &arguments)?.assert_success();
            assert_eq!(read(&fixture, ".git/HEAD")?, format!("{head}\n"), "{arguments:?}");
            let out = fixture.directory().join("out");
            let status = Program::new("git")
                .args(["-c", "safe.directory=*", "-C"])
                .args([&out])
                .args(["status", "--short"])
                .succeed()?;
            assert_eq!(status.stdout_text(), "", "{arguments:?}");
            let config = read(&fixture, ".git/config")?;
            assert!(config.contains(&url), "{config}");
            assert!(!out.join(".git/hooks").exists(), "no template of this machine's");
        }
    }
    Ok(())
}

#[test]
fn two_machines_make_the_same_image_of_a_kept_repository() -> TestResult {
    let (mut fixture, repository, server) = served(GitServing::Backend)?;
    repository.commit(&[("Dockerfile", DOCKERFILE), ("a/file", "1"), ("b", "2")])?;
    let context = format!("{}?keep-git-dir=true&mtime=commit", server.url("app"));
    let mut digests = Vec::new();
    for state in ["one", "two"] {
        fixture.set_state(fixture.directory().join(state));
        let outcome = fixture
            .kiln(["build", "-o", "type=oci,dest=image.tar", &context])
            .succeed()?;
        digests.push(outcome.stdout_text());
    }
    assert!(digests[0].starts_with("sha256:"), "{digests:?}");
    assert_eq!(digests[0], digests[1]);
    Ok(())
}

#[test]
fn modes_links_and_times() -> TestResult {
    let (fixture, repository, server) = served(GitServing::Backend)?;
    let tool = repository.directory().join("tool");
    fs::write(&tool, "#!/bin/sh\n")?;
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o700))?;
    std::os::unix::fs::symlink("tool", repository.directory().join("link"))?;
    repository.commit(&[("Dockerfile", DOCKERFILE), ("file", "x")])?;
    let url = server.url("app");
    let stat = |path: &str| fixture.directory().join("out").join(path).symlink_metadata();
    build(&fixture, &[&format!("{url}?mtime=commit")])?.assert_success();
    assert_eq!(stat("tool")?.mode() & 0o7777, 0o755);
    assert_eq!(stat("file")?.mode() & 0o7777, 0o644);
    assert!(stat("link")?.is_symlink());
    for path in ["tool", "file", "link"] {
        assert_eq!(stat(path)?.mtime(), 1_600_000_000, "{path}");
    }
    build(&fixture, &[&url])?.assert_success();
    assert_eq!(stat("file")?.mtime(), 0, "without a wish, times are those of the build");
    build(&fixture, &["--build-arg", "SOURCE_DATE_EPOCH=1550000000", &url])?.assert_success();
    assert_eq!(stat("file")?.mtime(), 1_550_000_000, "later times are clamped");
    build(&fixture, &["--build-arg", "SOURCE_DATE_EPOCH=context", &url])?.assert_success();
    assert_eq!(stat("file")?.mtime(), 1_600_000_000, "the time of the commit");
    Ok(())
}

#[test]
fn submodules_come_along_unless_told() -> TestResult {
    let (fixture, repository, server) = served(GitServing::Backend)?;
    let module = GitRepository::init(fixture.directory().join("git/module"))?;
    module.commit(&[("file", "of the module")])?;
    repository.commit(&[("Dockerfile", DOCKERFILE)])?;
    repository.git(["submodule", "--quiet", "add", &server.url("module"), "part"])?;
    // An address that begins with dots is relative to the repository's own.
    repository.git(["submodule", "--quiet", "add", &server.url("module"), "relative"])?;
    repository.git([
        "config",
        "--file=.gitmodules",
        "submodule.relative.url",
        "../../module/.git",
    ])?;
    repository.commit(&[])?;
    let url = server.url("app");
    build(&fixture, &[&url])?.assert_success();
    for part in ["part", "relative"] {
        assert_eq!(read(&fixture, &format!("{part}/file"))?, "of the module");
        let link = fixture.directory().join(format!("out/{part}/.git"));
        assert!(!link.exists(), "nothing points at a repository that is not kept");
    }
    build(&fixture, &[&format!("{url}?submodules=false")])?.assert_success();
    assert!(!fixture.directory().join("out/part/file").exists());
    build(&fixture, &[&format!("{url}?keep-git-dir=true")])?.assert_success();
    let status = Program::new("git")
        .args(["-c", "safe.directory=*", "-C"])
        .args([fixture.directory().join("out/part")])
        .args(["rev-parse", "HEAD"])
        .succeed()?;
    assert_eq!(status.stdout_text().trim(), module.git(["rev-parse", "HEAD"])?);
    Ok(())
}

#[test]
fn add_takes_repositories() -> TestResult {
    let (fixture, repository, server) = served(GitServing::Backend)?;
    let commit = repository.commit(&[("file", "x"), ("sub/deep", "y")])?;
    let url = server.url("app");
    let dockerfile = format!(
        "FROM scratch\nARG REPO={url}\nADD $REPO /plain/\nADD --keep-git-dir=true --checksum={commit} ${{REPO}}#main /kept\n\
         ADD --chmod=600 --chown=12:34 --exclude=deep $REPO#main:sub /below\n"
    );
    fixture.context("ctx", &[("Dockerfile", &dockerfile)])?;
    build(&fixture, &["ctx"])?.assert_success();
    assert_eq!(read(&fixture, "plain/file")?, "x");
    assert!(!fixture.directory().join("out/plain/.git").exists());
    assert_eq!(read(&fixture, "kept/.git/HEAD")?.trim(), commit);
    assert!(!fixture.directory().join("out/below/deep").exists());
    for (dockerfile, message) in [
        (
            format!("ADD --checksum=0123 {url} /x"),
            "expected checksum to match 0123, got",
        ),
        (format!("ADD --checksum=foobar {url} /x"), "expected hex commit hash"),
        (format!("ADD {url}?tag=a&branch=b /x"), "branch conflicts with tag"),
        (
            format!("ADD --keep-git-dir=true {url}?keep-git-dir=false /x"),
            "inconsistent keep-git-dir",
        ),
    ] {
        fixture.context("bad", &[("Dockerfile", &format!("FROM scratch\n{dockerfile}\n"))])?;
        build(&fixture, &["bad"])?.assert_code(2).assert_says(&[message]);
    }
    Ok(())
}

#[test]
fn what_is_not_there_is_said() -> TestResult {
    let (fixture, repository, server) = served(GitServing::Backend)?;
    repository.commit(&[("file", "x")])?;
    let url = server.url("app");
    for (context, code, messages) in [
        (
            format!("{url}#nothing"),
            2,
            vec!["repository does not contain ref nothing", "hint:"],
        ),
        (
            format!("{url}#0123abc"),
            2,
            vec!["repository does not contain ref 0123abc", "abbreviated"],
        ),
        (
            format!("{url}#:nowhere"),
            2,
            vec!["subdirectory `nowhere`", "does not exist"],
        ),
        (
            url.clone(),
            2,
            vec!["failed to read dockerfile: open Dockerfile: no such file", "-f PATH"],
        ),
        (server.url("other"), 3, vec!["`git ls-remote` failed"]),
        (format!("{url}?commit=ffff"), 2, vec!["expected checksum to match ffff"]),
        (format!("{url}?tag=a#b"), 2, vec!["ref conflicts"]),
    ] {
        build(&fixture, &[&context])?.assert_code(code).assert_says(&messages);
    }
    Ok(())
}

#[test]
fn without_git_the_way_out_is_said() -> TestResult {
    let mut fixture = Fixture::new()?;
    fixture.set_env("PATH", "/nonexistent");
    build(&fixture, &["https://127.0.0.1:9/x.git"])?
        .assert_code(3)
        .assert_says(&[
            "git repositories are fetched with the program `git`, which is not installed",
            "apt-get install git",
        ]);
    Ok(())
}

#[test]
fn a_token_opens_a_private_repository_and_is_kept_nowhere() -> TestResult {
    const TOKEN: &str = "t0ken-that-must-not-leak";
    let mut fixture = Fixture::new()?;
    let root = fixture.directory().join("git");
    let repository = GitRepository::init(root.join("app"))?;
    repository.commit(&[("Dockerfile", DOCKERFILE), ("file", "private")])?;
    let server = GitServer::start(&root, GitServing::Backend, Some(TOKEN))?;
    let url = format!("{}?keep-git-dir=true", server.url("app"));
    build(&fixture, &[&url])?
        .assert_code(3)
        .assert_says(&["GIT_AUTH_TOKEN"]);
    fixture.set_env("MY_TOKEN", TOKEN);
    let outcome = build(
        &fixture,
        &["--progress=plain", "--secret", "id=GIT_AUTH_TOKEN,env=MY_TOKEN", &url],
    )?;
    outcome.assert_success();
    assert_eq!(read(&fixture, "file")?, "private");
    assert!(!outcome.stderr.contains(TOKEN));
    // As part of the address it works too, and is masked wherever the address is shown or kept.
    fixture.set_state(fixture.directory().join("other"));
    let address = url.replacen("http://", &format!("http://user:{TOKEN}@"), 1);
    let outcome = build(&fixture, &["--progress=plain", &address])?;
    outcome.assert_success();
    assert!(!outcome.stderr.contains(TOKEN), "{}", outcome.stderr);
    for directory in ["state", "other", "out"] {
        let found = Program::new("grep")
            .args(["-r", "--files-with-matches", "--text", TOKEN])
            .args([fixture.directory().join(directory)])
            .run()?;
        assert_eq!(found.stdout_text(), "", "{directory}");
    }
    Ok(())
}

#[test]
fn ssh_remotes_use_the_agent_and_no_configuration_of_the_users() -> TestResult {
    let mut fixture = Fixture::new()?;
    let repository = GitRepository::init(fixture.directory().join("git/app"))?;
    repository.commit(&[("Dockerfile", DOCKERFILE), ("file", "by ssh")])?;
    // Stands for the client: notes how it is called and which keys there are, and runs the server's side here.
    let ssh = fixture.write(
        "bin/ssh",
        format!(
            "#!/bin/sh\n{{ echo \"$SSH_AUTH_SOCK $*\"; timeout 2 ssh-add -l; }} >> {}/calls 2>&1\nfor last; do :; done\n\
             exec sh -c \"$last\"\n",
            fixture.directory().display()
        )
        .as_bytes(),
    )?;
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755))?;
    let path = std::env::var("PATH").unwrap_or_default();
    fixture.set_env("PATH", &format!("{}/bin:{path}", fixture.directory().display()));
    let agent = fixture.directory().join("agent.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&agent)?;
    fixture.set_env("SSH_AUTH_SOCK", &agent.display().to_string());
    let context = format!("git@host.example:{}/.git", repository.directory().display());
    build(&fixture, &["--ssh", "default", &context])?.assert_success();
    assert_eq!(read(&fixture, "file")?, "by ssh");
    let calls = fs::read_to_string(fixture.directory().join("calls"))?;
    let expected = [
        agent.to_string_lossy().as_ref(),
        "-F /dev/null",
        "BatchMode=yes",
        "git@host.example",
    ]
    .map(str::to_owned);
    for text in expected {
        assert!(calls.contains(&text), "`{text}` in {calls}");
    }
    // A key of a file is offered as an agent would.
    let key = fixture.directory().join("key");
    Program::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
        .args([&key])
        .succeed()?;
    let printed = Program::new("ssh-keygen")
        .args(["-l", "-f"])
        .args([&key])
        .succeed()?
        .stdout_text();
    let fingerprint = printed.split(' ').nth(1).unwrap_or_default().to_owned();
    repository.commit(&[("file", "by key")])?;
    build(&fixture, &["--ssh", &format!("default={}", key.display()), &context])?.assert_success();
    assert_eq!(read(&fixture, "file")?, "by key");
    let calls = fs::read_to_string(fixture.directory().join("calls"))?;
    assert!(
        fingerprint.starts_with("SHA256:") && calls.contains(&fingerprint),
        "{fingerprint} in {calls}"
    );
    Ok(())
}

#[test]
fn an_ordinary_user_builds_repositories() -> TestResult {
    if skip_unless_root("an_ordinary_user_builds_repositories") {
        return Ok(());
    }
    let user = OrdinaryUser::create(SubordinateIds::Granted)?;
    let mut fixture = Fixture::new()?;
    fixture.binary_for_everyone()?;
    // Served from elsewhere: the fixture becomes the user's.
    let root = tempfile::tempdir()?;
    let repository = GitRepository::init(root.path().join("app"))?;
    repository.commit(&[("Dockerfile", DOCKERFILE), ("file", "x")])?;
    let server = GitServer::start(root.path(), GitServing::Backend, None)?;
    let context = format!("{}?keep-git-dir=true", server.url("app"));
    fixture
        .kiln_as(&user, ["build", "-o", "out", &context])?
        .run()?
        .assert_success();
    assert_eq!(read(&fixture, "file")?, "x");
    assert!(read(&fixture, ".git/HEAD")?.len() > 40);
    Ok(())
}

/// A repository whose every commit tries to run something here. `marker` must not come to be.
fn assert_harmless(fixture: &Fixture, context: &str, marker: &Path) -> Result<Outcome, Box<dyn std::error::Error>> {
    let outcome = build(fixture, &[context])?;
    assert!(!marker.exists(), "something of the repository ran: {}", outcome.stderr);
    Ok(outcome)
}

#[test]
fn nothing_in_a_repository_runs() -> TestResult {
    let (fixture, repository, server) = served(GitServing::Backend)?;
    let marker = fixture.directory().join("marker");
    let touch = format!("touch {}", marker.display());
    let url = server.url("app");
    // Filters, hooks and attributes that the checkout brings along have no configuration to name them.
    repository.commit(&[
        ("Dockerfile", DOCKERFILE),
        (".gitattributes", "* filter=evil diff=evil\n"),
        (
            ".gitconfig",
            &format!("[filter \"evil\"]\n\tsmudge = {touch}\n[core]\n\thooksPath = hooks\n"),
        ),
        ("hooks/post-checkout", &format!("#!/bin/sh\n{touch}\n")),
    ])?;
    fs::set_permissions(
        repository.directory().join("hooks/post-checkout"),
        fs::Permissions::from_mode(0o755),
    )?;
    repository.commit(&[])?;
    assert_harmless(&fixture, &url, &marker)?.assert_success();
    assert_harmless(&fixture, &format!("{url}?keep-git-dir=true"), &marker)?.assert_success();
    // Submodules whose addresses are commands or options.
    for address in [
        format!("ext::sh -c {}", touch.replace(' ', "%20")),
        format!("--upload-pack={touch}"),
        format!("-u{touch}"),
        format!("ssh://-oProxyCommand={}/x", touch.replace(' ', "%20")),
        format!("file://{}", fixture.directory().join("git/app/.git").display()),
        "/etc".to_owned(),
    ] {
        let modules = format!("[submodule \"evil\"]\n\tpath = evil\n\turl = {address}\n\tupdate = checkout\n");
        repository.commit(&[(".gitmodules", &modules)])?;
        let head = repository.git(["rev-parse", "HEAD"])?;
        repository.git(["update-index", "--add", "--cacheinfo", &format!("160000,{head},evil")])?;
        repository.git(["commit", "--quiet", "--message=evil"])?;
        let outcome = assert_harmless(&fixture, &url, &marker)?;
        assert!(
            !outcome.status.success(),
            "{address}: a submodule that cannot be had is an error"
        );
        assert_harmless(&fixture, &format!("{url}?submodules=false"), &marker)?.assert_success();
    }
    let command = format!("[submodule \"evil\"]\n\tpath = evil\n\turl = {url}\n\tupdate = !{touch}\n");
    fs::write(repository.directory().join(".gitmodules"), command)?;
    repository.git(["add", ".gitmodules"])?;
    repository.git(["commit", "--quiet", "--message=evil"])?;
    assert_harmless(&fixture, &url, &marker)?;
    Ok(())
}

#[test]
fn links_lead_nowhere() -> TestResult {
    let (fixture, repository, server) = served(GitServing::Backend)?;
    fixture.write("secret/Dockerfile", b"FROM scratch\nCOPY . /\n")?;
    fixture.write("secret/file", b"of this machine")?;
    let secret = fixture.directory().join("secret");
    std::os::unix::fs::symlink(&secret, repository.directory().join("out"))?;
    std::os::unix::fs::symlink(secret.join("Dockerfile"), repository.directory().join("Dockerfile"))?;
    std::os::unix::fs::symlink(secret.join("file"), repository.directory().join("stolen"))?;
    repository.commit(&[("Real", "FROM scratch\nCOPY stolen /\n")])?;
    let url = server.url("app");
    build(&fixture, &[&format!("{url}#:out")])?
        .assert_code(2)
        .assert_says(&["leads through a symbolic link"]);
    build(&fixture, &[&url])?
        .assert_code(2)
        .assert_says(&["failed to read dockerfile"]);
    let outcome = build(&fixture, &["-f", "Real", &url])?;
    assert!(!outcome.status.success(), "a link out of the context leads to nothing");
    Ok(())
}

#[test]
fn the_users_configuration_is_not_read() -> TestResult {
    let (fixture, repository, server) = served(GitServing::Backend)?;
    repository.commit(&[("Dockerfile", DOCKERFILE), ("file", "x")])?;
    let marker = fixture.directory().join("marker");
    let configuration = format!(
        "[url \"http://127.0.0.1:9/\"]\n\tinsteadOf = http://127.0.0.1\n[core]\n\tfsmonitor = touch {}\n",
        marker.display()
    );
    fixture.write("home/.gitconfig", configuration.as_bytes())?;
    fixture.write("config/git/config", configuration.as_bytes())?;
    build(&fixture, &[&server.url("app")])?.assert_success();
    assert!(!marker.exists());
    Ok(())
}
