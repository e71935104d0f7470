//! Base images with compilers and interpreters, made of Debian's packages.
//!
//! The public images of the languages cannot be had everywhere, so these stand in for them under their names. Tools are
//! in the image of this machine's architecture, what runs in the end is in both. A shell and its small tools are
//! busybox's, and no package is installed: their files alone make the roots.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::base_image::{busybox_in, hold_lock};
use crate::debian::Debian;
use crate::error::TestkitError;
use crate::image_layout::ImageLayout;
use crate::package_layer::{LayerRecipe, PackageLayer, PackageLayers};
use crate::program::{Program, cache_directory};
use crate::static_registry::StaticRegistry;

/// Changing what the images hold means changing this, so that images made earlier are not found.
const LAYOUT: &str = "languages-1";

/// A language whose images can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// `golang`, for this machine's architecture.
    Go,
    /// `node`, with npm and compilers where steps run natively.
    Node,
    /// `python`, with pip, and with compilers where steps run natively.
    Python,
    /// `eclipse-temurin`: a JDK for this machine, and the modules of one for the other architecture.
    Java,
    /// `rust`, for this machine's architecture, with the standard library of both.
    Rust,
}

impl Language {
    fn name(self) -> &'static str {
        match self {
            Language::Go => "go",
            Language::Node => "node",
            Language::Python => "python",
            Language::Java => "java",
            Language::Rust => "rust",
        }
    }
}

/// An image layout with the base images of one language.
#[derive(Debug)]
pub struct LanguageImages {
    layout: ImageLayout,
}

impl LanguageImages {
    /// Finds the images made by an earlier call, or makes them. Needs apt and the network the first time only.
    pub fn prepare(language: Language) -> Result<Self, TestkitError> {
        let cache = cache_directory()?.join(LAYOUT);
        fs::create_dir_all(&cache).map_err(TestkitError::file("create", &cache))?;
        let finished = cache.join(format!("images-{}", language.name()));
        let _lock = hold_lock(&cache.join(format!("images-{}.lock", language.name())))?;
        if !finished.join("index.json").is_file() {
            let half = cache.join(format!("images-{}.half", language.name()));
            if half.exists() {
                fs::remove_dir_all(&half).map_err(TestkitError::file("remove", &half))?;
            }
            Kitchen::new(&cache)?.make(language, &ImageLayout::create(&half)?)?;
            fs::rename(&half, &finished).map_err(TestkitError::file("create", &finished))?;
        }
        Ok(Self {
            layout: ImageLayout::open(&finished),
        })
    }

    /// Serves the images on a free loopback port.
    pub fn serve(&self) -> Result<StaticRegistry, TestkitError> {
        StaticRegistry::start(self.layout.clone())
    }
}

/// An architecture, in the words of Debian, GNU and the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Architecture {
    debian: &'static str,
    gnu: &'static str,
    /// GNU's triple as it stands in package names.
    gnu_in_packages: &'static str,
}

const AMD64: Architecture = Architecture {
    debian: "amd64",
    gnu: "x86_64-linux-gnu",
    gnu_in_packages: "x86-64-linux-gnu",
};
const ARM64: Architecture = Architecture {
    debian: "arm64",
    gnu: "aarch64-linux-gnu",
    gnu_in_packages: "aarch64-linux-gnu",
};

/// Makes layers and images.
struct Kitchen {
    cache: std::path::PathBuf,
    layers: PackageLayers,
    /// This machine's architecture, and the one that is emulated.
    native: Architecture,
    foreign: Architecture,
}

impl Kitchen {
    fn new(cache: &Path) -> Result<Self, TestkitError> {
        let (native, foreign) = match Debian::host_architecture()?.as_str() {
            "arm64" => (ARM64, AMD64),
            _ => (AMD64, ARM64),
        };
        Ok(Self {
            cache: cache.to_owned(),
            layers: PackageLayers::new(cache)?,
            native,
            foreign,
        })
    }

