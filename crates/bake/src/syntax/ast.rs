//! The syntax tree. Every node knows its place.

use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::source::Span;
use crate::value::Value;

/// Expressions nest no deeper, so that walking, evaluating and dropping them needs a known amount of stack.
const DEEPEST: u32 = 400;

/// What stands in a file or a block.
#[derive(Debug, Clone)]
pub struct Body {
    /// `name = value`.
    pub attributes: Vec<Attribute>,
    /// `kind "label" { … }`.
    pub blocks: Vec<Block>,
    /// Where something that is missing would belong.
    pub missing: Span,
}

impl Body {
    /// The attribute of a name.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| &*attribute.name == name)
    }
}

/// `name = value`.
#[derive(Debug, Clone)]
pub struct Attribute {
    /// Its name.
    pub name: Arc<str>,
    /// Where the name stands.
    pub name_span: Span,
    /// Its value.
    pub value: Expr,
    /// The whole line.
    pub span: Span,
}

/// `kind "label" { … }`.
#[derive(Debug, Clone)]
pub struct Block {
    /// Its kind.
    pub kind: Arc<str>,
    /// Its labels.
    pub labels: Vec<Label>,
    /// What stands in it.
    pub body: Body,
    /// Kind and labels.
    pub span: Span,
}

/// A label of a block.
#[derive(Debug, Clone)]
pub struct Label {
    /// Its text.
    pub text: Arc<str>,
    /// Where it stands, its quotes included.
    pub span: Span,
}

/// An expression.
#[derive(Debug, Clone)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub span: Span,
    depth: u32,
}

impl Expr {
    /// A node. Fails if it nests too deeply.
    pub fn new(kind: ExprKind, span: Span) -> Result<Expr, Box<Diagnostic>> {
        let depth = 1 + kind.depth_of_children();
        if depth > DEEPEST {
            return Err(Box::new(Diagnostic::new(
                "Expression too complex",
                format!("Expressions may nest {DEEPEST} levels deep."),
                span,
            )));
        }
        Ok(Expr { kind, span, depth })
    }

    /// A constant.
    pub fn literal(value: Value, span: Span) -> Expr {
        Expr {
            kind: ExprKind::Literal(value),
            span,
            depth: 1,
        }
    }

    /// Where it begins, as errors about its type name it: one bracket of a list or object.
    pub fn start_span(&self) -> Span {
        match &self.kind {
            ExprKind::Tuple(_) | ExprKind::Object(_) | ExprKind::For { .. } | ExprKind::Parentheses(_) => Span {
                end: (self.span.start + 1).min(self.span.end),
                ..self.span
            },
            ExprKind::Binary { left, .. } => left.start_span(),
            ExprKind::Conditional { condition, .. } => condition.start_span(),
            ExprKind::Index { collection, .. } => collection.start_span(),
            ExprKind::Splat { source, .. } | ExprKind::Relative { source, .. } => source.start_span(),
            ExprKind::Call { name_span, .. } => Span {
                end: (name_span.end + 1).min(self.span.end),
                ..self.span
            },
            ExprKind::Template(parts) => match parts.first() {
                Some(Part::Literal(..)) | None => self.span,
                Some(Part::Interpolation(inner)) => inner.start_span(),
                Some(_) => self.span,
            },
            _ => self.span,
        }
    }

    /// The identifier that it consists of, if it is one.
    pub fn keyword(&self) -> Option<Arc<str>> {
        match &self.kind {
            ExprKind::Traversal { root, steps, .. } if steps.is_empty() => Some(root.clone()),
            ExprKind::JsonString { text, .. } if is_identifier(text) => Some(text.clone()),
            ExprKind::Literal(Value::Bool(value)) => Some(if *value { "true" } else { "false" }.into()),
            _ => None,
        }
    }
}

/// Whether a text is one identifier.
fn is_identifier(text: &str) -> bool {
    let mut letters = text.chars();
    letters
        .next()
        .is_some_and(|first| first == '_' || unicode_ident::is_xid_start(first))
        && letters.all(|letter| letter == '-' || unicode_ident::is_xid_continue(letter))
}

