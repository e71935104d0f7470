//! The order in which a definition is evaluated.
//!
//! Variables, attributes, functions and targets may name each other in any order. Whatever an expression names is
//! evaluated before it (see `load`), and what is being evaluated while it is asked for again is a cycle.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Diagnostics, suggestion};
use crate::eval::{Budget, Context, Evaluated, Reference, Scope, UserFunction, references};
use crate::functions;
use crate::model::Config;
use crate::source::{Sources, Span};
use crate::syntax::{Attribute, Block, Body, Expr};
use crate::value::Value;

use super::blocks::BlockState;
use super::{Inputs, Variable};

/// Names may refer to each other only so deeply.
const LONGEST_CHAIN: usize = 400;

/// Why something could not be evaluated.
pub(super) enum Failure {
    /// It is not defined. Then the place that names it says so better.
    Undefined(String),
    /// A message without a place.
    Plain(String),
    /// With a place.
    Diagnosed(Diagnostics),
}

impl Failure {
    /// As a diagnostic; a message without a place gets this one.
    pub(super) fn at(self, summary: &str, span: Span) -> Diagnostics {
        match self {
            Failure::Undefined(message) | Failure::Plain(message) => Diagnostic::new(summary, message, span).into(),
            Failure::Diagnosed(diagnostics) => diagnostics,
        }
    }
}

impl From<Diagnostics> for Failure {
    fn from(diagnostics: Diagnostics) -> Failure {
        Failure::Diagnosed(diagnostics)
    }
}

