//! A07: scripts whose interpreter is not there.

use std::collections::BTreeMap;

use crate::check::Checks;
use crate::facts::FileFacts;
use crate::finding::{Code, Severity};
use crate::places;
use crate::root::NodeKind;

/// Where packages keep scripts that nobody starts by path.
const KEPT: &[&str] = &["usr/share/", "usr/lib/", "usr/src/", "usr/local/lib/", "etc/", "lib/"];

/// Looks at every executable script.
pub(crate) fn check(checks: &mut Checks<'_, '_>) {
    let view = checks.view;
    let mut kept: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (path, node) in view.root.all() {
        let Some(FileFacts::Script(script)) = node.file() else {
            continue;
        };
        let present = view
            .root
            .resolve(&script.interpreter)
            .is_some_and(|(_, node)| matches!(node.kind, NodeKind::File(_)));
        let missing = match &script.env_program {
            _ if !present => script.interpreter.clone(),
            Some(program) if program.contains('/') => match view.root.resolve(program) {
                Some(_) => continue,
                None => program.clone(),
            },
            Some(program) => match view.program(program) {
                Some(_) => continue,
                None => format!("{program} (on PATH, for /usr/bin/env)"),
            },
            None => continue,
        };
        if checks.is_started(path) {
            let reason = format!("its interpreter is not in the image: {missing}{}", checks.because(path));
            let repair = "install the interpreter in the last stage, or make the first line name one that the image has (`#!/bin/sh`)";
            checks.add(
                Code::MissingInterpreter,
                Severity::Error,
                path,
                reason,
                repair.to_owned(),
            );
        } else if KEPT.iter().any(|directory| path.starts_with(directory))
            || places::is_addon(path)
            || places::is_python(path)
        {
            kept.entry(missing).or_default().push(path);
        } else {
            let reason = format!("its interpreter is not in the image: {missing}");
            let repair = "install the interpreter in the last stage, or leave the script out";
            checks.add(
                Code::MissingInterpreter,
                Severity::Warning,
                path,
                reason,
                repair.to_owned(),
            );
        }
    }
    for (missing, paths) in kept {
        let reason = match paths.len() {
            1 => format!("the interpreter of this script is not in the image: {missing}"),
            count => format!(
                "the interpreter of {count} scripts, of which this is the first, is not in the image: {missing}"
            ),
        };
        let repair = "nothing needs to be done unless something starts them".to_owned();
        checks.add(Code::MissingInterpreter, Severity::Note, paths[0], reason, repair);
        if let Some(finding) = checks.findings.last_mut() {
            finding.files = paths.len();
        }
    }
}
