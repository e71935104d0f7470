//! Targets and groups: matrices, names, attributes.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::model::{Config, Group, TARGET_ATTRIBUTES, Target, decode_attribute, target_value, texts};
use crate::syntax::{Attribute, Block};
use crate::value::{Entries, Type, Value, convert};

use super::attributes::rebased;
use super::evaluation::{Evaluation, Failure, only_known};
use super::files::renamed;

/// A matrix may stand for this many targets at most.
const LARGEST_MATRIX: usize = 10_000;

/// Attributes of which the peer takes what it can evaluate. Of all others it also counts that they have no value.
const ENTRIES: [&str; 6] = ["attest", "cache-from", "cache-to", "output", "policy", "secret"];

/// A block while it is evaluated: of a matrix, several targets at once.
pub(super) struct BlockState<'a> {
    pub(super) block: &'a Block,
    directory: Option<String>,
    /// None until the matrix was evaluated.
    variants: Option<Vec<Variant>>,
}

/// Values that only one target of a matrix sees.
type Names = Vec<(Arc<str>, Value)>;

/// One of the targets that a block stands for.
#[derive(Default)]
struct Variant {
    name: String,
    scope: Names,
    target: Target,
    group: Group,
    done: HashSet<Arc<str>>,
    in_progress: HashSet<Arc<str>>,
}

impl<'a> BlockState<'a> {
    pub(super) fn new(block: &'a Block, directory: Option<&str>) -> BlockState<'a> {
        BlockState {
            block,
            directory: directory.map(str::to_owned),
            variants: None,
        }
    }

    fn is_target(&self) -> bool {
        &*self.block.kind == "target"
    }
}

impl<'a> Evaluation<'a> {
    /// Finds out which targets there are.
    pub(super) fn name_blocks(&mut self, config: &mut Config) -> Result<(), Diagnostics> {
        let mut by_label: Vec<(String, Vec<String>)> = Vec::new();
        for number in 0..self.blocks.len() {
            let block = self.blocks[number].block;
            let label = &block.labels[0];
            let names = self
                .names_of(number)
                .map_err(|failure| failure.at("Invalid name", label.span))?;
            for name in &names {
                let key = (block.kind.clone(), name.clone());
                self.named_blocks.entry(key).or_default().push(number);
            }
            if &*block.kind == "target" {
                match by_label.iter_mut().find(|(known, _)| **known == *label.text) {
                    Some((_, known)) => known.extend(names),
                    None => by_label.push((label.text.to_string(), names)),
                }
            }
        }
        for (label, names) in by_label {
            renamed(config, &label, names);
        }
        self.blocks_are_named = true;
        Ok(())
    }

    fn names_of(&mut self, number: usize) -> Result<Vec<String>, Failure> {
        let block = self.blocks[number].block;
        let label = &block.labels[0];
        let is_target = self.blocks[number].is_target();
        let matrix = block.body.attribute("matrix");
        let name = block.body.attribute("name");
        if !is_target && (matrix.is_some() || name.is_some()) {
            let what = if matrix.is_some() { "matrix" } else { "name" };
            return Err(Failure::Plain(format!("{what} is not supported for groups")));
        }
        let scopes = match matrix {
            Some(matrix) => self.matrix(matrix)?,
            None => vec![Vec::new()],
        };
        let mut variants = Vec::new();
        let mut seen = HashSet::new();
        for scope in scopes {
            validate_name(&label.text)?;
            let found = match name {
                None => label.text.to_string(),
                Some(_) if matrix.is_none() => return Err(Failure::Plain("name requires matrix".to_owned())),
                Some(name) => {
                    self.load(&name.value, &scope, true)?;
                    let value = self.evaluate(&name.value, &scope)?;
                    match convert(&value, &Type::String) {
                        Ok(Value::String(name)) => name.to_string(),
                        Ok(_) => return Err(Failure::Plain("the name is null".to_owned())),
                        Err(error) => return Err(Failure::Plain(error.message)),
                    }
                }
            };
            validate_name(&found)?;
            if !seen.insert(found.clone()) {
                return Err(Failure::Plain(format!("duplicate name {found:?}")));
            }
            variants.push(Variant {
                target: Target {
                    name: found.clone(),
                    context_base: self.blocks[number].directory.clone(),
                    ..Target::default()
                },
                group: Group {
                    name: found.clone(),
                    ..Group::default()
                },
                name: found,
                scope,
                ..Variant::default()
            });
        }
        let names = variants.iter().map(|variant| variant.name.clone()).collect();
        self.blocks[number].variants = Some(variants);
        Ok(names)
    }

