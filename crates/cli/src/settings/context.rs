//! The build context: a directory, standard input, or something that must be fetched first.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use kiln_dockerfile::git::{GitReference, clean_directory, is_http};
use kiln_dockerfile::ignore::read_ignore_file;
use kiln_dockerfile::lower::file_at;
use kiln_dockerfile::plan::BuildContext;

use crate::build::request::{DockerfileAt, Remote};
use crate::command_error::{CommandError, ErrorKind};

/// What a context gives.
#[derive(Debug)]
pub struct ContextFiles {
    /// The directory; None if there is only a Dockerfile, or the context is remote.
    pub directory: Option<PathBuf>,
    /// The Dockerfile's text; empty if it must be fetched.
    pub dockerfile: String,
    /// Its path, for messages.
    pub dockerfile_path: PathBuf,
    /// Ignore patterns.
    pub ignore: Vec<String>,
    /// What must be fetched.
    pub remote: Option<Remote>,
    /// Where an archive from standard input was unpacked.
    _unpacked: Option<tempfile::TempDir>,
}

/// No Dockerfile is larger than this.
const DOCKERFILE_LIMIT: u64 = 16 << 20;

/// Reads Dockerfile and ignore file, or says what must be fetched for that.
pub fn read(context: &str, file: Option<&str>) -> Result<ContextFiles, CommandError> {
    if context == "-" {
        return from_stdin(file);
    }
    let directory = PathBuf::from(context);
    if directory.is_dir() {
        return from_directory(directory, file, None);
    }
    if let Some(remote) = remote_context(context)? {
        return from_remote(remote, file);
    }
    let error = CommandError::user(format!("the context `{context}` is not a directory"));
    Err(error.hint("name the directory with the files of the build, such as `.`, a git repository (`https://….git#branch:directory`) or the URL of an archive"))
}

/// The git repository or URL that a context names. None: it is a path.
pub fn remote_context(text: &str) -> Result<Option<BuildContext>, CommandError> {
    let reference = GitReference::parse(text)
        .map_err(|error| CommandError::user(format!("invalid git repository `{text}`: {error}")))?;
    Ok(match reference {
        Some(reference) => Some(BuildContext::Git(reference.source())),
        None if is_http(text) => {
            let (url, directory) = archive_and_directory(text);
            Some(BuildContext::Http {
                source: file_at(url),
                // What it gives is only known once it is fetched.
                archive: false,
                directory,
            })
        }
        None => None,
    })
}

/// `URL#:DIRECTORY` is a directory of the archive that the URL gives. Servers never see what follows a `#`.
fn archive_and_directory(text: &str) -> (&str, Option<String>) {
    match text.split_once("#:") {
        Some((url, directory)) => (url, Some(clean_directory(directory))),
        None => (text, None),
    }
}

fn from_remote(context: BuildContext, file: Option<&str>) -> Result<ContextFiles, CommandError> {
    let mut files = ContextFiles {
        directory: None,
        dockerfile: String::new(),
        dockerfile_path: PathBuf::from(file.unwrap_or("Dockerfile")),
        ignore: Vec::new(),
        remote: None,
        _unpacked: None,
    };
    let dockerfile = match file {
        Some("-") => {
            files.dockerfile = stdin_text()?;
            DockerfileAt::Request
        }
        Some(url) if is_http(url) => DockerfileAt::Url(url.to_owned()),
        // A path from the root is one of this machine; any other is one of the context.
        Some(file) if Path::new(file).is_absolute() => {
            files.dockerfile = read_dockerfile(Path::new(file))?;
            files.ignore = own_ignore_file(Path::new(file))?.unwrap_or_default();
            DockerfileAt::Request
        }
        Some(file) => DockerfileAt::Context(file.to_owned()),
        None => DockerfileAt::Context("Dockerfile".to_owned()),
    };
    files.remote = Some(Remote {
        context: Some(context),
        dockerfile,
    });
    Ok(files)
}

fn from_directory(
    directory: PathBuf,
    file: Option<&str>,
    unpacked: Option<tempfile::TempDir>,
) -> Result<ContextFiles, CommandError> {
    let mut remote = None;
    let (path, text) = match file {
        Some("-") => (PathBuf::from("-"), stdin_text()?),
        Some(url) if is_http(url) => {
            remote = Some(Remote {
                context: None,
                dockerfile: DockerfileAt::Url(url.to_owned()),
            });
            (PathBuf::from(url), String::new())
        }
        Some(file) => {
            let inside = directory.join(file);
            let path = if unpacked.is_some() || (!Path::new(file).exists() && inside.exists()) {
                inside
            } else {
                PathBuf::from(file)
            };
            let text = read_dockerfile(&path)?;
            (path, text)
        }
        None => {
            let path = directory.join("Dockerfile");
            let lower = directory.join("dockerfile");
            let path = if !path.exists() && lower.exists() { lower } else { path };
            let text = read_dockerfile(&path)?;
            (path, text)
        }
    };
    let ignore = ignore_file(&directory, Some(&path))?;
    Ok(ContextFiles {
        directory: Some(directory),
        dockerfile: text,
        dockerfile_path: path,
        ignore,
        remote,
        _unpacked: unpacked,
    })
}