/// A definition while it is evaluated.
pub(super) struct Evaluation<'a> {
    pub(super) inputs: &'a Inputs<'a>,
    sources: &'a Sources,
    /// What is known by now.
    pub(super) values: HashMap<Arc<str>, Value>,
    functions: HashMap<Arc<str>, Arc<UserFunction>>,
    /// Variables in the order of the files; the last of a name counts.
    pub(super) variables: Vec<(Arc<str>, &'a Block)>,
    pub(super) attributes: Vec<(Arc<str>, &'a Attribute)>,
    function_blocks: Vec<(Arc<str>, &'a Block)>,
    pub(super) blocks: Vec<BlockState<'a>>,
    /// Blocks by kind and name.
    pub(super) named_blocks: HashMap<(Arc<str>, String), Vec<usize>>,
    pub(super) blocks_are_named: bool,
    values_in_progress: HashSet<Arc<str>>,
    functions_in_progress: HashSet<Arc<str>>,
    chain: usize,
    budget: Budget,
    pub(super) warnings: Vec<Diagnostic>,
}

impl<'a> Evaluation<'a> {
    /// Sorts what stands in the files.
    pub(super) fn new(
        bodies: &'a [(Body, Option<String>)],
        sources: &'a Sources,
        inputs: &'a Inputs<'a>,
    ) -> Result<Evaluation<'a>, Diagnostics> {
        let mut evaluation = Evaluation {
            inputs,
            sources,
            values: HashMap::new(),
            functions: HashMap::new(),
            variables: Vec::new(),
            attributes: Vec::new(),
            function_blocks: Vec::new(),
            blocks: Vec::new(),
            named_blocks: HashMap::new(),
            blocks_are_named: false,
            values_in_progress: HashSet::new(),
            functions_in_progress: HashSet::new(),
            chain: 0,
            budget: Budget::default(),
            warnings: Vec::new(),
        };
        for (body, directory) in bodies {
            for block in &body.blocks {
                evaluation.sort_block(block, directory.as_deref())?;
            }
            for attribute in &body.attributes {
                let name = &attribute.name;
                if ["group", "target", "variable", "function"].contains(&&**name)
                    || inputs.built_in.contains_key(&**name)
                {
                    continue;
                }
                put(&mut evaluation.attributes, name, attribute);
            }
        }
        Ok(evaluation)
    }

    fn sort_block(&mut self, block: &'a Block, directory: Option<&str>) -> Result<(), Diagnostics> {
        let kinds = ["group", "target", "variable", "function"];
        if !kinds.contains(&&*block.kind) {
            // The peer passes over them too, so that files of other tools can be read.
            let mut warning = Diagnostic::new(
                "Unknown block",
                format!("Blocks of type {:?} are not known and have no effect.", block.kind),
                block.span,
            );
            if let Some(meant) = suggestion(&block.kind, kinds) {
                warning = warning.hint(format!("did you mean `{meant}`?"));
            }
            self.warnings.push(warning);
            return Ok(());
        }
        let [label] = block.labels.as_slice() else {
            let labels: Vec<&str> = block.labels.iter().map(|label| &*label.text).collect();
            return Err(Diagnostic::new(
                "Invalid block",
                format!("invalid block label: [{}]", labels.join(" ")),
                block.labels.get(1).map_or(block.span, |label| label.span),
            )
            .hint(format!(
                "a {} has one name: {} \"NAME\" {{ … }}",
                block.kind, block.kind
            ))
            .into());
        };
        let reserved = ["group", "target"].contains(&&*label.text) || self.inputs.built_in.contains_key(&*label.text);
        match &*block.kind {
            "variable" if !reserved => put(&mut self.variables, &label.text, block),
            "function" if !reserved => put(&mut self.function_blocks, &label.text, block),
            "group" | "target" => self.blocks.push(BlockState::new(block, directory)),
            _ => {}
        }
        Ok(())
    }

    /// Evaluates everything.
    pub(super) fn run(mut self, config: &mut Config) -> Result<(Vec<Variable>, Vec<Diagnostic>), Diagnostics> {
        let built_in: Vec<(Arc<str>, Value)> = self
            .inputs
            .built_in
            .iter()
            .map(|(name, value)| (name.as_str().into(), Value::string(value)))
            .collect();
        self.values.extend(built_in);
        let variables = self.resolve_variables()?;
        self.resolve_functions()?;
        self.name_blocks(config)?;
        self.resolve_blocks(config)?;
        self.resolve_attributes()?;
        Ok((variables, self.warnings))
    }

    fn resolve_functions(&mut self) -> Result<(), Diagnostics> {
        for (name, block) in self.function_blocks.clone() {
            if let Err(failure) = self.resolve_function(&name) {
                let place = match (block.body.attribute("params"), block.labels.first()) {
                    (Some(parameters), _) => parameters.span,
                    (None, Some(label)) => label.span,
                    (None, None) => block.span,
                };
                return Err(failure.at("Invalid function", place));
            }
        }
        Ok(())
    }

    fn resolve_attributes(&mut self) -> Result<(), Diagnostics> {
        for (name, attribute) in self.attributes.clone() {
            if let Err(failure) = self.resolve_value(&name) {
                return Err(failure.at("Invalid attribute", attribute.span));
            }
        }
        Ok(())
    }

    /// The value of an expression, once everything that it names is there.
    pub(super) fn evaluate(&self, expr: &Expr, names: &[(Arc<str>, Value)]) -> Evaluated {
        let context = Context {
            variables: &self.values,
            functions: &self.functions,
            sources: self.sources,
            host: &self.inputs.host,
            budget: &self.budget,
        };
        context.evaluate(expr, &Scope::of(names))
    }

    /// Evaluates what an expression names, as far as it is not bound in it. What is not defined is left to evaluation to
    /// complain about if `allow_missing` says so: it may stand where it is not evaluated.
    pub(super) fn load(
        &mut self,
        expr: &Expr,
        bound: &[(Arc<str>, Value)],
        allow_missing: bool,
    ) -> Result<(), Diagnostics> {
        self.chain += 1;
        let loaded = if self.chain > LONGEST_CHAIN {
            let detail = format!("Names refer to each other more than {LONGEST_CHAIN} levels deep.");
            Err(Diagnostic::new("Invalid expression", detail, expr.span).into())
        } else {
            self.load_all(expr, bound, allow_missing)
        };
        self.chain -= 1;
        loaded
    }

    fn load_all(&mut self, expr: &Expr, bound: &[(Arc<str>, Value)], allow_missing: bool) -> Result<(), Diagnostics> {
        let found = references(expr);
        for (name, span) in &found.functions {
            match self.resolve_function(name) {
                Ok(()) => {}
                Err(Failure::Undefined(_)) if allow_missing => {}
                Err(failure) => return Err(failure.at("Invalid expression", *span)),
            }
        }
        for reference in &found.variables {
            if bound.iter().any(|(name, _)| *name == reference.root) {
                continue;
            }
            let loaded = if self.blocks_are_named && ["group", "target"].contains(&&*reference.root) {
                self.load_block(reference)
            } else {
                self.resolve_value(&reference.root)
            };
            match loaded {
                Ok(()) => {}
                Err(Failure::Undefined(_)) if allow_missing => {}
                Err(failure) => return Err(failure.at("Invalid expression", reference.span)),
            }
        }
        Ok(())
    }

    /// Evaluates the block that a reference names: of a target only the attribute.
    fn load_block(&mut self, reference: &Reference) -> Result<(), Failure> {
        let kind = &reference.root;
        let Some(name) = reference.attributes.first() else {
            return Err(Failure::Plain(if reference.indexed {
                format!("cannot traverse {kind} without attribute")
            } else {
                format!("cannot access {kind} as a variable")
            }));
        };
        let key = (kind.clone(), name.to_string());
        let Some(blocks) = self.named_blocks.get(&key).cloned() else {
            return Ok(());
        };
        for block in blocks {
            self.resolve_block(block, reference.attributes.get(1))?;
            self.publish_block(block);
        }
        Ok(())
    }

    /// Evaluates a variable or attribute, if it is one.
    pub(super) fn resolve_value(&mut self, name: &Arc<str>) -> Result<(), Failure> {
        if self.values.contains_key(name) {
            return Ok(());
        }
        let variable = find(&self.variables, name);
        let attribute = find(&self.attributes, name);
        if variable.is_none() && attribute.is_none() {
            return Err(Failure::Undefined(format!("variable {name:?} does not exist")));
        }
        if !self.values_in_progress.insert(name.clone()) {
            return Err(Failure::Plain(format!("variable cycle not allowed for {name}")));
        }
        let value = self.variable_value(name, variable, attribute)?;
        self.values.insert(name.clone(), value);
        Ok(())
    }

    /// Makes a function known, if it is one that the files define.
    fn resolve_function(&mut self, name: &Arc<str>) -> Result<(), Failure> {
        if functions::exists(name) || self.functions.contains_key(name) {
            return Ok(());
        }
        let Some(block) = find(&self.function_blocks, name) else {
            return Err(Failure::Undefined(format!("function {name:?} does not exist")));
        };
        if !self.functions_in_progress.insert(name.clone()) {
            return Err(Failure::Plain(format!("function cycle not allowed for {name}")));
        }
        only_known(&block.body, &["params", "variadic_params", "result"], &[])?;
        let Some(result) = block.body.attribute("result") else {
            return Err(Failure::Plain(format!("empty result not allowed for {name}")));
        };
        let Some(parameters) = block.body.attribute("params") else {
            return Err(Failure::Plain(format!("empty params not allowed for {name}")));
        };
        let invalid = |span| {
            let detail = "Each parameter name must be an identifier.";
            Diagnostics::from(Diagnostic::new("Invalid param element", detail, span))
        };
        let crate::syntax::ExprKind::Tuple(items) = &parameters.value.kind else {
            let detail = "A static list expression is required.";
            return Err(Diagnostics::from(Diagnostic::new("Invalid expression", detail, parameters.value.span)).into());
        };
        let mut names = Vec::new();
        for item in items {
            names.push(item.keyword().ok_or_else(|| invalid(item.span))?);
        }
        let variadic = match block.body.attribute("variadic_params") {
            Some(variadic) => Some(variadic.value.keyword().ok_or_else(|| invalid(variadic.span))?),
            None => None,
        };
        let bound: Vec<(Arc<str>, Value)> = names
            .iter()
            .chain(&variadic)
            .map(|name| (name.clone(), Value::Null(crate::value::Type::Any)))
            .collect();
        self.load(&result.value, &bound, false)?;
        let function = UserFunction {
            parameters: names,
            variadic,
            result: Arc::new(result.value.clone()),
        };
        self.functions.insert(name.clone(), Arc::new(function));
        Ok(())
    }
}

/// The last of a name counts, at the place of the first.
fn put<'a, T>(list: &mut Vec<(Arc<str>, &'a T)>, name: &Arc<str>, item: &'a T) {
    match list.iter_mut().find(|(known, _)| known == name) {
        Some(known) => known.1 = item,
        None => list.push((name.clone(), item)),
    }
}

