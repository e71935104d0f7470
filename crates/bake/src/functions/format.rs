//! `format` and `formatlist`: text by a pattern with verbs, as in C and Go.

use num_bigint::BigInt;
use unicode_segmentation::UnicodeSegmentation;

use crate::value::{Decimal, Number, Type, Value, convert, encode_json};

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
    /// As it is written, with the percent sign.
    written: String,
    letter: char,
    /// Counted from 1.
    argument: usize,
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
    let mut next = 1;
    let mut highest = 0;
    let mut at = 0;
    while let Some(percent) = pattern[at..].find('%').map(|found| found + at) {
        text.push_str(&pattern[at..percent]);
        if pattern[percent + 1..].starts_with('%') {
            text.push('%');
            at = percent + 2;
            continue;
        }
        let verb = Verb::parse(pattern, percent, next)?;
        at = percent + verb.written.len();
        next = verb.argument + 1;
        highest = highest.max(verb.argument);
        let written = &verb.written;
        let argument = arguments.get(verb.argument - 1).ok_or_else(|| {
            FunctionError::from(format!(
                "not enough arguments for {written:?} at {percent}: need index {} but have {} total",
                verb.argument,
                arguments.len()
            ))
        })?;
        if argument.is_null() && verb.letter != 'v' {
            return Err(FunctionError::from(format!(
                "unsupported value for {written:?} at {percent}: null value cannot be formatted"
            )));
        }
        if !"vtbdoxXeEfgGsq".contains(verb.letter) {
            return Err(FunctionError::from(format!(
                "unsupported format verb {:?} in {written:?} at offset {percent}",
                verb.letter
            )));
        }
        let shown = verb
            .shown(argument)
            .map_err(|why| FunctionError::from(format!("unsupported value for {written:?} at {percent}: {why}")))?;
        text.push_str(&shown);
        if text.len() > room {
            return Err("the result is too large".into());
        }
    }
    text.push_str(&pattern[at..]);
    if highest < arguments.len() {
        // What is given and not shown is a mistake.
        let message = match highest {
            0 => "too many arguments; no verbs in format string".to_owned(),
            highest => format!("too many arguments; only {highest} used by format string"),
        };
        return Err(FunctionError::at(highest + 1, message));
    }
    Ok(text)
}

/// Goes through a pattern letter by letter.
struct Letters<'a> {
    rest: std::iter::Peekable<std::str::CharIndices<'a>>,
    /// Where the verb begins.
    start: usize,
}

impl Letters<'_> {
    fn take(&mut self, wanted: char) -> bool {
        self.rest.next_if(|(_, letter)| *letter == wanted).is_some()
    }

    /// A number without leading zeros, if one stands here.
    fn number(&mut self) -> Result<Option<usize>, FunctionError> {
        match self.rest.peek() {
            Some((_, '1'..='9')) => self.digits().map(Some),
            _ => Ok(None),
        }
    }

    fn digits(&mut self) -> Result<usize, FunctionError> {
        let mut number = 0usize;
        while let Some((_, digit)) = self.rest.next_if(|(_, letter)| letter.is_ascii_digit()) {
            number = number * 10 + digit.to_digit(10).unwrap_or(0) as usize;
            if number > WIDEST {
                return Err(FunctionError::from(format!(
                    "width of more than {WIDEST} at offset {}",
                    self.start
                )));
            }
        }
        Ok(number)
    }

    /// What stands here is not what may.
    fn unexpected(&mut self) -> FunctionError {
        FunctionError::from(match self.rest.next() {
            Some((at, letter)) => format!("unrecognized format character {letter:?} at offset {}", self.start + at),
            None => format!("invalid format string starting at offset {}", self.start),
        })
    }
}

