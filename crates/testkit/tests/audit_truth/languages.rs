//! Packages of Python, Node.js, Ruby, Java and Go with native parts.

use std::path::Path;
use std::rc::Rc;

use kiln_testkit::{TestResult, TestkitError, Tree, java_archive};
use serde_json::json;

use super::bases;
use super::clean::is_amd64;
use super::table::{CaseImage, Table};

const SITE: &str = "usr/local/lib/python3.11/site-packages";
const SPEEDUPS: &str = "/usr/local/lib/python3.11/site-packages/markupsafe/_speedups.cpython-311";
const TAGS: &str = "/usr/local/lib/python3.11/site-packages/MarkupSafe-2.1.5.dist-info/WHEEL";

pub(crate) fn add(table: &mut Table) -> TestResult {
    wheels(table)?;
    node(table)?;
    ruby(table)?;
    java(table)?;
    go(table)
}

fn base(table: &Table, libc: &str, architecture: &str) -> Result<Rc<Tree>, TestkitError> {
    match libc {
        "musl" => table.musl(architecture),
        _ => table.glibc(architecture),
    }
}

fn installed(at: &str, files: &Path) -> Result<Tree, TestkitError> {
    Tree::new().with_directory(at, files)
}

fn wheels(table: &mut Table) -> TestResult {
    let rows = [
        ("manylinux2014_x86_64", "glibc", "amd64", "linux/amd64", None),
        ("manylinux2014_aarch64", "glibc", "arm64", "linux/arm64", None),
        ("musllinux_1_1_x86_64", "musl", "amd64", "linux/amd64", None),
        ("musllinux_1_1_aarch64", "musl", "arm64", "linux/arm64", None),
        (
            "manylinux2014_x86_64",
            "glibc",
            "arm64",
            "linux/arm64",
            Some("x86_64-linux-gnu"),
        ),
        (
            "manylinux2014_aarch64",
            "glibc",
            "amd64",
            "linux/amd64",
            Some("aarch64-linux-gnu"),
        ),
        (
            "manylinux2014_x86_64",
            "musl",
            "amd64",
            "linux/amd64",
            Some("x86_64-linux-gnu"),
        ),
        (
            "manylinux2014_aarch64",
            "musl",
            "arm64",
            "linux/arm64",
            Some("aarch64-linux-gnu"),
        ),
        (
            "musllinux_1_1_x86_64",
            "glibc",
            "amd64",
            "linux/amd64",
            Some("x86_64-linux-musl"),
        ),
        (
            "manylinux2014_x86_64",
            "glibc",
            "armhf",
            "linux/arm/v7",
            Some("x86_64-linux-gnu"),
        ),
        (
            "manylinux2014_x86_64",
            "glibc",
            "s390x",
            "linux/s390x",
            Some("x86_64-linux-gnu"),
        ),
    ];
    for (wheel, libc, architecture, platform, planted) in rows {
        let files = table.parts.wheel("markupsafe==2.1.5", wheel)?;
        let image = CaseImage::new(platform, base(table, libc, architecture)?)
            .layer("COPY --from=build /venv /usr/local", installed(SITE, &files)?);
        let module = format!("{SPEEDUPS}-{}.so", planted.unwrap_or_default());
        let errors: &[(&str, &str)] = match planted {
            Some(_) => &[("A02", &module), ("A02", TAGS)],
            None => &[],
        };
        table.faulty(&format!("a {wheel} wheel on {libc} of {architecture}"), image, errors);
    }
    // Libraries that a wheel brings along are found by its RUNPATH, in a directory beside it.
    let files = table.parts.wheel("pillow==10.4.0", "manylinux2014_x86_64")?;
    let zlib = bases::packages(&table.parts, "amd64", &["zlib1g"])?;
    let image = CaseImage::new("linux/amd64", base(table, "glibc", "amd64")?)
        .layer("RUN apt-get install zlib1g", zlib)
        .layer("RUN pip install pillow", installed(SITE, &files)?);
    table.clean("a wheel with libraries of its own", image);
    // A module whose name another platform's Python looks for, around machine code of this one.
    let files = table.parts.wheel("markupsafe==2.1.5", "manylinux2014_aarch64")?;
    let module = std::fs::read(files.join("markupsafe/_speedups.cpython-311-aarch64-linux-gnu.so"))?;
    let renamed = format!("{SITE}/x/_speedups.cpython-311-x86_64-linux-gnu.so");
    let image = CaseImage::new("linux/arm64", base(table, "glibc", "arm64")?)
        .layer("COPY x /", Tree::new().file(&renamed, 0o755, module));
    table.faulty(
        "a module with another platform's name",
        image,
        &[("A02", &format!("/{renamed}"))],
    );
    Ok(())
}