    fn make(&self, language: Language, layout: &ImageLayout) -> Result<(), TestkitError> {
        let native_base = self.base(self.native)?;
        let foreign_base = self.base(self.foreign)?;
        let images = Images {
            layout,
            native: self.native,
            foreign: self.foreign,
        };
        let slim = ["library/debian:bookworm-slim", "library/alpine:3.20"];
        images.both(&slim, &[&native_base], &[&foreign_base], json!({}))?;
        match language {
            Language::Go => {
                let go = self.layers.layer(&self.go(), &[&native_base])?;
                let names = ["library/golang:1.23-alpine", "library/golang:1.23-bookworm"];
                images.native(&names, &[&native_base, &go], json!({}))
            }
            Language::Node => {
                let native = self.layers.layer(&self.node(self.native), &[&native_base])?;
                let foreign = self.layers.layer(&self.node(self.foreign), &[&foreign_base])?;
                let compilers = self.compilers(&native_base)?;
                let npm = self.layers.layer(&self.npm(), &[&native, &compilers])?;
                let tools = [&native_base, &native, &compilers, &npm];
                // npm asks where the headers are before it looks for them in the network.
                let config = || json!({"Env": [PATH, "npm_config_nodedir=/usr"]});
                let runtime = [&foreign_base, &foreign];
                images.both(&["library/node:20-alpine"], &tools, &runtime, config())?;
                let slim = ["library/node:20-bookworm-slim"];
                images.both(&slim, &[&native_base, &native], &runtime, json!({}))?;
                images.native(&["example/node-toolchain:1"], &tools, config())
            }
            Language::Python => {
                let native = self.layers.layer(&self.python(self.native), &[&native_base])?;
                let foreign = self.layers.layer(&self.python(self.foreign), &[&foreign_base])?;
                let compilers = self.compilers(&native_base)?;
                let headers = self.layers.layer(&self.python_headers(), &[&native, &compilers])?;
                let tools = [&native_base, &native, &compilers, &headers];
                let runtime = [&foreign_base, &foreign];
                // What builds a wheel is found here instead of in an index.
                let find = "PIP_FIND_LINKS=/usr/share/python-wheels";
                let config = json!({"Env": [PATH, find]});
                images.both(&["library/python:3.11-alpine"], &tools, &runtime, config)?;
                let slim = ["library/python:3.11-slim-bookworm"];
                images.both(&slim, &[&native_base, &native], &runtime, json!({}))?;
                let config = json!({"Env": [PATH, find, "PIP_NO_INDEX=1"]});
                images.native(&["example/python-toolchain:1"], &tools, config)
            }
            Language::Java => {
                let native = self.layers.layer(&self.jdk(), &[&native_base])?;
                let foreign = self.layers.layer(&self.jmods(), &[&foreign_base])?;
                let names = [
                    "library/eclipse-temurin:21-jdk-alpine",
                    "library/eclipse-temurin:21-jdk",
                ];
                let path = format!("{}:/opt/java/openjdk/bin", PATH);
                let config = json!({"Env": [path, "JAVA_HOME=/opt/java/openjdk"]});
                images.both(&names, &[&native_base, &native], &[&foreign_base, &foreign], config)
            }
            Language::Rust => {
                let compilers = self.compilers(&native_base)?;
                let rust = self.layers.layer(&self.rust(), &[&native_base, &compilers])?;
                images.native(
                    &["example/rust-toolchain:1"],
                    &[&native_base, &compilers, &rust],
                    json!({}),
                )
            }
        }
    }

