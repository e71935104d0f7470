//! Images without a fault: clean roots of every architecture, static programs, position independent ones, bundles.

use kiln_testkit::{DEBIAN_PLATFORMS, TestResult, Tree};
use serde_json::json;

use super::bases;
use super::table::{CaseImage, Table};

/// A program without any library, for which no library must be built first.
pub(crate) const ALONE: &str = "void _start(void) { for (;;) ; }\n";
/// Flags that go with it.
pub(crate) const ALONE_FLAGS: &[&str] = &["-nostdlib", "-ffreestanding", "-static"];

pub(crate) const HELLO: &str = "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }\n";

pub(crate) fn add(table: &mut Table) -> TestResult {
    roots(table)?;
    static_programs(table)?;
    own_libraries(table)?;
    several_architectures(table)
}

fn roots(table: &mut Table) -> TestResult {
    for (architecture, platform) in DEBIAN_PLATFORMS {
        let packages = bases::packages(
            &table.parts,
            architecture,
            &[
                "hello",
                "pigz",
                "zlib1g",
                "libgcc-s1",
                "coreutils",
                "perl-base",
                "libcrypt1",
                "libacl1",
                "libattr1",
                "libgmp10",
                "libselinux1",
                "libpcre2-8-0",
            ],
        )?;
        let base = table.glibc(architecture)?;
        let image = CaseImage::new(platform, base)
            .layer("RUN apt-get install", packages)
            .with("Entrypoint", json!(["/usr/bin/hello"]));
        table.clean(&format!("a clean root of {architecture}"), image);
        let busybox = bases::packages(&table.parts, architecture, &["busybox-static"])?;
        let image = CaseImage::new(platform, busybox).with("Cmd", json!(["/bin/busybox", "sh"]));
        table.clean(&format!("a static busybox alone, {architecture}"), image);
    }
    Ok(())
}

fn static_programs(table: &mut Table) -> TestResult {
    let targets = [
        ("x86_64-linux-musl", "linux/amd64"),
        ("aarch64-linux-musl", "linux/arm64"),
        ("arm-linux-musleabihf", "linux/arm/v7"),
        ("riscv64-linux-musl", "linux/riscv64"),
        ("powerpc64le-linux-musl", "linux/ppc64le"),
        ("x86-linux-musl", "linux/386"),
    ];
    for (target, platform) in targets {
        let program = table.parts.zig(target, ALONE, ALONE_FLAGS)?;
        let image = scratch(platform, program);
        table.clean(&format!("a static program by Zig on scratch, {platform}"), image);
    }
    for (architecture, platform) in [
        ("arm64", "linux/arm64"),
        ("arm", "linux/arm/v7"),
        ("s390x", "linux/s390x"),
        ("mips64le", "linux/mips64le"),
    ] {
        let program = table.parts.go(architecture, &[])?;
        table.clean(
            &format!("a Go program on scratch, {platform}"),
            scratch(platform, program),
        );
    }
    let host = host();
    let program = table.parts.rust(&["-C", "target-feature=+crt-static"])?;
    table.clean("a static Rust program on scratch", scratch(host.1, program));
    let program = table.parts.rust(&["-C", "target-feature=-crt-static"])?;
    let libraries = bases::packages(&table.parts, host.0, &["libgcc-s1"])?;
    let image = CaseImage::new(host.1, table.glibc(host.0)?)
        .layer("RUN apt-get install libgcc-s1", libraries)
        .layer("COPY app /app", Tree::new().file("app", 0o755, program))
        .with("Entrypoint", json!(["/app"]));
    table.clean("a position independent Rust program on its base", image);
    let program = table.parts.go("amd64", &["-buildmode=pie"])?;
    let image = CaseImage::new("linux/amd64", table.glibc("amd64")?)
        .layer("COPY app /app", Tree::new().file("app", 0o755, program))
        .with("Entrypoint", json!(["/app"]));
    table.clean("a position independent Go program on glibc", image);
    Ok(())
}

/// Debian's name of this machine and its platform.
fn host() -> (&'static str, &'static str) {
    match std::env::consts::ARCH {
        "aarch64" => ("arm64", "linux/arm64"),
        _ => ("amd64", "linux/amd64"),
    }
}

/// Whether this machine's own compiler makes programs for amd64. A row that cannot be made says so.
#[expect(clippy::print_stdout, reason = "a row says why it is left out")]
pub(crate) fn is_amd64(row: &str) -> bool {
    let is = host().0 == "amd64";
    if !is {
        println!("skipped: {row}: it is made by a compiler of an amd64 machine");
    }
    is
}

