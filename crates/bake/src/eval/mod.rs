//! Expressions → values.
//!
//! Evaluation is bounded: what it makes is charged against a [`Budget`], and functions that a file defines may call each
//! other only so deeply.

mod call;
mod collection;
mod operator;
mod references;
mod template;
mod traversal;
mod type_constraint;

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::functions::Host;
use crate::source::{Sources, Span};
use crate::syntax::{Expr, ExprKind};
use crate::value::{Value, convert, unify};

pub use references::{Reference, References, references};
pub use type_constraint::type_constraint;

/// What evaluating gives.
pub type Evaluated = Result<Value, Diagnostics>;

/// What a whole evaluation may make, in bytes. It counts what is made, not what is kept.
const BUDGET: usize = 256 << 20;
/// How deeply evaluation may nest, over expressions and functions.
const DEEPEST: u32 = 1500;

/// What evaluation has left.
#[derive(Debug)]
pub struct Budget {
    bytes: Cell<usize>,
    depth: Cell<u32>,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget {
            bytes: Cell::new(BUDGET),
            depth: Cell::new(0),
        }
    }
}

impl Budget {
    /// Takes so many bytes.
    pub fn charge(&self, bytes: usize, span: Span) -> Result<(), Diagnostics> {
        match self.bytes.get().checked_sub(bytes.max(16)) {
            Some(left) => {
                self.bytes.set(left);
                Ok(())
            }
            None => Err(Diagnostic::new(
                "Evaluation too large",
                format!("The values of this definition take more than {} MiB.", BUDGET >> 20),
                span,
            )
            .into()),
        }
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.bytes.get()
    }
}

/// A function that a file defines.
#[derive(Debug, Clone)]
pub struct UserFunction {
    /// Names of its parameters.
    pub parameters: Vec<Arc<str>>,
    /// Name of the one that takes all further arguments.
    pub variadic: Option<Arc<str>>,
    /// What it gives.
    pub result: Arc<Expr>,
}

/// What expressions can name everywhere.
#[derive(Debug)]
pub struct Context<'a> {
    /// Variables, attributes and blocks.
    pub variables: &'a HashMap<Arc<str>, Value>,
    /// Functions of the files.
    pub functions: &'a HashMap<Arc<str>, Arc<UserFunction>>,
    /// The files, so that errors within functions can name their place.
    pub sources: &'a Sources,
    /// What functions learn of the world.
    pub host: &'a Host,
    /// What may be made.
    pub budget: &'a Budget,
}

/// Names that only a part of an expression sees: of `for`, of a function's parameters, of a matrix.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scope<'a> {
    names: &'a [(Arc<str>, Value)],
    parent: Option<&'a Scope<'a>>,
    splat_item: Option<&'a Value>,
}

impl<'a> Scope<'a> {
    /// A scope with these names alone.
    pub fn of(names: &'a [(Arc<str>, Value)]) -> Scope<'a> {
        Scope {
            names,
            ..Scope::default()
        }
    }

    fn child(&'a self, names: &'a [(Arc<str>, Value)]) -> Scope<'a> {
        Scope {
            names,
            parent: Some(self),
            splat_item: self.splat_item,
        }
    }

    fn find(&self, name: &str) -> Option<&'a Value> {
        let mut scope = *self;
        loop {
            if let Some((_, value)) = scope.names.iter().rev().find(|(known, _)| &**known == name) {
                return Some(value);
            }
            scope = *scope.parent?;
        }
    }

    fn all_names(&self) -> Vec<&'a str> {
        let mut names: Vec<&str> = self.names.iter().map(|(name, _)| &**name).collect();
        if let Some(parent) = self.parent {
            names.extend(parent.all_names());
        }
        names
    }
}

