//! Variables, and what is found in their values.

use crate::diagnostic::{Diagnostic, Diagnostics, suggestion};
use crate::source::Span;
use crate::syntax::Step;
use crate::value::{Type, Value, convert};

use super::{Context, Evaluated, Scope};

impl Context<'_> {
    pub(super) fn traversal(&self, root: &str, root_span: Span, steps: &[Step], scope: &Scope<'_>) -> Evaluated {
        match scope.find(root).or_else(|| self.variables.get(root)) {
            Some(value) => follow(value.clone(), steps),
            None => {
                let mut diagnostic = Diagnostic::new(
                    "Unknown variable",
                    format!("There is no variable named {root:?}."),
                    root_span,
                );
                let names = scope.all_names();
                let known = self.variables.keys().map(|name| &**name).chain(names);
                if let Some(meant) = suggestion(root, known) {
                    diagnostic = diagnostic.hint(format!("did you mean `{meant}`?"));
                }
                Err(diagnostic.into())
            }
        }
    }
}

/// Takes all steps from a value.
pub(super) fn follow(value: Value, steps: &[Step]) -> Evaluated {
    steps.iter().try_fold(value, |value, step| match step {
        Step::Attribute(name, span) => attribute(&value, name, *span),
        Step::Index(key, span) => index(&value, key, *span),
    })
}

fn attribute(value: &Value, name: &str, span: Span) -> Evaluated {
    let unsupported = |detail: String| Diagnostic::new("Unsupported attribute", detail, span);
    let missing = |mut diagnostic: Diagnostic| {
        if let Some(entries) = value.entries()
            && let Some(meant) = suggestion(name, entries.keys().map(|name| &**name))
        {
            diagnostic = diagnostic.hint(format!("did you mean `{meant}`?"));
        }
        Err(Diagnostics::from(diagnostic))
    };
    match value {
        Value::Null(_) => Err(Diagnostic::new(
            "Attempt to get attribute from null value",
            "This value is null, so it does not have any attributes.",
            span,
        )
        .into()),
        Value::Object(entries) => match entries.get(name) {
            Some(value) => Ok(value.clone()),
            None => missing(unsupported(format!(
                "This object does not have an attribute named {name:?}."
            ))),
        },
        Value::Map(_, entries) => match entries.get(name) {
            Some(value) => Ok(value.clone()),
            None => missing(Diagnostic::new(
                "Missing map element",
                format!("This map does not have an element with the key {name:?}."),
                span,
            )),
        },
        Value::List(..) | Value::Set(..) | Value::Tuple(_) => Err(unsupported(
            "This value does not have any attributes: it is a list. Use [*] to get an attribute of each item."
                .to_owned(),
        )
        .into()),
        primitive => Err(unsupported(format!(
            "Can't access attributes on a primitive-typed value ({}).",
            primitive.type_of().friendly()
        ))
        .into()),
    }
}

/// The element of a collection.
pub(super) fn index(collection: &Value, key: &Value, span: Span) -> Evaluated {
    let invalid = |detail: String| Err(Diagnostics::from(Diagnostic::new("Invalid index", detail, span)));
    let no_element = |why: &str| {
        invalid(format!(
            "The given key does not identify an element in this collection value{why}."
        ))
    };
    if collection.is_null() {
        return Err(Diagnostic::new(
            "Attempt to index null value",
            "This value is null, so it does not have any indices.",
            span,
        )
        .into());
    }
    if key.is_null() {
        return invalid("Can't use a null value as an indexing key.".to_owned());
    }
    match collection {
        Value::List(_, items) | Value::Tuple(items) => {
            let number = match convert(key, &Type::Number) {
                Ok(Value::Number(number)) => number,
                Ok(_) => return no_element(""),
                Err(error) => return no_element(&format!(": {error}")),
            };
            if number.is_negative() {
                return no_element(": a negative number is not a valid index for a sequence");
            }
            if !number.is_integer() {
                return no_element(&format!(
                    ": indexing a sequence requires a whole number, but the given index ({number}) has a fractional part"
                ));
            }
            let position = number.to_i64().and_then(|number| usize::try_from(number).ok());
            match position.and_then(|position| items.get(position)) {
                Some(item) => Ok(item.clone()),
                None if items.is_empty() => no_element(": the collection has no elements"),
                None => no_element(": the given index is greater than or equal to the length of the collection"),
            }
        }
        Value::Map(_, entries) | Value::Object(entries) => {
            let name = match convert(key, &Type::String) {
                Ok(Value::String(name)) => name,
                Ok(_) => return no_element(""),
                Err(error) => return no_element(&format!(": {error}")),
            };
            match entries.get(&name) {
                Some(value) => Ok(value.clone()),
                None => no_element(""),
            }
        }
        Value::Set(..) => invalid("Elements of a set are identified only by their value and don't have any separate index or key to select with, so it's only possible to perform operations across all elements of the set.".to_owned()),
        _ => invalid("This value does not have any indices.".to_owned()),
    }
}
