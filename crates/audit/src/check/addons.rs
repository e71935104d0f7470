//! A03: packages of Node.js that are for one platform, and prebuilt add-ons.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::Checks;
use crate::check::binaries::addon_repair;
use crate::facts::FileFacts;
use crate::finding::{Code, Severity};
use crate::node_package::NodePackage;
use crate::places::Bundle;
use crate::platform_words::family;

/// Looks at packages first: a finding about a package stands for its files.
pub(crate) fn check(checks: &mut Checks<'_, '_>) {
    packages(checks);
    prebuilds(checks);
}

fn packages(checks: &mut Checks<'_, '_>) {
    let view = checks.view;
    let mut families: BTreeMap<(String, String), Vec<(&str, &NodePackage)>> = BTreeMap::new();
    for (path, node) in view.root.all() {
        if let Some(FileFacts::NodePackage(package)) = node.file() {
            // Package managers put siblings into directories of their own, but below one `node_modules`.
            let root = path.split("node_modules/").next().unwrap_or_default();
            let key = (root.to_owned(), family(&package.name));
            families.entry(key).or_default().push((path, package));
        }
    }
    for members in families.into_values() {
        let fits = |package: &NodePackage| package.mismatch(&view.target, view.libc).is_none();
        let ours = members.iter().any(|(_, package)| fits(package));
        for (path, package) in members {
            let Some(reason) = package.mismatch(&view.target, view.libc) else {
                continue;
            };
            let directory = path.trim_end_matches("/package.json").to_owned();
            if ours {
                let bundle = Bundle {
                    directory: path
                        .split_inclusive("node_modules/")
                        .next()
                        .unwrap_or(path)
                        .trim_end_matches('/')
                        .to_owned(),
                    why: "packages for several platforms stand side by side",
                };
                checks.add_to_bundle(Code::WrongAddon, bundle, path);
            } else if package.is_for_one_platform() || package.is_for_linux() {
                checks.add(Code::WrongAddon, Severity::Error, path, reason, addon_repair(path));
            }
            checks.wrong_packages.push(directory);
        }
    }
}

/// `prebuilds/` holds add-ons for many platforms; a package without one for this platform, and without one that was
/// built here, cannot be loaded.
fn prebuilds(checks: &mut Checks<'_, '_>) {
    let view = checks.view;
    let mut directories: BTreeSet<&str> = BTreeSet::new();
    for (path, _) in view.root.all() {
        if path.ends_with(".node")
            && let Some(at) = path.find("/prebuilds/")
        {
            directories.insert(&path[..at]);
        }
    }
    for package in directories {
        let own = |(path, node): (&str, &crate::root::Node<'_>)| {
            let is_ours = matches!(node.file(), Some(FileFacts::Elf(elf)) if elf.machine == view.target.machine);
            path.ends_with(".node") && is_ours
        };
        let prebuilt = format!("{package}/prebuilds");
        if view.root.below(package).any(own) {
            let foreign: Vec<String> = view
                .root
                .below(&prebuilt)
                .filter(|(path, node)| match node.file() {
                    Some(FileFacts::Elf(elf)) => path.ends_with(".node") && elf.machine != view.target.machine,
                    Some(FileFacts::Foreign(_)) => true,
                    _ => false,
                })
                .map(|(path, _)| path.to_owned())
                .collect();
            for path in foreign {
                let bundle = Bundle {
                    directory: prebuilt.clone(),
                    why: "one of several platforms that stand side by side",
                };
                checks.wrong.insert(path.clone());
                checks.add_to_bundle(Code::WrongAddon, bundle, &path);
            }
            continue;
        }
        let Some((first, _)) = view.root.below(&prebuilt).find(|(path, _)| path.ends_with(".node")) else {
            continue;
        };
        let reason = format!("none of the add-ons in `/{prebuilt}` is for {}", view.target.platform);
        let first = first.to_owned();
        checks.add(Code::WrongAddon, Severity::Error, &first, reason, addon_repair(&first));
        checks.wrong_packages.push(prebuilt);
    }
}
