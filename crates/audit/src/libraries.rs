//! Where the loader finds libraries (ld.so(8); musl, "dynlink"): the same search, in the image's files.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use crate::binary::Machine;
use crate::elf::Elf;
use crate::target::{Libc, libc_of, libc_of_loader};
use crate::view::View;

/// Libraries of one program; more is a hostile image.
const MAX_LOADED: usize = 4096;

/// What came of looking for a library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// Here.
    Found(String),
    /// Only one of another machine is here.
    OtherMachine(String, Machine),
    /// Nowhere.
    Missing,
    /// The loader has it built in, or the container's runtime brings it.
    Provided,
}

/// A library that a file needs and does not find.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Gap {
    /// The file that needs it.
    pub(crate) file: String,
    /// The library.
    pub(crate) library: String,
}

/// A library that the image has, without versions that a file needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OldLibrary {
    /// The library as it is needed.
    pub(crate) library: String,
    /// Its real path.
    pub(crate) found: String,
    /// Versions that it does not define.
    pub(crate) missing: Vec<String>,
}

/// Everything that was found out about libraries.
#[derive(Debug, Default)]
pub(crate) struct Linking {
    /// What is missing, with the nearest that there is.
    pub(crate) gaps: BTreeMap<Gap, Lookup>,
    /// By the file that needs them.
    pub(crate) old: BTreeMap<String, Vec<OldLibrary>>,
    /// Files whose libraries were looked for.
    pub(crate) examined: HashSet<String>,
}

/// Searches libraries, and remembers where they are.
#[derive(Debug)]
pub(crate) struct Search<'v, 'a> {
    view: &'v View<'a>,
    directories: HashMap<Machine, Vec<String>>,
    found: HashMap<(Machine, String), Lookup>,
    /// Real paths of ELF files by their names, for plugins whose program has loaded their libraries already.
    names: HashMap<&'v str, Vec<&'v str>>,
}

impl<'v, 'a> Search<'v, 'a> {
    pub(crate) fn new(view: &'v View<'a>) -> Search<'v, 'a> {
        let mut names: HashMap<&str, Vec<&str>> = HashMap::new();
        for (path, node) in view.root.all() {
            // A link counts as the name under which a library can be found.
            let is_library = path.contains(".so");
            if is_library && !matches!(node.kind, crate::root::NodeKind::Directory) {
                names
                    .entry(path.rsplit('/').next().unwrap_or(path))
                    .or_default()
                    .push(path);
            }
        }
        Search {
            view,
            directories: HashMap::new(),
            found: HashMap::new(),
            names,
        }
    }

    /// Follows a program's libraries as its loader would, breadth first.
    pub(crate) fn follow(&mut self, path: &str, program: &'a Elf, linking: &mut Linking) -> Vec<String> {
        let mut loaded: HashSet<String> = HashSet::new();
        let mut names: HashSet<&'a str> = HashSet::new();
        let mut order = vec![path.to_owned()];
        let mut queue: VecDeque<(String, &'a Elf, Vec<String>)> = VecDeque::new();
        queue.push_back((path.to_owned(), program, Vec::new()));
        while let Some((file, elf, inherited)) = queue.pop_front() {
            let own = self.own_directories(&file, elf);
            // RPATH of whoever loads counts for what is loaded, RUNPATH only for the file itself.
            let handed_on: Vec<String> = if elf.runpath.is_empty() {
                own.iter().chain(&inherited).cloned().collect()
            } else {
                inherited.clone()
            };
            linking.examined.insert(file.clone());
            for name in &elf.needed {
                if !names.insert(name) {
                    continue;
                }
                let lookup = self.lookup(name, &file, elf, &own, &inherited);
                match lookup {
                    Lookup::Found(real) => {
                        self.compare_versions(&file, elf, name, &real, linking);
                        if let Some((_, library)) = self.view.elf(&real) {
                            names.extend(library.soname.as_deref());
                            if loaded.len() < MAX_LOADED && loaded.insert(real.clone()) {
                                order.push(real.clone());
                                queue.push_back((real, library, handed_on.clone()));
                            }
                        }
                    }
                    Lookup::Provided => {}
                    missing => {
                        let gap = Gap {
                            file: file.clone(),
                            library: name.clone(),
                        };
                        linking.gaps.entry(gap).or_insert(missing);
                    }
                }
            }
        }
        order
    }

    /// Looks at a library that no program is known to load: what its future program has loaded already may be
    /// anywhere in the image.
    pub(crate) fn look_alone(&mut self, path: &str, elf: &'a Elf, linking: &mut Linking) {
        linking.examined.insert(path.to_owned());
        let own = self.own_directories(path, elf);
        for name in &elf.needed {
            let lookup = self.lookup(name, path, elf, &own, &[]);
            match lookup {
                Lookup::Found(real) => self.compare_versions(path, elf, name, &real, linking),
                Lookup::Provided => {}
                missing => {
                    if self.is_anywhere(name, elf.machine) {
                        continue;
                    }
                    let gap = Gap {
                        file: path.to_owned(),
                        library: name.clone(),
                    };
                    linking.gaps.entry(gap).or_insert(missing);
                }
            }
        }
    }

    /// A file of the machine that has the library's name, wherever it is.
    pub(crate) fn is_anywhere(&self, name: &str, machine: Machine) -> bool {
        self.somewhere(name, machine).is_some()
    }

    /// Where such a file is.
    pub(crate) fn somewhere(&self, name: &str, machine: Machine) -> Option<&'v str> {
        let paths = self.names.get(name)?;
        let fits = |path: &&&str| self.view.elf(path).is_some_and(|(_, elf)| elf.machine == machine);
        paths.iter().find(fits).copied()
    }

