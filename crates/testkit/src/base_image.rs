//! The base images that tests build on.
//!
//! Made of Debian's static busybox for each architecture: a root like the one of the official `busybox` image, and one
//! that stands in for `alpine`. They are made once and kept beside cargo's output.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::debian::Debian;
use crate::error::TestkitError;
use crate::image_layout::{ImageLayout, Tree};
use crate::program::{Program, cache_directory};
use crate::static_registry::StaticRegistry;

/// The platforms that base images exist for, with Debian's name of each architecture.
const PLATFORMS: &[(&str, &str)] = &[
    ("linux/amd64", "amd64"),
    ("linux/arm64", "arm64"),
    ("linux/arm/v7", "armhf"),
    ("linux/386", "i386"),
];

/// Every architecture that Debian's static busybox is built for.
const ALL_PLATFORMS: &[(&str, &str)] = &[
    ("linux/amd64", "amd64"),
    ("linux/arm64", "arm64"),
    ("linux/arm/v7", "armhf"),
    ("linux/386", "i386"),
    ("linux/ppc64le", "ppc64el"),
    ("linux/s390x", "s390x"),
    ("linux/arm/v5", "armel"),
    ("linux/mips64le", "mips64el"),
];

/// Changing what the images hold means changing these, so that images made earlier are not found.
const LAYOUT: &str = "base-images-4";
const ALL_LAYOUT: &str = "base-images-all-4";

/// Which distribution a root looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// The official `busybox` image.
    Busybox,
    /// A stand-in for the official `alpine` image: the same files to recognise it by, but no `apk`.
    Alpine,
}

/// An image layout that holds `library/busybox` and `library/alpine`, each for four platforms.
#[derive(Debug)]
pub struct BaseImages {
    layout: ImageLayout,
}

impl BaseImages {
    /// Finds the images made by an earlier call, or makes them. Needs apt and the network the first time only.
    pub fn prepare() -> Result<Self, TestkitError> {
        Self::prepare_in(&cache_directory()?)
    }

    /// As [`BaseImages::prepare`], kept in `cache`.
    pub fn prepare_in(cache: &Path) -> Result<Self, TestkitError> {
        Self::prepare_for(cache, LAYOUT, PLATFORMS)
    }

    /// As [`BaseImages::prepare`], for the eight architectures of [`BaseImages::all_platforms`].
    pub fn prepare_all() -> Result<Self, TestkitError> {
        Self::prepare_for(&cache_directory()?, ALL_LAYOUT, ALL_PLATFORMS)
    }

    /// The platforms of [`BaseImages::prepare_all`].
    pub fn all_platforms() -> Vec<&'static str> {
        ALL_PLATFORMS.iter().map(|(platform, _)| *platform).collect()
    }

    fn prepare_for(cache: &Path, name: &str, platforms: &[(&str, &str)]) -> Result<Self, TestkitError> {
        let finished = cache.join(name);
        if finished.join("index.json").is_file() {
            return Ok(Self {
                layout: ImageLayout::open(&finished),
            });
        }
        let _lock = hold_lock(&cache.join(format!("{name}.lock")))?;
        if !finished.join("index.json").is_file() {
            let half = cache.join(format!("{name}.half"));
            if half.exists() {
                fs::remove_dir_all(&half).map_err(TestkitError::file("remove", &half))?;
            }
            make(cache, &half, platforms)?;
            fs::rename(&half, &finished).map_err(TestkitError::file("create", &finished))?;
        }
        Ok(Self {
            layout: ImageLayout::open(&finished),
        })
    }

    /// The layout, to read it or to push from it.
    pub fn layout(&self) -> &ImageLayout {
        &self.layout
    }

    /// Serves the images on a free loopback port.
    pub fn serve(&self) -> Result<StaticRegistry, TestkitError> {
        StaticRegistry::start(self.layout.clone())
    }
}

/// The tests of one run are processes of their own, and only one of them may make the images.
pub(crate) fn hold_lock(path: &Path) -> Result<fs::File, TestkitError> {
    let file = fs::File::create(path).map_err(TestkitError::file("create", path))?;
    file.lock().map_err(TestkitError::file("lock", path))?;
    Ok(file)
}

