//! COPY and ADD.

use crate::ast::{Heredoc, Node};
use crate::diagnostic::SyntaxError;
use crate::instruction::Copy;
use crate::instruction::flags::{FlagKind, Flags};
use crate::parser::parse_heredoc;

pub(crate) fn parse(node: &Node, add: bool) -> Result<Copy, SyntaxError> {
    use FlagKind::{Bool, Repeated, Text};
    let name = if add { "ADD" } else { "COPY" };
    let known: &[(&str, FlagKind)] = if add {
        &[
            ("chown", Text),
            ("chmod", Text),
            ("link", Bool),
            ("exclude", Repeated),
            ("checksum", Text),
            ("keep-git-dir", Bool),
            ("unpack", Bool),
        ]
    } else {
        &[
            ("from", Text),
            ("chown", Text),
            ("chmod", Text),
            ("link", Bool),
            ("parents", Bool),
            ("exclude", Repeated),
        ]
    };
    if node.arguments.len() < 2 {
        let message = format!(
            "{name} requires at least two arguments, but only one was provided. Destination could not be determined"
        );
        return Err(SyntaxError::new(message));
    }
    let flags = Flags::parse(&node.flags, known)?;
    let (sources, heredocs, destination) = sources(node, name)?;
    Ok(Copy {
        add,
        sources,
        heredocs,
        destination,
        from: flags.text("from"),
        chown: flags.text("chown"),
        chmod: flags.text("chmod"),
        link: flags.bool("link").unwrap_or(false),
        parents: flags.bool("parents").unwrap_or(false),
        exclude: flags.list("exclude"),
        checksum: flags.text("checksum"),
        keep_git_directory: flags.bool("keep-git-dir"),
        unpack: flags.bool("unpack"),
    })
}

fn sources(node: &Node, name: &str) -> Result<(Vec<String>, Vec<Heredoc>, String), SyntaxError> {
    let Some((destination, written)) = node.arguments.split_last() else {
        return Err(SyntaxError::new(format!("{name} requires at least two arguments")));
    };
    let heredoc = |word: &str| -> Result<Option<Heredoc>, SyntaxError> {
        if node.json || node.heredocs.is_empty() {
            return Ok(None);
        }
        parse_heredoc(word).map_err(|error| SyntaxError::new(error.to_string()))
    };
    if heredoc(destination)?.is_some() {
        return Err(SyntaxError::new(format!(
            "{name} cannot accept a heredoc as a destination"
        )));
    }
    let mut sources = Vec::new();
    let mut heredocs = Vec::new();
    for word in written {
        match heredoc(word)? {
            None => sources.push(word.clone()),
            Some(opened) => {
                let mut known = node.heredocs.iter().filter(|known| known.name == opened.name);
                let mut found = known
                    .next()
                    .cloned()
                    .ok_or_else(|| SyntaxError::new("unterminated heredoc"))?;
                if found.chomp {
                    found.content = without_tabs(&found.content);
                }
                heredocs.push(found);
            }
        }
    }
    Ok((sources, heredocs, destination.clone()))
}

/// A here-document of the form `<<-` without the tabs at the beginning of its lines.
pub(crate) fn without_tabs(content: &str) -> String {
    content
        .split_inclusive('\n')
        .map(|line| line.trim_start_matches('\t'))
        .collect()
}
