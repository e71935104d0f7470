//! Layers made of Debian packages: their files alone, without running what the packages would run when installed.
//!
//! ```text
//! languages-1/
//!   apt/                     private state of apt, and the downloaded packages until the layer is made
//!   NAME-ARCHITECTURE.tar    a layer, uncompressed: it is read far more often than it is written
//!   NAME-ARCHITECTURE.json   its digest, its size, and the packages that it and the layers below it hold
//!   NAME-ARCHITECTURE.lock   held by the process that makes it
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::base_image::hold_lock;
use crate::debian::Debian;
use crate::error::TestkitError;

/// What a layer is made of.
#[derive(Debug, Clone, Default)]
pub(crate) struct LayerRecipe {
    /// Names the layer in the cache.
    pub(crate) name: &'static str,
    /// The Debian architecture whose packages are taken.
    pub(crate) architecture: String,
    /// Packages that are taken with all that they need.
    pub(crate) roots: Vec<String>,
    /// Packages that are taken alone; `name`, or `name:architecture`.
    pub(crate) alone: Vec<String>,
    /// If given, only paths that begin with one of these are kept.
    pub(crate) only: &'static [&'static str],
    /// Paths that are left out: beginnings, or endings with a `*` in front.
    pub(crate) without: &'static [&'static str],
    /// Links that maintainer scripts would make: path and target.
    pub(crate) links: Vec<(String, String)>,
    /// Files that maintainer scripts would write: path, mode and content.
    pub(crate) files: Vec<(String, u32, Vec<u8>)>,
}

/// A finished layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PackageLayer {
    /// The uncompressed archive.
    #[serde(skip)]
    pub(crate) path: PathBuf,
    /// SHA-256 of it in hexadecimal digits.
    pub(crate) digest: String,
    /// Its length in bytes.
    pub(crate) size: u64,
    /// The packages in it and in the layers below it, as `name:architecture`.
    pub(crate) packages: BTreeSet<String>,
}

/// Documentation, translations and the like: nothing that a program opens.
const NEVER: &[&str] = &[
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/bug",
    "usr/share/gcc",
    "usr/share/gdb",
    "usr/share/fonts",
];

/// Packages that a closure names and nothing here needs: sanitisers, optimisers, fonts, and what installation needs alone.
const NEEDLESS: &[&str] = &[
    "libasan",
    "libtsan",
    "libubsan",
    "liblsan",
    "libhwasan",
    "libitm",
    "libgprofng",
    "fonts-",
    "perl",
    "libperl",
    "debconf",
    "dpkg",
    "libjs-",
    "webpack",
    "eslint",
    "terser",
    "handlebars",
    "node-babel7",
    "node-caniuse",
];

/// The layers that were made so far.
#[derive(Debug)]
pub(crate) struct PackageLayers {
    directory: PathBuf,
}

impl PackageLayers {
    /// Layers are kept in `directory`.
    pub(crate) fn new(directory: &Path) -> Result<Self, TestkitError> {
        fs::create_dir_all(directory).map_err(TestkitError::file("create", directory))?;
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    /// Finds a layer, or makes it. What `below` holds is left out of it.
    pub(crate) fn layer(&self, recipe: &LayerRecipe, below: &[&PackageLayer]) -> Result<PackageLayer, TestkitError> {
        let stem = format!("{}-{}", recipe.name, recipe.architecture);
        let record = self.directory.join(format!("{stem}.json"));
        let _lock = hold_lock(&self.directory.join(format!("{stem}.lock")))?;
        let path = self.directory.join(format!("{stem}.tar"));
        if let Ok(bytes) = fs::read(&record)
            && let Ok(found) = serde_json::from_slice::<PackageLayer>(&bytes)
        {
            return Ok(PackageLayer { path, ..found });
        }
        let mut packages: BTreeSet<String> = below.iter().flat_map(|layer| layer.packages.clone()).collect();
        let (digest, size) = self.make(recipe, &mut packages, &path)?;
        let layer = PackageLayer {
            path,
            digest,
            size,
            packages,
        };
        let text = serde_json::to_vec(&layer).unwrap_or_default();
        let half = self.directory.join(format!("{stem}.half"));
        fs::write(&half, text).map_err(TestkitError::file("write", &half))?;
        fs::rename(&half, &record).map_err(TestkitError::file("create", &record))?;
        Ok(layer)
    }

    fn make(
        &self,
        recipe: &LayerRecipe,
        packages: &mut BTreeSet<String>,
        path: &Path,
    ) -> Result<(String, u64), TestkitError> {
        let files = self.fetch(recipe, packages)?;
        let file = fs::File::create(path).map_err(TestkitError::file("create", path))?;
        let mut layer = Writer::new(recipe, file);
        for package in &files {
            layer.add_package(package)?;
        }
        let written = layer.finish().map_err(TestkitError::file("write", path))?;
        let place = self.place_of(recipe);
        fs::remove_dir_all(&place).map_err(TestkitError::file("remove", &place))?;
        Ok(written)
    }

    /// Where the packages of a layer lie until it is made.
    fn place_of(&self, recipe: &LayerRecipe) -> PathBuf {
        let stem = format!("{}-{}", recipe.name, recipe.architecture);
        self.directory.join(format!("{stem}.packages"))
    }

    /// Downloads what a layer is made of. One process at a time uses apt's state.
    fn fetch(&self, recipe: &LayerRecipe, packages: &mut BTreeSet<String>) -> Result<Vec<PathBuf>, TestkitError> {
        let _lock = hold_lock(&self.directory.join("apt.lock"))?;
        let debian = Debian::new(&self.directory.join("apt"), &["amd64", "arm64"])?;
        let roots: Vec<&str> = recipe.roots.iter().map(String::as_str).collect();
        let mut wanted = match roots.as_slice() {
            [] => Vec::new(),
            roots => debian.closure(roots, &recipe.architecture)?,
        };
        wanted.retain(|package| !NEEDLESS.iter().any(|needless| package.starts_with(needless)));
        wanted.extend(recipe.alone.iter().map(|package| {
            if package.contains(':') {
                package.clone()
            } else {
                format!("{package}:{}", recipe.architecture)
            }
        }));
        wanted.retain(|package| packages.insert(package.clone()));
        // A package that two layers take must be there for both.
        let place = self.place_of(recipe);
        fs::create_dir_all(&place).map_err(TestkitError::file("create", &place))?;
        let moved = debian.download_all(&wanted)?.into_iter().map(|file| {
            let target = place.join(file.file_name().unwrap_or_default());
            fs::rename(&file, &target).map_err(TestkitError::file("move", &file))?;
            Ok(target)
        });
        moved.collect()
    }
}

/// Writes one layer: the entries of packages, each path once.
struct Writer<'a> {
    recipe: &'a LayerRecipe,
    archive: tar::Builder<Hashing<BufWriter<fs::File>>>,
    seen: BTreeSet<String>,
}

