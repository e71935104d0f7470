//! Sets.

use crate::value::{Type, Value, convert, unify};

use super::{Call, Function, FunctionError, Kind, Outcome, function, parameter, variadic};

pub(super) const FUNCTIONS: &[Function] = &[
    function(
        "sethaselement",
        &[parameter("set", Kind::Set), parameter("elem", Kind::Any)],
        |call| {
            let wanted = call.value(1)?;
            Ok(Value::Bool(call.items(0)?.iter().any(|item| item.same(wanted))))
        },
    ),
    variadic("setunion", &FIRST, OTHERS, |call| {
        combine(call, |all, set| {
            all.extend(set.iter().cloned());
        })
    }),
    variadic("setintersection", &FIRST, OTHERS, |call| {
        combine(call, |all, set| all.retain(|item| set.contains(item)))
    }),
    function("setsubtract", &PAIR, |call| {
        combine(call, |all, set| all.retain(|item| !set.contains(item)))
    }),
    variadic("setsymmetricdifference", &FIRST, OTHERS, |call| {
        combine(call, |all, set| {
            let only_other: Vec<Value> = set.iter().filter(|item| !all.contains(item)).cloned().collect();
            all.retain(|item| !set.contains(item));
            all.extend(only_other);
        })
    }),
    variadic("setproduct", &[], parameter("sets", Kind::Any), product),
];

const FIRST: [super::Parameter; 1] = [parameter("first_set", Kind::Set)];
const OTHERS: super::Parameter = parameter("other_sets", Kind::Set);
const PAIR: [super::Parameter; 2] = [parameter("a", Kind::Set), parameter("b", Kind::Set)];

/// All sets as sets of one type, and then the operation from left to right.
fn combine(call: &Call<'_>, apply: impl Fn(&mut Vec<Value>, &[Value])) -> Outcome {
    let types: Vec<Type> = call
        .arguments
        .iter()
        .filter_map(|set| match set {
            Value::Set(item, items) if !items.is_empty() => Some(item.clone()),
            _ => None,
        })
        .collect();
    let item = unify(&types).ok_or("given sets must all have compatible element types")?;
    let mut sets = call.arguments.iter().map(|set| -> Result<Vec<Value>, FunctionError> {
        let items = set.items().map(|items| items.as_slice()).unwrap_or_default();
        items
            .iter()
            .map(|value| convert(value, &item).map_err(|error| FunctionError::from(error.message)))
            .collect()
    });
    let mut all = sets.next().transpose()?.unwrap_or_default();
    for set in sets {
        apply(&mut all, &set?);
    }
    Ok(Value::set(item, all))
}

/// Every way of taking one item of each: a set of tuples, or a list if every argument has an order.
fn product(call: &Call<'_>) -> Outcome {
    if call.arguments.len() < 2 {
        return Err("at least two arguments are required".into());
    }
    let ordered = call.arguments.iter().all(|value| !matches!(value, Value::Set(..)));
    let mut count: usize = 1;
    let mut columns: Vec<(Type, Vec<Value>)> = Vec::new();
    for (number, value) in call.arguments.iter().enumerate() {
        let Some(items) = value.items() else {
            return Err(FunctionError::at(number, "a set or a list is required"));
        };
        let converted = crate::value::convert_all_to_one(items);
        let column = converted.ok_or_else(|| FunctionError::at(number, "all elements must be of the same type"))?;
        count = count.checked_mul(items.len()).ok_or("the result is too large")?;
        columns.push(column);
    }
    call.make_room(count.checked_mul(32 * (columns.len() + 1)))?;
    let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
    for (_, items) in &columns {
        rows = rows
            .iter()
            .flat_map(|row| {
                items.iter().map(move |item| {
                    let mut longer = row.clone();
                    longer.push(item.clone());
                    longer
                })
            })
            .collect();
    }
    let item = Type::Tuple(columns.iter().map(|(of, _)| of.clone()).collect());
    let rows = rows.into_iter().map(Value::tuple).collect();
    Ok(if ordered {
        Value::list(item, rows)
    } else {
        Value::set(item, rows)
    })
}
