//! Tuples, objects, `for` and splats.

use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::source::Span;
use crate::syntax::{Expr, ExprKind, ForExpr};
use crate::value::{Entries, Type, Value, convert};

use super::{Context, Evaluated, Scope, all_of, both};

impl Context<'_> {
    pub(super) fn tuple(&self, items: &[Expr], scope: &Scope<'_>, span: Span) -> Evaluated {
        self.budget.charge(32 * items.len(), span)?;
        Ok(Value::tuple(all_of(
            items.iter().map(|item| self.evaluate(item, scope)),
        )?))
    }

    pub(super) fn object(&self, items: &[(Expr, Expr)], scope: &Scope<'_>, span: Span) -> Evaluated {
        self.budget.charge(64 * items.len(), span)?;
        let evaluated = items.iter().map(|(key, value)| {
            let name = self.evaluate(key, scope).and_then(|name| object_key(&name, key.span));
            let (name, value) = both(name, self.evaluate(value, scope))?;
            Ok((name.as_str().unwrap_or_default().into(), value))
        });
        let mut entries = Entries::new();
        for ((key, _), (name, value)) in items.iter().zip(all_of(evaluated)?) {
            // In HCL's native form the last of a name counts.
            if matches!(key.kind, ExprKind::JsonString { .. }) && entries.contains_key(&name) {
                let detail = format!("An attribute named {name:?} was already defined.");
                return Err(Diagnostic::new("Duplicate object attribute", detail, key.span).into());
            }
            entries.insert(name, value);
        }
        Ok(Value::object(entries))
    }

    pub(super) fn for_expression(&self, parts: &ForExpr, scope: &Scope<'_>, span: Span) -> Evaluated {
        let collection = self.evaluate(&parts.collection, scope)?;
        let pairs = iterated(&collection, parts.collection.span)?;
        let mut items: Vec<Value> = Vec::new();
        let mut entries: Vec<(Arc<str>, Value)> = Vec::new();
        for (key, value) in pairs {
            self.budget.charge(value.weight(), span)?;
            let mut names = vec![(parts.value_name.clone(), value)];
            if let Some(name) = &parts.key_name {
                names.push((name.clone(), key));
            }
            let inner = scope.child(&names);
            if let Some(condition) = &parts.condition
                && !self.for_condition(condition, &inner)?
            {
                continue;
            }
            match &parts.key {
                None => items.push(self.evaluate(&parts.value, &inner)?),
                Some(key) => {
                    let name = self.evaluate(key, &inner).and_then(|name| object_key(&name, key.span));
                    let (name, value) = both(name, self.evaluate(&parts.value, &inner))?;
                    entries.push((name.as_str().unwrap_or_default().into(), value));
                }
            }
        }
        if parts.key.is_none() {
            return Ok(Value::tuple(items));
        }
        gathered(entries, parts, span)
    }

    fn for_condition(&self, condition: &Expr, scope: &Scope<'_>) -> Result<bool, Diagnostics> {
        let value = self.evaluate(condition, scope)?;
        let detail = match convert(&value, &Type::Bool) {
            Ok(Value::Bool(decided)) => return Ok(decided),
            Ok(_) => "The value of the 'if' clause must not be null.".to_owned(),
            Err(error) => format!("The 'if' clause value is invalid: {error}."),
        };
        Err(Diagnostic::new("Invalid 'for' condition", detail, condition.span).into())
    }

    pub(super) fn splat(&self, source: &Expr, each: &Expr, scope: &Scope<'_>, span: Span) -> Evaluated {
        let value = self.evaluate(source, scope)?;
        let (items, listed): (Vec<Value>, bool) = match &value {
            Value::Null(_) => return Ok(Value::tuple(Vec::new())),
            Value::List(_, items) | Value::Set(_, items) => (items.to_vec(), true),
            Value::Tuple(items) => (items.to_vec(), false),
            single => (vec![single.clone()], false),
        };
        self.budget.charge(32 * items.len(), span)?;
        let results = all_of(items.iter().map(|item| {
            let inner = Scope {
                splat_item: Some(item),
                ..scope.child(&[])
            };
            self.evaluate(each, &inner)
        }))?;
        let first = results.first().map(Value::type_of);
        match first {
            Some(first) if listed && results.iter().all(|result| result.type_of() == first) => {
                Ok(Value::list(first, results))
            }
            _ => Ok(Value::tuple(results)),
        }
    }
}

/// What a collection consists of.
pub(super) fn iterated(collection: &Value, span: Span) -> Result<Vec<(Value, Value)>, Diagnostics> {
    if collection.is_null() {
        return Err(Diagnostic::new(
            "Iteration over null value",
            "A null value cannot be used as the collection in a 'for' expression.",
            span,
        )
        .into());
    }
    collection.pairs().ok_or_else(|| {
        Diagnostic::new(
            "Iteration over non-iterable value",
            format!(
                "A value of type {} cannot be used as the collection in a 'for' expression.",
                collection.type_of().friendly()
            ),
            span,
        )
        .into()
    })
}

fn object_key(key: &Value, span: Span) -> Evaluated {
    if key.is_null() {
        return Err(Diagnostic::new("Null value as key", "Can't use a null value as a key.", span).into());
    }
    convert(key, &Type::String).map_err(|error| {
        Diagnostic::new(
            "Incorrect key type",
            format!("Can't use this value as a key: {error}."),
            span,
        )
        .into()
    })
}

fn gathered(entries: Vec<(Arc<str>, Value)>, parts: &ForExpr, span: Span) -> Evaluated {
    if parts.group {
        let mut groups: std::collections::BTreeMap<Arc<str>, Vec<Value>> = std::collections::BTreeMap::new();
        for (name, value) in entries {
            groups.entry(name).or_default().push(value);
        }
        let groups = groups.into_iter().map(|(name, values)| (name, Value::tuple(values)));
        return Ok(Value::object(groups.collect()));
    }
    let mut object = Entries::new();
    for (name, value) in entries {
        if object.contains_key(&name) {
            let place = parts.key.as_ref().map_or(span, |key| key.span);
            return Err(Diagnostic::new(
                "Duplicate object key",
                format!("Two different items produced the key {name:?} in this 'for' expression. If duplicates are expected, use the ellipsis (...) after the value expression to enable grouping by key."),
                place,
            )
            .into());
        }
        object.insert(name, value);
    }
    Ok(Value::object(object))
}
