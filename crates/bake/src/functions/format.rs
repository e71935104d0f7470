//! `format` and `formatlist`: text by a pattern with verbs, as in C and Go.

use num_bigint::BigInt;
use unicode_segmentation::UnicodeSegmentation;

use crate::value::{Number, Type, Value, convert, encode_json};

use super::{Call, Function, FunctionError, Kind, Outcome, nullable, parameter, variadic};

pub(super) const FUNCTIONS: &[Function] = &[
    variadic(
        "format",
        &[parameter("format", Kind::String)],
        nullable("args", Kind::Any),
        |call| {
            let text = formatted(call.text(0)?, &call.arguments[1..], call.room)?;
            Ok(Value::string(&text))
        },
    ),
    variadic(
        "formatlist",
        &[parameter("format", Kind::String)],
        nullable("args", Kind::Any),
        format_list,
    ),
];

/// Widths and precisions beyond this are a mistake.
const WIDEST: usize = 65_536;

/// One text for each position of the lists; what is no list is the same in each.
fn format_list(call: &Call<'_>) -> Outcome {
    let pattern = call.text(0)?;
    let arguments = &call.arguments[1..];
    if arguments.is_empty() {
        let text = formatted(pattern, &[], call.room)?;
        return Ok(Value::strings([text.as_str()]));
    }
    let mut length: Option<usize> = None;
    for (number, argument) in arguments.iter().enumerate() {
        let Some(items) = argument.items() else { continue };
        match length {
            Some(known) if known != items.len() => {
                return Err(FunctionError::at(
                    number + 1,
                    format!(
                        "argument {} has length {}, which is inconsistent with argument 1 of length {known}",
                        number + 1,
                        items.len()
                    ),
                ));
            }
            _ => length = Some(items.len()),
        }
    }
    let mut room = call.room;
    let mut texts = Vec::new();
    for position in 0..length.unwrap_or(1) {
        let row: Vec<Value> = arguments
            .iter()
            .map(|argument| match argument.items() {
                Some(items) => items[position].clone(),
                None => argument.clone(),
            })
            .collect();
        let text = formatted(pattern, &row, room)
            .map_err(|error| FunctionError::from(format!("error on format iteration {position}: {}", error.message)))?;
        room = room.saturating_sub(text.len());
        texts.push(Value::string(&text));
    }
    Ok(Value::list(Type::String, texts))
}

/// A verb with everything that modifies it.
#[derive(Debug, Default)]
struct Verb {
    letter: char,
    sharp: bool,
    plus: bool,
    minus: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

fn formatted(pattern: &str, arguments: &[Value], room: usize) -> Result<String, FunctionError> {
    let mut text = String::new();
    let mut next = 0;
    let mut highest = 0;
    let mut letters = pattern.char_indices().peekable();
    while let Some((start, letter)) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        let mut verb = Verb::default();
        let mut explicit = None;
        let unfinished = || {
            FunctionError::from(format!(
                "unrecognized format character at offset {start}: the format ends within a verb"
            ))
        };
        loop {
            let (_, letter) = letters.next().ok_or_else(unfinished)?;
            match letter {
                '#' => verb.sharp = true,
                '+' => verb.plus = true,
                '-' => verb.minus = true,
                ' ' => verb.space = true,
                '0' if verb.width.is_none() && verb.precision.is_none() => verb.zero = true,
                '0'..='9' => {
                    let mut number = letter.to_digit(10).unwrap_or(0) as usize;
                    while let Some(digit) = letters.peek().and_then(|(_, letter)| letter.to_digit(10)) {
                        letters.next();
                        number = number.saturating_mul(10).saturating_add(digit as usize);
                    }
                    if number > WIDEST {
                        return Err(FunctionError::from(format!(
                            "width of more than {WIDEST} at offset {start}"
                        )));
                    }
                    if verb.precision.is_some() {
                        verb.precision = Some(number);
                    } else {
                        verb.width = Some(number);
                    }
                }
                '.' => verb.precision = Some(0),
                '[' => {
                    let mut number = 0usize;
                    loop {
                        match letters.next().ok_or_else(unfinished)? {
                            (_, ']') => break,
                            (_, digit) if digit.is_ascii_digit() => {
                                number = number.saturating_mul(10).saturating_add(digit as usize - '0' as usize);
                            }
                            (at, _) => {
                                return Err(FunctionError::from(format!("invalid argument index at offset {at}")));
                            }
                        }
                    }
                    explicit = Some(number);
                }
                letter => {
                    verb.letter = letter;
                    break;
                }
            }
        }
        if verb.letter == '%' {
            text.push('%');
            continue;
        }
        let position = explicit.unwrap_or(next + 1);
        next = position;
        highest = highest.max(position);
        let argument = position
            .checked_sub(1)
            .and_then(|position| arguments.get(position))
            .ok_or_else(|| {
                FunctionError::from(format!(
                    "not enough arguments for \"%{}\" at {start}: need index {position} but have {} total",
                    verb.letter,
                    arguments.len()
                ))
            })?;
        let written = verb.write(argument).map_err(|why| {
            FunctionError::from(format!("unsupported value for \"%{}\" at {start}: {why}", verb.letter))
        })?;
        text.push_str(&written);
        if text.len() > room {
            return Err("the result is too large".into());
        }
    }
    if highest < arguments.len() && !pattern.contains("%[") {
        return Err(FunctionError::at(
            highest + 1,
            format!("too many arguments; only {highest} used by format string"),
        ));
    }
    Ok(text)
}