fn read_dockerfile(path: &Path) -> Result<String, CommandError> {
    let bytes = std::fs::read(path).map_err(|error| {
        let mut command = CommandError::from_error(ErrorKind::User, &error);
        let what = if error.kind() == std::io::ErrorKind::NotFound {
            "there is no Dockerfile at"
        } else {
            "failed to read"
        };
        command
            .messages
            .insert(0, format!("failed to read dockerfile: {what} `{}`", path.display()));
        command.hint("name it with `-f FILE`, or the directory that holds it as the context")
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `<Dockerfile>.dockerignore`, else `.dockerignore` of the directory.
pub fn ignore_file(directory: &Path, dockerfile: Option<&Path>) -> Result<Vec<String>, CommandError> {
    if let Some(patterns) = dockerfile.map(own_ignore_file).transpose()?.flatten() {
        return Ok(patterns);
    }
    Ok(patterns(&directory.join(".dockerignore"))?.unwrap_or_default())
}

/// `<Dockerfile>.dockerignore`, if it is there.
fn own_ignore_file(dockerfile: &Path) -> Result<Option<Vec<String>>, CommandError> {
    let mut name = dockerfile.as_os_str().to_owned();
    name.push(".dockerignore");
    patterns(Path::new(&name))
}

fn patterns(path: &Path) -> Result<Option<Vec<String>>, CommandError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(read_ignore_file(&String::from_utf8_lossy(&bytes)))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let mut command = CommandError::from_error(ErrorKind::User, &error);
            command
                .messages
                .insert(0, format!("failed to read `{}`", path.display()));
            Err(command)
        }
    }
}

/// All of standard input, as text.
pub fn stdin_text() -> Result<String, CommandError> {
    text_of(std::io::stdin().lock()).map_err(|error| stdin_failed("the Dockerfile", &error))
}

fn text_of(reader: impl Read) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    reader.take(DOCKERFILE_LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > DOCKERFILE_LIMIT {
        let message = "it is too large for a Dockerfile, and no archive";
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, message));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn stdin_failed(what: &str, error: &dyn std::error::Error) -> CommandError {
    let mut command = CommandError::from_error(ErrorKind::User, error);
    command
        .messages
        .insert(0, format!("failed to read {what} from standard input"));
    command
}

/// A Dockerfile alone, or a tar archive of a context, perhaps compressed. It goes to the disk first: an archive may
/// be larger than the memory.
fn from_stdin(file: Option<&str>) -> Result<ContextFiles, CommandError> {
    if file == Some("-") {
        return Err(
            CommandError::user("standard input cannot be both the context and the Dockerfile")
                .hint("give one of them as a file or directory"),
        );
    }
    let failed = |error: &dyn std::error::Error| stdin_failed("the context", error);
    let unpacked = tempfile::tempdir().map_err(|error| failed(&error))?;
    let kept = unpacked.path().join("stdin");
    let mut written = std::fs::File::create(&kept).map_err(|error| failed(&error))?;
    std::io::copy(&mut std::io::stdin().lock(), &mut written).map_err(|error| failed(&error))?;
    written.flush().map_err(|error| failed(&error))?;
    let archive = kiln_worker::archive::tar_stream(&kept).map_err(|error| failed(&error))?;
    let Some(archive) = archive else {
        let text = std::fs::File::open(&kept)
            .and_then(text_of)
            .map_err(|error| failed(&error))?;
        return Ok(ContextFiles {
            directory: None,
            dockerfile: text,
            dockerfile_path: PathBuf::from("-"),
            ignore: Vec::new(),
            remote: None,
            _unpacked: None,
        });
    };
    let directory = unpacked.path().join("context");
    std::fs::create_dir(&directory).map_err(|error| failed(&error))?;
    let options = kiln_image::unpack::UnpackOptions {
        ownership: kiln_image::unpack::Ownership::SingleId,
        ..Default::default()
    };
    kiln_image::unpack::unpack_layer(archive, kiln_oci::Compression::Uncompressed, &directory, &options)
        .map_err(|error| failed(&error))?;
    std::fs::remove_file(&kept).map_err(|error| failed(&error))?;
    from_directory(directory, file, Some(unpacked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_told_apart() {
        let git = remote_context("https://h/x.git#v1:dir").expect("valid");
        assert!(matches!(git, Some(BuildContext::Git(_))));
        let http = remote_context("https://h/x.tar.gz").expect("valid");
        assert!(matches!(http, Some(BuildContext::Http { .. })));
        let part = remote_context("https://h/x.tar.gz#:/a/../b/").expect("valid");
        let Some(BuildContext::Http { source, directory, .. }) = part else {
            panic!("a URL")
        };
        assert_eq!(
            (source.url.as_str(), directory.as_deref()),
            ("https://h/x.tar.gz", Some("b"))
        );
        assert_eq!(remote_context("some/path").expect("valid"), None);
        let error = remote_context("https://h/x.git?tag=a&branch=b").expect_err("contradiction");
        assert!(error.messages[0].contains("branch conflicts with tag"));
    }

    #[test]
    fn a_dockerfile_has_a_limit() {
        assert!(text_of(std::io::repeat(b'x')).is_err());
        assert_eq!(text_of(&b"FROM x"[..]).expect("short"), "FROM x");
    }
}
