//! COPY and ADD.

use kiln_graph::{CopyAction, FileAction, FileOp, Op, Owner, VertexId, VertexMeta};

use crate::diagnostic::SyntaxError;
use crate::expand::Expander;
use crate::instruction::{Copy, Instruction};
use crate::lint::Rule;
use crate::lower::remote_source::{RemoteSource, remote_source};
use crate::lower::run::workdir_of;
use crate::lower::stage::{Builder, FileOrigin};
use crate::lower::workdir::with_slashes;
use crate::lower::{Lowerer, history, workdir};
use crate::path_pattern;

impl Lowerer<'_> {
    /// False: an image that it copies from is not resolved yet.
    pub(super) fn copy(
        &mut self,
        builder: &mut Builder,
        copy: &Copy,
        instruction: &Instruction,
    ) -> Result<bool, SyntaxError> {
        let expander = self.expander();
        let text = |builder: &Builder, text: &String| builder.expanded(expander, text).map(|expanded| expanded.text);
        let option =
            |builder: &Builder, value: &Option<String>| value.as_ref().map(|value| text(builder, value)).transpose();
        let sources: Vec<String> = copy
            .sources
            .iter()
            .map(|source| text(builder, source))
            .collect::<Result<_, _>>()?;
        let written_destination = text(builder, &copy.destination)?;
        let destination = destination(builder, &written_destination)?;
        let chown = option(builder, &copy.chown)?;
        let chmod = option(builder, &copy.chmod)?;
        let exclude: Vec<String> = copy
            .exclude
            .iter()
            .map(|pattern| text(builder, pattern))
            .collect::<Result<_, _>>()?;
        if let Some(mode) = &chmod {
            check_mode(mode)?;
        }
        let several = sources.len() + copy.heredocs.len() > 1;
        if several && !destination.ends_with('/') && !written_destination.ends_with("/.") {
            let name = if copy.add { "ADD" } else { "COPY" };
            let message = format!(
                "When using {name} with more than one source file, the destination must be a directory and end with a /"
            );
            return Err(SyntaxError::new(message));
        }
        // A mode that is set needs the copy to know what is below, as with the peers: the layer is no link then.
        let link = copy.link && chmod.is_none();
        let base = if link { self.scratch() } else { builder.vertex.clone() };
        let mut inputs = vec![base];
        let mut actions = Vec::new();
        let owner = chown.clone().map(|text| Owner { text, lenient: false });
        if copy.checksum.is_some() && several {
            return Err(SyntaxError::new("checksum can't be specified for multiple sources"));
        }
        let checksum = option(builder, &copy.checksum)?;
        for source in &sources {
            let remote = if copy.add {
                remote_source(source, copy, checksum.as_deref())?
            } else {
                None
            };
            if remote.is_none() && copy.checksum.is_some() {
                return Err(SyntaxError::new("checksum can't be specified for local files"));
            }
            let mut action = CopyAction {
                input: 0,
                source: String::new(),
                destination: destination.clone(),
                owner: owner.clone(),
                chmod: chmod.clone(),
                wildcard: false,
                allow_empty: true,
                unpack: false,
                unpack_required: false,
                parents: copy.parents,
                exclude: exclude.clone(),
                follow_links: true,
                keep_times: true,
                written: source.clone(),
            };
            let vertex = match remote {
                Some(RemoteSource::Git(git)) => {
                    action.keep_times = git.commit_times;
                    self.git(git)
                }
                Some(RemoteSource::Http(http)) => {
                    action.source.clone_from(&http.filename);
                    action.unpack = copy.unpack == Some(true);
                    if !action.unpack && chmod.is_none() {
                        action.chmod = Some("0600".to_owned());
                    }
                    self.http(http)
                }
                None => {
                    let vertex = match self.source(builder, copy, instruction)? {
                        FileOrigin::Vertex(vertex) => vertex,
                        FileOrigin::Pending => return Ok(false),
                    };
                    if copy.from.is_none() {
                        self.check_ignored(source, instruction);
                    }
                    action.source = relative(source);
                    action.wildcard = true;
                    action.unpack = copy.add && copy.unpack.unwrap_or(true);
                    action.keep_times = copy.from.is_none() && self.context_keeps_times();
                    vertex
                }
            };
            action.input = position(&mut inputs, vertex);
            actions.push(FileAction::Copy(action));
        }
        for heredoc in &copy.heredocs {
            let content = if heredoc.expand {
                let expander = Expander {
                    raw_quotes: true,
                    skip_quotes: true,
                    ..expander
                };
                builder.expanded(expander, &heredoc.content)?.text
            } else {
                heredoc.content.clone()
            };
            actions.push(FileAction::MakeFile {
                destination: destination.clone(),
                name: heredoc.name.clone(),
                content,
                chmod: chmod.clone(),
                owner: owner.clone(),
            });
        }
        let meta = self.meta(builder, instruction.original.clone(), instruction.lines);
        let op = FileOp {
            actions,
            epoch: self.request.epoch(),
        };
        let copied = self.graph.add(Op::File(op), inputs, meta.clone());
        builder.vertex = if link {
            self.graph.add(
                Op::Merge,
                vec![builder.vertex.clone(), copied],
                VertexMeta {
                    name: format!("link {}", meta.name),
                    // The instruction is the copy: this only puts its layer in place.
                    step: None,
                    ..meta
                },
            )
        } else {
            copied
        };
        let text = created_by(copy, &sources, chown.as_deref(), chmod.as_deref(), &written_destination);
        history::add_layer(&mut builder.config, text, self.request.time);
        Ok(true)
    }

    fn source(
        &mut self,
        builder: &mut Builder,
        copy: &Copy,
        instruction: &Instruction,
    ) -> Result<FileOrigin, SyntaxError> {
        match &copy.from {
            None => Ok(FileOrigin::Vertex(self.build_context())),
            Some(name) if name.contains('$') => {
                let message = "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround";
                Err(SyntaxError::new(message))
            }
            Some(name) => self.origin(builder, name, instruction.lines, &instruction.original),
        }
    }

    fn check_ignored(&mut self, source: &str, instruction: &Instruction) {
        let cleaned = path_pattern::clean(&format!("/{source}"));
        let cleaned = match cleaned.trim_start_matches('/') {
            "" => ".",
            path => path,
        };
        if self.linter.is_ignored(cleaned) {
            let verb = if instruction.kind.name() == "ADD" {
                "Add"
            } else {
                "Copy"
            };
            let detail = format!("Attempting to {verb} file {cleaned:?} that is excluded by .dockerignore");
            self.linter.report(Rule::CopyIgnoredFile, instruction.place(), detail);
        }
    }
}

