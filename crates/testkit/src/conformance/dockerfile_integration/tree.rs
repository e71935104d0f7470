//! Writing the files of a mount.

use std::fs::{self, File as OpenFile, FileTimes, Permissions};
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::case::{File, FileKind};
use crate::program::Program;

/// Creates `files` below `directory`. Modes of directories are set last, so that a closed one can still be filled.
pub(super) fn write(directory: &Path, files: &[File], fill_in: &dyn Fn(&str) -> String) -> Result<(), String> {
    fs::create_dir_all(directory).map_err(|error| error.to_string())?;
    let mut directories = Vec::new();
    for file in files {
        write_one(directory, file, fill_in).map_err(|error| format!("{}: {error}", file.path))?;
        if file.kind == FileKind::Dir {
            directories.push(file);
        }
    }
    for file in directories.into_iter().rev() {
        finish(&directory.join(&file.path), file).map_err(|error| format!("{}: {error}", file.path))?;
    }
    Ok(())
}

/// The bytes that a case gives as text or as base64.
pub(super) fn bytes(text: Option<&str>, base64: Option<&str>) -> Result<Vec<u8>, String> {
    match (text, base64) {
        (Some(text), None) => Ok(text.as_bytes().to_vec()),
        (None, Some(encoded)) => STANDARD.decode(encoded).map_err(|error| error.to_string()),
        (None, None) => Ok(Vec::new()),
        (Some(_), Some(_)) => Err("both text and base64".to_owned()),
    }
}

fn write_one(directory: &Path, file: &File, fill_in: &dyn Fn(&str) -> String) -> Result<(), String> {
    let path = directory.join(&file.path);
    let in_words = |error: std::io::Error| error.to_string();
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(in_words)?;
    }
    match file.kind {
        FileKind::Dir => fs::create_dir_all(&path).map_err(in_words)?,
        FileKind::File => {
            let text = file.text.as_deref().map(fill_in);
            fs::write(&path, bytes(text.as_deref(), file.base64.as_deref())?).map_err(in_words)?;
        }
        FileKind::Symlink => {
            symlink(file.target.as_deref().ok_or("a link without a target")?, &path).map_err(in_words)?;
        }
        // The name stays when the listener is closed.
        FileKind::Socket => drop(UnixListener::bind(&path).map_err(in_words)?),
        FileKind::Fifo => {
            Program::new("mkfifo")
                .args([&path])
                .succeed()
                .map_err(|error| error.to_string())?;
        }
    }
    if file.kind == FileKind::Dir {
        Ok(())
    } else {
        finish(&path, file)
    }
}

/// Owner, mode and time.
fn finish(path: &Path, file: &File) -> Result<(), String> {
    let in_words = |error: std::io::Error| error.to_string();
    if file.uid.is_some() || file.gid.is_some() {
        lchown(path, file.uid, file.gid).map_err(in_words)?;
    }
    if file.kind == FileKind::Symlink {
        return Ok(());
    }
    let mode = u32::from_str_radix(&file.mode, 8).map_err(|_| format!("`{}` is no mode", file.mode))?;
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(in_words)?;
    if let Some(seconds) = file.mtime {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        OpenFile::open(path)
            .and_then(|open| open.set_times(FileTimes::new().set_modified(time)))
            .map_err(in_words)?;
    }
    Ok(())
}
