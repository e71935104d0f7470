//! Roots that images stand on.

use std::fs;

use kiln_testkit::{AuditParts, TestkitError, Tree};

type Made = Result<Tree, TestkitError>;

/// Files of packages, without what nothing runs.
pub(crate) fn packages(parts: &AuditParts, architecture: &str, packages: &[&str]) -> Made {
    let mut tree = Tree::new();
    for package in packages {
        tree = tree.with_directory("", &parts.debian(package, architecture)?)?;
    }
    Ok(tree.without("usr/share"))
}

/// glibc and a shell.
pub(crate) fn glibc(parts: &AuditParts, architecture: &str) -> Made {
    Ok(packages(parts, architecture, &["libc6", "libc-bin", "dash", "bash", "libtinfo6"])?.directory("tmp", 0o1777))
}

/// musl and a shell that needs nothing.
pub(crate) fn musl(parts: &AuditParts, architecture: &str) -> Made {
    let tree = packages(parts, architecture, &["musl", "busybox-static"])?;
    Ok(tree.symlink("bin/sh", "busybox"))
}

/// One file of a package.
pub(crate) fn file(parts: &AuditParts, architecture: &str, package: &str, path: &str) -> Result<Vec<u8>, TestkitError> {
    let path = parts.debian(package, architecture)?.join(path);
    fs::read(&path).map_err(|source| TestkitError::File {
        action: "read",
        path,
        source,
    })
}
