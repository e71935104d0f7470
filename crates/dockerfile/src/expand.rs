//! Parameter expansion and word splitting, as the Dockerfile language does them: a small part of what a shell
//! does, with its own rules for quotes and escapes.

use std::collections::BTreeSet;

use regex::Regex;

/// Gives the values of variables.
pub trait Variables {
    /// The value; None is unset.
    fn value(&self, name: &str) -> Option<String>;
}

impl<F: Fn(&str) -> Option<String>> Variables for F {
    fn value(&self, name: &str) -> Option<String> {
        self(name)
    }
}

impl Variables for [(String, String)] {
    fn value(&self, name: &str) -> Option<String> {
        self.iter()
            .rev()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
    }
}

/// Why a word cannot be expanded. The messages are the peers'.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExpandError(pub String);

/// How words are read.
#[derive(Debug, Clone, Copy)]
pub struct Expander {
    /// The escape character: a backslash or a backtick.
    pub escape: char,
    /// Quotes stay in the result.
    pub raw_quotes: bool,
    /// Escapes stay in the result.
    pub raw_escapes: bool,
    /// Quotes are letters like any other.
    pub skip_quotes: bool,
    /// References to unset variables stay as they are.
    pub skip_unset: bool,
}

/// What came of an expansion.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expanded {
    /// The whole text.
    pub text: String,
    /// The text split at unquoted white space.
    pub words: Vec<String>,
    /// Variables that were used and are set.
    pub matched: BTreeSet<String>,
    /// Variables that were used and are not.
    pub unmatched: BTreeSet<String>,
}

impl Expander {
    /// The usual way: quotes and escapes are taken away.
    pub fn new(escape: char) -> Expander {
        Expander {
            escape,
            raw_quotes: false,
            raw_escapes: false,
            skip_quotes: false,
            skip_unset: false,
        }
    }

    /// Expands a text.
    pub fn expand(&self, text: &str, variables: &(impl Variables + ?Sized)) -> Result<Expanded, ExpandError> {
        let variables: &dyn Fn(&str) -> Option<String> = &|name| variables.value(name);
        let mut scan = Scan {
            settings: *self,
            letters: text.chars().collect(),
            at: 0,
            variables,
            matched: BTreeSet::new(),
            unmatched: BTreeSet::new(),
        };
        let result = scan.until(None, self.raw_escapes);
        let (text, words) = result.map_err(|error| ExpandError(format!("failed to process {text:?}: {error}")))?;
        Ok(Expanded {
            text,
            words,
            matched: scan.matched,
            unmatched: scan.unmatched,
        })
    }
}

struct Scan<'a> {
    settings: Expander,
    letters: Vec<char>,
    at: usize,
    variables: &'a dyn Fn(&str) -> Option<String>,
    matched: BTreeSet<String>,
    unmatched: BTreeSet<String>,
}

/// Words as they are collected.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    word: String,
    inside: bool,
}

impl Words {
    fn letter(&mut self, letter: char) {
        if !letter.is_whitespace() {
            self.raw(letter);
        } else if self.inside && !self.word.is_empty() {
            self.done.push(std::mem::take(&mut self.word));
            self.inside = false;
        }
    }

    fn raw(&mut self, letter: char) {
        self.word.push(letter);
        self.inside = true;
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.done.push(self.word);
        }
        self.done
    }
}

type Result2<T> = Result<T, String>;

