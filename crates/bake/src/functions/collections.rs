//! Lists, maps and what is in them.

use std::sync::Arc;

use crate::value::{Entries, Number, Type, Value, convert, convert_all_to_one};

use super::{Call, Function, FunctionError, Kind, Outcome, function, nullable, parameter, variadic};

pub(super) const FUNCTIONS: &[Function] = &[
    function(
        "chunklist",
        &[parameter("list", Kind::List), parameter("size", Kind::Number)],
        chunk,
    ),
    variadic("coalescelist", &[], nullable("vals", Kind::Any), |call| {
        if call.arguments.is_empty() {
            return Err("at least one argument is required".into());
        }
        let is_list = |value: &Value| matches!(value.type_of(), Type::List(_) | Type::Tuple(_));
        if !call.arguments.iter().all(is_list) {
            return Err("coalescelist arguments must be lists or tuples".into());
        }
        let found = call
            .arguments
            .iter()
            .find(|value| value.length().is_some_and(|length| length > 0));
        Ok(found.ok_or("no non-null arguments")?.clone())
    }),
    function("compact", &[parameter("list", Kind::Strings)], |call| {
        let kept = call
            .items(0)?
            .iter()
            .filter(|item| item.as_str().is_some_and(|text| !text.is_empty()));
        Ok(Value::list(Type::String, kept.cloned().collect()))
    }),
    variadic("concat", &[], parameter("seqs", Kind::Any), concat),
    function(
        "contains",
        &[parameter("list", Kind::Any), parameter("value", Kind::Any)],
        |call| {
            let wanted = call.value(1)?;
            let items = call.value(0)?.items();
            let items = items.ok_or_else(|| FunctionError::at(0, "argument must be list, tuple, or set"))?;
            Ok(Value::Bool(items.iter().any(|item| item.same(wanted))))
        },
    ),
    function("distinct", &[parameter("list", Kind::List)], |call| {
        let mut kept: Vec<Value> = Vec::new();
        for item in call.items(0)? {
            if !kept.contains(item) {
                kept.push(item.clone());
            }
        }
        Ok(Value::list(item_type(call.value(0)?), kept))
    }),
    function(
        "element",
        &[parameter("list", Kind::Any), parameter("index", Kind::Number)],
        |call| {
            let (Value::List(_, items) | Value::Tuple(items)) = call.value(0)? else {
                let is = call.value(0)?.type_of().friendly();
                return Err(FunctionError::at(0, format!("cannot read elements from {is}")));
            };
            if items.is_empty() {
                return Err(FunctionError::at(0, "cannot use element function with an empty list"));
            }
            // Beyond either end it goes on at the other.
            let index = call.integer(1)?.rem_euclid(items.len() as i64);
            Ok(items[index as usize].clone())
        },
    ),
    function("flatten", &[parameter("list", Kind::Any)], |call| {
        let mut flat = Vec::new();
        flatten(call.items(0)?, &mut flat, call)?;
        Ok(Value::tuple(flat))
    }),
    function("hasindex", &INDEX, |call| {
        indexable(call)?;
        Ok(Value::Bool(indexed(call.value(0)?, call.value(1)?).is_some()))
    }),
    function("index", &INDEX, |call| {
        indexable(call)?;
        indexed(call.value(0)?, call.value(1)?).ok_or_else(|| FunctionError::from("invalid index"))
    }),
    function(
        "indexof",
        &[parameter("list", Kind::Any), parameter("value", Kind::Any)],
        |call| {
            let (Value::List(_, items) | Value::Tuple(items)) = call.value(0)? else {
                return Err("argument must be a list or tuple".into());
            };
            if items.is_empty() {
                return Err("cannot search an empty list".into());
            }
            let wanted = call.value(1)?;
            let found = items
                .iter()
                .position(|item| item.same(wanted))
                .ok_or("item not found")?;
            Ok(Value::integer(found as i64))
        },
    ),
    function("keys", &[parameter("inputMap", Kind::Any)], |call| {
        let names = entries(call, 0)?.keys().map(|name| Value::String(name.clone()));
        Ok(match call.value(0)? {
            Value::Object(_) => Value::tuple(names.collect()),
            _ => Value::list(Type::String, names.collect()),
        })
    }),
    function("length", &[parameter("collection", Kind::Any)], |call| {
        let value = call.value(0)?;
        // What an object has is known by its type; the peer counts only what is not.
        let length = value.length().filter(|_| !matches!(value, Value::Object(_)));
        let length = length.ok_or_else(|| {
            let hint = match value {
                Value::String(_) => "; use strlen for text",
                Value::Object(_) => "; use length(keys(…)) for an object",
                _ => "",
            };
            FunctionError::at(0, format!("collection must be a list, a map or a tuple{hint}"))
        })?;
        Ok(Value::integer(length as i64))
    }),
    function(
        "lookup",
        &[
            parameter("inputMap", Kind::Any),
            parameter("key", Kind::String),
            nullable("default", Kind::Any),
        ],
        lookup,
    ),
    variadic("merge", &[], nullable("maps", Kind::Any), merge),
    variadic("range", &[], parameter("params", Kind::Number), range),
    function("reverselist", &[parameter("list", Kind::Any)], |call| {
        let reversed: Vec<Value> = call.items(0)?.iter().rev().cloned().collect();
        Ok(match call.value(0)? {
            Value::Tuple(_) => Value::tuple(reversed),
            other => Value::list(item_type(other), reversed),
        })
    }),
    function(
        "slice",
        &[
            parameter("list", Kind::Any),
            parameter("start_index", Kind::Number),
            parameter("end_index", Kind::Number),
        ],
        slice,
    ),
    function("sort", &[parameter("list", Kind::Strings)], |call| {
        let mut sorted = call.items(0)?.to_vec();
        if let Some(position) = sorted.iter().position(Value::is_null) {
            let message = format!("given list element {position} is null; a null string cannot be sorted");
            return Err(FunctionError::from(message));
        }
        sorted.sort_by(Value::order);
        Ok(Value::list(Type::String, sorted))
    }),
    function("values", &[parameter("mapping", Kind::Any)], |call| {
        let values = entries(call, 0)?.values().cloned().collect();
        Ok(match call.value(0)? {
            Value::Map(item, _) => Value::list(item.clone(), values),
            _ => Value::tuple(values),
        })
    }),
    function(
        "zipmap",
        &[parameter("keys", Kind::Strings), parameter("values", Kind::Any)],
        zip,
    ),
];