fn find<'a, T>(list: &[(Arc<str>, &'a T)], name: &str) -> Option<&'a T> {
    list.iter().find(|(known, _)| &**known == name).map(|(_, item)| *item)
}

/// Refuses what does not belong into a block, with what may have been meant.
pub(super) fn only_known(body: &Body, attributes: &[&str], blocks: &[&str]) -> Result<(), Diagnostics> {
    let mut wrong = Vec::new();
    let suggested =
        |diagnostic: Diagnostic, name: &str| match suggestion(name, attributes.iter().chain(blocks).copied()) {
            Some(meant) => diagnostic.hint(format!("did you mean `{meant}`?")),
            None => diagnostic,
        };
    for attribute in body
        .attributes
        .iter()
        .filter(|attribute| !attributes.contains(&&*attribute.name))
    {
        let name = &attribute.name;
        let detail = format!("An argument named {name:?} is not expected here.");
        let diagnostic = Diagnostic::new("Unsupported argument", detail, attribute.name_span);
        wrong.push(suggested(diagnostic, name));
    }
    for block in body.blocks.iter().filter(|block| !blocks.contains(&&*block.kind)) {
        let kind = &block.kind;
        let detail = format!("Blocks of type {kind:?} are not expected here.");
        let mut diagnostic = suggested(Diagnostic::new("Unsupported block type", detail, block.span), kind);
        if attributes.contains(&&**kind) {
            diagnostic.hints = vec![format!("write {kind} = {{ … }}")];
        }
        wrong.push(diagnostic);
    }
    match Diagnostics::some(wrong) {
        Some(wrong) => Err(wrong),
        None => Ok(()),
    }
}
