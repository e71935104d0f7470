//! `kiln lint`, `kiln build --check` and `--call`: what is found, how it is written, and the exit codes.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kiln_testkit::{Fixture, Outcome, TestResult};
use serde_json::{Value, json};

/// Two findings, on lines 2 and 3.
const UNTIDY: &str = "FROM alpine:3.20 AS Base\nCMD echo hello\nMAINTAINER someone\n";

const TIDY: &str = "FROM alpine:3.20\nCMD [\"true\"]\n";

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn rules(outcome: &Outcome) -> Vec<(String, u64)> {
    let document = outcome.json();
    let warnings = document["warnings"].as_array().cloned().unwrap_or_default();
    let rule = |warning: &Value| {
        let name = warning["ruleName"].as_str().unwrap_or_default().to_owned();
        (
            name,
            warning["location"]["ranges"][0]["start"]["line"].as_u64().unwrap_or(0),
        )
    };
    warnings.iter().map(rule).collect()
}

fn found(rules: &[(&str, u64)]) -> Vec<(String, u64)> {
    rules.iter().map(|(name, line)| ((*name).to_owned(), *line)).collect()
}

#[test]
fn patterns_that_are_wrong_on_other_platforms_are_reported() -> TestResult {
    let fixture = Fixture::new()?;
    let check = |name: &str| {
        let path = repository("crates/testkit/patterns").join(format!("{name}.Dockerfile"));
        fixture.kiln(["lint", "--format=json"]).args([path]).run()
    };
    assert_eq!(rules(check("node")?.assert_code(1)), found(&[("HostArchArtifact", 9)]));
    assert_eq!(
        rules(check("python")?.assert_code(1)),
        found(&[("HostArchArtifact", 12)])
    );
    assert_eq!(rules(check("java")?.assert_code(1)), found(&[("HostArchArtifact", 8)]));
    assert_eq!(rules(check("go")?.assert_code(0)), []);
    Ok(())
}

#[test]
fn nothing_is_found_in_the_examples() -> TestResult {
    let fixture = Fixture::new()?;
    let mut examples = Vec::new();
    for entry in fs::read_dir(repository("examples"))?.flatten() {
        if entry.path().is_dir() {
            examples.push(entry.path());
        }
    }
    assert!(examples.len() >= 6, "{examples:?}");
    let outcome = fixture.kiln(["lint"]).args(examples).run()?;
    outcome.assert_success();
    assert_eq!(outcome.stdout_text(), "Check complete, no warnings found.\n");
    Ok(())
}

#[test]
fn exit_codes_say_what_came_of_it() -> TestResult {
    let fixture = Fixture::new()?;
    fixture.context("tidy", &[("Dockerfile", TIDY)])?;
    fixture.context("untidy", &[("Dockerfile", UNTIDY)])?;
    fixture.context("broken", &[("Dockerfile", "FROM alpine\nCPY a b\n")])?;
    fixture.context("strict", &[("Dockerfile", &format!("# check=error=true\n{UNTIDY}"))])?;
    let code = |arguments: &[&str]| -> Result<Option<i32>, kiln_testkit::TestkitError> {
        Ok(fixture.kiln(["lint"]).args(arguments).run()?.code())
    };
    assert_eq!(code(&["tidy"])?, Some(0));
    assert_eq!(code(&["untidy"])?, Some(1));
    assert_eq!(code(&["untidy", "--fail-on=error"])?, Some(0));
    assert_eq!(code(&["broken", "--fail-on=error"])?, Some(1));
    assert_eq!(code(&["strict", "--fail-on=error"])?, Some(1));
    assert_eq!(code(&["tidy", "missing"])?, Some(2));
    assert_eq!(code(&["--format=nonsense", "tidy"])?, Some(2));
    assert_eq!(code(&["--platform=linux/", "tidy"])?, Some(2));
    Ok(())
}