impl Scan<'_> {
    fn peek(&self) -> Option<char> {
        self.letters.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.peek();
        self.at += usize::from(letter.is_some());
        letter
    }

    fn until(&mut self, stop: Option<char>, raw_escapes: bool) -> Result2<(String, Vec<String>)> {
        let mut text = String::new();
        let mut words = Words::default();
        while let Some(letter) = self.peek() {
            if Some(letter) == stop {
                self.next();
                return Ok((text, words.finish()));
            }
            match letter {
                '\'' | '"' if !self.settings.skip_quotes => {
                    let quoted = if letter == '\'' {
                        self.single_quoted()?
                    } else {
                        self.double_quoted(raw_escapes)?
                    };
                    text.push_str(&quoted);
                    words.word.push_str(&quoted);
                    words.inside = true;
                }
                '$' => {
                    let value = self.dollar()?;
                    text.push_str(&value);
                    value.chars().for_each(|letter| words.letter(letter));
                }
                _ => {
                    self.next();
                    if letter == self.settings.escape {
                        if raw_escapes {
                            words.raw(letter);
                            text.push(letter);
                        }
                        // An escape at the end of the text is nothing.
                        let Some(escaped) = self.next() else { break };
                        words.raw(escaped);
                        text.push(escaped);
                    } else {
                        words.letter(letter);
                        text.push(letter);
                    }
                }
            }
        }
        match stop {
            Some(stop) => Err(format!("unexpected end of statement while looking for matching {stop}")),
            None => Ok((text, words.finish())),
        }
    }

    fn single_quoted(&mut self) -> Result2<String> {
        let mut text = String::new();
        self.next();
        if self.settings.raw_quotes {
            text.push('\'');
        }
        loop {
            match self.next() {
                None => return Err("unexpected end of statement while looking for matching single-quote".into()),
                Some('\'') => {
                    if self.settings.raw_quotes {
                        text.push('\'');
                    }
                    return Ok(text);
                }
                Some(letter) => text.push(letter),
            }
        }
    }

    fn double_quoted(&mut self, raw_escapes: bool) -> Result2<String> {
        let mut text = String::new();
        self.next();
        if self.settings.raw_quotes {
            text.push('"');
        }
        loop {
            match self.peek() {
                None => return Err("unexpected end of statement while looking for matching double-quote".into()),
                Some('"') => {
                    self.next();
                    if self.settings.raw_quotes {
                        text.push('"');
                    }
                    return Ok(text);
                }
                Some('$') => text.push_str(&self.dollar()?),
                Some(letter) if letter == self.settings.escape => {
                    self.next();
                    match self.peek() {
                        None => {}
                        Some(next) if next == '"' || next == '$' || next == self.settings.escape => {
                            if raw_escapes {
                                text.push(letter);
                            }
                            text.push(next);
                            self.next();
                        }
                        Some(_) => text.push(letter),
                    }
                }
                Some(letter) => {
                    self.next();
                    text.push(letter);
                }
            }
        }
    }

    fn dollar(&mut self) -> Result2<String> {
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".into());
            }
            return Ok(match self.value(&name) {
                Some(value) => value,
                None if self.settings.skip_unset => format!("${name}"),
                None => String::new(),
            });
        }
        self.next();
        match self.peek() {
            None => return Err("syntax error: missing '}'".into()),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution".into()),
            Some(_) => {}
        }
        let name = self.name();
        let Some(modifier) = self.next() else {
            return Err("syntax error: missing '}'".into());
        };
        match modifier {
            '}' => Ok(match self.value(&name) {
                Some(value) => value,
                None if self.settings.skip_unset => format!("${{{name}}}"),
                None => String::new(),
            }),
            ':' => {
                let modifier = self.next().ok_or("syntax error: missing '}'")?;
                match modifier {
                    '+' | '-' | '?' => self.modified(&name, modifier, true),
                    other => Err(format!("unsupported modifier (:{other}) in substitution")),
                }
            }
            '+' | '-' | '?' | '#' | '%' => self.modified(&name, modifier, false),
            '/' => self.replaced(&name),
            other => Err(format!("unsupported modifier ({other}) in substitution")),
        }
    }

    fn word_until(&mut self, stop: char, raw_escapes: bool) -> Result2<String> {
        let result = self.until(Some(stop), raw_escapes);
        result.map(|(text, _)| text).map_err(|error| match self.peek() {
            None if stop == '}' => "syntax error: missing '}'".to_owned(),
            None => format!("syntax error: missing '{stop}' in ${{"),
            Some(_) => error,
        })
    }

    /// `${name-word}` and its like; `null_is_unset`: with a colon.
    fn modified(&mut self, name: &str, modifier: char, null_is_unset: bool) -> Result2<String> {
        let word = self.word_until('}', matches!(modifier, '#' | '%'))?;
        let value = self.value(name);
        let colon = if null_is_unset { ":" } else { "" };
        if value.is_none() && self.settings.skip_unset {
            return Ok(format!("${{{name}{colon}{modifier}{word}}}"));
        }
        let absent = value.as_ref().is_none_or(|value| null_is_unset && value.is_empty());
        let current = value.clone().unwrap_or_default();
        match modifier {
            '-' => Ok(if absent { word } else { current }),
            '+' => Ok(if absent { String::new() } else { word }),
            '?' if absent => {
                let usual = if value.is_none() {
                    "is not allowed to be unset"
                } else {
                    "is not allowed to be empty"
                };
                Err(format!("{name}: {}", if word.is_empty() { usual } else { &word }))
            }
            '?' => Ok(current),
            _ => {
                let (greedy, word) = match word.strip_prefix(modifier) {
                    Some(rest) => (true, rest),
                    None => (false, word.as_str()),
                };
                if modifier == '#' {
                    without_prefix(word, &current, greedy)
                } else {
                    without_suffix(word, &current, greedy)
                }
            }
        }
    }

    /// `${name/pattern/replacement}` and `${name//pattern/replacement}`.
    fn replaced(&mut self, name: &str) -> Result2<String> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let pattern = self.word_until('/', true)?;
        let replacement = self.word_until('}', true)?;
        let value = self.value(name);
        let Some(value) = value else {
            let slashes = if all { "//" } else { "/" };
            return Ok(if self.settings.skip_unset {
                format!("${{{name}{slashes}{pattern}/{replacement}}}")
            } else {
                String::new()
            });
        };
        let expression = pattern_expression(&pattern, true, false)?;
        let limit = usize::from(!all);
        Ok(expression
            .replacen(&value, limit, regex::NoExpand(&replacement))
            .into_owned())
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(letter) = self.peek() {
            if name.is_empty() && letter.is_ascii_digit() {
                while let Some(digit) = self.peek().filter(char::is_ascii_digit) {
                    name.push(digit);
                    self.next();
                }
                return name;
            }
            if name.is_empty() && matches!(letter, '@' | '*' | '#' | '?' | '-' | '$' | '!') {
                self.next();
                return letter.to_string();
            }
            if !letter.is_alphanumeric() && letter != '_' {
                break;
            }
            name.push(letter);
            self.next();
        }
        name
    }

    fn value(&mut self, name: &str) -> Option<String> {
        let value = (self.variables)(name);
        if value.is_some() {
            &mut self.matched
        } else {
            &mut self.unmatched
        }
        .insert(name.to_owned());
        value
    }
}