impl Verb {
    fn write(&self, argument: &Value) -> Result<String, String> {
        match self.letter {
            'v' if self.sharp => Ok(self.padded(encode_json(argument))),
            'v' => match argument {
                Value::Null(_) => Ok(self.padded("null".to_owned())),
                Value::Number(number) => Ok(self.padded_number(&number.to_string())),
                Value::String(_) | Value::Bool(_) => self.text(argument),
                _ => Ok(self.padded(encode_json(argument))),
            },
            't' => match convert(argument, &Type::Bool).map_err(|error| error.message)? {
                Value::Bool(value) => Ok(self.padded(value.to_string())),
                _ => Err("must not be null".to_owned()),
            },
            's' => self.text(argument),
            'q' => match convert(argument, &Type::String).map_err(|error| error.message)? {
                Value::String(text) => Ok(self.padded(encode_json(&Value::String(text)))),
                _ => Ok(self.padded("null".to_owned())),
            },
            'd' | 'b' | 'o' | 'x' | 'X' => self.integer(argument),
            'e' | 'E' | 'f' | 'g' | 'G' => self.float(argument),
            other => Err(format!("unrecognized format character {other:?}")),
        }
    }

    fn text(&self, argument: &Value) -> Result<String, String> {
        match convert(argument, &Type::String).map_err(|error| error.message)? {
            Value::String(text) => {
                let cut: String = match self.precision {
                    Some(precision) => text.graphemes(true).take(precision).collect(),
                    None => text.to_string(),
                };
                Ok(self.padded(cut))
            }
            _ => Err("must not be null".to_owned()),
        }
    }

    fn number(argument: &Value) -> Result<Number, String> {
        match convert(argument, &Type::Number).map_err(|error| error.message)? {
            Value::Number(number) => Ok(number),
            _ => Err("must not be null".to_owned()),
        }
    }

    fn integer(&self, argument: &Value) -> Result<String, String> {
        let number = Verb::number(argument)?;
        let whole: BigInt = number.to_bigint().ok_or("an integer is required")?;
        let (radix, prefix) = match self.letter {
            'b' => (2, "0b"),
            'o' => (8, "0"),
            'x' => (16, "0x"),
            'X' => (16, "0X"),
            _ => (10, ""),
        };
        let mut digits = whole.magnitude().to_str_radix(radix);
        if self.letter == 'X' {
            digits = digits.to_uppercase();
        }
        if let Some(precision) = self.precision {
            digits = format!("{digits:0>precision$}");
        }
        let sign = if number.is_negative() { "-" } else { "" };
        let prefix = if self.sharp { prefix } else { "" };
        Ok(self.padded_number(&format!("{sign}{prefix}{digits}")))
    }

    fn float(&self, argument: &Value) -> Result<String, String> {
        let number = Verb::number(argument)?;
        let value = number.to_f64();
        let text = match self.letter {
            'f' => match self.precision {
                Some(precision) => format!("{value:.precision$}"),
                None => format!("{value:.6}"),
            },
            'e' | 'E' => exponent(&format!("{value:.*e}", self.precision.unwrap_or(6))),
            _ => general(value, self.precision),
        };
        let text = if self.letter.is_uppercase() {
            text.to_uppercase()
        } else {
            text
        };
        Ok(self.padded_number(&text))
    }

    fn padded(&self, text: String) -> String {
        let width = self.width.unwrap_or(0);
        let missing = width.saturating_sub(text.graphemes(true).count());
        if self.minus {
            text + &" ".repeat(missing)
        } else {
            " ".repeat(missing) + &text
        }
    }

    fn padded_number(&self, text: &str) -> String {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None if self.plus => ("+", text),
            None if self.space => (" ", text),
            None => ("", text),
        };
        if self.zero && !self.minus {
            let width = self.width.unwrap_or(0).saturating_sub(sign.len());
            return format!("{sign}{digits:0>width$}");
        }
        self.padded(format!("{sign}{digits}"))
    }
}

/// Exponents have a sign and two digits at least.
fn exponent(text: &str) -> String {
    match text.split_once('e') {
        Some((mantissa, exponent)) => {
            let (sign, digits) = match exponent.strip_prefix('-') {
                Some(digits) => ('-', digits),
                None => ('+', exponent),
            };
            format!("{mantissa}e{sign}{digits:0>2}")
        }
        None => text.to_owned(),
    }
}

/// The shorter of both forms: an exponent for very large and very small numbers.
fn general(value: f64, precision: Option<usize>) -> String {
    let scientific = match precision {
        Some(precision) => format!("{value:.*e}", precision.max(1) - 1),
        None => format!("{value:e}"),
    };
    let power: i32 = scientific
        .split_once('e')
        .and_then(|(_, power)| power.parse().ok())
        .unwrap_or(0);
    let limit = precision.map_or(21, |precision| precision.max(1) as i32);
    if power < -4 || power >= limit {
        let (mantissa, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        let mantissa = if mantissa.contains('.') {
            mantissa.trim_end_matches('0').trim_end_matches('.')
        } else {
            mantissa
        };
        return exponent(&format!("{mantissa}e{power}"));
    }
    match precision {
        Some(precision) => {
            let places = (precision.max(1) as i32 - 1 - power).max(0) as usize;
            let text = format!("{value:.places$}");
            if text.contains('.') {
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            } else {
                text
            }
        }
        None => format!("{value}"),
    }
}
