//! The Dockerfile language: the parser's trees, the shell's words, ignore files, instructions, and files from real projects.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_dockerfile::Dockerfile;
use kiln_dockerfile::ast::{Escape, Node};
use kiln_dockerfile::expand::{Expander, pattern_expression, reversed_pattern};
use kiln_dockerfile::ignore::{Matching, PatternMatcher};
use kiln_dockerfile::instruction::{Instruction, Kind, parse_device, parse_instruction};
use kiln_dockerfile::lint::Linter;
use kiln_dockerfile::parser::{heredocs_of_line, json_words, parse, parse_heredoc, split_words};
use kiln_dockerfile::ports::parse_port;
use serde_json::{Value, json};

use super::CorpusResult;
use super::tables::{self, Case, Table, Verdict, contains, equal, refused, strings};

/// `dockerfile-parser`: trees in the peers' printed form, files that must be refused, and the tables of the parser's tests.
pub(super) fn dockerfile_parser(dir: &Path) -> CorpusResult {
    let mut result = CorpusResult::new("dockerfile-parser");
    for (name, path) in entries(&dir.join("testfiles")) {
        result.record(format!("testfiles/{name}"), tree_equals(&path));
    }
    for (name, path) in entries(&dir.join("testfiles-negative")) {
        let outcome = read(&path.join("Dockerfile")).and_then(|text| refused(parse(&text)));
        result.record(format!("testfiles-negative/{name}"), outcome);
    }
    for (name, _) in entries(&dir.join("testfile-line")) {
        result.skip(
            format!("testfile-line/{name}"),
            "the line numbers that are expected were not recorded",
        );
    }
    tables::drive(dir, &mut result, parser_case);
    result
}

fn tree_equals(directory: &Path) -> Result<(), String> {
    let expected = read(&directory.join("result"))?;
    let (tree, _) = parse(&read(&directory.join("Dockerfile"))?).map_err(|error| error.to_string())?;
    equal(
        expected.replace("\r\n", "\n").trim_end_matches('\n'),
        tree.dump().as_str(),
    )
}

fn parser_case(table: &Table, case: &Case) -> Option<Verdict> {
    let outcome = match (table.test.as_str(), table.table.as_str()) {
        ("TestJSONArraysOfStrings", "validJSONArraysOfStrings") => {
            let words = json_words(case.key.as_deref().unwrap_or_default()).map_err(|error| error.to_string());
            words.and_then(|words| equal(Some(strings(&case.value)), words))
        }
        ("TestJSONArraysOfStrings", "invalidJSONArraysOfStrings") => match json_words(case.whole()) {
            Ok(None) | Err(_) => Ok(()),
            Ok(Some(words)) => Err(format!("must be refused, gives {words:?}")),
        },
        ("TestParseExtractsHeredoc", _) => {
            let reason = "the Dockerfile that the expected here-document stands in was not recorded";
            return Some(Verdict::Skipped(reason.to_owned()));
        }
        ("TestParseHeredocHelpers", "validHeredocs") => match parse_heredoc(case.whole()) {
            Ok(Some(heredoc)) => equal("EOF", &heredoc.name),
            other => Err(format!("must be a here-document, gives {other:?}")),
        },
        ("TestParseHeredocHelpers", "invalidHeredocs") => refused(parse_heredoc(case.whole())),
        ("TestParseHeredocHelpers", "notHeredocs") => parse_heredoc(case.whole())
            .map_err(|error| error.to_string())
            .and_then(|none| equal(None, none)),
        ("TestHeredocsFromLine", _) => heredocs_of_line(case.text("line"))
            .map_err(|error| error.to_string())
            .and_then(|heredocs| {
                let names: Vec<String> = heredocs.into_iter().map(|heredoc| heredoc.name).collect();
                equal(strings(&case.value["heredocNames"]), names)
            }),
        ("TestParseWords", _) => {
            let input = strings(&case.value["input"]).join("\n");
            equal(strings(&case.value["expect"]), split_words(&input, Escape::Backslash))
        }
        _ => return None,
    };
    Some(outcome.into())
}

/// `dockerfile-shell`: expansion of one word, splitting into words, and the tables of the lexer's tests.
pub(super) fn dockerfile_shell(dir: &Path) -> CorpusResult {
    let mut result = CorpusResult::new("dockerfile-shell");
    single_words(&dir.join("envVarTest"), &mut result);
    split_texts(&dir.join("wordsTest"), &mut result);
    tables::drive(dir, &mut result, shell_case);
    result
}

