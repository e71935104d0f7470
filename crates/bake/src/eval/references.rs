//! What an expression names: variables and functions that must be there before it can be evaluated.

use std::sync::Arc;

use crate::source::Span;
use crate::syntax::{Expr, ExprKind, Part, Step};

/// What an expression names.
#[derive(Debug, Default)]
pub struct References {
    /// Variables that it does not bind itself, with the steps behind them, in the order of the text.
    pub variables: Vec<Reference>,
    /// Functions.
    pub functions: Vec<(Arc<str>, Span)>,
}

/// A variable that is named.
#[derive(Debug)]
pub struct Reference {
    /// Its name.
    pub root: Arc<str>,
    /// Names of the attributes behind it, as far as they are constant.
    pub attributes: Vec<Arc<str>>,
    /// Whether anything else follows it directly, such as an index.
    pub indexed: bool,
    /// The traversal.
    pub span: Span,
}

/// Everything that an expression names.
pub fn references(expr: &Expr) -> References {
    let mut found = References::default();
    let mut walk = Walk {
        found: &mut found,
        bound: Vec::new(),
    };
    walk.expr(expr);
    found
}

struct Walk<'a> {
    found: &'a mut References,
    bound: Vec<Arc<str>>,
}

impl Walk<'_> {
    fn exprs<'e>(&mut self, list: impl IntoIterator<Item = &'e Expr>) {
        for expr in list {
            self.expr(expr);
        }
    }

    fn with_names(&mut self, key: Option<&Arc<str>>, value: &Arc<str>, inside: impl FnOnce(&mut Self)) {
        let before = self.bound.len();
        self.bound.extend(key.cloned());
        self.bound.push(value.clone());
        inside(self);
        self.bound.truncate(before);
    }

    fn expr(&mut self, expr: &Expr) {
        match &expr.kind {
            ExprKind::Literal(_) | ExprKind::SplatItem => {}
            ExprKind::Template(parts) => {
                for part in parts {
                    self.part(part);
                }
            }
            ExprKind::TemplateWrap(inner)
            | ExprKind::Parentheses(inner)
            | ExprKind::JsonString { template: inner, .. }
            | ExprKind::Relative { source: inner, .. }
            | ExprKind::Unary { operand: inner, .. } => self.expr(inner),
            ExprKind::Tuple(items) => self.exprs(items),
            ExprKind::Object(items) => {
                for (key, value) in items {
                    self.expr(key);
                    self.expr(value);
                }
            }
            ExprKind::Traversal { root, steps, .. } => self.traversal(root, steps, expr.span),
            ExprKind::Index { collection, key } => self.exprs([&**collection, key]),
            ExprKind::Splat { source, each } => self.exprs([&**source, each]),
            ExprKind::Call {
                name,
                name_span,
                arguments,
                ..
            } => {
                self.found.functions.push((name.clone(), *name_span));
                // The second argument of `convert` is a type.
                let evaluated = if &**name == "convert" { 1 } else { arguments.len() };
                self.exprs(arguments.iter().take(evaluated));
            }
            ExprKind::Conditional {
                condition,
                then,
                otherwise,
            } => self.exprs([&**condition, then, otherwise]),
            ExprKind::Binary { left, right, .. } => self.exprs([&**left, right]),
            ExprKind::For(parts) => {
                self.expr(&parts.collection);
                self.with_names(parts.key_name.as_ref(), &parts.value_name, |walk| {
                    walk.exprs(&parts.key);
                    walk.expr(&parts.value);
                    walk.exprs(&parts.condition);
                });
            }
        }
    }

    fn part(&mut self, part: &Part) {
        match part {
            Part::Literal(..) => {}
            Part::Interpolation(inner) => self.expr(inner),
            Part::If {
                condition,
                then,
                otherwise,
            } => self.exprs([&**condition, then, otherwise]),
            Part::For {
                key_name,
                value_name,
                collection,
                body,
            } => {
                self.expr(collection);
                self.with_names(key_name.as_ref(), value_name, |walk| walk.expr(body));
            }
        }
    }

    fn traversal(&mut self, root: &Arc<str>, steps: &[Step], span: Span) {
        if self.bound.contains(root) {
            return;
        }
        let attributes = steps
            .iter()
            .map_while(|step| match step {
                Step::Attribute(name, _) => Some(name.clone()),
                Step::Index(..) => None,
            })
            .collect();
        self.found.variables.push(Reference {
            root: root.clone(),
            attributes,
            indexed: matches!(steps.first(), Some(Step::Index(..))),
            span,
        });
    }
}
