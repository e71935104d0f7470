//! A commit as a tree of files.

use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use kiln_dockerfile::git::redacted;
use kiln_dockerfile::path_pattern;
use kiln_graph::GitSource;
use kiln_store::{ScratchDir, StagedTree, Store};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use super::program::{Git, words};
use super::{GitError, Known, Repository, Resolved, blocking};

/// The directory that is wanted, cleaned and relative; empty for all of the repository.
pub(super) fn subdirectory(source: &GitSource) -> String {
    let written = source.subdirectory.as_deref().unwrap_or_default();
    path_pattern::clean(&format!("/{written}"))
        .trim_start_matches('/')
        .to_owned()
}

/// Where a checkout is made.
#[derive(Debug)]
struct Places {
    /// The files.
    work: PathBuf,
    /// The repository of the checkout.
    git: PathBuf,
    /// Holds whichever of both does not go into the result.
    _scratch: ScratchDir,
}

/// Checks a commit out into a tree that is not committed yet.
pub(super) async fn check_out(
    store: &Store,
    git: &Git,
    repository: &Repository,
    source: &GitSource,
    resolved: &Resolved,
    known: &Known,
) -> Result<StagedTree, GitError> {
    let subdirectory = subdirectory(source);
    // A part of a repository cannot be one itself.
    let keep = source.keep_git_directory && subdirectory.is_empty();
    let (staged, scratch) = (store.stage_tree()?, store.scratch_dir()?);
    let work = if subdirectory.is_empty() {
        staged.path().to_owned()
    } else {
        scratch.path().join("work")
    };
    let places = Places {
        git: if keep {
            work.join(".git")
        } else {
            scratch.path().join("git")
        },
        work,
        _scratch: scratch,
    };
    make_directory(&places.work)?;
    let checkout = Checkout {
        git,
        repository,
        source,
        places: &places,
    };
    if keep {
        checkout.copy_repository(resolved, known).await?;
    } else {
        checkout.borrow_repository().await?;
    }
    checkout.run(&["config", "remote.origin.url", &source.remote]).await?;
    checkout.run(&["read-tree", "--reset", "-u", &known.commit]).await?;
    if source.submodules && is_file(&places.work.join(".gitmodules")) {
        checkout.submodules().await?;
    }
    if keep {
        checkout.tidy(known).await?;
    }
    let (time, remote) = (known.time.filter(|_| source.commit_times), source.remote.clone());
    blocking(move || {
        if !keep {
            remove_git_files(&places.work)?;
        }
        if !subdirectory.is_empty() {
            take_subdirectory(&places.work, &subdirectory, staged.path(), &remote)?;
        }
        settle(staged.path(), time.unwrap_or(0))?;
        Ok(staged)
    })
    .await
}

struct Checkout<'a> {
    git: &'a Git,
    repository: &'a Repository,
    source: &'a GitSource,
    places: &'a Places,
}

