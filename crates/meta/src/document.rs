//! Inputs in a file: the block below `with:` of a workflow.
//!
//! ```yaml
//! images: |
//!   ghcr.io/octo/app
//! tags: |
//!   type=ref,event=branch
//!   type=semver,pattern={{version}}
//! labels:
//!   - org.opencontainers.image.title=App
//! bake-target: app-metadata
//! ```
//!
//! This is the part of YAML that such a block needs: keys with a text on the same line, a block of lines behind `|`, or a list
//! of items. Anything else is an error, and never read as something that it is not.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use crate::error::MetaError;
use crate::inputs::{Input, Inputs};

/// A file that holds no inputs.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DocumentError {
    /// A line that cannot be read.
    #[error("line {line} cannot be read: `{text}`")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// A key is none of the inputs.
    #[error("line {line}: there is no input `{key}`")]
    UnknownKey {
        /// The line of the key, from 1.
        line: usize,
        /// The key.
        key: String,
    },
    /// A key stands twice.
    #[error("line {line}: `{key}` stands twice")]
    Twice {
        /// The line of the second one, from 1.
        line: usize,
        /// The key.
        key: String,
    },
    /// An entry cannot be used.
    #[error(transparent)]
    Entry(#[from] MetaError),
}

impl DocumentError {
    /// What to do about it, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        match self {
            DocumentError::Line { .. } => {
                Some("write `images: |` and below it, indented, one entry in a line".to_owned())
            }
            DocumentError::UnknownKey { .. } => {
                let lists = Input::ALL.into_iter().map(Input::name);
                let names: Vec<_> = lists.chain(Setting::ALL.into_iter().map(Setting::name)).collect();
                Some(format!("there are {}", names.join(", ")))
            }
            DocumentError::Twice { .. } => Some("write all entries below one key".to_owned()),
            DocumentError::Entry(error) => error.problem.hint(),
        }
    }
}

/// The lines that belong to a key.
struct Line<'text> {
    number: usize,
    indent: usize,
    text: &'text str,
}

/// An input that is one text, and no list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Setting {
    /// Where the event is looked for.
    Context,
    /// The target of bake files.
    BakeTarget,
    /// What stands between tags.
    SepTags,
    /// What stands between labels.
    SepLabels,
    /// What stands between annotations.
    SepAnnotations,
}

impl Setting {
    /// Every one of them.
    pub const ALL: [Setting; 5] = [
        Setting::Context,
        Setting::BakeTarget,
        Setting::SepTags,
        Setting::SepLabels,
        Setting::SepAnnotations,
    ];

    /// The input's name.
    pub fn name(self) -> &'static str {
        match self {
            Setting::Context => "context",
            Setting::BakeTarget => "bake-target",
            Setting::SepTags => "sep-tags",
            Setting::SepLabels => "sep-labels",
            Setting::SepAnnotations => "sep-annotations",
        }
    }

    /// The input of this name.
    pub fn named(name: &str) -> Option<Setting> {
        Setting::ALL.into_iter().find(|setting| setting.name() == name)
    }
}

/// What a file of inputs holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// The lists.
    pub inputs: Inputs,
    /// The inputs that are one text.
    pub settings: BTreeMap<Setting, String>,
}

impl Document {
    /// Reads the text of a file of inputs. The name of the file stands in errors, with its lines.
    pub fn parse(file: &str, text: &str) -> Result<Document, DocumentError> {
        let file: Arc<str> = file.into();
        let mut document = Document::read(text).map_err(|error| match error {
            DocumentError::Entry(error) => DocumentError::Entry(MetaError {
                file: Some(Arc::clone(&file)),
                ..error
            }),
            other => other,
        })?;
        for input in Input::ALL {
            for entry in document.inputs.list(input) {
                entry.file = Some(Arc::clone(&file));
            }
        }
        Ok(document)
    }

