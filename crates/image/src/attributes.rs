//! Extended attributes of files in a tree, without those that overlayfs itself uses.

use std::fs::File;
use std::io;
use std::path::Path;

/// Attributes that belong to the tree's form and never to the layer.
pub(crate) const OVERLAY_PREFIXES: [&[u8]; 2] = [b"user.overlay.", b"trusted.overlay."];

/// Marks a directory that hides what is below it in the stack.
pub(crate) const OPAQUE: &str = "user.overlay.opaque";

/// All attributes of a file, sorted, the file itself if it is a link.
pub(crate) fn read(path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let names = match list(path) {
        Ok(names) => names,
        Err(rustix::io::Errno::NOTSUP) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut found = Vec::new();
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        if OVERLAY_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || name == b"security.selinux" {
            continue;
        }
        let value = value(path, name)?;
        let value = if name == b"security.capability" {
            without_root_id(value)
        } else {
            value
        };
        found.push((name.to_vec(), value));
    }
    found.sort();
    Ok(found)
}

/// Whether a file has no attributes and none are expected. `path` is followed if it is a link, so that it can name a descriptor.
pub(crate) fn both_none(path: &Path, expected: &[(Vec<u8>, Vec<u8>)]) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    match rustix::fs::listxattr(path, &mut buffer) {
        Ok(0) | Err(rustix::io::Errno::NOTSUP) => Ok(expected.is_empty()),
        // Files with attributes are rare: they are not worth a comparison.
        Ok(_) | Err(rustix::io::Errno::RANGE) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn list(path: &Path) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = [0; 1024];
    match rustix::fs::llistxattr(path, &mut buffer) {
        Ok(length) => Ok(buffer[..length].to_vec()),
        Err(rustix::io::Errno::RANGE) => {
            let mut large = vec![0; 65_536];
            let length = rustix::fs::llistxattr(path, &mut large)?;
            large.truncate(length);
            Ok(large)
        }
        Err(error) => Err(error),
    }
}

fn value(path: &Path, name: &[u8]) -> io::Result<Vec<u8>> {
    // The kernel allows no larger value.
    let mut buffer = vec![0; 65_536];
    let length = rustix::fs::lgetxattr(path, name, &mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}

/// Whether a directory of a tree is opaque.
pub(crate) fn is_opaque(path: &Path) -> bool {
    let mut buffer = [0; 1];
    rustix::fs::lgetxattr(path, OPAQUE, &mut buffer).is_ok_and(|length| length == 1 && buffer == *b"y")
}

/// File capabilities that were set inside a user namespace carry its root's id (version 3). A layer holds
/// version 2, which is the same without the id.
fn without_root_id(mut value: Vec<u8>) -> Vec<u8> {
    const VERSION_3: u8 = 3;
    if value.len() == 24 && value[3] == VERSION_3 {
        value[3] = 2;
        value.truncate(20);
    }
    value
}

/// Sets attributes. Those that the file system or the namespace refuses are left out: the layer's index has them.
pub(crate) fn write(path: &Path, attributes: &[(Vec<u8>, Vec<u8>)]) -> io::Result<()> {
    write_with(attributes, |name, value| {
        rustix::fs::lsetxattr(path, name, value, rustix::fs::XattrFlags::empty())
    })
}

/// As [`write`], for a file that is open.
pub(crate) fn write_open(file: &File, attributes: &[(Vec<u8>, Vec<u8>)]) -> io::Result<()> {
    write_with(attributes, |name, value| {
        rustix::fs::fsetxattr(file, name, value, rustix::fs::XattrFlags::empty())
    })
}

fn write_with(
    attributes: &[(Vec<u8>, Vec<u8>)],
    set: impl Fn(&[u8], &[u8]) -> rustix::io::Result<()>,
) -> io::Result<()> {
    for (name, value) in attributes {
        if OVERLAY_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        match set(name, value) {
            Ok(()) | Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::PERM | rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Makes a directory of a tree opaque.
pub(crate) fn make_opaque(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::lsetxattr(
        path,
        OPAQUE,
        b"y",
        rustix::fs::XattrFlags::empty(),
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_of_version_3_becomes_version_2() {
        let mut three = vec![1, 0, 0, 3];
        three.extend([7; 16]);
        three.extend([1, 2, 3, 4]);
        let two = without_root_id(three.clone());
        assert_eq!(two.len(), 20);
        assert_eq!(two[..4], [1, 0, 0, 2]);
        assert_eq!(two[4..], three[4..20]);
        assert_eq!(without_root_id(two.clone()), two);
    }
}
