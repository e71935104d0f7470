//! The build context: a directory, or standard input.

use std::io::Read;
use std::path::{Path, PathBuf};

use kiln_dockerfile::ignore::read_ignore_file;

use crate::command_error::{CommandError, ErrorKind};

/// What a context gives.
#[derive(Debug)]
pub struct ContextFiles {
    /// The directory; None if there is only a Dockerfile.
    pub directory: Option<PathBuf>,
    /// The Dockerfile's text.
    pub dockerfile: String,
    /// Its path, for messages.
    pub dockerfile_path: PathBuf,
    /// Ignore patterns.
    pub ignore: Vec<String>,
    /// Where an archive from standard input was unpacked.
    _unpacked: Option<tempfile::TempDir>,
}

/// Reads Dockerfile and ignore file.
pub fn read(context: &str, file: Option<&str>) -> Result<ContextFiles, CommandError> {
    if context == "-" {
        return from_stdin(file);
    }
    if context.contains("://") || context.starts_with("git@") {
        return Err(
            CommandError::user(format!("the context `{context}` is remote, which is not supported yet"))
                .hint("clone it, and build the directory"),
        );
    }
    let directory = PathBuf::from(context);
    if !directory.is_dir() {
        let error = CommandError::user(format!("the context `{context}` is not a directory"));
        return Err(error.hint("name the directory with the files of the build, such as `.`"));
    }
    from_directory(directory, file, None)
}

fn from_directory(
    directory: PathBuf,
    file: Option<&str>,
    unpacked: Option<tempfile::TempDir>,
) -> Result<ContextFiles, CommandError> {
    let (path, text) = match file {
        Some("-") => (PathBuf::from("-"), stdin_text()?),
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
    let own = dockerfile.map(|path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    for path in own.into_iter().chain([directory.join(".dockerignore")]) {
        match std::fs::read(&path) {
            Ok(bytes) => return Ok(read_ignore_file(&String::from_utf8_lossy(&bytes))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                let mut command = CommandError::from_error(ErrorKind::User, &error);
                command
                    .messages
                    .insert(0, format!("failed to read `{}`", path.display()));
                return Err(command);
            }
        }
    }
    Ok(Vec::new())
}

/// All of standard input, as text.
pub fn stdin_text() -> Result<String, CommandError> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .map_err(|error| CommandError::from_error(ErrorKind::Environment, &error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A Dockerfile alone, or a tar archive of a context, perhaps compressed.
fn from_stdin(file: Option<&str>) -> Result<ContextFiles, CommandError> {
    let failed = |error: &dyn std::error::Error| {
        let mut command = CommandError::from_error(ErrorKind::User, error);
        command
            .messages
            .insert(0, "failed to read the context from standard input".into());
        command
    };
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .map_err(|error| failed(&error))?;
    let compressed = bytes.starts_with(&[0x1f, 0x8b]) || bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
    let tar = bytes.get(257..262) == Some(b"ustar".as_slice());
    if !compressed && !tar {
        let dockerfile = String::from_utf8_lossy(&bytes).into_owned();
        return Ok(ContextFiles {
            directory: None,
            dockerfile,
            dockerfile_path: PathBuf::from("-"),
            ignore: Vec::new(),
            _unpacked: None,
        });
    }
    let unpacked = tempfile::tempdir().map_err(|error| failed(&error))?;
    let options = kiln_image::unpack::UnpackOptions {
        ownership: kiln_image::unpack::Ownership::SingleId,
        ..Default::default()
    };
    kiln_image::unpack::unpack_layer(
        bytes.as_slice(),
        kiln_oci::Compression::Uncompressed,
        unpacked.path(),
        &options,
    )
    .map_err(|error| failed(&error))?;
    from_directory(unpacked.path().to_owned(), file, Some(unpacked))
}