    fn read(text: &str) -> Result<Document, DocumentError> {
        // Some editors begin a file with a mark of its encoding.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut document = Document::default();
        let inputs = &mut document.inputs;
        let mut seen = Vec::new();
        let lines: Vec<Line<'_>> = text
            .lines()
            .zip(1..)
            .map(|(text, number)| Line {
                number,
                indent: text.len() - text.trim_start_matches(' ').len(),
                text: text.trim_end(),
            })
            .collect();
        let is_nothing = |line: &Line<'_>| line.text.is_empty() || line.text.trim_start().starts_with('#');
        let mut at = 0;
        while let Some(line) = lines.get(at) {
            at += 1;
            if is_nothing(line) || (line.number == 1 && line.text == "---") {
                continue;
            }
            let cannot = || DocumentError::Line {
                line: line.number,
                text: line.text.to_owned(),
            };
            let (key, value) = line.text.trim_start().split_once(':').ok_or_else(cannot)?;
            let value = without_comment(value.trim());
            // The block may be pasted with the key that it stands below.
            if key == "with" && value.is_empty() && seen.is_empty() {
                continue;
            }
            let unknown = || DocumentError::UnknownKey {
                line: line.number,
                key: key.to_owned(),
            };
            if seen.contains(&key) {
                return Err(DocumentError::Twice {
                    line: line.number,
                    key: key.to_owned(),
                });
            }
            seen.push(key);
            // Everything that is indented deeper belongs to the key, and so do items on its own level.
            let below: Vec<&Line<'_>> = lines[at..]
                .iter()
                .take_while(|next| {
                    next.text.is_empty()
                        || next.indent > line.indent
                        || (next.indent == line.indent && next.text.trim_start().starts_with("- "))
                })
                .collect();
            at += below.len();
            let on_line = || {
                let alone = below.iter().all(|line| is_nothing(line));
                let plain = !value.starts_with(['[', '{', '&', '*', '>', '!', '|']);
                Some(value)
                    .filter(|_| alone && plain)
                    .and_then(scalar)
                    .ok_or_else(cannot)
            };
            if let Some(setting) = Setting::named(key) {
                document.settings.insert(setting, on_line()?);
                continue;
            }
            let input = Input::named(key).ok_or_else(unknown)?;
            match value {
                "|" | "|-" | "|+" => block(inputs, input, &below)?,
                "" => items(inputs, input, &below)?,
                _ => inputs.extend(input, line.number, &on_line()?)?,
            }
        }
        Ok(document)
    }
}

/// What stands behind a key, where that is nothing or the mark of a block: a comment may follow.
fn without_comment(value: &str) -> &str {
    match value.find(" #") {
        _ if value.starts_with('#') => "",
        Some(comment) if value.starts_with('|') => value[..comment].trim_end(),
        _ => value,
    }
}

