//! RUN: shells and here-documents, the network, what a step may do, and what it may use.

use std::collections::BTreeSet;
use std::fs;

use kiln_testkit::{Fixture, TestResult, skip_unless_root};

fn read(fixture: &Fixture, path: &str) -> std::io::Result<String> {
    fs::read_to_string(fixture.directory().join(path))
}

/// Names of the interfaces in `/proc/net/dev`.
fn interfaces(text: &str) -> BTreeSet<String> {
    let name = |line: &str| line.split_once(':').map(|(name, _)| name.trim().to_owned());
    text.lines().filter_map(name).collect()
}

#[test]
fn here_documents_are_commands_programs_and_input() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = r#"FROM busybox
ENV NAME=world
RUN <<EOF
set -e
echo "hello $NAME" > /plain
cd /tmp
pwd >> /plain
EOF
RUN <<-"EOT"
	echo '$NAME' > /tabs
	EOT
RUN <<EOF
#!/bin/sh -u
echo "a program at $0, $-" > /program
EOF
RUN cat <<ONE <<TWO > /last
first $NAME
ONE
second
TWO
RUN cat <<'QUOTED' > /quoted && echo after >> /quoted
literally $NAME
QUOTED
RUN 3<<EOF cat <&3 > /third
by number
EOF
SHELL ["/bin/sh", "-euc"]
RUN echo "$0 $-" > /shell
SHELL ["/bin/busybox", "env", "MARK=set", "/bin/sh", "-c"]
RUN echo $MARK >> /shell
RUN ["/bin/sh", "-c", "echo $MARK. >> /shell"]
"#;
    fixture.context("app", &[("Dockerfile", dockerfile)])?;
    fixture.kiln(["build", "-o", "out", "app"]).run()?.assert_success();
    for (file, expected) in [
        ("plain", "hello world\n/tmp\n"),
        ("tabs", "$NAME\n"),
        ("program", "a program at /dev/pipes/EOF, u\n"),
        ("last", "second\n"),
        ("quoted", "literally $NAME\nafter\n"),
        ("third", "by number\n"),
    ] {
        assert_eq!(read(&fixture, &format!("out/{file}"))?, expected, "{file}");
    }
    let shell = read(&fixture, "out/shell")?;
    let lines: Vec<&str> = shell.lines().collect();
    assert!(lines[0].contains('e') && lines[0].contains('u'), "{shell}");
    assert_eq!(lines[1..], ["set", "."]);
    Ok(())
}

#[test]
fn the_network_is_the_machines_or_none() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = "FROM busybox\nRUN cat /proc/net/dev > /default\nRUN --network=none cat /proc/net/dev > /none; ping -c 1 127.0.0.1 > /ping\n\
        RUN --network=default cat /proc/net/dev > /said\n";
    fixture.context("app", &[("Dockerfile", dockerfile)])?;
    fixture.kiln(["build", "-o", "out", "app"]).run()?.assert_success();
    let own = interfaces(&fs::read_to_string("/proc/net/dev")?);
    assert_eq!(
        interfaces(&read(&fixture, "out/none")?),
        BTreeSet::from(["lo".to_owned()])
    );
    assert_eq!(interfaces(&read(&fixture, "out/said")?), own);
    assert!(
        read(&fixture, "out/ping")?.contains("1 packets received"),
        "loopback is up"
    );
    fixture
        .kiln(["build", "--network", "none", "-o", "closed", "app"])
        .run()?
        .assert_success();
    assert_eq!(
        interfaces(&read(&fixture, "closed/default")?),
        BTreeSet::from(["lo".to_owned()])
    );
    fixture.context(
        "host",
        &[(
            "Dockerfile",
            "FROM busybox\nRUN --network=host cat /proc/net/dev > /host\n",
        )],
    )?;
    let refused = fixture.kiln(["build", "-o", "out", "host"]).run()?;
    refused
        .assert_code(2)
        .assert_says(&["network.host is not allowed", "--allow network.host"]);
    let allowed = fixture
        .kiln(["build", "--allow", "network.host", "-o", "host-out", "host"])
        .run()?;
    allowed.assert_success();
    assert_eq!(interfaces(&read(&fixture, "host-out/host")?), own);
    Ok(())
}