impl Checkout<'_> {
    async fn run(&self, arguments: &[&str]) -> Result<Vec<u8>, GitError> {
        self.git
            .run_in(Some(&self.places.git), Some(&self.places.work), &words(arguments))
            .await
    }

    async fn init(&self) -> Result<(), GitError> {
        make_directory(&self.places.git)?;
        let format = if self.repository.sha256 { "sha256" } else { "sha1" };
        let format = format!("--object-format={format}");
        // With a work tree that is named, git would write its path into the configuration.
        let init = words(&["init", "--quiet", "--bare", &format]);
        self.git.run(Some(&self.places.git), &init).await?;
        self.run(&["config", "core.bare", "false"]).await.map(drop)
    }

    /// A repository for this checkout alone that reads the objects of the kept one.
    async fn borrow_repository(&self) -> Result<(), GitError> {
        self.init().await?;
        let from = self.repository.directory();
        let alternates = self.places.git.join("objects/info/alternates");
        make_directory(&self.places.git.join("objects/info"))?;
        let objects = format!("{}\n", from.join("objects").display());
        std::fs::write(&alternates, objects).map_err(io("write", &alternates))?;
        let shallow = from.join("shallow");
        if shallow.exists() {
            std::fs::copy(&shallow, self.places.git.join("shallow")).map_err(io("copy", &shallow))?;
        }
        Ok(())
    }

    /// A whole repository with this one commit, its HEAD detached.
    async fn copy_repository(&self, resolved: &Resolved, known: &Known) -> Result<(), GitError> {
        self.init().await?;
        let from = self.repository.directory().display().to_string();
        let kept = Repository::kept_name(&resolved.object);
        let refspec = match &resolved.name {
            Some(name) => format!("+{kept}:{name}"),
            None => kept,
        };
        let fetch = words(&[
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--update-head-ok",
            "--depth=1",
            "--",
            &from,
            &refspec,
        ]);
        let local = self.git.with("GIT_ALLOW_PROTOCOL", "file");
        local.run(Some(&self.places.git), &fetch).await?;
        self.run(&["update-ref", "--no-deref", "HEAD", &known.commit]).await?;
        Ok(())
    }

    async fn submodules(&self) -> Result<(), GitError> {
        let update = ["submodule", "--quiet", "update", "--init", "--recursive"];
        let shallow: Vec<&str> = update.iter().copied().chain(["--depth=1"]).collect();
        match self.run(&shallow).await {
            Err(error) if error.is_about_depth() => self.run(&update).await.map(drop),
            other => other.map(drop),
        }
    }

    /// Takes what differs from one machine and moment to the next out of a repository that is kept, and the
    /// credentials out of its configuration.
    async fn tidy(&self, known: &Known) -> Result<(), GitError> {
        let shown = redacted(&self.source.remote);
        self.run(&["config", "remote.origin.url", &shown]).await?;
        self.run(&["config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"])
            .await?;
        // An index from the tree alone knows nothing of the files' times and inodes.
        let index = self.places.git.join("index");
        std::fs::remove_file(&index).map_err(io("remove", &index))?;
        self.run(&["read-tree", &known.commit]).await?;
        let git = self.places.git.clone();
        let credentials = credentials(&self.source.remote);
        blocking(move || {
            walk(&git, &mut |path, metadata| {
                let name = path.file_name().unwrap_or_default();
                if name == OsStr::new("FETCH_HEAD") || name == OsStr::new("ORIG_HEAD") {
                    return std::fs::remove_file(path).map_err(io("remove", path));
                }
                let (Some(credentials), true) = (&credentials, name == OsStr::new("config") && metadata.is_file())
                else {
                    return Ok(());
                };
                let text = std::fs::read_to_string(path).map_err(io("read", path))?;
                let masked = text.replace(credentials.as_str(), "//xxxxx:xxxxx@");
                std::fs::write(path, masked).map_err(io("write", path))
            })
        })
        .await
    }
}

/// User and password of an address with what stands around them.
fn credentials(remote: &str) -> Option<String> {
    let (_, rest) = remote.split_once("://")?;
    let authority = rest.split('/').next()?;
    let (user, _) = authority.rsplit_once('@')?;
    Some(format!("//{user}@"))
}

fn is_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_file())
}

fn make_directory(path: &Path) -> Result<(), GitError> {
    std::fs::create_dir_all(path).map_err(io("create", path))
}

/// Submodules leave files that point at their repositories, which are not kept. Git lets no commit hold such a name.
fn remove_git_files(work: &Path) -> Result<(), GitError> {
    walk(work, &mut |path, metadata| {
        if path.file_name() == Some(OsStr::new(".git")) && metadata.is_file() {
            std::fs::remove_file(path).map_err(io("remove", path))?;
        }
        Ok(())
    })
}

