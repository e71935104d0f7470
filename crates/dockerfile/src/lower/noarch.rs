//! `# kiln: noarch`: a layer that its author says is the same for every platform.
//!
//! The instruction is lowered once, in its stage as that is for the build platform, where it runs natively. Every other
//! platform gets the layer that comes of it on top of its own root: [`Op::Graft`]. The step sees nothing that differs
//! between platforms: an instruction that names such a variable is refused, and the others are hidden from it.

use std::collections::BTreeSet;

use kiln_graph::{Op, VertexId, VertexMeta};
use kiln_oci::config::History;

use crate::diagnostic::SyntaxError;
use crate::instruction::{Instruction, Kind};
use crate::lower::stage::Builder;
use crate::lower::{Lowerer, architecture};

/// What an instruction came to in its stage for the build platform.
#[derive(Debug, Clone)]
pub(super) struct Made {
    /// The root before it.
    below: VertexId,
    /// The root after it: one layer more.
    vertex: VertexId,
    history: Vec<History>,
}

/// Whether a variable is the target platform's own.
pub(super) fn is_of_target(name: &str) -> bool {
    const NAMES: [&str; 5] = [
        "TARGETPLATFORM",
        "TARGETOS",
        "TARGETOSVERSION",
        "TARGETARCH",
        "TARGETVARIANT",
    ];
    NAMES.contains(&name) || (name.starts_with("TARGET") && architecture::is_extension(name))
}

/// Whether an instruction makes a layer that such a promise can be about.
pub(crate) fn makes_layer(kind: &Kind) -> bool {
    matches!(kind, Kind::Run(_) | Kind::Copy(_))
}

impl Lowerer<'_> {
    /// False: an image that it needs is not resolved yet.
    pub(super) fn noarch(
        &mut self,
        builder: &mut Builder,
        position: usize,
        instruction: &Instruction,
    ) -> Result<bool, SyntaxError> {
        check_reads(builder, instruction)?;
        let home = self.request.build_platform.clone();
        if builder.target_platform == home {
            let below = builder.vertex.clone();
            let lines = builder.config.history.len();
            builder.noarch = true;
            let done = self.instruction(builder, instruction);
            builder.noarch = false;
            if done? {
                let made = Made {
                    below,
                    vertex: builder.vertex.clone(),
                    history: builder.config.history[lines..].to_vec(),
                };
                self.noarch.insert((builder.number, position), made);
                return Ok(true);
            }
            return Ok(false);
        }
        if builder.target_platform.os != home.os {
            let message = format!(
                "the step is marked `noarch`, but a layer made for {} cannot be one for {}",
                home.os, builder.target_platform.os
            );
            return Err(
                SyntaxError::new(message).hint("leave out `# kiln: noarch`, or build for these platforms apart")
            );
        }
        let key = (builder.number, position);
        if !self.noarch.contains_key(&key) {
            self.lower_stage(builder.number, &home, Some(position))?;
        }
        let Some(made) = self.noarch.get(&key).cloned() else {
            return Ok(false);
        };
        builder.config.history.extend(made.history);
        self.graph.also_for(&made.vertex, &builder.target_platform);
        // A stage that is the same for both needs nothing of its own.
        if made.below == builder.vertex {
            builder.steps.0 += 1;
            builder.vertex = made.vertex;
            return Ok(true);
        }
        let name = format!("{} (layer of {home})", instruction.original);
        let meta = VertexMeta {
            noarch: true,
            // The instruction is the one that ran: this only puts its layer in place.
            step: None,
            ..self.meta(builder, name, instruction.lines)
        };
        builder.vertex = self
            .graph
            .add(Op::Graft, vec![builder.vertex.clone(), made.vertex], meta);
        Ok(true)
    }
}

/// A layer that is the same for all cannot be made of what differs.
fn check_reads(builder: &Builder, instruction: &Instruction) -> Result<(), SyntaxError> {
    let heredocs = match &instruction.kind {
        Kind::Run(run) => run.heredocs.as_slice(),
        Kind::Copy(copy) => copy.heredocs.as_slice(),
        _ => &[],
    };
    let texts = heredocs.iter().map(|heredoc| heredoc.content.as_str());
    let texts: Vec<&str> = texts.chain([instruction.original.as_str()]).collect();
    let read = texts
        .iter()
        .flat_map(|text| variables_of(text))
        .find(|name| builder.differs(name));
    let Some(name) = read else { return Ok(()) };
    let message = format!("the step is marked `noarch`, but reads `${name}`, which differs between platforms");
    Err(SyntaxError::new(message).hint("leave out `# kiln: noarch`: a step that reads the platform runs once for each"))
}

/// The names behind `$` and `${`.
fn variables_of(text: &str) -> impl Iterator<Item = &str> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    text.split('$').skip(1).map(move |rest| {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        &rest[..rest.find(|letter| !is_name(letter)).unwrap_or(rest.len())]
    })
}

impl Builder {
    /// Whether the value of a variable differs between platforms: it is the platform's own, or made of such a one.
    pub(super) fn differs(&self, name: &str) -> bool {
        is_of_target(name) || self.differing.contains(name)
    }

    /// Notes a variable whose value was made of others.
    pub(super) fn made_of(&mut self, name: &str, parts: &BTreeSet<String>) {
        self.made_of_each([(&name.to_owned(), parts)].into_iter());
    }

    /// The same for several, all made of what held before.
    pub(super) fn made_of_each<'a>(&mut self, all: impl Iterator<Item = (&'a String, &'a BTreeSet<String>)>) {
        let before = self.differing.clone();
        let differs = |part: &String| is_of_target(part) || before.contains(part);
        for (name, parts) in all {
            if parts.iter().any(differs) {
                self.differing.insert(name.clone());
            } else {
                self.differing.remove(name);
            }
        }
    }

    /// Whether the step that is being lowered sees a variable.
    pub(super) fn shows(&self, name: &str) -> bool {
        !self.noarch || !self.differs(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_a_shell_does() {
        let names: Vec<&str> = variables_of("echo $A-${B:-$C} $$ \"$D_1\"$").collect();
        assert_eq!(names, ["A", "B", "C", "", "", "D_1", ""]);
        assert!(is_of_target("TARGETARCH") && is_of_target("TARGETARCH_UNAME"));
        assert!(!is_of_target("BUILDARCH") && !is_of_target("TARGETSTAGE") && !is_of_target("TARGET"));
    }
}