impl<'a> Writer<'a> {
    fn new(recipe: &'a LayerRecipe, file: fs::File) -> Self {
        let output = Hashing {
            inner: BufWriter::with_capacity(1 << 20, file),
            hasher: Sha256::new(),
            length: 0,
        };
        Self {
            recipe,
            archive: tar::Builder::new(output),
            seen: BTreeSet::new(),
        }
    }

    fn add_package(&mut self, package: &Path) -> Result<(), TestkitError> {
        let start = |source| TestkitError::Start {
            program: "dpkg-deb".to_owned(),
            source,
        };
        let mut child = Command::new("dpkg-deb")
            .arg("--fsys-tarfile")
            .arg(package)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(start)?;
        if let Some(output) = child.stdout.take() {
            self.add_entries(output)
                .map_err(TestkitError::file("take the files of", package))?;
        }
        let status = child.wait().map_err(start)?;
        if status.success() {
            return Ok(());
        }
        Err(TestkitError::Program {
            program: format!("dpkg-deb --fsys-tarfile {}", package.display()),
            status: status.to_string(),
            stderr: String::new(),
        })
    }

    fn add_entries(&mut self, mut input: impl io::Read) -> io::Result<()> {
        let mut archive = tar::Archive::new(&mut input);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = merged(&entry.path()?.to_string_lossy());
            if path.is_empty() || self.leaves_out(&path) || !self.seen.insert(path.clone()) {
                continue;
            }
            let kind = entry.header().entry_type();
            let mut header = header(entry.header().mode()?, kind, entry.size());
            let link = entry.link_name()?.map(|link| link.to_string_lossy().into_owned());
            match link {
                Some(link) if kind == tar::EntryType::Link => {
                    self.archive.append_link(&mut header, &path, merged(&link))?;
                }
                Some(link) => self.archive.append_link(&mut header, &path, link)?,
                None => self.archive.append_data(&mut header, &path, &mut entry)?,
            }
        }
        // Whoever unpacks must have said all, else its end looks like a failure.
        io::copy(&mut input, &mut io::sink()).map(drop)
    }

    fn leaves_out(&self, path: &str) -> bool {
        let among = |patterns: &[&str]| {
            patterns.iter().any(|pattern| match pattern.strip_prefix('*') {
                Some(ending) => path.ends_with(ending),
                None => path.starts_with(pattern),
            })
        };
        let only = self.recipe.only;
        among(NEVER) || among(self.recipe.without) || !(only.is_empty() || among(only))
    }

    fn finish(mut self) -> io::Result<(String, u64)> {
        for (path, target) in &self.recipe.links {
            if self.seen.insert(path.clone()) {
                let mut header = header(0o777, tar::EntryType::Symlink, 0);
                self.archive.append_link(&mut header, path, target)?;
            }
        }
        for (path, mode, content) in &self.recipe.files {
            let kind = if path.ends_with('/') {
                tar::EntryType::Directory
            } else {
                tar::EntryType::Regular
            };
            if self.seen.insert(path.trim_end_matches('/').to_owned()) {
                let mut header = header(*mode, kind, content.len() as u64);
                self.archive.append_data(&mut header, path, &content[..])?;
            }
        }
        let mut output = self.archive.into_inner()?;
        output.flush()?;
        Ok((hex::encode(output.hasher.finalize()), output.length))
    }
}

fn header(mode: u32, kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_entry_type(kind);
    header.set_size(if kind == tar::EntryType::Regular { size } else { 0 });
    header
}

/// The path of a package's file where `/bin`, `/sbin`, `/lib` and `/lib64` are links into `/usr`, without `./` in front.
fn merged(path: &str) -> String {
    let path = path.trim_start_matches("./").trim_matches('/');
    let first = path.split('/').next().unwrap_or_default();
    if matches!(first, "bin" | "sbin" | "lib" | "lib64") {
        format!("usr/{path}")
    } else {
        path.to_owned()
    }
}

/// Digests and counts what goes through it.
struct Hashing<W> {
    inner: W,
    hasher: Sha256,
    length: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_a_merged_root() {
        assert_eq!(
            merged("./lib/x86_64-linux-gnu/libc.so.6"),
            "usr/lib/x86_64-linux-gnu/libc.so.6"
        );
        assert_eq!(merged("./lib64/"), "usr/lib64");
        assert_eq!(merged("./usr/bin/go"), "usr/bin/go");
        assert_eq!(merged("./"), "");
    }
}
