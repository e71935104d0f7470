//! ARG: global ones, and those of a stage.

use std::collections::{BTreeMap, BTreeSet};

use kiln_oci::Platform;

use crate::diagnostic::SyntaxError;
use crate::lint::check_default_bases;
use crate::lower::outline::{Definition, declared};
use crate::lower::{Env, Lowerer, automatic_args, set};

/// Arguments that need no declaration and are part of neither key nor history.
pub(super) const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// What can be used in FROM, and what a stage's ARG without a default takes.
#[derive(Debug, Clone, Default)]
pub(super) struct GlobalArgs {
    /// Declared before the first FROM, with their values.
    pub(super) declared: Env,
    /// Known without declaration.
    pub(super) automatic: BTreeMap<String, String>,
    /// The declared ones, as a build's outline tells of them.
    pub(super) definitions: BTreeMap<String, Definition>,
}

impl GlobalArgs {
    pub(super) fn value(&self, name: &str) -> Option<String> {
        let declared = self
            .declared
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone());
        declared.or_else(|| self.automatic.get(name).cloned())
    }

    /// Everything that a declared argument's value is made of, through other arguments too.
    pub(super) fn all_parts(&self, name: &str) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let mut pending = vec![name.to_owned()];
        while let Some(name) = pending.pop() {
            let parts = self.definitions.get(&name).map(|definition| &definition.parts);
            pending.extend(
                parts
                    .into_iter()
                    .flatten()
                    .filter(|part| all.insert((*part).clone()))
                    .cloned(),
            );
        }
        all
    }

    /// Every name that has a value.
    pub(super) fn names(&self) -> Vec<String> {
        let declared = self.declared.iter().map(|(name, _)| name);
        declared.chain(self.automatic.keys()).cloned().collect()
    }
}

impl Lowerer<'_> {
    pub(super) fn global_args(&self, platform: &Platform) -> Result<GlobalArgs, SyntaxError> {
        self.global_args_given(platform, &self.request.build_args)
    }

    fn global_args_given(
        &self,
        platform: &Platform,
        given: &BTreeMap<String, String>,
    ) -> Result<GlobalArgs, SyntaxError> {
        let target = &self.dockerfile.stages[self.target];
        let stage_name = target.from.name.clone().unwrap_or_else(|| "default".to_owned());
        let mut automatic = automatic_args(self.request, platform, &stage_name);
        for (name, value) in &mut automatic {
            if let Some(given) = given.get(name) {
                value.clone_from(given);
            }
        }
        let mut args = GlobalArgs {
            automatic,
            ..GlobalArgs::default()
        };
        for arg in &self.dockerfile.global_args {
            let mut parts = BTreeSet::new();
            let value = match (given.get(&arg.name), &arg.default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => {
                    let expanded = self.expander().expand(default, &|name: &str| args.value(name));
                    let expanded = expanded.map_err(|error| SyntaxError::new(error.to_string()).at(arg.lines))?;
                    parts = expanded.matched;
                    // Of an argument that is made of its own earlier value, that value's parts are parts too.
                    if parts.remove(&arg.name)
                        && let Some(earlier) = args.definitions.get(&arg.name)
                    {
                        parts.extend(earlier.parts.iter().cloned());
                    }
                    Some(expanded.text)
                }
                (None, None) => args.automatic.get(&arg.name).cloned(),
            };
            if let Some(value) = &value {
                set(&mut args.declared, &arg.name, value);
            }
            let arg_outline = declared(&arg.name, value.as_deref(), arg.lines, &arg.comments);
            let definition = Definition {
                arg: arg_outline,
                parts,
            };
            args.definitions.insert(arg.name.clone(), definition);
        }
        Ok(args)
    }

    /// A base should have a name even if no build argument is given.
    pub(super) fn check_defaults(&mut self) {
        let Some(platform) = self.request.platforms.first() else {
            return;
        };
        // An argument that cannot be expanded is an error of its own, where it is used.
        let Ok(args) = self.global_args_given(platform, &BTreeMap::new()) else {
            return;
        };
        check_default_bases(self.linter, self.dockerfile, self.dockerfile.expander(), &|name| {
            args.value(name)
        });
    }
}
