//! Letters → text and tags, and what stands inside a tag.

use super::ExpressionError;

/// A piece of a template.
#[derive(Debug)]
pub(super) enum Piece {
    /// Text as it is.
    Text(String),
    /// What stands between `{{` and `}}`.
    Tag(Tag),
}

/// Something in brackets.
#[derive(Debug)]
pub(super) struct Tag {
    /// What it is.
    pub(super) kind: TagKind,
    /// Its words.
    pub(super) words: Vec<(Word, usize)>,
    /// Whether white space before it goes.
    pub(super) strip_before: bool,
    /// Whether white space behind it goes.
    pub(super) strip_after: bool,
    /// Where it stands.
    pub(super) at: usize,
}

/// The kinds of tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TagKind {
    /// `{{name}}`.
    Escaped,
    /// `{{{name}}}` and `{{&name}}`.
    Plain,
    /// `{{#name}}`.
    Open,
    /// `{{^}}` and, with words, `{{^name}}`.
    Inverse,
    /// `{{/name}}`.
    Close,
    /// `{{! … }}`.
    Comment,
}

/// A word inside a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// A name.
    Name(String),
    /// Text in quotes.
    Text(String),
    /// A number.
    Number(String),
    /// `=`.
    Equals,
    /// `.` or `/` between names.
    Separator,
    /// `.` alone.
    This,
    /// `@`.
    At,
}

/// Splits a template.
pub(super) fn split(text: &str) -> Result<Vec<Piece>, ExpressionError> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let Some(open) = text[at..].find("{{").map(|found| at + found) else {
            pieces.push(Piece::Text(text[at..].to_owned()));
            break;
        };
        let before = &text[at..open];
        if let Some(kept) = before.strip_suffix("\\\\") {
            // Two backslashes are one, and the tag is a tag.
            pieces.push(Piece::Text(format!("{kept}\\")));
        } else if let Some(kept) = before.strip_suffix('\\') {
            // The brackets are text, up to the next brackets.
            let rest = &text[open + 2..];
            let next = ["{{", "\\{{", "\\\\{{"]
                .iter()
                .filter_map(|stop| rest.find(stop))
                .min()
                .map_or(text.len(), |found| open + 2 + found);
            pieces.push(Piece::Text(format!("{kept}{}", &text[open..next])));
            at = next;
            continue;
        } else if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        let mut cursor = Cursor { text, at: open + 2 };
        pieces.push(Piece::Tag(cursor.tag(open)?));
        at = cursor.at;
    }
    Ok(pieces)
}

struct Cursor<'text> {
    text: &'text str,
    at: usize,
}

