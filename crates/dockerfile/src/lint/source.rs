//! Rules that need no more than the text.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use crate::ast::Node;
use crate::directive::{promises, unknown_words};
use crate::expand::{Expanded, Expander};
use crate::lint::{Linter, Place, Rule, describing};
use crate::stage::{Dockerfile, Stage};
use crate::suggestion::suggested;
use kiln_oci::Platform;

/// Names that FROM and `--from` give a meaning of their own.
const RESERVED: [&str; 2] = ["context", "scratch"];

/// One instruction as it stands, before it is known to be right: what is found is said even if a later line is wrong.
pub(crate) fn check_node(linter: &mut Linter, node: &Node) {
    let place = Place {
        lines: node.lines,
        comments: &node.comments,
    };
    check_directives(linter, place, node);
    match node.name().as_str() {
        "maintainer" => {
            let detail = "Maintainer instruction is deprecated in favor of using label";
            linter.report(Rule::MaintainerDeprecated, place, detail.into());
        }
        "from" => {
            if let [_, word, name] = node.arguments.as_slice() {
                check_from(linter, place, &node.keyword, word, name);
            }
        }
        "arg" => {
            let name = |word: &String| word.split('=').next().unwrap_or_default().to_owned();
            let names: Vec<String> = node.arguments.iter().map(name).collect();
            check_description(linter, place, "ARG", &names);
        }
        _ => {}
    }
}

/// Promises that nobody makes, or that nothing can keep.
fn check_directives(linter: &mut Linter, place: Place<'_>, node: &Node) {
    for word in unknown_words(place.comments) {
        let repair = "the only one is `# kiln: noarch`; a comment that is none begins otherwise".to_owned();
        let detail = format!("`{word}` is no promise that Kiln knows");
        linter.add(Rule::KilnDirective, place, detail, Some(repair));
    }
    let makes_layer = matches!(node.name().as_str(), "run" | "copy" | "add");
    if !makes_layer && promises(place.comments).next().is_some() {
        let repair = "put it directly above a RUN, COPY or ADD".to_owned();
        let detail = format!(
            "`noarch` means nothing above {}: it makes no layer",
            node.keyword.to_uppercase()
        );
        linter.add(Rule::KilnDirective, place, detail, Some(repair));
    }
}

fn check_from(linter: &mut Linter, place: Place<'_>, keyword: &str, word: &str, name: &str) {
    if name.to_lowercase() != name {
        let detail = format!("Stage name '{name}' should be lowercase");
        linter.report(Rule::StageNameCasing, place, detail);
    }
    // A keyword of mixed case is another rule's.
    let matches = match Casing::of(keyword) {
        Casing::Lower => Casing::of(word) == Casing::Lower,
        Casing::Upper => Casing::of(word) == Casing::Upper,
        Casing::Mixed => true,
    };
    if !matches {
        let detail = format!("'{word}' and '{keyword}' keywords' casing do not match");
        linter.report(Rule::FromAsCasing, place, detail);
    }
    check_description(linter, place, "FROM", &[name.to_lowercase()]);
}

fn check_description(linter: &mut Linter, place: Place<'_>, instruction: &str, names: &[String]) {
    let Some(comment) = describing(place.comments).next_back() else {
        return;
    };
    let first = comment.split(' ').next().unwrap_or_default();
    if names.iter().any(|name| name == first) {
        return;
    }
    let shown = match names {
        [one] => one.as_str(),
        _ => "<arg_key>",
    };
    let detail = format!("Comment for {instruction} should follow the format: `# {shown} <description>`");
    linter.report(Rule::InvalidDefinitionDescription, place, detail);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Casing {
    Lower,
    Upper,
    Mixed,
}

impl Casing {
    fn of(word: &str) -> Casing {
        if word == word.to_lowercase() {
            Casing::Lower
        } else if word == word.to_uppercase() {
            Casing::Upper
        } else {
            Casing::Mixed
        }
    }
}

/// The stages together: their names, and the casing of all instructions.
pub(crate) fn check_stages(linter: &mut Linter, stages: &[Stage]) {
    let mut names = BTreeSet::new();
    for stage in stages {
        let Some(name) = &stage.from.name else { continue };
        if RESERVED.contains(&name.as_str()) {
            let detail = format!("Stage name should not use the same name as reserved stage {name:?}");
            linter.report(Rule::ReservedStageName, stage.place(), detail);
        }
        if !names.insert(name.clone()) {
            let detail = format!("Duplicate stage name {name:?}, stage names should be unique");
            linter.report(Rule::DuplicateStageName, stage.place(), detail);
        }
    }
    check_casing(linter, stages);
}

fn check_casing(linter: &mut Linter, stages: &[Stage]) {
    let keywords: Vec<(&str, Place<'_>)> = stages
        .iter()
        .flat_map(|stage| {
            let instructions = stage.instructions.iter();
            std::iter::once((stage.keyword.as_str(), stage.place()))
                .chain(instructions.map(|instruction| (instruction.keyword.as_str(), instruction.place())))
        })
        .collect();
    let count = |casing| {
        keywords
            .iter()
            .filter(|(keyword, _)| Casing::of(keyword) == casing)
            .count()
    };
    let (right, shown) = if count(Casing::Lower) > count(Casing::Upper) {
        (Casing::Lower, "lowercase")
    } else {
        (Casing::Upper, "uppercase")
    };
    for (keyword, place) in keywords {
        if Casing::of(keyword) != right {
            let detail = format!("Command '{keyword}' should match the case of the command majority ({shown})");
            linter.report(Rule::ConsistentInstructionCasing, place, detail);
        }
    }
}

/// Names that say that their value is a secret, by their words.
static SECRET: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)(?:_|^)(?:apikey|auth|credential|credentials|key|password|pword|passwd|secret|token)(?:_|$)")
        .expect("a constant that compiles")
});

