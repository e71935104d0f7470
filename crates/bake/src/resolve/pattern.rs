//! Patterns for names: `*`, `?`, `[a-z]` and `\` before a letter that is meant itself.

/// Whether a name fits a pattern.
///
/// # Errors
/// A pattern that is not well-formed.
pub fn matches(pattern: &str, name: &str) -> Result<bool, BadPattern> {
    let pattern = tokens(pattern)?;
    let name: Vec<char> = name.chars().collect();
    // Positions of the last star and of the name where it was tried.
    let (mut at, mut letter) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while letter < name.len() {
        match pattern.get(at) {
            Some(Token::Star) => {
                star = Some((at, letter));
                at += 1;
            }
            Some(token) if token.fits(name[letter]) => {
                at += 1;
                letter += 1;
            }
            _ => match star {
                Some((star_at, tried)) if name[tried] != '/' => {
                    star = Some((star_at, tried + 1));
                    at = star_at + 1;
                    letter = tried + 1;
                }
                _ => return Ok(false),
            },
        }
    }
    Ok(pattern[at.min(pattern.len())..]
        .iter()
        .all(|token| matches!(token, Token::Star)))
}

/// A pattern is not well-formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub struct BadPattern;

#[derive(Debug)]
enum Token {
    Star,
    Any,
    Letter(char),
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Token {
    fn fits(&self, letter: char) -> bool {
        match self {
            Token::Star => false,
            Token::Any => letter != '/',
            Token::Letter(wanted) => *wanted == letter,
            Token::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&letter)) != *negated
            }
        }
    }
}

fn tokens(pattern: &str) -> Result<Vec<Token>, BadPattern> {
    let mut tokens = Vec::new();
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        tokens.push(match letter {
            '*' => Token::Star,
            '?' => Token::Any,
            '\\' => Token::Letter(letters.next().ok_or(BadPattern)?),
            '[' => {
                let negated = letters.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                while ranges.is_empty() || letters.peek() != Some(&']') {
                    let mut letter = || match letters.next() {
                        Some('\\') => letters.next().ok_or(BadPattern),
                        Some('-' | ']') | None => Err(BadPattern),
                        Some(letter) => Ok(letter),
                    };
                    let low = letter()?;
                    let high = if letters.next_if_eq(&'-').is_some() {
                        match letters.next() {
                            Some('\\') => letters.next().ok_or(BadPattern)?,
                            Some(']') | None => return Err(BadPattern),
                            Some(letter) => letter,
                        }
                    } else {
                        low
                    };
                    ranges.push((low, high));
                }
                letters.next();
                Token::Class { negated, ranges }
            }
            letter => Token::Letter(letter),
        });
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_whole_names() {
        for (pattern, name, fits) in [
            ("*", "app", true),
            ("app*", "app-1", true),
            ("*-1", "app-1", true),
            ("a?p", "app", true),
            ("a[a-c]", "ab", true),
            ("a[^a-c]", "ab", false),
            ("app", "apple", false),
            ("a*b*c", "a-b-b-c", true),
            ("*a", "b", false),
        ] {
            assert_eq!(matches(pattern, name), Ok(fits), "{pattern} {name}");
        }
        assert_eq!(matches("a[", "ab"), Err(BadPattern));
        assert_eq!(matches("a\\", "a"), Err(BadPattern));
    }
}
