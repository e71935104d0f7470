//! What a Dockerfile means without building it: findings of the linter, outline, targets, configuration and history.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use kiln_dockerfile::lint::{Finding, Linter};
use kiln_dockerfile::lower::{Lowered, Lowering, lower};
use kiln_dockerfile::outline::targets;
use kiln_dockerfile::plan::{PlanRequest, Resolved, ResolvedImage};
use kiln_dockerfile::{Dockerfile, ignore::read_ignore_file};
use kiln_graph::ImageSource;
use kiln_oci::{ImageConfig, Platform};
use regex::Regex;
use serde_json::{Value, json};

use super::CorpusResult;
use super::tables::{contains, equal};

/// The environment of an image that says nothing else.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `dockerfile-golden`: what the peers' frontend makes of a file, with every base image the same small one.
pub(super) fn dockerfile_golden(dir: &Path) -> CorpusResult {
    let mut result = CorpusResult::new("dockerfile-golden");
    for case in cases(dir, &mut result) {
        result.record(text(&case, "id"), golden(&case));
    }
    result
}

/// `dockerfile-lint`: what the rules find, while building and when a file is only checked.
pub(super) fn dockerfile_lint(dir: &Path) -> CorpusResult {
    let mut result = CorpusResult::new("dockerfile-lint");
    for case in cases(dir, &mut result) {
        result.record(text(&case, "id"), lint(&case));
    }
    result
}

fn cases(dir: &Path, result: &mut CorpusResult) -> Vec<Value> {
    let read = fs::read(dir.join("cases.json")).map_err(|error| error.to_string());
    let parsed = read.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).map_err(|error| error.to_string()));
    match parsed {
        Ok(file) => file["cases"].as_array().cloned().unwrap_or_default(),
        Err(error) => {
            result.fail("cases.json", error);
            Vec::new()
        }
    }
}

fn text(case: &Value, field: &str) -> String {
    case[field].as_str().unwrap_or_default().to_owned()
}

/// Everything that is learnt about one file.
struct Meaning {
    linter: Linter,
    dockerfile: Option<Dockerfile>,
    lowered: Result<Lowered, String>,
}

fn check_of(request: &PlanRequest, honours_override: bool) -> Option<&str> {
    let given = request.build_args.get("BUILDKIT_DOCKERFILE_CHECK").map(String::as_str);
    given.filter(|_| honours_override)
}

/// What a file means. `every_stage`: as when it is only checked. `honours_override`: whether the build argument for checks
/// counts, which the program that made the golden files did not hand on.
fn meaning(
    dockerfile: &str,
    request: &PlanRequest,
    every_stage: bool,
    honours_override: bool,
) -> Result<Meaning, String> {
    let check = check_of(request, honours_override);
    let mut linter = Linter::with_override(check).map_err(|error| error.to_string())?;
    linter.set_ignore(&request.ignore);
    let parsed = Dockerfile::parse(dockerfile, &mut linter);
    let request = PlanRequest {
        every_stage,
        ..request.clone()
    };
    let (dockerfile, lowered) = match parsed {
        Ok(parsed) => {
            let lowered = lower_all(&parsed, &request, &mut linter);
            (Some(parsed), lowered)
        }
        Err(error) => (None, Err(error.to_string())),
    };
    let lowered = lowered.and_then(|lowered| match linter.violation() {
        Some(violation) => Err(violation.to_string()),
        None => Ok(lowered),
    });
    Ok(Meaning {
        linter,
        dockerfile,
        lowered,
    })
}

fn lower_all(dockerfile: &Dockerfile, request: &PlanRequest, linter: &mut Linter) -> Result<Lowered, String> {
    let mut resolved = Resolved::default();
    loop {
        match lower(dockerfile, request, &resolved, linter).map_err(|error| error.to_string())? {
            Lowering::Done(lowered) => return Ok(*lowered),
            Lowering::Needs(needs) => {
                for need in &needs {
                    resolved.insert(need, small_image(&need.platform, &need.reference.to_string()));
                }
            }
        }
    }
}

