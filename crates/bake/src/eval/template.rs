//! Templates: parts joined to text.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::source::Span;
use crate::syntax::Part;
use crate::value::{Type, Value, convert};

use super::collection::iterated;
use super::{Context, Evaluated, Scope, all_of};

impl Context<'_> {
    pub(super) fn template(&self, parts: &[Part], scope: &Scope<'_>, span: Span) -> Evaluated {
        let texts = all_of(parts.iter().map(|part| self.part(part, scope)))?;
        let text = texts.concat();
        self.budget.charge(text.len(), span)?;
        Ok(Value::string(&text))
    }

    fn part(&self, part: &Part, scope: &Scope<'_>) -> Result<String, Diagnostics> {
        match part {
            Part::Literal(text, _) => Ok(text.to_string()),
            Part::Interpolation(inner) => {
                let value = self.evaluate(inner, scope)?;
                interpolated(&value, inner.span)
            }
            Part::If {
                condition,
                then,
                otherwise,
            } => {
                let chosen = if self.condition(condition, scope)? {
                    then
                } else {
                    otherwise
                };
                let value = self.evaluate(chosen, scope)?;
                interpolated(&value, chosen.span)
            }
            Part::For {
                key_name,
                value_name,
                collection,
                body,
            } => {
                let items = self.evaluate(collection, scope)?;
                let mut text = String::new();
                for (key, value) in iterated(&items, collection.span)? {
                    self.budget.charge(value.weight(), body.span)?;
                    let mut names = vec![(value_name.clone(), value)];
                    if let Some(name) = key_name {
                        names.push((name.clone(), key));
                    }
                    let inner = scope.child(&names);
                    text.push_str(&interpolated(&self.evaluate(body, &inner)?, body.span)?);
                }
                Ok(text)
            }
        }
    }
}

fn interpolated(value: &Value, span: Span) -> Result<String, Diagnostics> {
    let summary = "Invalid template interpolation value";
    match convert(value, &Type::String) {
        Ok(Value::String(text)) => Ok(text.to_string()),
        Ok(_) => Err(Diagnostic::new(
            summary,
            "The expression result is null. Cannot include a null value in a string template.",
            span,
        )
        .into()),
        Err(error) => Err(Diagnostic::new(
            summary,
            format!("Cannot include the given value in a string template: {error}."),
            span,
        )
        .into()),
    }
}
