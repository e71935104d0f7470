//! Tables of single functions: each row is an expression in a definition of one target.

use serde_json::Value;

use super::super::tables::{self, Table, Verdict};
use super::Case;

type Row = tables::Case;

/// Functions of the tables, and the arguments of each in the order of its parameters.
const FUNCTIONS: [(&str, &str, &[&str]); 7] = [
    ("TestIndexOf", "indexof", &["input", "key"]),
    ("TestBasename", "basename", &["input"]),
    ("TestDirname", "dirname", &["input"]),
    ("TestSanitize", "sanitize", &["input"]),
    ("TestSemverCmp", "semvercmp", &["version", "constraint"]),
    ("TestUnixTimestampParseFunc", "unixtimestampparse", &["input"]),
    ("TestFormatTimestampFunc", "formattimestamp", &["format", "input"]),
];

pub(super) fn drive(table: &Table, row: &Row) -> Option<Verdict> {
    let (_, function, arguments) = FUNCTIONS.iter().find(|(test, ..)| *test == table.test)?;
    Some(call(function, arguments, row).into())
}

fn call(function: &str, arguments: &[&str], row: &Row) -> Result<(), String> {
    let arguments = arguments
        .iter()
        .map(|name| written(&row.value[*name]))
        .collect::<Result<Vec<_>, _>>()?;
    let call = format!("{function}({})", arguments.join(", "));
    if row.expects_error("wantErr") {
        return tables::refused(argument(&format!("jsonencode({call})")));
    }
    let wanted = &row.value["want"];
    let is = argument(&format!("jsonencode({call})"))?;
    match wanted.get("$cty") {
        Some(_) => tables::equal(argument(&format!("jsonencode({})", written(wanted)?))?, is),
        // An object of values; there may be more than the peer's test looks at.
        None => {
            for (name, value) in wanted.as_object().into_iter().flatten() {
                let is = argument(&format!("jsonencode({call}[{name:?}])"))?;
                tables::equal(argument(&format!("jsonencode({})", written(value)?))?, is)
                    .map_err(|error| format!("{name}: {error}"))?;
            }
            Ok(())
        }
    }
}

/// The text that an expression gives as a build argument.
fn argument(expression: &str) -> Result<String, String> {
    let definition = format!("target \"t\" {{\n  args = {{\n    a = {expression}\n  }}\n}}\n");
    let printed = Case::of("docker-bake.hcl", &definition, &["t"])
        .print(false)
        .map_err(|error| error.to_string())?;
    let text = printed["target"]["t"]["args"]["a"].as_str();
    text.map(str::to_owned).ok_or_else(|| "no value".to_owned())
}

/// `{"$cty": "cty.StringVal(\"x\")"}` as HCL.
fn written(value: &Value) -> Result<String, String> {
    let text = value["$cty"].as_str().ok_or_else(|| format!("no value: {value}"))?;
    let inner = |text: &str, name: &str| text.strip_prefix(name)?.strip_suffix(')').map(str::to_owned);
    if let Some(text) = inner(text, "cty.StringVal(") {
        return Ok(text.replace("${", "$${").replace("%{", "%%{"));
    }
    if let Some(number) = inner(text, "cty.NumberIntVal(") {
        return Ok(number);
    }
    if let Some(items) = inner(text, "cty.TupleVal([]cty.Value{").or_else(|| inner(text, "cty.ListVal([]cty.Value{")) {
        let items = items.trim_end_matches('}');
        let items: Result<Vec<String>, String> = items
            .split(", cty.")
            .map(|item| {
                let item = format!("cty.{}", item.trim_start_matches("cty."));
                written(&serde_json::json!({ "$cty": item }))
            })
            .collect();
        return Ok(format!("[{}]", items?.join(", ")));
    }
    match text {
        "cty.True" => Ok("true".to_owned()),
        "cty.False" => Ok("false".to_owned()),
        "cty.EmptyTupleVal" => Ok("[]".to_owned()),
        _ if text.starts_with("cty.ListValEmpty") => Ok("[]".to_owned()),
        _ if text.starts_with("cty.NilVal") || text.starts_with("cty.NullVal") => Ok("null".to_owned()),
        other => Err(format!("cannot write {other} as HCL")),
    }
}