fn node(table: &mut Table) -> TestResult {
    let modules = "app/node_modules";
    let rows = [
        ("@rollup/rollup-linux-x64-gnu", "glibc", "amd64", "linux/amd64", false),
        ("@rollup/rollup-linux-arm64-gnu", "glibc", "arm64", "linux/arm64", false),
        ("@rollup/rollup-linux-x64-musl", "musl", "amd64", "linux/amd64", false),
        ("@rollup/rollup-linux-x64-gnu", "glibc", "arm64", "linux/arm64", true),
        ("@rollup/rollup-linux-x64-gnu", "musl", "amd64", "linux/amd64", true),
        ("@rollup/rollup-linux-x64-musl", "glibc", "amd64", "linux/amd64", true),
        ("@rollup/rollup-darwin-arm64", "glibc", "arm64", "linux/arm64", true),
        ("@esbuild/linux-x64", "glibc", "arm64", "linux/arm64", true),
        ("@esbuild/linux-x64", "musl", "amd64", "linux/amd64", false),
    ];
    for (package, libc, architecture, platform, planted) in rows {
        let version = if package.starts_with("@rollup") {
            "4.22.0"
        } else {
            "0.21.5"
        };
        let files = table.parts.node_package(&format!("{package}@{version}"))?;
        let libraries = bases::packages(&table.parts, architecture, &["libgcc-s1"])?;
        let mut image = CaseImage::new(platform, base(table, libc, architecture)?);
        if libc == "glibc" {
            image = image.layer("RUN apt-get install libgcc-s1", libraries);
        }
        let image = image.layer(
            "COPY node_modules /app/node_modules",
            installed(&format!("{modules}/{package}"), &files)?,
        );
        let path = format!("/{modules}/{package}/package.json");
        let addon = format!("/{modules}/{package}/rollup.linux-x64-musl.node");
        let errors: &[(&str, &str)] = match (planted, libc) {
            (true, _) => &[("A03", &path)],
            // musl's roots have no libgcc by themselves.
            (false, "musl") if package.ends_with("musl") => &[("A05", &addon)],
            (false, _) => &[],
        };
        table.faulty(&format!("{package} on {libc} of {architecture}"), image, errors);
    }
    // Packages of several platforms side by side.
    let mut tree = Tree::new();
    for package in ["@esbuild/linux-x64", "@esbuild/linux-arm64"] {
        let files = table.parts.node_package(&format!("{package}@0.21.5"))?;
        tree = tree.with_directory(&format!("{modules}/{package}"), &files)?;
    }
    for (architecture, platform) in [("amd64", "linux/amd64"), ("arm64", "linux/arm64")] {
        let image = CaseImage::new(platform, base(table, "glibc", architecture)?).layer("COPY . /app", tree.clone());
        table.clean(&format!("esbuild for two platforms on {architecture}"), image);
    }
    let image = CaseImage::new("linux/s390x", base(table, "glibc", "s390x")?).layer("COPY . /app", tree);
    let paths = ["linux-arm64", "linux-x64"].map(|name| format!("/{modules}/@esbuild/{name}/package.json"));
    table.faulty(
        "esbuild for two other platforms",
        image,
        &[("A03", &paths[0]), ("A03", &paths[1])],
    );
    // Add-ons that are built for many platforms beforehand, and one that is built on the machine itself.
    let files = table.parts.node_package("bufferutil@4.0.8")?;
    let prebuilt = "app/node_modules/bufferutil/prebuilds";
    for (architecture, platform, errors) in [("amd64", "linux/amd64", false), ("arm64", "linux/arm64", true)] {
        let image = CaseImage::new(platform, base(table, "glibc", architecture)?).layer(
            "COPY node_modules /app",
            installed("app/node_modules/bufferutil", &files)?,
        );
        let path = format!("/{prebuilt}/darwin-x64+arm64/node.napi.node");
        let errors: &[(&str, &str)] = if errors { &[("A03", &path)] } else { &[] };
        table.faulty(&format!("prebuilt add-ons on {architecture}"), image, errors);
    }
    let addon = std::fs::read(files.join("prebuilds/linux-x64/node.napi.node"))?;
    let built = "app/node_modules/addon/build/Release/addon.node";
    for (libc, architecture, platform, planted) in [
        ("glibc", "amd64", "linux/amd64", false),
        ("glibc", "arm64", "linux/arm64", true),
        ("musl", "amd64", "linux/amd64", true),
    ] {
        let image = CaseImage::new(platform, base(table, libc, architecture)?)
            .layer(
                "COPY --from=build /app /app",
                Tree::new().file(built, 0o755, addon.clone()),
            )
            .with("WorkingDir", json!("/app"));
        let path = format!("/{built}");
        let errors: &[(&str, &str)] = if planted { &[("A03", &path)] } else { &[] };
        table.faulty(
            &format!("an add-on that was built on amd64, on {libc} of {architecture}"),
            image,
            errors,
        );
    }
    Ok(())
}