pub(crate) fn scratch(platform: &str, program: Vec<u8>) -> CaseImage {
    let mut image =
        CaseImage::new(platform, Tree::new().file("app", 0o755, program)).with("Entrypoint", json!(["/app"]));
    if let Some(config) = image.config.as_object_mut() {
        config.remove("Cmd");
    }
    image
}

/// Libraries outside of the usual directories that are found all the same.
fn own_libraries(table: &mut Table) -> TestResult {
    let program = table.parts.zig("x86_64-linux-gnu.2.28", HELLO, &[])?;
    let image = CaseImage::new("linux/amd64", table.glibc("amd64")?).layer(
        "COPY app /usr/local/bin/app",
        Tree::new().file("usr/local/bin/app", 0o755, program),
    );
    table.clean("a program for an older glibc", image);

    let library = bases::file(&table.parts, "amd64", "zlib1g", "lib/x86_64-linux-gnu/libz.so.1.2.13")?;
    let pigz = bases::packages(&table.parts, "amd64", &["pigz"])?;
    let moved = |pigz: &Tree| pigz.clone().file("opt/z/libz.so.1", 0o644, library.clone());
    let base = table.glibc("amd64")?;
    let image = CaseImage::new("linux/amd64", base.clone())
        .layer("COPY z /", moved(&pigz))
        .with("Env", json!(["PATH=/usr/bin:/bin", "LD_LIBRARY_PATH=/opt/z"]));
    table.clean("a library that LD_LIBRARY_PATH names", image);
    let configured = moved(&pigz).file("etc/ld.so.conf.d/z.conf", 0o644, "# zlib\n/opt/z\n");
    let image = CaseImage::new("linux/amd64", base.clone()).layer("COPY z /", configured);
    table.clean("a library that ld.so.conf names", image);

    let library = table.parts.zig(
        "x86_64-linux-gnu.2.28",
        "int f(void) { return 1; }\n",
        &["-shared", "-Wl,-soname,libf.so"],
    )?;
    let stub = table.parts.c(
        "extern int f(void); int main(void) { return f(); }\n",
        &[
            "-Wl,--unresolved-symbols=ignore-all",
            "-Wl,--no-as-needed",
            "-Wl,-rpath,$ORIGIN/../lib",
            "-Wl,--enable-new-dtags",
        ],
    )?;
    let image = CaseImage::new("linux/amd64", base).layer(
        "COPY app /opt/app",
        Tree::new()
            .file("opt/app/bin/app", 0o755, stub)
            .file("opt/app/lib/libf.so", 0o644, library),
    );
    if is_amd64("a program with a RUNPATH of its own") {
        table.clean("a program with a RUNPATH of its own", image);
    }
    Ok(())
}

/// What is legitimately for other machines.
fn several_architectures(table: &mut Table) -> TestResult {
    let library = bases::file(&table.parts, "amd64", "zlib1g", "lib/x86_64-linux-gnu/libz.so.1.2.13")?;
    let program = bases::file(&table.parts, "amd64", "hello", "usr/bin/hello")?;
    let places = [
        "usr/lib/x86_64-linux-gnu/libz.so.1",
        "usr/x86_64-linux-gnu/lib/libz.so.1",
        "lib/firmware/device/loader.elf",
        "usr/share/qemu/firmware.elf",
        "usr/lib/debug/hello",
        "opt/src/debug/elf/testdata/hello",
    ];
    for place in places {
        let image = CaseImage::new("linux/arm64", table.glibc("arm64")?)
            .layer("COPY . /", Tree::new().file(place, 0o755, library.clone()));
        table.clean(&format!("foreign machine code in {place}"), image);
    }
    let own = bases::file(&table.parts, "arm64", "hello", "usr/bin/hello")?;
    let tools =
        Tree::new()
            .file("opt/tool/linux-x64/tool", 0o755, program)
            .file("opt/tool/linux-arm64/tool", 0o755, own);
    let image = CaseImage::new("linux/arm64", table.glibc("arm64")?).layer("COPY tool /opt/tool", tools);
    table.clean("tools for several platforms side by side", image);

    let foreign = bases::packages(&table.parts, "i386", &["libc6", "hello"])?;
    let foreign = foreign.without("usr/bin").file(
        "usr/bin/hello32",
        0o755,
        bases::file(&table.parts, "i386", "hello", "usr/bin/hello")?,
    );
    let image = CaseImage::new("linux/amd64", table.glibc("amd64")?).layer("RUN apt-get install libc6:i386", foreign);
    table.clean("a program of 32 bits with its own loader on amd64", image);
    Ok(())
}
