//! Text → syntax tree.

mod arguments;
mod heredoc;

use regex::Regex;
use std::sync::LazyLock;

use crate::ast::{Directive, Escape, Node, Tree};
use crate::diagnostic::{Diagnostic, Lines, Severity, SyntaxError};

pub use arguments::{json_words, split_words};
pub use heredoc::{heredocs_of_line, parse_heredoc};

/// Longer lines are refused: no program writes them, and no person.
const MAX_LINE: usize = 65_535;

/// The instructions, in upper case.
pub const INSTRUCTIONS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Parses a file. Instructions that do not exist are still nodes; [`crate::instruction`] refuses them.
pub fn parse(text: &str) -> Result<(Tree, Vec<Diagnostic>), SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut parser = Parser {
        lines: text.split_inclusive('\n').collect(),
        at: 0,
        directives: Directives::default(),
        diagnostics: Vec::new(),
    };
    let mut nodes = Vec::new();
    let mut comments = Vec::new();
    while let Some((line, start)) = parser.next_line()? {
        let left = line.trim_start_matches(is_blank);
        let known = parser.directives.found.len();
        parser.directives.read(left.trim_end_matches(['\n', '\r']), start)?;
        if let Some(comment) = left.strip_prefix('#') {
            match comment.trim() {
                // As the peers have it: an empty comment parts what stands above from the instruction, an empty line does not.
                "" => comments.clear(),
                comment if parser.directives.found.len() == known => comments.push(comment.to_owned()),
                _directive => {}
            }
            continue;
        }
        let Some(joined) = parser.join(left)? else {
            continue;
        };
        let mut node = new_node(&joined, parser.directives.escape).map_err(|error| error.at(parser.since(start)))?;
        node.comments = std::mem::take(&mut comments);
        if node.takes_heredocs() && joined.contains("<<") {
            parser.heredocs(&mut node, &joined, start)?;
        }
        node.lines = parser.since(start);
        nodes.push(node);
    }
    if nodes.is_empty() {
        return Err(SyntaxError::new("file with no instructions"));
    }
    let Directives { escape, found, .. } = parser.directives;
    Ok((
        Tree {
            nodes,
            escape,
            directives: found,
        },
        parser.diagnostics,
    ))
}

struct Parser<'a> {
    lines: Vec<&'a str>,
    at: usize,
    directives: Directives,
    diagnostics: Vec<Diagnostic>,
}

impl<'a> Parser<'a> {
    /// The next line with its end, and its number.
    fn next_line(&mut self) -> Result<Option<(&'a str, usize)>, SyntaxError> {
        let Some(&line) = self.lines.get(self.at) else {
            return Ok(None);
        };
        self.at += 1;
        if line.len() > MAX_LINE {
            let error = SyntaxError::new(format!(
                "dockerfile line greater than maximum allowed size of {MAX_LINE}"
            ));
            return Err(error.at(Lines {
                start: self.at,
                end: self.at,
            }));
        }
        Ok(Some((line, self.at)))
    }

    fn since(&self, start: usize) -> Lines {
        Lines { start, end: self.at }
    }

    /// A line with everything that continues it. None: there is nothing in it.
    fn join(&mut self, first: &str) -> Result<Option<String>, SyntaxError> {
        let escape = self.directives.escape;
        let (mut joined, mut ended) = without_continuation(first.trim_end_matches(['\n', '\r']), escape);
        if ended && joined.trim().is_empty() {
            return Ok(None);
        }
        let mut empty = false;
        while !ended {
            let Some((line, number)) = self.next_line()? else { break };
            let line = line.trim_end_matches(['\n', '\r']);
            self.directives.read(line, number)?;
            let left = line.trim_start_matches(is_blank);
            if left.starts_with('#') {
                continue;
            }
            if left.is_empty() {
                empty = true;
                continue;
            }
            let (text, last) = without_continuation(line, escape);
            joined.push_str(&text);
            ended = last;
        }
        if empty {
            self.diagnostics.push(Diagnostic {
                severity: Severity::Warning,
                message: format!("Empty continuation line found in: {}", joined.trim()),
                // As the peers tell it: where the instruction ends, not where the empty line is.
                lines: Some(self.since(self.at)),
                hints: vec!["remove the empty lines: they will be an error one day".into()],
            });
        }
        Ok(Some(joined))
    }

    fn heredocs(&mut self, node: &mut Node, line: &str, start: usize) -> Result<(), SyntaxError> {
        let at = |error: SyntaxError, parser: &Parser<'_>| error.at(parser.since(start));
        let mut heredocs = heredocs_of_line(line).map_err(|error| at(SyntaxError::new(error.to_string()), self))?;
        for heredoc in &mut heredocs {
            let mut terminated = false;
            while let Some((line, _)) = self.next_line()? {
                let mut candidate = line.trim_end_matches(['\n', '\r']);
                if heredoc.chomp {
                    candidate = candidate.trim_start_matches('\t');
                }
                if candidate == heredoc.name {
                    terminated = true;
                    break;
                }
                heredoc.content.push_str(line);
            }
            if !terminated {
                let hint = format!("end it with a line that holds only `{}`", heredoc.name);
                return Err(at(SyntaxError::new("unterminated heredoc").hint(hint), self));
            }
        }
        node.heredocs = heredocs;
        Ok(())
    }
}

