//! Operators.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::source::Span;
use crate::syntax::{BinaryOperator, Expr, UnaryOperator};
use crate::value::{Number, Type, Value, convert};

use super::{Context, Evaluated, Scope, both};

impl Context<'_> {
    pub(super) fn binary(
        &self,
        operator: BinaryOperator,
        left: &Expr,
        right: &Expr,
        scope: &Scope<'_>,
        span: Span,
    ) -> Evaluated {
        use BinaryOperator::{And, Equal, NotEqual, Or};
        match operator {
            Equal | NotEqual => {
                let (left, right) = both(self.evaluate(left, scope), self.evaluate(right, scope))?;
                Ok(Value::Bool(left.same(&right) == (operator == Equal)))
            }
            And | Or => {
                let first = operand(&self.evaluate(left, scope)?, &Type::Bool, "left ", left.span, span)?;
                // The second operand may rely on what the first one found.
                if first == Value::Bool(operator == Or) {
                    return Ok(first);
                }
                operand(&self.evaluate(right, scope)?, &Type::Bool, "right ", right.span, span)
            }
            _ => {
                let (first, second) = both(self.evaluate(left, scope), self.evaluate(right, scope))?;
                let first = operand(&first, &Type::Number, "left ", left.span, span)?;
                let second = operand(&second, &Type::Number, "right ", right.span, span)?;
                match (first, second) {
                    (Value::Number(first), Value::Number(second)) => arithmetic(operator, &first, &second, span),
                    _ => Err(failed("the operands are not numbers", span)),
                }
            }
        }
    }

    pub(super) fn unary(&self, operator: UnaryOperator, inner: &Expr, scope: &Scope<'_>, span: Span) -> Evaluated {
        let wanted = match operator {
            UnaryOperator::Not => Type::Bool,
            UnaryOperator::Negate => Type::Number,
        };
        match operand(&self.evaluate(inner, scope)?, &wanted, "unary ", inner.span, span)? {
            Value::Bool(value) => Ok(Value::Bool(!value)),
            Value::Number(number) => Ok(Value::Number(number.negated())),
            _ => Err(failed("the operand has another type", span)),
        }
    }
}

fn operand(value: &Value, wanted: &Type, which: &str, place: Span, span: Span) -> Evaluated {
    if value.is_null() {
        return Err(failed("argument must not be null", span));
    }
    convert(value, wanted).map_err(|error| {
        Diagnostic::new(
            "Invalid operand",
            format!("Unsuitable value for {which}operand: {error}."),
            place,
        )
        .into()
    })
}

fn arithmetic(operator: BinaryOperator, left: &Number, right: &Number, span: Span) -> Evaluated {
    let compared = match operator {
        BinaryOperator::Less => Some(left < right),
        BinaryOperator::LessOrEqual => Some(left <= right),
        BinaryOperator::Greater => Some(left > right),
        BinaryOperator::GreaterOrEqual => Some(left >= right),
        _ => None,
    };
    if let Some(compared) = compared {
        return Ok(Value::Bool(compared));
    }
    let dividing = matches!(operator, BinaryOperator::Divide | BinaryOperator::Modulo);
    if dividing && right.is_zero() {
        return Err(Diagnostic::new("Division by zero", "A number cannot be divided by zero.", span).into());
    }
    let result = match operator {
        BinaryOperator::Add => left.add(right),
        BinaryOperator::Subtract => left.subtract(right),
        BinaryOperator::Multiply => left.multiply(right),
        BinaryOperator::Divide => left.divide(right),
        _ => left.modulo(right),
    };
    result
        .map(Value::Number)
        .ok_or_else(|| failed("the result is too large", span))
}

fn failed(why: &str, span: Span) -> Diagnostics {
    Diagnostic::new("Operation failed", format!("Error during operation: {why}."), span).into()
}