fn ruby(table: &mut Table) -> TestResult {
    let gem = "usr/local/bundle/gems/fast-1.0/lib/fast/fast.so";
    let source = "int fast(void) { return 1; }\n";
    for (target, architecture, platform, planted) in [
        ("aarch64-linux-gnu.2.28", "arm64", "linux/arm64", false),
        ("x86_64-linux-gnu.2.28", "arm64", "linux/arm64", true),
    ] {
        let extension = table.parts.zig(target, source, &["-shared"])?;
        let image = CaseImage::new(platform, base(table, "glibc", architecture)?).layer(
            "COPY --from=build /usr/local/bundle /usr/local/bundle",
            Tree::new().file(gem, 0o755, extension),
        );
        let path = format!("/{gem}");
        let errors: &[(&str, &str)] = if planted { &[("A03", &path)] } else { &[] };
        table.faulty(
            &format!("a gem's extension by {target} on {architecture}"),
            image,
            errors,
        );
    }
    Ok(())
}

/// Name, files, errors at paths.
type Row<'a> = (&'a str, Tree, Vec<(&'a str, &'a str)>);

fn java(table: &mut Table) -> TestResult {
    let library = |architecture: &str, triplet: &str| {
        bases::file(
            &table.parts,
            architecture,
            "zlib1g",
            &format!("lib/{triplet}/libz.so.1.2.13"),
        )
    };
    let amd64 = library("amd64", "x86_64-linux-gnu")?;
    let arm64 = library("arm64", "aarch64-linux-gnu")?;
    let one = java_archive(&[("META-INF/native/libepoll_x86_64.so", &amd64)]);
    let other = java_archive(&[("META-INF/native/libepoll_aarch_64.so", &arm64)]);
    let both = java_archive(&[
        ("linux-x86-64/libj.so", &amd64),
        ("linux-aarch64/libj.so", &arm64),
        ("win32-x86-64/j.dll", b"MZ"),
    ]);
    let fat = java_archive(&[("BOOT-INF/lib/epoll-linux-x86_64.jar", &one)]);
    let path = "/app/lib/epoll-linux-x86_64.jar";
    let rows: [Row<'_>; 4] = [
        (
            "an archive for amd64 alone",
            Tree::new().file(&path[1..], 0o644, one.clone()),
            vec![("A03", path)],
        ),
        (
            "archives for two platforms side by side",
            Tree::new()
                .file(&path[1..], 0o644, one)
                .file("app/lib/epoll-linux-aarch_64.jar", 0o644, other),
            vec![],
        ),
        (
            "an archive with libraries for two platforms",
            Tree::new().file("app/j.jar", 0o644, both),
            vec![],
        ),
        (
            "an archive in an archive",
            Tree::new().file("app/app.jar", 0o644, fat),
            vec![("A03", "/app/app.jar")],
        ),
    ];
    for (name, tree, errors) in rows {
        let image = CaseImage::new("linux/arm64", base(table, "glibc", "arm64")?).layer("COPY lib /app", tree);
        table.faulty(name, image, &errors);
    }
    // A runtime that was linked for the machine that builds.
    let runtime = Tree::new()
        .file(
            "opt/jre/bin/java",
            0o755,
            bases::file(&table.parts, "amd64", "hello", "usr/bin/hello")?,
        )
        .file("opt/jre/lib/server/libjvm.so", 0o644, amd64);
    let image = CaseImage::new("linux/arm64", base(table, "glibc", "arm64")?)
        .layer("COPY --from=build /jre /opt/jre", runtime)
        .with("Entrypoint", json!(["/opt/jre/bin/java", "-jar", "/app.jar"]));
    table.faulty(
        "a Java runtime of another platform",
        image,
        &[
            ("A01", "/opt/jre/bin/java"),
            ("A01", "/opt/jre/lib/server/libjvm.so"),
            ("A08", ""),
        ],
    );
    Ok(())
}

fn go(table: &mut Table) -> TestResult {
    if !is_amd64("Go plugins") {
        return Ok(());
    }
    let plugin = table.parts.go_plugin("amd64")?;
    for (architecture, platform, planted) in [("amd64", "linux/amd64", false), ("arm64", "linux/arm64", true)] {
        let image = CaseImage::new(platform, base(table, "glibc", architecture)?).layer(
            "COPY plugin.so /usr/lib/",
            Tree::new().file("usr/lib/plugin.so", 0o644, plugin.clone()),
        );
        let errors: &[(&str, &str)] = if planted { &[("A03", "/usr/lib/plugin.so")] } else { &[] };
        table.faulty(&format!("a Go plugin of amd64 on {architecture}"), image, errors);
    }
    Ok(())
}
