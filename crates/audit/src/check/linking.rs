//! A04, A05, A06: loaders, libraries and their versions.

use crate::check::Checks;
use crate::elf::Elf;
use crate::facts::FileFacts;
use crate::finding::{Code, Severity};
use crate::libraries::{Gap, Linking, Lookup, OldLibrary, Search};
use crate::target::{Libc, libc_of, libc_of_loader};
use crate::view::View;

/// Looks at loaders first; then at what the search of libraries left open.
pub(crate) fn check<'a>(checks: &mut Checks<'_, 'a>, search: &mut Search<'_, 'a>, mut linking: Linking) {
    let view = checks.view;
    for (path, node) in view.root.all() {
        let Some(FileFacts::Elf(elf)) = node.file() else {
            continue;
        };
        if checks.is_covered(path) || !view.target.starts(elf.machine) || elf.partial {
            continue;
        }
        if let Some(interpreter) = &elf.interpreter {
            loader(checks, path, elf, interpreter);
        } else if elf.is_library() && !linking.examined.contains(path) {
            search.look_alone(path, elf, &mut linking);
        }
    }
    for (gap, nearest) in &linking.gaps {
        missing(checks, search, gap, nearest);
    }
    for (path, old) in &linking.old {
        for library in old {
            too_old(checks, path, library);
        }
    }
}

fn loader(checks: &mut Checks<'_, '_>, path: &str, elf: &Elf, interpreter: &str) {
    let view = checks.view;
    let reason = match view.root.resolve(interpreter).map(|(_, node)| node.file()) {
        None => {
            let libc = libc_of_loader(interpreter);
            match (libc, view.libc) {
                (Some(Libc::Glibc), Some(Libc::Musl)) => {
                    format!(
                        "a glibc program on a musl image: its loader `{interpreter}` is not there, so starting it says \"not found\""
                    )
                }
                (Some(Libc::Musl), Some(Libc::Glibc)) => {
                    format!(
                        "a musl program on a glibc image: its loader `{interpreter}` is not there, so starting it says \"not found\""
                    )
                }
                _ => format!("its loader `{interpreter}` is not in the image, so starting it says \"not found\""),
            }
        }
        Some(Some(FileFacts::Elf(loader))) if loader.machine != elf.machine => format!(
            "its loader `{interpreter}` is for {}, the program for {}",
            loader.machine.name(),
            elf.machine.name()
        ),
        Some(Some(FileFacts::Elf(_))) => return,
        Some(_) => format!("its loader `{interpreter}` is no loader but another kind of file"),
    };
    checks.wrong.insert(path.to_owned());
    if !checks.is_started(path) && checks.places.bundle(path, Some(elf.machine)).is_some() {
        return;
    }
    let repair = match view.libc {
        Some(Libc::Musl) => {
            "build it on this base (`-alpine` for both stages), link it statically, or take a base with glibc (`-slim`)"
        }
        Some(Libc::Glibc) => "build it on this base, or link it statically",
        None => "link it statically (`CGO_ENABLED=0`, `-static`), or copy it to a base that has the loader",
    };
    let reason = format!("{reason}{}", checks.because(path));
    checks.add(
        Code::MissingLoader,
        checks.severity(path),
        path,
        reason,
        repair.to_owned(),
    );
}

fn missing(checks: &mut Checks<'_, '_>, search: &Search<'_, '_>, gap: &Gap, nearest: &Lookup) {
    let view = checks.view;
    let Some((path, elf)) = view.elf(&gap.file) else { return };
    if checks.is_covered(&path) || elf.partial {
        return;
    }
    if !checks.is_started(&path) && checks.places.bundle(&path, Some(elf.machine)).is_some() {
        return;
    }
    let foreign_libc = libc_of(elf).filter(|own| view.libc.is_some_and(|image| image != *own));
    if let Some(own) = foreign_libc {
        // One finding says it for all its libraries.
        if !checks.wrong.insert(path.clone()) {
            return;
        }
        let image = view.libc.map_or("none", Libc::name);
        let reason = format!(
            "it is linked with {} (`{}`), and the image has {image}",
            own.name(),
            gap.library
        );
        let repair = "build it on this base, or take a base with the same C library".to_owned();
        checks.add(Code::MissingLibrary, checks.severity(&path), &path, reason, repair);
        return;
    }
    let mut severity = checks.severity(&path);
    let because = checks.because(&path);
    let (detail, repair) = match nearest {
        Lookup::OtherMachine(other, machine) => (
            format!("is there for {} only (`/{other}`)", machine.name()),
            "install the library for the target platform".to_owned(),
        ),
        _ => match search.somewhere(&gap.library, elf.machine) {
            Some(place) => {
                let directory = place.rsplit_once('/').map_or("", |(directory, _)| directory);
                // Programs that nothing is known to start may be started by a script that sets the path.
                if severity == Severity::Warning {
                    severity = Severity::Note;
                }
                (
                    format!("is in `/{directory}`, where the loader does not look"),
                    format!(
                        "name the directory in /etc/ld.so.conf.d and run `ldconfig`, set `ENV LD_LIBRARY_PATH=/{directory}`, or link with `-Wl,-rpath`"
                    ),
                )
            }
            None => ("is not in the image".to_owned(), repair_for_missing(view, &gap.library)),
        },
    };
    let reason = format!("its library `{}` {detail}{because}", gap.library);
    checks.add(Code::MissingLibrary, severity, &path, reason, repair);
}

fn repair_for_missing(view: &View<'_>, library: &str) -> String {
    let stem = library.split(".so").next().unwrap_or(library);
    let search = match view.libc {
        Some(Libc::Musl) => format!("`apk search so:{library}` names it"),
        _ if view.root.node("var/lib/dpkg").is_some() => format!("`apt-file search {library}` names it"),
        _ => "the distribution's search by file names it".to_owned(),
    };
    format!("install the package that holds {stem} in the last stage ({search}), or copy the library too")
}

fn too_old(checks: &mut Checks<'_, '_>, path: &str, old: &OldLibrary) {
    let view = checks.view;
    if checks.is_covered(path) {
        return;
    }
    let Some((_, elf)) = view.elf(path) else { return };
    if !checks.is_started(path) && checks.places.bundle(path, Some(elf.machine)).is_some() {
        return;
    }
    let Some((_, library)) = view.elf(&old.found) else {
        return;
    };
    let newest = old
        .missing
        .iter()
        .max_by_key(|version| numbers(version))
        .map(String::as_str)
        .unwrap_or_default();
    let family = newest.rsplit_once('_').map_or(newest, |(family, _)| family);
    let reason = match View::highest_version(library, family) {
        Some(has) => format!("needs {newest}, the image has {has} (`/{}`)", old.found),
        None => format!(
            "needs {newest} of `{}`, which `/{}` does not define",
            old.library, old.found
        ),
    };
    let reason = format!("{reason}{}", checks.because(path));
    let repair = "build it on the base of the last stage or an older one, or move the last stage to a base that is as new as the one it was built on";
    checks.add(Code::LibcTooOld, checks.severity(path), path, reason, repair.to_owned());
}

/// The numbers of a version, to compare `GLIBC_2.9` with `GLIBC_2.38`.
fn numbers(version: &str) -> Vec<u32> {
    let digits = version.rsplit('_').next().unwrap_or(version);
    digits.split('.').filter_map(|part| part.parse().ok()).collect()
}
