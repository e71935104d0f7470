//! What the place of a file says: whose it is, and whether binaries of other platforms are at home there.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::binary::Machine;
use crate::platform_words::{Named, System, family};
use crate::target::{are_siblings, cpu_of, cpu_of_triplet};
use crate::view::View;

/// Whether a file belongs to an installed Python package, or to Python's own modules.
pub(crate) fn is_python(path: &str) -> bool {
    path.contains("/site-packages/") || path.contains("/dist-packages/") || path.contains("/lib-dynload/")
}

/// Whether a file is a native part of a package of Node.js or Ruby.
pub(crate) fn is_addon(path: &str) -> bool {
    path.ends_with(".node") || is_in_node_modules(path) || is_in_gem(path)
}

/// Whether a file is below `node_modules`.
pub(crate) fn is_in_node_modules(path: &str) -> bool {
    path.starts_with("node_modules/") || path.contains("/node_modules/")
}

/// Whether a file belongs to an installed gem.
pub(crate) fn is_in_gem(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.ends_with(".so") && (path.contains("/gems/") || path.contains("/extensions/"))
}

/// Directories whose binaries are data here: for other machines, for debuggers, for tests.
const DATA: &[&str] = &[
    "lib/firmware",
    "usr/lib/firmware",
    "lib/modules",
    "usr/lib/modules",
    "usr/lib/debug",
    "boot",
    "usr/share",
    "usr/src",
    "usr/lib/grub",
    "usr/lib/syslinux",
    "usr/lib/ISOLINUX",
    "usr/lib/EXTLINUX",
    "usr/lib/ipxe",
    "usr/lib/EFI",
    "usr/lib/gcc-cross",
    "usr/lib/shim",
];

/// Directory names that say the same anywhere.
const DATA_NAMES: &[&str] = &[
    "testdata",
    "tests",
    "test",
    "fixtures",
    "__fixtures__",
    "firmware",
    "examples",
];

/// Directories for the other word size of the same processor.
const BIARCH: &[&str] = &[
    "lib32", "lib64", "libx32", "libo32", "libn32", "32", "64", "x32", "o32", "n32", "m32", "m64",
];

/// A place where foreign binaries are legitimate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Bundle {
    /// The directory.
    pub(crate) directory: String,
    /// Why they are.
    pub(crate) why: &'static str,
}

/// Tells bundles from mistakes, and remembers what stands beside what.
#[derive(Debug)]
pub(crate) struct Places<'v, 'a> {
    view: &'v View<'a>,
    siblings: RefCell<HashMap<String, Siblings>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Siblings {
    /// One is for this platform.
    ours: bool,
    /// How many platforms there are.
    platforms: usize,
}

impl<'v, 'a> Places<'v, 'a> {
    pub(crate) fn new(view: &'v View<'a>) -> Places<'v, 'a> {
        Places {
            view,
            siblings: RefCell::default(),
        }
    }

    /// Where a binary that does not run here is at home all the same. `machine` is None for what is no ELF.
    pub(crate) fn bundle(&self, path: &str, machine: Option<Machine>) -> Option<Bundle> {
        if let Some(directory) = DATA.iter().find(|directory| is_below(path, directory)) {
            return Some(Bundle {
                directory: (*directory).to_owned(),
                why: "data for other machines, for debuggers or for tests",
            });
        }
        let mut end = 0;
        for part in path.split('/') {
            let start = end;
            end = start + part.len() + 1;
            let directory = || path[..start + part.len()].to_owned();
            let is_last = end > path.len();
            if is_last {
                break;
            }
            if DATA_NAMES.contains(&part) {
                return Some(Bundle {
                    directory: directory(),
                    why: "data of tests",
                });
            }
            if cpu_of_triplet(part)
                .is_some_and(|cpu| cpu != self.view.target.cpu && machine.and_then(cpu_of) == Some(cpu))
            {
                return Some(Bundle {
                    directory: directory(),
                    why: "libraries of another architecture, in the directory that is named after it",
                });
            }
            let is_other_size = machine.is_some_and(|machine| are_siblings(machine, self.view.target.machine));
            if BIARCH.contains(&part) && is_other_size {
                return Some(Bundle {
                    directory: directory(),
                    why: "libraries for the processor's other word size",
                });
            }
        }
        self.beside_others(path, machine)
    }

    /// A part of the path names the binary's platform, and beside it stand the same for other platforms.
    fn beside_others(&self, path: &str, machine: Option<Machine>) -> Option<Bundle> {
        let mut end = path.len();
        loop {
            let start = path[..end].rfind('/').map_or(0, |slash| slash + 1);
            let part = &path[start..end];
            let named = Named::of(part);
            let names_it = match machine {
                Some(machine) => {
                    named.cpu.is_some() && named.cpu == cpu_of(machine) && named.cpu != Some(self.view.target.cpu)
                }
                None => named.system.is_some_and(|system| system != System::Linux),
            };
            // The names of Python's modules carry the platform for Python's sake, not to stand beside others.
            if names_it && !part.contains(".cpython-") {
                let siblings = self.siblings(path[..start].trim_end_matches('/'), part);
                if siblings.ours || siblings.platforms > 2 {
                    return Some(Bundle {
                        directory: path[..start].trim_end_matches('/').to_owned(),
                        why: "one of several platforms that stand side by side",
                    });
                }
            }
            if start == 0 {
                return None;
            }
            end = start - 1;
        }
    }

    fn siblings(&self, directory: &str, name: &str) -> Siblings {
        let wanted = family(name);
        let key = format!("{directory}/{wanted}");
        if let Some(known) = self.siblings.borrow().get(&key) {
            return *known;
        }
        let mut platforms: Vec<Named> = self
            .view
            .root
            .children(directory)
            .filter_map(|(path, _)| {
                let name = path.rsplit('/').next().unwrap_or(path);
                let named = Named::of(name);
                (named.is_some() && family(name) == wanted).then_some(named)
            })
            .collect();
        let target = &self.view.target;
        let is_ours =
            |named: &Named| named.cpu == Some(target.cpu) && named.system.is_none_or(|system| system == System::Linux);
        let ours = platforms.iter().any(is_ours);
        platforms.sort_unstable();
        platforms.dedup();
        let found = Siblings {
            ours,
            platforms: platforms.len(),
        };
        self.siblings.borrow_mut().insert(key, found);
        found
    }
}

fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}
