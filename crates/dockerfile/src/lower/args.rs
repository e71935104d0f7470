//! ARG: global ones, and those of a stage.

use std::collections::BTreeMap;

use kiln_oci::Platform;

use crate::diagnostic::SyntaxError;
use crate::expand::Expander;
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
}

impl Lowerer<'_> {
    pub(super) fn global_args(&self, platform: &Platform) -> Result<GlobalArgs, SyntaxError> {
        let target = &self.dockerfile.stages[self.target];
        let stage_name = target.from.name.clone().unwrap_or_else(|| "default".to_owned());
        let mut automatic = automatic_args(self.request, platform, &stage_name);
        for (name, value) in &mut automatic {
            if let Some(given) = self.request.build_args.get(name) {
                value.clone_from(given);
            }
        }
        let mut args = GlobalArgs {
            declared: Env::new(),
            automatic,
        };
        for (name, default, lines) in &self.dockerfile.global_args {
            let given = self.request.build_args.get(name).cloned();
            let value = match (given, default) {
                (Some(given), _) => Some(given),
                (None, Some(default)) => {
                    let expanded = Expander::new(self.dockerfile.escape.character())
                        .expand(default, &|name: &str| args.value(name));
                    Some(
                        expanded
                            .map_err(|error| SyntaxError::new(error.to_string()).at(*lines))?
                            .text,
                    )
                }
                (None, None) => args.automatic.get(name).cloned(),
            };
            if let Some(value) = value {
                set(&mut args.declared, name, &value);
            }
        }
        Ok(args)
    }
}