/// What an expression is.
#[derive(Debug, Clone)]
pub enum ExprKind {
    /// A constant.
    Literal(Value),
    /// Text with interpolations: always a string.
    Template(Vec<Part>),
    /// A template that is nothing but one interpolation: the value itself.
    TemplateWrap(Box<Expr>),
    /// A string of a JSON body. It is a template, but may also be read as an expression where a keyword is wanted.
    JsonString {
        /// The text, unescaped.
        text: Arc<str>,
        /// The template.
        template: Box<Expr>,
    },
    /// `[a, b]`.
    Tuple(Vec<Expr>),
    /// `{ a = b }`. A bare name as the key is a literal.
    Object(Vec<(Expr, Expr)>),
    /// `name.step[step]`.
    Traversal {
        /// The variable.
        root: Arc<str>,
        /// Where its name stands.
        root_span: Span,
        /// What follows.
        steps: Vec<Step>,
    },
    /// `(expression).step`.
    Relative {
        /// Where it starts.
        source: Box<Expr>,
        /// What follows.
        steps: Vec<Step>,
    },
    /// `collection[key]`.
    Index {
        /// What is looked into.
        collection: Box<Expr>,
        /// For what.
        key: Box<Expr>,
    },
    /// `source.*.rest` or `source[*].rest`.
    Splat {
        /// What is gone through.
        source: Box<Expr>,
        /// What is done with each; [`ExprKind::SplatItem`] stands for the item.
        each: Box<Expr>,
    },
    /// The item that the innermost splat is at.
    SplatItem,
    /// `name(arguments)`.
    Call {
        /// The function.
        name: Arc<str>,
        /// Where its name stands.
        name_span: Span,
        /// What it is given.
        arguments: Vec<Expr>,
        /// Whether the last argument is a list of arguments (`…`).
        expand: bool,
    },
    /// `condition ? then : otherwise`.
    Conditional {
        /// What decides.
        condition: Box<Expr>,
        /// If true.
        then: Box<Expr>,
        /// If false.
        otherwise: Box<Expr>,
    },
    /// `left operator right`.
    Binary {
        /// Which.
        operator: BinaryOperator,
        /// Before it.
        left: Box<Expr>,
        /// Behind it.
        right: Box<Expr>,
    },
    /// `operator operand`.
    Unary {
        /// Which.
        operator: UnaryOperator,
        /// Behind it.
        operand: Box<Expr>,
    },
    /// `(inner)`.
    Parentheses(Box<Expr>),
    /// `[for …]` or `{for …}`.
    For(Box<ForExpr>),
}

/// `[for key, value in collection : result if condition]`.
#[derive(Debug, Clone)]
pub struct ForExpr {
    /// Name of the key, if it is wanted.
    pub key_name: Option<Arc<str>>,
    /// Name of the value.
    pub value_name: Arc<str>,
    /// What is gone through.
    pub collection: Expr,
    /// Key of the result: an object is made.
    pub key: Option<Expr>,
    /// Value of the result.
    pub value: Expr,
    /// Which items count.
    pub condition: Option<Expr>,
    /// Whether values of the same key are gathered (`…`).
    pub group: bool,
}

/// One step of a traversal.
#[derive(Debug, Clone)]
pub enum Step {
    /// `.name`.
    Attribute(Arc<str>, Span),
    /// `[constant]`.
    Index(Value, Span),
}

impl Step {
    /// Where it stands.
    pub fn span(&self) -> Span {
        match self {
            Step::Attribute(_, span) | Step::Index(_, span) => *span,
        }
    }
}

/// A part of a template.
#[derive(Debug, Clone)]
pub enum Part {
    /// Text as it is.
    Literal(Arc<str>, Span),
    /// `${…}`.
    Interpolation(Box<Expr>),
    /// `%{ if … }…%{ else }…%{ endif }`.
    If {
        /// What decides.
        condition: Box<Expr>,
        /// If true.
        then: Box<Expr>,
        /// If false.
        otherwise: Box<Expr>,
    },
    /// `%{ for … in … }…%{ endfor }`.
    For {
        /// Name of the key, if it is wanted.
        key_name: Option<Arc<str>>,
        /// Name of the value.
        value_name: Arc<str>,
        /// What is gone through.
        collection: Box<Expr>,
        /// What is written for each.
        body: Box<Expr>,
    },
}

/// Operators between two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryOperator {
    /// `||`
    Or,
    /// `&&`
    And,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Modulo,
}

/// Operators before one operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnaryOperator {
    /// `!`
    Not,
    /// `-`
    Negate,
}

impl ExprKind {
    fn depth_of_children(&self) -> u32 {
        let all = |list: &[Expr]| list.iter().map(|expr| expr.depth).max().unwrap_or(0);
        match self {
            ExprKind::Literal(_) | ExprKind::SplatItem | ExprKind::Traversal { .. } => 0,
            ExprKind::Template(parts) => parts.iter().map(Part::depth).max().unwrap_or(0),
            ExprKind::TemplateWrap(inner)
            | ExprKind::Parentheses(inner)
            | ExprKind::JsonString { template: inner, .. }
            | ExprKind::Relative { source: inner, .. }
            | ExprKind::Unary { operand: inner, .. } => inner.depth,
            ExprKind::Tuple(items) => all(items),
            ExprKind::Object(items) => items
                .iter()
                .map(|(key, value)| key.depth.max(value.depth))
                .max()
                .unwrap_or(0),
            ExprKind::Index { collection, key } => collection.depth.max(key.depth),
            ExprKind::Splat { source, each } => source.depth.max(each.depth),
            ExprKind::Call { arguments, .. } => all(arguments),
            ExprKind::Conditional {
                condition,
                then,
                otherwise,
            } => condition.depth.max(then.depth).max(otherwise.depth),
            ExprKind::Binary { left, right, .. } => left.depth.max(right.depth),
            ExprKind::For(parts) => {
                let optional = |expr: &Option<Expr>| expr.as_ref().map_or(0, |expr| expr.depth);
                parts
                    .collection
                    .depth
                    .max(parts.value.depth)
                    .max(optional(&parts.key))
                    .max(optional(&parts.condition))
            }
        }
    }
}

impl Part {
    fn depth(&self) -> u32 {
        match self {
            Part::Literal(..) => 0,
            Part::Interpolation(inner) => inner.depth,
            Part::If {
                condition,
                then,
                otherwise,
            } => condition.depth.max(then.depth).max(otherwise.depth),
            Part::For { collection, body, .. } => collection.depth.max(body.depth),
        }
    }
}
