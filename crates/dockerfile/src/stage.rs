//! Instructions grouped by FROM.

use crate::ast::{Escape, Tree};
use crate::diagnostic::{Lines, SyntaxError};
use crate::expand::Expander;
use crate::instruction::{From, Instruction, Kind, parse_instruction};
use crate::lint::{Linter, Place, Rule, check_node, check_stages};
use crate::parser::parse;
use crate::suggestion::nearest;
use kiln_oci::Reference;

/// A whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// ARG before the first FROM.
    pub global_args: Vec<GlobalArg>,
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
    /// Its word as it was written.
    pub keyword: String,
    /// The comment directly above, a line each.
    pub comments: Vec<String>,
    /// The instructions after it.
    pub instructions: Vec<Instruction>,
}

impl Stage {
    /// Where rules find it.
    pub(crate) fn place(&self) -> Place<'_> {
        Place {
            lines: self.lines,
            comments: &self.comments,
        }
    }
}

/// ARG before the first FROM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalArg {
    /// Its name.
    pub name: String,
    /// Its default.
    pub default: Option<String>,
    /// Where it stands.
    pub lines: Lines,
    /// The comment directly above, a line each.
    pub comments: Vec<String>,
}

impl Dockerfile {
    /// Reads a file. What the linter finds on the way it keeps, even if the file turns out to be wrong.
    pub fn parse(text: &str, linter: &mut Linter) -> Result<Dockerfile, SyntaxError> {
        let (tree, diagnostics) = parse(text)?;
        for directive in &tree.directives {
            let at = Lines {
                start: directive.line,
                end: directive.line,
            };
            match directive.name.as_str() {
                "check" => linter.read_directive(&directive.value).map_err(|error| error.at(at))?,
                "syntax" => check_frontend(&directive.value).map_err(|error| error.at(at))?,
                _ => {}
            }
        }
        for lines in diagnostics.iter().filter_map(|diagnostic| diagnostic.lines) {
            let place = Place { lines, comments: &[] };
            linter.report(Rule::NoEmptyContinuation, place, "Empty continuation line".into());
        }
        let mut global_args = Vec::new();
        let mut stages: Vec<Stage> = Vec::new();
        for node in &tree.nodes {
            check_node(linter, node);
            let instruction = parse_instruction(node)?;
            match (instruction.kind, stages.last_mut()) {
                (Kind::From(from), _) => {
                    let Instruction {
                        lines,
                        original,
                        keyword,
                        comments,
                        ..
                    } = instruction;
                    stages.push(Stage {
                        from,
                        lines,
                        original,
                        keyword,
                        comments,
                        instructions: Vec::new(),
                    });
                }
                (kind, Some(stage)) => stage.instructions.push(Instruction { kind, ..instruction }),
                (Kind::Arg(args), None) => {
                    global_args.extend(args.into_iter().map(|(name, default)| GlobalArg {
                        name,
                        default,
                        lines: node.lines,
                        comments: node.comments.clone(),
                    }));
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
        check_stages(linter, &stages);
        let escape = tree.escape;
        Ok(Dockerfile {
            global_args,
            stages,
            escape,
            tree,
        })
    }

    /// How the words of this file are expanded.
    pub(crate) fn expander(&self) -> Expander {
        Expander::new(self.escape.character())
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

/// Repositories of the frontend that Kiln's own language is equal to.
const FRONTENDS: [&str; 4] = [
    "docker.io/docker/dockerfile",
    "docker.io/docker/dockerfile-upstream",
    "docker.io/dockerfile/dockerfile",
    "docker.io/dockerfile/dockerfile-upstream",
];

/// `syntax=` may name Docker's own frontend, of any version: its language is built in. Another frontend is a
/// program that reads another language.
pub fn check_frontend(value: &str) -> Result<(), SyntaxError> {
    let image = value.split_whitespace().next().unwrap_or_default();
    let known = Reference::parse_normalized(image).is_ok_and(|reference| {
        let name = reference.without_tag_and_digest().to_string();
        FRONTENDS.contains(&name.as_str())
            || name.ends_with("/docker/dockerfile")
            || name.ends_with("/docker/dockerfile-upstream")
    });
    if known {
        return Ok(());
    }
    Err(SyntaxError::new(format!(
        "the frontend `{image}` is not Docker's, and other frontends cannot be run"
    ))
    .hint("write `# syntax=docker/dockerfile:1`, or leave the line out: the language of Docker's frontend is built in"))
}