#[test]
fn privileges_are_dockers_unless_they_are_allowed() -> TestResult {
    if skip_unless_root("privileges_are_dockers_unless_they_are_allowed") {
        return Ok(());
    }
    let fixture = Fixture::with_base_images()?;
    let dockerfile = "FROM busybox\nRUN grep -E 'CapEff|Seccomp:' /proc/self/status > /usual\n\
        RUN --security=sandbox mkdir -p /mnt; mount -t tmpfs none /mnt && echo mounted > /usual-mount || true\n\
        RUN --security=insecure grep -E 'CapEff|Seccomp:' /proc/self/status > /insecure && mount -t tmpfs none /mnt && echo mounted > /mounted\n";
    fixture.context("app", &[("Dockerfile", dockerfile)])?;
    let refused = fixture.kiln(["build", "-o", "out", "app"]).run()?;
    refused
        .assert_code(2)
        .assert_says(&["security.insecure is not allowed", "--allow security.insecure"]);
    let allowed = fixture
        .kiln(["build", "--allow", "security.insecure", "-o", "out", "app"])
        .run()?;
    allowed.assert_success();
    assert_eq!(read(&fixture, "out/usual")?, "CapEff:\t00000000a80425fb\nSeccomp:\t2\n");
    assert!(!fixture.directory().join("out/usual-mount").exists());
    let insecure = read(&fixture, "out/insecure")?;
    assert!(
        insecure.ends_with("Seccomp:\t0\n") && !insecure.contains("a80425fb"),
        "{insecure}"
    );
    assert_eq!(read(&fixture, "out/mounted")?, "mounted\n");
    Ok(())
}

#[test]
fn devices_are_told_when_they_are_needed() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let build = |device: &str| {
        let dockerfile = format!("FROM busybox\nRUN --device={device} true\n");
        fixture.context("app", &[("Dockerfile", &dockerfile)])?;
        fixture.kiln(["build", "-o", "out", "app"]).run()
    };
    build("vendor.example/class=one")?.assert_success();
    let needed = build("vendor.example/class=one,required")?;
    needed
        .assert_code(2)
        .assert_says(&["`vendor.example/class=one` is not available", "RUN --device="]);
    build("one,colour=red")?
        .assert_code(2)
        .assert_says(&["unexpected key 'colour'"]);
    Ok(())
}

#[test]
fn memory_for_sharing_limits_and_hosts_are_as_asked() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let dockerfile = "FROM busybox\nRUN df -k /dev/shm | tail -1 | awk '{print $2}' > /shm; ulimit -n > /files; cat /etc/hosts > /hosts; hostname > /name\n";
    fixture.context("app", &[("Dockerfile", dockerfile)])?;
    let arguments = [
        "build",
        "--shm-size",
        "8m",
        "--ulimit",
        "nofile=123:456",
        "--add-host",
        "db:10.0.0.2",
        "--build-arg",
        "BUILDKIT_SANDBOX_HOSTNAME=builder",
        "-o",
        "out",
        "app",
    ];
    fixture.kiln(arguments).run()?.assert_success();
    assert_eq!(read(&fixture, "out/shm")?, "8192\n");
    assert_eq!(read(&fixture, "out/files")?, "123\n");
    assert!(read(&fixture, "out/hosts")?.contains("10.0.0.2\tdb\n"));
    assert_eq!(read(&fixture, "out/name")?, "builder\n");
    assert!(
        !fixture.directory().join("out/etc/hosts").exists(),
        "it is only mounted"
    );
    Ok(())
}