fn make(cache: &Path, directory: &Path, platforms: &[(&str, &str)]) -> Result<(), TestkitError> {
    let architectures: Vec<&str> = platforms.iter().map(|(_, architecture)| *architecture).collect();
    // apt's lists are fetched once for a directory, and only for the architectures that it was made for.
    let state = if platforms.len() == PLATFORMS.len() {
        "debian"
    } else {
        "debian-all"
    };
    let debian = Debian::new(&cache.join(state), &architectures)?;
    // The list of applets is the same for every architecture, as they are built from one source.
    let host = debian.unpack("busybox-static", &Debian::host_architecture()?)?;
    let listing = Program::new(busybox_in(&host))
        .args(["--list-full"])
        .succeed()?
        .stdout_text();
    let applets: Vec<&str> = listing.lines().collect();

    let layout = ImageLayout::create(directory)?;
    let mut manifests = [Vec::new(), Vec::new()];
    for (platform, architecture) in platforms {
        let path = busybox_in(&debian.unpack("busybox-static", architecture)?);
        let binary = fs::read(&path).map_err(TestkitError::file("read", &path))?;
        for (distribution, manifests) in [Distribution::Busybox, Distribution::Alpine]
            .into_iter()
            .zip(&mut manifests)
        {
            let tree = root(distribution, &binary, &applets);
            let command = match distribution {
                Distribution::Busybox => "sh",
                Distribution::Alpine => "/bin/sh",
            };
            let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
            manifests.push(layout.add_image(platform, &tree, json!({"Env": [path], "Cmd": [command]}))?);
        }
    }
    layout.add_index(
        &[
            "library/busybox:latest",
            "library/busybox:stable",
            "library/busybox:1.35",
        ],
        &manifests[0],
    )?;
    layout.add_index(
        &["library/alpine:latest", "library/alpine:3", "library/alpine:3.20"],
        &manifests[1],
    )?;
    Ok(())
}

pub(crate) fn busybox_in(unpacked: &Path) -> PathBuf {
    let merged = unpacked.join("usr/bin/busybox");
    if merged.is_file() {
        merged
    } else {
        unpacked.join("bin/busybox")
    }
}

/// The root of one image around a static busybox. `applets` are paths without a leading slash (`usr/bin/awk`).
fn root(distribution: Distribution, busybox: &[u8], applets: &[&str]) -> Tree {
    let mut tree = Tree::new()
        .file("bin/busybox", 0o755, busybox)
        .file("bin/adduser", 0o755, ADDUSER)
        .file("bin/addgroup", 0o755, ADDGROUP)
        .file("etc/nsswitch.conf", 0o644, "hosts: files dns\n");
    for (path, mode) in [
        ("bin", 0o755),
        ("etc", 0o755),
        ("home", 0o755),
        ("lib", 0o755),
        ("root", 0o700),
        ("sbin", 0o755),
        ("tmp", 0o1777),
        ("usr", 0o755),
        ("usr/bin", 0o755),
        ("usr/sbin", 0o755),
        ("var", 0o755),
        ("var/spool", 0o755),
        ("var/spool/mail", 0o755),
    ] {
        tree = tree.directory(path, mode);
    }
    for applet in applets {
        // The official image has every applet in /bin; Alpine has each where the standard puts it.
        let name = applet.rsplit('/').next().unwrap_or(applet);
        let path = match distribution {
            Distribution::Busybox => format!("bin/{name}"),
            Distribution::Alpine => (*applet).to_owned(),
        };
        if name != "busybox" && name != "linuxrc" {
            tree = tree.symlink(&path, "/bin/busybox");
        }
    }
    match distribution {
        Distribution::Busybox => tree
            .file("etc/passwd", 0o644, BUSYBOX_PASSWD)
            .file("etc/group", 0o644, BUSYBOX_GROUP)
            .file("etc/shadow", 0o640, "root::10933:0:99999:7:::\n"),
        Distribution::Alpine => {
            for (path, mode) in [
                ("dev", 0o755),
                ("media", 0o755),
                ("mnt", 0o755),
                ("opt", 0o755),
                ("proc", 0o555),
                ("run", 0o755),
                ("srv", 0o755),
                ("sys", 0o555),
                ("usr/local", 0o755),
                ("usr/local/bin", 0o755),
                ("var/tmp", 0o1777),
            ] {
                tree = tree.directory(path, mode);
            }
            // The accounts are busybox' too: the peers' own runs of the corpora had one root for both.
            tree.file("etc/passwd", 0o644, BUSYBOX_PASSWD)
                .file("etc/group", 0o644, BUSYBOX_GROUP)
                .file("etc/shadow", 0o640, "root:*::0:::::\n")
                .file("etc/alpine-release", 0o644, "3.20.0\n")
                .file("etc/os-release", 0o644, ALPINE_RELEASE)
        }
    }
}