/// Lines `platform|input|expected`.
fn single_words(path: &Path, result: &mut CorpusResult) {
    let variables = [("PWD", "/home"), ("SHELL", "bash"), ("KOREAN", "한국어"), ("NULL", "")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    for (number, line) in lines(path, result) {
        let name = format!("envVarTest/{number}");
        let parts: Vec<&str> = line.split('|').map(str::trim).collect();
        let &[platform, input, expected] = &parts[..] else {
            result.fail(name, format!("`{line}` is not `platform|input|expected`"));
            continue;
        };
        if platform == "W" {
            result.skip(
                name,
                "the case is about Windows, whose variables are named without case",
            );
            continue;
        }
        let expanded = Expander::new('\\').expand(input, &variables[..]);
        let outcome = match expanded {
            expanded if expected == "error" => refused(expanded),
            Ok(expanded) => equal(expected, &expanded.text),
            Err(error) => Err(format!("{input}: {error}")),
        };
        result.record(name, outcome.map_err(|detail| format!("{input}: {detail}")));
    }
}

/// Lines `input | word,word`, and lines `ENV name=value` that add to the environment of what follows.
fn split_texts(path: &Path, result: &mut CorpusResult) {
    let mut variables: Vec<(String, String)> = Vec::new();
    for (number, line) in lines(path, result) {
        if let Some(setting) = line.strip_prefix("ENV ") {
            let (name, value) = setting.trim_start().split_once('=').unwrap_or((setting, ""));
            variables.push((name.to_owned(), value.to_owned()));
            continue;
        }
        let name = format!("wordsTest/{number}");
        let Some((input, expected)) = line.split_once('|') else {
            result.fail(name, format!("`{line}` is not `input | words`"));
            continue;
        };
        let input = input.trim();
        let expected: Vec<&str> = expected.trim_start_matches(' ').split(',').collect();
        let words = Expander::new('\\')
            .expand(input, &variables[..])
            .map_or_else(|_| vec!["error".to_owned()], |expanded| expanded.words);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        result.record(
            name,
            equal(expected, words).map_err(|detail| format!("{input}: {detail}")),
        );
    }
}

fn shell_case(table: &Table, case: &Case) -> Option<Verdict> {
    let outcome = match (table.test.as_str(), table.table.as_str()) {
        ("TestConvertShellPatternToRegex", "invalid") => refused(pattern_expression(case.whole(), true, false)),
        ("TestConvertShellPatternToRegex", _) => {
            let expression = pattern_expression(case.key.as_deref().unwrap_or_default(), true, false);
            expression.and_then(|expression| equal(case.whole(), expression.as_str()))
        }
        ("TestReversePattern", _) => equal(
            case.whole(),
            reversed_pattern(case.key.as_deref().unwrap_or_default()).as_str(),
        ),
        ("TestProcessWithMatches", _) => matches_of_expansion(case),
        _ => return None,
    };
    Some(outcome.into())
}

fn matches_of_expansion(case: &Case) -> Result<(), String> {
    let variables: Vec<(String, String)> = case.value["envs"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect();
    let expanded = Expander::new('\\').expand(case.text("input"), &variables[..]);
    if case.expects_error("expectedErr") {
        return refused(expanded);
    }
    let expanded = expanded.map_err(|error| error.to_string())?;
    let names = |field: &str| -> Vec<String> {
        case.value[field]
            .as_object()
            .map(|names| names.keys().cloned().collect())
            .unwrap_or_default()
    };
    equal(case.text("expected"), &expanded.text)?;
    equal(names("matches"), expanded.matched.into_iter().collect())?;
    equal(names("unmatched"), expanded.unmatched.into_iter().collect())
}

/// `dockerignore`: the pattern rules.
pub(super) fn dockerignore(dir: &Path) -> CorpusResult {
    let mut result = CorpusResult::new("dockerignore");
    tables::drive(dir, &mut result, ignore_case);
    result
}

fn ignore_case(table: &Table, case: &Case) -> Option<Verdict> {
    let ignores = |patterns: &[String], path: &str| {
        PatternMatcher::new(patterns).map(|matcher| matcher.matches_or_parent_matches(path))
    };
    let outcome = match table.test.as_str() {
        "TestMatches" => {
            let patterns = match &case.value["pattern"] {
                Value::String(pattern) => vec![pattern.clone()],
                _ => strings(&case.value["patterns"]),
            };
            let pass = case.value["pass"].as_bool().unwrap_or(false);
            let is = ignores(&patterns, case.text("text")).map_err(|error| error.to_string());
            is.and_then(|is| equal(pass, is))
                .map_err(|detail| format!("{patterns:?} on {:?}: {detail}", case.text("text")))
        }
        "TestMatch" => {
            let is = ignores(&[case.text("pattern").to_owned()], case.text("s"));
            if case.expects_error("err") {
                refused(is)
            } else {
                let expected = case.value["match"].as_bool().unwrap_or(false);
                is.map_err(|error| error.to_string()).and_then(|is| equal(expected, is))
            }
            .map_err(|detail| format!("{:?} on {:?}: {detail}", case.text("pattern"), case.text("s")))
        }
        "testCompile" | "TestCompile" => compiled(case),
        _ => return None,
    };
    Some(outcome.into())
}

fn compiled(case: &Case) -> Result<(), String> {
    let matcher = PatternMatcher::new(&[case.text("pattern")]).map_err(|error| error.to_string())?;
    let pattern = matcher.patterns().first().ok_or("the pattern is left out")?;
    let (kind, expression) = match &pattern.matching {
        Matching::Exact => (1, ""),
        Matching::Prefix => (2, ""),
        Matching::Suffix => (3, ""),
        Matching::Expression(expression) => (4, expression.as_str()),
    };
    equal(case.value["matchType"].as_u64(), Some(kind))?;
    equal(case.text("compiledRegexp"), expression)
}

/// `dockerfile-instructions`: typed instructions and the messages of those that are wrong.
pub(super) fn dockerfile_instructions(dir: &Path) -> CorpusResult {
    let mut result = CorpusResult::new("dockerfile-instructions");
    tables::drive(dir, &mut result, instruction_case);
    result
}

fn instruction_case(table: &Table, case: &Case) -> Option<Verdict> {
    let outcome = match table.test.as_str() {
        "TestErrorCases" | "TestErrorCasesHeredoc" => match first_instruction(case.text("dockerfile")) {
            Ok(instruction) => Err(format!("must be refused, gives {instruction:?}")),
            Err(error) => contains(&error, case.text("expectedError")),
        },
        "TestCopyHeredoc" => copied_files(case),
        "TestRunHeredoc" => run_with_files(case),
        // That a text of any shape is read without a panic is all that the peers check.
        "TestNilLinter" => {
            let _ = first_instruction(case.whole());
            Ok(())
        }
        "TestHandleJSONArgs" => command_words(case),
        name if name.starts_with("TestParsePort") || name.starts_with("TestPartPort") => port(case),
        "TestParseDevice" => device(case),
        _ => return None,
    };
    Some(outcome.into())
}

fn first_instruction(text: &str) -> Result<Instruction, String> {
    let (tree, _) = parse(text).map_err(|error| error.to_string())?;
    let node = tree.nodes.first().ok_or("no instruction")?;
    parse_instruction(node).map_err(|error| error.to_string())
}

fn copied_files(case: &Case) -> Result<(), String> {
    let Kind::Copy(copy) = first_instruction(case.text("dockerfile"))?.kind else {
        return Err("is no COPY or ADD".to_owned());
    };
    let expected = &case.value["sourcesAndDest"];
    equal(expected["DestPath"].as_str(), Some(copy.destination.as_str()))?;
    equal(strings(&expected["SourcePaths"]), copy.sources)?;
    let contents: Vec<Value> = copy
        .heredocs
        .iter()
        .map(|heredoc| json!({"Path": heredoc.name, "Data": heredoc.content, "Expand": heredoc.expand}))
        .collect();
    equal(
        expected["SourceContents"].as_array().cloned().unwrap_or_default(),
        contents,
    )
}

fn run_with_files(case: &Case) -> Result<(), String> {
    let Kind::Run(run) = first_instruction(case.text("dockerfile"))?.kind else {
        return Err("is no RUN".to_owned());
    };
    equal(case.value["shell"].as_bool(), Some(run.command.shell))?;
    equal(strings(&case.value["command"]), run.command.words)?;
    let files: Vec<Value> = run
        .heredocs
        .iter()
        .map(|heredoc| json!({"Name": heredoc.name, "Data": heredoc.content, "Chomp": heredoc.chomp}))
        .collect();
    equal(case.value["files"].as_array().cloned().unwrap_or_default(), files)
}

/// An argument list with and without the mark that it was JSON.
fn command_words(case: &Case) -> Result<(), String> {
    let json = case.value["attributes"]["json"].as_bool().unwrap_or(false);
    let arguments = strings(&case.value["args"]);
    let node = Node {
        keyword: "CMD".to_owned(),
        arguments,
        json,
        ..Node::default()
    };
    let Kind::Cmd(command) = parse_instruction(&node).map_err(|error| error.to_string())?.kind else {
        return Err("is no CMD".to_owned());
    };
    equal(strings(&case.value["expected"]), command.words)
}

fn device(case: &Case) -> Result<(), String> {
    match parse_device(case.text("input")) {
        Ok(device) if case.expects_error("expectedErr") => Err(format!("must be refused, gives {device:?}")),
        Ok(device) => {
            let expected = &case.value["expected"];
            equal(expected["Name"].as_str(), Some(device.name.as_str()))?;
            equal(expected["Required"].as_bool(), Some(device.required))
        }
        Err(error) if case.expects_error("expectedErr") => contains(&error.to_string(), case.error("expectedErr")),
        Err(error) => Err(error.to_string()),
    }
}

fn port(case: &Case) -> Result<(), String> {
    match parse_port(case.text("spec")) {
        Ok(ports) if case.expects_error("expError") => Err(format!("must be refused, gives {ports:?}")),
        Ok(ports) => equal(strings(&case.value["expected"]), ports),
        Err(error) if case.expects_error("expError") => contains(&error.to_string(), case.error("expError")),
        Err(error) => Err(error.to_string()),
    }
}

/// `realworld`: Dockerfiles of public projects. A case holds when tree, escape character, and the place and text of every
/// instruction are the peers', and the instructions are accepted unless the peers refuse the file.
pub(super) fn realworld(dir: &Path) -> CorpusResult {
    let mut result = CorpusResult::new("realworld");
    for (name, path) in entries(&dir.join("dockerfiles")) {
        let expected = dir.join("expected").join(format!("{name}.json"));
        result.record(name, read_as_the_peers(&path, &expected));
    }
    result
}

fn read_as_the_peers(dockerfile: &Path, expected: &Path) -> Result<(), String> {
    let expected: Value = serde_json::from_str(&read(expected)?).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&fs::read(dockerfile).map_err(|error| error.to_string())?).into_owned();
    if let Some(message) = expected["parse_error"].as_str() {
        return match parse(&text) {
            Ok(_) => Err(format!("must be refused: {message}")),
            Err(error) => contains(&error.to_string(), message),
        };
    }
    let (tree, _) = parse(&text).map_err(|error| error.to_string())?;
    equal(expected["ast"].as_str().unwrap_or_default(), tree.dump().as_str())?;
    equal(
        expected["escape"].as_str(),
        Some(tree.escape.character().to_string().as_str()),
    )?;
    let instructions = expected["instructions"].as_array().cloned().unwrap_or_default();
    equal(instructions.len(), tree.nodes.len())?;
    for (instruction, node) in instructions.iter().zip(&tree.nodes) {
        let place = |field: &str| instruction[field].as_u64().and_then(|line| usize::try_from(line).ok());
        equal(
            (place("start"), place("end")),
            (Some(node.lines.start), Some(node.lines.end)),
        )?;
        equal(instruction["original"].as_str(), Some(node.original.as_str()))?;
        equal(strings(&instruction["prev_comment"]), node.comments.clone())?;
    }
    if expected["convert_error"].is_null() {
        Dockerfile::parse(&text, &mut Linter::new()).map_err(|error| format!("must be accepted: {error}"))?;
    }
    Ok(())
}

/// The entries of a directory by name; none when there is no directory.
pub(super) fn entries(directory: &Path) -> Vec<(String, PathBuf)> {
    let mut found: Vec<(String, PathBuf)> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect();
    found.sort();
    found
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The numbered lines of a file that are neither empty nor comments.
fn lines(path: &Path, result: &mut CorpusResult) -> Vec<(usize, String)> {
    match read(path) {
        Ok(text) => text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
            .map(|(number, line)| (number + 1, line.to_owned()))
            .collect(),
        Err(error) => {
            result.fail(path.file_name().unwrap_or_default().to_string_lossy(), error);
            Vec::new()
        }
    }
}
