//! Scripts, configurations and indexes that contradict the files.

use std::rc::Rc;

use kiln_testkit::{TestResult, Tree};
use serde_json::{Value, json};

use super::bases;
use super::table::{CaseImage, Table};

pub(crate) fn add(table: &mut Table) -> TestResult {
    scripts(table)?;
    configurations(table)?;
    indexes(table)
}

fn scripts(table: &mut Table) -> TestResult {
    let base = table.glibc("amd64")?;
    let rows: &[(&str, &str, bool)] = &[
        ("#!/bin/sh\nexit 0\n", "a script for the shell", false),
        ("#!/usr/bin/python3\n", "a script without its Python", true),
        ("#!/usr/bin/env node\n", "a script without env", true),
        (
            "#!/opt/venv/bin/python\n",
            "a script of an environment that stayed behind",
            true,
        ),
    ];
    for (text, name, planted) in rows {
        let image = CaseImage::new("linux/amd64", base.clone()).layer(
            "COPY tool /usr/local/bin/",
            Tree::new().file("usr/local/bin/tool", 0o755, *text),
        );
        let errors: &[(&str, &str)] = if *planted {
            &[("A07", "/usr/local/bin/tool")]
        } else {
            &[]
        };
        table.faulty(name, image, errors);
    }
    let env = bases::packages(
        &table.parts,
        "amd64",
        &[
            "coreutils",
            "libselinux1",
            "libacl1",
            "libattr1",
            "libgmp10",
            "libpcre2-8-0",
        ],
    )?;
    let tool = env.file("usr/local/bin/tool", 0o755, "#!/usr/bin/env node\n");
    let image = CaseImage::new("linux/amd64", base.clone()).layer("COPY tool /", tool.clone());
    table.faulty("a script without its node", image, &[("A07", "/usr/local/bin/tool")]);
    let node = tool.file("opt/node/bin/node", 0o755, "#!/bin/sh\n");
    let image = CaseImage::new("linux/amd64", base.clone()).layer("COPY tool /", node.clone());
    table.faulty("a node outside of PATH", image, &[("A07", "/usr/local/bin/tool")]);
    let image = CaseImage::new("linux/amd64", base)
        .layer("COPY tool /", node)
        .with("Env", json!(["PATH=/opt/node/bin:/usr/local/bin:/usr/bin:/bin"]));
    table.clean("a node on the PATH of the configuration", image);
    Ok(())
}

fn configurations(table: &mut Table) -> TestResult {
    let base = table.glibc("arm64")?;
    let files = Tree::new()
        .file("app/run.sh", 0o755, "#!/bin/sh\nexec /app/tool\n")
        .file("app/plain.sh", 0o755, "echo no first line\n")
        .file("app/data.sh", 0o644, "#!/bin/sh\n")
        .file(
            "app/tool",
            0o755,
            bases::file(&table.parts, "arm64", "hello", "usr/bin/hello")?,
        );
    let rows: Vec<(&str, &str, Value, bool)> = vec![
        ("an entrypoint script", "Entrypoint", json!(["/app/run.sh"]), false),
        ("a relative entrypoint", "Entrypoint", json!(["./run.sh"]), false),
        ("a command by name", "Cmd", json!(["sh"]), false),
        (
            "a shell command",
            "Cmd",
            json!(["/bin/sh", "-c", "echo $HOME && /app/tool"]),
            false,
        ),
        (
            "an entrypoint that is missing",
            "Entrypoint",
            json!(["/app/server"]),
            true,
        ),
        (
            "an entrypoint without a first line",
            "Entrypoint",
            json!(["/app/plain.sh"]),
            true,
        ),
        (
            "an entrypoint that is not executable",
            "Entrypoint",
            json!(["/app/data.sh"]),
            true,
        ),
        ("an entrypoint that is a directory", "Entrypoint", json!(["/app"]), true),
        (
            "a command that is not on PATH",
            "Cmd",
            json!(["nginx", "-g", "daemon off;"]),
            true,
        ),
        (
            "a shell command that is missing",
            "Cmd",
            json!(["/bin/sh", "-c", "exec gunicorn app"]),
            true,
        ),
        (
            "a health check without curl",
            "Healthcheck",
            json!({"Test": ["CMD-SHELL", "curl -f http://localhost/ || exit 1"]}),
            true,
        ),
        (
            "a health check",
            "Healthcheck",
            json!({"Test": ["CMD", "/app/tool"]}),
            false,
        ),
        ("no health check", "Healthcheck", json!({"Test": ["NONE"]}), false),
    ];
    for (name, member, value, planted) in rows {
        let image = CaseImage::new("linux/arm64", base.clone())
            .layer("COPY app /app", files.clone())
            .with("WorkingDir", json!("/app"))
            .with(member, value);
        let errors: &[(&str, &str)] = if planted { &[("A08", "")] } else { &[] };
        table.faulty(name, image, errors);
    }
    // A script hands over to a program of another platform, which nothing else reaches.
    let foreign = files.file(
        "app/tool",
        0o755,
        bases::file(&table.parts, "amd64", "hello", "usr/bin/hello")?,
    );
    let image = CaseImage::new("linux/arm64", base)
        .layer("COPY app /app", foreign)
        .with("Entrypoint", json!(["/app/run.sh"]));
    table.faulty(
        "a foreign program behind an entrypoint script",
        image,
        &[("A01", "/app/tool")],
    );
    Ok(())
}