/// Names that say that it is none: what is public, where something is, which version of it.
static NO_SECRET: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?i)(?:_|^)(?:public)(?:_|$)|_(?:file|version)$").expect("a constant that compiles"));

/// ARG and ENV stay in the image: nothing secret belongs there.
pub(crate) fn check_secret(linter: &mut Linter, place: Place<'_>, instruction: &str, name: &str) {
    if SECRET.is_match(name) && !NO_SECRET.is_match(name) {
        let detail = format!("Do not use ARG or ENV instructions for sensitive data ({instruction} {name:?})");
        linter.report(Rule::SecretsUsedInArgOrEnv, place, detail);
    }
}

/// EXPOSE of one port as it is written, after expansion.
pub(crate) fn check_port(linter: &mut Linter, place: Place<'_>, port: &str) {
    let (numbers, protocol) = port.split_once('/').unwrap_or((port, ""));
    if protocol != protocol.to_lowercase() {
        let detail = format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
        linter.report(Rule::ExposeProtoCasing, place, detail);
    }
    if numbers.contains(':') {
        let detail = format!("EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'");
        linter.report(Rule::ExposeInvalidFormat, place, detail);
    }
}

/// FROM: names that are expanded without being declared before.
pub(crate) fn check_from_args(linter: &mut Linter, place: Place<'_>, expanded: &Expanded, known: &[String]) {
    for name in &expanded.unmatched {
        let meant = suggested(name, known.iter().map(String::as_str));
        let meant = meant
            .map(|meant| format!(" (did you mean {meant}?)"))
            .unwrap_or_default();
        let detail = format!("FROM argument '{name}' is not declared{meant}");
        linter.report(Rule::UndefinedArgInFrom, place, detail);
    }
}

/// `FROM --platform` as it is written and as it is expanded; `target` is the target platform's text.
pub(crate) fn check_from_platform(
    linter: &mut Linter,
    stage: &Stage,
    written: &str,
    expanded: &Expanded,
    target: &str,
) {
    let is_target = expanded.matched.len() == 1
        && expanded.unmatched.is_empty()
        && expanded.matched.contains("TARGETPLATFORM")
        && expanded.text == target;
    if is_target {
        let detail =
            format!("Setting platform to predefined {written} in FROM is redundant as this is the default behavior");
        linter.report(Rule::RedundantTargetPlatform, stage.place(), detail);
    }
    if !expanded.matched.is_empty() || !expanded.unmatched.is_empty() {
        return;
    }
    let Ok(platform) = expanded.text.parse::<Platform>() else {
        return;
    };
    // A stage that says its platform in its name means it.
    let name = stage.from.name.as_deref().unwrap_or_default();
    if name.contains(&platform.os) || name.contains(&platform.architecture) {
        return;
    }
    let detail = format!("FROM --platform flag should not use constant value {:?}", expanded.text);
    linter.report(Rule::FromPlatformFlagConstDisallowed, stage.place(), detail);
}

/// Whether every base can be named without any build argument.
pub(crate) fn check_default_bases(
    linter: &mut Linter,
    dockerfile: &Dockerfile,
    expander: Expander,
    defaults: &dyn Fn(&str) -> Option<String>,
) {
    for stage in &dockerfile.stages {
        let Ok(expanded) = expander.expand(&stage.from.base, &defaults) else {
            return;
        };
        if kiln_oci::Reference::parse_normalized(&expanded.text).is_err() {
            let detail = format!(
                "Default value for ARG {} results in empty or invalid base image name",
                stage.from.base
            );
            linter.report(Rule::InvalidDefaultArgInFrom, stage.place(), detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_known_by_their_words() {
        for name in ["apikey", "git_key", "SUPER_Secret", "AUTH", "super_duper_secret_token"] {
            assert!(SECRET.is_match(name) && !NO_SECRET.is_match(name), "{name}");
        }
        for name in [
            "sunflower",
            "MONKEY",
            "PUBLIC_KEY",
            "public_token",
            "password_file",
            "AUTH_MODULE_VERSION",
        ] {
            assert!(!SECRET.is_match(name) || NO_SECRET.is_match(name), "{name}");
        }
    }
}
