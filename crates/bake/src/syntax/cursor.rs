//! A place in a text that moves forward: characters, white space, comments and names.

use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::source::{FileId, Span};

/// What parsing gives.
pub(super) type Parsed<T> = Result<T, Box<Diagnostic>>;

/// Syntax nests no deeper: the parser calls itself for each level.
const DEEPEST: u32 = 200;

/// Reads a text from front to back.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    file: FileId,
    /// Where the text begins in its file: a template in a JSON string is a text of its own.
    base: u32,
    /// Whether line ends are white space, as they are within parentheses and brackets.
    pub(super) lines_are_space: bool,
    depth: u32,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str, file: FileId, base: u32) -> Cursor<'a> {
        Cursor {
            text,
            at: 0,
            file,
            base,
            lines_are_space: false,
            depth: 0,
        }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn starts_with(&self, text: &str) -> bool {
        self.rest().starts_with(text)
    }

    /// Moves over one character.
    pub(super) fn next(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.at += letter.len_utf8();
        Some(letter)
    }

    /// Moves over a text if it is there.
    pub(super) fn take(&mut self, text: &str) -> bool {
        let there = self.starts_with(text);
        if there {
            self.at += text.len();
        }
        there
    }

    /// Moves over so many bytes, which must end at a character.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// The text between an earlier place and here.
    pub(super) fn since(&self, start: usize) -> &'a str {
        &self.text[start..self.at]
    }

    /// The stretch between an earlier place and here.
    pub(super) fn span_since(&self, start: usize) -> Span {
        self.span(start, self.at)
    }

    pub(super) fn span(&self, start: usize, end: usize) -> Span {
        Span {
            file: self.file,
            start: self.base + start as u32,
            end: self.base + end as u32,
        }
    }

    /// The character here, or nothing at the end.
    pub(super) fn here(&self) -> Span {
        self.span(self.at, self.at + self.peek().map_or(0, char::len_utf8))
    }

    pub(super) fn error<T>(&self, summary: &str, detail: impl Into<String>) -> Parsed<T> {
        Err(Box::new(Diagnostic::new(summary, detail, self.here())))
    }

    /// Runs a part of the parser one level deeper.
    pub(super) fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= DEEPEST {
            return self.error(
                "Nesting too deep",
                format!("Blocks and expressions may nest {DEEPEST} levels deep."),
            );
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// Runs a part of the parser with line ends as white space, or not.
    pub(super) fn with_lines<T>(&mut self, are_space: bool, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        let before = std::mem::replace(&mut self.lines_are_space, are_space);
        let parsed = parse(self);
        self.lines_are_space = before;
        parsed
    }

    /// Moves over white space and comments, and over line ends where they are white space.
    pub(super) fn skip(&mut self) -> Parsed<()> {
        loop {
            let rest = self.rest().as_bytes();
            match rest.first() {
                Some(b' ' | b'\t') => self.at += 1,
                Some(b'\r') if rest.get(1) == Some(&b'\n') && self.lines_are_space => self.at += 2,
                Some(b'\n') if self.lines_are_space => self.at += 1,
                Some(b'#') => self.skip_line(),
                Some(b'/') if rest.get(1) == Some(&b'/') => self.skip_line(),
                Some(b'/') if rest.get(1) == Some(&b'*') => match self.rest()[2..].find("*/") {
                    Some(end) => self.at += end + 4,
                    None => return self.error("Unterminated comment", "The comment that begins here has no */."),
                },
                _ => return Ok(()),
            }
        }
    }

    /// Moves over everything that is empty, line ends included.
    pub(super) fn skip_lines(&mut self) -> Parsed<()> {
        self.with_lines(true, Cursor::skip)
    }

    fn skip_line(&mut self) {
        self.at += self.rest().find('\n').unwrap_or(self.rest().len());
    }

    /// Moves over a line end, if one is here.
    pub(super) fn take_line_end(&mut self) -> bool {
        self.take("\n") || self.take("\r\n")
    }

    /// Moves over a name, if one is here.
    pub(super) fn take_identifier(&mut self) -> Option<(Arc<str>, Span)> {
        let rest = self.rest();
        let first = rest.chars().next()?;
        if first != '_' && !unicode_ident::is_xid_start(first) {
            return None;
        }
        let length = rest
            .find(|letter: char| letter != '-' && !unicode_ident::is_xid_continue(letter))
            .unwrap_or(rest.len());
        let start = self.at;
        self.at += length;
        Some((self.since(start).into(), self.span_since(start)))
    }

    /// Moves over this very name, if it is here.
    pub(super) fn take_keyword(&mut self, keyword: &str) -> bool {
        let before = self.at;
        match self.take_identifier() {
            Some((name, _)) if &*name == keyword => true,
            _ => {
                self.at = before;
                false
            }
        }
    }
}