/// Moves what is in a directory of the checkout to `to`. Every part of the path must be a directory itself: a
/// repository may hold links that lead anywhere.
fn take_subdirectory(work: &Path, subdirectory: &str, to: &Path, remote: &str) -> Result<(), GitError> {
    let problem = |problem| GitError::Subdirectory {
        path: subdirectory.to_owned(),
        remote: redacted(remote),
        problem,
    };
    let mut directory = work.to_owned();
    for part in subdirectory.split('/') {
        directory.push(part);
        match directory.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(metadata) if metadata.is_symlink() => return Err(problem("leads through a symbolic link")),
            Ok(_) => return Err(problem("is not a directory")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(problem("does not exist")),
            Err(error) => return Err(io("look up", &directory)(error)),
        }
    }
    for entry in std::fs::read_dir(&directory).map_err(io("list", &directory))? {
        let entry = entry.map_err(io("list", &directory))?;
        let path = entry.path();
        std::fs::rename(&path, to.join(entry.file_name())).map_err(io("move", &path))?;
    }
    Ok(())
}

/// Modes as git means them, whatever the process' umask is, and one time for everything.
fn settle(tree: &Path, seconds: i64) -> Result<(), GitError> {
    walk(tree, &mut |path, metadata| {
        let mode = metadata.mode();
        let wanted = match (metadata.is_dir(), mode & 0o100 != 0, mode & 0o200 != 0) {
            (true, ..) => 0o755,
            (false, true, _) => 0o755,
            (false, false, true) => 0o644,
            // Packs and objects of a repository that is kept.
            (false, false, false) => 0o444,
        };
        if !metadata.is_symlink() && mode & 0o7777 != wanted {
            std::fs::set_permissions(path, Permissions::from_mode(wanted)).map_err(io("set the mode of", path))?;
        }
        set_time(path, seconds)
    })?;
    set_time(tree, seconds)
}

fn set_time(path: &Path, seconds: i64) -> Result<(), GitError> {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| io("set the time of", path)(error.into()))
}

/// Everything below a directory, what is in a directory before itself. Links are not followed.
fn walk(
    directory: &Path,
    visit: &mut dyn FnMut(&Path, &std::fs::Metadata) -> Result<(), GitError>,
) -> Result<(), GitError> {
    for entry in std::fs::read_dir(directory).map_err(io("list", directory))? {
        let path = entry.map_err(io("list", directory))?.path();
        let metadata = path.symlink_metadata().map_err(io("look up", &path))?;
        if metadata.is_dir() {
            walk(&path, visit)?;
        }
        visit(&path, &metadata)?;
    }
    Ok(())
}

fn io<'a>(operation: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> GitError + 'a {
    move |source| GitError::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subdirectory_is_no_way_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let (work, to) = (directory.path().join("work"), directory.path().join("to"));
        std::fs::create_dir_all(work.join("a/b")).expect("directories");
        std::fs::create_dir(&to).expect("a directory");
        std::fs::write(work.join("a/b/file"), "x").expect("a file");
        std::os::unix::fs::symlink("/etc", work.join("link")).expect("a link");
        for (path, problem) in [
            ("link", "symbolic link"),
            ("link/ssl", "symbolic link"),
            ("a/b/file", "not a directory"),
            ("a/c", "does not exist"),
        ] {
            let error = take_subdirectory(&work, path, &to, "https://h/x.git").expect_err(path);
            assert!(error.to_string().contains(problem), "{error}");
        }
        take_subdirectory(&work, "a/b", &to, "https://h/x.git").expect("a directory");
        assert!(to.join("file").exists());
    }

    #[test]
    fn modes_and_times_are_settled() {
        let directory = tempfile::tempdir().expect("a directory");
        let tree = directory.path();
        for (name, mode, wanted) in [("a", 0o600, 0o644), ("b", 0o700, 0o755), ("c", 0o400, 0o444)] {
            let path = tree.join(name);
            std::fs::write(&path, "x").expect("a file");
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("a mode");
            settle(tree, 1_000).expect("settled");
            let metadata = path.metadata().expect("a file");
            assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (wanted, 1_000), "{name}");
        }
    }

    #[test]
    fn credentials_are_found_in_addresses() {
        assert_eq!(credentials("https://me:pass@h/x.git").as_deref(), Some("//me:pass@"));
        assert_eq!(credentials("https://h/x@y"), None);
        assert_eq!(credentials("git@h:x"), None);
    }
}
