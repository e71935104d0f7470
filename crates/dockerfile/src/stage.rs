//! Instructions grouped by FROM.

use crate::ast::{Escape, Tree};
use crate::diagnostic::{Diagnostic, Lines, SyntaxError};
use crate::instruction::{From, Instruction, Kind, parse_instruction};
use crate::parser::parse;
use crate::suggestion::nearest;

/// A whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// ARG before the first FROM: each name with its default and place.
    pub global_args: Vec<(String, Option<String>, Lines)>,
    /// The stages. At least one.
    pub stages: Vec<Stage>,
    /// The escape character.
    pub escape: Escape,
    /// The tree that it was read from.
    pub tree: Tree,
}

/// FROM and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Its FROM.
    pub from: From,
    /// Where FROM stands.
    pub lines: Lines,
    /// FROM as it was written.
    pub original: String,
    /// The instructions after it.
    pub instructions: Vec<Instruction>,
}

impl Dockerfile {
    /// Reads a file.
    pub fn parse(text: &str) -> Result<(Dockerfile, Vec<Diagnostic>), SyntaxError> {
        let (tree, diagnostics) = parse(text)?;
        let mut global_args = Vec::new();
        let mut stages: Vec<Stage> = Vec::new();
        for node in &tree.nodes {
            let instruction = parse_instruction(node)?;
            match (instruction.kind, stages.last_mut()) {
                (Kind::From(from), _) => {
                    let Instruction { lines, original, .. } = instruction;
                    stages.push(Stage {
                        from,
                        lines,
                        original,
                        instructions: Vec::new(),
                    });
                }
                (kind, Some(stage)) => stage.instructions.push(Instruction { kind, ..instruction }),
                (Kind::Arg(args), None) => {
                    global_args.extend(args.into_iter().map(|(name, value)| (name, value, node.lines)));
                }
                (_, None) => {
                    let hint = "begin the file with FROM; only ARG may stand before it";
                    return Err(SyntaxError::new("no build stage in current context")
                        .hint(hint)
                        .at(node.lines));
                }
            }
        }
        if stages.is_empty() {
            return Err(SyntaxError::new("dockerfile contains no stages to build").hint("add a FROM instruction"));
        }
        let escape = tree.escape;
        Ok((
            Dockerfile {
                global_args,
                stages,
                escape,
                tree,
            },
            diagnostics,
        ))
    }

    /// The position of a stage by its name or number; only those before `before` count.
    pub fn stage(&self, name: &str, before: usize) -> Option<usize> {
        let lower = name.to_lowercase();
        let named = self.stages[..before.min(self.stages.len())]
            .iter()
            .rposition(|stage| stage.from.name.as_deref() == Some(&lower));
        named.or_else(|| {
            name.parse()
                .ok()
                .filter(|number| *number < before && *number < self.stages.len())
        })
    }

    /// The names of all stages.
    pub fn stage_names(&self) -> impl Iterator<Item = &str> {
        self.stages.iter().filter_map(|stage| stage.from.name.as_deref())
    }

    /// The position of the wanted stage; the last one if none is named.
    pub fn target(&self, name: Option<&str>) -> Result<usize, SyntaxError> {
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Ok(self.stages.len() - 1);
        };
        self.stage(name, self.stages.len()).ok_or_else(|| {
            let meant = nearest(name, self.stage_names())
                .map(|known| format!(" (did you mean {known}?)"))
                .unwrap_or_default();
            let error = SyntaxError::new(format!("target stage {name:?} could not be found{meant}"));
            let names: Vec<String> = self.stage_names().map(|name| format!("`{name}`")).collect();
            if names.is_empty() {
                error.hint("this Dockerfile has no named stage: give one a name with `FROM … AS name`")
            } else {
                error.hint(format!("the stages of this Dockerfile are: {}", names.join(", ")))
            }
        })
    }
}