#[test]
fn several_files_and_standard_input_are_checked_at_once() -> TestResult {
    let fixture = Fixture::new()?;
    fixture.context("one", &[("Dockerfile", UNTIDY)])?;
    fixture.context(
        "two",
        &[
            ("dockerfile", TIDY),
            ("build.Dockerfile", "FROM alpine\nRUN echo $TARGETARCH\n"),
        ],
    )?;
    let outcome = fixture
        .kiln(["lint", "--format=json", "one", "two", "two/build.Dockerfile", "-"])
        .input("FROM alpine\nWORKDIR app\n")
        .run()?;
    outcome.assert_code(1);
    let document = outcome.json();
    let sources: Vec<&str> = document["sources"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|source| source["filename"].as_str())
        .collect();
    assert_eq!(
        sources,
        ["one/Dockerfile", "two/dockerfile", "two/build.Dockerfile", "Dockerfile"]
    );
    let of: Vec<(Value, Value)> = document["warnings"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|warning| (warning["ruleName"].clone(), warning["location"]["sourceIndex"].clone()))
        .collect();
    assert_eq!(of.len(), 5, "{of:?}");
    assert!(of.contains(&(json!("StageNameCasing"), Value::Null)), "{of:?}");
    assert!(of.contains(&(json!("TargetArchNotDeclared"), json!(2))), "{of:?}");
    assert!(of.contains(&(json!("WorkdirRelativePath"), json!(3))), "{of:?}");
    Ok(())
}

#[test]
fn directives_switch_rules_off_and_bad_ones_are_errors() -> TestResult {
    let fixture = Fixture::new()?;
    let check = |text: &str| fixture.kiln(["lint", "--format=json", "-"]).input(text).run();
    assert_eq!(rules(&check(UNTIDY)?).len(), 3);
    let one = check(&format!("# check=skip=MaintainerDeprecated,StageNameCasing\n{UNTIDY}"))?;
    assert_eq!(rules(&one), found(&[("JSONArgsRecommended", 3)]));
    check(&format!("# check=skip=all\n{UNTIDY}"))?.assert_success();
    let own = "FROM golang\n# check=skip=EmulatedHeavyStep\nRUN go build .\nRUN go build .\n";
    assert_eq!(rules(&check(own)?), found(&[("EmulatedHeavyStep", 4)]));
    let given = fixture
        .kiln([
            "lint",
            "--format=json",
            "-",
            "--build-arg=BUILDKIT_DOCKERFILE_CHECK=skip=all",
        ])
        .input(UNTIDY)
        .run()?;
    assert_eq!(rules(given.assert_success()), []);
    for (text, says) in [
        ("# check=skipp=all\nFROM a\n", "did you mean `skip`?"),
        ("# check=error=perhaps\nFROM a\n", "failed to parse check option"),
        ("# syntax=example.com/other/frontend\nFROM a\n", "frontend"),
    ] {
        let outcome = fixture.kiln(["lint", "-"]).input(text).run()?;
        let said = outcome.assert_code(1).stdout_text();
        assert!(said.contains(says), "{said}");
    }
    Ok(())
}

#[test]
fn sarif_is_what_code_scanning_reads() -> TestResult {
    let fixture = Fixture::new()?;
    fixture.context(
        "a b",
        &[("Dockerfile", UNTIDY), ("broken.Dockerfile", "FROM alpine\nCPY a b\n")],
    )?;
    let outcome = fixture
        .kiln(["lint", "--format=sarif", "a b", "a b/broken.Dockerfile"])
        .run()?;
    let document = outcome.assert_code(1).json();
    assert_eq!(document["version"], "2.1.0");
    assert_eq!(document["runs"].as_array().map(Vec::len), Some(1));
    let run = &document["runs"][0];
    let declared: Vec<&str> = run["tool"]["driver"]["rules"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|rule| rule["id"].as_str())
        .collect();
    assert_eq!(declared.len(), 29);
    let results = run["results"].as_array().cloned().unwrap_or_default();
    assert_eq!(results.len(), 4);
    for result in &results {
        assert!(
            matches!(result["level"].as_str(), Some("warning" | "error")),
            "{result}"
        );
        assert!(
            result["message"]["text"].as_str().is_some_and(|text| !text.is_empty()),
            "{result}"
        );
        let place = &result["locations"][0]["physicalLocation"];
        let uri = place["artifactLocation"]["uri"].as_str().unwrap_or_default();
        assert!(uri.starts_with("a%20b/"), "{uri}");
        let line = |name: &str| place["region"][name].as_u64().unwrap_or(0);
        assert!(
            line("startLine") >= 1 && line("endLine") >= line("startLine"),
            "{result}"
        );
        // A result without a rule is the error of a file that cannot be read.
        match result["ruleId"].as_str() {
            Some(rule) => assert!(declared.contains(&rule), "{rule}"),
            None => assert_eq!(result["level"], "error"),
        }
    }
    let clean = fixture.kiln(["lint", "--format=sarif", "-"]).input(TIDY).run()?;
    assert_eq!(clean.assert_success().json()["runs"][0]["results"], json!([]));
    Ok(())
}

