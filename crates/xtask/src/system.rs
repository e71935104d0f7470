//! What the machine must have, and getting what it lacks.

use std::path::Path;
use std::process::Command;

use kiln_testkit::on_path;

use crate::error::XtaskError;
use crate::talk::say;

/// A program and the Debian package that it comes in.
pub(crate) type Need = (&'static str, &'static str);

/// What Kiln itself uses to run foreign binaries.
pub(crate) const EMULATORS: &[Need] = &[
    ("qemu-aarch64-static", "qemu-user-static"),
    ("qemu-arm-static", "qemu-user-static"),
];

/// What an ordinary user needs beside.
pub(crate) const ROOTLESS: &[Need] = &[("newuidmap", "uidmap")];

/// What the end-to-end tests compare with.
pub(crate) const PEERS: &[Need] = &[
    ("docker-registry", "docker-registry"),
    ("skopeo", "skopeo"),
    ("umoci", "umoci"),
    ("slirp4netns", "slirp4netns"),
    ("mmdebstrap", "mmdebstrap"),
    ("busybox", "busybox-static"),
    ("readelf", "binutils"),
    ("ssh-keygen", "openssh-client"),
    ("git", "git"),
    ("zstd", "zstd"),
];

/// What looks at pages: by far the largest of all, and of use to a few tests alone.
pub(crate) const BROWSER: &[Need] = &[("chromium", "chromium")];
/// What the images of the audit's tests are made with.
pub(crate) const PARTS: &[Need] = &[
    ("pip3", "python3-pip"),
    ("npm", "npm"),
    ("go", "golang-go"),
    ("cc", "gcc"),
    ("dpkg-deb", "dpkg"),
];

/// What benchmarks compare with and count with.
pub(crate) const BENCH_PEERS: &[Need] = &[("buildah", "buildah"), ("valgrind", "valgrind")];

/// Installs the packages of those programs that are not there.
pub(crate) fn ensure(needs: &[&[Need]]) -> Result<(), XtaskError> {
    let mut packages: Vec<&str> = needs
        .iter()
        .copied()
        .flatten()
        .filter(|(program, _)| on_path(program).is_none())
        .map(|need| need.1)
        .collect();
    packages.sort_unstable();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    say(&format!("installing {}", packages.join(", ")));
    if on_path("apt-get").is_none() {
        return Err(XtaskError::Missing {
            what: packages.join(", "),
            remedy: "install what holds them on this system: there is no apt-get here to do it".to_owned(),
        });
    }
    // A list that cannot be refreshed may still name the packages; the installation decides.
    if let Err(error) = as_root(&["apt-get", "-qq", "update"]) {
        say(&format!("warning: {error}"));
    }
    // Recommended packages would register emulators with the host, which Kiln must do without.
    let mut install = vec!["apt-get", "-qq", "install", "--yes", "--no-install-recommends"];
    install.extend(&packages);
    as_root(&install).map_err(|error| XtaskError::Missing {
        what: packages.join(", "),
        remedy: format!("install them by hand ({error})"),
    })
}

fn as_root(words: &[&str]) -> Result<(), XtaskError> {
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let words: Vec<&str> = if root {
        words.to_vec()
    } else {
        [&["sudo", "-n"], words].concat()
    };
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env("DEBIAN_FRONTEND", "noninteractive");
    succeed(&mut command)
}

/// Runs a program whose output is the user's to see.
pub(crate) fn succeed(command: &mut Command) -> Result<(), XtaskError> {
    let line = line_of(command);
    let status = command.status().map_err(|source| XtaskError::Start {
        program: line.clone(),
        source,
    })?;
    if status.success() {
        Ok(())
    } else {
        Err(XtaskError::Failed {
            program: line,
            status: status.to_string(),
        })
    }
}

/// The command line as one would type it, with the directory of the program left out.
pub(crate) fn line_of(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let arguments = command
        .get_args()
        .map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once(program).chain(arguments).collect::<Vec<_>>().join(" ")
}