const ALPINE_RELEASE: &str = "\
NAME=\"Alpine Linux\"
ID=alpine
VERSION_ID=3.20.0
PRETTY_NAME=\"Alpine Linux v3.20 (stand-in made of Debian's busybox-static)\"
";

const BUSYBOX_PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
sys:x:3:3:sys:/dev:/bin/false
sync:x:4:100:sync:/bin:/bin/sync
mail:x:8:8:mail:/var/spool/mail:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
operator:x:37:37:Operator:/var:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
";

const BUSYBOX_GROUP: &str = "\
root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
adm:x:4:
tty:x:5:
disk:x:6:
lp:x:7:
mail:x:8:
kmem:x:9:
wheel:x:10:root
cdrom:x:11:
dialout:x:18:
floppy:x:19:
video:x:28:
audio:x:29:
tape:x:32:
www-data:x:33:
operator:x:37:
utmp:x:43:
plugdev:x:46:
staff:x:50:
lock:x:54:
netdev:x:82:
users:x:100:
nobody:x:65534:
";

/// Debian's busybox lacks the applet, so a script takes its place. It knows the options that Dockerfiles use.
const ADDUSER: &str = r#"#!/bin/sh
# adduser [-D] [-S] [-H] [-h HOME] [-s SHELL] [-g GECOS] [-G GROUP] [-u UID] [-k SKEL] USER [GROUP]
set -e
home= shell=/bin/sh gecos="Linux User,,," group= uid= make_home=1 system=
while getopts DSHh:s:g:G:u:k: option; do
    case $option in
        D|k) ;;
        S) system=1; shell=/bin/false; make_home= ;;
        H) make_home= ;;
        h) home=$OPTARG ;;
        s) shell=$OPTARG ;;
        g) gecos=$OPTARG ;;
        G) group=$OPTARG ;;
        u) uid=$OPTARG ;;
        *) exit 1 ;;
    esac
done
shift $((OPTIND - 1))
user=$1
[ -n "$user" ] || { echo "adduser: no user name" >&2; exit 1; }
[ -z "$2" ] || exec addgroup "$user" "$2"
if grep -q "^$user:" /etc/passwd; then echo "adduser: user '$user' in use" >&2; exit 1; fi
if [ -z "$uid" ]; then
    uid=1000
    [ -z "$system" ] || uid=100
    while cut -d: -f3 /etc/passwd | grep -qx "$uid"; do uid=$((uid + 1)); done
fi
if [ -z "$group" ]; then
    group=$user
    grep -q "^$group:" /etc/group || addgroup -g "$uid" "$group"
fi
gid=$(grep "^$group:" /etc/group | cut -d: -f3)
[ -n "$gid" ] || { echo "adduser: unknown group $group" >&2; exit 1; }
[ -n "$home" ] || home=/home/$user
echo "$user:x:$uid:$gid:$gecos:$home:$shell" >> /etc/passwd
if [ -n "$make_home" ]; then
    mkdir -p "$home"
    chown "$uid:$gid" "$home"
fi
"#;

/// As [`ADDUSER`], for groups.
const ADDGROUP: &str = r#"#!/bin/sh
# addgroup [-S] [-g GID] GROUP, or addgroup USER GROUP
set -e
gid= system=
while getopts Sg: option; do
    case $option in
        S) system=1 ;;
        g) gid=$OPTARG ;;
        *) exit 1 ;;
    esac
done
shift $((OPTIND - 1))
if [ -n "$2" ]; then
    grep -q "^$2:" /etc/group || { echo "addgroup: unknown group $2" >&2; exit 1; }
    sed -i -e "s/^\($2:.*:\)\$/\1$1/;t" -e "s/^\($2:.*\)\$/\1,$1/" /etc/group
    exit 0
fi
[ -n "$1" ] || { echo "addgroup: no group name" >&2; exit 1; }
if grep -q "^$1:" /etc/group; then echo "addgroup: group '$1' in use" >&2; exit 1; fi
if [ -z "$gid" ]; then
    gid=1000
    [ -z "$system" ] || gid=100
    while cut -d: -f3 /etc/group | grep -qx "$gid"; do gid=$((gid + 1)); done
fi
echo "$1:x:$gid:" >> /etc/group
"#;
