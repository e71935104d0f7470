//! The resolved definition as JSON, which is itself a bake file.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Group, Target};

/// A definition to print.
#[derive(Debug, Serialize)]
pub struct Printed {
    group: BTreeMap<String, Group>,
    target: BTreeMap<String, Target>,
}

/// Targets and groups as they are printed: text that would be read as a template is escaped.
pub fn printed(targets: &BTreeMap<String, Target>, groups: &BTreeMap<String, Group>) -> Printed {
    let mut target = targets.clone();
    for target in target.values_mut() {
        let lists = target.annotations.iter_mut().flatten();
        let maps = target
            .labels
            .values_mut()
            .chain(target.args.values_mut())
            .chain(target.extra_hosts.values_mut());
        for text in lists.chain(target.dockerfile_inline.as_mut()).chain(maps) {
            if text.contains("${") || text.contains("%{") {
                *text = text.replace("${", "$${").replace("%{", "%%{");
            }
        }
    }
    Printed {
        group: groups.clone(),
        target,
    }
}
