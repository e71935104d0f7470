//! Where annotations are put.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// What an annotation is put on, as the flag `--annotation` of a build has it: `manifest`, `index`, `manifest-descriptor` or
/// `index-descriptor`, the first and third also for one platform (`manifest[linux/amd64]`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level(String);

/// Text that names no such thing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is no level of annotations")]
pub struct LevelError(pub String);

impl Level {
    /// The levels of a list with commas.
    pub fn parse_list(text: &str) -> Result<Vec<Level>, LevelError> {
        text.split(',').map(|level| level.trim().parse()).collect()
    }

    /// The level's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Level {
    fn default() -> Self {
        Level("manifest".to_owned())
    }
}

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = match text.split_once('[') {
            Some((name, platform)) if platform.ends_with(']') && platform.len() > 1 => name,
            Some(_) => "",
            None => text,
        };
        let known = ["manifest", "index", "manifest-descriptor", "index-descriptor"];
        if known.contains(&name) {
            Ok(Level(text.to_owned()))
        } else {
            Err(LevelError(text.to_owned()))
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_known_ones() {
        assert!(Level::parse_list("manifest, index,manifest[linux/amd64],index-descriptor").is_ok());
        for bad in ["", "manifest,", "layer", "manifest[", "manifest[]"] {
            assert!(Level::parse_list(bad).is_err(), "{bad}");
        }
    }
}
