//! Python: the tags of installed wheels and the names of extension modules (PyPA, "Platform compatibility tags" and
//! "Binary distribution format"; PEP 3149 for `.so` names).

use crate::platform_words::Named;
use crate::target::{Libc, Target};

/// Tags of one wheel.
const MAX_TAGS: usize = 256;

/// The platform parts of the `Tag:` lines of a `WHEEL` file.
pub fn platform_tags(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    text.lines()
        .filter_map(|line| line.strip_prefix("Tag:"))
        .filter_map(|tag| tag.trim().splitn(3, '-').nth(2))
        .flat_map(|platforms| platforms.split('.'))
        .take(MAX_TAGS)
        .map(str::to_owned)
        .collect()
}

/// The platform parts of a wheel's file name, `numpy-1.26-cp311-cp311-manylinux_2_17_x86_64.whl`.
pub fn tags_of_file_name(name: &str) -> Option<Vec<String>> {
    let stem = name.strip_suffix(".whl")?;
    if stem.split('-').count() < 5 {
        return None;
    }
    let platforms = stem.rsplit('-').next()?;
    Some(platforms.split('.').map(str::to_owned).collect())
}

/// Why a wheel with these tags does not belong here; None: it does, or says nothing.
pub fn mismatch(tags: &[String], target: &Target, libc: Option<Libc>) -> Option<String> {
    if tags.is_empty() || tags.iter().any(|tag| fits(tag, target, libc)) {
        return None;
    }
    let machine_fits = tags.iter().any(|tag| fits(tag, target, None));
    let shown = tags.join(", ");
    Some(match (machine_fits, libc) {
        (true, Some(libc)) => format!("the wheel is for {shown}, and the image has {}", libc.name()),
        _ => format!("the wheel is for {shown}, and the platform is {}", target.platform),
    })
}

fn fits(tag: &str, target: &Target, libc: Option<Libc>) -> bool {
    if tag == "any" {
        return true;
    }
    let needs = if tag.starts_with("manylinux") {
        Some(Libc::Glibc)
    } else if tag.starts_with("musllinux") {
        Some(Libc::Musl)
    } else if tag.starts_with("linux_") {
        None
    } else {
        return false;
    };
    let machine = target.wheel_names.iter().any(|name| tag.ends_with(&format!("_{name}")));
    // Debian writes its own names of architectures behind `linux_`.
    let machine = machine || (tag.starts_with("linux_") && Named::of(tag).cpu == Some(target.cpu));
    machine && (needs.is_none() || libc.is_none() || needs == libc)
}

/// Why an extension module's name hides it from this platform's Python: `_x.cpython-311-x86_64-linux-gnu.so`.
pub fn module_mismatch(file_name: &str, target: &Target, libc: Option<Libc>) -> Option<String> {
    let tag = soabi(file_name)?;
    let named = Named::of(tag);
    if named.cpu.is_some_and(|cpu| cpu != target.cpu) {
        return Some(format!(
            "its name says `{tag}`, and Python on {} does not look for that",
            target.platform
        ));
    }
    match (named.libc, libc) {
        (Some(named), Some(libc)) if named != libc => {
            Some(format!("its name says `{tag}`, and the image has {}", libc.name()))
        }
        _ => None,
    }
}

/// The triplet in a module's name, if it carries one.
fn soabi(file_name: &str) -> Option<&str> {
    let stem = file_name.strip_suffix(".so")?;
    let tag = stem.rsplit('.').next().filter(|tag| tag.len() < stem.len())?;
    let is_tag = tag.starts_with("cpython-") || tag.starts_with("pypy") || tag.starts_with("graalpy");
    // `cpython-311` alone names no platform.
    (is_tag && tag.matches('-').count() >= 2).then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        Target::of(&text.parse().expect(text)).expect(text)
    }

    #[test]
    fn tags_are_compared_with_platform_and_library() {
        let wheel = b"Wheel-Version: 1.0\nTag: cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64\n";
        let tags = platform_tags(wheel);
        assert_eq!(tags, ["manylinux_2_17_x86_64", "manylinux2014_x86_64"]);
        let amd64 = target("linux/amd64");
        assert_eq!(mismatch(&tags, &amd64, Some(Libc::Glibc)), None);
        let reason = mismatch(&tags, &amd64, Some(Libc::Musl)).expect("glibc on musl");
        assert!(reason.ends_with("the image has musl"), "{reason}");
        let reason = mismatch(&tags, &target("linux/arm64"), Some(Libc::Glibc)).expect("another processor");
        assert!(reason.ends_with("the platform is linux/arm64"), "{reason}");
        assert_eq!(mismatch(&["any".into()], &amd64, None), None);
        assert_eq!(mismatch(&["linux_armv7l".into()], &target("linux/arm/v7"), None), None);
    }

    #[test]
    fn names_of_modules_are_compared() {
        let name = "_cffi.cpython-311-x86_64-linux-gnu.so";
        assert_eq!(module_mismatch(name, &target("linux/amd64"), Some(Libc::Glibc)), None);
        assert!(module_mismatch(name, &target("linux/arm64"), None).is_some());
        assert!(module_mismatch(name, &target("linux/amd64"), Some(Libc::Musl)).is_some());
        for plain in ["_x.abi3.so", "libfoo.so", "_x.so", "_x.cpython-311.so"] {
            assert_eq!(module_mismatch(plain, &target("linux/arm64"), None), None, "{plain}");
        }
        assert_eq!(
            tags_of_file_name("numpy-1.26.4-cp311-cp311-manylinux_2_17_x86_64.whl"),
            Some(vec!["manylinux_2_17_x86_64".to_owned()])
        );
        assert_eq!(tags_of_file_name("x.whl"), None);
    }
}
