//! Calls: the library's functions, those of the files, and `try`, `can` and `convert`, which see their arguments
//! unevaluated.

use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Diagnostics, suggestion};
use crate::functions::{self, Call, Function};
use crate::source::Span;
use crate::syntax::{Expr, ExprKind};
use crate::value::{Type, Value, convert};

use super::{Context, Evaluated, Scope, UserFunction, all_of, type_constraint};

/// Where errors of a call as a whole stand.
#[derive(Debug, Clone, Copy)]
struct Places {
    /// The name and the parenthesis behind it.
    start: Span,
    /// The parenthesis that closes it.
    close: Span,
}

impl Context<'_> {
    pub(super) fn call(&self, expr: &Expr, scope: &Scope<'_>) -> Evaluated {
        let ExprKind::Call {
            name,
            name_span,
            arguments,
            expand,
        } = &expr.kind
        else {
            return Err(Diagnostic::new("Invalid expression", "This is no call.", expr.span).into());
        };
        match &**name {
            "try" if !expand => return self.try_all(arguments, scope, expr.span),
            "can" if !expand => return self.can(arguments, scope, expr.span),
            "convert" if !expand => return self.convert_call(arguments, scope, expr.span),
            _ => {}
        }
        let user = self.functions.get(name);
        let built_in = functions::find(name);
        if user.is_none() && built_in.is_none() {
            return Err(self.unknown_function(name, *name_span));
        }
        let values = self.arguments(arguments, *expand, scope)?;
        let place = |number: usize| match arguments.get(number.min(arguments.len().saturating_sub(1))) {
            Some(argument) => argument.start_span(),
            None => expr.span,
        };
        let places = Places {
            start: expr.start_span(),
            close: Span {
                start: expr.span.end.saturating_sub(1),
                ..expr.span
            },
        };
        match (user, built_in) {
            (Some(user), _) => self.call_user(name, user, values, places),
            (None, Some(function)) => self.call_built_in(function, values, place, places),
            (None, None) => Err(self.unknown_function(name, *name_span)),
        }
    }

    fn unknown_function(&self, name: &str, span: Span) -> Diagnostics {
        let mut diagnostic = Diagnostic::new(
            "Call to unknown function",
            format!("There is no function named {name:?}."),
            span,
        );
        let mut known: Vec<&str> = functions::names().collect();
        known.extend(self.functions.keys().map(|name| &**name));
        if let Some(meant) = suggestion(name, known) {
            diagnostic = diagnostic.hint(format!("did you mean `{meant}`?"));
        }
        diagnostic.into()
    }

    fn arguments(&self, arguments: &[Expr], expand: bool, scope: &Scope<'_>) -> Result<Vec<Value>, Diagnostics> {
        let mut values = all_of(arguments.iter().map(|argument| self.evaluate(argument, scope)))?;
        if expand && let (Some(last), Some(argument)) = (values.pop(), arguments.last()) {
            match last.items() {
                Some(items) => values.extend(items.iter().cloned()),
                None => {
                    return Err(Diagnostic::new(
                        "Invalid expanding argument value",
                        "The expanding argument (indicated by ...) must be of a tuple, list, or set type.",
                        argument.span,
                    )
                    .into());
                }
            }
        }
        Ok(values)
    }

    fn call_built_in(
        &self,
        function: &Function,
        mut values: Vec<Value>,
        place: impl Fn(usize) -> Span,
        places: Places,
    ) -> Evaluated {
        let span = places.start;
        let name = function.name;
        if values.len() < function.parameters.len() {
            let missing = function.parameters[values.len()].name;
            let least = if function.rest.is_some() { "at least " } else { "" };
            return Err(Diagnostic::new(
                "Not enough function arguments",
                format!(
                    "Function {name:?} expects {least}{} argument(s). Missing value for {missing:?}.",
                    function.parameters.len()
                ),
                places.close,
            )
            .into());
        }
        if values.len() > function.parameters.len() && function.rest.is_none() {
            return Err(Diagnostic::new(
                "Too many function arguments",
                format!(
                    "Function {name:?} expects only {} argument(s).",
                    function.parameters.len()
                ),
                place(function.parameters.len()),
            )
            .into());
        }
        for (number, value) in values.iter_mut().enumerate() {
            let Some(parameter) = function.parameters.get(number).or(function.rest.as_ref()) else {
                continue;
            };
            let invalid = |why: String| {
                Diagnostics::from(Diagnostic::new(
                    "Invalid function argument",
                    format!("Invalid value for {:?} parameter: {why}.", parameter.name),
                    place(number),
                ))
            };
            if value.is_null() && !parameter.nullable {
                return Err(invalid("argument must not be null".to_owned()));
            }
            *value = convert(value, &parameter.kind.wanted()).map_err(|error| invalid(error.message))?;
        }
        let call = Call {
            arguments: &values,
            host: self.host,
            room: self.budget.left(),
        };
        let result = (function.run)(&call).map_err(|error| {
            let diagnostic = match error.argument {
                Some(number) => {
                    let parameter = function.parameters.get(number).or(function.rest.as_ref());
                    Diagnostic::new(
                        "Invalid function argument",
                        format!(
                            "Invalid value for {:?} parameter: {}.",
                            parameter.map_or("argument", |parameter| parameter.name),
                            error.message
                        ),
                        place(number),
                    )
                }
                None => Diagnostic::new(
                    "Error in function call",
                    format!("Call to function {name:?} failed: {}.", error.message),
                    span,
                ),
            };
            Diagnostics::from(diagnostic)
        })?;
        self.budget.charge(result.weight(), span)?;
        Ok(result)
    }

    fn call_user(&self, name: &str, function: &UserFunction, values: Vec<Value>, places: Places) -> Evaluated {
        let span = places.start;
        let wanted = function.parameters.len();
        if values.len() < wanted {
            return Err(Diagnostic::new(
                "Not enough function arguments",
                format!(
                    "Function {name:?} expects {wanted} argument(s). Missing value for {:?}.",
                    function.parameters[values.len()]
                ),
                places.close,
            )
            .into());
        }
        if values.len() > wanted && function.variadic.is_none() {
            return Err(Diagnostic::new(
                "Too many function arguments",
                format!("Function {name:?} expects only {wanted} argument(s)."),
                span,
            )
            .into());
        }
        let mut values = values.into_iter();
        let mut names: Vec<(Arc<str>, Value)> = function
            .parameters
            .iter()
            .cloned()
            .zip(values.by_ref().take(wanted))
            .collect();
        if let Some(variadic) = &function.variadic {
            names.push((variadic.clone(), Value::tuple(values.collect())));
        }
        // Functions see no names of where they are called.
        let scope = Scope::of(&names);
        self.evaluate(&function.result, &scope).map_err(|wrong| {
            let mut diagnostic = Diagnostic::new(
                "Error in function call",
                format!("Call to function {name:?} failed: {}.", wrong.describe(self.sources)),
                span,
            );
            diagnostic.hints.clone_from(&wrong.first().hints);
            diagnostic.into()
        })
    }

    /// The first argument that can be evaluated.
    fn try_all(&self, arguments: &[Expr], scope: &Scope<'_>, span: Span) -> Evaluated {
        let mut last = None;
        for argument in arguments {
            match self.evaluate(argument, scope) {
                Ok(value) => return Ok(value),
                Err(wrong) if self.budget.left() < 16 => return Err(wrong),
                Err(wrong) => last = Some(wrong),
            }
        }
        let detail = match last {
            Some(wrong) => format!(
                "Call to function \"try\" failed: no expression succeeded: {}; {}",
                wrong.first().summary,
                wrong.first().detail
            ),
            None => "Call to function \"try\" failed: at least one argument is required.".to_owned(),
        };
        Err(Diagnostic::new("Error in function call", detail, span).into())
    }

    /// Whether the argument can be evaluated.
    fn can(&self, arguments: &[Expr], scope: &Scope<'_>, span: Span) -> Evaluated {
        match arguments {
            [argument] => Ok(Value::Bool(self.evaluate(argument, scope).is_ok())),
            _ => Err(Diagnostic::new(
                "Wrong number of function arguments",
                "Function \"can\" expects one argument.",
                span,
            )
            .into()),
        }
    }

    /// The first argument as a value of the type that the second one names.
    fn convert_call(&self, arguments: &[Expr], scope: &Scope<'_>, span: Span) -> Evaluated {
        let [value, wanted] = arguments else {
            return Err(Diagnostic::new(
                "Wrong number of function arguments",
                "Function \"convert\" expects a value and a type.",
                span,
            )
            .into());
        };
        let wanted_type: Type = type_constraint(wanted)?;
        let value = self.evaluate(value, scope)?;
        convert(&value, &wanted_type).map_err(|error| {
            Diagnostic::new(
                "Invalid function argument",
                format!("Invalid value for \"value\" parameter: {error}."),
                arguments[0].span,
            )
            .into()
        })
    }
}
