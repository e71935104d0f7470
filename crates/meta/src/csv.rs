//! Comma-separated fields as the action's inputs have them: double quotes around a field, doubled quotes inside.

use std::iter::Peekable;
use std::str::Chars;

use thiserror::Error;

/// Text that is no list of fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CsvError {
    /// A field has a quote in its middle.
    #[error("a quote stands inside a field")]
    QuoteInside,
    /// Something follows a closing quote.
    #[error("a closing quote is followed by more text")]
    AfterQuote,
    /// A quote is not closed.
    #[error("a quote is not closed")]
    Unclosed,
}

impl CsvError {
    /// What to do about it.
    pub fn hint(self) -> &'static str {
        match self {
            CsvError::QuoteInside => {
                "write 'single quotes' inside {{…}}, or quote the whole attribute, \"value=…\", and double its quotes"
            }
            CsvError::AfterQuote | CsvError::Unclosed => {
                "quote the whole attribute, \"pattern=a{1,2}\", and double the quotes inside it"
            }
        }
    }
}

/// How strict the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// One entry: quotes stand around whole fields, and nowhere else.
    Entry,
    /// A list of entries, one in a line: a stray quote is text, and a line that begins with `#` is a comment.
    List,
}

/// One line of fields; a quoted field may span several lines of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The line it begins on, counted from 1.
    pub(crate) line: usize,
    /// The fields.
    pub(crate) fields: Vec<Field>,
}

/// What stands between commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    /// The text, without its quotes.
    pub(crate) text: String,
    /// Whether it stood in quotes.
    pub(crate) quoted: bool,
}

/// The fields of one entry; none when the text is empty.
pub(crate) fn fields(text: &str) -> Result<Vec<String>, CsvError> {
    let mut records = records(text, Reading::Entry)?;
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let fields = records.swap_remove(0).fields.into_iter();
    Ok(fields.map(|field| field.text).collect())
}

/// The lines of a text; empty lines are left out.
pub(crate) fn records(text: &str, reading: Reading) -> Result<Vec<Record>, CsvError> {
    let mut reader = Reader {
        letters: text.chars().peekable(),
        reading,
        line: 1,
        found: Vec::new(),
        record: Vec::new(),
        field: String::new(),
        quotes: Quotes::None,
        begun: 1,
    };
    reader.read()?;
    Ok(reader.found)
}

struct Reader<'text> {
    letters: Peekable<Chars<'text>>,
    reading: Reading,
    line: usize,
    found: Vec<Record>,
    record: Vec<Field>,
    field: String,
    quotes: Quotes,
    /// The line that the record begins on.
    begun: usize,
}

/// What became of the quotes of a field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    /// It begins with none.
    None,
    /// They stood around it.
    Around,
    /// They are part of its text.
    Text,
}

impl Reader<'_> {
    fn read(&mut self) -> Result<(), CsvError> {
        while let Some(letter) = self.letters.next() {
            match letter {
                '"' if self.field.is_empty() && self.quotes == Quotes::None => self.quoted()?,
                '"' if self.reading == Reading::Entry => return Err(CsvError::QuoteInside),
                ',' => self.end_field(),
                '\r' if self.letters.peek() == Some(&'\n') => {}
                '\n' => self.end_record(),
                '#' if self.reading == Reading::List && self.is_blank() => self.comment(),
                letter => self.field.push(letter),
            }
        }
        self.end_record();
        Ok(())
    }

    fn is_at_start(&self) -> bool {
        self.is_blank() && self.field.is_empty()
    }

    /// Whether the line has had nothing but white space so far.
    fn is_blank(&self) -> bool {
        self.record.is_empty() && self.field.trim().is_empty() && self.quotes == Quotes::None
    }

    fn comment(&mut self) {
        self.field.clear();
        while self.letters.peek().is_some_and(|letter| *letter != '\n') {
            self.letters.next();
        }
    }

    /// Reads on behind an opening quote.
    fn quoted(&mut self) -> Result<(), CsvError> {
        loop {
            match self.letters.next().ok_or(CsvError::Unclosed)? {
                '"' => match self.letters.peek() {
                    Some('"') => {
                        self.letters.next();
                        self.field.push('"');
                    }
                    None | Some(',' | '\n' | '\r') => {
                        self.quotes = Quotes::Around;
                        return Ok(());
                    }
                    // A list knows comments, and so a field ends before what could be one.
                    Some('#') if self.reading == Reading::List => {
                        self.quotes = Quotes::Around;
                        return Ok(());
                    }
                    Some(_) if self.reading == Reading::Entry => return Err(CsvError::AfterQuote),
                    // The quotes were text all along.
                    Some(_) => {
                        self.field.insert(0, '"');
                        self.field.push('"');
                        self.quotes = Quotes::Text;
                        return Ok(());
                    }
                },
                letter => {
                    if letter == '\n' {
                        self.line += 1;
                    }
                    self.field.push(letter);
                }
            }
        }
    }

    fn end_field(&mut self) {
        self.record.push(Field {
            text: std::mem::take(&mut self.field),
            quoted: self.quotes == Quotes::Around,
        });
        self.quotes = Quotes::None;
    }

    fn end_record(&mut self) {
        if !self.is_at_start() {
            self.end_field();
            self.found.push(Record {
                line: self.begun,
                fields: std::mem::take(&mut self.record),
            });
        }
        self.line += 1;
        self.begun = self.line;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_protect_commas() {
        assert_eq!(
            fields("type=match,\"pattern=a{1,2}\",x"),
            Ok(["type=match", "pattern=a{1,2}", "x"].map(String::from).to_vec())
        );
        assert_eq!(fields("\"a\"\"b\""), Ok(vec!["a\"b".to_owned()]));
        assert_eq!(fields(""), Ok(Vec::new()));
        assert_eq!(fields("a,"), Ok(vec!["a".to_owned(), String::new()]));
    }

    #[test]
    fn an_entry_allows_no_stray_quotes() {
        assert_eq!(fields("a\"b"), Err(CsvError::QuoteInside));
        assert_eq!(fields("a, \"b\""), Err(CsvError::QuoteInside));
        assert_eq!(fields("\"a\"b"), Err(CsvError::AfterQuote));
        assert_eq!(fields("\"a"), Err(CsvError::Unclosed));
    }

    #[test]
    fn a_list_has_comments_and_stray_quotes() {
        let text = "# first\nfoo=\"bar\",baz\r\n\n  # second\n\"a\"=b\n\"x\ny\"\nz#z\n\"a,b\"#c";
        let found: Vec<_> = records(text, Reading::List)
            .expect("well-formed")
            .into_iter()
            .map(|record| {
                let texts: Vec<_> = record.fields.into_iter().map(|field| field.text).collect();
                (record.line, texts.join("|"))
            })
            .collect();
        let expected = [
            (2, "foo=\"bar\"|baz"),
            (5, "\"a\"=b"),
            (6, "x\ny"),
            (8, "z#z"),
            (9, "a,b#c"),
        ];
        assert_eq!(found, expected.map(|(line, text)| (line, text.to_owned())));
    }
}