    /// What everything else stands on: busybox, the C library, certificates.
    fn base(&self, architecture: Architecture) -> Result<PackageLayer, TestkitError> {
        let debian = Debian::new(&self.cache.join("busybox"), &["amd64", "arm64"])?;
        let lock = hold_lock(&self.cache.join("busybox.lock"))?;
        let host = busybox_in(&debian.unpack("busybox-static", self.native.debian)?);
        let busybox = busybox_in(&debian.unpack("busybox-static", architecture.debian)?);
        let certificates = debian.unpack("ca-certificates", architecture.debian)?;
        drop(lock);
        let applets = Program::new(host).args(["--list-full"]).succeed()?.stdout_text();
        let mut links: Vec<(String, String)> = ["bin", "sbin", "lib", "lib64"]
            .map(|name| (name.to_owned(), format!("usr/{name}")))
            .to_vec();
        let applets = applets
            .lines()
            .filter(|path| !path.ends_with("/busybox") && *path != "linuxrc");
        links.extend(applets.map(|applet| {
            let path = if applet.starts_with("usr/") {
                applet.to_owned()
            } else {
                format!("usr/{applet}")
            };
            (path, "/usr/bin/busybox".to_owned())
        }));
        let mut files = vec![
            ("usr/bin/busybox".to_owned(), 0o755, read(&busybox)?),
            (
                "etc/ssl/certs/ca-certificates.crt".to_owned(),
                0o644,
                bundle(&certificates)?,
            ),
            (
                "etc/passwd".to_owned(),
                0o644,
                b"root:x:0:0:root:/root:/bin/sh\n".to_vec(),
            ),
            ("etc/group".to_owned(), 0o644, b"root:x:0:\n".to_vec()),
            // The document's lines that install packages of Alpine find nothing to do: what they ask for is here.
            ("usr/bin/apk".to_owned(), 0o755, b"#!/bin/sh\nexit 0\n".to_vec()),
        ];
        for (directory, mode) in [
            ("tmp/", 0o1777),
            ("root/", 0o700),
            ("usr/lib64/", 0o755),
            ("usr/sbin/", 0o755),
        ] {
            files.push((directory.to_owned(), mode, Vec::new()));
        }
        let recipe = LayerRecipe {
            name: "base",
            alone: strings(&["libc6", "libgcc-s1", "libstdc++6", "zlib1g"]),
            architecture: architecture.debian.to_owned(),
            links,
            files,
            ..LayerRecipe::default()
        };
        self.layers.layer(&recipe, &[])
    }

    /// C and C++ compilers for both architectures that run on this machine.
    fn compilers(&self, base: &PackageLayer) -> Result<PackageLayer, TestkitError> {
        let cross = self.foreign.gnu_in_packages;
        let mut roots = strings(&["gcc", "g++", "libc6-dev", "make"]);
        roots.extend([format!("gcc-{cross}"), format!("g++-{cross}")]);
        let recipe = LayerRecipe {
            name: "compilers",
            roots,
            architecture: self.native.debian.to_owned(),
            without: &["*/lto1", "*-lto-dump-12", "*-ld.gold", "*-dwp"],
            links: vec![
                ("usr/bin/cc".to_owned(), "gcc".to_owned()),
                ("usr/bin/c++".to_owned(), "g++".to_owned()),
            ],
            ..LayerRecipe::default()
        };
        self.layers.layer(&recipe, &[base])
    }

    fn go(&self) -> LayerRecipe {
        LayerRecipe {
            name: "go",
            alone: strings(&["golang-go", "golang-src", "golang-1.19-go", "golang-1.19-src"]),
            architecture: self.native.debian.to_owned(),
            // With -trimpath the standard library is compiled from its sources in any case.
            without: &[
                "*_test.go",
                "*.syso",
                "usr/share/go-1.19/test",
                "usr/share/go-1.19/api",
                "usr/share/go-1.19/src/cmd",
                "usr/lib/go-1.19/pkg/linux_",
                "*/trace",
                "*/pprof",
                "*/vet",
            ],
            ..LayerRecipe::default()
        }
    }

    fn node(&self, architecture: Architecture) -> LayerRecipe {
        LayerRecipe {
            name: "node",
            roots: strings(&["nodejs"]),
            architecture: architecture.debian.to_owned(),
            ..LayerRecipe::default()
        }
    }

    /// npm with node-gyp, which is written in Python.
    fn npm(&self) -> LayerRecipe {
        LayerRecipe {
            name: "npm",
            roots: strings(&["npm", "libnode-dev"]),
            architecture: self.native.debian.to_owned(),
            without: &["*.a", "*.map", "*.d.ts"],
            // Debian's headers say that add-ons are linked with a shared libnode, which cross linkers find here. What
            // Node-API declares is bound when the add-on is loaded, so the library may be empty.
            files: vec![(
                format!("usr/{}/lib/libnode.so", self.foreign.gnu),
                0o644,
                b"/* empty */\n".to_vec(),
            )],
            ..LayerRecipe::default()
        }
    }