    /// Every combination of the values of a matrix. The first name changes fastest.
    fn matrix(&mut self, matrix: &Attribute) -> Result<Vec<Names>, Failure> {
        self.load(&matrix.value, &[], true)?;
        let value = self.evaluate(&matrix.value, &[])?;
        let Some(axes) = value.entries() else {
            return Err(Failure::Plain("matrix must be a map".to_owned()));
        };
        let mut scopes: Vec<Names> = vec![Vec::new()];
        for (name, axis) in axes.iter() {
            let Some(values) = axis.pairs() else {
                return Err(Failure::Plain("matrix values must be a list".to_owned()));
            };
            if scopes.len().saturating_mul(values.len()) > LARGEST_MATRIX {
                return Err(Failure::Plain(format!(
                    "a matrix may stand for {LARGEST_MATRIX} targets at most"
                )));
            }
            scopes = values
                .iter()
                .flat_map(|(_, value)| {
                    scopes.iter().map(move |scope| {
                        let mut longer = scope.clone();
                        longer.push((name.clone(), value.clone()));
                        longer
                    })
                })
                .collect();
        }
        Ok(scopes)
    }

    /// Evaluates all blocks, and adds what they say to the configuration.
    pub(super) fn resolve_blocks(&mut self, config: &mut Config) -> Result<(), Diagnostics> {
        let mut wrong = Vec::new();
        for number in 0..self.blocks.len() {
            match self.resolve_block(number, None) {
                Ok(()) => {}
                Err(Failure::Diagnosed(found)) => {
                    wrong.extend(found.into_vec());
                    continue;
                }
                Err(failure) => {
                    let block = self.blocks[number].block;
                    return Err(failure.at("Invalid block", block.labels[0].span));
                }
            }
            let is_target = self.blocks[number].is_target();
            for variant in self.blocks[number].variants.iter().flatten() {
                if is_target {
                    config.add_target(variant.target.clone());
                } else {
                    config.set_group(variant.group.clone());
                }
            }
        }
        match Diagnostics::some(wrong) {
            Some(wrong) => Err(wrong),
            None => Ok(()),
        }
    }

    /// Evaluates a block, or only the attribute of a name in it.
    pub(super) fn resolve_block(&mut self, number: usize, only: Option<&Arc<str>>) -> Result<(), Failure> {
        let block = self.blocks[number].block;
        let is_target = self.blocks[number].is_target();
        if only.is_none() {
            let known: &[&str] = if is_target {
                &TARGET_ATTRIBUTES
            } else {
                &["description", "targets"]
            };
            only_known(&block.body, known, &[])?;
            if !is_target && block.body.attribute("targets").is_none() {
                let detail = "The argument \"targets\" is required, but no definition was found.";
                let diagnostic = Diagnostic::new("Missing required argument", detail, block.body.missing);
                return Err(Diagnostics::from(diagnostic).into());
            }
        }
        let count = self.blocks[number].variants.as_ref().map_or(0, Vec::len);
        for at in 0..count {
            self.resolve_variant(number, at, block, only)?;
        }
        Ok(())
    }

    fn variant(&mut self, number: usize, at: usize) -> Option<&mut Variant> {
        self.blocks[number].variants.as_mut()?.get_mut(at)
    }

