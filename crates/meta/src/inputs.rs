//! The inputs as they were written: lists of entries, one in a line.

use std::fmt;
use std::sync::Arc;

use crate::csv::{Field, Reading, records};
use crate::error::{EntryError, MetaError};

/// Longer entries are a mistake, and would cost time in templates and regular expressions.
const LONGEST_ENTRY: usize = 16 * 1024;

/// An input by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Input {
    /// Names of images.
    Images,
    /// Rules that make tags.
    Tags,
    /// What holds for all tags.
    Flavor,
    /// Labels beside the usual ones.
    Labels,
    /// Annotations beside the usual ones.
    Annotations,
}

impl Input {
    /// Every input, in the order in which the documentation has them.
    pub const ALL: [Input; 5] = [
        Input::Images,
        Input::Tags,
        Input::Flavor,
        Input::Labels,
        Input::Annotations,
    ];

    /// The input's name.
    pub fn name(self) -> &'static str {
        match self {
            Input::Images => "images",
            Input::Tags => "tags",
            Input::Flavor => "flavor",
            Input::Labels => "labels",
            Input::Annotations => "annotations",
        }
    }

    /// The input of this name.
    pub fn named(name: &str) -> Option<Input> {
        Input::ALL.into_iter().find(|input| input.name() == name)
    }

    /// Whether the entries are comma-separated attributes, and not plain text.
    fn has_attributes(self) -> bool {
        matches!(self, Input::Images | Input::Tags | Input::Flavor)
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One entry of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The input.
    pub input: Input,
    /// The file that it stands in, if it stands in one.
    pub file: Option<Arc<str>>,
    /// The line of the file, else of the input, counted from 1.
    pub line: usize,
    /// The text.
    pub text: String,
}

impl Entry {
    /// An error about this entry.
    pub(crate) fn error(&self, problem: EntryError) -> MetaError {
        MetaError {
            input: self.input,
            file: self.file.clone(),
            line: self.line,
            text: self.text.clone(),
            problem,
        }
    }
}

/// The inputs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inputs {
    /// Names of images, with attributes.
    pub images: Vec<Entry>,
    /// Rules that make tags; the usual ones when there are none.
    pub tags: Vec<Entry>,
    /// What holds for all tags.
    pub flavor: Vec<Entry>,
    /// Labels, `NAME=VALUE`.
    pub labels: Vec<Entry>,
    /// Annotations, `NAME=VALUE`.
    pub annotations: Vec<Entry>,
}

impl Inputs {
    /// The entries of an input.
    pub fn entries(&self, input: Input) -> &[Entry] {
        match input {
            Input::Images => &self.images,
            Input::Tags => &self.tags,
            Input::Flavor => &self.flavor,
            Input::Labels => &self.labels,
            Input::Annotations => &self.annotations,
        }
    }

    /// Whether nothing was given.
    pub fn is_empty(&self) -> bool {
        Input::ALL.into_iter().all(|input| self.entries(input).is_empty())
    }

    /// Adds a list: entries one in a line, comments on lines that begin with `#`.
    pub fn add(&mut self, input: Input, text: &str) -> Result<(), MetaError> {
        self.extend(input, 1, text)
    }

    /// As [`Inputs::add`], for a list whose first line is `first` of a larger text.
    pub fn extend(&mut self, input: Input, first: usize, text: &str) -> Result<(), MetaError> {
        let records = records(text, Reading::List).map_err(|error| MetaError {
            input,
            file: None,
            line: first,
            text: text.lines().next().unwrap_or_default().to_owned(),
            problem: error.into(),
        })?;
        for record in records {
            let text = if input.has_attributes() {
                attributes(&record.fields)
            } else {
                let texts: Vec<_> = record.fields.into_iter().map(|field| field.text).collect();
                texts.join(",")
            };
            let text = text.trim();
            if !text.is_empty() {
                self.push(input, first + record.line - 1, text)?;
            }
        }
        Ok(())
    }

    /// Adds one entry as it stands.
    pub fn push(&mut self, input: Input, line: usize, text: &str) -> Result<(), MetaError> {
        let entry = Entry {
            input,
            file: None,
            line,
            text: text.to_owned(),
        };
        if text.contains("${{") {
            return Err(entry.error(EntryError::WorkflowExpression));
        }
        if text.len() > LONGEST_ENTRY {
            let problem = EntryError::TooLong {
                length: text.len(),
                limit: LONGEST_ENTRY,
            };
            let text: String = text.chars().take(40).collect();
            return Err(Entry { text, ..entry }.error(problem));
        }
        self.list(input).push(entry);
        Ok(())
    }

    /// Puts the entries of other inputs behind these.
    pub fn append(&mut self, mut other: Inputs) {
        for input in Input::ALL {
            self.list(input).append(other.list(input));
        }
    }

    /// The entries of an input, to be changed.
    pub(crate) fn list(&mut self, input: Input) -> &mut Vec<Entry> {
        match input {
            Input::Images => &mut self.images,
            Input::Tags => &mut self.tags,
            Input::Flavor => &mut self.flavor,
            Input::Labels => &mut self.labels,
            Input::Annotations => &mut self.annotations,
        }
    }
}

/// Fields as one text that is read to the same fields again: what stood in quotes because of its commas or quotes keeps
/// them. A line that is one quoted field is a whole entry in quotes: its own commas separate attributes.
fn attributes(fields: &[Field]) -> String {
    if let [whole] = fields {
        return whole.text.clone();
    }
    let quoted = fields.iter().map(|Field { text, quoted }| {
        if *quoted && text.contains([',', '\n', '"']) {
            format!("\"{}\"", text.replace('"', "\"\""))
        } else {
            text.clone()
        }
    });
    quoted.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(input: Input, text: &str) -> Vec<String> {
        let mut inputs = Inputs::default();
        inputs.add(input, text).expect("well-formed");
        inputs
            .entries(input)
            .iter()
            .map(|entry| format!("{}:{}", entry.line, entry.text))
            .collect()
    }

    #[test]
    fn entries_keep_their_lines_and_quotes() {
        assert_eq!(
            texts(
                Input::Tags,
                "type=sha\n# no\n\ntype=match,\"pattern=a{1,2}\",group=1\n  x  "
            ),
            ["1:type=sha", "4:type=match,\"pattern=a{1,2}\",group=1", "5:x"]
        );
        assert_eq!(texts(Input::Tags, "\"type=raw,value=x\""), ["1:type=raw,value=x"]);
        let quoted = "type=raw,\"value={{date \"\"YYYY\"\"}}\"";
        assert_eq!(texts(Input::Tags, quoted), [format!("1:{quoted}")]);
        assert_eq!(texts(Input::Tags, "\n  # no\n  a,b"), ["3:a,b"]);
        assert_eq!(
            texts(Input::Labels, "a=\"b\",c\n\"d=e,f\"\ng=h#i"),
            ["1:a=\"b\",c", "2:d=e,f", "3:g=h#i"]
        );
    }

    #[test]
    fn expressions_of_workflows_are_not_filled_in() {
        let text = "type=sha\ntype=raw,value=latest,enable=${{ github.ref == 'refs/heads/main' }}";
        let error = Inputs::default().add(Input::Tags, text).expect_err("no workflow");
        assert_eq!((error.line, error.problem), (2, EntryError::WorkflowExpression));
    }

    #[test]
    fn an_entry_has_a_length() {
        let error = Inputs::default()
            .add(Input::Labels, &"x".repeat(LONGEST_ENTRY + 1))
            .expect_err("too long");
        assert!(matches!(error.problem, EntryError::TooLong { .. }), "{error}");
    }
}