fn small_image(platform: &Platform, reference: &str) -> ResolvedImage {
    let mut config = ImageConfig {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        ..ImageConfig::default()
    };
    config.config.env = vec![PATH.to_owned()];
    config.config.cmd = Some(vec!["/bin/sh".to_owned()]);
    ResolvedImage {
        source: ImageSource {
            reference: reference.to_owned(),
            origin: kiln_graph::ImageOrigin::Registry,
            platform: platform.clone(),
            manifest: None,
            layers: Vec::new(),
        },
        config,
    }
}

fn request(build_args: BTreeMap<String, String>, target: &str, ignore: Vec<String>) -> PlanRequest {
    let platform = Platform::linux("amd64", "");
    PlanRequest {
        platforms: vec![platform.clone()],
        build_platform: platform,
        build_args,
        target: Some(target.to_owned()).filter(|target| !target.is_empty()),
        ignore,
        file: "Dockerfile".into(),
        allow_host_network: true,
        allow_insecure: true,
        ..PlanRequest::default()
    }
}

fn pairs(value: &Value) -> BTreeMap<String, String> {
    let pairs = value.as_object().into_iter().flatten();
    pairs
        .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

/// The findings of the peers' rules, in the form that the corpora have them in.
fn findings(linter: &Linter) -> BTreeSet<String> {
    let own = |finding: &Finding| finding.rule.is_of_peers();
    let shown = |finding: Finding| {
        let line = finding.lines.map_or(0, |lines| lines.start);
        [
            finding.rule.name(),
            &line.to_string(),
            &finding.detail,
            finding.rule.description(),
            &finding.rule.url(),
        ]
        .join(" | ")
    };
    linter.findings().into_iter().filter(own).map(shown).collect()
}

fn expected_findings(value: &Value) -> BTreeSet<String> {
    let shown = |finding: &Value| {
        let field = |name: &str| text(finding, name);
        let line = finding["line"].as_u64().unwrap_or(0);
        [
            field("rule"),
            line.to_string(),
            field("detail"),
            field("description"),
            field("url"),
        ]
        .join(" | ")
    };
    value.as_array().into_iter().flatten().map(shown).collect()
}

fn golden(case: &Value) -> Result<(), String> {
    let input = &case["input"];
    let request = request(pairs(&input["build_args"]), &text(input, "target"), Vec::new());
    let dockerfile = text(input, "dockerfile");
    let checked = meaning(&dockerfile, &request, true, false)?;
    let built = meaning(&dockerfile, &request, false, false)?;
    let within = |what: &str, outcome: Result<(), String>| outcome.map_err(|error| format!("{what}: {error}"));
    within(
        "lint",
        equal(expected_findings(&case["lint"]), findings(&checked.linter)),
    )?;
    if let Some(expected) = case["lint_build_error"]["message"].as_str() {
        within("lint error", same_error(expected, checked.lowered.as_ref().map(drop)))?;
    }
    if let Some(expected) = case["convert_error"].as_str() {
        return within("error", same_error(expected, built.lowered.as_ref().map(drop)));
    }
    if let (Some(expected), Some(parsed)) = (case["instructions"].as_array(), &built.dockerfile) {
        within("instructions", equal(expected.clone(), instructions(parsed)))?;
    }
    if let (Some(expected), Some(parsed)) = (case["targets"].as_array(), &built.dockerfile) {
        within("targets", equal(expected.clone(), targets_of(parsed)))?;
    }
    let lowered = match &built.lowered {
        Ok(lowered) => lowered,
        // That findings are errors is said above.
        Err(error) if error.starts_with("lint violation") => return Ok(()),
        Err(error) => return Err(format!("must be accepted: {error}")),
    };
    within("outline", equal(outline_of(&case["outline"]), outline(lowered)))?;
    let target = lowered.targets.first().ok_or("no image")?;
    let history: Vec<String> = target
        .config
        .history
        .iter()
        .map(|line| line.created_by.clone().unwrap_or_default())
        .collect();
    let expected: Vec<String> = case["history"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|line| text(line, "created_by"))
        .collect();
    within("history", equal(expected, history))?;
    let empty: Vec<bool> = target.config.history.iter().map(|line| line.empty_layer).collect();
    let expected: Vec<bool> = case["history"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|line| line["empty_layer"].as_bool().unwrap_or(false))
        .collect();
    within("empty layers", equal(expected, empty))?;
    let config = serde_json::to_value(&target.config).map_err(|error| error.to_string())?;
    for field in ["architecture", "os", "variant", "author", "config"] {
        within(
            field,
            equal(
                without_nothing(&case["image_config"][field]),
                without_nothing(&config[field]),
            ),
        )?;
    }
    Ok(())
}

/// Whether an error is the expected one. Some of the peers' stand behind the line that they are about.
fn same_error(expected: &str, lowered: Result<(), &String>) -> Result<(), String> {
    let Err(error) = lowered else {
        return Err(format!("must be refused: {expected}"));
    };
    let violated = |text: &str| {
        let rules = text.strip_prefix("lint violation found for rules: ")?;
        Some(rules.split(", ").map(str::to_owned).collect::<BTreeSet<_>>())
    };
    if let (Some(expected), Some(found)) = (violated(expected), violated(error)) {
        return equal(expected, found);
    }
    contains(expected, error)
}

fn instructions(dockerfile: &Dockerfile) -> Vec<Value> {
    let shown = |node: &kiln_dockerfile::ast::Node| {
        let mut value = json!({
            "instruction": node.keyword,
            "original": node.original,
            "start": node.lines.start,
            "end": node.lines.end,
        });
        let child = node.child.as_ref().map(|child| child.dump());
        let args: Vec<&String> = child.iter().chain(&node.arguments).collect();
        let heredocs: Vec<Value> = node
            .heredocs
            .iter()
            .map(|heredoc| {
                json!({
                    "name": heredoc.name,
                    "content": heredoc.content,
                    "expand": heredoc.expand,
                    "chomp": heredoc.chomp,
                })
            })
            .collect();
        let optional = [
            ("args", json!(args), args.is_empty()),
            ("heredocs", json!(heredocs), heredocs.is_empty()),
            ("attributes", json!({ "json": true }), !node.json),
            ("flags", json!(node.flags), node.flags.is_empty()),
            ("prev_comment", json!(node.comments), node.comments.is_empty()),
        ];
        for (name, field, absent) in optional {
            if !absent {
                value[name] = field;
            }
        }
        value
    };
    dockerfile.tree.nodes.iter().map(shown).collect()
}

fn targets_of(dockerfile: &Dockerfile) -> Vec<Value> {
    let shown = |target: kiln_dockerfile::outline::StageTarget| {
        json!({
            "name": target.name,
            "base": target.base,
            "platform": target.platform,
            "description": target.description,
            "default": target.default,
            "line": target.lines.start,
        })
    };
    targets(dockerfile).into_iter().map(shown).collect()
}

fn outline(lowered: &Lowered) -> Value {
    let outline = &lowered.outline;
    let secrets = |secrets: &[kiln_dockerfile::outline::OutlineSecret]| -> Vec<Value> {
        let shown = secrets
            .iter()
            .map(|secret| json!({"name": secret.name, "required": secret.required, "line": secret.lines.start}));
        shown.collect()
    };
    let args: Vec<Value> = outline
        .args
        .iter()
        .map(|arg| {
            json!({
                "name": arg.name,
                "value": arg.value,
                "description": arg.description,
                "line": arg.lines.start,
            })
        })
        .collect();
    json!({
        "name": outline.name,
        "description": outline.description,
        "args": by_line_and_name(args),
        "secrets": by_line_and_name(secrets(&outline.secrets)),
        "ssh": by_line_and_name(secrets(&outline.ssh)),
    })
}

/// The peers give what stands on the same line in an order that changes from run to run.
fn by_line_and_name(mut list: Vec<Value>) -> Vec<Value> {
    list.sort_by_key(|one| (one["line"].as_u64(), text(one, "name")));
    list
}

fn outline_of(expected: &Value) -> Value {
    let list = |name: &str| by_line_and_name(expected[name].as_array().cloned().unwrap_or_default());
    json!({
        "name": text(expected, "name"),
        "description": text(expected, "description"),
        "args": list("args"),
        "secrets": list("secrets"),
        "ssh": list("ssh"),
    })
}

/// A value without members that are null or empty, which the peers write or leave out as it comes.
pub(super) fn without_nothing(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), without_nothing(value)))
            // Set by the frontend and, for Linux, left out of what is exported.
            .filter(|(name, _)| name != "ArgsEscaped")
            .filter(|(_, value)| !value.is_null() && value.as_str() != Some(""))
            .collect(),
        other => other.clone(),
    }
}