const INDEX: [super::Parameter; 2] = [parameter("collection", Kind::Any), parameter("key", Kind::Any)];

fn item_type(value: &Value) -> Type {
    match value {
        Value::List(item, _) | Value::Set(item, _) | Value::Map(item, _) => item.clone(),
        _ => Type::Any,
    }
}

fn entries<'a>(call: &'a Call<'_>, number: usize) -> Result<&'a Entries, FunctionError> {
    match call.value(number)?.entries() {
        Some(entries) => Ok(entries),
        None => Err(FunctionError::at(number, "a map or an object is required")),
    }
}

fn chunk(call: &Call<'_>) -> Outcome {
    let (items, size) = (call.items(0)?, call.integer(1)?);
    let item = item_type(call.value(0)?);
    let of = Type::List(item.clone().into());
    let size = match usize::try_from(size) {
        Ok(0) => items.len().max(1),
        Ok(size) => size,
        Err(_) => return Err(FunctionError::at(1, "the size argument must be positive")),
    };
    let chunks = items
        .chunks(size)
        .map(|chunk| Value::list(item.clone(), chunk.to_vec()));
    Ok(Value::list(of, chunks.collect()))
}

fn concat(call: &Call<'_>) -> Outcome {
    if call.arguments.is_empty() {
        return Err("at least one argument is required".into());
    }
    let mut all = Vec::new();
    let mut lists = true;
    for number in 0..call.arguments.len() {
        match call.value(number)? {
            Value::List(..) => {}
            Value::Tuple(_) => lists = false,
            _ => return Err(FunctionError::at(number, "all arguments must be lists or tuples")),
        }
        all.extend(call.items(number)?.iter().cloned());
        call.make_room(all.len().checked_mul(32))?;
    }
    if lists && let Some((item, items)) = convert_all_to_one(&all) {
        return Ok(Value::list(item, items));
    }
    Ok(Value::tuple(all))
}

fn flatten(items: &[Value], flat: &mut Vec<Value>, call: &Call<'_>) -> Result<(), FunctionError> {
    for item in items {
        match item.items() {
            Some(inner) => flatten(inner, flat, call)?,
            None => flat.push(item.clone()),
        }
        call.make_room(flat.len().checked_mul(32))?;
    }
    Ok(())
}

fn indexable(call: &Call<'_>) -> Result<(), FunctionError> {
    match call.value(0)? {
        Value::List(..) | Value::Tuple(_) | Value::Map(..) | Value::Object(_) => Ok(()),
        _ => Err(FunctionError::at(0, "collection must be a list, a map or a tuple")),
    }
}

fn indexed(collection: &Value, key: &Value) -> Option<Value> {
    match collection {
        Value::List(_, items) | Value::Tuple(items) => match key {
            Value::Number(number) => items.get(usize::try_from(number.to_i64()?).ok()?).cloned(),
            _ => None,
        },
        Value::Map(_, entries) | Value::Object(entries) => entries.get(key.as_str()?).cloned(),
        _ => None,
    }
}

