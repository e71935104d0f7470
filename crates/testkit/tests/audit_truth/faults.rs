//! Programs that cannot run: of another machine, without loader, without libraries, for a newer glibc.

use std::rc::Rc;

use kiln_testkit::{DEBIAN_PLATFORMS, TestResult, Tree};
use serde_json::json;

use super::bases;
use super::clean::{HELLO, is_amd64, scratch};
use super::table::{CaseImage, Table};

pub(crate) fn add(table: &mut Table) -> TestResult {
    every_architecture(table)?;
    processors(table)?;
    other_systems(table)?;
    loaders(table)?;
    libraries(table)?;
    versions(table)
}

/// The same four faults on every architecture of Debian.
fn every_architecture(table: &mut Table) -> TestResult {
    for (number, (architecture, platform)) in DEBIAN_PLATFORMS.iter().enumerate() {
        let (other, _) = DEBIAN_PLATFORMS[(number + 1) % DEBIAN_PLATFORMS.len()];
        let program = bases::file(&table.parts, other, "hello", "usr/bin/hello")?;
        let image = CaseImage::new(platform, table.glibc(architecture)?).layer(
            "COPY --from=build /out /usr/local/bin",
            Tree::new().file("usr/local/bin/hello", 0o755, program.clone()),
        );
        table.faulty(
            &format!("a program of {other} on PATH of {architecture}"),
            image,
            &[("A01", "/usr/local/bin/hello")],
        );

        let own = bases::file(&table.parts, architecture, "hello", "usr/bin/hello")?;
        let image = CaseImage::new(platform, table.musl(architecture)?).layer(
            "COPY hello /usr/local/bin/",
            Tree::new().file("usr/local/bin/hello", 0o755, own),
        );
        table.faulty(
            &format!("a glibc program on musl, {architecture}"),
            image,
            &[("A04", "/usr/local/bin/hello")],
        );

        let pigz = bases::file(&table.parts, architecture, "pigz", "usr/bin/pigz")?;
        let image = CaseImage::new(platform, table.glibc(architecture)?)
            .layer("COPY pigz /usr/bin/", Tree::new().file("usr/bin/pigz", 0o755, pigz));
        table.faulty(
            &format!("a program without its library, {architecture}"),
            image,
            &[("A05", "/usr/bin/pigz")],
        );

        let image = CaseImage::new(platform, table.glibc(architecture)?)
            .layer("COPY app /app", Tree::new().file("app/server", 0o755, program))
            .with("Entrypoint", json!(["/app/server"]));
        // Soft-float programs are of the same machine as hard-float ones.
        let errors: &[(&str, &str)] = if *architecture == "armhf" {
            &[("A01", "/app/server")]
        } else {
            &[("A01", "/app/server"), ("A08", "")]
        };
        table.faulty(&format!("an entrypoint of {other} on {architecture}"), image, errors);
    }
    Ok(())
}

/// The right machine, and not enough of it.
fn processors(table: &mut Table) -> TestResult {
    if is_amd64("programs for x86-64-v3") {
        let program = table.parts.c(HELLO, &["-Wl,-z,x86-64-v3"])?;
        let image = |platform: &str, base: Rc<Tree>| {
            CaseImage::new(platform, base).layer(
                "COPY app /usr/bin/app",
                Tree::new().file("usr/bin/app", 0o755, program.clone()),
            )
        };
        let base = table.glibc("amd64")?;
        table.faulty(
            "a program for x86-64-v3 on amd64",
            image("linux/amd64", base.clone()),
            &[("A01", "/usr/bin/app")],
        );
        table.clean("a program for x86-64-v3 on amd64/v3", image("linux/amd64/v3", base));
    }
    for (variant, errors) in [
        ("linux/arm/v7", &[][..]),
        ("linux/arm/v6", &[("A01", "/app"), ("A08", "")][..]),
    ] {
        let program = bases::file(&table.parts, "armhf", "busybox-static", "bin/busybox")?;
        let mut image = scratch(variant, program);
        image.platform = variant.to_owned();
        table.faulty(&format!("a program for ARMv7 on {variant}"), image, errors);
    }
    let library = bases::file(
        &table.parts,
        "armhf",
        "zlib1g",
        "lib/arm-linux-gnueabihf/libz.so.1.2.13",
    )?;
    let pigz = bases::file(&table.parts, "armel", "pigz", "usr/bin/pigz")?;
    let tree = Tree::new()
        .file("usr/lib/libz.so.1", 0o644, library)
        .file("usr/bin/pigz", 0o755, pigz);
    let image = CaseImage::new("linux/arm/v7", table.glibc("armel")?).layer("COPY . /", tree);
    table.faulty(
        "a hard-float library in a soft-float root",
        image,
        &[("A01", "/usr/lib/libz.so.1")],
    );
    Ok(())
}

