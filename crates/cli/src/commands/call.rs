//! `kiln build --call=check|outline|targets`: answers about a Dockerfile.

use kiln_dockerfile::outline::{Outline, OutlineSecret, StageTarget, targets};
use serde_json::{Value, json};

use crate::build::{BuildError, BuildRequest, Machine, frontend, remote};
use crate::output;
use crate::render::columns;
use crate::render::findings::{self, Checked, encoded, location};
use crate::settings::call::{Call, Method};

/// Answers, and gives the exit code.
pub async fn run(call: Call, request: &BuildRequest, machine: &Machine) -> Result<i32, BuildError> {
    let request = &remote::load(request, machine).await?;
    let mut linter = frontend::linter(request)?;
    match call.method {
        Method::Targets => {
            let found = targets(&frontend::parse(request, &mut linter)?);
            show(
                call,
                || target_lines(&found),
                || {
                    json!({
                        "targets": found.iter().map(target_value).collect::<Vec<_>>(),
                        "sources": [encoded(&request.dockerfile)],
                    })
                },
            );
            Ok(0)
        }
        Method::Outline => {
            let planned = frontend::plan(request, machine, &mut linter).await?;
            let outline = &planned.lowered.outline;
            show(call, || outline_lines(outline), || outline_value(outline, request));
            Ok(0)
        }
        Method::Plan => super::plan::answer(call.json, request, machine).await,
        Method::Build | Method::Check => {
            let mut request = request.clone();
            request.plan.every_stage = true;
            let planned = frontend::plan(&request, machine, &mut linter).await;
            let error = match planned {
                Ok(_) => None,
                Err(BuildError::Syntax { source, .. }) => Some(source),
                Err(other) => return Err(other),
            };
            let failed = error.is_some();
            let checked = [Checked {
                file: findings::file_name(&request.plan.file).into(),
                text: request.dockerfile.clone(),
                findings: linter.findings(),
                error,
            }];
            let clean = checked[0].is_clean();
            show(
                call,
                || vec![findings::peer_text(&checked[0])],
                || findings::json(&checked),
            );
            Ok(i32::from(failed || (!clean && !call.ignore_status)))
        }
    }
}

fn show(call: Call, lines: impl FnOnce() -> Vec<String>, value: impl FnOnce() -> Value) {
    if call.json {
        output::line(&format!("{:#}", value()));
    } else {
        lines().iter().for_each(|line| output::line(line));
    }
}

fn target_lines(targets: &[StageTarget]) -> Vec<String> {
    let name = |target: &StageTarget| match (target.name.as_str(), target.default) {
        ("", true) => "(default)".to_owned(),
        (name, true) => format!("{name} (default)"),
        (name, false) => name.to_owned(),
    };
    let mut rows = vec![["TARGET".to_owned(), "DESCRIPTION".to_owned()]];
    rows.extend(targets.iter().map(|target| [name(target), target.description.clone()]));
    columns(&rows, 3)
}

fn target_value(target: &StageTarget) -> Value {
    let mut value = json!({ "location": location(0, target.lines), "base": target.base });
    let texts = [
        ("name", &target.name),
        ("description", &target.description),
        ("platform", &target.platform),
    ];
    for (field, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        value[field] = json!(text);
    }
    if target.default {
        value["default"] = json!(true);
    }
    value
}

/// Blocks, an empty line behind each.
fn outline_lines(outline: &Outline) -> Vec<String> {
    let mut lines = Vec::new();
    if !outline.name.is_empty() || !outline.description.is_empty() {
        let name = if outline.name.is_empty() {
            "(default)"
        } else {
            &outline.name
        };
        let mut rows = vec![["TARGET:", name]];
        if !outline.description.is_empty() {
            rows.push(["DESCRIPTION:", &outline.description]);
        }
        lines.extend(columns(
            &rows.into_iter().map(|row| row.map(str::to_owned)).collect::<Vec<_>>(),
            1,
        ));
        lines.push(String::new());
    }
    if !outline.args.is_empty() {
        let mut rows = vec![["BUILD ARG", "VALUE", "DESCRIPTION"].map(str::to_owned)];
        rows.extend(
            outline
                .args
                .iter()
                .map(|arg| [arg.name.clone(), arg.value.clone(), arg.description.clone()]),
        );
        lines.extend(columns(&rows, 3));
        lines.push(String::new());
    }
    for (title, secrets) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
        if !secrets.is_empty() {
            let mut rows = vec![[title, "REQUIRED"].map(str::to_owned)];
            let required = |secret: &OutlineSecret| if secret.required { "true" } else { "" };
            rows.extend(
                secrets
                    .iter()
                    .map(|secret| [secret.name.clone(), required(secret).to_owned()]),
            );
            lines.extend(columns(&rows, 3));
            lines.push(String::new());
        }
    }
    lines
}

fn outline_value(outline: &Outline, request: &BuildRequest) -> Value {
    let secrets = |secrets: &[OutlineSecret]| -> Vec<Value> {
        let value = |secret: &OutlineSecret| {
            let mut value = json!({ "name": secret.name, "location": location(0, secret.lines) });
            if secret.required {
                value["required"] = json!(true);
            }
            value
        };
        secrets.iter().map(value).collect()
    };
    let args: Vec<Value> = outline
        .args
        .iter()
        .map(|arg| {
            let mut value = json!({ "name": arg.name, "location": location(0, arg.lines) });
            for (field, text) in [("description", &arg.description), ("value", &arg.value)] {
                if !text.is_empty() {
                    value[field] = json!(text);
                }
            }
            value
        })
        .collect();
    let mut value = json!({ "sources": [encoded(&request.dockerfile)] });
    let texts = [("name", &outline.name), ("description", &outline.description)];
    for (field, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        value[field] = json!(text);
    }
    let lists = [
        ("args", args),
        ("secrets", secrets(&outline.secrets)),
        ("ssh", secrets(&outline.ssh)),
    ];
    for (field, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        value[field] = json!(list);
    }
    value
}