fn lint(case: &Value) -> Result<(), String> {
    let build_args: BTreeMap<String, String> = pairs(&case["opts"])
        .into_iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("build-arg:")?.to_owned(), value)))
        .collect();
    let ignore = read_ignore_file(case["dockerignore"].as_str().unwrap_or_default());
    let request = request(build_args, case["opts"]["target"].as_str().unwrap_or_default(), ignore);
    let dockerfile = text(case, "dockerfile");
    let built = meaning(&dockerfile, &request, false, true)?;
    equal(expected_findings(&case["warnings"]), findings(&built.linter))?;
    if let Some(expected) = case.get("warnings_check_mode") {
        let without_line = |findings: BTreeSet<String>| -> BTreeSet<String> {
            // The peers do not compare the lines when a file is only checked, and some are wrong.
            let parts = |text: String| {
                text.split(" | ")
                    .enumerate()
                    .filter(|(at, _)| *at != 1)
                    .map(|(_, part)| part.to_owned())
                    .collect::<Vec<_>>()
                    .join(" | ")
            };
            findings.into_iter().map(parts).collect()
        };
        let checked = meaning(&dockerfile, &request, true, true)?;
        equal(
            without_line(expected_findings(expected)),
            without_line(findings(&checked.linter)),
        )
        .map_err(|error| format!("checked: {error}"))?;
    }
    if let Some(expected) = case["build_error"].as_str() {
        return same_error(expected, built.lowered.as_ref().map(drop));
    }
    if let Some(expected) = case["build_error_regexp"].as_str() {
        return build_fails(case, expected);
    }
    built
        .lowered
        .map(drop)
        .map_err(|error| format!("must be accepted: {error}"))
}

/// Runs a build that has to fail with a message.
fn build_fails(case: &Value, expected: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let context = tempfile::tempdir().map_err(failed)?;
    fs::write(context.path().join("Dockerfile"), text(case, "dockerfile")).map_err(failed)?;
    fs::write(context.path().join(".dockerignore"), text(case, "dockerignore")).map_err(failed)?;
    let program = crate::kiln_binary::kiln_binary().map_err(|error| error.to_string())?;
    let output = std::process::Command::new(&program)
        .args(["build", "--progress=plain", "-o", "type=cacheonly"])
        .arg(context.path())
        .env("KILN_ROOT", context.path().join("state"))
        .output()
        .map_err(failed)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        return Err(format!("must fail: {expected}"));
    }
    // Who solves is the peers' own beginning of every message.
    let expression = expected.trim_start_matches("failed to solve: ");
    let expression = Regex::new(expression).map_err(|error| error.to_string())?;
    if expression.is_match(&said) {
        Ok(())
    } else {
        Err(format!("`{expression}` does not match {said}"))
    }
}