#[test]
fn annotations_of_github_stand_at_their_lines() -> TestResult {
    let fixture = Fixture::new()?;
    fixture.context("app", &[("Dockerfile", UNTIDY)])?;
    let outcome = fixture.kiln(["lint", "--format=github", "app"]).run()?;
    let text = outcome.assert_code(1).stdout_text();
    assert_eq!(
        text.lines().next(),
        Some(
            "::warning file=app/Dockerfile,line=1,endLine=1,title=StageNameCasing::Stage name 'Base' should be lowercase"
        )
    );
    assert_eq!(text.lines().count(), 3);
    let clean = fixture.kiln(["lint", "--format=github", "-"]).input(TIDY).run()?;
    assert_eq!(clean.assert_success().stdout_text(), "");
    Ok(())
}

#[test]
fn check_answers_as_the_peers_do() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    fixture.context("app", &[("Dockerfile", UNTIDY)])?;
    let expected = "\
Check complete, 3 warnings have been found!

WARNING: StageNameCasing - https://docs.docker.com/go/dockerfile/rule/stage-name-casing/
Stage name 'Base' should be lowercase
Dockerfile:1
--------------------
   1 | >>> FROM alpine:3.20 AS Base
   2 |     CMD echo hello
   3 |     MAINTAINER someone
--------------------
";
    for flag in ["--check", "--call=check", "--call=lint"] {
        let outcome = fixture.kiln(["build", flag, "app"]).run()?;
        let text = outcome.assert_code(1).stdout_text();
        assert!(text.starts_with(expected), "{flag}: {text}");
    }
    fixture
        .kiln(["build", "--call=check,ignorestatus=true", "app"])
        .run()?
        .assert_success();
    let document = fixture.kiln(["build", "--call=check,format=json", "app"]).run()?;
    let document = document.assert_code(1).json();
    assert_eq!(
        document["warnings"][1],
        json!({
            "ruleName": "JSONArgsRecommended",
            "description": "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
            "url": "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/",
            "detail": "JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
            "location": {"ranges": [{"start": {"line": 2}, "end": {"line": 2}}]},
        })
    );
    assert_eq!(
        document["sources"],
        json!([{"filename": "Dockerfile", "language": "Dockerfile", "data": STANDARD.encode(UNTIDY)}])
    );
    let tidy = fixture.kiln(["build", "--check", "-"]).input(TIDY).run()?;
    assert_eq!(
        tidy.assert_success().stdout_text(),
        "Check complete, no warnings found.\n"
    );
    let broken = fixture
        .kiln(["build", "--check", "-"])
        .input("FROM alpine\nCPY a b\n")
        .run()?;
    let text = broken.assert_code(1).stdout_text();
    assert!(
        text.contains("unknown instruction: CPY (did you mean COPY?)") && text.contains("Dockerfile:2"),
        "{text}"
    );
    let strict = fixture
        .kiln(["build", "-"])
        .input(format!("# check=error=true\n{UNTIDY}"))
        .run()?;
    strict
        .assert_code(2)
        .assert_says(&["lint violation found for rules: StageNameCasing"]);
    Ok(())
}

const DESCRIBED: &str = "\
# VERSION of the base
ARG VERSION=3.20
FROM alpine:${VERSION} AS base
ARG NAME

# app greets
FROM base AS app
ARG GREETING=hello
RUN --mount=type=secret,id=token,required --mount=type=secret,id=other --mount=type=ssh true
FROM app
";