fn without_prefix(pattern: &str, value: &str, greedy: bool) -> Result2<String> {
    let expression = pattern_expression(pattern, greedy, true)?;
    Ok(expression
        .find(value)
        .map_or(value, |found| &value[found.end()..])
        .to_owned())
}

/// Expressions find the leftmost match: both sides are turned round to find the rightmost.
fn without_suffix(pattern: &str, value: &str, greedy: bool) -> Result2<String> {
    let turned: String = value.chars().rev().collect();
    let rest = without_prefix(&reversed_pattern(pattern), &turned, greedy)?;
    Ok(rest.chars().rev().collect())
}

/// The pattern from its end, escaped letters staying escaped.
pub fn reversed_pattern(pattern: &str) -> String {
    let mut units: Vec<String> = Vec::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        let mut unit = letter.to_string();
        if letter == '\\' {
            unit.extend(letters.next());
        }
        units.push(unit);
    }
    units.into_iter().rev().collect()
}

/// A shell pattern (`*`, `?`, escapes) as a regular expression.
pub fn pattern_expression(pattern: &str, greedy: bool, anchored: bool) -> Result<Regex, String> {
    let mut expression = String::from(if anchored { "(?s)^" } else { "(?s)" });
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '*' => expression.push_str(if greedy { ".*" } else { ".*?" }),
            '?' => expression.push('.'),
            '\\' => {
                let escaped = letters.next().ok_or("invalid escape '\\'")?;
                expression.push_str(&regex::escape(&escaped.to_string()));
            }
            other => expression.push_str(&regex::escape(&other.to_string())),
        }
    }
    Regex::new(&expression).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> Result<String, ExpandError> {
        let variables = |name: &str| match name {
            "A" => Some("value".to_owned()),
            "EMPTY" => Some(String::new()),
            "PATH_" => Some("/a/b/c.tar.gz".to_owned()),
            _ => None,
        };
        Expander::new('\\')
            .expand(text, &variables)
            .map(|expanded| expanded.text)
    }

    #[test]
    fn parameters_expand() {
        let table = [
            ("$A-${A}", "value-value"),
            ("${X:-d}${X-d}${EMPTY:-d}${EMPTY-d}", "ddd"),
            ("${A:+yes}${EMPTY:+yes}${EMPTY+yes}", "yesyes"),
            (
                "${PATH_#*/}|${PATH_##*/}|${PATH_%.*}|${PATH_%%.*}",
                "a/b/c.tar.gz|c.tar.gz|/a/b/c.tar|/a/b/c",
            ),
            ("${A/a/o}${PATH_//\\//:}", "volue:a:b:c.tar.gz"),
            ("'$A' \"$A\" \\$A", "$A value $A"),
            ("${X:-${A}}", "value"),
        ];
        for (text, expected) in table {
            assert_eq!(expand(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn errors_are_the_peers() {
        let table = [
            ("${X:?}", "X: is not allowed to be unset"),
            ("${EMPTY:?}", "EMPTY: is not allowed to be empty"),
            ("${X?gone}", "X: gone"),
            ("${A", "missing '}'"),
            ("${}", "bad substitution"),
            ("${A:=x}", "unsupported modifier (:=) in substitution"),
            ("'a", "single-quote"),
        ];
        for (text, expected) in table {
            let error = expand(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn words_split_outside_quotes() {
        let variables = |name: &str| (name == "S").then(|| "a b".to_owned());
        let words = Expander::new('\\')
            .expand("x$S \"$S\" c\\ d ''", &variables)
            .expect("well-formed")
            .words;
        assert_eq!(words, ["xa", "b", "a b", "c d"]);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "\\PC*") {
            let _ = expand(&text);
            let _ = Expander { raw_quotes: true, raw_escapes: true, ..Expander::new('`') }.expand(&text, &|_: &str| None);
        }
    }
}
