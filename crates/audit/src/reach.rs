//! Which files of an image are used: from the entrypoint, from PATH, from installed packages, by loaders.

use std::collections::HashMap;

use crate::facts::FileFacts;
use crate::libraries::{Linking, Search};
use crate::root::NodeKind;
use crate::view::View;

/// Scripts that start scripts that start scripts.
const MAX_SCRIPTS: usize = 64;

/// Why a file counts as used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Use {
    /// The configuration starts it, or a script that the configuration starts names it.
    Entrypoint,
    /// It is in a directory of PATH.
    Path,
    /// A program that is used loads it.
    Loaded,
    /// It is in a directory that the loader searches.
    SearchPath,
    /// It belongs to an installed package of Python or Node.js.
    Package,
}

impl Use {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Use::Entrypoint => "the image's configuration starts it",
            Use::Path => "it is on PATH",
            Use::Loaded => "a program that is used loads it",
            Use::SearchPath => "the loader searches its directory",
            Use::Package => "it belongs to an installed package",
        }
    }
}

/// Uses by real path.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    uses: HashMap<String, Use>,
}

impl Reach {
    /// Finds out what is used. Libraries that programs load are followed into `linking` on the way.
    pub(crate) fn of<'a>(view: &View<'a>, search: &mut Search<'_, 'a>, linking: &mut Linking) -> Reach {
        let mut reach = Reach::default();
        reach.entrypoint(view);
        reach.path(view);
        reach.packages(view);
        reach.runtimes(view);
        for (path, node) in view.root.all() {
            let Some(FileFacts::Elf(elf)) = node.file() else {
                continue;
            };
            if !elf.dynamic || !elf.is_program() || !view.target.starts(elf.machine) {
                continue;
            }
            let used = reach.uses.get(path).copied();
            let loaded = search.follow(path, elf, linking);
            if used.is_some_and(|used| used <= Use::Path) {
                for library in loaded {
                    reach.add(library, Use::Loaded);
                }
            }
        }
        for directory in view.search_directories() {
            let libraries: Vec<String> = view
                .root
                .children(&directory)
                .filter_map(|(path, _)| view.elf(path))
                .filter(|(_, elf)| elf.is_library())
                .map(|(real, _)| real)
                .collect();
            for library in libraries {
                reach.add(library, Use::SearchPath);
            }
        }
        reach
    }

    /// Why a file is used, if it is.
    pub(crate) fn of_path(&self, path: &str) -> Option<Use> {
        self.uses.get(path).copied()
    }

    fn add(&mut self, path: String, used: Use) -> bool {
        match self.uses.get_mut(&path) {
            Some(known) => {
                *known = (*known).min(used);
                false
            }
            None => {
                self.uses.insert(path, used);
                true
            }
        }
    }

    fn entrypoint(&mut self, view: &View<'_>) {
        let config = view.config;
        let check = config
            .healthcheck
            .as_ref()
            .map(|check| check.test.as_slice())
            .unwrap_or_default();
        let words = config
            .entrypoint
            .iter()
            .flatten()
            .chain(config.cmd.iter().flatten())
            .chain(check);
        let mut pending: Vec<String> = Vec::new();
        for word in words {
            // The shell form is one word that holds a command.
            let parts = word.split(|letter: char| letter.is_whitespace() || ";&|()\"'".contains(letter));
            pending.extend(parts.filter_map(|part| resolve_word(view, part)));
        }
        let mut scripts = 0;
        while let Some(path) = pending.pop() {
            if !self.add(path.clone(), Use::Entrypoint) {
                continue;
            }
            let Some(FileFacts::Script(script)) = view.root.node(&path).and_then(|node| node.file()) else {
                continue;
            };
            scripts += 1;
            if scripts > MAX_SCRIPTS {
                break;
            }
            let named = script.paths.iter().chain([&script.interpreter]);
            let executable = |path: &String| {
                let (real, node) = view.root.resolve(path)?;
                node.is_executable().then_some(real)
            };
            pending.extend(named.filter_map(executable));
            pending.extend(script.env_program.iter().filter_map(|name| view.program(name)));
        }
    }

    fn path(&mut self, view: &View<'_>) {
        for directory in &view.path {
            let Some((directory, node)) = view.root.resolve(directory) else {
                continue;
            };
            if !matches!(node.kind, NodeKind::Directory) {
                continue;
            }
            let programs: Vec<String> = view
                .root
                .children(&directory)
                .filter_map(|(path, _)| view.root.resolve(path))
                .filter(|(_, node)| node.is_executable())
                .map(|(real, _)| real)
                .collect();
            for program in programs {
                self.add(program, Use::Path);
            }
        }
    }

    /// Everything in `site-packages` and in the places of native add-ons.
    fn packages(&mut self, view: &View<'_>) {
        for (path, node) in view.root.all() {
            let is_binary = matches!(
                node.file(),
                Some(FileFacts::Elf(_) | FileFacts::Foreign(_) | FileFacts::Wheel(_))
            );
            if is_binary && (crate::places::is_python(path) || crate::places::is_addon(path)) {
                self.add(path.to_owned(), Use::Package);
            }
        }
    }

    /// A runtime in a directory of its own, `X/bin/java` with `X/lib`: its libraries are loaded by name.
    fn runtimes(&mut self, view: &View<'_>) {
        let mut prefixes: Vec<String> = self
            .uses
            .iter()
            .filter(|(_, used)| **used <= Use::Path)
            .filter_map(|(path, _)| path.rsplit_once('/')?.0.strip_suffix("/bin"))
            .filter(|prefix| !matches!(*prefix, "" | "usr" | "usr/local"))
            .map(str::to_owned)
            .collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        for prefix in prefixes {
            let libraries: Vec<String> = view
                .root
                .below(&format!("{prefix}/lib"))
                .filter(|(path, node)| {
                    matches!(node.file(), Some(FileFacts::Elf(elf)) if elf.is_library())
                        && !crate::places::is_python(path)
                })
                .map(|(path, _)| path.to_owned())
                .collect();
            for library in libraries {
                self.add(library, Use::Loaded);
            }
        }
    }
}

/// What a word of a command line leads to: an absolute path, one relative to the working directory, or a name on PATH.
pub(crate) fn resolve_word(view: &View<'_>, word: &str) -> Option<String> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/_.+-@".contains(letter);
    if word.is_empty() || !word.chars().all(plain) {
        return None;
    }
    if word.starts_with('/') {
        let (real, node) = view.root.resolve(word)?;
        return matches!(node.kind, NodeKind::File(_)).then_some(real);
    }
    let here = || {
        let (real, node) = view.root.resolve(&format!("{}/{word}", view.config.working_dir))?;
        matches!(node.kind, NodeKind::File(_)).then_some(real)
    };
    if word.contains('/') {
        return here();
    }
    view.program(word).or_else(here)
}
