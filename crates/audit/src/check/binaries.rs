//! A01: machine code for another machine, and the same in packages of Python, Node.js, Ruby and Go (A02, A03).

use crate::binary::{Class, Foreign, machine};
use crate::check::Checks;
use crate::elf::{Elf, FloatAbi, Kind};
use crate::facts::FileFacts;
use crate::finding::{Code, Severity};
use crate::places;
use crate::target::{Libc, libc_of};
use crate::view::View;
use crate::wheel;

/// Looks at every binary.
pub(crate) fn check(checks: &mut Checks<'_, '_>) {
    let image_float = image_float_abi(checks);
    for (path, node) in checks.view.root.all() {
        match node.file() {
            Some(FileFacts::Elf(elf)) => elf_file(checks, path, elf, image_float),
            Some(FileFacts::Foreign(found)) => foreign_file(checks, path, *found),
            _ => {}
        }
    }
}

fn elf_file(checks: &mut Checks<'_, '_>, path: &str, elf: &Elf, image_float: Option<FloatAbi>) {
    if elf.kind == Kind::Other || !elf.machine.is_of_a_host() || checks.is_covered(path) {
        return;
    }
    let code = code_of(path, elf);
    let target = &checks.view.target;
    let libc = checks.view.libc;
    let platform = target.platform.clone();
    let file_name = path.rsplit('/').next().unwrap_or(path);
    let in_process_of_64_bits = elf.machine != target.machine && code != Code::WrongArchitecture;
    if !target.starts(elf.machine) || in_process_of_64_bits {
        let what = if elf.is_program() { "program" } else { "library" };
        let reason = format!(
            "{} {} {what}, and the platform is {platform}{}",
            article(&elf.machine.name()),
            elf.machine.name(),
            checks.because(path)
        );
        report_foreign(checks, code, path, elf, reason, Severity::Error);
        return;
    }
    let refused = target.refuses(elf).filter(|_| !is_chosen_at_run_time(path));
    // The Arm attributes of a library are those of its most demanding object, which it may choose at run time.
    let at_most = if elf.machine.code == machine::ARM && elf.is_library() {
        Severity::Warning
    } else {
        Severity::Error
    };
    let refused = refused.map(|why| (why, at_most));
    let refused = refused.or_else(|| float_mismatch(checks.view, elf, image_float).map(|why| (why, Severity::Error)));
    if let Some((why, at_most)) = refused {
        let reason = format!("{why}{}", checks.because(path));
        report_foreign(checks, code, path, elf, reason, at_most);
        return;
    }
    if code == Code::WrongWheel
        && let Some(why) = wheel::module_mismatch(file_name, target, libc)
    {
        report_module(checks, path, why);
        return;
    }
    if let (Some(own), Some(image)) = (libc_of(elf), libc)
        && own != image
        && code != Code::WrongArchitecture
    {
        let reason = format!("it is linked with {}, and the image has {}", own.name(), image.name());
        let repair = match code {
            Code::WrongWheel => wheel_repair(image),
            _ => addon_repair(path),
        };
        checks.wrong.insert(path.to_owned());
        match checks
            .places
            .bundle(path, None)
            .or_else(|| libc_bundle(checks, path, own))
        {
            Some(bundle) => checks.add_to_bundle(code, bundle, path),
            None => checks.add(code, checks.severity(path), path, reason, repair),
        }
    }
}

/// A part of the path names the C library, as bundles for several do.
fn libc_bundle(checks: &Checks<'_, '_>, path: &str, own: Libc) -> Option<places::Bundle> {
    let in_prebuilds = path.contains("/prebuilds/");
    let named = path
        .split('/')
        .any(|part| crate::platform_words::Named::of(part).libc == Some(own));
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let ours = checks.view.root.children(directory).any(|(sibling, node)| {
        let Some(FileFacts::Elf(elf)) = node.file() else {
            return false;
        };
        sibling != path && elf.machine == checks.view.target.machine && libc_of(elf) == checks.view.libc
    });
    (in_prebuilds || named).then_some(())?;
    ours.then(|| places::Bundle {
        directory: directory.to_owned(),
        why: "one of several C libraries that stand side by side",
    })
}

fn report_foreign(checks: &mut Checks<'_, '_>, code: Code, path: &str, elf: &Elf, reason: String, at_most: Severity) {
    checks.wrong.insert(path.to_owned());
    if !checks.is_started(path)
        && let Some(bundle) = checks.places.bundle(path, Some(elf.machine))
    {
        checks.add_to_bundle(code, bundle, path);
        return;
    }
    let repair = match code {
        Code::WrongWheel => "install the package in a stage of the target platform (not `FROM --platform=$BUILDPLATFORM`), or download its wheels with `pip download --platform`".to_owned(),
        Code::WrongAddon => addon_repair(path),
        _ => "build it for $TARGETPLATFORM: cross-compile with $TARGETOS and $TARGETARCH, copy it from a stage of the target platform, or download the release of this platform".to_owned(),
    };
    checks.add(code, checks.severity(path).min(at_most), path, reason, repair);
}

