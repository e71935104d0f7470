//! `kiln.toml`: how the user wants the store kept.

use std::path::Path;
use std::time::Duration;

use kiln_store::{CollectPolicy, Size};
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::command_error::{CommandError, ErrorKind};
use crate::environment::Environment;

/// The whole file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// How large the store may become.
    #[serde(default)]
    pub store: StoreTable,
}

/// The table `[store]`. What is left out is as it is by itself.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StoreTable {
    /// Whether builds collect garbage.
    pub collect: Option<bool>,
    /// Most that the store may take up.
    #[serde(default, deserialize_with = "size")]
    pub max_used_space: Option<Size>,
    /// What is never gone below.
    #[serde(default, deserialize_with = "size")]
    pub reserved_space: Option<Size>,
    /// How much of the disk must be free.
    #[serde(default, deserialize_with = "size")]
    pub min_free_space: Option<Size>,
    /// What was used within this time stays.
    #[serde(default, deserialize_with = "duration")]
    pub keep_duration: Option<Duration>,
    /// What was not used for this long goes.
    #[serde(default, deserialize_with = "duration")]
    pub expire_after: Option<Duration>,
    /// The least time between two looks.
    #[serde(default, deserialize_with = "duration")]
    pub check_every: Option<Duration>,
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Size>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = text.parse();
    parsed
        .map(Some)
        .map_err(|_| D::Error::custom(format!("`{text}` is no size: write \"10GB\", \"500MiB\" or \"20%\"")))
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    kiln_flags::duration::with_days(&text)
        .map(Some)
        .ok_or_else(|| D::Error::custom(format!("`{text}` is no duration: write \"90s\", \"24h\" or \"7d\"")))
}

impl Configuration {
    /// Reads the user's file; without one, everything is left out.
    pub fn read(environment: &Environment) -> Result<Configuration, CommandError> {
        let Some(path) = environment
            .config_directory()
            .map(|directory| directory.join("kiln.toml"))
        else {
            return Ok(Configuration::default());
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|error| broken(&path, ErrorKind::User, &error)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Configuration::default()),
            Err(error) => Err(broken(&path, ErrorKind::Environment, &error)),
        }
    }

    /// When and how far builds collect garbage.
    pub fn collect_policy(&self) -> CollectPolicy {
        let (table, default) = (&self.store, CollectPolicy::default());
        let sizes = |size: Option<Size>, default| size.map_or(default, |size| vec![size]);
        CollectPolicy {
            enabled: table.collect.unwrap_or(default.enabled),
            max_used: sizes(table.max_used_space, default.max_used),
            reserved: match (table.reserved_space, table.max_used_space) {
                // A reserve that nobody asked for does not outweigh a limit that somebody did ask for.
                (None, Some(_)) => Vec::new(),
                (size, _) => sizes(size, default.reserved),
            },
            min_free: sizes(table.min_free_space, default.min_free),
            keep_duration: table.keep_duration.unwrap_or(default.keep_duration),
            expire: table.expire_after.unwrap_or(default.expire),
            check_every: table.check_every.unwrap_or(default.check_every),
        }
    }
}

fn broken(path: &Path, kind: ErrorKind, error: &dyn std::error::Error) -> CommandError {
    let mut command = CommandError::from_error(kind, error);
    command
        .messages
        .insert(0, format!("failed to read `{}`", path.display()));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_changes_what_it_names_and_no_more() {
        let text = "[store]\nmax-used-space = \"5GB\"\nkeep-duration = \"48h\"\n";
        let configuration: Configuration = toml::from_str(text).expect("valid");
        let (policy, default) = (configuration.collect_policy(), CollectPolicy::default());
        assert_eq!(policy.max_used, [Size::Bytes(5_000_000_000)]);
        assert_eq!(policy.keep_duration, Duration::from_secs(48 * 3600));
        assert_eq!((policy.min_free, policy.reserved), (default.min_free, Vec::new()));
        assert_eq!(Configuration::default().collect_policy(), CollectPolicy::default());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("[store]\nmax-used = \"5GB\"\n", "unknown field `max-used`"),
            ("[stores]\n", "unknown field `stores`"),
            ("[store]\nmax-used-space = \"much\"\n", "`much` is no size"),
            ("[store]\nkeep-duration = \"soon\"\n", "`soon` is no duration"),
        ] {
            let error = toml::from_str::<Configuration>(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
