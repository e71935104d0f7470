//! Types as they are written: `string`, `list(number)`, `object({name = string})`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Diagnostics, suggestion};
use crate::syntax::{Expr, ExprKind, parse_expression};
use crate::value::{Type, Value};

const KEYWORDS: [&str; 4] = ["any", "string", "number", "bool"];
const CONSTRUCTORS: [&str; 5] = ["list", "set", "map", "tuple", "object"];
const OPTIONAL: &str = "optional";
const SUMMARY: &str = "Invalid type specification";

/// The type that an expression names.
///
/// # Errors
/// Where it names none, with the one that may have been meant.
pub fn type_constraint(expr: &Expr) -> Result<Type, Diagnostics> {
    match &expr.kind {
        ExprKind::JsonString { text, .. } => {
            let parsed = parse_expression(text, expr.span.file, expr.span.start + 1).map_err(|error| Diagnostics::from(*error))?;
            type_constraint(&parsed)
        }
        ExprKind::Traversal { root, steps, .. } if steps.is_empty() => keyword(root, expr),
        ExprKind::Call { name, arguments, .. } => constructed(name, arguments, expr),
        ExprKind::Parentheses(inner) => type_constraint(inner),
        _ => Err(Diagnostic::new(
            SUMMARY,
            "A type specification is either a primitive type keyword (bool, number, string), complex type constructor call or the keyword any.",
            expr.span,
        )
        .into()),
    }
}

fn keyword(name: &str, expr: &Expr) -> Result<Type, Diagnostics> {
    let detail = match name {
        "any" => return Ok(Type::Any),
        "string" => return Ok(Type::String),
        "number" => return Ok(Type::Number),
        "bool" => return Ok(Type::Bool),
        "list" | "set" | "map" => {
            format!("The {name} type constructor requires one argument specifying the element type.")
        }
        "tuple" => {
            "The tuple type constructor requires one argument specifying the element types as a list.".to_owned()
        }
        "object" => {
            "The object type constructor requires one argument specifying the attribute types and values as a map."
                .to_owned()
        }
        _ => format!("The keyword {name:?} is not a valid type specification."),
    };
    let mut diagnostic = Diagnostic::new(SUMMARY, detail, expr.span);
    if let Some(meant) = suggestion(&name.to_lowercase(), KEYWORDS.into_iter().chain(CONSTRUCTORS))
        && meant != name
    {
        diagnostic = diagnostic.hint(format!("did you mean `{meant}`?"));
    }
    Err(diagnostic.into())
}

fn constructed(name: &str, arguments: &[Expr], expr: &Expr) -> Result<Type, Diagnostics> {
    let wrong = |detail: String| Err(Diagnostics::from(Diagnostic::new(SUMMARY, detail, expr.span)));
    if KEYWORDS.contains(&name) {
        return wrong(format!("Primitive type keyword {name:?} does not expect arguments."));
    }
    if name == OPTIONAL {
        return wrong(format!(
            "Keyword {name:?} is valid only as a modifier for object type attributes."
        ));
    }
    if !CONSTRUCTORS.contains(&name) {
        return wrong(format!("Keyword {name:?} is not a valid type constructor."));
    }
    let [argument] = arguments else {
        return wrong(format!("The {name} type constructor requires one argument."));
    };
    match (name, &argument.kind) {
        ("list", _) => Ok(Type::List(type_constraint(argument)?.into())),
        ("set", _) => Ok(Type::Set(type_constraint(argument)?.into())),
        ("map", _) => Ok(Type::Map(type_constraint(argument)?.into())),
        ("tuple", ExprKind::Tuple(items)) => {
            let items: Vec<Type> = items.iter().map(type_constraint).collect::<Result<_, _>>()?;
            Ok(Type::Tuple(items.into()))
        }
        ("object", ExprKind::Object(fields)) => {
            let mut types: BTreeMap<Arc<str>, Type> = BTreeMap::new();
            for (key, of) in fields {
                let name = match &key.kind {
                    ExprKind::Literal(Value::String(name)) => Some(name.clone()),
                    ExprKind::JsonString { text, .. } => Some(text.clone()),
                    _ => None,
                };
                let Some(name) = name else {
                    let detail = "Object constructor map keys must be attribute names.";
                    return Err(Diagnostic::new(SUMMARY, detail, key.span).into());
                };
                types.insert(name, attribute(of)?);
            }
            Ok(Type::Object(Arc::new(types)))
        }
        ("tuple", _) => wrong("Tuple type constructor requires a list of element types.".to_owned()),
        _ => wrong("Object type constructor requires a map whose keys are attribute names and whose values are the corresponding attribute types.".to_owned()),
    }
}

/// The type of an attribute of an object, which may be optional.
fn attribute(expr: &Expr) -> Result<Type, Diagnostics> {
    let ExprKind::Call { name, arguments, .. } = &expr.kind else {
        return type_constraint(expr);
    };
    if &**name != OPTIONAL {
        return type_constraint(expr);
    }
    let detail = match arguments.as_slice() {
        [of] => return Ok(Type::Optional(type_constraint(of)?.into())),
        [] => "Optional attribute modifier requires the attribute type as its argument.",
        _ => "Optional attribute modifier expects only one argument: the attribute type.",
    };
    Err(Diagnostic::new(SUMMARY, detail, expr.span).into())
}