    fn own_directories(&self, path: &str, elf: &Elf) -> Vec<String> {
        let origin = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        // With a RUNPATH, RPATH does not count (gABI, "Shared Object Dependencies").
        let paths = if elf.runpath.is_empty() {
            &elf.rpath
        } else {
            &elf.runpath
        };
        paths.iter().flat_map(|path| self.expanded(path, origin)).collect()
    }

    /// `$ORIGIN`, `$LIB` and `$PLATFORM` replaced.
    fn expanded(&self, path: &str, origin: &str) -> Vec<String> {
        let mut path = path.replace("${", "$").replace('}', "");
        path = path.replace("$ORIGIN", &format!("/{origin}"));
        if path.contains("$LIB") {
            let triplets = self.view.target.triplets.iter().map(|triplet| format!("lib/{triplet}"));
            let names = triplets.chain(["lib64".to_owned(), "lib".to_owned()]);
            return names.map(|name| path.replace("$LIB", &name)).collect();
        }
        vec![path.replace("$PLATFORM", &self.view.target.platform.architecture)]
    }

    fn lookup(&mut self, name: &str, file: &str, elf: &Elf, own: &[String], inherited: &[String]) -> Lookup {
        if is_provided(name) {
            return Lookup::Provided;
        }
        if self.view.libc == Some(Libc::Musl) && libc_of(elf) != Some(Libc::Glibc) && is_built_into_musl(name) {
            return Lookup::Provided;
        }
        if name.contains('/') {
            let path = match name.strip_prefix('/') {
                Some(absolute) => absolute.to_owned(),
                None => format!(
                    "{}/{name}",
                    file.rsplit_once('/').map_or("", |(directory, _)| directory)
                ),
            };
            return self.at(&path, elf.machine);
        }
        let mut nearest = Lookup::Missing;
        for directory in own.iter().chain(inherited) {
            match self.at(&format!("{directory}/{name}"), elf.machine) {
                Lookup::Missing => {}
                found @ Lookup::Found(_) => return found,
                other => nearest = other,
            }
        }
        match self.in_default_directories(name, elf) {
            Lookup::Missing => nearest,
            found => found,
        }
    }

    fn in_default_directories(&mut self, name: &str, elf: &Elf) -> Lookup {
        let key = (elf.machine, name.to_owned());
        if let Some(known) = self.found.get(&key) {
            return known.clone();
        }
        let view = self.view;
        let directories = self
            .directories
            .entry(elf.machine)
            .or_insert_with(|| view.library_directories(elf))
            .clone();
        let mut nearest = Lookup::Missing;
        for directory in directories {
            match self.at(&format!("{directory}/{name}"), elf.machine) {
                Lookup::Missing => {}
                found @ Lookup::Found(_) => {
                    nearest = found;
                    break;
                }
                other => nearest = other,
            }
        }
        // The loader is loaded already, under whatever path the program names it.
        if nearest == Lookup::Missing && libc_of_loader(name).is_some() {
            let by_name = self.names.get(name).and_then(|paths| paths.first().copied());
            if let Some(path) = by_name {
                nearest = self.at(path, elf.machine);
            }
        }
        self.found.insert(key, nearest.clone());
        nearest
    }

    fn at(&self, path: &str, machine: Machine) -> Lookup {
        match self.view.elf(path) {
            Some((real, elf)) if elf.machine == machine => Lookup::Found(real),
            Some((real, elf)) => Lookup::OtherMachine(real, elf.machine),
            None => Lookup::Missing,
        }
    }

    fn compare_versions(&self, file: &str, elf: &Elf, name: &str, real: &str, linking: &mut Linking) {
        let Some(need) = elf.version_needs.iter().find(|need| need.library == name) else {
            return;
        };
        let Some((_, library)) = self.view.elf(real) else {
            return;
        };
        // A library without any version satisfies every version, with a warning at run time; so does musl.
        let known = &library.version_definitions;
        if known.is_empty() || library.partial {
            return;
        }
        let missing: Vec<String> = need
            .versions
            .iter()
            .filter(|version| !known.contains(version))
            .cloned()
            .collect();
        let list = linking.old.entry(file.to_owned()).or_default();
        if !missing.is_empty() && !list.iter().any(|old| old.library == name) {
            list.push(OldLibrary {
                library: name.to_owned(),
                found: real.to_owned(),
                missing,
            });
        }
    }
}

/// What the kernel maps, and what the runtime of a GPU or a phone mounts into containers.
fn is_provided(name: &str) -> bool {
    name.starts_with("linux-vdso")
        || name.starts_with("linux-gate")
        || name.starts_with("libcuda.so")
        || name.starts_with("libnvidia-")
        || name.starts_with("libnvcuvid.so")
}

/// musl's loader is its C library, under all these names.
fn is_built_into_musl(name: &str) -> bool {
    ["c", "pthread", "rt", "m", "dl", "util", "xnet"].iter().any(|part| {
        name.strip_prefix("lib")
            .and_then(|rest| rest.strip_prefix(part))
            .is_some_and(|rest| rest.starts_with('.'))
    }) || name.starts_with("ld-musl-")
}
