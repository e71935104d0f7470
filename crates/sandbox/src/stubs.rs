//! What had to be made in a root to mount on, and taking it away again, so that it never becomes part of a layer.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::step::RootSource;

/// A mount point that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Made {
    /// Relative to the root.
    pub(crate) path: PathBuf,
    pub(crate) directory: bool,
}

/// Removes mount points that the step left as they were made. Newest first, so that parents are empty in turn.
pub(crate) fn remove(root: &RootSource, made: &[Made]) -> io::Result<()> {
    let RootSource::Overlay { lowers, upper, .. } = root else {
        return Ok(());
    };
    for stub in made.iter().rev() {
        let path = upper.join(&stub.path);
        let Ok(metadata) = path.symlink_metadata() else {
            continue;
        };
        if stub.directory && metadata.is_dir() {
            // A directory that the step put something into is the step's own.
            let _ = std::fs::remove_dir(&path);
        } else if !stub.directory && metadata.is_file() && metadata.len() == 0 {
            std::fs::remove_file(&path)?;
        }
        remove_untouched_parents(&stub.path, lowers, upper);
    }
    Ok(())
}

/// Directories that overlay copied up only because something was made in them.
fn remove_untouched_parents(path: &Path, lowers: &[PathBuf], upper: &Path) {
    for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
        let copied = upper.join(parent);
        let Some(lower) = lowers
            .iter()
            .map(|lower| lower.join(parent))
            .find_map(|lower| lower.symlink_metadata().ok())
        else {
            return;
        };
        let Ok(metadata) = copied.symlink_metadata() else {
            return;
        };
        let same = metadata.is_dir()
            && lower.is_dir()
            && (metadata.mode(), metadata.uid(), metadata.gid()) == (lower.mode(), lower.uid(), lower.gid())
            && !is_opaque(&copied);
        // Removing fails if anything is left in it, which is the question.
        if !same || std::fs::remove_dir(&copied).is_err() {
            return;
        }
    }
}

fn is_opaque(directory: &Path) -> bool {
    let mut value = [0; 1];
    rustix::fs::lgetxattr(directory, "user.overlay.opaque", &mut value)
        .is_ok_and(|length| length == 1 && value == *b"y")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn directory(path: &Path) {
        std::fs::create_dir_all(path).expect("the test directory is writable");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    }

    #[test]
    fn untouched_mount_points_and_their_copied_parents_go() {
        let base = std::env::temp_dir().join(format!("kiln-stubs-{}", std::process::id()));
        let (lower, upper) = (base.join("lower"), base.join("upper"));
        for path in ["lower/etc", "upper/etc", "upper/etc/used", "upper/proc"] {
            directory(&base.join(path));
        }
        std::fs::write(upper.join("etc/resolv.conf"), "").expect("writable");
        std::fs::write(upper.join("etc/used/file"), "by the step").expect("writable");
        let root = RootSource::Overlay {
            lowers: vec![lower],
            upper: upper.clone(),
            work: base.join("work"),
        };
        let stub = |path: &str, directory| Made {
            path: path.into(),
            directory,
        };
        remove(
            &root,
            &[
                stub("proc", true),
                stub("etc/used", true),
                stub("etc/resolv.conf", false),
            ],
        )
        .expect("removable");
        assert!(!upper.join("proc").exists());
        assert!(!upper.join("etc/resolv.conf").exists());
        assert!(upper.join("etc/used/file").exists(), "what the step made stays");
        std::fs::remove_dir_all(upper.join("etc/used")).expect("removable");
        std::fs::write(upper.join("etc/hosts"), "").expect("writable");
        remove(&root, &[stub("etc/hosts", false)]).expect("removable");
        assert!(
            !upper.join("etc").exists(),
            "a parent that was copied up for the stub alone goes too"
        );
        std::fs::remove_dir_all(base).expect("removable");
    }
}