impl Context<'_> {
    /// The value of an expression.
    ///
    /// # Errors
    /// Everything that is wrong in it, as far as it can be told at once.
    pub fn evaluate(&self, expr: &Expr, scope: &Scope<'_>) -> Evaluated {
        let depth = self.budget.depth.get();
        if depth >= DEEPEST {
            return Err(Diagnostic::new(
                "Evaluation too deep",
                format!("Expressions and functions may nest {DEEPEST} levels deep."),
                expr.span,
            )
            .into());
        }
        self.budget.depth.set(depth + 1);
        let value = self.evaluate_kind(expr, scope);
        self.budget.depth.set(depth);
        value
    }

    fn evaluate_kind(&self, expr: &Expr, scope: &Scope<'_>) -> Evaluated {
        match &expr.kind {
            ExprKind::Literal(value) => Ok(value.clone()),
            ExprKind::Template(parts) => self.template(parts, scope, expr.span),
            ExprKind::TemplateWrap(inner) | ExprKind::Parentheses(inner) => self.evaluate(inner, scope),
            ExprKind::JsonString { template, .. } => self.evaluate(template, scope),
            ExprKind::Tuple(items) => self.tuple(items, scope, expr.span),
            ExprKind::Object(items) => self.object(items, scope, expr.span),
            ExprKind::Traversal { root, root_span, steps } => self.traversal(root, *root_span, steps, scope),
            ExprKind::Relative { source, steps } => {
                let value = self.evaluate(source, scope)?;
                traversal::follow(value, steps)
            }
            ExprKind::Index { collection, key } => {
                let (collection, found) = both(self.evaluate(collection, scope), self.evaluate(key, scope))?;
                traversal::index(&collection, &found, key.span)
            }
            ExprKind::Splat { source, each } => self.splat(source, each, scope, expr.span),
            ExprKind::SplatItem => scope.splat_item.cloned().ok_or_else(|| {
                Diagnostic::new("Invalid expression", "There is no splat around this.", expr.span).into()
            }),
            ExprKind::Call { .. } => self.call(expr, scope),
            ExprKind::Conditional {
                condition,
                then,
                otherwise,
            } => self.conditional(condition, then, otherwise, scope, expr.span),
            ExprKind::Binary { operator, left, right } => self.binary(*operator, left, right, scope, expr.span),
            ExprKind::Unary { operator, operand } => self.unary(*operator, operand, scope, expr.span),
            ExprKind::For(parts) => self.for_expression(parts, scope, expr.span),
        }
    }

    /// Both results count for the type of the whole, so both are evaluated; only the chosen one may fail.
    fn conditional(&self, condition: &Expr, then: &Expr, otherwise: &Expr, scope: &Scope<'_>, span: Span) -> Evaluated {
        let decided = self.condition(condition, scope)?;
        let (chosen, other) = if decided { (then, otherwise) } else { (otherwise, then) };
        let value = self.evaluate(chosen, scope)?;
        let Ok(other) = self.evaluate(other, scope) else {
            return Ok(value);
        };
        let Some(common) = unify(&[value.type_of(), other.type_of()]) else {
            let (then, otherwise) = if decided { (&value, &other) } else { (&other, &value) };
            return Err(Diagnostic::new(
                "Inconsistent conditional result types",
                format!(
                    "The true and false result expressions must have consistent types. The 'true' value is {}, but the 'false' value is {}.",
                    then.type_of().friendly(),
                    otherwise.type_of().friendly()
                ),
                span,
            )
            .into());
        };
        convert(&value, &common).map_err(|error| {
            Diagnostic::new(
                "Inconsistent conditional result types",
                format!("The true and false result expressions must have consistent types: {error}."),
                span,
            )
            .into()
        })
    }

    fn condition(&self, condition: &Expr, scope: &Scope<'_>) -> Result<bool, Diagnostics> {
        let value = self.evaluate(condition, scope)?;
        if value.is_null() {
            let detail = "The condition value is null. Conditions must either be true or false.";
            return Err(Diagnostic::new("Null condition", detail, condition.span).into());
        }
        match convert(&value, &crate::value::Type::Bool) {
            Ok(Value::Bool(decided)) => Ok(decided),
            _ => Err(Diagnostic::new(
                "Incorrect condition type",
                "The condition expression must be of type bool.",
                condition.span,
            )
            .into()),
        }
    }
}

/// Both values, or everything that is wrong in either.
fn both(one: Evaluated, two: Evaluated) -> Result<(Value, Value), Diagnostics> {
    match (one, two) {
        (Ok(one), Ok(two)) => Ok((one, two)),
        (Err(one), Err(two)) => {
            let mut all = one.into_vec();
            all.extend(two.into_vec());
            Err(Diagnostics::some(all).unwrap_or_else(unreachable_diagnostics))
        }
        (Err(wrong), _) | (_, Err(wrong)) => Err(wrong),
    }
}

/// All values, or everything that is wrong in any.
fn all_of<T>(results: impl Iterator<Item = Result<T, Diagnostics>>) -> Result<Vec<T>, Diagnostics> {
    let mut values = Vec::new();
    let mut wrong = Vec::new();
    for result in results {
        match result {
            Ok(value) => values.push(value),
            Err(found) => wrong.extend(found.into_vec()),
        }
    }
    match Diagnostics::some(wrong) {
        Some(wrong) => Err(wrong),
        None => Ok(values),
    }
}

/// Stands where a list of diagnostics is known not to be empty.
fn unreachable_diagnostics() -> Diagnostics {
    Diagnostics::from(Diagnostic {
        summary: "Invalid expression".to_owned(),
        detail: "The expression cannot be evaluated.".to_owned(),
        span: None,
        hints: Vec::new(),
        consequence: false,
    })
}