/// The position of an input, added if it is not there. The base is never shared with a source.
fn position(inputs: &mut Vec<VertexId>, vertex: VertexId) -> usize {
    if let Some(found) = inputs.iter().skip(1).position(|known| *known == vertex) {
        return found + 1;
    }
    inputs.push(vertex);
    inputs.len() - 1
}

/// Absolute, cleaned, with a slash at the end where it was written so.
fn destination(builder: &Builder, written: &str) -> Result<String, SyntaxError> {
    let system = &builder.platform.os;
    let path = with_slashes(system, &workdir(system, &workdir_of(builder), written)?);
    let last = written.rsplit('/').next().unwrap_or_default();
    let is_directory = written.is_empty() || last.is_empty() || last == "." || last == "..";
    Ok(if is_directory && !path.ends_with('/') {
        format!("{path}/")
    } else {
        path
    })
}

/// A source as a path relative to its root.
fn relative(source: &str) -> String {
    if source.contains("/./") {
        return source.trim_start_matches('/').to_owned();
    }
    path_pattern::clean(&format!("/{source}"))
        .trim_start_matches('/')
        .to_owned()
}

/// Octal modes are checked before anything runs.
fn check_mode(mode: &str) -> Result<(), SyntaxError> {
    let invalid = || {
        SyntaxError::new(format!(
            "invalid chmod parameter: '{mode}'. it should be octal string and between 0 and 07777"
        ))
    };
    if mode.starts_with(|first: char| first.is_ascii_digit()) {
        return match u32::from_str_radix(mode, 8) {
            Ok(bits) if bits <= 0o7777 => Ok(()),
            _ => Err(invalid()),
        };
    }
    if mode.contains(['+', '-', '=']) {
        Ok(())
    } else {
        Err(invalid())
    }
}

fn created_by(copy: &Copy, sources: &[String], chown: Option<&str>, chmod: Option<&str>, destination: &str) -> String {
    let mut text = String::from(if copy.add { "ADD" } else { "COPY" });
    if copy.parents {
        text.push_str(" --parents");
    }
    if let Some(chown) = chown {
        text.push_str(&format!(" --chown={chown}"));
    }
    if let Some(chmod) = chmod {
        text.push_str(&format!(" --chmod={chmod}"));
    }
    for source in sources
        .iter()
        .cloned()
        .chain(copy.heredocs.iter().map(|heredoc| format!("<<{}", heredoc.name)))
    {
        text.push(' ');
        text.push_str(&source);
    }
    text.push(' ');
    text.push_str(destination);
    text
}
