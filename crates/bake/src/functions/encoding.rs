//! Base64, JSON, CSV and URLs, and the bytes of texts.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kiln_flags::csv;

use crate::value::{Entries, Type, Value, decode_json, encode_json};

use super::{Call, Function, FunctionError, Kind, Outcome, function, nullable, parameter};

pub(super) const FUNCTIONS: &[Function] = &[
    function("base64decode", &STR, |call| {
        let text = call.text(0)?;
        let bytes = STANDARD
            .decode(without_line_breaks(text))
            .map_err(|_| FunctionError::from(format!("failed to decode base64 data '{text}'")))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| FunctionError::from("the result of decoding the provided string is not valid UTF-8"))?;
        Ok(Value::string(&text))
    }),
    function("base64encode", &STR, |call| {
        Ok(Value::string(&STANDARD.encode(call.text(0)?)))
    }),
    function("byteslen", &[parameter("buf", Kind::String)], |call| {
        Ok(Value::integer(call.text(0)?.len() as i64))
    }),
    function(
        "bytesslice",
        &[
            parameter("buf", Kind::String),
            parameter("offset", Kind::Number),
            parameter("length", Kind::Number),
        ],
        bytes_slice,
    ),
    function("csvdecode", &STR, csv_decode),
    function("jsondecode", &STR, |call| {
        decode_json(call.text(0)?).map_err(FunctionError::from)
    }),
    function("jsonencode", &[nullable("val", Kind::Any)], |call| {
        Ok(Value::string(&encode_json(call.value(0)?)))
    }),
    function("urlencode", &STR, |call| Ok(Value::string(&url_encode(call.text(0)?)))),
];

const STR: [super::Parameter; 1] = [parameter("str", Kind::String)];

/// Lines of base64 may be broken anywhere.
pub(super) fn without_line_breaks(text: &str) -> String {
    text.replace(['\r', '\n'], "")
}

fn bytes_slice(call: &Call<'_>) -> Outcome {
    let text = call.text(0)?;
    let number = |at| {
        let number = call.integer(at)?;
        usize::try_from(number).map_err(|_| FunctionError::at(at, "offset and length must be non-negative"))
    };
    let (offset, length) = (number(1)?, number(2)?);
    let end = offset.saturating_add(length);
    if end > text.len() {
        return Err(FunctionError::from(format!(
            "offset {offset} + length {length} is greater than total buffer length {}",
            text.len()
        )));
    }
    let slice = text.get(offset..end);
    let slice = slice.ok_or_else(|| FunctionError::from("the slice begins or ends within a character"))?;
    Ok(Value::string(slice))
}

/// For the query of a URL: a space is a plus sign.
fn url_encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            b' ' => encoded.push('+'),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// The first line names the columns; each other line is an object.
fn csv_decode(call: &Call<'_>) -> Outcome {
    let text = call.text(0)?;
    call.make_room(text.len().checked_mul(16))?;
    let mut records = csv::records(text)
        .map_err(|error| FunctionError::from(error.to_string()))?
        .into_iter();
    let header = records.next().ok_or("missing header line")?;
    let mut seen = std::collections::HashSet::new();
    if let Some(twice) = header.iter().find(|name| !seen.insert(name.as_str())) {
        return Err(FunctionError::from(format!("duplicate column name {twice:?}")));
    }
    let types: BTreeMap<Arc<str>, Type> = header.iter().map(|name| (name.as_str().into(), Type::String)).collect();
    let mut rows = Vec::new();
    for (number, record) in records.enumerate() {
        if record.len() != header.len() {
            return Err(FunctionError::from(format!(
                "CSV parse error on line {}: wrong number of fields",
                number + 2
            )));
        }
        let row: Entries = header
            .iter()
            .zip(&record)
            .map(|(name, value)| (name.as_str().into(), Value::string(value)))
            .collect();
        rows.push(Value::object(row));
    }
    Ok(Value::list(Type::Object(Arc::new(types)), rows))
}
