//! Go's `filepath.Clean` and `filepath.Match`.

/// A pattern that is not well-formed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub struct BadPattern;

/// The shortest equal path, by text alone.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// Whether a name matches a pattern as a whole: `*`, `?`, `[a-z]`, `[^a]`, and a backslash before a letter that
/// is meant itself. Neither `*` nor `?` nor a class matches a slash.
pub fn matches(pattern: &str, name: &str) -> Result<bool, BadPattern> {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    check(&pattern)?;
    let (mut at, mut position) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&'*') {
            star = Some((at + 1, position));
            at += 1;
            continue;
        }
        if position == name.len() && at == pattern.len() {
            return Ok(true);
        }
        let step = match name.get(position) {
            Some(&letter) if at < pattern.len() => single(&pattern[at..], letter)?,
            _ => None,
        };
        match (step, &mut star) {
            (Some(length), _) => {
                at += length;
                position += 1;
            }
            (None, Some((after, tried))) if name.get(*tried).is_some_and(|&letter| letter != '/') => {
                *tried += 1;
                at = *after;
                position = *tried;
            }
            (None, _) => return Ok(false),
        }
    }
}

/// The number of pattern letters that match one letter of the name.
fn single(pattern: &[char], letter: char) -> Result<Option<usize>, BadPattern> {
    Ok(match pattern {
        ['?', ..] => (letter != '/').then_some(1),
        ['[', class @ ..] => {
            let (found, length) = class_match(class, letter)?;
            (found && letter != '/').then_some(length + 1)
        }
        ['\\', escaped, ..] => (*escaped == letter).then_some(2),
        ['\\'] => return Err(BadPattern),
        [plain, ..] => (*plain == letter).then_some(1),
        [] => None,
    })
}

/// Whether a class holds a letter, and its length after the opening bracket.
fn class_match(class: &[char], letter: char) -> Result<(bool, usize), BadPattern> {
    let negated = class.first() == Some(&'^');
    let mut at = usize::from(negated);
    let mut found = false;
    let mut ranges = 0;
    loop {
        if class.get(at) == Some(&']') && ranges > 0 {
            return Ok((found != negated, at + 1));
        }
        let low = class_letter(class, &mut at)?;
        let high = if class.get(at) == Some(&'-') {
            at += 1;
            class_letter(class, &mut at)?
        } else {
            low
        };
        found |= (low..=high).contains(&letter);
        ranges += 1;
    }
}

fn class_letter(class: &[char], at: &mut usize) -> Result<char, BadPattern> {
    match class.get(*at) {
        None | Some('-' | ']') => return Err(BadPattern),
        Some('\\') => *at += 1,
        Some(_) => {}
    }
    let letter = *class.get(*at).ok_or(BadPattern)?;
    *at += 1;
    // The class must go on: at least its bracket follows.
    if *at < class.len() { Ok(letter) } else { Err(BadPattern) }
}

/// Goes through the whole pattern, so that a bad one is told whatever the name is.
fn check(pattern: &[char]) -> Result<(), BadPattern> {
    let mut at = 0;
    while at < pattern.len() {
        at += match pattern[at] {
            '\\' if at + 1 == pattern.len() => return Err(BadPattern),
            '\\' => 2,
            '[' => 1 + class_match(&pattern[at + 1..], '/')?.1,
            _ => 1,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_by_text() {
        let table = [
            ("", "."),
            ("a//b/./c/..", "a/b"),
            ("/..", "/"),
            ("../a", "../a"),
            ("/a/../../b", "/b"),
            ("a/..", "."),
        ];
        for (path, expected) in table {
            assert_eq!(clean(path), expected, "{path}");
        }
    }

    #[test]
    fn names_match_as_in_go() {
        let table = [
            ("a*", "ab/c", Ok(false)),
            ("a*/b", "a/c/b", Ok(false)),
            ("*x", "xxx", Ok(true)),
            ("a?b", "a/b", Ok(false)),
            ("[a-]x", "ax", Err(BadPattern)),
            ("[]a]", "]", Err(BadPattern)),
            ("[\\]a]", "]", Ok(true)),
            ("a[", "ab", Err(BadPattern)),
            ("a\\", "a", Err(BadPattern)),
            ("", "", Ok(true)),
            ("*", "", Ok(true)),
        ];
        for (pattern, name, expected) in table {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