fn indexes(table: &mut Table) -> TestResult {
    let amd64 = table.glibc("amd64")?;
    let arm64 = table.glibc("arm64")?;
    let of = |platform: &str, base: Rc<Tree>| CaseImage::new(platform, base);
    table.several(
        "an index of two good images",
        vec![of("linux/amd64", amd64.clone()), of("linux/arm64", arm64.clone())],
        &[],
    );
    let mut image = of("linux/amd64", amd64.clone());
    image.entry = Some(json!({"os": "linux", "architecture": "arm64"}));
    // The image is then looked at as what it claims to be.
    let programs = [
        "/bin/bash",
        "/bin/dash",
        "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
        "/sbin/ldconfig",
        "/usr/bin/clear_console",
        "/usr/bin/getconf",
        "/usr/bin/getent",
        "/usr/bin/iconv",
        "/usr/bin/locale",
        "/usr/bin/localedef",
        "/usr/bin/pldd",
        "/usr/bin/zdump",
        "/usr/sbin/iconvconfig",
        "/usr/sbin/zic",
    ];
    let mut errors = vec![("linux/arm64", "A09", ""), ("linux/arm64", "A08", "")];
    errors.extend(programs.map(|path| ("linux/arm64", "A01", path)));
    table.several("an index that names another platform", vec![image], &errors);

    let mut image = of(
        "linux/arm/v6",
        bases::packages(&table.parts, "armel", &["busybox-static"])?.into(),
    )
    .with("Cmd", json!(["/bin/busybox"]));
    image.entry = Some(json!({"os": "linux", "architecture": "arm", "variant": "v7"}));
    table.several(
        "an index that names another variant",
        vec![image],
        &[("linux/arm/v7", "A09", "")],
    );

    let busybox = Rc::new(bases::packages(&table.parts, "amd64", &["busybox-static"])?);
    let shell = |image: CaseImage| image.with("Cmd", json!(["/bin/busybox"]));
    table.several(
        "one base for two platforms",
        vec![
            shell(of("linux/amd64", busybox.clone())),
            shell(of("linux/arm64", busybox.clone())),
        ],
        &[
            ("linux/arm64", "A09", ""),
            ("linux/arm64", "A01", "/bin/busybox"),
            ("linux/arm64", "A08", ""),
        ],
    );
    let images = ["linux/amd64", "linux/arm64"].map(|platform| shell(of(platform, busybox.clone())));
    table.several(
        "one manifest for two platforms",
        images.into(),
        &[
            ("linux/arm64", "A09", ""),
            ("linux/arm64", "A01", "/bin/busybox"),
            ("linux/arm64", "A08", ""),
        ],
    );
    if let Some(case) = table.cases.last_mut() {
        case.shares_manifest = true;
    }
    let script = Rc::new(Tree::new().file("data/readme", 0o644, "the same everywhere\n"));
    table.several(
        "files without machine code for two platforms",
        ["linux/amd64", "linux/arm64"]
            .map(|platform| {
                let mut image = of(platform, script.clone());
                image.config = json!({});
                image
            })
            .into(),
        &[],
    );
    Ok(())
}
