//! Files, and places in them.

use std::fmt;
use std::sync::Arc;

use unicode_segmentation::UnicodeSegmentation;

/// Longer definitions are refused: nobody writes them, and every later step may assume small offsets.
pub const LARGEST_FILE: usize = 16 << 20;

/// One of the files that a definition is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId(u32);

/// A stretch of a file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// Which file.
    pub file: FileId,
    /// First byte.
    pub start: u32,
    /// The byte behind the last.
    pub end: u32,
}

impl Span {
    /// From the start of this one to the end of another in the same file.
    pub fn to(self, other: Span) -> Span {
        Span {
            end: other.end.max(self.start),
            ..self
        }
    }

    /// The empty stretch at the start of this one.
    pub fn start_point(self) -> Span {
        Span {
            end: self.start,
            ..self
        }
    }
}

/// A place as people count: lines from 1, columns from 1 in grapheme clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// A file with its text.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name, as it is shown.
    pub name: String,
    /// Its text.
    pub text: Arc<str>,
}

/// All files of a definition.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    files: Vec<Source>,
}

impl Sources {
    /// Adds a file.
    pub fn add(&mut self, name: &str, text: &str) -> FileId {
        let id = FileId(u32::try_from(self.files.len()).unwrap_or(u32::MAX));
        self.files.push(Source {
            name: name.to_owned(),
            text: text.into(),
        });
        id
    }

    /// A file that was added; None for an id of other sources.
    pub fn file(&self, id: FileId) -> Option<&Source> {
        self.files.get(id.0 as usize)
    }

    /// Line and column of a byte. An offset within a character counts as its start.
    pub fn position(&self, file: FileId, offset: u32) -> Position {
        let text = self.file(file).map(|source| &*source.text).unwrap_or_default();
        let mut offset = (offset as usize).min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Position {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].graphemes(true).count() + 1,
        }
    }

    /// The place as `file:line,column-column`, or `file:line,column-line,column` over several lines.
    pub fn describe(&self, span: Span) -> String {
        let name = self
            .file(span.file)
            .map(|source| source.name.as_str())
            .unwrap_or_default();
        let start = self.position(span.file, span.start);
        let end = self.position(span.file, span.end);
        if start.line == end.line {
            format!("{name}:{},{}-{}", start.line, start.column, end.column)
        } else {
            format!("{name}:{},{}-{},{}", start.line, start.column, end.line, end.column)
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_what_people_see() {
        let mut sources = Sources::default();
        let file = sources.add("a.hcl", "x = 1\ny = \"e\u{301}é\"\n");
        assert_eq!(sources.position(file, 0), Position { line: 1, column: 1 });
        let quote = sources.file(file).expect("added").text.rfind('"').expect("there") as u32;
        assert_eq!(sources.position(file, quote), Position { line: 2, column: 8 });
        let span = Span { file, start: 6, end: 7 };
        assert_eq!(sources.describe(span), "a.hcl:2,1-2");
        assert_eq!(sources.describe(Span { start: 0, ..span }), "a.hcl:1,1-2,2");
    }
}
