//! A03: native libraries inside Java archives.

use std::collections::BTreeMap;

use crate::check::Checks;
use crate::facts::FileFacts;
use crate::finding::{Code, Severity};
use crate::jar::{Jar, Native};
use crate::platform_words::{Cpu, Named, System, family};
use crate::target::{Libc, Target, cpu_of};

/// Looks into every archive that holds native libraries for Linux.
pub(crate) fn check(checks: &mut Checks<'_, '_>) {
    let view = checks.view;
    let mut archives: BTreeMap<(String, String), Vec<(&str, &Jar)>> = BTreeMap::new();
    for (path, node) in view.root.all() {
        if let Some(FileFacts::Jar(jar)) = node.file() {
            let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
            let key = (directory.to_owned(), family(name));
            archives.entry(key).or_default().push((path, jar));
        }
    }
    for siblings in archives.into_values() {
        // `netty-…-linux-x86_64.jar` and `-linux-aarch_64.jar` are one library in two archives.
        let elsewhere = siblings
            .iter()
            .any(|(_, jar)| jar.natives.iter().any(|native| fits(native, &view.target, view.libc)));
        for (path, jar) in siblings {
            archive(checks, path, jar, elsewhere);
        }
    }
}

fn archive(checks: &mut Checks<'_, '_>, path: &str, jar: &Jar, elsewhere: bool) {
    let view = checks.view;
    let mut libraries: BTreeMap<String, Vec<&Native>> = BTreeMap::new();
    for native in jar
        .natives
        .iter()
        .filter(|native| cpu(native).is_some() && is_linux(native))
    {
        let name = native.path.rsplit('/').next().unwrap_or(&native.path);
        libraries.entry(family(name)).or_default().push(native);
    }
    let mut others = 0;
    for natives in libraries.values() {
        let ours = natives.iter().any(|native| fits(native, &view.target, view.libc));
        if ours || elsewhere {
            others += natives
                .iter()
                .filter(|native| !fits(native, &view.target, view.libc))
                .count();
            continue;
        }
        let mut cpus: Vec<Cpu> = natives.iter().filter_map(|native| cpu(native)).collect();
        cpus.sort_unstable();
        cpus.dedup();
        let first = natives[0];
        let what = match first.machine {
            Some(machine) => format!("for {}", machine.name()),
            None => "for another platform".to_owned(),
        };
        // A library for one processor is that processor's archive; one for many just lacks this platform.
        let severity = if cpus.len() == 1 {
            Severity::Error
        } else {
            Severity::Warning
        };
        let reason = match cpus.len() {
            1 => format!(
                "the native library `{}` in it is {what}, and the platform is {}",
                first.path, view.target.platform
            ),
            count => format!(
                "the native library `{}` in it is there for {count} processors, and not for {}",
                first.path, view.target.platform
            ),
        };
        let repair = "take the archive of this platform (its classifier, such as `linux-aarch_64`), or one that holds all of them";
        checks.add(Code::WrongAddon, severity, path, reason, repair.to_owned());
    }
    if others > 0 {
        let reason =
            format!("{others} native libraries in it are for other platforms; the one for this platform is there too");
        checks.add(
            Code::WrongAddon,
            Severity::Note,
            path,
            reason,
            "nothing needs to be done".to_owned(),
        );
    }
}

fn cpu(native: &Native) -> Option<Cpu> {
    match native.machine {
        Some(machine) => cpu_of(machine),
        None => Named::of(&native.path).cpu,
    }
}

fn is_linux(native: &Native) -> bool {
    // ELF is also the format of Android, the BSDs and Solaris: the path tells.
    native.foreign.is_none()
        && match Named::of(&native.path).system {
            Some(system) => system == System::Linux,
            None => native.machine.is_some(),
        }
}

fn fits(native: &Native, target: &Target, libc: Option<Libc>) -> bool {
    let machine = match native.machine {
        Some(machine) => machine == target.machine,
        None => cpu(native) == Some(target.cpu),
    };
    // Most libraries that name no C library were built with glibc and run with musl as well, or not: only names count.
    let named = native.path.to_lowercase().contains("musl").then_some(Libc::Musl);
    machine && is_linux(native) && (named.is_none() || libc.is_none() || named == libc)
}