impl Node {
    fn takes_heredocs(&self) -> bool {
        match self.name().as_str() {
            "add" | "copy" | "run" => true,
            "onbuild" => self.child.as_ref().is_some_and(|child| child.takes_heredocs()),
            _ => false,
        }
    }
}

/// White space inside a line.
fn is_blank(letter: char) -> bool {
    letter.is_whitespace() && letter != '\n'
}

/// The line without its continuation character; whether the line ends the instruction.
fn without_continuation(line: &str, escape: Escape) -> (String, bool) {
    let stripped = line.trim_end_matches([' ', '\t']);
    match stripped.strip_suffix(escape.character()) {
        // Two of them are one that is meant itself.
        Some(rest) if !rest.ends_with(escape.character()) => (rest.to_owned(), false),
        _ => (line.to_owned(), true),
    }
}

/// A node from a whole line.
pub(crate) fn new_node(line: &str, escape: Escape) -> Result<Node, SyntaxError> {
    let trimmed = line.trim();
    let (keyword, rest) = match trimmed.find(|letter: char| letter.is_ascii_whitespace() || letter == '\u{b}') {
        Some(at) => (&trimmed[..at], trimmed[at..].trim()),
        None => (trimmed, ""),
    };
    let (flags, rest) = arguments::flags(rest);
    let mut node = Node {
        keyword: keyword.to_owned(),
        original: line.to_owned(),
        flags,
        ..Node::default()
    };
    arguments::fill(&mut node, rest.trim(), escape)?;
    Ok(node)
}

/// The directives at the top, read until a line that is none.
#[derive(Default)]
struct Directives {
    escape: Escape,
    found: Vec<Directive>,
    done: bool,
}

static DIRECTIVE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$").expect("a constant that compiles"));

impl Directives {
    fn read(&mut self, line: &str, number: usize) -> Result<(), SyntaxError> {
        if self.done {
            return Ok(());
        }
        let Some(found) = DIRECTIVE.captures(line) else {
            self.done = true;
            return Ok(());
        };
        let (name, value) = (found[1].to_lowercase(), found[2].to_owned());
        if !["syntax", "escape", "check"].contains(&name.as_str()) {
            return Ok(());
        }
        let at = Lines {
            start: number,
            end: number,
        };
        if self.found.iter().any(|known| known.name == name) {
            return Err(SyntaxError::new(format!("only one {name} parser directive can be used")).at(at));
        }
        if name == "escape" {
            self.escape = match value.as_str() {
                "\\" => Escape::Backslash,
                "`" => Escape::Backtick,
                other => {
                    return Err(
                        SyntaxError::new(format!("invalid escape token '{other}' does not match ` or \\")).at(at),
                    );
                }
            };
        }
        self.found.push(Directive {
            name,
            value,
            line: number,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(text: &str) -> String {
        parse(text).expect("well-formed").0.dump()
    }

    #[test]
    fn lines_are_joined_and_comments_left_out() {
        let text = "FROM a\nRUN x \\\n  # a comment\n\n  y\nCMD [\"a\", \"b\"]\n";
        assert_eq!(dump(text), "(from \"a\")\n(run \"x   y\")\n(cmd \"a\" \"b\")");
        let (_, diagnostics) = parse(text).expect("well-formed");
        assert!(diagnostics[0].message.starts_with("Empty continuation line"));
        assert_eq!(diagnostics[0].lines.map(|lines| lines.start), Some(5));
    }

    #[test]
    fn places_are_lines_from_one() {
        let (tree, _) = parse("# escape=`\n\nFROM a\nRUN <<EOF `\n  b\nhello\nEOF\n").expect("well-formed");
        assert_eq!(tree.escape, Escape::Backtick);
        let lines: Vec<_> = tree
            .nodes
            .iter()
            .map(|node| (node.lines.start, node.lines.end))
            .collect();
        assert_eq!(lines, [(3, 3), (4, 7)]);
        assert_eq!(tree.nodes[1].heredocs[0].content, "hello\n");
    }

    #[test]
    fn what_cannot_be_parsed_says_where() {
        let error = |text: &str| {
            let error = parse(text).expect_err(text);
            (error.message.clone(), error.lines.map(|lines| lines.start))
        };
        assert_eq!(error("# only\n"), ("file with no instructions".into(), None));
        assert_eq!(
            error("FROM a\nENV b\n"),
            ("ENV must have two arguments".into(), Some(2))
        );
        assert_eq!(error("FROM a\nRUN <<E\n"), ("unterminated heredoc".into(), Some(2)));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_parsed_without_panic(text in "(\\PC|\n|\t|<<|FROM |ENV |RUN |\\\\\n)*") {
            let _ = parse(&text);
        }
    }
}
