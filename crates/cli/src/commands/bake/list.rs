//! `--list`: what a definition has.

use std::collections::BTreeSet;

use kiln_bake::config::Definition;
use serde_json::{Value, json};

use crate::command_error::CommandError;
use crate::output;

/// `targets` or `variables`, perhaps as `type=…,format=json`.
pub(super) fn show(written: &str, definition: &Definition) -> Result<(), CommandError> {
    let invalid = || {
        CommandError::user(format!("invalid --list `{written}`"))
            .hint("write targets, variables, or type=targets,format=json")
    };
    let mut kind = None;
    let mut as_json = false;
    for field in kiln_flags::fields::split(written).map_err(|_| invalid())? {
        match field.pair() {
            Some((key, value)) => match (key.as_str(), value) {
                ("type", value) => kind = Some(value.to_owned()),
                ("format", "json") => as_json = true,
                ("format", "table") => as_json = false,
                _ => return Err(invalid()),
            },
            None => kind = Some(field.text),
        }
    }
    let (head, rows) = match kind.as_deref() {
        Some("targets") => (vec!["TARGET", "DESCRIPTION"], target_rows(definition)),
        Some("variables") => (
            vec!["VARIABLE", "TYPE", "VALUE", "DESCRIPTION"],
            variable_rows(definition),
        ),
        _ => return Err(invalid()),
    };
    if as_json {
        let objects: Vec<Value> = rows.into_iter().map(|row| row.object).collect();
        output::line(&format!("{:#}", Value::Array(objects)));
        return Ok(());
    }
    let cells: Vec<Vec<String>> = std::iter::once(head.into_iter().map(str::to_owned).collect())
        .chain(rows.into_iter().map(|row| row.cells))
        .collect();
    table(&cells).iter().for_each(|line| output::line(line));
    Ok(())
}

/// A line of a list, for people and for programs.
struct Row {
    cells: Vec<String>,
    object: Value,
}

/// Names that begin with an underscore are for other targets only.
fn target_rows(definition: &Definition) -> Vec<Row> {
    let config = &definition.config;
    let mut rows: Vec<Row> = Vec::new();
    let mut names: BTreeSet<&str> = config.groups.iter().map(|group| group.name.as_str()).collect();
    names.extend(config.targets.iter().map(|target| target.name.as_str()));
    for name in names.into_iter().filter(|name| !name.starts_with('_')) {
        let mut object = json!({ "name": name });
        let target = config.target(name);
        let description = match config.group(name) {
            Some(group) if target.is_none() => {
                object["group"] = json!(true);
                let mut members = group.targets.clone();
                members.sort();
                let members = members.join(", ");
                match (group.description.as_str(), members.is_empty()) {
                    ("", _) => members,
                    (description, true) => description.to_owned(),
                    (description, false) => format!("{description} ({members})"),
                }
            }
            _ => target.map(|target| target.description.clone()).unwrap_or_default(),
        };
        if !description.is_empty() {
            object["description"] = json!(description);
        }
        rows.push(Row {
            cells: vec![name.to_owned(), description],
            object,
        });
    }
    rows
}

fn variable_rows(definition: &Definition) -> Vec<Row> {
    let mut variables: Vec<_> = definition.variables.iter().collect();
    variables.sort_by(|one, two| one.name.cmp(&two.name));
    let rows = variables.into_iter().map(|variable| {
        let mut object = json!({ "name": variable.name });
        if !variable.description.is_empty() {
            object["description"] = json!(variable.description);
        }
        if let Some(of) = &variable.written_type {
            object["type"] = json!(of);
        }
        if let Some(value) = &variable.value {
            object["value"] = json!(value);
        }
        let value = variable.value.clone().unwrap_or_else(|| "<null>".to_owned());
        let of = variable.written_type.clone().unwrap_or_default();
        Row {
            cells: vec![variable.name.clone(), of, value, variable.description.clone()],
            object,
        }
    });
    rows.collect()
}

fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}
