//! One image seen for one platform: its root, its settings, its C library, and where its loader looks.

use std::collections::BTreeSet;

use kiln_oci::ContainerConfig;

use crate::elf::Elf;
use crate::facts::FileFacts;
use crate::root::{NodeKind, Root};
use crate::target::{Libc, Target, libc_of, triplets_of};

/// Docker's default.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Directories of one image's `ld.so.conf` files.
const MAX_DIRECTORIES: usize = 512;

/// An image on its platform.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) target: Target,
    pub(crate) root: &'a Root<'a>,
    pub(crate) config: &'a ContainerConfig,
    /// The C library, if the image has one and only one.
    pub(crate) libc: Option<Libc>,
    /// Directories of `PATH`.
    pub(crate) path: Vec<String>,
    /// Directories of `LD_LIBRARY_PATH`.
    pub(crate) library_path: Vec<String>,
    /// Directories that `ld.so.conf` names.
    pub(crate) configured: Vec<String>,
    /// Directories that musl's loader searches.
    pub(crate) musl_directories: Vec<String>,
}

impl<'a> View<'a> {
    pub(crate) fn new(target: Target, root: &'a Root<'a>, config: &'a ContainerConfig) -> View<'a> {
        let variable = |name: &str| {
            config
                .env
                .iter()
                .rev()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        };
        let split = |text: &str| -> Vec<String> {
            text.split(':')
                .filter(|directory| !directory.is_empty())
                .map(str::to_owned)
                .collect()
        };
        View {
            libc: libc(root, &target),
            path: split(variable("PATH").unwrap_or(DEFAULT_PATH)),
            library_path: split(variable("LD_LIBRARY_PATH").unwrap_or_default()),
            configured: configured(root),
            musl_directories: musl_directories(root),
            target,
            root,
            config,
        }
    }

    /// The ELF file that a path leads to, with its real path.
    pub(crate) fn elf(&self, path: &str) -> Option<(String, &'a Elf)> {
        let (real, node) = self.root.resolve(path)?;
        match node.file()? {
            FileFacts::Elf(elf) => Some((real, elf)),
            _ => None,
        }
    }

    /// A program by its name, as `execvp` finds it.
    pub(crate) fn program(&self, name: &str) -> Option<String> {
        self.path.iter().find_map(|directory| {
            let (real, node) = self.root.resolve(&format!("{directory}/{name}"))?;
            node.is_executable().then_some(real)
        })
    }

    /// Directories where libraries are found whatever program asks for them, for machine code like `elf`.
    pub(crate) fn library_directories(&self, elf: &Elf) -> Vec<String> {
        let mut directories = self.library_path.clone();
        if self.libc == Some(Libc::Musl) {
            directories.extend(self.musl_directories.iter().cloned());
            return directories;
        }
        directories.extend(self.configured.iter().cloned());
        for triplet in triplets_of(elf.machine) {
            directories.push(format!("/lib/{triplet}"));
            directories.push(format!("/usr/lib/{triplet}"));
        }
        let own = [
            "/lib",
            "/usr/lib",
            "/lib64",
            "/usr/lib64",
            "/lib32",
            "/usr/lib32",
            "/libx32",
            "/usr/libx32",
            "/libo32",
            "/usr/libo32",
        ];
        directories.extend(own.map(str::to_owned));
        directories
    }

    /// The real paths of the directories that this platform's loader searches by itself.
    pub(crate) fn search_directories(&self) -> BTreeSet<String> {
        let mut directories = self.library_path.clone();
        match self.libc {
            Some(Libc::Musl) => directories.extend(self.musl_directories.iter().cloned()),
            _ => {
                directories.extend(self.configured.iter().cloned());
                for triplet in self.target.triplets {
                    directories.push(format!("/lib/{triplet}"));
                    directories.push(format!("/usr/lib/{triplet}"));
                }
                directories.extend(["/lib", "/usr/lib", "/lib64", "/usr/lib64"].map(str::to_owned));
            }
        }
        let real = |directory: &String| {
            let (real, node) = self.root.resolve(directory)?;
            matches!(node.kind, NodeKind::Directory).then_some(real)
        };
        directories.iter().filter_map(real).collect()
    }

    /// The highest version of a family (`GLIBC_2.36`) that a library defines.
    pub(crate) fn highest_version<'e>(elf: &'e Elf, family: &str) -> Option<&'e str> {
        let numbers = |version: &str| -> Vec<u32> { version.split('.').filter_map(|part| part.parse().ok()).collect() };
        elf.version_definitions
            .iter()
            .filter_map(|version| version.strip_prefix(family)?.strip_prefix('_'))
            .filter(|version| version.starts_with(|letter: char| letter.is_ascii_digit()))
            .max_by_key(|version| numbers(version))
    }
}

