//! Comma-separated values with quotes (RFC 4180).

/// Why a text is no CSV.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CsvError {
    /// A quote in the middle of a field that does not begin with one.
    #[error("bare \" in non-quoted-field")]
    Bare,
    /// A quote that is not closed, or followed by more of the field.
    #[error("extraneous or missing \" in quoted-field")]
    Quote,
    /// More than one line where one is wanted.
    #[error("more than one line")]
    Lines,
}

/// The fields of a text that is one line, whatever it holds; a field may be empty.
///
/// # Errors
/// A quote where none may be.
pub fn fields(text: &str) -> Result<Vec<String>, CsvError> {
    let mut reader = Reader::new(text, false);
    let mut fields = Vec::new();
    loop {
        let (field, end) = reader.field()?;
        fields.push(field);
        if end != End::Comma {
            return Ok(fields);
        }
    }
}

/// The fields of a text of one line; a text without any is one empty field.
///
/// # Errors
/// A quote where none may be, or several lines.
pub fn line(text: &str) -> Result<Vec<String>, CsvError> {
    let mut records = records(text)?.into_iter();
    match (records.next(), records.next()) {
        (Some(fields), None) => Ok(fields),
        (None, _) => Ok(vec![String::new()]),
        (Some(_), Some(_)) => Err(CsvError::Lines),
    }
}

/// All lines that are not empty.
///
/// # Errors
/// A quote where none may be.
pub fn records(text: &str) -> Result<Vec<Vec<String>>, CsvError> {
    let mut reader = Reader::new(text, true);
    let mut records = Vec::new();
    let mut record = Vec::new();
    loop {
        let (field, end) = reader.field()?;
        let is_blank = record.is_empty() && field.is_empty() && !reader.was_quoted && end != End::Comma;
        if !is_blank {
            record.push(field);
        }
        if end != End::Comma && !record.is_empty() {
            records.push(std::mem::take(&mut record));
        }
        if end == End::Text {
            return Ok(records);
        }
    }
}

/// What ends a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Comma,
    Line,
    Text,
}

struct Reader<'a> {
    letters: std::iter::Peekable<std::str::Chars<'a>>,
    /// Whether line breaks separate records.
    has_lines: bool,
    /// Whether the last field was quoted.
    was_quoted: bool,
}

impl Reader<'_> {
    fn new(text: &str, has_lines: bool) -> Reader<'_> {
        Reader {
            letters: text.chars().peekable(),
            has_lines,
            was_quoted: false,
        }
    }

    fn field(&mut self) -> Result<(String, End), CsvError> {
        let mut field = String::new();
        self.was_quoted = self.letters.next_if_eq(&'"').is_some();
        if self.was_quoted {
            self.quoted(&mut field)?;
        }
        while let Some(letter) = self.letters.next() {
            match letter {
                ',' => return Ok((field, End::Comma)),
                '\n' if self.has_lines => return Ok((field, End::Line)),
                '\r' if self.has_lines && self.letters.peek() == Some(&'\n') => {}
                _ if self.was_quoted => return Err(CsvError::Quote),
                '"' => return Err(CsvError::Bare),
                letter => field.push(letter),
            }
        }
        Ok((field, End::Text))
    }

    /// Up to the closing quote; a doubled one is one.
    fn quoted(&mut self, field: &mut String) -> Result<(), CsvError> {
        loop {
            match self.letters.next() {
                Some('"') if self.letters.next_if_eq(&'"').is_some() => field.push('"'),
                Some('"') => return Ok(()),
                Some('\r') if self.has_lines && self.letters.peek() == Some(&'\n') => {}
                Some(letter) => field.push(letter),
                None => return Err(CsvError::Quote),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_commas() {
        assert_eq!(
            line("type=local,\"dest=a,b\""),
            Ok(vec!["type=local".into(), "dest=a,b".into()])
        );
        assert_eq!(line(""), Ok(vec![String::new()]));
        assert_eq!(line("a\nb"), Err(CsvError::Lines));
        assert_eq!(fields("a\nb,"), Ok(vec!["a\nb".into(), String::new()]));
        assert_eq!(fields("\"a\"\"b\",\"\""), Ok(vec!["a\"b".into(), String::new()]));
        for (text, error) in [
            ("\"a", CsvError::Quote),
            ("\"a\"b", CsvError::Quote),
            ("a\"b", CsvError::Bare),
        ] {
            assert_eq!(fields(text), Err(error), "{text}");
            assert_eq!(line(text), Err(error), "{text}");
        }
    }

    #[test]
    fn lines_are_records() {
        let read = records("a,b\r\n1,\"2\"\"\r\n\"\n\n,\n\"\"\n").expect("valid");
        assert_eq!(read, [vec!["a", "b"], vec!["1", "2\"\n"], vec!["", ""], vec![""]]);
        assert_eq!(records("\n\n"), Ok(Vec::new()));
    }
}
