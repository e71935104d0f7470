//! Text → syntax tree: HCL's native form and its JSON form, into the same tree.
//!
//! The parser is written here, and not taken from a library, for three reasons: numbers keep all their digits (the
//! peer computes with 512 bits), every place that an error names is the one that users know from the peer, and both
//! nesting and size are bounded, whatever the text.

mod ast;
mod body;
mod cursor;
mod expression;
mod json;
mod template;
mod term;

pub use ast::{Attribute, BinaryOperator, Block, Body, Expr, ExprKind, ForExpr, Label, Part, Step, UnaryOperator};
pub use body::parse_native;
pub use expression::parse_expression;
pub use json::parse_json;
pub use template::parse_template;