/// The lines behind `|`, without the indentation that they share.
fn block(inputs: &mut Inputs, input: Input, lines: &[&Line<'_>]) -> Result<(), DocumentError> {
    let Some(first) = lines.iter().find(|line| !line.text.is_empty()) else {
        return Ok(());
    };
    let mut text = String::new();
    for line in lines {
        if !line.text.is_empty() && line.indent < first.indent {
            return Err(DocumentError::Line {
                line: line.number,
                text: line.text.to_owned(),
            });
        }
        text.push_str(line.text.get(first.indent..).unwrap_or_default());
        text.push('\n');
    }
    Ok(inputs.extend(input, lines[0].number, &text)?)
}

/// Items behind `- `, each of them one entry.
fn items(inputs: &mut Inputs, input: Input, lines: &[&Line<'_>]) -> Result<(), DocumentError> {
    for line in lines {
        let text = line.text.trim_start();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let entry = text
            .strip_prefix("- ")
            .and_then(|item| scalar(item.trim()))
            .ok_or_else(|| DocumentError::Line {
                line: line.number,
                text: line.text.to_owned(),
            })?;
        if !entry.is_empty() {
            inputs.push(input, line.number, &entry)?;
        }
    }
    Ok(())
}

/// A text on one line: plain, or in single or double quotes. A comment may follow.
fn scalar(text: &str) -> Option<String> {
    let is_rest = |rest: &str| rest.is_empty() || rest.starts_with(" #");
    if let Some(inside) = text.strip_prefix('\'') {
        let mut value = String::new();
        let mut rest = inside;
        loop {
            let (part, behind) = rest.split_once('\'')?;
            value.push_str(part);
            match behind.strip_prefix('\'') {
                Some(more) => {
                    value.push('\'');
                    rest = more;
                }
                None => return is_rest(behind).then_some(value),
            }
        }
    }
    if let Some(inside) = text.strip_prefix('"') {
        let mut value = String::new();
        let mut letters = inside.char_indices();
        while let Some((index, letter)) = letters.next() {
            match letter {
                '"' => return is_rest(&inside[index + 1..]).then_some(value),
                '\\' => match letters.next()?.1 {
                    'n' => value.push('\n'),
                    't' => value.push('\t'),
                    letter @ ('"' | '\\' | '/') => value.push(letter),
                    _ => return None,
                },
                letter => value.push(letter),
            }
        }
        return None;
    }
    let end = if text.starts_with('#') {
        0
    } else {
        text.find(" #").unwrap_or(text.len())
    };
    Some(text[..end].trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(inputs: &Inputs, input: Input) -> Vec<String> {
        let entries = inputs.entries(input).iter();
        entries.map(|entry| format!("{}:{}", entry.line, entry.text)).collect()
    }

    #[test]
    fn blocks_lists_and_lines_are_read() {
        let text = "# inputs\nimages: ghcr.io/o/a # here\ntags: | # rules\n  # first\n  type=sha\n\n  type=match,\"pattern=a{1,2}\"\nflavor: # one\n- latest=false\nlabels:\n  - 'a=it''s'\n  - \"b=\\\"x\\\"\\\\d\" # two\n";
        let inputs = Document::parse("meta.yml", text).expect("valid").inputs;
        assert_eq!(texts(&inputs, Input::Images), ["2:ghcr.io/o/a"]);
        assert_eq!(
            texts(&inputs, Input::Tags),
            ["5:type=sha", "7:type=match,\"pattern=a{1,2}\""]
        );
        assert_eq!(texts(&inputs, Input::Flavor), ["9:latest=false"]);
        assert_eq!(texts(&inputs, Input::Labels), ["11:a=it's", "12:b=\"x\"\\d"]);
        let pasted = Document::parse(
            "meta.yml",
            "\u{feff}with:\n  images: |\n    a/b\n  tags: |\n    type=sha\n",
        )
        .expect("valid");
        assert_eq!(texts(&pasted.inputs, Input::Tags), ["5:type=sha"]);
    }

    #[test]
    fn settings_are_one_text() {
        let text = "images: a/b\nsep-tags: ', '\nsep-labels: \"\\n\"\nbake-target: app # mine\ncontext: git\n";
        let document = Document::parse("meta.yml", text).expect("valid");
        let settings: Vec<_> = document
            .settings
            .iter()
            .map(|(setting, value)| (setting.name(), value.as_str()))
            .collect();
        let expected = [
            ("context", "git"),
            ("bake-target", "app"),
            ("sep-tags", ", "),
            ("sep-labels", "\n"),
        ];
        assert_eq!(settings, expected);
    }

    #[test]
    fn what_is_no_such_file_is_refused() {
        for (bad, line) in [
            ("images", 1),
            ("images: a\nimages: b", 2),
            ("\nimage: a", 2),
            ("images: [a, b]", 1),
            ("images: >\n  a", 1),
            ("images: a\n  b", 1),
            ("images:\n  a", 2),
            ("images: |\n    a\n  b", 3),
            ("labels:\n  - \"a", 2),
            ("context: git\ncontext: git", 2),
            ("bake-target: |\n  a", 1),
            ("sep-tags: ','\n  - a", 1),
            ("github-token: a", 1),
        ] {
            let error = Document::parse("meta.yml", bad).expect_err(bad);
            let at = match &error {
                DocumentError::Line { line, .. }
                | DocumentError::UnknownKey { line, .. }
                | DocumentError::Twice { line, .. } => *line,
                DocumentError::Entry(error) => error.line,
            };
            assert_eq!(at, line, "{bad}: {error}");
        }
    }
}