#[test]
fn targets_and_outlines_answer_as_the_peers_do() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    fixture.context("app", &[("Dockerfile", DESCRIBED)])?;
    let ask = |flags: &[&str]| fixture.kiln(["build"]).args(flags).args(["app"]).run();
    let targets = ask(&["--call=targets"])?;
    assert_eq!(
        targets.assert_success().stdout_text(),
        "TARGET      DESCRIPTION\nbase        \napp         greets\n(default)   \n"
    );
    let targets = ask(&["--call=targets,format=json"])?.json();
    assert_eq!(
        targets["targets"][1],
        json!({
            "name": "app", "description": "greets", "base": "base",
            "location": {"ranges": [{"start": {"line": 7}, "end": {"line": 7}}]},
        })
    );
    assert_eq!(targets["targets"][2]["default"], true);
    assert_eq!(targets["sources"], json!([STANDARD.encode(DESCRIBED)]));

    let outline = ask(&["--call=outline", "--target=app", "--build-arg=NAME=you"])?;
    assert_eq!(
        outline.assert_success().stdout_text(),
        "\
TARGET:      app
DESCRIPTION: greets

BUILD ARG   VALUE   DESCRIPTION
VERSION     3.20    of the base
NAME        you     \n\
GREETING    hello   \n
SECRET   REQUIRED
token    true
other    \n
SSH       REQUIRED
default   \n\n"
    );
    let outline = ask(&["--call=outline,format=json", "--target=app"])?.json();
    assert_eq!(outline["name"], "app");
    assert_eq!(
        outline["secrets"][0],
        json!({"name": "token", "required": true, "location": {"ranges": [{"start": {"line": 9}, "end": {"line": 9}}]}})
    );
    assert!(outline["args"][1].get("value").is_none(), "{}", outline["args"][1]);
    assert_eq!(outline["sources"], json!([STANDARD.encode(DESCRIBED)]));

    ask(&["--call=outline", "--target=nonsense"])?
        .assert_code(2)
        .assert_says(&["nonsense"]);
    ask(&["--call=nonsense"])?
        .assert_code(2)
        .assert_says(&["unknown --call `nonsense`"]);
    ask(&["--call=check,format=yaml"])?
        .assert_code(2)
        .assert_says(&["yaml"]);
    Ok(())
}

#[test]
fn a_base_pinned_to_one_platform_is_found_where_images_are_known() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let images = kiln_testkit::BaseImages::prepare()?;
    let index = images.layout().find("library/alpine:3.20").ok_or("no alpine")?;
    let index = index["digest"].as_str().ok_or("no digest")?.to_owned();
    let document: Value = serde_json::from_slice(&images.layout().blob(&index).ok_or("no index")?)?;
    let one = document["manifests"][0]["digest"].as_str().ok_or("no manifest")?;
    let check = |digest: &str| {
        fixture
            .kiln(["build", "--call=check,format=json", "--platform=linux/amd64", "-"])
            .input(format!("FROM alpine@{digest}\n"))
            .run()
    };
    assert_eq!(rules(check(one)?.assert_code(1)), found(&[("SinglePlatformPin", 1)]));
    assert_eq!(rules(check(&index)?.assert_success()), []);
    Ok(())
}

#[test]
fn every_rule_is_documented() -> TestResult {
    let fixture = Fixture::new()?;
    let page = fs::read_to_string(repository("docs/lint.md"))?;
    let outcome = fixture.kiln(["lint", "--format=sarif", "-"]).input(TIDY).run()?;
    let document = outcome.assert_success().json();
    let rules = document["runs"][0]["tool"]["driver"]["rules"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    assert_eq!(rules.len(), 29);
    for rule in rules {
        let name = rule["id"].as_str().unwrap_or_default();
        // Rules of the language link to their page; Kiln's own have a section, which findings name.
        let expected = match rule["helpUri"].as_str() {
            Some(address) => format!("| [{name}]({address}) |"),
            None => format!("\n### {name}\n"),
        };
        assert!(page.contains(&expected), "no `{}` in docs/lint.md", expected.trim());
    }
    Ok(())
}