/// The C library of an image, by the loaders that it holds for this platform.
fn libc(root: &Root<'_>, target: &Target) -> Option<Libc> {
    let is_ours = |path: &str| match root.resolve(path).map(|(_, node)| node.kind) {
        Some(NodeKind::File(FileFacts::Elf(elf))) => elf.machine == target.machine,
        _ => false,
    };
    let glibc = target.glibc_loaders.iter().any(|path| is_ours(path));
    let musl = root
        .children("lib")
        .chain(root.children("usr/lib"))
        .any(|(path, _)| path.rsplit('/').next().is_some_and(|name| name.starts_with("ld-musl-")) && is_ours(path));
    match (glibc, musl) {
        (true, false) => Some(Libc::Glibc),
        (false, true) => Some(Libc::Musl),
        (false, false) => None,
        // Compatibility packages bring the other loader; the shell was built with the image's own library.
        (true, true) => match root.resolve("bin/sh").map(|(_, node)| node.kind) {
            Some(NodeKind::File(FileFacts::Elf(elf))) => libc_of(elf),
            _ => None,
        },
    }
}

fn text<'a>(root: &Root<'a>, path: &str) -> Option<&'a str> {
    match root.resolve(path)?.1.file()? {
        FileFacts::Text(text) => Some(text),
        _ => None,
    }
}

/// The directories of `/etc/ld.so.conf` and what it includes.
fn configured(root: &Root<'_>) -> Vec<String> {
    let mut directories = Vec::new();
    let mut pending = vec!["etc/ld.so.conf".to_owned()];
    let mut seen = BTreeSet::new();
    while let Some(file) = pending.pop() {
        if !seen.insert(file.clone()) || seen.len() > MAX_DIRECTORIES {
            continue;
        }
        for line in text(root, &file).unwrap_or_default().lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if let Some(pattern) = line.strip_prefix("include ") {
                pending.extend(included(root, pattern.trim()));
            } else if line.starts_with('/') && directories.len() < MAX_DIRECTORIES {
                let directory = line.split(['=', ' ', '\t']).next().unwrap_or_default();
                directories.push(directory.to_owned());
            }
        }
    }
    directories
}

/// Files that an `include` line names: `*` stands for the whole name but an ending.
fn included(root: &Root<'_>, pattern: &str) -> Vec<String> {
    let pattern = if pattern.starts_with('/') {
        pattern.trim_start_matches('/').to_owned()
    } else {
        format!("etc/{pattern}")
    };
    let Some((directory, name)) = pattern.rsplit_once('/') else {
        return Vec::new();
    };
    match name.split_once('*') {
        None => vec![pattern],
        Some((before, after)) => {
            let fits = |path: &&str| {
                let name = &path[directory.len() + 1..];
                name.starts_with(before) && name.ends_with(after)
            };
            let children = root.children(directory).map(|(path, _)| path);
            children.filter(fits).map(str::to_owned).collect()
        }
    }
}

/// musl reads `/etc/ld-musl-ARCH.path`, and without it searches three directories.
fn musl_directories(root: &Root<'_>) -> Vec<String> {
    let file = root
        .children("etc")
        .map(|(path, _)| path)
        .find(|path| path.starts_with("etc/ld-musl-") && path.ends_with(".path"));
    match file.and_then(|file| text(root, file)) {
        Some(text) => text
            .split(['\n', ':'])
            .map(str::trim)
            .filter(|directory| directory.starts_with('/'))
            .map(str::to_owned)
            .take(MAX_DIRECTORIES)
            .collect(),
        None => ["/lib", "/usr/local/lib", "/usr/lib"].map(str::to_owned).to_vec(),
    }
}
