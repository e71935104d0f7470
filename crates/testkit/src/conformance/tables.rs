//! The form of `tables.json`: the tables of a peer's test suite, their values as data.
//!
//! An expected error stands as `{"$error": message}`, bytes that are no text as `{"$base64": …}`; null is nil or empty.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::CorpusResult;

/// One table of a test.
#[derive(Debug, Deserialize)]
pub(super) struct Table {
    pub(super) test: String,
    pub(super) table: String,
    pub(super) cases: Vec<Case>,
}

/// One row of a table.
#[derive(Debug, Deserialize)]
pub(super) struct Case {
    id: String,
    /// The key, where the table is a map.
    #[serde(default, deserialize_with = "key_text")]
    pub(super) key: Option<String>,
    #[serde(default, rename = "case")]
    pub(super) value: Value,
}

/// A key as text; the keys of some maps are truth values.
fn key_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let key = Value::deserialize(deserializer)?;
    Ok(match key {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    })
}

/// What the driver of a table says of a case.
pub(super) enum Verdict {
    /// It was driven.
    Driven(Result<(), String>),
    /// It cannot be, for this reason.
    Skipped(String),
}

impl From<Result<(), String>> for Verdict {
    fn from(outcome: Result<(), String>) -> Self {
        Self::Driven(outcome)
    }
}

/// Drives every table of `dir/tables.json`. `drive` gives `None` for a table that it does not know, whose cases then fail:
/// nothing is passed over silently.
pub(super) fn drive(dir: &Path, result: &mut CorpusResult, drive: impl Fn(&Table, &Case) -> Option<Verdict>) {
    #[derive(Deserialize)]
    struct File {
        tables: Vec<Table>,
    }
    let path = dir.join("tables.json");
    let file = fs::read(&path)
        .map_err(|error| error.to_string())
        .and_then(|bytes| serde_json::from_slice::<File>(&bytes).map_err(|error| error.to_string()));
    let file = match file {
        Ok(file) => file,
        Err(error) => return result.fail("tables.json", error),
    };
    for table in &file.tables {
        for case in &table.cases {
            let name = format!("{} ({})", case.id, table.table);
            // A panic is a failed case, not the end of the run.
            match catch_unwind(AssertUnwindSafe(|| drive(table, case))) {
                Ok(Some(Verdict::Driven(outcome))) => result.record(name, outcome),
                Ok(Some(Verdict::Skipped(reason))) => result.skip(name, reason),
                Ok(None) => result.fail(
                    name,
                    format!("no driver for the table `{}` of {}", table.table, table.test),
                ),
                Err(_) => result.fail(name, "the code under test panics"),
            }
        }
    }
}

impl Case {
    /// A text field of the case; empty when it is null or absent.
    pub(super) fn text(&self, field: &str) -> &str {
        self.value[field].as_str().unwrap_or_default()
    }

    /// Whether the field holds an expected error: a message, `{"$error": …}` or `true`.
    pub(super) fn expects_error(&self, field: &str) -> bool {
        match &self.value[field] {
            Value::Null | Value::Bool(false) => false,
            Value::String(message) => !message.is_empty(),
            _ => true,
        }
    }

    /// The message of the expected error in a field.
    pub(super) fn error(&self, field: &str) -> &str {
        let value = &self.value[field];
        value.as_str().or_else(|| value["$error"].as_str()).unwrap_or_default()
    }

    /// The case itself as a text.
    pub(super) fn whole(&self) -> &str {
        self.value.as_str().unwrap_or_default()
    }
}

/// The strings of an array; empty when it is null.
pub(super) fn strings(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// Holds when both are equal.
pub(super) fn equal<T: PartialEq + std::fmt::Debug>(expected: T, is: T) -> Result<(), String> {
    if expected == is {
        Ok(())
    } else {
        Err(format!("expected {expected:?}, got {is:?}"))
    }
}

/// Holds when the text contains the other one.
pub(super) fn contains(text: &str, expected: &str) -> Result<(), String> {
    if text.contains(expected) {
        Ok(())
    } else {
        Err(format!("{text:?} does not contain {expected:?}"))
    }
}

/// Holds when there was an error.
pub(super) fn refused<T: std::fmt::Debug, E>(outcome: Result<T, E>) -> Result<(), String> {
    match outcome {
        Err(_) => Ok(()),
        Ok(value) => Err(format!("must be refused, gives {value:?}")),
    }
}