    fn resolve_variant(
        &mut self,
        number: usize,
        at: usize,
        block: &'a Block,
        only: Option<&Arc<str>>,
    ) -> Result<(), Failure> {
        let Some(variant) = self.variant(number, at) else {
            return Ok(());
        };
        let scope = variant.scope.clone();
        if let Some(name) = only {
            if variant.done.contains(name) {
                return Ok(());
            }
            if !variant.in_progress.insert(name.clone()) {
                let message = format!("reference cycle not allowed for {}.{}.{name}", block.kind, variant.name);
                return Err(Failure::Plain(message));
            }
        }
        let wanted = |attribute: &&Attribute| only.is_none_or(|only| *only == attribute.name);
        let mut wrong = Vec::new();
        for attribute in block.body.attributes.iter().filter(wanted) {
            let decides = ["matrix", "name"].contains(&&*attribute.name);
            let done = self
                .variant(number, at)
                .is_some_and(|variant| variant.done.contains(&attribute.name));
            if decides || done {
                continue;
            }
            self.load(&attribute.value, &scope, true)?;
            match self.evaluate(&attribute.value, &scope) {
                Ok(value) => {
                    if let Err(diagnostic) = self.set(number, at, attribute, &value) {
                        wrong.push(diagnostic);
                    }
                }
                Err(found) => {
                    wrong.extend(found.into_vec());
                    if !ENTRIES.contains(&&*attribute.name) {
                        let detail = "Unsuitable value: value must be known";
                        wrong.push(Diagnostic {
                            consequence: true,
                            ..Diagnostic::new("Unsuitable value type", detail, attribute.value.start_span())
                        });
                    }
                }
            }
        }
        if let (Some(only), Some(variant)) = (only, self.variant(number, at)) {
            variant.done.insert(only.clone());
        }
        match Diagnostics::some(wrong) {
            Some(wrong) => Err(wrong.into()),
            None => Ok(()),
        }
    }

    fn set(&mut self, number: usize, at: usize, attribute: &Attribute, value: &Value) -> Result<(), Diagnostic> {
        let directory = self.blocks[number].directory.clone();
        let is_target = self.blocks[number].is_target();
        let Some(variant) = self.variant(number, at) else {
            return Ok(());
        };
        variant.done.insert(attribute.name.clone());
        let decoded = if is_target {
            let decoded = decode_attribute(&mut variant.target, &attribute.name, value);
            if let Some(directory) = directory {
                rebase(&mut variant.target, &attribute.name, &directory);
            }
            decoded
        } else {
            match &*attribute.name {
                "targets" => texts(value).map(|targets| variant.group.targets = targets.unwrap_or_default()),
                _ => convert(value, &Type::String)
                    .map(|text| variant.group.description = text.as_str().unwrap_or_default().to_owned())
                    .map_err(|error| error.message),
            }
        };
        decoded.map_err(|error| {
            Diagnostic::new(
                "Unsuitable value type",
                format!("Unsuitable value: {error}"),
                attribute.value.start_span(),
            )
        })
    }

    /// Makes what is known of a block's targets known to expressions.
    pub(super) fn publish_block(&mut self, number: usize) {
        let kind = self.blocks[number].block.kind.clone();
        let is_target = self.blocks[number].is_target();
        let mut entries: Entries = match self.values.get(&kind) {
            Some(Value::Object(entries)) => (**entries).clone(),
            _ => BTreeMap::new(),
        };
        for variant in self.blocks[number].variants.iter().flatten() {
            let value = if is_target {
                target_value(&variant.target)
            } else {
                let group = [
                    ("name", Value::string(&variant.group.name)),
                    ("description", Value::string(&variant.group.description)),
                    (
                        "targets",
                        Value::strings(variant.group.targets.iter().map(String::as_str)),
                    ),
                ];
                Value::object(group.into_iter().map(|(name, value)| (name.into(), value)).collect())
            };
            entries.insert(variant.name.as_str().into(), value);
        }
        self.values.insert(kind, Value::object(entries));
    }
}

fn rebase(target: &mut Target, attribute: &str, directory: &str) {
    match attribute {
        "context" => {
            if let Some(context) = &mut target.context {
                *context = rebased(context, directory);
            }
        }
        "contexts" => {
            for context in target.contexts.values_mut() {
                *context = rebased(context, directory);
            }
        }
        _ => {}
    }
}

/// What names of targets and groups consist of.
const NAME_LETTERS: &str = "[a-zA-Z0-9_-]+";

fn validate_name(name: &str) -> Result<(), Failure> {
    if is_target_name(name) {
        Ok(())
    } else {
        Err(Failure::Plain(format!("only {NAME_LETTERS:?} are allowed")))
    }
}

/// Whether a target may be called so.
pub(crate) fn is_target_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == b'_' || letter == b'-')
}
