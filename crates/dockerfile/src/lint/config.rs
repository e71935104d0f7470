//! `skip=RULE,…;experimental=RULE,…;error=true`: the value of a `check` directive.

use std::collections::BTreeSet;

use crate::diagnostic::SyntaxError;
use crate::lint::Rule;
use crate::suggestion::nearest;

/// Which rules apply, and whether what they find is an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LintConfig {
    /// Rules that do not apply, in lower case.
    skip: Names,
    /// Experimental rules that do.
    experimental: Names,
    /// Whether findings fail the build.
    pub error: bool,
}

/// Names of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Names {
    All,
    Some(BTreeSet<String>),
}

impl Default for Names {
    fn default() -> Names {
        Names::Some(BTreeSet::new())
    }
}

impl Names {
    fn parse(value: &str) -> Names {
        match value.trim() {
            "all" => Names::All,
            names => Names::Some(names.split(',').map(|name| name.trim().to_owned()).collect()),
        }
    }

    fn contain(&self, rule: Rule) -> bool {
        match self {
            Names::All => true,
            Names::Some(names) => names.contains(rule.name()),
        }
    }
}

impl LintConfig {
    /// Reads a value; what follows `//` in it is a remark.
    pub fn parse(value: &str) -> Result<LintConfig, SyntaxError> {
        let mut config = LintConfig::default();
        let value = value.split("//").next().unwrap_or_default();
        for part in value.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let Some((key, value)) = part.split_once('=') else {
                return Err(SyntaxError::new(format!("invalid check option {part:?}")).hint(FORM));
            };
            match key.trim() {
                "skip" => config.skip = Names::parse(value),
                "experimental" => config.experimental = Names::parse(value),
                "error" => {
                    config.error = kiln_flags::fields::boolean(value.trim())
                        .ok_or_else(|| SyntaxError::new(format!("failed to parse check option {part:?}")).hint(FORM))?;
                }
                other => {
                    let error = SyntaxError::new(format!("invalid check option {other:?}")).hint(FORM);
                    return Err(match nearest(other, ["skip", "experimental", "error"]) {
                        Some(meant) => error.hint(format!("did you mean `{meant}`?")),
                        None => error,
                    });
                }
            }
        }
        Ok(config)
    }

    /// Whether a rule applies.
    pub fn allows(&self, rule: Rule) -> bool {
        if rule.is_experimental() {
            self.experimental.contain(rule)
        } else {
            self.allows_skipped(rule)
        }
    }

    /// Whether a rule is not among those that are left out.
    pub(crate) fn allows_skipped(&self, rule: Rule) -> bool {
        !self.skip.contain(rule)
    }
}

const FORM: &str = "write skip=RULE,…;error=true";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_left_out_by_name() {
        let config = LintConfig::parse("skip=StageNameCasing, FromAsCasing;error=true // why").expect("well-formed");
        assert!(config.error);
        assert!(!config.allows(Rule::StageNameCasing) && !config.allows(Rule::FromAsCasing));
        assert!(config.allows(Rule::DuplicateStageName));
        assert!(!config.allows(Rule::InvalidDefinitionDescription), "experimental");
        let all = LintConfig::parse("skip=all;experimental=all").expect("well-formed");
        assert!(!all.allows(Rule::StageNameCasing) && all.allows(Rule::InvalidDefinitionDescription));
    }

    #[test]
    fn what_cannot_be_read_says_so() {
        for bad in ["skip", "skipp=all", "error=perhaps"] {
            assert!(LintConfig::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(LintConfig::parse(" ").expect("nothing"), LintConfig::default());
    }
}
