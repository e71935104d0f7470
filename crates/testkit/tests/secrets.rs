//! Secrets and SSH agents: seen by the step that asks for them, and nowhere else.

use std::fs;
use std::path::Path;

use kiln_testkit::{Fixture, Program, TestResult};

/// A value that nothing else contains.
const VALUE: &str = "hunter2-4f1c9a77e0";

/// Files below a directory that contain the value.
fn traces(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            let kind = entry.file_type();
            if kind.as_ref().is_ok_and(fs::FileType::is_dir) {
                pending.push(path);
            } else if kind.is_ok_and(|kind| kind.is_file())
                && fs::read(&path)
                    .is_ok_and(|bytes| bytes.windows(VALUE.len()).any(|window| window == VALUE.as_bytes()))
            {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

#[test]
fn a_secret_is_seen_by_its_step_and_left_nowhere() -> TestResult {
    let mut fixture = Fixture::with_base_images()?;
    let digest = "sha256sum | cut -c1-16";
    let dockerfile = format!(
        "FROM busybox\n\
         RUN --mount=type=secret,id=token cat /run/secrets/token | {digest} > /file; stat -c '%u %g %a' /run/secrets/token > /mode; cat /run/secrets/token\n\
         RUN --mount=type=secret,id=token,target=/etc/t,uid=12,gid=34,mode=0440 stat -c '%u %g %a' /etc/t >> /mode\n\
         RUN --mount=type=secret,id=token,env=TOKEN printf %s \"$TOKEN\" | {digest} > /env; ls /run/secrets >> /env 2>&1; echo got $TOKEN >&2\n\
         RUN --mount=type=secret,id=token,env=T,target=/both [ \"$(cat /both)\" = \"$T\" ]\n\
         RUN --mount=type=secret,id=other,env=OTHER [ -z \"$OTHER\" ] && [ ! -e /run/secrets/other ]\n\
         RUN --mount=type=secret,id=variable,env=V printf %s \"$V\" | {digest} > /variable\n\
         RUN for i in 1; do echo plain; done\n"
    );
    let secrets = fixture.directory().join("secret-file");
    fixture.write("secret-file", VALUE.as_bytes())?;
    fixture.set_env("SECRET_VARIABLE", VALUE);
    fixture.context("app", &[("Dockerfile", &dockerfile)])?;
    let file = format!("id=token,src={}", secrets.display());
    let arguments = [
        "build",
        "--secret",
        &file,
        "--secret",
        "id=variable,env=SECRET_VARIABLE",
        "--progress",
        "plain",
        "--metadata-file",
        "metadata",
        "-o",
        "type=oci,dest=image,tar=false",
        "-o",
        "out",
        "app",
    ];
    let outcome = fixture.kiln(arguments).run()?;
    outcome.assert_success();
    let expected = Program::new("sh").args(["-c", &format!("printf %s {VALUE} | sha256sum | cut -c1-16")]);
    let expected = expected.succeed()?.stdout_text();
    let read = |path: &str| fs::read_to_string(fixture.directory().join(path));
    assert_eq!(read("out/file")?, expected);
    assert_eq!(read("out/mode")?, "0 0 400\n12 34 440\n");
    assert!(read("out/env")?.starts_with(&expected), "{}", read("out/env")?);
    assert!(
        read("out/env")?.contains("No such file"),
        "with `env` alone there is no file"
    );
    assert_eq!(read("out/variable")?, expected);
    assert!(outcome.stderr.contains("got ***"), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains(VALUE), "{}", outcome.stderr);
    fs::remove_file(&secrets)?;
    assert_eq!(traces(fixture.directory()), Vec::<String>::new());
    assert!(!fixture.directory().join("out/run/secrets").exists());
    Ok(())
}

#[test]
fn a_failing_step_tells_no_secret() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = "FROM busybox\nRUN --mount=type=secret,id=token cat /run/secrets/token; exit 3\n";
    fixture.context("app", &[("Dockerfile", dockerfile)])?;
    fixture.write("secret-file", VALUE.as_bytes())?;
    for progress in ["plain", "rawjson", "quiet"] {
        let arguments = [
            "build",
            "--secret",
            "id=token,src=secret-file",
            "--progress",
            progress,
            "app",
        ];
        let outcome = fixture.kiln(arguments).run()?;
        outcome.assert_code(1).assert_says(&["***", "exit code: 3"]);
        assert!(!outcome.stderr.contains(VALUE), "{}", outcome.stderr);
    }
    Ok(())
}

#[test]
fn another_value_of_a_secret_runs_nothing_again() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = "FROM busybox\nRUN --mount=type=secret,id=token cat /proc/sys/kernel/random/uuid > /token\n";
    fixture.context("app", &[("Dockerfile", dockerfile)])?;
    for (value, out) in [("one", "one"), ("two", "two")] {
        fixture.write("secret-file", value.as_bytes())?;
        let arguments = ["build", "--secret", "id=token,src=secret-file", "-o", out, "app"];
        fixture.kiln(arguments).run()?.assert_success();
    }
    let read = |path: &str| fs::read_to_string(fixture.directory().join(path));
    assert_eq!(read("one/token")?, read("two/token")?);
    Ok(())
}