fn other_systems(table: &mut Table) -> TestResult {
    let launchers = table.parts.wheel("setuptools==70.0.0", "any")?;
    let windows = std::fs::read(launchers.join("setuptools/cli-64.exe"))?;
    let rows = [
        ("macOS", table.parts.zig("aarch64-macos", HELLO, &[])?),
        ("Windows", windows),
    ];
    for (what, program) in rows {
        let image = CaseImage::new("linux/arm64", table.glibc("arm64")?).layer(
            "COPY tool /usr/local/bin/tool",
            Tree::new().file("usr/local/bin/tool", 0o755, program.clone()),
        );
        table.faulty(
            &format!("a {what} program on PATH"),
            image,
            &[("A01", "/usr/local/bin/tool")],
        );
        let image = scratch("linux/arm64", program);
        table.faulty(
            &format!("a {what} program as entrypoint"),
            image,
            &[("A01", "/app"), ("A08", "")],
        );
    }
    Ok(())
}

fn loaders(table: &mut Table) -> TestResult {
    let program = table.parts.zig("x86_64-linux-gnu.2.28", HELLO, &[])?;
    table.faulty(
        "a dynamic program on scratch",
        scratch("linux/amd64", program),
        &[("A04", "/app")],
    );
    let program = musl(table.parts.zig("aarch64-linux-gnu.2.28", HELLO, &[])?);
    let image = CaseImage::new("linux/arm64", table.glibc("arm64")?).layer(
        "COPY app /usr/bin/app",
        Tree::new().file("usr/bin/app", 0o755, program.clone()),
    );
    table.faulty("a musl program on glibc", image, &[("A04", "/usr/bin/app")]);
    let image = CaseImage::new("linux/arm64", table.musl("arm64")?)
        .layer("COPY app /usr/bin/app", Tree::new().file("usr/bin/app", 0o755, program));
    table.clean("a musl program on musl", image);
    Ok(())
}

/// A program of glibc with the names of musl in it, which are shorter: a musl of Zig's own would have to be built first.
fn musl(mut program: Vec<u8>) -> Vec<u8> {
    for (from, to) in [
        ("/lib/ld-linux-aarch64.so.1", "/lib/ld-musl-aarch64.so.1"),
        ("libc.so.6", "libc.so"),
    ] {
        let found = program.windows(from.len()).position(|bytes| bytes == from.as_bytes());
        if let Some(at) = found {
            program[at..at + from.len()].fill(0);
            program[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
    }
    program
}

fn libraries(table: &mut Table) -> TestResult {
    let library = bases::file(&table.parts, "amd64", "zlib1g", "lib/x86_64-linux-gnu/libz.so.1.2.13")?;
    let foreign = bases::file(&table.parts, "arm64", "zlib1g", "lib/aarch64-linux-gnu/libz.so.1.2.13")?;
    let pigz = bases::packages(&table.parts, "amd64", &["pigz"])?.without("usr/bin/unpigz");
    let base = table.glibc("amd64")?;
    let image = CaseImage::new("linux/amd64", base.clone())
        .layer("COPY . /", pigz.clone().file("opt/z/libz.so.1", 0o644, library));
    let both = [("A05", "/usr/bin/pigz")];
    table.faulty("a library where the loader does not look", image, &both);
    let image = CaseImage::new("linux/amd64", base.clone())
        .layer("COPY . /", pigz.clone().symlink("usr/lib/libz.so.1", "libz.so.1.2.13"));
    table.faulty("a link to a library that is not there", image, &both);
    let image = CaseImage::new("linux/amd64", base).layer(
        "COPY . /",
        pigz.file("usr/lib/x86_64-linux-gnu/libz.so.1", 0o644, foreign),
    );
    table.faulty(
        "a library of another machine",
        image,
        &[("A05", "/usr/bin/pigz"), ("A01", "/usr/lib/x86_64-linux-gnu/libz.so.1")],
    );
    Ok(())
}

fn versions(table: &mut Table) -> TestResult {
    // strlcpy came with glibc 2.38.
    let source = "#include <string.h>\nint main(int n, char **a) { char b[9]; return (int)strlcpy(b, a[0], 9); }\n";
    for (target, architecture, platform) in [
        ("x86_64-linux-gnu.2.38", "amd64", "linux/amd64"),
        ("aarch64-linux-gnu.2.38", "arm64", "linux/arm64"),
        ("powerpc64le-linux-gnu.2.38", "ppc64el", "linux/ppc64le"),
    ] {
        let program = table.parts.zig(target, source, &[])?;
        let image = CaseImage::new(platform, table.glibc(architecture)?)
            .layer("COPY app /app", Tree::new().file("app/bin/server", 0o755, program))
            .with("Entrypoint", json!(["/app/bin/server"]));
        table.faulty(
            &format!("a program for a newer glibc, {architecture}"),
            image,
            &[("A06", "/app/bin/server")],
        );
    }
    Ok(())
}
