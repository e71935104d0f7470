//! `${VARIABLE}` in Compose files, with defaults, requirements and replacements.

/// Defaults may name variables with defaults, and so on; this deep.
const DEEPEST: usize = 50;

/// The text with its variables replaced.
///
/// # Errors
/// Text that is not well-formed, or a variable that is required and not set.
pub(super) fn interpolate(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    interpolate_noting(text, lookup, &|_| ())
}

/// The same; variables that are not set and have no default are noted.
///
/// # Errors
/// As for [`interpolate`].
pub(super) fn interpolate_noting(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    unset: &dyn Fn(&str),
) -> Result<String, String> {
    if !text.contains('$') {
        return Ok(text.to_owned());
    }
    Variables { lookup, unset }.replaced(text, 0)
}

/// What variables stand for.
struct Variables<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    unset: &'a dyn Fn(&str),
}

impl Variables<'_> {
    fn replaced(&self, text: &str, depth: usize) -> Result<String, String> {
        let invalid = || format!("invalid interpolation format: {text:?}. You may need to escape any $ with another $");
        if depth > DEEPEST {
            return Err(invalid());
        }
        let mut result = String::new();
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            result.push_str(&rest[..dollar]);
            rest = &rest[dollar + 1..];
            if let Some(behind) = rest.strip_prefix('$') {
                result.push('$');
                rest = behind;
            } else if let Some(inside) = rest.strip_prefix('{') {
                let end = closing_brace(inside).ok_or_else(invalid)?;
                result.push_str(
                    &self
                        .substitution(&inside[..end], depth)
                        .map_err(|error| error.unwrap_or_else(invalid))?,
                );
                rest = &inside[end + 1..];
            } else {
                let length = name_length(rest);
                if length == 0 {
                    return Err(invalid());
                }
                result.push_str(&self.value(&rest[..length]));
                rest = &rest[length..];
            }
        }
        result.push_str(rest);
        Ok(result)
    }

    /// The value of a variable without a default.
    fn value(&self, name: &str) -> String {
        (self.lookup)(name).unwrap_or_else(|| {
            (self.unset)(name);
            String::new()
        })
    }

    /// What stands in the braces. An error without a text is one of the form.
    fn substitution(&self, inside: &str, depth: usize) -> Result<String, Option<String>> {
        let length = name_length(inside);
        if length == 0 {
            return Err(None);
        }
        let (name, operation) = inside.split_at(length);
        if operation.is_empty() {
            return Ok(self.value(name));
        }
        let (empty_counts, operation) = match operation.strip_prefix(':') {
            Some(operation) => (true, operation),
            None => (false, operation),
        };
        let set = (self.lookup)(name).filter(|value| !(empty_counts && value.is_empty()));
        let mut letters = operation.chars();
        let operator = letters.next();
        let other = letters.as_str();
        let other = || self.replaced(other, depth + 1).map_err(Some);
        match (operator, set) {
            (Some('-'), Some(value)) | (Some('?'), Some(value)) => Ok(value),
            (Some('-'), None) | (Some('+'), Some(_)) => other(),
            (Some('+'), None) => Ok(String::new()),
            (Some('?'), None) => {
                let why = other()?;
                Err(Some(if why.is_empty() {
                    format!("required variable {name} is missing a value")
                } else {
                    format!("required variable {name} is missing a value: {why}")
                }))
            }
            _ => Err(None),
        }
    }
}

fn name_length(text: &str) -> usize {
    if !text.starts_with(|letter: char| letter == '_' || letter.is_ascii_alphabetic()) {
        return 0;
    }
    text.find(|letter: char| letter != '_' && !letter.is_ascii_alphanumeric())
        .unwrap_or(text.len())
}

/// The brace that closes what was opened, over braces within.
fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'$' if bytes.get(at + 1) == Some(&b'{') => {
                depth += 1;
                at += 1;
            }
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_and_their_defaults() {
        let lookup = |name: &str| match name {
            "A" => Some("a".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        for (text, expected) in [
            ("$A-${A}", "a-a"),
            ("$$A", "$A"),
            ("${NONE:-x}", "x"),
            ("${EMPTY:-x}", "x"),
            ("${EMPTY-x}", ""),
            ("${A:+set}", "set"),
            ("${NONE+set}", ""),
            ("${NONE:-${A}}", "a"),
            ("${NONE:-${OTHER:-}}", ""),
            ("${A:?needed}", "a"),
        ] {
            assert_eq!(interpolate(text, &lookup).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(
            interpolate("${NONE:?say it}", &lookup),
            Err("required variable NONE is missing a value: say it".into())
        );
        let noted = std::cell::RefCell::new(Vec::new());
        let note = |name: &str| noted.borrow_mut().push(name.to_owned());
        let text = "$A $ONE ${TWO} ${EMPTY} ${NO:-x} ${NO+x} ${NO-$THREE}";
        assert!(interpolate_noting(text, &lookup, &note).is_ok());
        assert_eq!(noted.into_inner(), ["ONE", "TWO", "THREE"]);
        for text in ["${", "${A", "$", "${1}", "${A!}"] {
            assert!(interpolate(text, &lookup).is_err(), "{text}");
        }
    }
}