impl Cursor<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn take(&mut self, expected: &str) -> bool {
        let there = self.rest().starts_with(expected);
        if there {
            self.at += expected.len();
        }
        there
    }

    /// Reads on behind `{{`.
    fn tag(&mut self, at: usize) -> Result<Tag, ExpressionError> {
        if self.rest().starts_with("{{") {
            return Err(ExpressionError::Unsupported("a raw block `{{{{`"));
        }
        let strip_before = self.take("~");
        let mut kind = TagKind::Escaped;
        let mut triple = false;
        match self.rest().chars().next() {
            Some('!') => return self.comment(at, strip_before),
            Some('>') => return Err(ExpressionError::Unsupported("a partial `{{>`")),
            Some('*') => return Err(ExpressionError::Unsupported("a decorator `{{*`")),
            Some('{') => (kind, triple) = (TagKind::Plain, true),
            Some('&') => kind = TagKind::Plain,
            Some('#') => kind = TagKind::Open,
            Some('^') => kind = TagKind::Inverse,
            Some('/') => kind = TagKind::Close,
            _ => {}
        }
        if kind != TagKind::Escaped {
            self.at += 1;
        }
        let mut words = Vec::new();
        loop {
            self.skip_space();
            let too_many: &[&str] = if triple { &["}}}}"] } else { &["}}}", "}~}}"] };
            if too_many.iter().any(|closing| self.rest().starts_with(closing)) {
                return Err(ExpressionError::Unexpected {
                    letter: '}',
                    at: self.at,
                });
            }
            let strip_after = self.rest().starts_with("~}") || (triple && self.rest().starts_with("}~}}"));
            let closing: &[&str] = if triple { &["}}}", "}~}}"] } else { &["}}", "~}}"] };
            if closing.iter().any(|closing| self.take(closing)) {
                return Ok(Tag {
                    kind,
                    words,
                    strip_before,
                    strip_after,
                    at,
                });
            }
            let place = self.at;
            words.push((self.word()?, place));
        }
    }

    fn comment(&mut self, at: usize, strip_before: bool) -> Result<Tag, ExpressionError> {
        let end = if self.rest().starts_with("!--") { "--" } else { "" };
        let from = self.at + if end.is_empty() { 1 } else { 3 };
        let [plain, stripping] = [format!("{end}}}}}"), format!("{end}~}}}}")];
        let rest = self.text.get(from..).unwrap_or_default();
        let ends = [rest.find(&plain), rest.find(&stripping)];
        let (strip_after, found) = match ends {
            [Some(plain), Some(stripping)] if stripping < plain => (true, stripping),
            [Some(plain), _] => (false, plain),
            [None, Some(stripping)] => (true, stripping),
            [None, None] => return Err(ExpressionError::Unclosed),
        };
        self.at = from + found + if strip_after { stripping.len() } else { plain.len() };
        Ok(Tag {
            kind: TagKind::Comment,
            words: Vec::new(),
            strip_before,
            strip_after,
            at,
        })
    }

    fn skip_space(&mut self) {
        let space = self.rest().len() - self.rest().trim_start().len();
        self.at += space;
    }

    fn word(&mut self) -> Result<Word, ExpressionError> {
        let letter = self.rest().chars().next().ok_or(ExpressionError::Unclosed)?;
        let at = self.at;
        match letter {
            '=' => {
                self.at += 1;
                Ok(Word::Equals)
            }
            '@' => {
                self.at += 1;
                Ok(Word::At)
            }
            '(' => Err(ExpressionError::Unsupported("an expression in round brackets")),
            '.' if self.take("..") => Err(ExpressionError::Unsupported("`..`")),
            '.' | '/' => {
                self.at += 1;
                let alone = letter == '.' && self.rest().starts_with(|next| is_end(next) && next != '.');
                Ok(if alone { Word::This } else { Word::Separator })
            }
            '"' | '\'' => self.quoted(letter),
            '[' => {
                let end = self.rest().find(']').ok_or(ExpressionError::Unclosed)?;
                let name = self.rest()[1..end].to_owned();
                self.at += end + 1;
                Ok(Word::Name(name))
            }
            letter if is_forbidden(letter) => Err(ExpressionError::Unexpected { letter, at }),
            _ => self.name(),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<Word, ExpressionError> {
        let mut text = String::new();
        let mut letters = self.rest().char_indices().skip(1).peekable();
        while let Some((index, letter)) = letters.next() {
            if letter == quote {
                self.at += index + 1;
                return Ok(Word::Text(text));
            }
            // A backslash only escapes the quote.
            if letter == '\\' && letters.peek().is_some_and(|(_, next)| *next == quote) {
                text.push(quote);
                letters.next();
            } else {
                text.push(letter);
            }
        }
        Err(ExpressionError::Unclosed)
    }

    fn name(&mut self) -> Result<Word, ExpressionError> {
        let rest = self.rest();
        let length = rest.find(is_forbidden).unwrap_or(rest.len());
        let name = rest[..length].to_owned();
        let digits = number_length(rest);
        let behind = |length: usize| rest[length..].chars().next();
        // A number may hold a dot, which ends a name.
        if digits >= length && behind(digits).is_none_or(|next| next.is_whitespace() || "~})]".contains(next)) {
            let number = rest[..digits].to_owned();
            self.at += digits;
            return Ok(Word::Number(number));
        }
        match behind(length) {
            Some(next) if !is_end(next) => Err(ExpressionError::Unexpected {
                letter: next,
                at: self.at + length,
            }),
            None => Err(ExpressionError::Unclosed),
            Some(_) => {
                self.at += length;
                Ok(Word::Name(name))
            }
        }
    }
}

/// Letters that no name contains.
fn is_forbidden(letter: char) -> bool {
    letter.is_whitespace() || "!\"#%&'()*+,./;<=>@[\\]^`{|}~".contains(letter)
}

/// Letters that may stand behind a name.
fn is_end(letter: char) -> bool {
    letter.is_whitespace() || "=~}/.)]|".contains(letter)
}

/// How many bytes of the text are a number, `-?[0-9]+(\.[0-9]+)?`; 0 when it begins with none.
fn number_length(text: &str) -> usize {
    let digits = |from: usize| {
        text.get(from..)
            .unwrap_or_default()
            .bytes()
            .take_while(u8::is_ascii_digit)
            .count()
    };
    let sign = usize::from(text.starts_with('-'));
    let whole = digits(sign);
    if whole == 0 {
        return 0;
    }
    let end = sign + whole;
    let fraction = if text[end..].starts_with('.') {
        digits(end + 1)
    } else {
        0
    };
    if fraction == 0 { end } else { end + 1 + fraction }
}