#[test]
fn what_is_wrong_with_a_secret_or_agent_is_told() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    fixture.context("app", &[("Dockerfile", "FROM busybox\n")])?;
    fixture.write("not-a-key", b"nothing")?;
    for (flag, value, said) in [
        ("--secret", "src=x", "it has no id"),
        (
            "--secret",
            "id=x,src=/nowhere",
            "failed to read the secret `x` from `/nowhere`",
        ),
        ("--secret", "id=x,env=UNSET", "`UNSET` of the secret `x` is not set"),
        ("--secret", "id=x,kind=y", "unexpected key 'kind'"),
        ("--ssh", "default", "SSH_AUTH_SOCK is not set"),
        ("--ssh", "default=not-a-key", "it is no private key"),
    ] {
        let outcome = fixture.kiln(["build", flag, value, "app"]).run()?;
        outcome.assert_code(2).assert_says(&[said]);
    }
    Ok(())
}

/// Asks the agent at `SSH_AUTH_SOCK` which keys there are, and then to remove them all.
const CLIENT: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
static int ask(int fd, unsigned char kind) {
    unsigned char request[5] = {0, 0, 0, 1, kind}, answer[65536];
    if (write(fd, request, 5) != 5) return -1;
    long got = 0;
    while (got < 4) { long n = read(fd, answer + got, 4 - got); if (n <= 0) return -1; got += n; }
    long length = answer[2] << 8 | answer[3];
    for (got = 0; got < length;) { long n = read(fd, answer + got, length - got); if (n <= 0) return -1; got += n; }
    if (answer[0] == 12) return answer[4];
    return -answer[0];
}
int main(void) {
    const char *path = getenv("SSH_AUTH_SOCK");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat stat_of_it;
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) { perror("connect"); return 1; }
    stat(path, &stat_of_it);
    int keys = ask(fd, 11), removed = ask(fd, 19);
    printf("%s %o %d:%d keys %d removed %d\n", path, stat_of_it.st_mode & 0777, stat_of_it.st_uid, stat_of_it.st_gid, keys, removed);
    return 0;
}
"#;

#[test]
fn an_agent_or_keys_answer_in_the_step() -> TestResult {
    let mut fixture = Fixture::with_base_images()?;
    let dockerfile = "FROM busybox\nCOPY client /client\n\
         RUN --mount=type=ssh /client > /one\n\
         RUN --mount=type=ssh,id=keys,target=/agent,mode=0666,uid=12,gid=34 /client > /two\n\
         RUN --mount=type=ssh,id=absent [ -z \"$SSH_AUTH_SOCK\" ]\n";
    let context = fixture.context("app", &[("Dockerfile", dockerfile), ("client.c", CLIENT)])?;
    let (source, program) = (context.join("client.c"), context.join("client"));
    Program::new("cc")
        .args(["-static", "-o"])
        .args([&program, &source])
        .succeed()?;
    let directory = fixture.directory().to_owned();
    let keygen = |kind: &str, name: &str| {
        let path = directory.join(name).display().to_string();
        Program::new("ssh-keygen")
            .args(["-q", "-t", kind, "-N", "", "-f", &path])
            .succeed()
    };
    keygen("ed25519", "key1")?;
    keygen("rsa", "key2")?;
    let socket = directory.join("agent.sock").display().to_string();
    let started = Program::new("ssh-agent").args(["-a", &socket]).succeed()?.stdout_text();
    let process = started
        .split("SSH_AGENT_PID=")
        .nth(1)
        .and_then(|rest| rest.split(';').next())
        .unwrap_or_default();
    let process = process.to_owned();
    Program::new("ssh-add")
        .with(|command| _ = command.env("SSH_AUTH_SOCK", &socket))
        .args([directory.join("key1")])
        .succeed()?;
    fixture.set_env("SSH_AUTH_SOCK", &socket);
    let keys = "keys=key1,key2";
    let outcome = fixture
        .kiln(["build", "--ssh", "default", "--ssh", keys, "-o", "out", "app"])
        .run()?;
    let left = Program::new("ssh-add")
        .with(|command| _ = command.env("SSH_AUTH_SOCK", &socket))
        .args(["-l"])
        .succeed();
    Program::new("kill").args([process]).succeed()?;
    outcome.assert_success();
    let read = |path: &str| fs::read_to_string(fixture.directory().join(path));
    assert_eq!(
        read("out/one")?,
        "/run/buildkit/ssh_agent.0 600 0:0 keys 1 removed -5\n"
    );
    assert_eq!(read("out/two")?, "/agent 666 12:34 keys 2 removed -5\n");
    assert_eq!(
        left?.stdout_text().lines().count(),
        1,
        "the step could not remove the key"
    );
    assert!(!fixture.directory().join("out/run/buildkit").exists());
    Ok(())
}
