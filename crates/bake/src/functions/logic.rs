//! Truth and comparison.

use crate::value::{Value, convert, unify};

use super::{Call, Function, FunctionError, Kind, Outcome, function, nullable, parameter, variadic};

pub(super) const FUNCTIONS: &[Function] = &[
    function(
        "and",
        &[parameter("a", Kind::Bool), parameter("b", Kind::Bool)],
        |call| Ok(Value::Bool(call.boolean(0)? && call.boolean(1)?)),
    ),
    function(
        "or",
        &[parameter("a", Kind::Bool), parameter("b", Kind::Bool)],
        |call| Ok(Value::Bool(call.boolean(0)? || call.boolean(1)?)),
    ),
    function("not", &[parameter("val", Kind::Bool)], |call| {
        Ok(Value::Bool(!call.boolean(0)?))
    }),
    function("equal", &[nullable("a", Kind::Any), nullable("b", Kind::Any)], |call| {
        Ok(Value::Bool(call.value(0)?.same(call.value(1)?)))
    }),
    function(
        "notequal",
        &[nullable("a", Kind::Any), nullable("b", Kind::Any)],
        |call| Ok(Value::Bool(!call.value(0)?.same(call.value(1)?))),
    ),
    function("greaterthan", &NUMBERS, |call| {
        Ok(Value::Bool(call.number(0)? > call.number(1)?))
    }),
    function("greaterthanorequalto", &NUMBERS, |call| {
        Ok(Value::Bool(call.number(0)? >= call.number(1)?))
    }),
    function("lessthan", &NUMBERS, |call| {
        Ok(Value::Bool(call.number(0)? < call.number(1)?))
    }),
    function("lessthanorequalto", &NUMBERS, |call| {
        Ok(Value::Bool(call.number(0)? <= call.number(1)?))
    }),
    variadic("coalesce", &[], nullable("vals", Kind::Any), coalesce),
];

const NUMBERS: [super::Parameter; 2] = [parameter("a", Kind::Number), parameter("b", Kind::Number)];

/// The first argument that is not null, as the type that all have in common.
fn coalesce(call: &Call<'_>) -> Outcome {
    let types: Vec<_> = call.arguments.iter().map(Value::type_of).collect();
    let common = unify(&types).ok_or("all arguments must have the same type")?;
    let found = call.arguments.iter().find(|value| !value.is_null());
    let found = found.ok_or("no non-null arguments")?;
    convert(found, &common).map_err(|error| FunctionError::from(error.message))
}
