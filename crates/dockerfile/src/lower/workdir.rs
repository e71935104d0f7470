//! Working directories, in the spelling of the system that the image is for.
//!
//! The rules of Windows are those of the peers: paths are on the system drive, whose letter is left out, and either slash
//! parts components.

use crate::diagnostic::SyntaxError;
use crate::path_pattern::clean;

/// A path against the current working directory: absolute and cleaned. Nothing is the current directory itself.
pub fn workdir(system: &str, current: &str, path: &str) -> Result<String, SyntaxError> {
    let current = on_the_drive(system, current)?;
    let path = on_the_drive(system, path)?;
    let joined = if path.starts_with('/') {
        clean(&path)
    } else {
        clean(&format!("/{current}/{path}"))
    };
    Ok(if system == "windows" {
        joined.replace('/', "\\")
    } else {
        joined
    })
}

/// Whether a path is absolute once the drive's letter is gone.
pub fn is_absolute(system: &str, path: &str) -> bool {
    on_the_drive(system, path).is_ok_and(|path| path.starts_with('/'))
}

/// The form that paths have inside of Kiln.
pub(crate) fn with_slashes(system: &str, path: &str) -> String {
    if system == "windows" {
        path.replace('\\', "/")
    } else {
        path.to_owned()
    }
}

/// A path of Windows with forward slashes and without the letter of the system drive; any other as it is.
fn on_the_drive(system: &str, path: &str) -> Result<String, SyntaxError> {
    if system != "windows" {
        return Ok(path.to_owned());
    }
    if path.len() == 2 && path.ends_with(':') {
        return Err(SyntaxError::new(format!("No relative path specified in {path:?}")));
    }
    let slashed = with_slashes(system, path);
    if slashed.starts_with("//") {
        return Err(SyntaxError::new("UNC paths are not supported"));
    }
    match slashed.split_once(':') {
        None => Ok(slashed),
        Some((drive, rest)) if drive.eq_ignore_ascii_case("c") => Ok(rest.to_owned()),
        Some(_) => Err(SyntaxError::new("The specified path is not on the system drive (C:)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_joined_and_cleaned() {
        let linux = |current: &str, path: &str| workdir("linux", current, path).expect("always valid");
        assert_eq!(linux("", "a"), "/a");
        assert_eq!(linux("/a", "../b/./c"), "/b/c");
        assert_eq!(linux("/a", ""), "/a");
        assert_eq!(linux("/a", "c:\\x"), "/a/c:\\x");
    }

    #[test]
    fn windows_has_one_drive_and_two_slashes() {
        let windows = |current: &str, path: &str| workdir("windows", current, path).map_err(|error| error.message);
        assert_eq!(windows("", "C:\\a/b").as_deref(), Ok("\\a\\b"));
        assert_eq!(windows("c:\\a", "b").as_deref(), Ok("\\a\\b"));
        assert_eq!(windows("", "C:b").as_deref(), Ok("\\b"));
        assert!(windows("", "D:\\a").is_err());
        assert!(windows("", "C:").is_err());
        assert!(windows("", "\\\\host\\share").is_err());
        assert!(is_absolute("windows", "C:\\a") && !is_absolute("windows", "C:a"));
    }
}