    fn python(&self, architecture: Architecture) -> LayerRecipe {
        LayerRecipe {
            name: "python",
            roots: strings(&["python3", "python3-pip"]),
            architecture: architecture.debian.to_owned(),
            // Images are not managed by Debian's packages.
            without: &["*/EXTERNALLY-MANAGED"],
            links: vec![("usr/bin/python".to_owned(), "python3".to_owned())],
            ..LayerRecipe::default()
        }
    }

    fn python_headers(&self) -> LayerRecipe {
        let foreign = format!("libpython3.11-dev:{}", self.foreign.debian);
        LayerRecipe {
            name: "python-headers",
            alone: strings(&[
                "libpython3.11-dev",
                &foreign,
                "python3-setuptools-whl",
                "python3-wheel-whl",
            ]),
            architecture: self.native.debian.to_owned(),
            only: &["usr/include", "usr/share/python-wheels"],
            ..LayerRecipe::default()
        }
    }

    fn jdk(&self) -> LayerRecipe {
        LayerRecipe {
            name: "jdk",
            // What strips debugging symbols calls objcopy.
            roots: strings(&["binutils"]),
            alone: strings(&["openjdk-17-jre-headless", "openjdk-17-jdk-headless"]),
            architecture: self.native.debian.to_owned(),
            without: &["*.diz", "*/src.zip"],
            links: vec![java_home(self.native)],
            ..LayerRecipe::default()
        }
    }

    /// Of the other architecture's JDK nothing is run: its modules are enough.
    fn jmods(&self) -> LayerRecipe {
        LayerRecipe {
            name: "jmods",
            alone: strings(&["openjdk-17-jdk-headless"]),
            architecture: self.foreign.debian.to_owned(),
            only: &["usr/lib/jvm"],
            without: &["*/bin/java", "*/ct.sym"],
            links: vec![java_home(self.foreign)],
            ..LayerRecipe::default()
        }
    }

    fn rust(&self) -> LayerRecipe {
        LayerRecipe {
            name: "rust",
            roots: strings(&["rustc", "cargo"]),
            alone: vec![format!("libstd-rust-dev:{}", self.foreign.debian)],
            architecture: self.native.debian.to_owned(),
            only: &["usr/bin", "usr/lib"],
            ..LayerRecipe::default()
        }
    }
}

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Adds images to a layout.
struct Images<'a> {
    layout: &'a ImageLayout,
    native: Architecture,
    foreign: Architecture,
}

impl Images<'_> {
    /// An image index of both architectures.
    fn both(
        &self,
        names: &[&str],
        native: &[&PackageLayer],
        foreign: &[&PackageLayer],
        config: Value,
    ) -> Result<(), TestkitError> {
        let native = self.image(self.native, native, config.clone())?;
        let foreign = self.image(self.foreign, foreign, config)?;
        self.layout.add_index(names, &[native, foreign]).map(drop)
    }

    /// An image index of this machine's architecture alone.
    fn native(&self, names: &[&str], layers: &[&PackageLayer], config: Value) -> Result<(), TestkitError> {
        let image = self.image(self.native, layers, config)?;
        self.layout.add_index(names, &[image]).map(drop)
    }

    fn image(&self, of: Architecture, layers: &[&PackageLayer], mut config: Value) -> Result<Value, TestkitError> {
        if config.get("Env").is_none() {
            config["Env"] = json!([PATH]);
        }
        config["Cmd"] = json!(["/bin/sh"]);
        self.layout
            .add_image_of_layers(&format!("linux/{}", of.debian), layers, config)
    }
}

/// The public images have their JDK at one place for every architecture.
fn java_home(architecture: Architecture) -> (String, String) {
    let home = format!("/usr/lib/jvm/java-17-openjdk-{}", architecture.debian);
    ("opt/java/openjdk".to_owned(), home)
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn read(path: &Path) -> Result<Vec<u8>, TestkitError> {
    fs::read(path).map_err(TestkitError::file("read", path))
}

/// All certificates in one file, as the package's script would write it.
fn bundle(package: &Path) -> Result<Vec<u8>, TestkitError> {
    let directory = package.join("usr/share/ca-certificates/mozilla");
    let entries = fs::read_dir(&directory).map_err(TestkitError::file("read", &directory))?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut bundle = Vec::new();
    for path in paths {
        bundle.extend(read(&path)?);
    }
    Ok(bundle)
}
