//! Pieces → a tree.

use std::iter::Peekable;
use std::vec::IntoIter;

use super::lexer::{Piece, Tag, TagKind, Word, split};
use super::{Argument, Call, ExpressionError, Node, Path};

/// Deeper blocks are a mistake.
const DEEPEST: usize = 32;

/// Reads a template.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, ExpressionError> {
    let pieces = strip(split(text)?);
    let mut reader = Reader {
        pieces: pieces.into_iter(),
        depth: 0,
    };
    let (nodes, end) = reader.nodes()?;
    match end {
        None => Ok(nodes),
        Some(tag) => Err(ExpressionError::NoBlock(shown(&tag))),
    }
}

/// Takes white space away: what `~` names, and the line of a tag that stands alone on it and writes nothing.
fn strip(mut pieces: Vec<Piece>) -> Vec<Piece> {
    let alone: Vec<bool> = (0..pieces.len()).map(|index| is_alone(&pieces, index)).collect();
    for (index, alone) in alone.into_iter().enumerate() {
        let Piece::Tag(tag) = &pieces[index] else { continue };
        let (before, after) = (tag.strip_before, tag.strip_after);
        if let Some(Piece::Text(text)) = index.checked_sub(1).and_then(|before| pieces.get_mut(before)) {
            if before {
                text.truncate(text.trim_end().len());
            } else if alone {
                text.truncate(text.trim_end_matches([' ', '\t']).len());
            }
        }
        if let Some(Piece::Text(text)) = pieces.get_mut(index + 1) {
            if after {
                *text = text.trim_start().to_owned();
            } else if alone {
                let rest = text.trim_start_matches([' ', '\t']);
                let rest = rest
                    .strip_prefix('\r')
                    .filter(|rest| rest.starts_with('\n'))
                    .unwrap_or(rest);
                *text = rest.strip_prefix('\n').unwrap_or(rest).to_owned();
            }
        }
    }
    pieces
}

/// Whether a piece is a tag of a block or a comment, with nothing but white space beside it on its line.
fn is_alone(pieces: &[Piece], index: usize) -> bool {
    let Piece::Tag(tag) = &pieces[index] else {
        return false;
    };
    let writes = matches!(tag.kind, TagKind::Escaped | TagKind::Plain) && !is_else(tag);
    let neighbour = |index: Option<usize>| index.and_then(|index| pieces.get(index));
    let begins = match neighbour(index.checked_sub(1)) {
        None => true,
        Some(Piece::Tag(_)) => false,
        Some(Piece::Text(text)) => {
            let rest = text.trim_end_matches([' ', '\t']);
            rest.ends_with('\n') || (rest.is_empty() && index == 1)
        }
    };
    let ends = match neighbour(Some(index + 1)) {
        None => true,
        Some(Piece::Tag(_)) => false,
        Some(Piece::Text(text)) => {
            let rest = text.trim_start_matches([' ', '\t']);
            rest.starts_with(['\n', '\r']) || (rest.is_empty() && index + 2 == pieces.len())
        }
    };
    !writes && begins && ends
}

struct Reader {
    pieces: IntoIter<Piece>,
    depth: usize,
}

impl Reader {
    /// Nodes up to the end, or to a tag that ends a block.
    fn nodes(&mut self) -> Result<(Vec<Node>, Option<Tag>), ExpressionError> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let tag = match piece {
                Piece::Text(text) if text.is_empty() => continue,
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Tag(tag) => tag,
            };
            match tag.kind {
                TagKind::Comment => {}
                TagKind::Open => nodes.push(self.block(tag)?),
                TagKind::Close => return Ok((nodes, Some(tag))),
                TagKind::Inverse if !tag.words.is_empty() => {
                    return Err(ExpressionError::Unsupported("a block that begins with `^`"));
                }
                TagKind::Inverse => return Ok((nodes, Some(tag))),
                TagKind::Escaped if is_else(&tag) => return Ok((nodes, Some(tag))),
                TagKind::Escaped | TagKind::Plain => nodes.push(Node::Value {
                    escape: tag.kind == TagKind::Escaped,
                    call: Words::of(tag).call()?,
                }),
            }
        }
        Ok((nodes, None))
    }

    fn block(&mut self, tag: Tag) -> Result<Node, ExpressionError> {
        let mut words = Words::of(tag);
        let Some(Word::Name(name)) = words.next() else {
            return Err(words.missing());
        };
        self.condition(&name, words, &name)
    }

    /// A condition from the words behind its name, up to the `{{/closing}}` that it shares with the blocks chained to it.
    fn condition(&mut self, name: &str, mut words: Words, closing: &str) -> Result<Node, ExpressionError> {
        let negated = match name {
            "if" => false,
            "unless" => true,
            _ => return Err(ExpressionError::Unsupported("a block other than `if` and `unless`")),
        };
        if self.depth == DEEPEST {
            return Err(ExpressionError::TooDeep(DEEPEST));
        }
        self.depth += 1;
        let subject = words.argument()?;
        words.end()?;
        let (then, mut end) = self.nodes()?;
        let mut otherwise = Vec::new();
        if let Some(tag) = end.take_if(|tag| tag.kind != TagKind::Close) {
            let mut words = Words::of(tag);
            words.next();
            match words.next() {
                // `else if` is a block inside the other branch, and its end is the end of this one.
                Some(Word::Name(inner)) => {
                    otherwise.push(self.condition(&inner, words, closing)?);
                    self.depth -= 1;
                    return Ok(Node::Condition {
                        negated,
                        subject,
                        then,
                        otherwise,
                    });
                }
                Some(_) => return Err(words.missing()),
                None => (otherwise, end) = self.nodes()?,
            }
        }
        let closes = |tag: &Tag| {
            tag.kind == TagKind::Close && matches!(&tag.words[..], [(Word::Name(word), _)] if word == closing)
        };
        if !end.as_ref().is_some_and(closes) {
            return Err(ExpressionError::OpenBlock(name.to_owned()));
        }
        self.depth -= 1;
        Ok(Node::Condition {
            negated,
            subject,
            then,
            otherwise,
        })
    }
}

