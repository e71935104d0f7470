//! Checking what a case asserts.

use regex::Regex;

use super::case::{Assertion, Place};
use super::session::{Found, Session};
use super::tree;

/// Checks one assertion against the state of the session.
pub(super) fn check(assertion: &Assertion, session: &Session<'_>) -> Result<(), String> {
    if assertion.abs.is_some() {
        return Err("the driver does not look at files outside of the outputs".to_owned());
    }
    match assertion.kind.as_str() {
        "build_error_contains" | "build_error_equals" | "build_error_matches" => error_text(assertion, session),
        "files_equal" => {
            let (one, other) = (
                place(assertion.a.as_ref(), session)?,
                place(assertion.b.as_ref(), session)?,
            );
            if one == other {
                Ok(())
            } else {
                Err("the two files differ".to_owned())
            }
        }
        "exists" => found(assertion, session).map(drop),
        "not_exists" => match session.stat(output(assertion)?, path(assertion)?, false)? {
            None => Ok(()),
            Some(_) => Err(format!("{} exists", path(assertion)?)),
        },
        "is_dir" => match found(assertion, session)?.directory {
            true => Ok(()),
            false => Err(format!("{} is no directory", path(assertion)?)),
        },
        "readlink_equals" => {
            let link = session
                .stat(output(assertion)?, path(assertion)?, false)?
                .and_then(|found| found.link);
            let expected = session.fill_in(assertion.text.as_deref().unwrap_or_default());
            compare(path(assertion)?, Some(expected.as_str()), link.as_deref())
        }
        "mode_perm_equals" | "mode_equals" => {
            let mode = found(assertion, session)?.mode & 0o777;
            compare(path(assertion)?, number(assertion)?, u64::from(mode))
        }
        "uid_equals" => compare(path(assertion)?, number(assertion)?, found(assertion, session)?.uid),
        "gid_equals" => compare(path(assertion)?, number(assertion)?, found(assertion, session)?.gid),
        kind if kind.starts_with("file_") => file_content(kind, assertion, session),
        other => Err(format!("the driver does not know the assertion `{other}`")),
    }
}

fn file_content(kind: &str, assertion: &Assertion, session: &Session<'_>) -> Result<(), String> {
    let path = path(assertion)?;
    let content = session.read(output(assertion)?, path)?;
    let dangling = || {
        session
            .link(output(assertion)?, path)
            .map(|link| link.map(String::into_bytes))
    };
    let content = content.map_or_else(dangling, |content| Ok(Some(content)))?;
    let mut content = content.ok_or_else(|| format!("{path} does not exist"))?;
    let text = assertion.text.as_deref().map(|text| session.fill_in(text));
    let mut expected = tree::bytes(text.as_deref(), assertion.base64.as_deref())?;
    if assertion.trim {
        content = content.trim_ascii().to_vec();
        expected = expected.trim_ascii().to_vec();
    }
    // The peer's test reads archives, in which a link's content is where it points.
    let link = session.link(output(assertion)?, path)?;
    let holds = match kind {
        "file_equals" if link.is_some_and(|link| link.as_bytes() == expected) => true,
        "file_equals" => content == expected,
        "file_not_equals" => content != expected,
        "file_empty" => content.is_empty(),
        "file_contains" => String::from_utf8_lossy(&content).contains(&*String::from_utf8_lossy(&expected)),
        "file_not_contains" => !String::from_utf8_lossy(&content).contains(&*String::from_utf8_lossy(&expected)),
        "file_matches" => pattern(assertion)?.is_match(&String::from_utf8_lossy(&content)),
        other => return Err(format!("the driver does not know the assertion `{other}`")),
    };
    if holds {
        return Ok(());
    }
    let show = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned();
    Err(format!(
        "{kind} {path}: expected {:?}, is {:?}",
        show(&expected),
        show(&content)
    ))
}

fn error_text(assertion: &Assertion, session: &Session<'_>) -> Result<(), String> {
    let build = assertion.build.ok_or("an assertion about an error without its build")?;
    let talk = session
        .errors
        .get(&build)
        .ok_or_else(|| format!("build {build} did not fail"))?;
    let expected = session.fill_in(assertion.text.as_deref().unwrap_or_default());
    let holds = match assertion.kind.as_str() {
        "build_error_matches" => pattern(assertion)?.is_match(talk),
        // The binary says more than the one sentence that the peer's library returns.
        _ => talk.contains(&expected),
    };
    if holds {
        return Ok(());
    }
    let wanted = assertion.regex.as_deref().unwrap_or(&expected);
    Err(format!("the error of build {build} lacks {wanted:?}: {}", talk.trim()))
}

fn pattern(assertion: &Assertion) -> Result<Regex, String> {
    let text = assertion
        .regex
        .as_deref()
        .or(assertion.text.as_deref())
        .ok_or("a match without a pattern")?;
    Regex::new(text).map_err(|error| error.to_string())
}

fn found(assertion: &Assertion, session: &Session<'_>) -> Result<Found, String> {
    let path = path(assertion)?;
    let found = session.stat(output(assertion)?, path, !assertion.nofollow)?;
    found.ok_or_else(|| format!("{path} does not exist"))
}

fn place(place: Option<&Place>, session: &Session<'_>) -> Result<Vec<u8>, String> {
    let place = place.ok_or("a comparison without its second file")?;
    session
        .read(&place.output, &place.path)?
        .ok_or_else(|| format!("{} does not exist", place.path))
}

fn output(assertion: &Assertion) -> Result<&str, String> {
    assertion
        .output
        .as_deref()
        .ok_or_else(|| format!("`{}` without an output", assertion.kind))
}

fn path(assertion: &Assertion) -> Result<&str, String> {
    assertion
        .path
        .as_deref()
        .ok_or_else(|| format!("`{}` without a path", assertion.kind))
}

/// A number given as such or, for modes, as octal digits.
fn number(assertion: &Assertion) -> Result<u64, String> {
    let value = assertion
        .value
        .as_ref()
        .ok_or_else(|| format!("`{}` without a value", assertion.kind))?;
    let octal = |text: &str| u64::from_str_radix(text.trim_start_matches("0o"), 8).ok();
    let number = value.as_u64().or_else(|| value.as_str().and_then(octal));
    number.ok_or_else(|| format!("`{value}` is no number"))
}

fn compare<T: PartialEq + std::fmt::Debug>(what: &str, expected: T, is: T) -> Result<(), String> {
    if expected == is {
        Ok(())
    } else {
        Err(format!("{what}: expected {expected:?}, is {is:?}"))
    }
}
