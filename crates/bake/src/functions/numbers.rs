//! Numbers.

use crate::value::{Number, Value};

use super::{Call, Function, FunctionError, Kind, Outcome, function, parameter, variadic};

pub(super) const FUNCTIONS: &[Function] = &[
    function("absolute", &[parameter("num", Kind::Number)], |call| {
        Ok(Value::Number(call.number(0)?.absolute()))
    }),
    function("add", &PAIR, |call| result(call.number(0)?.add(call.number(1)?))),
    function("subtract", &PAIR, |call| {
        result(call.number(0)?.subtract(call.number(1)?))
    }),
    function("multiply", &PAIR, |call| {
        result(call.number(0)?.multiply(call.number(1)?))
    }),
    function("divide", &PAIR, |call| {
        divisor(call)?;
        result(call.number(0)?.divide(call.number(1)?))
    }),
    function("modulo", &PAIR, |call| {
        divisor(call)?;
        result(call.number(0)?.modulo(call.number(1)?))
    }),
    function("negate", &[parameter("num", Kind::Number)], |call| {
        Ok(Value::Number(call.number(0)?.negated()))
    }),
    function("ceil", &[parameter("num", Kind::Number)], |call| {
        Ok(Value::Number(call.number(0)?.ceiling()))
    }),
    function("floor", &[parameter("num", Kind::Number)], |call| {
        Ok(Value::Number(call.number(0)?.floor()))
    }),
    function("int", &[parameter("num", Kind::Number)], |call| {
        Ok(Value::Number(call.number(0)?.truncated()))
    }),
    function("signum", &[parameter("num", Kind::Number)], |call| {
        let number = call.number(0)?;
        Ok(Value::integer(match (number.is_zero(), number.is_negative()) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }))
    }),
    function(
        "log",
        &[parameter("num", Kind::Number), parameter("base", Kind::Number)],
        |call| {
            result(Number::from_f64(
                call.number(0)?.to_f64().ln() / call.number(1)?.to_f64().ln(),
            ))
        },
    ),
    function(
        "pow",
        &[parameter("num", Kind::Number), parameter("power", Kind::Number)],
        |call| {
            result(Number::from_f64(
                call.number(0)?.to_f64().powf(call.number(1)?.to_f64()),
            ))
        },
    ),
    function(
        "parseint",
        &[parameter("number", Kind::Any), parameter("base", Kind::Number)],
        parse_integer,
    ),
    variadic("max", &[], parameter("numbers", Kind::Number), |call| {
        Ok(call
            .arguments
            .iter()
            .max_by(|one, two| one.order(two))
            .ok_or(NONE)?
            .clone())
    }),
    variadic("min", &[], parameter("numbers", Kind::Number), |call| {
        Ok(call
            .arguments
            .iter()
            .min_by(|one, two| one.order(two))
            .ok_or(NONE)?
            .clone())
    }),
];

const PAIR: [super::Parameter; 2] = [parameter("a", Kind::Number), parameter("b", Kind::Number)];
const NONE: &str = "must pass at least one number";

fn result(number: Option<Number>) -> Outcome {
    number
        .map(Value::Number)
        .ok_or_else(|| FunctionError::from("the result is not a number, or too large"))
}

fn divisor(call: &Call<'_>) -> Result<(), FunctionError> {
    if call.number(1)?.is_zero() {
        return Err(FunctionError::at(1, "a number cannot be divided by zero"));
    }
    Ok(())
}

fn parse_integer(call: &Call<'_>) -> Outcome {
    let Value::String(text) = call.value(0)? else {
        let is = call.value(0)?.type_of().friendly();
        return Err(FunctionError::at(
            0,
            format!("first argument must be a string, not {is}"),
        ));
    };
    let base = call.integer(1)?;
    if !(2..=62).contains(&base) {
        return Err(FunctionError::at(
            1,
            "base must be a whole number between 2 and 62 inclusive",
        ));
    }
    let parsed = if base <= 36 {
        Number::parse_radix(text, base as u32)
    } else {
        parse_large_base(text, base)
    };
    parsed
        .map(Value::Number)
        .ok_or_else(|| FunctionError::at(0, format!("cannot parse {text:?} as a base {base} integer")))
}

/// Beyond base 36, capital letters follow the small ones.
fn parse_large_base(text: &str, base: i64) -> Option<Number> {
    if text.len() > 256 {
        return None;
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    let mut number = Number::zero();
    for letter in digits.bytes() {
        let digit = match letter {
            b'0'..=b'9' => i64::from(letter - b'0'),
            b'a'..=b'z' => i64::from(letter - b'a') + 10,
            b'A'..=b'Z' => i64::from(letter - b'A') + 36,
            _ => return None,
        };
        if digit >= base {
            return None;
        }
        number = number.multiply(&Number::from(base))?.add(&Number::from(digit))?;
    }
    Some(if negative { number.negated() } else { number })
}