fn report_module(checks: &mut Checks<'_, '_>, path: &str, why: String) {
    checks.wrong.insert(path.to_owned());
    // A package may carry modules for several platforms: then Python finds the one that fits.
    let stem = path.split(".cpython-").next().unwrap_or(path);
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let target = &checks.view.target;
    let libc = checks.view.libc;
    let other = checks.view.root.children(directory).any(|(sibling, _)| {
        let name = sibling.rsplit('/').next().unwrap_or(sibling);
        sibling != path
            && sibling.starts_with(&format!("{stem}."))
            && name.ends_with(".so")
            && wheel::module_mismatch(name, target, libc).is_none()
    });
    let severity = if other { Severity::Note } else { checks.severity(path) };
    let repair = "install the package in a stage of the target platform".to_owned();
    checks.add(Code::WrongWheel, severity, path, why, repair);
}

fn foreign_file(checks: &mut Checks<'_, '_>, path: &str, found: Foreign) {
    if found == Foreign::Managed || checks.is_covered(path) {
        return;
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    // Programs and libraries of other systems under their own names are data, such as launchers that tools copy.
    let is_library = name.ends_with(".so") || name.contains(".so.") || name.ends_with(".node");
    let lower = name.to_lowercase();
    let own_name = [".exe", ".dll", ".dylib", ".pyd", ".efi", ".sys", ".com"]
        .iter()
        .any(|ending| lower.ends_with(ending));
    let started =
        checks.is_started(path) && (!own_name || checks.reach.of_path(path) == Some(crate::reach::Use::Entrypoint));
    if !is_library && !started {
        return;
    }
    let code = if name.ends_with(".node") || places::is_in_node_modules(path) {
        Code::WrongAddon
    } else if places::is_python(path) {
        Code::WrongWheel
    } else {
        Code::WrongArchitecture
    };
    checks.wrong.insert(path.to_owned());
    if !started && let Some(bundle) = checks.places.bundle(path, None) {
        checks.add_to_bundle(code, bundle, path);
        return;
    }
    let reason = format!(
        "{}, where the platform {} needs an ELF file{}",
        found.name(),
        checks.view.target.platform,
        checks.because(path)
    );
    let repair = match code {
        Code::WrongAddon => addon_repair(path),
        _ => {
            "build it for Linux in the image's own stages instead of copying it from the machine that builds".to_owned()
        }
    };
    checks.add(code, checks.severity(path), path, reason, repair);
}

/// Which code a binary of another platform has, by whose it is.
fn code_of(path: &str, elf: &Elf) -> Code {
    if places::is_addon(path) {
        Code::WrongAddon
    } else if places::is_python(path) {
        Code::WrongWheel
    } else if elf.go && elf.kind == Kind::Shared && elf.interpreter.is_none() && path.ends_with(".so") {
        Code::WrongAddon
    } else {
        Code::WrongArchitecture
    }
}

pub(crate) fn addon_repair(path: &str) -> String {
    let text = if places::is_in_node_modules(path) || path.ends_with(".node") {
        "run `npm ci` in a stage of the target platform, or in the last stage: `node_modules` with native parts cannot be shared between platforms"
    } else if places::is_in_gem(path) {
        "run `bundle install` in a stage of the target platform"
    } else {
        "build the plugin for $TARGETOS/$TARGETARCH, with the C library of the last stage"
    };
    text.to_owned()
}

fn wheel_repair(image: Libc) -> String {
    match image {
        Libc::Musl => {
            "install the musllinux wheel, or take a base with glibc (`-slim` instead of `-alpine`)".to_owned()
        }
        Libc::Glibc => "install the manylinux wheel in a stage with glibc".to_owned(),
    }
}

/// Libraries in directories that the loader, or a program, chooses by the processor it finds.
fn is_chosen_at_run_time(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    // GCC's atomic library holds every function for several processors (indirect functions).
    name.starts_with("libatomic.so")
        || path.split('/').any(|part| {
            part == "glibc-hwcaps"
                || part.starts_with("x86-64-v")
                || matches!(part, "haswell" | "avx512_1" | "neon" | "vfp")
        })
}

/// How the image's own loader passes floating point arguments.
fn image_float_abi(checks: &Checks<'_, '_>) -> Option<FloatAbi> {
    let target = &checks.view.target;
    if !matches!(target.machine.code, machine::ARM | machine::RISCV) {
        return None;
    }
    let loaders = target.glibc_loaders.iter();
    loaders
        .filter_map(|path| checks.view.elf(path))
        .find_map(|(_, elf)| elf.float_abi)
}

/// A library or dynamic program that cannot share a process with the image's libraries.
fn float_mismatch(view: &View<'_>, elf: &Elf, image: Option<FloatAbi>) -> Option<String> {
    let (own, image) = (elf.float_abi?, image?);
    // A program whose own loader is there brings its own libraries.
    if elf
        .interpreter
        .as_ref()
        .is_some_and(|loader| view.elf(loader).is_some())
    {
        return None;
    }
    let differs = elf.dynamic && !elf.needed.is_empty() && own != image && elf.machine.class == Class::Bits32;
    let differs =
        differs || (elf.machine.code == machine::RISCV && elf.dynamic && own != image && !elf.needed.is_empty());
    differs.then(|| {
        format!(
            "it is built for {}, and the image's libraries for {}",
            own.name(),
            image.name()
        )
    })
}

fn article(name: &str) -> &'static str {
    if name.starts_with(['a', 'i', 'x', 'e', 'o']) {
        "an"
    } else {
        "a"
    }
}