impl Verb {
    /// `%`, flags, `[argument]`, width, `.precision` and a letter, in this order.
    fn parse(pattern: &str, start: usize, next: usize) -> Result<Verb, FunctionError> {
        let mut letters = Letters {
            rest: pattern[start..].char_indices().peekable(),
            start,
        };
        letters.rest.next();
        let mut verb = Verb {
            argument: next,
            ..Verb::default()
        };
        while let Some((_, flag)) = letters.rest.next_if(|(_, letter)| "0#-+ ".contains(*letter)) {
            match flag {
                '0' => verb.zero = true,
                '#' => verb.sharp = true,
                '-' => verb.minus = true,
                '+' => verb.plus = true,
                _ => verb.space = true,
            }
        }
        if letters.take('[') {
            verb.argument = letters.number()?.ok_or_else(|| letters.unexpected())?;
            if !letters.take(']') {
                return Err(letters.unexpected());
            }
        }
        verb.width = letters.number()?;
        if letters.take('.') {
            verb.precision = Some(letters.digits()?);
        }
        match letters.rest.peek() {
            Some((at, letter)) if letter.is_ascii_alphabetic() => {
                verb.letter = *letter;
                verb.written = pattern[start..=start + at].to_owned();
                Ok(verb)
            }
            _ => Err(letters.unexpected()),
        }
    }

    fn shown(&self, argument: &Value) -> Result<String, String> {
        match self.letter {
            'v' => Ok(self.padded(match argument {
                Value::String(text) if !self.sharp => text.to_string(),
                Value::Number(number) if !self.sharp => {
                    let sign = if number.is_negative() { "-" } else { "" };
                    format!("{sign}{}", Decimal::general(number, None))
                }
                other => encode_json(other),
            })),
            't' => match convert(argument, &Type::Bool).map_err(|error| error.message)? {
                Value::Bool(value) => Ok(value.to_string()),
                _ => Err("bool required".to_owned()),
            },
            's' => Ok(self.padded(self.text(argument)?)),
            'q' => Ok(self.padded(encode_json(&Value::string(&self.text(argument)?)))),
            'd' | 'b' | 'o' | 'x' | 'X' => self.integer(argument),
            _ => self.float(argument),
        }
    }

    /// As much of a text as the precision lets through; a precision of zero is none.
    fn text(&self, argument: &Value) -> Result<String, String> {
        match convert(argument, &Type::String).map_err(|error| error.message)? {
            Value::String(text) => Ok(match self.precision {
                Some(precision @ 1..) => text.graphemes(true).take(precision).collect(),
                _ => text.to_string(),
            }),
            _ => Err("string required".to_owned()),
        }
    }

    fn number(argument: &Value) -> Result<Number, String> {
        match convert(argument, &Type::Number).map_err(|error| error.message)? {
            Value::Number(number) => Ok(number),
            _ => Err("number required".to_owned()),
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
            if precision == 0 && number.is_zero() {
                return Ok(String::new());
            }
            digits = format!("{digits:0>precision$}");
        }
        let sign = self.sign(&number);
        let prefix = if self.sharp { prefix } else { "" };
        if self.zero && !self.minus && self.precision.is_none() {
            let width = self.width.unwrap_or(0).saturating_sub(sign.len() + prefix.len());
            digits = format!("{digits:0>width$}");
        }
        Ok(self.spaced(&format!("{sign}{prefix}{digits}")))
    }

    fn float(&self, argument: &Value) -> Result<String, String> {
        let number = Verb::number(argument)?;
        let mut digits = match self.letter {
            'f' => Decimal::exact(&number).fixed(self.precision.unwrap_or(6)),
            'e' | 'E' => Decimal::exact(&number).scientific(self.precision.unwrap_or(6)),
            _ => Decimal::general(&number, self.precision),
        };
        if self.letter.is_uppercase() {
            digits = digits.to_uppercase();
        }
        let sign = self.sign(&number);
        if self.zero && !self.minus {
            let width = self.width.unwrap_or(0).saturating_sub(sign.len());
            digits = format!("{digits:0>width$}");
        }
        Ok(self.spaced(&format!("{sign}{digits}")))
    }

    fn sign(&self, number: &Number) -> &'static str {
        match (number.is_negative(), self.plus, self.space) {
            (true, ..) => "-",
            (false, true, _) => "+",
            (false, false, true) => " ",
            (false, false, false) => "",
        }
    }

    /// Made as wide as is wanted, with zeros where they are asked for.
    fn padded(&self, text: String) -> String {
        let padding = if self.zero { "0" } else { " " };
        self.filled(text, padding)
    }

    fn spaced(&self, text: &str) -> String {
        self.filled(text.to_owned(), " ")
    }

    fn filled(&self, text: String, padding: &str) -> String {
        let width = self.width.unwrap_or(0);
        let missing = width.saturating_sub(text.graphemes(true).count());
        if self.minus {
            text + &padding.repeat(missing)
        } else {
            padding.repeat(missing) + &text
        }
    }
}