fn lookup(call: &Call<'_>) -> Outcome {
    let name = call.text(1)?;
    let default = call.value(2)?;
    match (entries(call, 0)?.get(name), call.value(0)?) {
        (Some(value), _) => Ok(value.clone()),
        (None, Value::Map(item, _)) => convert(default, item).map_err(|error| FunctionError::at(2, error.message)),
        (None, _) => Ok(default.clone()),
    }
}

fn merge(call: &Call<'_>) -> Outcome {
    let mut merged = Entries::new();
    let mut maps: Option<Type> = None;
    let mut only_maps = true;
    for (number, value) in call.arguments.iter().enumerate() {
        match value {
            Value::Null(_) => continue,
            Value::Map(item, _) => {
                only_maps &= maps.as_ref().is_none_or(|known| known == item);
                maps = Some(item.clone());
            }
            _ => only_maps = false,
        }
        let more = entries(call, number)?;
        call.make_room((merged.len() + more.len()).checked_mul(48))?;
        merged.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    let nothing = !call.arguments.is_empty() && call.arguments.iter().all(Value::is_null);
    match maps {
        // Of nothing at all nothing is made.
        _ if nothing => Ok(call.arguments[0].clone()),
        Some(item) if only_maps => Ok(Value::Map(item, Arc::new(merged))),
        _ => Ok(Value::object(merged)),
    }
}

/// Ranges are short: a long one is a mistake.
const LONGEST_RANGE: usize = 1024;

fn range(call: &Call<'_>) -> Outcome {
    let (start, end, step) = match call.arguments.len() {
        1 => (Number::zero(), call.number(0)?.clone(), None),
        2 => (call.number(0)?.clone(), call.number(1)?.clone(), None),
        3 => (
            call.number(0)?.clone(),
            call.number(1)?.clone(),
            Some(call.number(2)?.clone()),
        ),
        _ => return Err("must have one, two, or three arguments".into()),
    };
    let down = end < start;
    let step = step.unwrap_or_else(|| Number::from(if down { -1 } else { 1 }));
    if step.is_zero() {
        return Err(FunctionError::at(2, "step must not be zero"));
    }
    if down != step.is_negative() && start != end {
        let wanted = if down { "negative" } else { "positive" };
        return Err(FunctionError::at(
            2,
            format!("the step must be {wanted} between these limits"),
        ));
    }
    let mut numbers = Vec::new();
    let mut number = start;
    while if down { number > end } else { number < end } {
        if numbers.len() >= LONGEST_RANGE {
            return Err(FunctionError::from(format!(
                "more than {LONGEST_RANGE} values were generated; either decrease the difference between start and end or use a smaller step"
            )));
        }
        let next = number.add(&step).ok_or("the numbers are too large")?;
        numbers.push(Value::Number(std::mem::replace(&mut number, next)));
    }
    Ok(Value::list(Type::Number, numbers))
}

fn slice(call: &Call<'_>) -> Outcome {
    let items = call.items(0)?;
    if matches!(call.value(0)?, Value::Set(..)) {
        return Err(FunctionError::at(
            0,
            "cannot slice a set, because its elements do not have indices; explicitly convert to a list if the ordering of the result is not important",
        ));
    }
    let (start, end) = (call.integer(1)?, call.integer(2)?);
    let length = items.len() as i64;
    if start < 0 {
        return Err(FunctionError::at(1, "start index must not be less than zero"));
    }
    if start > length {
        return Err(FunctionError::at(
            1,
            format!("start index must not be greater than the length of the list, {length}"),
        ));
    }
    if end < 0 {
        return Err(FunctionError::at(2, "end index must not be less than zero"));
    }
    if end > length {
        return Err(FunctionError::at(
            2,
            format!("end index must not be greater than the length of the list, {length}"),
        ));
    }
    if start > end {
        return Err(FunctionError::at(1, "start index must not be greater than end index"));
    }
    let part = items[start as usize..end as usize].to_vec();
    Ok(match call.value(0)? {
        Value::Tuple(_) => Value::tuple(part),
        other => Value::list(item_type(other), part),
    })
}

fn zip(call: &Call<'_>) -> Outcome {
    let keys = call.strings(0)?;
    let values = call.items(1)?;
    if keys.len() != values.len() {
        return Err(FunctionError::from(format!(
            "number of keys ({}) does not match number of values ({})",
            keys.len(),
            values.len()
        )));
    }
    let pairs = keys.into_iter().map(Arc::from).zip(values.iter().cloned());
    Ok(match call.value(1)? {
        Value::Tuple(_) => Value::object(pairs.collect()),
        other => Value::Map(item_type(other), Arc::new(pairs.collect())),
    })
}