fn is_else(tag: &Tag) -> bool {
    matches!(tag.words.first(), Some((Word::Name(name), _)) if name == "else")
}

fn shown(tag: &Tag) -> String {
    let mark = match tag.kind {
        TagKind::Close => "/",
        TagKind::Inverse => "^",
        _ => "",
    };
    let name = match tag.words.first() {
        Some((Word::Name(name), _)) => name.as_str(),
        _ => "",
    };
    format!("{{{{{mark}{name}}}}}")
}

/// The words of a tag, read in order.
struct Words {
    words: Peekable<IntoIter<(Word, usize)>>,
    /// Where the last word stood, or the tag.
    at: usize,
}

impl Words {
    fn of(tag: Tag) -> Words {
        Words {
            words: tag.words.into_iter().peekable(),
            at: tag.at,
        }
    }

    fn next(&mut self) -> Option<Word> {
        let (word, at) = self.words.next()?;
        self.at = at;
        Some(word)
    }

    fn peek(&mut self) -> Option<&Word> {
        self.words.peek().map(|(word, _)| word)
    }

    fn missing(&self) -> ExpressionError {
        ExpressionError::NoName { at: self.at }
    }

    fn end(&mut self) -> Result<(), ExpressionError> {
        match self.next() {
            None => Ok(()),
            Some(_) => Err(ExpressionError::Unsupported("a second argument of a block")),
        }
    }

    fn call(&mut self) -> Result<Call, ExpressionError> {
        let named = |name: String| Path {
            name,
            below: Vec::new(),
            data: false,
        };
        // At the front even a text, a number or `true` is a name.
        let path = match self.argument()? {
            Argument::Path(path) => path,
            Argument::Text(name) | Argument::Number(name) => named(name),
            Argument::True => named("true".to_owned()),
            Argument::False => named("false".to_owned()),
            Argument::Nothing => named("null".to_owned()),
        };
        let mut call = Call {
            path,
            arguments: Vec::new(),
            options: Vec::new(),
        };
        while self.peek().is_some() {
            let argument = self.argument()?;
            if self.peek() == Some(&Word::Equals) {
                self.next();
                let Argument::Path(Path { name, .. }) = argument else {
                    return Err(self.missing());
                };
                let value = self.argument()?;
                call.options.push((name, value));
            } else if call.options.is_empty() {
                call.arguments.push(argument);
            } else {
                return Err(ExpressionError::Unsupported("an argument behind an option"));
            }
        }
        Ok(call)
    }

    fn argument(&mut self) -> Result<Argument, ExpressionError> {
        let mut data = false;
        let first = match self.next() {
            Some(Word::Text(text)) => return Ok(Argument::Text(text)),
            Some(Word::Number(number)) => return Ok(Argument::Number(number)),
            Some(Word::At) => {
                data = true;
                self.next()
            }
            other => other,
        };
        let mut names = match first {
            Some(Word::Name(name)) => vec![name],
            Some(Word::This) if !data => vec!["this".to_owned()],
            // `./name`.
            Some(Word::Separator) if !data => vec!["this".to_owned(), self.name()?],
            _ => return Err(self.missing()),
        };
        while self.peek() == Some(&Word::Separator) {
            self.next();
            names.push(self.name()?);
        }
        if let ([name], false) = (&names[..], data) {
            match name.as_str() {
                "true" => return Ok(Argument::True),
                "false" => return Ok(Argument::False),
                "null" | "undefined" => return Ok(Argument::Nothing),
                _ => {}
            }
        }
        // Both are the place where all names stand.
        if names.len() > 1 && (names[0] == "this" && !data || names[0] == "root" && data) {
            names.remove(0);
            data = false;
        }
        let name = names.remove(0);
        Ok(Argument::Path(Path {
            name,
            below: names,
            data,
        }))
    }

    fn name(&mut self) -> Result<String, ExpressionError> {
        match self.next() {
            Some(Word::Name(name) | Word::Number(name)) => Ok(name),
            // `./name` is lexed as a dot and a slash.
            Some(Word::Separator) => self.name(),
            _ => Err(self.missing()),
        }
    }
}
