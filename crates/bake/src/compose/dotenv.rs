//! Files of variables: `NAME=value` in each line.

use super::interpolation::interpolate;

/// The variables of a file, in its order. Text in double quotes and without quotes may name earlier ones and those that
/// `lookup` gives; text in single quotes is taken as it is.
///
/// # Errors
/// A line that is neither empty, a comment nor a variable.
pub fn parse(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Vec<(String, String)>, String> {
    let mut found: Vec<(String, String)> = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let mut rest = text.as_str();
    let mut line = 1;
    while !rest.is_empty() {
        let (first, behind) = rest.split_once('\n').unwrap_or((rest, ""));
        let trimmed = first.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            rest = behind;
            line += 1;
            continue;
        }
        let statement = rest.trim_start();
        let statement = statement.strip_prefix("export ").unwrap_or(statement).trim_start();
        let name_end = statement
            .find(|letter: char| !letter.is_alphanumeric() && !matches!(letter, '_' | '.' | '-' | '[' | ']'))
            .unwrap_or(statement.len());
        let (name, after) = statement.split_at(name_end);
        let after_space = after.trim_start_matches([' ', '\t']);
        if name.is_empty() {
            return Err(format!(
                "line {line}: unexpected character in variable name near {trimmed:?}"
            ));
        }
        let Some(value) = after_space.strip_prefix(['=', ':']) else {
            if after_space.is_empty() || after_space.starts_with('\n') {
                // A name alone takes the value of the environment.
                if let Some(value) = lookup(name) {
                    found.push((name.to_owned(), value));
                }
                rest = behind;
                line += 1;
                continue;
            }
            return Err(format!(
                "line {line}: unexpected character in variable name near {trimmed:?}"
            ));
        };
        let (value, after) = read_value(value.trim_start_matches([' ', '\t']), line, &found, lookup)?;
        found.push((name.to_owned(), value));
        line += rest[..rest.len() - after.len()].matches('\n').count();
        rest = after;
    }
    Ok(found)
}

/// A value and what follows its line.
fn read_value<'a>(
    text: &'a str,
    line: usize,
    found: &[(String, String)],
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<(String, &'a str), String> {
    let known = |name: &str| {
        lookup(name).or_else(|| {
            found
                .iter()
                .rev()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.clone())
        })
    };
    let failed = |error: String| format!("line {line}: {error}");
    match text.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let inside = &text[1..];
            let mut end = None;
            let mut escaped = false;
            for (at, letter) in inside.char_indices() {
                if letter == quote && !escaped {
                    end = Some(at);
                    break;
                }
                escaped = letter == '\\' && !escaped;
            }
            let end = end.ok_or_else(|| failed(format!("unterminated quoted value {}", first_line(text))))?;
            let content = &inside[..end];
            let after = inside[end + 1..].split_once('\n').map_or("", |(_, after)| after);
            let value = if quote == '\'' {
                content.to_owned()
            } else {
                interpolate(&unescaped(content), &known).map_err(failed)?
            };
            Ok((value, after))
        }
        _ => {
            let (value, after) = text.split_once('\n').unwrap_or((text, ""));
            let value = match value.find(" #") {
                Some(comment) => &value[..comment],
                None if value.starts_with('#') => "",
                None => value,
            };
            Ok((interpolate(value.trim(), &known).map_err(failed)?, after))
        }
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn unescaped(text: &str) -> String {
    let mut result = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            result.push(letter);
            continue;
        }
        match letters.next() {
            Some('n') => result.push('\n'),
            Some('r') => result.push('\r'),
            Some('t') => result.push('\t'),
            Some('$') => result.push_str("$$"),
            Some(other @ ('"' | '\\')) => result.push(other),
            Some(other) => {
                result.push('\\');
                result.push(other);
            }
            None => result.push('\\'),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_shells_do() {
        let text = "A=1\nexport B = two words # comment\nC=\"x\\ny ${A}\"\nD='$A'\n# no\nE=${A}2\nF=\nG:yaml\nHOME\n";
        let found = parse(text, &|name| (name == "HOME").then(|| "/root".to_owned())).expect("valid");
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "x\ny 1"),
            ("D", "$A"),
            ("E", "12"),
            ("F", ""),
            ("G", "yaml"),
            ("HOME", "/root"),
        ];
        let expected: Vec<_> = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(found, expected);
        assert!(parse("A=\"x", &|_| None).is_err());
        assert!(parse("=x", &|_| None).is_err());
    }
}
